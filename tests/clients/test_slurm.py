"""Jobs as an array of Slurm, with Slurm itself on this machine: tasks are killed and put into the queue again while they run.

One manifest names the objects of two storages: those of population.py in an embedded store, whose files can be counted and read past
s3veil and stay when a process is killed; and some in LocalStack, which has the versions and locks that the embedded store has not."""

import collections
import concurrent.futures
import csv
import datetime
import os
import random
import re
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.parse
from dataclasses import dataclass
from pathlib import Path

import pytest

from conftest import embedded_backend
from population import BUCKET, Population, forget_key, rules
from proxy import Proxy, binary, s3_client
from test_jobs_frame import JOBS, environment, run, succeeded
from test_jobs_killed import FULL, LARGE, OBJECTS, SECONDS, SHARDS, as_it_should_be, only_key, reload, reported_once, times, told

SLURM = Path(__file__).resolve().parents[2] / "scripts" / "slurm"
pytestmark = pytest.mark.skipif(
    subprocess.run([SLURM, "installed"], stdin=subprocess.DEVNULL).returncode != 0,
    reason="Slurm is not installed, or this is not root (Debian: slurm-wlm, munge)",
)
LOCKED = "locked"
VERSIONED = max(6, min(OBJECTS // 200, 1_000))
# A task that is put into the queue again begins twenty seconds later (scripts/slurm).
KILLS, REQUEUES = (max(30, OBJECTS // 3_000), 2) if FULL else (2, 0)
SHORTEST, LONGEST = (1.0, 5.0) if FULL else (0.1, 0.5)
UNTIL = datetime.datetime(2099, 1, 1, tzinfo=datetime.UTC)


@pytest.fixture
def slurm(tmp_path):
    """slurm("squeue", ...): the output of one of Slurm's commands."""
    # Not below tmp_path: the path of a task's socket may have 108 bytes.
    directory = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
    process = subprocess.Popen([SLURM, directory], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    configuration = directory / "slurm.conf"
    deadline = time.monotonic() + 60
    while not (directory / "ready").exists():
        assert process.poll() is None and time.monotonic() < deadline, (directory / "slurmctld.log").read_text()[-2000:]
        time.sleep(0.1)

    def command(*arguments, **variables):
        done = subprocess.run(
            [*map(str, arguments)], capture_output=True, text=True, timeout=60, cwd=tmp_path,
            env=environment(SLURM_CONF=str(configuration), **variables), stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    yield command
    subprocess.run(["scancel", "--user=root"], env=environment(SLURM_CONF=str(configuration)), capture_output=True, timeout=60)
    process.send_signal(signal.SIGTERM)
    process.wait(30)
    shutil.rmtree(directory, ignore_errors=True)


@dataclass
class Versioned:
    """Objects of two versions each in a bucket of LocalStack with Object Lock; every second one is locked."""

    client: object
    bucket: str

    def key(self, number):
        return f"versioned/{number}"

    def content(self, number):
        return b"the newest of %d" % number

    def keys(self):
        return [self.key(number) for number in range(VERSIONED)]

    def for_each(self, work):
        with concurrent.futures.ThreadPoolExecutor(4) as threads:
            return list(threads.map(work, range(VERSIONED)))

    def lock(self, number):
        if number % 2:
            return {}
        mode = {"ObjectLockMode": "GOVERNANCE", "ObjectLockRetainUntilDate": UNTIL}
        return mode | ({"ObjectLockLegalHoldStatus": "ON"} if number % 4 else {})

    def write(self):
        """Writes both versions as plaintext. Returns the ids of the older ones."""
        self.client.create_bucket(Bucket=self.bucket, ObjectLockEnabledForBucket=True)

        def put(number):
            place = {"Bucket": self.bucket, "Key": self.key(number)}
            older = self.client.put_object(**place, Body=b"older", **self.lock(number))["VersionId"]
            self.client.put_object(**place, Body=self.content(number), Metadata={"mine": "yes"}, Tagging="team=blue", **self.lock(number))
            return older

        return self.for_each(put)

    def versions(self):
        pages = self.client.get_paginator("list_object_versions").paginate(Bucket=self.bucket)
        found = [version for page in pages for version in page.get("Versions", [])]
        # A process that is killed while it tries the storage's conditions leaves the object that it does so with.
        return [version for version in found if "s3veil-append-probe-" not in version["Key"]]

    def count(self):
        """How many versions each object has."""
        return collections.Counter(version["Key"] for version in self.versions())

    def read(self, proxy):
        """Reads all objects through the proxy, and looks past it at what they have beside their content."""
        reader = proxy.boto(max_pool_connections=8)

        def look(number):
            key = self.key(number)
            found = reader.get_object(Bucket=self.bucket, Key=key)
            assert (found["Body"].read(), found["Metadata"]) == (self.content(number), {"mine": "yes"}), key
            head = self.client.head_object(Bucket=self.bucket, Key=key)
            assert "encryption-envelope" in head["Metadata"], key
            assert {name: head.get(name) for name in self.lock(number)} == self.lock(number), key
            tags = self.client.get_object_tagging(Bucket=self.bucket, Key=key)["TagSet"]
            assert tags == [{"Key": "team", "Value": "blue"}], key

        self.for_each(look)

    def remove_older(self):
        """Removes all versions but the newest ones, with the right to pass over the locks."""
        for version in self.versions():
            if version["IsLatest"]:
                continue
            place = {"Bucket": self.bucket, "Key": version["Key"], "VersionId": version["VersionId"]}
            number = int(version["Key"].rpartition("/")[2])
            if "ObjectLockLegalHoldStatus" in self.lock(number):
                self.client.put_object_legal_hold(**place, LegalHold={"Status": "OFF"})
            self.client.delete_object(**place, BypassGovernanceRetention=True)


@pytest.fixture
def storages(tmp_path, localstack):
    """A proxy over both storages, their objects, and the manifest that names all of them, the older versions too."""
    backend = embedded_backend(tmp_path)
    locked = f"{LOCKED}-{os.urandom(6).hex()}"
    far = {"name": "far", "endpoint": localstack[0], "path_style": True, "access_key_id": "test", "secret_access_key": "test"}
    upstreams = [{"name": "near", **backend.upstream, "embedded_shared": True}, far]
    formats = {"write": "native", "read": ["native", "plaintext"]}
    buckets = [{"name": locked, "upstream": "far", "formats": formats}, *rules()]
    with Proxy(tmp_path / "proxy", upstreams, backend.keyring, {"bucket": buckets}) as proxy:
        population = Population(OBJECTS, LARGE, backend.store.root, Path(backend.keyring["file"]))
        versioned = Versioned(s3_client(localstack[0], max_pool_connections=8), locked)
        began = time.monotonic()
        population.write(proxy)
        older = versioned.write()
        print(f"{OBJECTS} and {2 * VERSIONED} objects written in {time.monotonic() - began:.0f} s: {dict(population.kinds())}")
        manifest = tmp_path / "manifest.csv"
        with manifest.open("w", newline="") as file:
            lines = csv.writer(file)
            lines.writerows([BUCKET, urllib.parse.quote(key), ""] for key in population.keys())
            lines.writerows([locked, key, ""] for key in versioned.keys())
            lines.writerows([locked, key, version] for key, version in zip(versioned.keys(), older, strict=True))
        yield proxy, population, versioned, manifest


def processes(report):
    """The ids of the job's own processes."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
        except OSError:
            continue
        if words and words[0] == binary().encode() and str(report).encode() in words:
            found.append(int(entry.name))
    return found


def missing_shards(proxy, report):
    """The shards whose report is missing or incomplete, as `report` names them."""
    done = run(proxy, "report", report, timeout=SECONDS)
    if done.returncode == 0:
        return []
    assert done.returncode == 75, done.stderr
    text = done.stdout + done.stderr
    if "no shard has ended" in text:
        return list(range(SHARDS))
    missing = re.search(r"missing \d+ of \d+ shards: ([\d, ]+)", text)
    named = [int(number) for number in re.findall(r"\d+", missing[1])] if missing else []
    return sorted({*named, *(int(number) for number in re.findall(r"shard (\d+) is incomplete", text))})


def run_array(slurm, proxy, job, arguments, report, kills=KILLS, requeues=REQUEUES):
    """Runs a job as an array, whose tasks are killed every few seconds, until every shard has its report. How many were killed."""
    variables = {
        "S3VEIL": binary(), "S3VEIL_CONFIG": str(proxy.config), "S3VEIL_JOB": job,
        "S3VEIL_INPUT": arguments, "S3VEIL_REPORT": str(report),
    }  # fmt: skip
    deadline, killed, requeued = time.monotonic() + SECONDS, 0, 0
    tasks = f"0-{SHARDS - 1}"
    while tasks:
        assert time.monotonic() < deadline
        command = ["--parsable", "--mem=64M", f"--output={job}-%a.log", f"--array={tasks}", JOBS / "slurm-array.sh"]
        array = slurm("sbatch", *command, **variables).strip()
        strike = time.monotonic() + random.uniform(SHORTEST, LONGEST)
        while queue := slurm("squeue", "--noheader", "--array", "--format=%i %t", f"--jobs={array}").split("\n")[:-1]:
            assert time.monotonic() < deadline, queue
            time.sleep(0.1)
            if time.monotonic() < strike:
                continue
            if killed < kills and (running := processes(report)):
                os.kill(random.choice(running), signal.SIGKILL)
                killed += 1
                strike = time.monotonic() + random.uniform(SHORTEST, LONGEST)
            elif requeued < requeues and (running := [line.split()[0] for line in queue if line.endswith(" R")]):
                slurm("scontrol", "requeue", random.choice(running))
                requeued += 1
        tasks = ",".join(map(str, missing_shards(proxy, report)))
    return killed


@pytest.mark.timeout(240 + 6 * SECONDS)
def test_an_array_whose_tasks_are_killed_and_requeued_loses_nothing(storages, slurm, tmp_path):
    proxy, population, versioned, manifest = storages
    older = versioned.keys()
    keys = population.keys() + versioned.keys()
    both = f"--manifest {manifest}"

    began = time.monotonic()
    killed = run_array(slurm, proxy, "encrypt", both, tmp_path / "encrypt")
    logs = {path.name: path.read_text()[-500:] for path in tmp_path.glob("*.log")}
    assert killed, logs
    merged, found = reported_once(proxy, "encrypt", tmp_path / "encrypt", keys, older)
    told("encrypt", began, killed, merged)
    assert {row["ResultMessage"] for row in found if row["TaskStatus"] == "skipped"} == {
        "not the newest version: what is written in its place would become the newest"
    }
    total = as_it_should_be(population)
    assert total["bytes"] == population.total()
    versioned.read(proxy)
    more = {key: count for key, count in versioned.count().items() if count != 3}
    assert not more and len(versioned.versions()) == 3 * VERSIONED, f"each object was written once: {more}"
    old = only_key(total)

    if FULL:
        before, versions = times(population), versioned.versions()
        run_array(slurm, proxy, "encrypt", both, tmp_path / "again", kills=0, requeues=0)
        merged, found = reported_once(proxy, "encrypt", tmp_path / "again", keys, older)
        assert {row["ResultMessage"] for row in found if row["TaskStatus"] == "succeeded"} == {"unchanged"}
        assert (merged["unchanged"], merged["write_requests"]) == (len(keys), 0)
        assert (times(population), versioned.versions()) == (before, versions)

    succeeded(run(proxy, "keygen", "--rotate"))
    reload(proxy)
    began = time.monotonic()
    killed = run_array(slurm, proxy, "rewrap", both, tmp_path / "rewrap")
    merged, _ = reported_once(proxy, "rewrap", tmp_path / "rewrap", keys, older)
    told("rewrap", began, killed, merged)
    assert sum(count["versions"] for count in merged["keys_after"].values()) == len(keys)
    new = only_key(as_it_should_be(population))
    assert new != old and set(merged["keys_after"]) == {new}

    # Older versions stay under the old key until they go, and with them the key.
    told_keys = succeeded(run(proxy, "keys", f"s3://{versioned.bucket}", "--key-id", old)).stdout
    assert f"\n{len(older)} under {old}\n" in told_keys, told_keys
    versioned.remove_older()
    for bucket in (BUCKET, versioned.bucket):
        counted = succeeded(run(proxy, "keys", f"s3://{bucket}", "--key-id", old, timeout=SECONDS)).stdout
        assert f"\n0 under {old}\n" in counted, counted
    forget_key(population.keyring, old)
    reload(proxy)

    newest = tmp_path / "newest.csv"
    newest.write_text("".join(line for line in manifest.read_text().splitlines(keepends=True) if line.rstrip().endswith(",")))
    began = time.monotonic()
    killed = run_array(slurm, proxy, "verify", f"--manifest {newest}", tmp_path / "verify")
    merged, _ = reported_once(proxy, "verify", tmp_path / "verify", keys)
    told("verify", began, killed, merged)
    total = as_it_should_be(population)
    assert merged["bytes"] == total["bytes"] + sum(len(versioned.content(number)) for number in range(VERSIONED))
    assert merged["formats"] == {"native": len(keys)}
    versioned.read(proxy)
