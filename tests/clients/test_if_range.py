"""If-Range: a download goes on over the object that it began with, and begins again over another (RFC 9110, 13.1.5)."""

import pytest

from multiparts import MIB
from proxy import ACCESS_KEY_ID, SECRET_ACCESS_KEY
from rawsig import RawClient, Signer

OLD, NEW = b"A" * 200_000, b"B" * 150_000


@pytest.fixture
def raw(proxy):
    return RawClient(proxy.endpoint, Signer(ACCESS_KEY_ID, SECRET_ACCESS_KEY))


def put(s3, bucket, content):
    s3.put_object(Bucket=bucket, Key="k", Body=content)
    return content


def in_parts(s3, bucket, content):
    upload = {"Bucket": bucket, "Key": "k", "UploadId": s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]}
    pieces = [content + b"!" * (5 * MIB), content]
    parts = [
        {"PartNumber": number, "ETag": s3.upload_part(**upload, PartNumber=number, Body=piece)["ETag"]} for number, piece in enumerate(pieces, 1)
    ]
    s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
    return b"".join(pieces)


@pytest.mark.parametrize("store", [put, in_parts])
def test_a_download_that_goes_on(raw, s3, bucket, store):
    def got(method="GET", **headers):
        return raw.request(method, f"/{bucket}/k", headers={name.replace("_", "-"): value for name, value in headers.items()})

    content = store(s3, bucket, OLD)
    head = got("HEAD")
    etag, modified = head.headers["etag"], head.headers["last-modified"]
    for known in (etag, etag.strip('"'), etag.replace("-v", ""), modified):
        answer = got(Range="bytes=100000-", If_Range=known)
        assert (answer.status, answer.body) == (206, content[100_000:]), known
        assert answer.headers["content-range"] == f"bytes 100000-{len(content) - 1}/{len(content)}"
        assert got("HEAD", Range="bytes=100000-", If_Range=known).status == 206
    assert got(Range="bytes=999999999-", If_Range=etag).status == 416

    content = store(s3, bucket, NEW)
    for stale in (etag, "Sat, 29 Oct 1994 19:43:31 GMT", 'W/"x"', f"W/{got('HEAD').headers['etag']}"):
        for part in ("bytes=100000-", "bytes=0-9", "bytes=-5", "bytes=999999999-"):
            answer = got(Range=part, If_Range=stale)
            assert (answer.status, answer.body == content, answer.headers.get("content-range")) == (200, True, None), (stale, part)
            assert got("HEAD", Range=part, If_Range=stale).status == 200
    assert got(Range="bytes=100000-", If_Match=etag).status == 412
    assert got(If_Range=etag).status == 200
