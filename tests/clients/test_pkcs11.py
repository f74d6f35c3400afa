"""Keys in a PKCS#11 token: SoftHSM2, with tokens made and changed by its own tools while proxies run."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from conftest import embedded_backend, new_bucket
from proxy import Proxy

CONTENT = os.urandom(100_000)
LABEL, PIN = "s3veil", "1234"
MODULES = [os.environ.get("S3VEIL_TEST_PKCS11_LIBRARY", ""), "/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so"]
MODULE = next((module for module in MODULES if module and Path(module).exists()), None)
SPY = next(iter(Path("/usr/lib").glob("*/pkcs11-spy.so")), None)

pytestmark = pytest.mark.skipif(
    not (MODULE and shutil.which("softhsm2-util") and shutil.which("pkcs11-tool")),
    reason="SoftHSM2 or pkcs11-tool is not installed (Debian: softhsm2, opensc)",
)


def run(*command):
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout + done.stderr


class Token:
    """A token in a directory of its own, to which SOFTHSM2_CONF leads the proxies and tools of this test."""

    def __init__(self, directory, monkeypatch):
        self.pin_file = directory / "pin"
        self.pin_file.write_text(PIN + "\n")
        (directory / "tokens").mkdir()
        configuration = directory / "softhsm2.conf"
        configuration.write_text(f"directories.tokendir = {directory / 'tokens'}\nobjectstore.backend = file\n")
        monkeypatch.setenv("SOFTHSM2_CONF", str(configuration))
        run("softhsm2-util", "--init-token", "--free", "--label", LABEL, "--pin", PIN, "--so-pin", "4321")

    def tool(self, *arguments):
        run("pkcs11-tool", "--module", MODULE, "--token-label", LABEL, "--login", "--pin", PIN, *arguments)

    def make_key(self, key_id, *flags, label="wrap"):
        self.tool("--keygen", "--key-type", "AES:32", "--label", label, "--id", key_id, *(flags or ("--sensitive",)))

    def remove_key(self, key_id, label="wrap"):
        self.tool("--delete-object", "--type", "secrkey", "--label", label, "--id", key_id)

    def settings(self, **changes):
        settings = {
            "provider": "pkcs11", "library": MODULE, "token_label": LABEL, "pin_file": self.pin_file,
            "key_label": "wrap", "key_id": "01",
        }  # fmt: skip
        return {name: value for name, value in (settings | changes).items() if value is not None}


@pytest.fixture
def token(tmp_path, monkeypatch):
    directory = tmp_path / "token"
    directory.mkdir()
    return Token(directory, monkeypatch)


@pytest.fixture
def proxies(tmp_path):
    """proxies(keyring, backend=...): a proxy that is not started yet; stopped when the test ends."""
    backend, made = embedded_backend(tmp_path), []

    def make(keyring, **sections):
        made.append(Proxy(tmp_path / f"proxy-{len(made)}", backend.upstream, keyring, sections))
        return made[-1]

    make.backend = backend
    yield make
    for one in made:
        one.stop()


def put(running, bucket, key="object"):
    return running.raw().request("PUT", f"/{bucket}/{key}", body=CONTENT).status


def get(running, bucket, key="object"):
    return running.raw().request("GET", f"/{bucket}/{key}")


def assert_reads(running, bucket, key="object"):
    answer = get(running, bucket, key)
    assert (answer.status, answer.body) == (200, CONTENT), answer.body[:300]


def assert_refused(proxy, *words):
    """The process ends, for a reason with these words. Its port may have been open before."""
    try:
        proxy.start()
    except AssertionError:
        pass
    assert proxy.process.wait(30) != 0
    for word in words:
        assert word in proxy.log_text()


def test_objects_open_by_the_token_alone(token, proxies):
    token.make_key("01")
    first = proxies(token.settings()).start()
    client = first.boto()
    bucket = new_bucket(client)
    assert put(first, bucket) == 200
    client.upload_file(str(token.pin_file), bucket, "file")
    assert client.get_object(Bucket=bucket, Key="file")["Body"].read() == b"1234\n"
    head = client.head_object(Bucket=bucket, Key="object")
    assert head["SSEKMSKeyId"] == f"{LABEL}/wrap/01"
    second = proxies(token.settings(key_id=None)).start()
    assert_reads(second, bucket)
    token.remove_key("01")
    token.make_key("01")
    stranger = proxies(token.settings()).start()
    answer = get(stranger, bucket)
    assert answer.status >= 400 and CONTENT[:64] not in answer.body, "another key of the same name opens nothing"


def test_check_names_token_and_key(token, proxies, tmp_path):
    token.make_key("01")
    done = proxies(token.settings()).start().command("check", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{LABEL}/wrap/01" in done.stdout.decode()


def test_rotation_by_a_second_key_of_the_label(token, proxies):
    token.make_key("01")
    old = proxies(token.settings()).start()
    bucket = new_bucket(old.boto())
    assert put(old, bucket, "old") == 200
    token.make_key("02")
    assert_refused(proxies(token.settings(key_id=None)), 'labelled "wrap"', "01, 02", "key_id")
    rotated = proxies(token.settings(key_id="02")).start()
    assert put(rotated, bucket, "new") == 200
    assert_reads(rotated, bucket, "old")
    assert_reads(rotated, bucket, "new")
    head = rotated.boto().head_object(Bucket=bucket, Key="new")
    assert head["SSEKMSKeyId"] == f"{LABEL}/wrap/02"
    token.remove_key("01")
    later = proxies(token.settings(key_id="02")).start()
    assert_reads(later, bucket, "new")
    assert get(later, bucket, "old").status >= 400


def test_a_reload_changes_the_key_within_the_process(token, proxies):
    token.make_key("01")
    token.make_key("02")
    running = proxies(token.settings()).start()
    bucket = new_bucket(running.boto())
    assert put(running, bucket, "old") == 200
    running.config.write_text(running.config.read_text().replace('key_id = "01"', 'key_id = "02"'))
    running.process.send_signal(signal.SIGHUP)
    for attempt in range(100):
        assert put(running, bucket, f"new-{attempt}") == 200
        if running.boto().head_object(Bucket=bucket, Key=f"new-{attempt}")["SSEKMSKeyId"].endswith("/02"):
            break
        time.sleep(0.1)
    else:
        raise AssertionError(running.log_text())
    assert_reads(running, bucket, "old")
    assert_reads(running, bucket, f"new-{attempt}")


@pytest.mark.skipif(SPY is None, reason="pkcs11-spy is not installed (Debian: opensc-pkcs11)")
def test_a_wrong_pin_is_tried_once_whatever_the_number_of_requests(token, proxies, tmp_path, monkeypatch):
    token.make_key("01")
    calls = tmp_path / "calls"
    monkeypatch.setenv("PKCS11SPY", MODULE)
    monkeypatch.setenv("PKCS11SPY_OUTPUT", str(calls))
    token.pin_file.write_text("9999\n")
    running = proxies(token.settings(library=SPY)).start()
    bucket = new_bucket(running.boto())
    assert all(put(running, bucket, f"object-{number}") >= 400 for number in range(100))
    assert calls.read_text(errors="replace").count(": C_Login\n") == 1
    assert "CKR_PIN_INCORRECT" in calls.read_text(errors="replace")
    token.pin_file.write_text(PIN + "\n")
    deadline = time.monotonic() + 30
    # A failure is remembered for a moment.
    while put(running, bucket) != 200:
        assert time.monotonic() < deadline, "another PIN in the file was not tried"
        time.sleep(0.1)
    assert_reads(running, bucket)
    assert calls.read_text(errors="replace").count(": C_Login\n") == 2


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (("--extractable", "--sensitive"), "CKA_EXTRACTABLE is true"),
        (("--private",), "CKA_SENSITIVE is false"),
    ],
)
def test_a_key_that_can_be_read_or_leave_the_token_is_refused(token, proxies, flags, problem):
    token.make_key("01", *flags)
    assert_refused(proxies(token.settings()), problem, "CKA_EXTRACTABLE false")


def test_a_removed_key_fails_closed_and_other_requests_go_on(token, proxies):
    token.make_key("01")
    writer = proxies(token.settings()).start()
    bucket = new_bucket(writer.boto())
    assert put(writer, bucket) == 200
    token.remove_key("01")
    cold = proxies(token.settings()).start()
    answer = get(cold, bucket)
    assert 400 <= answer.status < 600 and CONTENT[:64] not in answer.body
    assert put(cold, bucket, "other") >= 400
    assert proxies.backend.store.keys(bucket) == ["object"]
    assert cold.boto().list_objects_v2(Bucket=bucket)["KeyCount"] == 1


def test_mistakes_in_the_configuration_name_their_remedy(token, proxies):
    for changes, words in [
        ({"library": None}, ["keyring.library", "is missing"]),
        ({"slot": 7}, ["keyring.slot", "has no effect beside `token_label`"]),
        ({"token_label": None}, ["keyring.token_label", "is missing"]),
        ({"key_id": "xyz"}, ["keyring.key_id", "is an invalid CKA_ID"]),
        ({"file": "keyring"}, ["keyring.file", "has no effect with provider"]),
        ({"library": "/nowhere/hsm.so", "key_id": None}, ["/nowhere/hsm.so", "correct `library`"]),
        ({"token_label": "other", "key_id": None}, ['the PKCS#11 token "other" is not there']),
    ]:
        assert_refused(proxies(token.settings(**changes)), *words)
