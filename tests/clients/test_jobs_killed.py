"""Jobs whose shards are killed with SIGKILL again and again: nothing is lost, each row is reported once, and a second run changes nothing.

The embedded store's files are written directly, since no proxy stores plaintext. S3VEIL_TEST_JOB_OBJECTS says how many objects;
`scripts/test full` takes 20,000, the quick suite a few hundred."""

import hashlib
import json
import os
import random
import signal
import time

import pytest

from conftest import embedded_backend
from proxy import Proxy
from test_jobs_frame import begin, rows, run, succeeded, summary

FULL = os.environ.get("S3VEIL_TEST_LARGE_MIB") == "1024"
OBJECTS = int(os.environ.get("S3VEIL_TEST_JOB_OBJECTS") or (20_000 if FULL else 200))
SHARDS, BUCKET = 8, "jobs"
# A shard is killed up to so often, each time after a part of what an undisturbed one takes.
KILLS = 6 if FULL else 2
PART = 5 * 1024 * 1024


def content(number):
    return hashlib.sha256(str(number).encode()).digest() * (number % 40)


@pytest.fixture
def bucket(tmp_path):
    """A proxy over a store with plaintext, native objects, and uploads in parts, even and uneven."""
    backend = embedded_backend(tmp_path)
    upstream = backend.upstream | {"embedded_shared": True, "embedded_sync": "off"}
    rule = {"name": "*", "formats": {"write": "native", "read": ["native", "plaintext"]}}
    with Proxy(tmp_path / "proxy", upstream, backend.keyring, {"bucket": [rule]}) as proxy:
        client = proxy.boto()
        client.create_bucket(Bucket=BUCKET)
        client.put_object(Bucket=BUCKET, Key="probe", Body=b"probe")
        _, record = backend.store.split(backend.store.file(BUCKET, "probe"))
        client.delete_object(Bucket=BUCKET, Key="probe")
        expected = {}
        for number in range(OBJECTS):
            expected[store_one(client, backend.store, number, record)] = content(number)
        for number in range(3):
            parts = [os.urandom(PART), os.urandom(PART + number), os.urandom(17)]
            expected[f"parts/{number}"] = b"".join(parts)
            upload_parts(client, f"parts/{number}", parts)
        yield proxy, backend, expected


def store_one(client, store, number, sample):
    """Nine of ten objects are plaintext."""
    if number % 10 == 0:
        key = f"native/{number}"
        client.put_object(Bucket=BUCKET, Key=key, Body=content(number), Metadata={"mine": str(number)})
        return key
    key, body = f"data/{number % 97}/{number}", content(number)
    record = {name: value for name, value in sample.items() if name not in ("attributes", "checksums", "checksum", "parts")}
    record |= {"key": key, "size": len(body), "etag": hashlib.md5(body).hexdigest(), "attributes": {"metadata": {"mine": str(number)}}}
    store.file(BUCKET, key).write_bytes(b"%b\n%b\n" % (body, json.dumps(record).encode()))
    return key


def upload_parts(client, key, parts):
    place = {"Bucket": BUCKET, "Key": key}
    place["UploadId"] = client.create_multipart_upload(**place)["UploadId"]
    made = [
        {"PartNumber": number, "ETag": client.upload_part(PartNumber=number, Body=part, **place)["ETag"]}
        for number, part in enumerate(parts, 1)
    ]
    client.complete_multipart_upload(MultipartUpload={"Parts": made}, **place)


def run_killed(proxy, job, manifest, report):
    """Runs every shard, two at a time, and kills each a few times before it may end."""
    kills, running, waiting = {}, {}, list(range(SHARDS))
    killed = 0
    while waiting or running:
        while waiting and len(running) < 2:
            shard = waiting.pop(0)
            process = begin(
                proxy, job, "--manifest", manifest, "--bucket", BUCKET, "--manifest-format", "lines",
                "--shards", SHARDS, "--shard", shard, "--report", report,
            )  # fmt: skip
            patience = random.uniform(0.05, 3 if FULL else 0.6) if kills.get(shard, 0) < KILLS else None
            running[shard] = (process, time.monotonic(), patience)
        for shard, (process, began, patience) in list(running.items()):
            if process.poll() is not None:
                out, err = process.communicate()
                assert process.returncode == 0, (process.returncode, out, err)
                del running[shard]
            elif patience is not None and time.monotonic() - began > patience:
                process.kill()
                process.communicate()
                kills[shard] = kills.get(shard, 0) + 1
                killed += 1
                del running[shard]
                waiting.append(shard)
        time.sleep(0.01)
    return killed


def assert_reported_once(proxy, job, report, expected):
    merged = json.loads(succeeded(run(proxy, "report", report, "--format", "json")).stdout)
    assert (merged["rows"], merged["failed"], merged["problems"]) == (len(expected), 0, []), merged
    found = [row for shard in range(SHARDS) for row in rows(report, job, shard, SHARDS)]
    assert sorted(row["Key"] for row in found) == sorted(expected)
    assert {row["TaskStatus"] for row in found} == {"succeeded"}
    return found


def assert_contents(proxy, expected):
    client = proxy.boto(max_pool_connections=8)
    for number, (key, content) in enumerate(expected.items()):
        if OBJECTS > 1_000 and number % 20 and not key.startswith("parts/"):
            continue
        found = client.get_object(Bucket=BUCKET, Key=key)
        assert found["Body"].read() == content, key
        if key.startswith("data/"):
            assert found["Metadata"] == {"mine": key.rpartition("/")[2]}


def test_killed_shards_lose_nothing_and_report_each_row_once(bucket, tmp_path):
    proxy, backend, expected = bucket
    manifest = tmp_path / "keys.txt"
    manifest.write_text("\n".join(expected) + "\n")
    etags = {key: backend.store.split(backend.store.file(BUCKET, key))[1]["etag"] for key in expected if key.startswith("parts/")}

    began = time.monotonic()
    killed = run_killed(proxy, "encrypt", manifest, tmp_path / "encrypt")
    assert_reported_once(proxy, "encrypt", tmp_path / "encrypt", expected)
    print(f"encrypt: {len(expected)} objects, {killed} kills, {time.monotonic() - began:.0f} s")
    assert not backend.store.contains(BUCKET, content(39)[:64]), "plaintext is left in the store"
    assert_contents(proxy, expected)

    # Again: nothing is written.
    before = {path: path.stat().st_mtime_ns for path in (backend.store.root / BUCKET).iterdir()}
    run_killed(proxy, "encrypt", manifest, tmp_path / "again")
    found = assert_reported_once(proxy, "encrypt", tmp_path / "again", expected)
    assert {row["ResultMessage"] for row in found} == {"unchanged"}
    assert {path: path.stat().st_mtime_ns for path in (backend.store.root / BUCKET).iterdir()} == before

    # To another key, and the old one goes.
    loaded = "s3veil_config_loaded_timestamp_seconds"
    at = proxy.metrics()[loaded]
    old = summary_keys(tmp_path / "again")
    succeeded(run(proxy, "keygen", "--rotate"))
    proxy.process.send_signal(signal.SIGHUP)
    while proxy.metrics()[loaded] == at:
        time.sleep(0.05)
    began = time.monotonic()
    killed = run_killed(proxy, "rewrap", manifest, tmp_path / "rewrap")
    assert_reported_once(proxy, "rewrap", tmp_path / "rewrap", expected)
    print(f"rewrap: {killed} kills, {time.monotonic() - began:.0f} s")
    counted = succeeded(run(proxy, "keys", f"s3://{BUCKET}", "--key-id", old))
    assert f"0 under {old}" in counted.stdout, counted.stdout
    assert {key: backend.store.split(backend.store.file(BUCKET, key))[1]["etag"] for key in etags}.keys() == etags.keys()
    for key, etag in etags.items():
        assert backend.store.split(backend.store.file(BUCKET, key))[1]["etag"].rpartition("-")[2] == etag.rpartition("-")[2]

    began = time.monotonic()
    killed = run_killed(proxy, "verify", manifest, tmp_path / "verify")
    assert_reported_once(proxy, "verify", tmp_path / "verify", expected)
    print(f"verify: {killed} kills, {time.monotonic() - began:.0f} s")
    assert_contents(proxy, expected)


def summary_keys(report):
    """The one key that all objects are under."""
    names = set()
    for shard in range(SHARDS):
        names |= set(summary(report, "encrypt", shard, SHARDS)["keys_before"])
    assert len(names) == 1, names
    return names.pop()
