"""Several clients, each with grants of its own."""

import http.client
import os

import pytest
from botocore.exceptions import ClientError

from conftest import EMBEDDED, LOCALSTACK, embedded_backend
from judge import assert_refused
from proxy import ACCESS_KEY_ID, SECRET_ACCESS_KEY
from rawsig import RawClient, Signer
from test_limits import until

CLIENTS = [
    {"access_key_id": ACCESS_KEY_ID, "secret_access_key": SECRET_ACCESS_KEY, "access": "admin"},
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


# Grants, append and the anonymous client.


def grant(name, *rights, **more):
    return {"access_key_id": name, "secret_access_key": f"{name}-secret", "grants": [{"rights": list(rights), **more}]}


GRANTED = [
    CLIENTS[0],
    {**grant("prefix", "read", "list", "write", "delete"), "grants": [
        {"prefix": "a/", "rights": ["read", "list", "write", "delete"]}, {"prefix": "b/", "rights": ["read"]},
    ]},
    grant("append", "append", "read", "list", prefix="a/"),
    grant("appender", "append"),
    {"access_key_id": "ordinary", "secret_access_key": "ordinary-secret"},
    {"anonymous": True, "grants": [{"prefix": "public/", "rights": ["read", "list"]}]},
]  # fmt: skip


@pytest.fixture(scope="module", params=[EMBEDDED, LOCALSTACK])
def granted(request, tmp_path_factory):
    from proxy import Proxy

    directory = tmp_path_factory.mktemp("granted-" + request.param)
    backend = embedded_backend(directory) if request.param == EMBEDDED else request.getfixturevalue("real")
    with Proxy(directory / "proxy", backend.upstream, backend.keyring, {"client": GRANTED}) as running:
        yield running, backend, request.param


@pytest.fixture
def filled(granted):
    running, _, _ = granted
    name = f"granted-{os.urandom(6).hex()}"
    admin = running.boto()
    admin.create_bucket(Bucket=name)
    for key in ("a/1", "a/2", "b/1", "c/1", "public/1"):
        admin.put_object(Bucket=name, Key=key, Body=b"content")
    return name


def boto(running, name):
    return running.boto(name, f"{name}-secret")


def refusal(call, **arguments):
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    return caught.value.response["Error"]["Code"]


def keys(listed, kind="Contents"):
    return [entry["Key"] for entry in listed.get(kind, [])]


def test_a_prefix_is_all_that_its_client_has(granted, filled):
    running, _, _ = granted
    s3 = boto(running, "prefix")
    assert s3.get_object(Bucket=filled, Key="a/1")["Body"].read() == b"content"
    s3.put_object(Bucket=filled, Key="a/new", Body=b"x")
    s3.upload_file(__file__, filled, "a/file")
    s3.head_bucket(Bucket=filled)
    assert "VersioningConfiguration" not in s3.get_bucket_versioning(Bucket=filled)
    assert keys(s3.list_objects_v2(Bucket=filled, Prefix="a/")) == ["a/1", "a/2", "a/file", "a/new"]
    assert keys(s3.list_objects(Bucket=filled, Prefix="a/1")) == ["a/1"]
    assert filled in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]
    for call, more in (
        (s3.list_objects_v2, {}),
        (s3.list_objects_v2, {"Prefix": "a"}),
        (s3.list_objects_v2, {"Prefix": "b/"}),
        (s3.list_objects, {"Prefix": "c/"}),
        (s3.list_object_versions, {}),
        (s3.list_multipart_uploads, {"Prefix": ""}),
        (s3.get_object, {"Key": "c/1"}),
        (s3.get_object, {"Key": "a/../c/1"}),
        (s3.put_object, {"Key": "b/1", "Body": b"x"}),
        (s3.delete_object, {"Key": "b/1"}),
        (s3.get_bucket_lifecycle_configuration, {}),
        (s3.delete_bucket, {}),
    ):
        code = refusal(call, Bucket=filled, **more)
        assert code == "AccessDenied", (call, more, code)
    denied(client(running, "prefix").request("HEAD", f"/{filled}/c/1"))


def test_deletions_are_judged_key_by_key(granted, filled):
    running, backend, _ = granted
    objects = [{"Key": key} for key in ("a/1", "b/1", "a/2", "c/1")]
    deleted = boto(running, "prefix").delete_objects(Bucket=filled, Delete={"Objects": objects})
    assert sorted(keys(deleted, "Deleted")) == ["a/1", "a/2"]
    assert {(error["Key"], error["Code"]) for error in deleted["Errors"]} == {("b/1", "AccessDenied"), ("c/1", "AccessDenied")}
    assert sorted(backend.store.keys(filled)) == ["b/1", "c/1", "public/1"]
    lines = until(lambda: [line for line in running.log_text().splitlines() if "refused_keys=" in line and filled in line])
    assert 'refused_keys="2: b/1 c/1"' in lines[0]


def test_copies_by_prefix(granted, filled):
    running, backend, _ = granted
    s3 = boto(running, "prefix")
    s3.copy_object(Bucket=filled, Key="a/copy", CopySource=f"{filled}/b/1")
    assert s3.get_object(Bucket=filled, Key="a/copy")["Body"].read() == b"content"
    for key, source in (("a/stolen", "c/1"), ("b/copy", "a/1")):
        assert refusal(s3.copy_object, Bucket=filled, Key=key, CopySource=f"{filled}/{source}") == "AccessDenied"
    upload = s3.create_multipart_upload(Bucket=filled, Key="a/parts")["UploadId"]
    part = {"Bucket": filled, "Key": "a/parts", "UploadId": upload, "PartNumber": 1}
    assert refusal(s3.upload_part_copy, **part, CopySource=f"{filled}/c/1") == "AccessDenied"
    s3.abort_multipart_upload(Bucket=filled, Key="a/parts", UploadId=upload)
    assert "a/stolen" not in backend.store.keys(filled)


def test_what_is_refused_names_the_right_and_is_logged(granted, filled):
    running, _, _ = granted
    answer = client(running, "append").request("DELETE", f"/{filled}/a/1")
    assert_refused_with(answer, "delete")
    found = lambda: [line for line in running.log_text().splitlines() if answer.text_of("RequestId") in line]
    until(found)
    lines = found()
    assert len(lines) == 1
    for field in ("client=append ", "right=delete ", f"bucket={filled} ", "object_key=a/1 ", "code=AccessDenied "):
        assert field in lines[0], lines[0]


def assert_refused_with(answer, right):
    assert_refused(answer, 403, "AccessDenied")
    assert answer.text_of("RequiredRight") == right and right in answer.message


def test_append_never_overwrites(granted, filled):
    running, backend, kind = granted
    s3, raw = boto(running, "append"), client(running, "append")
    before = {key: backend.store.read(filled, key) for key in backend.store.keys(filled)}
    s3.put_object(Bucket=filled, Key="a/new", Body=b"new")
    assert s3.get_object(Bucket=filled, Key="a/new")["Body"].read() == b"new"
    for more in ({}, {"Body": b"y" * 200_000}, {"IfNoneMatch": "*"}, {"Tagging": "a=b"}):
        assert refusal(s3.put_object, Bucket=filled, Key="a/1", **more) == "PreconditionFailed"
    assert_refused_with(raw.request("PUT", f"/{filled}/a/1", body=b"x", headers={"if-match": "*"}), "write")
    for name, value in (("x-amz-acl", "public-read"), ("x-amz-object-lock-legal-hold", "ON")):
        assert_refused_with(raw.request("PUT", f"/{filled}/a/acl", body=b"x", headers={name: value}), "manage")
    for call, more in (
        (s3.put_object, {"Key": "b/new"}),
        (s3.delete_object, {"Key": "a/1"}),
        (s3.put_object_tagging, {"Key": "a/1", "Tagging": {"TagSet": []}}),
        (s3.delete_object_tagging, {"Key": "a/1"}),
        (s3.put_object_acl, {"Key": "a/1", "ACL": "public-read"}),
        (s3.put_bucket_versioning, {"VersioningConfiguration": {"Status": "Suspended"}}),
    ):
        assert refusal(call, Bucket=filled, **more) == "AccessDenied"
    upload_in_parts(s3, filled, "a/parts")
    assert refusal(lambda: upload_in_parts(s3, filled, "a/1")) == "PreconditionFailed"
    # LocalStack ignores If-None-Match on CopyObject, so nothing is copied there.
    expected = "NotImplemented" if kind == LOCALSTACK else "PreconditionFailed"
    assert refusal(s3.copy_object, Bucket=filled, Key="a/1", CopySource=f"{filled}/a/2") == expected
    if kind == EMBEDDED:
        s3.copy_object(Bucket=filled, Key="a/copy", CopySource=f"{filled}/a/2")
        assert s3.get_object(Bucket=filled, Key="a/copy")["Body"].read() == b"content"
    for key, stored in before.items():
        assert backend.store.read(filled, key) == stored, key
    assert not [key for key in backend.store.keys(filled) if "probe" in key], "what tried the storage is gone"


def upload_in_parts(s3, bucket, key):
    upload = {"Bucket": bucket, "Key": key, "UploadId": s3.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]}
    part = s3.upload_part(**upload, PartNumber=1, Body=b"part")
    s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]})


def test_uploads_of_others(granted, filled):
    """A listing gives no id with which a client without `delete` could abort what another began."""
    running, _, kind = granted
    if kind == EMBEDDED:
        pytest.skip("one storage is enough")
    admin, appender = running.boto(), boto(running, "append")
    token = admin.create_multipart_upload(Bucket=filled, Key="a/upload")["UploadId"]
    listed = appender.list_multipart_uploads(Bucket=filled, Prefix="a/")["Uploads"]
    assert [upload["Key"] for upload in listed] == ["a/upload"] and listed[0]["UploadId"] != token
    others = {"Bucket": filled, "Key": "a/upload", "UploadId": listed[0]["UploadId"]}
    assert refusal(appender.abort_multipart_upload, **others) == "AccessDenied"
    assert refusal(appender.upload_part, **others, PartNumber=1, Body=b"x") == "AccessDenied"
    parts = {"Parts": [{"PartNumber": 1, "ETag": "x"}]}
    assert refusal(appender.complete_multipart_upload, **others, MultipartUpload=parts) == "AccessDenied"
    assert admin.list_multipart_uploads(Bucket=filled)["Uploads"][0]["UploadId"] == token
    own = appender.create_multipart_upload(Bucket=filled, Key="a/own")["UploadId"]
    appender.abort_multipart_upload(Bucket=filled, Key="a/own", UploadId=own)
    admin.abort_multipart_upload(**others)


def test_forms_and_presigned_urls_append_too(granted, filled):
    from test_post import BOUNDARY, encode, send

    running, backend, _ = granted
    s3 = boto(running, "appender")
    before = backend.store.read(filled, "a/1")

    def post(key, conditions=(), **fields):
        conditions = [*conditions, *({name: value} for name, value in fields.items())]
        signed = s3.generate_presigned_post(filled, key, Fields=dict(fields), Conditions=conditions)
        return send(signed["url"], encode(signed["fields"], b"from a form"))

    assert BOUNDARY and post("a/form").status == 204
    assert (post("a/1").status, post("a/1").code) == (412, "PreconditionFailed")
    assert_refused(post("a/acl", acl="public-read"), 403, "AccessDenied")
    raw = client(running, "appender")
    for key, status in (("a/presigned", 200), ("a/1", 412)):
        query = raw.signer.presign("PUT", raw.authority, f"/{filled}/{key}")
        headers = {"host": raw.authority, "content-length": "1"}
        assert raw.send("PUT", f"/{filled}/{key}", query, headers, [b"x"]).status == status
    assert backend.store.read(filled, "a/1") == before
    assert running.raw().request("GET", f"/{filled}/a/form").body == b"from a form"


def unsigned(running, method, path, body=None, headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=30)
    connection.request(method, path, body=body, headers=headers or {})
    answer = connection.getresponse()
    return answer.status, answer.read()


def test_requests_without_a_signature(granted, filled):
    running, _, _ = granted
    assert unsigned(running, "GET", f"/{filled}/public/1") == (200, b"content")
    assert unsigned(running, "GET", f"/{filled}/public/1", headers={"range": "bytes=0-2"}) == (206, b"con")
    assert unsigned(running, "HEAD", f"/{filled}/public/1")[0] == 200
    status, listed = unsigned(running, "GET", f"/{filled}?list-type=2&prefix=public/")
    assert status == 200 and b"<Key>public/1</Key>" in listed
    for method, path, body in (
        ("GET", f"/{filled}/a/1", None),
        ("GET", f"/{filled}?list-type=2", None),
        ("GET", f"/{filled}?policy", None),
        ("PUT", f"/{filled}/public/1", b"x"),
        ("DELETE", f"/{filled}/public/1", None),
        ("POST", f"/{filled}?delete", b"<Delete><Object><Key>public/1</Key></Object></Delete>"),
        ("PUT", f"/{filled}/public/1?acl", b""),
        ("GET", f"/{filled}/public/1?X-Amz-Signature=0", None),
        ("GET", f"/{filled}/public/1?AWSAccessKeyId=anonymous&Signature=0&Expires=1", None),
    ):
        status, answer = unsigned(running, method, path, body)
        assert status in (400, 403), (method, path, status, answer)
    status, answer = unsigned(running, "GET", f"/{filled}/public/1?response-content-type=text/html")
    assert (status, b"InvalidRequest" in answer) == (400, True)
    assert_refused(client(running, "anonymous").request("GET", f"/{filled}/public/1"), 403, "InvalidAccessKeyId")
    assert running.metrics()["s3veil_anonymous_client"] == 1
    until(lambda: "client=anonymous " in (log := running.log_text()) and "without a signature" in log)
    assert unsigned(running, "GET", f"/{filled}/public/1")[1] == b"content"


# What a client without `manage` was once able to do with a bucket and its objects.
CONFIGURATION = [
    ("PUT", "", "policy", b"{}"), ("PUT", "", "acl", b""), ("PUT", "", "publicAccessBlock", b""), ("DELETE", "", "publicAccessBlock", b""),
    ("PUT", "", "website", b""), ("PUT", "", "notification", b""), ("PUT", "", "lifecycle", b""), ("DELETE", "", "lifecycle", b""),
    ("PUT", "", "versioning", b""), ("PUT", "", "logging", b""), ("PUT", "", "inventory", b""), ("PUT", "", "analytics", b""),
    ("PUT", "", "replication", b""), ("DELETE", "", "replication", b""), ("PUT", "", "cors", b""), ("PUT", "", "encryption", b""),
    ("PUT", "", "ownershipControls", b""), ("PUT", "", "object-lock", b""), ("PUT", "", "accelerate", b""), ("PUT", "", "requestPayment", b""),
    ("PUT", "", "tagging", b""), ("POST", "", "metadataConfiguration", b""), ("POST", "", "metadataTable", b""), ("GET", "", "policy", b""),
    ("GET", "", "acl", b""), ("GET", "", "replication", b""), ("GET", "", "notification", b""), ("GET", "", "logging", b""),
    ("DELETE", "", None, b""), ("PUT", "", None, b""), ("PUT", "/a/1", "acl", b""), ("PUT", "/a/1", "retention", b""),
    ("PUT", "/a/1", "legal-hold", b""),
]  # fmt: skip


def test_configuration_is_for_those_who_manage(granted, filled):
    running, _, _ = granted
    for name in ("prefix", "append", "appender", "ordinary"):
        raw = client(running, name)
        for method, path, subresource, body in CONFIGURATION:
            answer = raw.request(method, f"/{filled}{path}", [(subresource, "")] if subresource else (), body)
            assert (answer.status, answer.code, answer.text_of("RequiredRight")) == (403, "AccessDenied", "manage"), (name, method, subresource)
    bypass = {"x-amz-bypass-governance-retention": "true"}
    assert_refused_with(client(running, "ordinary").request("DELETE", f"/{filled}/a/1", headers=bypass), "bypass-retention")
    assert running.raw().request("GET", f"/{filled}/a/1").body == b"content"
