"""What lies behind the proxy, seen without it: LocalStack's objects, or the embedded store's files."""

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

from ports import free_port
from proxy import kms_client, s3_client

ROOT = Path(__file__).resolve().parents[2]
LOCALSTACK_START_SECONDS = 120
LARGE = 1 << 18


@dataclass
class Stored:
    """An object as the storage provider holds it."""

    body: bytes
    metadata: dict[str, str]


class LocalStackStore:
    """Straight to LocalStack, which keeps whatever it is given, or to another storage with these credentials."""

    def __init__(self, endpoint, access_key_id="test", secret_access_key="test"):
        # Our own checksums would be noise in what a test compares.
        checksums = dict.fromkeys(("request_checksum_calculation", "response_checksum_validation"), "when_required")
        self.client = s3_client(endpoint, access_key_id, secret_access_key, **checksums)

    def keys(self, bucket):
        """Every key, in-progress uploads included: after a refused request there must be none."""
        uploads = self.client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
        return self.objects(bucket) + [item["Key"] for item in uploads]

    def objects(self, bucket):
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return [item["Key"] for page in pages for item in page.get("Contents", [])]

    def read(self, bucket, key, **version):
        answer = self.client.get_object(Bucket=bucket, Key=key, **version)
        return Stored(answer["Body"].read(), answer["Metadata"])

    def write(self, bucket, key, stored):
        self.client.put_object(Bucket=bucket, Key=key, Body=stored.body, Metadata=stored.metadata)

    def write_parts(self, bucket, key, pieces, metadata):
        """The pieces as the parts of a multipart upload; all but the last are of 5 MiB at least."""
        place = {"Bucket": bucket, "Key": key}
        place["UploadId"] = self.client.create_multipart_upload(**place, Metadata=metadata)["UploadId"]
        etags = [self.client.upload_part(PartNumber=number, Body=piece, **place)["ETag"] for number, piece in enumerate(pieces, 1)]
        parts = [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(etags, 1)]
        self.client.complete_multipart_upload(MultipartUpload={"Parts": parts}, **place)

    def upload_ids(self, bucket):
        """The storage's own ids of the uploads in progress."""
        return [item["UploadId"] for item in self.client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])]

    def contains(self, bucket, needle):
        """Looks at the objects; parts of an upload that is not complete can't be read."""
        return any(needle in self.read(bucket, key).body for key in self.objects(bucket))


def file_name(key):
    """What the embedded store calls an object: its key, percent-encoded into one file name, or hashed when too long."""
    name = urllib.parse.quote(key, safe="-_.=+@ ").replace("~", "%7E")
    name = "%2E" + name[1:] if name.startswith(".") else name
    return name if len(name) <= 255 else "~" + hashlib.sha256(key.encode()).hexdigest()


class EmbeddedStore:
    """The files of the embedded store: one directory a bucket, one file an object: the body, and the record as the last line."""

    def __init__(self, root):
        self.root = root

    def forget_large(self, bucket):
        """Deletes the large files of a bucket, which no test reads any more: all tests together would fill a small disk."""
        for path in (self.root / bucket).glob("*"):
            if path.is_file() and path.stat().st_size > LARGE:
                path.unlink(missing_ok=True)

    def keys(self, bucket):
        """Every key, in-progress uploads included: after a refused request there must be none."""
        objects = [self.split(path)[1]["key"] for path in (self.root / bucket).iterdir()]
        uploads = [json.loads(path.read_bytes())["key"] for path in (self.root / ".uploads" / bucket).glob("*/upload")]
        return objects + uploads

    def file(self, bucket, key):
        return self.root / bucket / file_name(key)

    def split(self, path):
        """The body and the record."""
        body, _, line = path.read_bytes()[:-1].rpartition(b"\n")
        record = json.loads(line)
        assert record["size"] == len(body)
        return body, record

    def read(self, bucket, key):
        body, record = self.split(self.file(bucket, key))
        return Stored(body, record.get("attributes", {}).get("metadata", {}))

    def write(self, bucket, key, stored):
        """Replaces body and metadata of an object that is there, and leaves everything else as it was, the ETag too."""
        path = self.file(bucket, key)
        _, record = self.split(path)
        record["size"] = len(stored.body)
        record["attributes"] = {**record.get("attributes", {}), "metadata": stored.metadata}
        path.write_bytes(b"%b\n%b\n" % (stored.body, json.dumps(record).encode()))

    def write_parts(self, bucket, key, pieces, metadata):
        """Another body for an object that was uploaded in parts; of its ETag no more changes than the number of parts."""
        path = self.file(bucket, key)
        _, record = self.split(path)
        record["size"] = sum(map(len, pieces))
        record["etag"] = f"{record['etag'].partition('-')[0]}-{len(pieces)}"
        record["parts"] = [{"number": number, "size": len(piece)} for number, piece in enumerate(pieces, 1)]
        record["attributes"] = {**record.get("attributes", {}), "metadata": metadata}
        path.write_bytes(b"".join([*pieces, b"\n", json.dumps(record).encode(), b"\n"]))

    def upload_ids(self, bucket):
        """The storage's own ids of the uploads in progress."""
        return [path.parent.name for path in (self.root / ".uploads" / bucket).glob("*/upload")]

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
                self.load()
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

    def load(self):
        """LocalStack loads a service with its first request. Others that arrive meanwhile find "no handler for operation"."""
        s3_client(self.endpoint).list_buckets()
        kms_client(self.endpoint).list_keys(Limit=1)

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
