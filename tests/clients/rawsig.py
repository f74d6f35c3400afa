"""A SigV4 client of our own, small enough to lie with: every field can be wrong on purpose.

SDKs only make correct requests. This one signs by AWS's published rules ("Signature Version 4", "Signature calculations:
transferring payload in multiple chunks") and lets a test change anything before or after the signature.
"""

import base64
import datetime
import hashlib
import hmac
import http.client
import ssl
import urllib.parse
import xml.etree.ElementTree
import zlib
from dataclasses import dataclass, field

from awscrt import checksums

# As many as a response may have; http.client stops at 100.
http.client._MAXHEADERS = 10_000
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
SIGNED_CHUNKS = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
SIGNED_CHUNKS_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
UNSIGNED = "UNSIGNED-PAYLOAD"


def xxhash(hasher, body):
    hasher.update(body)
    return hasher.finalize()


CHECKSUMS = {
    "crc32": lambda body: zlib.crc32(body).to_bytes(4, "big"),
    "crc32c": lambda body: checksums.crc32c(body).to_bytes(4, "big"),
    "crc64nvme": lambda body: checksums.crc64nvme(body).to_bytes(8, "big"),
    "sha1": lambda body: hashlib.sha1(body).digest(),
    "sha256": lambda body: hashlib.sha256(body).digest(),
    "sha512": lambda body: hashlib.sha512(body).digest(),
    "md5": lambda body: hashlib.md5(body).digest(),
    "xxhash64": lambda body: xxhash(checksums.XXHash.new_xxhash64(), body),
    "xxhash3": lambda body: xxhash(checksums.XXHash.new_xxhash3_64(), body),
    "xxhash128": lambda body: xxhash(checksums.XXHash.new_xxhash3_128(), body),
}
# The SDKs compute all but MD5, of which they only send values that they are given.
COMPUTED_BY_SDKS = [algorithm for algorithm in CHECKSUMS if algorithm != "md5"]


def checksum(algorithm, body):
    """The value of x-amz-checksum-<algorithm> for a body."""
    return base64.b64encode(CHECKSUMS[algorithm](body)).decode()


def content_md5(body):
    return base64.b64encode(hashlib.md5(body).digest()).decode()


def utc_now():
    return datetime.datetime.now(datetime.timezone.utc)


def quote_path(path):
    """A path as S3's canonical request wants it: each byte outside the unreserved set escaped once, '/' kept."""
    return urllib.parse.quote(path, safe="/-_.~")


def quote_query(pairs):
    return "&".join(
        f"{urllib.parse.quote(name, safe='-_.~')}={urllib.parse.quote(value, safe='-_.~')}" for name, value in sorted(pairs)
    )


def mac(secret, text):
    return hmac.new(secret, text.encode(), hashlib.sha256).digest()


@dataclass(frozen=True)
class Signer:
    """One access key, the clock and region that it claims, and the encoding of the headers that it signs."""

    access_key_id: str
    secret_access_key: str
    region: str = "us-east-1"
    skew: datetime.timedelta = datetime.timedelta()
    at: datetime.datetime | None = None
    encoding: str = "utf-8"

    def amz_date(self):
        return ((self.at or utc_now()) + self.skew).strftime("%Y%m%dT%H%M%SZ")

    def scope(self, amz_date):
        return f"{amz_date[:8]}/{self.region}/s3/aws4_request"

    def sign_text(self, amz_date, text):
        secret = ("AWS4" + self.secret_access_key).encode()
        for step in (amz_date[:8], self.region, "s3", "aws4_request"):
            secret = mac(secret, step)
        return mac(secret, text).hex()

    def sign_request(self, method, path, query, headers, payload_hash, amz_date):
        """The signature over the given headers (all of them are signed) and their names' list."""
        names = sorted(name.lower() for name in headers)
        lowered = {name.lower(): " ".join(value.split()) for name, value in headers.items()}
        canonical = "\n".join(
            [method, path, query, *(f"{name}:{lowered[name]}" for name in names), "", ";".join(names), payload_hash]
        )
        text = "\n".join(
            ["AWS4-HMAC-SHA256", amz_date, self.scope(amz_date), hashlib.sha256(canonical.encode(self.encoding)).hexdigest()]
        )
        return self.sign_text(amz_date, text), ";".join(names)

    def authorization(self, amz_date, signed_names, signature):
        return (
            f"AWS4-HMAC-SHA256 Credential={self.access_key_id}/{self.scope(amz_date)}, "
            f"SignedHeaders={signed_names}, Signature={signature}"
        )

    def presign(self, method, host, path, query=(), headers=None, expires=300):
        """The query string of a presigned request: UNSIGNED-PAYLOAD, host and `headers` signed."""
        amz_date = self.amz_date()
        headers = {"host": host, **(headers or {})}
        pairs = [
            *query,
            ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"),
            ("X-Amz-Credential", f"{self.access_key_id}/{self.scope(amz_date)}"),
            ("X-Amz-Date", amz_date),
            ("X-Amz-Expires", str(expires)),
            ("X-Amz-SignedHeaders", ";".join(sorted(name.lower() for name in headers))),
        ]
        text = quote_query(pairs)
        signature, _ = self.sign_request(method, quote_path(path), text, headers, UNSIGNED, amz_date)
        return f"{text}&X-Amz-Signature={signature}"


@dataclass
class Chunks:
    """An aws-chunked body under construction; the knobs spoil one thing each."""

    mode: str
    body: bytes
    size: int = 65_536
    trailer: tuple[str, str] | None = None
    spoil_chunk: int | None = None  # index of the chunk whose signature is altered
    spoil_trailer_signature: bool = False
    swap_bytes_after_signing: bool = False
    drop_final: bool = False

    def frames(self, signer, amz_date, seed):
        """The frames in order: data, the empty final chunk, then the trailer section."""
        pieces = [self.body[i : i + self.size] for i in range(0, len(self.body), self.size)] + [b""]
        previous = seed
        for index, piece in enumerate(pieces):
            extension = ""
            if self.mode != UNSIGNED_TRAILER:
                text = "\n".join(
                    ["AWS4-HMAC-SHA256-PAYLOAD", amz_date, signer.scope(amz_date), previous, EMPTY_SHA256,
                     hashlib.sha256(piece).hexdigest()]
                )  # fmt: skip
                previous = signer.sign_text(amz_date, text)
                shown = flip_hex(previous) if index == self.spoil_chunk else previous
                extension = f";chunk-signature={shown}"
            if self.drop_final and not piece:
                return
            if self.swap_bytes_after_signing and index == 0:
                piece = flip_bit(piece, len(piece) // 2)
            end = b"\r\n" if piece else b""
            yield f"{len(piece):x}{extension}\r\n".encode() + piece + end
        if self.trailer:
            yield self.trailer_section(signer, amz_date, previous)
        yield b"\r\n"

    def trailer_section(self, signer, amz_date, previous):
        name, value = self.trailer
        section = f"{name}:{value}\r\n"
        if self.mode == SIGNED_CHUNKS_TRAILER:
            text = "\n".join(
                ["AWS4-HMAC-SHA256-TRAILER", amz_date, signer.scope(amz_date), previous,
                 hashlib.sha256(f"{name}:{value}\n".encode()).hexdigest()]
            )  # fmt: skip
            signature = signer.sign_text(amz_date, text)
            if self.spoil_trailer_signature:
                signature = flip_hex(signature)
            section += f"x-amz-trailer-signature:{signature}\r\n"
        return section.encode()


def flip_hex(text):
    return text[:-1] + ("0" if text[-1] != "0" else "1")


def flip_bit(data, index, bit=0):
    return data[:index] + bytes([data[index] ^ (1 << bit)]) + data[index + 1 :]


@dataclass
class Answer:
    """What came back; `broken` says that the body ended before its declared length. Status 0: nothing came at all."""

    status: int
    headers: dict = field(default_factory=dict)
    body: bytes = b""
    broken: bool = False

    @property
    def code(self):
        """The S3 error code of an XML error body, or None."""
        return self.text_of("Code")

    @property
    def message(self):
        return self.text_of("Message") or ""

    def text_of(self, name):
        try:
            return xml.etree.ElementTree.fromstring(self.body).findtext(f"{{*}}{name}") or self.plain_text_of(name)
        except xml.etree.ElementTree.ParseError:
            return None

    def plain_text_of(self, name):
        return xml.etree.ElementTree.fromstring(self.body).findtext(name)


class RawClient:
    """Requests of one signer to one endpoint, a connection each."""

    def __init__(self, endpoint, signer, ca=None, timeout=30):
        parts = urllib.parse.urlsplit(endpoint)
        self.host, self.port, self.secure = parts.hostname, parts.port, parts.scheme == "https"
        self.signer, self.ca, self.timeout = signer, ca, timeout

    @property
    def authority(self):
        return f"{self.host}:{self.port}"

    def connect(self):
        if self.secure:
            context = ssl.create_default_context(cafile=self.ca)
            return http.client.HTTPSConnection(self.host, self.port, timeout=self.timeout, context=context)
        return http.client.HTTPConnection(self.host, self.port, timeout=self.timeout)

    def request(self, method, path, query=(), body=b"", headers=None, payload_hash=None, unsigned=None, host=None, signer=None):
        """One signed request. `unsigned` headers are sent but left out of the signature."""
        signer = signer or self.signer
        amz_date = signer.amz_date()
        payload_hash = payload_hash or hashlib.sha256(body).hexdigest()
        signed = {
            "host": host or self.authority,
            "x-amz-date": amz_date,
            "x-amz-content-sha256": payload_hash,
            **(headers or {}),
        }
        path, query = quote_path(path), quote_query(query)
        signature, names = signer.sign_request(method, path, query, signed, payload_hash, amz_date)
        sent = {**signed, **(unsigned or {}), "authorization": signer.authorization(amz_date, names, signature)}
        if body or method in ("PUT", "POST"):
            sent["content-length"] = str(len(body))
        return self.send(method, path, query, sent, [body] if body else [])

    def put_chunks(self, path, chunks, headers=None, query=(), transfer_chunked=False, decoded_length=None, signer=None):
        """PutObject (or, by its query, UploadPart) with an aws-chunked body; with `transfer_chunked`, as HTTP chunks and without Content-Length."""
        signer = signer or self.signer
        amz_date = signer.amz_date()
        signed = {
            "host": self.authority,
            "x-amz-date": amz_date,
            "x-amz-content-sha256": chunks.mode,
            "x-amz-decoded-content-length": str(len(chunks.body) if decoded_length is None else decoded_length),
            "content-encoding": "aws-chunked",
            **(headers or {}),
        }
        if chunks.trailer:
            signed["x-amz-trailer"] = chunks.trailer[0]
        path, query = quote_path(path), quote_query(query)
        signature, names = signer.sign_request("PUT", path, query, signed, chunks.mode, amz_date)
        frames = list(chunks.frames(signer, amz_date, signature))
        sent = {**signed, "authorization": signer.authorization(amz_date, names, signature)}
        if transfer_chunked:
            sent["transfer-encoding"] = "chunked"
            frames = [f"{len(frame):x}\r\n".encode() + frame + b"\r\n" for frame in frames] + [b"0\r\n\r\n"]
        else:
            sent["content-length"] = str(sum(map(len, frames)))
        return self.send("PUT", path, query, sent, frames)

    def send(self, method, path, query, headers, frames):
        """Sends exactly these headers and bytes; a server that answers early is listened to."""
        connection = self.connect()
        try:
            connection.putrequest(method, path + ("?" + query if query else ""), skip_host=True, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name, value)
            connection.endheaders()
            try:
                for frame in frames:
                    connection.send(frame)
            except (BrokenPipeError, ConnectionResetError):
                pass  # the answer, if any, says why
            return read_answer(connection, method)
        finally:
            connection.close()


def read_answer(connection, method):
    try:
        response = connection.getresponse()
    except (http.client.RemoteDisconnected, ConnectionResetError):
        return Answer(0, broken=True)  # cut before the head was on its way
    headers = {name.lower(): value for name, value in response.getheaders()}
    received, broken = bytearray(), False
    try:
        while piece := response.read1(1 << 20):
            received += piece
        length = headers.get("content-length")
        if length is not None and response.status not in (204, 304) and method != "HEAD":
            broken = len(received) != int(length)
    except (http.client.IncompleteRead, ConnectionError, TimeoutError, ssl.SSLError) as error:
        if isinstance(error, TimeoutError):
            raise
        received += getattr(error, "partial", b"") or b""
        broken = True
    return Answer(response.status, headers, bytes(received), broken)
