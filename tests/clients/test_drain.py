"""How a proxy ends, and how another one takes its place: the drain, a shared port, a socket from the service manager."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from conftest import embedded_backend, new_bucket
from proxy import Proxy, binary, toml_text
from test_limits import until
from test_operator_mistakes import admin

UPGRADES = 20

# Becomes the process to which sd_listen_fds(3) gives the file of the first argument: its file 3, by its process id.
HAND_OVER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.argv[2], sys.argv[2:])
"""
CONTENT = os.urandom(70_000)


def configured(tmp_path, **listen):
    """A proxy that is not started, with its configuration in place."""
    backend = embedded_backend(tmp_path)
    proxy = Proxy(tmp_path / "proxy", backend.upstream, backend.keyring, {"listen": listen})
    proxy.config.write_text(toml_text(proxy.configuration()))
    return proxy


def handing_over(listener, command):
    return [sys.executable, "-c", HAND_OVER, str(listener.fileno()), *command]


def launch(proxy, listener=None, **environment):
    """A process of this configuration, with a listening socket as systemd hands one over; it serves when this returns."""
    command = [binary(), "serve", "--config", str(proxy.config)]
    if listener:
        command, environment = handing_over(listener, command), {"LISTEN_FDS": "1", **environment}
    before = proxy.log_text().count("msg=serving ")
    with proxy.log.open("ab") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=proxy.directory,
            env={**proxy.aws_environment(), "PATH": os.environ["PATH"], **environment},
            pass_fds=[listener.fileno()] if listener else [],
        )  # fmt: skip
    until(lambda: proxy.log_text().count("msg=serving ") > before or process.poll() is not None)
    assert process.poll() is None, proxy.log_text()
    return process


def end(process, *signals):
    for one in signals or (signal.SIGTERM,):
        process.send_signal(one)
    try:
        return process.wait(30)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(10)


def readiness(proxy):
    try:
        return admin(proxy, "/readyz")
    except OSError:
        return None, ""


def test_during_the_delay_requests_are_served_and_readiness_is_gone(tmp_path):
    proxy = configured(tmp_path, drain_delay="4s")
    process = launch(proxy)
    try:
        bucket = new_bucket(proxy.boto())
        proxy.boto().put_object(Bucket=bucket, Key="object", Body=CONTENT)
        until(lambda: readiness(proxy)[0] == 200)
        kept = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=10)
        kept.request("GET", "/")
        kept.getresponse().read()
        process.send_signal(signal.SIGTERM)
        status, body = until(lambda: (found := readiness(proxy))[0] == 503 and found)
        assert "shutting down" in body
        answer = proxy.raw().request("GET", f"/{bucket}/object")
        assert (answer.status, answer.body, answer.headers["connection"]) == (200, CONTENT, "close")
        kept.request("GET", "/")
        response = kept.getresponse()
        assert (response.status, response.headers["connection"]) == (403, "close")
        assert process.poll() is None, "the delay is not over yet"
        assert process.wait(30) == 0
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", proxy.port), timeout=5)
        assert "every request has ended" in proxy.log_text()
    finally:
        if process.poll() is None:
            end(process, signal.SIGKILL)


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_the_delay_at_once(tmp_path, second):
    proxy = configured(tmp_path, drain_delay="10m")
    process = launch(proxy)
    until(lambda: readiness(proxy)[0] == 200)
    process.send_signal(signal.SIGTERM)
    until(lambda: readiness(proxy)[0] == 503)
    assert end(process, second) == 0
    assert "stopped at once" in proxy.log_text()


class Load:
    """Clients that go on for as long as this lasts: some with a connection for each request, one with a kept one."""

    def __init__(self, proxy, bucket):
        self.proxy, self.bucket = proxy, bucket
        self.ended, self.failures, self.served = threading.Event(), [], 0
        self.threads = [threading.Thread(target=self.go_on, args=(once,)) for once in (self.raw, self.raw, self.raw, self.boto())]

    def raw(self):
        answer = self.proxy.raw().request("GET", f"/{self.bucket}/object")
        assert (answer.status, answer.body) == (200, CONTENT), (answer.status, answer.broken, answer.code)

    def boto(self):
        s3 = self.proxy.boto()  # which does not repeat a request

        def once():
            assert s3.get_object(Bucket=self.bucket, Key="object")["Body"].read() == CONTENT
            s3.put_object(Bucket=self.bucket, Key="written", Body=CONTENT)

        return once

    def go_on(self, once):
        while not self.ended.is_set():
            try:
                once()
                self.served += 1
            except Exception as error:  # noqa: BLE001, every failure counts
                self.failures.append(repr(error))
            time.sleep(0.005)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        for thread in self.threads:
            thread.join(60)


def begun(proxy):
    bucket = new_bucket(proxy.boto())
    proxy.boto().put_object(Bucket=bucket, Key="object", Body=CONTENT)
    return bucket


def test_upgrades_over_a_shared_port(tmp_path):
    proxy = configured(tmp_path, reuse_port=True, drain_delay="500ms")
    running = launch(proxy)
    try:
        with Load(proxy, begun(proxy)) as load:
            for _ in range(UPGRADES):
                old, running = running, launch(proxy)
                assert end(old) == 0
                assert readiness(proxy)[0] is not None, "the new process responds to operators"
    finally:
        end(running)
    assert load.failures == [], f"{len(load.failures)} failed beside {load.served}"
    assert load.served > UPGRADES * 4


def test_restarts_over_a_socket_of_the_service_manager(tmp_path):
    """As `systemctl restart` does it: the old process ends, then the new one starts; meanwhile clients wait."""
    proxy = configured(tmp_path, drain_delay="200ms")
    with socket.create_server(("127.0.0.1", proxy.port), backlog=1024) as listener:
        running = launch(proxy, listener)
        try:
            with Load(proxy, begun(proxy)) as load:
                for _ in range(UPGRADES):
                    assert end(running) == 0
                    running = launch(proxy, listener)
        finally:
            end(running)
    assert load.failures == [], f"{len(load.failures)} failed beside {load.served}"
    assert load.served > UPGRADES * 4


def test_a_handed_over_socket_that_nothing_is_configured_for(tmp_path):
    proxy = configured(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as other:
        command = handing_over(other, [binary(), "--config", str(proxy.config)])
        done = subprocess.run(
            command, env={**proxy.aws_environment(), "PATH": os.environ["PATH"], "LISTEN_FDS": "1"},
            pass_fds=[other.fileno()], capture_output=True, timeout=30, cwd=proxy.directory,
        )  # fmt: skip
        address = f"127.0.0.1:{other.getsockname()[1]}"
    assert done.returncode == 64
    assert f"listens on {address}, which is no configured address" in done.stderr.decode()
    assert 'FileDescriptorName="s3" or "admin"' in done.stderr.decode()


def test_a_handed_over_socket_by_name(tmp_path):
    proxy = configured(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        process = launch(proxy, listener, LISTEN_FDNAMES="s3")
        port, proxy.port = proxy.port, listener.getsockname()[1]
        proxy.endpoint = f"http://127.0.0.1:{proxy.port}"
        try:
            assert new_bucket(proxy.boto())
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port), timeout=5)
        finally:
            end(process)


def test_the_service_manager_is_told(tmp_path):
    proxy = configured(tmp_path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(str(tmp_path / "notify"))
        notified.settimeout(30)
        process = launch(proxy, NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="200000")
        try:
            messages = {notified.recv(4096).decode() for _ in range(4)}
            assert messages == {"READY=1", "WATCHDOG=1"}
        finally:
            assert end(process) == 0
        notified.setblocking(False)
        rest = []
        with pytest.raises(BlockingIOError):
            while True:
                rest.append(notified.recv(4096).decode())
        assert rest.count("STOPPING=1") == 1 and "READY=1" not in rest
