"""Servers that answer every request in one way: storages and key services that are none, or refuse."""

import contextlib
import http.server
import socket
import ssl
import threading
import time

LISTING = (
    b'<?xml version="1.0" encoding="UTF-8"?><ListAllMyBucketsResult><Owner><ID>1</ID></Owner>'
    b"<Buckets></Buckets></ListAllMyBucketsResult>"
)


def error(code, message="m", more=""):
    return f"<Error><Code>{code}</Code><Message>{message}</Message>{more}</Error>".encode()


@contextlib.contextmanager
def answering(status, body=b"", content_type="application/xml", delay=0.0, certificate=None):
    """A server on 127.0.0.1; yields what can be changed while it runs: `answer["status"]`, ..., and its `answer["port"]`."""
    answer = {"status": status, "body": body, "content_type": content_type, "delay": delay, "requests": 0}

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def reply(self):
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            answer["requests"] += 1
            time.sleep(answer["delay"])
            self.send_response(answer["status"])
            self.send_header("Content-Type", answer["content_type"])
            self.send_header("Content-Length", str(len(answer["body"])))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer["body"])

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = reply

        def log_message(self, *_):
            pass

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_):
            """A client that is wary of the certificate hangs up."""

    server = Server(("127.0.0.1", 0), Handler)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    answer["port"] = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield answer
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def silent():
    """A port of 127.0.0.1 that takes connections, and never responds."""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as held:
        yield held.getsockname()[1]


@contextlib.contextmanager
def refusing():
    """A port of 127.0.0.1 at which nothing listens, held while this lasts."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]
