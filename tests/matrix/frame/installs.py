"""How programs get here, each from its registry and pinned: into the checkout, or as a Debian package where root may install it."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from .places import REQUIREMENTS, ROOT, WORK, plain_environment

MINUTES = 60


class Missing(Exception):
    """A program that can not be had here, with the reason."""


def quiet(command, limit, cwd=ROOT, **more):
    """Runs an installer; what it says is shown only when it fails."""
    try:
        done = subprocess.run(
            ["nice", "-n", "10", *map(str, command)], cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=limit,
            env=plain_environment() | more,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise Missing(f"{command[0]} did not end within {limit} s") from None
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines() or ["no word"]
        raise Missing(f"{' '.join(map(str, command[:3]))} ended with {done.returncode}: {lines[-1][:200]}")
    return done.stdout


def stamped(folder, pins):
    """Whether `folder` holds what was installed from exactly these pins."""
    stamp = folder / ".installed"
    return stamp.exists() and stamp.read_text() == pins


@dataclass(frozen=True)
class Debian:
    """Packages of Debian, as its release has them. `commands` are the programs that tell whether they are there."""

    packages: tuple
    commands: tuple

    def install(self):
        if "fusermount3" in self.commands and not os.access("/dev/fuse", os.R_OK | os.W_OK):
            raise Missing("/dev/fuse can not be opened here")
        if all(found(command) for command in self.commands):
            return
        if os.geteuid() or not shutil.which("apt-get"):
            raise Missing(f"Debian's {', '.join(self.packages)}: needs root and apt-get")
        update_once()
        with no_service_starts():
            quiet(["apt-get", "-qqy", "install", "--no-install-recommends", *self.packages], 10 * MINUTES, DEBIAN_FRONTEND="noninteractive")
        for command in self.commands:
            if not found(command):
                raise Missing(f"{command} is not in Debian's {', '.join(self.packages)}")

    def paths(self):
        return debian_paths()

    def label(self):
        return self.packages[0]

    def version(self):
        done = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", self.packages[0]], capture_output=True, text=True)
        return f"{done.stdout.strip()} (Debian)"


def debian_paths():
    """Where Debian has programs that are not in a user's PATH: servers, and those of the newest PostgreSQL."""
    return ["/usr/sbin", *map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1:])]


def found(command):
    return shutil.which(command, path=":".join([os.environ["PATH"], *debian_paths()])) is not None


UPDATED = []


def update_once():
    if not UPDATED:
        UPDATED.append(time.monotonic())
        quiet(["apt-get", "-qq", "update"], 10 * MINUTES)


@contextlib.contextmanager
def no_service_starts():
    """While packages are installed, none of their servers starts: Debian asks /usr/sbin/policy-rc.d."""
    policy = Path("/usr/sbin/policy-rc.d")
    if policy.exists():
        yield
        return
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    try:
        yield
    finally:
        policy.unlink()


@dataclass(frozen=True)
class Pip:
    """The packages that tests/requirements/NAME.txt pins, in a virtual environment; `package` names the one that is tested.

    The environments that scripts/test makes anyway (clients, dataframes) are in .venv, the others in .work/matrix/venv."""

    environment: str
    package: str
    says: tuple = ()  # a command that prints the version of the program inside, where the package has another

    def folder(self):
        shared = {"clients", "dataframes", "localstack"}
        return ROOT / ".venv" / self.environment if self.environment in shared else WORK / "venv" / self.environment

    def requirements(self):
        names = {"localstack": f"localstack-py3{'13' if sys.version_info >= (3, 13) else '11'}"}
        shared = self.folder().is_relative_to(ROOT / ".venv")
        return REQUIREMENTS / f"{names.get(self.environment, self.environment if shared else 'matrix-' + self.environment)}.txt"

    def install(self):
        folder, pins = self.folder(), self.requirements().read_text()
        # scripts/test stamps its own.
        if stamped(folder, pins) or (folder.is_relative_to(ROOT / ".venv") and (folder / ".installed").exists()):
            return
        shutil.rmtree(folder, ignore_errors=True)
        quiet([sys.executable, "-m", "venv", folder], 5 * MINUTES)
        pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--no-cache-dir", "--disable-pip-version-check"]
        quiet([*pip, "--no-deps", "-r", self.requirements()], 20 * MINUTES)
        (folder / ".installed").write_text(pins)

    def paths(self):
        return [str(self.folder() / "bin")]

    def label(self):
        return self.package

    def version(self):
        for line in self.requirements().read_text().splitlines():
            name, _, version = line.split("#")[0].split(" ")[0].partition("==")
            if name.lower().replace("_", "-") == self.package.lower().replace("_", "-"):
                return f"{self.inside(version)} (PyPI)"
        raise AssertionError(f"{self.package} is not in {self.requirements()}")

    def inside(self, version):
        if not self.says:
            return version
        command = [self.folder() / "bin" / self.says[0], *self.says[1:]]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.split()[0]


def go_environment():
    folder = WORK / "go"
    return {"GOPATH": str(folder), "GOCACHE": str(folder / "cache"), "GOTOOLCHAIN": "local", "GOFLAGS": "-modcacherw", "GOBIN": str(folder / "bin")}


@dataclass(frozen=True)
class Go:
    """A program that `go install` builds: its package, and the module with the version that is pinned."""

    package: str
    pinned: str

    def install(self):
        program = WORK / "go" / "bin" / self.package.rpartition("/")[2]
        stamp = program.with_suffix(".version")
        if program.exists() and stamp.exists() and stamp.read_text() == self.pinned:
            return
        if not shutil.which("go"):
            raise Missing("go is not installed")
        quiet(["go", "install", f"{self.package}@{self.pinned}"], 30 * MINUTES, **go_environment())
        stamp.write_text(self.pinned)

    def paths(self):
        return [str(WORK / "go" / "bin")]

    def label(self):
        return self.package.rpartition("/")[2]

    def version(self):
        return f"{self.pinned} (Go)"


@dataclass(frozen=True)
class GoModule:
    """The modules that tests/requirements/go pins; scripts are run in their folder. `module` is the one that is tested."""

    module: str

    def folder(self):
        return WORK / "go-module"

    def install(self):
        if not shutil.which("go"):
            raise Missing("go is not installed")
        self.folder().mkdir(parents=True, exist_ok=True)
        for name in ("go.mod", "go.sum"):
            shutil.copyfile(REQUIREMENTS / "go" / name, self.folder() / name)
        quiet(["go", "-C", self.folder(), "mod", "download"], 15 * MINUTES, **go_environment())

    def variables(self):
        return go_environment()

    def paths(self):
        return []

    def label(self):
        return self.module.rpartition("/")[2]

    def version(self):
        for line in (REQUIREMENTS / "go" / "go.mod").read_text().splitlines():
            if line.strip().removeprefix("require ").startswith(self.module + " "):
                return f"{line.split()[-1] if '//' not in line else line.split('//')[0].split()[-1]} (Go)"
        raise AssertionError(f"{self.module} is not in go.mod")


@dataclass(frozen=True)
class Maven:
    """The artifacts that the pom.xml in tests/requirements/FOLDER pins, and what they need, as one folder of jars."""

    folder: str
    artifact: str

    def jars(self):
        return WORK / "jars" / self.folder

    def install(self):
        pom = REQUIREMENTS / self.folder / "pom.xml"
        if stamped(self.jars(), pom.read_text()):
            return
        if not shutil.which("mvn") or not shutil.which("java"):
            raise Missing("java or mvn is not installed")
        shutil.rmtree(self.jars(), ignore_errors=True)
        plugin = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
        repository, target = f"-Dmaven.repo.local={WORK / 'maven'}", f"-DoutputDirectory={self.jars()}"
        quiet(["mvn", "-q", "-B", "-f", pom, repository, plugin, target], 30 * MINUTES)
        (self.jars() / ".installed").write_text(pom.read_text())

    def variables(self):
        return {"CLASSPATH": f"{self.jars()}/*"}

    def paths(self):
        return []

    def label(self):
        return self.artifact

    def version(self):
        names = [path.stem for path in self.jars().glob(f"{self.artifact}-[0-9]*.jar")]
        return f"{names[0].removeprefix(self.artifact + '-')} (Maven)"


@dataclass(frozen=True)
class Npm:
    """The packages that tests/requirements/node locks, which scripts/test installs too."""

    package: str

    def install(self):
        folder, pins = ROOT / ".work" / "node", REQUIREMENTS / "node"
        if (folder / ".installed").exists():
            return
        if not shutil.which("npm"):
            raise Missing("node or npm is not installed")
        folder.mkdir(parents=True, exist_ok=True)
        for path in pins.glob("package*.json"):
            shutil.copyfile(path, folder / path.name)
        options = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error"]
        quiet(["npm", "ci", "--prefix", folder, "--cache", folder / ".npm", *options], 15 * MINUTES, HOME=str(folder))

    def variables(self):
        return {"NODE_PATH": str(ROOT / ".work" / "node" / "node_modules")}

    def paths(self):
        return []

    def label(self):
        return self.package

    def version(self):
        return f"{json.loads((REQUIREMENTS / 'node' / 'package.json').read_text())['dependencies'][self.package]} (npm)"


@dataclass(frozen=True)
class Cargo:
    """An example of this checkout, built with its lock file. `crate` is the dependency that is tested."""

    example: str
    crate: str

    def target(self):
        return Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug" / "examples"

    def install(self):
        if not shutil.which("cargo"):
            raise Missing("cargo is not installed")
        quiet(["cargo", "build", "--locked", "--example", self.example], 60 * MINUTES)

    def variables(self):
        return {}

    def paths(self):
        return [str(self.target())]

    def label(self):
        return self.crate

    def version(self):
        lines = (ROOT / "Cargo.lock").read_text().splitlines()
        version = lines[lines.index(f'name = "{self.crate}"') + 1].split('"')[1]
        return f"{version} (crates.io)"
