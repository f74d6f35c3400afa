"""A storage that answers what a test tells it to, as AWS S3 is known to where LocalStack does otherwise; it keeps what it was asked."""

import http.client
import http.server
import threading
import urllib.parse
from dataclasses import dataclass, field

NAMESPACE = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'


@dataclass
class Reply:
    """A response; without a body, Content-Length is the given one."""

    status: int = 200
    headers: list = field(default_factory=list)
    body: bytes = b""
    length: int | None = None


@dataclass
class Asked:
    """A request that came: its query as {name: value}."""

    method: str
    path: str
    query: dict
    headers: dict
    body: bytes


class StandIn:
    """`answer(asked)` gives the reply to each request. Serves from `start` to `stop`, on 127.0.0.1."""

    def __init__(self, answer):
        self.asked = []
        stand_in = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def respond(self):
                parts = urllib.parse.urlsplit(self.path)
                query = dict(urllib.parse.parse_qsl(parts.query, keep_blank_values=True))
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                asked = Asked(self.command, urllib.parse.unquote(parts.path), query, headers, body)
                stand_in.asked.append(asked)
                reply = answer(asked)
                self.send_response(reply.status)
                for name, value in reply.headers:
                    self.send_header(name, value)
                if reply.status not in (204, 304):
                    self.send_header("content-length", str(len(reply.body) if reply.length is None else reply.length))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(reply.body)

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_OPTIONS = respond

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self.server.server_address[1]}"

    @property
    def upstream(self):
        return {"endpoint": self.endpoint, "path_style": True, "access_key_id": "test", "secret_access_key": "test"}

    def __enter__(self):
        # http.client's own limit, which the handler's parser shares.
        http.client._MAXHEADERS = 10_000
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


def document(name, content):
    return Reply(headers=[("content-type", "application/xml")], body=f'<?xml version="1.0" encoding="UTF-8"?>\n<{name} {NAMESPACE}>{content}</{name}>'.encode())
