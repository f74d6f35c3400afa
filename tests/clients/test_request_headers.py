"""Which headers and query parameters of a request count: what S3 knows, and nothing that a signature does not cover."""

import os

import pytest

from judge import assert_refused
from rawsig import checksum

LOCK = {"x-amz-bucket-object-lock-enabled": "true"}


def test_connection_takes_no_condition_away(proxy, bucket, backend):
    """`Connection` is signed by nobody: if it were honoured, who sits on the path could make a delete unconditional."""
    raw = proxy.raw()
    assert raw.request("PUT", f"/{bucket}/object", body=b"kept").status == 200
    condition = {"if-match": '"00000000000000000000000000000000"'}
    # LocalStack has no conditional delete.
    assert raw.request("DELETE", f"/{bucket}/object", headers=condition).status in (412, 501)
    for named in ("if-match", "close, If-Match", "x-amz-date", "host", "content-md5"):
        answer = raw.request("DELETE", f"/{bucket}/object", headers=condition, unsigned={"connection": named})
        assert_refused(answer, 400, "InvalidRequest")
    assert backend.store.keys(bucket) == ["object"]


def test_connection_takes_no_signed_setting_away(real_proxy, real):
    raw, name = real_proxy.raw(), f"lock-{os.urandom(6).hex()}"
    query = raw.signer.presign("PUT", raw.authority, f"/{name}", headers=LOCK)
    sent = {"host": raw.authority, **LOCK, "content-length": "0", "connection": next(iter(LOCK))}
    assert_refused(raw.send("PUT", f"/{name}", query, sent, []), 400, "InvalidRequest")
    assert name not in [bucket["Name"] for bucket in real.store.client.list_buckets()["Buckets"]]


@pytest.mark.parametrize("method, key, query, header", [
    ("DELETE", "/object", [], "if-unmodified-since"),
    ("DELETE", "/object", [], "x-amz-some-new-condition"),
    ("PUT", "/object", [("tagging", "")], "if-match"),
    ("PUT", "/object", [("acl", "")], "x-amz-copy-source"),
], ids=["date", "unknown", "tagging", "copy"])  # fmt: skip
def test_a_write_with_what_it_does_not_know(real_proxy, real_bucket, method, key, query, header):
    answer = real_proxy.raw().request(method, f"/{real_bucket}{key}", query, headers={header: "x"})
    assert_refused(answer, 501, "NotImplemented")
    assert header in answer.message


def test_parameters_for_the_access_log(proxy, bucket):
    """AWS: "Amazon S3 ignores query-string parameters that begin with `x-`"; so does every operation here."""
    raw, body, log = proxy.raw(), b"logged", [("x-user", "johndoe"), ("x-debug", ""), ("x-user", "again")]
    assert raw.request("PUT", f"/{bucket}/object", log, body).status == 200
    assert raw.request("GET", f"/{bucket}/object", log).body == body
    assert raw.request("HEAD", f"/{bucket}/object", log).status == 200
    assert raw.request("PUT", f"/{bucket}/copy", log, headers={"x-amz-copy-source": f"{bucket}/object"}).status == 200
    assert b"<Key>copy</Key>" in raw.request("GET", f"/{bucket}", [("list-type", "2"), *log]).body
    begun = raw.request("POST", f"/{bucket}/parts", [("uploads", ""), *log])
    upload = ("uploadId", begun.text_of("UploadId"))
    part = raw.request("PUT", f"/{bucket}/parts", [("partNumber", "1"), upload, *log], body)
    etag = part.headers["etag"].replace('"', "&quot;")
    document = f"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
    assert raw.request("POST", f"/{bucket}/parts", [upload, *log], document.encode()).status == 200
    assert raw.request("GET", f"/{bucket}/parts", log).body == body
    assert raw.request("DELETE", f"/{bucket}/copy", log).status == 204
    query = raw.signer.presign("PUT", raw.authority, f"/{bucket}/presigned", log)
    sent = {"host": raw.authority, "content-length": str(len(body))}
    assert raw.send("PUT", f"/{bucket}/presigned", query, sent, [body]).status == 200


@pytest.mark.parametrize("query", [[("newThing", "")], [("customer", "1")], [("X-User", "1")]], ids=["bare", "value", "upper case"])
def test_a_write_with_another_unknown_parameter(proxy, bucket, backend, query):
    assert_refused(proxy.raw().request("PUT", f"/{bucket}/object", query, b"x"), 501, "NotImplemented")
    assert backend.store.keys(bucket) == []


def js_sdk(raw, method, path, operation, *others):
    """The query of @aws-sdk/s3-request-presigner with its defaults: it has no body, and writes the checksum of nothing."""
    checksums = [("x-amz-checksum-crc32", "AAAAAA=="), ("x-amz-sdk-checksum-algorithm", "CRC32")]
    query = [("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD"), *checksums, ("x-id", operation), *others]
    return raw.signer.presign(method, raw.authority, path, query, expires=900)


def test_the_javascript_sdks_presigned_put(proxy, bucket):
    raw, path, body = proxy.raw(), f"/{bucket}/object", b"what was not known when the URL was signed"
    query = js_sdk(raw, "PUT", path, "PutObject", ("x-amz-meta-origin", "browser"))
    sent = {"host": raw.authority, "content-length": str(len(body))}
    assert raw.send("PUT", path, query, sent, [body]).status == 200
    got = raw.request("GET", path)
    assert (got.body, got.headers["x-amz-meta-origin"]) == (body, "browser")
    # A checksum in a header is the sender's word of the body that it sends.
    value = {"x-amz-checksum-crc32": checksum("crc32", body)}
    query = raw.signer.presign("PUT", raw.authority, path, headers=value)
    assert raw.send("PUT", path, query, {**sent, **value}, [body]).status == 200
    wrong = {"x-amz-checksum-crc32": "AAAAAA=="}
    query = raw.signer.presign("PUT", raw.authority, path, headers=wrong)
    assert_refused(raw.send("PUT", path, query, {**sent, **wrong}, [body]), 400, "BadDigest")


def test_the_javascript_sdks_presigned_part(proxy, bucket):
    raw, path, body = proxy.raw(), f"/{bucket}/parts", b"a part that was not known when the URL was signed"
    upload_id = raw.request("POST", path, [("uploads", "")]).text_of("UploadId")
    query = js_sdk(raw, "PUT", path, "UploadPart", ("partNumber", "1"), ("uploadId", upload_id))
    answer = raw.send("PUT", path, query, {"host": raw.authority, "content-length": str(len(body))}, [body])
    assert answer.status == 200
    etag = answer.headers["etag"].replace('"', "&quot;")
    document = f"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
    assert raw.request("POST", path, [("uploadId", upload_id)], document.encode()).status == 200
    assert raw.request("GET", path).body == body
