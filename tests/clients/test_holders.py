"""Several key holders: what was written under AWS KMS (LocalStack), OpenBao and a recovery key opens when the key in KMS is deleted and KMS
is gone, and when OpenBao is gone, too."""

import base64
import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography.hazmat.primitives import serialization

from conftest import embedded_backend
from multiparts import LEAST, upload
from proxy import Proxy, binary, kms_client
from read_native import read_native
from relay import Relay
from test_post import post
from test_vault import ADDRESS, key  # noqa: F401: `key` is a fixture
from test_vault import holder as vault_holder

KMS = os.environ.get("S3VEIL_TEST_KMS_ENDPOINT")
pytestmark = pytest.mark.skipif(not (ADDRESS and KMS), reason="S3VEIL_TEST_VAULT_ADDRESS or S3VEIL_TEST_KMS_ENDPOINT names no service")

# A tenth of each kind but single objects; `scripts/test full` writes 10,000.
COUNT = 10_000 if os.environ.get("S3VEIL_TEST_LARGE_MIB") == "1024" else 200
BUCKET = "bucket"


class Services:
    """A key in KMS and one in OpenBao, behind relays that can be switched off, and a recovery key."""

    def __init__(self, directory, vault_key):
        self.directory, self.running = directory, []
        self.kms, self.vault = Relay(KMS), Relay(ADDRESS)
        self.kms_key = kms_client(KMS).create_key()["KeyMetadata"]["Arn"]
        done = subprocess.run([binary(), "keygen", "--recovery", "ops.pem"], cwd=directory, capture_output=True, timeout=60)
        assert done.returncode == 0, done.stderr
        self.recovery = directory / "ops.pem"
        self.holders = [
            {"name": "aws", "provider": "aws-kms", "key_id": self.kms_key, "endpoint": self.kms.endpoint},
            {"name": "bao", **vault_holder(vault_key, directory), "address": self.vault.endpoint},
        ]
        self.backend = embedded_backend(directory)

    def proxy(self, **rule):
        rule = {"name": "*", "holders": ["aws", "bao"], "recovery": [self.directory / "ops.pub.pem"]} | rule
        sections = {"keyring": [], "holder": self.holders, "bucket": [rule]}
        name = f"proxy-{len(self.running)}"
        # The provider is for the environment alone: there are [[holder]] instead of a [keyring].
        upstream = self.backend.upstream | {"embedded_shared": True, "embedded_sync": "off"}
        self.running.append(Proxy(self.directory / name, upstream, {"provider": "aws-kms"}, sections))
        return self.running[-1].start()

    def delete_kms_key(self):
        kms_client(KMS).schedule_key_deletion(KeyId=self.kms_key, PendingWindowInDays=7)

    def close(self):
        for running in self.running:
            running.stop()
        self.kms.stop()
        self.vault.stop()


@pytest.fixture
def services(tmp_path, key):  # noqa: F811
    made = Services(tmp_path, key)
    yield made
    made.close()


def write_all(proxy):
    """{key: content} of single objects, uploads in parts, copies of both and forms."""
    s3 = proxy.boto(max_pool_connections=16)
    s3.create_bucket(Bucket=BUCKET)
    written = {}

    def single(number):
        content = os.urandom(number % 700)
        s3.put_object(Bucket=BUCKET, Key=f"single-{number}", Body=content)
        return f"single-{number}", content

    with ThreadPoolExecutor(8) as pool:
        written.update(pool.map(single, range(COUNT)))
    for number in range(3):
        written[f"parts-{number}"] = upload(s3, BUCKET, [(1, LEAST), (2, LEAST + number), (3, 100)], f"parts-{number}")
        s3.copy_object(Bucket=BUCKET, Key=f"copy-of-parts-{number}", CopySource={"Bucket": BUCKET, "Key": f"parts-{number}"})
        written[f"copy-of-parts-{number}"] = written[f"parts-{number}"]
    for number in range(COUNT // 10):
        s3.copy_object(Bucket=BUCKET, Key=f"copy-{number}", CopySource={"Bucket": BUCKET, "Key": f"single-{number}"})
        written[f"copy-{number}"] = written[f"single-{number}"]
    for number in range(COUNT // 20):
        written[f"form-{number}"] = os.urandom(100)
        assert post(proxy, BUCKET, written[f"form-{number}"], key=f"form-{number}").status in (200, 204)
    return written


def assert_all_open(proxy, written):
    s3 = proxy.boto(max_pool_connections=16)

    def read(item):
        name, content = item
        return s3.get_object(Bucket=BUCKET, Key=name)["Body"].read() == content

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, written.items()))


def test_nothing_is_lost_with_the_key_in_kms_nor_with_openbao(services):
    warm = services.proxy()
    written = write_all(warm)
    services.kms.stop()
    services.delete_kms_key()
    assert_all_open(services.proxy(), written)
    assert_all_open(warm, written)
    services.vault.stop()
    private = serialization.load_pem_private_key(services.recovery.read_bytes(), None)
    for number, (name, content) in enumerate(written.items()):
        stored = services.backend.store.read(BUCKET, name)
        assert read_native(stored.body, stored.metadata, BUCKET, name, recovery=private) == content, name
        # The binary itself, for some of each kind: it takes longer to start than to decrypt.
        if not name.startswith("single-") or number < 10:
            assert decrypted(services, name, stored) == content, name


def decrypted(services, name, stored):
    body, metadata = services.directory / "body", services.directory / "metadata.json"
    body.write_bytes(stored.body)
    metadata.write_text(json.dumps(stored.metadata))
    command = [binary(), "decrypt", "--recovery-key", services.recovery, "--body", body, "--metadata", metadata]
    done = subprocess.run([*command, "--bucket", BUCKET, "--key", name], capture_output=True, timeout=60, env={}, cwd=services.directory)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_holder_that_is_away_stops_writes_only_if_it_is_required(services):
    first_required = services.proxy(holders_required="first")
    services.vault.stop()
    s3 = first_required.boto()
    s3.create_bucket(Bucket=BUCKET)
    s3.put_object(Bucket=BUCKET, Key="object", Body=b"content")
    assert first_required.metrics()['s3veil_keyring_left_out_total{holder="bao"}'] == 1
    assert s3.get_object(Bucket=BUCKET, Key="object")["Body"].read() == b"content"
    all_required = services.proxy().raw()
    refused = all_required.request("PUT", f"/{BUCKET}/other", body=b"content")
    assert (refused.status, b"ServiceUnavailable" in refused.body) == (503, True)
    assert "other" not in services.backend.store.keys(BUCKET)


def test_inspect_names_every_wrapping_and_who_opens_it(services):
    running = services.proxy()
    s3 = running.boto()
    s3.create_bucket(Bucket=BUCKET)
    s3.put_object(Bucket=BUCKET, Key="object", Body=b"content")
    services.kms.stop()
    done = running.command("inspect", f"s3://{BUCKET}/object", cwd=services.directory)
    told = done.stdout.decode()
    assert done.returncode == 0, done.stderr
    assert "wrapping first: aws does not open it: the key provider is unavailable" in told
    assert ": bao opens it with transit/" in told
    assert "for a recovery key: opens with its private key" in told
    assert "envelope: authentic" in told


def test_metadata_that_leave_no_place_for_the_wrappings_are_refused_before_a_byte_is_stored(services):
    s3 = services.proxy().raw()
    assert s3.request("PUT", f"/{BUCKET}").status == 200
    fits = s3.request("PUT", f"/{BUCKET}/fits", body=b"content", headers={"x-amz-meta-a": "v" * 1_100})
    assert fits.status == 200
    refused = s3.request("PUT", f"/{BUCKET}/large", body=b"content", headers={"x-amz-meta-a": "v" * 1_400})
    assert (refused.status, b"MetadataTooLarge" in refused.body) == (400, True)
    assert services.backend.store.keys(BUCKET) == ["fits"]


def test_a_bucket_moves_to_another_first_holder_by_configuration(services):
    before = services.proxy(holders=["aws"]).boto()
    before.create_bucket(Bucket=BUCKET)
    before.put_object(Bucket=BUCKET, Key="object", Body=b"content")
    after = services.proxy(holders=["bao"], allowed_holders=["aws"]).boto()
    assert after.get_object(Bucket=BUCKET, Key="object")["Body"].read() == b"content"
    after.copy_object(Bucket=BUCKET, Key="object", CopySource=f"{BUCKET}/object", MetadataDirective="REPLACE")
    blob = base64.b64decode(services.backend.store.read(BUCKET, "object").metadata["encryption-key"])
    assert blob.startswith(b"vault:v1:")
    services.delete_kms_key()
    assert services.proxy(holders=["bao"]).boto().get_object(Bucket=BUCKET, Key="object")["Body"].read() == b"content"
