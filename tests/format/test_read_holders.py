"""The independent reader opens the entries of further holders as docs/FORMAT.md says, and agrees with RFC 9180."""

import base64
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

import read_native
from read_native import LOCAL, RECOVERY, Refused, context, fingerprint, hpke_keys, raw
from write_native import Seal, holders_entry, seal_recovery, seal_service

VECTORS = sorted((Path(__file__).parent.parent / "vectors" / "holders").glob("*.json"))
DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "FORMAT.md"
RULES = {reason: rules.split(", ") for reason, rules in re.findall(r"^\| `(\w+)` \| .* \| (F-.*) \|$", DOCUMENT.read_text(), re.M)}
DATA_KEY, HOLDER_KEY = bytes(range(32)), bytes(range(32, 64))


def test_hpke_is_that_of_the_rfc():
    """RFC 9180, A.1.1, sequence number 0: of AES-128-GCM, since the RFC has no vector of AES-256-GCM."""
    private = X25519PrivateKey.from_private_bytes(bytes.fromhex("4612c550263fc8ad58375df3f557aac531d26850903e55a9f23f21d8534e8ac8"))
    enc = bytes.fromhex("37fda3567bdbd628e88668c3c8d7e97d1d1253b6d4ea6d44c150f741f1bf4431")
    shared = private.exchange(X25519PublicKey.from_public_bytes(enc))
    info = bytes.fromhex("4f6465206f6e2061204772656369616e2055726e")
    key, nonce = hpke_keys(shared, enc, raw(private.public_key()), info, aead=1, key_length=16)
    assert (key.hex(), nonce.hex()) == ("4531685d41d65f03dc48f6b8302c05b0", "56d890e5accaaf011cff4b7d")
    sealed = "f938558b5d72f1a23810b4be2ab4f84331acc02fc97babc53a52ae8218a355a96d8770ac83d07bea87e13c512a"
    assert AESGCM(key).decrypt(nonce, bytes.fromhex(sealed), b"Count-0") == b"Beauty is truth, truth beauty"


def reader(vector):
    """The arguments of `read_native` for the vector's holder, and what names a failure of the holder itself."""
    if "recovery_key" in vector:
        return {"recovery": serialization.load_pem_private_key(vector["recovery_key"].encode(), None)}
    holder = vector["holder"]

    def unwrap(inner, given):
        assert given == context(vector["realm"])
        if inner != base64.b64decode(holder["inner"]):
            raise Refused("HolderKey")
        return bytes.fromhex(holder["key"])

    return {"further": {(holder["kind"], holder["name"].encode()): unwrap}}


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_agrees_with_the_vectors(path):
    vector = json.loads(path.read_text())
    seal = Seal(DATA_KEY, vector["realm"], vector["object_key"], content_key=bytes.fromhex(vector["content_key"]))
    metadata = {"encryption-key": "", "encryption-envelope": vector["envelope"], "encryption-holders": vector["header"]}
    read = lambda: read_native.read_native(seal.body(b"hello"), metadata, vector["realm"], vector["object_key"], **reader(vector))  # noqa: E731
    if vector["expect"] == "ok":
        assert read() == b"hello"
        return
    assert vector["rule"] in RULES[vector["expect"]], "docs/FORMAT.md has no row for it"
    with pytest.raises(Refused) as refused:
        read()
    known = {"Commitment": "another data key, realm or object key"}
    assert str(refused.value) == known.get(vector["expect"], vector["expect"])


def stored(entries, first=b"of another holder"):
    seal = Seal(DATA_KEY, "realm", "a/key", length=8)
    holders = {"encryption-holders": base64.b64encode(holders_entry(entries)).decode()} if entries else {}
    envelope, key = (base64.b64encode(value).decode() for value in (seal.envelope(), first))
    return seal.body(b"not lost"), {"encryption-key": key, "encryption-envelope": envelope} | holders


def keyring_and_entry():
    """A local keyring, and the entry that it opens."""
    keyring = {"key": [{"id": "second", "secret": base64.b64encode(bytes(32)).decode()}]}
    prefix = bytes([1, 6]) + b"second" + bytes(32)
    wrap_key = read_native.hkdf(bytes(32), bytes(32), b"s3veil/keyring/local/v1\0", 32)
    inner = prefix + AESGCM(wrap_key).encrypt(bytes(12), HOLDER_KEY, prefix + read_native.canonical(context("realm")))
    mark = fingerprint(LOCAL, b"second")
    return keyring, (LOCAL, mark, seal_service(HOLDER_KEY, inner, DATA_KEY, LOCAL, mark, context("realm")))


def recovery_and_entry():
    private = X25519PrivateKey.generate()
    mark = fingerprint(RECOVERY, raw(private.public_key()))
    return private, (RECOVERY, mark, seal_recovery(private.public_key(), DATA_KEY, context("realm")))


def test_any_holder_opens_where_the_first_one_does_not():
    keyring, local = keyring_and_entry()
    private, recovery = recovery_and_entry()
    body, metadata = stored([local, recovery])

    def gone(blob, context):
        raise Refused("the service is gone")

    openers = [{"further": read_native.local_holders(keyring)}, {"recovery": private}, {"unwrap": gone, "recovery": private}]
    for opener in openers:
        assert read_native.read_native(body, metadata, "realm", "a/key", **opener) == b"not lost"
        for realm, key in (("other", "a/key"), ("realm", "b/key")):
            with pytest.raises((Refused, InvalidTag)):
                read_native.read_native(body, metadata, realm, key, **opener)
    with pytest.raises(Refused, match="the service is gone"):
        read_native.read_native(body, metadata, "realm", "a/key", gone)


def test_command_line(tmp_path):
    keyring, local = keyring_and_entry()
    private, recovery = recovery_and_entry()
    body, metadata = stored([local, recovery])
    pem = private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    secret = keyring["key"][0]["secret"]
    text = f'version = 1\ncurrent = "second"\n[[key]]\nid = "second"\nsecret = "{secret}"\n'
    assert tomllib.loads(text)["key"] == keyring["key"]
    files = {"body": body, "metadata": json.dumps(metadata).encode(), "ops.pem": pem, "keyring": text.encode()}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    for source in (["--recovery-key", "ops.pem"], ["--keyring", "keyring"]):
        command = [sys.executable, read_native.__file__, "body", "metadata", "realm", "a/key", *source]
        done = subprocess.run(command, capture_output=True, timeout=30, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (0, b"not lost"), done.stderr
