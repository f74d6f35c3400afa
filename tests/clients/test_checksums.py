"""Checksums are of the plaintext, which the proxy alone sees: it must verify them, and never become their victim."""

import base64
import os

import pytest
from botocore.exceptions import ClientError

from backing import error_code, status
from judge import assert_not_stored, assert_refused
from rawsig import CHECKSUMS, COMPUTED_BY_SDKS, UNSIGNED_TRAILER, checksum, content_md5

ALGORITHMS = list(CHECKSUMS)
CONTENT = os.urandom(150_000)


def field(algorithm):
    return "Checksum" + algorithm.upper()


def wrong(value):
    """Another value of the same length, base64 as it must be."""
    raw = bytearray(base64.b64decode(value))
    raw[0] ^= 1
    return base64.b64encode(raw).decode()


@pytest.mark.parametrize("algorithm", COMPUTED_BY_SDKS)
def test_over_http_in_a_header(s3, bucket, algorithm):
    s3.put_object(Bucket=bucket, Key="object", Body=CONTENT, ChecksumAlgorithm=algorithm.upper())
    assert s3.get_object(Bucket=bucket, Key="object", ChecksumMode="ENABLED")["Body"].read() == CONTENT


@pytest.mark.parametrize("algorithm", COMPUTED_BY_SDKS)
def test_over_https_in_a_trailer(tls, tls_bucket, algorithm):
    running, _ = tls
    s3, sent = running.boto(), {}
    s3.meta.events.register("before-send.s3.PutObject", lambda request, **_: sent.update(request.headers.items()))
    s3.put_object(Bucket=tls_bucket, Key="object", Body=CONTENT, ChecksumAlgorithm=algorithm.upper())
    trailer = {name.lower(): value for name, value in sent.items()}.get("x-amz-trailer")
    assert trailer in (f"x-amz-checksum-{algorithm}", f"x-amz-checksum-{algorithm}".encode()), "the test needs a trailer"
    assert s3.get_object(Bucket=tls_bucket, Key="object", ChecksumMode="ENABLED")["Body"].read() == CONTENT


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 3_000_000])
def test_the_default_over_https(tls, tls_bucket, size):
    running, backend = tls
    content = os.urandom(size)
    running.boto().put_object(Bucket=tls_bucket, Key="object", Body=content)
    assert running.boto().get_object(Bucket=tls_bucket, Key="object")["Body"].read() == content
    assert len(backend.store.read(tls_bucket, "object").body) == size + 16 * max(1, -(-size // 65_536))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_checksum_given_in_the_header_is_returned(s3, bucket, algorithm):
    value = checksum(algorithm, CONTENT)
    s3.put_object(Bucket=bucket, Key="object", Body=CONTENT, **{field(algorithm): value})
    for read in (s3.get_object, s3.head_object):
        answer = read(Bucket=bucket, Key="object", ChecksumMode="ENABLED")
        assert answer[field(algorithm)] == value
        assert not [name for name in map(field, ALGORITHMS) if name != field(algorithm) and name in answer]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("size", [0, 1, 65_536])
def test_a_checksum_in_the_trailer_of_a_small_body_is_kept(proxy, bucket, algorithm, size):
    """It is verified before the storage hears of the body, so the envelope has room for it."""
    content, raw = CONTENT[:size], proxy.raw()
    value = checksum(algorithm, content)
    chunk = b"%x\r\n%s\r\n" % (size, content) if size else b""
    headers = {"content-encoding": "aws-chunked", "x-amz-trailer": f"x-amz-checksum-{algorithm}", "x-amz-decoded-content-length": str(size)}
    body = chunk + b"0\r\nx-amz-checksum-%s:%s\r\n\r\n" % (algorithm.encode(), value.encode())
    put = raw.request("PUT", f"/{bucket}/object", body=body, headers=headers, payload_hash=UNSIGNED_TRAILER)
    assert (put.status, put.headers.get(f"x-amz-checksum-{algorithm}")) == (200, value)
    assert_told(raw, f"/{bucket}/object", algorithm, value)


@pytest.mark.parametrize("size", [0, 1, 65_536])
def test_the_default_of_a_small_body_is_kept(proxy, bucket, size):
    """S3 computes CRC64NVME where the client sends no checksum."""
    raw, path, value = proxy.raw(), f"/{bucket}/object", checksum("crc64nvme", CONTENT[:size])
    for headers in ({}, {"content-md5": content_md5(CONTENT[:size])}):
        put = raw.request("PUT", path, body=CONTENT[:size], headers=headers)
        assert (put.status, put.headers.get("x-amz-checksum-crc64nvme")) == (200, value)
        assert_told(raw, path, "crc64nvme", value)


def assert_told(raw, path, algorithm, value):
    """This checksum alone, by whatever tells one."""
    for method in ("HEAD", "GET"):
        answer = raw.request(method, path, headers={"x-amz-checksum-mode": "ENABLED"})
        told = {name: answer.headers.get(f"x-amz-checksum-{name}") for name in ALGORITHMS if answer.headers.get(f"x-amz-checksum-{name}")}
        assert (told, answer.headers.get("x-amz-checksum-type")) == ({algorithm: value}, "FULL_OBJECT")
    attributes = raw.request("GET", path, query=[("attributes", "")], headers={"x-amz-object-attributes": "Checksum"})
    assert f"<{field(algorithm)}>{value}</{field(algorithm)}>".encode() in attributes.body


def test_no_checksum_of_the_ciphertext_is_shown(proxy, bucket):
    """boto3 would refuse the body for it."""
    raw = proxy.raw()
    assert raw.request("PUT", f"/{bucket}/object", body=CONTENT).status == 200
    answer = raw.request("GET", f"/{bucket}/object", headers={"x-amz-checksum-mode": "ENABLED"})
    assert answer.body == CONTENT
    for algorithm in ALGORITHMS:
        assert answer.headers.get(f"x-amz-checksum-{algorithm}", checksum(algorithm, CONTENT)) == checksum(algorithm, CONTENT)


def test_a_range_has_no_checksum_of_the_whole(s3, bucket):
    s3.put_object(Bucket=bucket, Key="object", Body=CONTENT, ChecksumSHA256=checksum("sha256", CONTENT))
    got = s3.get_object(Bucket=bucket, Key="object", Range="bytes=0-9", ChecksumMode="ENABLED")
    assert got["Body"].read() == CONTENT[:10]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("size", [0, 1, 65_536, 150_000])
def test_a_wrong_checksum_in_the_header(proxy, bucket, backend, algorithm, size):
    content = CONTENT[:size]
    headers = {f"x-amz-checksum-{algorithm}": wrong(checksum(algorithm, content))}
    answer = proxy.raw().request("PUT", f"/{bucket}/object", body=content, headers=headers)
    assert_refused(answer, 400, "BadDigest")
    assert_not_stored(backend.store, bucket)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("value", ["", "not base64!", "AA==", "A" * 200])
def test_a_malformed_checksum(proxy, bucket, backend, algorithm, value):
    answer = proxy.raw().request("PUT", f"/{bucket}/object", body=b"x", headers={f"x-amz-checksum-{algorithm}": value})
    assert_refused(answer, 400, ("InvalidRequest", "InvalidDigest", "BadDigest"))
    assert_not_stored(backend.store, bucket)


def test_a_corrupted_upload_by_boto3(s3, bucket, backend):
    with pytest.raises(ClientError) as refused:
        s3.put_object(Bucket=bucket, Key="object", Body=CONTENT, ChecksumCRC32=checksum("crc32", CONTENT + b"!"))
    assert (status(refused.value), error_code(refused.value)) == (400, "BadDigest")
    assert_not_stored(backend.store, bucket)


def test_content_md5(proxy, bucket):
    raw = proxy.raw()
    assert raw.request("PUT", f"/{bucket}/object", body=CONTENT, headers={"content-md5": content_md5(CONTENT)}).status == 200
    assert raw.request("GET", f"/{bucket}/object").body == CONTENT


@pytest.mark.parametrize("size", [0, 1, 65_536, 150_000])
def test_a_wrong_content_md5(proxy, bucket, backend, size):
    headers = {"content-md5": content_md5(CONTENT[:size] + b"!")}
    answer = proxy.raw().request("PUT", f"/{bucket}/object", body=CONTENT[:size], headers=headers)
    assert_refused(answer, 400, "BadDigest")
    assert_not_stored(backend.store, bucket)


@pytest.mark.parametrize("value", ["not base64!", "AAAA", "AAAAAAAAAAAAAAAAAAAAAAA="])
def test_a_malformed_content_md5(proxy, bucket, backend, value):
    answer = proxy.raw().request("PUT", f"/{bucket}/object", body=b"x", headers={"content-md5": value})
    assert_refused(answer, 400, "InvalidDigest")
    assert_not_stored(backend.store, bucket)


def test_a_refused_overwrite_leaves_the_old_object(proxy, bucket):
    raw, path = proxy.raw(), f"/{bucket}/object"
    assert raw.request("PUT", path, body=b"old").status == 200
    assert_refused(raw.request("PUT", path, body=CONTENT, headers={"content-md5": content_md5(b"")}), 400, "BadDigest")
    assert raw.request("GET", path).body == b"old"
