"""Clients that vanish, a store that dies: nothing half-written is kept, nothing half-read looks whole."""

import os
import socket
import time

import pytest

from judge import assert_nothing_stored
from rawsig import SIGNED_CHUNKS, UNSIGNED, Chunks
from relay import Relay, reset

CONTENT = os.urandom(4 << 20)


def headers_of(running, path, headers, payload_hash):
    signer = running.signer()
    amz_date = signer.amz_date()
    signed = {"host": f"127.0.0.1:{running.port}", "x-amz-date": amz_date, "x-amz-content-sha256": payload_hash, **headers}
    signature, names = signer.sign_request("PUT", path, "", signed, payload_hash, amz_date)
    return {**signed, "authorization": signer.authorization(amz_date, names, signature)}, signature, amz_date, signer


def send_and_leave(running, path, headers, frames, leave):
    """Sends the head and what there is of the body, gives the proxy time to take it, and goes."""
    connection = socket.create_connection(("127.0.0.1", running.port), timeout=10)
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    connection.sendall(f"PUT {path} HTTP/1.1\r\n{head}\r\n".encode())
    for frame in frames:
        connection.sendall(frame)
    time.sleep(0.3)
    leave(connection)


LEAVE = {"closes": socket.socket.close, "is killed": reset, "half closes": lambda connection: connection.shutdown(socket.SHUT_WR)}


@pytest.mark.parametrize("leave", LEAVE)
@pytest.mark.parametrize("sent", [0, 65_536, len(CONTENT) - 1])
def test_a_client_that_vanishes(proxy, bucket, backend, leave, sent):
    path = f"/{bucket}/object"
    headers, *_ = headers_of(proxy, path, {}, UNSIGNED)
    send_and_leave(proxy, path, {**headers, "content-length": str(len(CONTENT))}, [CONTENT[:sent]], LEAVE[leave])
    assert_nothing_stored(backend.store, bucket)


@pytest.mark.parametrize("leave", LEAVE)
def test_a_client_that_vanishes_between_signed_chunks(proxy, bucket, backend, leave):
    path = f"/{bucket}/object"
    length = {"x-amz-decoded-content-length": str(len(CONTENT)), "content-encoding": "aws-chunked"}
    headers, signature, amz_date, signer = headers_of(proxy, path, length, SIGNED_CHUNKS)
    frames = list(Chunks(SIGNED_CHUNKS, CONTENT).frames(signer, amz_date, signature))
    # Everything but the empty last chunk: all of the content is there, and its end is not.
    total = str(sum(map(len, frames)))
    send_and_leave(proxy, path, {**headers, "content-length": total}, frames[:-2], LEAVE[leave])
    assert_nothing_stored(backend.store, bucket)


def test_a_vanished_overwrite_keeps_the_old_object(proxy, bucket):
    path = f"/{bucket}/object"
    assert proxy.raw().request("PUT", path, body=b"old").status == 200
    headers, *_ = headers_of(proxy, path, {}, UNSIGNED)
    send_and_leave(proxy, path, {**headers, "content-length": str(len(CONTENT))}, [CONTENT[: 2 << 20]], reset)
    time.sleep(0.5)
    assert proxy.raw().request("GET", path).body == b"old"


@pytest.mark.parametrize("after", [1000, 100_000, 1 << 20, len(CONTENT)])
def test_a_store_that_dies_mid_download(start, real, real_bucket, localstack, after):
    relay = Relay(localstack[0])
    running = start(real, upstream={"endpoint": relay.endpoint, "max_retries": 0})
    path = f"/{real_bucket}/object"
    assert running.raw().request("PUT", path, body=CONTENT).status == 200
    relay.cut_answers_after = after
    answer = running.raw().request("GET", path)
    relay.stop()
    if answer.status == 200:
        assert answer.broken and len(answer.body) < len(CONTENT), "a short object that looks whole"
        assert CONTENT.startswith(answer.body)
    else:
        assert answer.status in (500, 502, 503, 504) and answer.code


def test_a_store_out_of_reach(start, real, real_bucket, localstack):
    relay = Relay(localstack[0])
    running = start(real, upstream={"endpoint": relay.endpoint, "max_retries": 0})
    path = f"/{real_bucket}/object"
    assert running.raw().request("PUT", path, body=b"x").status == 200
    relay.stop()
    for method in ("GET", "HEAD", "PUT", "DELETE"):
        began = time.monotonic()
        answer = running.raw().request(method, path, body=b"y" if method == "PUT" else b"")
        assert answer.status in (500, 502, 503, 504), (method, answer)
        assert time.monotonic() - began < 20
    relay.restart()
    assert running.raw().request("GET", path).body == b"x"
    relay.stop()


def test_a_reader_that_vanishes_leaves_the_proxy_well(proxy, bucket):
    path = f"/{bucket}/object"
    assert proxy.raw().request("PUT", path, body=CONTENT).status == 200
    query = proxy.signer().presign("GET", f"127.0.0.1:{proxy.port}", path)
    for _ in range(10):
        connection = socket.create_connection(("127.0.0.1", proxy.port), timeout=10)
        connection.sendall(f"GET {path}?{query} HTTP/1.1\r\nhost: 127.0.0.1:{proxy.port}\r\n\r\n".encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
        reset(connection)
    assert proxy.raw().request("GET", path).body == CONTENT


def test_a_polite_stop_lets_streams_end(start, real, real_bucket):
    """SIGTERM while a download runs: it is finished, then the process ends with 0."""
    running = start(real)
    path = f"/{real_bucket}/object"
    content = os.urandom(16 << 20)
    assert running.raw().request("PUT", path, body=content).status == 200
    query = running.signer().presign("GET", f"127.0.0.1:{running.port}", path)
    connection = socket.create_connection(("127.0.0.1", running.port), timeout=20)
    connection.sendall(f"GET {path}?{query} HTTP/1.1\r\nhost: 127.0.0.1:{running.port}\r\nconnection: close\r\n\r\n".encode())
    received = bytearray(connection.recv(65_536))
    running.process.terminate()
    time.sleep(0.3)
    while piece := connection.recv(1 << 20):
        received += piece
    assert received.endswith(content[-1000:])
    assert running.process.wait(30) == 0
