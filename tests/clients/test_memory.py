"""Streams pass through; they are not gathered. Bounded in count and size, and measured on the process itself."""

import hashlib
import http.client
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from conftest import embedded_backend, new_bucket

CLIENTS = 30
SIZE = 16 << 20
LIMIT = 100 << 20
PIECE = os.urandom(1 << 20)


def peak(process):
    """The highest resident size of the process so far, in bytes."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))


def upload(running, path):
    query = running.signer().presign("PUT", f"127.0.0.1:{running.port}", path)
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=120)
    pieces = (PIECE for _ in range(SIZE // len(PIECE)))
    connection.request("PUT", f"{path}?{query}", body=pieces, headers={"content-length": str(SIZE)})
    return connection.getresponse().status


def download(running, path):
    query = running.signer().presign("GET", f"127.0.0.1:{running.port}", path)
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=120)
    connection.request("GET", f"{path}?{query}")
    response, digest = connection.getresponse(), hashlib.sha256()
    while piece := response.read(1 << 18):
        digest.update(piece)
    return digest.digest()


@pytest.mark.timeout(300)
def test_memory_does_not_grow_with_the_objects(start, tmp_path):
    running = start(embedded_backend(tmp_path))
    bucket = new_bucket(running.boto())
    paths = [f"/{bucket}/object-{i}" for i in range(CLIENTS)]
    with ThreadPoolExecutor(CLIENTS) as pool:
        assert set(pool.map(lambda path: upload(running, path), paths)) == {200}
        expected = hashlib.sha256(PIECE * (SIZE // len(PIECE))).digest()
        assert set(pool.map(lambda path: download(running, path), paths)) == {expected}
    used = peak(running.process)
    print(f"peak resident size: {used / (1 << 20):.1f} MiB with {CLIENTS} clients of {SIZE >> 20} MiB")
    assert used < LIMIT
