"""Bodies as SDKs frame them: aws-chunked with signed or unsigned chunks, with and without a trailer or a Content-Length."""

import os

import pytest

from judge import assert_not_stored, assert_refused
from rawsig import CHECKSUMS, SIGNED_CHUNKS, SIGNED_CHUNKS_TRAILER, UNSIGNED, UNSIGNED_TRAILER, Chunks, checksum

CONTENT = os.urandom(200_000)
SIZES = [0, 1, 65_535, 65_536, 65_537, 200_000]
SHA256 = "x-amz-checksum-sha256"


def chunks(mode, content=CONTENT, algorithm="crc32", **spoilt):
    trailer = None if mode == SIGNED_CHUNKS else (f"x-amz-checksum-{algorithm}", checksum(algorithm, content))
    return Chunks(mode, content, **{"trailer": trailer, **spoilt})


MODES = [SIGNED_CHUNKS, SIGNED_CHUNKS_TRAILER, UNSIGNED_TRAILER]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", SIZES)
def test_every_size(proxy, bucket, backend, mode, size):
    raw, path, content = proxy.raw(), f"/{bucket}/object", CONTENT[:size]
    put = raw.put_chunks(path, chunks(mode, content))
    assert put.status == 200, put.body
    assert raw.request("GET", path).body == content
    assert len(backend.store.read(bucket, "object").body) == size + 16 * max(1, -(-size // 65_536))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [8_192, 65_535, 65_537, 131_072, 1 << 20])
def test_every_framing_stores_the_same(proxy, bucket, mode, size):
    raw, path = proxy.raw(), f"/{bucket}/object"
    assert raw.put_chunks(path, chunks(mode, size=size)).status == 200
    assert raw.request("GET", path).body == CONTENT


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", SIZES)
def test_without_a_content_length(proxy, bucket, mode, size):
    """As pyarrow and JS streams send it: Transfer-Encoding: chunked, and only x-amz-decoded-content-length tells the size."""
    raw, path, content = proxy.raw(), f"/{bucket}/object", CONTENT[:size]
    put = raw.put_chunks(path, chunks(mode, content), transfer_chunked=True)
    assert put.status == 200, put.body
    assert raw.request("GET", path).body == content


@pytest.mark.parametrize("mode", [SIGNED_CHUNKS_TRAILER, UNSIGNED_TRAILER])
@pytest.mark.parametrize("algorithm", CHECKSUMS)
def test_every_trailer_checksum(proxy, bucket, mode, algorithm):
    raw, path = proxy.raw(), f"/{bucket}/object"
    put = raw.put_chunks(path, chunks(mode, algorithm=algorithm))
    assert put.status == 200, put.body
    assert raw.request("GET", path).body == CONTENT


@pytest.mark.parametrize("transfer_chunked", [False, True])
@pytest.mark.parametrize("mode", [SIGNED_CHUNKS_TRAILER, UNSIGNED_TRAILER])
@pytest.mark.parametrize("algorithm", CHECKSUMS)
def test_a_wrong_trailer_checksum(proxy, bucket, backend, mode, algorithm, transfer_chunked):
    spoilt = chunks(mode, trailer=(f"x-amz-checksum-{algorithm}", checksum(algorithm, CONTENT + b"!")))
    answer = proxy.raw().put_chunks(f"/{bucket}/object", spoilt, transfer_chunked=transfer_chunked)
    assert_refused(answer, 400, "BadDigest")
    assert_not_stored(backend.store, bucket)


@pytest.mark.parametrize("size", [1, 65_536, 200_000])
def test_a_corrupted_body_under_an_unsigned_trailer(proxy, bucket, backend, size):
    spoilt = chunks(UNSIGNED_TRAILER, CONTENT[:size], swap_bytes_after_signing=True)
    assert_refused(proxy.raw().put_chunks(f"/{bucket}/object", spoilt), 400, "BadDigest")
    assert_not_stored(backend.store, bucket)


@pytest.mark.parametrize("mode", [SIGNED_CHUNKS, SIGNED_CHUNKS_TRAILER])
@pytest.mark.parametrize("index", [0, 1, 3, 4])
def test_a_bad_chunk_signature(proxy, bucket, backend, mode, index):
    """Index 4 is the empty last chunk: all of the content was right until there."""
    answer = proxy.raw().put_chunks(f"/{bucket}/object", chunks(mode, spoil_chunk=index))
    assert_refused(answer, 403, "SignatureDoesNotMatch")
    assert_not_stored(backend.store, bucket)


@pytest.mark.parametrize("mode", [SIGNED_CHUNKS, SIGNED_CHUNKS_TRAILER])
def test_a_chunk_altered_after_signing(proxy, bucket, backend, mode):
    answer = proxy.raw().put_chunks(f"/{bucket}/object", chunks(mode, swap_bytes_after_signing=True))
    assert_refused(answer, 403, "SignatureDoesNotMatch")
    assert_not_stored(backend.store, bucket)


def test_a_bad_trailer_signature(proxy, bucket, backend):
    answer = proxy.raw().put_chunks(f"/{bucket}/object", chunks(SIGNED_CHUNKS_TRAILER, spoil_trailer_signature=True))
    assert_refused(answer, 403, "SignatureDoesNotMatch")
    assert_not_stored(backend.store, bucket)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("transfer_chunked", [False, True])
def test_a_missing_last_chunk(proxy, bucket, backend, mode, transfer_chunked):
    answer = proxy.raw().put_chunks(f"/{bucket}/object", chunks(mode, drop_final=True), transfer_chunked=transfer_chunked)
    assert answer.status in (400, 403) and answer.code, answer.body
    assert_not_stored(backend.store, bucket)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("declared", [0, 1, len(CONTENT) - 1, len(CONTENT) + 1, 1 << 40])
def test_a_wrong_decoded_length(proxy, bucket, backend, mode, declared):
    answer = proxy.raw().put_chunks(f"/{bucket}/object", chunks(mode), decoded_length=declared)
    assert 400 <= answer.status < 500 and answer.code, answer.body
    assert_not_stored(backend.store, bucket)


@pytest.mark.parametrize("announced", [SHA256, "x-amz-meta-a", "content-length"])
def test_a_trailer_that_was_not_announced(proxy, bucket, backend, announced):
    answer = announce(proxy.raw(), proxy.signer(), f"/{bucket}/object", chunks(UNSIGNED_TRAILER), announced)
    assert 400 <= answer.status < 500 and answer.code, answer.body
    assert_not_stored(backend.store, bucket)


def announce(raw, signer, path, body, name):
    """Sends `body` under an x-amz-trailer header that names another checksum."""
    amz_date = signer.amz_date()
    frames = list(body.frames(signer, amz_date, ""))
    headers = {
        "host": raw.authority,
        "x-amz-date": amz_date,
        "x-amz-content-sha256": body.mode,
        "x-amz-decoded-content-length": str(len(body.body)),
        "content-encoding": "aws-chunked",
        "x-amz-trailer": name,
    }
    signature, names = signer.sign_request("PUT", path, "", headers, body.mode, amz_date)
    sent = {**headers, "authorization": signer.authorization(amz_date, names, signature)}
    sent["content-length"] = str(sum(map(len, frames)))
    return raw.send("PUT", path, "", sent, frames)


@pytest.mark.parametrize("spoil", [
    lambda frames: [b"zz\r\n" + frames[0]],
    lambda frames: [b"ffffffffffffffffff\r\n", *frames],
    lambda frames: [b"-5\r\n", *frames],
    lambda frames: [b"5" + b";x=y" * 20_000 + b"\r\n", *frames],
    lambda frames: [frames[0][:-2] + b"xx", *frames[1:]],
    lambda frames: [*frames, b"more after the end"],
    lambda frames: [frames[0].replace(b"\r\n", b"\n", 1), *frames[1:]],
], ids=["no number", "overflow", "negative", "endless extension", "no line end", "bytes after the end", "bare newline"])  # fmt: skip
def test_broken_framing(proxy, bucket, backend, spoil):
    raw, signer = proxy.raw(), proxy.signer()
    body = chunks(UNSIGNED_TRAILER)
    frames = spoil(list(body.frames(signer, signer.amz_date(), "")))

    class Broken(Chunks):
        def frames(self, *_):
            return frames

    broken = Broken(UNSIGNED_TRAILER, CONTENT, trailer=body.trailer)
    answer = raw.put_chunks(f"/{bucket}/object", broken)
    assert 400 <= answer.status < 500 and answer.code, answer.body
    assert_not_stored(backend.store, bucket)


def test_unsigned_payload(proxy, bucket):
    raw, path = proxy.raw(), f"/{bucket}/object"
    assert raw.request("PUT", path, body=CONTENT, payload_hash=UNSIGNED).status == 200
    assert raw.request("GET", path).body == CONTENT
    headers = {"x-amz-checksum-crc32": checksum("crc32", CONTENT)}
    assert raw.request("PUT", path, body=CONTENT, payload_hash=UNSIGNED, headers=headers).status == 200


def test_a_checksum_in_the_header_of_a_chunked_body(proxy, bucket, backend):
    raw, path = proxy.raw(), f"/{bucket}/object"
    right = {SHA256: checksum("sha256", CONTENT)}
    assert raw.put_chunks(path, chunks(SIGNED_CHUNKS), headers=right).status == 200
    assert raw.request("DELETE", path).status == 204
    wrong = {SHA256: checksum("sha256", b"")}
    assert_refused(raw.put_chunks(path, chunks(SIGNED_CHUNKS), headers=wrong), 400, "BadDigest")
    assert_not_stored(backend.store, bucket)
