"""Who holds the key reads the object, and nobody else: with a key that is disabled, changed or out of reach, reads fail."""

import os
import time

import pytest

from conftest import alias_of, embedded_backend, new_bucket, new_key
from judge import assert_fails_closed
from proxy import write_keyring
from relay import Relay

CONTENT = os.urandom(100_000)
LONG = {"max_age": "1h"}


@pytest.fixture
def fresh_key(kms):
    return new_key(kms)


def put(running, bucket, key="object", content=CONTENT):
    answer = running.raw().request("PUT", f"/{bucket}/{key}", body=content)
    assert answer.status == 200, answer.body


def get(running, bucket, key="object"):
    return running.raw().request("GET", f"/{bucket}/{key}")


def test_two_proxies_read_each_other(start, real):
    """Same store, same key, nothing shared between them but these."""
    one, two = start(real), start(real)
    bucket = new_bucket(one.boto())
    put(one, bucket, "from-one", b"1" * 70_000)
    put(two, bucket, "from-two", b"2" * 70_000)
    assert get(two, bucket, "from-one").body == b"1" * 70_000
    assert get(one, bucket, "from-two").body == b"2" * 70_000


def test_a_restart_keeps_everything_readable(start, tmp_path):
    backend = embedded_backend(tmp_path)
    first = start(backend)
    bucket = new_bucket(first.boto())
    put(first, bucket)
    first.stop()
    assert get(start(backend), bucket).body == CONTENT


def test_a_disabled_key(start, real, kms, fresh_key):
    writer = start(real, keyring={"key_id": alias_of(fresh_key)})
    bucket = new_bucket(writer.boto())
    put(writer, bucket)
    kms.disable_key(KeyId=fresh_key)
    cold = start(real, keyring={"key_id": alias_of(fresh_key)})
    answer = get(cold, bucket)
    assert 400 <= answer.status < 600
    assert_fails_closed(answer, CONTENT)
    assert cold.raw().request("PUT", f"/{bucket}/other", body=CONTENT).status >= 400
    assert real.store.keys(bucket) == ["object"]
    kms.enable_key(KeyId=fresh_key)
    assert get(start(real, keyring={"key_id": alias_of(fresh_key)}), bucket).body == CONTENT


def test_a_disabled_key_stops_a_warm_proxy_within_the_age(start, real, kms, fresh_key):
    running = start(real, keyring={"key_id": alias_of(fresh_key), "cache": {"max_age": "1s"}})
    bucket = new_bucket(running.boto())
    put(running, bucket)
    assert get(running, bucket).body == CONTENT
    kms.disable_key(KeyId=fresh_key)
    time.sleep(1.5)
    assert_fails_closed(get(running, bucket), CONTENT)


def test_a_key_awaiting_deletion(start, real, kms, fresh_key):
    writer = start(real, keyring={"key_id": alias_of(fresh_key)})
    bucket = new_bucket(writer.boto())
    put(writer, bucket)
    kms.schedule_key_deletion(KeyId=fresh_key, PendingWindowInDays=7)
    assert_fails_closed(get(start(real, keyring={"key_id": alias_of(fresh_key)}), bucket), CONTENT)


def test_a_changed_kms_key(start, real, fresh_key):
    """The canary: if reads go on working under another key, the key protects nothing."""
    writer = start(real)
    bucket = new_bucket(writer.boto())
    put(writer, bucket)
    assert_fails_closed(get(start(real, keyring={"key_id": alias_of(fresh_key)}), bucket), CONTENT)


def test_a_changed_local_key(start, tmp_path):
    """The canary, for the keyring in a file: the same id, another secret; then another id."""
    backend = embedded_backend(tmp_path)
    writer = start(backend)
    bucket = new_bucket(writer.boto())
    put(writer, bucket)
    writer.stop()
    for number, name in enumerate(("test-key", "other-key")):
        keyring = {"file": write_keyring(tmp_path / f"keyring-{number}", name)}
        reader = start(backend, keyring=keyring)
        assert_fails_closed(get(reader, bucket), CONTENT)
        reader.stop()


def test_another_realm(start, real):
    writer = start(real, bucket=[{"name": "*", "realm": "one"}])
    bucket = new_bucket(writer.boto())
    put(writer, bucket)
    assert get(start(real, bucket=[{"name": "*", "realm": "one"}]), bucket).body == CONTENT
    assert_fails_closed(get(start(real, bucket=[{"name": "*", "realm": "two"}]), bucket), CONTENT)


def test_rotation_of_the_local_keyring(start, tmp_path):
    backend = embedded_backend(tmp_path)
    keyring = write_keyring(tmp_path / "two", "old", "new", current="old")
    writer = start(backend, keyring={"file": keyring})
    bucket = new_bucket(writer.boto())
    put(writer, bucket, "before")
    writer.stop()
    keyring.write_text(keyring.read_text().replace('current = "old"', 'current = "new"'))
    rotated = start(backend, keyring={"file": keyring})
    put(rotated, bucket, "after")
    for name in ("before", "after"):
        assert get(rotated, bucket, name).body == CONTENT
    blobs = [backend.store.read(bucket, name).metadata["encryption-key"] for name in ("before", "after")]
    assert blobs[0] != blobs[1]


@pytest.mark.parametrize("reuse, distinct", [("bucket", 1), ("off", 3)])
def test_reuse_of_data_keys(start, real, reuse, distinct):
    running = start(real, keyring={"reuse": reuse})
    bucket = new_bucket(running.boto())
    for i in range(3):
        put(running, bucket, f"object-{i}", b"x")
    assert len({real.store.read(bucket, f"object-{i}").metadata["encryption-key"] for i in range(3)}) == distinct
    for i in range(3):
        assert get(running, bucket, f"object-{i}").body == b"x"


def test_a_data_key_serves_one_realm_only(start, real):
    running = start(real)
    buckets = [new_bucket(running.boto()) for _ in range(2)]
    for bucket in buckets:
        put(running, bucket)
    one, two = (real.store.read(bucket, "object").metadata["encryption-key"] for bucket in buckets)
    assert one != two


def test_kms_out_of_reach(start, real, localstack):
    """Cold keys answer 503 with a code that SDKs retry; warm ones go on, for reads and for writes."""
    other = start(real)
    bucket = new_bucket(other.boto())
    put(other, bucket, "cold")
    relay = Relay(localstack[1])
    running = start(real, keyring={"endpoint": relay.endpoint, "cache": LONG})
    put(running, bucket, "warm")
    assert get(running, bucket, "warm").body == CONTENT
    relay.stop()
    assert get(running, bucket, "warm").body == CONTENT
    put(running, bucket, "written meanwhile")
    began = time.monotonic()
    answer = get(running, bucket, "cold")
    assert (answer.status, bool(answer.code)) == (503, True), answer.body
    assert time.monotonic() - began < 30
    cold_bucket = new_bucket(other.boto())
    answer = running.raw().request("PUT", f"/{cold_bucket}/object", body=CONTENT)
    assert (answer.status, bool(answer.code)) == (503, True), answer.body
    assert real.store.keys(cold_bucket) == []
    relay.restart()
    deadline = time.monotonic() + 30
    while (answer := get(running, bucket, "cold")).status == 503 and time.monotonic() < deadline:
        time.sleep(0.5)
    assert answer.body == CONTENT
    relay.stop()
