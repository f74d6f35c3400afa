"""The embedded store says what AWS says, refuses what it would drop, and tells whose lack it is."""

import pytest
from botocore.exceptions import ClientError

from conftest import embedded_backend, new_bucket
from proxy import Proxy


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    directory = tmp_path_factory.mktemp("embedded-store")
    backend = embedded_backend(directory)
    # As it is without a word in the configuration: alone, and on disk before it is acknowledged.
    upstream = {"endpoint": backend.upstream["endpoint"]}
    with Proxy(directory / "proxy", upstream, backend.keyring) as running:
        yield running


@pytest.fixture
def s3(store):
    return store.boto()


@pytest.fixture
def bucket(s3):
    return new_bucket(s3)


def refused(call, **arguments):
    with pytest.raises(ClientError) as refused:
        call(**arguments)
    answer = refused.value.response
    return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"], answer["Error"].get("Message", "")


def test_awss_sentences(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    cases = [
        (refused(s3.get_object, Bucket=bucket, Key="absent"), (404, "NoSuchKey", "The specified key does not exist.")),
        (refused(s3.list_objects_v2, Bucket="absent-bucket"), (404, "NoSuchBucket", "The specified bucket does not exist")),
        (refused(s3.delete_bucket, Bucket=bucket), (409, "BucketNotEmpty", "The bucket that you tried to delete is not empty.")),
        (
            refused(s3.create_bucket, Bucket=bucket),
            (409, "BucketAlreadyOwnedByYou", "The bucket that you tried to create already exists, and you own it."),
        ),
        (
            refused(s3.abort_multipart_upload, Bucket=bucket, Key="k", UploadId="no-such-upload")[:2],
            (404, "NoSuchUpload"),
        ),
    ]
    for found, expected in cases:
        assert found == expected


LOCK = {"ObjectLockMode": "GOVERNANCE", "ObjectLockRetainUntilDate": "2099-01-01T00:00:00Z"}


@pytest.mark.parametrize("more, feature", [
    ({"ACL": "public-read"}, "ACLs"),
    ({"GrantRead": 'uri="http://acs.amazonaws.com/groups/global/AllUsers"'}, "ACLs"),
    (LOCK, "Object Lock"),
    ({"ObjectLockLegalHoldStatus": "ON"}, "Object Lock"),
])  # fmt: skip
def test_what_would_be_dropped_is_refused(s3, bucket, more, feature):
    s3.put_object(Bucket=bucket, Key="source", Body=b"x")
    place = {"Bucket": bucket, "Key": "k"}
    calls = [
        lambda: refused(s3.put_object, Body=b"x", **place, **more),
        lambda: refused(s3.create_multipart_upload, **place, **more),
        lambda: refused(s3.copy_object, CopySource=f"{bucket}/source", **place, **more),
    ]
    for call in calls:
        status, code, message = call()
        assert (status, code) == (501, "NotImplemented")
        assert message == f"The embedded store, which is for trying s3veil out, has no {feature}; a real storage does."
    assert [item["Key"] for item in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["source"]


def test_acls_that_change_nothing_pass(s3, bucket):
    for acl in ("private", "bucket-owner-full-control"):
        s3.put_object(Bucket=bucket, Key="k", Body=b"x", ACL=acl)


def test_buckets_with_object_lock_or_acls_are_refused(s3):
    for more in ({"ObjectLockEnabledForBucket": True}, {"ACL": "public-read"}):
        assert refused(s3.create_bucket, Bucket="b-unkept", **more)[:2] == (501, "NotImplemented")
    assert refused(s3.head_bucket, Bucket="b-unkept")[0] == 404


def test_what_it_has_not_is_its_own_lack_and_no_error_of_the_log(store, s3, bucket):
    status, code, message = refused(s3.get_bucket_website, Bucket=bucket)
    assert (status, code) == (501, "NotImplemented") and "embedded store" in message and "a real storage does" in message
    assert "s3s::" not in store.log_text()


def test_304_has_its_headers(store, s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", CacheControl="max-age=60", Expires="Fri, 01 Jan 2100 00:00:00 GMT")
    etag = s3.head_object(Bucket=bucket, Key="k")["ETag"]
    answer = store.raw().request("GET", f"/{bucket}/k", headers={"If-None-Match": etag})
    headers = {name.lower(): value for name, value in dict(answer.headers).items()}
    assert answer.status == 304
    assert headers["cache-control"] == "max-age=60" and headers["expires"] == "Fri, 01 Jan 2100 00:00:00 GMT"
    assert headers["etag"] == etag and "last-modified" in headers


def test_owners(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    owner = s3.list_buckets()["Owner"]
    assert len(owner["ID"]) == 64
    assert s3.list_objects_v2(Bucket=bucket, FetchOwner=True)["Contents"][0]["Owner"]["ID"] == owner["ID"]
    assert "Owner" not in s3.list_objects_v2(Bucket=bucket)["Contents"][0]
    assert s3.list_objects(Bucket=bucket)["Contents"][0]["Owner"]["ID"] == owner["ID"]


def test_an_object_without_a_type_has_s3s(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", ContentType="text/plain")
    s3.copy_object(Bucket=bucket, Key="copy", CopySource=f"{bucket}/k", MetadataDirective="REPLACE")
    assert s3.head_object(Bucket=bucket, Key="copy")["ContentType"] == "binary/octet-stream"
