"""The server-side encryption that a client asks for is what every answer names: `AES256`, else `aws:kms` with its key."""

import os

import pytest

from multiparts import LEAST, Upload, content, read
from test_post import post

SMALL, LONG = os.urandom(1_000), os.urandom(150_000)
AES256 = {"ServerSideEncryption": "AES256"}


def assert_aes256(*answers):
    for answer in answers:
        assert answer["ServerSideEncryption"] == "AES256"
        assert "SSEKMSKeyId" not in answer, "AES256 has no key of the client's key service"


def assert_kms(*answers):
    for answer in answers:
        assert answer["ServerSideEncryption"] == "aws:kms" and answer["SSEKMSKeyId"]


def reads(s3, bucket, key="object"):
    return [s3.head_object(Bucket=bucket, Key=key), s3.get_object(Bucket=bucket, Key=key), s3.get_object(Bucket=bucket, Key=key, Range="bytes=1-5"),
            s3.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")]  # fmt: skip


@pytest.mark.parametrize("body", [SMALL, LONG], ids=["small", "long"])
def test_one_put(s3, bucket, body):
    assert_aes256(s3.put_object(Bucket=bucket, Key="object", Body=body, **AES256), *reads(s3, bucket))
    assert read(s3, bucket) == body
    assert_kms(s3.put_object(Bucket=bucket, Key="object", Body=body), *reads(s3, bucket))
    assert_kms(s3.put_object(Bucket=bucket, Key="object", Body=body, ServerSideEncryption="aws:kms"), *reads(s3, bucket))


def test_head_names_it_without_opening_the_envelope(s3, bucket):
    s3.put_object(Bucket=bucket, Key="object", Body=SMALL, **AES256)
    assert_aes256(s3.head_object(Bucket=bucket, Key="object"))


@pytest.mark.parametrize("parts", [{1: content(LEAST), 2: content(9)}, {1: content(LEAST), 2: content(LEAST)}], ids=["small last", "terminator"])
def test_an_upload_in_parts(s3, bucket, parts):
    created = s3.create_multipart_upload(Bucket=bucket, Key="object", **AES256)
    one = Upload(s3, bucket, "object", created["UploadId"])
    sent = [one.send(number, body) for number, body in parts.items()]
    assert_aes256(created, *sent, one.complete(), *reads(s3, bucket))
    assert read(s3, bucket) == b"".join(parts.values())


@pytest.mark.parametrize("source", [{}, AES256], ids=["of aws:kms", "of AES256"])
@pytest.mark.parametrize("large", [False, True], ids=["one PUT", "in parts"])
def test_a_copy_is_called_as_its_own_request_asks(s3, bucket, source, large):
    if large:
        one = Upload.start(s3, bucket, "source", **source)
        one.send(1, content(LEAST))
        one.send(2, content(9))
        one.complete()
    else:
        s3.put_object(Bucket=bucket, Key="source", Body=LONG, **source)
    place = {"Bucket": bucket, "CopySource": f"{bucket}/source"}
    assert_aes256(s3.copy_object(Key="object", **place, **AES256), *reads(s3, bucket))
    assert_kms(s3.copy_object(Key="object", **place), *reads(s3, bucket))
    assert read(s3, bucket) == read(s3, bucket, "source")
    assert_aes256(s3.copy_object(Key="source", MetadataDirective="REPLACE", **place, **AES256), *reads(s3, bucket, "source"))


@pytest.mark.parametrize("size", [1_000, 14 << 20], ids=["one PUT", "in parts"])
def test_a_form(proxy, bucket, s3, size):
    fields = {"x-amz-server-side-encryption": "AES256"}
    answer = post(proxy, bucket, content(size), fields=fields)
    assert (answer.status, answer.headers["x-amz-server-side-encryption"]) == (204, "AES256")
    assert "x-amz-server-side-encryption-aws-kms-key-id" not in answer.headers
    assert_aes256(*reads(s3, bucket))


def test_a_part_that_is_copied(s3, bucket):
    s3.put_object(Bucket=bucket, Key="source", Body=LONG)
    created = s3.create_multipart_upload(Bucket=bucket, Key="object", **AES256)
    place = {"Bucket": bucket, "Key": "object", "UploadId": created["UploadId"]}
    copied = s3.upload_part_copy(PartNumber=1, CopySource=f"{bucket}/source", **place)
    part = {"PartNumber": 1, "ETag": copied["CopyPartResult"]["ETag"]}
    assert_aes256(copied, s3.complete_multipart_upload(MultipartUpload={"Parts": [part]}, **place), *reads(s3, bucket))
    assert read(s3, bucket) == LONG
