"""Copies of multipart objects, and parts that are copied from other objects."""

import os
from dataclasses import replace

import pytest
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

from backing import error_code, status
from conftest import EMBEDDED, LOCALSTACK, embedded_backend, new_bucket
from judge import assert_fails_closed, assert_refused
from rawsig import RawClient, Signer, checksum, flip_bit
from relay import Relay
from test_checksums import field
from test_copy import CLIENTS, header, read, realms, refused, source, tags  # noqa: F401
from test_metadata import HEADERS, METADATA
from test_multipart_checksums import ALGORITHMS, COMPOSITE, composite

MIB = 1 << 20
CONTENT = os.urandom(12 * MIB + 12_345)
PAST, FUTURE = "Wed, 21 Oct 2015 07:28:00 GMT", "Thu, 01 Dec 2033 16:00:00 GMT"


def upload(s3, bucket, key, sizes, **headers):
    """An object of so many bytes of CONTENT, in parts of these sizes."""
    made = s3.create_multipart_upload(Bucket=bucket, Key=key, **headers)["UploadId"]
    parts, at = [], 0
    for number, size in enumerate(sizes, 1):
        etag = s3.upload_part(Bucket=bucket, Key=key, UploadId=made, PartNumber=number, Body=CONTENT[at : at + size])["ETag"]
        parts.append({"PartNumber": number, "ETag": etag})
        at += size
    s3.complete_multipart_upload(Bucket=bucket, Key=key, UploadId=made, MultipartUpload={"Parts": parts})
    return CONTENT[:at]


SIZES = {
    "a small last part": [5 * MIB, 5 * MIB, 100_000],
    "a large last part": [5 * MIB, 6 * MIB],
    "uneven parts": [5 * MIB + 1, 5 * MIB + 70_000, 33],
    "one small part": [77],
    "one large part": [6 * MIB + 5],
}


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_a_multipart_object_stays_one(s3, bucket, backend, sizes):
    content = upload(s3, bucket, "from", sizes, Metadata=METADATA, Tagging="a=1&b=x%20y", **HEADERS)
    original = s3.head_object(Bucket=bucket, Key="from")
    answer = s3.copy_object(Bucket=bucket, Key="to", CopySource=source(bucket, "from"))
    head = s3.head_object(Bucket=bucket, Key="to")
    assert head["ETag"] == answer["CopyObjectResult"]["ETag"] == original["ETag"], "the same parts, the same ETag"
    assert head["ContentLength"] == len(content) and read(s3, bucket, "to") == content
    assert {name: head.get(name) for name in HEADERS} == HEADERS and head["Metadata"] == METADATA
    assert tags(s3, bucket, "to") == {"a": "1", "b": "x y"}
    assert answer["ServerSideEncryption"] == "aws:kms" and answer["CopyObjectResult"]["LastModified"] == head["LastModified"]
    listed = {item["Key"]: item["Size"] for item in s3.list_objects_v2(Bucket=bucket)["Contents"]}
    assert listed == {"from": len(content), "to": len(content)}
    one, other = backend.store.read(bucket, "from"), backend.store.read(bucket, "to")
    assert one.body == other.body and one.metadata["encryption-envelope"] != other.metadata["encryption-envelope"]
    middle = len(content) // 2
    ranged = s3.get_object(Bucket=bucket, Key="to", Range=f"bytes={middle}-{middle + 10}")
    assert ranged["Body"].read() == content[middle : middle + 11]
    assert sorted(backend.store.keys(bucket)) == ["from", "to"], "no upload is left"


def test_metadata_and_tags_of_a_multipart_copy(s3, bucket):
    content = upload(s3, bucket, "from", [5 * MIB, 9], Metadata={"a": "1"}, Tagging="a=1")
    s3.copy_object(
        Bucket=bucket, Key="to", CopySource=source(bucket, "from"), MetadataDirective="REPLACE", Metadata={"b": "2"},
        ContentType="text/html", TaggingDirective="REPLACE", Tagging="b=2", StorageClass="STANDARD_IA",
    )  # fmt: skip
    head = s3.head_object(Bucket=bucket, Key="to")
    assert (head["Metadata"], head["ContentType"], head["StorageClass"]) == ({"b": "2"}, "text/html", "STANDARD_IA")
    assert tags(s3, bucket, "to") == {"b": "2"} and read(s3, bucket, "to") == content


def test_a_multipart_object_onto_itself(s3, bucket, backend):
    content = upload(s3, bucket, "object", [5 * MIB, 9], Metadata={"a": "1"})
    itself = {"Bucket": bucket, "Key": "object", "CopySource": source(bucket, "object")}
    assert refused(lambda: s3.copy_object(**itself)) == ("InvalidRequest", 400)
    before = backend.store.read(bucket, "object")
    s3.copy_object(**itself, MetadataDirective="REPLACE", Metadata={"b": "2"})
    assert s3.head_object(Bucket=bucket, Key="object")["Metadata"] == {"b": "2"}
    assert read(s3, bucket, "object") == content and backend.store.read(bucket, "object").body == before.body


def test_conditions_of_a_multipart_copy(proxy, s3, bucket, backend):
    upload(s3, bucket, "from", [5 * MIB, 9])
    etag = s3.head_object(Bucket=bucket, Key="from")["ETag"]
    copy = {"Bucket": bucket, "Key": "to", "CopySource": source(bucket, "from")}
    assert refused(lambda: s3.copy_object(**copy, CopySourceIfMatch='"other"')) == ("PreconditionFailed", 412)
    assert refused(lambda: s3.copy_object(**copy, CopySourceIfNoneMatch=etag)) == ("PreconditionFailed", 412)
    assert backend.store.keys(bucket) == ["from"]
    s3.copy_object(**copy, CopySourceIfMatch=etag)
    # Conditions on the destination count when the upload is completed, and both storages know them there.
    answer = proxy.raw().request("PUT", f"/{bucket}/to", headers={**header(bucket, "from"), "if-none-match": "*"})
    assert (answer.status, answer.code) == (412, "PreconditionFailed")
    assert sorted(backend.store.keys(bucket)) == ["from", "to"], "no upload is left"


def test_a_multipart_object_between_realms(realms):  # noqa: F811
    running, backend, one, other, _ = realms
    s3 = running.boto()
    content = upload(s3, one, "object", [5 * MIB, 5 * MIB, 9])
    s3.copy_object(Bucket=other, Key="copy", CopySource=source(one, "object"))
    assert read(s3, other, "copy") == content
    upload(s3, one, "copy", [5 * MIB, 9])
    backend.store.write(one, "copy", backend.store.read(other, "copy"))
    assert_fails_closed(running.raw().request("GET", f"/{one}/copy"), content)


def test_no_content_of_parts_passes_the_proxy(start, real):
    relay = Relay(real.upstream["endpoint"])
    running = start(real, upstream={"endpoint": relay.endpoint})
    s3 = running.boto()
    bucket = new_bucket(s3)
    content = upload(s3, bucket, "from", [5 * MIB, 9])
    before = relay.relayed
    s3.copy_object(Bucket=bucket, Key="to", CopySource=source(bucket, "from"))
    assert 0 < relay.relayed - before < 40_000
    assert read(s3, bucket, "to") == content
    relay.stop()


# Parts that are copied: decrypted and sealed anew on the way.


class Upload:
    """An upload in progress, whose parts are copied."""

    def __init__(self, s3, bucket, key="to", **headers):
        self.s3, self.bucket, self.key = s3, bucket, key
        self.id = s3.create_multipart_upload(Bucket=bucket, Key=key, **headers)["UploadId"]
        self.parts = []

    def copy(self, number, copy_source, first=None, last=None, **more):
        if first is not None:
            more["CopySourceRange"] = f"bytes={first}-{last}"
        answer = self.s3.upload_part_copy(Bucket=self.bucket, Key=self.key, UploadId=self.id, PartNumber=number, CopySource=copy_source, **more)
        self.parts.append({"PartNumber": number, "ETag": answer["CopyPartResult"]["ETag"]})
        return answer

    def put(self, number, body):
        etag = self.s3.upload_part(Bucket=self.bucket, Key=self.key, UploadId=self.id, PartNumber=number, Body=body)["ETag"]
        self.parts.append({"PartNumber": number, "ETag": etag})

    def complete(self):
        self.done = self.s3.complete_multipart_upload(Bucket=self.bucket, Key=self.key, UploadId=self.id, MultipartUpload={"Parts": self.parts})
        return read(self.s3, self.bucket, self.key)

    def listed(self):
        answer = self.s3.list_parts(Bucket=self.bucket, Key=self.key, UploadId=self.id)
        return {part["PartNumber"]: part["Size"] for part in answer.get("Parts", [])}


@pytest.fixture
def original(s3, bucket):
    """One of one PUT, and one of parts, with the same content."""
    s3.put_object(Bucket=bucket, Key="put", Body=CONTENT)
    upload(s3, bucket, "parts", [5 * MIB, 5 * MIB, len(CONTENT) - 10 * MIB])
    return s3.head_object(Bucket=bucket, Key="put")


@pytest.mark.parametrize("key", ["put", "parts"])
def test_parts_of_ranges(s3, bucket, backend, original, key):
    made = Upload(s3, bucket)
    answer = made.copy(1, source(bucket, key), 1, 5 * MIB + 1000)
    assert answer["CopyPartResult"]["LastModified"] and answer["ServerSideEncryption"] == "aws:kms"
    made.copy(2, source(bucket, key), 5 * MIB - 7, 11 * MIB)
    made.put(3, b"from the client")
    assert made.listed() == {1: 5 * MIB + 1000, 2: 6 * MIB + 8, 3: 15}
    whole = CONTENT[1 : 5 * MIB + 1001] + CONTENT[5 * MIB - 7 : 11 * MIB + 1] + b"from the client"
    assert made.complete() == whole
    assert s3.head_object(Bucket=bucket, Key="to")["ContentLength"] == len(whole)
    assert not backend.store.contains(bucket, CONTENT[1000:1100]), "This is a security issue: plaintext is stored."


@pytest.mark.parametrize("key", ["put", "parts"])
def test_a_whole_object_as_a_part(s3, bucket, original, key):
    made = Upload(s3, bucket)
    made.copy(1, source(bucket, key))
    made.copy(2, source(bucket, key))
    assert made.complete() == CONTENT * 2


def test_small_and_single_parts(s3, bucket, original):
    s3.put_object(Bucket=bucket, Key="small", Body=b"small")
    s3.put_object(Bucket=bucket, Key="empty", Body=b"")
    made = Upload(s3, bucket)
    made.copy(1, source(bucket, "small"))
    assert made.complete() == b"small"
    made = Upload(s3, bucket, "empty-copy")
    made.copy(1, source(bucket, "empty"))
    assert made.complete() == b""
    made = Upload(s3, bucket, "one-byte")
    made.copy(1, source(bucket, "put"), 0, 0)
    assert made.complete() == CONTENT[:1]


@pytest.mark.parametrize("value, code", [
    ("bytes=0-", "InvalidArgument"), ("bytes=-5", "InvalidArgument"), ("0-5", "InvalidArgument"), ("bytes=5-4", "InvalidArgument"),
    ("bytes=0-1,3-4", "InvalidArgument"), (f"bytes=0-{len(CONTENT)}", "InvalidArgument"), (f"bytes={len(CONTENT)}-{len(CONTENT)}", "InvalidArgument"),
])  # fmt: skip
def test_ranges_that_are_none(proxy, s3, bucket, original, value, code):
    made = Upload(s3, bucket)
    for key in ("put", "parts"):
        headers = {**header(bucket, key), "x-amz-copy-source-range": value}
        answer = proxy.raw().request("PUT", f"/{bucket}/to", [("partNumber", "1"), ("uploadId", made.id)], headers=headers)
        assert_refused(answer, 400, code)
    assert made.listed() == {}


def test_conditions_on_the_source_of_a_part(s3, bucket, original):
    etag, when = original["ETag"], original["LastModified"]
    made, unmet = Upload(s3, bucket), ("PreconditionFailed", 412)
    part = source(bucket, "put")
    for fails in ({"CopySourceIfMatch": '"other"'}, {"CopySourceIfNoneMatch": etag}, {"CopySourceIfModifiedSince": when}, {"CopySourceIfUnmodifiedSince": PAST}):
        assert refused(lambda: made.copy(1, part, 0, 99, **fails)) == unmet, fails
    assert made.listed() == {}
    for holds in ({"CopySourceIfMatch": etag}, {"CopySourceIfNoneMatch": '"other"'}, {"CopySourceIfModifiedSince": PAST}, {"CopySourceIfUnmodifiedSince": when},
                  {"CopySourceIfMatch": etag, "CopySourceIfUnmodifiedSince": PAST}):  # fmt: skip
        made.copy(1, part, 0, 99, **holds)


def test_sources_that_are_not_there(s3, bucket, original):
    made = Upload(s3, bucket)
    assert refused(lambda: made.copy(1, source(bucket, "none"))) == ("NoSuchKey", 404)
    assert refused(lambda: made.copy(1, source("no-such-bucket-xyz", "k"))) == ("NoSuchBucket", 404)
    assert refused(lambda: s3.upload_part_copy(Bucket=bucket, Key="to", UploadId="none", PartNumber=1, CopySource=source(bucket, "put")))[0] == "NoSuchUpload"


def test_a_version_as_a_part(real_proxy, real_bucket):
    s3 = real_proxy.boto()
    s3.put_bucket_versioning(Bucket=real_bucket, VersioningConfiguration={"Status": "Enabled"})
    first = s3.put_object(Bucket=real_bucket, Key="object", Body=b"first")["VersionId"]
    s3.put_object(Bucket=real_bucket, Key="object", Body=b"second")
    made = Upload(s3, real_bucket)
    assert made.copy(1, source(real_bucket, "object", first))["CopySourceVersionId"] == first
    assert made.complete() == b"first"


@pytest.mark.parametrize("key", ["a b+c%d", "ünïcödé/日本語", "question?mark", "dir//x"])
def test_odd_sources_of_parts(s3, bucket, key):
    s3.put_object(Bucket=bucket, Key=key, Body=b"content")
    made = Upload(s3, bucket)
    made.copy(1, source(bucket, key))
    assert made.complete() == b"content"


def test_a_changed_source_becomes_no_part(real_proxy, real_bucket, real):
    """Parts are authenticated as they are copied: this is a security issue."""
    s3 = real_proxy.boto()
    s3.put_object(Bucket=real_bucket, Key="object", Body=CONTENT)
    honest = real.store.read(real_bucket, "object")
    made = Upload(s3, real_bucket)
    for body in (flip_bit(honest.body, 5), flip_bit(honest.body, len(honest.body) - 30), honest.body[: -65_552], honest.body[65_552:]):
        real.store.write(real_bucket, "object", replace(honest, body=body))
        code, _ = refused(lambda: made.copy(1, source(real_bucket, "object")))
        assert code == "IntegrityCheckFailed" and made.listed() == {}, "This is a security issue: a changed source became a part."
    real.store.write(real_bucket, "object", honest)
    made.copy(1, source(real_bucket, "object"))
    assert made.complete() == CONTENT


@pytest.mark.parametrize("kind", [EMBEDDED, LOCALSTACK])
def test_no_right_is_gained_by_copying_parts(request, start, tmp_path, kind):
    """A client must not read through a copy what it can't read: this is a security issue."""
    backend = embedded_backend(tmp_path) if kind == EMBEDDED else request.getfixturevalue("real")
    running = start(backend, client=CLIENTS)
    suffix = os.urandom(6).hex()
    logs, other = f"logs-{suffix}", f"other-{suffix}"
    for name in (logs, other):
        running.boto().create_bucket(Bucket=name)
        running.boto().put_object(Bucket=name, Key="object", Body=b"content")

    def copy(client, bucket, copy_source):
        raw = RawClient(running.endpoint, Signer(client, f"{client}-secret"))
        made = Upload(running.boto(), bucket)
        return raw.request("PUT", f"/{bucket}/to", [("partNumber", "1"), ("uploadId", made.id)], headers={"x-amz-copy-source": copy_source})

    assert copy("logs", logs, f"/{logs}/object").status == 200
    for spelling in (f"/{other}/object", f"{other}%2Fobject"):
        assert_refused(copy("logs", logs, spelling), 403, "AccessDenied")
    assert_refused(copy("logs", other, f"/{logs}/object"), 403, "AccessDenied")
    for client in ("reader", "writer"):
        assert_refused(copy(client, other, f"/{other}/object"), 403, "AccessDenied")


def test_managed_copies(s3, bucket, original):
    """boto3's own: of parts, side by side."""
    config = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB, max_concurrency=4)
    for key in ("put", "parts"):
        s3.copy(source(bucket, key), bucket, f"copy-of-{key}", Config=config)
        assert read(s3, bucket, f"copy-of-{key}") == CONTENT


def test_large_objects_by_the_command_line(aws, proxy, s3, bucket, tmp_path):
    """The CLI copies what has more than 8 MiB in parts of 8 MiB; its version 1 leaves the metadata to the caller then."""
    other = new_bucket(s3)
    (tmp_path / "file").write_bytes(CONTENT)
    aws("s3", "cp", tmp_path / "file", f"s3://{bucket}/a b+c")
    aws("s3", "cp", f"s3://{bucket}/a b+c", f"s3://{other}/copy", "--content-type", "text/x-test", "--metadata-directive", "REPLACE")
    assert read(s3, other, "copy") == CONTENT and s3.head_object(Bucket=other, Key="copy")["ContentType"] == "text/x-test"
    assert s3.head_object(Bucket=other, Key="copy")["ETag"].endswith('-2"')
    aws("s3", "mv", f"s3://{other}/copy", f"s3://{other}/moved")
    assert read(s3, other, "moved") == CONTENT
    assert [item["Key"] for item in s3.list_objects_v2(Bucket=other)["Contents"]] == ["moved"]
    aws("s3", "cp", f"s3://{other}/moved", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == CONTENT


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_checksums_of_copied_parts(s3, bucket, original, algorithm):
    """They are of the plaintext, computed on the way, and count for the whole as those of parts that the client sent."""
    kind = "COMPOSITE" if algorithm in COMPOSITE else "FULL_OBJECT"
    made = Upload(s3, bucket, ChecksumAlgorithm=algorithm.upper(), ChecksumType=kind)
    ranges = {1: (3, 5 * MIB + 2), 2: (100, 70_000)}
    bodies = {number: CONTENT[first : last + 1] for number, (first, last) in ranges.items()}
    for number, (first, last) in ranges.items():
        told = made.copy(number, source(bucket, "parts"), first, last)["CopyPartResult"]
        assert told[field(algorithm)] == checksum(algorithm, bodies[number])
        made.parts[-1][field(algorithm)] = told[field(algorithm)]
    assert made.complete() == b"".join(bodies.values())
    whole = composite(algorithm, bodies) if kind == "COMPOSITE" else checksum(algorithm, b"".join(bodies.values()))
    assert made.done[field(algorithm)] == whole


def test_a_part_that_takes_long_is_kept_alive(start, real):
    relay = Relay(real.upstream["endpoint"])
    running = start(real, upstream={"endpoint": relay.endpoint})
    s3 = running.boto()
    bucket = new_bucket(s3)
    s3.put_object(Bucket=bucket, Key="from", Body=b"content")
    made = Upload(s3, bucket)
    relay.answers_wait = 3
    query = [("partNumber", "1"), ("uploadId", made.id)]
    answer = running.raw().request("PUT", f"/{bucket}/to", query, headers=header(bucket, "from"))
    assert answer.status == 200 and answer.body.startswith(b"<?xml ") and b"<CopyPartResult " in answer.body
    relay.answers_wait = 0
    made.copy(2, source(bucket, "from"))
    etag = answer.body.partition(b"<ETag>")[2].partition(b"</ETag>")[0].decode().replace("&quot;", '"')
    made.parts = [{"PartNumber": 1, "ETag": etag}]
    assert made.complete() == b"content"
    relay.stop()


def test_what_no_copied_part_can_have(proxy, s3, bucket, original):
    made = Upload(s3, bucket)
    customer = "x-amz-copy-source-server-side-encryption-customer-"
    for headers, body, status_and_code in (
        ({f"{customer}algorithm": "AES256", f"{customer}key": "AAAA", f"{customer}key-md5": "AAAA"}, b"", (400, "InvalidArgument")),
        ({}, b"a body", (400, "InvalidRequest")),
    ):
        query = [("partNumber", "1"), ("uploadId", made.id)]
        answer = proxy.raw().request("PUT", f"/{bucket}/to", query, body, {**header(bucket, "put"), **headers})
        assert (answer.status, answer.code) == status_and_code
    for number in ("0", "10001", "x"):
        query = [("partNumber", number), ("uploadId", made.id)]
        assert_refused(proxy.raw().request("PUT", f"/{bucket}/to", query, headers=header(bucket, "put")), 400, "InvalidArgument")
    assert made.listed() == {}


def test_parts_between_realms(realms):  # noqa: F811
    running, _, one, other, _ = realms
    s3 = running.boto()
    s3.put_object(Bucket=one, Key="object", Body=CONTENT)
    made = Upload(s3, other)
    made.copy(1, source(one, "object"), 0, 6 * MIB - 1)
    made.copy(2, source(one, "object"), 6 * MIB, len(CONTENT) - 1)
    assert made.complete() == CONTENT


def test_a_copied_part_goes_with_its_upload(s3, bucket, original, backend):
    made = Upload(s3, bucket)
    made.copy(1, source(bucket, "put"))
    s3.abort_multipart_upload(Bucket=bucket, Key="to", UploadId=made.id)
    assert sorted(backend.store.keys(bucket)) == ["parts", "put"]
    assert status(pytest.raises(ClientError, made.copy, 2, source(bucket, "put")).value) == 404
    assert error_code(pytest.raises(ClientError, made.complete).value) == "NoSuchUpload"


def test_copies_and_foreign_formats(start, real):
    """A source is of any format that is read there, for a part as for a whole object."""
    names = [f"{kind}-{os.urandom(6).hex()}" for kind in ("cbc", "v3", "native")]
    rules = [
        {"name": names[0], "formats": {"write": "cbc"}},
        {"name": names[1], "formats": {"write": "s3ec-v3"}},
        {"name": names[2]},
    ]
    s3 = start(real, bucket=rules).boto()
    for name in names:
        s3.create_bucket(Bucket=name)
        s3.put_object(Bucket=name, Key="object", Body=CONTENT[:100_000])
    for foreign in names[:2]:
        made = Upload(s3, names[2])
        made.copy(1, source(foreign, "object"), 5, 90_000)
        assert made.complete() == CONTENT[5:90_001]
        for one, other in ((foreign, names[2]), (names[2], foreign)):
            s3.copy_object(Bucket=other, Key="copy", CopySource=source(one, "object"))
            assert s3.get_object(Bucket=other, Key="copy")["Body"].read() == CONTENT[:100_000]
            s3.delete_object(Bucket=other, Key="copy")
        assert [item["Key"] for item in s3.list_objects_v2(Bucket=foreign)["Contents"]] == ["object"]
