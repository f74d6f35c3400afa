"""Writes tests/vectors/format/*.json: one object each, and what a reader must do with it.

    python tests/format/make_vectors.py        (needs the `cryptography` package)

Everything is fixed, so running it again changes nothing. Bodies are described, not stored: the plaintext is a pattern of
`plaintext_length` bytes, `body_sha256` is the hash of its sealed chunks, and `chunks` says in which order a hostile storage
returns them. A body of another making stands in `body`, in base64. Multipart bodies: see `multipart`.
"""

import base64
import hashlib
import json
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from read_native import CHUNK, END_KEY, LAST, LAST_WITH_LAYOUT, MIDDLE, NO_BINDING, REALM, REALM_AND_KEY, TERMINATOR, hkdf
from write_native import Seal

FOLDER = Path(__file__).parent.parent / "vectors" / "format"
DATA_KEY, SALT, CONTENT_KEY = bytes(range(32)), bytes(range(32, 64)), bytes(range(64, 96))
CUSTOMER_KEY, OTHER_CUSTOMER_KEY = bytes(range(200, 232)), bytes(range(201, 233))
NAMES = {NO_BINDING: "none", REALM: "realm", REALM_AND_KEY: "realm+key"}


def pattern(length):
    return bytes((i * 31 + i // 251) & 0xFF for i in range(length))


def seal(**choices):
    """By default that of a vector whose plaintext has 5 bytes."""
    return Seal(**{"data_key": DATA_KEY, "realm": "realm", "key": "dir/key", "content_key": CONTENT_KEY, "salt": SALT, "length": 5} | choices)


def attributes(envelope, sealed):
    """Appends attributes, sealed under their own key."""
    key = hkdf(CONTENT_KEY, envelope[12:44], b"s3veil/v1/attributes\0", 32)
    return envelope + AESGCM(key).encrypt(bytes(12), sealed, envelope)


def vector(name, comment, expect, rule, *, sealer=None, envelope=None, header=None, length=5, chunks=None, body=None, told=None, copied_from=None):
    sealer = sealer or seal(length=length)
    whole = sealer.body(pattern(length))
    envelope = sealer.envelope() if envelope is None else envelope
    document = {
        "comment": comment,
        "expect": expect,
        "rule": rule,
        "data_key": sealer.data_key.hex(),
        "salt": sealer.salt.hex(),
        "content_key": CONTENT_KEY.hex(),
        "sealed_as": {"realm": sealer.realm, "object_key": sealer.key, "binding": NAMES.get(sealer.binding)},
        "opened_as": {"realm": "realm", "object_key": "dir/key", "least_binding": "realm+key", "data_key": DATA_KEY.hex()}
        | (told or {}),
        "envelope": header or base64.b64encode(envelope).decode(),
        "plaintext_length": length,
        "body_sha256": hashlib.sha256(whole).hexdigest(),
    }
    if sealer.customer_key:
        document["customer_key"] = sealer.customer_key.hex()
    if chunks is not None:
        document["chunks"] = chunks
    if body is not None:
        document["body"] = base64.b64encode(body).decode()
    if copied_from is not None:
        document["copied_from"] = copied_from
    (FOLDER / f"{name}.json").write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def flipped(data, at):
    return flipped_bits(data, at, 1)


def flipped_bits(data, at, bits):
    return data[:at] + bytes([data[at] ^ bits]) + data[at + 1 :]


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
    key = "é" * 512
    vector("ok_long_key", "a key of 1,024 bytes, the most that S3 allows", "ok", "F-10", sealer=seal(key=key), told={"object_key": key})
    vector("ok_aes256", "bit 2: responses name AES256", "ok", "F-08", sealer=seal(flags=4))
    crc = attributes(seal().envelope(), bytes([1, 4, 1, 2, 3, 4]))
    vector("ok_attributes", "a CRC-32", "ok", "F-14", envelope=crc)
    vector("ok_attribute_of_later_version", "tag 200 is skipped", "ok", "F-15", envelope=attributes(seal().envelope(), bytes([1, 4, 1, 2, 3, 4, 200, 1, 0])))


def copied():
    """The envelope of a copy: the same content key, attributes and body, and everything else its own."""
    sealed = bytes([1, 4, 1, 2, 3, 4, 200, 1, 7])
    source = {
        "envelope": base64.b64encode(attributes(seal().envelope(), sealed)).decode(),
        "data_key": DATA_KEY.hex(), "realm": "realm", "object_key": "dir/key",
    }  # fmt: skip
    copy = seal(data_key=bytes(range(100, 132)), realm="other", key="copy", binding=REALM, salt=bytes(range(132, 164)))
    told = {"realm": "other", "object_key": "copy", "data_key": copy.data_key.hex(), "least_binding": "realm"}
    envelope = attributes(copy.envelope(), sealed)
    vector("ok_copied", "another name, realm, binding and data key", "ok", "F-53", sealer=copy, envelope=envelope, told=told, copied_from=source)
    told = {"realm": "other", "object_key": "copy", "least_binding": "none"}
    vector("copied_without_new_envelope", "copied by the storage alone", "Commitment", "F-53", told=told)


def bad_envelopes():
    plain = seal().envelope()
    header = base64.b64encode(plain).decode()
    vector("base64_unpadded", "padding missing", "Encoding", "F-04", header=header.rstrip("="))
    vector("base64_url_alphabet", "- and _ for + and /", "Encoding", "F-04", header="-_" + header[2:])
    last = header[-3]
    vector("base64_trailing_bits", "unused bits set in the last character", "Encoding", "F-04", header=header[:-3] + chr(ord(last) + 1) + "==")
    vector("envelope_short", "123 bytes", "EnvelopeLength", "F-04", envelope=plain[:-1])
    vector("envelope_with_a_tag_of_nothing", "140 bytes: attributes can't be empty", "EnvelopeLength", "F-04", envelope=plain + bytes(16))
    vector("version_2", "sealed as version 2", "Version", "F-05", sealer=seal(version=2))
    vector("suite_2", "sealed as suite 2", "Suite", "F-06", sealer=seal(suite=2))
    vector("binding_3", "sealed with binding 3", "UnknownBinding", "F-07", sealer=seal(binding=3))
    vector("binding_weaker_than_policy", "binding 2 where 1 is demanded", "WeakBinding", "F-07", sealer=seal(binding=REALM))
    vector("binding_relabelled", "binding 1 made 2", "Commitment", "F-07", envelope=plain[:2] + b"\2" + plain[3:], told={"least_binding": "none"})
    vector("flags_unknown", "sealed with flag 3", "Flags", "F-08", sealer=seal(flags=8))
    empty = seal(length=0).envelope()
    vector("flags_relabelled", "multipart flag set afterwards", "Commitment", "F-08", length=0, envelope=flipped(empty, 3))
    vector("flags_aes256_removed", "flag 2 removed afterwards", "Commitment", "F-08", envelope=flipped_bits(seal(flags=4).envelope(), 3, 4))
    vector("salt_altered", "one bit", "Commitment", "F-11", envelope=flipped(plain, 12))
    vector("commitment_altered", "one bit", "Commitment", "F-11", envelope=flipped(plain, 44))
    vector("wrapped_key_altered", "one bit", "EnvelopeTag", "F-12", envelope=flipped(plain, 76))
    vector("data_key_zero", "opened with a key of zeros", "Commitment", "F-11", told={"data_key": bytes(32).hex()})
    vector("other_realm", "moved to another realm", "Commitment", "F-10", told={"realm": "other"})
    vector("other_object_key", "moved to another key", "Commitment", "F-10", told={"object_key": "dir/other"})
    vector("fields_shifted", "realm|key to rea|lmkey", "Commitment", "F-10", told={"realm": "real", "object_key": "mdir/key"})
    vector("attributes_altered", "one bit", "EnvelopeTag", "F-14", envelope=flipped(attributes(plain, bytes([1, 4, 1, 2, 3, 4])), 126))
    for name, sealed in [
        ("descending", bytes([2, 4, 1, 2, 3, 4, 1, 4, 1, 2, 3, 4])),
        ("repeated", bytes([1, 4, 1, 2, 3, 4, 1, 4, 1, 2, 3, 4])),
        ("wrong_length", bytes([1, 3, 1, 2, 3])),
        ("left_over", bytes([1, 4, 1, 2, 3, 4, 9])),
        ("cut", bytes([1, 4, 1, 2, 3, 4, 200, 4, 0])),
        ("tag_0", bytes([0, 1, 7, 1, 4, 1, 2, 3, 4])),
    ]:
        vector(f"attributes_{name}", "authentic, but not canonical", "Attributes", "F-15", envelope=attributes(plain, sealed))


def bad_lengths():
    for name, comment, length, told in [
        ("a_byte_short", "5 bytes, the envelope says 4", 5, 4),
        ("a_byte_long", "5 bytes, the envelope says 6", 5, 6),
        ("a_chunk_short", "three chunks, the envelope says two", 2 * CHUNK + 5, CHUNK + 5),
        ("a_chunk_long", "two chunks, the envelope says three", CHUNK + 5, 2 * CHUNK + 5),
        ("of_empty_object", "5 bytes, the envelope says 0", 5, 0),
        ("of_no_chunk", "no bytes, the envelope says a chunk", 0, CHUNK),
    ]:
        vector(f"length_{name}", comment, "Length", "F-24", sealer=seal(length=told), length=length)
    three, whole = {"length": 2 * CHUNK + 5}, seal(length=2 * CHUNK + 5).envelope()
    fitting = whole[:4] + (2 * CHUNK).to_bytes(8, "big") + whole[12:]
    vector("length_cut_with_body", "cut at a chunk edge, in body and envelope", "Commitment", "F-17", envelope=fitting, chunks=[0, 1], **three)
    vector("length_altered", "one bit", "Commitment", "F-17", envelope=flipped(seal().envelope(), 11))
    vector("length_of_40_bits", "2^40 bytes", "PlaintextLength", "F-17", sealer=seal(length=1 << 40))
    vector("length_of_64_bits", "2^64 - 1 bytes", "PlaintextLength", "F-17", sealer=seal(length=(1 << 64) - 1))
    cut = {"sealer": seal(length=2 * CHUNK), **three}
    vector("length_sealed_as_cut", "an authentic length of two chunks, of which none is final", "ChunkTag", "F-26", chunks=[0, 1], **cut)
    early = {"sealer": seal(length=3 * CHUNK), "length": 2 * CHUNK}
    vector("length_sealed_as_extended", "an authentic length of three chunks, of which the second is final", "ChunkTag", "F-26", chunks=[0, 1, 1], **early)
    copy = seal(key="copy", salt=bytes(range(132, 164)), length=4)
    vector("copied_with_another_length", "the copy's envelope says 4 of 5 bytes", "Length", "F-53", sealer=copy, told={"object_key": "copy"})


def bad_bodies():
    sealer = seal()
    body = sealer.body(pattern(5))
    vector("body_bit_flipped", "first byte", "ChunkTag", "F-25", body=flipped(body, 0))
    vector("body_tag_flipped", "last byte", "ChunkTag", "F-25", body=flipped(body, len(body) - 1))
    vector("body_cut_in_chunk", "last byte missing", "Length", "F-24", body=body[:-1])
    vector("body_extended", "one byte more", "Length", "F-24", body=body + b"\0")
    vector("body_shorter_than_a_tag", "15 bytes", "Length", "F-24", body=body[:15])
    vector("body_missing", "no bytes at all", "Length", "F-24", body=b"")
    vector("body_of_other_object", "sealed under another content key", "ChunkTag", "F-20", body=seal(content_key=bytes(32)).body(pattern(5)))
    vector("body_of_shorter_object", "4 bytes under another content key", "Length", "F-24", body=seal(content_key=bytes(32)).body(pattern(4)))
    vector("body_no_final", "the only chunk is not final", "ChunkTag", "F-21", body=sealer.chunks([pattern(5)], final=9)[0])
    three = {"length": 2 * CHUNK + 5}
    vector("chunks_tail_dropped", "cut at a chunk edge", "Length", "F-24", chunks=[0, 1], **three)
    vector("chunks_swapped", "1 0 2", "ChunkTag", "F-21", chunks=[1, 0, 2], **three)
    vector("chunks_last_moved", "0 2 1", "ChunkTag", "F-21", chunks=[0, 2, 1], **three)
    vector("chunks_last_first", "2 0 1", "ChunkTag", "F-21", chunks=[2, 0, 1], **three)
    vector("chunks_first_twice", "0 0 2", "ChunkTag", "F-21", chunks=[0, 0, 2], **three)
    vector("chunks_repeated", "0 0 1 2", "Length", "F-24", chunks=[0, 0, 1, 2], **three)
    vector("chunks_first_dropped", "1 2", "Length", "F-24", chunks=[1, 2], **three)
    vector("chunks_middle_dropped", "0 2", "Length", "F-24", chunks=[0, 2], **three)
    vector("chunks_appended", "0 1 2 2", "Length", "F-24", chunks=[0, 1, 2, 2], **three)
    full = {"length": 3 * CHUNK}
    vector("chunks_full_swapped", "0 2 1, all of one length", "ChunkTag", "F-21", chunks=[0, 2, 1], **full)
    vector("chunks_full_last_repeated", "0 2 2, all of one length", "ChunkTag", "F-21", chunks=[0, 2, 2], **full)
    vector("chunks_full_last_dropped", "0 1 1: the last chunk is not final", "ChunkTag", "F-26", chunks=[0, 1, 1], **full)
    vector("length_impossible", "a full chunk and 16 bytes: an empty last chunk", "Length", "F-24", length=CHUNK, chunks=[0, "empty"])


def multipart(name, comment, expect, rule, parts, *, terminated=False, pieces=None, claimed_parts=..., flags=1, told=0, checksum=None, sealer=None, opened_as=None, copied_from=None):
    """The object of an upload of these parts, [(number, length), ...], and what a storage makes of it: `pieces` are numbers of
    segments, or (number, from, to[, flip]), or bytes. `told` is the length in the envelope. `checksum` is (what the envelope announces, what the last segment carries)."""
    sealer = sealer or seal(flags=flags, length=told)
    length = sum(length for _, length in parts)
    if claimed_parts is ...:
        whole = pieces and all(isinstance(piece, int) for piece in pieces)
        claimed_parts = len(pieces) if whole else len(parts) + terminated
    salts = [bytes([(100 + i) % 256]) * 32 for i in range(len(parts) + 1)]
    announced, carried = checksum or (None, None)
    body_sealer = seal(flags=1) if copied_from else sealer
    segments = body_sealer.segments(parts, pattern(length), terminated, salts, carried)
    envelope = sealer.envelope()
    if announced is not None:
        envelope = attributes(envelope, bytes([11, 1, announced]))
    document = {
        "comment": comment,
        "expect": expect,
        "rule": rule,
        "data_key": DATA_KEY.hex(),
        "salt": sealer.salt.hex(),
        "content_key": CONTENT_KEY.hex(),
        "sealed_as": {"realm": "realm", "object_key": sealer.key, "binding": "realm+key"},
        "opened_as": {"realm": "realm", "object_key": sealer.key, "least_binding": "realm+key", "data_key": DATA_KEY.hex()} | (opened_as or {}),
        "envelope": base64.b64encode(envelope).decode(),
        "layout": {"parts": parts, "terminated": terminated},
        "plaintext_length": length,
        "body_sha256": hashlib.sha256(b"".join(segments)).hexdigest(),
        "claimed_parts": claimed_parts,
    }
    if sealer.customer_key:
        document["customer_key"] = sealer.customer_key.hex()
    if body_sealer.customer_key:
        document["with_end_key"] = True
    if copied_from is not None:
        document["copied_from"] = copied_from
    if carried is not None:
        document["carried_checksum"] = carried.hex()
    if pieces is not None:
        document["pieces"] = [described(piece) for piece in pieces]
    text = json.dumps(document, indent=1, ensure_ascii=False)
    for part in parts:
        text = text.replace(json.dumps(part, indent=1).replace("\n", "\n   "), json.dumps(part))
    (FOLDER / f"{name}.json").write_text(text + "\n")


def described(piece):
    if isinstance(piece, int):
        return {"segment": piece}
    if isinstance(piece, bytes):
        return {"bytes": base64.b64encode(piece).decode()}
    return dict(zip(("segment", "from", "to", "flip"), piece))


REGULAR = [(1, CHUNK), (2, CHUNK), (3, 9)]
LARGE_LAST = [(1, CHUNK), (2, 2 * CHUNK + 1)]
UNEVEN = [(1, 70_000), (2, 9), (3, 500)]


def good_multipart():
    multipart("multipart_ok_aes256", "flags 0 and 2", "ok", "F-08", [(1, 1)], flags=5)
    multipart("multipart_ok_empty", "one empty part", "ok", "F-34", [(1, 0)])
    multipart("multipart_ok_one_byte", "one part of one byte", "ok", "F-30", [(1, 1)])
    multipart("multipart_ok_regular", "three parts, the last is small", "ok", "F-37", REGULAR)
    multipart("multipart_ok_empty_last", "the last part is empty", "ok", "F-34", [(1, CHUNK), (2, 0)])
    multipart("multipart_ok_terminator", "two parts and a terminator", "ok", "F-36", LARGE_LAST, terminated=True)
    multipart("multipart_ok_one_part_terminator", "one part and a terminator", "ok", "F-36", [(1, 7)], terminated=True)
    multipart("multipart_ok_uneven", "a layout in the last part", "ok", "F-41", UNEVEN)
    multipart("multipart_ok_uneven_terminator", "a layout in the terminator", "ok", "F-41", UNEVEN, terminated=True)
    multipart("multipart_ok_even_of_several_lengths", "even, but not regular", "ok", "F-37", [(1, CHUNK), (2, 2 * CHUNK), (3, 5)])
    multipart("multipart_ok_gaps", "parts 2, 5 and a client's 10,000", "ok", "F-37", [(2, CHUNK), (5, CHUNK), (10_000, 9)])
    multipart("multipart_ok_gaps_terminator", "parts 1 and 9,999", "ok", "F-37", [(1, CHUNK), (9_999, CHUNK)], terminated=True)
    multipart("multipart_ok_no_padding", "the length does not invert by itself", "ok", "F-40", [(1, CHUNK - 100), (2, CHUNK - 5)])
    multipart("multipart_ok_parts_not_claimed", "the storage does not say how many", "ok", "F-43", UNEVEN, claimed_parts=None)
    many = [(n, n) for n in range(1, 201)]
    multipart("multipart_ok_200_parts", "parts of 1 to 200 bytes", "ok", "F-41", many, terminated=True)


CRC64, SHA256_OF_PARTS = (0x83, bytes(range(1, 9))), (0x05, bytes(range(100, 132)))


def carried_checksums():
    for name, comment, parts, terminated in [
        ("last", "in a small last part", REGULAR, False),
        ("terminator", "in a terminator", LARGE_LAST, True),
        ("layout", "in a last part with a layout", UNEVEN, False),
        ("layout_terminator", "in a terminator with a layout", UNEVEN, True),
        ("empty", "in the only part, which is empty", [(1, 0)], False),
    ]:
        multipart(f"multipart_ok_checksum_{name}", f"CRC-64/NVME of all bytes, {comment}", "ok", "F-54", parts, terminated=terminated, checksum=CRC64)
    multipart("multipart_ok_checksum_composite", "SHA-256 of the parts' SHA-256", "ok", "F-54", REGULAR, checksum=SHA256_OF_PARTS)
    multipart("multipart_ok_checksum_not_announced", "carried, but no algorithm: a copy with another checksum", "ok", "F-54", REGULAR, checksum=(None, bytes(range(4))))
    multipart("multipart_ok_checksum_of_later_version", "the algorithm 77 is announced", "ok", "F-54", REGULAR, checksum=(77, bytes(range(1, 9))))
    multipart("multipart_ok_checksum_not_carried", "announced, but there was no room", "ok", "F-54", REGULAR, checksum=(0x83, None))
    for name, flip in [("altered", 40), ("salt_altered", 20), ("commitment_altered", 70)]:
        multipart(f"multipart_checksum_{name}", "one bit", "SegmentCommitment", "F-54", REGULAR, pieces=[0, 1, (2, 0, 105, flip)], checksum=CRC64)
    salts = [bytes([100 + i]) * 32 for i in range(4)]
    last = seal(flags=1).segments(REGULAR, pattern(2 * CHUNK + 9), False, salts, CRC64[1])[2]
    multipart("multipart_checksum_flag_removed", "flag 8 removed", "SegmentCommitment", "F-54", REGULAR, pieces=[0, 1, flipped_bits(last, 1, 8)], checksum=CRC64)
    plain = seal(flags=1).segments(REGULAR, pattern(2 * CHUNK + 9), False, salts)[2]
    multipart("multipart_checksum_flag_added", "flag 8 added", "SegmentCommitment", "F-54", REGULAR, pieces=[0, 1, flipped_bits(plain, 1, 8)])
    middle = seal(flags=1).segment(1, pattern(5), MIDDLE, salt=SALT, checksum=CRC64[1])
    multipart("multipart_checksum_in_middle", "flag 8 alone", "SegmentHeader", "F-54", [(1, 5)], pieces=[middle])
    multipart("multipart_checksum_long", "9 bytes of a CRC-64", "Checksum", "F-54", REGULAR, checksum=(0x83, bytes(range(1, 10))))
    multipart("multipart_checksum_too_long_algorithm", "SHA-512 announced", "Checksum", "F-54", REGULAR, checksum=(0x06, bytes(range(1, 33))))


def bad_segments():
    sealer = seal(flags=1)

    def one(name, comment, expect, rule, flags, number=1, plaintext=b"", **choices):
        segment = sealer.segment(number, plaintext, flags, salt=SALT, **choices)
        multipart(f"multipart_{name}", comment, expect, rule, [(1, 0)], pieces=[segment])

    one("version_2", "sealed as version 2", "SegmentHeader", "F-31", LAST, version=2)
    one("flags_2", "a terminator that is not last", "SegmentHeader", "F-31", 2, 10_000)
    one("flags_16", "an unknown flag", "SegmentHeader", "F-31", 17)
    one("part_0", "part 0", "SegmentHeader", "F-31", LAST, 0)
    one("part_10001", "part 10,001", "SegmentHeader", "F-31", LAST, 10_001)
    one("terminator_of_other_number", "part 9,999", "SegmentHeader", "F-31", TERMINATOR, 9_999)
    one("terminator_with_plaintext", "5 bytes", "SegmentHeader", "F-31", TERMINATOR, 10_000, b"12345")
    one("layout_flag_without_tail", "flag 5, tail length 0", "SegmentHeader", "F-31", LAST_WITH_LAYOUT)
    one("length_over_40_bits", "plaintext length 2^40", "SegmentHeader", "F-31", LAST, length=1 << 40)
    one("empty_middle", "an empty part that is not the last", "SegmentHeader", "F-31", MIDDLE)
    one("terminator_alone", "nothing before it", "SegmentOrder", "F-36", TERMINATOR, 10_000, digest=hashlib.sha256().digest())
    one("middle_alone", "another segment should follow", "MissingLast", "F-35", MIDDLE, 1, b"12345")
    one("part_2_alone", "part 2, no layout", "SegmentOrder", "F-37", LAST, 2, b"12345")
    one("length_lies", "5 bytes sealed, 6 announced in an authentic header", "BodyLength", "F-32", LAST, 1, b"12345", length=6)
    for name, at, expect in [("commitment", 60, "SegmentCommitment"), ("salt", 20, "SegmentCommitment"), ("length", 15, "SegmentCommitment")]:
        multipart(f"multipart_{name}_altered", "one bit", expect, "F-32", [(1, 5)], pieces=[(0, 0, 101, at)])
    multipart("multipart_number_altered", "one bit", "SegmentCommitment", "F-32", [(1, 5)], pieces=[(0, 0, 101, 2)])
    multipart("multipart_relabelled_as_middle", "the flag last removed", "SegmentCommitment", "F-32", [(1, 5)], pieces=[(0, 0, 101, 1)])
    multipart("multipart_chunk_altered", "one bit", "ChunkTag", "F-34", [(1, 5)], pieces=[(0, 0, 101, 80)])
    of_put = "a multipart body of 101 bytes under an envelope without the flag"
    multipart("multipart_envelope_of_put", of_put, "ChunkTag", "F-28", [(1, 5)], flags=0, told=101 - 16)
    multipart("multipart_envelope_of_empty_put", of_put, "Length", "F-24", [(1, 5)], flags=0)
    multipart("multipart_with_length", "the envelope says 5 bytes, which the part has", "PlaintextLength", "F-17", [(1, 5)], told=5)


def bad_order():
    for name, comment, expect, pieces in [
        ("last_dropped", "0 1", "MissingLast", [0, 1]),
        ("first_dropped", "1 2", "SegmentOrder", [1, 2]),
        ("middle_dropped", "0 2", "SegmentOrder", [0, 2]),
        ("swapped", "1 0 2", "SegmentOrder", [1, 0, 2]),
        ("repeated", "0 0 1 2", "SegmentOrder", [0, 0, 1, 2]),
        ("last_repeated", "0 1 2 2", "BodyLength", [0, 1, 2, 2]),
        ("last_first", "2 0 1", "SegmentOrder", [2, 0, 1]),
        ("cut_in_header", "79 bytes of the last header", "BodyLength", [0, 1, (2, 0, 79)]),
        ("cut_in_chunk", "one byte", "BodyLength", [0, 1, (2, 0, 104)]),
        ("byte_appended", "one byte", "BodyLength", [0, 1, 2, b"\0"]),
        ("chunks_exchanged", "of segments 0 and 1", "ChunkTag", [(0, 0, 80), (1, 80, 65_632), (1, 0, 80), (0, 80, 65_632), 2]),
    ]:
        multipart(f"multipart_{name}", comment, expect, "F-35", REGULAR, pieces=pieces)
    for name, comment, expect, pieces in [
        ("terminator_dropped", "0 1", "MissingLast", [0, 1]),
        ("terminator_after_fewer", "0 T", "SegmentCommitment", [0, 2]),
        ("terminator_repeated", "0 1 T T", "BodyLength", [0, 1, 2, 2]),
    ]:
        multipart(f"multipart_{name}", comment, expect, "F-36", LARGE_LAST, terminated=True, pieces=pieces)
    other = Seal(DATA_KEY, "realm", "dir/key", flags=1, content_key=bytes(32)).segment(3, pattern(9), LAST, salt=SALT)
    multipart("multipart_of_other_upload", "the last segment is another upload's", "SegmentCommitment", "F-32", REGULAR, pieces=[0, 1, other])
    stale = seal().segment(1, pattern(500), MIDDLE, salt=SALT)
    multipart("multipart_stale_part", "part 1 as it was once uploaded, of another length", "Irregular", "F-37", REGULAR, pieces=[stale, 1, 2])
    multipart("multipart_too_few_claimed", "3 segments, 2 claimed", "MissingLast", "F-43", REGULAR, pieces=[0, 1, 2], claimed_parts=2)
    multipart("multipart_more_than_bytes_claimed", "101 bytes, 2 segments claimed", "Length", "F-38", [(1, 5)], pieces=[0], claimed_parts=2)
    multipart("multipart_0_claimed", "101 bytes, no segment claimed", "Length", "F-38", [(1, 5)], pieces=[0], claimed_parts=0)
    multipart("multipart_too_many_claimed", "3 segments, 4 claimed", "BodyLength", "F-43", REGULAR, pieces=[0, 1, 2], claimed_parts=4)


def bad_layouts():
    last, tail = len(seal().segments(UNEVEN, pattern(70_509))[2]), 7 * 3 + 96
    padding = last - 80 - 516 - tail
    for name, comment, expect, rule, flip in [
        ("layout_altered", "one bit", "LayoutTag", "F-41", last - tail),
        ("layout_footer_altered", "one bit of the commitment", "SegmentCommitment", "F-41", last - 1),
        ("layout_salt_altered", "one bit of the footer's salt", "SegmentCommitment", "F-41", last - 40),
        ("padding_altered", "one bit", "Layout", "F-40", last - tail - padding),
    ]:
        multipart(f"multipart_{name}", comment, expect, rule, UNEVEN, pieces=[0, 1, (2, 0, last, flip)])
    multipart("multipart_layout_dropped", "the tail cut off", "Irregular", "F-37", UNEVEN, pieces=[0, 1, (2, 0, 596)])
    multipart("multipart_segment_of_layout_dropped", "0 2", "SegmentOrder", "F-35", UNEVEN, pieces=[0, 2])
    multipart("multipart_uneven_swapped", "1 0 2", "SegmentOrder", "F-35", UNEVEN, pieces=[1, 0, 2])
    stale = [seal().segment(number, pattern(length), MIDDLE, salt=SALT) for number, length in [(1, 69_999), (2, 10)]]
    multipart("multipart_layout_of_other_lengths", "parts 1 and 2 as they were once uploaded", "Layout", "F-41", UNEVEN, pieces=[*stale, 2])
    resent = seal().segment(3, pattern(70_509)[-500:], LAST_WITH_LAYOUT, UNEVEN, salt=SALT)
    multipart("multipart_layout_of_other_upload", "the tail of part 3 as it was uploaded again", "Layout", "F-41", UNEVEN, pieces=[0, 1, (2, 0, last - tail), resent[-tail:]])

    def tailed(name, comment, expect, rule, layout, plaintext=b"", number=1, **choices):
        segment = seal().segment(number, plaintext, LAST_WITH_LAYOUT, layout, salt=SALT, **choices)
        multipart(f"multipart_{name}", comment, expect, rule, [(1, 0)], pieces=[segment])

    tailed("regular_with_layout", "a layout where none belongs", "Layout", "F-37", [(1, 0)], padding=0)
    tailed("layout_of_other_number", "part 2 says that it is part 3", "Layout", "F-41", [(3, 0)], number=2, padding=65_552 + 1 - 103)
    tailed("padding_longer_than_needed", "one byte more, and still no length that inverts", "Layout", "F-40", [(2, 0)], number=2, padding=65_552 + 2 - 103)
    plain = seal().segment(2, pattern(9), LAST, salt=SALT)
    multipart("multipart_uneven_without_layout", "two parts of 9 bytes", "Irregular", "F-37", [(1, 9)], pieces=[seal().segment(1, pattern(9), MIDDLE, salt=SALT), plain], claimed_parts=2)


def customer_keys():
    """Objects with a customer key (SSE-C), and what becomes of them without it, with another, and without the flag."""
    own = {"customer_key": CUSTOMER_KEY.hex()}
    customer = seal(customer_key=CUSTOMER_KEY)
    envelope = customer.envelope()
    vector("customer_ok", "one PUT of 5 bytes", "ok", "F-70", sealer=customer, told=own)
    vector("customer_ok_attributes", "with a CRC-32", "ok", "F-14", sealer=customer, envelope=attributes(envelope, bytes([1, 4, 1, 2, 3, 4])), told=own)
    vector("customer_none_given", "opened without the customer key", "CustomerKeyMissing", "F-70", sealer=customer)
    vector("customer_needless", "an object without one, opened with one", "CustomerKeySurplus", "F-70", told=own)
    other = {"customer_key": OTHER_CUSTOMER_KEY.hex()}
    vector("customer_other_key", "opened with another customer key", "CustomerKeyWrong", "F-71", sealer=customer, told=other)
    bit = {"customer_key": flipped(CUSTOMER_KEY, 31).hex()}
    vector("customer_key_bit", "one bit of the customer key", "CustomerKeyWrong", "F-71", sealer=customer, told=bit)
    zero = {"customer_key": bytes(32).hex()}
    vector("customer_key_of_zeros", "opened with zeros", "CustomerKeyWrong", "F-71", sealer=customer, told=zero)
    vector("customer_commitment_altered", "one bit", "Commitment", "F-11", sealer=customer, envelope=flipped(envelope, 44), told=own)
    vector("customer_end_key_altered", "one bit", "Commitment", "F-71", sealer=customer, envelope=flipped(envelope, 124), told=own)
    vector("customer_other_data_key", "opened with a data key of zeros", "Commitment", "F-11", sealer=customer, told=own | {"data_key": bytes(32).hex()})
    vector("customer_other_object_key", "moved to another key", "Commitment", "F-10", sealer=customer, told=own | {"object_key": "dir/other"})
    stripped = flipped_bits(envelope, 3, 2)
    vector("customer_flag_removed", "flag 1 removed: the end key is where attributes would be", "Commitment", "F-08", sealer=customer, envelope=stripped)
    cut = flipped_bits(envelope, 3, 2)[:124]
    vector("customer_flag_and_end_key_removed", "an envelope as of no customer key", "Commitment", "F-08", sealer=customer, envelope=cut)
    added = flipped_bits(seal().envelope(), 3, 2) + bytes(48)
    vector("customer_flag_added", "flag 1 added to an object without customer key", "Commitment", "F-71", envelope=added, told=own)
    vector("customer_flag_with_aes256", "flags 1 and 2", "Flags", "F-08", sealer=customer, envelope=flipped_bits(envelope, 3, 4), told=own)
    vector("customer_envelope_short", "171 bytes", "EnvelopeLength", "F-04", sealer=customer, envelope=envelope[:-1], told=own)
    forged = seal(customer_key=CUSTOMER_KEY, content_key=bytes(32)).envelope()[124:]
    vector("customer_end_key_of_other_object", "another object's end key", "Commitment", "F-71", sealer=customer, envelope=envelope[:124] + forged, told=own)
    names = envelope[:12] + b"\0\0\0\5realm\0\0\0\7dir/key"
    wrap_key = hkdf(DATA_KEY, SALT, b"s3veil/v1/end-key\0" + names, 32)
    forged = AESGCM(wrap_key).encrypt(bytes(12), bytes(32), envelope[:124])
    vector("customer_end_key_not_of_content_key", "sealed by who has the data key alone", "EnvelopeTag", "F-72", sealer=customer, envelope=envelope[:124] + forged, told=own)
    vector("customer_body_bit_flipped", "first byte", "ChunkTag", "F-25", sealer=customer, body=flipped(customer.body(pattern(5)), 0), told=own)

    source = {"envelope": base64.b64encode(envelope).decode(), "data_key": DATA_KEY.hex(), "realm": "realm", "object_key": "dir/key"} | own
    copy = seal(key="copy", salt=bytes(range(132, 164)), customer_key=OTHER_CUSTOMER_KEY)
    told = {"object_key": "copy"} | other
    vector("customer_ok_copied", "a copy under another customer key", "ok", "F-53", sealer=copy, told=told, copied_from=source)
    copy = seal(key="copy", salt=bytes(range(132, 164)))
    vector("customer_ok_copied_away", "a copy without customer key", "ok", "F-53", sealer=copy, told={"object_key": "copy"}, copied_from=source)
    source = {"envelope": base64.b64encode(seal().envelope()).decode(), "data_key": DATA_KEY.hex(), "realm": "realm", "object_key": "dir/key"}
    copy = seal(key="copy", salt=bytes(range(132, 164)), customer_key=CUSTOMER_KEY)
    vector("customer_ok_copied_there", "a copy of an object without one", "ok", "F-53", sealer=copy, told={"object_key": "copy"} | own, copied_from=source)


def customer_uploads():
    own = {"customer_key": CUSTOMER_KEY.hex()}

    def upload(name, comment, expect, rule, parts, **choices):
        sealer = seal(flags=1, length=0, customer_key=CUSTOMER_KEY)
        multipart(f"customer_multipart_{name}", comment, expect, rule, parts, sealer=sealer, opened_as=choices.pop("opened_as", own), **choices)

    upload("ok_regular", "three parts, the last is small", "ok", "F-70", REGULAR)
    upload("ok_terminator", "a terminator under the end key: flags 19", "ok", "F-74", LARGE_LAST, terminated=True)
    upload("ok_layout", "a layout under the end key: flags 21", "ok", "F-74", UNEVEN)
    upload("ok_layout_terminator", "both: flags 23", "ok", "F-74", UNEVEN, terminated=True)
    upload("ok_checksum", "flags 9", "ok", "F-74", REGULAR, checksum=CRC64)
    upload("ok_checksum_terminator", "flags 11", "ok", "F-74", LARGE_LAST, terminated=True, checksum=CRC64)
    upload("ok_checksum_layout", "flags 29", "ok", "F-74", UNEVEN, checksum=CRC64)
    upload("ok_checksum_layout_terminator", "flags 31", "ok", "F-74", UNEVEN, terminated=True, checksum=CRC64)
    upload("other_key", "opened with another customer key", "CustomerKeyWrong", "F-71", REGULAR, opened_as={"customer_key": OTHER_CUSTOMER_KEY.hex()})
    upload("none_given", "opened without the customer key", "CustomerKeyMissing", "F-70", REGULAR, opened_as={})
    source = {"envelope": base64.b64encode(seal(flags=1, length=0).envelope()).decode(), "data_key": DATA_KEY.hex(), "realm": "realm", "object_key": "dir/key"}
    copy = seal(flags=1, length=0, key="copy", salt=bytes(range(132, 164)), customer_key=CUSTOMER_KEY)
    multipart("customer_multipart_ok_copied_there", "a copy of an upload without one: no flag 16", "ok", "F-74", UNEVEN, terminated=True, sealer=copy, opened_as=own, copied_from=source)
    sealer = seal(flags=1, length=0, customer_key=CUSTOMER_KEY)
    salts = [bytes([100 + i]) * 32 for i in range(4)]
    ended = sealer.segments(LARGE_LAST, pattern(3 * CHUNK + 1), True, salts)[2]
    upload("end_key_flag_removed", "flag 16 removed", "SegmentCommitment", "F-74", LARGE_LAST, terminated=True, pieces=[0, 1, flipped_bits(ended, 1, 16)], claimed_parts=3)
    plain = seal(flags=1).segments(LARGE_LAST, pattern(3 * CHUNK + 1), True, salts)[2]
    upload("end_key_flag_added", "flag 16 added", "SegmentCommitment", "F-74", LARGE_LAST, terminated=True, pieces=[0, 1, flipped_bits(plain, 1, 16)], claimed_parts=3)
    for name, comment, flags, choices in [
        ("end_key_in_middle", "flags 16", MIDDLE | END_KEY, {"plaintext": b"12345"}),
        ("end_key_in_last", "flags 17", LAST | END_KEY, {"plaintext": b"12345"}),
        ("end_key_with_checksum", "flags 27: no layout", TERMINATOR | END_KEY, {"checksum": CRC64[1]}),
    ]:
        number = 10_000 if flags & TERMINATOR == TERMINATOR else 1
        segment = sealer.segment(number, choices.pop("plaintext", b""), flags, salt=SALT, **choices)
        upload(name, comment, "SegmentHeader", "F-74", [(1, 5)], pieces=[segment], claimed_parts=1)


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    for old in FOLDER.glob("*.json"):
        old.unlink()
    good()
    copied()
    bad_envelopes()
    bad_lengths()
    bad_bodies()
    good_multipart()
    carried_checksums()
    bad_segments()
    bad_order()
    bad_layouts()
    customer_keys()
    customer_uploads()


if __name__ == "__main__":
    main()
