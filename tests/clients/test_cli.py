"""The `aws` command, unchanged, with nothing but --endpoint-url."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import transfers

SIZES = [0, 1, 65_535, 65_536, 65_537]
LARGE = min(transfers.LARGE, 100 << 20)  # in one PUT


@pytest.mark.parametrize("size", [*SIZES, pytest.param(LARGE, marks=pytest.mark.timeout(300))])
def test_put_and_get_object(aws, backend, tmp_path, size):
    bucket = f"cli-{os.urandom(6).hex()}"
    aws("s3", "mb", f"s3://{bucket}")
    written, read = tmp_path / "written", tmp_path / "read"
    content = os.urandom(size)
    written.write_bytes(content)
    aws("s3api", "put-object", "--bucket", bucket, "--key", "dir/object", "--body", written)
    head = json.loads(aws("s3api", "head-object", "--bucket", bucket, "--key", "dir/object").stdout)
    aws("s3api", "get-object", "--bucket", bucket, "--key", "dir/object", read)
    assert read.read_bytes() == content
    assert head["ContentLength"] == size
    assert head.get("Metadata", {}) == {}
    stored = backend.store.read(bucket, "dir/object")
    assert len(stored.body) == size + 16 * max(1, -(-size // 65_536))
    assert "encryption-key" in stored.metadata
    if size > 16:
        assert content[:32] not in stored.body and content[-32:] not in stored.body


@pytest.mark.parametrize("asked, start, stop", [
    ("bytes=0-0", 0, 1),
    ("bytes=65530-65545", 65_530, 65_546),
    ("bytes=65536-131071", 65_536, 131_072),
    ("bytes=199990-", 199_990, 200_000),
    ("bytes=-70000", 130_000, 200_000),
    ("bytes=100000-999999", 100_000, 200_000),
])  # fmt: skip
def test_ranges(aws, bucket, s3, tmp_path, asked, start, stop):
    content = os.urandom(200_000)
    s3.put_object(Bucket=bucket, Key="object", Body=content)
    read = tmp_path / "read"
    answer = json.loads(aws("s3api", "get-object", "--bucket", bucket, "--key", "object", "--range", asked, read).stdout)
    assert read.read_bytes() == content[start:stop]
    assert answer["ContentLength"] == stop - start
    assert answer["ContentRange"] == f"bytes {start}-{stop - 1}/200000"


def test_a_range_beyond_the_end(aws, bucket, s3, tmp_path):
    s3.put_object(Bucket=bucket, Key="object", Body=b"short")
    done = aws("s3api", "get-object", "--bucket", bucket, "--key", "object", "--range", "bytes=5-", tmp_path / "read", check=False)
    assert done.returncode != 0 and "InvalidRange" in done.stderr


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"])
def test_checksum_algorithms(aws, bucket, tmp_path, algorithm):
    written, read = tmp_path / "written", tmp_path / "read"
    written.write_bytes(os.urandom(100_000))
    where = ["--bucket", bucket, "--key", "object"]
    aws("s3api", "put-object", *where, "--body", written, "--checksum-algorithm", algorithm)
    aws("s3api", "get-object", *where, "--checksum-mode", "ENABLED", read)
    assert read.read_bytes() == written.read_bytes()


def test_copying_up_and_down_and_removing(aws, bucket, backend, tmp_path):
    written, read = tmp_path / "notes.txt", tmp_path / "read"
    written.write_text("the quick brown fox\n" * 1000)
    aws("s3", "cp", written, f"s3://{bucket}/notes.txt")
    assert not backend.store.contains(bucket, b"quick brown fox")
    aws("s3", "cp", f"s3://{bucket}/notes.txt", read)
    assert read.read_text() == written.read_text()
    assert aws("s3", "ls", f"s3://{bucket}/").stdout.split()[2:] == ["20000", "notes.txt"]
    head = json.loads(aws("s3api", "head-object", "--bucket", bucket, "--key", "notes.txt").stdout)
    assert head["ContentType"] == "text/plain"
    aws("s3", "rm", f"s3://{bucket}/notes.txt")
    assert backend.store.keys(bucket) == []


def test_copying_to_standard_output(aws, bucket, s3):
    s3.put_object(Bucket=bucket, Key="text", Body=b"from the proxy")
    assert aws("s3", "cp", f"s3://{bucket}/text", "-").stdout == "from the proxy"


def test_deleting_several(aws, bucket, s3, backend):
    for name in ("one", "two", "three"):
        s3.put_object(Bucket=bucket, Key=name, Body=name.encode())
    delete = json.dumps({"Objects": [{"Key": "one"}, {"Key": "two"}, {"Key": "never was"}]})
    aws("s3api", "delete-objects", "--bucket", bucket, "--delete", delete)
    assert backend.store.keys(bucket) == ["three"]
    aws("s3api", "delete-object", "--bucket", bucket, "--key", "three")
    assert backend.store.keys(bucket) == []


def test_removing_a_bucket(aws):
    name = f"cli-{os.urandom(6).hex()}"
    aws("s3", "mb", f"s3://{name}")
    assert name in aws("s3", "ls").stdout
    aws("s3", "rb", f"s3://{name}")
    assert name not in aws("s3", "ls").stdout


def test_the_command_as_it_is_installed(proxy, bucket, tmp_path):
    """The other tests run its entry point in a fork of a process that has loaded it."""
    (tmp_path / "file").write_text("content")
    for arguments in (["cp", "file", f"s3://{bucket}/object"], ["cp", f"s3://{bucket}/object", "back"]):
        command = [Path(sys.executable).with_name("aws"), "--endpoint-url", proxy.endpoint, "s3", *arguments]
        environment = proxy.aws_environment() | {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
        subprocess.run([sys.executable, *command], check=True, capture_output=True, timeout=60, env=environment, cwd=tmp_path)
    assert (tmp_path / "back").read_text() == "content"


def test_a_missing_object_is_reported_as_s3_does(aws, bucket, tmp_path):
    done = aws("s3api", "get-object", "--bucket", bucket, "--key", "nothing", tmp_path / "read", check=False)
    assert done.returncode != 0 and "NoSuchKey" in done.stderr
