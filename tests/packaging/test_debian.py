"""The Debian package: its content, its scripts, the unit, and an installation."""

import json
import os
import re
from pathlib import Path

import pytest
from support import ROOT, Node, assert_loads, binary, only_in_full, program, requires, run, status_of, wait_for

pytestmark = requires("dpkg-deb", "dpkg-shlibdeps", package="dpkg-dev")

UNIT = ROOT / "deploy/debian/s3veil.service"


def has_command(name):
    return run(binary(), name, "--help", check=False).returncode == 0


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    directory = tmp_path_factory.mktemp("package")
    stripped = directory / "s3veil"
    run("strip", "-o", stripped, binary())
    # The default, xz, takes a minute and is no part of what is tested.
    quick = os.environ | {"DPKG_DEB_COMPRESSOR_TYPE": "gzip", "DPKG_DEB_COMPRESSOR_LEVEL": "1"}
    run(ROOT / "scripts/deb", "--binary", stripped, "--output", directory, env=quick)
    (made,) = directory.glob("*.deb")
    return made


@pytest.fixture(scope="module")
def unpacked(package, tmp_path_factory):
    directory = tmp_path_factory.mktemp("unpacked")
    run("dpkg-deb", "--raw-extract", package, directory)
    return directory


def test_control(package):
    fields = dict(line.split(": ", 1) for line in run("dpkg-deb", "--field", package).stdout.splitlines() if not line.startswith(" "))
    assert fields["Package"] == "s3veil" and fields["Architecture"] == run("dpkg", "--print-architecture").stdout.strip()
    assert "libc6 (>=" in fields["Depends"] and "libgcc-s1" in fields["Depends"]


def test_everything_is_root_s(package):
    lines = run("dpkg-deb", "--contents", package).stdout.splitlines()
    assert lines and all(line.split()[1] == "root/root" for line in lines)
    assert not [line for line in lines if line.split()[0][8] == "w"], "for everybody to write"


def test_the_configuration_is_kept_on_upgrades(unpacked):
    assert (unpacked / "DEBIAN/conffiles").read_text() == "/etc/s3veil/proxy.toml\n"
    assert (unpacked / "etc/s3veil/proxy.toml").exists()


def test_the_configuration_loads(unpacked, tmp_path):
    text = (unpacked / "etc/s3veil/proxy.toml").read_text()
    assert "./data" not in text
    (tmp_path / "proxy.toml").write_text(text.replace("/var/lib/s3veil", f"{tmp_path}/state"))
    (tmp_path / "proxy.toml").chmod(0o600)
    assert assert_loads(tmp_path / "proxy.toml", []) == []


def test_man_pages_and_completions(unpacked):
    """What the program writes about itself is packed, if it has the commands."""
    pages = list((unpacked / "usr/share").glob("man/man*/*.gz"))
    assert bool(pages) == has_command("man")
    completion = unpacked / "usr/share/bash-completion/completions/s3veil"
    assert completion.exists() == has_command("completions")


@only_in_full()
@requires("lintian")
def test_lintian(package):
    # Without the command there are no pages.
    missing = [] if has_command("man") else ["--suppress-tags", "no-manual-page"]
    run("lintian", "--allow-root", "--fail-on", "error,warning", *missing, package)


@requires("systemd-analyze", package="systemd")
def test_the_unit_is_closed(tmp_path):
    run(program("systemd-analyze"), "security", "--offline=true", "--threshold=15", UNIT)
    # The threshold does find an open one.
    (tmp_path / "open.service").write_text("[Service]\nExecStart=/bin/true\n")
    assert run("systemd-analyze", "security", "--offline=true", "--threshold=15", tmp_path / "open.service", check=False).returncode != 0


@requires("systemd-analyze", package="systemd")
def test_systemd_knows_every_line_of_the_units(unpacked):
    for unit in ("s3veil.service", "s3veil.socket"):
        done = run("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", f"--root={unpacked}", unit, check=False)
        # Before systemd 253, and since the package alone has no kill.
        known = ("Failed to parse service type, ignoring: notify-reload", "Command kill is not executable")
        complaints = [line for line in done.stderr.splitlines() if "s3veil" in line and not any(text in line for text in known)]
        assert complaints == []


def system_calls(group):
    """The system calls of a group of systemd, with those of the groups in it."""
    lines = [line.strip() for line in run("systemd-analyze", "syscall-filter", group).stdout.splitlines()]
    names = [line for line in lines if line and not line.startswith("#") and line != group]
    return set().union(*[system_calls(name) if name.startswith("@") else {name} for name in names])


@requires("systemd-analyze", "strace", package="systemd strace")
def test_the_unit_allows_the_system_calls_of_the_program(tmp_path):
    """A node that starts, serves an object, reloads and ends, calls nothing but what the filters of the unit allow."""
    filters = re.findall("^SystemCallFilter=(.*)$", UNIT.read_text(), re.M)
    allowed = set()
    for words in filters:
        groups = set().union(*map(system_calls, words.lstrip("~").split()))
        allowed = allowed - groups if words.startswith("~") else allowed | groups
    assert "read" in allowed and "mount" not in allowed

    (tmp_path / "shared").mkdir()
    node = Node(tmp_path / "node", tmp_path / "shared")
    trace = tmp_path / "trace"
    node.start(program("strace"), "-f", "-qq", "-o", trace)
    try:
        assert status_of(f"http://127.0.0.1:{node.port}/") == 403
        node.config.write_text(node.config.read_text() + "\n# changed\n")
        wait_for("the reload", lambda: "the configuration was loaded again" in node.log.read_text())
    finally:
        node.end_traced()
    assert not re.search(r"PROT_WRITE\|PROT_EXEC", trace.read_text()), "MemoryDenyWriteExecute"
    called = set(re.findall(r"^\d+ +(\w+)\(", trace.read_text(), re.M)) - {"execve"}
    assert len(called) > 20
    # Refused with EPERM, after which the limits stay as the unit sets them.
    assert called - allowed <= {"prlimit64", "setrlimit"}, called - allowed


def test_scripts_are_valid(unpacked):
    for name in ("postinst", "prerm", "postrm"):
        script = unpacked / "DEBIAN" / name
        assert script.stat().st_mode & 0o777 == 0o755
        run("sh", "-n", script)


@only_in_full()
@requires("mmdebstrap", "chroot", package="mmdebstrap coreutils")
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.timeout(900)
def test_installation_upgrade_and_removal(package, tmp_path):
    root = tmp_path / "root"
    # The package fits the distribution that it was built on.
    system = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    if system.get("ID") != "debian":
        pytest.skip("this is no Debian")
    suite = system["VERSION_CODENAME"]
    try:
        run("mmdebstrap", "--variant=minbase", "--include=ca-certificates,systemd-standalone-sysusers", suite, root, timeout=850)
    except AssertionError as error:
        if "404" in str(error) or "resolve" in str(error) or "Could not connect" in str(error):
            pytest.skip("Debian's packages can not be reached")
        raise
    (root / "package.deb").write_bytes(package.read_bytes())

    def inside(*command, check=True):
        return run("chroot", root, *command, check=check, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive"})

    inside("dpkg", "--install", "/package.deb")
    assert inside("s3veil", "version").stdout.startswith("s3veil ")
    shown = inside("stat", "--format=%U:%G %a", "/etc/s3veil", "/etc/s3veil/proxy.toml").stdout.splitlines()
    assert shown == ["root:s3veil 750", "root:s3veil 640"]
    # As the service runs it: its own user, its own directory.
    state = root / "var/lib/s3veil"
    state.mkdir()
    uid, gid = map(int, inside("sh", "-c", "id -u s3veil; id -g s3veil").stdout.split())
    os.chown(state, uid, gid)
    done = inside("chroot", f"--userspec={uid}:{gid}", "/", "s3veil", "check", "--config", "/etc/s3veil/proxy.toml", "--format", "json", check=False)
    assert json.loads(done.stdout)["ok"] is True, done.stdout + done.stderr
    # An administrator's changes outlive an upgrade.
    config = root / "etc/s3veil/proxy.toml"
    config.write_text(config.read_text() + "# changed\n")
    config.chmod(0o600)
    inside("dpkg", "--force-confold", "--install", "/package.deb")
    assert config.read_text().endswith("# changed\n") and config.stat().st_mode & 0o777 == 0o600
    inside("dpkg", "--remove", "s3veil")
    assert config.exists() and state.exists() and not (root / "usr/bin/s3veil").exists()
    purged = inside("dpkg", "--purge", "s3veil")
    assert state.exists() and not config.exists()
    assert "/var/lib/s3veil is left in place" in purged.stderr
