"""Multipart uploads that an independent writer sealed and stored behind the proxy, read through it by ordinary clients."""

import base64
import hashlib
import json
import os
import tomllib
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from read_native import CHUNK, context, unwrap_local
from write_native import Seal

MIB = 1 << 20
SHAPES = {
    "regular": ([(1, 5 * MIB), (2, 5 * MIB), (3, 7)], False),
    "terminated": ([(1, 5 * MIB), (2, 5 * MIB), (3, 6 * MIB)], True),
    "uneven": ([(1, 5 * MIB + 1), (2, 6 * MIB), (4, 100)], False),
    "uneven-terminated": ([(2, 5 * MIB + CHUNK), (7, 5 * MIB + 9)], True),
    "alone": ([(1, 3)], False),
}


@pytest.fixture
def data_key(s3, bucket, backend, request):
    """A data key of this bucket, and its wrapped form."""
    s3.put_object(Bucket=bucket, Key="other", Body=b"")
    wrapped = backend.store.read(bucket, "other").metadata["encryption-key"]
    s3.delete_object(Bucket=bucket, Key="other")
    blob = base64.b64decode(wrapped)
    if backend.name == "embedded":
        keyring = tomllib.loads(Path(backend.keyring["file"]).read_text())
        return unwrap_local(keyring, blob, context(bucket)), wrapped
    kms = request.getfixturevalue("kms")
    return kms.decrypt(CiphertextBlob=blob, EncryptionContext=context(bucket))["Plaintext"], wrapped


@pytest.fixture
def store(s3, bucket, backend, data_key):
    """store(key, parts, terminated): stores an upload behind the proxy; gives its content."""

    def store(key, parts, terminated):
        content = os.urandom(sum(length for _, length in parts))
        sealing = Seal(data_key[0], bucket, key, flags=1)
        segments = sealing.segments(parts, content, terminated)
        numbers = [number for number, _ in parts] + [10_000] * terminated
        metadata = {"encryption-key": data_key[1], "encryption-envelope": base64.b64encode(sealing.envelope()).decode(), "mine": "x"}
        write = write_file if backend.name == "embedded" else write_upload
        write(backend.store, s3, bucket, key, dict(zip(numbers, segments)), metadata)
        return content

    return store


def write_upload(store, _, bucket, key, segments, metadata):
    client = store.client
    upload = client.create_multipart_upload(Bucket=bucket, Key=key, Metadata=metadata)["UploadId"]
    parts = []
    for number, segment in segments.items():
        answer = client.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=number, Body=segment)
        parts.append({"PartNumber": number, "ETag": answer["ETag"]})
    client.complete_multipart_upload(Bucket=bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": parts})


def write_file(store, s3, bucket, key, segments, metadata):
    s3.put_object(Bucket=bucket, Key=key, Body=b"")
    path = store.file(bucket, key)
    _, record = store.split(path)
    body = b"".join(segments.values())
    digests = b"".join(hashlib.md5(segment).digest() for segment in segments.values())
    record["etag"] = f"{hashlib.md5(digests).hexdigest()}-{len(segments)}"
    record["size"] = len(body)
    record["attributes"] = {**record.get("attributes", {}), "metadata": metadata}
    record["checksums"] = {}
    record["parts"] = [{"number": number, "size": len(segment)} for number, segment in segments.items()]
    path.write_bytes(b"%b\n%b\n" % (body, json.dumps(record).encode()))


@pytest.mark.parametrize("shape", SHAPES)
def test_whole_ranges_parts_and_sizes(s3, bucket, store, shape):
    parts, terminated = SHAPES[shape]
    content = store("dir/ü", parts, terminated)
    size = len(content)

    def read(**arguments):
        return s3.get_object(Bucket=bucket, Key="dir/ü", **arguments)

    listed = s3.list_objects_v2(Bucket=bucket)["Contents"][0]
    assert (listed["Key"], listed["Size"]) == ("dir/ü", size)
    head = s3.head_object(Bucket=bucket, Key="dir/ü")
    assert (head["ContentLength"], head["Metadata"]) == (size, {"mine": "x"})
    whole = read()
    assert whole["ContentLength"] == size and whole["Body"].read() == content
    for first, last in [(0, 0), (0, size - 1), (size - 1, size - 1), (size // 2, size // 2 + 3 * CHUNK), (1, 5 * MIB + 5)]:
        last = max(first, min(last, size - 1))
        part = read(Range=f"bytes={first}-{last}")
        assert part["ContentRange"] == f"bytes {first}-{last}/{size}"
        assert part["Body"].read() == content[first : last + 1]
    assert read(Range="bytes=-2")["Body"].read() == content[-2:]
    with pytest.raises(ClientError) as refused:
        read(Range=f"bytes={size}-")
    assert refused.value.response["Error"]["Code"] == "InvalidRange"
    at = 0
    for number, length in parts:
        part = read(PartNumber=number)
        assert part["PartsCount"] == len(parts) and part["Body"].read() == content[at : at + length]
        head = s3.head_object(Bucket=bucket, Key="dir/ü", PartNumber=number)
        assert (head["PartsCount"], head["ContentLength"]) == (len(parts), length)
        at += length
    with pytest.raises(ClientError) as refused:
        read(PartNumber=9_999)
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 416


@pytest.mark.parametrize("shape", SHAPES)
def test_attributes(s3, bucket, store, shape):
    parts, terminated = SHAPES[shape]
    content = store("k", parts, terminated)
    names = ["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"]
    told = s3.get_object_attributes(Bucket=bucket, Key="k", ObjectAttributes=names)
    assert (told["ObjectSize"], told["StorageClass"]) == (len(content), "STANDARD")
    assert told["ETag"] == s3.head_object(Bucket=bucket, Key="k")["ETag"].strip('"')
    assert told["ObjectParts"]["TotalPartsCount"] == len(parts)
    assert [(part["PartNumber"], part["Size"]) for part in told["ObjectParts"]["Parts"]] == parts
    page = s3.get_object_attributes(Bucket=bucket, Key="k", ObjectAttributes=["ObjectParts"], MaxParts=1)["ObjectParts"]
    assert page["IsTruncated"] == (len(parts) > 1) and len(page["Parts"]) == 1
    with pytest.raises(ClientError) as refused:
        s3.get_object_attributes(Bucket=bucket, Key="nothing", ObjectAttributes=names)
    assert refused.value.response["Error"]["Code"] == "NoSuchKey"


@pytest.mark.parametrize("shape", ["terminated", "uneven"])
def test_the_command_line_downloads_in_parallel_ranges(aws, bucket, store, tmp_path, shape):
    content = store("k", *SHAPES[shape])
    aws("s3", "cp", f"s3://{bucket}/k", "copy")
    assert (tmp_path / "copy").read_bytes() == content
    assert f"{len(content)} k" in aws("s3", "ls", f"s3://{bucket}/").stdout
