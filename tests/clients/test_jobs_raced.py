"""Jobs while others write: what a writer stored last is never lost, and what was changed under a job's hands is done at its end."""

import hashlib
import json
import os
import random
import re
import threading
import urllib.parse

import pytest

from conftest import alias_of, embedded_backend, new_bucket, new_key
from faulty import Faulty, error
from population import EVERYTHING
from proxy import Proxy, s3_client
from relay import Relay
from test_jobs_frame import begin, refused, rows, run, succeeded, summary
from test_jobs_killed import reload
from test_jobs_steps import upload

PART = 5 << 20
READS = {"formats": {"write": "native", "read": ["native", "plaintext"]}}
# The request by which a job replaces an object: PutObject, CopyObject, or CompleteMultipartUpload.
WRITE = re.compile(rb"(?:PUT /[^\s/?]+/([^\s?]+)|POST /[^\s/?]+/([^\s?]+)\?\S*uploadId=\S+) HTTP/1\.1\r\n")


class Writer:
    """Stores another content just before a job's own write to a key arrives, once for each key; or removes the object."""

    def __init__(self, relay, write):
        self.write, self.beaten, self.lock = write, set(), threading.Lock()
        relay.meddle = self.look

    def look(self, data):
        for match in WRITE.finditer(data):
            key = urllib.parse.unquote((match[1] or match[2]).decode())
            with self.lock:
                is_first = key not in self.beaten and not key.startswith("s3veil-")
                self.beaten |= {key}
            if is_first:
                self.write(key)


@pytest.fixture
def relayed(localstack):
    """LocalStack's S3 behind a relay."""
    relay = Relay(localstack[0])
    yield relay
    relay.stop()


@pytest.fixture
def behind(localstack):
    return s3_client(localstack[0])


def metrics_of(path):
    lines = path.read_text().splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if line and not line.startswith("#")}


def keys_of(count):
    return [f"{kind}{number}" for number in range(count) for kind in ("whole", "parts")]


def store(client, bucket, key, content):
    """By one PUT, or in two parts."""
    if key.startswith("whole"):
        client.put_object(Bucket=bucket, Key=key, Body=content, Metadata={"of": "writer"})
    else:
        upload(client, bucket, key, [content[:PART], content[PART:]], Metadata={"of": "writer"})


def a_job_that_is_raced(start_job, tmp_path, keys):
    """Runs a job all of whose first writes come too late. Its rows."""
    report, file = tmp_path / "report", tmp_path / "metrics.prom"
    succeeded(start_job("--report", report, "--metrics", file))
    counted = metrics_of(file)
    labels = next(name for name in counted if name.startswith("s3veil_job_exit_code")).partition("{")[2].rstrip("}")
    assert counted[f's3veil_job_retries_total{{{labels},reason="raced"}}'] >= len(keys), counted
    assert counted[f's3veil_job_rows_total{{{labels},status="succeeded"}}'] + counted[
        f's3veil_job_rows_total{{{labels},status="unchanged"}}'
    ] == len(keys)
    (name,) = {path.name.partition("-")[0] for path in report.glob("*.json") if not path.name.startswith("listing")}
    found = rows(report, name)
    assert sorted(row["Key"] for row in found) == sorted(keys)
    assert {row["TaskStatus"] for row in found} == {"succeeded"}
    return found


def body_of(key, size=PART + 100):
    return (key.encode() * (size // len(key) + 1))[: size if key.startswith("parts") else 1_000]


def test_encrypt_seals_what_a_writer_of_plaintext_stored_last(start, real, relayed, behind, tmp_path):
    direct = start(real, bucket=[{"name": "*", **READS}])
    job = start(real, upstream={"endpoint": relayed.endpoint}, bucket=[{"name": "*", **READS}])
    bucket, keys = new_bucket(behind), keys_of(3)
    for key in keys:
        store(behind, bucket, key, body_of(f"{key}-before"))
    writer = Writer(relayed, lambda key: store(behind, bucket, key, body_of(f"{key}-after")))
    a_job_that_is_raced(lambda *more: run(job, "encrypt", f"s3://{bucket}", *more), tmp_path, keys)
    assert writer.beaten >= set(keys)
    client = direct.boto()
    for key in keys:
        found = client.get_object(Bucket=bucket, Key=key)
        assert (found["Body"].read(), found["Metadata"]) == (body_of(f"{key}-after"), {"of": "writer"}), key
        assert "encryption-envelope" in behind.head_object(Bucket=bucket, Key=key)["Metadata"], "it is sealed"
    assert not behind.list_multipart_uploads(Bucket=bucket).get("Uploads")


def test_rewrap_keeps_what_a_writer_stored_last(start, real, kms, relayed, behind, tmp_path):
    old, new = new_key(kms), new_key(kms)
    rules = {"bucket": [{"name": "*", "key_id": alias_of(new), "allowed_key_ids": [alias_of(old)]}]}
    writing = start(real, keyring={"key_id": alias_of(old)})
    job = start(real, upstream={"endpoint": relayed.endpoint}, keyring={"key_id": alias_of(new)}, **rules)
    client = writing.boto()
    bucket, keys = new_bucket(client), keys_of(3)
    for key in keys:
        store(client, bucket, key, body_of(f"{key}-before"))
    # The writer has not heard of the new key yet.
    Writer(relayed, lambda key: store(client, bucket, key, body_of(f"{key}-after")))
    found = a_job_that_is_raced(lambda *more: run(job, "rewrap", f"s3://{bucket}", *more), tmp_path, keys)
    assert {row["ResultMessage"] for row in found} == {""}
    kms.disable_key(KeyId=old)
    reader = start(real, keyring={"key_id": alias_of(new)}).boto()
    for key in keys:
        found = reader.get_object(Bucket=bucket, Key=key)
        assert (found["Body"].read(), found["Metadata"]) == (body_of(f"{key}-after"), {"of": "writer"}), key


@pytest.mark.parametrize("job", ["encrypt", "rewrap"])
def test_an_object_that_is_removed_under_a_job_stays_removed(start, real, kms, relayed, behind, tmp_path, job):
    old, new = new_key(kms), new_key(kms)
    rules = {"bucket": [{"name": "*", "key_id": alias_of(new), "allowed_key_ids": [alias_of(old)], **READS}]}
    running = start(real, upstream={"endpoint": relayed.endpoint}, keyring={"key_id": alias_of(new)}, **rules)
    client = behind if job == "encrypt" else start(real, keyring={"key_id": alias_of(old)}).boto()
    bucket, keys = new_bucket(behind), ["parts0", "whole0"]
    for key in keys:
        store(client, bucket, key, body_of(key))
    Writer(relayed, lambda key: behind.delete_object(Bucket=bucket, Key=key))
    refused(run(running, job, f"s3://{bucket}", "--report", tmp_path / "report"), 74, "objects failed")
    found = rows(tmp_path / "report", job)
    assert sorted((row["Key"], row["TaskStatus"], row["ErrorCode"]) for row in found) == [(key, "failed", "NoSuchKey") for key in keys]
    assert behind.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
    assert not behind.list_multipart_uploads(Bucket=bucket).get("Uploads")


def make_plaintext(store, bucket, key, body):
    """Makes an object of the embedded store one that was there before the proxy."""
    _, record = store.split(store.file(bucket, key))
    record = {name: value for name, value in record.items() if name not in ("attributes", "checksums")}
    record |= {"size": len(body), "etag": hashlib.md5(body).hexdigest()}
    store.file(bucket, key).write_bytes(b"%b\n%b\n" % (body, json.dumps(record).encode()))


def write_until(stop, client, bucket, keys, last):
    """Stores new contents under random keys, and notes what was stored last. Every key is written by one thread alone."""
    generator, count = random.Random(keys[0]), 0
    while not stop.is_set():
        key = generator.choice(keys)
        count += 1
        content = f"{key} for the {count}th time".encode()
        client.put_object(Bucket=bucket, Key=key, Body=content)
        last[key] = content


def test_writers_that_never_rest_lose_nothing(tmp_path):
    """Two writers through a proxy beside `encrypt` and `rewrap`, on a store that all of them share."""
    backend = embedded_backend(tmp_path)
    formats = {"formats": {"write": "native", "read": EVERYTHING}}
    with Proxy(tmp_path / "proxy", backend.upstream, backend.keyring, {"bucket": [{"name": "*", **formats}]}) as proxy:
        client = proxy.boto(max_pool_connections=4)
        bucket, keys = new_bucket(client), [f"k{number}" for number in range(60)]
        last = {key: key.encode() for key in keys}
        for key in keys:
            client.put_object(Bucket=bucket, Key=key, Body=last[key])
            make_plaintext(backend.store, bucket, key, last[key])
        for job, prepare in (("encrypt", None), ("rewrap", "keygen")):
            if prepare:
                succeeded(run(proxy, prepare, "--rotate"))
                reload(proxy)
            stop = threading.Event()
            writers = [
                threading.Thread(target=write_until, args=(stop, proxy.boto(), bucket, keys[half::2], last)) for half in range(2)
            ]
            for writer in writers:
                writer.start()
            process = begin(proxy, job, f"s3://{bucket}", "--concurrency", 4, "--report", tmp_path / job)
            out, err = process.communicate(timeout=120)
            stop.set()
            for writer in writers:
                writer.join()
            assert process.returncode in (0, 75), (process.returncode, out, err)
            found = rows(tmp_path / job, job)
            assert sorted(row["Key"] for row in found) == sorted(keys)
            assert {row["TaskStatus"] for row in found} <= {"succeeded", "raced"}, found
            assert summary(tmp_path / job, job)["rows"] == len(keys)
            for key in keys:
                assert client.get_object(Bucket=bucket, Key=key)["Body"].read() == last[key], (job, key)
            # What was changed each time is done now.
            succeeded(run(proxy, job, "--failed-from", tmp_path / job, "--report", tmp_path / f"{job}-again"))
            for key in keys:
                assert "encryption-envelope" in backend.store.read(bucket, key).metadata, (job, key)
                assert client.get_object(Bucket=bucket, Key=key)["Body"].read() == last[key], (job, key)
        succeeded(run(proxy, "verify", f"s3://{bucket}"))


def test_a_storage_that_throttles_is_waited_for_and_one_that_does_not_stop_is_75(start, real, localstack, behind, tmp_path):
    storage = Faulty(localstack[0])
    try:
        running = start(real, upstream={"endpoint": storage.endpoint, "max_retries": 0})
        client = start(real).boto()
        bucket, keys = new_bucket(client), [f"k{number}" for number in range(20)] + ["never"]
        for key in keys:
            client.put_object(Bucket=bucket, Key=key, Body=os.urandom(10))
        storage.on(rf"GET /{bucket}/k\d+", instead=error(503, "SlowDown"), times=12)
        storage.on(rf"GET /{bucket}/never", instead=error(503, "SlowDown"), times=1_000)
        report, file = tmp_path / "report", tmp_path / "metrics.prom"
        refused(run(running, "verify", f"s3://{bucket}", "--report", report, "--metrics", file), 75, "1 objects were throttled")
        found = {row["Key"]: row for row in rows(report)}
        assert sorted(found) == sorted(keys)
        assert {row["TaskStatus"] for key, row in found.items() if key != "never"} == {"succeeded"}
        never = found["never"]
        assert (never["TaskStatus"], never["ErrorCode"], never["HTTPStatusCode"]) == ("failed", "SlowDown", "503")
        counted = metrics_of(file)
        labels = 'task="verify",shard="0"'
        assert counted[f"s3veil_job_exit_code{{{labels}}}"] == 75
        assert counted[f's3veil_job_retries_total{{{labels},reason="throttled"}}'] == 12 + 4
        assert counted[f"s3veil_job_backoffs_total{{{labels}}}"] >= 2
        assert 1 <= counted[f"s3veil_job_window{{{labels}}}"] <= 16
        assert counted[f's3veil_job_rows_total{{{labels},status="failed"}}'] == 1
        assert counted[f's3veil_job_requests_total{{{labels},kind="read"}}'] == summary(report)["read_requests"]
        calls = [value for name, value in counted.items() if name.startswith("s3veil_keyring_calls_total")]
        assert sum(calls) == summary(report)["kms_calls"] > 0
        assert any(name.startswith("s3veil_keyring_call_duration_seconds_sum") for name in counted)
    finally:
        storage.stop()
