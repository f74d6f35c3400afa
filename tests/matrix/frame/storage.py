"""The storage as its provider sees it: nothing there may be what a client stored."""

import json
import random
import urllib.parse
import urllib.request
import zlib

from .content import MARKER
from .server import Server

WINDOW = 24  # bytes: two of ciphertext and plaintext agree by chance once in 2^192
WINDOWS = 40
COMPRESSIBLE_FROM = 16_384  # bytes; shorter ciphertext may compress a little by chance
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Looked:
    """What a look at the storage found: how much, and how many objects show the marker to a client that reads them."""

    def __init__(self):
        self.objects, self.bytes, self.with_marker = 0, 0, 0


def split(path):
    """Body and record of an object's file: the record is the last line, as JSON."""
    body, _, line = path.read_bytes()[:-1].rpartition(b"\n")
    return body, json.loads(line)


def look(directory):
    """Looks at every file of the embedded store in `directory`/data. Opens each object by a proxy, to know what must not be seen."""
    looked, data, marker = Looked(), directory / "data", MARKER.encode()
    for path in data.rglob("*"):
        if path.is_file():
            stored = path.read_bytes()
            assert marker not in stored, f"plaintext is stored: the marker is in {path}"
    reader = Server(directory, anonymous=True).start()
    try:
        for bucket in sorted(path for path in data.iterdir() if path.is_dir() and not path.name.startswith(".")):
            for path in sorted(bucket.iterdir()):
                look_at(reader, bucket.name, path, looked)
    finally:
        reader.stop()
    parts = [path for path in data.glob(".uploads/*/*/*") if path.name.isdigit()]
    for path in parts:
        assert_random(path.read_bytes(), path)
    assert looked.objects, "nothing is stored"
    return looked


def look_at(reader, bucket, path, looked):
    body, record = split(path)
    metadata = record.get("attributes", {}).get("metadata", {})
    assert "encryption-envelope" in metadata and "encryption-key" in metadata, f"{path} is not encrypted: it has no envelope"
    address = f"http://127.0.0.1:{reader.port}/{bucket}/{urllib.parse.quote(record['key'])}"
    with OPENER.open(address, timeout=120) as response:
        content = response.read()
    chance = random.Random(len(content))
    last = len(content) - WINDOW
    starts = [0, last, *(chance.randrange(last + 1) for _ in range(WINDOWS))] if last >= 0 else []
    for start in starts:
        assert content[start : start + WINDOW] not in body, f"plaintext is stored: bytes {start} and on of {record['key']}"
    assert_random(body, path)
    looked.objects += 1
    looked.bytes += len(body)
    looked.with_marker += MARKER.encode() in content


def assert_random(body, path):
    sample = body[: 1 << 20]
    if len(sample) >= COMPRESSIBLE_FROM:
        assert len(zlib.compress(sample, 6)) > 0.99 * len(sample), f"{path} can be compressed, which ciphertext can not"
