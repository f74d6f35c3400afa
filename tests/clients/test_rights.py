"""Several clients, each with its own buckets and its own direction."""

import os

import pytest

from conftest import EMBEDDED, LOCALSTACK, embedded_backend
from judge import assert_refused
from proxy import ACCESS_KEY_ID, SECRET_ACCESS_KEY
from rawsig import RawClient, Signer

CLIENTS = [
    {"access_key_id": ACCESS_KEY_ID, "secret_access_key": SECRET_ACCESS_KEY},
    {"access_key_id": "logs", "secret_access_key": "logs-secret", "buckets": ["logs-*", "exact-one"]},
    {"access_key_id": "reader", "secret_access_key": "reader-secret", "access": "read-only"},
    {"access_key_id": "writer", "secret_access_key": "writer-secret", "access": "write-only"},
]


@pytest.fixture(params=[EMBEDDED, LOCALSTACK])
def guarded(request, start, tmp_path):
    backend = embedded_backend(tmp_path) if request.param == EMBEDDED else request.getfixturevalue("real")
    return start(backend, client=CLIENTS), backend


@pytest.fixture
def buckets(guarded):
    running, _ = guarded
    suffix = os.urandom(6).hex()
    names = {"logs": f"logs-{suffix}", "other": f"other-{suffix}"}
    for name in names.values():
        running.boto().create_bucket(Bucket=name)
        running.boto().put_object(Bucket=name, Key="object", Body=b"content")
    return names


def client(running, name):
    return RawClient(running.endpoint, Signer(name, f"{name}-secret"))


def denied(answer):
    if answer.body:
        assert_refused(answer, 403, "AccessDenied")
    else:
        assert answer.status == 403


def test_bucket_patterns(guarded, buckets):
    running, _ = guarded
    logs = client(running, "logs")
    assert logs.request("GET", f"/{buckets['logs']}/object").body == b"content"
    assert logs.request("PUT", f"/{buckets['logs']}/new", body=b"x").status == 200
    for method, path in (("GET", "/object"), ("HEAD", "/object"), ("PUT", "/new"), ("DELETE", "/object"), ("GET", ""), ("PUT", ""), ("DELETE", "")):
        denied(logs.request(method, f"/{buckets['other']}{path}"))
    denied(logs.request("GET", f"/x{buckets['logs']}/object"))


def test_read_only(guarded, buckets):
    running, backend = guarded
    reader, bucket = client(running, "reader"), buckets["other"]
    assert reader.request("GET", f"/{bucket}/object").body == b"content"
    assert reader.request("HEAD", f"/{bucket}/object").status == 200
    assert reader.request("GET", f"/{bucket}", [("location", "")]).status == 200
    listed = reader.request("GET", f"/{bucket}", [("list-type", "2")])
    assert listed.status == 200 and b"<Key>object</Key>" in listed.body and b"<Size>7</Size>" in listed.body
    delete = b'<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Object><Key>object</Key></Object></Delete>'
    for method, path, query, body in (
        ("PUT", "/object", (), b"overwritten"),
        ("PUT", "/new", (), b"x"),
        ("DELETE", "/object", (), b""),
        ("POST", "", [("delete", "")], delete),
        ("PUT", "/object", [("tagging", "")], b"<Tagging/>"),
        ("PUT", "/object", [("acl", "")], b""),
        ("PUT", "", [("policy", "")], b"{}"),
        ("DELETE", "", (), b""),
        ("POST", "/new", [("uploads", "")], b""),
    ):
        denied(reader.request(method, f"/{bucket}{path}", query, body))
    assert backend.store.keys(bucket) == ["object"]
    assert running.raw().request("GET", f"/{bucket}/object").body == b"content"


def test_write_only(guarded, buckets):
    running, backend = guarded
    writer, bucket = client(running, "writer"), buckets["other"]
    assert writer.request("PUT", f"/{bucket}/new", body=b"written").status == 200
    denied(writer.request("GET", f"/{bucket}/object"))
    denied(writer.request("GET", f"/{bucket}/new"))
    denied(writer.request("GET", f"/{bucket}", [("list-type", "2")]))
    assert running.raw().request("GET", f"/{bucket}/new").body == b"written"


def test_presigned_urls_have_their_makers_rights(guarded, buckets):
    running, _ = guarded
    reader = client(running, "reader")
    path = f"/{buckets['other']}/object"
    query = reader.signer.presign("GET", reader.authority, path)
    assert reader.send("GET", path, query, {"host": reader.authority}, []).body == b"content"
    query = reader.signer.presign("PUT", reader.authority, path)
    denied(reader.send("PUT", path, query, {"host": reader.authority, "content-length": "1"}, [b"x"]))


def test_a_bucket_that_no_rule_speaks_of(start, real, real_bucket):
    running = start(real, bucket=[{"name": "only-this-*"}])
    for method in ("PUT", "GET"):
        answer = running.raw().request(method, f"/{real_bucket}/object", body=b"x" if method == "PUT" else b"")
        assert 400 <= answer.status < 500 and answer.code
    assert real.store.keys(real_bucket) == []
