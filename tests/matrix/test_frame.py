"""The frame of scripts/matrix notices what it is there to notice: without this, a program could pass that lost or leaked content."""

import json
import os
import socket
import threading

import pytest

from frame import content, storage
from frame.killing import KillingRelay

KEY = "object"
ENVELOPE = {"encryption-envelope": "e", "encryption-key": "k"}


class Opened:
    """Stands in for a response of the proxy that shows what a client reads."""

    def __init__(self, body):
        self.body = body

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def read(self):
        return self.body


class Reader:
    port = 0


@pytest.fixture
def look(tmp_path, monkeypatch):
    """look(stored, read, metadata): looks at one object with this stored body, of which clients read another."""

    def run(stored, read, metadata=ENVELOPE):
        path = tmp_path / KEY
        path.write_bytes(stored + b"\n" + json.dumps({"key": KEY, "attributes": {"metadata": metadata}}).encode() + b"\n")
        monkeypatch.setattr(storage.OPENER, "open", lambda *_, **__: Opened(read))
        looked = storage.Looked()
        storage.look_at(Reader(), "bucket", path, looked)
        return looked

    return run


def test_ciphertext_is_accepted(look):
    looked = look(os.urandom(50_000), content.text(49_000, 1))
    assert (looked.objects, looked.bytes, looked.with_marker) == (1, 50_000, 1)


def test_an_object_without_an_envelope_is_refused(look):
    with pytest.raises(AssertionError, match="no envelope"):
        look(os.urandom(50_000), content.text(49_000, 1), metadata={})


@pytest.mark.parametrize("at", [0, 20_000])
def test_plaintext_in_a_body_is_refused(look, at):
    plain = content.text(30_000, 1)
    with pytest.raises(AssertionError, match="plaintext is stored"):
        look(os.urandom(at) + plain, plain)


def test_the_end_of_a_plaintext_alone_is_refused(look):
    plain = os.urandom(30_000)
    with pytest.raises(AssertionError, match="plaintext is stored"):
        look(os.urandom(30_000) + plain[-storage.WINDOW :], plain)


def test_a_body_that_can_be_compressed_is_refused(look):
    with pytest.raises(AssertionError, match="can be compressed"):
        look(os.urandom(20_000).hex().encode(), os.urandom(20_000))


def test_the_marker_in_any_file_is_refused(tmp_path):
    part = tmp_path / "data" / ".uploads" / "bucket" / "id" / "1"
    part.parent.mkdir(parents=True)
    part.write_bytes(os.urandom(100) + content.MARKER.encode())
    with pytest.raises(AssertionError, match="the marker is in"):
        storage.look(tmp_path)


@pytest.fixture
def trees(tmp_path):
    for name in ("source", "restored"):
        content.write_tree(tmp_path / name, {"empty": 0, "folder/file": 1000})
    return tmp_path / "source", tmp_path / "restored"


def test_equal_trees(trees):
    assert content.assert_same(*trees) == 1000


@pytest.mark.parametrize("spoil, said", [
    (lambda root: (root / "folder/file").write_bytes(b"x" * 1000), "other bytes"),
    (lambda root: (root / "empty").unlink(), "missing"),
    (lambda root: (root / "more").write_bytes(b""), "not there before"),
])  # fmt: skip
def test_trees_that_differ(trees, spoil, said):
    spoil(trees[1])
    with pytest.raises(AssertionError, match=said):
        content.assert_same(*trees)


class Server:
    """Stands in for a proxy: it takes whatever comes, and notes that it was killed and started."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port, self.received, self.events, self.tls = self.listener.getsockname()[1], 0, [], False
        self.is_connected = threading.Event()
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        self.connection, _ = self.listener.accept()
        self.is_connected.set()
        while data := self.connection.recv(65_536):
            self.received += len(data)

    def kill(self):
        self.events.append("killed")
        # The relay connects before this process takes the connection.
        assert self.is_connected.wait(30)
        self.connection.shutdown(socket.SHUT_RDWR)

    def start(self):
        self.events.append("started")


def test_the_proxy_is_killed_once_the_bytes_have_come():
    server = Server()
    relay = KillingRelay(server)
    relay.arm(200_000)
    with socket.create_connection(("127.0.0.1", relay.port), timeout=30) as client, pytest.raises(OSError):
        for _ in range(1000):
            client.sendall(b"PUT /bucket/key?partNumber=1 HTTP/1.1\r\n" + bytes(10_000))
    relay.wait_until_restarted()
    relay.stop()
    assert server.events == ["killed", "started"]
    assert relay.killed["bytes"] >= 200_000 and relay.killed["request"] == "PUT /bucket/key"
    assert server.received < 200_000, "what brought the number is not relayed"
