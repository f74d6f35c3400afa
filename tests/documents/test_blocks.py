"""Every block of shell in README.md, docs/ and examples/ is run as it stands there, or says in a comment above it why not.

The comments, each right above the block of shell or Python that it is about:

    <!-- run: trial -->             with the trial of README running, in its directory, with its credentials in the environment
    <!-- run: copy -->              in a copy of the document's directory
    <!-- needs: restic -->          with one of these, where these programs are installed
    <!-- prints: attack at dawn --> with one of these: the output contains this text
    <!-- run by: tests/... -->      another test reads the block out of the document and runs it
    <!-- not run: REASON -->        it can't be run here

Blocks of a document that a program wrote were run by that program. A block of shell without `run by` or `not run` is run, in an empty directory unless `run` says otherwise. Blocks of Python are run
where `run` says so. The blocks of one document run in their order, with one trial and one copy."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from ports import free_port

ROOT = Path(__file__).parents[2]
# What a program wrote after it had run the blocks.
WRITTEN = {ROOT / "docs/WORKS_WITH.md": "scripts/matrix"}
DOCUMENTS = [ROOT / "README.md", *sorted(set((ROOT / "docs").glob("*.md")) - set(WRITTEN)), *sorted((ROOT / "examples").glob("*/README.md"))]
LANGUAGES = {"sh": ["bash", "-euo", "pipefail", "-O", "expand_aliases", "-c"], "python": [sys.executable, "-c"]}
KNOWN = {"run", "needs", "prints", "run by", "not run"}
START_SECONDS = 30


@dataclass(frozen=True)
class Block:
    document: Path
    line: int
    language: str
    text: str
    rules: tuple

    @property
    def name(self):
        return f"{self.document.relative_to(ROOT)}:{self.line}"

    def rule(self, name):
        return dict(self.rules).get(name)


def blocks_of(document):
    text = document.read_text()
    for found in re.finditer(r"((?:^ *<!--.*?-->\n+)*)^ *```(sh|bash|shell|console|python)\n(.*?)^ *```$", text, re.M | re.S):
        comments = [comment.partition(":") for comment in re.findall(r"<!--\s*(.*?)\s*-->", found[1], re.S)]
        rules = tuple((name, rest.strip()) for name, colon, rest in comments if colon)
        line = 1 + text[: found.start(2)].count("\n")
        block = Block(document, line, found[2], textwrap.dedent(found[3]), rules)
        if block.language != "python" or block.rule("run"):
            yield block


BLOCKS = [block for document in DOCUMENTS for block in blocks_of(document)]


class Place:
    """The directory of a document's blocks, and the trial that runs in it."""

    def __init__(self, directory, document):
        self.directory = directory
        self.port, self.admin = free_port(), free_port()
        self.trial = self.copy = self.process = None
        self.document = document

    def adapted(self, text):
        """Other programs of this machine may listen at the ports of the documents, and s3veil may be installed on it."""
        text = text.replace("/etc/s3veil/proxy.toml", "proxy.toml")
        return text.replace("127.0.0.1:8333", f"127.0.0.1:{self.port}").replace("127.0.0.1:9333", f"127.0.0.1:{self.admin}")

    def working_directory(self, kind):
        match kind:
            case "trial":
                return self.started()
            case "copy":
                if not self.copy:
                    self.copy = self.directory / "copy"
                    shutil.copytree(self.document.parent, self.copy)
                return self.copy
            case None:
                empty = self.directory / "empty"
                empty.mkdir(exist_ok=True)
                return empty
        raise AssertionError(f"an unknown place: {kind}")

    def started(self):
        if self.trial:
            return self.trial
        self.trial = self.directory / "trial"
        self.trial.mkdir()
        (self.trial / "proxy.toml").write_text(self.adapted((ROOT / "proxy.toml").read_text()))
        with (self.directory / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [os.environ["S3VEIL_BINARY"]], cwd=self.trial, env=environment(self), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return self.trial
            except OSError:
                assert self.process.poll() is None and time.monotonic() < deadline, (self.directory / "log").read_text()
                time.sleep(0.02)

    def stop(self):
        if self.process:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)


def environment(place):
    commands = place.directory / "commands"
    if not commands.exists():
        commands.mkdir()
        (commands / "s3veil").symlink_to(Path(os.environ["S3VEIL_BINARY"]).resolve())
    path = [commands, Path(sys.executable).parent, os.environ["PATH"]]
    return {
        "PATH": ":".join(map(str, path)),
        "HOME": str(place.directory),
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{place.port}",
        "AWS_ACCESS_KEY_ID": "s3veil",
        "AWS_SECRET_ACCESS_KEY": "s3veil-secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_PAGER": "",
        "NO_PROXY": "127.0.0.1",
    }


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    places = {}

    def place_of(document):
        if document not in places:
            places[document] = Place(tmp_path_factory.mktemp("document"), document)
        return places[document]

    yield place_of
    for place in places.values():
        place.stop()


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.name)
@pytest.mark.timeout(120)
def test_it_works(places, block):
    if reason := block.rule("not run"):
        pytest.skip(f"not run: {reason}")
    if test := block.rule("run by"):
        pytest.skip(f"run by {test}")
    for program in (block.rule("needs") or "").split():
        if not shutil.which(program, path=environment(places(block.document))["PATH"]):
            pytest.skip(f"{program} is missing")
    place = places(block.document)
    command = [*LANGUAGES.get(block.language, LANGUAGES["sh"]), place.adapted(block.text)]
    directory = place.working_directory(block.rule("run"))
    done = subprocess.run(command, cwd=directory, env=environment(place), capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=100)
    log = place.directory / "log"
    assert done.returncode == 0, f"{block.name}\n{done.stdout}{done.stderr}{log.read_text()[-3000:] if log.exists() else ''}"
    for name, expected in block.rules:
        assert name != "prints" or expected in done.stdout, f"{block.name}\n{done.stdout}"


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.name)
def test_its_comments_are_right(block):
    assert {name for name, _ in block.rules} <= KNOWN, block.rules
    reason = block.rule("not run")
    assert reason is None or len(reason.split()) >= 3, "a reason is a sentence"
    assert reason is None or "prints" not in dict(block.rules)
    for path in re.findall(r"(?:tests|scripts)/[\w./-]+\w", f"{block.rule('run by') or ''} {reason or ''}"):
        assert (ROOT / path).exists(), path
    if test := block.rule("run by"):
        before = block.document.read_text().splitlines()[: block.line]
        heading = [line.lstrip("# ") for line in before if line.startswith("## ")][-1]
        assert f'block("{heading}"' in (ROOT / test).read_text(), f"{test} does not run what is below {heading!r}"


@pytest.mark.parametrize("document", WRITTEN, ids=lambda document: document.name)
def test_what_is_written_by_a_program_says_so(document):
    assert f"Made by `{WRITTEN[document]}" in document.read_text()[:500] and (ROOT / WRITTEN[document]).exists()


def test_what_is_not_run_does_not_grow_unnoticed():
    not_run = [block.name for block in BLOCKS if block.rule("not run")]
    assert len(BLOCKS) >= 30 and len(not_run) <= 17, f"{len(not_run)} of {len(BLOCKS)} are not run: {not_run}"
