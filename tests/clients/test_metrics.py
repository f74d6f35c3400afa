"""What `/metrics` says: help texts, values from the start, errors by code and side, integrity failures."""

import shutil
import subprocess

import pytest
from botocore.exceptions import ClientError

from backing import Stored
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
    assert "s3veil_slow_downs_total 0" in text and 's3veil_build_info{version="' in text
    assert "process_resident_memory_bytes" in text
    if shutil.which("promtool"):
        checked = subprocess.run(["promtool", "check", "metrics"], input=text.encode(), capture_output=True, timeout=60)
        assert checked.returncode == 0 and not checked.stderr, checked.stderr.decode()


def test_errors_are_counted_by_code_and_side(proxy, s3, bucket, backend):
    def count(name):
        return proxy.metrics().get(name, 0)

    missing = 's3veil_errors_total{code="NoSuchKey",side="storage"}'
    before, failures = count(missing), count("s3veil_integrity_failures_total")
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
    assert count("s3veil_integrity_failures_total") == failures + 2
