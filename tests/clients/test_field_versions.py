"""Version ids, which the answer to every write in a versioned bucket tells, and GetObjectAttributes."""

import xml.etree.ElementTree

import pytest

from judge import assert_code
from multiparts import MIB, content, upload
from rawsig import checksum

SIZES = [(1, 5 * MIB), (2, 5 * MIB + 5), (3, 6 * MIB), (4, 9)]


@pytest.fixture
def versioned(real_proxy, real_bucket):
    s3 = real_proxy.boto()
    s3.put_bucket_versioning(Bucket=real_bucket, VersioningConfiguration={"Status": "Enabled"})
    return s3


def test_every_write_tells_its_version(versioned, real_proxy, real_bucket):
    raw = real_proxy.raw()

    def told(answer, key):
        current = raw.request("HEAD", f"/{real_bucket}/{key}").headers["x-amz-version-id"]
        assert answer.status in (200, 204) and answer.headers.get("x-amz-version-id") == current, answer.headers
        return current

    def put(key, body, **headers):
        return raw.request("PUT", f"/{real_bucket}/{key}", body=body, headers=headers)

    first = told(put("object", content(100_000)), "object")
    told(put("object", b"two"), "object")
    etag = raw.request("HEAD", f"/{real_bucket}/object").headers["etag"]
    told(put("object", b"three", **{"if-match": etag}), "object")
    older = {"x-amz-copy-source": f"{real_bucket}/object?versionId={first}"}
    copied = put("copy", b"", **older)
    told(copied, "copy")
    assert copied.headers["x-amz-copy-source-version-id"] == first
    told(put("object", b"", **{"x-amz-copy-source": f"{real_bucket}/object", "x-amz-metadata-directive": "REPLACE", "x-amz-meta-a": "b"}), "object")
    for key, layout in (("even", [(1, 5 * MIB), (2, 9)]), ("uneven", SIZES)):
        body = upload(versioned, real_bucket, layout, key)
        current = versioned.head_object(Bucket=real_bucket, Key=key)["VersionId"]
        answer = put(f"{key}-copy", b"", **{"x-amz-copy-source": f"{real_bucket}/{key}"})
        told(answer, f"{key}-copy")
        assert answer.headers["x-amz-copy-source-version-id"] == current
        assert raw.request("GET", f"/{real_bucket}/{key}-copy").body == body
    begun = versioned.create_multipart_upload(Bucket=real_bucket, Key="parts")["UploadId"]
    part = raw.request("PUT", f"/{real_bucket}/parts", [("partNumber", "1"), ("uploadId", begun)], headers=older)
    assert (part.status, part.headers["x-amz-copy-source-version-id"]) == (200, first)
    for query, headers in (([], {}), ([("attributes", "")], {"x-amz-object-attributes": "ETag"}), ([("tagging", "")], {})):
        answer = raw.request("GET", f"/{real_bucket}/object", [*query, ("versionId", first)], headers=headers)
        assert (answer.status, answer.headers["x-amz-version-id"]) == (200, first)
    ranged = raw.request("GET", f"/{real_bucket}/object", [("versionId", first)], headers={"range": "bytes=1-2"})
    assert (ranged.status, ranged.body, ranged.headers["x-amz-version-id"]) == (206, content(100_000)[1:3], first)
    gone = raw.request("DELETE", f"/{real_bucket}/object", [("versionId", first)])
    assert (gone.status, gone.headers["x-amz-version-id"]) == (204, first)


def test_a_finished_upload_tells_its_version(versioned, real_bucket):
    one = versioned.create_multipart_upload(Bucket=real_bucket, Key="object")["UploadId"]
    part = versioned.upload_part(Bucket=real_bucket, Key="object", UploadId=one, PartNumber=1, Body=b"x")
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    done = versioned.complete_multipart_upload(Bucket=real_bucket, Key="object", UploadId=one, MultipartUpload=parts)
    assert done["VersionId"] == versioned.head_object(Bucket=real_bucket, Key="object")["VersionId"]


def elements(answer):
    assert answer.status == 200, answer.body
    return sorted(element.tag.rpartition("}")[2] for element in xml.etree.ElementTree.fromstring(answer.body))


def test_object_attributes(proxy, s3, bucket):
    raw, body = proxy.raw(), content(70_000)
    assert raw.request("PUT", f"/{bucket}/one", body=body, headers={"x-amz-checksum-crc32": checksum("crc32", body)}).status == 200
    sizes = {"one": 70_000, "many": 10 * MIB + 1}
    upload(s3, bucket, [(1, 5 * MIB), (2, 5 * MIB), (3, 1)], "many")

    def ask(key, *names, query=(("attributes", ""),), **headers):
        named = {"x-amz-object-attributes": ",".join(names)} if names else {}
        return raw.request("GET", f"/{bucket}/{key}", list(query), headers={**named, **{f"x-amz-{name.replace('_', '-')}": value for name, value in headers.items()}})

    for key, size in sizes.items():
        head = raw.request("HEAD", f"/{bucket}/{key}")
        assert_code(ask(key), 400, "InvalidRequest")
        assert_code(ask(key, "Colour"), 400, "InvalidArgument")
        told = ask(key, "ETag", "ObjectSize")
        assert elements(told) == ["ETag", "ObjectSize"]
        assert (told.text_of("ObjectSize"), told.text_of("ETag")) == (str(size), head.headers["etag"].strip('"'))
        assert told.headers["last-modified"] == head.headers["last-modified"]
        assert elements(ask(key, "ETag", " ObjectSize ", " StorageClass")) == ["ETag", "ObjectSize", "StorageClass"]
        assert ask(key, "StorageClass").text_of("StorageClass") == "STANDARD"
    assert ask("one", "Checksum").body.count(checksum("crc32", body).encode()) == 1
    parts = ask("many", "ObjectParts", max_parts="1")
    assert parts.status == 200 and b"PartsCount>3</" in parts.body
    assert_code(ask("none", "ETag"), 404, "NoSuchKey")
