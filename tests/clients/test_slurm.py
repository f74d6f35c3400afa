"""Jobs as an array of Slurm, with Slurm itself on this machine: tasks are killed and put into the queue again while they run."""

import json
import os
import random
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from proxy import binary
from test_jobs_frame import JOBS, environment, run, succeeded
from test_jobs_killed import BUCKET, SHARDS, assert_contents, assert_reported_once, bucket  # noqa: F401: a fixture

SLURM = Path(__file__).resolve().parents[2] / "scripts" / "slurm"
pytestmark = pytest.mark.skipif(
    subprocess.run([SLURM, "installed"], stdin=subprocess.DEVNULL).returncode != 0,
    reason="Slurm is not installed, or this is not root (Debian: slurm-wlm, munge)",
)
FULL = os.environ.get("S3VEIL_TEST_LARGE_MIB") == "1024"
# A task that is put into the queue again begins two minutes later.
KILLS, REQUEUES = (30, 2) if FULL else (4, 0)
SECONDS = 900 if FULL else 150


@pytest.fixture
def slurm(tmp_path):
    """slurm("squeue", ...): the output of one of Slurm's commands."""
    directory = tmp_path / "slurm"
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
    done = run(proxy, "report", report)
    if done.returncode == 0:
        return []
    assert done.returncode == 75, done.stderr
    text = done.stdout + done.stderr
    if "no shard has ended" in text:
        return list(range(SHARDS))
    missing = re.search(r"missing \d+ of \d+ shards: ([\d, ]+)", text)
    named = [int(number) for number in re.findall(r"\d+", missing[1])] if missing else []
    return sorted({*named, *(int(number) for number in re.findall(r"shard (\d+) is incomplete", text))})


@pytest.mark.timeout(SECONDS + 60)
def test_an_array_whose_tasks_are_killed_and_requeued_loses_nothing(bucket, slurm, tmp_path):  # noqa: F811
    proxy, backend, expected = bucket
    report = tmp_path / "report"
    variables = {
        "S3VEIL": binary(), "S3VEIL_CONFIG": str(proxy.config), "S3VEIL_JOB": "encrypt",
        "S3VEIL_INPUT": f"s3://{BUCKET}", "S3VEIL_REPORT": str(report),
    }  # fmt: skip
    deadline, kills, requeues = time.monotonic() + SECONDS, 0, 0
    tasks = f"0-{SHARDS - 1}"
    while tasks:
        assert time.monotonic() < deadline
        job = slurm("sbatch", "--parsable", "--mem=64M", "--output=task-%a.log", f"--array={tasks}", JOBS / "slurm-array.sh", **variables).strip()
        while queue := slurm("squeue", "--noheader", "--array", "--format=%i %t", f"--jobs={job}").split("\n")[:-1]:
            assert time.monotonic() < deadline, queue
            time.sleep(random.uniform(0.1, 0.5))
            if kills < KILLS and (running := processes(report)):
                os.kill(random.choice(running), signal.SIGKILL)
                kills += 1
            elif requeues < REQUEUES and (running := [line.split()[0] for line in queue if line.endswith(" R")]):
                slurm("scontrol", "requeue", random.choice(running))
                requeues += 1
        tasks = ",".join(map(str, missing_shards(proxy, report)))
    logs = {path.name: path.read_text()[-500:] for path in tmp_path.glob("task-*.log")}
    assert kills, logs
    assert_reported_once(proxy, "encrypt", report, expected)
    assert_contents(proxy, expected)
    merged = json.loads(succeeded(run(proxy, "report", report, "--format", "json")).stdout)
    print(f"{len(expected)} objects, {kills} kills, {requeues} requeued: {merged['rows']} rows")
