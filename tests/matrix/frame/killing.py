"""A relay between program and proxy, which kills the proxy once a number of bytes of requests has come, and starts it again."""

import sys
import threading
import time

from .places import ROOT

sys.path.insert(0, str(ROOT / "tests" / "clients"))
from relay import Relay  # noqa: E402  (uses the standard library alone)

# How long the proxy is away. Longer than a client's first retry, shorter than its last.
AWAY_SECONDS = 0.7


class KillingRelay(Relay):
    """Relays to a Server. `arm` sets when it is killed; `killed` then tells of it."""

    def __init__(self, server):
        self.server, self.limit, self.sent, self.killed, self.restarted = server, None, 0, None, threading.Event()
        super().__init__(f"http://127.0.0.1:{server.port}")

    def arm(self, after_bytes):
        """Kills within the request that brings the bytes sent by clients from now on to this number."""
        with self.lock:
            self.limit, self.sent = after_bytes, 0

    def disarm(self):
        with self.lock:
            self.limit = None

    def count(self, data, answers):
        super().count(data, answers)
        if answers:
            return
        with self.lock:
            self.sent += len(data)
            due = self.limit is not None and self.sent >= self.limit
            if due:
                self.limit = None
        if due:
            # Told before it happens: a program that fails at once finds out why. The bytes that arrived are not relayed any
            # more, so that this request never reaches its end.
            self.killed = {"bytes": self.sent, "request": self.requests[-1].partition("?")[0] if self.requests and not self.server.tls else None}
            self.server.kill()
            threading.Thread(target=self.start_again).start()

    def start_again(self):
        time.sleep(AWAY_SECONDS)
        try:
            self.server.start()
        finally:
            self.restarted.set()

    def wait_until_restarted(self):
        assert not self.killed or self.restarted.wait(90), "the proxy did not start again"
