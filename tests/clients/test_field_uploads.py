"""Where a finished upload is said to be, and the ranges that its parts may be copied from."""

import os
import re
import urllib.parse

import pytest

from judge import assert_code
from multiparts import MIB, Upload

KEYS = ["plain.bin", "a b/\u00fc&<x>.bin", "a+b%20c#d?e=f", "/lead//double"]


@pytest.mark.parametrize("key", KEYS)
def test_the_location_leads_back_to_the_endpoint(proxy, s3, bucket, key):
    one = Upload.start(s3, bucket, key)
    one.send(1, b"located")
    done = one.complete()
    assert (done["Key"], done["Bucket"]) == (key, bucket)
    assert done["ETag"] == s3.head_object(Bucket=bucket, Key=key)["ETag"] and re.fullmatch('"[^"]+"', done["ETag"])
    url, raw = urllib.parse.urlsplit(done["Location"]), proxy.raw()
    assert (url.netloc, url.query, url.fragment) == (raw.authority, "", "")
    assert urllib.parse.unquote(url.path) == f"/{bucket}/{key}"
    answer = raw.send("GET", url.path, raw.signer.presign("GET", raw.authority, f"/{bucket}/{key}"), {"host": raw.authority}, [])
    assert (answer.status, answer.body) == (200, b"located")


@pytest.fixture(scope="module")
def whole():
    return {"one": [os.urandom(6 * MIB)], "many": [os.urandom(5 * MIB), os.urandom(5 * MIB + 77_777), os.urandom(12_345)]}


@pytest.fixture
def sources(s3, bucket, whole):
    s3.put_object(Bucket=bucket, Key="one", Body=whole["one"][0])
    many = Upload.start(s3, bucket, "many")
    for number, body in enumerate(whole["many"], 1):
        many.send(number, body)
    many.complete()
    return {key: b"".join(bodies) for key, bodies in whole.items()}


def test_ranges_of_copied_parts(proxy, s3, bucket, sources):
    raw = proxy.raw()
    for key, body in sources.items():
        n = len(body)
        target = Upload.start(s3, bucket, "target")
        place = [("partNumber", "1"), ("uploadId", target.id)]

        def copy(**headers):
            named = {f"x-amz-copy-source-{name.replace('_', '-')}": value for name, value in headers.items()}
            return raw.request("PUT", f"/{bucket}/target", place, headers={"x-amz-copy-source": f"/{bucket}/{key}", **named})

        for wrong in ("", "bytes=", "bytes=-5", "bytes=5-", "bytes=9-5", "bytes=a-b", "0-5", "bytes=0-5,7-9", f"bytes=0-{n}",
                      f"bytes={n}-{n + 5}", f"bytes={n - 1}-{n}", "bytes=0-99999999999999999999"):  # fmt: skip
            assert_code(copy(range=wrong), (400, 416), ("InvalidArgument", "InvalidRange", "InvalidRequest"))
        etag = s3.head_object(Bucket=bucket, Key=key)["ETag"]
        assert_code(copy(if_none_match=etag), 412, "PreconditionFailed")
        assert_code(copy(if_match='"x"'), 412, "PreconditionFailed")
        assert copy(if_match=etag, range="bytes=0-5").status == 200
        target.abort()
        for first, last in ((0, n - 1), (65_535, 65_536 + 5 * MIB), (n - 5, n - 1), (n - 1, n - 1), (1, n - 2)):
            one = Upload.start(s3, bucket, "target")
            copied = s3.upload_part_copy(**one.place, PartNumber=1, CopySource=f"{bucket}/{key}", CopySourceRange=f"bytes={first}-{last}")
            one.parts[1] = {"PartNumber": 1, "ETag": copied["CopyPartResult"]["ETag"]}
            one.complete()
            assert s3.get_object(Bucket=bucket, Key="target")["Body"].read() == body[first : last + 1], (key, first, last)
