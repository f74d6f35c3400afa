"""Copies from one format to another: the content is sealed anew as the destination's rule says, and never lands as it was."""

import os
import re

import pytest
from botocore.exceptions import ClientError
from s3_encryption import S3EncryptionClient, S3EncryptionClientConfig
from s3_encryption.materials.kms_keyring import KmsKeyring
from s3_encryption.materials.materials import CommitmentPolicy

import article_cbc
from backing import Stored, error_code, status
from proxy import s3_client
from relay import Relay

FORMATS = ["native", "cbc", "s3ec-v2", "s3ec-v3"]
EVERYTHING = ["native", "cbc", "s3ec", "plaintext"]
MARKS = {"native": "encryption-envelope", "cbc": "encryption-length", "s3ec-v2": "x-amz-key-v2", "s3ec-v3": "x-amz-3"}
SOURCES = ["plaintext", *FORMATS]
RESERVED = ("encryption-", "x-amz-")
LENGTHS = [0, 1, 65_536, 65_537, 3 << 20]
HEADERS = {"ContentType": "text/x-copy", "CacheControl": "no-store", "ContentLanguage": "de"}


@pytest.fixture
def place(start, real):
    """A proxy where each format has a bucket that writes it and reads everything; the names of those, by format."""
    made = real.store.client
    names = {format: f"{format}-{os.urandom(4).hex()}" for format in [*FORMATS, "plaintext"]}
    for name in names.values():
        made.create_bucket(Bucket=name)
    rules = [{"name": names[write], "formats": {"write": write, "read": EVERYTHING}} for write in FORMATS]
    rules.append({"name": names["plaintext"], "formats": {"read": EVERYTHING}})
    return start(real, bucket=rules).boto(), names


def put(s3, names, real, format, key, content, **more):
    writer = real.store.client if format == "plaintext" else s3
    writer.put_object(Bucket=names[format], Key=key, Body=content, **more)


def marked(metadata):
    return {name for name in metadata if name.startswith(RESERVED)}


def check_sealed(real, bucket, key, format, content):
    stored = real.store.read(bucket, key)
    assert not content or len(content) < 16 or content[:64] not in stored.body, (
        "This is a security issue: a copy left its plaintext in the destination."
    )
    assert any(name.startswith(MARKS[format]) or name == MARKS[format] for name in marked(stored.metadata)) or (
        format == "s3ec-v3" and "x-amz-c" in stored.metadata
    ), (format, stored.metadata)
    others = {"native": {"encryption-key", "encryption-envelope"}, "cbc": {"encryption-key", "encryption-length"}}
    if format in others:
        assert marked(stored.metadata) == others[format]
    else:
        assert not any(name.startswith("encryption-") for name in stored.metadata)
    return stored


@pytest.mark.parametrize("write", FORMATS)
@pytest.mark.parametrize("source", SOURCES)
def test_a_copy_is_of_the_destinations_format(source, write, place, real):
    s3, names = place
    for length in LENGTHS:
        content, key = os.urandom(length), f"k{length}"
        put(s3, names, real, source, key, content, Metadata={"mine": "yes"}, Tagging="a=1&b=%C3%BC+2", **HEADERS)
        answer = s3.copy_object(Bucket=names[write], Key="to", CopySource={"Bucket": names[source], "Key": key})
        check_sealed(real, names[write], "to", write, content)
        got = s3.get_object(Bucket=names[write], Key="to")
        assert got["Body"].read() == content and got["ContentLength"] == length
        assert got["Metadata"] == {"mine": "yes"} and {name: got[name] for name in HEADERS} == HEADERS
        assert answer["CopyObjectResult"]["ETag"] == got["ETag"] and answer["CopyObjectResult"]["LastModified"]
        tags = {tag["Key"]: tag["Value"] for tag in s3.get_object_tagging(Bucket=names[write], Key="to")["TagSet"]}
        assert tags == {"a": "1", "b": "ü 2"}


@pytest.mark.parametrize("write", FORMATS)
def test_what_the_request_replaces(write, place, real):
    s3, names = place
    put(s3, names, real, "plaintext", "k", b"content", Metadata={"mine": "yes"}, Tagging="a=1")
    named = {"Bucket": names[write], "Key": "to", "CopySource": {"Bucket": names["plaintext"], "Key": "k"}}
    s3.copy_object(**named, MetadataDirective="REPLACE", Metadata={"new": "x"}, ContentType="text/new", TaggingDirective="REPLACE", Tagging="c=3")
    head = s3.head_object(Bucket=names[write], Key="to")
    assert head["Metadata"] == {"new": "x"} and head["ContentType"] == "text/new"
    assert s3.get_object_tagging(Bucket=names[write], Key="to")["TagSet"] == [{"Key": "c", "Value": "3"}]
    s3.copy_object(**named, TaggingDirective="REPLACE")
    assert s3.get_object_tagging(Bucket=names[write], Key="to")["TagSet"] == []


def test_a_multipart_object_gets_another_format_too(place, real):
    s3, names = place
    content = os.urandom(11 << 20)
    upload = s3.create_multipart_upload(Bucket=names["native"], Key="k")["UploadId"]
    parts = []
    for number, first in enumerate((0, 6 << 20), 1):
        piece = content[first : first + (6 << 20)]
        etag = s3.upload_part(Bucket=names["native"], Key="k", UploadId=upload, PartNumber=number, Body=piece)["ETag"]
        parts.append({"PartNumber": number, "ETag": etag})
    s3.complete_multipart_upload(Bucket=names["native"], Key="k", UploadId=upload, MultipartUpload={"Parts": parts})
    for write in ("cbc", "s3ec-v2", "s3ec-v3"):
        s3.copy_object(Bucket=names[write], Key="to", CopySource={"Bucket": names["native"], "Key": "k"})
        check_sealed(real, names[write], "to", write, content)
        assert s3.get_object(Bucket=names[write], Key="to")["Body"].read() == content


def test_the_other_clients_read_such_copies(place, real, kms, kms_key):
    s3, names = place
    content = os.urandom(100_000) + b"."
    put(s3, names, real, "native", "k", content)
    for write in FORMATS[1:]:
        s3.copy_object(Bucket=names[write], Key="to", CopySource={"Bucket": names["native"], "Key": "k"})
    keyring = KmsKeyring(kms_client=kms, kms_key_id=kms_key)
    config = S3EncryptionClientConfig(keyring=keyring, commitment_policy=CommitmentPolicy.REQUIRE_ENCRYPT_ALLOW_DECRYPT)
    amazon = S3EncryptionClient(s3_client(real.upstream["endpoint"]), config)
    for write in ("s3ec-v2", "s3ec-v3"):
        assert amazon.get_object(Bucket=names[write], Key="to")["Body"].read() == content


def test_in_place_a_bucket_moves_to_another_format(place, real):
    s3, names = place
    bucket = names["native"]
    itself = {"Bucket": bucket, "Key": "k", "CopySource": {"Bucket": bucket, "Key": "k"}}
    content = os.urandom(200_000)
    real.store.client.put_object(Bucket=bucket, Key="k", Body=content)
    s3.copy_object(**itself)
    check_sealed(real, bucket, "k", "native", content)
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == content
    with pytest.raises(ClientError) as refused:
        s3.copy_object(**itself)
    assert error_code(refused.value) == "InvalidRequest", "by now nothing would change"
    s3.put_object(Bucket=names["cbc"], Key="k", Body=content)
    with pytest.raises(ClientError) as refused:
        s3.copy_object(Bucket=names["cbc"], Key="k", CopySource={"Bucket": names["cbc"], "Key": "k"})
    assert error_code(refused.value) == "InvalidRequest"


@pytest.mark.parametrize("length", [1_000, 200_000])
def test_what_is_written_while_it_is_moved_is_not_lost(length, start, real):
    """Somebody writes between the copy's reading and its writing: the copy does not take that object's place."""
    relay = Relay(real.upstream["endpoint"])
    bucket = f"moved-{os.urandom(6).hex()}"
    rule = {"name": bucket, "formats": {"write": "native", "read": ["native", "plaintext"]}}
    running = start(real, upstream={"endpoint": relay.endpoint}, bucket=[rule])
    store = real.store.client
    store.create_bucket(Bucket=bucket)
    store.put_object(Bucket=bucket, Key="k", Body=os.urandom(length))
    newer = os.urandom(length)
    relay.before = (re.compile(rb"^PUT /"), lambda: store.put_object(Bucket=bucket, Key="k", Body=newer))
    answer = running.raw().request("PUT", f"/{bucket}/k", headers={"x-amz-copy-source": f"/{bucket}/k"})
    assert (answer.status, answer.code) == (503, "ServiceUnavailable"), answer
    assert store.get_object(Bucket=bucket, Key="k")["Body"].read() == newer
    running.boto().copy_object(Bucket=bucket, Key="k", CopySource={"Bucket": bucket, "Key": "k"})
    check_sealed(real, bucket, "k", "native", newer)
    relay.stop()


def test_what_the_sources_rule_does_not_read_is_not_copied(start, real):
    client = real.store.client
    source, target = (f"{name}-{os.urandom(4).hex()}" for name in ("strict", "open"))
    for bucket in (source, target):
        client.create_bucket(Bucket=bucket)
    rules = [{"name": source}, {"name": target, "formats": {"write": "cbc", "read": EVERYTHING}}]
    s3 = start(real, bucket=rules).boto()
    client.put_object(Bucket=source, Key="k", Body=b"planted by the storage")
    with pytest.raises(ClientError) as refused:
        s3.copy_object(Bucket=target, Key="to", CopySource={"Bucket": source, "Key": "k"})
    assert error_code(refused.value) == "InvalidRequest" and "formats.read" in str(refused.value)
    assert real.store.keys(target) == [], "This is a security issue: an unreadable source was copied."


@pytest.mark.parametrize("source", ["native", "s3ec-v2", "s3ec-v3"])
@pytest.mark.parametrize("length", [1000, 3 << 20])
def test_a_source_that_was_altered_makes_no_copy(source, length, place, real):
    s3, names = place
    s3.put_object(Bucket=names[source], Key="k", Body=os.urandom(length))
    stored = real.store.read(names[source], "k")
    broken = stored.body[:-1] + bytes([stored.body[-1] ^ 1])
    real.store.write(names[source], "k", Stored(broken, stored.metadata))
    with pytest.raises(ClientError) as refused:
        s3.copy_object(Bucket=names["cbc"], Key="to", CopySource={"Bucket": names[source], "Key": "k"})
    assert status(refused.value) >= 400
    assert real.store.keys(names["cbc"]) == [], "This is a security issue: an object that is not authentic was copied."


def test_conditions_on_source_and_copy(place, real):
    s3, names = place
    put(s3, names, real, "cbc", "k", b"content")
    etag = s3.head_object(Bucket=names["cbc"], Key="k")["ETag"]
    named = {"Bucket": names["native"], "Key": "to", "CopySource": {"Bucket": names["cbc"], "Key": "k"}}
    for condition in ({"CopySourceIfMatch": '"other"'}, {"CopySourceIfNoneMatch": etag}):
        with pytest.raises(ClientError) as refused:
            s3.copy_object(**named, **condition)
        assert error_code(refused.value) == "PreconditionFailed"
    assert real.store.keys(names["native"]) == []
    s3.copy_object(**named, CopySourceIfMatch=etag)
    with pytest.raises(ClientError) as refused:
        s3.copy_object(**{**named, "CopySource": {"Bucket": names["cbc"], "Key": "nothing"}})
    assert error_code(refused.value) == "NoSuchKey"


@pytest.mark.parametrize("source", [name for name in SOURCES if name != "native"])
def test_parts_are_copied_out_of_every_format(source, place, real):
    s3, names = place
    content = os.urandom((6 << 20) + 5)
    put(s3, names, real, source, "k", content)
    upload = s3.create_multipart_upload(Bucket=names["native"], Key="to")["UploadId"]
    parts = []
    for number, span in enumerate(("bytes=0-5999999", f"bytes=6000000-{len(content) - 1}"), 1):
        copied = s3.upload_part_copy(
            Bucket=names["native"], Key="to", UploadId=upload, PartNumber=number,
            CopySource={"Bucket": names[source], "Key": "k"}, CopySourceRange=span,
        )  # fmt: skip
        parts.append({"PartNumber": number, "ETag": copied["CopyPartResult"]["ETag"]})
    s3.complete_multipart_upload(Bucket=names["native"], Key="to", UploadId=upload, MultipartUpload={"Parts": parts})
    check_sealed(real, names["native"], "to", "native", content)
    assert s3.get_object(Bucket=names["native"], Key="to")["Body"].read() == content


def test_the_published_script_reads_a_copy(start, real, kms):
    client = real.store.client
    bucket = f"cbc-{os.urandom(4).hex()}"
    client.create_bucket(Bucket=bucket)
    rule = {"name": bucket, "formats": {"write": "cbc", "read": EVERYTHING}, "cbc_padding": "zero"}
    s3 = start(real, bucket=[rule]).boto()
    content = os.urandom(70_000) + b"."
    client.put_object(Bucket=bucket, Key="k", Body=content)
    s3.copy_object(Bucket=bucket, Key="to", CopySource={"Bucket": bucket, "Key": "k"})
    assert article_cbc.download(kms, client, bucket, "to") == content
