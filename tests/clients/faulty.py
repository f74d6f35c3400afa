"""A storage that fails on demand: an HTTP server before LocalStack that drops, alters or withholds answers, before or after the request was carried out."""

import http.client
import re
import threading
import urllib.parse
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HANG_UP = None  # instead of an answer: the connection is closed
PER_HOP = {"connection", "transfer-encoding", "keep-alive", "date", "server"}


@dataclass
class Answer:
    status: int
    headers: list = field(default_factory=list)
    body: bytes = b""


@dataclass
class Fault:
    """What happens to the next `times` requests whose "METHOD /path?query" matches. `instead` answers without the storage; `after` is given the storage's answer and gives the client's."""

    pattern: re.Pattern
    instead: object = None
    after: object = None
    times: int = 1


def error(status, code="InternalError"):
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>on demand</Message></Error>'
    return Answer(status, [("content-type", "application/xml")], body.encode())


class Faulty:
    """Listens on 127.0.0.1 and passes requests on to `target` (an http:// endpoint)."""

    def __init__(self, target):
        parts = urllib.parse.urlsplit(target)
        self.target = (parts.hostname, parts.port)
        self.faults, self.lock, self.seen = [], threading.Lock(), []
        faulty = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one(self):
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                answer = faulty.answer(self.command, self.path, list(self.headers.items()), body)
                if answer is HANG_UP:
                    self.close_connection = True
                    return
                self.send_response_only(answer.status)
                names = {name.lower() for name, _ in answer.headers}
                for name, value in answer.headers:
                    self.send_header(name, value)
                if "content-length" not in names and answer.status != 204:
                    self.send_header("content-length", str(len(answer.body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(answer.body)
                    announced = [value for name, value in answer.headers if name.lower() == "content-length"]
                    self.close_connection |= bool(announced) and int(announced[0]) > len(answer.body)

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_OPTIONS = handle_one

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def on(self, pattern, **fault):
        """Adds a fault; gives it, so that a test sees whether it happened (`times` is 0 then)."""
        with self.lock:
            self.faults.append(Fault(re.compile(pattern), **fault))
            return self.faults[-1]

    def fault_for(self, line):
        with self.lock:
            self.seen.append(line)
            for fault in self.faults:
                if fault.times > 0 and fault.pattern.search(line):
                    fault.times -= 1
                    return fault
        return Fault(re.compile(""))

    def answer(self, method, path, headers, body):
        fault = self.fault_for(f"{method} {path}")
        if fault.instead is not None:
            return fault.instead() if callable(fault.instead) else fault.instead  # a callable may give HANG_UP
        answer = self.forward(method, path, headers, body)
        return fault.after(answer) if fault.after else answer

    def forward(self, method, path, headers, body):
        connection = http.client.HTTPConnection(*self.target, timeout=60)
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in headers:
            if name.lower() != "connection":
                connection.putheader(name, value)
        connection.endheaders(body)
        response = connection.getresponse()
        content = response.read()
        kept = [(name, value) for name, value in response.getheaders() if name.lower() not in PER_HOP]
        if method != "HEAD":
            kept = [(name, value) for name, value in kept if name.lower() != "content-length"]
        connection.close()
        return Answer(response.status, kept, content)

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
