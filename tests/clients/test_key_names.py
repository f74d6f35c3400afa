"""Which wrapping key an object gets: the one that a client names, in whichever form; the bucket's default; the rule's own."""

import pytest

from conftest import new_bucket
from faulty import Faulty, error
from multiparts import Upload, refused

KMS = "aws:kms"


class Key:
    """A KMS key with an alias, by all its names."""

    def __init__(self, kms):
        made = kms.create_key()["KeyMetadata"]
        self.id, self.arn = made["KeyId"], made["Arn"]
        self.alias = f"alias/{self.id}"
        kms.create_alias(AliasName=self.alias, TargetKeyId=self.id)
        self.alias_arn = self.arn.replace(f"key/{self.id}", self.alias)


@pytest.fixture
def key(kms):
    return Key(kms)


@pytest.fixture
def other(kms):
    return Key(kms)


def told(s3, bucket, name="object"):
    return s3.head_object(Bucket=bucket, Key=name)["SSEKMSKeyId"]


def store_each_way(s3, bucket, **sse):
    """One object by each operation that makes one; gives their names."""
    s3.put_object(Bucket=bucket, Key="put", Body=b"content", **sse)
    s3.copy_object(Bucket=bucket, Key="copied", CopySource={"Bucket": bucket, "Key": "put"}, **sse)
    s3.copy_object(Bucket=bucket, Key="put", CopySource={"Bucket": bucket, "Key": "put"}, MetadataDirective="REPLACE", **sse)
    one = Upload.start(s3, bucket, "uploaded", **sse)
    one.send(1, b"content")
    one.complete()
    return ["put", "copied", "uploaded"]


@pytest.mark.parametrize("configured", ["alias", "alias_arn", "arn", "id"])
def test_every_name_of_the_rules_key_is_taken(start, real, key, configured):
    """What HEAD tells is sent back by S3A renames, s3fs-fuse, s3cmd modify: by a process that has not used the key yet, too."""
    names = [key.arn, key.id, getattr(key, configured)]
    if configured.startswith("alias"):
        names += [key.alias, key.alias_arn]
    for name in names:
        s3 = start(real, keyring={"key_id": getattr(key, configured)}).boto()
        bucket = new_bucket(s3)
        for made in store_each_way(s3, bucket, ServerSideEncryption=KMS, SSEKMSKeyId=name):
            assert s3.get_object(Bucket=bucket, Key=made)["Body"].read() == b"content"
            assert told(s3, bucket, made) == key.arn


def test_what_head_tells_is_taken_by_a_process_that_read_nothing(start, real, key):
    """HEAD alone asks no key service, and may tell the key by the name that is configured."""
    first = start(real, keyring={"key_id": key.alias}).boto()
    bucket = new_bucket(first)
    first.put_object(Bucket=bucket, Key="object", Body=b"content")
    second = start(real, keyring={"key_id": key.alias}).boto()
    name = told(second, bucket)
    second.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "object"}, ServerSideEncryption=KMS, SSEKMSKeyId=name)
    assert told(second, bucket, "copy") == key.arn


@pytest.mark.parametrize("configured", ["alias", "arn"])
def test_no_other_key_is(start, real, key, other, configured):
    s3 = start(real, keyring={"key_id": getattr(key, configured)}).boto()
    bucket = new_bucket(s3)
    for name in (other.arn, other.id, other.alias, other.alias_arn, key.id[1:], key.alias + "x"):
        put = {"Bucket": bucket, "Key": "object", "Body": b"x", "ServerSideEncryption": KMS, "SSEKMSKeyId": name}
        assert refused(s3.put_object, **put) == (403, "AccessDenied"), f"This is a security issue: {name}"


def encryption(key=None, algorithm=KMS):
    default = {"SSEAlgorithm": algorithm} | ({"KMSMasterKeyID": key} if key else {})
    return {"Rules": [{"ApplyServerSideEncryptionByDefault": default}]}


def test_the_buckets_default_key_is_taken_where_the_rule_allows_it(start, real, key, other):
    running = start(real, keyring={"key_id": key.alias}, bucket=[{"name": "*", "allowed_key_ids": [other.alias]}])
    s3 = running.boto()
    bucket = new_bucket(s3)
    s3.put_object(Bucket=bucket, Key="before", Body=b"content")
    assert told(s3, bucket, "before") == key.arn
    for default in (other.arn, other.id, other.alias):
        s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration=encryption(default))
        for made in store_each_way(s3, bucket):
            assert told(s3, bucket, made) == other.arn, (default, made)
    for made in store_each_way(s3, bucket, ServerSideEncryption=KMS, SSEKMSKeyId=key.arn):
        assert told(s3, bucket, made) == key.arn, "a request that names a key has it"
    s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration=encryption(algorithm="AES256"))
    for made in store_each_way(s3, bucket):
        assert told(s3, bucket, made) == key.arn
    s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration=encryption(other.arn))
    s3.delete_bucket_encryption(Bucket=bucket)
    for made in store_each_way(s3, bucket):
        assert told(s3, bucket, made) == key.arn
    assert s3.get_object(Bucket=bucket, Key="before")["Body"].read() == b"content"


def test_a_default_key_that_no_rule_allows_is_refused(start, real, key, other):
    for rule in ({}, {"allowed_key_ids": [key.id]}):
        s3 = start(real, keyring={"key_id": key.alias}, bucket=[{"name": "*"} | rule]).boto()
        bucket = new_bucket(s3)
        put = {"Bucket": bucket, "ServerSideEncryptionConfiguration": encryption(other.arn)}
        assert refused(s3.put_bucket_encryption, **put) == (403, "AccessDenied")
        s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration=encryption(key.arn))
        s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration=encryption())


def test_a_default_set_behind_the_proxy_is_taken_only_if_it_is_allowed(start, real, key, other):
    """The storage's own encryption may have a key of its own, which is nothing to the proxy."""
    running = start(real, keyring={"key_id": key.alias}, bucket=[{"name": "*", "allowed_key_ids": [key.id]}])
    s3 = running.boto()
    bucket = new_bucket(s3)
    real.store.client.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration=encryption(other.arn))
    for made in store_each_way(s3, bucket):
        assert told(s3, bucket, made) == key.arn


def test_the_default_is_asked_for_only_where_there_is_a_choice_and_once(start, real, localstack, key, other):
    faulty = Faulty(localstack[0])
    asked = lambda: [line for line in faulty.seen if line.startswith("GET") and "encryption" in line]
    upstream = {"endpoint": faulty.endpoint, "max_retries": 0}
    s3 = start(real, upstream=upstream, keyring={"key_id": key.alias}).boto()
    bucket = new_bucket(s3)
    store_each_way(s3, bucket)
    assert asked() == []
    choice = [{"name": "*", "allowed_key_ids": [other.alias]}]
    s3 = start(real, upstream=upstream, keyring={"key_id": key.alias}, bucket=choice).boto()
    faulty.on(r"^GET /[^/]+\?encryption", instead=error(503, "SlowDown"))
    put = {"Bucket": bucket, "Key": "object", "Body": b"x"}
    assert refused(s3.put_object, **put)[0] == 503, "no object gets another key than its bucket's owner chose"
    for refusal in (error(404, "ServerSideEncryptionConfigurationNotFoundError"),):
        faulty.on(r"^GET /[^/]+\?encryption", instead=refusal)
        faulty.seen.clear()
        store_each_way(s3, bucket)
        assert told(s3, bucket, "put") == key.arn
        assert len(asked()) == 1
    faulty.stop()
