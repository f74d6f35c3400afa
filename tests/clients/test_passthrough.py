"""Everything that carries no object content reaches the store and comes back as if the proxy were not there."""

import datetime
import json
import uuid

import pytest
from botocore.exceptions import ClientError

from backing import error_code


@pytest.fixture
def s3(real_proxy):
    return real_proxy.boto()


@pytest.fixture
def bucket(real_bucket):
    return real_bucket


def test_object_tags(s3, bucket, real):
    s3.put_object(Bucket=bucket, Key="object", Body=b"x")
    tags = [{"Key": "project", "Value": "a - b = c/d"}]
    s3.put_object_tagging(Bucket=bucket, Key="object", Tagging={"TagSet": tags})
    assert s3.get_object_tagging(Bucket=bucket, Key="object")["TagSet"] == tags
    assert real.store.client.get_object_tagging(Bucket=bucket, Key="object")["TagSet"] == tags
    assert s3.get_object(Bucket=bucket, Key="object")["Body"].read() == b"x"
    s3.delete_object_tagging(Bucket=bucket, Key="object")
    assert s3.get_object_tagging(Bucket=bucket, Key="object")["TagSet"] == []


def test_acl(s3, bucket):
    s3.put_object(Bucket=bucket, Key="object", Body=b"x")
    s3.put_object_acl(Bucket=bucket, Key="object", ACL="public-read")
    assert len(s3.get_object_acl(Bucket=bucket, Key="object")["Grants"]) == 2
    s3.put_bucket_acl(Bucket=bucket, ACL="private")
    assert len(s3.get_bucket_acl(Bucket=bucket)["Grants"]) == 1


def test_bucket_tags(s3, bucket):
    s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": [{"Key": "k", "Value": "v"}]})
    assert s3.get_bucket_tagging(Bucket=bucket)["TagSet"] == [{"Key": "k", "Value": "v"}]


def test_policy(s3, bucket):
    policy = json.dumps({"Version": "2012-10-17", "Statement": [
        {"Effect": "Deny", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{bucket}/private/*"}]})  # fmt: skip
    s3.put_bucket_policy(Bucket=bucket, Policy=policy)
    assert json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"]) == json.loads(policy)
    s3.delete_bucket_policy(Bucket=bucket)
    with pytest.raises(ClientError) as missing:
        s3.get_bucket_policy(Bucket=bucket)
    assert error_code(missing.value) == "NoSuchBucketPolicy"


def test_cors(s3, bucket):
    rules = [{"AllowedMethods": ["GET", "PUT"], "AllowedOrigins": ["https://example.com"], "AllowedHeaders": ["*"], "MaxAgeSeconds": 60}]
    s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": rules})
    assert s3.get_bucket_cors(Bucket=bucket)["CORSRules"] == rules


def test_lifecycle(s3, bucket):
    rule = {"ID": "old", "Status": "Enabled", "Filter": {"Prefix": "tmp/"}, "Expiration": {"Days": 7}}
    s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [rule]})
    assert s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"] == [rule]
    s3.delete_bucket_lifecycle(Bucket=bucket)


def test_website(s3, bucket):
    s3.put_bucket_website(Bucket=bucket, WebsiteConfiguration={"IndexDocument": {"Suffix": "index.html"}})
    assert s3.get_bucket_website(Bucket=bucket)["IndexDocument"] == {"Suffix": "index.html"}


def test_object_lock(s3):
    name = f"lock-{uuid.uuid4().hex[:12]}"
    s3.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    until = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0) + datetime.timedelta(days=1)
    put = s3.put_object(Bucket=name, Key="object", Body=b"locked", ObjectLockMode="GOVERNANCE", ObjectLockRetainUntilDate=until)
    head = s3.head_object(Bucket=name, Key="object")
    assert (head["ObjectLockMode"], head["ObjectLockRetainUntilDate"]) == ("GOVERNANCE", until)
    assert s3.get_object_retention(Bucket=name, Key="object")["Retention"]["Mode"] == "GOVERNANCE"
    s3.put_object_legal_hold(Bucket=name, Key="object", LegalHold={"Status": "ON"})
    assert s3.get_object_legal_hold(Bucket=name, Key="object")["LegalHold"]["Status"] == "ON"
    s3.put_object_legal_hold(Bucket=name, Key="object", LegalHold={"Status": "OFF"})
    with pytest.raises(ClientError) as refused:
        s3.delete_object(Bucket=name, Key="object", VersionId=put["VersionId"])
    assert error_code(refused.value) == "AccessDenied"
    s3.delete_object(Bucket=name, Key="object", VersionId=put["VersionId"], BypassGovernanceRetention=True)


def test_versions(s3, bucket):
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    contents = [b"first" * 20_000, b"second"]
    versions = [s3.put_object(Bucket=bucket, Key="object", Body=content)["VersionId"] for content in contents]
    for version, content in zip(versions, contents):
        got = s3.get_object(Bucket=bucket, Key="object", VersionId=version)
        assert (got["Body"].read(), got["VersionId"]) == (content, version)
        assert s3.head_object(Bucket=bucket, Key="object", VersionId=version)["ContentLength"] == len(content)
        assert s3.get_object(Bucket=bucket, Key="object", VersionId=version, Range="bytes=1-3")["Body"].read() == content[1:4]
    marker = s3.delete_object(Bucket=bucket, Key="object")
    assert marker["DeleteMarker"]
    with pytest.raises(ClientError) as missing:
        s3.get_object(Bucket=bucket, Key="object")
    assert error_code(missing.value) == "NoSuchKey"
    s3.delete_object(Bucket=bucket, Key="object", VersionId=marker["VersionId"])
    assert s3.get_object(Bucket=bucket, Key="object")["Body"].read() == contents[1]
    listed = s3.list_object_versions(Bucket=bucket)["Versions"]
    assert {item["VersionId"]: item["Size"] for item in listed} == dict(zip(versions, map(len, contents)))


def test_errors_of_the_store_are_passed_on(s3, bucket):
    for call, code in (
        (lambda: s3.get_bucket_cors(Bucket=bucket), "NoSuchCORSConfiguration"),
        (lambda: s3.get_bucket_lifecycle_configuration(Bucket=bucket), "NoSuchLifecycleConfiguration"),
        (lambda: s3.get_object_tagging(Bucket=bucket, Key="nothing"), "NoSuchKey"),
        (lambda: s3.get_object(Bucket=bucket, Key="nothing"), "NoSuchKey"),
        (lambda: s3.get_bucket_location(Bucket="no-such-bucket-here"), "NoSuchBucket"),
        (lambda: s3.list_objects_v2(Bucket="no-such-bucket-here"), "NoSuchBucket"),
    ):
        with pytest.raises(ClientError) as refused:
            call()
        assert error_code(refused.value) == code
        assert refused.value.response["Error"].get("Message")
