"""A node of s3veil, and the programs that the tests of packaging need."""

import json
import os
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from ports import free_port

ROOT = Path(__file__).parents[2]
SECONDS = 30

# No proxy of the environment is between the tests and what they start.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def binary():
    path = os.environ.get("S3VEIL_BINARY")
    assert path and Path(path).exists(), "S3VEIL_BINARY must name the built proxy (scripts/test sets it)"
    return path


def is_full():
    return bool(os.environ.get("S3VEIL_TEST_FULL"))


def only_in_full():
    return pytest.mark.skipif(not is_full(), reason="takes long: scripts/test full")


def requires(*programs, package=None):
    """Skips where a program is missing. Programs of administrators are in directories that a PATH may lack."""
    path = os.environ["PATH"] + ":/usr/sbin:/sbin"
    missing = [program for program in programs if not shutil.which(program, path=path)]
    return pytest.mark.skipif(bool(missing), reason=f"{', '.join(missing)} missing (Debian: {package or ' '.join(missing)})")


def program(name):
    found = shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/sbin")
    assert found, f"{name} is missing"
    return found


def run(*command, check=True, **options):
    """The finished process, with its output as text."""
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, stdin=subprocess.DEVNULL, **options)
    assert not check or done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def environment(**further):
    """No credentials and profiles of the caller, and no metadata service."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "S3VEIL_", "NOTIFY_", "LISTEN_"))}
    return kept | {"HOME": "/nonexistent", "AWS_EC2_METADATA_DISABLED": "true", **further}


def wait_for(what, condition, seconds=SECONDS):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError(f"{what}: not within {seconds} s")


def status_of(url):
    """The status of a GET; `None` if nothing responds."""
    try:
        with OPENER.open(url, timeout=2) as response:
            return response.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


class Node:
    """A proxy with the embedded store and the local keyring of `shared`, which several nodes may have in common."""

    def __init__(self, directory, shared):
        self.directory, self.shared = directory, shared
        directory.mkdir(parents=True)
        self.port, self.admin = free_port(), free_port()
        self.log = directory / "log"
        self.processes = []
        self.config = directory / "proxy.toml"
        self.config.write_text(f"""
[listen]
address = "127.0.0.1:{self.port}"
reuse_port = true
drain_delay = "3s"
drain_timeout = "60s"
[admin]
address = "127.0.0.1:{self.admin}"
[upstream]
endpoint = "embedded:{shared}/data"
region = "us-east-1"
embedded_shared = true
embedded_sync = "off"
[keyring]
provider = "local"
file = "{shared}/keyring"
[[client]]
access_key_id = "app"
secret_access_key = "a-secret-of-twenty-bytes"
access = "admin"
[[bucket]]
name = "*"
""")

    def start(self, *below):
        """One more process of this node, which may take the address over from another one; as a child of `below`."""
        ready_lines = self.serving()
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [*below, binary(), "serve", "--config", self.config], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=environment(), cwd=self.directory,
            )  # fmt: skip
        self.processes.append(process)
        wait_for("the node serves", lambda: self.serving() > ready_lines and process.poll() is None)
        wait_for("the node is ready", self.is_ready)
        return process

    def serving(self):
        return self.log.read_text().count("msg=serving") if self.log.exists() else 0

    def is_ready(self):
        return status_of(f"http://127.0.0.1:{self.admin}/readyz") == 200

    def kill(self):
        """What a power cut leaves."""
        for process in self.processes:
            process.kill()
            process.wait()
        self.processes.clear()

    def end_traced(self):
        """Ends in order the program below the one that was started."""
        (above,) = self.processes
        (child,) = Path(f"/proc/{above.pid}/task/{above.pid}/children").read_text().split()
        os.kill(int(child), signal.SIGTERM)
        assert above.wait(70) == 0, self.log.read_text()[-2000:]
        self.processes.clear()

    def restart(self):
        """Ends the process in order, which takes its drain delay, and starts another one."""
        (old,) = self.processes
        old.terminate()
        assert old.wait(70) == 0, self.log.read_text()[-2000:]
        self.processes.clear()
        self.start()

    def upgrade(self):
        """A new process takes over, and the old one drains."""
        (old,) = self.processes
        self.start()
        old.send_signal(signal.SIGTERM)
        return old


def assert_loads(config, secrets):
    """The program takes the configuration: what `check` then reports are services that are not there (69), and no
    fault of the file (64) or of those that it names (74, 77). `secrets` are variables that it names. The warnings."""
    credentials = {"AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none", "AWS_ENDPOINT_URL_KMS": "http://127.0.0.1:1"}
    variables = environment(**credentials, **{name: "a-secret-of-twenty-bytes" for name in secrets})
    done = run(binary(), "check", "--config", config, "--format", "json", check=False, env=variables, timeout=150)
    assert done.returncode in (0, 69), done.stderr
    found = [check for check in json.loads(done.stdout)["checks"] if check["check"] == "configuration"]
    assert found and all(check["status"] != "failed" for check in found), done.stdout
    return [check["message"] for check in found if check["status"] == "warning"]
