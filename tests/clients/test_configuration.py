"""A wrong configuration ends at once, with exit code 64 and one message that says where and what to do."""

import subprocess
import urllib.error
import urllib.request

import pytest

from conftest import embedded_backend, new_bucket
from judge import assert_refused
from proxy import Proxy, binary, toml_text, write_keyring
from test_presigned import fetch, presigned

WRONG = 64


@pytest.fixture
def sections(tmp_path):
    """A right configuration, as tables to spoil."""
    backend = embedded_backend(tmp_path)
    sections = Proxy(tmp_path / "unused", backend.upstream, backend.keyring).configuration()
    # A test that fails to fail must not leave a server behind: nothing listens for long, see `refusal`.
    return sections


def refusal(tmp_path, content, arguments=None):
    """The message of a start that must fail."""
    config = tmp_path / "proxy.toml"
    if content is not None:
        config.write_text(content if isinstance(content, str) else toml_text(content))
    done = subprocess.run(
        [binary(), *(arguments or ["serve", "--config", config])],
        capture_output=True, text=True, timeout=20, cwd=tmp_path, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == WRONG, (done.returncode, done.stdout, done.stderr)
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert 1 <= len(lines) <= 6, done.stderr
    assert "panicked" not in done.stderr
    return done.stderr


def test_a_right_one_starts(sections, tmp_path):
    """Otherwise the tests below would prove nothing."""
    running = Proxy(tmp_path / "right", sections["upstream"], sections["keyring"])
    with running:
        assert running.raw().request("GET", "/").status == 200
    assert running.process.returncode == 0
    assert str(running.port) in running.log_text()


def test_an_unknown_key(sections, tmp_path):
    sections["listen"]["adress"] = sections["listen"].pop("address")
    message = refusal(tmp_path, sections)
    line = [number for number, text in enumerate(toml_text(sections).splitlines(), 1) if text.startswith("adress")][0]
    assert "adress" in message and "`listen.address`" in message and f"proxy.toml:{line}" in message


def test_an_unknown_table(sections, tmp_path):
    sections["buckets"] = sections.pop("bucket")
    message = refusal(tmp_path, sections)
    assert "buckets" in message and "bucket" in message.replace("buckets", "")


def test_no_toml(tmp_path):
    assert "proxy.toml" in refusal(tmp_path, "[listen\naddress = ")


def test_no_file(tmp_path):
    assert "absent.toml" in refusal(tmp_path, None, ["serve", "--config", tmp_path / "absent.toml"])


def test_a_directory_as_file(tmp_path):
    assert str(tmp_path) in refusal(tmp_path, None, ["serve", "--config", tmp_path])


def test_a_file_that_is_no_text(tmp_path):
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\0\0")
    assert "binary.toml" in refusal(tmp_path, None, ["serve", "--config", tmp_path / "binary.toml"])


@pytest.mark.parametrize("address", ["nonsense", "127.0.0.1", "127.0.0.1:99999", "127.0.0.1:", ":", "localhost:http", ""])
def test_a_bad_address(sections, tmp_path, address):
    sections["listen"]["address"] = address
    assert "listen.address" in refusal(tmp_path, sections)


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0"])
def test_the_demo_secret_on_an_open_address(sections, tmp_path, address):
    sections["listen"]["address"] = address
    sections["client"] = [{"access_key_id": "s3veil", "secret_access_key": "s3veil-secret"}]
    message = refusal(tmp_path, sections)
    assert "demo" in message and "secret_access_key" in message


def test_a_missing_keyring(sections, tmp_path):
    """A keyring is made for the embedded store only: with a real store, a wrong path must not start a new key."""
    sections["upstream"] = {"endpoint": "http://127.0.0.1:9", "region": "us-east-1", "access_key_id": "a", "secret_access_key": "b"}
    sections["keyring"]["file"] = tmp_path / "absent-keyring"
    assert "absent-keyring" in refusal(tmp_path, sections)
    assert not (tmp_path / "absent-keyring").exists()


@pytest.mark.parametrize("content", ["", "not a keyring", "version = 2\ncurrent = 'x'\nkey = []", b"\xff\xfe\0"])
def test_a_file_that_is_no_keyring(sections, tmp_path, content):
    path = tmp_path / "broken-keyring"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    path.chmod(0o600)
    sections["keyring"]["file"] = path
    assert "broken-keyring" in refusal(tmp_path, sections)


def test_a_keyring_that_others_may_read(sections, tmp_path):
    write_keyring(tmp_path / "open-keyring", "key").chmod(0o644)
    sections["keyring"]["file"] = tmp_path / "open-keyring"
    message = refusal(tmp_path, sections)
    assert "open-keyring" in message and "600" in message


@pytest.mark.parametrize("spoil, named", [
    (lambda s: s["keyring"].update(provider="keepass"), "keyring.provider"),
    (lambda s: s["keyring"].pop("file"), "keyring.file"),
    (lambda s: s.pop("keyring"), "keyring"),
    (lambda s: s.update(client=[]), "client"),
    (lambda s: s["client"][0].pop("secret_access_key"), "secret_access_key"),
    (lambda s: s["client"][0].update(secret_access_key="env:S3VEIL_NO_SUCH_VARIABLE"), "S3VEIL_NO_SUCH_VARIABLE"),
    (lambda s: s["client"][0].update(access="everything"), "access"),
    (lambda s: s["client"].append(dict(s["client"][0])), "access_key_id"),
    (lambda s: s["upstream"].update(endpoint="ftp://127.0.0.1"), "upstream.endpoint"),
    (lambda s: s["listen"].update(tls={"certificate": "absent.pem", "private_key": "absent.pem"}), "absent.pem"),
    (lambda s: s["bucket"][0].update(formats={"write": "rot13"}), "formats.write"),
    (lambda s: s["bucket"][0].update(binding="none at all"), "binding"),
    (lambda s: s["admin"].update(address=s["listen"]["address"]), "admin.address"),
])  # fmt: skip
def test_other_mistakes(sections, tmp_path, spoil, named):
    spoil(sections)
    assert named in refusal(tmp_path, sections)


@pytest.mark.parametrize("arguments", [["serve", "--confg", "x"], ["sevre"], ["serve", "extra"]])
def test_wrong_arguments(tmp_path, arguments):
    refusal(tmp_path, None, arguments)


def test_no_secret_in_a_message(sections, tmp_path):
    sections["client"] = [{"access_key_id": "one", "secret_access_key": "hush-hush-hush", "buckets": "oops"}]
    assert "hush-hush-hush" not in refusal(tmp_path, sections)


def test_signature_version_2_can_be_switched_off(start, real, real_bucket):
    running = start(real, listen={"sigv2": False})
    running.boto().put_object(Bucket=real_bucket, Key="object", Body=b"x")
    assert fetch(running, presigned(running, "s3v4", "get_object", real_bucket)).status == 200
    assert_refused(fetch(running, presigned(running, None, "get_object", real_bucket)), (400, 403), ("AccessDenied", "InvalidRequest"))


def test_a_keyring_is_made_for_the_embedded_store(start, tmp_path):
    """The first start of the repository's own configuration has none."""
    backend = embedded_backend(tmp_path)
    keyring = tmp_path / "made" / "keyring"
    running = start(backend, keyring={"file": keyring})
    running.boto().put_object(Bucket=new_bucket(running.boto()), Key="object", Body=b"x")
    assert keyring.stat().st_mode & 0o777 == 0o600


def test_health(proxy):
    text = proxy.config.read_text()
    address = text.split("[admin]")[1].split('"')[1]
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for path in ("/healthz", "/readyz", "/metrics"):
        assert opener.open(f"http://{address}{path}", timeout=10).status == 200
    with pytest.raises(urllib.error.HTTPError):
        opener.open(f"http://{address}/nothing", timeout=10)
