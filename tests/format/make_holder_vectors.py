"""Writes tests/vectors/holders/*.json: one header `encryption-holders` each, one reader, and what the reader must do with it.

    python tests/format/make_holder_vectors.py        (needs the `cryptography` package)

Everything is fixed, so running it again changes nothing. docs/FORMAT.md explains the fields.
"""

import base64
import hashlib
import json
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from make_vectors import CONTENT_KEY, DATA_KEY, flipped, seal
from read_native import LOCAL, MAX_HOLDERS, RECOVERY, context, fingerprint, raw
from write_native import holders_entry, seal_recovery, seal_service

FOLDER = Path(__file__).parent.parent / "vectors" / "holders"
AWS_KMS, VAULT, PKCS11, GCP_KMS, AZURE, KMIP = 1, 3, 4, 5, 6, 7
INNER, HOLDER_KEY, NAME = b"vault:v1:inner", bytes(range(96, 128)), "transit/s3veil"
CONTEXT = context("realm")


def private_key(byte):
    return X25519PrivateKey.from_private_bytes(hashlib.sha256(bytes([byte])).digest())


OPS, OTHER, EPHEMERAL = private_key(1), private_key(2), private_key(3)


def pem(private):
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return private.private_bytes(*form).decode()


def service(kind=VAULT, name=NAME, inner=INNER, key=HOLDER_KEY, *, sealed_as=None, data_key=DATA_KEY, context=CONTEXT):
    """One entry: (kind, fingerprint, blob); `sealed_as` is what it was sealed as, if it was moved to another place."""
    mark = fingerprint(kind, name.encode())
    sealed_kind, sealed_mark = sealed_as or (kind, mark)
    return kind, mark, seal_service(key, inner, data_key, sealed_kind, sealed_mark, context)


def recovery(private=OPS, *, data_key=DATA_KEY, context=CONTEXT, ephemeral=EPHEMERAL):
    public = private.public_key()
    return RECOVERY, fingerprint(RECOVERY, raw(public)), seal_recovery(public, data_key, context, ephemeral)


def with_blob(entry, blob):
    return (*entry[:2], blob)


BY_VAULT = {"holder": {"kind": VAULT, "name": NAME, "inner": base64.b64encode(INNER).decode(), "key": HOLDER_KEY.hex()}}
BY_OPS = {"recovery_key": pem(OPS)}


def vector(name, comment, expect, rule, entries, by=BY_VAULT, *, header=None, data_key=DATA_KEY):
    header = holders_entry(entries) if header is None else header
    header = header if isinstance(header, str) else base64.b64encode(header).decode()
    document = {
        "comment": comment,
        "expect": expect,
        "rule": rule,
        "realm": "realm",
        "object_key": "dir/key",
        "envelope": base64.b64encode(seal().envelope()).decode(),
        "content_key": CONTENT_KEY.hex(),
        "header": header,
        **by,
        "data_key": data_key.hex() if expect in ("ok", "Commitment") else None,
    }
    (FOLDER / f"{name}.json").write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def good():
    names = {
        AWS_KMS: "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab",
        LOCAL: "local-6f1c0e6b8a24d957",
        VAULT: "team/transit/s3veil",
        PKCS11: "token/s3veil",
        GCP_KMS: "projects/p/locations/l/keyRings/r/cryptoKeys/k",
        AZURE: "https://v.vault.azure.net/keys/k",
    }
    for kind, name in names.items():
        by = {"holder": BY_VAULT["holder"] | {"kind": kind, "name": name}}
        vector(f"ok_kind_{kind}", name, "ok", "F-62", [service(kind, name)], by)
    vector("ok_recovery", "a recovery key alone", "ok", "F-66", [recovery()], BY_OPS)
    both = [service(), recovery(OTHER), recovery()]
    vector("ok_service_among_others", "the first of three", "ok", "F-62", both)
    vector("ok_recovery_among_others", "the last of three", "ok", "F-62", both, BY_OPS)
    later = [(KMIP, bytes(8), b"x"), (255, bytes(8), b"x"), (0, bytes(8), b"x"), service()]
    vector("ok_kinds_of_later_versions", "kinds 7, 255 and 0 are skipped", "ok", "F-61", later)
    same = [(KMIP, service()[1], b"x"), (LOCAL, service()[1], b"x"), service()]
    vector("ok_fingerprint_of_another_kind", "one fingerprint, three kinds", "ok", "F-62", same)
    filler = MAX_HOLDERS - 2 - 2 * 11 - len(service()[2])
    vector("ok_longest", "1,536 bytes", "ok", "F-60", [(KMIP, bytes(8), bytes(filler)), service()])
    vector("ok_inner_of_a_byte", "the shortest", "ok", "F-63", [service(inner=b"x")], {"holder": BY_VAULT["holder"] | {"inner": "eA=="}})


def bad_headers():
    honest = holders_entry([service(), recovery()])
    for name, comment, header in [
        ("version_0", "version 0", flipped(honest, 0)),
        ("version_2", "version 2", b"\2" + honest[1:]),
        ("count_0", "no entry", b"\1\0"),
        ("count_too_small", "one of two counted: bytes are left over", b"\1\1" + honest[2:]),
        ("count_too_large", "three of two counted", b"\1\3" + honest[2:]),
        ("empty", "no bytes", b""),
        ("version_alone", "one byte", b"\1"),
        ("cut", "the last byte is missing", honest[:-1]),
        ("cut_in_prefix", "an entry of ten bytes", honest[:12]),
        ("byte_appended", "one byte", honest + b"\0"),
        ("blob_empty", "an entry without a blob, beside an honest one", holders_entry([(KMIP, bytes(8), b""), service()])),
        ("repeated", "one entry twice", holders_entry([service(), service()])),
        ("repeated_unknown", "one of a later version twice", holders_entry([(KMIP, bytes(8), b"x"), (KMIP, bytes(8), b"y"), service()])),
        ("length_beyond_end", "a blob that goes on behind the end", honest[:11] + b"\xff\xff" + honest[13:]),
    ]:
        vector(f"header_{name}", comment, "Holders", "F-61", None, header=header)
    text = base64.b64encode(holders_entry([service(), (KMIP, bytes(8), b"x")])).decode()
    assert text.endswith("=")
    vector("base64_unpadded", "without padding", "Holders", "F-61", None, header=text.rstrip("="))
    vector("base64_url_alphabet", "a - ", "Holders", "F-61", None, header="-" + text[1:])
    vector("base64_space", "a space at the end", "Holders", "F-61", None, header=text + " ")
    last = len(text.rstrip("=")) - 1
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    bits = text[:last] + alphabet[alphabet.index(text[last]) ^ 1] + text[last + 1 :]
    vector("base64_trailing_bits", "another text for the same bytes", "Holders", "F-61", None, header=bits)
    filler = MAX_HOLDERS - 2 - 2 * 11 - len(service()[2])
    vector("header_too_long", "1,537 bytes", "HoldersLength", "F-60", [(KMIP, bytes(8), bytes(filler + 1)), service()])


def bad_entries():
    vector("no_entry_of_this_key", "another key of the kind", "NoHolder", "F-62", [service(name="transit/other")])
    vector("no_entry_of_this_kind", "the fingerprint under another kind", "NoHolder", "F-62", [(LOCAL, *service()[1:])])
    vector("no_entry_of_this_recovery_key", "another recovery key", "NoHolder", "F-62", [recovery(OTHER)], BY_OPS)
    vector("no_known_entry", "a kind of a later version alone", "NoHolder", "F-61", [(KMIP, bytes(8), b"x")])
    entry = service()
    blob = entry[2]
    for name, comment, other in [
        ("cut", "47 bytes are sealed", blob[:-1]),
        ("byte_appended", "49 bytes are sealed", blob + b"\0"),
        ("inner_empty", "no inner", b"\0\0" + blob[-48:]),
        ("inner_beyond_end", "inner goes on behind the end", b"\xff\xff" + blob[2:]),
        ("one_byte", "one byte", b"\0"),
    ]:
        vector(f"service_{name}", comment, "HolderBlob", "F-63", [with_blob(entry, other)])
    mark = fingerprint(VAULT, b"transit/other")
    for name, comment, other in [
        ("altered", "one bit of the data key", with_blob(entry, flipped(blob, len(blob) - 48))),
        ("tag_altered", "one bit of the tag", with_blob(entry, flipped(blob, len(blob) - 1))),
        ("of_another_realm", "sealed for another realm", service(context=context("other"))),
        ("of_another_kind", "sealed as kind 2", service(sealed_as=(LOCAL, entry[1]))),
        ("of_another_key", "sealed as another key's", service(sealed_as=(VAULT, mark))),
        ("under_another_key", "sealed under another key than inner's", service(key=bytes(32))),
    ]:
        vector(f"service_{name}", comment, "HolderTag", "F-63", [other])
    vector("service_inner_altered", "one bit of inner", "HolderKey", "F-63", [with_blob(entry, flipped(blob, 2))])
    vector("service_of_another_object", "a data key that is another object's", "Commitment", "F-65", [service(data_key=bytes(32))], data_key=bytes(32))
    entry = recovery()
    blob = entry[2]
    for name, comment, other in [("cut", "79 bytes", blob[:-1]), ("byte_appended", "81 bytes", blob + b"\0"), ("one_byte", "one byte", b"\0")]:
        vector(f"recovery_{name}", comment, "HolderBlob", "F-66", [with_blob(entry, other)], BY_OPS)
    for name, comment, other in [
        ("enc_altered", "one bit of enc", with_blob(entry, flipped(blob, 0))),
        ("altered", "one bit of the data key", with_blob(entry, flipped(blob, 32))),
        ("tag_altered", "one bit of the tag", with_blob(entry, flipped(blob, 79))),
        ("enc_zero", "enc is a point of low order", with_blob(entry, bytes(32) + blob[32:])),
        ("of_another_realm", "sealed for another realm", recovery(context=context("other"))),
        ("of_another_key", "sealed for another recovery key", with_blob(entry, recovery(OTHER)[2])),
    ]:
        vector(f"recovery_{name}", comment, "HolderTag", "F-66", [other], BY_OPS)
    vector("recovery_of_another_object", "a data key that is another object's", "Commitment", "F-65", [recovery(data_key=bytes(32))], BY_OPS, data_key=bytes(32))


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    for old in FOLDER.glob("*.json"):
        old.unlink()
    good()
    bad_headers()
    bad_entries()


if __name__ == "__main__":
    main()
