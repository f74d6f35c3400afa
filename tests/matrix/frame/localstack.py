"""LocalStack as storage and key service: for Amazon's S3 Encryption Clients, which have to reach both without the proxy."""

import json
import subprocess
import time
import urllib.request
import xml.etree.ElementTree

from ports import free_port

from .content import MARKER
from .places import ROOT, plain_environment
from .storage import OPENER, Looked, assert_random

START_SECONDS = 180
# LocalStack reads which service is meant from the header, and verifies no signature.
AUTHORIZATION = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/{}/aws4_request, SignedHeaders=host, Signature=0"
S3EC_HEADERS = ("x-amz-meta-x-amz-3", "x-amz-meta-x-amz-key-v2")


class LocalStack:
    """One LocalStack in `directory`, whose KMS has the key `key_id`."""

    def __init__(self, directory):
        self.directory, self.port = directory / "localstack", free_port()
        self.endpoint, self.key_id, self.process = f"http://127.0.0.1:{self.port}", None, None

    def start(self):
        self.directory.mkdir(parents=True, exist_ok=True)
        with (self.directory / "localstack.log").open("wb") as log:
            command = [ROOT / "scripts" / "localstack", self.directory, str(self.port)]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=plain_environment())
        deadline = time.monotonic() + START_SECONDS
        while not self.healthy():
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise AssertionError(f"LocalStack did not start: see {self.directory}")
            time.sleep(0.3)
        self.key_id = json.loads(self.request("POST", "/", "kms", b"{}", {"X-Amz-Target": "TrentService.CreateKey"}))["KeyMetadata"]["KeyId"]

    def healthy(self):
        try:
            services = json.load(OPENER.open(f"{self.endpoint}/_localstack/health", timeout=2))["services"]
        except (OSError, ValueError):
            return False
        return all(services.get(name) in ("running", "available") for name in ("s3", "kms"))

    def request(self, method, path, service="s3", body=None, headers=None):
        sent = {"Authorization": AUTHORIZATION.format(service), "Content-Type": "application/x-amz-json-1.1", **(headers or {})}
        request = urllib.request.Request(self.endpoint + path, method=method, data=body, headers=sent)
        with OPENER.open(request, timeout=60) as response:
            self.headers = {name.lower(): value for name, value in response.headers.items()}
            return response.read()

    def make_bucket(self, bucket):
        self.request("PUT", f"/{bucket}")

    @property
    def upstream(self):
        return f'endpoint = "{self.endpoint}"\npath_style = true\naccess_key_id = "test"\nsecret_access_key = "test"'

    @property
    def keyring(self):
        return (
            f'provider = "aws-kms"\nkey_id = "{self.key_id}"\nendpoint = "{self.endpoint}"\nregion = "us-east-1"\n'
            'access_key_id = "test"\nsecret_access_key = "test"'
        )

    def variables(self):
        return {"STORAGE": self.endpoint, "KMS_KEY": self.key_id}

    def look(self, bucket):
        """Every object must have the entries of the S3 Encryption Client, and a body that is ciphertext. While LocalStack runs."""
        looked = Looked()
        listed = xml.etree.ElementTree.fromstring(self.request("GET", f"/{bucket}?list-type=2"))
        for key in listed.iterfind("{*}Contents/{*}Key"):
            body = self.request("GET", f"/{bucket}/{urllib.request.quote(key.text)}")
            assert any(name in self.headers for name in S3EC_HEADERS), f"{key.text} is not encrypted: {sorted(self.headers)}"
            assert MARKER.encode() not in body, f"plaintext is stored in {key.text}"
            assert_random(body, key.text)
            looked.objects += 1
            looked.bytes += len(body)
        assert looked.objects, "nothing is stored"
        return looked

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(15)
