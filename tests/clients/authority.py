"""A certificate authority for tests: certificates of servers and clients, as PEM files."""

import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NAMES = {"CN": NameOID.COMMON_NAME, "O": NameOID.ORGANIZATION_NAME, "C": NameOID.COUNTRY_NAME}


class Authority:
    """An authority, and what it issues in its directory."""

    def __init__(self, directory, name="test authority"):
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        usage = x509.KeyUsage(
            digital_signature=False, key_cert_sign=True, crl_sign=True, content_commitment=False, key_encipherment=False,
            data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
        )  # fmt: skip
        builder = self.builder(self.name, self.key, days=(-1, 30)).add_extension(usage, critical=True)
        made = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True).sign(self.key, hashes.SHA256())
        self.file = self.write("ca", made, self.key)[0]

    def builder(self, subject, key, days):
        start, end = (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=offset) for offset in days)
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        return (
            x509.CertificateBuilder().subject_name(subject).issuer_name(self.name).public_key(key.public_key())
            .serial_number(x509.random_serial_number()).not_valid_before(start).not_valid_after(end)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(identifier, critical=False)
        )  # fmt: skip

    def write(self, name, certificate, key):
        files = self.directory / f"{name}.pem", self.directory / f"{name}-key.pem"
        files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        files[1].write_bytes(
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )
        files[1].chmod(0o600)
        return files

    def issue(self, name, subject=(), alternative=(), usage=ExtendedKeyUsageOID.SERVER_AUTH, days=(-1, 30)):
        """The files of a certificate and its key. `subject`: pairs such as ("CN", "backup"), the most general first."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NAMES[kind], value) for kind, value in subject])
        builder = self.builder(subject, key, days).add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        if alternative:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternative), critical=not subject)
        return self.write(name, builder.sign(self.key, hashes.SHA256()), key)

    def server(self, name, *hosts, days=(-1, 30)):
        return self.issue(name, [("CN", hosts[0])], [x509.DNSName(host) for host in hosts], days=days)

    def client(self, name, *subject, alternative=()):
        return self.issue(name, subject, alternative, ExtendedKeyUsageOID.CLIENT_AUTH)
