"""The format `cbc`: the script that it comes from beside the proxy, both ways, over LocalStack's KMS and S3."""

import os

import pytest
from botocore.exceptions import ClientError

import article_cbc
from backing import Stored, error_code
from conftest import new_bucket

CBC = {"formats": {"write": "cbc"}}
PADDINGS = {"as published": article_cbc.pad, "zero": article_cbc.pad_zero, "pkcs7": article_cbc.pad_pkcs7}
# The published padding gives whole blocks only for whole blocks.
LENGTHS = {"as published": (0, 16, 4096, 3 << 20), "zero": (0, 1, 15, 16, 17, 3 << 20), "pkcs7": (0, 1, 15, 16, 17, 3 << 20)}


@pytest.fixture
def place(start, real):
    """A proxy whose buckets are of this format, and a bucket."""
    running = start(real, bucket=[{"name": "*", **CBC}])
    return running, running.boto(), new_bucket(running.boto())


def content_of(length):
    # Its last byte is never a zero, which the script's own reader would take for padding.
    return os.urandom(length - 1) + b"." if length else b""


@pytest.mark.parametrize("padding", PADDINGS)
def test_what_the_published_script_stored_the_proxy_reads(padding, place, real, kms, kms_key):
    _, s3, bucket = place
    for length in LENGTHS[padding]:
        content, key = content_of(length), f"k{length}"
        article_cbc.upload(kms, real.store.client, kms_key, bucket, key, content, PADDINGS[padding])
        answer = s3.get_object(Bucket=bucket, Key=key)
        assert answer["Body"].read() == content, length
        assert answer["ContentLength"] == length and answer["Metadata"] == {}
        assert s3.head_object(Bucket=bucket, Key=key)["ContentLength"] == length
        sizes = {item["Key"]: item["Size"] for item in s3.list_objects_v2(Bucket=bucket)["Contents"]}
        assert sizes[key] == length
        for first, last in ((0, 0), (5, 20), (length // 2, length - 1)):
            if last < length and first <= last:
                ranged = s3.get_object(Bucket=bucket, Key=key, Range=f"bytes={first}-{last}")
                assert ranged["Body"].read() == content[first : last + 1]
                assert ranged["ContentRange"] == f"bytes {first}-{last}/{length}"


@pytest.mark.parametrize("length", [0, 1, 16, 17, 70_000, 3 << 20])
def test_what_the_proxy_stored_the_published_script_reads(length, start, real, kms):
    running = start(real, bucket=[{"name": "*", **CBC, "cbc_padding": "zero"}])
    s3 = running.boto()
    bucket, content = new_bucket(s3), content_of(length)
    s3.put_object(Bucket=bucket, Key="k", Body=content, Metadata={"mine": "yes"})
    assert article_cbc.download(kms, real.store.client, bucket, "k") == content
    assert s3.get_object(Bucket=bucket, Key="k")["Metadata"] == {"mine": "yes"}


def test_zeros_at_a_contents_end_come_back_by_the_recorded_length(start, real):
    running = start(real, bucket=[{"name": "*", **CBC, "cbc_padding": "zero"}])
    s3 = running.boto()
    bucket = new_bucket(s3)
    for length in (1, 16, 100, 2 << 20):
        s3.put_object(Bucket=bucket, Key="k", Body=bytes(length))
        assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == bytes(length)
        assert s3.head_object(Bucket=bucket, Key="k")["ContentLength"] == length


def test_each_object_has_a_data_key_of_its_own(place, real):
    _, s3, bucket = place
    for key in "abc":
        s3.put_object(Bucket=bucket, Key=key, Body=b"same")
    assert len({real.store.read(bucket, key).metadata["encryption-key"] for key in "abc"}) == 3


def test_every_failure_is_one_answer(place, real):
    """A padding that is wrong, a length, a key: whoever alters an object must not learn which."""
    _, s3, bucket = place
    s3.put_object(Bucket=bucket, Key="k", Body=os.urandom(100))
    stored = real.store.read(bucket, "k")
    other = {**stored.metadata}
    other.pop("encryption-length")
    last = stored.body[:-17] + bytes([stored.body[-17] ^ 0x55]) + stored.body[-16:]
    altered = [
        Stored(last, other),
        Stored(stored.body[:-1], other),
        Stored(stored.body[:16], other),
        Stored(b"", other),
        Stored(stored.body, {**other, "encryption-length": "7"}),
        Stored(stored.body, {**other, "encryption-key": "AAAA"}),
        Stored(stored.body, {**other, "encryption-key": "not base64"}),
    ]
    answers = set()
    for one in altered:
        real.store.write(bucket, "k", one)
        with pytest.raises(ClientError) as refused:
            s3.get_object(Bucket=bucket, Key="k")
        error = refused.value.response
        answers.add((error["ResponseMetadata"]["HTTPStatusCode"], error["Error"]["Code"], error["Error"]["Message"]))
    assert len(answers) == 1, f"This is a security issue: the answers differ, which is an oracle: {answers}"


def test_multipart_uploads_are_refused_or_native(start, real):
    running = start(real, bucket=[{"name": "*", **CBC}])
    s3 = running.boto()
    bucket = new_bucket(s3)
    with pytest.raises(ClientError) as refused:
        s3.create_multipart_upload(Bucket=bucket, Key="k")
    assert error_code(refused.value) == "NotImplemented" and "cbc_multipart" in str(refused.value)
    rule = {"name": "*", "formats": {"write": "cbc", "read": ["cbc", "native"]}, "cbc_multipart": "native"}
    s3 = start(real, bucket=[rule]).boto()
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    part = s3.upload_part(Bucket=bucket, Key="k", UploadId=upload, PartNumber=1, Body=b"part")
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    s3.complete_multipart_upload(Bucket=bucket, Key="k", UploadId=upload, MultipartUpload=parts)
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"part"
    assert "encryption-envelope" in real.store.read(bucket, "k").metadata


def test_by_default_such_objects_are_refused_and_the_setting_is_named(real_proxy, real_bucket, real, kms, kms_key):
    article_cbc.upload(kms, real.store.client, kms_key, real_bucket, "k", b"content", article_cbc.pad_zero)
    for read in (real_proxy.boto().get_object,):
        with pytest.raises(ClientError) as refused:
            read(Bucket=real_bucket, Key="k")
        assert "formats.read" in str(refused.value) and '"cbc"' in str(refused.value)
