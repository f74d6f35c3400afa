"""A running s3veil: its configuration file, its process, and clients that talk to it."""

import base64
import datetime
import ipaddress
import json
import os
import signal
import socket
import subprocess
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

import boto3
from botocore.config import Config
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ports import free_port
from rawsig import RawClient, Signer

REGION = "us-east-1"
ACCESS_KEY_ID = "client-one"
SECRET_ACCESS_KEY = "client-one-secret"
START_SECONDS = 30


def binary():
    path = os.environ.get("S3VEIL_BINARY")
    assert path and Path(path).exists(), "S3VEIL_BINARY must name the built proxy (scripts/test sets it)"
    return path


def write_keyring(path, *ids, current=None):
    """A local keyring with fresh secrets under the given ids; returns its path."""
    lines = ["version = 1", f'current = "{current or ids[0]}"']
    for name in ids:
        secret = base64.b64encode(os.urandom(32)).decode()
        lines += ["", "[[key]]", f'id = "{name}"', 'created = "2026-01-31T12:00:00Z"', f'secret = "{secret}"']
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o600)
    return path


def toml_value(value):
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {toml_value(item)}" for name, item in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(toml_value, value)) + "]"
    # A JSON string, number or boolean is one of TOML too.
    return json.dumps(str(value) if isinstance(value, Path) else value)


def toml_text(sections):
    """`{"listen": {...}, "client": [{...}]}` as TOML; a list becomes [[client]] tables."""
    lines = []
    for name, content in sections.items():
        for table in content if isinstance(content, list) else [content]:
            lines.append(f"[[{name}]]" if isinstance(content, list) else f"[{name}]")
            lines += [f"{key} = {toml_value(value)}" for key, value in table.items()]
            lines.append("")
    return "\n".join(lines)


@dataclass
class Proxy:
    """One proxy process in a directory of its own. `sections` overrides or adds to the configuration, table by table."""

    directory: Path
    upstream: dict
    keyring: dict
    sections: dict = field(default_factory=dict)
    certificate: "Certificate | None" = None
    process: subprocess.Popen | None = None

    def __post_init__(self):
        self.directory.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.config = self.directory / "proxy.toml"
        self.log = self.directory / "log"
        self.scheme = "https" if self.certificate else "http"
        self.endpoint = f"{self.scheme}://127.0.0.1:{self.port}"
        self.ca = str(self.certificate.authority) if self.certificate else None

    def several(self):
        """The [[upstream]] tables, where `upstream` is a list of several."""
        return [{"region": REGION, **one} for one in self.upstream] if isinstance(self.upstream, list) else []

    def configuration(self):
        listen = {"address": f"127.0.0.1:{self.port}", "region": REGION}
        if self.certificate:
            listen["tls"] = {"certificate": self.certificate.chain, "private_key": self.certificate.private_key}
        sections = {
            "listen": listen,
            "admin": {"address": f"127.0.0.1:{free_port()}"},
            "upstream": several if (several := self.several()) else {"region": REGION, **self.upstream},
            "keyring": self.keyring,
            "client": [{"access_key_id": ACCESS_KEY_ID, "secret_access_key": SECRET_ACCESS_KEY, "access": "admin"}],
            "bucket": [{"name": "*"}],
        }
        for name, content in self.sections.items():
            sections[name] = content if isinstance(content, list) else {**sections.get(name, {}), **content}
        return sections

    def start(self):
        self.config.write_text(toml_text(self.configuration()))
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "S3VEIL_"))}
        environment |= {"AWS_EC2_METADATA_DISABLED": "true", "RUST_BACKTRACE": "1"}
        if self.keyring["provider"] == "aws-kms":
            environment |= {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": REGION}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [binary(), "serve", "--config", self.config],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.directory, env=environment,
            )  # fmt: skip
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(f"the proxy ended with {self.process.returncode}:\n{self.log_text()}")
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return self
            except OSError:
                time.sleep(0.02)
        self.stop()
        raise AssertionError(f"the proxy did not listen within {START_SECONDS} s:\n{self.log_text()}")

    def stop(self):
        """Ends the process by its id: politely, then not."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    def command(self, *arguments, cwd):
        """A command of the binary over this proxy's configuration."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        environment |= {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true"}
        return subprocess.run(
            [binary(), *map(str, arguments), "--config", self.config],
            capture_output=True, timeout=60, env=environment, cwd=cwd, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def metrics(self):
        """{name{labels}: value} as operators see them."""
        address = self.config.read_text().split("[admin]")[1].split('"')[1]
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        lines = opener.open(f"http://{address}/metrics", timeout=10).read().decode().splitlines()
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if line and not line.startswith("#")}

    def log_text(self):
        """The log until now. A line is written up to 10 ms after its event, on a busy machine later: what has to be there is
        waited for (`until`), unless the process has ended."""
        time.sleep(0.05)
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def signer(self, **changes):
        return Signer(**{"access_key_id": ACCESS_KEY_ID, "secret_access_key": SECRET_ACCESS_KEY, "region": REGION, **changes})

    def raw(self, **changes):
        return RawClient(self.endpoint, self.signer(**changes), ca=self.ca)

    def boto(self, access_key_id=ACCESS_KEY_ID, secret_access_key=SECRET_ACCESS_KEY, **config):
        return s3_client(self.endpoint, access_key_id, secret_access_key, verify=self.ca, **config)

    def aws_environment(self):
        """The environment of an `aws` command: this proxy's credentials and nothing of the caller's."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        environment |= {
            "AWS_ACCESS_KEY_ID": ACCESS_KEY_ID,
            "AWS_SECRET_ACCESS_KEY": SECRET_ACCESS_KEY,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_MAX_ATTEMPTS": "1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_PAGER": "",
            "NO_PROXY": "127.0.0.1",
        }
        if self.ca:
            environment["AWS_CA_BUNDLE"] = self.ca
        return environment


SESSION = boto3.Session(region_name=REGION)


def s3_client(endpoint, access_key_id="test", secret_access_key="test", verify=None, **config):
    config.setdefault("s3", {"addressing_style": "path"})
    return SESSION.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=access_key_id,
        aws_secret_access_key=secret_access_key,
        verify=verify,
        config=Config(**{"retries": {"total_max_attempts": 1}, "connect_timeout": 5, "read_timeout": 60, "proxies": {}} | config),
    )


def kms_client(endpoint):
    return SESSION.client(
        "kms", endpoint_url=endpoint, aws_access_key_id="test", aws_secret_access_key="test",
        config=Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=30, proxies={}),
    )  # fmt: skip


@dataclass
class Certificate:
    """A certificate for 127.0.0.1 and localhost under an authority of its own, as PEM files."""

    authority: Path
    chain: Path
    private_key: Path

    @classmethod
    def make(cls, directory):
        directory.mkdir(parents=True, exist_ok=True)
        now = datetime.datetime.now(datetime.timezone.utc)
        ca_key, leaf_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        ca_name, leaf_name = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in ("test CA", "localhost"))

        def builder(subject, public_key):
            return (
                x509.CertificateBuilder()
                .subject_name(subject)
                .issuer_name(ca_name)
                .public_key(public_key)
                .serial_number(x509.random_serial_number())
                .not_valid_before(now - datetime.timedelta(hours=1))
                .not_valid_after(now + datetime.timedelta(days=2))
                .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
                .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
            )

        def usage(signs_certificates):
            names = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only", "decipher_only")
            return x509.KeyUsage(
                digital_signature=not signs_certificates, key_cert_sign=signs_certificates, crl_sign=signs_certificates,
                **dict.fromkeys(names, False),
            )  # fmt: skip

        authority = (
            builder(ca_name, ca_key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage(True), critical=True)
            .sign(ca_key, hashes.SHA256())
        )
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        leaf = (
            builder(leaf_name, leaf_key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(usage(False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(ca_key, hashes.SHA256())
        )
        made = cls(directory / "ca.pem", directory / "cert.pem", directory / "key.pem")
        made.authority.write_bytes(authority.public_bytes(serialization.Encoding.PEM))
        made.chain.write_bytes(leaf.public_bytes(serialization.Encoding.PEM))
        made.private_key.write_bytes(
            leaf_key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        made.private_key.chmod(0o600)
        return made
