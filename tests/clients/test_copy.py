"""Copies: the storage copies the ciphertext, the proxy makes a new envelope; clients see S3's CopyObject."""

import os
import urllib.parse
from dataclasses import replace

import pytest
from botocore.exceptions import ClientError

from backing import Stored, error_code, status
from conftest import EMBEDDED, LOCALSTACK, alias_of, embedded_backend, new_bucket, new_key
from judge import assert_fails_closed, assert_not_stored, assert_refused
from proxy import ACCESS_KEY_ID, SECRET_ACCESS_KEY, write_keyring
from rawsig import RawClient, Signer, flip_bit
from relay import Relay
from test_metadata import HEADERS, METADATA
from test_odd_keys import ANY_NAMES, FILE_NAMES

CONTENT = os.urandom(200_000)
PAST, FUTURE = "Wed, 21 Oct 2015 07:28:00 GMT", "Thu, 01 Dec 2033 16:00:00 GMT"


def source(bucket, key, version=None):
    return {"Bucket": bucket, "Key": key} | ({"VersionId": version} if version else {})


def read(client, bucket, key):
    return client.get_object(Bucket=bucket, Key=key)["Body"].read()


def tags(client, bucket, key):
    return {tag["Key"]: tag["Value"] for tag in client.get_object_tagging(Bucket=bucket, Key=key)["TagSet"]}


def refused(call):
    with pytest.raises(ClientError) as caught:
        call()
    return error_code(caught.value), status(caught.value)


def header(bucket, key):
    return {"x-amz-copy-source": f"/{bucket}/{urllib.parse.quote(key)}"}


@pytest.fixture
def original(s3, bucket):
    """An object with everything that a copy may take along."""
    s3.put_object(Bucket=bucket, Key="from", Body=CONTENT, Metadata=METADATA, Tagging="a=1&b=2", ChecksumAlgorithm="SHA256", **HEADERS)
    return s3.head_object(Bucket=bucket, Key="from")


def test_a_copy_is_like_its_source(s3, bucket, backend, original):
    answer = s3.copy_object(Bucket=bucket, Key="to", CopySource=source(bucket, "from"))
    head = s3.head_object(Bucket=bucket, Key="to")
    assert read(s3, bucket, "to") == CONTENT
    assert head["ContentLength"] == len(CONTENT)
    assert {name: head.get(name) for name in HEADERS} == HEADERS and head["Metadata"] == METADATA
    assert tags(s3, bucket, "to") == {"a": "1", "b": "2"}
    assert answer["CopyObjectResult"]["ETag"] == head["ETag"] == original["ETag"]
    assert answer["CopyObjectResult"]["LastModified"] == head["LastModified"].replace(microsecond=answer["CopyObjectResult"]["LastModified"].microsecond)
    assert answer["ServerSideEncryption"] == "aws:kms" and answer["SSEKMSKeyId"] == head["SSEKMSKeyId"]


def test_the_ciphertext_is_copied_and_the_envelope_made_anew(s3, bucket, backend, original):
    s3.copy_object(Bucket=bucket, Key="to", CopySource=source(bucket, "from"))
    one, other = backend.store.read(bucket, "from"), backend.store.read(bucket, "to")
    assert one.body == other.body
    assert one.metadata["encryption-envelope"] != other.metadata["encryption-envelope"]


def test_checksums_of_the_plaintext_travel_along(s3, bucket):
    """Those that were known before the body was sent, and never those of the ciphertext."""
    known = s3.put_object(Bucket=bucket, Key="from", Body=CONTENT, ChecksumAlgorithm="SHA256")["ChecksumSHA256"]
    answer = s3.copy_object(Bucket=bucket, Key="to", CopySource=source(bucket, "from"))["CopyObjectResult"]
    assert answer["ChecksumSHA256"] == known
    assert not [name for name in answer if name.startswith("Checksum") and name not in ("ChecksumSHA256", "ChecksumType")]
    assert s3.head_object(Bucket=bucket, Key="to", ChecksumMode="ENABLED")["ChecksumSHA256"] == known
    assert s3.get_object(Bucket=bucket, Key="to", ChecksumMode="ENABLED")["Body"].read() == CONTENT


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537])
def test_sizes(s3, bucket, size):
    s3.put_object(Bucket=bucket, Key="from", Body=CONTENT[:size])
    s3.copy_object(Bucket=bucket, Key="to", CopySource=source(bucket, "from"))
    assert read(s3, bucket, "to") == CONTENT[:size]


def test_metadata_are_copied_or_replaced(s3, bucket, original):
    given = {"ContentType": "text/html", "Metadata": {"other": "one"}}
    s3.copy_object(Bucket=bucket, Key="kept", CopySource=source(bucket, "from"), **given)
    kept = s3.head_object(Bucket=bucket, Key="kept")
    assert kept["Metadata"] == METADATA and kept["ContentType"] == HEADERS["ContentType"]
    s3.copy_object(Bucket=bucket, Key="replaced", CopySource=source(bucket, "from"), MetadataDirective="REPLACE", **given)
    replaced = s3.head_object(Bucket=bucket, Key="replaced")
    assert replaced["Metadata"] == {"other": "one"} and replaced["ContentType"] == "text/html"
    assert "CacheControl" not in replaced and "ContentDisposition" not in replaced
    assert read(s3, bucket, "replaced") == CONTENT
    assert tags(s3, bucket, "replaced") == {"a": "1", "b": "2"}, "tags have a directive of their own"


def test_tags_are_copied_or_replaced(s3, bucket, original):
    s3.copy_object(Bucket=bucket, Key="to", CopySource=source(bucket, "from"), TaggingDirective="REPLACE", Tagging="c=3")
    assert tags(s3, bucket, "to") == {"c": "3"}
    s3.copy_object(Bucket=bucket, Key="bare", CopySource=source(bucket, "from"), TaggingDirective="REPLACE")
    assert tags(s3, bucket, "bare") == {}
    assert s3.head_object(Bucket=bucket, Key="to")["Metadata"] == METADATA


def test_expires_is_copied(proxy, s3, bucket):
    assert proxy.raw().request("PUT", f"/{bucket}/from", body=b"x", headers={"expires": FUTURE}).status == 200
    s3.copy_object(Bucket=bucket, Key="to", CopySource=source(bucket, "from"))
    assert proxy.raw().request("HEAD", f"/{bucket}/to").headers["expires"] == FUTURE


def test_what_belongs_to_the_place_is_not_copied(proxy, s3, bucket):
    headers = {"x-amz-website-redirect-location": "/elsewhere", "x-amz-storage-class": "STANDARD_IA"}
    assert proxy.raw().request("PUT", f"/{bucket}/from", body=b"x", headers=headers).status == 200
    s3.copy_object(Bucket=bucket, Key="to", CopySource=source(bucket, "from"))
    head = s3.head_object(Bucket=bucket, Key="to")
    assert "WebsiteRedirectLocation" not in head and head.get("StorageClass", "STANDARD") == "STANDARD"
    s3.copy_object(Bucket=bucket, Key="to", CopySource=source(bucket, "from"), StorageClass="STANDARD_IA", WebsiteRedirectLocation="/new")
    head = s3.head_object(Bucket=bucket, Key="to")
    assert (head["WebsiteRedirectLocation"], head["StorageClass"]) == ("/new", "STANDARD_IA")


@pytest.mark.parametrize("directive", ["x-amz-metadata-directive", "x-amz-tagging-directive"])
def test_an_unknown_directive(proxy, bucket, original, directive):
    assert_refused(proxy.raw().request("PUT", f"/{bucket}/to", headers={**header(bucket, "from"), directive: "MOVE"}), 400, "InvalidArgument")


@pytest.mark.parametrize("key", [name for name in FILE_NAMES + ANY_NAMES if not name.startswith("/")], ids=ascii)
def test_odd_keys(s3, bucket, key):
    """As a source and as a destination; boto3 encodes the source itself."""
    s3.put_object(Bucket=bucket, Key=key, Body=CONTENT[:100])
    s3.copy_object(Bucket=bucket, Key="to", CopySource=source(bucket, key))
    assert read(s3, bucket, "to") == CONTENT[:100]
    s3.delete_object(Bucket=bucket, Key=key)
    s3.copy_object(Bucket=bucket, Key=key, CopySource=source(bucket, "to"))
    assert read(s3, bucket, key) == CONTENT[:100]


@pytest.mark.parametrize("spell", [
    lambda bucket: f"{bucket}/a%20b%2Bc",
    lambda bucket: f"/{bucket}/a%20b%2Bc",
    lambda bucket: f"/{bucket}/a+b%2Bc",
    lambda bucket: f"/{bucket}/a b%2bc",
    lambda bucket: f"{bucket}%2Fa%20b%2Bc",
    lambda bucket: f"%2F{bucket}%2F%61%20b%2Bc",
])  # fmt: skip
def test_spellings_of_the_source(proxy, s3, bucket, spell):
    s3.put_object(Bucket=bucket, Key="a b+c", Body=b"content")
    answer = proxy.raw().request("PUT", f"/{bucket}/to", headers={"x-amz-copy-source": spell(bucket)})
    assert answer.status == 200, answer.body
    assert read(s3, bucket, "to") == b"content"


@pytest.mark.parametrize("value, told", [
    ("b", (400, "InvalidArgument")), ("b/", (400, "InvalidArgument")), ("/", (400, "InvalidArgument")),
    ("b/%zz", (400, "InvalidArgument")), ("b/k?acl", (400, "InvalidArgument")), ("b/k?versionId=", (400, "InvalidArgument")),
    ("arn:aws:s3:us-east-1:123456789012:accesspoint/a/object/k", (501, "NotImplemented")),
])  # fmt: skip
def test_a_source_that_is_none(proxy, bucket, backend, value, told):
    assert_refused(proxy.raw().request("PUT", f"/{bucket}/to", headers={"x-amz-copy-source": value}), *told)
    assert_not_stored(backend.store, bucket)


def test_a_source_that_is_not_there(proxy, s3, bucket, backend):
    s3.put_object(Bucket=bucket, Key="from", Body=b"x")
    assert refused(lambda: s3.copy_object(Bucket=bucket, Key="to", CopySource=source(bucket, "none"))) == ("NoSuchKey", 404)
    assert refused(lambda: s3.copy_object(Bucket=bucket, Key="to", CopySource=source("no-such-bucket-xyz", "k"))) == ("NoSuchBucket", 404)
    assert refused(lambda: s3.copy_object(Bucket="no-such-bucket-xyz", Key="to", CopySource=source(bucket, "from"))) == ("NoSuchBucket", 404)
    assert backend.store.keys(bucket) == ["from"]


def test_a_copy_has_no_body(proxy, bucket, original, backend):
    assert_refused(proxy.raw().request("PUT", f"/{bucket}/to", headers=header(bucket, "from"), body=b"content"), 400, "InvalidRequest")
    assert backend.store.keys(bucket) == ["from"]


def test_conditions_on_the_source(s3, bucket, original):
    etag, when = original["ETag"], original["LastModified"]

    def copied(**conditions):
        try:
            s3.copy_object(Bucket=bucket, Key="to", CopySource=source(bucket, "from"), **conditions)
        except ClientError as error:
            return error_code(error), status(error)
        return "made"

    unmet = ("PreconditionFailed", 412)
    assert copied(CopySourceIfMatch=etag) == "made"
    assert copied(CopySourceIfMatch='"other"') == unmet
    assert copied(CopySourceIfNoneMatch='"other"') == "made"
    assert copied(CopySourceIfNoneMatch=etag) == unmet
    assert copied(CopySourceIfModifiedSince=PAST) == "made"
    assert copied(CopySourceIfModifiedSince=when) == unmet
    assert copied(CopySourceIfUnmodifiedSince=when) == "made"
    assert copied(CopySourceIfUnmodifiedSince=PAST) == unmet
    # The two combinations that S3 speaks of.
    assert copied(CopySourceIfMatch=etag, CopySourceIfUnmodifiedSince=PAST) == "made"
    assert copied(CopySourceIfNoneMatch=etag, CopySourceIfModifiedSince=PAST) == unmet


def test_a_condition_that_does_not_hold_leaves_nothing(s3, bucket, original, backend):
    assert refused(lambda: s3.copy_object(Bucket=bucket, Key="to", CopySource=source(bucket, "from"), CopySourceIfMatch='"x"')) == ("PreconditionFailed", 412)
    assert backend.store.keys(bucket) == ["from"]


def test_conditions_on_the_destination(proxy, bucket, original, backend):
    if backend.name == LOCALSTACK:
        pytest.skip("LocalStack knows no conditions on a copy's destination")
    raw = proxy.raw()

    def copy(key, **conditions):
        return raw.request("PUT", f"/{bucket}/{key}", headers={**header(bucket, "from"), **{name.replace("_", "-"): value for name, value in conditions.items()}})

    assert copy("to", if_none_match="*").status == 200
    unmet = copy("to", if_none_match="*")
    assert (unmet.status, unmet.code) == (412, "PreconditionFailed")
    assert copy("to", if_match=original["ETag"]).status == 200
    unmet = copy("to", if_match='"other"')
    assert (unmet.status, unmet.code) == (412, "PreconditionFailed")
    unmet = copy("missing", if_match=original["ETag"])
    assert (unmet.status, unmet.code) == (404, "NoSuchKey")


def test_onto_itself(s3, bucket, original, backend):
    illegal = ("InvalidRequest", 400)
    itself = {"Bucket": bucket, "Key": "from", "CopySource": source(bucket, "from")}
    before = backend.store.read(bucket, "from")
    assert refused(lambda: s3.copy_object(**itself)) == illegal
    assert refused(lambda: s3.copy_object(**itself, TaggingDirective="REPLACE", Tagging="c=3")) == illegal
    assert backend.store.read(bucket, "from") == before
    for change in (
        {"MetadataDirective": "REPLACE", "Metadata": {"other": "one"}, "ContentType": "text/html"},
        {"StorageClass": "STANDARD_IA"},
        {"ServerSideEncryption": "aws:kms"},
        {"WebsiteRedirectLocation": "/new"},
    ):
        s3.copy_object(**itself, **change)
        assert read(s3, bucket, "from") == CONTENT
        assert s3.head_object(Bucket=bucket, Key="from")["Metadata"] == {"other": "one"}
    after = backend.store.read(bucket, "from")
    assert after.body == before.body, "a new content key over old ciphertext would be lost content"
    assert after.metadata["encryption-envelope"] != before.metadata["encryption-envelope"]
    assert refused(lambda: s3.copy_object(Bucket=bucket, Key="from", CopySource=source(bucket, "none"))) == ("NoSuchKey", 404)


def test_a_copy_of_a_copy_outlives_its_sources(s3, bucket, original):
    for one, other in (("from", "b"), ("b", "c"), ("c", "d")):
        s3.copy_object(Bucket=bucket, Key=other, CopySource=source(bucket, one))
        s3.delete_object(Bucket=bucket, Key=one)
    assert read(s3, bucket, "d") == CONTENT


def test_a_range_of_a_copy(s3, bucket, original):
    s3.copy_object(Bucket=bucket, Key="to", CopySource=source(bucket, "from"))
    answer = s3.get_object(Bucket=bucket, Key="to", Range="bytes=65530-131080")
    assert answer["Body"].read() == CONTENT[65530:131081]


@pytest.fixture(params=[EMBEDDED, LOCALSTACK])
def realms(request, start, tmp_path):
    """Two buckets, each with a realm, a binding and (in a local keyring) a key of its own."""
    backend = embedded_backend(tmp_path) if request.param == EMBEDDED else request.getfixturevalue("real")
    if request.param == EMBEDDED:
        keys = ("key-a", "key-b")
        backend = replace(backend, keyring={"provider": "local", "file": write_keyring(tmp_path / "two-keys", *keys)})
    else:
        kms = request.getfixturevalue("kms")
        keys = [alias_of(new_key(kms)) for _ in range(2)]
    suffix = os.urandom(6).hex()
    one, other = f"one-{suffix}", f"other-{suffix}"
    rules = [
        {"name": one, "realm": "realm/a", "key_id": keys[0]},
        {"name": other, "realm": "realm/b", "key_id": keys[1], "binding": "realm"},
        {"name": "*"},
    ]
    running = start(backend, bucket=rules)
    for name in (one, other):
        running.boto().create_bucket(Bucket=name)
    return running, backend, one, other, rules


def test_between_realms_and_keys(realms, start):
    running, backend, one, other, rules = realms
    s3 = running.boto()
    s3.put_object(Bucket=one, Key="object", Body=CONTENT)
    answer = s3.copy_object(Bucket=other, Key="copy", CopySource=source(one, "object"))
    assert read(s3, other, "copy") == CONTENT
    assert answer["SSEKMSKeyId"] == s3.head_object(Bucket=other, Key="copy")["SSEKMSKeyId"] != s3.head_object(Bucket=one, Key="object")["SSEKMSKeyId"]
    stored, copied = backend.store.read(one, "object"), backend.store.read(other, "copy")
    assert stored.body == copied.body and stored.metadata["encryption-key"] != copied.metadata["encryption-key"]

    # It opens in its own realm only: not in the one it came from, and not with the other's key.
    s3.put_object(Bucket=one, Key="copy", Body=b"to be replaced")
    backend.store.write(one, "copy", copied)
    assert_fails_closed(running.raw().request("GET", f"/{one}/copy"), CONTENT)
    s3.put_object(Bucket=other, Key="object", Body=b"to be replaced")
    backend.store.write(other, "object", stored)
    assert_fails_closed(running.raw().request("GET", f"/{other}/object"), CONTENT)
    swapped = [{**rules[0], "name": other}, {**rules[1], "name": one}, rules[2]]
    assert_fails_closed(start(backend, bucket=swapped).raw().request("GET", f"/{other}/copy"), CONTENT)


def test_a_key_that_the_request_selects(realms):
    running, _, one, other, rules = realms
    running.boto().put_object(Bucket=one, Key="object", Body=CONTENT)
    raw = running.raw()
    chosen = {"x-amz-server-side-encryption": "aws:kms", "x-amz-server-side-encryption-aws-kms-key-id": rules[0]["key_id"]}
    assert_refused(raw.request("PUT", f"/{other}/copy", headers={**header(one, "object"), **chosen}), 403, "AccessDenied")
    chosen["x-amz-server-side-encryption-aws-kms-key-id"] = rules[1]["key_id"]
    assert raw.request("PUT", f"/{other}/copy", headers={**header(one, "object"), **chosen}).status == 200
    assert raw.request("GET", f"/{other}/copy").body == CONTENT


def test_a_version(real_proxy, real_bucket, real):
    s3 = real_proxy.boto()
    s3.put_bucket_versioning(Bucket=real_bucket, VersioningConfiguration={"Status": "Enabled"})
    first = s3.put_object(Bucket=real_bucket, Key="object", Body=b"first", Metadata={"n": "1"})["VersionId"]
    second = s3.put_object(Bucket=real_bucket, Key="object", Body=b"second", Metadata={"n": "2"})["VersionId"]
    answer = s3.copy_object(Bucket=real_bucket, Key="to", CopySource=source(real_bucket, "object", first))
    assert answer["CopySourceVersionId"] == first and answer["VersionId"] == s3.head_object(Bucket=real_bucket, Key="to")["VersionId"]
    assert read(s3, real_bucket, "to") == b"first" and s3.head_object(Bucket=real_bucket, Key="to")["Metadata"] == {"n": "1"}
    s3.copy_object(Bucket=real_bucket, Key="to", CopySource=source(real_bucket, "object"))
    assert read(s3, real_bucket, "to") == b"second"
    # An older version becomes the current one again: a copy onto itself that changes something.
    s3.copy_object(Bucket=real_bucket, Key="object", CopySource=source(real_bucket, "object", first))
    assert read(s3, real_bucket, "object") == b"first"
    assert s3.get_object(Bucket=real_bucket, Key="object", VersionId=second)["Body"].read() == b"second"


def test_by_the_command_line(aws, proxy, s3, bucket, tmp_path):
    other = new_bucket(s3)
    (tmp_path / "file").write_bytes(CONTENT)
    aws("s3", "cp", tmp_path / "file", f"s3://{bucket}/dir/ünï +%.txt", "--content-type", "text/x-test", "--metadata", "a=1")
    aws("s3", "cp", f"s3://{bucket}/dir/ünï +%.txt", f"s3://{other}/copy")
    assert read(s3, other, "copy") == CONTENT
    head = s3.head_object(Bucket=other, Key="copy")
    assert (head["ContentType"], head["Metadata"]) == ("text/x-test", {"a": "1"})
    aws("s3", "mv", f"s3://{other}/copy", f"s3://{other}/moved")
    assert read(s3, other, "moved") == CONTENT
    assert refused(lambda: s3.get_object(Bucket=other, Key="copy"))[0] == "NoSuchKey"
    aws("s3", "sync", f"s3://{bucket}/", f"s3://{other}/synced/")
    assert read(s3, other, "synced/dir/ünï +%.txt") == CONTENT


def test_no_content_passes_the_proxy(start, real):
    relay = Relay(real.upstream["endpoint"])
    running = start(real, upstream={"endpoint": relay.endpoint})
    s3 = running.boto()
    bucket = new_bucket(s3)
    content = os.urandom(3_000_000)
    s3.put_object(Bucket=bucket, Key="from", Body=content)
    before = relay.relayed
    s3.copy_object(Bucket=bucket, Key="to", CopySource=source(bucket, "from"))
    assert 0 < relay.relayed - before < 20_000
    assert read(s3, bucket, "to") == content
    relay.stop()


def test_what_takes_long_is_kept_alive(start, real):
    """After five seconds a 200 goes out, then spaces, then the outcome, which boto3 takes for what it is."""
    relay = Relay(real.upstream["endpoint"])
    running = start(real, upstream={"endpoint": relay.endpoint})
    s3 = running.boto()
    bucket = new_bucket(s3)
    s3.put_object(Bucket=bucket, Key="from", Body=CONTENT)
    relay.answers_wait = 3
    answer = running.raw().request("PUT", f"/{bucket}/to", headers=header(bucket, "from"))
    assert answer.status == 200 and "content-length" not in answer.headers
    assert answer.body.startswith(b"<?xml ") and b"<CopyObjectResult " in answer.body
    failed = running.raw().request("PUT", "/no-such-bucket-xyz/to", headers=header(bucket, "from"))
    assert (failed.status, failed.code) == (200, "NoSuchBucket")
    assert failed.body.count(b"<?xml") == 1
    assert refused(lambda: s3.copy_object(Bucket="no-such-bucket-xyz", Key="to", CopySource=source(bucket, "from")))[0] == "NoSuchBucket"
    relay.answers_wait = 0
    assert read(s3, bucket, "to") == CONTENT
    relay.stop()


CLIENTS = [
    {"access_key_id": ACCESS_KEY_ID, "secret_access_key": SECRET_ACCESS_KEY, "access": "admin"},
    {"access_key_id": "logs", "secret_access_key": "logs-secret", "buckets": ["logs-*"]},
    {"access_key_id": "reader", "secret_access_key": "reader-secret", "access": "read-only"},
    {"access_key_id": "writer", "secret_access_key": "writer-secret", "access": "write-only"},
]


@pytest.mark.parametrize("kind", [EMBEDDED, LOCALSTACK])
def test_no_right_is_gained_by_copying(request, start, tmp_path, kind):
    """A client must not read through a copy what it can't read: this is a security issue."""
    backend = embedded_backend(tmp_path) if kind == EMBEDDED else request.getfixturevalue("real")
    running = start(backend, client=CLIENTS)
    suffix = os.urandom(6).hex()
    logs, other = f"logs-{suffix}", f"other-{suffix}"
    for name in (logs, other):
        running.boto().create_bucket(Bucket=name)
        running.boto().put_object(Bucket=name, Key="object", Body=b"content")

    def copy(client, bucket, copy_source, **more):
        raw = RawClient(running.endpoint, Signer(client, f"{client}-secret"))
        return raw.request("PUT", f"/{bucket}/copy", headers={"x-amz-copy-source": copy_source, **more})

    assert copy("logs", logs, f"/{logs}/object").status == 200
    for spelling in (f"/{other}/object", f"{other}/object", f"%2F{other}%2Fobject", f"{other}%2Fobject"):
        assert_refused(copy("logs", logs, spelling), 403, "AccessDenied")
    assert_refused(copy("logs", other, f"/{logs}/object"), 403, "AccessDenied")
    for client in ("reader", "writer"):
        assert_refused(copy(client, other, f"/{other}/object"), 403, "AccessDenied")
    # Hoisted into a presigned URL, the source is the same.
    raw = RawClient(running.endpoint, Signer("logs", "logs-secret"))
    query = raw.signer.presign("PUT", raw.authority, f"/{logs}/copy", [("x-amz-copy-source", f"/{other}/object")])
    assert_refused(raw.send("PUT", f"/{logs}/copy", query, {"host": raw.authority, "content-length": "0"}, []), 403, "AccessDenied")
    assert sorted(backend.store.keys(logs)) == ["copy", "object"] and backend.store.keys(other) == ["object"]
    assert running.raw().request("GET", f"/{logs}/copy").body == b"content"


def test_sources_that_are_not_what_their_writer_sealed(real_proxy, real_bucket, real):
    """The storage as the attacker: what can't be opened under its own name gets no new envelope. This is a security issue."""
    raw = real_proxy.raw()
    for key in ("object", "other"):
        assert raw.request("PUT", f"/{real_bucket}/{key}", body=CONTENT).status == 200
    honest, other = (real.store.read(real_bucket, key) for key in ("object", "other"))
    envelope = honest.metadata["encryption-envelope"]
    for what, stored, code in [
        ("another object", other, "IntegrityCheckFailed"),
        ("another's envelope", replace(honest, metadata={**honest.metadata, "encryption-envelope": other.metadata["encryption-envelope"]}), "IntegrityCheckFailed"),
        ("a flipped bit", replace(honest, metadata={**honest.metadata, "encryption-envelope": flip_letter(envelope, 100)}), "IntegrityCheckFailed"),
        ("a length that no object has", replace(honest, body=honest.body[: 65_552 + 3]), "IntegrityCheckFailed"),
        ("cut at a chunk's edge", replace(honest, body=honest.body[:65_552]), "IntegrityCheckFailed"),
        ("a plaintext", Stored(b"written by someone else", {}), "InvalidRequest"),
        ("an empty plaintext", Stored(b"", {}), "InvalidRequest"),
        ("a key without envelope", replace(honest, metadata={"encryption-key": honest.metadata["encryption-key"]}), "InvalidRequest"),
    ]:  # fmt: skip
        real.store.write(real_bucket, "object", stored)
        answer = raw.request("PUT", f"/{real_bucket}/copy", headers=header(real_bucket, "object"))
        assert answer.status >= 400 and answer.code == code, (what, answer.status, answer.body)
        if code == "InvalidRequest":
            assert "formats.read" in answer.message
        assert sorted(real.store.keys(real_bucket)) == ["object", "other"], what


def flip_letter(text, at):
    return text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :]


def test_a_changed_body_is_copied_and_still_does_not_open(real_proxy, real_bucket, real):
    """A copy authenticates no content; its reader does."""
    raw = real_proxy.raw()
    assert raw.request("PUT", f"/{real_bucket}/object", body=CONTENT).status == 200
    honest = real.store.read(real_bucket, "object")
    real.store.write(real_bucket, "object", replace(honest, body=flip_bit(honest.body, 70_000)))
    assert raw.request("PUT", f"/{real_bucket}/copy", headers=header(real_bucket, "object")).status == 200
    assert_fails_closed(raw.request("GET", f"/{real_bucket}/copy"), CONTENT)


def test_a_delete_marker_is_no_source(real_proxy, real_bucket):
    """Hidden by one, a key is missing; one that is named by its version is a wrong request. The versions below can be copied."""
    s3 = real_proxy.boto()
    s3.put_bucket_versioning(Bucket=real_bucket, VersioningConfiguration={"Status": "Enabled"})
    first = s3.put_object(Bucket=real_bucket, Key="k", Body=b"first")["VersionId"]
    marker = s3.delete_object(Bucket=real_bucket, Key="k")["VersionId"]
    place = {"Bucket": real_bucket, "Key": "copy"}
    upload = s3.create_multipart_upload(**place)["UploadId"]
    for copy, more in ((s3.copy_object, {}), (s3.upload_part_copy, {"UploadId": upload, "PartNumber": 1})):
        source = {"Bucket": real_bucket, "Key": "k"}
        for version, expected in (({}, ("NoSuchKey", 404)), ({"VersionId": marker}, ("InvalidRequest", 400))):
            with pytest.raises(ClientError) as refused:
                copy(**place, **more, CopySource={**source, **version})
            assert (error_code(refused.value), status(refused.value)) == expected
        copy(**place, **more, CopySource={**source, "VersionId": first})
    assert s3.get_object(**place)["Body"].read() == b"first"
