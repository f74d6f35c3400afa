"""The log: no request waits for it or fails by it, nothing from outside forges it, and it says who wanted what."""

import dataclasses
import json
import os
import re
import resource
import signal
import socket
import ssl
import subprocess
import time
import urllib.parse
from datetime import datetime

import pytest

from conftest import embedded_backend, new_bucket
from fakes import error
from proxy import Proxy, binary, toml_text
from standin import Reply, StandIn
from test_limits import until
from test_presigned import fetch, presigned


def start_with(tmp_path, stderr, environment=None, **sections):
    """A proxy whose standard error is this file. It must be stopped by its caller."""
    backend = embedded_backend(tmp_path)
    running = Proxy(tmp_path / "proxy", backend.upstream, backend.keyring, sections)
    running.config.write_text(toml_text(running.configuration()))
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "S3VEIL_"))} | (environment or {})
    running.process = subprocess.Popen(
        [binary(), "serve", "--config", running.config],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr, cwd=running.directory, env=environment,
    )  # fmt: skip

    def listens():
        assert running.process.poll() is None, f"the proxy ended with {running.process.returncode}"
        try:
            socket.create_connection(("127.0.0.1", running.port), timeout=1).close()
        except OSError:
            return False
        return True

    until(listens, 30)
    return running


def requests(running, number):
    """None of so many requests fails."""
    s3 = running.boto()
    bucket = new_bucket(s3)
    for index in range(number):
        s3.put_object(Bucket=bucket, Key="object", Body=str(index).encode())
        assert s3.get_object(Bucket=bucket, Key="object")["Body"].read() == str(index).encode()
    assert running.process.poll() is None


def test_a_full_log_disk_fails_no_request(tmp_path):
    with open("/dev/full", "wb") as full:
        running = start_with(tmp_path, full)
    try:
        requests(running, 50)
        until(lambda: running.metrics().get("s3veil_log_lines_dropped_total", 0) >= 100)
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(20) == 0
    finally:
        running.stop()


def test_a_log_file_at_its_size_limit_fails_no_request(tmp_path):
    """The signal that comes with it ends a process that does not expect it."""
    log = tmp_path / "limited.log"
    with log.open("ab") as output:
        running = start_with(tmp_path, output)
    try:
        requests(running, 5)
        resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, (log.stat().st_size + 100, resource.RLIM_INFINITY))
        raw = running.raw()
        for _ in range(50):
            assert raw.request("GET", "/").status == 200
        until(lambda: running.metrics().get("s3veil_log_lines_dropped_total", 0) > 0)
        assert running.process.poll() is None
    finally:
        running.stop()


def test_a_log_reader_that_is_killed_fails_no_request(tmp_path):
    reader = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    running = start_with(tmp_path, reader.stdin)
    try:
        reader.stdin.close()
        requests(running, 5)
        reader.send_signal(signal.SIGKILL)
        reader.wait(10)
        requests(running, 50)
        until(lambda: running.metrics().get("s3veil_log_lines_dropped_total", 0) > 0)
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(20) == 0
    finally:
        running.stop()


def test_a_log_reader_that_stops_holds_no_request_up_and_learns_what_it_missed(tmp_path):
    read, write = os.pipe()
    running = start_with(tmp_path, write)
    os.close(write)
    try:
        # Long lines fill pipe and queue soon. Of more than ten on one connection each would be delayed.
        unsigned = f"GET /bucket/{'k' * 1000} HTTP/1.1\r\nhost: x\r\n\r\n".encode()
        while running.metrics().get("s3veil_log_lines_dropped_total", 0) == 0:
            for _ in range(10):
                with socket.create_connection(("127.0.0.1", running.port), timeout=30) as connection:
                    connection.sendall(unsigned * 10)
                    answered = b""
                    while answered.count(b"</Error>") < 10:
                        answered += connection.recv(1 << 20)
        requests(running, 5)
        os.set_blocking(read, False)
        text = b""

        def reported():
            nonlocal text
            try:
                text += os.read(read, 1 << 20)
            except BlockingIOError:
                pass
            dropped = running.metrics()["s3veil_log_lines_dropped_total"]
            return sum(map(int, re.findall(rb"were dropped\" lines=(\d+)\n", text))) == dropped

        until(reported, 30)
    finally:
        running.stop()
        os.close(read)


def test_what_is_queued_is_written_at_the_end(tmp_path):
    log = tmp_path / "log"
    with log.open("wb") as output:
        running = start_with(tmp_path, output)
    requests(running, 20)
    running.stop()
    lines = log.read_text().splitlines()
    assert sum(" msg=request " in line for line in lines) == 41
    assert "stopped" in lines[-1]


@pytest.mark.parametrize("name", ["SIGUSR1", "SIGUSR2"])
def test_signals_that_mean_nothing_end_nothing(start, tmp_path, name):
    running = start(embedded_backend(tmp_path))
    running.process.send_signal(getattr(signal, name))
    until(lambda: f"signal={name}" in running.log_text())
    requests(running, 3)


FORGED = "AK/2013\n2026-01-01T00:00:00Z INFO forged\x1b[31m\r/us-east-1/s3/aws4_request"


def log_lines(running, marker):
    def found():
        return [json.loads(line) for line in running.log_text().splitlines() if marker in line]

    return until(found)


@pytest.fixture
def json_log(start, tmp_path):
    return start(embedded_backend(tmp_path), log={"format": "json"})


@pytest.mark.parametrize("format", ["text", "json"])
def test_nothing_from_outside_begins_a_line_or_reaches_a_terminal(start, tmp_path, format):
    running = start(embedded_backend(tmp_path), log={"format": format})
    quoted = urllib.parse.quote(FORGED, safe="")
    for path in (
        f"/b/k?X-Amz-Credential={quoted}&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Date=20260101T000000Z&X-Amz-Expires=1"
        "&X-Amz-SignedHeaders=host&X-Amz-Signature=00",
        f"/b/k?AWSAccessKeyId=x&Signature=y&Expires=9999999999&a{quoted}=1",
        f"/b/{quoted}",
        f"/{quoted}/k",
    ):
        connection = socket.create_connection(("127.0.0.1", running.port), timeout=10)
        connection.sendall(f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
        assert connection.recv(65536).startswith(b"HTTP/1.1 4")
        connection.close()
    until(lambda: running.log_text().count("storage_request_id") == 4)
    text = running.log_text()
    begins = "ts=" if format == "text" else '{"ts":"'
    assert all(line.startswith(begins) for line in text.split("\n") if line), text
    assert all(character.isprintable() or character == "\n" for character in text)


def test_json_lines_are_flat_and_say_what_was_asked(json_log):
    s3 = json_log.boto()
    bucket = new_bucket(s3)
    s3.put_object(Bucket=bucket, Key="a key", Body=b"12345")
    (line,) = log_lines(json_log, '"operation":"PutObject"')
    datetime.fromisoformat(line["ts"])
    assert (line["bucket"], line["object_key"], line["status"], line["request_bytes"]) == (bucket, "a key", 200, 5)
    assert (line["level"], line["client"], line["end"]) == ("INFO", "client-one", "complete")
    assert not any(isinstance(value, (dict, list)) for value in line.values())


def test_a_line_says_how_a_request_came_and_what_took_its_time(json_log):
    s3 = json_log.boto(user_agent_extra="my-tool/7")
    bucket = new_bucket(s3)
    s3.put_object(Bucket=bucket, Key="object", Body=bytes(100_000))
    s3.get_object(Bucket=bucket, Key="object", Range="bytes=5-9")["Body"].read()
    (written,) = log_lines(json_log, '"operation":"PutObject"')
    (line,) = log_lines(json_log, '"operation":"GetObject"')
    assert (line["range"], line["signature"], line["format"]) == ("bytes=5-9", "header", written["format"])
    assert "my-tool/7" in line["user_agent"] and "tls" not in line
    assert line["storage_requests"] >= 1 and 0 <= line["storage_ms"] <= line["duration_ms"] + 1
    assert 0 <= line["first_byte_ms"] <= line["duration_ms"] and "retries" not in line
    assert fetch(json_log, presigned(json_log, "s3v4", "get_object", bucket)).status == 200
    until(lambda: len(log_lines(json_log, '"operation":"GetObject"')) == 2)
    assert log_lines(json_log, '"operation":"GetObject"')[1]["signature"] == "url"
    json_log.raw().request("GET", f"/{bucket}/versioned", query=[("versionId", "v-1")])
    (line,) = log_lines(json_log, '"object_key":"versioned"')
    assert line["version_id"] == "v-1"


ACCESS = {
    "all": ({}, {"fine", "missing"}),
    "errors": ({"access": "errors", "slow": "1h"}, {"missing"}),
    "a-share": ({"access_sample": "0%", "slow": "1h"}, {"missing"}),
    "all-is-slow": ({"access": "errors", "slow": "1ms"}, {"fine", "missing"}),
    "off": ({"access": "off"}, set()),
}


@pytest.mark.parametrize("rules", ACCESS)
def test_which_requests_have_a_line_is_configured(start, tmp_path, rules):
    settings, expected = ACCESS[rules]
    running = start(embedded_backend(tmp_path), log={"format": "json", **settings})
    bucket = new_bucket(running.boto())
    # Over a hundred chunks take more than a millisecond.
    running.boto().put_object(Bucket=bucket, Key="fine", Body=bytes(8 << 20))
    assert running.raw().request("GET", f"/{bucket}/missing").status == 404
    # Lines are written in order, and this one always.
    running.process.send_signal(signal.SIGUSR1)
    until(lambda: "SIGUSR1" in running.log_text())
    lines = [json.loads(line) for line in running.log_text().splitlines() if '"msg":"request"' in line]
    assert {line["object_key"] for line in lines} - {""} == expected


def test_the_rules_are_reloaded(start, tmp_path):
    running = start(embedded_backend(tmp_path), log={"format": "json", "access": "off"})
    running.config.write_text(running.config.read_text().replace('access = "off"', 'access = "all"'))
    running.process.send_signal(signal.SIGHUP)
    until(lambda: "was loaded again" in running.log_text())
    running.raw().request("GET", "/bucket/now")
    assert len(log_lines(running, '"object_key":"now"')) == 1


def test_a_priority_is_told_to_the_journal_alone(tmp_path):
    for is_journal in [True, False]:
        directory = tmp_path / str(is_journal)
        directory.mkdir()
        with (directory / "log").open("wb") as log:
            file = os.fstat(log.fileno())
            stream = f"{file.st_dev}:{file.st_ino if is_journal else file.st_ino + 1}"
            running = start_with(directory, log, environment={"JOURNAL_STREAM": stream})
        running.stop()
        lines = (directory / "log").read_text().splitlines()
        assert lines and all(line.startswith("<") == is_journal for line in lines), lines


def test_the_storages_reason_is_in_the_log(json_log):
    bucket = new_bucket(json_log.boto())
    answer = json_log.raw().request("GET", f"/{bucket}/absent")
    (line,) = log_lines(json_log, '"object_key":"absent"')
    assert (answer.code, line["code"], line["storage_code"]) == ("NoSuchKey",) * 3


ANSWERS_THAT_ARE_REPLACED = {
    "redirect": (307, error("TemporaryRedirect")),
    "credentials": (403, error("InvalidAccessKeyId")),
    "account": (403, error("AccessDenied", "User: arn:aws:iam::123456789012:user/proxy is not authorized")),
    "no-status-of-s3": (421, b""),
    "not-encrypted": (200, b"plaintext"),
    "unavailable": (503, error("SlowDown")),
}


@pytest.mark.parametrize("answered", ANSWERS_THAT_ARE_REPLACED)
def test_the_storages_request_id_is_in_the_log_when_its_answer_is_replaced(start, tmp_path, answered):
    status, body = ANSWERS_THAT_ARE_REPLACED[answered]
    headers = [("x-amz-request-id", "STORAGES-OWN"), ("etag", '"e"'), ("last-modified", "Thu, 01 Jan 2026 00:00:00 GMT")]
    with StandIn(lambda _: Reply(status, headers, body)) as storage:
        backend = embedded_backend(tmp_path)
        upstream = {**storage.upstream, "region": "us-east-1", "max_retries": 0}
        running = start(dataclasses.replace(backend, upstream=upstream), log={"format": "json"})
        answer = running.raw().request("GET", f"/bucket/{answered}")
        (line,) = log_lines(running, f'"object_key":"{answered}"')
        assert answer.status >= 400 and line["storage_request_id"] == "STORAGES-OWN", line
        running.raw(secret_access_key="wrong").request("GET", "/bucket/refused-here")
        (line,) = log_lines(running, '"object_key":"refused-here"')
        assert line["storage_request_id"] == "", "of no other request"


def test_failed_logins_say_who_was_claimed_and_what_was_wanted(json_log):
    json_log.raw(secret_access_key="wrong").request("GET", "/bucket/one")
    json_log.raw(access_key_id="AKIANOBODY").request("DELETE", "/bucket/two")
    (wrong,) = log_lines(json_log, '"object_key":"one"')
    (unknown,) = log_lines(json_log, '"object_key":"two"')
    assert (wrong["claimed_client"], wrong["client"], wrong["asked_operation"]) == ("client-one", "", "GetObject")
    assert (unknown["claimed_client"], unknown["code"]) == ("AKIANOBODY", "InvalidAccessKeyId")
    assert unknown["asked_operation"] == "DeleteObject"
    metrics = json_log.metrics()
    assert metrics['s3veil_logins_refused_total{reason="bad_signature"}'] == 1
    assert metrics['s3veil_logins_refused_total{reason="unknown_key"}'] == 1


def test_deletions_of_many_say_of_what(json_log):
    s3 = json_log.boto()
    bucket = new_bucket(s3)
    s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": f"key-{number}"} for number in range(100)]})
    (line,) = log_lines(json_log, '"operation":"DeleteObjects"')
    assert line["keys"].startswith("100: key-0 key-1 ")


def test_other_protocols_at_either_port_are_told_and_counted(start, tmp_path, certificate):
    (tmp_path / "tls").mkdir()
    (tmp_path / "plain").mkdir()
    plain = start(embedded_backend(tmp_path / "plain"))
    tls = start(
        embedded_backend(tmp_path / "tls"),
        listen={"tls": {"certificate": certificate.chain, "private_key": certificate.private_key}},
    )
    http = socket.create_connection(("127.0.0.1", tls.port), timeout=10)
    http.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    answer = http.recv(65536)
    assert answer.startswith(b"HTTP/1.1 400") and b"https://" in answer
    strangers = ssl.create_default_context()  # which does not know the authority
    with pytest.raises(ssl.SSLError):
        strangers.wrap_socket(socket.create_connection(("127.0.0.1", tls.port), timeout=10), server_hostname="localhost")
    until(lambda: "reason=http_at_tls" in tls.log_text() and "reason=tls_handshake" in tls.log_text())
    assert tls.metrics()['s3veil_connections_unusable_total{reason="http_at_tls"}'] == 1

    with pytest.raises((ssl.SSLError, OSError)):
        strangers.wrap_socket(socket.create_connection(("127.0.0.1", plain.port), timeout=10), server_hostname="localhost")
    garbage = socket.create_connection(("127.0.0.1", plain.port), timeout=10)
    garbage.sendall(b"\x00\x01\x02\x03\r\n\r\n")
    assert garbage.recv(65536).startswith(b"HTTP/1.1 400")
    until(lambda: "reason=tls_at_http" in plain.log_text() and "reason=malformed_http" in plain.log_text())
    for _ in range(50):
        garbage = socket.create_connection(("127.0.0.1", plain.port), timeout=10)
        garbage.sendall(b"\x00\r\n\r\n")
        garbage.recv(65536)
        garbage.close()
    until(lambda: plain.metrics()['s3veil_connections_unusable_total{reason="malformed_http"}'] == 51)
    assert plain.log_text().count("reason=malformed_http") <= 20


def test_a_limit_of_descriptors_that_is_too_low_is_said(start, tmp_path):
    running = start(embedded_backend(tmp_path), listen={"max_connections": 900_000})
    until(lambda: "listen.max_connections" in running.log_text())
    soft, hard = open(f"/proc/{running.process.pid}/limits").read().split("Max open files")[1].split()[:2]
    assert soft == hard
    assert f"descriptors={hard}" in running.log_text()


def test_no_secret_and_no_signature_is_in_the_log(start, tmp_path):
    running = start(embedded_backend(tmp_path), log={"level": "trace"})
    bucket = new_bucket(running.boto())
    host = f"127.0.0.1:{running.port}"
    query = running.signer().presign("GET", host, f"/{bucket}/object")
    running.raw().send("GET", f"/{bucket}/object", query, {"host": host}, [])
    running.raw(secret_access_key="a-wrong-secret").request("GET", f"/{bucket}/object")
    until(lambda: "bad_signature" in str(running.metrics()))
    time.sleep(0.1)
    text = running.log_text()
    signature = urllib.parse.parse_qs(query)["X-Amz-Signature"][0]
    assert signature not in text and "client-one-secret" not in text and "a-wrong-secret" not in text
