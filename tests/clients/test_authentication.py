"""Nothing is trusted before its signature, and nothing wrong ever becomes an object. LocalStack and the embedded store
check none of this: the proxy must."""

import datetime
import hashlib
import os
import socket

import pytest

from judge import assert_not_stored, assert_refused
from rawsig import UNSIGNED, flip_bit

CONTENT = os.urandom(150_000)
MINUTES = 60


@pytest.fixture
def put(proxy, bucket):
    """put(signer changes, **request arguments): a PUT that is expected to be refused."""

    def send(changes=None, **arguments):
        return proxy.raw(**(changes or {})).request("PUT", f"/{bucket}/object", **{"body": CONTENT, **arguments})

    return send


@pytest.fixture(autouse=True)
def nothing_is_stored(request):
    names = {"bucket", "backend"} <= set(request.fixturenames)
    backend, bucket = (request.getfixturevalue(name) if names else None for name in ("backend", "bucket"))
    yield
    if names:
        assert_not_stored(backend.store, bucket)


def test_a_wrong_secret(put, backend, bucket):
    assert_refused(put({"secret_access_key": "another-secret"}), 403, "SignatureDoesNotMatch")


def test_an_unknown_access_key(put, backend, bucket):
    assert_refused(put({"access_key_id": "nobody"}), 403, "InvalidAccessKeyId")


def test_an_upstream_access_key_is_no_key_of_the_proxy(put, backend, bucket):
    assert_refused(put({"access_key_id": "test", "secret_access_key": "test"}), 403, "InvalidAccessKeyId")


@pytest.mark.parametrize("minutes", [-16, 16, -60 * 24, 60 * 24])
def test_a_skewed_clock(put, backend, bucket, minutes):
    assert_refused(put({"skew": datetime.timedelta(minutes=minutes)}), 403, "RequestTimeTooSkewed")


@pytest.mark.parametrize("minutes", [-14, 14])
def test_a_clock_that_is_a_little_off(proxy, minutes):
    assert proxy.raw(skew=datetime.timedelta(minutes=minutes)).request("GET", "/").status == 200


def test_another_region(put, backend, bucket):
    answer = put({"region": "eu-central-1"})
    assert_refused(answer, (400, 403), ("AuthorizationHeaderMalformed", "SignatureDoesNotMatch"))


@pytest.mark.parametrize("size", [1, 65_536, 150_000])
def test_a_tampered_body(proxy, bucket, backend, size):
    """The signature is right, the declared hash is the original's, one bit of the body is not."""
    original = CONTENT[:size]
    answer = proxy.raw().request(
        "PUT", f"/{bucket}/object", body=flip_bit(original, size - 1), payload_hash=hashlib.sha256(original).hexdigest()
    )
    assert_refused(answer, 400, "XAmzContentSHA256Mismatch")


def test_a_body_where_none_was_signed(put, backend, bucket):
    assert_refused(put(payload_hash=hashlib.sha256(b"").hexdigest()), 400, "XAmzContentSHA256Mismatch")


@pytest.mark.parametrize("value", ["", "UNSIGNED", "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD", "0" * 63, "z" * 64])
def test_an_impossible_payload_hash(put, backend, bucket, value):
    answer = put(payload_hash=value or " ")
    assert 400 <= answer.status < 502 and answer.code and answer.status != 500, answer.body


@pytest.mark.parametrize("name", ["x-amz-meta-slipped-in", "x-amz-acl", "x-amz-storage-class", "x-amz-copy-source"])
def test_an_unsigned_amz_header(put, backend, bucket, name):
    assert_refused(put(unsigned={name: "private"}), 403, ("AccessDenied", "SignatureDoesNotMatch"))


def test_an_unsigned_host(proxy, bucket, backend):
    """A signature that does not cover the host could be replayed elsewhere."""
    signer, raw = proxy.signer(), proxy.raw()
    amz_date, path = signer.amz_date(), f"/{bucket}/object"
    headers = {"x-amz-date": amz_date, "x-amz-content-sha256": UNSIGNED}
    signature, names = signer.sign_request("PUT", path, "", headers, UNSIGNED, amz_date)
    sent = {"host": raw.authority, **headers, "authorization": signer.authorization(amz_date, names, signature), "content-length": "1"}
    answer = raw.send("PUT", path, "", sent, [b"x"])
    assert_refused(answer, (400, 403), ("AccessDenied", "SignatureDoesNotMatch", "AuthorizationHeaderMalformed"))


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "POST"])
def test_anonymous(proxy, bucket, backend, method):
    raw = proxy.raw()
    body = [b"x"] if method in ("PUT", "POST") else []
    answer = raw.send(method, f"/{bucket}/object", "", {"host": raw.authority, "content-length": str(len(body))}, body)
    assert_refused(answer, 403, "AccessDenied")


@pytest.mark.parametrize("value", [
    "",
    "Basic dGVzdDp0ZXN0",
    "AWS4-HMAC-SHA256",
    "AWS4-HMAC-SHA256 Credential=client-one, SignedHeaders=host, Signature=0",
    "AWS4-HMAC-SHA256 Credential=client-one/20260101/us-east-1/s3/aws4_request, SignedHeaders=host",
    "AWS4-HMAC-SHA256 Credential=////, SignedHeaders=;, Signature=",
    "AWS client-one:c2lnbmF0dXJl",
    "A" * 10_000,
])  # fmt: skip
def test_a_malformed_authorization(proxy, bucket, backend, value):
    raw = proxy.raw()
    headers = {"host": raw.authority, "x-amz-date": proxy.signer().amz_date(), "x-amz-content-sha256": UNSIGNED,
               "authorization": value, "content-length": "1"}  # fmt: skip
    answer = raw.send("PUT", f"/{bucket}/object", "", headers, [b"x"])
    assert 400 <= answer.status < 500, answer
    assert answer.code or answer.status == 431


def test_a_signature_for_another_request(proxy, bucket, backend):
    """Taken from a PUT of one key, used on another key, query or method."""
    signer, raw = proxy.signer(), proxy.raw()
    amz_date = signer.amz_date()
    headers = {"host": raw.authority, "x-amz-date": amz_date, "x-amz-content-sha256": UNSIGNED}
    signature, names = signer.sign_request("PUT", f"/{bucket}/object", "", headers, UNSIGNED, amz_date)
    sent = {**headers, "authorization": signer.authorization(amz_date, names, signature), "content-length": "1"}
    for method, path, query in (("PUT", f"/{bucket}/other", ""), ("PUT", f"/{bucket}/object", "acl"), ("POST", f"/{bucket}/object", "")):
        assert_refused(raw.send(method, path, query, sent, [b"x"]), 403, "SignatureDoesNotMatch")


def test_a_changed_header(proxy, bucket, backend):
    signer, raw = proxy.signer(), proxy.raw()
    amz_date, path = signer.amz_date(), f"/{bucket}/object"
    headers = {"host": raw.authority, "x-amz-date": amz_date, "x-amz-content-sha256": UNSIGNED, "x-amz-meta-a": "one"}
    signature, names = signer.sign_request("PUT", path, "", headers, UNSIGNED, amz_date)
    sent = {**headers, "x-amz-meta-a": "two", "authorization": signer.authorization(amz_date, names, signature), "content-length": "1"}
    assert_refused(raw.send("PUT", path, "", sent, [b"x"]), 403, "SignatureDoesNotMatch")


def test_a_refusal_comes_before_the_body(proxy, bucket, backend):
    """With Expect: 100-continue, a client that may not write is told so before it sends anything."""
    signer, raw = proxy.signer(secret_access_key="another-secret"), proxy.raw()
    amz_date, path = signer.amz_date(), f"/{bucket}/object"
    headers = {"host": raw.authority, "x-amz-date": amz_date, "x-amz-content-sha256": UNSIGNED}
    signature, names = signer.sign_request("PUT", path, "", headers, UNSIGNED, amz_date)
    sent = {**headers, "authorization": signer.authorization(amz_date, names, signature), "content-length": str(1 << 30), "expect": "100-continue"}
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as connection:
        head = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
        connection.sendall(f"PUT {path} HTTP/1.1\r\n{head}\r\n".encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 403")


def test_reads_are_checked_too(proxy, bucket, s3, backend):
    s3.put_object(Bucket=bucket, Key="object", Body=b"a secret sentence")
    for method in ("GET", "HEAD", "DELETE"):
        answer = proxy.raw(secret_access_key="another-secret").request(method, f"/{bucket}/object")
        assert answer.status == 403 and b"secret sentence" not in answer.body
    assert backend.store.keys(bucket) == ["object"]
    s3.delete_object(Bucket=bucket, Key="object")


def test_no_secret_is_logged(proxy):
    assert "client-one-secret" not in proxy.log_text()
