"""The provider `vault`: a proxy whose keys are in a real OpenBao."""

import base64
import json
import os
import time
import urllib.error
import urllib.request
import uuid

import pytest
from botocore.exceptions import ClientError

from backing import EmbeddedStore
from proxy import Proxy, toml_text
from relay import Relay
from test_jobs_frame import refused, rows, run, succeeded

ADDRESS = os.environ.get("S3VEIL_TEST_VAULT_ADDRESS")
pytestmark = pytest.mark.skipif(not ADDRESS, reason="S3VEIL_TEST_VAULT_ADDRESS names no OpenBao")


def bao(method, path, body=None):
    """The `data` or `auth` of a response to the root token."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{ADDRESS}/v1/{path}", data, {"x-vault-token": "root"}, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=10) as response:
            content = response.read()
    except urllib.error.HTTPError as error:
        if b"already in use" in (content := error.read()):
            return None
        raise AssertionError(content) from error
    parsed = json.loads(content) if content else {}
    return parsed.get("data") or parsed.get("auth")


@pytest.fixture
def key():
    """A derived key, and an AppRole of the same name that may use it."""
    name = f"key-{uuid.uuid4().hex}"
    bao("POST", "sys/mounts/transit", {"type": "transit"})
    bao("POST", "sys/auth/approle", {"type": "approle"})
    bao("POST", f"transit/keys/{name}", {"derived": True})
    rules = [f'path "transit/{call}/{name}" {{ capabilities = ["update"] }}' for call in ("datakey/plaintext", "decrypt")]
    bao("POST", f"sys/policies/acl/{name}", {"policy": "\n".join(rules)})
    bao("POST", f"auth/approle/role/{name}", {"token_policies": [name], "token_ttl": "1h"})
    return name


def holder(key, directory):
    secret = directory / "secret-id"
    secret.write_text(bao("POST", f"auth/approle/role/{key}/secret-id", {})["secret_id"])
    role = bao("GET", f"auth/approle/role/{key}/role-id")["role_id"]
    auth = {"method": "approle", "role_id": role, "secret_id_file": secret}
    return {"provider": "vault", "address": ADDRESS, "key": key, "auth": auth}


def proxy(directory, key, upstream, name="proxy"):
    return Proxy(directory / name, upstream, holder(key, directory))


@pytest.fixture
def upstream(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    return {"endpoint": f"embedded:{data}", "embedded_shared": True, "embedded_sync": "off"}


def test_objects_come_back_through_another_process(tmp_path, key, upstream):
    content = os.urandom(200_000)
    with proxy(tmp_path, key, upstream) as first:
        s3 = first.boto()
        s3.create_bucket(Bucket="bucket")
        s3.put_object(Bucket="bucket", Key="object", Body=content)
        told = s3.head_object(Bucket="bucket", Key="object")
        assert told["SSEKMSKeyId"] == f"transit/{key}"
    bao("POST", f"transit/keys/{key}/rotate", {})
    with proxy(tmp_path, key, upstream, "second") as second:
        assert second.boto().get_object(Bucket="bucket", Key="object")["Body"].read() == content
    stored = b"".join(file.read_bytes() for file in (tmp_path / "data").rglob("*") if file.is_file())
    assert b"vault:v1:" in stored or b"dmF1bHQ6djE6" in stored


def test_a_soft_deleted_key_is_a_disabled_one(tmp_path, key, upstream):
    with proxy(tmp_path, key, upstream) as first:
        s3 = first.boto()
        s3.create_bucket(Bucket="bucket")
        s3.put_object(Bucket="bucket", Key="object", Body=b"content")
    bao("DELETE", f"transit/keys/{key}/soft-delete")
    with proxy(tmp_path, key, upstream, "second") as second:
        with pytest.raises(ClientError) as refused:
            second.boto().get_object(Bucket="bucket", Key="object")
        assert refused.value.response["Error"]["Code"] == "KMS.DisabledException"
        bao("POST", f"transit/keys/{key}/soft-delete-restore", {})
        assert read_when_enabled(second.boto()) == b"content"


def read_when_enabled(s3):
    """The object, once the refusal is no longer cached: it is for a quarter of a second."""
    deadline = time.monotonic() + 30
    while True:
        try:
            return s3.get_object(Bucket="bucket", Key="object")["Body"].read()
        except ClientError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def test_check_refuses_a_key_that_is_not_derived(tmp_path, key, upstream):
    plain = f"{key}-plain"
    bao("POST", f"transit/keys/{plain}", {"derived": False})
    rules = [f'path "transit/{call}/{plain}" {{ capabilities = ["update"] }}' for call in ("datakey/plaintext", "decrypt")]
    bao("POST", f"sys/policies/acl/{key}", {"policy": "\n".join(rules)})
    checked = Proxy(tmp_path / "proxy", upstream, {**holder(key, tmp_path), "key": plain})
    checked.config.write_text(toml_text(checked.configuration()))
    result = checked.command("check", cwd=tmp_path)
    assert result.returncode != 0
    expected = f"the key transit/{plain} is not derived: it would open data keys of every realm; create it with derived=true"
    assert expected in (result.stdout + result.stderr).decode()


def test_rewrap_sends_data_keys_in_batches_and_one_that_is_refused_fails_alone(tmp_path, key, upstream):
    keys, reuse = [f"k{number}" for number in range(100)], {"reuse": "off"}
    store = EmbeddedStore(tmp_path / "data")
    with Proxy(tmp_path / "first", upstream, holder(key, tmp_path) | reuse) as first:
        s3 = first.boto()
        s3.create_bucket(Bucket="bucket")
        for name in keys:
            s3.put_object(Bucket="bucket", Key=name, Body=name.encode())
    damaged = store.read("bucket", "k7")
    blob = bytearray(base64.b64decode(damaged.metadata["encryption-key"]))
    blob[-5] ^= 1
    damaged.metadata["encryption-key"] = base64.b64encode(blob).decode()
    store.write("bucket", "k7", damaged)
    bao("POST", f"transit/keys/{key}/rotate", {})
    # The job may wrap again, and can open nothing.
    bao("POST", f"sys/policies/acl/{key}", {"policy": f'path "transit/rewrap/{key}" {{ capabilities = ["update"] }}'})
    relay = Relay(ADDRESS)
    job = Proxy(tmp_path / "job", upstream, holder(key, tmp_path) | reuse | {"address": relay.endpoint})
    job.config.write_text(toml_text(job.configuration()))
    report = tmp_path / "report"
    refused(run(job, "rewrap", "s3://bucket", "--report", report), 74, "1 objects failed")
    requests = [line for line in relay.requests if "/transit/rewrap/" in line]
    # A request for the first one or two objects, and each other has those that came while the one before was in flight.
    assert 2 <= len(requests) <= len(keys) // 2, len(requests)
    (failed,) = [row for row in rows(report, "rewrap") if row["TaskStatus"] == "failed"]
    assert failed["Key"] == "k7" and "unwrapping it failed" in failed["ResultMessage"], failed
    for name in keys:
        blob = base64.b64decode(store.read("bucket", name).metadata["encryption-key"])
        assert blob.startswith(b"vault:v1:" if name == "k7" else b"vault:v2:"), name
    rules = [f'path "transit/{call}/{key}" {{ capabilities = ["update"] }}' for call in ("datakey/plaintext", "decrypt", "rewrap")]
    bao("POST", f"sys/policies/acl/{key}", {"policy": "\n".join(rules)})
    bao("POST", f"transit/keys/{key}/config", {"min_decryption_version": 2})
    (tmp_path / "good.txt").write_text("".join(f"{name}\n" for name in keys if name != "k7"))
    again = succeeded(run(job, "verify", "--manifest", tmp_path / "good.txt", "--bucket", "bucket", "--format", "json"))
    assert json.loads(again.stdout)["succeeded"] == len(keys) - 1
    relay.stop()
