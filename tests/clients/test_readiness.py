"""`/readyz`, state by state: the table in docs/OPERATING.md, against storages and key services that go away and come back."""

import contextlib
import json
import threading
import time

import pytest

from conftest import embedded_backend, new_bucket
from fakes import LISTING, answering, error, refusing
from relay import Relay
from test_operator_mistakes import STATIC, admin, kms_at, ready, serving, storage_at, until


def components(answer, kind):
    return [problem["component"] for problem in answer.get(kind, [])]


@contextlib.contextmanager
def relayed(target):
    relay = Relay(target)
    try:
        yield relay
    finally:
        relay.stop()


@pytest.fixture
def kms_relay(localstack, kms_key):
    with relayed(localstack[1]) as relay:
        yield relay


# The key service


def test_a_key_service_that_goes_away_takes_no_read_of_warm_keys_and_no_proxy_out(start, tmp_path, kms_relay, kms_key):
    """The data keys are younger than `cache.max_age`, so nothing fails; after that, requests fail, and the proxy stays in service."""
    backend = embedded_backend(tmp_path)
    backend.keyring.clear()
    backend.keyring.update(provider="aws-kms", key_id=kms_key, endpoint=kms_relay.endpoint, region="us-east-1", cache={"max_age": "15s"})
    running = start(backend)
    assert ready(running, lambda answer: answer["ready"]) == {"ready": True}
    client = running.boto()
    bucket = new_bucket(client)
    for number in range(5):
        client.put_object(Bucket=bucket, Key=f"warm {number}", Body=b"x" * number)
    kms_relay.stop()
    failed = []
    for number in range(40):
        body = client.get_object(Bucket=bucket, Key=f"warm {number % 5}")["Body"].read()
        failed += [] if body == b"x" * (number % 5) else [number]
        assert admin(running, "/readyz")[0] == 200
    assert failed == []
    # Requests of old data keys do not change this either.
    time.sleep(16)
    with pytest.raises(Exception):
        client.get_object(Bucket=bucket, Key="warm 1")
    status, body = admin(running, "/readyz")
    assert status == 200, body
    kms_relay.restart()
    until(lambda: client_reads(client, bucket), "the key service is back")


def client_reads(client, bucket):
    try:
        return client.get_object(Bucket=bucket, Key="warm 1")["Body"].read() == b"x"
    except Exception:
        return False


def test_a_key_service_that_was_never_reached_is_unready_until_it_is(tmp_path, kms_relay, kms_key):
    kms_relay.stop()
    keyring = {**kms_at(kms_relay.port, **STATIC), "key_id": kms_key}
    backend = embedded_backend(tmp_path)
    with serving(tmp_path, backend.upstream, keyring) as running:
        answer = ready(running, lambda answer: "refused" in json.dumps(answer).lower())
        assert not answer["ready"] and components(answer, "problems") == ["keyring"], answer
        message = answer["problems"][0]["message"]
        assert f"AWS KMS in us-east-1 at http://127.0.0.1:{kms_relay.port} failed at kms:GenerateDataKey for key {kms_key}" in message
        until(lambda: "requests may fail" in running.log_text(), "the warning")
        assert running.log_text().count("requests may fail") == 1, "one warning"
        kms_relay.restart()
        # Without a probe: the proxy looks by itself, and says so.
        until(lambda: "works again" in running.log_text(), running.log_text())
        assert ready(running, lambda answer: answer["ready"]) == {"ready": True}


@pytest.mark.parametrize("code", ["AccessDeniedException", "NotFoundException", "DisabledException"])
def test_a_key_that_never_worked_is_unready(tmp_path, code):
    backend = embedded_backend(tmp_path)
    with answering(400, json.dumps({"__type": code, "message": "no"}).encode(), "application/x-amz-json-1.1") as service:
        with serving(tmp_path, backend.upstream, kms_at(service["port"], **STATIC)) as running:
            answer = ready(running, lambda answer: code in json.dumps(answer))
    assert not answer["ready"] and components(answer, "problems") == ["keyring"], answer


def test_probes_call_the_key_service_once_a_minute(start, tmp_path, kms_relay, kms_key):
    """A round trip at the start, two calls; then none for a minute, however many probes there are."""
    backend = embedded_backend(tmp_path)
    backend.keyring.clear()
    backend.keyring.update(provider="aws-kms", key_id=kms_key, endpoint=kms_relay.endpoint, region="us-east-1")
    running = start(backend)
    ready(running, lambda answer: answer["ready"])
    before = kms_relay.take_counts()[0]
    assert len(before) == 2, before
    ended = time.monotonic() + 12
    while time.monotonic() < ended:
        probes = [threading.Thread(target=admin, args=(running, "/readyz")) for _ in range(10)]
        for probe in probes:
            probe.start()
        for probe in probes:
            probe.join()
    assert kms_relay.take_counts()[0] == []


def test_serving_begins_while_everything_is_away(tmp_path):
    """The port is open at once, and each dependency has one warning, with its address and the cause."""
    with refusing() as storage, refusing() as keys:
        with serving(tmp_path, storage_at(storage, max_retries=0), kms_at(keys, **STATIC)) as running:
            until(lambda: running.log_text().count("requests may fail") == 2, running.log_text())
            lines = [line for line in running.log_text().splitlines() if "requests may fail" in line]
            for port in (storage, keys):
                assert sum(f"127.0.0.1:{port}" in line and "efused" in line for line in lines) == 1, lines
            assert components(ready(running, lambda answer: not answer["ready"]), "problems") == ["storage", "keyring"]


# The storage


@pytest.mark.parametrize("change", [
    {"status": 500, "body": error("InternalError")},
    {"status": 503, "body": b"<html>maintenance</html>", "content_type": "text/html"},
    {"status": 200, "body": b"<html>welcome</html>", "content_type": "text/html"},
    {"status": 403, "body": error("InvalidAccessKeyId")},
    {"status": 403, "body": error("SignatureDoesNotMatch")},
])  # fmt: skip
def test_a_storage_that_fails_after_it_worked_takes_no_proxy_out(tmp_path, change):
    with answering(200, LISTING) as storage:
        with serving(tmp_path, storage_at(storage["port"], max_retries=0)) as running:
            assert ready(running, lambda answer: answer["ready"]) == {"ready": True}
            storage.update(change)
            answer = ready(running, lambda answer: answer.get("degraded") or not answer["ready"])
            assert answer["ready"] and components(answer, "degraded") == ["storage"], answer
            requests = storage["requests"]
            until(lambda: storage["requests"] >= requests + 3, "three more assessments")
            assert admin(running, "/readyz")[0] == 200
            storage.update(status=200, body=LISTING, content_type="application/xml")
            assert ready(running, lambda answer: answer == {"ready": True})
            until(lambda: "works again" in running.log_text(), "the line of the end")
            assert running.log_text().count("works again") == 1


@pytest.mark.parametrize("status, body, seen", [
    (500, error("InternalError"), "InternalError"),
    (200, b"<html>welcome</html>", "not as S3"),
    (403, error("InvalidAccessKeyId"), "InvalidAccessKeyId"),
    (403, error("SignatureDoesNotMatch"), "SignatureDoesNotMatch"),
])  # fmt: skip
def test_a_storage_that_never_worked_is_unready(tmp_path, status, body, seen):
    with answering(status, body) as storage:
        with serving(tmp_path, storage_at(storage["port"], max_retries=0)) as running:
            answer = ready(running, lambda answer: seen in json.dumps(answer))
    assert not answer["ready"] and components(answer, "problems") == ["storage"], answer


def test_a_storage_that_is_away_at_the_start_is_looked_for_without_probes(tmp_path, localstack):
    with relayed(localstack[0]) as relay:
        relay.stop()
        with serving(tmp_path, storage_at(relay.port, max_retries=0)) as running:
            until(lambda: "requests may fail" in running.log_text(), running.log_text())
            relay.restart()
            until(lambda: "works again" in running.log_text(), running.log_text())
            assert ready(running, lambda answer: answer["ready"]) == {"ready": True}


def test_a_storage_that_asks_for_fewer_requests_is_degraded(tmp_path):
    with answering(503, error("SlowDown")) as storage:
        with serving(tmp_path, storage_at(storage["port"], max_retries=0)) as running:
            answer = ready(running, lambda answer: answer["ready"])
    assert components(answer, "degraded") == ["storage"] and "fewer requests" in answer["degraded"][0]["message"]


def test_probes_ask_the_storage_every_few_seconds(tmp_path):
    with answering(200, LISTING) as storage:
        with serving(tmp_path, storage_at(storage["port"])) as running:
            ready(running, lambda answer: answer["ready"])
            started, before = time.monotonic(), storage["requests"]
            for _ in range(300):
                admin(running, "/readyz")
            passed = time.monotonic() - started
            assert storage["requests"] - before <= 1 + passed / 5

