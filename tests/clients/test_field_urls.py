"""One object by many spellings of its URL, keys that nobody may normalise, and what a URL says of its own answer."""

import re
import urllib.parse

import pytest

from conftest import EMBEDDED, LOCALSTACK
from judge import assert_refused
from rawsig import EMPTY_SHA256, quote_path, quote_query

# A key, and ways to write it: over-encoded letters, lower-case hex, marks that some clients leave raw, encoded slashes.
SPELLINGS = {
    "a.txt": ["%61.txt", "a%2Etxt", "%61%2e%74%78%74"],
    "a/plus+plus.txt": ["a/plus+plus.txt", "a/plus%2bplus.txt", "a%2Fplus%2Bplus.txt", "a%2fplus+plus.txt"],
    "%@!*()=$#^&|.txt": ["%25%40%21%2A%28%29%3D%24%23%5E%26%7C.txt", "%25@!*()=$%23%5E&%7C.txt"],
    "sp ace": ["sp%20ace"],
    "~tilde_$folder$": ["~tilde_$folder$", "%7Etilde_%24folder%24", "%7etilde_$folder%24"],
    "caf\u00e9/\u00a0": ["caf%C3%A9/%C2%A0", "caf%c3%a9%2F%c2%a0"],
    "/lead": ["/lead", "%2Flead"],
    "a//b": ["a//b", "a/%2Fb"],
    "./x": ["./x", "%2E/x", "%2e%2Fx"],
    "../y": ["../y", "%2e%2E/y"],
    "z/..": ["z/.."],
    "dir/": ["dir/", "dir%2F"],
    "//": ["//", "%2F%2F"],
    "a;b=c,d:e@f": ["a;b=c,d:e@f", "a%3Bb%3Dc%2Cd%3Ae%40f"],
    "q?x=1": ["q%3Fx%3D1", "q%3fx=1"],
    "100%": ["100%25"],
    "%2F": ["%252F"],
    "'quoted\"": ["'quoted%22", "%27quoted%22"],
}


def by_header(raw, method, spelling, query=""):
    """A signed request whose path and query go out as they are spelt; what is signed is their canonical form."""
    amz_date = raw.signer.amz_date()
    signed = {"host": raw.authority, "x-amz-date": amz_date, "x-amz-content-sha256": EMPTY_SHA256}
    pairs = urllib.parse.parse_qsl(query, keep_blank_values=True)
    canonical = quote_path(urllib.parse.unquote(spelling))
    signature, names = raw.signer.sign_request(method, canonical, quote_query(pairs), signed, EMPTY_SHA256, amz_date)
    signed["authorization"] = raw.signer.authorization(amz_date, names, signature)
    return raw.send(method, spelling, query, signed, [])


def presigned(raw, spelling, query=()):
    text = raw.signer.presign("GET", raw.authority, urllib.parse.unquote(spelling), query)
    return raw.send("GET", spelling, text, {"host": raw.authority}, [])


@pytest.mark.parametrize("key", SPELLINGS)
def test_spellings_of_a_key(proxy, backend, bucket, key):
    if key == "//" and backend.name == LOCALSTACK:
        pytest.skip("LocalStack itself answers 500 to a key of slashes alone")
    raw = proxy.raw()
    stored = raw.request("PUT", f"/{bucket}/{key}", body=key.encode())
    assert stored.status == 200, stored.body
    for spelling in SPELLINGS[key]:
        for answer in (by_header(raw, "GET", f"/{bucket}/{spelling}"), presigned(raw, f"/{bucket}/{spelling}")):
            assert (answer.status, answer.body) == (200, key.encode()), spelling
    page = raw.request("GET", f"/{bucket}", [("list-type", "2"), ("encoding-type", "url")])
    assert [urllib.parse.unquote(name) for name in re.findall(r"<Key>([^<]*)</Key>", page.body.decode())] == [key]


def test_spellings_of_a_query(proxy, bucket):
    raw = proxy.raw()
    for key in ("a/plus+plus.txt", "sp ace", "caf\u00e9", "'quoted\""):
        assert raw.request("PUT", f"/{bucket}/{key}", body=b"x").status == 200
    for query, key in (
        ("list-type=2&prefix=a/plus%2b", "a/plus+plus.txt"), ("list-type=2&prefix=a/plus%2Bplus&delimiter=/", "a/plus+plus.txt"),
        ("prefix=sp+ace", "sp ace"), ("prefix=sp%20ace", "sp ace"), ("delimiter=%2F&prefix=caf%C3%A9&max-keys=1", "caf\u00e9"),
        ("prefix=%27quoted%22", "'quoted\""), ("prefix='quoted%22", "'quoted\""),
    ):  # fmt: skip
        for path in (f"/{bucket}", f"/{bucket}/"):
            answer = by_header(raw, "GET", path, query)
            assert answer.status == 200 and answer.body.count(b"<Key>") == 1, (query, answer.body)
            assert re.search(r"<Key>([^<]*)</Key>", answer.body.decode()).group(1).replace("&quot;", '"').replace("&apos;", "'").replace("&#39;", "'") == key


OVERRIDES = {
    "content-type": "text/x;charset=utf-8",
    "content-language": "mi, en",
    "expires": "Thu, 01 Dec 2033 16:00:00 GMT",
    "cache-control": "max-age=1, private",
    "content-disposition": 'attachment; filename="a \\"b\\" c.txt"; filename*=UTF-8\'\'%E2%82%AC.txt',
    "content-encoding": "x-none",
}


@pytest.fixture
def overridden(proxy, s3, bucket):
    s3.put_object(Bucket=bucket, Key="one", Body=b"override me", ContentType="text/plain", CacheControl="no-cache")
    upload_id = s3.create_multipart_upload(Bucket=bucket, Key="parts")["UploadId"]
    part = s3.upload_part(Bucket=bucket, Key="parts", UploadId=upload_id, PartNumber=1, Body=b"override me")
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    s3.complete_multipart_upload(Bucket=bucket, Key="parts", UploadId=upload_id, MultipartUpload=parts)
    return proxy.raw()


def test_all_overrides(overridden, backend, bucket):
    query = [(f"response-{name}", value) for name, value in OVERRIDES.items()]
    for key in ("one", "parts"):
        path = f"/{bucket}/{key}"
        for answer, status, body in (
            (overridden.request("GET", path, query), 200, b"override me"),
            (overridden.request("GET", path, query, headers={"range": "bytes=0-3"}), 206, b"over"),
            (presigned(overridden, path, query), 200, b"override me"),
            # LocalStack overrides no header of a HEAD.
            *([(overridden.request("HEAD", path, query), 200, b"")] if backend.name == EMBEDDED else []),
        ):
            told = {name: answer.headers.get(name) for name in OVERRIDES}
            assert (answer.status, answer.body, told) == (status, body, OVERRIDES)
        etag = overridden.request("HEAD", path).headers["etag"]
        assert overridden.request("GET", path, query[:1], headers={"if-none-match": etag}).status == 304


@pytest.mark.parametrize("value", ["a\r\nx-injected: 1", "a\nx-injected: 1", "a\x00b", "filename=\u2013\u4e2d.txt"])
def test_an_override_that_can_be_no_header_is_refused(overridden, bucket, value):
    for key in ("one", "parts"):
        answers = [overridden.request(method, f"/{bucket}/{key}", [("response-content-disposition", value)]) for method in ("GET", "HEAD")]
        assert [answer.status for answer in answers] == [400, 400]
        assert_refused(answers[0], 400, "InvalidArgument")
        assert overridden.request("GET", f"/{bucket}/{key}").body == b"override me"
