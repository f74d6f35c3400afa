"""`check`: its report in both formats, and the trial objects of `--bucket`, of which nothing stays."""

import contextlib
import json
import subprocess
import sys
import threading
import time
import urllib.request

import pytest

from conftest import embedded_backend, new_bucket
from faulty import Faulty, error
from ports import free_port
from proxy import binary, toml_text
from test_operator_mistakes import USAGE, check, line_of, run, sections, storage_at, told  # noqa: F401

UNAVAILABLE = 69
STEPS = ["put", "head", "get", "range", "list", "multipart", "copy", "condition", "delete"]


def json_report(done):
    """The checks by name; of several with one name the last."""
    report = json.loads(done.stdout)
    assert report["ok"] == (done.returncode == 0) and report["version"]
    for entry in report["checks"]:
        assert set(entry) == {"check", "subject", "status", "message", "milliseconds"}, entry
        assert entry["status"] in ("ok", "warning", "failed", "skipped"), entry
    return {entry["check"]: entry for entry in report["checks"]}


def test_the_whole_path(start, backend, bucket, tmp_path):
    running = start(backend, bucket=[{"name": bucket}, {"name": "b-*"}])
    done = running.command("check", "--bucket", bucket, cwd=tmp_path)
    report = done.stdout.decode()
    assert done.returncode == 0 and done.stderr == b"", (report, done.stderr)
    steps = [line for line in report.splitlines() if line.startswith(f"{bucket}/.s3veil-check/")]
    assert [line.split(" ", 1)[1].split(":")[0].split(" ")[0] for line in steps] == [
        "put", "head", "get", "range", "list", "multipart", "copy", "conditional", "delete",
    ]  # fmt: skip
    assert all(": ok" in line and line.endswith(" ms)") for line in steps), report
    assert "multipart: ok, 5342880 bytes as they were written" in report
    assert "conditional write: ok, a second write is refused" in report
    assert f"bucket {bucket}: is there" in report
    assert backend.store.keys(bucket) == []


def test_the_whole_path_as_json(start, backend, bucket, tmp_path):
    running = start(backend)
    running.boto().put_object(Bucket=bucket, Key="there before", Body=b"x")
    done = running.command("check", "--bucket", bucket, "--format", "json", cwd=tmp_path)
    checks = json_report(done)
    assert done.returncode == 0, done.stdout
    for name in ["configuration", "file_descriptors", "key", "storage", "bucket"]:
        assert name in checks, checks
    assert "there before opens under" in checks["existing_object"]["message"]
    for step in STEPS:
        entry = checks[f"object_{step}"]
        assert entry["status"] == "ok" and entry["milliseconds"] >= 0, entry
        assert entry["subject"].startswith(f"{bucket}/.s3veil-check/"), entry
    assert backend.store.keys(bucket) == ["there before"]


def test_a_versioned_bucket_keeps_no_version(start, real, real_bucket, tmp_path):
    real.store.client.put_bucket_versioning(Bucket=real_bucket, VersioningConfiguration={"Status": "Enabled"})
    done = start(real).command("check", "--bucket", real_bucket, cwd=tmp_path)
    assert done.returncode == 0, told_text(done)
    found = real.store.client.list_object_versions(Bucket=real_bucket)
    assert not found.get("Versions") and not found.get("DeleteMarkers"), found


def told_text(done):
    return (done.stdout + done.stderr).decode()


@contextlib.contextmanager
def faulty_storage(target):
    storage = Faulty(target)
    try:
        yield storage
    finally:
        storage.stop()


@pytest.mark.parametrize("pattern, step", [
    ("GET /[^/?]+/.*object", "get"),
    ("PUT /.+partNumber=2", "multipart"),
    ("POST /.+uploadId", "multipart"),
    ("PUT /[^?]+copy", "copy"),
])  # fmt: skip
def test_a_failed_step_leaves_nothing(start, real, real_bucket, tmp_path, pattern, step):
    with faulty_storage(real.upstream["endpoint"]) as storage:
        storage.on(pattern, instead=error(400, "InvalidRequest"), times=100)
        upstream = {"endpoint": storage.endpoint}
        done = start(real, upstream=upstream).command("check", "--bucket", real_bucket, "--format", "json", cwd=tmp_path)
    checks = json_report(done)
    assert done.returncode == UNAVAILABLE and checks[f"object_{step}"]["status"] == "failed", checks
    assert checks["object_delete"]["status"] == "ok" and "leftovers" not in checks, checks
    assert real.store.keys(real_bucket) == []


def test_a_storage_without_conditional_writes_is_a_warning(start, real, real_bucket, tmp_path):
    with faulty_storage(real.upstream["endpoint"]) as storage:
        storage.on("PUT /[^?]+conditional", instead=error(501, "NotImplemented"), times=100)
        upstream = {"endpoint": storage.endpoint}
        done = start(real, upstream=upstream).command("check", "--bucket", real_bucket, "--format", "json", cwd=tmp_path)
    checks = json_report(done)
    assert checks["object_condition"]["status"] == "warning", checks
    assert "not supported by the storage" in checks["object_condition"]["message"]
    assert done.returncode == 0


def test_a_format_without_parts_skips_them(start, tmp_path):
    backend = embedded_backend(tmp_path)
    running = start(backend, bucket=[{"name": "*", "formats": {"write": "s3ec-v3", "read": ["s3ec"]}}])
    bucket = new_bucket(running.boto())
    done = running.command("check", "--bucket", bucket, "--format", "json", cwd=tmp_path)
    checks = json_report(done)
    assert checks["object_multipart"]["status"] == "skipped", checks


@pytest.mark.parametrize("name", ["s3://bucket", "bucket/key"])
def test_what_is_no_bucket(tmp_path, sections, name):  # noqa: F811
    done = check(tmp_path, sections, "--bucket", name)
    assert done.returncode == USAGE and name in done.stderr and "write the name alone, without s3:// and without a key" in done.stderr


def test_a_bucket_that_is_absent(start, tmp_path):
    running = start(embedded_backend(tmp_path))
    done = running.command("check", "--bucket", "absent", cwd=tmp_path)
    assert done.returncode == UNAVAILABLE
    assert "put: FAILED: 404 NoSuchBucket: The specified bucket does not exist" in done.stdout.decode()
    assert "bucket absent: WARNING: is not there" in done.stdout.decode()


def test_pythons_web_server_is_no_storage(tmp_path, sections):  # noqa: F811
    port = free_port()
    command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port), "--directory", str(tmp_path)]
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(port)
        sections["upstream"] = storage_at(port)
        done = check(tmp_path, sections, "--bucket", "some-bucket", "--format", "json")
    finally:
        server.terminate()
        server.wait(10)
    checks = json_report(done)
    assert done.returncode == UNAVAILABLE and done.stderr.strip().endswith("checks failed"), told(done)
    assert checks["storage"]["status"] == "failed" and checks["object_put"]["status"] == "failed", checks
    message = checks["storage"]["message"]
    assert f"http://127.0.0.1:{port}" in message and "responds, but not as S3: 200 OK" in message and "text/html" in message, message


def wait_for(port):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for _ in range(200):
        try:
            return opener.open(f"http://127.0.0.1:{port}/", timeout=5).close()
        except OSError:
            time.sleep(0.05)
    raise AssertionError("the web server did not start")


def test_an_interrupt_leaves_nothing(start, real, real_bucket, tmp_path):
    """SIGINT while the second part is under way."""
    arrived = threading.Event()
    with faulty_storage(real.upstream["endpoint"]) as storage:

        def wait(answer):
            arrived.set()
            time.sleep(3)
            return answer

        storage.on("PUT /.+partNumber=2", after=wait)
        running = start(real, upstream={"endpoint": storage.endpoint})
        command = [binary(), "check", "--bucket", real_bucket, "--config", running.config]
        done = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=aws_environment())
        assert arrived.wait(60)
        done.send_signal(2)
        report = done.communicate(timeout=60)[0].decode()
    assert done.returncode == UNAVAILABLE and "interrupted: FAILED" in report, report
    assert real.store.keys(real_bucket) == []


def aws_environment():
    return {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true", "PATH": "/usr/bin:/bin"}
