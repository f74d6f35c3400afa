"""The memory of a job does not grow with its rows, and stays below 150 MiB: S3VEIL_TEST_LARGE_MIB=1024 takes a million."""

import os
import time
from pathlib import Path

import pytest

from conftest import embedded_backend, new_bucket
from proxy import Proxy
from test_jobs_frame import begin, summary

FULL = os.environ.get("S3VEIL_TEST_LARGE_MIB") == "1024"
MOST_KIB = 150 * 1024
# What the allocator may hold back more in a longer run.
GROWTH_KIB = 24 * 1024
KEYS = 50


@pytest.fixture
def filled(tmp_path):
    """A proxy over a store with a few objects of 100,000 bytes, and their bucket."""
    backend = embedded_backend(tmp_path)
    with Proxy(tmp_path / "proxy", backend.upstream, backend.keyring) as proxy:
        client = proxy.boto()
        bucket = new_bucket(client)
        for number in range(KEYS):
            client.put_object(Bucket=bucket, Key=f"k{number}", Body=os.urandom(100_000))
        yield proxy, bucket


def most_memory(proxy, job, bucket, rows, directory):
    """The largest resident size in KiB of a job over so many rows, of which one in eight names no object."""
    manifest, report = directory / f"{rows}.txt", directory / f"report-{job}-{rows}"
    with manifest.open("w") as lines:
        for row in range(rows):
            lines.write(f"k{row % KEYS}\n" if row % 8 else f"a/key/that/is/missing/{row}\n")
    process = begin(proxy, job, "--manifest", manifest, "--bucket", bucket, "--report", report)
    most = 0
    while process.poll() is None:
        try:
            status = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        except OSError:
            break
        most = max([most, *(int(line.split()[1]) for line in status if line.startswith("VmHWM"))])
        time.sleep(0.01)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 74, (process.returncode, out, err)
    counted = summary(report, job)
    missing = (rows + 7) // 8
    assert (counted["rows"], counted["failed"], counted["error_codes"]) == (rows, missing, {"NoSuchKey": missing})
    return most


@pytest.mark.timeout(3_600 if FULL else 120)
@pytest.mark.parametrize("job, few, many", [("verify", 300, 100_000 if FULL else 1_500), ("keys", 500, 1_000_000 if FULL else 4_000)])
def test_the_memory_of_a_job_does_not_grow_with_its_rows(filled, tmp_path, job, few, many):
    proxy, bucket = filled
    before = most_memory(proxy, job, bucket, few, tmp_path)
    after = most_memory(proxy, job, bucket, many, tmp_path)
    print(f"{job}: {before} KiB for {few} rows, {after} KiB for {many}")
    assert 0 < before < MOST_KIB and after < MOST_KIB
    assert after - before < GROWTH_KIB, f"{before} KiB for {few} rows, {after} KiB for {many}"
