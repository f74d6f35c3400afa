"""Checksums of parts and of the whole are of the plaintext, and the proxy's to verify: the storage never sees it."""

import base64
import hashlib
import os
import threading

import pytest
from boto3.s3.transfer import TransferConfig

from multiparts import LEAST, Upload, assert_exact, content, read, refused
from rawsig import CHECKSUMS, COMPUTED_BY_SDKS, checksum
from test_checksums import field, wrong

ALGORITHMS = list(CHECKSUMS)
COMPOSITE = [algorithm for algorithm in ALGORITHMS if algorithm != "crc64nvme"]
FULL_OBJECT = ["crc32", "crc32c", "crc64nvme"]
PARTS = {1: content(LEAST, seed=1), 2: content(70_000, seed=2)}
WHOLE = b"".join(PARTS.values())


def composite(algorithm, parts=PARTS):
    """The checksum of the parts' checksums, as S3 makes it."""
    joined = b"".join(CHECKSUMS[algorithm](body) for body in parts.values())
    return f"{base64.b64encode(CHECKSUMS[algorithm](joined)).decode()}-{len(parts)}"


def begin(s3, bucket, algorithm, kind, parts=PARTS):
    one = Upload.start(s3, bucket, ChecksumAlgorithm=algorithm.upper(), ChecksumType=kind)
    for number, body in parts.items():
        one.send(number, body)
    return one


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_part_is_answered_with_its_checksum(s3, bucket, algorithm):
    kind = "COMPOSITE" if algorithm in COMPOSITE else "FULL_OBJECT"
    one = Upload.start(s3, bucket, ChecksumAlgorithm=algorithm.upper(), ChecksumType=kind)
    answer = one.send(1, PARTS[1])
    assert answer[field(algorithm)] == checksum(algorithm, PARTS[1])


@pytest.mark.parametrize("size", [0, 10, LEAST])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_wrong_checksum_of_a_part(s3, bucket, algorithm, size):
    kind = "COMPOSITE" if algorithm in COMPOSITE else "FULL_OBJECT"
    one = Upload.start(s3, bucket, ChecksumAlgorithm=algorithm.upper(), ChecksumType=kind)
    body = content(size)
    right = checksum(algorithm, body)
    sent = {**one.place, "PartNumber": 1, "Body": body}
    assert refused(s3.upload_part, **sent, **{field(algorithm): wrong(right)}) == (400, "BadDigest")
    assert one.listed() == []
    s3.upload_part(**sent, **{field(algorithm): right})
    assert one.listed() == [(1, size)]


@pytest.mark.parametrize("algorithm", COMPUTED_BY_SDKS)
def test_in_the_trailer_of_a_part(tls, tls_bucket, algorithm):
    """Over HTTPS boto3 sends it behind the body."""
    kind = "COMPOSITE" if algorithm in COMPOSITE else "FULL_OBJECT"
    s3 = tls[0].boto()
    begin(s3, tls_bucket, algorithm, kind).complete()
    assert read(s3, tls_bucket) == WHOLE


@pytest.mark.parametrize("algorithm", COMPOSITE)
def test_composite(s3, bucket, algorithm):
    one = begin(s3, bucket, algorithm, "COMPOSITE")
    done = one.complete()
    assert (done[field(algorithm)], done["ChecksumType"]) == (composite(algorithm), "COMPOSITE")
    assert_exact(s3, bucket, WHOLE, [LEAST])


@pytest.mark.parametrize("algorithm", COMPOSITE)
def test_composite_as_the_client_claims_it(s3, bucket, algorithm):
    one = begin(s3, bucket, algorithm, "COMPOSITE")
    right = composite(algorithm)
    spoilt = f"{wrong(right.partition('-')[0])}-2"
    assert refused(one.complete, **{field(algorithm): spoilt}) == (400, "BadDigest")
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
    one.complete(**{field(algorithm): right})
    assert read(s3, bucket) == WHOLE


@pytest.mark.parametrize("algorithm", FULL_OBJECT)
def test_of_the_full_object(s3, bucket, algorithm):
    one = begin(s3, bucket, algorithm, "FULL_OBJECT")
    done = one.complete()
    assert (done[field(algorithm)], done["ChecksumType"]) == (checksum(algorithm, WHOLE), "FULL_OBJECT")
    assert_exact(s3, bucket, WHOLE, [LEAST])


@pytest.mark.parametrize("algorithm", FULL_OBJECT)
def test_of_the_full_object_as_the_client_claims_it(s3, bucket, algorithm):
    one = begin(s3, bucket, algorithm, "FULL_OBJECT")
    right = checksum(algorithm, WHOLE)
    assert refused(one.complete, ChecksumType="FULL_OBJECT", **{field(algorithm): wrong(right)}) == (400, "BadDigest")
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
    one.complete(ChecksumType="FULL_OBJECT", **{field(algorithm): right})
    assert read(s3, bucket) == WHOLE


@pytest.mark.parametrize("algorithm", ["crc32", "crc64nvme"])
def test_of_the_full_object_with_a_large_last_part(s3, bucket, algorithm):
    """What the proxy adds behind it is no part of anybody's checksum."""
    parts = {1: content(LEAST, seed=1), 2: content(LEAST, seed=2)}
    one = begin(s3, bucket, algorithm, "FULL_OBJECT", parts)
    whole = b"".join(parts.values())
    assert refused(one.complete, ChecksumType="FULL_OBJECT", **{field(algorithm): checksum(algorithm, whole + b"!")}) == (400, "BadDigest")
    done = one.complete(ChecksumType="FULL_OBJECT", **{field(algorithm): checksum(algorithm, whole)})
    assert done[field(algorithm)] == checksum(algorithm, whole)
    assert read(s3, bucket) == whole


def test_composite_with_a_large_last_part(s3, bucket):
    parts = {1: content(LEAST, seed=1), 2: content(LEAST, seed=2)}
    one = begin(s3, bucket, "sha256", "COMPOSITE", parts)
    right = composite("sha256", parts)
    assert one.complete(ChecksumSHA256=right)["ChecksumSHA256"] == right
    assert read(s3, bucket) == b"".join(parts.values())


@pytest.mark.parametrize("algorithm", COMPOSITE)
def test_a_wrong_checksum_of_a_part_at_complete(s3, bucket, algorithm):
    one = begin(s3, bucket, algorithm, "COMPOSITE")
    right = one.parts[1][field(algorithm)]
    one.parts[1][field(algorithm)] = wrong(right)
    code = refused(one.complete)
    assert code in ((400, "InvalidPart"), (400, "BadDigest"))
    one.parts[1][field(algorithm)] = right
    one.complete()
    assert read(s3, bucket) == WHOLE


@pytest.mark.parametrize("size", ["1", str(len(WHOLE) + 1), str(len(WHOLE)), None])
def test_the_size_that_the_client_announces(s3, bucket, size):
    one = begin(s3, bucket, "crc32", "FULL_OBJECT")
    announced = {"MpuObjectSize": int(size)} if size else {}
    if size in (None, str(len(WHOLE))):
        one.complete(**announced)
        assert read(s3, bucket) == WHOLE
    else:
        assert refused(one.complete, **announced)[0] == 400
        assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


@pytest.mark.parametrize("create", [{}, {"ChecksumAlgorithm": "CRC32"}, {"ChecksumAlgorithm": "SHA256"}, {"ChecksumAlgorithm": "CRC64NVME"}], ids=str)
def test_reading_with_checksums_on(s3, bucket, create):
    """What boto3 is answered, it verifies."""
    one = Upload.start(s3, bucket, **create)
    for number, body in PARTS.items():
        one.send(number, body)
    one.complete()
    assert read(s3, bucket, ChecksumMode="ENABLED") == WHOLE
    s3.head_object(Bucket=bucket, Key="object", ChecksumMode="ENABLED")


def test_listed_parts_show_the_plaintexts_checksums(s3, bucket):
    one = begin(s3, bucket, "sha256", "COMPOSITE")
    listed = s3.list_parts(**one.place)["Parts"]
    shown = [part.get("ChecksumSHA256") for part in listed]
    expected = [checksum("sha256", body) for body in PARTS.values()]
    assert shown in (expected, [None, None]), "a checksum of something else than what the client sent"


@pytest.mark.parametrize("part, size, algorithm", [
    (LEAST, 12 << 20, None),
    (LEAST + 1, 3 * LEAST + 3, None),
    (LEAST + 65_535, 2 * (LEAST + 65_535), "CRC32"),
    (7_340_033, 20_000_000, "SHA256"),
    (7_340_033, 20_000_000, "CRC64NVME"),
    (8 << 20, 8 << 20, None),
    (8 << 20, (8 << 20) + 1, None),
])  # fmt: skip
@pytest.mark.parametrize("threads", [True, False])
def test_boto3s_transfers(s3, bucket, tmp_path, part, size, algorithm, threads):
    """upload_fileobj and download_file, with part sizes that are no multiple of anything."""
    whole = content(size)
    source = tmp_path / "source"
    source.write_bytes(whole)
    config = TransferConfig(multipart_threshold=LEAST, multipart_chunksize=part, use_threads=threads)
    with source.open("rb") as opened:
        s3.upload_fileobj(opened, bucket, "object", ExtraArgs={"ChecksumAlgorithm": algorithm} if algorithm else None, Config=config)
    assert_exact(s3, bucket, whole, range(part, size, part))
    target = tmp_path / "target"
    s3.download_file(bucket, "object", str(target), Config=config)
    assert hashlib.sha256(target.read_bytes()).digest() == hashlib.sha256(whole).digest()


def test_boto3_streams_what_cannot_seek(s3, bucket):
    """A pipe: boto3 makes parts of what it has read."""
    whole = content(3 * LEAST + 17)
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as source, os.fdopen(writing, "wb") as sink:
        def fill():
            with sink:
                sink.write(whole)

        threading.Thread(target=fill, daemon=True).start()
        s3.upload_fileobj(source, bucket, "object", Config=TransferConfig(multipart_threshold=LEAST, multipart_chunksize=LEAST + 9))
    assert_exact(s3, bucket, whole)
