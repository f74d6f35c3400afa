"""Writes tests/vectors/format/*.json: one object each, and what a reader must do with it.

    python tests/format/make_vectors.py        (needs the `cryptography` package)

Everything is fixed, so running it again changes nothing. Bodies are described, not stored: the plaintext is a pattern of
`plaintext_length` bytes, `body_sha256` is the hash of its sealed chunks, and `chunks` says in which order a hostile storage
returns them. A body of another making stands in `body`, in base64.
"""

import base64
import hashlib
import json
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from read_native import CHUNK, NO_BINDING, REALM, REALM_AND_KEY, hkdf
from write_native import Seal

FOLDER = Path(__file__).parent.parent / "vectors" / "format"
DATA_KEY, SALT, CONTENT_KEY = bytes(range(32)), bytes(range(32, 64)), bytes(range(64, 96))
NAMES = {NO_BINDING: "none", REALM: "realm", REALM_AND_KEY: "realm+key"}


def pattern(length):
    return bytes((i * 31 + i // 251) & 0xFF for i in range(length))


def seal(**choices):
    return Seal(**{"data_key": DATA_KEY, "realm": "realm", "key": "dir/key", "content_key": CONTENT_KEY, "salt": SALT} | choices)


def attributes(envelope, sealed):
    """Appends attributes, sealed under their own key."""
    key = hkdf(CONTENT_KEY, SALT, b"s3veil/v1/attributes\0", 32)
    return envelope + AESGCM(key).encrypt(bytes(12), sealed, envelope)


def vector(name, comment, expect, rule, *, sealer=None, envelope=None, header=None, length=5, chunks=None, body=None, told=None):
    sealer = sealer or seal()
    whole = sealer.body(pattern(length))
    envelope = sealer.envelope() if envelope is None else envelope
    document = {
        "comment": comment,
        "expect": expect,
        "rule": rule,
        "data_key": DATA_KEY.hex(),
        "salt": SALT.hex(),
        "content_key": CONTENT_KEY.hex(),
        "sealed_as": {"realm": sealer.realm, "object_key": sealer.key, "binding": NAMES.get(sealer.binding)},
        "opened_as": {"realm": "realm", "object_key": "dir/key", "least_binding": "realm+key", "data_key": DATA_KEY.hex()}
        | (told or {}),
        "envelope": header or base64.b64encode(envelope).decode(),
        "plaintext_length": length,
        "body_sha256": hashlib.sha256(whole).hexdigest(),
    }
    if chunks is not None:
        document["chunks"] = chunks
    if body is not None:
        document["body"] = base64.b64encode(body).decode()
    (FOLDER / f"{name}.json").write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def flipped(data, at):
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def good():
    for name, length in [("empty", 0), ("one_byte", 1), ("almost_a_chunk", CHUNK - 1), ("one_chunk", CHUNK)]:
        vector(f"ok_{name}", f"{length} bytes", "ok", "F-23", length=length)
    vector("ok_chunk_and_a_byte", "two chunks, the last of one byte", "ok", "F-22", length=CHUNK + 1)
    vector("ok_two_chunks", "two full chunks, the second one final", "ok", "F-21", length=2 * CHUNK)
    lax = {"least_binding": "none"}
    vector("ok_bound_to_realm", "binding 2, another object key", "ok", "F-10", sealer=seal(binding=REALM, key="elsewhere"), told=lax)
    vector("ok_bound_to_nothing", "binding 0, another realm and key", "ok", "F-10", sealer=seal(binding=NO_BINDING, realm="other", key="x"), told=lax)
    key = "é/☃ //../+%20\"\n"
    vector("ok_odd_key", "the key's bytes count, not its URL", "ok", "F-10", sealer=seal(key=key), told={"object_key": key})
    crc = attributes(seal().envelope(), bytes([1, 4, 1, 2, 3, 4]))
    vector("ok_attributes", "a CRC-32", "ok", "F-14", envelope=crc)
    vector("ok_attribute_of_later_version", "tag 200 is skipped", "ok", "F-15", envelope=attributes(seal().envelope(), bytes([1, 4, 1, 2, 3, 4, 200, 1, 0])))


def bad_envelopes():
    plain = seal().envelope()
    header = base64.b64encode(plain).decode()
    vector("base64_unpadded", "padding missing", "Encoding", "F-04", header=header.rstrip("="))
    vector("base64_url_alphabet", "- and _ for + and /", "Encoding", "F-04", header="-_" + header[2:])
    last = header[-2]
    vector("base64_trailing_bits", "unused bits set in the last character", "Encoding", "F-04", header=header[:-2] + chr(ord(last) + 1) + "=")
    vector("envelope_short", "115 bytes", "EnvelopeLength", "F-04", envelope=plain[:-1])
    vector("envelope_with_a_tag_of_nothing", "132 bytes: attributes can't be empty", "EnvelopeLength", "F-04", envelope=plain + bytes(16))
    vector("version_2", "sealed as version 2", "Version", "F-05", sealer=seal(version=2))
    vector("suite_2", "sealed as suite 2", "Suite", "F-06", sealer=seal(suite=2))
    vector("binding_3", "sealed with binding 3", "UnknownBinding", "F-07", sealer=seal(binding=3))
    vector("binding_weaker_than_policy", "binding 2 where 1 is demanded", "WeakBinding", "F-07", sealer=seal(binding=REALM))
    vector("binding_relabelled", "binding 1 made 2", "Commitment", "F-07", envelope=plain[:2] + b"\2" + plain[3:], told={"least_binding": "none"})
    vector("flags_unknown", "sealed with flag 2", "Flags", "F-08", sealer=seal(flags=2))
    vector("flags_relabelled", "multipart flag set afterwards", "Commitment", "F-08", envelope=plain[:3] + b"\1" + plain[4:])
    vector("salt_altered", "one bit", "Commitment", "F-11", envelope=flipped(plain, 4))
    vector("commitment_altered", "one bit", "Commitment", "F-11", envelope=flipped(plain, 36))
    vector("wrapped_key_altered", "one bit", "EnvelopeTag", "F-12", envelope=flipped(plain, 68))
    vector("data_key_zero", "opened with a key of zeros", "Commitment", "F-11", told={"data_key": bytes(32).hex()})
    vector("other_realm", "moved to another realm", "Commitment", "F-10", told={"realm": "other"})
    vector("other_object_key", "moved to another key", "Commitment", "F-10", told={"object_key": "dir/other"})
    vector("fields_shifted", "realm|key to rea|lmkey", "Commitment", "F-10", told={"realm": "real", "object_key": "mdir/key"})
    vector("attributes_altered", "one bit", "EnvelopeTag", "F-14", envelope=flipped(attributes(plain, bytes([1, 4, 1, 2, 3, 4])), 118))
    for name, sealed in [
        ("descending", bytes([2, 4, 1, 2, 3, 4, 1, 4, 1, 2, 3, 4])),
        ("repeated", bytes([1, 4, 1, 2, 3, 4, 1, 4, 1, 2, 3, 4])),
        ("wrong_length", bytes([1, 3, 1, 2, 3])),
        ("left_over", bytes([1, 4, 1, 2, 3, 4, 9])),
    ]:
        vector(f"attributes_{name}", "authentic, but not canonical", "Attributes", "F-15", envelope=attributes(plain, sealed))


def bad_bodies():
    sealer = seal()
    body = sealer.body(pattern(5))
    vector("body_bit_flipped", "first byte", "ChunkTag", "F-25", body=flipped(body, 0))
    vector("body_tag_flipped", "last byte", "ChunkTag", "F-25", body=flipped(body, len(body) - 1))
    vector("body_cut_in_chunk", "last byte missing", "ChunkTag", "F-26", body=body[:-1])
    vector("body_shorter_than_a_tag", "15 bytes", "Length", "F-24", body=body[:15])
    vector("body_missing", "no bytes at all", "Length", "F-24", body=b"")
    vector("body_of_other_object", "sealed under another content key", "ChunkTag", "F-20", body=seal(content_key=bytes(32)).body(pattern(5)))
    vector("body_no_final", "the only chunk is not final", "ChunkTag", "F-21", body=sealer.chunks([pattern(5)], final=9)[0])
    three = {"length": 2 * CHUNK + 5}
    vector("chunks_tail_dropped", "cut at a chunk edge", "ChunkTag", "F-26", chunks=[0, 1], **three)
    vector("chunks_swapped", "1 0 2", "ChunkTag", "F-21", chunks=[1, 0, 2], **three)
    vector("chunks_repeated", "0 0 1 2", "ChunkTag", "F-21", chunks=[0, 0, 1, 2], **three)
    vector("chunks_first_dropped", "1 2", "ChunkTag", "F-21", chunks=[1, 2], **three)
    vector("chunks_middle_dropped", "0 2", "ChunkTag", "F-21", chunks=[0, 2], **three)
    vector("chunks_appended", "0 1 2 2", "ChunkTag", "F-26", chunks=[0, 1, 2, 2], **three)
    vector("length_impossible", "a full chunk and 16 bytes: an empty last chunk", "Length", "F-24", length=CHUNK, chunks=[0, "empty"])


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    for old in FOLDER.glob("*.json"):
        old.unlink()
    good()
    bad_envelopes()
    bad_bodies()


if __name__ == "__main__":
    main()
