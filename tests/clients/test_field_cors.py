"""A page may read every answer that the bucket's CORS rules let it read: also those that s3veil makes itself, errors above all."""

import time

import pytest

from conftest import embedded_backend, new_bucket
from multiparts import MIB, content
from rawsig import content_md5
from standin import Reply, StandIn

PAGE = "https://page.example"
ORIGIN = {"origin": PAGE}
RULE = {
    "AllowedOrigins": [PAGE], "AllowedMethods": ["GET", "PUT", "POST", "HEAD", "DELETE"], "AllowedHeaders": ["*"],
    "ExposeHeaders": ["ETag", "x-amz-meta-a"],
}  # fmt: skip


@pytest.fixture
def page(real_proxy, real_bucket):
    """page(status, method, key, ...): a request of the page to a bucket with RULE, whose answer has to be readable."""
    s3 = real_proxy.boto()
    s3.put_bucket_cors(Bucket=real_bucket, CORSConfiguration={"CORSRules": [RULE]})
    raw = real_proxy.raw()

    def send(status, method, key="", query=(), body=b"", headers=None, **more):
        path = f"/{real_bucket}/{key}" if key else f"/{real_bucket}"
        answer = raw.request(method, path, query, body, {**ORIGIN, **(headers or {})}, **more)
        return readable(answer, status)

    send.bucket, send.raw = real_bucket, raw
    return send


def readable(answer, status):
    assert answer.status == status, answer.body
    assert answer.headers.get("access-control-allow-origin") == PAGE, (status, answer.headers, answer.body)
    assert "etag" in answer.headers.get("access-control-expose-headers", "").lower()
    assert "origin" in answer.headers.get("vary", "").lower()
    return answer


@pytest.fixture
def stored(page):
    """Two objects: of one PUT, and of parts."""
    page(200, "PUT", "one", body=content(100_000), headers={"x-amz-meta-a": "b"})
    in_parts(page, "parts", [content(5 * MIB), b"end"])
    return page


def in_parts(page, key, parts):
    """Every request of an upload is the page's."""
    place = [("uploadId", page(200, "POST", key, [("uploads", "")]).text_of("UploadId"))]
    etags = [page(200, "PUT", key, [("partNumber", str(number)), *place], part).headers["etag"] for number, part in enumerate(parts, 1)]
    page(200, "GET", key, place)
    page(200, "GET", query=[("uploads", "")])
    named = "".join(f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>" for number, etag in enumerate(etags, 1))
    page(400, "POST", key, place, b"<CompleteMultipartUpload></CompleteMultipartUpload>")
    page(200, "POST", key, place, f"<CompleteMultipartUpload>{named}</CompleteMultipartUpload>".encode())
    return place


def test_answers_with_content(stored):
    for key in ("one", "parts"):
        etag = stored(200, "HEAD", key).headers["etag"]
        stored(200, "GET", key)
        stored(206, "GET", key, headers={"range": "bytes=5-9"})
        stored(304, "GET", key, headers={"if-none-match": etag})
        stored(200, "GET", key, [("attributes", "")], headers={"x-amz-object-attributes": "ETag"})
        stored(200, "PUT", f"{key}-copy", headers={"x-amz-copy-source": f"{stored.bucket}/{key}"})
        stored(204, "DELETE", f"{key}-copy")
    stored(200, "GET", query=[("list-type", "2")])


def test_refusals_of_the_storage_and_of_ours(stored):
    stored(404, "GET", "nothing")
    for key in ("one", "parts"):
        stored(416, "GET", key, headers={"range": "bytes=99999999-"})
        stored(412, "GET", key, headers={"if-match": '"x"'})
        stored(416, "GET", key, [("partNumber", "9")])
    stored(400, "PUT", "new", body=b"x", headers={"content-md5": content_md5(b"y")})
    stored(400, "PUT", "new", body=b"x", headers={"x-amz-checksum-crc32": "AAAAAA=="})
    stored(404, "PUT", "gone", [("partNumber", "1"), ("uploadId", "no-such-upload")], b"part")
    stored(404, "DELETE", "gone", [("uploadId", "no-such-upload")])


def test_refused_signatures(stored):
    raw = stored.raw
    sent = {"host": raw.authority, **ORIGIN}
    expired = raw.signer.presign("GET", raw.authority, f"/{stored.bucket}/one", expires=1)
    time.sleep(2.1)
    altered = raw.signer.presign("GET", raw.authority, f"/{stored.bucket}/one")[:-4] + "0000"
    for query in (expired, altered, ""):
        readable(raw.send("GET", f"/{stored.bucket}/one", query, sent, []), 403)


def test_other_origins_and_none(stored):
    for headers in ({"origin": "https://other.example"}, {}):
        for key, status in (("one", 200), ("nothing", 404)):
            answer = stored.raw.request("GET", f"/{stored.bucket}/{key}", headers=headers)
            assert answer.status == status and "access-control-allow-origin" not in answer.headers


def test_a_storage_without_cors(start, tmp_path):
    """The embedded store: every answer is what it is without an Origin."""
    running = start(embedded_backend(tmp_path))
    bucket, raw = new_bucket(running.boto()), running.raw()
    for method, key, body, status in (("PUT", "one", b"x", 200), ("GET", "one", b"", 200), ("GET", "nothing", b"", 404)):
        answer = raw.request(method, f"/{bucket}/{key}", body=body, headers=ORIGIN)
        assert answer.status == status and not any(name.startswith("access-control") for name in answer.headers)
    assert raw.send("GET", f"/{bucket}/one", "", {"host": raw.authority, **ORIGIN}, []).status == 403


def allow(asked):
    if asked.method == "OPTIONS":
        allowed = [("access-control-allow-origin", asked.headers["origin"]), ("access-control-expose-headers", "ETag"), ("vary", "Origin")]
        return Reply(headers=[*allowed, ("access-control-allow-methods", "GET")])
    return Reply(404, body=b"<Error><Code>NoSuchKey</Code></Error>")


def test_the_storage_is_asked_once_for_an_origin_and_seldom_for_strangers(start, real):
    with StandIn(allow) as stand_in:
        running = start(real, upstream=stand_in.upstream)
        raw = running.raw()
        for _ in range(20):
            readable(raw.request("GET", "/bucket/nothing", headers=ORIGIN), 404)
            readable(raw.send("GET", "/bucket/nothing", "", {"host": raw.authority, **ORIGIN}, []), 403)
        assert [asked.method for asked in stand_in.asked].count("OPTIONS") == 1
        began = time.monotonic()
        for number in range(200):
            sent = {"host": raw.authority, "origin": f"https://{number}.example"}
            assert raw.send("GET", "/bucket/nothing", "", sent, []).status == 403
        seconds = time.monotonic() - began
        # Ten in each second that has begun.
        assert [asked.method for asked in stand_in.asked].count("OPTIONS") <= 1 + 10 * (int(seconds) + 2)
        # A client is told in spite of them.
        headers = {"origin": "https://late.example"}
        assert raw.request("GET", "/bucket/nothing", headers=headers).headers["access-control-allow-origin"] == "https://late.example"


def test_a_storage_in_trouble_leaves_the_answer_as_it_is(start, real):
    with StandIn(lambda asked: Reply(503 if asked.method == "OPTIONS" else 404)) as stand_in:
        answer = start(real, upstream=stand_in.upstream).raw().request("GET", "/bucket/nothing", headers=ORIGIN)
        assert answer.status == 404 and "access-control-allow-origin" not in answer.headers
