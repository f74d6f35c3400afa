"""Forms as browsers send them: signed by boto3, sent by curl and by hand, and held to their policy."""

import base64
import datetime
import hashlib
import hmac
import http.client
import http.server
import json
import os
import re
import shutil
import socket
import subprocess
import threading
import time
import urllib.parse
import xml.etree.ElementTree

import pytest
import urllib3

from conftest import embedded_backend, new_bucket
from judge import assert_not_stored, assert_nothing_comes, assert_nothing_stored, assert_refused
from proxy import ACCESS_KEY_ID, REGION, SECRET_ACCESS_KEY
from rawsig import read_answer
from read_native import read_native as open_object
from test_faults import LEAVE
from test_independent_reader import unwrap  # noqa: F401, a fixture
from test_memory import peak

CHUNK = 64 << 10
PART = 8 << 20
SIZES = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, PART - 1, PART, PART + 1, PART + (5 << 20) - 1, PART + (5 << 20), 20 << 20]
VERSIONS = ["s3v4", None]  # None is boto3's default for a custom endpoint: SigV2
BOUNDARY = "----a boundary_of'many(kinds)+of=characters.:?/,x"

needs_curl = pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")


def sign(proxy, bucket, key="object", version="s3v4", fields=None, conditions=None, seconds=300, **boto):
    """boto3's form: the URL and the fields. A field is covered by a condition of its value, unless `conditions` are given."""
    client = proxy.boto(**boto, **({"signature_version": version} if version else {}))
    fields = dict(fields or {})
    covered = [{name: value} for name, value in fields.items()] if conditions is None else conditions
    form = client.generate_presigned_post(bucket, key, fields, covered, ExpiresIn=seconds)
    return form["url"], form["fields"]


def sign_policy(policy, signed=True, secret=SECRET_ACCESS_KEY, key_id=ACCESS_KEY_ID, region=REGION, **changes):
    """The fields that sign a policy of our own making; its conditions get those of the signature."""
    now = datetime.datetime.now(datetime.timezone.utc) + changes.pop("later", datetime.timedelta())
    amz_date = now.strftime("%Y%m%dT%H%M%SZ")
    fields = {
        "x-amz-algorithm": "AWS4-HMAC-SHA256",
        "x-amz-credential": f"{key_id}/{amz_date[:8]}/{region}/s3/aws4_request",
        "x-amz-date": amz_date,
        **changes,
    }
    if signed:
        policy = {**policy, "conditions": policy["conditions"] + [{name: value} for name, value in fields.items()]}
    text = base64.b64encode(json.dumps(policy).encode() if isinstance(policy, dict) else policy).decode()
    key = f"AWS4{secret}".encode()
    for piece in (amz_date[:8], region, "s3", "aws4_request"):
        key = hmac.digest(key, piece.encode(), "sha256")
    return {**fields, "policy": text, "x-amz-signature": hmac.digest(key, text.encode(), "sha256").hex()}


def expiration(seconds=300):
    return (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def part(name, value, extra=""):
    value = value if isinstance(value, bytes) else str(value).encode()
    return f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{extra}\r\n\r\n'.encode() + value + b"\r\n"


def encode(fields, content, file_name="a file.bin", after=b""):
    """The body of a form. `fields` may be pairs, so that a name can come twice."""
    pairs = fields.items() if isinstance(fields, dict) else fields
    head = b"".join(part(name, value) for name, value in pairs)
    file = b"" if content is None else part("file", content, f'; filename="{file_name}"\r\nContent-Type: text/x-of-the-file')
    return head + file + after + f"--{BOUNDARY}--\r\n".encode()


def send(url, body, headers=None, frames=None, **changes):
    """Sends the body, in frames of these lengths."""
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=60)
    headers = {"content-type": f'multipart/form-data; boundary="{BOUNDARY}"', "content-length": str(len(body)), **(headers or {})}
    try:
        connection.putrequest("POST", changes.get("path", parts.path))
        for name, value in headers.items():
            if value is not None:
                connection.putheader(name, value)
        connection.endheaders()
        try:
            for frame in frames or [body]:
                connection.send(frame)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the answer, if any, says why
        return read_answer(connection, "POST")
    finally:
        connection.close()


def post(proxy, bucket, content=b"content", after=b"", headers=None, file_name="a file.bin", change=None, **form):
    url, fields = sign(proxy, bucket, **form)
    fields = change(fields) if change else fields
    return send(url, encode(fields, content, file_name, after), headers)


def opened(backend, bucket, key, unwrap):
    stored = backend.store.read(bucket, key)
    return open_object(stored.body, stored.metadata, bucket, key, unwrap), stored


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("size", SIZES)
def test_every_size(proxy, bucket, backend, unwrap, size, version):
    content = os.urandom(size)
    url, fields = sign(proxy, bucket, "dir/ünï", version)
    assert ("AWSAccessKeyId" in fields) == (version is None)
    body, content_type = urllib3.encode_multipart_formdata({**fields, "file": ("name.bin", content, "application/x")})
    answer = send(url, body, {"content-type": content_type})
    assert (answer.status, answer.body) == (204, b"")
    assert re.fullmatch(r'"[0-9a-f]{32}-(v|\d+)"', answer.headers["etag"])
    plaintext, stored = opened(backend, bucket, "dir/ünï", unwrap)
    assert plaintext == content
    assert content == b"" or len(stored.body) >= size + 16
    if size >= 64:
        assert content[:64] not in stored.body, "This is a security issue: plaintext is stored."
    if size <= PART:
        assert proxy.boto().get_object(Bucket=bucket, Key="dir/ünï")["Body"].read() == content
    assert backend.store.keys(bucket) == ["dir/ünï"], "no upload may be left over"


@needs_curl
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("size", [3, 3 * CHUNK, PART + 5])
def test_curl(proxy, bucket, backend, unwrap, tmp_path, version, size):
    content = os.urandom(size)
    (tmp_path / "a b.bin").write_bytes(content)
    url, fields = sign(proxy, bucket, "up/${filename}", version)
    command = ["curl", "--silent", "--show-error", "--noproxy", "*", "--max-time", "60", "--write-out", "%{http_code}"]
    forms = [argument for name, value in fields.items() for argument in ("--form-string", f"{name}={value}")]
    sent = subprocess.run([*command, *forms, "--form", f"file=@{tmp_path}/a b.bin", url], capture_output=True, timeout=90, check=True)
    assert sent.stdout == b"204"
    assert opened(backend, bucket, "up/a b.bin", unwrap)[0] == content


def test_fields_are_what_a_put_would_say(real_proxy, real_bucket, real):
    tagging = "<Tagging><TagSet><Tag><Key>colour</Key><Value>light + &#98;lue</Value></Tag></TagSet></Tagging>"
    fields = {
        "acl": "private", "tagging": tagging, "Content-Type": "text/x-form", "Cache-Control": "max-age=3",
        "Content-Disposition": 'attachment; filename="x"', "Content-Encoding": "x-none", "Content-Language": "de",
        "Expires": "Wed, 21 Oct 2015 07:28:00 GMT", "x-amz-meta-Colour": "blue", "x-amz-storage-class": "STANDARD_IA",
        "x-amz-website-redirect-location": "/other",
    }  # fmt: skip
    assert post(real_proxy, real_bucket, fields=fields).status == 204
    s3 = real_proxy.boto()
    got = s3.get_object(Bucket=real_bucket, Key="object")
    assert got["Body"].read() == b"content"
    assert (got["ContentType"], got["CacheControl"], got["ContentDisposition"]) == ("text/x-form", "max-age=3", 'attachment; filename="x"')
    assert (got["ContentEncoding"], got["ContentLanguage"], got["Metadata"]) == ("x-none", "de", {"colour": "blue"})
    assert (got["StorageClass"], got["WebsiteRedirectLocation"]) == ("STANDARD_IA", "/other")
    assert s3.get_object_tagging(Bucket=real_bucket, Key="object")["TagSet"] == [{"Key": "colour", "Value": "light + blue"}]


def test_the_content_type_is_the_fields_and_not_the_files(proxy, bucket):
    assert post(proxy, bucket).status == 204
    assert "text/x-of-the-file" not in str(proxy.boto().head_object(Bucket=bucket, Key="object"))


def test_answers(proxy, bucket):
    def answer(**fields):
        return post(proxy, bucket, key="dir/ü&", fields=fields)

    plain = answer()
    assert plain.headers["x-amz-server-side-encryption"] == "aws:kms"
    location, etag = plain.headers["location"], plain.headers["etag"]
    assert location == f"{proxy.endpoint}/{bucket}/dir/%C3%BC%26"
    for status, expected in (("200", 200), ("201", 201), ("204", 204), ("404", 204), ("", 204)):
        got = answer(success_action_status=status)
        assert (got.status, got.headers["location"]) == (expected, location)
        if expected == 201:
            assert xml.etree.ElementTree.fromstring(got.body).tag == "PostResponse"
            told = [got.text_of(name) for name in ("Location", "Bucket", "Key", "ETag")]
            assert told == [location, bucket, "dir/ü&", got.headers["etag"]]
            assert got.headers["content-type"] == "application/xml"
        else:
            assert got.body == b""
    for field in ("success_action_redirect", "redirect"):
        for url, separator in (("http://page.example/done", "?"), ("https://page.example/?a=b%20c", "&")):
            got = answer(**{field: url, "success_action_status": "201"})
            assert got.status == 303
            query = urllib.parse.urlencode({"bucket": bucket, "key": "dir/ü&", "etag": got.headers["etag"]})
            assert got.headers["location"] == f"{url}{separator}{query.replace('+', '%20')}".replace("dir/", "dir%2F")
    for url in ("javascript:alert(1)", "/relative", "not a url", "//page.example/"):
        assert answer(success_action_redirect=url).status == 204
    assert etag


def test_what_comes_after_the_file_is_ignored(proxy, bucket, backend, unwrap):
    """A submit button's field, say, or another key."""
    for size in (7, PART + 7):
        content = os.urandom(size)
        after = part("submit", "Upload") + part("key", "other") + part("file", b"other", '; filename="x"')
        assert post(proxy, bucket, content, after).status == 204
        assert opened(backend, bucket, "object", unwrap)[0] == content
    assert backend.store.keys(bucket) == ["object"]


@pytest.mark.parametrize("file_name, expected", [
    ("plain.txt", "plain.txt"), ("C:\\Documents\\a b.txt", "a b.txt"), ("/home/me/ü.txt", "ü.txt"), ('say \\"hi\\".txt', 'say "hi".txt'),
])  # fmt: skip
def test_file_names(proxy, bucket, backend, file_name, expected):
    conditions = [["starts-with", "$x-amz-meta-name", "of:"]]
    fields = {"x-amz-meta-name": "of:plain"}
    answer = post(proxy, bucket, key="user/${filename}", file_name=file_name, fields=fields, conditions=conditions)
    assert answer.status == 204
    assert backend.store.keys(bucket) == ["user/" + expected]


def test_checksums_of_the_file(proxy, bucket, backend):
    for size in (5, PART + 5):
        content = os.urandom(size)
        md5 = base64.b64encode(hashlib.md5(content).digest()).decode()
        sha = base64.b64encode(hashlib.sha256(content).digest()).decode()
        answer = post(proxy, bucket, content, fields={"x-amz-checksum-sha256": sha, "Content-MD5": md5})
        assert (answer.status, answer.headers["x-amz-checksum-sha256"]) == (204, sha)
        proxy.boto().delete_object(Bucket=bucket, Key="object")
        changed = content[:-1] + bytes([content[-1] ^ 1])
        for wrong in ({"x-amz-checksum-sha256": sha}, {"Content-MD5": md5}):
            assert_refused(post(proxy, bucket, changed, fields=wrong), 400, "BadDigest")
            assert_nothing_comes(backend.store, bucket)


def test_a_key_of_the_keyring_may_be_named(start, tmp_path):
    backend = embedded_backend(tmp_path)
    running = start(backend)
    bucket = new_bucket(running.boto())
    fields = {"x-amz-server-side-encryption": "aws:kms", "x-amz-server-side-encryption-aws-kms-key-id": "test-key"}
    assert post(running, bucket, fields=fields).status == 204
    fields["x-amz-server-side-encryption-aws-kms-key-id"] = "another"
    assert_refused(post(running, bucket, key="b", fields=fields), 403, "AccessDenied")
    assert backend.store.keys(bucket) == ["object"]


LENGTHS = [["content-length-range", 10, 20]]


@pytest.mark.parametrize("content, form, change, status, code", [
    (b"", {"conditions": LENGTHS}, None, 400, "EntityTooSmall"),
    (b"x" * 9, {"conditions": LENGTHS}, None, 400, "EntityTooSmall"),
    (b"x" * 21, {"conditions": LENGTHS}, None, 400, "EntityTooLarge"),
    (b"x" * (PART + 9), {"conditions": [["content-length-range", 0, PART + 8]]}, None, 400, "EntityTooLarge"),
    (b"x" * (PART + 9), {"conditions": [["content-length-range", PART + 10, 1 << 40]]}, None, 400, "EntityTooSmall"),
    (b"x", {}, {"key": "other"}, 403, "AccessDenied"),
    (b"x", {}, {"acl": "public-read"}, 403, "AccessDenied"),
    (b"x", {}, {"x-amz-meta-a": "b"}, 403, "AccessDenied"),
    (b"x", {}, {"anything": "b"}, 403, "AccessDenied"),
    (b"x", {}, {"bucket": "other"}, 403, "AccessDenied"),
    (b"x", {"fields": {"acl": "private"}}, {"acl": "public-read"}, 403, "AccessDenied"),
    (b"x", {"fields": {"acl": "private"}}, {"acl": None}, 403, "AccessDenied"),
    (b"x", {"conditions": [["starts-with", "$Content-Type", "image/"]]}, {"Content-Type": "text/html"}, 403, "AccessDenied"),
    (b"x", {"conditions": [["starts-with", "$Content-Type", "image/"]]}, {"Content-Type": "image/png,text/html"}, 403, "AccessDenied"),
    (b"x", {"conditions": [["starts-with", "$Content-Type", "image/"]]}, {}, 403, "AccessDenied"),
    (b"x", {"conditions": [{"bucket": "another"}]}, None, 403, "AccessDenied"),
    (b"x", {"seconds": -1}, None, 403, "AccessDenied"),
    (b"x", {}, {"key": None}, (400, 403), ("InvalidArgument", "AccessDenied")),
    (b"x", {}, {"policy": None}, 400, "InvalidArgument"),
    (b"x", {"fields": {"x-amz-copy-source": "/b/k"}}, {}, 501, "NotImplemented"),
    (b"x", {"fields": {"x-amz-server-side-encryption-customer-algorithm": "AES256"}}, {}, 400, "InvalidArgument"),
    (b"x", {"fields": {"x-amz-meta-encryption-key": "AA=="}}, {}, 400, "InvalidArgument"),
    (b"x", {"fields": {"tagging": "<Tagging/>"}}, {}, 400, "MalformedXML"),
], ids=lambda value: str(value)[:40])  # fmt: skip
@pytest.mark.parametrize("version", VERSIONS)
def test_what_the_policy_does_not_allow(proxy, bucket, backend, version, content, form, change, status, code):
    def changed(fields):
        return {name: value for name, value in {**fields, **(change or {})}.items() if value is not None}

    assert_refused(post(proxy, bucket, content, version=version, change=changed, **form), status, code)
    assert_nothing_stored(backend.store, bucket)


def test_conditions_that_are_met(proxy, bucket, backend):
    conditions = [
        ["starts-with", "$Content-Type", "image/"], ["content-length-range", 1, "20"], ["EQ", "$X-AMZ-Meta-A", "b"],
        ["starts-with", "$success_action_redirect", ""],
    ]  # fmt: skip
    fields = {"cOnTeNt-TyPe": "image/png, image/gif", "x-amz-meta-a": "b", "x-ignore-this": "c", "success_action_redirect": ""}
    assert post(proxy, bucket, fields=fields, conditions=conditions).status == 204
    assert proxy.boto().head_object(Bucket=bucket, Key="object")["Metadata"] == {"a": "b"}
    assert post(proxy, bucket, key="two", change=lambda fields: {**fields, "bucket": bucket}).status == 204


@pytest.mark.parametrize("policy", [
    b"no json", b"[]", b"{}", b'{"expiration": "2999-01-01T00:00:00Z"}', b'{"conditions": []}',
    b'{"expiration": "tomorrow", "conditions": []}', b'{"EXPIRATION": "2999-01-01T00:00:00Z", "conditions": []}',
    *(b'{"expiration": "2999-01-01T00:00:00Z", "conditions": [%b]}' % condition for condition in [
        b"{}", b"[]", b"3", b'["eq"]', b'["eq", "key", "a"]', b'["eq", "$key", 3]', b'["eq", "$key", "a", "b"]',
        b'["like", "$key", "a"]', b'["content-length-range", 1]', b'["content-length-range", -1, 2]', b'{"key": {"a": "b"}}',
    ]),
])  # fmt: skip
def test_policies_that_are_none(proxy, bucket, backend, policy):
    fields = {"key": "object", **sign_policy(policy, signed=False)}
    assert_refused(send(f"{proxy.endpoint}/{bucket}", encode(fields, b"x")), 400, "InvalidPolicyDocument")
    assert_not_stored(backend.store, bucket)


@pytest.mark.parametrize("changes, status, code", [
    ({}, 204, None),
    ({"secret": "another"}, 403, "SignatureDoesNotMatch"),
    ({"key_id": "nobody"}, 403, "InvalidAccessKeyId"),
    ({"region": "mars-north-1"}, 400, "InvalidArgument"),
    ({"later": datetime.timedelta(hours=1)}, 403, "AccessDenied"),
    ({"later": datetime.timedelta(days=-8)}, 403, "AccessDenied"),
    ({"x-amz-date": "20200101T000000Z"}, 400, "InvalidArgument"),
    ({"x-amz-algorithm": "AWS4-HMAC-SHA1"}, 400, "InvalidArgument"),
    ({"x-amz-algorithm": "AWS4-ECDSA-P256-SHA256"}, 501, "NotImplemented"),
    ({"x-amz-security-token": "token"}, 400, "InvalidToken"),
    ({"x-amz-credential": "nonsense"}, 400, "InvalidArgument"),
], ids=str)  # fmt: skip
def test_signatures_of_our_own(proxy, bucket, backend, changes, status, code):
    policy = {"expiration": expiration(), "conditions": [{"bucket": bucket}, {"key": "object"}]}
    answer = send(f"{proxy.endpoint}/{bucket}", encode({"key": "object", **sign_policy(policy, **changes)}, b"x"))
    if code is None:
        assert answer.status == status, answer.body
        return
    assert_refused(answer, status, code)
    assert_not_stored(backend.store, bucket)


@pytest.mark.parametrize("version", VERSIONS)
def test_tampered(proxy, bucket, backend, version):
    url, fields = sign(proxy, bucket, version=version)
    name = "x-amz-signature" if version else "signature"
    policy = json.loads(base64.b64decode(fields["policy"]))
    policy["conditions"][0:0] = [{"acl": "public-read"}]
    wider = base64.b64encode(json.dumps(policy).encode()).decode()
    for changed in (
        {**fields, "policy": wider, "acl": "public-read"},
        {**fields, name: fields[name][::-1]},
        {**fields, name: ""},
        {**fields, "policy": fields["policy"] + "\n"},
    ):
        assert_refused(send(url, encode(changed, b"x")), 403, "SignatureDoesNotMatch")
    for missing in (name, "policy"):
        cut = {field: value for field, value in fields.items() if field != missing}
        assert_refused(send(url, encode(cut, b"x")), 400, "InvalidArgument")
    both = {**fields, **sign(proxy, bucket, version=None if version else "s3v4")[1]}
    assert_refused(send(url, encode(both, b"x")), 400, "InvalidArgument")
    other = new_bucket(proxy.boto())
    assert_refused(send(f"{proxy.endpoint}/{other}", encode(fields, b"x")), 403, "AccessDenied")
    assert_not_stored(backend.store, bucket)
    assert_not_stored(backend.store, other)


def test_expired(proxy, bucket, backend):
    url, fields = sign(proxy, bucket, seconds=1)
    time.sleep(1.5)
    assert_refused(send(url, encode(fields, b"x")), 403, "AccessDenied")
    assert_not_stored(backend.store, bucket)


def test_nobody_posts_without_a_signature(proxy, bucket, backend):
    url = f"{proxy.endpoint}/{bucket}"
    assert_refused(send(url, encode({"key": "object"}, b"x")), 403, "AccessDenied")
    assert_refused(send(url, encode({"key": "object", "acl": "public-read-write"}, b"x" * PART)), 403, "AccessDenied")
    _, fields = sign(proxy, bucket)
    for headers in ({"authorization": "Bearer x"}, {"x-amz-acl": "private"}, {"if-none-match": "*"}):
        answer = send(url, encode(fields, b"x"), headers)
        assert 400 <= answer.status < 502 and answer.code, answer.body
    assert_refused(send(url, encode(fields, b"x"), path=f"/{bucket}/object"), (403, 405), ("AccessDenied", "MethodNotAllowed"))
    assert_refused(send(url, encode(fields, b"x"), path=f"/{bucket}?uploads"), (403, 405), ("AccessDenied", "MethodNotAllowed"))
    raw = proxy.raw().request("POST", f"/{bucket}", body=encode({"key": "object"}, b"x"), headers={"content-type": f'multipart/form-data; boundary="{BOUNDARY}"'})
    assert_refused(raw, 501, "NotImplemented")
    assert_not_stored(backend.store, bucket)


def test_version_2_can_be_switched_off(start, tmp_path):
    backend = embedded_backend(tmp_path)
    running = start(backend, listen={"sigv2": False})
    bucket = new_bucket(running.boto())
    assert_refused(post(running, bucket, version=None), 400, "InvalidRequest")
    assert post(running, bucket).status == 204


def test_a_client_without_the_right(start, tmp_path):
    backend = embedded_backend(tmp_path)
    clients = [
        {"access_key_id": ACCESS_KEY_ID, "secret_access_key": SECRET_ACCESS_KEY, "access": "admin"},
        {"access_key_id": "reader", "secret_access_key": "reader-secret", "access": "read-only"},
        {"access_key_id": "elsewhere", "secret_access_key": "elsewhere-secret", "buckets": ["other"]},
        {"access_key_id": "writer", "secret_access_key": "writer-secret", "access": "write-only"},
    ]
    rules = [{"name": "*", "prefix": "served/"}]
    running = start(backend, client=clients, bucket=rules)
    bucket = new_bucket(running.boto())
    for name in ("reader", "elsewhere"):
        refused = post(running, bucket, key="served/a", access_key_id=name, secret_access_key=f"{name}-secret")
        assert_refused(refused, 403, "AccessDenied")
    assert_refused(post(running, bucket, key="not-served/a"), 403, "AccessDenied")
    assert_not_stored(backend.store, bucket)
    assert post(running, bucket, key="served/a", access_key_id="writer", secret_access_key="writer-secret").status == 204


@pytest.mark.parametrize("spoil", [
    lambda body: body[: -len(BOUNDARY) - 8],
    lambda body: body.replace(b"form-data; name=\"key\"", b"attachment; name=\"key\""),
    lambda body: body.replace(b"name=\"key\"", b"title=\"key\""),
    lambda body: body.replace(b"--" + BOUNDARY.encode(), b"--" + BOUNDARY[::-1].encode()),
    lambda body: b"",
    lambda body: body.replace(b"name=\"key\"", b"name=\"key\"\r\nContent-Transfer-Encoding: base64"),
], ids=["cut", "no field", "no name", "another boundary", "empty", "encoded"])  # fmt: skip
def test_what_is_no_form(proxy, bucket, backend, spoil):
    url, fields = sign(proxy, bucket)
    body = spoil(encode(fields, b"content"))
    assert_refused(send(url, body), 400, "MalformedPOSTRequest")
    assert_nothing_stored(backend.store, bucket)


def test_forms_with_too_little_or_too_much(proxy, bucket, backend):
    url, fields = sign(proxy, bucket)
    pairs = list(fields.items())
    assert_refused(send(url, encode(fields, None)), 400, "InvalidArgument")
    assert_refused(send(url, encode([*pairs, ("Key", "object")], b"x")), 400, "InvalidArgument")
    assert_refused(send(url, encode([*pairs, ("x-ignore-a", "x" * 20_480)], b"x")), 400, "MaxPostPreDataLengthExceededError")
    assert_refused(send(url, encode(fields, b"x"), {"content-type": "multipart/form-data"}), 400, "MalformedPOSTRequest")
    body = encode(fields, b"x")
    chunked = {"content-length": None, "transfer-encoding": "chunked"}
    frames = [f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n"]
    assert_refused(send(url, body, chunked, frames), 411, "MissingContentLength")
    assert_nothing_comes(backend.store, bucket)
    assert send(url, encode([*pairs, ("x-ignore-a", "1"), ("x-ignore-a", "2")], b"x")).status == 204


@pytest.mark.parametrize("leave", LEAVE)
@pytest.mark.parametrize("size", [100, 3 * CHUNK, 2 * PART])
def test_a_client_that_goes_away(proxy, bucket, backend, size, leave):
    url, fields = sign(proxy, bucket)
    body = encode(fields, os.urandom(size))
    connection = socket.create_connection(("127.0.0.1", proxy.port), timeout=60)
    head = f'content-type: multipart/form-data; boundary="{BOUNDARY}"\r\ncontent-length: {len(body)}'
    connection.sendall(f"POST /{bucket} HTTP/1.1\r\nhost: 127.0.0.1:{proxy.port}\r\n{head}\r\n\r\n".encode() + body[:-40])
    time.sleep(0.3)
    LEAVE[leave](connection)
    deadline = time.monotonic() + 10
    while backend.store.keys(bucket) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert_nothing_stored(backend.store, bucket)


class FailingStore(http.server.BaseHTTPRequestHandler):
    """Knows one upload, and answers the request of which `fails` is a part with `answer`."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        wanted = "CompleteMultipartUpload" if "uploadId=" in self.path else "InitiateMultipartUpload"
        document = f"<{wanted}Result><UploadId>one</UploadId><ETag>&quot;x-2&quot;</ETag></{wanted}Result>"
        status, document = self.server.failing(f"{self.command} {self.path}") or (200, document)
        self.send_response(status)
        self.send_header("etag", '"x"')
        self.send_header("content-length", str(len(document) if status != 204 else 0))
        self.end_headers()
        self.wfile.write(document.encode() if status != 204 else b"")

    def do_DELETE(self):
        self.server.aborted.append(self.path)
        self.send_response(204)
        self.end_headers()

    do_PUT = do_POST

    def log_message(self, *_):
        pass


ERROR = "<Error><Code>{}</Code><Message>said the storage</Message></Error>"


@pytest.mark.parametrize("fails, answer, status, code", [
    ("POST /bucket/object?uploads", (403, ERROR.format("AccessDenied")), 403, "AccessDenied"),
    ("POST /bucket/object?uploads", (200, "<Other/>"), (500, 502, 503), None),
    ("partNumber=1&", (404, ERROR.format("NoSuchUpload")), 404, "NoSuchUpload"),
    ("partNumber=2&", (400, ERROR.format("InvalidRequest")), 400, "InvalidRequest"),
    ("partNumber=2&", (307, ERROR.format("TemporaryRedirect")), 500, "InternalError"),
    ("partNumber=10000&", (400, ERROR.format("InvalidRequest")), 400, "InvalidRequest"),
    ("POST /bucket/object?uploadId=", (412, ERROR.format("PreconditionFailed")), 412, "PreconditionFailed"),
    ("POST /bucket/object?uploadId=", (200, ERROR.format("InternalError")), 500, "InternalError"),
    ("POST /bucket/object?uploadId=", (200, "no XML"), (500, 502, 503), None),
    ("nothing", None, 204, None),
], ids=str)  # fmt: skip
def test_a_storage_that_fails_an_upload(start, tmp_path, fails, answer, status, code):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), FailingStore)
    server.aborted, server.failing = [], lambda request: answer if fails in request else None
    threading.Thread(target=server.serve_forever, daemon=True).start()
    upstream = {"endpoint": f"http://127.0.0.1:{server.server_port}", "access_key_id": "a", "secret_access_key": "s", "max_retries": 0}
    running = start(embedded_backend(tmp_path), upstream=upstream)
    got = post(running, "bucket", b"x" * (PART + (6 << 20)))
    server.shutdown()
    server.server_close()
    assert got.status in (status if isinstance(status, tuple) else (status,)), got.body
    assert code is None or got.code == code, got.body
    began = "?uploads" not in fails and answer is not None
    assert server.aborted == (["/bucket/object?uploadId=one"] if began else [])


def test_any_framing_is_the_same_form(proxy, bucket, backend, unwrap):
    """The boundary, and what only looks like one, cut at every place."""
    delimiter = f"\r\n--{BOUNDARY}".encode()
    content = delimiter[:-1] + b"\r\n--\r\n" + delimiter[:9] + b"\r\r\n\n" + delimiter[:-2]
    url, fields = sign(proxy, bucket)
    body = encode(fields, content, after=part("submit", "x"))
    start = body.index(b'name="file"')
    for cut in range(start, len(body), 7):
        frames = [body[:cut]] + [body[at : at + 1] for at in range(cut, min(cut + 7, len(body)))] + [body[cut + 7 :]]
        assert send(url, body, frames=frames).status == 204
        assert opened(backend, bucket, "object", unwrap)[0] == content


def test_cors_headers_reach_the_browser(real_proxy, real_bucket):
    rule = {"AllowedOrigins": ["https://page.example"], "AllowedMethods": ["POST"], "ExposeHeaders": ["ETag"]}
    real_proxy.boto().put_bucket_cors(Bucket=real_bucket, CORSConfiguration={"CORSRules": [rule]})
    for size in (5, PART + 5):
        answer = post(real_proxy, real_bucket, b"x" * size, headers={"origin": "https://page.example"})
        assert answer.status == 204
        assert answer.headers["access-control-allow-origin"] == "https://page.example"
        assert answer.headers["access-control-expose-headers"] == "ETag"
        assert "access-control-allow-origin" not in post(real_proxy, real_bucket, headers={"origin": "https://other.example"}).headers


@pytest.mark.timeout(300)
def test_memory_is_one_part_a_form(start, tmp_path):
    backend = embedded_backend(tmp_path)
    running = start(backend)
    bucket = new_bucket(running.boto())
    url, fields = sign(running, bucket)
    before = peak(running.process)
    size = 200 << 20
    head, tail = encode(fields, b"@@@").split(b"@@@")
    piece = os.urandom(1 << 20)
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=250)
    body = (frame for frame in [head, *[piece] * (size >> 20), tail])
    headers = {"content-type": f'multipart/form-data; boundary="{BOUNDARY}"', "content-length": str(len(head) + size + len(tail))}
    connection.request("POST", parts.path, body=body, headers=headers)
    assert connection.getresponse().status == 204
    used = peak(running.process) - before
    print(f"peak resident size grew by {used / (1 << 20):.1f} MiB for a form of {size >> 20} MiB")
    assert used < 64 << 20
