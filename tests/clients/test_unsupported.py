"""What would carry content around the encryption is refused with 501 and a reason, and goes nowhere."""

import pytest

from judge import assert_refused


@pytest.mark.parametrize("method, query, headers", [
    ("PUT", [], {"x-amz-server-side-encryption-customer-new": "x"}),
    ("PUT", [], {"x-amz-write-offset-bytes": "0"}),
    ("POST", [("select", ""), ("select-type", "2")], {}),
    ("GET", [("torrent", "")], {}),
    ("PUT", [("renameObject", "")], {"x-amz-rename-source": "other"}),
], ids=["customer key of a new kind", "append", "select", "torrent", "rename"])  # fmt: skip
def test_refused_with_a_reason(proxy, bucket, backend, method, query, headers):
    body = b"would be plaintext" if method in ("PUT", "POST") else b""
    answer = proxy.raw().request(method, f"/{bucket}/object", query, body, headers)
    assert_refused(answer, 501, "NotImplemented")
    assert len(answer.message) > 20
    assert backend.store.keys(bucket) == []
    assert not backend.store.contains(bucket, b"would be plaintext")


@pytest.mark.parametrize("method", ["PATCH", "TRACE", "PROPFIND"])
def test_methods_that_s3_does_not_have(proxy, bucket, backend, method):
    answer = proxy.raw().request(method, f"/{bucket}/object", body=b"x")
    assert answer.status in (400, 405, 501) and answer.code
    assert backend.store.keys(bucket) == []


@pytest.mark.parametrize("query", [[("noSuchSubresource", "")], [("uploadId", "x"), ("partNumber", "1")], [("partNumber", "1")]])
def test_a_put_that_is_not_understood_forwards_nothing(proxy, bucket, backend, query):
    """Whatever the answer, plaintext is not stored."""
    proxy.raw().request("PUT", f"/{bucket}/object", query, b"would be plaintext")
    assert not backend.store.contains(bucket, b"would be plaintext")


def test_too_large(proxy, bucket, backend):
    """S3's 5 GiB, less what sealing adds; refused by the declared length, before any body."""
    signer, raw = proxy.signer(), proxy.raw()
    amz_date, path = signer.amz_date(), f"/{bucket}/object"
    headers = {"host": raw.authority, "x-amz-date": amz_date, "x-amz-content-sha256": "UNSIGNED-PAYLOAD"}
    signature, names = signer.sign_request("PUT", path, "", headers, "UNSIGNED-PAYLOAD", amz_date)
    sent = {**headers, "authorization": signer.authorization(amz_date, names, signature), "content-length": str(5 << 30)}
    assert_refused(raw.send("PUT", path, "", sent, [b"x" * 1000]), 400, "EntityTooLarge")
    assert backend.store.keys(bucket) == []
