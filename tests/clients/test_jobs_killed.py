"""Jobs whose shards are killed with SIGKILL again and again: nothing is lost, each row is reported once, and a second run changes nothing.

The objects are those of population.py. S3VEIL_TEST_JOB_OBJECTS says how many; `scripts/test full` takes 20,000, the quick suite a few
hundred."""

import json
import os
import random
import signal
import time
from pathlib import Path

import pytest

from conftest import embedded_backend
from population import BUCKET, Population, forget_key, rules
from proxy import Proxy
from test_jobs_frame import begin, rows, run, succeeded

FULL = os.environ.get("S3VEIL_TEST_LARGE_MIB") == "1024"
OBJECTS = int(os.environ.get("S3VEIL_TEST_JOB_OBJECTS") or (20_000 if FULL else 200))
LARGE = max(2, min(OBJECTS // 1_000, 200))
SHARDS = 8
# A shard is killed up to so often, each time after a part of what an undisturbed one takes.
KILLS = 6 if FULL else 2
# How long a run of so many objects may take, without kills; a debug build works on a few hundred in a second.
SECONDS = 120 + OBJECTS // 40


@pytest.fixture
def bucket(tmp_path):
    """A proxy over an embedded store, and the objects in it."""
    backend = embedded_backend(tmp_path)
    upstream = backend.upstream | {"embedded_shared": True, "embedded_sync": "off"}
    with Proxy(tmp_path / "proxy", upstream, backend.keyring, {"bucket": rules()}) as proxy:
        population = Population(OBJECTS, LARGE, backend.store.root, Path(backend.keyring["file"]))
        began = time.monotonic()
        population.write(proxy)
        print(f"{OBJECTS} objects written in {time.monotonic() - began:.0f} s: {dict(population.kinds())}")
        yield proxy, population


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


def merged_report(proxy, report):
    return json.loads(succeeded(run(proxy, "report", report, "--format", "json", timeout=SECONDS)).stdout)


def reported_once(proxy, job, report, keys, skipped=()):
    """The merged report of a job that has a row for each of the keys, and its rows; `skipped` are further ones that it left alone."""
    merged = merged_report(proxy, report)
    assert (merged["rows"], merged["failed"], merged["problems"]) == (len(keys) + len(skipped), 0, []), merged
    found = [row for shard in range(SHARDS) for row in rows(report, job, shard, SHARDS)]
    assert sorted(row["Key"] for row in found if row["TaskStatus"] == "succeeded") == sorted(keys)
    assert sorted(row["Key"] for row in found if row["TaskStatus"] == "skipped") == sorted(skipped)
    counts = (merged["succeeded"], merged["skipped"], merged["raced"])
    assert counts == (len(keys), len(skipped), 0) and len(found) == merged["rows"], merged
    return merged, found


def as_it_should_be(population):
    """The independent count of a store all of whose objects are native and have their content."""
    total, wrong = population.count()
    assert not wrong, wrong
    assert total["objects"] == population.objects
    return total


def only_key(total):
    """The one key that all counted objects are under."""
    names = set(total) - {"objects", "bytes"}
    assert len(names) == 1, names
    return names.pop()


def reload(proxy):
    loaded = "s3veil_config_loaded_timestamp_seconds"
    at = proxy.metrics()[loaded]
    proxy.process.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + 30
    while proxy.metrics()[loaded] == at:
        assert time.monotonic() < deadline, proxy.log_text()[-1000:]
        time.sleep(0.05)


def times(population):
    return {path.name: path.stat().st_mtime_ns for path in (population.store / BUCKET).iterdir()}


def told(what, began, killed, merged):
    taken = time.monotonic() - began
    print(f"{what}: {merged['rows']} rows, {killed} kills, {taken:.0f} s, {merged['rows'] / taken:.0f} rows/s")


@pytest.mark.timeout(180 + 5 * SECONDS)
def test_killed_shards_lose_nothing_and_report_each_row_once(bucket, tmp_path):
    proxy, population = bucket
    manifest, keys = tmp_path / "keys.txt", population.keys()
    manifest.write_text("\n".join(keys) + "\n")

    began = time.monotonic()
    killed = run_killed(proxy, "encrypt", manifest, tmp_path / "encrypt")
    merged, _ = reported_once(proxy, "encrypt", tmp_path / "encrypt", keys)
    told("encrypt", began, killed, merged)
    total = as_it_should_be(population)
    old = only_key(total)
    assert total["bytes"] == population.total()

    # Again: nothing is written.
    before = times(population)
    run_killed(proxy, "encrypt", manifest, tmp_path / "again")
    merged, found = reported_once(proxy, "encrypt", tmp_path / "again", keys)
    assert {row["ResultMessage"] for row in found} == {"unchanged"} and merged["unchanged"] == population.objects
    assert (merged["formats"], merged["write_requests"]) == ({"native": population.objects}, 0)
    assert times(population) == before

    # To another key, and the old one goes.
    succeeded(run(proxy, "keygen", "--rotate"))
    reload(proxy)
    began = time.monotonic()
    killed = run_killed(proxy, "rewrap", manifest, tmp_path / "rewrap")
    merged, _ = reported_once(proxy, "rewrap", tmp_path / "rewrap", keys)
    told("rewrap", began, killed, merged)
    counted = succeeded(run(proxy, "keys", f"s3://{BUCKET}", "--key-id", old, timeout=SECONDS))
    assert f"\n0 under {old}\n" in counted.stdout, counted.stdout
    assert only_key(as_it_should_be(population)) != old
    forget_key(population.keyring, old)
    reload(proxy)

    began = time.monotonic()
    killed = run_killed(proxy, "verify", manifest, tmp_path / "verify")
    merged, _ = reported_once(proxy, "verify", tmp_path / "verify", keys)
    told("verify", began, killed, merged)
    assert merged["bytes"] == as_it_should_be(population)["bytes"]
    client = proxy.boto()
    for number in range(0, population.objects, max(1, population.objects // 100)):
        found = client.get_object(Bucket=BUCKET, Key=population.key(number))
        assert found["Body"].read() == population.content(number) and found["Metadata"] == {"mine": "yes"}
