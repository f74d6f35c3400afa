"""The commands beside `serve`: what an operator does with them, on both kinds of storage."""

import json
import os
import subprocess

import pytest

from proxy import binary
from rawsig import flip_bit

CONTENT = os.urandom(200_001)
KEY = "dir/ü x"


@pytest.fixture
def command(proxy, tmp_path):
    """command("check", ...): the binary with the running proxy's configuration."""

    def run(*arguments):
        return proxy.command(*arguments, cwd=tmp_path)

    return run


@pytest.fixture
def stored(s3, bucket, backend, tmp_path):
    """An object, and its stored bytes and metadata in files."""
    s3.put_object(Bucket=bucket, Key=KEY, Body=CONTENT, ChecksumAlgorithm="SHA256", Metadata={"mine": "x"})
    found = backend.store.read(bucket, KEY)
    (tmp_path / "body").write_bytes(found.body)
    (tmp_path / "metadata.json").write_text(json.dumps(found.metadata))
    return found


def decrypt(command, bucket, *more, key=KEY):
    return command("decrypt", "--body", "body", "--metadata", "metadata.json", "--bucket", bucket, "--key", key, *more)


def test_check(command):
    done = command("check")
    assert done.returncode == 0, done.stderr
    report = done.stdout.decode()
    assert "configuration: valid" in report and "unwraps in" in report and "storage: lists its buckets" in report


def test_check_says_what_fails(start, real):
    running = start(real, keyring={"key_id": "alias/no-such-key"})
    done = subprocess.run([binary(), "check", "--config", running.config], capture_output=True, timeout=60,
                          env={**os.environ, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"})  # fmt: skip
    assert done.returncode == 69
    assert "FAILED" in done.stdout.decode() and "storage: lists its buckets" in done.stdout.decode()
    assert done.stderr.decode().startswith("s3veil: 1 of ")


def test_inspect(command, stored, bucket):
    done = command("inspect", f"s3://{bucket}/{KEY}")
    assert done.returncode == 0, done.stderr
    report = done.stdout.decode()
    for expected in ("format: native", f's3veil:realm={bucket}', "plaintext: 200001 bytes", "envelope: authentic", "SHA256"):
        assert expected in report, report


def test_inspect_of_an_object_that_was_moved(command, stored, bucket, backend, s3):
    s3.put_object(Bucket=bucket, Key="elsewhere", Body=b"overwritten behind the proxy's back")
    backend.store.write(bucket, "elsewhere", stored)
    done = command("inspect", f"s3://{bucket}/elsewhere")
    assert done.returncode == 69 and "NOT authentic" in done.stderr.decode()


def test_inspect_of_nothing(command, bucket):
    assert command("inspect", f"s3://{bucket}/nothing").returncode == 69
    assert command("inspect", "no-url").returncode == 64


def test_decrypt(command, stored, bucket, tmp_path):
    done = decrypt(command, bucket)
    assert (done.returncode, done.stdout) == (0, CONTENT), done.stderr
    assert decrypt(command, bucket, "--out", "plain").returncode == 0
    assert (tmp_path / "plain").read_bytes() == CONTENT
    again = decrypt(command, bucket, "--out", "plain")
    assert again.returncode == 74 and (tmp_path / "plain").read_bytes() == CONTENT, "nothing is overwritten"


def test_decrypt_refuses_what_was_altered(command, stored, bucket, tmp_path):
    (tmp_path / "body").write_bytes(flip_bit(stored.body, 100_000))
    done = decrypt(command, bucket, "--out", "plain")
    assert done.returncode == 69 and b"authentication" in done.stderr
    assert not (tmp_path / "plain").exists(), "a part of an object must not be taken for the whole"


def test_decrypt_is_bound_to_the_name(command, stored, bucket):
    assert decrypt(command, bucket, key="another").returncode == 69
    assert decrypt(command, "another-bucket").returncode == 69


def test_keygen(tmp_path):
    ring = tmp_path / "ring"

    def keygen(*arguments):
        return subprocess.run([binary(), "keygen", *arguments, ring], capture_output=True, timeout=30)

    made = keygen()
    assert made.returncode == 0 and ring.stat().st_mode & 0o777 == 0o600
    first = ring.read_text()
    assert keygen().returncode == 64 and ring.read_text() == first
    assert keygen("--rotate").returncode == 0
    assert ring.read_text().count("[[key]]") == 2
    secrets = [line.split('"')[1] for line in ring.read_text().splitlines() if line.startswith("secret")]
    assert all(secret.encode() not in made.stdout + made.stderr for secret in secrets)


def test_rotated_keys_still_open(start, tmp_path):
    from conftest import embedded_backend, new_bucket

    backend = embedded_backend(tmp_path)
    running = start(backend)
    bucket = new_bucket(running.boto())
    running.boto().put_object(Bucket=bucket, Key="old", Body=b"old")
    running.stop()
    subprocess.run([binary(), "keygen", "--rotate", backend.keyring["file"]], check=True, capture_output=True, timeout=30)
    client = start(backend).boto()
    assert client.get_object(Bucket=bucket, Key="old")["Body"].read() == b"old"
    client.put_object(Bucket=bucket, Key="new", Body=b"new")
    keys = [client.head_object(Bucket=bucket, Key=key)["SSEKMSKeyId"] for key in ("old", "new")]
    assert keys[0] != keys[1], "new objects are under the new key"
