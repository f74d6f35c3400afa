"""A storage that answers with errors, or carries out what it then does not answer: what a client is told is true, and what it can do about it works."""

import dataclasses
import itertools
import re
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest

from conftest import embedded_backend, new_bucket
from fakes import silent
from faulty import HANG_UP, Answer, Faulty, error
from multiparts import LEAST, Upload, assert_exact, content, refused, upload
from proxy import s3_client
from test_post import PART, encode, send, sign


@pytest.fixture
def faulty(localstack):
    storage = Faulty(localstack[0])
    yield storage
    storage.stop()


@pytest.fixture
def node(start, real, faulty):
    """Starts a proxy before the faulty storage; every call starts another one."""
    return lambda **upstream: start(real, upstream={"endpoint": faulty.endpoint, **upstream})


UNEVEN = [LEAST + 1, LEAST + 2, 99]
FAILS = {
    "answers 500": {"instead": error(500)},
    "carries it out, and answers 500": {"after": lambda _: error(500)},
    "carries it out, and hangs up": {"after": lambda _: HANG_UP},
}
MOMENTS = {"the last part is sealed anew": r"^PUT .*[?&]partNumber=10000&", "the upload is completed": r"^POST .*[?&]uploadId="}


@pytest.mark.parametrize("again_at", ["the same node", "another node", "the same node after a restart"])
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("fails", FAILS)
def test_a_storage_that_fails_while_a_resealed_upload_is_completed(node, faulty, fails, moment, again_at):
    """The last part came before the others and was sealed without them. The part that the client sent stays there under its ETag, at every node."""
    first = node(max_retries=0)
    s3 = first.boto()
    bucket = new_bucket(s3)
    one = Upload.start(s3, bucket)
    bodies = {number: content(size, seed=number) for number, size in enumerate(UNEVEN, 1)}
    for number in (3, 1, 2):
        one.send(number, bodies[number])
    fault = faulty.on(MOMENTS[moment], **FAILS[fails])
    is_lost = moment == "the upload is completed" and fails == "carries it out, and hangs up"
    if is_lost:
        # The response is lost, but the object exists: the proxy finds it, and the client gets the result.
        one.complete()
    else:
        assert refused(one.complete)[0] in (500, 503), "a fault of the storage is not the client's"
    assert fault.times == 0, "the fault did not happen"
    if again_at == "another node":
        s3 = node().boto()
    elif again_at != "the same node":
        first.stop()
        first.start()
    if moment == "the upload is completed" and "carries it out" in fails:
        one.complete(s3=s3)
    elif again_at == "the same node":
        one.complete(s3=s3)
    else:
        # Only the first process had what it takes to seal the part again; no other says that the part is not there.
        status, code = refused(one.complete, s3=s3)
        assert (status, code) == (400, "InvalidPart")
        assert [number for number, _ in one.listed(s3=s3)] == [1, 2, 3]
        one.send(3, bodies[3], s3=s3)
        one.complete(s3=s3)
    assert_exact(s3, bucket, b"".join(bodies.values()), list(itertools.accumulate(UNEVEN)))


def test_a_completion_that_fails_behind_a_200_is_one_error(node, faulty):
    """After CompleteMultipartUpload, a copy of a multipart object, and a form that is stored in parts."""
    running = node(max_retries=0)
    s3 = running.boto()
    bucket = new_bucket(s3)
    fail = lambda: faulty.on(MOMENTS["the upload is completed"], instead=error(200, "AccessDenied"))
    one = Upload.start(s3, bucket)
    for number, size in enumerate((LEAST, 99), 1):
        one.send(number, content(size, seed=number))
    fail()
    assert refused(one.complete) == (403, "AccessDenied")
    one.complete()
    fail()
    assert refused(s3.copy_object, Bucket=bucket, Key="copy", CopySource=f"{bucket}/object") == (403, "AccessDenied")
    url, fields = sign(running, bucket, "form")
    fail()
    answer = send(url, encode(fields, content(PART + 5)))
    assert (answer.status, answer.code) == (403, "AccessDenied")


ASKED_OF_A_SILENT_STORAGE = {
    "GET": ("GET", "/bucket/object", [], {}, b""),
    "HEAD": ("HEAD", "/bucket/object", [], {}, b""),
    "a small PUT": ("PUT", "/bucket/object", [], {}, b"x"),
    "a large PUT": ("PUT", "/bucket/object", [], {}, bytes(16 << 20)),
    "a conditional PUT": ("PUT", "/bucket/object", [], {"if-none-match": "*"}, b"x"),
    "a copy": ("PUT", "/bucket/object", [], {"x-amz-copy-source": "bucket/from"}, b""),
    "a listing": ("GET", "/bucket", [("list-type", "2")], {}, b""),
    "a new upload": ("POST", "/bucket/object", [("uploads", "")], {}, b""),
    "a deletion": ("DELETE", "/bucket/object", [], {}, b""),
}


def test_a_storage_that_never_responds(start, tmp_path):
    """A twentieth of `head_timeout`'s default, so a 5xx within 3 s is one within the minute that SDKs wait."""
    with silent() as port:
        upstream = {"endpoint": f"http://127.0.0.1:{port}", "region": "us-east-1", "access_key_id": "a", "secret_access_key": "b"}
        bounds = {"connect_timeout": "1s", "head_timeout": "1s", "idle_timeout": "1s", "max_retries": 0}
        backend = dataclasses.replace(embedded_backend(tmp_path), upstream={**upstream, **bounds})
        running = start(backend)

        def ask(asked):
            method, path, query, headers, body = asked
            begun = time.monotonic()
            answer = running.raw().request(method, path, query, body, headers)
            return answer.status, time.monotonic() - begun

        with ThreadPoolExecutor(len(ASKED_OF_A_SILENT_STORAGE)) as pool:
            found = dict(zip(ASKED_OF_A_SILENT_STORAGE, pool.map(ask, ASKED_OF_A_SILENT_STORAGE.values())))
        assert all(status in (500, 503) for status, _ in found.values()), found
        assert all(0.9 < seconds < 10 for _, seconds in found.values()), found
        running = start(backend, upstream={"max_retries": 3})
        status, seconds = ask(ASKED_OF_A_SILENT_STORAGE["GET"])
        assert status == 503 and 3.9 < seconds < 20, "four attempts"


@pytest.fixture
def storage(localstack):
    """The storage itself, without the faults."""
    return s3_client(localstack[0])


def read(s3, bucket, key="object", **asked):
    return s3.get_object(Bucket=bucket, Key=key, **asked)["Body"].read()


GONE = {
    "deleted": lambda storage, bucket: storage.delete_object(Bucket=bucket, Key="from"),
    "overwritten": lambda storage, bucket: storage.put_object(Bucket=bucket, Key="from", Body=b"another"),
}


@pytest.mark.parametrize("lost", [HANG_UP, error(500)], ids=["hangs up", "answers 500"])
@pytest.mark.parametrize("gone", GONE)
def test_a_copy_that_was_carried_out_is_not_refused(node, faulty, storage, gone, lost):
    """Its answer was lost, it is sent again, and its source is not there any more."""
    s3 = node().boto()
    bucket = new_bucket(s3)
    body = content(100_000)
    s3.put_object(Bucket=bucket, Key="from", Body=body, Metadata={"a": "b"})

    def lose(_):
        GONE[gone](storage, bucket)
        return lost

    fault = faulty.on(r"^PUT /[^/]+/to\b", after=lose)
    answer = s3.copy_object(Bucket=bucket, Key="to", CopySource={"Bucket": bucket, "Key": "from"})
    assert fault.times == 0
    head = s3.head_object(Bucket=bucket, Key="to")
    assert answer["CopyObjectResult"]["ETag"] == head["ETag"] and head["Metadata"] == {"a": "b"}
    assert answer["CopyObjectResult"]["LastModified"].timestamp() == head["LastModified"].timestamp()
    assert read(s3, bucket, "to") == body


def test_a_copy_of_which_nothing_is_known_is_neither_made_nor_refused(node, faulty, storage):
    """404 would tell a client that nothing was copied."""
    s3 = node().boto()
    bucket = new_bucket(s3)
    s3.put_object(Bucket=bucket, Key="from", Body=b"content")

    def lose(_):
        for key in ("from", "to"):
            storage.delete_object(Bucket=bucket, Key=key)
        return HANG_UP

    faulty.on(r"^PUT /[^/]+/to\b", after=lose)
    copy = {"Bucket": bucket, "Key": "to", "CopySource": {"Bucket": bucket, "Key": "from"}}
    assert refused(s3.copy_object, **copy) == (503, "ServiceUnavailable")
    assert refused(s3.copy_object, **copy) == (404, "NoSuchKey"), "and an honest refusal stays one"


@pytest.mark.parametrize("size", [100, 300_000])
def test_a_conditional_put_is_not_refused_for_what_it_did_itself(node, faulty, size):
    s3 = node().boto()
    bucket = new_bucket(s3)
    put = {"Bucket": bucket, "Key": "object", "Body": content(size), "IfNoneMatch": "*"}
    fault = faulty.on(r"^PUT /[^/]+/object\b", after=lambda _: HANG_UP)
    answer = s3.put_object(**put)
    assert fault.times == 0 and answer["ETag"] == s3.head_object(Bucket=bucket, Key="object")["ETag"]
    assert read(s3, bucket) == content(size)
    assert refused(s3.put_object, **put)[0] == 412, "the next one is another object"
    faulty.on(r"^PUT /[^/]+/other\b", instead=lambda: HANG_UP)
    assert refused(s3.put_object, **put | {"Key": "other"})[0] == 503, "what was not carried out is not there"


def test_what_was_deleted_is_not_missing(node, faulty, storage):
    s3 = node().boto()
    bucket = new_bucket(s3)
    one = Upload.start(s3, bucket)
    fault = faulty.on(r"^DELETE .*uploadId=", after=lambda _: HANG_UP)
    one.abort()
    assert fault.times == 0
    assert refused(one.abort) == (404, "NoSuchUpload")
    fault = faulty.on(r"^DELETE /[^/?]+$", after=lambda _: HANG_UP)
    s3.delete_bucket(Bucket=bucket)
    assert fault.times == 0
    assert refused(s3.delete_bucket, Bucket=bucket) == (404, "NoSuchBucket")


def cut(answer):
    """Half of a body whose whole length was announced."""
    return Answer(answer.status, [*answer.headers, ("content-length", str(len(answer.body)))], answer.body[: len(answer.body) // 2])


@pytest.mark.parametrize("times", [1, 2])
def test_what_breaks_off_before_anything_was_released_is_read_again(node, faulty, times):
    s3 = node().boto()
    bucket = new_bucket(s3)
    small = content(3_000)
    s3.put_object(Bucket=bucket, Key="object", Body=small, Tagging="a=b")
    for pattern, ask, expected in [
        (r"^GET /[^/]+/object(\?x-id=GetObject)?$", lambda: read(s3, bucket), small),
        (r"^GET /[^/]+/object(\?x-id=GetObject)?$", lambda: read(s3, bucket, Range="bytes=5-99"), small[5:100]),
        (r"^GET /[^/]+/object\?tagging", lambda: s3.get_object_tagging(Bucket=bucket, Key="object")["TagSet"], [{"Key": "a", "Value": "b"}]),
        (r"^GET /[^/]+\?.*list-type=2", lambda: s3.list_objects_v2(Bucket=bucket)["KeyCount"], 1),
    ]:
        fault = faulty.on(pattern, after=cut, times=times)
        assert ask() == expected
        assert fault.times == 0, pattern


def test_a_range_beyond_the_end_whose_length_is_not_told_is_no_fault_of_the_client(node, faulty):
    s3 = node(max_retries=0).boto()
    bucket = new_bucket(s3)
    s3.put_object(Bucket=bucket, Key="object", Body=b"content")
    for lost in (error(500), error(503, "SlowDown")):
        fault = faulty.on(r"^HEAD /[^/]+/object", instead=lost)
        assert refused(read, s3, bucket, Range="bytes=1000000-1000001")[0] == 503
        assert fault.times == 0
    assert refused(read, s3, bucket, Range="bytes=1000000-1000001") == (416, "InvalidRange")


def without_etag(answer):
    return Answer(answer.status, answer.headers, re.sub(rb"<ETag>[^<]*</ETag>", b"<ETag></ETag>", answer.body))


def test_a_storage_that_names_no_etag_when_an_upload_is_complete(node, faulty):
    """As radosgw; of copies of such objects too, which are uploads."""
    s3 = node().boto()
    bucket = new_bucket(s3)
    sizes = [LEAST, LEAST, 99]
    one = Upload.start(s3, bucket)
    for number, size in enumerate(sizes, 1):
        one.send(number, content(size, seed=number))
    quirk = faulty.on(r"^POST .*uploadId=", after=without_etag, times=2)
    etag = one.complete()["ETag"]
    assert etag == s3.head_object(Bucket=bucket, Key="object")["ETag"]
    copied = s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "object"})
    assert quirk.times == 0
    assert copied["CopyObjectResult"]["ETag"] == s3.head_object(Bucket=bucket, Key="copy")["ETag"] != ""
    expected = b"".join(content(size, seed=number) for number, size in enumerate(sizes, 1))
    assert_exact(s3, bucket, expected, list(itertools.accumulate(sizes)), key="copy")
    form = content(9 << 20)
    faulty.on(r"^POST .*uploadId=", after=without_etag)
    assert_form(node().boto(), bucket, form)


def assert_form(s3, bucket, file):
    """A browser's form that is stored as an upload."""
    form = s3.generate_presigned_post(bucket, "form")
    boundary = "b" * 20
    fields = "".join(f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in form["fields"].items())
    head = f'{fields}--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
    body = head.encode() + file + f"\r\n--{boundary}--\r\n".encode()
    request = urllib.request.Request(form["url"], data=body, headers={"Content-Type": f"multipart/form-data; boundary={boundary}"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert answer.status == 204 and answer.headers["etag"] == s3.head_object(Bucket=bucket, Key="form")["ETag"]
    assert read(s3, bucket, "form") == file


def test_a_storage_that_calls_a_finished_upload_a_missing_key(node, faulty):
    """As radosgw."""
    s3 = node().boto()
    bucket = new_bucket(s3)
    one = Upload.start(s3, bucket)
    one.send(1, b"content")
    etag = one.complete()["ETag"]
    other = Upload.start(s3, bucket, "other")
    other.send(1, b"content")
    faulty.on(r"^GET .*uploadId=", instead=error(404, "NoSuchKey"), times=99)
    assert one.complete()["ETag"] == etag
    assert refused(other.complete) == (404, "NoSuchUpload")
    assert refused(other.listed) == (404, "NoSuchUpload")


def test_an_upload_that_is_completed_twice_at_once(node, faulty):
    """The client gave up waiting and sent it again; both are told the same."""
    s3 = node().boto()
    bucket = new_bucket(s3)
    one = Upload.start(s3, bucket)
    one.send(1, b"content")
    etags = []
    second = faulty.on(r"^POST .*uploadId=", instead=lambda: etags.append(one.complete()["ETag"]) or error(404, "NoSuchUpload"))
    assert one.complete()["ETag"] == etags[0]
    assert second.times == 0 and read(s3, bucket) == b"content"


def test_a_listing_has_no_stored_size_of_what_was_overwritten_meanwhile(node, faulty):
    s3 = node().boto()
    bucket = new_bucket(s3)
    uneven = [LEAST + 1, LEAST + 2, 99]
    upload(s3, bucket, list(enumerate(uneven, 1)))
    other = node().boto()
    body = content(LEAST + 7)
    fault = faulty.on(r"^GET /[^/]+\?.*list-type=2", after=lambda answer: other.put_object(Bucket=bucket, Key="object", Body=body) and answer)
    [entry] = s3.list_objects_v2(Bucket=bucket)["Contents"]
    assert fault.times == 0 and entry["Size"] == len(body)
