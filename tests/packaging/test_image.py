"""The container image: built by buildah, started by podman."""

import json
import os
import re
import shutil
import subprocess
import tempfile
import tomllib

import pytest
from ports import free_port
from support import ROOT, binary, program, requires, run, status_of, wait_for

pytestmark = [requires("buildah"), pytest.mark.skipif(os.geteuid() != 0, reason="buildah is tried as root alone")]

MIB = 1 << 20
# Beside the program: libraries, certificates, and what describes the image.
MOST_BESIDE = 8 * MIB


@pytest.fixture(scope="module")
def storage(tmp_path_factory):
    """A directory of images, with the proxy's in it."""
    directory = tmp_path_factory.mktemp("images")
    # A debug build would be most of a test's time.
    stripped = directory / "s3veil"
    run("strip", "-o", stripped, binary())
    run(ROOT / "scripts/image", "--binary", stripped, "--storage", directory, "--tag", "s3veil:test")
    return directory


def buildah(storage, *arguments):
    return run("buildah", "--root", storage / "images", "--runroot", storage / "run", "--storage-driver", "vfs", *arguments)


@pytest.fixture(scope="module")
def described(storage):
    return json.loads(buildah(storage, "inspect", "--type", "image", "s3veil:test").stdout)


@pytest.fixture(scope="module")
def root(storage):
    container = buildah(storage, "from", "s3veil:test").stdout.strip()
    yield buildah(storage, "mount", container).stdout.strip()
    buildah(storage, "umount", container)
    buildah(storage, "rm", container)


def test_what_it_runs_and_as_whom(described):
    config = described["Docker"]["config"]
    assert config["User"] == "65532:65532"
    assert (config["Entrypoint"], config["Cmd"]) == (["s3veil"], ["serve", "--config", "/etc/s3veil/proxy.toml"])
    assert config["Healthcheck"]["Test"][:3] == ["CMD", "s3veil", "health"]
    assert config["StopSignal"] in ("SIGTERM", "15")
    assert set(config["ExposedPorts"]) == {"8333/tcp", "9333/tcp"}


def test_labels(described):
    labels = described["Docker"]["config"]["Labels"]
    version = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]["version"]
    assert labels["org.opencontainers.image.version"] == version
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert re.fullmatch("[0-9a-f]{40}|unknown", labels["org.opencontainers.image.revision"])


def test_nothing_but_the_program_and_its_libraries(root):
    found = {}
    for directory, _, files in os.walk(root):
        found |= {os.path.join(directory, name)[len(root) :]: os.lstat(os.path.join(directory, name)).st_size for name in files}
    assert not [name for name in found if re.search(r"/(sh|bash|dash|busybox|apt|dpkg)$", name)]
    libraries = [name for name in found if ".so" in name]
    assert any("/libc.so" in name for name in libraries) and any("/ld-" in name for name in libraries)
    size, of_program = sum(found.values()), found["/usr/bin/s3veil"]
    assert size - of_program < MOST_BESIDE, found
    if "/dist" in binary() or binary().endswith("s3veil-dist"):
        assert size <= 35 * MIB


def test_the_program_finds_all_that_it_needs_in_it(root):
    done = run("chroot", root, "/usr/bin/s3veil", "version")
    assert done.stdout.startswith("s3veil ")
    owner = os.stat(os.path.join(root, "var/lib/s3veil"))
    assert (owner.st_uid, owner.st_mode & 0o777) == (65532, 0o700)


def test_the_same_input_gives_the_same_content(storage, described, tmp_path):
    run(ROOT / "scripts/image", "--binary", storage / "s3veil", "--storage", tmp_path, "--tag", "s3veil:test")
    again = json.loads(buildah(tmp_path, "inspect", "--type", "image", "s3veil:test").stdout)
    assert again["Docker"]["rootfs"]["diff_ids"] == described["Docker"]["rootfs"]["diff_ids"]


@requires("podman", "runc")
def test_it_serves_from_a_read_only_root_and_stops(storage, tmp_path):
    port, admin = free_port(), free_port()
    config = tmp_path / "config"
    config.mkdir()
    (config / "proxy.toml").write_text(f"""
[listen]
address = "127.0.0.1:{port}"
[admin]
address = "127.0.0.1:{admin}"
[upstream]
endpoint = "embedded:/var/lib/s3veil/data"
region = "us-east-1"
[keyring]
provider = "local"
file = "/var/lib/s3veil/keyring"
[[client]]
access_key_id = "app"
secret_access_key = "a-secret-of-twenty-bytes"
[[bucket]]
name = "*"
""")
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    for path in (config, config / "proxy.toml", state):
        os.chown(path, 65532, 65532)
    (config / "proxy.toml").chmod(0o600)
    # Podman keeps sockets there, whose paths are short.
    run_root = tempfile.mkdtemp(prefix="s3veil-", dir="/tmp")
    podman = [
        program("podman"), "--root", storage / "images", "--runroot", run_root, "--storage-driver", "vfs",
        "--runtime", program("runc"), "--cgroup-manager", "cgroupfs",
    ]  # fmt: skip
    limits = ["--security-opt", "seccomp=unconfined", "--ulimit", "nofile=10000:10000", "--ulimit", "nproc=4096:4096"]
    process = subprocess.Popen(
        [*map(str, podman), "run", "--name", "s3veil-test", "--network", "host", "--read-only", "--read-only-tmpfs=false", "--cap-drop", "all",
         "--security-opt", "no-new-privileges", *limits, "--volume", f"{config}:/etc/s3veil:ro", "--volume", f"{state}:/var/lib/s3veil",
         "s3veil:test"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        wait_for("the container is ready", lambda: process.poll() is not None or status_of(f"http://127.0.0.1:{admin}/readyz") == 200)
        assert process.poll() is None, process.stdout.read()
        status = dict(line.split(":\t", 1) for line in open(f"/proc/{serving(port)}/status", encoding="ascii") if ":\t" in line)
        assert status["Uid"].split()[0] == "65532" and int(status["CapEff"], 16) == 0 and status["NoNewPrivs"].strip() == "1"
        if run(binary(), "health", "--help", check=False).returncode == 0:
            assert "true" in run(*podman, "exec", "s3veil-test", "s3veil", "health", "--config", "/etc/s3veil/proxy.toml").stdout
            run(*podman, "healthcheck", "run", "s3veil-test")
        run(*podman, "stop", "--time", "40", "s3veil-test")
        output, _ = process.communicate(timeout=60)
    finally:
        run(*podman, "rm", "--force", "--time", "1", "s3veil-test", check=False)
        process.wait(30)
        shutil.rmtree(run_root, ignore_errors=True)
    assert process.returncode == 0, output
    assert (state / "keyring").exists()


def serving(port):
    """The process that listens at a port, by the socket's inode."""
    lines = open("/proc/net/tcp", encoding="ascii").read().splitlines()[1:]
    (inode,) = [line.split()[9] for line in lines if line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A"]
    for process in filter(str.isdigit, os.listdir("/proc")):
        try:
            links = [os.readlink(f"/proc/{process}/fd/{name}") for name in os.listdir(f"/proc/{process}/fd")]
        except OSError:
            continue
        if f"socket:[{inode}]" in links:
            return int(process)
    raise AssertionError(f"no process listens at {port}")
