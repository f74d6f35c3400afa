"""Checksums that S3 keeps with an object are kept here too: of uploads in parts and of copies, sealed, and told by whatever tells one."""

import base64
from dataclasses import replace

import pytest

from multiparts import LEAST, Upload, content, read, refused
from rawsig import checksum
from test_checksums import field
from test_multipart_nodes import nodes, shared  # noqa: F401, fixtures
from test_multipart_checksums import ALGORITHMS, COMPOSITE, FULL_OBJECT, PARTS, WHOLE, composite

KEPT_COMPOSITE = [algorithm for algorithm in COMPOSITE if algorithm != "sha512"]
TYPES = [(algorithm, "FULL_OBJECT") for algorithm in FULL_OBJECT] + [(algorithm, "COMPOSITE") for algorithm in KEPT_COMPOSITE]
LARGE_LAST = {1: content(LEAST, seed=1), 2: content(LEAST + 9, seed=2)}
UNEVEN = {1: content(LEAST + 1, seed=1), 2: content(LEAST + 70_000, seed=2), 3: content(99, seed=3)}
UNEVEN_LARGE = {2: content(LEAST + 1, seed=1), 7: content(LEAST + 70_000, seed=2)}
ONE = {1: content(200_000)}
EMPTY_LAST = {1: content(LEAST, seed=1), 2: b""}


def right(algorithm, kind, parts):
    return composite(algorithm, parts) if kind == "COMPOSITE" else checksum(algorithm, b"".join(parts[number] for number in sorted(parts)))


def upload(s3, bucket, algorithm, kind, parts, order=None, key="object"):
    one = Upload.start(s3, bucket, key, ChecksumAlgorithm=algorithm.upper(), ChecksumType=kind)
    for number in order or sorted(parts):
        one.send(number, parts[number])
    return one


def told(answer):
    return {name: answer[field(name)] for name in ALGORITHMS if field(name) in answer}, answer.get("ChecksumType")


def assert_kept(s3, bucket, algorithm, kind, value, key="object"):
    """This one alone, by HEAD, GET and GetObjectAttributes; of the whole object only."""
    expected = ({algorithm: value}, kind)
    assert told(s3.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")) == expected
    got = s3.get_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
    assert told(got) == expected
    attributes = s3.get_object_attributes(Bucket=bucket, Key=key, ObjectAttributes=["Checksum", "ObjectParts"])
    assert told(attributes["Checksum"]) == ({algorithm: value.rpartition("-")[0] or value}, kind)
    assert told(s3.head_object(Bucket=bucket, Key=key))[0] == {}
    if got["ContentLength"]:
        assert told(s3.get_object(Bucket=bucket, Key=key, Range="bytes=0-0", ChecksumMode="ENABLED"))[0] == {}
    return got["Body"].read()


def assert_sealed(s3, bucket, store, algorithm, kind, parts):
    """The checksum is nowhere in what is stored.

    Four bytes are somewhere in ten million random ones once in 400 times. A checksum that is readable is in the next upload too.
    """
    value = right(algorithm, kind, parts)
    raw = base64.b64decode(value.partition("-")[0])
    for _ in range(3):
        stored = store.read(bucket, "object")
        assert value not in str(stored.metadata), "This is a security issue: the storage sees it."
        if not any(raw) or raw not in stored.body:
            return
        upload(s3, bucket, algorithm, kind, parts).complete()
    raise AssertionError("This is a security issue: the storage sees it.")


def assert_none_kept(s3, bucket, key="object"):
    assert told(s3.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")) == ({}, None)
    answer = s3.get_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
    assert told(answer) == ({}, None)
    return answer["Body"].read()


@pytest.mark.parametrize("algorithm, kind", TYPES)
def test_of_an_upload_with_a_small_last_part(s3, bucket, algorithm, kind):
    upload(s3, bucket, algorithm, kind, PARTS).complete()
    assert assert_kept(s3, bucket, algorithm, kind, right(algorithm, kind, PARTS)) == WHOLE


@pytest.mark.parametrize("algorithm, kind", [("crc32", "COMPOSITE"), ("crc64nvme", "FULL_OBJECT"), ("sha256", "COMPOSITE")])
@pytest.mark.parametrize("parts", [LARGE_LAST, UNEVEN, UNEVEN_LARGE, ONE, EMPTY_LAST, {1: b""}], ids=["large last", "uneven", "uneven, large last", "one", "empty last", "empty"])
def test_of_every_layout(s3, bucket, backend, algorithm, kind, parts):
    upload(s3, bucket, algorithm, kind, parts).complete()
    whole, value = b"".join(parts[number] for number in sorted(parts)), right(algorithm, kind, parts)
    assert assert_kept(s3, bucket, algorithm, kind, value) == whole
    assert s3.list_objects_v2(Bucket=bucket)["Contents"][0]["Size"] == len(whole)
    assert_sealed(s3, bucket, backend.store, algorithm, kind, parts)


@pytest.mark.parametrize("algorithm, kind", [("crc32c", "COMPOSITE"), ("crc64nvme", "FULL_OBJECT")])
@pytest.mark.parametrize("parts, order", [(PARTS, [2, 1]), (UNEVEN, [3, 2, 1]), (UNEVEN, [1, 3, 2])], ids=["last first", "uneven", "between"])
def test_a_last_part_that_arrives_early(s3, bucket, algorithm, kind, parts, order):
    """Nothing is known of the object then: it is sealed anew on completion, by the proxy that still has it."""
    one = upload(s3, bucket, algorithm, kind, parts, order)
    one.complete()
    assert assert_kept(s3, bucket, algorithm, kind, right(algorithm, kind, parts)) == b"".join(parts[number] for number in sorted(parts))


@pytest.mark.parametrize("algorithm, kind", [("crc32", "COMPOSITE"), ("crc32", "FULL_OBJECT"), ("sha256", "COMPOSITE")])
def test_a_part_that_is_sent_again_after_the_last(s3, bucket, algorithm, kind):
    one = upload(s3, bucket, algorithm, kind, PARTS)
    again = {**PARTS, 1: content(LEAST, seed=9)}
    one.send(1, again[1])
    one.complete()
    assert assert_kept(s3, bucket, algorithm, kind, right(algorithm, kind, again)) == b"".join(again.values())


def test_a_completion_that_is_refused_and_tried_again(s3, bucket):
    one = upload(s3, bucket, "crc32", "FULL_OBJECT", PARTS, [2, 1])
    assert refused(one.complete, ChecksumType="FULL_OBJECT", ChecksumCRC32=checksum("crc32", b"")) == (400, "BadDigest")
    one.complete(ChecksumType="FULL_OBJECT", ChecksumCRC32=checksum("crc32", WHOLE))
    assert assert_kept(s3, bucket, "crc32", "FULL_OBJECT", checksum("crc32", WHOLE)) == WHOLE


def test_what_has_no_room_is_not_kept(s3, bucket):
    """SHA-512 is longer than what a header can carry; the completion still verifies and tells it."""
    done = upload(s3, bucket, "sha512", "COMPOSITE", PARTS).complete()
    assert done["ChecksumSHA512"] == composite("sha512")
    assert assert_none_kept(s3, bucket) == WHOLE


def test_an_upload_that_declares_none(proxy, bucket):
    s3 = proxy.boto(request_checksum_calculation="when_required")
    one = Upload.start(s3, bucket)
    for number, body in PARTS.items():
        one.send(number, body)
    one.complete()
    assert assert_none_kept(s3, bucket) == WHOLE


@pytest.mark.parametrize("algorithm, kind", [("crc32", "FULL_OBJECT"), ("sha256", "COMPOSITE")])
@pytest.mark.parametrize("parts", [PARTS, LARGE_LAST, UNEVEN], ids=["small last", "large last", "uneven"])
def test_a_copy_keeps_it(s3, bucket, algorithm, kind, parts):
    upload(s3, bucket, algorithm, kind, parts, key="source").complete()
    value = right(algorithm, kind, parts)
    copied = s3.copy_object(Bucket=bucket, Key="object", CopySource=f"{bucket}/source")["CopyObjectResult"]
    assert told(copied) == ({algorithm: value}, kind)
    assert assert_kept(s3, bucket, algorithm, kind, value) == b"".join(parts.values())
    s3.copy_object(Bucket=bucket, Key="object", CopySource=f"{bucket}/object", MetadataDirective="REPLACE", Metadata={"a": "b"})
    assert_kept(s3, bucket, algorithm, kind, value)


@pytest.mark.parametrize("algorithm", ["crc32", "sha256", "sha512", "xxhash128", "md5"])
@pytest.mark.parametrize("source", [b"", b"short", content(200_000), PARTS, UNEVEN], ids=["empty", "short", "long", "in parts", "uneven"])
def test_a_copy_has_the_one_that_it_asks_for(s3, bucket, algorithm, source):
    if isinstance(source, dict):
        upload(s3, bucket, "crc32", "COMPOSITE", source, key="source").complete()
        whole = b"".join(source.values())
    else:
        s3.put_object(Bucket=bucket, Key="source", Body=source, ChecksumCRC32C=checksum("crc32c", source))
        whole = source
    value = checksum(algorithm, whole)
    asked = {"ChecksumAlgorithm": algorithm.upper()}
    for place in ({"Key": "object"}, {"Key": "source", "MetadataDirective": "REPLACE", "Metadata": {"a": "b"}}):
        copied = s3.copy_object(Bucket=bucket, CopySource=f"{bucket}/source", **place, **asked)["CopyObjectResult"]
        assert told(copied) == ({algorithm: value}, "FULL_OBJECT")
        assert assert_kept(s3, bucket, algorithm, "FULL_OBJECT", value, place["Key"]) == whole
    again = s3.copy_object(Bucket=bucket, Key="object", CopySource=f"{bucket}/source", **asked)["CopyObjectResult"]
    assert told(again) == ({algorithm: value}, "FULL_OBJECT")


def test_an_unknown_algorithm_of_a_copy(proxy, bucket):
    raw = proxy.raw()
    assert raw.request("PUT", f"/{bucket}/source", body=b"x").status == 200
    headers = {"x-amz-copy-source": f"{bucket}/source", "x-amz-checksum-algorithm": "CRC33"}
    answer = raw.request("PUT", f"/{bucket}/object", headers=headers)
    assert (answer.status, answer.code) == (400, "InvalidRequest")
    assert raw.request("HEAD", f"/{bucket}/object").status == 404


def test_a_source_that_was_altered_has_no_checksum(s3, bucket, backend):
    """It is computed over what was authenticated, or the copy fails."""
    s3.put_object(Bucket=bucket, Key="source", Body=content(200_000))
    stored = backend.store.read(bucket, "source")
    altered = stored.body[:150_000] + bytes([stored.body[150_000] ^ 1]) + stored.body[150_001:]
    backend.store.write(bucket, "source", replace(stored, body=altered))
    assert refused(s3.copy_object, Bucket=bucket, Key="object", CopySource=f"{bucket}/source", ChecksumAlgorithm="SHA256")[0] >= 500
    assert "object" not in backend.store.keys(bucket)


@pytest.mark.parametrize("kind, algorithm", [("FULL_OBJECT", "crc32"), ("COMPOSITE", "sha256")])
def test_a_proxy_that_does_not_have_the_last_part(nodes, shared, kind, algorithm):
    """It completes without a checksum what carries none, and refuses what would tell a wrong one."""
    here, there = nodes
    early = upload(here, shared, algorithm, kind, PARTS, [2, 1])
    early.complete(there)
    assert assert_none_kept(there, shared) == WHOLE

    carrying = upload(here, shared, algorithm, kind, PARTS)
    carrying.complete(there)
    assert assert_kept(there, shared, algorithm, kind, right(algorithm, kind, PARTS)) == WHOLE

    stale, again = upload(here, shared, algorithm, kind, PARTS), {**PARTS, 1: content(LEAST, seed=9)}
    stale.send(1, again[1])
    assert refused(stale.complete, there) == (400, "InvalidPart")
    stale.send(2, again[2])
    stale.complete(there)
    assert assert_kept(there, shared, algorithm, kind, right(algorithm, kind, again)) == b"".join(again.values())
    assert read(here, shared) == b"".join(again.values())
