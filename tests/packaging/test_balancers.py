"""Two nodes behind HAProxy and nginx, with the files that are shipped: a node is killed and the other one upgraded while
`aws s3 sync` runs, and nothing fails.
"""

import filecmp
import random
import signal
import socket
import subprocess
import threading

import pytest
from ports import free_port
from support import ROOT, environment, only_in_full, program, requires, run, wait_for

AWS = ROOT / ".venv/clients/bin/aws"
PART = 8 << 20

pytestmark = pytest.mark.skipif(not AWS.exists(), reason="the clients' environment is missing: scripts/test packaging makes it")


def adapt(text, changes):
    """The shipped file for this machine: each text to change has to be there."""
    for shipped, here in changes:
        assert shipped in text, shipped
        text = text.replace(shipped, here)
    return text


class Balancer:
    """A balancer on a port, stopped when the block ends."""

    def __init__(self, command, port, log):
        self.command, self.port, self.log = list(map(str, command)), port, log

    def __enter__(self):
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_for("the balancer listens", self.listens)
        return self

    def listens(self):
        assert self.process.poll() is None, self.log.read_text()
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.port}"


def haproxy(nodes, directory):
    port, (a, b) = free_port(), nodes
    changes = [
        ("maxconn 20000", "maxconn 2000"),
        ("bind :8333", f"bind 127.0.0.1:{port}"),
        ("server a 10.0.0.11:8333", f"server a 127.0.0.1:{a.port} port {a.admin}"),
        ("server b 10.0.0.12:8333", f"server b 127.0.0.1:{b.port} port {b.admin}"),
    ]
    config = directory / "haproxy.cfg"
    config.write_text(adapt((ROOT / "deploy/haproxy/haproxy.cfg").read_text(), changes))
    run(program("haproxy"), "-c", "-f", config)
    return Balancer([program("haproxy"), "-db", "-f", config], port, directory / "haproxy.log")


def nginx(nodes, directory):
    port, (a, b) = free_port(), nodes
    changes = [
        ("listen 8333;", f"listen 127.0.0.1:{port};"),
        ("server 10.0.0.11:8333", f"server 127.0.0.1:{a.port}"),
        ("server 10.0.0.12:8333", f"server 127.0.0.1:{b.port}"),
        ("pid /run/nginx.pid;", f"pid {directory}/nginx.pid;"),
        ("worker_rlimit_nofile 65536;", "daemon off;"),
        ("error_log stderr warn;", f"error_log {directory}/error.log warn;"),
        ("worker_connections 16384;", "worker_connections 1024;"),
        ("access_log off;", "".join(f"{kind}_temp_path {directory}/{kind}; " for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")) + "access_log off;"),
    ]  # fmt: skip
    config = directory / "nginx.conf"
    config.write_text(adapt((ROOT / "deploy/nginx/nginx.conf").read_text(), changes))
    run(program("nginx"), "-t", "-e", directory / "error.log", "-p", directory, "-c", config)
    return Balancer([program("nginx"), "-e", directory / "error.log", "-p", directory, "-c", config], port, directory / "nginx.log")


def credentials(home):
    keys = {"AWS_ACCESS_KEY_ID": "app", "AWS_SECRET_ACCESS_KEY": "a-secret-of-twenty-bytes", "AWS_DEFAULT_REGION": "us-east-1"}
    return environment(HOME=str(home), **keys)


@pytest.fixture
def tree(tmp_path):
    """300 files: most of them small, some uploaded in parts, one empty; names with what signatures have to encode."""
    random.seed(0)
    root = tmp_path / "files"
    for index in range(300):
        file = root / f"folder {index % 7}+ä" / f"file-{index:03}=(1).bin"
        file.parent.mkdir(parents=True, exist_ok=True)
        size = 0 if index == 0 else PART + random.randrange(PART) if index % 30 == 0 else random.randrange(200_000)
        file.write_bytes(random.randbytes(size))
    return root


class Sync:
    """`aws s3 sync`, which calls `at[n]` in a thread of its own when the nth file has been transferred."""

    def __init__(self, balancer, source, target, home, **variables):
        self.command = [AWS, "--endpoint-url", balancer.endpoint, "s3", "sync", "--no-progress", source, target]
        self.environment = credentials(home) | variables

    def run(self, at):
        process = subprocess.Popen(
            list(map(str, self.command)), env=self.environment, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        errors = []
        reader = threading.Thread(target=lambda: errors.append(process.stderr.read()))
        reader.start()
        transferred, threads = 0, []
        for _ in process.stdout:
            transferred += 1
            if transferred in at:
                threads.append(threading.Thread(target=at.pop(transferred)))
                threads[-1].start()
        for thread in [reader, *threads]:
            thread.join()
        assert process.wait() == 0, errors
        assert not at, f"the sync ended before {at}"
        return transferred


def same_files(left, right):
    names = {path.relative_to(left) for path in left.rglob("*") if path.is_file()}
    assert names == {path.relative_to(right) for path in right.rglob("*") if path.is_file()}
    matches, different, failed = filecmp.cmpfiles(left, right, map(str, names), shallow=False)
    assert (len(matches), different, failed) == (len(names), [], [])
    return len(names)


def sync_with_faults(balancer, nodes, tree, tmp_path):
    a, b = nodes
    home = tmp_path / "home"
    home.mkdir()
    run(AWS, "--endpoint-url", balancer.endpoint, "s3", "mb", "s3://bucket", env=credentials(home))
    old = []
    up = {40: a.kill, 120: a.start, 200: lambda: old.append(b.upgrade())}
    assert Sync(balancer, tree, "s3://bucket", home).run(up) == 300
    assert old[0].wait(70) == 0, "the old process of the upgrade drained"
    assert b.processes.pop(0) is old[0]
    assert Sync(balancer, tree, "s3://bucket", home).run({}) == 0, "nothing is left to do"
    fetched = tmp_path / "fetched"
    assert Sync(balancer, "s3://bucket", fetched, home).run({100: b.kill}) == 300
    assert same_files(tree, fetched) == 300
    # Without a single repeated request of the client, while the other node restarts in order.
    b.start()
    fetched = tmp_path / "fetched again"
    once = Sync(balancer, "s3://bucket", fetched, home, AWS_MAX_ATTEMPTS="1")
    assert once.run({20: a.restart}) == 300
    assert same_files(tree, fetched) == 300


@requires("haproxy")
@pytest.mark.timeout(420)
def test_nothing_fails_behind_haproxy(nodes, tree, tmp_path):
    with haproxy(nodes, tmp_path) as balancer:
        sync_with_faults(balancer, nodes, tree, tmp_path)


@only_in_full()
@requires("nginx", package="nginx-light")
@pytest.mark.timeout(420)
def test_nothing_fails_behind_nginx(nodes, tree, tmp_path):
    with nginx(nodes, tmp_path) as balancer:
        sync_with_faults(balancer, nodes, tree, tmp_path)
