"""A proxy with the embedded store and a local keyring in a directory of its own, which can be killed and started again."""

import base64
import os
import signal
import socket
import subprocess
import time

from ports import free_port

from .places import plain_environment

ACCESS_KEY_ID, SECRET_ACCESS_KEY, REGION = "matrix", "matrix-secret-of-a-test", "us-east-1"
START_SECONDS = 60

# An anonymous client that reads: only for the proxy that shows the frame what was stored, never for the one under test.
ANONYMOUS = '[[client]]\nanonymous = true\ngrants = [{ buckets = ["*"], rights = ["read", "list"] }]\n'
CONFIGURATION = """
[listen]
address = "127.0.0.1:{port}"
{tls}
[upstream]
{upstream}
region = "us-east-1"
[keyring]
{keyring}
[[client]]
access_key_id = "{access_key_id}"
secret_access_key = "{secret_access_key}"
access = "admin"
{clients}
[[bucket]]
name = "*"
{rule}
"""


def binary():
    path = os.environ.get("S3VEIL_BINARY")
    if not path or not os.path.exists(path):
        raise SystemExit("scripts/matrix: S3VEIL_BINARY must name the built proxy")
    return path


def version():
    done = subprocess.run([binary(), "--version"], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.split()[-1]


class Server:
    """One proxy over `directory`/data. `rule` is more TOML for its only [[bucket]], `storage` replaces the embedded store."""

    def __init__(self, directory, tls=False, rule="", anonymous=False, storage=None):
        self.directory, self.data = directory, directory / "data"
        self.tls, self.rule, self.anonymous, self.storage = tls, rule, anonymous, storage
        self.port = free_port()
        self.log = directory / "proxy.log"
        self.process = None
        self.data.mkdir(parents=True, exist_ok=True)
        self.write_keyring()
        if tls:
            make_certificate(directory)

    def write_keyring(self):
        path = self.directory / "keyring"
        if path.exists():
            return
        secret = base64.b64encode(os.urandom(32)).decode()
        path.write_text(f'version = 1\ncurrent = "k"\n[[key]]\nid = "k"\ncreated = "2026-01-31T12:00:00Z"\nsecret = "{secret}"\n')
        path.chmod(0o600)

    def configuration(self):
        # No fsync: the process is killed, the machine is not.
        upstream = f'endpoint = "embedded:{self.data}"\nembedded_sync = "off"'
        keyring = f'provider = "local"\nfile = "{self.directory}/keyring"'
        tls = f'tls = {{ certificate = "{self.directory}/cert.pem", private_key = "{self.directory}/key.pem" }}' if self.tls else ""
        return CONFIGURATION.format(
            port=self.port, tls=tls, rule=self.rule, clients=ANONYMOUS if self.anonymous else "",
            upstream=self.storage.upstream if self.storage else upstream, keyring=self.storage.keyring if self.storage else keyring,
            access_key_id=ACCESS_KEY_ID, secret_access_key=SECRET_ACCESS_KEY,
        )  # fmt: skip

    def start(self):
        config = self.directory / f"proxy-{self.port}.toml"
        config.write_text(self.configuration())
        config.chmod(0o600)
        environment = plain_environment() | {"AWS_EC2_METADATA_DISABLED": "true", "RUST_BACKTRACE": "1"}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [binary(), "serve", "--config", config], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.directory, env=environment
            )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return self
            except OSError:
                time.sleep(0.02)
        raise AssertionError(f"the proxy does not listen: {self.log_tail()}")

    def kill(self):
        """SIGKILL: nothing is finished, nothing is cleaned up."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(30)

    def stop(self):
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()

    def log_tail(self):
        return self.log.read_text(errors="replace")[-3000:] if self.log.exists() else ""


def make_certificate(directory):
    """ca.pem, and cert.pem with key.pem under it, for 127.0.0.1 and localhost."""
    if (directory / "cert.pem").exists():
        return
    extensions = "subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=critical,CA:FALSE\nextendedKeyUsage=serverAuth\n"
    (directory / "extensions").write_text(extensions)
    elliptic = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    authority = ["req", "-x509", *elliptic, "-keyout", "ca-key.pem", "-out", "ca.pem", "-days", "2", "-subj", "/CN=matrix CA"]
    leaf = ["req", *elliptic, "-keyout", "key.pem", "-out", "request.pem", "-subj", "/CN=localhost"]
    signed = ["x509", "-req", "-in", "request.pem", "-CA", "ca.pem", "-CAkey", "ca-key.pem", "-CAcreateserial", "-days", "2", "-extfile", "extensions"]
    for command in (authority, leaf, [*signed, "-out", "cert.pem"]):
        subprocess.run(["openssl", *command], cwd=directory, check=True, capture_output=True, timeout=60)
