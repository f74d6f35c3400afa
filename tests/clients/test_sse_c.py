"""SSE-C: clients' own keys, ended in the proxy. Both keys open an object; what is asked without the client's, or with another, is
refused as S3 does, and the storage sees neither key nor MD5."""

import base64
import hashlib
import json
import urllib.error
import urllib.request

import pytest

from backing import Stored
from conftest import alias_of, embedded_backend, new_bucket, new_key
from judge import assert_fails_closed, assert_refused
from multiparts import CHUNK, LEAST, MIB, Upload, content, read, refused
from proxy import ACCESS_KEY_ID, SECRET_ACCESS_KEY
from rawsig import flip_bit
from read_native import read_native as open_object
from relay import Relay
from test_audit import Audited
from test_dataframes import PYTHON, SCRIPT
from test_independent_reader import unwrap  # noqa: F401, a fixture
from test_jobs_steps import job  # noqa: F401, a fixture
from test_limits import until
from test_post import encode, send, sign
from test_rclone import IN_PARTS, rclone_for
from transfers import file_hash, run

KEY, OTHER = hashlib.sha256(b"a customer").digest(), hashlib.sha256(b"another customer").digest()
PREFIX = "x-amz-server-side-encryption-customer-"
OF_SOURCE = "x-amz-copy-source-server-side-encryption-customer-"


def md5(key):
    return base64.b64encode(hashlib.md5(key).digest()).decode()


def headers(key=KEY, prefix=PREFIX):
    return {f"{prefix}algorithm": "AES256", f"{prefix}key": base64.b64encode(key).decode(), f"{prefix}key-md5": md5(key)}


def own(key=KEY):
    """boto3's arguments; it computes the MD5."""
    return {} if key is None else {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": key}


def encoded(key=KEY):
    """The same for GetObjectAttributes, for which boto3 encodes nothing."""
    return {} if key is None else {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": base64.b64encode(key).decode(), "SSECustomerKeyMD5": md5(key)}


def of_source(key):
    return {} if key is None else {"CopySourceSSECustomerAlgorithm": "AES256", "CopySourceSSECustomerKey": key}


def assert_told(answer, key=KEY):
    """The answer names the customer key, and no other encryption."""
    assert (answer["SSECustomerAlgorithm"], answer["SSECustomerKeyMD5"]) == ("AES256", md5(key))
    assert "ServerSideEncryption" not in answer and "SSEKMSKeyId" not in answer


class Recorder(Relay):
    """A relay that keeps every byte towards the storage."""

    def __init__(self, target):
        super().__init__(target)
        self.sent = bytearray()

    def count(self, data, answers):
        super().count(data, answers)
        if not answers:
            with self.lock:
                self.sent += data


@pytest.fixture
def watched(real, start):
    relay = Recorder(real.upstream["endpoint"])
    yield start(real, upstream={"endpoint": relay.endpoint}), relay
    relay.stop()


@pytest.mark.parametrize("size", [0, 1, 13, 1024, CHUNK + 1, MIB])
def test_round_trips(s3, bucket, backend, size):
    whole = content(size)
    assert_told(s3.put_object(Bucket=bucket, Key="object", Body=whole, **own()))
    got = s3.get_object(Bucket=bucket, Key="object", **own())
    assert got["Body"].read() == whole
    assert_told(got)
    head = s3.head_object(Bucket=bucket, Key="object", **own())
    assert head["ContentLength"] == size
    assert_told(head)
    assert s3.list_objects_v2(Bucket=bucket)["Contents"][0]["Size"] == size
    if size > 10:
        ranged = s3.get_object(Bucket=bucket, Key="object", Range=f"bytes=3-{size - 2}", **own())
        assert ranged["Body"].read() == whole[3 : size - 1]
        assert_told(ranged)
        assert not backend.store.contains(bucket, whole[:13])
    s3.put_object_tagging(Bucket=bucket, Key="object", Tagging={"TagSet": [{"Key": "a", "Value": "1"}]})
    assert s3.get_object_tagging(Bucket=bucket, Key="object")["TagSet"] == [{"Key": "a", "Value": "1"}]
    s3.delete_object(Bucket=bucket, Key="object")
    assert backend.store.keys(bucket) == []


def test_without_the_key_and_with_another(proxy, s3, bucket):
    s3.put_object(Bucket=bucket, Key="object", Body=b"A" * 1000, Metadata={"secret": "x"}, **own())
    s3.put_object(Bucket=bucket, Key="plain", Body=b"plain")
    attributes = ["ETag", "ObjectSize", "Checksum"]
    raw = proxy.raw()
    for method, more in [("GET", {}), ("GET", {"range": "bytes=0-0"}), ("GET", {"range": "bytes=5000-"}), ("HEAD", {})]:
        for sent, expected in [({}, (400, "InvalidRequest")), (headers(OTHER), (403, "AccessDenied"))]:
            answer = raw.request(method, f"/{bucket}/object", headers={**sent, **more})
            assert answer.status == expected[0] and (method == "HEAD" or answer.code == expected[1]), (method, more, answer.body)
            assert not any(name.startswith(("x-amz-meta", "x-amz-server-side", "etag")) for name in answer.headers), answer.headers
            assert b"ActualObjectSize" not in answer.body
        answer = raw.request(method, f"/{bucket}/plain", headers={**headers(), **more})
        assert answer.status == 400 and (method == "HEAD" or answer.code == "InvalidRequest")
    ask = lambda **more: s3.get_object_attributes(Bucket=bucket, Key="object", ObjectAttributes=attributes, **more)  # noqa: E731
    assert refused(ask) == (400, "InvalidRequest")
    assert refused(ask, **encoded(OTHER)) == (403, "AccessDenied")
    told = ask(**encoded())
    assert (told["ObjectSize"], told["ETag"]) == (1000, s3.head_object(Bucket=bucket, Key="object", **own())["ETag"].strip('"'))
    assert read(s3, bucket, "plain") == b"plain"
    assert read(s3, bucket, **own()) == b"A" * 1000
    # One key for two objects opens both; each object opens by its own key alone.
    s3.put_object(Bucket=bucket, Key="other", Body=b"B", **own(OTHER))
    assert refused(s3.get_object, Bucket=bucket, Key="other", **own()) == (403, "AccessDenied")


@pytest.mark.parametrize("change, code", [
    ({"key-md5": None}, "InvalidArgument"),
    ({"key-md5": "AAAAAAAAAAAAAAAAAAAAAA=="}, "InvalidArgument"),
    ({"key-md5": "no base64"}, "InvalidArgument"),
    ({"key": None}, "InvalidArgument"),
    ({"key": None, "key-md5": None}, "InvalidArgument"),
    ({"algorithm": None}, "InvalidArgument"),
    ({"algorithm": "AES192"}, "InvalidEncryptionAlgorithmError"),
    ({"key": base64.b64encode(b"short").decode(), "key-md5": base64.b64encode(hashlib.md5(b"short").digest()).decode()}, "InvalidArgument"),
    ({"": "aws:kms"}, "InvalidArgument"),
    ({"": "AES256"}, "InvalidArgument"),
], ids=str)  # fmt: skip
def test_malformed(proxy, bucket, backend, change, code):
    sent = {**headers(), **{f"{PREFIX}{name}" if name else PREFIX[: -len("-customer-")]: value for name, value in change.items()}}
    sent = {name: value for name, value in sent.items() if value is not None}
    for method, body in (("PUT", b"content"), ("GET", b""), ("POST", b"")):
        query = [("uploads", "")] if method == "POST" else []
        assert_refused(proxy.raw().request(method, f"/{bucket}/object", query, body, sent), 400, code)
    assert backend.store.keys(bucket) == []


LAYOUTS = {
    "regular": [(1, LEAST), (2, LEAST), (3, 1000)],
    "regular, large last part": [(1, LEAST), (2, LEAST)],
    "unaligned": [(1, LEAST + 1), (2, LEAST + 1), (3, 1000)],
    "unaligned, large last part": [(1, LEAST + 1), (2, LEAST + 1)],
}


@pytest.mark.parametrize("with_key", [True, False], ids=["complete with the key", "complete without"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_uploads(s3, bucket, backend, unwrap, layout, with_key):  # noqa: F811
    """Also completed as some SDKs do it, without the key."""
    made = Upload.start(s3, bucket, Metadata={"foo": "bar"}, ContentType="text/plain", **own())
    bodies = {number: content(size, seed=number) for number, size in LAYOUTS[layout]}
    for number in bodies:
        assert_told(made.send(number, bodies[number], **own()))
    assert [size for _, size in made.listed()] == [size for _, size in LAYOUTS[layout]]
    made.complete(**(own() if with_key else {}))
    whole = b"".join(bodies.values())
    listed = s3.list_objects_v2(Bucket=bucket)["Contents"][0]
    assert listed["Size"] == len(whole)
    got = s3.get_object(Bucket=bucket, Key="object", **own())
    assert got["Body"].read() == whole and got["Metadata"] == {"foo": "bar"} and got["ContentType"] == "text/plain"
    assert_told(got)
    for first, last in [(0, 0), (LEAST - 3, LEAST + 3), (len(whole) - 500, len(whole) - 1)]:
        assert read(s3, bucket, Range=f"bytes={first}-{last}", **own()) == whole[first : last + 1]
    part = s3.get_object(Bucket=bucket, Key="object", PartNumber=2, **own())
    assert part["Body"].read() == bodies[2] and part["PartsCount"] == len(bodies)
    for key, expected in [(None, (400, "InvalidRequest")), (OTHER, (403, "AccessDenied"))]:
        for more in ({}, {"Range": "bytes=0-9"}, {"Range": f"bytes={len(whole)}-"}, {"PartNumber": 1}, {"PartNumber": 99}):
            assert refused(s3.get_object, Bucket=bucket, Key="object", **own(key), **more) == expected, more
        assert refused(s3.head_object, Bucket=bucket, Key="object", **own(key))[0] == expected[0]
        parts = {"Bucket": bucket, "Key": "object", "ObjectAttributes": ["ObjectParts"]}
        assert refused(s3.get_object_attributes, **parts, **encoded(key)) == expected
    stored = backend.store.read(bucket, "object")
    assert open_object(stored.body, stored.metadata, bucket, "object", unwrap, customer_key=KEY) == whole


@pytest.mark.parametrize("layout", ["regular, large last part", "unaligned", "unaligned, large last part"])
def test_several_nodes_and_listings_without_the_key(proxy, start, backend, s3, bucket, layout):
    """Parts by two proxies, completed by one that saw none of them; a third one lists the size from the stored layout."""
    nodes = [start(backend), start(backend)]
    made = Upload.start(s3, bucket, **own())
    for index, (number, size) in enumerate(LAYOUTS[layout]):
        made.send(number, content(size, seed=number), s3=[s3, nodes[0].boto()][index % 2], **own())
    made.complete(s3=nodes[0].boto())
    whole = b"".join(content(size, seed=number) for number, size in LAYOUTS[layout])
    other = nodes[1].boto()
    assert other.list_objects_v2(Bucket=bucket)["Contents"][0]["Size"] == len(whole)
    assert read(other, bucket, **own()) == whole


def test_parts_have_the_key_of_their_upload(s3, bucket):
    made, plain = Upload.start(s3, bucket, **own()), Upload.start(s3, bucket, "plain")
    assert refused(made.send, 1, b"x", **own(OTHER)) == (400, "InvalidRequest")
    assert refused(made.send, 1, b"x") == (400, "InvalidRequest")
    assert refused(plain.send, 1, b"x", **own()) == (400, "InvalidRequest")
    wrong = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": base64.b64encode(KEY).decode(), "SSECustomerKeyMD5": md5(OTHER)}
    assert refused(made.send, 1, b"x", **wrong) == (400, "InvalidArgument")
    assert made.listed() == [] and plain.listed() == []
    made.send(1, b"right", **own())
    assert refused(made.complete, **own(OTHER)) == (400, "InvalidRequest")
    made.complete()
    assert read(s3, bucket, **own()) == b"right"
    plain.abort()


@pytest.mark.parametrize("with_key", [True, False], ids=["complete with the key", "complete without"])
def test_a_last_part_that_has_to_be_sealed_again(s3, bucket, with_key):
    """Part 3 is sealed as the last of equal parts, and then part 2 is uneven: the layout has to be carried."""
    made = Upload.start(s3, bucket, **own())
    bodies = {1: content(LEAST, 1), 3: content(100, 3), 2: content(LEAST + 1, 2)}
    for number, body in bodies.items():
        made.send(number, body, **own())
    made.complete(**(own() if with_key else {}))
    whole = bodies[1] + bodies[2] + bodies[3]
    assert read(s3, bucket, **own()) == whole
    assert s3.list_objects_v2(Bucket=bucket)["Contents"][0]["Size"] == len(whole)


def test_a_checksum_needs_the_key(s3, bucket):
    """An upload that was created with a checksum is completed with the key alone, as on S3: the object keeps its checksum under that key."""
    whole = [content(LEAST, 1), content(LEAST, 2)]
    for algorithm in ("CRC32", "SHA256"):
        made = Upload.start(s3, bucket, ChecksumAlgorithm=algorithm, **own())
        for number, body in enumerate(whole, 1):
            made.send(number, body, **own())
        assert refused(made.complete) == (400, "InvalidArgument")
        assert refused(made.complete, **own(OTHER)) == (400, "InvalidRequest")
        # boto3 has no name for it here.
        assert made.complete(**own())["ResponseMetadata"]["HTTPHeaders"][f"{PREFIX}key-md5"] == md5(KEY)
        head = s3.head_object(Bucket=bucket, Key="object", ChecksumMode="ENABLED", **own())
        assert f"Checksum{algorithm}" in head
        assert read(s3, bucket, ChecksumMode="ENABLED", **own()) == b"".join(whole)
    s3.put_object(Bucket=bucket, Key="one", Body=b"x", ChecksumAlgorithm="SHA256", **own())
    assert "ChecksumSHA256" in s3.head_object(Bucket=bucket, Key="one", ChecksumMode="ENABLED", **own())


@pytest.mark.parametrize("to", [None, KEY, OTHER], ids=["to none", "to the key", "to another"])
@pytest.mark.parametrize("came", [None, KEY], ids=["from none", "from a key"])
@pytest.mark.parametrize("in_parts", [False, True], ids=["one PUT", "in parts"])
def test_copies(s3, bucket, backend, came, to, in_parts):
    if in_parts:
        made = Upload.start(s3, bucket, "from", **own(came))
        for number, size in LAYOUTS["unaligned, large last part"]:
            made.send(number, content(size, seed=number), **own(came))
        made.complete()
        whole = read(s3, bucket, "from", **own(came))
    else:
        whole = content(CHUNK + 7)
        s3.put_object(Bucket=bucket, Key="from", Body=whole, **own(came))
    before = backend.store.read(bucket, "from").body
    copy = {"Bucket": bucket, "Key": "to", "CopySource": {"Bucket": bucket, "Key": "from"}}
    answer = s3.copy_object(**copy, **of_source(came), **own(to))
    assert backend.store.read(bucket, "to").body == before, "only the envelope is another one"
    if to:
        assert_told(answer, to)
        assert refused(s3.get_object, Bucket=bucket, Key="to") == (400, "InvalidRequest")
        assert refused(s3.get_object, Bucket=bucket, Key="to", **own(hashlib.sha256(b"x").digest())) == (403, "AccessDenied")
    assert read(s3, bucket, "to", **own(to)) == whole
    assert s3.head_object(Bucket=bucket, Key="to", **own(to))["ContentLength"] == len(whole)
    if came:
        assert refused(s3.copy_object, **copy, **own(to)) == (400, "InvalidRequest")
        assert refused(s3.copy_object, **copy, **of_source(OTHER), **own(to)) == (403, "AccessDenied")
    else:
        assert refused(s3.copy_object, **copy, **of_source(KEY), **own(to)) == (400, "InvalidRequest")


def test_a_key_is_rotated_in_place(s3, bucket, backend):
    s3.put_object(Bucket=bucket, Key="object", Body=b"content", Metadata={"a": "b"}, **own())
    before = backend.store.read(bucket, "object")
    source = {"Bucket": bucket, "Key": "object"}
    assert_told(s3.copy_object(**source, CopySource=source, **of_source(KEY), **own(OTHER)), OTHER)
    after = backend.store.read(bucket, "object")
    assert after.body == before.body and after.metadata != before.metadata
    assert refused(s3.get_object, **source, **own()) == (403, "AccessDenied")
    got = s3.get_object(**source, **own(OTHER))
    assert (got["Body"].read(), got["Metadata"]) == (b"content", {"a": "b"})


def test_copied_parts(s3, bucket):
    s3.put_object(Bucket=bucket, Key="from", Body=content(LEAST + 9), **own())
    made = Upload.start(s3, bucket, "to", **own(OTHER))
    part = {"PartNumber": 1, "CopySource": {"Bucket": bucket, "Key": "from"}, **made.place}
    assert refused(s3.upload_part_copy, **part, **own(OTHER)) == (400, "InvalidRequest")
    assert refused(s3.upload_part_copy, **part, **of_source(KEY)) == (400, "InvalidRequest")
    assert refused(s3.upload_part_copy, **part, **of_source(KEY), **own()) == (400, "InvalidRequest")
    assert refused(s3.upload_part_copy, **part, **of_source(OTHER), **own(OTHER)) == (403, "AccessDenied")
    answer = s3.upload_part_copy(**part, **of_source(KEY), **own(OTHER))
    assert_told(answer, OTHER)
    made.parts[1] = {"PartNumber": 1, "ETag": answer["CopyPartResult"]["ETag"]}
    made.send(2, b"more", **own(OTHER))
    made.complete()
    assert read(s3, bucket, "to", **own(OTHER)) == content(LEAST + 9) + b"more"


def test_forms(proxy, s3, bucket, backend):
    for size in (3, (8 << 20) + 5):
        whole = content(size)
        url, fields = sign(proxy, bucket, "foo.txt", fields=headers())
        answer = send(url, encode(fields, whole))
        assert answer.status == 204, answer.body
        assert answer.headers.get(f"{PREFIX}key-md5") == md5(KEY)
        assert read(s3, bucket, "foo.txt", **own()) == whole
        assert refused(s3.get_object, Bucket=bucket, Key="foo.txt") == (400, "InvalidRequest")
    url, fields = sign(proxy, bucket, "other", fields={**headers(), f"{PREFIX}key-md5": md5(OTHER)})
    assert_refused(send(url, encode(fields, b"x")), 400, "InvalidArgument")
    assert backend.store.keys(bucket) == ["foo.txt"]


def test_presigned_urls(proxy, bucket):
    s3 = proxy.boto(signature_version="s3v4")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def fetch(action, method, sent, body=None):
        url = s3.generate_presigned_url(action, {"Bucket": bucket, "Key": "object", **own()})
        try:
            return opener.open(urllib.request.Request(url, data=body, headers=sent, method=method), timeout=20).read()
        except urllib.error.HTTPError as error:
            return error.code

    assert fetch("put_object", "PUT", headers(), b"content") == b""
    assert fetch("get_object", "GET", headers()) == b"content"
    assert fetch("get_object", "GET", headers(OTHER)) == 403, "the headers are signed"
    assert fetch("get_object", "GET", {}) == 403


def test_the_storage_sees_neither_key_nor_md5(watched):
    running, relay = watched
    s3 = running.boto()
    bucket = new_bucket(s3)
    s3.put_object(Bucket=bucket, Key="object", Body=content(300_000), **own())
    relay.take_counts()
    assert read(s3, bucket, Range="bytes=100000-200000", **own()) == content(300_000)[100_000:200_001]
    assert len(relay.take_counts()[0]) == 1, "a range is one request"
    s3.head_object(Bucket=bucket, Key="object", **own())
    s3.get_object_attributes(Bucket=bucket, Key="object", ObjectAttributes=["ObjectSize"], **encoded())
    s3.copy_object(Bucket=bucket, Key="to", CopySource=f"{bucket}/object", **of_source(KEY), **own(OTHER))
    made = Upload.start(s3, bucket, "parts", **own())
    made.send(1, content(LEAST + 1), **own())
    s3.upload_part_copy(PartNumber=2, CopySource=f"{bucket}/object", **made.place, **of_source(KEY), **own())
    made.send(2, b"x", **own())
    made.listed()
    made.complete(**own())
    raw = running.raw()
    # Operations that take no key ignore it, and pass nothing on.
    for method, query in [("DELETE", []), ("GET", [("acl", "")]), ("GET", [("tagging", "")])]:
        raw.request(method, f"/{bucket}/to", query, headers=headers(OTHER))
    for key in (KEY, OTHER):
        seen = relay.sent.lower()
        for name, secret in [("key", key), ("base64", base64.b64encode(key)), ("hex", key.hex().encode()), ("MD5", md5(key).encode()), ("MD5 hex", hashlib.md5(key).hexdigest().encode())]:
            assert secret not in relay.sent and secret.lower() not in seen, name
    assert b"customer" not in relay.sent.lower()


def test_the_log_and_the_audit_log_have_no_key(tmp_path):
    audited = Audited(tmp_path)
    with audited.proxy as running:
        s3 = running.boto()
        bucket = new_bucket(s3)
        s3.put_object(Bucket=bucket, Key="object", Body=b"x", **own())
        s3.put_object(Bucket=bucket, Key="plain", Body=b"x")
        refused(s3.get_object, Bucket=bucket, Key="object", **own(OTHER))
        running.raw(secret_access_key="wrong").request("PUT", f"/{bucket}/object", body=b"x", headers=headers())
        audited.until_requests(4)
        text = running.log_text() + audited.file.read_text()
    lines = audited.requests(operation="PutObject", status=200)
    assert {line["key"]: line.get("customer_key", False) for line in lines} == {"object": True, "plain": False}
    for key in (KEY, OTHER):
        assert base64.b64encode(key).decode() not in text and md5(key) not in text and key.hex() not in text


def test_a_signature_that_does_not_match_shows_no_key(proxy, bucket):
    answer = proxy.raw(secret_access_key="wrong").request("PUT", f"/{bucket}/object", body=b"x", headers=headers())
    assert_refused(answer, 403, "SignatureDoesNotMatch")
    assert b"CanonicalRequest" in answer.body and base64.b64encode(KEY) not in answer.body


def test_what_a_rule_allows(tmp_path, start):
    backend = embedded_backend(tmp_path)
    on = start(backend)
    bucket = new_bucket(on.boto())
    on.boto().put_object(Bucket=bucket, Key="object", Body=b"content", **own())
    off = start(backend, bucket=[{"name": "*", "sse_c": "off"}]).boto()
    assert read(off, bucket, **own()) == b"content", "as S3, which blocks uploads"
    for call in (off.put_object, off.create_multipart_upload):
        assert refused(call, Bucket=bucket, Key="new", **own()) == (403, "AccessDenied")
    assert refused(off.copy_object, Bucket=bucket, Key="new", CopySource=f"{bucket}/object", **of_source(KEY), **own()) == (403, "AccessDenied")
    off.copy_object(Bucket=bucket, Key="new", CopySource=f"{bucket}/object", **of_source(KEY))
    assert read(off, bucket, "new") == b"content"
    for format in ("cbc", "s3ec-v3"):
        other = start(backend, bucket=[{"name": "*", "formats": {"write": format, "read": [format.partition("-")[0], "native"]}}])
        answer = other.raw().request("PUT", f"/{bucket}/foreign", body=b"x", headers=headers())
        assert_refused(answer, 501, "NotImplemented")
        assert format in answer.message
        other.boto().put_object(Bucket=bucket, Key="foreign", Body=b"x")
        assert refused(other.boto().get_object, Bucket=bucket, Key="foreign", **own()) == (400, "InvalidRequest")
        assert refused(other.boto().head_object, Bucket=bucket, Key="foreign", **own())[0] == 400
        assert read(other.boto(), bucket, **own()) == b"content"


def test_a_storage_that_strips_or_exchanges(proxy, s3, bucket, backend):
    whole = content(CHUNK + 100)
    s3.put_object(Bucket=bucket, Key="object", Body=whole, **own())
    s3.put_object(Bucket=bucket, Key="plain", Body=whole)
    stored, plain = backend.store.read(bucket, "object"), backend.store.read(bucket, "plain")
    envelope = base64.b64decode(stored.metadata["encryption-envelope"])
    stripped = envelope[:3] + bytes([envelope[3] & ~2]) + envelope[4:]
    forged = base64.b64decode(plain.metadata["encryption-envelope"])
    added = forged[:3] + bytes([forged[3] | 2]) + forged[4:124] + bytes(48) + forged[124:]

    def with_envelope(of, changed):
        return Stored(of.body, {**of.metadata, "encryption-envelope": base64.b64encode(changed).decode()})

    altered = [with_envelope(stored, stripped), with_envelope(stored, stripped[:124]), with_envelope(plain, added)]
    altered += [with_envelope(stored, flip_bit(envelope, at)) for at in (2, 3, 12, 50, 80, 130, len(envelope) - 1)]
    altered += [plain, Stored(flip_bit(stored.body, 10), stored.metadata)]
    for number, one in enumerate(altered):
        backend.store.write(bucket, "object", one)
        for key in (KEY, None, OTHER):
            answer = proxy.raw().request("GET", f"/{bucket}/object", headers=headers(key) if key else {})
            assert answer.status >= 400, f"{number}: this is a security issue"
            assert_fails_closed(answer, whole)
            assert proxy.raw().request("HEAD", f"/{bucket}/object", headers=headers(OTHER)).status >= 400
    backend.store.write(bucket, "object", stored)
    assert read(s3, bucket, **own()) == whole


def test_a_layout_that_is_known_opens_nothing_without_the_key(proxy, s3, bucket):
    made = Upload.start(s3, bucket, **own())
    for number, size in LAYOUTS["unaligned"]:
        made.send(number, content(size, seed=number), **own())
    made.complete(**own())
    assert len(read(s3, bucket, Range="bytes=6000000-6000099", **own())) == 100
    for more in ("bytes=6000000-6000099", "bytes=99999999-", "bytes=-5"):
        for sent, expected in [({}, 400), (headers(OTHER), 403)]:
            answer = proxy.raw().request("GET", f"/{bucket}/object", headers={**sent, "range": more})
            assert answer.status == expected and b"ActualObjectSize" not in answer.body
            assert "content-range" not in answer.headers


def test_the_aws_command(aws, proxy, s3, bucket, tmp_path):
    (tmp_path / "key").write_bytes(KEY)
    (tmp_path / "file").write_bytes(content(20 * MIB))
    customer = ["--sse-c", "AES256", "--sse-c-key", f"fileb://{tmp_path}/key"]
    aws("s3", "cp", tmp_path / "file", f"s3://{bucket}/file", *customer)
    aws("s3", "cp", f"s3://{bucket}/file", tmp_path / "back", *customer)
    assert file_hash(tmp_path / "back") == file_hash(tmp_path / "file")
    copied = ["--sse-c-copy-source", "AES256", "--sse-c-copy-source-key", f"fileb://{tmp_path}/key"]
    aws("s3", "cp", f"s3://{bucket}/file", f"s3://{bucket}/plain", *copied)
    assert read(s3, bucket, "plain") == content(20 * MIB)
    assert aws("s3", "cp", f"s3://{bucket}/file", tmp_path / "none", check=False).returncode != 0


def test_rclone(proxy, s3, bucket, tmp_path):
    settings = {**IN_PARTS, "SSE_CUSTOMER_ALGORITHM": "AES256", "SSE_CUSTOMER_KEY_BASE64": base64.b64encode(KEY).decode()}
    rclone = rclone_for(proxy, tmp_path, "Other", settings)
    tree = tmp_path / "tree"
    tree.mkdir()
    for name, size in {"small": 7, "large": 12 * MIB + 5}.items():
        (tree / name).write_bytes(content(size))
    rclone("copy", tree, f"p:{bucket}/tree")
    rclone("check", "--download", tree, f"p:{bucket}/tree")
    assert read(s3, bucket, "tree/large", **own()) == content(12 * MIB + 5)
    assert refused(s3.get_object, Bucket=bucket, Key="tree/small") == (400, "InvalidRequest")


def test_dataframes(real_proxy, real_bucket, tmp_path):
    """fsspec's s3fs and pyarrow on it, in the environment that has them."""
    environment = {"ENDPOINT": real_proxy.endpoint, "AWS_ACCESS_KEY_ID": ACCESS_KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET_ACCESS_KEY}
    environment |= {"AWS_EC2_METADATA_DISABLED": "true", "NO_PROXY": "127.0.0.1", "CUSTOMER_KEY": "k" * 32}
    sizes = json.loads(run([PYTHON, SCRIPT, "customer_key", real_bucket], tmp_path, environment, real_proxy).stdout)
    s3 = real_proxy.boto()
    assert {item["Key"]: item["Size"] for item in s3.list_objects_v2(Bucket=real_bucket)["Contents"]} == sizes
    for key in sizes:
        assert s3.head_object(Bucket=real_bucket, Key=key, **own(b"k" * 32))["ContentLength"] == sizes[key]
        assert refused(s3.get_object, Bucket=real_bucket, Key=key) == (400, "InvalidRequest")


def test_jobs_and_commands(real, real_proxy, job, start, kms):  # noqa: F811
    """`rewrap` needs no customer key, and changes nothing but the wrapping; what would need one says so."""
    s3 = real_proxy.boto()
    bucket = new_bucket(s3)
    s3.put_object(Bucket=bucket, Key="one", Body=b"content", **own())
    made = Upload.start(s3, bucket, "parts", **own())
    made.send(1, content(LEAST), **own())
    made.send(2, b"x", **own())
    made.complete()
    before = {key: real.store.read(bucket, key) for key in ("one", "parts")}
    inspected = real_proxy.command("inspect", f"s3://{bucket}/one", cwd=real_proxy.directory)
    assert inspected.returncode == 0 and b"customer key" in inspected.stdout, inspected
    assert job(real_proxy, "verify", f"s3://{bucket}/").count("customer key") == 2
    other = new_key(kms)
    rewrapping = start(real, keyring={"key_id": alias_of(other)}, bucket=[{"name": "*", "allowed_key_ids": [real.keyring["key_id"]]}])
    job(rewrapping, "rewrap", f"s3://{bucket}/")
    for key, old in before.items():
        new = real.store.read(bucket, key)
        assert new.metadata["encryption-key"] != old.metadata["encryption-key"]
        assert (new.body, new.metadata["encryption-envelope"]) == (old.body, old.metadata["encryption-envelope"])
    only = start(real, keyring={"key_id": alias_of(other)})
    assert read(only.boto(), bucket, "one", **own()) == b"content"
    assert read(only.boto(), bucket, "parts", **own()) == content(LEAST) + b"x"
    assert refused(only.boto().get_object, Bucket=bucket, Key="one") == (400, "InvalidRequest")


def test_stored_unencrypted_on_purpose(tmp_path, start):
    """`formats.write = "plaintext"`: said twice or refused, and never silent."""
    backend = embedded_backend(tmp_path)
    rule = {"name": "restic", "formats": {"write": "plaintext", "store_unencrypted": True}}
    running = start(backend, bucket=[rule, {"name": "*"}])
    s3 = running.boto()
    for bucket in ("restic", "others"):
        s3.create_bucket(Bucket=bucket)
        for size in (9, 300_000):
            assert ("ServerSideEncryption" in s3.put_object(Bucket=bucket, Key=f"{size}", Body=content(size))) == (bucket == "others")
            assert read(s3, bucket, f"{size}") == content(size)
            assert read(s3, bucket, f"{size}", Range="bytes=3-7") == content(size)[3:8]
    assert backend.store.read("restic", "300000").body == content(300_000)
    assert content(300_000)[:20] not in backend.store.read("others", "300000").body
    assert "ServerSideEncryption" not in s3.head_object(Bucket="restic", Key="9")
    sizes = {item["Key"]: item["Size"] for item in s3.list_objects_v2(Bucket="restic")["Contents"]}
    assert sizes == {"9": 9, "300000": 300_000}
    assert "ServerSideEncryption" not in s3.copy_object(Bucket="restic", Key="copy", CopySource="others/300000")
    assert backend.store.read("restic", "copy").body == content(300_000)
    s3.copy_object(Bucket="others", Key="copy", CopySource="restic/300000")
    assert content(300_000)[:20] not in backend.store.read("others", "copy").body and read(s3, "others", "copy") == content(300_000)
    assert refused(s3.create_multipart_upload, Bucket="restic", Key="parts") == (501, "NotImplemented")
    assert refused(s3.put_object, Bucket="restic", Key="customer", Body=b"x", **own()) == (501, "NotImplemented")
    answer = running.raw().request("PUT", "/restic/marked", body=b"x", headers={"x-amz-meta-x-amz-key-v2": "AA=="})
    assert_refused(answer, 400, "InvalidArgument")
    metrics = running.metrics()
    assert metrics["s3veil_plaintext_rules"] == 1 and metrics['s3veil_objects_sealed_total{format="plaintext"}'] == 3
    until(lambda: "STORED UNENCRYPTED" in running.log_text())
    checked = running.command("check", cwd=tmp_path)
    assert b"STORED UNENCRYPTED" in checked.stdout + checked.stderr
    del rule["formats"]["store_unencrypted"]
    with pytest.raises(AssertionError, match="store_unencrypted"):
        start(backend, bucket=[rule])
