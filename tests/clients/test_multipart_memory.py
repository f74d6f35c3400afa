"""Parts pass through: no more than a little of each is held, nothing is put on a disk. Bounded in count and size."""

import hashlib
import http.client
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from conftest import embedded_backend, new_bucket
from multiparts import LEAST, MIB, Upload, content
from test_memory import peak

PARTS, PART, AT_ONCE = 30, 16 * MIB, 15
LIMIT = 100 * MIB


def send(running, one, number, piece, size):
    """One part, as a stream of `piece`; gives its ETag."""
    path = f"/{one.bucket}/{one.key}"
    query = running.signer().presign("PUT", f"127.0.0.1:{running.port}", path, [("partNumber", str(number)), ("uploadId", one.id)])
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=120)
    pieces = (piece for _ in range(size // len(piece)))
    connection.request("PUT", f"{path}?{query}", body=pieces, headers={"content-length": str(size)})
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    one.parts[number] = {"PartNumber": number, "ETag": answer.headers["etag"]}


def assert_content(s3, one, expected):
    digest = hashlib.sha256()
    body = s3.get_object(Bucket=one.bucket, Key=one.key)["Body"]
    for piece in iter(lambda: body.read(MIB), b""):
        digest.update(piece)
    assert digest.digest() == expected


@pytest.mark.timeout(300)
def test_memory_does_not_grow_with_the_parts(start, tmp_path):
    running = start(embedded_backend(tmp_path))
    s3 = running.boto()
    one = Upload.start(s3, new_bucket(s3))
    piece = os.urandom(MIB)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda number: send(running, one, number, piece, PART), range(1, PARTS + 1)))
    one.complete()
    assert_content(s3, one, hashlib.sha256(piece * (PART // MIB * PARTS)).digest())
    used = peak(running.process)
    print(f"peak resident size: {used / MIB:.1f} MiB with {AT_ONCE} parts of {PART // MIB} MiB at a time")
    assert used < LIMIT


@pytest.mark.timeout(300)
def test_two_hundred_parts(start, tmp_path):
    """A gibibyte of the same 5 MiB."""
    running = start(embedded_backend(tmp_path))
    s3 = running.boto()
    one = Upload.start(s3, new_bucket(s3))
    piece = content(LEAST)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: send(running, one, number, piece, LEAST), range(1, 201)))
    assert len(one.listed()) == 200
    one.complete()
    size = s3.head_object(Bucket=one.bucket, Key=one.key)["ContentLength"]
    assert size == s3.list_objects_v2(Bucket=one.bucket)["Contents"][0]["Size"] == 200 * LEAST
    digest = hashlib.sha256()
    for _ in range(200):
        digest.update(piece)
    assert_content(s3, one, digest.digest())
    assert s3.get_object(Bucket=one.bucket, Key=one.key, PartNumber=137)["Body"].read() == piece
    assert peak(running.process) < LIMIT


def open_files(process):
    """What the process has open but sockets, pipes and the like."""
    links = [os.readlink(entry) for entry in Path(f"/proc/{process.pid}/fd").iterdir() if entry.is_symlink()]
    return {link for link in links if link.startswith("/") and not link.startswith("/dev/")}


def test_nothing_is_put_on_a_disk(start, real):
    """While a part waits for the rest of its body, the process has no file open but its log, and has written none."""
    running = start(real)
    s3 = running.boto()
    one = Upload.start(s3, new_bucket(s3))
    before = open_files(running.process)
    seen = set()

    def pieces():
        for _ in range(20):
            seen.update(open_files(running.process))
            yield content(MIB)

    path = f"/{one.bucket}/{one.key}"
    query = running.signer().presign("PUT", f"127.0.0.1:{running.port}", path, [("partNumber", "1"), ("uploadId", one.id)])
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=60)
    connection.request("PUT", f"{path}?{query}", body=pieces(), headers={"content-length": str(20 * MIB)})
    assert connection.getresponse().status == 200
    assert seen and seen <= before | {str(running.log)}
    assert sorted(path.name for path in running.directory.iterdir()) == ["log", "proxy.toml"]
