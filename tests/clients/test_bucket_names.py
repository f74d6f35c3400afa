"""A bucket's name is a piece of an address: only what S3 ever allowed as one is taken, signed or not, in a path or a source."""

import pytest

from judge import assert_refused

NO_NAMES = ["127.0.0.2:", "127.0.0.2:80", "team-x@other-secret", "a b", "_localstack", ".minio.sys", "192.168.0.1"]


@pytest.mark.parametrize("name", NO_NAMES)
@pytest.mark.parametrize("method, key, query", [
    ("GET", "/latest/meta-data/", [("acl", "")]),
    ("PUT", "/latest/api/token", [("acl", "")]),
    ("DELETE", "/k", []),
    ("GET", "", []),
], ids=["get", "put", "delete", "list"])  # fmt: skip
def test_no_request_leaves_for_another_host(real_proxy, name, method, key, query):
    headers = {"x-aws-ec2-metadata-token-ttl-seconds": "60"}
    assert_refused(real_proxy.raw().request(method, f"/{name}{key}", query, headers=headers), 400, "InvalidBucketName")


@pytest.mark.parametrize("name", NO_NAMES)
def test_no_preflight_does(real_proxy, name):
    raw = real_proxy.raw()
    headers = {"host": raw.authority, "origin": "https://page.example", "access-control-request-method": "PUT"}
    assert_refused(raw.send("OPTIONS", f"/{name.replace(' ', '%20')}/x", "", headers, []), 400, "InvalidBucketName")


@pytest.mark.parametrize("name", NO_NAMES)
def test_no_copy_does(real_proxy, real_bucket, real, name):
    source = {"x-amz-copy-source": f"/{name.replace(' ', '%20')}/key"}
    assert_refused(real_proxy.raw().request("PUT", f"/{real_bucket}/copy", headers=source), 400, "InvalidArgument")
    assert real.store.keys(real_bucket) == []


@pytest.mark.parametrize("name", ["admin", "minio"])
def test_the_storages_administration_is_no_bucket(real_proxy, name):
    assert_refused(real_proxy.raw().request("GET", f"/{name}/v3/info", [("acl", "")]), 400, "InvalidBucketName")


@pytest.mark.parametrize("headers, message", [
    ({}, "Insufficient information. Origin request header needed."),
    ({"access-control-request-method": "GET"}, "Insufficient information. Origin request header needed."),
    ({"origin": "https://page.example"}, "Invalid Access-Control-Request-Method: null"),
], ids=["neither", "no origin", "no method"])  # fmt: skip
def test_an_incomplete_preflight(proxy, bucket, headers, message):
    raw = proxy.raw()
    answer = raw.send("OPTIONS", f"/{bucket}/key", "", {"host": raw.authority, **headers}, [])
    assert_refused(answer, 400, "BadRequest")
    assert answer.message == message
