"""What lies behind the proxy, seen without it: LocalStack's objects, or the embedded store's files."""

import base64
import hashlib
import json
import os
import subprocess
import time
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from botocore.exceptions import ClientError

from proxy import free_port, s3_client

ROOT = Path(__file__).resolve().parents[2]
LOCALSTACK_START_SECONDS = 60


@dataclass
class Stored:
    """An object as the storage provider holds it."""

    body: bytes
    metadata: dict[str, str]


class LocalStackStore:
    """Straight to LocalStack, which keeps whatever it is given."""

    def __init__(self, endpoint):
        # Our own checksums would be noise in what a test compares.
        self.client = s3_client(endpoint, request_checksum_calculation="when_required", response_checksum_validation="when_required")

    def keys(self, bucket):
        """Every key, in-progress uploads included: after a refused request there must be none."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        uploads = self.client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
        return [item["Key"] for page in pages for item in page.get("Contents", [])] + [item["Key"] for item in uploads]

    def read(self, bucket, key, **version):
        answer = self.client.get_object(Bucket=bucket, Key=key, **version)
        return Stored(answer["Body"].read(), answer["Metadata"])

    def write(self, bucket, key, stored):
        self.client.put_object(Bucket=bucket, Key=key, Body=stored.body, Metadata=stored.metadata)

    def contains(self, bucket, needle):
        return any(needle in self.read(bucket, key).body for key in self.keys(bucket))


def file_name(bucket, key):
    """What the embedded store calls an object: its key, percent-encoded into one file name, or hashed when too long."""
    name = urllib.parse.quote(key, safe="-_.=+@ ").replace("~", "%7E")
    name = "%2E" + name[1:] if name.startswith(".") else name
    sidecar = len(".bucket-.object-.upload-.metadata.json") + 36 + -(-len(bucket) // 3) * 4
    fits = len(name) <= max(0, 255 - sidecar) // 4 * 3
    return name if fits else "~" + hashlib.sha256(key.encode()).hexdigest()


class EmbeddedStore:
    """The files of the embedded store: one directory a bucket, one file an object, metadata beside the buckets."""

    def __init__(self, root):
        self.root = root

    def keys(self, bucket):
        return [self.key_of(bucket, path.name) for path in (self.root / bucket).iterdir() if path.is_file()]

    def key_of(self, bucket, name):
        if not name.startswith("~"):
            return urllib.parse.unquote(name)
        attributes = json.loads(self.sidecar(bucket, name).read_text())
        return urllib.parse.unquote(attributes["user_metadata"]["s3veil-embedded-object-key"])

    def metadata_file(self, bucket, key):
        return self.sidecar(bucket, file_name(bucket, key))

    def sidecar(self, bucket, name):
        names = [base64.urlsafe_b64encode(part.encode()).decode().rstrip("=") for part in (bucket, name)]
        return self.root / f".bucket-{names[0]}.object-{names[1]}.metadata.json"

    def read(self, bucket, key):
        attributes = json.loads(self.metadata_file(bucket, key).read_text())
        return Stored((self.root / bucket / file_name(bucket, key)).read_bytes(), attributes["user_metadata"])

    def write(self, bucket, key, stored):
        (self.root / bucket / file_name(bucket, key)).write_bytes(stored.body)
        path = self.metadata_file(bucket, key)
        attributes = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps({**attributes, "user_metadata": stored.metadata}))

    def contains(self, bucket, needle):
        """Looks at every file of the store, whatever it is for."""
        return any(needle in path.read_bytes() for path in self.root.rglob("*") if path.is_file())


class LocalStack:
    """LocalStack started by the suite itself, when scripts/test has not."""

    def __init__(self, directory):
        self.directory = directory
        self.port = free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"

    def start(self):
        self.directory.mkdir(parents=True, exist_ok=True)
        with (self.directory / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [ROOT / "scripts/localstack", self.directory, str(self.port)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        deadline = time.monotonic() + LOCALSTACK_START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            if self.healthy():
                return self
            time.sleep(0.3)
        self.stop()
        raise AssertionError(f"LocalStack did not start: see {self.directory / 'log'}")

    def healthy(self):
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            services = json.load(opener.open(f"{self.endpoint}/_localstack/health", timeout=2))["services"]
        except (OSError, ValueError):
            return False
        return all(services.get(name) in ("running", "available") for name in ("s3", "kms"))

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)


def error_code(error):
    """The S3 error code of a botocore error."""
    assert isinstance(error, ClientError), error
    return error.response["Error"]["Code"]


def status(error):
    return error.response["ResponseMetadata"]["HTTPStatusCode"]


def localstack_from_environment():
    return os.environ.get("S3VEIL_TEST_S3_ENDPOINT"), os.environ.get("S3VEIL_TEST_KMS_ENDPOINT")
