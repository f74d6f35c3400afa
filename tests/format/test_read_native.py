"""The independent reader opens what the independent writer sealed, and nothing else. That both agree with the proxy is
tested through the running proxy, in clients/test_independent_reader.py."""

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidTag

import read_native
from read_native import (
    CHUNK, TAG, Refused, content_key, object_checksum, open_body, open_layout, open_multipart, plaintext_length, put_length, read_multipart,
)  # fmt: skip
from write_native import Seal

VECTORS = sorted((Path(__file__).parent.parent / "vectors" / "format").glob("*.json"))

DATA_KEY = bytes(range(32))


def stored(plaintext, **choices):
    seal = Seal(DATA_KEY, "realm", "a/key", length=len(plaintext), **choices)
    return seal.envelope(), seal.body(plaintext)


def opened(envelope, body, realm="realm", key="a/key", data_key=DATA_KEY):
    return open_body(content_key(data_key, envelope, realm, key), body, put_length(envelope))


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_opens_what_was_sealed(size):
    plaintext = os.urandom(size)
    envelope, body = stored(plaintext)
    assert len(body) == size + TAG * max(1, -(-size // CHUNK))
    assert opened(envelope, body) == plaintext


@pytest.mark.parametrize("names", [{"realm": "other"}, {"key": "other"}, {"realm": "real", "key": "ma/key"}])
def test_is_bound_to_its_name(names):
    envelope, body = stored(b"secret")
    with pytest.raises(Refused):
        opened(envelope, body, **names)


def test_another_data_key_is_refused():
    envelope, body = stored(b"secret")
    with pytest.raises(Refused):
        opened(envelope, body, data_key=bytes(32))


@pytest.mark.parametrize("spoil", [
    lambda body: body[: CHUNK + TAG],
    lambda body: body[:-1],
    lambda body: body + b"\0",
    lambda body: body[CHUNK + TAG : 2 * (CHUNK + TAG)] + body[: CHUNK + TAG] + body[2 * (CHUNK + TAG) :],
    lambda body: b"",
    lambda body: bytes([body[0] ^ 1]) + body[1:],
])  # fmt: skip
def test_a_spoilt_body_is_refused(spoil):
    envelope, body = stored(os.urandom(2 * CHUNK + 5))
    with pytest.raises((Refused, InvalidTag, ValueError)):
        opened(envelope, spoil(body))


def test_an_empty_chunk_at_the_end_is_refused():
    seal = Seal(DATA_KEY, "realm", "a/key", length=CHUNK)
    with pytest.raises(Refused):
        opened(seal.envelope(), b"".join(seal.chunks([bytes(CHUNK), b""])))


@pytest.mark.parametrize("length", [0, 4, 6, CHUNK, CHUNK + 5, 1 << 40])
def test_a_body_of_another_length_than_the_envelopes_is_refused(length):
    seal = Seal(DATA_KEY, "realm", "a/key", length=length)
    with pytest.raises(Refused):
        opened(seal.envelope(), seal.body(b"12345"))


def test_a_cut_body_with_a_length_that_fits_is_refused():
    envelope, body = stored(os.urandom(2 * CHUNK + 5))
    relabelled = envelope[:4] + (2 * CHUNK).to_bytes(8, "big") + envelope[12:]
    with pytest.raises(Refused):
        opened(relabelled, body[: 2 * (CHUNK + TAG)])


def test_an_upload_with_a_length_of_its_own_is_refused():
    seal = Seal(DATA_KEY, "realm", "a/key", flags=1, length=5)
    with pytest.raises(Refused):
        content_key(DATA_KEY, seal.envelope(), "realm", "a/key")


def test_the_canonical_context_is_length_prefixed_and_sorted():
    assert read_native.canonical({"b": "2", "a": ""}) == b"\0\0\0\2\0\0\0\1a\0\0\0\0\0\0\0\1b\0\0\0\x012"


def test_command_line(tmp_path):
    envelope, body = stored(b"hello")
    metadata = {"x-amz-meta-encryption-key": base64.b64encode(b"blob").decode(),
                "x-amz-meta-encryption-envelope": base64.b64encode(envelope).decode()}  # fmt: skip
    (tmp_path / "body").write_bytes(body)
    (tmp_path / "metadata").write_text(json.dumps(metadata))
    script = Path(read_native.__file__)
    command = [sys.executable, script, tmp_path / "body", tmp_path / "metadata", "realm", "a/key", "--data-key", DATA_KEY.hex()]
    assert subprocess.run(command, capture_output=True, check=True, timeout=30).stdout == b"hello"


SHAPES = [
    ([(1, 0)], False), ([(1, 1)], False), ([(1, CHUNK), (2, CHUNK), (3, 5)], False), ([(1, CHUNK), (2, 0)], False),
    ([(1, 2 * CHUNK), (2, 3 * CHUNK + 1)], True), ([(1, 7)], True), ([(1, 7), (2, 9), (3, 0)], False), ([(2, 5)], False),
    ([(1, CHUNK), (3, CHUNK), (10_000, 9)], False), ([(1, CHUNK + 1), (2, CHUNK - 1), (7, CHUNK)], True),
    ([(n, 40 - n) for n in range(1, 40)], True),
]  # fmt: skip


def uploaded(parts, terminated):
    seal = Seal(DATA_KEY, "realm", "a/key", flags=1)
    plaintext = os.urandom(sum(length for _, length in parts))
    return seal, plaintext, seal.segments(parts, plaintext, terminated)


@pytest.mark.parametrize("parts, terminated", SHAPES)
def test_opens_an_upload(parts, terminated):
    seal, plaintext, segments = uploaded(parts, terminated)
    body = b"".join(segments)
    assert open_multipart(content_key(DATA_KEY, seal.envelope(), "realm", "a/key"), body) == plaintext
    length = plaintext_length(len(body), len(segments))
    assert length in (len(plaintext), None)
    if length is None:
        layout = open_layout(seal.content_key, body[-7 * len(segments) - 96 :])
        assert layout == parts + [(10_000, 0)] * terminated


@pytest.mark.parametrize("parts, terminated", SHAPES)
def test_a_spoilt_upload_is_refused(parts, terminated):
    seal, _, segments = uploaded(parts, terminated)
    spoilt = [segments[:i] + segments[i + 1 :] for i in range(len(segments))] + [segments + segments[-1:], [*segments, b"\0"]]
    if len(segments) > 1:
        spoilt += [segments[1::-1] + segments[2:], segments[:1] + segments, [segments[-1]]]
    body = b"".join(segments)
    bodies = [b"".join(segments) for segments in spoilt] + [body[:-1], body[:-80]]
    bodies += [body[:i] + bytes([body[i] ^ 1]) + body[i + 1 :] for i in range(0, len(body), 1 + len(body) // 50)]
    for altered in bodies:
        with pytest.raises((Refused, InvalidTag)):
            open_multipart(seal.content_key, altered)


def test_the_envelope_says_which_body_it_is():
    seal, plaintext, segments = uploaded([(1, 5)], False)
    metadata = {"encryption-key": "", "encryption-envelope": base64.b64encode(seal.envelope()).decode()}
    read = read_native.read_native(b"".join(segments), metadata, "realm", "a/key", lambda *_: DATA_KEY)
    assert read == plaintext


def carried(vector):
    return bytes.fromhex(vector["carried_checksum"]) if "carried_checksum" in vector else None


def stored_body(vector):
    """The plaintext of a vector, and the body that it describes: chunks, or slices of an honest upload's segments, and bytes."""
    customer = bytes(1) if vector.get("with_end_key") else None
    seal = Seal(DATA_KEY, "realm", "dir/key", content_key=bytes.fromhex(vector["content_key"]), customer_key=customer)
    plaintext = bytes((i * 31 + i // 251) & 0xFF for i in range(vector["plaintext_length"]))
    if "layout" not in vector:
        chunks = seal.chunks([plaintext[i : i + CHUNK] for i in range(0, len(plaintext), CHUNK)] or [b""])
        chosen = [bytes(TAG) if i == "empty" else chunks[i] for i in vector.get("chunks", range(len(chunks)))]
        return plaintext, base64.b64decode(vector["body"]) if "body" in vector else b"".join(chosen)
    parts = [tuple(part) for part in vector["layout"]["parts"]]
    salts = [bytes([(100 + i) % 256]) * 32 for i in range(len(parts) + 1)]
    segments = seal.segments(parts, plaintext, vector["layout"]["terminated"], salts, carried(vector))
    body = b""
    for piece in vector.get("pieces", [{"segment": i} for i in range(len(segments))]):
        segment = bytearray(segments[piece["segment"]] if "segment" in piece else base64.b64decode(piece["bytes"]))
        if "flip" in piece:
            segment[piece["flip"]] ^= 1
        body += bytes(segment[piece.get("from", 0) : piece.get("to")])
    return plaintext, body


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_agrees_with_the_vectors(path):
    vector = json.loads(path.read_text())
    if path.stem.endswith("_claimed") and vector["expect"] != "ok":
        pytest.skip("this reader is told nothing by the storage")
    if vector["expect"] == "WeakBinding":
        pytest.skip("this reader has no policy")
    metadata = {"encryption-key": "", "encryption-envelope": vector["envelope"]}
    plaintext, body = stored_body(vector)
    reader = vector["opened_as"]
    unwrap = lambda *_: bytes.fromhex(reader["data_key"])  # noqa: E731
    customer = bytes.fromhex(reader["customer_key"]) if "customer_key" in reader else None
    read = lambda: read_native.read_native(body, metadata, reader["realm"], reader["object_key"], unwrap, customer_key=customer)  # noqa: E731
    if vector["expect"] == "ok" and "layout" not in vector:
        assert read() == plaintext
    elif vector["expect"] in ("ok", "Checksum"):
        assert read() == plaintext
        envelope = base64.b64decode(vector["envelope"])
        content = content_key(DATA_KEY, envelope, "realm", reader["object_key"], customer)
        padded = read_multipart(content, body)[1]
        assert padded == (carried(vector) and carried(vector).ljust(32, b"\0"))
        announced = read_native.attributes(content, envelope)
        if vector["expect"] == "Checksum":
            with pytest.raises(Refused):
                object_checksum(announced, padded)
        elif padded and announced and announced[11][0] & 0x7F in read_native.DIGEST_LENGTHS:
            tag, full_object, value = object_checksum(announced, padded)
            assert (tag | (0x80 if full_object else 0), value) == (announced[11][0], carried(vector))
        else:
            assert object_checksum(announced, padded) is None
    elif vector["expect"].startswith("CustomerKey"):
        with pytest.raises(Refused, match=vector["expect"]):
            read()
    else:
        with pytest.raises((Refused, InvalidTag)):
            read()


@pytest.mark.parametrize("parts, terminated", SHAPES)
def test_the_end_key_opens_the_layout_of_an_upload_with_a_customer_key_and_nothing_else(parts, terminated):
    seal = Seal(DATA_KEY, "realm", "a/key", flags=1, customer_key=bytes(32))
    plaintext = os.urandom(sum(length for _, length in parts))
    segments = seal.segments(parts, plaintext, terminated)
    body, envelope = b"".join(segments), seal.envelope()
    assert open_multipart(content_key(DATA_KEY, envelope, "realm", "a/key", bytes(32)), body) == plaintext
    end = read_native.end_key(DATA_KEY, envelope, "realm", "a/key")
    if plaintext_length(len(body), len(segments)) is None:
        layout = open_layout(end, body[-7 * len(segments) - 96 :], is_end_key=True)
        assert layout == parts + [(10_000, 0)] * terminated
    with pytest.raises((Refused, InvalidTag)):
        open_multipart(end, body)
