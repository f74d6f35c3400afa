"""Presigned URLs as boto3 and the `aws` command make them, used by whoever holds them: plain curl."""

import datetime
import os
import shutil
import subprocess
import time
import urllib.parse

import pytest

from judge import assert_not_stored, assert_refused
from rawsig import RawClient, checksum

CONTENT = os.urandom(100_000)
VERSIONS = ["s3v4", None]  # None is boto3's default for a custom endpoint: SigV2

needs_curl = pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")


def presigned(proxy, version, operation, bucket, key="object", seconds=300, **parameters):
    client = proxy.boto(**({"signature_version": version} if version else {}))
    return client.generate_presigned_url(operation, {"Bucket": bucket, "Key": key, **parameters}, ExpiresIn=seconds)


def fetch(proxy, url, method="GET", body=b"", headers=None):
    parts = urllib.parse.urlsplit(url)
    raw = proxy.raw()
    sent = {"host": raw.authority, **(headers or {})}
    if method == "PUT":
        sent["content-length"] = str(len(body))
    return raw.send(method, parts.path, parts.query, sent, [body] if body else [])


def curl(*arguments):
    command = ["curl", "--silent", "--show-error", "--noproxy", "*", "--max-time", "60", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, timeout=90, check=True).stdout


def test_the_default_is_signature_version_2(proxy, bucket):
    """Should boto3 change its mind, VERSIONS needs another way to make these."""
    assert "AWSAccessKeyId=" in presigned(proxy, None, "get_object", bucket)


@needs_curl
@pytest.mark.parametrize("version", VERSIONS)
def test_put_and_get_by_curl(proxy, bucket, backend, tmp_path, version):
    (tmp_path / "body").write_bytes(CONTENT)
    code = curl("--upload-file", tmp_path / "body", "--write-out", "%{http_code}", presigned(proxy, version, "put_object", bucket))
    assert code == b"200"
    assert curl(presigned(proxy, version, "get_object", bucket)) == CONTENT
    assert CONTENT[:64] not in backend.store.read(bucket, "object").body


@needs_curl
def test_the_aws_command_presigns(aws, s3, bucket):
    s3.put_object(Bucket=bucket, Key="dir/a b.txt", Body=CONTENT)
    url = aws("s3", "presign", f"s3://{bucket}/dir/a b.txt", "--expires-in", "60").stdout.strip()
    assert curl(url) == CONTENT
    assert curl("--range", "65530-65545", url) == CONTENT[65_530:65_546]


@pytest.mark.parametrize("version", VERSIONS)
def test_head_and_range(proxy, s3, bucket, version):
    s3.put_object(Bucket=bucket, Key="object", Body=CONTENT)
    assert fetch(proxy, presigned(proxy, version, "head_object", bucket), "HEAD").headers["content-length"] == str(len(CONTENT))
    got = fetch(proxy, presigned(proxy, version, "get_object", bucket), headers={"range": "bytes=-10"})
    assert (got.status, got.body) == (206, CONTENT[-10:])


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("key", ["a b+c", "ünï/日本", "(x)~!*'", "per%cent"])
def test_odd_names(real_proxy, real_bucket, version, key):
    assert fetch(real_proxy, presigned(real_proxy, version, "put_object", real_bucket, key), "PUT", CONTENT).status == 200
    assert fetch(real_proxy, presigned(real_proxy, version, "get_object", real_bucket, key)).body == CONTENT


@pytest.mark.parametrize("version", VERSIONS)
def test_response_overrides_are_signed(real_proxy, real_bucket, version):
    real_proxy.boto().put_object(Bucket=real_bucket, Key="object", Body=b"x")
    url = presigned(real_proxy, version, "get_object", real_bucket, ResponseContentDisposition='attachment; filename="a b"')
    assert fetch(real_proxy, url).headers["content-disposition"] == 'attachment; filename="a b"'
    assert_refused(fetch(real_proxy, url.replace("attachment", "inline")), 403, "SignatureDoesNotMatch")


@pytest.mark.parametrize("version", VERSIONS)
def test_expired(proxy, s3, bucket, version):
    s3.put_object(Bucket=bucket, Key="object", Body=CONTENT)
    url = presigned(proxy, version, "get_object", bucket, seconds=1)
    time.sleep(2.2)
    assert_refused(fetch(proxy, url), 403, "AccessDenied")


def test_expired_put(proxy, bucket, backend):
    raw = proxy.raw()
    signer = proxy.signer(skew=datetime.timedelta(hours=-1))
    query = signer.presign("PUT", raw.authority, f"/{bucket}/object", expires=3599)
    answer = raw.send("PUT", f"/{bucket}/object", query, {"host": raw.authority, "content-length": "1"}, [b"x"])
    assert_refused(answer, 403, "AccessDenied")
    assert_not_stored(backend.store, bucket)


@pytest.mark.parametrize("changes, arguments", [
    ({}, {"expires": 604_801}),
    ({}, {"expires": -1}),
    ({}, {"expires": "soon"}),
    ({"skew": datetime.timedelta(minutes=20)}, {}),
    ({"access_key_id": "nobody"}, {}),
    ({"secret_access_key": "another-secret"}, {}),
    ({"region": "mars-north-1"}, {}),
], ids=["too long", "negative", "no number", "from the future", "unknown key", "wrong secret", "another region"])  # fmt: skip
def test_refused_parameters(proxy, bucket, backend, changes, arguments):
    raw = proxy.raw()
    query = proxy.signer(**changes).presign("PUT", raw.authority, f"/{bucket}/object", **arguments)
    answer = raw.send("PUT", f"/{bucket}/object", query, {"host": raw.authority, "content-length": "1"}, [b"x"])
    assert answer.status in (400, 403) and answer.code, answer.body
    assert_not_stored(backend.store, bucket)


@pytest.mark.parametrize("version", VERSIONS)
def test_altered(proxy, s3, bucket, backend, version):
    for name in ("object", "other"):
        s3.put_object(Bucket=bucket, Key=name, Body=CONTENT)
    url = presigned(proxy, version, "get_object", bucket)
    signature = urllib.parse.parse_qs(urllib.parse.urlsplit(url).query)["X-Amz-Signature" if version else "Signature"][0]
    altered = {
        "path": url.replace("/object?", "/other?"),
        "subresource": url + "&acl",
        "signature": url.replace(urllib.parse.quote(signature, safe=""), urllib.parse.quote(signature[::-1], safe="")),
        "expiry": url.replace("X-Amz-Expires=300", "X-Amz-Expires=301") if version else url.replace("Expires=", "Expires=1"),
    }
    for what, changed in altered.items():
        assert changed != url
        assert_refused(fetch(proxy, changed), 403, "SignatureDoesNotMatch")
    assert_refused(fetch(proxy, url, "PUT", b"overwritten"), 403, "SignatureDoesNotMatch")
    assert_refused(fetch(proxy, url, "DELETE"), 403, ("SignatureDoesNotMatch", "AccessDenied"))
    assert fetch(proxy, url).body == CONTENT
    assert sorted(backend.store.keys(bucket)) == ["object", "other"]


def test_an_added_parameter_breaks_version_4(proxy, s3, bucket):
    s3.put_object(Bucket=bucket, Key="object", Body=CONTENT)
    url = presigned(proxy, "s3v4", "get_object", bucket)
    assert_refused(fetch(proxy, url + "&response-content-type=text/html"), 403, "SignatureDoesNotMatch")


def test_headers_that_were_signed_must_be_sent(proxy, bucket, backend):
    url = presigned(proxy, "s3v4", "put_object", bucket, ContentType="text/plain", Metadata={"a": "b"})
    assert_refused(fetch(proxy, url, "PUT", b"x", {"content-type": "text/html", "x-amz-meta-a": "b"}), 403, "SignatureDoesNotMatch")
    assert_refused(fetch(proxy, url, "PUT", b"x"), 403, ("SignatureDoesNotMatch", "AccessDenied"))
    assert_not_stored(backend.store, bucket)
    assert fetch(proxy, url, "PUT", b"x", {"content-type": "text/plain", "x-amz-meta-a": "b"}).status == 200


@pytest.mark.parametrize("version", VERSIONS)
def test_an_amz_header_that_was_not_signed(proxy, bucket, backend, version):
    url = presigned(proxy, version, "put_object", bucket)
    answer = fetch(proxy, url, "PUT", b"x", {"x-amz-acl": "public-read"})
    assert_refused(answer, 403, ("AccessDenied", "SignatureDoesNotMatch"))
    assert_not_stored(backend.store, bucket)


def test_a_checksum_in_a_presigned_put_is_verified(proxy, bucket, backend):
    value = checksum("sha256", CONTENT)
    url = presigned(proxy, "s3v4", "put_object", bucket, ChecksumSHA256=value)
    headers = {"x-amz-checksum-sha256": value}  # boto3 signs it as a header, to be sent with the body
    assert_refused(fetch(proxy, url, "PUT", CONTENT[:-1], headers), 400, "BadDigest")
    assert_not_stored(backend.store, bucket)
    assert fetch(proxy, url, "PUT", CONTENT, headers).status == 200


def test_a_url_is_for_its_host(proxy, bucket, backend):
    query = proxy.signer().presign("PUT", "elsewhere.example:80", f"/{bucket}/object")
    raw = RawClient(proxy.endpoint, proxy.signer())
    answer = raw.send("PUT", f"/{bucket}/object", query, {"host": raw.authority, "content-length": "1"}, [b"x"])
    assert_refused(answer, 403, "SignatureDoesNotMatch")
    assert_not_stored(backend.store, bucket)
