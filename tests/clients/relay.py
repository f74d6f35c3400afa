"""A TCP relay that can be switched off, or cut a connection after so many bytes: a network that fails on demand."""

import re
import socket
import struct
import threading
import time
import urllib.parse


REQUEST = re.compile(rb"(GET|HEAD|PUT|POST|DELETE) (\S+) HTTP/1\.1\r\n")


class Relay:
    """Listens on 127.0.0.1 and relays to `target` (an http:// endpoint). It counts what passes: for requests without bodies."""

    def __init__(self, target):
        parts = urllib.parse.urlsplit(target)
        self.target = (parts.hostname, parts.port)
        self.cut_answers_after = None  # bytes of each connection's answers, from now on
        self.relayed = 0  # bytes, both ways
        self.answers_wait = 0  # seconds, each piece of an answer
        self.requests_wait = 0  # seconds, each piece of a request
        self.cut_at = None  # a pattern: the connection on which a client sends such bytes ends, and they are not relayed
        self.meddle = None  # called with each piece of a request before it is relayed
        self.before = None  # a pattern and what to do, once, before a client's bytes with it are relayed
        self.requests, self.answered = [], 0  # "GET /path" each; bytes
        self.is_away, self.refused = False, 0  # whether connections end at once, and how many did
        self.connections, self.lock = set(), threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.endpoint = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        listener = self.listener
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            if self.is_away:
                self.refused += 1
                near.close()
                continue
            try:
                far = socket.create_connection(self.target, timeout=10)
                far.settimeout(None)
            except OSError:
                near.close()
                continue
            with self.lock:
                self.connections |= {near, far}
            threading.Thread(target=self.pump, args=(near, far, False), daemon=True).start()
            threading.Thread(target=self.pump, args=(far, near, True), daemon=True).start()

    def pump(self, source, sink, answers):
        passed = 0
        try:
            while data := source.recv(65_536):
                if answers and self.answers_wait:
                    time.sleep(self.answers_wait)
                if not answers and self.requests_wait:
                    time.sleep(self.requests_wait)
                if not answers and self.cut_at and self.cut_at.search(data):
                    break
                if not answers and self.meddle:
                    self.meddle(data)
                if not answers and self.before and self.before[0].search(data):
                    do, self.before = self.before[1], None
                    do()
                self.count(data, answers)
                limit = self.cut_answers_after if answers else None
                if limit is not None and passed + len(data) >= limit:
                    sink.sendall(data[: max(0, limit - passed)])
                    break
                sink.sendall(data)
                passed += len(data)
        except OSError:
            pass
        finally:
            # After any other fault too: an open connection that is no longer read would block its client for ever.
            self.close(source, sink)

    def count(self, data, answers):
        with self.lock:
            self.relayed += len(data)
            if answers:
                self.answered += len(data)
            else:
                self.requests += [f"{method.decode()} {path.decode()}" for method, path in REQUEST.findall(data)]

    def take_counts(self):
        """The requests and the bytes of answers since the last call."""
        with self.lock:
            counts = self.requests, self.answered
            self.requests, self.answered = [], 0
        return counts

    def close(self, *sockets):
        for one in sockets:
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            one.close()
        with self.lock:
            self.connections -= set(sockets)

    def leave(self):
        """Ends the open connections, and each new one at once, until `come_back`."""
        self.is_away = True
        with self.lock:
            open_now = list(self.connections)
        self.close(*open_now)

    def come_back(self):
        self.is_away = False

    def stop(self):
        """Refuses new connections and breaks those that are open."""
        # Without the shutdown the thread in accept() would keep the port open.
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
        with self.lock:
            open_now = list(self.connections)
        self.close(*open_now)

    def restart(self):
        self.listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self.accept, daemon=True).start()


def reset(connection):
    """Closes with a reset, as a client that is killed."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
