"""What each job does with objects, in LocalStack's S3 and KMS: versions, tags, locks, keys that are gone, rights that are denied."""

import datetime
import http.client
import http.server
import json
import os
import threading
import urllib.parse

import pytest

from conftest import alias_of, new_bucket, new_key
from proxy import s3_client

CONTENT = os.urandom(150_000)
PART = 5 << 20
DESCRIBED = {
    "ContentType": "text/x",
    "CacheControl": "no-store",
    "ContentLanguage": "de",
    "Metadata": {"colour": "blue"},
    "Tagging": "team=blue&cost=1",
    "WebsiteRedirectLocation": "/there",
    "StorageClass": "STANDARD_IA",
}


class KmsRelay:
    """A key service that refuses some operations to its clients, and passes all others on to `target`."""

    def __init__(self, target, denied=()):
        self.asked, self.denied = [], set(denied)
        host = urllib.parse.urlsplit(target)
        relay = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                operation = self.headers["x-amz-target"].rpartition(".")[2]
                relay.asked.append(operation)
                if operation in relay.denied:
                    reply = {"__type": "AccessDeniedException", "Message": f"not authorized to perform: kms:{operation}"}
                    return self.answer(400, json.dumps(reply).encode())
                connection = http.client.HTTPConnection(host.hostname, host.port, timeout=30)
                headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
                connection.request("POST", self.path, body, headers)
                response = connection.getresponse()
                self.answer(response.status, response.read())

            def answer(self, status, body):
                self.send_response(status)
                self.send_header("content-type", "application/x-amz-json-1.1")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def relay(localstack):
    relay = KmsRelay(localstack[1])
    yield relay
    relay.stop()


@pytest.fixture
def behind(localstack):
    """LocalStack's S3, past the proxy."""
    return s3_client(localstack[0])


@pytest.fixture
def job(tmp_path):
    """Runs a command of the binary over a proxy's configuration; returns the rows of its report."""

    def run(proxy, *arguments, code=0):
        report = tmp_path / f"report-{len(list(tmp_path.iterdir()))}"
        done = proxy.command(*arguments, "--report", report, cwd=tmp_path)
        assert done.returncode == code, (done.stdout.decode(), done.stderr.decode())
        lines = [line for part in sorted(report.glob("*.csv")) for line in part.read_text().splitlines()]
        return "\n".join(lines)

    return run


def upload(client, bucket, key, parts, **described):
    started = client.create_multipart_upload(Bucket=bucket, Key=key, **described)["UploadId"]
    done = []
    for number, part in enumerate(parts, 1):
        etag = client.upload_part(Bucket=bucket, Key=key, UploadId=started, PartNumber=number, Body=part)["ETag"]
        done.append({"PartNumber": number, "ETag": etag})
    client.complete_multipart_upload(Bucket=bucket, Key=key, UploadId=started, MultipartUpload={"Parts": done})


def read(client, bucket, key):
    return client.get_object(Bucket=bucket, Key=key)["Body"].read()


def assert_described(client, bucket, key):
    head = client.head_object(Bucket=bucket, Key=key)
    for name in ("ContentType", "CacheControl", "ContentLanguage", "Metadata", "WebsiteRedirectLocation", "StorageClass"):
        assert head[name] == DESCRIBED[name], name
    tags = client.get_object_tagging(Bucket=bucket, Key=key)["TagSet"]
    assert sorted((tag["Key"], tag["Value"]) for tag in tags) == [("cost", "1"), ("team", "blue")]


def two_keys(kms):
    return new_key(kms), new_key(kms)


def rule(new, old):
    return {"bucket": [{"name": "*", "key_id": alias_of(new), "allowed_key_ids": [alias_of(old)]}]}


def test_a_key_is_retired_by_rewrap_without_the_right_to_decrypt(start, real, kms, relay, behind, job):
    old, new = two_keys(kms)
    writer = start(real, keyring={"key_id": alias_of(old)})
    client = writer.boto()
    bucket = new_bucket(client)
    behind.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    client.put_object(Bucket=bucket, Key="whole", Body=CONTENT, **DESCRIBED)
    client.put_object(Bucket=bucket, Key="empty", Body=b"", **DESCRIBED)
    parts = {"even": [os.urandom(PART), os.urandom(PART)], "uneven": [os.urandom(PART + 1), b"last"]}
    for key, bodies in parts.items():
        upload(client, bucket, key, bodies, **DESCRIBED)
    before = {key: behind.head_object(Bucket=bucket, Key=key) for key in ("whole", "empty", *parts)}
    writer.stop()

    relay.denied = {"Decrypt", "GenerateDataKey"}
    rewrapping = start(real, keyring={"key_id": alias_of(new), "endpoint": relay.endpoint}, **rule(new, old))
    job(rewrapping, "rewrap", f"s3://{bucket}")
    assert "ReEncrypt" in relay.asked
    for key, head in before.items():
        now = behind.head_object(Bucket=bucket, Key=key)
        assert now["VersionId"] != head["VersionId"]
        assert now["ETag"].count("-") == head["ETag"].count("-")
        assert now["ETag"].rpartition("-")[2] == head["ETag"].rpartition("-")[2]
        assert now["Metadata"]["encryption-envelope"] == head["Metadata"]["encryption-envelope"]
        assert now["Metadata"]["encryption-key"] != head["Metadata"]["encryption-key"]
        assert behind.head_object(Bucket=bucket, Key=key, VersionId=head["VersionId"]), "the former version is there"

    versions = behind.list_object_versions(Bucket=bucket)["Versions"]
    job(rewrapping, "rewrap", f"s3://{bucket}")
    assert behind.list_object_versions(Bucket=bucket)["Versions"] == versions, "nothing is written twice"
    rewrapping.stop()

    kms.disable_key(KeyId=old)
    kms.schedule_key_deletion(KeyId=old, PendingWindowInDays=7)
    reader = start(real, keyring={"key_id": alias_of(new)}).boto()
    assert read(reader, bucket, "whole") == CONTENT
    assert read(reader, bucket, "empty") == b""
    for key, bodies in parts.items():
        assert read(reader, bucket, key) == b"".join(bodies)
    for key in before:
        assert_described(reader, bucket, key)


def test_other_formats_are_rewrapped_without_the_right_to_decrypt(start, real, kms, relay, behind, job):
    old, new = two_keys(kms)
    read_all = ["native", "cbc", "s3ec", "plaintext"]
    bucket = new_bucket(behind)
    before = {}
    for name in ("cbc", "s3ec-v2", "s3ec-v3"):
        writer = start(real, keyring={"key_id": alias_of(old)}, bucket=[{"name": "*", "formats": {"write": name}}])
        writer.boto().put_object(Bucket=bucket, Key=name, Body=CONTENT, **DESCRIBED)
        writer.stop()
        before[name] = behind.head_object(Bucket=bucket, Key=name)
    formats = {"formats": {"write": "native", "read": read_all}}
    rules = {"bucket": [{"name": "*", "key_id": alias_of(new), "allowed_key_ids": [alias_of(old)], **formats}]}
    rewrapping = start(real, keyring={"key_id": alias_of(new), "endpoint": relay.endpoint}, **rules)
    relay.denied = {"Decrypt", "GenerateDataKey", "Encrypt"}
    assert "new wrappings" in job(rewrapping, "rewrap", f"s3://{bucket}", "--dry-run")
    job(rewrapping, "rewrap", f"s3://{bucket}")
    entries = {"cbc": "encryption-key", "s3ec-v2": "x-amz-key-v2", "s3ec-v3": "x-amz-3"}
    for name, entry in entries.items():
        now = behind.head_object(Bucket=bucket, Key=name)
        assert now["ETag"] == before[name]["ETag"] and now["Metadata"].keys() == before[name]["Metadata"].keys()
        changed = {key for key, value in now["Metadata"].items() if value != before[name]["Metadata"][key]}
        assert changed == {entry}, name
    rows = job(rewrapping, "rewrap", f"s3://{bucket}")
    assert rows.count("unchanged") == len(entries), rows
    rewrapping.stop()
    kms.disable_key(KeyId=old)
    reader = start(real, keyring={"key_id": alias_of(new)}, bucket=[{"name": "*", **formats}]).boto()
    for name in entries:
        assert read(reader, bucket, name) == CONTENT, name
        assert_described(reader, bucket, name)


def test_a_dry_run_writes_nothing(start, real, kms, behind, job):
    old, new = two_keys(kms)
    writer = start(real, keyring={"key_id": alias_of(old)})
    bucket = new_bucket(writer.boto())
    writer.boto().put_object(Bucket=bucket, Key="k", Body=CONTENT)
    before = behind.head_object(Bucket=bucket, Key="k")
    rewrapping = start(real, keyring={"key_id": alias_of(new)}, **rule(new, old))
    assert "new wrappings" in job(rewrapping, "rewrap", f"s3://{bucket}", "--dry-run")
    now = behind.head_object(Bucket=bucket, Key="k")
    assert (now["Metadata"], now["LastModified"]) == (before["Metadata"], before["LastModified"])


def test_plaintext_is_encrypted_in_its_place(start, real, behind, job):
    formats = {"bucket": [{"name": "*", "formats": {"write": "native", "read": ["native", "plaintext"]}}]}
    running = start(real, **formats)
    client = running.boto()
    bucket = new_bucket(client)
    behind.put_object(Bucket=bucket, Key="whole", Body=CONTENT, ChecksumAlgorithm="SHA256", **DESCRIBED)
    behind.put_object(Bucket=bucket, Key="empty", Body=b"", **DESCRIBED)
    bodies = [os.urandom(PART + 7), os.urandom(PART), b"last"]
    upload(behind, bucket, "parts", bodies, **DESCRIBED)
    checksum = behind.head_object(Bucket=bucket, Key="whole", ChecksumMode="ENABLED")["ChecksumSHA256"]
    job(running, "encrypt", f"s3://{bucket}")
    for key, content in (("whole", CONTENT), ("empty", b""), ("parts", b"".join(bodies))):
        stored = read(behind, bucket, key)
        assert "encryption-envelope" in behind.head_object(Bucket=bucket, Key=key)["Metadata"]
        assert len(stored) > len(content) and (not content or content[:64] not in stored)
        assert read(client, bucket, key) == content
        assert_described(client, bucket, key)
    assert client.head_object(Bucket=bucket, Key="whole", ChecksumMode="ENABLED")["ChecksumSHA256"] == checksum
    assert behind.head_object(Bucket=bucket, Key="parts")["ETag"].strip('"').endswith("-3")
    keys = {item["Key"] for item in behind.list_objects_v2(Bucket=bucket)["Contents"]}
    assert keys == {"whole", "empty", "parts"}, "what tried conditional writes is removed"
    before = {key: behind.head_object(Bucket=bucket, Key=key)["LastModified"] for key in keys}
    job(running, "encrypt", f"s3://{bucket}")
    assert {key: behind.head_object(Bucket=bucket, Key=key)["LastModified"] for key in keys} == before
    job(running, "verify", f"s3://{bucket}")


def test_the_way_out_is_what_went_in(start, real, behind, job, tmp_path):
    running = start(real)
    client = running.boto()
    bucket, other = new_bucket(client), new_bucket(client)
    bodies = [os.urandom(PART + 1), b"last"]
    client.put_object(Bucket=bucket, Key="a/whole", Body=CONTENT, **DESCRIBED)
    upload(client, bucket, "a/parts", bodies, **DESCRIBED)
    job(running, "decrypt", f"s3://{bucket}", "--to", f"s3://{other}/out/")
    for key, content in (("a/whole", CONTENT), ("a/parts", b"".join(bodies))):
        assert read(behind, other, f"out/{key}") == content
        assert_described(behind, other, f"out/{key}")
    assert behind.head_object(Bucket=other, Key="out/a/parts")["ETag"].strip('"').endswith("-2")
    folder = tmp_path / "files"
    job(running, "decrypt", f"s3://{bucket}", "--to", folder)
    assert (folder / "a/whole").read_bytes() == CONTENT
    assert (folder / "a/parts").read_bytes() == b"".join(bodies)


def test_locks_are_carried_and_old_versions_left_alone(start, real, kms, behind, job):
    old, new = two_keys(kms)
    writer = start(real, keyring={"key_id": alias_of(old)})
    client = writer.boto()
    bucket = f"locked-{os.urandom(6).hex()}"
    behind.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    until = datetime.datetime(2099, 1, 1, tzinfo=datetime.UTC)
    locked = {"ObjectLockMode": "GOVERNANCE", "ObjectLockRetainUntilDate": until, "ObjectLockLegalHoldStatus": "ON"}
    first = client.put_object(Bucket=bucket, Key="k", Body=b"first", **locked)["VersionId"]
    client.put_object(Bucket=bucket, Key="k", Body=b"second", **locked)
    rewrapping = start(real, keyring={"key_id": alias_of(new)}, **rule(new, old))
    rows = job(rewrapping, "rewrap", f"s3://{bucket}", "--versions", "all")
    assert "not the newest version" in rows
    head = behind.head_object(Bucket=bucket, Key="k")
    assert {name: head[name] for name in locked} == locked
    versions = behind.list_object_versions(Bucket=bucket)["Versions"]
    assert len(versions) == 3 and first in {version["VersionId"] for version in versions}
    kms.disable_key(KeyId=old)
    assert read(start(real, keyring={"key_id": alias_of(new)}).boto(), bucket, "k") == b"second"


def test_an_altered_object_ends_verify_with_65(start, real, behind, job):
    running = start(real)
    client = running.boto()
    bucket = new_bucket(client)
    client.put_object(Bucket=bucket, Key="good", Body=CONTENT)
    client.put_object(Bucket=bucket, Key="bad", Body=CONTENT)
    head = behind.head_object(Bucket=bucket, Key="bad")
    stored = bytearray(read(behind, bucket, "bad"))
    stored[-1] ^= 1
    behind.put_object(Bucket=bucket, Key="bad", Body=bytes(stored), Metadata=head["Metadata"])
    rows = job(running, "verify", f"s3://{bucket}", code=65)
    assert "authentication" in rows or "tag" in rows
