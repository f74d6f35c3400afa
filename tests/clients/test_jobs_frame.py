"""Jobs over whole buckets as processes: inputs, shards, reports, exit codes and signals. What a job does with one object is tested
elsewhere."""

import csv
import gzip
import hashlib
import io
import json
import os
import re
import signal
import subprocess
import time
import urllib.parse
from pathlib import Path

import pytest
import yaml

from backing import file_name
from conftest import embedded_backend, new_bucket
from ports import free_port
from proxy import Proxy, binary, toml_text

JOBS = Path(__file__).resolve().parents[2] / "deploy" / "jobs"
COLUMNS = ["Bucket", "Key", "VersionId", "TaskStatus", "ErrorCode", "HTTPStatusCode", "ResultMessage"]
INVENTORY = "Bucket, Key, VersionId, IsLatest, IsDeleteMarker, Size, LastModifiedDate, ETag, StorageClass"


def environment(**more):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "S3VEIL_", "SLURM_", "JOB_"))}
    return kept | {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true"} | more


def run(proxy, *arguments, env=None, stdin=None, cwd=None, timeout=120):
    done = subprocess.run(
        [binary(), *map(str, arguments), "--config", proxy.config],
        capture_output=True, text=True, timeout=timeout, input=stdin or "", env=environment(**(env or {})), cwd=cwd,
    )  # fmt: skip
    assert "panicked" not in done.stderr, done.stderr
    return done


def begin(proxy, *arguments):
    return subprocess.Popen(
        [binary(), *map(str, arguments), "--config", proxy.config],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(),
    )  # fmt: skip


def told(done):
    return done.stdout + done.stderr


def succeeded(done):
    assert done.returncode == 0, (done.returncode, told(done))
    return done


def refused(done, code, *said):
    assert done.returncode == code, (done.returncode, told(done))
    for text in said:
        assert text in told(done), (text, told(done))
    return done


def rows_of(text):
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in csv.reader(io.StringIO(text))]
    return [row | {"Key": urllib.parse.unquote(row["Key"])} for row in rows]


def rows(report, name="verify", shard=0, shards=1):
    return rows_of((report / f"{name}-{shard:05}-of-{shards:05}.csv").read_text())


def summary(report, name="verify", shard=0, shards=1):
    return json.loads((report / f"{name}-{shard:05}-of-{shards:05}.json").read_text())


def filled(proxy, bucket, keys):
    client = proxy.boto()
    for key in keys:
        client.put_object(Bucket=bucket, Key=key, Body=key.encode())
    return sorted(keys, key=lambda key: key.encode())


ODD = ["a b", "a+b", "a,b\"c'", "é/ü", "x%2Fy", "deep/er/path", "🦀"]


@pytest.fixture
def bucket(proxy):
    return new_bucket(proxy.boto())


@pytest.fixture
def own(tmp_path):
    """An embedded proxy of this test's own, and its storage."""
    backend = embedded_backend(tmp_path)
    with Proxy(tmp_path / "proxy", backend.upstream, backend.keyring) as running:
        yield running, backend.store


def test_each_object_has_one_row(proxy, bucket, tmp_path):
    keys = filled(proxy, bucket, ODD + [f"n{number}" for number in range(20)])
    report = tmp_path / "report"
    done = succeeded(run(proxy, "verify", f"s3://{bucket}", "--report", report))
    found = rows(report)
    assert [row["Key"] for row in found] != [] and sorted(row["Key"] for row in found) == sorted(keys)
    assert {row["TaskStatus"] for row in found} == {"succeeded"} and {row["Bucket"] for row in found} == {bucket}
    written = summary(report)
    counts = (written["rows"], written["succeeded"], written["failed"], written["bytes"], written["ending"])
    assert counts == (len(keys), len(keys), 0, sum(len(key.encode()) for key in keys), "complete")
    assert written["report_schema"] == ", ".join(COLUMNS) and written["read_requests"] > len(keys)
    assert written["formats"] == {"native": len(keys)} and written["kms_calls"] >= 1
    assert f"rows        {len(keys)}" in done.stdout
    assert (report / "verify-00000-of-00001.failed.csv").read_text() == ""
    merged = json.loads(succeeded(run(proxy, "report", report, "--format", "json")).stdout)
    assert (merged["rows"], merged["problems"], merged["shards_found"]) == (len(keys), [], 1)
    prefixed = succeeded(run(proxy, "verify", f"s3://{bucket}/n1", "--format", "json"))
    assert json.loads(prefixed.stdout)["rows"] == 11


def test_shards_list_in_parallel_and_add_up(proxy, bucket, tmp_path):
    keys = filled(proxy, bucket, [f"{folder}/{number}" for folder in "abc" for number in range(15)] + ODD)
    report, shards = tmp_path / "report", 4
    started = [begin(proxy, "verify", f"s3://{bucket}", "--shards", shards, "--shard", shard, "--report", report) for shard in range(3)]
    for process in started:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, out + err
    refused(run(proxy, "report", report), 75, "missing 1 of 4 shards: 3")
    succeeded(run(proxy, "verify", f"s3://{bucket}", "--report", report, env={"S3VEIL_SHARD": "3/4"}))
    parts = [[row["Key"] for row in rows(report, shard=shard, shards=shards)] for shard in range(shards)]
    assert sorted(sum(parts, [])) == sorted(keys) and max(map(len, parts)) < len(keys)
    assert f"rows        {len(keys)}" in succeeded(run(proxy, "report", report)).stdout
    other = new_bucket(proxy.boto())
    refused(run(proxy, "verify", f"s3://{other}", "--shards", 4, "--shard", 0, "--report", report), 64, f"s3://{bucket}/")
    refused(run(proxy, "verify", f"s3://{bucket}", "--shards", 4, "--shard", 0), 64, "requires --report")


def test_manifests(proxy, bucket, tmp_path):
    keys = filled(proxy, bucket, ODD)
    manifest = tmp_path / "m.csv"
    for quote in (urllib.parse.quote, urllib.parse.quote_plus):
        manifest.write_text("Bucket,Key\n" + "".join(f"{bucket},{quote(key)}\n" for key in keys))
        report = tmp_path / quote.__name__
        succeeded(run(proxy, "verify", "--manifest", manifest, "--report", report))
        assert sorted(row["Key"] for row in rows(report)) == sorted(keys)
    lines = "\n".join(keys) + "\n"
    report = tmp_path / "lines"
    succeeded(run(proxy, "verify", "-", "--bucket", bucket, "--report", report, stdin=lines))
    assert sorted(row["Key"] for row in rows(report)) == sorted(keys)
    # In two shards, each row is in one of them, and each knows how many there are.
    report = tmp_path / "halves"
    for shard in (0, 1):
        succeeded(run(proxy, "verify", "--manifest", manifest, "--shards", 2, "--shard", shard, "--report", report))
    halves = [row["Key"] for shard in (0, 1) for row in rows(report, shard=shard, shards=2)]
    assert sorted(halves) == sorted(keys) and summary(report, shards=2)["input_rows"] == len(keys)
    succeeded(run(proxy, "report", report))


def inventory(bucket, names, **changes):
    rows = [[bucket, urllib.parse.quote(name), "", "true", "false", "1", "2026-01-31T12:00:00.000Z", "e", "STANDARD"] for name in names]
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL).writerows(rows)
    data = gzip.compress(out.getvalue().encode())
    entry = {"key": "inv/data/1.csv.gz", "size": len(data), "MD5checksum": hashlib.md5(data).hexdigest()}
    manifest = {"sourceBucket": bucket, "version": "2016-11-30", "fileFormat": "CSV", "fileSchema": INVENTORY, "files": [entry]}
    return data, json.dumps(manifest | changes).encode()


def test_an_inventory_of_the_storage_and_one_through_the_proxy(proxy, backend, bucket, tmp_path):
    keys = filled(proxy, bucket, ODD)
    inventories = new_bucket(proxy.boto())
    data, manifest = inventory(bucket, keys)
    files = {"inv/data/1.csv.gz": data, "inv/2026/manifest.json": manifest}
    for key, content in files.items():
        proxy.boto().put_object(Bucket=inventories, Key=key, Body=content)
    url = f"s3://{inventories}/inv/2026/manifest.json"
    for place in ("opened", "plain"):
        report = tmp_path / place
        succeeded(run(proxy, "verify", url, "--report", report))
        assert sorted(row["Key"] for row in rows(report)) == sorted(keys)
        if backend.name != "localstack":
            break
        for key, content in files.items():
            backend.store.client.put_object(Bucket=inventories, Key=key, Body=content)
    (tmp_path / "manifest.json").write_bytes(manifest)
    (tmp_path / "1.csv.gz").write_bytes(data)
    succeeded(run(proxy, "verify", "--manifest", tmp_path / "manifest.json", "--larger-than", "1GiB"))
    (tmp_path / "1.csv.gz").write_bytes(data[:-1] + b"x")
    refused(run(proxy, "verify", "--manifest", tmp_path / "manifest.json"), 65, "1.csv.gz is damaged")


def test_wrong_manifests_are_refused_before_anything_is_done(proxy, bucket, tmp_path):
    filled(proxy, bucket, ["k"])
    report = tmp_path / "report"
    for name, content, said in [
        ("a.csv", "just-one-column\n", "a.csv:1: column 2"),
        ("b.csv", f"{bucket},k,v,w\n", "b.csv:1: column 4"),
        ("c.csv", f"{bucket},%zz\n", "c.csv:1: column 2"),
        ("d.txt", "key-without-bucket\n", "--bucket"),
        ("e.json", "{}", "no manifest.json"),
        ("f.json", inventory(bucket, ["k"], fileFormat="ORC")[1].decode(), "ORC is not supported: set the inventory's format to CSV"),
        ("g.json", inventory(bucket, ["k"], fileSchema="Bucket, Size")[1].decode(), "missing column Key"),
    ]:
        (tmp_path / name).write_text(content)
        refused(run(proxy, "verify", "--manifest", tmp_path / name, "--report", report), 64, said)
    refused(run(proxy, "verify", "--manifest", tmp_path / "missing.csv"), 74, "missing.csv")
    refused(run(proxy, "verify", "--manifest", tmp_path / "a.csv", "--older-than", "1d"), 64)
    assert not report.exists()


def test_a_bad_row_later_on_is_a_failed_row(proxy, bucket, tmp_path):
    filled(proxy, bucket, ["k", "l"])
    (tmp_path / "m.csv").write_text(f"{bucket},k\n{bucket},%zz\n{bucket},l\n")
    report = tmp_path / "report"
    refused(run(proxy, "verify", "--manifest", tmp_path / "m.csv", "--report", report), 64, "1 rows of the input can't be read")
    found = {row["Key"]: row for row in rows(report)}
    assert len(found) == 3 and found["%zz"]["ErrorCode"] == "InvalidRow" and "m.csv:2: column 2" in found["%zz"]["ResultMessage"]


@pytest.mark.parametrize(
    "variables",
    [
        {"S3VEIL_SHARD": "1/2"},
        {"JOB_COMPLETION_INDEX": "1", "S3VEIL_SHARDS": "2"},
        {"AWS_BATCH_JOB_ARRAY_INDEX": "1", "AWS_BATCH_JOB_ARRAY_SIZE": "2"},
        {"SLURM_ARRAY_TASK_ID": "5", "SLURM_ARRAY_TASK_MIN": "4", "SLURM_ARRAY_TASK_MAX": "5", "SLURM_ARRAY_TASK_COUNT": "2"},
    ],
    ids=lambda variables: next(iter(variables)),
)
def test_engines_name_the_shard(own, tmp_path, variables):
    proxy, _ = own
    bucket = new_bucket(proxy.boto())
    filled(proxy, bucket, ["k"])
    lines = "".join(f"{number}\n" for number in range(20))
    done = run(proxy, "keys", "-", "--bucket", bucket, "--format", "json", "--dry-run", env=variables, stdin=lines)
    counted = json.loads(done.stdout)
    assert (counted["shard"], counted["shards"], counted["input_rows"]) == (1, 2, 20) and 0 < counted["rows"] < 20
    other = {"S3VEIL_SHARD": "0/2"} | variables if "S3VEIL_SHARD" not in variables else variables | {"S3VEIL_SHARDS": "3"}
    refused(run(proxy, "keys", f"s3://{bucket}", env=other), 64, "remove one of them")


def altered(store, bucket, key):
    """Flips a bit of the stored body."""
    path = store.root / bucket / file_name(key)
    content = bytearray(path.read_bytes())
    content[20] ^= 1
    path.write_bytes(content)


def test_an_object_that_is_not_authentic_ends_in_65(own, tmp_path):
    proxy, store = own
    bucket = new_bucket(proxy.boto())
    filled(proxy, bucket, ["good", "bad one", "k"])
    altered(store, bucket, "bad one")
    report, again = tmp_path / "report", tmp_path / "again"
    refused(run(proxy, "verify", f"s3://{bucket}", "--report", report), 65, "1 objects failed authentication", f"s3://{bucket}/bad one")
    assert (report / "verify-00000-of-00001.failed.csv").read_text() == f"{bucket},bad%20one\n"
    refused(run(proxy, "report", report), 65)
    refused(run(proxy, "verify", "--failed-from", report, "--report", again), 65)
    assert [row["Key"] for row in rows(again)] == ["bad one"]
    # A manifest like any other.
    refused(run(proxy, "verify", "--manifest", report / "verify-00000-of-00001.failed.csv"), 65)
    altered(store, bucket, "bad one")
    succeeded(run(proxy, "verify", "--failed-from", report))
    empty = succeeded(run(proxy, "verify", "--failed-from", again.parent / "again", "--key-id", "x", "--format", "json"))
    assert json.loads(empty.stdout)["skipped"] == 1


def test_an_input_of_nothing_is_a_warning(own):
    proxy, _ = own
    bucket = new_bucket(proxy.boto())
    assert "WARNING: the input has no objects" in succeeded(run(proxy, "verify", f"s3://{bucket}")).stdout
    refused(run(proxy, "verify", "s3://no-such-bucket-here"), 64, "NoSuchBucket")


def test_a_storage_that_is_away_is_69(tmp_path):
    backend = embedded_backend(tmp_path)
    upstream = {"endpoint": f"http://127.0.0.1:{free_port()}", "access_key_id": "a", "secret_access_key": "b", "max_retries": 0}
    proxy = Proxy(tmp_path / "proxy", upstream, backend.keyring)
    proxy.config.write_text(toml_text(proxy.configuration()))
    refused(run(proxy, "verify", "-", "--bucket", "b", stdin="k\n" * 100), 69, "was away for")
    done = run(proxy, "verify", "-", "--bucket", "b", stdin="k\n")
    refused(done, 69, "objects failed because the storage or a key holder was away")


def test_a_stopped_job_is_75_and_goes_on_when_it_is_run_again(own, tmp_path):
    proxy, _ = own
    bucket = new_bucket(proxy.boto())
    keys = filled(proxy, bucket, [f"k{number}" for number in range(60)])
    report = tmp_path / "report"
    process = begin(proxy, "verify", f"s3://{bucket}", "--rate", "2/s", "--report", report)
    line = json.loads(process.stderr.readline())
    assert line["event"] == "progress" and 0 < line["rows"] < len(keys)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 75 and "INCOMPLETE" in out, (process.returncode, out, err)
    stopped = summary(report)
    assert stopped["ending"] == "interrupted" and 0 < stopped["rows"] == len(rows(report)) < len(keys)
    refused(run(proxy, "report", report), 75, "shard 0 is incomplete")
    succeeded(run(proxy, "verify", f"s3://{bucket}", "--report", report))
    assert sorted(row["Key"] for row in rows(report)) == sorted(keys)
    succeeded(run(proxy, "report", report))


def test_a_killed_job_leaves_what_no_one_takes_for_a_report(own, tmp_path):
    proxy, _ = own
    bucket = new_bucket(proxy.boto())
    keys = filled(proxy, bucket, [f"k{number}" for number in range(30)])
    report = tmp_path / "report"
    process = begin(proxy, "verify", f"s3://{bucket}", "--rate", "2/s", "--report", report)
    while not any(report.glob("*.partial")):
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.communicate(timeout=60)
    refused(run(proxy, "report", report), 75, "no shard has ended")
    succeeded(run(proxy, "verify", f"s3://{bucket}", "--report", report))
    assert len(rows(report)) == len(keys)
    # Killed once more, the report before it is still whole.
    process = begin(proxy, "verify", f"s3://{bucket}", "--rate", "2/s", "--report", report)
    while len(list(report.glob("*.partial"))) < 4:
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.communicate(timeout=60)
    succeeded(run(proxy, "report", report))


def test_samples_and_filters(own, tmp_path):
    proxy, _ = own
    bucket = new_bucket(proxy.boto())
    keys = filled(proxy, bucket, [f"k{number}" for number in range(100)])

    def sampled(seed):
        report = tmp_path / f"sample{seed}"
        succeeded(run(proxy, "verify", f"s3://{bucket}", "--sample", "20%", "--seed", seed, "--report", report))
        written = summary(report)
        assert written["seed"] == seed and written["rows"] + written["not_sampled"] == len(keys)
        return sorted(row["Key"] for row in rows(report))

    assert sampled(1) == sampled(1) != sampled(2) and 0 < len(sampled(1)) < 50
    report = tmp_path / "filtered"
    succeeded(run(proxy, "verify", f"s3://{bucket}", "--older-than", "1d", "--report", report))
    assert len(rows(report)) == len(keys) and {row["TaskStatus"] for row in rows(report)} == {"skipped"}
    assert {row["ErrorCode"] for row in rows(report)} == {"Filtered"}


def test_keys_counts_and_proves(own, tmp_path):
    proxy, _ = own
    bucket = new_bucket(proxy.boto())
    filled(proxy, bucket, ["a", "b"])
    counted = succeeded(run(proxy, "keys", f"s3://{bucket}", "--versions", "current", "--format", "json"))
    assert json.loads(counted.stdout)["keys_before"] == {"test-key": {"objects": 2, "versions": 2, "bytes": 2}}
    some = succeeded(run(proxy, "keys", f"s3://{bucket}", "--versions", "current", "--key-id", "test-key"))
    assert "2 under test-key" in some.stdout
    none = succeeded(run(proxy, "keys", f"s3://{bucket}", "--versions", "current", "--key-id", "old-key"))
    assert "0 under old-key: NO PROOF, older versions were not looked at" in none.stdout
    (tmp_path / "m.csv").write_text(f"{bucket},a\n{bucket},b\n")
    proven = succeeded(run(proxy, "keys", "--manifest", tmp_path / "m.csv", "--key-id", "old-key"))
    assert "\n0 under old-key\n" in proven.stdout


def test_arguments_that_contradict_or_endanger_are_refused(own, tmp_path):
    proxy, _ = own
    bucket = new_bucket(proxy.boto())
    url = f"s3://{bucket}"
    refused(run(proxy, "decrypt", url), 64, "decrypt requires --to", "--in-place")
    refused(run(proxy, "encrypt", url, "--to", tmp_path), 64, "encrypt writes to s3://")
    refused(run(proxy, "verify", url, "--report", f"{url}/reports"), 64, "--report is among the objects")
    refused(run(proxy, "decrypt", url, "--to", f"{url}/plain"), 64, "--to is among the objects")
    refused(run(proxy, "verify"), 64, "missing input")
    refused(run(proxy, "verify", url, "--shard", 1), 64)
    refused(run(proxy, "report", tmp_path / "nothing"), 74)
    (tmp_path / "empty").mkdir()
    refused(run(proxy, "report", tmp_path / "empty"), 64, "no report of a job")
    dry = succeeded(run(proxy, "encrypt", url, "--dry-run"))
    assert "dry run: nothing was written" in dry.stdout and "would be" in dry.stdout


def test_a_report_in_a_bucket_is_plaintext(proxy, backend, bucket):
    keys = filled(proxy, bucket, ODD)
    reports = new_bucket(proxy.boto())
    place = f"s3://{reports}/runs/1"
    for shard in (0, 1):
        succeeded(run(proxy, "verify", f"s3://{bucket}", "--report", place, "--shards", 2, "--shard", shard))
    merged = json.loads(succeeded(run(proxy, "report", place, "--format", "json")).stdout)
    assert (merged["rows"], merged["problems"]) == (len(keys), [])
    stored = [backend.store.read(reports, f"runs/1/verify-{shard:05}-of-00002.csv").body.decode() for shard in (0, 1)]
    assert sorted(row["Key"] for text in stored for row in rows_of(text)) == sorted(keys)
    empty = json.loads(succeeded(run(proxy, "verify", "--failed-from", place, "--format", "json")).stdout)
    assert (empty["rows"], empty["ending"]) == (0, "complete")


def test_older_versions_are_listed_on_request(proxy, backend, bucket, tmp_path):
    if backend.name != "localstack":
        pytest.skip("the embedded store keeps no versions")
    client = proxy.boto()
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    for key in ("k", "é+ x", "k", "é+ x", "gone"):
        client.put_object(Bucket=bucket, Key=key, Body=b"x")
    client.delete_object(Bucket=bucket, Key="gone")
    expected = {"current": ["k", "é+ x"], "all": ["gone", "k", "k", "é+ x", "é+ x"]}
    for versions, keys in expected.items():
        report = tmp_path / versions
        succeeded(run(proxy, "verify", f"s3://{bucket}", "--versions", versions, "--report", report))
        assert sorted(row["Key"] for row in rows(report)) == keys
    names = [(row["Key"], row["VersionId"]) for row in rows(tmp_path / "all")]
    assert len(set(names)) == len(names) and all(version for _, version in names)
    counted = json.loads(succeeded(run(proxy, "keys", f"s3://{bucket}", "--format", "json")).stdout)
    (count,) = counted["keys_before"].values()
    assert (count["objects"], count["versions"], count["bytes"]) == (2, 5, 5)
    shared = tmp_path / "shared"
    for shard in (0, 1):
        succeeded(run(proxy, "verify", f"s3://{bucket}", "--versions", "all", "--shards", 2, "--shard", shard, "--report", shared))
    halves = [row["Key"] for shard in (0, 1) for row in rows(shared, shard=shard, shards=2)]
    assert sorted(halves) == expected["all"]


@pytest.mark.timeout(600)
def test_a_million_rows_take_little_memory(own, tmp_path):
    proxy, _ = own
    report, manifest = tmp_path / "report", tmp_path / "m.json"
    line = '"b","prefix/of/a/key/that/is/not/short/{:09}","v1","false","false","7","2026-01-31T12:00:00.000Z","e","STANDARD"\n'
    data = gzip.compress("".join(line.format(number) for number in range(1_000_000)).encode(), 1)
    (tmp_path / "1.csv.gz").write_bytes(data)
    manifest.write_text(json.dumps({"fileFormat": "CSV", "fileSchema": INVENTORY, "files": [{"key": "1.csv.gz"}]}))
    process = begin(proxy, "verify", "--manifest", manifest, "--report", report)
    # Of the process itself: the usage that it leaves counts what it was forked from.
    most = 0
    while process.poll() is None:
        try:
            lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        except OSError:
            break
        most = max([most, *(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))])
        time.sleep(0.05)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, out + err
    assert summary(report)["skipped"] == summary(report)["input_rows"] == 1_000_000
    with (report / "verify-00000-of-00001.csv").open() as lines:
        assert sum(1 for _ in lines) == 1_000_000
    assert 0 < most < 150 * 1024, f"{most} KiB"


def test_a_job_writes_to_a_store_that_a_proxy_serves(tmp_path):
    """The embedded store locks keys between processes, so a job beside a running proxy loses nothing."""
    backend = embedded_backend(tmp_path)
    upstream = {name: value for name, value in backend.upstream.items() if name != "embedded_shared"}
    formats = {"formats": {"write": "native", "read": ["native", "plaintext"]}}
    with Proxy(tmp_path / "proxy", upstream, backend.keyring, {"bucket": [{"name": "*", **formats}]}) as proxy:
        client = proxy.boto()
        bucket = new_bucket(client)
        keys = [f"k{number}" for number in range(40)]
        filled(proxy, bucket, keys)
        loaded = "s3veil_config_loaded_timestamp_seconds"
        before = proxy.metrics()[loaded]
        succeeded(run(proxy, "keygen", "--rotate"))
        proxy.process.send_signal(signal.SIGHUP)
        while proxy.metrics()[loaded] == before:
            time.sleep(0.05)
        process = begin(proxy, "rewrap", f"s3://{bucket}", "--report", tmp_path / "report")
        for key in keys[::2]:
            client.put_object(Bucket=bucket, Key=key, Body=b"new " + key.encode())
        out, err = process.communicate(timeout=120)
        assert process.returncode in (0, 75), out + err
        assert any(row["ResultMessage"] != "unchanged" for row in rows(tmp_path / "report", "rewrap"))
        for place, key in enumerate(keys):
            content = key.encode() if place % 2 else b"new " + key.encode()
            assert client.get_object(Bucket=bucket, Key=key)["Body"].read() == content


def test_deploy_files_are_what_they_say():
    job = yaml.safe_load((JOBS / "kubernetes-indexed-job.yaml").read_text())
    spec = job["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    shards = {variable["name"]: variable["value"] for variable in container["env"]}["S3VEIL_SHARDS"]
    assert (spec["completionMode"], str(spec["completions"])) == ("Indexed", shards)
    rules = {rule["action"]: rule["onExitCodes"]["values"] for rule in spec["podFailurePolicy"]["rules"] if "onExitCodes" in rule}
    assert rules == {"FailIndex": [64, 65, 77], "Ignore": [75]}
    assert spec["template"]["spec"]["restartPolicy"] == "Never" and "backoffLimitPerIndex" in spec
    assert container["securityContext"]["readOnlyRootFilesystem"] and spec["template"]["spec"]["terminationGracePeriodSeconds"] > 25
    batch = json.loads((JOBS / "aws-batch-job-definition.json").read_text())
    actions = {rule.get("onExitCode"): rule["action"] for rule in batch["retryStrategy"]["evaluateOnExit"]}
    assert (actions["65"], actions["75"], batch["retryStrategy"]["evaluateOnExit"][-1]) == ("EXIT", "RETRY", {"onReason": "*", "action": "RETRY"})
    script = (JOBS / "slurm-array.sh").read_text()
    subprocess.run(["bash", "-n", JOBS / "slurm-array.sh"], check=True, timeout=30)
    (last,) = re.findall(r"^#SBATCH --array=0-(\d+)$", script, re.MULTILINE)
    (count,) = re.findall(r"^export S3VEIL_SHARDS=(\d+)$", script, re.MULTILINE)
    assert int(count) == int(last) + 1


def test_the_slurm_script_puts_interrupted_tasks_back(tmp_path):
    """With stand-ins for the binary and for scontrol."""
    requeued = tmp_path / "requeued"
    scontrol = tmp_path / "scontrol"
    scontrol.write_text(f'#!/bin/sh\necho "$@" >> {requeued}\n')
    scontrol.chmod(0o755)
    for code, is_requeued in [(0, False), (65, False), (75, True)]:
        requeued.unlink(missing_ok=True)
        job = tmp_path / f"job{code}"
        job.write_text(f'#!/bin/sh\ntest "$S3VEIL_SHARDS" = 8 || exit 1\nexit {code}\n')
        job.chmod(0o755)
        variables = {"S3VEIL": str(job), "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "3", "PATH": f"{tmp_path}:{os.environ['PATH']}"}
        done = subprocess.run([JOBS / "slurm-array.sh"], env=environment(**variables), timeout=30, stdin=subprocess.DEVNULL)
        assert (done.returncode, requeued.exists()) == (code, is_requeued)
    assert requeued.read_text() == "requeue 7_3\n"
