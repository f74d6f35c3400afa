"""What `/metrics` says: help texts, values from the start, errors by code and side, integrity failures."""

import shutil
import subprocess

import pytest
from botocore.exceptions import ClientError

from backing import Stored
from proxy import ACCESS_KEY_ID, Proxy
from rawsig import flip_bit
from test_operator_mistakes import admin


def test_metrics_are_what_prometheus_expects(proxy, s3, bucket):
    s3.put_object(Bucket=bucket, Key="object", Body=b"content")
    s3.get_object(Bucket=bucket, Key="object")["Body"].read()
    status, text = admin(proxy, "/metrics")
    assert status == 200
    described = {line.split(" ")[2] for line in text.splitlines() if line.startswith("# HELP")}
    samples = {line.split("{")[0].split(" ")[0] for line in text.splitlines() if line and not line.startswith("#")}
    undescribed = {name for name in samples if not any(name == one or name.startswith(f"{one}_") for one in described)}
    assert not undescribed
    # Counters that alerts watch exist before their first event.
    for line in [
        "s3veil_slow_downs_total 0",
        's3veil_build_info{version="',
        's3veil_objects_opened_total{format="plaintext"} 0',
        's3veil_objects_sealed_total{format="s3ec-v3"} 0',
        's3veil_integrity_failures_total{kind="cut"} ',
        's3veil_connections_unusable_total{reason="tls_at_http"} 0',
        's3veil_upstream_request_duration_seconds_count{upstream="default",operation="PutObject",outcome="ok"} ',
        's3veil_request_time_to_first_byte_seconds_count{operation="PutObject"} ',
        's3veil_upstream_connections{upstream="default",state="busy"} 0',
        's3veil_keyring_cached_keys{operation="generate"} ',
        "s3veil_buffered_bytes 0",
    ]:
        assert line in text, line
    assert "process_resident_memory_bytes" in text
    if shutil.which("promtool"):
        checked = subprocess.run(["promtool", "check", "metrics"], input=text.encode(), capture_output=True, timeout=60)
        assert checked.returncode == 0 and not checked.stderr, checked.stderr.decode()


def test_errors_are_counted_by_code_and_side(proxy, s3, bucket, backend):
    def count(name):
        return proxy.metrics().get(name, 0)

    missing = 's3veil_errors_total{code="NoSuchKey",side="storage"}'
    def failures():
        return [count(f's3veil_integrity_failures_total{{kind="{kind}"}}') for kind in ("refused", "cut")]

    before, (refused, cut) = count(missing), failures()
    with pytest.raises(ClientError):
        s3.get_object(Bucket=bucket, Key="missing")
    assert count(missing) == before + 1
    s3.put_object(Bucket=bucket, Key="object", Body=bytes(200_000))
    stored = backend.store.read(bucket, "object")
    backend.store.write(bucket, "object", Stored(flip_bit(stored.body, 5), stored.metadata))
    with pytest.raises(ClientError):
        s3.get_object(Bucket=bucket, Key="object")
    backend.store.write(bucket, "object", Stored(flip_bit(stored.body, 150_000), stored.metadata))
    with pytest.raises(Exception):
        s3.get_object(Bucket=bucket, Key="object")["Body"].read()
    assert failures() == [refused + 1, cut + 1]


def test_objects_and_bytes_are_counted_as_they_pass(proxy, s3, bucket):
    def counts():
        found = proxy.metrics()
        names = ['s3veil_objects_opened_total{format="native"}', 's3veil_objects_sealed_total{format="native"}', "s3veil_request_bytes_total"]
        return [found[name] for name in names]

    opened, sealed, received = counts()
    s3.put_object(Bucket=bucket, Key="object", Body=bytes(100_000))
    s3.get_object(Bucket=bucket, Key="object")["Body"].read()
    s3.head_object(Bucket=bucket, Key="object")
    upload = s3.create_multipart_upload(Bucket=bucket, Key="parts")["UploadId"]
    part = s3.upload_part(Bucket=bucket, Key="parts", UploadId=upload, PartNumber=1, Body=b"part")
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    s3.complete_multipart_upload(Bucket=bucket, Key="parts", UploadId=upload, MultipartUpload=parts)
    now_opened, now_sealed, now_received = counts()
    assert (now_opened - opened, now_sealed - sealed) == (1, 2)
    assert 100_000 <= now_received - received < 102_000


def test_clients_and_rules_are_counted_by_their_configured_names(backend, tmp_path):
    sections = {"metrics": {"by_client": True, "by_rule": True}, "bucket": [{"name": "*", "prefix": "a/"}, {"name": "*"}]}
    with Proxy(tmp_path / "proxy", backend.upstream, backend.keyring, sections) as running:
        s3 = running.boto()
        bucket = f"counted-{backend.name}"
        s3.create_bucket(Bucket=bucket)
        s3.put_object(Bucket=bucket, Key="a/object", Body=b"twelve bytes")
        s3.put_object(Bucket=bucket, Key="object", Body=b"content")
        for client in [running.boto(access_key_id="invented"), s3]:
            with pytest.raises(ClientError):
                client.get_object(Bucket=bucket, Key="a/missing")
        found = running.metrics()
        status, text = admin(running, "/metrics")
        for key in ("a/object", "object"):
            s3.delete_object(Bucket=bucket, Key=key)
        s3.delete_bucket(Bucket=bucket)
    assert status == 200 and "invented" not in text, "This is a security issue: names that requests bring fill the memory."
    client = f'{{client="{ACCESS_KEY_ID}"}}'
    assert found[f"s3veil_client_requests_total{client}"] == 4 and found[f"s3veil_client_errors_total{client}"] == 1
    assert found['s3veil_client_errors_total{client="other"}'] == 1
    assert found['s3veil_rule_requests_total{rule="*/a/*"}'] == 2 and found['s3veil_rule_errors_total{rule="*/a/*"}'] == 1
    assert found['s3veil_rule_request_bytes_total{rule="*/a/*"}'] >= 12
    assert found['s3veil_rule_requests_total{rule="*/*"}'] == 1 and found['s3veil_rule_requests_total{rule="other"}'] == 2
    assert found[f"s3veil_client_last_request_timestamp_seconds{client}"] > 1.7e9
