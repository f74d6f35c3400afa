"""What an operator is told about a mistake: where it is, what is wrong, and the way out. The real binary answers.

Mistakes in values of the configuration stand in `src/config/mistakes.txt`, each with its message.
"""

import contextlib
import datetime
import ipaddress
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from conftest import embedded_backend, new_bucket
from fakes import LISTING, answering, error, refusing
from ports import free_port
from proxy import Certificate, Proxy, binary, toml_text, write_keyring

USAGE, UNAVAILABLE, IO, NO_PERMISSION = 64, 69, 74, 77
SECONDS = 30


def run(tmp_path, *arguments, content=None, environment=None, **options):
    """The binary in a directory, with `content` as its proxy.toml."""
    if content is not None:
        (tmp_path / "proxy.toml").write_text(content if isinstance(content, str) else toml_text(content))
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environment = inherited | {"AWS_EC2_METADATA_DISABLED": "true", "HOME": str(tmp_path)} | (environment or {})
    done = subprocess.run(
        [options.pop("binary", binary()), *map(str, arguments)],
        capture_output=True, text=True, timeout=90, cwd=tmp_path, env=environment, stdin=subprocess.DEVNULL, **options,
    )  # fmt: skip
    assert "panicked" not in done.stderr
    return done


def told(done):
    return done.stdout + done.stderr


def line_of(text, start):
    lines = [line for line in text.splitlines() if line.removeprefix("s3veil: ").startswith(start)]
    assert len(lines) == 1, (start, text)
    return lines[0]


@pytest.fixture
def sections(tmp_path):
    """A right configuration, as tables to spoil."""
    backend = embedded_backend(tmp_path)
    return Proxy(tmp_path / "unused", backend.upstream, backend.keyring).configuration()


def storage_at(port, scheme="http", **more):
    return {"endpoint": f"{scheme}://127.0.0.1:{port}", "region": "us-east-1", "access_key_id": "a", "secret_access_key": "b", **more}


def check(tmp_path, sections, *arguments, **options):
    return run(tmp_path, "check", *arguments, content=sections, **options)


def admin(proxy, path):
    """The status and body of an answer to operators."""
    address = proxy.config.read_text().split("[admin]")[1].split('"')[1]
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        answer = opener.open(f"http://{address}{path}", timeout=10)
    except urllib.error.HTTPError as refused:
        answer = refused
    return answer.status, answer.read().decode()


def until(condition, what):
    deadline = time.monotonic() + SECONDS
    while not (found := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.1)
    return found


def ready(proxy, wanted):
    """Probes until the answer is `wanted`; returns what it says."""

    def probe():
        status, body = admin(proxy, "/readyz")
        answer = json.loads(body)
        assert (status == 200) == answer["ready"]
        return answer if wanted(answer) else None

    return until(probe, "the state that is awaited")


@contextlib.contextmanager
def serving(tmp_path, upstream, keyring=None, **sections):
    """A proxy before a storage of any kind."""
    keyring = keyring or {"provider": "local", "file": write_keyring(tmp_path / "ring", "test-key")}
    with Proxy(tmp_path / "serving", upstream, keyring, sections) as running:
        yield running


# The command line


@pytest.mark.parametrize("arguments, hint", [
    (["proxy.toml"], "did you mean --config proxy.toml?"),
    (["--port", "80"], "set listen.address in proxy.toml"),
    (["serve", "--endpoint-url", "http://x"], "set upstream.endpoint in proxy.toml"),
])  # fmt: skip
def test_arguments_that_belong_elsewhere(tmp_path, arguments, hint):
    done = run(tmp_path, *arguments)
    assert done.returncode == USAGE and hint in done.stderr, done.stderr


def test_short_arguments_and_the_version(tmp_path, sections):
    (tmp_path / "other.toml").write_text(toml_text(sections))
    assert run(tmp_path, "check", "-c", "other.toml").returncode == 0
    assert run(tmp_path, "version").stdout == run(tmp_path, "--version").stdout


# Files


def test_yaml(tmp_path):
    done = run(tmp_path, "serve", content="listen:\n  address: 127.0.0.1:8333\n")
    assert done.returncode == USAGE and "this looks like YAML" in done.stderr and "[listen]" in done.stderr


def test_a_data_directory_that_is_a_file(tmp_path, sections):
    (tmp_path / "file").write_text("x")
    sections["upstream"]["endpoint"] = f"embedded:{tmp_path}/file/data"
    done = run(tmp_path, "serve", content=sections)
    assert done.returncode == IO and f"{tmp_path}/file/data" in done.stderr
    assert "is a file: move it away, or correct upstream.endpoint" in done.stderr
    sections["upstream"]["endpoint"] = f"embedded:{tmp_path}/data"
    sections["keyring"]["file"] = tmp_path / "file" / "keyring"
    done = run(tmp_path, "serve", content=sections)
    assert done.returncode == IO and "is a file: move it away, or correct keyring.file" in done.stderr


def test_a_keyring_that_is_a_directory(tmp_path, sections):
    """Not `chmod 600`, the remedy for a file that others may read."""
    sections["upstream"] = storage_at(9)
    sections["keyring"]["file"] = tmp_path
    done = run(tmp_path, "serve", content=sections)
    assert done.returncode == IO and f"{tmp_path}: could not read it: is a directory: name a file in keyring.file" in done.stderr


def test_a_keyring_that_is_there_is_not_made_anew(tmp_path):
    ring = write_keyring(tmp_path / "ring", "test-key")
    done = run(tmp_path, "keygen", ring)
    assert done.returncode == USAGE and str(ring) in done.stderr and "`s3veil keygen --rotate` adds a key to it" in done.stderr


@pytest.mark.parametrize("what", ["keyring", "embedded store"])
def test_a_data_directory_that_can_not_be_written(what):
    """Root may write everywhere, so another user runs the binary, in a directory that it can reach."""
    user = 65534 if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        directory = Path(name)
        (directory / "closed").mkdir(mode=0o555)
        (directory / "data").mkdir()
        (directory / "data").chmod(0o777)
        directory.chmod(0o755)
        program = shutil.copy(binary(), directory / "s3veil")
        keyring, data = ("closed", "data") if what == "keyring" else ("data", "closed")
        content = {
            "listen": {"address": "127.0.0.1:0"},
            "upstream": {"endpoint": f"embedded:{directory}/{data}/store", "region": "us-east-1"},
            "keyring": {"provider": "local", "file": directory / keyring / "keyring"},
            "client": [{"access_key_id": "a", "secret_access_key": "0123456789abcdef"}],
            "bucket": [{"name": "*"}],
        }
        done = run(directory, "serve", content=content, binary=program, user=user)
        assert done.returncode == NO_PERMISSION, (done.returncode, done.stderr)
        assert f"{directory}/closed" in done.stderr and f"user with id {user or os.geteuid()}" in done.stderr


@pytest.mark.parametrize("spoil", [
    lambda text: text.replace("version = 1", "version = 7"),
    lambda text: text[: len(text) // 2],
    lambda text: text.replace("secret = \"", "secret = \"AAAA"),
])  # fmt: skip
def test_a_damaged_keyring(tmp_path, sections, spoil):
    ring = Path(sections["keyring"]["file"])
    ring.write_text(spoil(ring.read_text()))
    done = run(tmp_path, "serve", content=sections)
    assert done.returncode == USAGE and str(ring) in done.stderr
    assert "restore it from its copy; do not make a new one" in done.stderr


def test_a_lost_key(start, tmp_path):
    """The id of the key that is missing, where it was looked for, and what is there."""
    backend = embedded_backend(tmp_path)
    running = start(backend)
    bucket = new_bucket(running.boto())
    running.boto().put_object(Bucket=bucket, Key="object", Body=b"x")
    running.stop()
    ring = write_keyring(Path(backend.keyring["file"]), "another-key")
    running = start(backend)
    with pytest.raises(ClientError) as refused:
        running.boto().get_object(Bucket=bucket, Key="object")
    message = refused.value.response["Error"]["Message"]
    assert "test-key" in message and str(ring) not in message and "another-key" not in message
    expected = f"wrapped under test-key, which is not in {ring} (has: another-key)"
    until(lambda: expected in running.log_text(), running.log_text())
    done = running.command("inspect", f"s3://{bucket}/object", cwd=tmp_path)
    assert done.returncode == UNAVAILABLE and expected in done.stderr.decode()
    done = running.command("check", "--bucket", bucket, cwd=tmp_path)
    line = line_of(done.stdout.decode(), f"objects in {bucket}")
    assert done.returncode == UNAVAILABLE and "FAILED: object does not open" in line and expected in line, line


def test_a_rule_whose_key_the_keyring_lacks(tmp_path, sections):
    ring = sections["keyring"]["file"]
    sections["bucket"] = [{"name": "*", "key_id": "absent"}]
    done = check(tmp_path, sections)
    line = line_of(told(done), "key absent")
    assert done.returncode == UNAVAILABLE and f"not in {ring} (has: test-key)" in line, line


def test_inspect_of_nothing_names_it(start, tmp_path):
    running = start(embedded_backend(tmp_path))
    bucket = new_bucket(running.boto())
    done = running.command("inspect", f"s3://{bucket}/no/such", cwd=tmp_path)
    assert done.returncode == UNAVAILABLE and f"s3://{bucket}/no/such: there is no such object" in done.stderr.decode()


def test_secrets_that_others_may_read_or_guess(start, tmp_path):
    backend = embedded_backend(tmp_path)
    secret = tmp_path / "secret"
    secret.write_text("a secret of its own")
    secret.chmod(0o644)
    writable = tmp_path / "writable"
    writable.write_text("another secret, of the group")
    writable.chmod(0o620)
    clients = [
        {"access_key_id": "one", "secret_access_key": "x"},
        {"access_key_id": "two", "secret_access_key_file": secret},
        {"access_key_id": "three", "secret_access_key_file": writable},
    ]
    running = start(backend, client=clients)
    warnings = [
        "has fewer than 16 bytes",
        f"{secret}, whose mode 0644 lets other users read or change it: run chmod 600 {secret}",
        f"{writable}, whose mode 0620",
        f"{running.config}: holds secrets such as `client.secret_access_key`",
    ]
    for warning in warnings:
        until(lambda: warning in running.log_text(), running.log_text())
    report = running.command("check", cwd=tmp_path).stdout.decode()
    assert all(warning in report for warning in warnings) and "defaultMode: 0400" in report, report
    for file in (writable, running.config):
        file.chmod(0o600)
    before = running.log_text()
    running.process.send_signal(signal.SIGHUP)
    until(lambda: "was loaded again" in running.log_text(), running.log_text())
    reloaded = running.log_text().removeprefix(before)
    assert str(secret) in reloaded and str(writable) not in reloaded and "holds secrets" not in reloaded, reloaded


@pytest.mark.parametrize("place", ["keyring.endpoint", "AWS_ENDPOINT_URL_KMS", "AWS_ENDPOINT_URL", "profile"])
def test_data_keys_travel_to_other_machines_under_tls_alone(tmp_path, sections, place):
    """Wherever the endpoint of KMS comes from."""
    sections["keyring"] = {"provider": "aws-kms", "key_id": "alias/a", "region": "us-east-1"}
    (tmp_path / "profile").write_text("[default]\nservices = dev\n[services dev]\nkms =\n  endpoint_url = http://kms.internal:4566\n")
    environment = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    if place == "keyring.endpoint":
        sections["keyring"]["endpoint"] = "http://kms.internal:4566"
    elif place == "profile":
        environment["AWS_CONFIG_FILE"] = str(tmp_path / "profile")
    else:
        environment[place] = "http://kms.internal:4566"
    done = run(tmp_path, "serve", content=sections, environment=environment)
    assert done.returncode == USAGE, told(done)
    line = line_of(done.stderr, "proxy.toml:" if place == "keyring.endpoint" else "AWS_ENDPOINT_URL_KMS")
    assert place in line and "http://kms.internal:4566" in line and "write an https:// endpoint" in line, line


def test_a_start_that_fails_makes_no_keyring(start, tmp_path):
    running = start(embedded_backend(tmp_path))
    other = tmp_path / "other"
    other.mkdir()
    content = {
        "listen": {"address": f"127.0.0.1:{running.port}"},
        "upstream": {"endpoint": "embedded:data", "region": "us-east-1"},
        "keyring": {"provider": "local", "file": "data/keyring"},
        "client": [{"access_key_id": "a", "secret_access_key": "0123456789abcdef"}],
        "bucket": [{"name": "*"}],
    }
    done = run(other, "serve", content=content)
    assert done.returncode == UNAVAILABLE and "listen.address" in done.stderr
    assert not (other / "data").exists(), "nothing was made"


def test_two_proxies_on_one_embedded_store(start, tmp_path):
    backend = embedded_backend(tmp_path)
    alone = {"embedded_shared": False}
    running = start(backend, upstream=alone)
    content = {**running.configuration(), "listen": {"address": f"127.0.0.1:{free_port()}"}}
    content["admin"] = {"address": f"127.0.0.1:{free_port()}"}
    (tmp_path / "second").mkdir()
    done = run(tmp_path / "second", "serve", content=content)
    assert done.returncode == UNAVAILABLE, done.stderr
    assert "another s3veil serves this directory" in done.stderr and "embedded_shared" in done.stderr
    assert running.command("check", cwd=tmp_path).returncode == 0, "a command may look at it meanwhile"


# Certificates and TLS


def expired_certificate(directory):
    return self_signed(directory, ca=False, days=(-20, -10))


def self_signed(directory, ca, days=(-1, 10)):
    """A certificate for 127.0.0.1 and its key, as `openssl req -x509` makes them."""
    directory.mkdir(parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.timezone.utc)
    start, end = (now + datetime.timedelta(days=offset) for offset in days)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(start).not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    chain, private_key = directory / "cert.pem", directory / "key.pem"
    chain.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private_key.write_bytes(key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ))  # fmt: skip
    return Certificate(chain, chain, private_key)


def test_an_expired_certificate(tmp_path):
    backend = embedded_backend(tmp_path)
    with Proxy(tmp_path / "proxy", backend.upstream, backend.keyring, certificate=expired_certificate(tmp_path / "tls")) as running:
        until(lambda: "listen.tls.certificate expired on" in running.log_text(), running.log_text())
        answer = ready(running, lambda answer: answer["ready"])
        assert [problem["component"] for problem in answer["degraded"]] == ["certificate"]
        assert "certificate expired on" in admin(running, "/")[1]
        done = running.command("check", cwd=tmp_path)
    assert done.returncode == UNAVAILABLE
    line = line_of(done.stdout.decode(), "listen.tls.certificate")
    assert "FAILED: expired on" in line and "clients refuse it; renew it" in line, line


@pytest.mark.parametrize("is_named", [True, False])
def test_a_storages_certificate_that_is_an_authoritys(tmp_path, sections, is_named):
    made = self_signed(tmp_path / "storage-tls", ca=True)
    with answering(200, LISTING, certificate=(made.chain, made.private_key)) as storage:
        sections["upstream"] = storage_at(storage["port"], "https", **({"ca_file": made.chain} if is_named else {}))
        done = check(tmp_path, sections)
    line = line_of(told(done), "storage")
    assert done.returncode == UNAVAILABLE and "CA:FALSE" in line and "upstream.ca_file" in line, line


def test_tls_where_none_is_spoken_and_the_reverse(tmp_path, sections):
    with answering(200, LISTING) as plain:
        sections["upstream"] = storage_at(plain["port"], "https")
        done = check(tmp_path, sections)
        line = line_of(told(done), "storage")
        assert done.returncode == UNAVAILABLE and f"127.0.0.1:{plain['port']}" in line and "write http://" in line, line
    made = self_signed(tmp_path / "storage-tls", ca=False)
    with answering(200, LISTING, certificate=(made.chain, made.private_key)) as encrypted:
        sections["upstream"] = storage_at(encrypted["port"], "http")
        done = check(tmp_path, sections)
        line = line_of(told(done), "storage")
        assert done.returncode == UNAVAILABLE and "FAILED" in line and f"127.0.0.1:{encrypted['port']}" in line, line


# Limits


def test_more_connections_than_descriptors(tmp_path, sections):
    sections["listen"]["max_connections"] = 900_000
    line = line_of(check(tmp_path, sections).stdout, "file descriptors")
    hard = line.split()[3]
    if hard.isdigit() and int(hard) < 1_800_000:
        assert "WARNING" in line and "900000" in line, line


# The key service


def kms_at(port, **more):
    return {"provider": "aws-kms", "key_id": "alias/x", "endpoint": f"http://127.0.0.1:{port}", "region": "us-east-1", **more}


STATIC = {"access_key_id": "a", "secret_access_key": "b"}


def test_a_key_service_that_is_away(tmp_path, sections):
    with refusing() as port:
        sections["keyring"] = kms_at(port, **STATIC)
        line = line_of(told(check(tmp_path, sections)), "key ")
        assert f"http://127.0.0.1:{port}" in line and "refused" in line.lower(), line
        with serving(tmp_path, sections["upstream"], sections["keyring"]) as running:
            until(lambda: f"http://127.0.0.1:{port}" in running.log_text(), running.log_text())
            until(lambda: running.log_text().count("requests may fail") == 1, running.log_text())
            answer = ready(running, lambda answer: not answer["ready"])
            assert "refused" in json.dumps(answer).lower()


def test_a_key_service_without_credentials(tmp_path, sections):
    with answering(200) as server:
        sections["keyring"] = kms_at(server["port"])
        line = line_of(told(check(tmp_path, sections)), "key ")
    assert "keyring.access_key_id" in line and "AWS_ACCESS_KEY_ID" in line and "provider" in line.lower(), line


@pytest.mark.parametrize("code, words", [
    ("NotFoundException", ["was not found", "correct key_id, or keyring.region"]),
    ("AccessDeniedException", ["was denied", "requires kms:GenerateDataKey and kms:Decrypt"]),
    ("DisabledException", ["is disabled", "enable it in AWS KMS, or correct key_id"]),
    ("KMSInvalidStateException", ["state does not allow its use", "cancel its deletion in AWS KMS"]),
    ("InvalidKeyUsageException", ["name a symmetric key for encryption in key_id"]),
])  # fmt: skip
def test_a_key_service_that_refuses_the_key(tmp_path, sections, code, words):
    with answering(400, json.dumps({"__type": code}).encode(), "application/x-amz-json-1.1") as service:
        sections["keyring"] = kms_at(service["port"], **STATIC)
        done = check(tmp_path, sections)
    line = line_of(told(done), "key ")
    start = f"key alias/x: FAILED: AWS KMS in us-east-1 at http://127.0.0.1:{service['port']} refused kms:GenerateDataKey for key alias/x: "
    assert done.returncode == UNAVAILABLE and line.startswith(start), line
    assert code in line and all(word in line for word in words), line


@pytest.mark.parametrize("status", [200, 404, 501])
def test_a_key_service_that_is_a_web_site(tmp_path, sections, status):
    with answering(status, b"<html>welcome</html>", "text/html") as site:
        sections["keyring"] = kms_at(site["port"], **STATIC)
        line = line_of(told(check(tmp_path, sections)), "key ")
    assert f"HTTP status {status}" in line and "text/html" in line and f"127.0.0.1:{site['port']}" in line, line


def test_a_slow_key_service_answers_probes_and_is_asked_once(tmp_path, sections):
    """Probes give up after a second; the assessment goes on without them."""
    with answering(400, json.dumps({"__type": "DisabledException"}).encode(), "application/x-amz-json-1.1", delay=1.5) as slow:
        with serving(tmp_path, sections["upstream"], kms_at(slow["port"], **STATIC)) as running:
            for _ in range(10):
                status, body = admin(running, "/readyz")
                assert status == 503 and json.loads(body)["problems"], body
            answer = ready(running, lambda answer: "disabled" in json.dumps(answer))
            assert not answer["ready"]
            assert slow["requests"] <= 2, "not once for each probe"


# The storage


def test_a_storage_that_is_away(tmp_path, sections):
    with refusing() as port:
        sections["upstream"] = storage_at(port)
        done = check(tmp_path, sections)
        line = line_of(told(done), "storage")
        assert done.returncode == UNAVAILABLE and f"http://127.0.0.1:{port}" in line and "refused" in line.lower(), line
        with serving(tmp_path, storage_at(port)) as running:
            until(lambda: f"http://127.0.0.1:{port}" in running.log_text(), running.log_text())
            ready(running, lambda answer: not answer["ready"])
    sections["upstream"] = {**storage_at(1), "endpoint": "http://no-such-host.invalid:9000"}
    line = line_of(told(check(tmp_path, sections)), "storage")
    assert "no-such-host.invalid" in line, line


@pytest.mark.parametrize("command", ["check", "serve"])
def test_a_storage_without_credentials(tmp_path, sections, command):
    sections["upstream"] = {"endpoint": "http://127.0.0.1:9", "region": "us-east-1"}
    done = run(tmp_path, command, content=sections)
    assert done.returncode == USAGE
    for said in ("upstream.access_key_id", "AWS_ACCESS_KEY_ID", "AWS_PROFILE", "WebIdentityToken", "Ec2InstanceMetadata: "):
        assert said in done.stderr, done.stderr


def test_a_storage_that_is_a_web_site(tmp_path, sections):
    with answering(200, b"<html>welcome</html>", "text/html") as site:
        sections["upstream"] = storage_at(site["port"])
        done = check(tmp_path, sections)
        line = line_of(told(done), "storage")
        assert done.returncode == UNAVAILABLE and "responds, but not as S3: 200 OK" in line, line
        assert "text/html" in line and '"<html>welcome</html>"' in line and "upstream.endpoint" in line, line
        with serving(tmp_path, storage_at(site["port"])) as running:
            answer = ready(running, lambda answer: not answer["ready"])
            until(lambda: "text/html" in admin(running, "/readyz")[1], answer)


def test_a_role_that_may_not_list_buckets_is_ready(tmp_path, sections):
    with answering(403, error("AccessDenied")) as storage:
        sections["upstream"] = storage_at(storage["port"])
        done = check(tmp_path, sections)
        assert done.returncode == 0 and "may not list buckets, and need not" in done.stdout, told(done)
        with serving(tmp_path, storage_at(storage["port"])) as running:
            assert ready(running, lambda answer: answer["ready"]) == {"ready": True}


@pytest.mark.parametrize("status, code, more, advice", [
    (403, "SignatureDoesNotMatch", "", "upstream.secret_access_key"),
    (403, "InvalidAccessKeyId", "", "upstream.access_key_id"),
    (403, "RequestTimeTooSkewed", "", "clock"),
    (400, "AuthorizationHeaderMalformed", "<Region>eu-west-1</Region>", 'upstream.region = "eu-west-1"'),
    (301, "PermanentRedirect", "<Endpoint>s3.eu-west-1.example</Endpoint>", "s3.eu-west-1.example"),
])  # fmt: skip
def test_what_a_storage_refuses_is_told(tmp_path, sections, status, code, more, advice):
    with answering(status, error(code, "the sentence", more)) as storage:
        sections["upstream"] = storage_at(storage["port"])
        done = check(tmp_path, sections)
        line = line_of(told(done), "storage")
        assert done.returncode == UNAVAILABLE and code in line and "the sentence" in line and advice in line, line
        with serving(tmp_path, storage_at(storage["port"])) as running:
            until(lambda: code in admin(running, "/readyz")[1], "its code")
            assert admin(running, "/readyz")[0] == 503


def test_a_clock_that_is_off(tmp_path, sections):
    """Against a storage whose Date is of another day."""
    import fakes

    original = fakes.http.server.BaseHTTPRequestHandler.date_time_string
    fakes.http.server.BaseHTTPRequestHandler.date_time_string = lambda self, timestamp=None: "Sat, 01 Jan 2022 00:00:00 GMT"
    try:
        with answering(200, LISTING) as storage:
            sections["upstream"] = storage_at(storage["port"])
            done = check(tmp_path, sections)
    finally:
        fakes.http.server.BaseHTTPRequestHandler.date_time_string = original
    line = line_of(told(done), "clock")
    assert done.returncode == UNAVAILABLE and "FAILED" in line and "ahead of the storage's" in line, line


def test_two_proxies_that_are_each_others_storage(tmp_path):
    keyring = {"provider": "local", "file": write_keyring(tmp_path / "ring", "test-key")}
    one, other = (Proxy(tmp_path / name, {}, keyring) for name in ("one", "other"))
    credentials = {"access_key_id": "client-one", "secret_access_key": "client-one-secret"}
    one.upstream, other.upstream = ({"endpoint": to.endpoint, **credentials} for to in (other, one))
    with one, other:
        answer = one.raw().request("GET", "/")
        assert answer.status == 400 and b"has come through s3veil before" in answer.body, answer
        assert other.log_text().count("ListBuckets") + one.log_text().count("ListBuckets") < 10
