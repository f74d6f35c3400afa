"""Conditional requests hold by the ETag that every answer shows."""

import datetime

import pytest
from botocore.exceptions import ClientError

from backing import status

LATER = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=1)
EARLIER = LATER - datetime.timedelta(days=30)


@pytest.fixture
def stored(real_proxy, real_bucket):
    client = real_proxy.boto()
    etag = client.put_object(Bucket=real_bucket, Key="object", Body=b"content" * 100)["ETag"]
    return client, {"Bucket": real_bucket, "Key": "object"}, etag


@pytest.mark.parametrize("method", ["get_object", "head_object"])
def test_reads_that_hold(stored, method):
    client, where, etag = stored
    for condition in ({"IfMatch": etag}, {"IfNoneMatch": '"other"'}, {"IfModifiedSince": EARLIER}, {"IfUnmodifiedSince": LATER}):
        assert getattr(client, method)(**where, **condition)["ContentLength"] == 700


@pytest.mark.parametrize("method", ["get_object", "head_object"])
def test_reads_that_fail(stored, method):
    client, where, etag = stored
    for condition, expected in (
        ({"IfMatch": '"other"'}, 412),
        ({"IfUnmodifiedSince": EARLIER}, 412),
        ({"IfNoneMatch": etag}, 304),
        ({"IfModifiedSince": datetime.datetime.now(datetime.timezone.utc)}, 304),
    ):
        with pytest.raises(ClientError) as failed:
            getattr(client, method)(**where, **condition)
        assert status(failed.value) == expected, condition


def test_a_condition_with_a_range(stored):
    client, where, etag = stored
    assert client.get_object(**where, IfMatch=etag, Range="bytes=7-13")["Body"].read() == b"content"
    with pytest.raises(ClientError) as failed:
        client.get_object(**where, IfMatch='"other"', Range="bytes=7-13")
    assert status(failed.value) == 412


def test_create_only(s3, bucket):
    s3.put_object(Bucket=bucket, Key="object", Body=b"first", IfNoneMatch="*")
    with pytest.raises(ClientError) as failed:
        s3.put_object(Bucket=bucket, Key="object", Body=b"second", IfNoneMatch="*")
    assert status(failed.value) == 412
    assert s3.get_object(Bucket=bucket, Key="object")["Body"].read() == b"first"


def test_compare_and_swap(s3, bucket):
    etag = s3.put_object(Bucket=bucket, Key="object", Body=b"first")["ETag"]
    s3.put_object(Bucket=bucket, Key="object", Body=b"second", IfMatch=etag)
    with pytest.raises(ClientError) as failed:
        s3.put_object(Bucket=bucket, Key="object", Body=b"third", IfMatch=etag)
    assert status(failed.value) == 412
    assert s3.get_object(Bucket=bucket, Key="object")["Body"].read() == b"second"
