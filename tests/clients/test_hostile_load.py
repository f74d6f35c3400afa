"""A crowd that wants to keep the proxy from serving: unsigned forms that dawdle, uploads and readers of a byte a second, documents of
8 MiB, a flood of bad signatures. A signed client, with the same access key, is served throughout, and memory stays small.

As a test it is scaled down, and asserts no times. In full, with the latencies of the client that is served:

    S3VEIL_BINARY=target/dist/s3veil .venv/clients/bin/python tests/clients/test_hostile_load.py --full
"""

import http.client
import multiprocessing
import os
import random
import resource
import socket
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from conftest import embedded_backend, new_bucket
from proxy import Proxy
from rawsig import UNSIGNED
from test_limits import MIB, resident

MEMORY = 250 * MIB


@dataclass(frozen=True)
class Load:
    forms: int
    uploads: int
    readers: int
    documents: int
    bad_signatures: int  # a second, at most
    seconds: int


SMALL = Load(forms=100, uploads=300, readers=200, documents=20, bad_signatures=300, seconds=20)
FULL = Load(forms=1000, uploads=2000, readers=2000, documents=100, bad_signatures=20_000, seconds=60)


def raise_descriptor_limit():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def head(running, method, path, query="", **headers):
    """A signed request's head."""
    signer = running.signer()
    amz_date = signer.amz_date()
    signed = {"host": f"127.0.0.1:{running.port}", "x-amz-date": amz_date, "x-amz-content-sha256": UNSIGNED}
    signature, names = signer.sign_request(method, path, query, signed, UNSIGNED, amz_date)
    signed |= {"authorization": signer.authorization(amz_date, names, signature), **headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in signed.items())
    return f"{method} {path}{'?' if query else ''}{query} HTTP/1.1\r\n{lines}\r\n".encode()


class Slow:
    """A connection that sends, or takes, a byte now and then; it is opened again when it was ended."""

    def __init__(self, running, begin, sends):
        self.running, self.begin, self.sends, self.socket = running, begin, sends, None

    def open(self):
        self.socket = socket.socket()
        if not self.sends:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.settimeout(10)
        self.socket.connect(("127.0.0.1", self.running.port))
        self.socket.sendall(self.begin())
        self.socket.setblocking(False)

    def close(self):
        self.socket.close()
        self.socket = None

    def tick(self):
        """A byte; true if the connection had ended."""
        try:
            if self.socket is None:
                self.open()
                return False
            if self.sends:
                self.socket.send(b"x")
            ended = self.socket.recv(1) == b"" or self.sends
        except BlockingIOError:
            return False
        except OSError:
            ended = True
        if ended and self.socket:
            self.close()
        return ended


def dawdle(running, bucket, load, until):
    raise_descriptor_limit()
    form = (
        f"POST /{bucket} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 100000\r\n"
        "content-type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"
    ).encode()
    numbers = iter(range(1 << 30))

    def upload():
        return head(running, "PUT", f"/{bucket}/slow-{next(numbers)}", **{"content-length": "300000"})

    slow = [Slow(running, lambda: form, True) for _ in range(load.forms)]
    slow += [Slow(running, upload, True) for _ in range(load.uploads)]
    slow += [Slow(running, lambda: head(running, "GET", f"/{bucket}/large"), False) for _ in range(load.readers)]
    random.shuffle(slow)
    # A tenth of them at a time, and one tenth more each second: all at once would be a burst of work, not slowness.
    ended, ticks = 0, 0
    while time.time() < until:
        began = time.monotonic()
        here = min(len(slow), (ticks + 1) * len(slow) // 100)
        ended += sum(one.tick() for one in slow[ticks % 10 : here : 10])
        ticks += 1
        time.sleep(max(0, 0.1 - (time.monotonic() - began)))
    print(f"slow: {len(slow)} connections, {ended} of them ended and were opened again", flush=True)


def send_documents(running, bucket, load, until):
    raise_descriptor_limit()
    content = bytes(8 * MIB - 1)

    def one(number):
        while time.time() < until:
            method, query = (("PUT", "tagging="), ("POST", "delete="), ("GET", "tagging="))[number % 3]
            try:
                with socket.create_connection(("127.0.0.1", running.port), timeout=5) as connection:
                    connection.sendall(head(running, method, f"/{bucket}", query, **{"content-length": str(8 * MIB)}))
                    connection.sendall(content)
                    connection.recv(65536)
            except OSError:
                pass
            time.sleep(0.5)

    threads = [threading.Thread(target=one, args=(number,), daemon=True) for number in range(load.documents)]
    for thread in threads:
        thread.start()
    time.sleep(max(0, until - time.time()))
    os._exit(0)


def flood(running, bucket, load, until):
    """Bad signatures on a few connections, many requests at once on each."""
    good = head(running, "GET", f"/{bucket}/object")
    bad = good.replace(b"Signature=", b"Signature=00")
    burst, answered, began = 50, 0, time.monotonic()
    connections = []
    while time.time() < until:
        try:
            if not connections:
                connections = [socket.create_connection(("127.0.0.1", running.port), timeout=10) for _ in range(4)]
            for connection in connections:
                connection.sendall(bad * burst)
            for connection in connections:
                seen = 0
                while seen < burst:
                    data = connection.recv(1 << 20)
                    if not data:
                        raise OSError("ended")
                    seen += data.count(b"HTTP/1.1 403")
                answered += seen
        except OSError:
            connections = []
        time.sleep(max(0, answered / load.bad_signatures - (time.monotonic() - began)))
    print(f"bad signatures: {answered / (time.monotonic() - began):.0f} a second", flush=True)


class Good:
    """A client that stores and reads small objects, a request after the other, and keeps how long each took."""

    def __init__(self, running, bucket):
        self.running, self.bucket = running, bucket
        self.milliseconds, self.refused, self.memory = [], [], 0

    def run(self, until):
        connection, number = None, 0
        body = os.urandom(2000)
        while time.time() < until:
            number += 1
            connection = connection or http.client.HTTPConnection("127.0.0.1", self.running.port, timeout=30)
            for method in ("PUT", "GET"):
                path = f"/{self.bucket}/good-{number % 50}"
                lines = head(self.running, method, path).decode().split("\r\n")[1:-2]
                headers = dict(line.split(": ", 1) for line in lines)
                began = time.monotonic()
                connection.request(method, path, body if method == "PUT" else None, headers)
                answer = connection.getresponse()
                content = answer.read()
                self.milliseconds.append(1000 * (time.monotonic() - began))
                if answer.status != 200 or (method == "GET" and content != body):
                    self.refused.append((method, answer.status, content[:200]))
            if number % 10 == 1:
                self.memory = max(self.memory, resident(self.running.process))
            time.sleep(0.01)

    def percentile(self, percent):
        ordered = sorted(self.milliseconds)
        return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


def under(load, running):
    s3 = running.boto()
    bucket = new_bucket(s3)
    s3.put_object(Bucket=bucket, Key="large", Body=bytes(32 * MIB))
    until = time.time() + load.seconds
    context = multiprocessing.get_context("fork")
    crowd = [
        context.Process(target=kind, args=(running, bucket, load, until), daemon=True)
        for kind in (dawdle, send_documents, flood)
    ]
    for process in crowd:
        process.start()
    good = Good(running, bucket)
    good.run(until)
    for process in crowd:
        process.join(20)
        process.kill()
    print(
        f"{len(good.milliseconds)} requests, {len(good.refused)} refused; p50 {good.percentile(50):.0f} ms, "
        f"p99 {good.percentile(99):.0f} ms, most {max(good.milliseconds):.0f} ms; {good.memory / MIB:.0f} MiB",
        flush=True,
    )
    return good


def test_a_signed_client_is_served_throughout(start, tmp_path):
    # As scaled down as the crowd, which would fill them more than twice.
    running = start(embedded_backend(tmp_path), listen={"max_requests": 200})
    good = under(SMALL, running)
    assert not good.refused, good.refused[:3]
    assert len(good.milliseconds) > 2
    assert good.memory < MEMORY


if __name__ == "__main__":
    raise_descriptor_limit()
    with tempfile.TemporaryDirectory() as directory:
        store = embedded_backend(Path(directory))
        with Proxy(Path(directory) / "proxy", store.upstream, store.keyring, {"log": {"level": "info"}}) as proxy:
            outcome = under(FULL if "--full" in sys.argv else SMALL, proxy)
    sys.exit(bool(outcome.refused) or outcome.memory >= MEMORY)
