"""`health`, for probes of containers; and what the binary writes about itself: completions and manual pages."""

import shutil
import subprocess

from proxy import Certificate, binary
from test_operator_mistakes import admin


def health(running, tmp_path, *arguments):
    return running.command("health", *arguments, cwd=tmp_path)


def test_a_ready_process(proxy, tmp_path):
    # The first assessment may still be running.
    for _ in range(100):
        if admin(proxy, "/readyz")[0] == 200:
            break
    done = health(proxy, tmp_path)
    assert done.returncode == 0, done.stderr
    assert b'{"ready":true' in done.stdout
    assert health(proxy, tmp_path, "--live").stdout == b"ok\n"


def test_a_process_whose_keys_never_worked_is_live_but_not_ready(start, real, tmp_path):
    running = start(real, keyring={"key_id": "alias/no-such-key"})
    done = health(running, tmp_path)
    assert done.returncode == 69
    assert b"/readyz: 503" in done.stderr and b'"ready":false' in done.stderr
    assert health(running, tmp_path, "--live").returncode == 0


def test_no_process(start, real, tmp_path):
    running = start(real)
    running.stop()
    done = health(running, tmp_path)
    assert done.returncode == 69
    assert b"Connection refused" in done.stderr


def test_an_admin_listener_with_tls(start, real, tmp_path):
    certificate = Certificate.make(tmp_path / "certificate")
    tls = {"certificate": certificate.chain, "private_key": certificate.private_key}
    running = start(real, admin={"tls": tls, "bearer_token": "0123456789abcdef0123"})
    assert health(running, tmp_path, "--live").stdout == b"ok\n"


def test_a_configuration_without_an_admin_listener(tmp_path):
    (tmp_path / "proxy.toml").write_text(
        '[listen]\naddress = "127.0.0.1:0"\n[upstream]\nendpoint = "embedded:./data"\nregion = "us-east-1"\n'
        '[keyring]\nprovider = "local"\nfile = "./data/keyring"\n'
        '[[client]]\naccess_key_id = "a"\nsecret_access_key = "0123456789abcdef0123"\n[[bucket]]\nname = "*"\n'
    )
    done = subprocess.run([binary(), "health"], cwd=tmp_path, capture_output=True, timeout=60)
    assert done.returncode == 64
    assert b"write [admin]" in done.stderr


def test_completions_are_valid_shell(tmp_path):
    for shell in ("bash", "zsh", "fish"):
        done = subprocess.run([binary(), "completions", shell], capture_output=True, timeout=60)
        assert done.returncode == 0 and b"keygen" in done.stdout
        if shutil.which(shell):
            script = tmp_path / shell
            script.write_bytes(done.stdout)
            assert subprocess.run([shell, "-n", script], capture_output=True, timeout=60).returncode == 0


def test_manual_pages_name_every_command_and_every_key(tmp_path):
    done = subprocess.run([binary(), "man", "pages"], cwd=tmp_path, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    names = done.stdout.decode().split()
    assert {"s3veil.1", "s3veil-check.1", "proxy.toml.5"} <= set(names)
    pages = {name: (tmp_path / "pages" / name).read_text() for name in names}
    assert "drain_delay" in pages["proxy.toml.5"] and "holders_required" in pages["proxy.toml.5"]
    if shutil.which("man"):
        shown = subprocess.run(["man", "-l", tmp_path / "pages" / "proxy.toml.5"], capture_output=True, timeout=60)
        assert shown.returncode == 0 and not shown.stderr, shown.stderr
