"""`inspect` and `decrypt` of every format: what an operator sees of an object, and how it opens without proxy and storage."""

import json
import os

import pytest
from s3_encryption import S3EncryptionClient, S3EncryptionClientConfig
from s3_encryption.materials.kms_keyring import KmsKeyring

from conftest import new_bucket
from proxy import s3_client
from rawsig import flip_bit

EVERYTHING = ["native", "cbc", "s3ec", "plaintext"]
FORMATS = ["native", "cbc", "s3ec-v2", "s3ec-v3"]
SAYS = {
    "native": ["format: native", "envelope: authentic"],
    "cbc": ["format: cbc", "AES-256-CBC", "encryption context: none", "authenticated: nothing"],
    "s3ec-v2": ["format: s3ec", "AES-GCM", "aws:x-amz-cek-alg=AES/GCM/NoPadding", "authenticated: the whole body"],
    "s3ec-v3": ["format: s3ec, V3", "115", "aws:x-amz-cek-alg=115", "authenticated: the key, by the commitment"],
}
LENGTHS = [0, 1, 16, 200_001, 3 << 20]


@pytest.fixture
def place(start, real, tmp_path):
    """place(write): a client, a bucket that is written so, and the commands over the same configuration."""

    def make(write, read=EVERYTHING):
        running = start(real, bucket=[{"name": "*", "formats": {"write": write, "read": read}}])

        def run(*arguments):
            return running.command(*arguments, cwd=tmp_path)

        return running.boto(), new_bucket(running.boto()), run

    return make


def save(tmp_path, stored):
    (tmp_path / "body").write_bytes(stored.body)
    (tmp_path / "metadata.json").write_text(json.dumps(stored.metadata))


def decrypt(run, bucket, *more, key="k"):
    return run("decrypt", "--body", "body", "--metadata", "metadata.json", "--bucket", bucket, "--key", key, *more)


@pytest.mark.parametrize("write", FORMATS)
def test_what_was_written_is_described_and_opened(write, place, real, tmp_path, kms_key):
    s3, bucket, run = place(write)
    for length in LENGTHS:
        content = os.urandom(length)
        s3.put_object(Bucket=bucket, Key="k", Body=content)
        done = run("inspect", f"s3://{bucket}/k")
        assert done.returncode == 0, done.stderr
        report = done.stdout.decode()
        for expected in [*SAYS[write], f"key: {kms_key}" if "/" in kms_key else "key: "]:
            assert expected in report, report
        save(tmp_path, real.store.read(bucket, "k"))
        done = decrypt(run, bucket)
        assert (done.returncode, done.stdout) == (0, content), (length, done.stderr)


def test_chains_without_a_recorded_length(place, real, tmp_path):
    s3, bucket, run = place("cbc")
    for length in LENGTHS:
        content = os.urandom(length)
        s3.put_object(Bucket=bucket, Key="k", Body=content)
        stored = real.store.read(bucket, "k")
        stored.metadata.pop("encryption-length")
        save(tmp_path, stored)
        done = decrypt(run, bucket)
        assert (done.returncode, done.stdout) == (0, content), (length, done.stderr)


def test_plaintext_says_so(place, real, tmp_path):
    _, bucket, run = place("native")
    real.store.client.put_object(Bucket=bucket, Key="k", Body=b"content")
    report = run("inspect", f"s3://{bucket}/k").stdout.decode()
    assert "format: plaintext" in report and "authenticated: nothing" in report
    save(tmp_path, real.store.read(bucket, "k"))
    assert decrypt(run, bucket).stdout == b"content"


@pytest.mark.parametrize("write", ["native", "s3ec-v2", "s3ec-v3"])
def test_nothing_of_an_altered_message_is_written(write, place, real, tmp_path):
    s3, bucket, run = place(write)
    s3.put_object(Bucket=bucket, Key="k", Body=os.urandom(200_000))
    stored = real.store.read(bucket, "k")
    for altered in (flip_bit(stored.body, 100_000), stored.body[:-1], stored.body + b"x", stored.body[:5], b""):
        save(tmp_path, stored)
        (tmp_path / "body").write_bytes(altered)
        done = decrypt(run, bucket)
        assert done.returncode == 69, "This is a security issue: an altered body was decrypted."
        if write != "native":
            assert done.stdout == b"", "This is a security issue: plaintext was released before its tag was verified."


def test_the_rule_says_what_is_opened(place, real, tmp_path):
    s3, bucket, run = place("cbc")
    s3.put_object(Bucket=bucket, Key="k", Body=b"content")
    save(tmp_path, real.store.read(bucket, "k"))
    _, _, strict = place("native", ["native"])
    for done in (strict("inspect", f"s3://{bucket}/k"), decrypt(strict, bucket)):
        assert done.returncode == 69 and b"formats.read" in done.stderr and done.stdout == b""


def test_an_instruction_file_beside_the_body(place, real, tmp_path, kms, kms_key):
    s3, bucket, run = place("s3ec-v2")
    content = os.urandom(70_000)
    s3.put_object(Bucket=bucket, Key="k", Body=content)
    stored = real.store.read(bucket, "k")
    client = real.store.client
    client.put_object(Bucket=bucket, Key="k", Body=stored.body)
    client.put_object(Bucket=bucket, Key="k.instruction", Body=json.dumps(stored.metadata).encode())
    report = run("inspect", f"s3://{bucket}/k").stdout.decode()
    assert "AES-GCM" in report
    assert "instruction file" in run("inspect", f"s3://{bucket}/k.instruction").stdout.decode()
    save(tmp_path, real.store.read(bucket, "k"))
    (tmp_path / "file").write_text(json.dumps(stored.metadata))
    done = decrypt(run, bucket, "--instruction-file", "file")
    assert (done.returncode, done.stdout) == (0, content), done.stderr
    keyring = KmsKeyring(kms_client=kms, kms_key_id=kms_key)
    amazon = S3EncryptionClient(s3_client(real.upstream["endpoint"]), S3EncryptionClientConfig(keyring=keyring))
    amazon.put_object(Bucket=bucket, Key="v3", Body=content, EncryptionContext={"tenant": "blue"})
    report = run("inspect", f"s3://{bucket}/v3").stdout.decode()
    assert "s3ec, V3" in report and "tenant=blue" in report
    save(tmp_path, real.store.read(bucket, "v3"))
    assert decrypt(run, bucket, key="v3").stdout == content
