"""docs/RUNBOOKS.md: the blocks of shell in it, run as they stand there."""

import os
import re
import subprocess
import textwrap
from pathlib import Path

import pytest

from conftest import Backend, embedded_backend, new_bucket
from multiparts import LEAST, upload
from proxy import ACCESS_KEY_ID, REGION, SECRET_ACCESS_KEY, binary, write_keyring
from test_limits import until

ROOT = Path(__file__).parents[2]
CONTENT = {"plan.txt": b"attack at dawn\n", "dir/more": os.urandom(200_000), "empty": b""}


def block(heading, number=0):
    """A block of shell below a heading."""
    text = (ROOT / "docs/RUNBOOKS.md").read_text()
    (section,) = re.findall(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    return textwrap.dedent(re.findall(r"^ *```sh\n(.*?)^ *```$", section, re.M | re.S)[number])


@pytest.fixture
def shell(tmp_path):
    """shell(text, directory, NAME="bucket", ...): runs a block whose placeholders have these values."""
    commands = tmp_path / "commands"
    commands.mkdir()
    (commands / "s3veil").symlink_to(binary())
    (commands / "aws").symlink_to(ROOT / ".venv/clients/bin/aws")

    def run(text, directory, environment=None, config=None, **values):
        if config:
            assert "/etc/s3veil/proxy.toml" in text
            text = text.replace("/etc/s3veil/proxy.toml", str(config))
        for name, value in values.items():
            assert name in text
            text = re.sub(rf"\b{name}\b", str(value), text)
        variables = {"PATH": f"{commands}:{os.environ['PATH']}", "HOME": str(tmp_path), "AWS_DEFAULT_REGION": REGION, "AWS_EC2_METADATA_DISABLED": "true"}
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text], cwd=directory, env=variables | (environment or {}), capture_output=True, text=True,
            stdin=subprocess.DEVNULL, timeout=170,
        )  # fmt: skip
        assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    return run


def client_of(running):
    return {"AWS_ENDPOINT_URL": running.endpoint, "AWS_ACCESS_KEY_ID": ACCESS_KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET_ACCESS_KEY}


def put_all(s3, bucket):
    for key, content in CONTENT.items():
        s3.put_object(Bucket=bucket, Key=key, Body=content)


def test_a_restore_from_the_bucket_and_a_recovery_key(start, shell, real, tmp_path):
    shell("s3veil keygen --recovery recovery.pem", tmp_path)
    keyring = {"provider": "local", "file": str(write_keyring(tmp_path / "keyring", "only"))}
    rule = [{"name": "*", "recovery": [str(tmp_path / "recovery.pub.pem")]}]
    running = start(Backend(real.name, real.upstream, keyring, real.store), bucket=rule)
    s3, bucket = running.boto(), new_bucket(running.boto())
    put_all(s3, bucket)
    of_parts = upload(s3, bucket, [(1, LEAST), (2, 1000)], key="parts")
    running.stop()
    (tmp_path / "keyring").unlink()

    storage = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    shell(block("Restore from the bucket and a recovery key"), tmp_path, storage, STORAGE=real.upstream["endpoint"], NAME=bucket)
    assert not (tmp_path / "failed").exists()
    restored = {str(file.relative_to(tmp_path / "restored")): file.read_bytes() for file in (tmp_path / "restored").rglob("*") if file.is_file()}
    assert restored == CONTENT | {"parts": of_parts}


def test_what_a_key_does_not_open_is_listed(start, shell, real, tmp_path):
    shell("s3veil keygen --recovery recovery.pem", tmp_path)
    keyring = {"provider": "local", "file": str(write_keyring(tmp_path / "keyring", "only"))}
    running = start(Backend(real.name, real.upstream, keyring, real.store))
    bucket = new_bucket(running.boto())
    put_all(running.boto(), bucket)
    storage = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    shell(block("Restore from the bucket and a recovery key"), tmp_path, storage, STORAGE=real.upstream["endpoint"], NAME=bucket)
    assert sorted((tmp_path / "failed").read_text().split()) == sorted(CONTENT)


@pytest.mark.parametrize("way", ["job", "client"])
def test_a_key_is_rotated_and_the_old_one_retired(start, shell, tmp_path, way):
    backend = embedded_backend(tmp_path)
    keyring = write_keyring(tmp_path / "keyring", "old")
    running = start(backend, keyring={"file": str(keyring)})
    s3, bucket = running.boto(), new_bucket(running.boto())
    put_all(s3, bucket)
    running.stop()

    shell(block("Rotate a key"), tmp_path)
    following = tmp_path / "keyring.next"
    assert 'current = "old"' in following.read_text() and following.read_text().count("[[key]]") == 2
    assert following.stat().st_mode & 0o777 == 0o600
    new = next(name for name in re.findall('^id = "(.*)"', following.read_text(), re.M) if name != "old")
    following.write_text(following.read_text().replace('current = "old"', f'current = "{new}"'))
    following.rename(keyring)

    running = start(backend, keyring={"file": str(keyring)})
    if way == "client":
        assert "failed" not in shell(block("Retire a key", 1), tmp_path, client_of(running), NAME=bucket)
    else:
        # One process at a time has the embedded store.
        running.stop()
        assert "0 under old" in shell(block("Retire a key"), tmp_path, config=running.config, NAME=bucket, OLD="old")
        running = start(backend, keyring={"file": str(keyring)})
    for key, content in CONTENT.items():
        assert running.boto().get_object(Bucket=bucket, Key=key)["Body"].read() == content
    running.stop()
    # Without the old key everything opens.
    alone = re.sub(r'\[\[key\]\]\nid = "old"\n.*?(?=\n\[\[key\]\]|\Z)', "", keyring.read_text(), flags=re.S)
    assert alone.count("[[key]]") == 1
    keyring.write_text(alone)
    running = start(backend, keyring={"file": str(keyring)})
    for key, content in CONTENT.items():
        assert running.boto().get_object(Bucket=bucket, Key=key)["Body"].read() == content


def test_an_integrity_failure_is_found_in_the_log(start, shell, tmp_path):
    """The line that the runbook looks for is what the log has."""
    backend = embedded_backend(tmp_path)
    running = start(backend)
    s3, bucket = running.boto(), new_bucket(running.boto())
    s3.put_object(Bucket=bucket, Key="object", Body=b"content")
    stored = backend.store.read(bucket, "object")
    backend.store.write(bucket, "object", type(stored)(stored.body[:-1] + bytes([stored.body[-1] ^ 1]), stored.metadata))
    with pytest.raises(s3.exceptions.ClientError):
        s3.get_object(Bucket=bucket, Key="object")
    until(lambda: "operation=GetObject" in running.log_text())
    text = (ROOT / "docs/RUNBOOKS.md").read_text()
    (pattern,) = re.findall(r"grep (-e IntegrityCheckFailed -e 'end=cut')", text)
    assert "IntegrityCheckFailed" in shell(f"grep {pattern} {running.log}", tmp_path)
