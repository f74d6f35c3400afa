"""Run by test_sse_c_connections.py in a network namespace of its own, in which this machine also has the address OTHER:
python other_address.py DIRECTORY. It prints what requests with a customer key get: {"RULE ADDRESS REQUEST": "STATUS CODE"}."""

import http.client
import json
import ssl
import sys
from pathlib import Path

from conftest import embedded_backend
from proxy import Certificate, Proxy
from rawsig import RawClient
from test_post import encode, send, sign
from test_sse_c import KEY, OF_SOURCE, headers, own

OTHER = "192.0.2.1"  # RFC 5737: an address of documentation


class Unnamed(RawClient):
    """Over TLS to an address that the certificate does not name."""

    def connect(self):
        if not self.secure:
            return super().connect()
        context = ssl.create_default_context(cafile=self.ca)
        context.check_hostname = False
        return http.client.HTTPSConnection(self.host, self.port, timeout=self.timeout, context=context)


def requests(running, address):
    """{request: status and code} of each kind of request that may have a customer key."""
    raw = Unnamed(f"{running.scheme}://{address}:{running.port}", running.signer(), ca=running.ca)
    source = {"x-amz-copy-source": "/bucket/object"}
    sent = {
        "PUT": ("PUT", "/bucket/new", [], headers()),
        "GET": ("GET", "/bucket/object", [], headers()),
        "HEAD": ("HEAD", "/bucket/object", [], headers()),
        "create upload": ("POST", "/bucket/upload", [("uploads", "")], headers()),
        "copy to a key": ("PUT", "/bucket/copy", [], {"x-amz-copy-source": "/bucket/plain", **headers()}),
        "copy from a key": ("PUT", "/bucket/copy", [], {**source, **headers(KEY, OF_SOURCE)}),
        "PUT without": ("PUT", "/bucket/plain", [], {}),
        "GET without": ("GET", "/bucket/plain", [], {}),
    }
    told = {}
    for name, (method, path, query, more) in sent.items():
        body = b"content" if method == "PUT" and "x-amz-copy-source" not in more else b""
        answer = raw.request(method, path, query, body, more)
        told[name] = f"{answer.status} {answer.code if answer.status >= 400 and method != 'HEAD' else ''}".strip()
    if running.scheme == "http":
        url, fields = sign(running, "bucket", "form", fields=headers())
        answer = send(url.replace("127.0.0.1", address), encode(fields, b"content"))
        told["form"] = f"{answer.status} {answer.code if answer.status >= 400 else ''}".strip()
    return told


def main(directory):
    backend = embedded_backend(directory)
    certificate = Certificate.make(directory / "tls")
    told = {}
    for name, rule, tls in (("tls", "tls", None), ("any", "any", None), ("off", "off", None), ("tls over TLS", "tls", certificate)):
        running = Proxy(directory / name, backend.upstream, backend.keyring, {"bucket": [{"name": "*", "sse_c": rule}]}, tls)
        # The only server of the tests that listens on every address; outside of the namespace none of them exists.
        running.sections["listen"] = {"address": f"0.0.0.0:{running.port}"}
        with running:
            if name == "tls":
                s3 = running.boto()
                s3.create_bucket(Bucket="bucket")
                s3.put_object(Bucket="bucket", Key="object", Body=b"content", **own())
                s3.put_object(Bucket="bucket", Key="plain", Body=b"content")
            for address in ("127.0.0.1", OTHER):
                told |= {f"{name} {address} {request}": answer for request, answer in requests(running, address).items()}
    print(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
