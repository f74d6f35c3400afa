"""What a file of `programs` says of its program, and the bench on which one is run."""

import hashlib
import os
import pwd
import shutil
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from ports import free_port

from . import content
from .installs import Missing
from .killing import KillingRelay
from .places import WORK, plain_environment
from .server import ACCESS_KEY_ID, REGION, SECRET_ACCESS_KEY, Server

LIMIT = 420  # seconds that one script may take
BUCKET = "works-with"


@dataclass(frozen=True)
class Program:
    """One program. `setup`, `store` and `restore` are scripts, run as they are printed in the page; their environment is
    `Bench.environment`. `store` meets the kill, and is run again if it fails for that. `restore` fills $RESTORED as $SOURCE is filled."""

    name: str
    group: str
    installs: tuple
    what: str
    store: str
    restore: str
    setup: str = ""
    language: str = "sh"
    quick: bool = False
    sizes: dict | None = field(default_factory=lambda: content.TREE)  # of files in $SOURCE; None: a table
    rows: int = 120_000
    kill_after: int = 9 * content.MIB  # bytes of requests
    tls: bool = False
    user: str | None = None  # as whom the scripts run, where it is not allowed to be root
    interpreter: tuple = ()
    note: str = ""
    files: dict = field(default_factory=dict)  # name: text, in $HOME
    rule: str = ""
    with_storage: type | None = None

    def fingerprint(self):
        """Of what is run and printed: a result counts for the scripts that it came from."""
        return hashlib.sha256(repr((self.setup, self.store, self.restore, self.files, self.sizes, self.rule)).encode()).hexdigest()


class Failed(Exception):
    """A script that failed, with what it printed."""


class Bench:
    """A directory, a proxy with its relay, and the environment of a program's scripts."""

    def __init__(self, program):
        self.program = program
        self.directory = WORK / "run" / program.name.replace(" ", "-").lower()
        shutil.rmtree(self.directory, ignore_errors=True)
        self.home, self.source, self.restored, self.scratch = (self.directory / name for name in ("home", "source", "restored", "scratch"))
        for folder in (self.home, self.source, self.restored, self.scratch):
            folder.mkdir(parents=True)
        self.attempts = 0
        self.storage = program.with_storage(self.directory) if program.with_storage else None
        self.server = Server(self.directory / "proxy", tls=program.tls, rule=program.rule, storage=self.storage)
        self.relay, self.other_port = None, free_port()

    def __enter__(self):
        if self.storage:
            self.storage.start()
        self.server.start()
        self.relay = KillingRelay(self.server)
        if self.program.sizes is None:
            content.write_table(self.source, self.program.rows)
        else:
            content.write_tree(self.source, self.program.sizes)
        for name, text in self.program.files.items():
            (self.home / name).write_text(text)
        if self.storage:
            self.storage.make_bucket(BUCKET)
        else:
            (self.server.data / BUCKET).mkdir()
        if self.program.user:
            user = pwd.getpwnam(self.program.user)
            for folder in (self.home, self.source, self.restored, self.scratch):
                for path in [folder, *folder.rglob("*")]:
                    os.chown(path, user.pw_uid, user.pw_gid)
        return self

    def __exit__(self, *_):
        if self.relay:
            self.relay.wait_until_restarted()
            self.relay.stop()
        self.server.stop()
        if self.storage:
            self.storage.stop()

    def environment(self):
        scheme = "https" if self.program.tls else "http"
        paths = [path for install in self.program.installs for path in install.paths()]
        made = plain_environment()
        made |= {
            "ENDPOINT": f"{scheme}://127.0.0.1:{self.relay.port}", "ADDRESS": f"127.0.0.1:{self.relay.port}", "PORT": str(self.relay.port), "BUCKET": BUCKET,
            "OTHER_PORT": str(self.other_port), "MARKER": content.MARKER,
            "SOURCE": str(self.source), "RESTORED": str(self.restored), "SCRATCH": str(self.scratch), "HOME": str(self.home), "TMPDIR": str(self.scratch),
            "AWS_ACCESS_KEY_ID": ACCESS_KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET_ACCESS_KEY, "AWS_REGION": REGION, "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true", "PATH": ":".join([*paths, made["PATH"]]),
        }  # fmt: skip
        if self.program.tls:
            made |= {"CA": str(self.server.directory / "ca.pem"), "AWS_CA_BUNDLE": str(self.server.directory / "ca.pem")}
        for install in self.program.installs:
            made |= getattr(install, "variables", dict)()
        return made | (self.storage.variables() if self.storage else {})

    def script(self, text, step):
        """Runs one script; raises Failed with the end of its output."""
        if not text.strip():
            return
        path = self.home / f"{step}.{self.program.language}"
        path.write_text(("set -euo pipefail\n" if self.program.language == "sh" else "") + text)
        command = [*(self.program.interpreter or ("bash",)), str(path)]
        if self.program.user:
            command = [*as_user(self.program.user), *command]
        output = self.directory / f"{step}.log"
        with output.open("ab") as log:
            process = subprocess.Popen(
                ["nice", "-n", "10", *command], cwd=self.home, env=self.environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
            try:
                status = process.wait(LIMIT)
            except subprocess.TimeoutExpired:
                status = f"no end within {LIMIT} s"
            finally:
                end_group(process)
        if status != 0:
            raise Failed(f"{step} ended with {status}: {output.read_text(errors='replace')[-1500:]}")

    def store_through_a_kill(self):
        """Stores until a script succeeds; a failure counts unless the proxy was killed during that attempt."""
        self.relay.arm(self.program.kill_after)
        while True:
            self.attempts += 1
            was_killed = self.relay.killed is not None
            try:
                self.script(self.program.store, "store")
                break
            except Failed:
                if was_killed or self.relay.killed is None:
                    raise
                self.relay.wait_until_restarted()
        self.relay.disarm()
        assert self.relay.killed, f"the proxy was not killed: only {self.relay.sent} bytes were sent"
        self.relay.wait_until_restarted()


def as_user(user):
    return ["setpriv", "--reuid", user, "--regid", user, "--init-groups"]


def require_user(user):
    """Raises Missing unless scripts can run as this user, which packages of servers make."""
    if os.geteuid():
        raise Missing(f"runs as {user}, for which scripts/matrix has to be root")
    if subprocess.run([*as_user(user), "test", "-x", WORK], capture_output=True).returncode:
        raise Missing(f"the user {user} may not enter {WORK}")


def end_group(process):
    """What a script left running ends with it."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait(30)


def log_ends(directory: Path):
    """The ends of all logs of a run, for a failure's report."""
    return "\n".join(f"-- {path.name}\n{path.read_text(errors='replace')[-1500:]}" for path in sorted(directory.rglob("*.log")))
