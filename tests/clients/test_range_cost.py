"""What a ranged read of an object in parts costs at the storage: one request once the layout is known, and two chunks of excess."""

import random

import pytest

from conftest import new_bucket
from multiparts import CHUNK, LEAST, MIB, upload
from relay import Relay

# Heads of the answers, and what frames and names them: one request each has some.
OVERHEAD = 2_000
EXCESS = 2 * (CHUNK + 16)
LAYOUTS = {
    "even, small last part": [(number, 8 * MIB) for number in range(1, 9)] + [(9, 1_000_000)],
    "even, large last part": [(number, 8 * MIB) for number in range(1, 9)] + [(9, 6 * MIB)],
    "uneven, small last part": [(number, LEAST + 10_007 * number) for number in range(1, 9)] + [(9, 1_000_000)],
    "uneven, large last part": [(number, LEAST + 10_007 * number) for number in range(1, 9)] + [(9, 6 * MIB)],
}


@pytest.fixture
def watched(real, start):
    """A proxy whose storage is behind a relay that counts."""
    relay = Relay(real.upstream["endpoint"])
    yield start(real, upstream={"endpoint": relay.endpoint}), relay
    relay.stop()


@pytest.mark.parametrize("name", LAYOUTS)
def test_ranges_in_an_object_of_parts(watched, name):
    running, relay = watched
    s3 = running.boto()
    bucket = new_bucket(s3)
    whole = upload(s3, bucket, LAYOUTS[name])
    read = lambda first, last: s3.get_object(Bucket=bucket, Key="object", Range=f"bytes={first}-{last}")["Body"].read()  # noqa: E731
    relay.take_counts()
    assert read(3_000_000, 3_000_000 + MIB - 1) == whole[3_000_000 : 3_000_000 + MIB]
    requests, answered = relay.take_counts()
    # A guess, which is given up when the answer says that it was wrong; up to three headers, or the tail; the range.
    assert len(requests) <= 5, requests
    assert answered <= 2 * (MIB + EXCESS) + 5 * OVERHEAD
    chance = random.Random(name)
    starts = [chance.randrange(len(whole) - MIB) for _ in range(20)]
    boundaries = [sum(size for _, size in LAYOUTS[name][:index]) for index in range(1, 9)]
    for first in [0, *starts, boundaries[0] - MIB // 2, boundaries[3] - 1, boundaries[4], len(whole) - MIB]:
        assert read(first, first + MIB - 1) == whole[first : first + MIB]
        requests, answered = relay.take_counts()
        # A range that begins within a part also needs that part's header, unless it was seen before.
        assert len([request for request in requests if request.startswith("GET ")]) <= 2, (first, requests)
        assert [request for request in requests if not request.startswith("GET ")] == [], requests
        assert answered <= MIB + EXCESS + len(requests) * OVERHEAD, (first, requests)
    for first in starts:
        assert read(first, first + MIB - 1) == whole[first : first + MIB]
        requests, answered = relay.take_counts()
        assert len(requests) == 1 and requests[0].startswith("GET "), ("layout and headers are known by now", first, requests)
        assert answered <= MIB + EXCESS + OVERHEAD, (first, answered)


def test_whole_reads_are_one_request(watched):
    running, relay = watched
    s3 = running.boto()
    bucket = new_bucket(s3)
    for name, layout in LAYOUTS.items():
        whole = upload(s3, bucket, layout)
        relay.take_counts()
        assert s3.get_object(Bucket=bucket, Key="object")["Body"].read() == whole
        requests, _ = relay.take_counts()
        assert len(requests) <= 2, (name, requests)


def test_sizes_of_even_objects_cost_nothing(watched):
    """LIST computes them; for uneven ones it reads each layout once."""
    running, relay = watched
    s3 = running.boto()
    bucket = new_bucket(s3)
    sizes = {}
    for key, layout in (("even", [(1, LEAST), (2, LEAST), (3, 7)]), ("even-2", [(1, LEAST), (2, LEAST)]), ("uneven", [(1, LEAST + 1), (2, 7)])):
        sizes[key] = len(upload(s3, bucket, layout, key))
    listed = lambda **asked: {item["Key"]: item["Size"] for item in s3.list_objects_v2(Bucket=bucket, **asked)["Contents"]}  # noqa: E731
    relay.take_counts()
    assert listed(Prefix="even") == {key: size for key, size in sizes.items() if key.startswith("even")}
    assert len(relay.take_counts()[0]) == 1
    assert listed() == sizes
    assert len(relay.take_counts()[0]) <= 3
    assert listed() == sizes
    assert len(relay.take_counts()[0]) == 1, "what was read once is remembered"
