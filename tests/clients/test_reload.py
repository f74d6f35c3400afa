"""The configuration loaded again while requests are served: what changes, what stays, and what a mistake does."""

import ipaddress
import json
import shutil
import signal
import ssl

import pytest
from botocore.exceptions import ClientError
from cryptography import x509

from authority import Authority
from conftest import embedded_backend, new_bucket
from proxy import ACCESS_KEY_ID, Proxy, toml_text, write_keyring
from test_drain import Load, begun
from test_limits import until
from test_operator_mistakes import admin

FAILURES = "s3veil_reload_failures_total"
LOADED = "the configuration was loaded again"
REFUSED = "the configuration could not be loaded again"
SECOND = {"access_key_id": "client-two", "secret_access_key": "client-two-secret"}
RELOADS = 100


@pytest.fixture
def running(tmp_path):
    backend = embedded_backend(tmp_path)
    proxy = Proxy(tmp_path / "proxy", backend.upstream, backend.keyring)
    with proxy:
        proxy.written = proxy.configuration()
        proxy.written["admin"]["address"] = proxy.config.read_text().split("[admin]")[1].split('"')[1]
        yield proxy


def write(proxy, **sections):
    """Replaces tables of the configuration, at once for readers."""
    proxy.written |= sections
    beside = proxy.config.with_suffix(".new")
    beside.write_text(toml_text(proxy.written))
    beside.rename(proxy.config)


def reload(proxy, outcome=LOADED):
    before = proxy.log_text().count(outcome)
    proxy.process.send_signal(signal.SIGHUP)
    until(lambda: proxy.log_text().count(outcome) > before)


def code_of(call, **arguments):
    with pytest.raises(ClientError) as refused:
        call(**arguments)
    return refused.value.response["Error"]["Code"]


def test_clients_and_their_rights(running):
    first = running.boto()
    bucket = new_bucket(first)
    first.put_object(Bucket=bucket, Key="k", Body=b"content")
    own = running.written["client"][0]
    second = running.boto(**{name: SECOND[name] for name in ("access_key_id", "secret_access_key")})
    assert code_of(second.get_object, Bucket=bucket, Key="k") == "InvalidAccessKeyId"
    write(running, client=[own, {**SECOND, "access": "read-only"}])
    reload(running)
    assert second.get_object(Bucket=bucket, Key="k")["Body"].read() == b"content"
    assert code_of(second.put_object, Bucket=bucket, Key="k", Body=b"x") == "AccessDenied"
    write(running, client=[{**own, "secret_access_key": "another-secret-now"}, {**SECOND, "access": "admin"}])
    reload(running)
    assert code_of(first.get_object, Bucket=bucket, Key="k") == "SignatureDoesNotMatch"
    second.put_object(Bucket=bucket, Key="k", Body=b"newer")
    assert running.boto(ACCESS_KEY_ID, "another-secret-now").get_object(Bucket=bucket, Key="k")["Body"].read() == b"newer"
    write(running, client=[{**SECOND, "access": "admin"}])
    reload(running)
    assert code_of(running.boto(ACCESS_KEY_ID, "another-secret-now").get_object, Bucket=bucket, Key="k") == "InvalidAccessKeyId"


def test_rules_and_the_level_of_the_log(running):
    s3 = running.boto()
    bucket = new_bucket(s3)
    write(running, bucket=[{"name": "other"}], log={"level": "warn"})
    reload(running)
    assert code_of(s3.put_object, Bucket=bucket, Key="k", Body=b"x") == "AccessDenied"
    assert "operation=PutObject" not in running.log_text()
    write(running, bucket=[{"name": "*", "realm": "shared"}], log={"level": "info"})
    running.process.send_signal(signal.SIGHUP)
    until(lambda: code_or_none(s3, bucket) is None)
    until(lambda: "operation=PutObject" in running.log_text())
    report = running.command("inspect", f"s3://{bucket}/k", cwd=running.directory)
    assert b"realm=shared" in report.stdout, report


def code_or_none(s3, bucket):
    try:
        s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    except ClientError as refused:
        return refused.response["Error"]["Code"]


def test_a_keyring_is_rotated_and_older_objects_stay_readable(running):
    s3 = running.boto()
    bucket = new_bucket(s3)
    s3.put_object(Bucket=bucket, Key="old", Body=b"old")
    rotated = running.command("keygen", "--rotate", running.keyring["file"], cwd=running.directory)
    assert rotated.returncode == 0, rotated
    reload(running)
    s3.put_object(Bucket=bucket, Key="new", Body=b"new")
    keys = [running.command("inspect", f"s3://{bucket}/{key}", cwd=running.directory).stdout for key in ("old", "new")]
    names = [[line for line in text.splitlines() if b"key" in line and b"test-key" in line] for text in keys]
    assert names[0] and not names[1], keys
    assert [s3.get_object(Bucket=bucket, Key=key)["Body"].read() for key in ("old", "new")] == [b"old", b"new"]


MISTAKES = {
    "syntax": ("[listen", "proxy.toml"),
    "unknown key": ("[[bucket]]\nname = 'x'\nnames = 1\n", "names"),
    "unreadable secret": ("", "no-such-file"),
}


def refused(running):
    """The configuration that is not in effect, as the status page has it."""
    return json.loads(admin(running, "/status.json")[1])["config"]["refused"]


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_changes_nothing_and_is_named_everywhere(running, mistake):
    added, named = MISTAKES[mistake]
    s3 = running.boto()
    bucket = new_bucket(s3)
    text = toml_text(running.written)
    if mistake == "unreadable secret":
        text = text.replace('secret_access_key = "client-one-secret"', 'secret_access_key_file = "no-such-file"')
    running.config.write_text(text + added)
    reload(running, REFUSED)
    s3.put_object(Bucket=bucket, Key="k", Body=b"still served")
    line = [line for line in running.log_text().splitlines() if REFUSED in line][-1]
    assert named in line and "level=ERROR" in line.replace("level=error", "level=ERROR"), line
    assert running.metrics()[FAILURES] >= 1
    assert named in refused(running)["cause"]
    write(running)
    reload(running)
    assert refused(running) is None


def test_changed_files_are_found_without_a_signal(running):
    bucket = new_bucket(running.boto())
    write(running, client=[*running.written["client"], {**SECOND, "access": "read-only"}])
    until(lambda: LOADED in running.log_text(), 30)
    second = running.boto(**{name: SECOND[name] for name in ("access_key_id", "secret_access_key")})
    assert second.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
    line = [line for line in running.log_text().splitlines() if LOADED in line][0]
    assert "proxy.toml" in line


def test_what_takes_a_restart_is_said(running):
    write(running, listen={**running.written["listen"], "max_connections": 77})
    reload(running)
    lines = [line for line in running.log_text().splitlines() if "take effect after a restart" in line]
    assert len(lines) == 1 and "[listen]" in lines[0]


def test_certificates_are_replaced_and_wrong_ones_refused(tmp_path):
    authority = Authority(tmp_path / "authority")
    backend = embedded_backend(tmp_path)
    files = tmp_path / "cert.pem", tmp_path / "key.pem"
    place(authority.server("one", "localhost"), files)
    sections = {"listen": {"tls": {"certificate": files[0], "private_key": files[1]}}}
    proxy = Proxy(tmp_path / "proxy", backend.upstream, backend.keyring, sections)
    with proxy:
        first = serial(proxy)
        place(authority.server("two", "localhost"), files)
        reload(proxy)
        second = serial(proxy)
        assert second != first
        before = proxy.log_text().count(REFUSED)
        # A certificate whose key has not followed yet.
        shutil.copy(authority.server("three", "localhost")[0], files[0])
        reload(proxy, REFUSED)
        assert serial(proxy) == second and proxy.log_text().count(REFUSED) == before + 1
        files[0].unlink()
        reload(proxy, REFUSED)
        assert serial(proxy) == second
        assert str(files[0]) in admin(proxy, "/")[1]
        place(authority.server("four", "localhost", days=(-30, -1)), files)
        reload(proxy)
        assert "listen.tls.certificate expired" in admin(proxy, "/readyz")[1]


def place(made, files):
    for source, target in zip(made, files):
        shutil.copy(source, target)
        target.chmod(0o600)


def serial(proxy):
    pem = ssl.get_server_certificate(("127.0.0.1", proxy.port), timeout=10)
    return x509.load_pem_x509_certificate(pem.encode()).serial_number


def test_no_request_fails_for_a_reload(tmp_path, real):
    """Each reload changes clients, rules, the storage's credentials, certificate and authorities; some the keyring too."""
    authority, others = Authority(tmp_path / "authority"), Authority(tmp_path / "others", "other clients")
    address = [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = [authority.issue(f"server-{number}", [("CN", "localhost")], address) for number in range(5)]
    files, clients_ca = (tmp_path / "cert.pem", tmp_path / "key.pem"), tmp_path / "clients.pem"
    place(made[0], files)
    shutil.copy(authority.file, clients_ca)
    keyring = {"provider": "local", "file": write_keyring(tmp_path / "keyring", "test-key")}
    tls = {"certificate": files[0], "private_key": files[1], "client_ca": clients_ca, "client_certificate": "optional"}
    proxy = Proxy(tmp_path / "proxy", real.upstream, keyring, {"listen": {"tls": tls}})
    proxy.endpoint, proxy.ca = f"https://127.0.0.1:{proxy.port}", str(authority.file)
    with proxy:
        proxy.written = proxy.configuration()
        proxy.written["admin"]["address"] = proxy.config.read_text().split("[admin]")[1].split('"')[1]
        own, upstream = proxy.written["client"][0], proxy.written["upstream"]
        with Load(proxy, begun(proxy)) as load:
            for turn in range(RELOADS):
                place(made[turn % len(made)], files)
                shutil.copy((authority, others)[turn % 2].file, clients_ca)
                if turn % 20 == 10:
                    assert proxy.command("keygen", "--rotate", keyring["file"], cwd=proxy.directory).returncode == 0
                further = [{**SECOND, "secret_access_key": f"another-secret-{turn:04}"}][: turn % 2]
                rules = [{"name": f"unused-{turn}"}, {"name": "*"}]
                storage = {**upstream, "secret_access_key": f"test-{turn}"}
                level = {"level": "info" if turn % 2 else "info,hyper=warn"}
                write(proxy, client=[own, *further], bucket=rules, upstream=storage, log=level)
                reload(proxy)
    assert load.failures == [] and load.served > RELOADS, f"{len(load.failures)} failed beside {load.served}: {load.failures[:3]}"
