"""What a client, or a crowd of them, can make the proxy hold: requests under way, buffers, connections."""

import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from conftest import embedded_backend, new_bucket
from rawsig import UNSIGNED
from relay import Relay, reset

MIB = 1 << 20
SLOW_READERS, IDLE_CONNECTIONS = 50, 1000


def resident(process):
    """Bytes that the process has in memory now."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmRSS"))


def begun(running, method, path, **headers):
    """A connection with the head of a signed request on it, and nothing after."""
    signer = running.signer()
    amz_date = signer.amz_date()
    signed = {"host": f"127.0.0.1:{running.port}", "x-amz-date": amz_date, "x-amz-content-sha256": UNSIGNED}
    signature, names = signer.sign_request(method, path, "", signed, UNSIGNED, amz_date)
    signed |= {"authorization": signer.authorization(amz_date, names, signature), **headers}
    connection = socket.create_connection(("127.0.0.1", running.port), timeout=20)
    head = "".join(f"{name}: {value}\r\n" for name, value in signed.items())
    connection.sendall(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode())
    return connection


def until(condition, seconds=15):
    deadline = time.monotonic() + seconds
    while not (outcome := condition()):
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)
    return outcome


@pytest.fixture
def narrow(start, backend):
    """A proxy that serves two requests at once."""
    return start(backend, listen={"max_requests": 2})


def test_too_many_requests_are_told_to_slow_down(start, real):
    """Two of which wait for the storage."""
    relay = Relay(real.upstream["endpoint"])
    narrow = start(real, upstream={"endpoint": relay.endpoint}, listen={"max_requests": 2})
    s3 = narrow.boto()
    bucket = new_bucket(s3)
    s3.put_object(Bucket=bucket, Key="object", Body=b"here")
    relay.answers_wait = 10
    held = [begun(narrow, "PUT", f"/{bucket}/held-{i}", **{"content-length": "10"}) for i in range(2)]
    for connection in held:
        connection.sendall(b"0123456789")
    until(lambda: narrow.metrics().get("s3veil_requests_in_flight") == 2)
    raw = narrow.raw()
    for method, body in (("GET", b""), ("HEAD", b""), ("PUT", b"x" * 100_000)):
        answer = raw.request(method, f"/{bucket}/object", body=body)
        assert (answer.status, answer.headers.get("retry-after")) == (503, "1"), answer
        assert method == "HEAD" or answer.code == "SlowDown"
    assert narrow.metrics()["s3veil_slow_downs_total"] == 3
    relay.answers_wait = 0
    assert {connection.recv(12) for connection in held} == {b"HTTP/1.1 200"}
    assert raw.request("GET", f"/{bucket}/object").body == b"here"
    for connection in held:
        connection.close()
    until(lambda: narrow.metrics()["s3veil_requests_in_flight"] == 0)
    assert "Contents" in s3.list_objects_v2(Bucket=bucket)
    relay.stop()


def test_too_many_connections_are_told_to_slow_down(start, backend):
    running = start(backend, listen={"max_connections": 2})
    s3 = running.boto()
    bucket = new_bucket(s3)
    s3.close()
    until(lambda: running.metrics()["s3veil_connections_open"] <= 1)  # the one that asks
    held = [begun(running, "PUT", f"/{bucket}/held-{i}", **{"content-length": "10"}) for i in range(2)]
    until(lambda: running.metrics().get("s3veil_requests_in_flight") == 2)
    answer = running.raw().request("GET", f"/{bucket}")
    assert (answer.status, answer.code, answer.headers.get("connection")) == (503, "SlowDown", "close"), answer
    for connection in held:
        connection.close()
    until(lambda: running.raw().request("GET", f"/{bucket}").status == 200)


def test_what_is_verified_whole_has_one_memory_for_all(start, backend):
    rule = {"name": "*", "formats": {"write": "s3ec-v3"}, "s3ec": {"buffer": "32MiB"}}
    running = start(backend, listen={"max_buffered": "32MiB"}, bucket=[rule])
    s3, raw = running.boto(), running.raw()
    bucket = new_bucket(s3)
    content = os.urandom(20 * MIB)
    s3.put_object(Bucket=bucket, Key="message", Body=content)
    slow = begun(running, "GET", f"/{bucket}/message")
    assert slow.recv(12) == b"HTTP/1.1 200"
    answer = raw.request("GET", f"/{bucket}/message")
    assert (answer.status, answer.code, answer.headers.get("retry-after")) == (503, "SlowDown", "1"), answer
    reset(slow)
    until(lambda: raw.request("GET", f"/{bucket}/message").status == 200)
    assert s3.get_object(Bucket=bucket, Key="message")["Body"].read() == content


def test_an_sdks_retries_carry_a_burst_over_the_limit(narrow):
    s3 = narrow.boto(retries={"mode": "standard", "max_attempts": 12})
    bucket = new_bucket(s3)

    def there_and_back(number):
        s3.put_object(Bucket=bucket, Key=f"object-{number}", Body=str(number).encode() * 1000)
        return s3.get_object(Bucket=bucket, Key=f"object-{number}")["Body"].read() == str(number).encode() * 1000

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(there_and_back, range(24)))


def test_whoever_goes_away_makes_room(narrow):
    s3 = narrow.boto()
    bucket = new_bucket(s3)
    s3.put_object(Bucket=bucket, Key="large", Body=bytes(8 * MIB))
    for number in range(40):
        one = begun(narrow, "PUT", f"/{bucket}/never", **{"content-length": "1000000"})
        one.sendall(bytes(1000 * number))
        reset(one)
        until(lambda: narrow.metrics()["s3veil_requests_in_flight"] == 0)
        other = begun(narrow, "GET", f"/{bucket}/large")
        assert other.recv(12) == b"HTTP/1.1 200"
        reset(other)
        until(lambda: narrow.metrics()["s3veil_requests_in_flight"] == 0)
    assert narrow.raw().request("GET", f"/{bucket}/large").body == bytes(8 * MIB)


def test_slow_readers_cost_a_bounded_buffer_each(start, tmp_path):
    """Each has asked for 64 MiB, has taken a few bytes and then takes no more."""
    running = start(embedded_backend(tmp_path))
    s3 = running.boto()
    bucket = new_bucket(s3)
    s3.put_object(Bucket=bucket, Key="large", Body=bytes(64 * MIB))
    before = resident(running.process)
    readers = [begun(running, "GET", f"/{bucket}/large") for _ in range(SLOW_READERS)]
    assert {reader.recv(12) for reader in readers} == {b"HTTP/1.1 200"}
    time.sleep(2)
    grown = resident(running.process) - before
    print(f"{grown / SLOW_READERS / 1024:.0f} KiB for each slow reader")
    assert grown < SLOW_READERS * MIB
    for reader in readers:
        reset(reader)
    until(lambda: running.metrics()["s3veil_requests_in_flight"] == 0)


def test_a_slow_store_costs_a_bounded_buffer(start, real):
    """Uploads whose bytes it takes slowly: their clients wait, and the proxy keeps no more than a few chunks of each."""
    relay = Relay(real.upstream["endpoint"])
    running = start(real, upstream={"endpoint": relay.endpoint})
    bucket = new_bucket(running.boto())
    before = resident(running.process)
    relay.requests_wait = 3600
    clients = [begun(running, "PUT", f"/{bucket}/slow-{i}", **{"content-length": str(64 * MIB)}) for i in range(10)]
    taken = 0
    for client in clients:
        client.settimeout(2)
        try:
            while taken < 10 * 64 * MIB:
                taken += client.send(bytes(MIB))
        except TimeoutError:
            pass
    grown = resident(running.process) - before
    print(f"{taken / MIB:.0f} MiB were taken, {grown / MIB:.1f} MiB are held")
    assert taken < 10 * 64 * MIB, "the store took nothing, so nobody else may"
    assert grown < 10 * 4 * MIB
    for client in clients:
        reset(client)
    relay.stop()


def test_idle_connections_cost_little(start, tmp_path):
    running = start(embedded_backend(tmp_path))
    s3 = running.boto()
    bucket = new_bucket(s3)
    s3.put_object(Bucket=bucket, Key="object", Body=b"x" * 1000)
    before = resident(running.process)
    held = []
    for _ in range(IDLE_CONNECTIONS):
        connection = begun(running, "GET", f"/{bucket}/object")
        answer = b""
        while not answer.endswith(b"x" * 1000):
            answer += connection.recv(65536)
        held.append(connection)
    grown = resident(running.process) - before
    print(f"{grown / IDLE_CONNECTIONS / 1024:.1f} KiB for each idle connection")
    assert grown < IDLE_CONNECTIONS * 64 * 1024
    assert running.raw().request("GET", f"/{bucket}/object").body == b"x" * 1000
    for connection in held:
        connection.close()


def test_dawdlers_are_cut(start, tmp_path):
    """A head that never ends, a body that stops coming, an answer that nobody takes."""
    running = start(embedded_backend(tmp_path), listen={"header_timeout": "2s", "idle_timeout": "2s"})
    s3 = running.boto()
    bucket = new_bucket(s3)
    s3.put_object(Bucket=bucket, Key="large", Body=bytes(64 * MIB))
    drip = socket.create_connection(("127.0.0.1", running.port), timeout=20)
    stalled = begun(running, "PUT", f"/{bucket}/stalled", **{"content-length": "1000000"})
    stalled.sendall(os.urandom(1000))
    deaf = begun(running, "GET", f"/{bucket}/large")
    with pytest.raises(OSError):
        for byte in b"GET / HTTP/1.1\r\nx: " + b"y" * 100:
            drip.sendall(bytes([byte]))
            time.sleep(0.1)
    assert b"RequestTimeout" in stalled.recv(65536)
    until(lambda: running.metrics()["s3veil_requests_in_flight"] == 0)
    deaf.close()
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 1
