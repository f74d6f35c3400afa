"""Recovery keys: the files that `keygen --recovery` makes, and objects that open by them alone: without network, keyring and
configuration. The entry is written here, by the independent writer, into what the proxy stored."""

import base64
import json
import os
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

import read_native
from conftest import embedded_backend, new_bucket
from multiparts import LEAST, upload
from proxy import binary
from rawsig import flip_bit
from read_native import CHUNK, RECOVERY, context, fingerprint, raw, unwrap_local
from write_native import Seal, holders_entry, seal_recovery

KEY = "dir/ü x"
CONTENT = os.urandom(3 * CHUNK + 7)


@pytest.fixture
def offline(tmp_path):
    """offline("decrypt", ...): the binary in an empty directory, with no variable of ours, and a configuration that is not there."""
    directory = tmp_path / "offline"
    directory.mkdir()

    def run(*arguments):
        command = [binary(), *map(str, arguments), "--config", "no-such-directory/proxy.toml"]
        return subprocess.run(command, capture_output=True, timeout=60, env={}, cwd=directory, stdin=subprocess.DEVNULL)

    run.directory = directory
    return run


@pytest.fixture
def ops(offline):
    """The private half of a recovery key, whose files are ops.pem and ops.pub.pem."""
    done = offline("keygen", "--recovery", "ops.pem")
    assert done.returncode == 0, done.stderr
    return serialization.load_pem_private_key((offline.directory / "ops.pem").read_bytes(), None)


@pytest.fixture
def place(start, tmp_path):
    """A client, its bucket, and seal_for(private, key): the stored object with an entry for that recovery key."""
    backend = embedded_backend(tmp_path)
    running = start(backend)
    bucket = new_bucket(running.boto())
    keyring = tomllib.loads(Path(backend.keyring["file"]).read_text())

    def seal_for(*private, key=KEY, realm=bucket):
        stored = backend.store.read(bucket, key)
        blob = base64.b64decode(stored.metadata["encryption-key"])
        data_key = unwrap_local(keyring, blob, context(bucket))
        return with_holders(stored, [recovery_entry(one, data_key, realm) for one in private])

    return running, bucket, seal_for, backend


def mark_of(private):
    return fingerprint(RECOVERY, raw(private.public_key()))


def recovery_entry(private, data_key, realm):
    return RECOVERY, mark_of(private), seal_recovery(private.public_key(), data_key, context(realm))


def with_holders(stored, entries):
    header = entries if isinstance(entries, str) else base64.b64encode(holders_entry(entries)).decode()
    return replace(stored, metadata=stored.metadata | {"encryption-holders": header})


def decrypt(offline, stored, bucket, *more, key=KEY, recovery_key="ops.pem"):
    (offline.directory / "body").write_bytes(stored.body)
    (offline.directory / "metadata.json").write_text(json.dumps(stored.metadata))
    source = ["--recovery-key", recovery_key, "--body", "body", "--metadata", "metadata.json"]
    return offline("decrypt", *source, "--bucket", bucket, "--key", key, *more)


def test_the_files_are_those_of_openssl(offline, ops):
    private, public = ((offline.directory / name) for name in ("ops.pem", "ops.pub.pem"))
    assert private.stat().st_mode & 0o777 == 0o600
    assert isinstance(ops, X25519PrivateKey)
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    assert private.read_bytes() == ops.private_bytes(*form)
    form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    assert public.read_bytes() == ops.public_key().public_bytes(*form)


def test_no_file_is_overwritten(offline, ops):
    before = {path.name: path.read_bytes() for path in offline.directory.iterdir()}
    for line in (["ops.pem"], ["--file", "ops.pem"], ["ops"]):
        done = offline("keygen", "--recovery", *line)
        assert done.returncode == 64 and b"exists and is not overwritten" in done.stderr
    assert {path.name: path.read_bytes() for path in offline.directory.iterdir()} == before


def test_keygen_says_what_to_do(offline):
    done = offline("keygen", "--recovery", "--file", "ops.pem")
    shown = done.stdout.decode()
    private = serialization.load_pem_private_key((offline.directory / "ops.pem").read_bytes(), None)
    for expected in ("offline", 'recovery = ["ops.pub.pem"]', f"recovery {mark_of(private).hex()}"):
        assert expected in shown, shown
    assert (offline.directory / "ops.pem").read_text().splitlines()[1] not in shown, "the secret was shown"


@pytest.mark.parametrize("size", [0, 1, CHUNK, CHUNK + 1, len(CONTENT)])
def test_an_object_opens(place, offline, ops, size):
    running, bucket, seal_for, backend = place
    running.boto().put_object(Bucket=bucket, Key=KEY, Body=CONTENT[:size])
    stored = seal_for(X25519PrivateKey.generate(), ops)
    done = decrypt(offline, stored, bucket)
    assert (done.returncode, done.stdout) == (0, CONTENT[:size]), done.stderr
    assert decrypt(offline, stored, bucket, "--out", "plain").returncode == 0
    assert (offline.directory / "plain").read_bytes() == CONTENT[:size]
    command = [sys.executable, read_native.__file__, "body", "metadata.json", bucket, KEY, "--recovery-key", "ops.pem"]
    done = subprocess.run(command, capture_output=True, timeout=60, cwd=offline.directory)
    assert (done.returncode, done.stdout) == (0, CONTENT[:size]), done.stderr
    backend.store.write(bucket, KEY, stored)
    got = running.boto().get_object(Bucket=bucket, Key=KEY)
    assert got["Body"].read() == CONTENT[:size] and got["Metadata"] == {}, "clients do not see the entry"


@pytest.mark.parametrize("layout", [[(1, LEAST), (2, 7)], [(1, LEAST), (2, LEAST)], [(2, LEAST + 1), (7, 9)]], ids=str)
def test_an_upload_opens(place, offline, ops, layout):
    running, bucket, seal_for, _ = place
    content = upload(running.boto(), bucket, layout, KEY)
    done = decrypt(offline, seal_for(ops), bucket)
    assert (done.returncode, done.stdout) == (0, content), done.stderr


def test_a_key_of_openssl_opens_too(place, offline):
    running, bucket, seal_for, _ = place
    private = X25519PrivateKey.generate()
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (offline.directory / "openssl.pem").write_bytes(private.private_bytes(*form))
    running.boto().put_object(Bucket=bucket, Key=KEY, Body=CONTENT)
    done = decrypt(offline, seal_for(private), bucket, recovery_key="openssl.pem")
    assert (done.returncode, done.stdout) == (0, CONTENT), done.stderr


def test_a_damaged_first_wrapping_does_not_matter(place, offline, ops):
    running, bucket, seal_for, _ = place
    running.boto().put_object(Bucket=bucket, Key=KEY, Body=CONTENT)
    stored = seal_for(ops)
    for key in ("", "AA==", "not base64"):
        done = decrypt(offline, replace(stored, metadata=stored.metadata | {"encryption-key": key}), bucket)
        assert (done.returncode, done.stdout) == (0, CONTENT), done.stderr


def test_another_key_is_told_who_opens(place, offline, ops):
    running, bucket, seal_for, _ = place
    running.boto().put_object(Bucket=bucket, Key=KEY, Body=CONTENT)
    other = X25519PrivateKey.generate()
    done = decrypt(offline, seal_for(other), bucket)
    said = done.stderr.decode()
    assert (done.returncode, done.stdout) == (69, b"")
    assert f"ops.pem (recovery {mark_of(ops).hex()})" in said and f"but by: recovery {mark_of(other).hex()}" in said
    later = with_holders(seal_for(other), [(7, bytes(8), b"x")])
    assert "none that this version knows" in decrypt(offline, later, bucket).stderr.decode()


def test_a_realm_of_its_own(start, offline, ops, tmp_path):
    backend = embedded_backend(tmp_path)
    running = start(backend, bucket=[{"name": "*", "realm": "production", "binding": "realm"}])
    bucket = new_bucket(running.boto())
    running.boto().put_object(Bucket=bucket, Key=KEY, Body=CONTENT)
    stored = backend.store.read(bucket, KEY)
    keyring = tomllib.loads(Path(backend.keyring["file"]).read_text())
    data_key = unwrap_local(keyring, base64.b64decode(stored.metadata["encryption-key"]), context("production"))
    stored = with_holders(stored, [recovery_entry(ops, data_key, "production")])
    for line, advice in (([], b"--realm"), (["--realm", "production"], b"--binding"), (["--realm", "x", "--binding", "realm"], b"--realm")):
        done = decrypt(offline, stored, bucket, *line)
        assert (done.returncode, done.stdout) == (69, b"") and advice in done.stderr, done.stderr
    done = decrypt(offline, stored, bucket, "--realm", "production", "--binding", "realm")
    assert (done.returncode, done.stdout) == (0, CONTENT), done.stderr


def test_what_was_altered_is_refused(place, offline, ops):
    running, bucket, seal_for, _ = place
    running.boto().put_object(Bucket=bucket, Key=KEY, Body=CONTENT)
    stored = seal_for(ops)
    header = base64.b64decode(stored.metadata["encryption-holders"])
    forged = Seal(bytes(32), bucket, KEY, length=len(CONTENT))
    bodies = [flip_bit(stored.body, 5), stored.body[:-1], stored.body + b"x", b""]
    headers = [flip_bit(header, at) for at in range(len(header))] + [header[:-1], header + b"\0", b""]
    attacks = [replace(stored, body=body) for body in bodies]
    attacks += [with_holders(stored, base64.b64encode(one).decode()) for one in headers]
    attacks += [
        with_holders(stored, stored.metadata["encryption-holders"].rstrip("=") + " "),
        with_holders(stored, [recovery_entry(ops, bytes(32), bucket)]),
        with_holders(stored, [recovery_entry(ops, bytes(32), "other")]),
        replace(stored, body=forged.body(CONTENT), metadata=stored.metadata | {"encryption-envelope": base64.b64encode(forged.envelope()).decode()}),
        replace(stored, metadata={name: value for name, value in stored.metadata.items() if name != "encryption-holders"}),
        replace(stored, metadata={name: value for name, value in stored.metadata.items() if name != "encryption-envelope"}),
    ]
    for attack in attacks:
        done = decrypt(offline, attack, bucket)
        assert done.returncode == 69 and done.stderr, "This is a security issue: an altered object was decrypted."
        assert CONTENT.startswith(done.stdout) and len(done.stdout) < len(CONTENT), "This is a security issue: wrong bytes."
    done = decrypt(offline, attacks[0], bucket, "--out", "plain")
    assert done.returncode == 69 and not (offline.directory / "plain").exists(), "a part of an object was left"


def test_an_object_opens_under_its_own_name_alone(place, offline, ops):
    running, bucket, seal_for, _ = place
    running.boto().put_object(Bucket=bucket, Key=KEY, Body=CONTENT)
    stored = seal_for(ops)
    for done in (decrypt(offline, stored, bucket, key="other"), decrypt(offline, stored, "another-bucket")):
        assert (done.returncode, done.stdout) == (69, b""), "This is a security issue: an object of another name."
    done = decrypt(offline, stored, "another-bucket", "--realm", bucket)
    assert (done.returncode, done.stdout) == (0, CONTENT), done.stderr


def test_files_that_are_no_private_key(offline, ops):
    directory = offline.directory
    pem = (directory / "ops.pem").read_text()
    files = {"none.pem": "", "encrypted.pem": pem.replace("PRIVATE", "ENCRYPTED PRIVATE"), "certificate.pem": pem.replace("PRIVATE KEY", "CERTIFICATE")}
    for name, text in files.items():
        (directory / name).write_text(text)
    said = {"ops.pub.pem": "public key", "none.pem": "no PEM", "encrypted.pem": "openssl pkey", "certificate.pem": "X25519"}
    for name, expected in said.items():
        line = ["--recovery-key", name, "--body", "b", "--metadata", "m", "--bucket", "bucket", "--key", "k"]
        done = offline("decrypt", *line)
        assert done.returncode == 64 and name in done.stderr.decode() and expected in done.stderr.decode(), done.stderr
    done = offline("decrypt", "--recovery-key", "gone.pem", *line[2:])
    assert done.returncode == 74 and b"reading the recovery key" in done.stderr
