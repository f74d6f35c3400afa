"""Opens an object that s3veil stored, without s3veil: only the `cryptography` package and docs/FORMAT.md were used.

    python read_native.py BODY METADATA.json REALM KEY --data-key HEX     (the data key, as KMS Decrypt gives it)
    python read_native.py BODY METADATA.json REALM KEY --keyring FILE     (a local keyring)

METADATA.json holds the stored object's user metadata; the plaintext goes to standard output.
"""

import argparse
import base64
import hmac
import json
import sys
import tomllib

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

CHUNK, TAG = 65_536, 16
NO_BINDING, REALM_AND_KEY, REALM = 0, 1, 2


class Refused(Exception):
    """The object is not what its writer sealed."""


def hkdf(secret, salt, info, length):
    return HKDF(SHA256(), length, salt, info).derive(secret)


def name_binding(binding, realm, key):
    """The names that the envelope is bound to: be32 length and bytes of realm, then of key; what is not bound is empty."""
    realm = b"" if binding == NO_BINDING else realm.encode()
    key = key.encode() if binding == REALM_AND_KEY else b""
    return b"".join(len(name).to_bytes(4, "big") + name for name in (realm, key))


def content_key(data_key, envelope, realm, key):
    pre, salt, commit, wrapped = envelope[:4], envelope[4:36], envelope[36:68], envelope[68:116]
    if len(envelope) < 116 or pre[0] != 1 or pre[1] != 1 or pre[2] not in (NO_BINDING, REALM_AND_KEY, REALM) or pre[3] != 0:
        raise Refused("not an envelope of a PutObject body, version 1, suite 1")
    keys = hkdf(data_key, salt, b"s3veil/v1/envelope\0" + pre + name_binding(pre[2], realm, key), 64)
    if not hmac.compare_digest(keys[32:], commit):
        raise Refused("another data key, realm or object key")
    return AESGCM(keys[:32]).decrypt(bytes(12), wrapped, pre + salt + commit)


def open_body(content, body):
    """The plaintext: 64 KiB chunks whose nonce is be88(index) and a byte that is 1 for the last chunk only."""
    cipher = AESGCM(hkdf(content, b"", b"s3veil/v1/put\0", 32))
    chunks = [body[at : at + CHUNK + TAG] for at in range(0, len(body), CHUNK + TAG)] or [b""]
    if len(chunks) > 1 and len(chunks[-1]) <= TAG:
        raise Refused("an empty chunk after another one")
    last = len(chunks) - 1
    return b"".join(cipher.decrypt(i.to_bytes(11, "big") + bytes([i == last]), chunk, None) for i, chunk in enumerate(chunks))


def context(realm):
    return {"s3veil:version": "1", "s3veil:realm": realm}


def canonical(context):
    texts = [text.encode() for name in sorted(context, key=str.encode) for text in (name, context[name])]
    return len(context).to_bytes(4, "big") + b"".join(len(text).to_bytes(4, "big") + text for text in texts)


def unwrap_local(keyring, blob, context):
    """The data key of a local keyring's blob: version(1)=1 | len8 | key id | salt(32) | wrapped(48)."""
    end = 2 + blob[1] + 32
    prefix, key_id, salt, wrapped = blob[:end], blob[2 : end - 32].decode(), blob[end - 32 : end], blob[end:]
    secrets = {key["id"]: base64.b64decode(key["secret"]) for key in keyring["key"]}
    if blob[0] != 1 or len(wrapped) != 48 or key_id not in secrets:
        raise Refused("no key of this keyring")
    wrap_key = hkdf(secrets[key_id], salt, b"s3veil/keyring/local/v1\0", 32)
    return AESGCM(wrap_key).decrypt(bytes(12), wrapped, prefix + canonical(context))


def read_native(body, metadata, realm, key, unwrap):
    """`unwrap(blob, context)` gives the data key; raises Refused or InvalidTag for anything that was not sealed so."""
    blob, envelope = (base64.b64decode(metadata["encryption-" + name], validate=True) for name in ("key", "envelope"))
    return open_body(content_key(unwrap(blob, context(realm)), envelope, realm, key), body)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("body", "metadata", "realm", "key"):
        arguments.add_argument(name)
    source = arguments.add_mutually_exclusive_group(required=True)
    source.add_argument("--data-key", type=bytes.fromhex)
    source.add_argument("--keyring", type=argparse.FileType("rb"))
    given = arguments.parse_args()
    metadata = {name.lower().removeprefix("x-amz-meta-"): value for name, value in json.load(open(given.metadata)).items()}
    keyring = tomllib.load(given.keyring) if given.keyring else None
    unwrap = (lambda blob, context: unwrap_local(keyring, blob, context)) if keyring else (lambda *_: given.data_key)
    sys.stdout.buffer.write(read_native(open(given.body, "rb").read(), metadata, given.realm, given.key, unwrap))


if __name__ == "__main__":
    main()
