"""TLS as clients and operators see it: certificates by host name, client certificates, access keys bound to them, the admin
listener's TLS and token."""

import datetime
import ipaddress
import os
import socket
import ssl
import urllib.error
import urllib.request

import pytest
from botocore.exceptions import BotoCoreError, ClientError
from cryptography import x509

from authority import Authority
from conftest import embedded_backend, new_bucket
from ports import free_port
from proxy import ACCESS_KEY_ID, SECRET_ACCESS_KEY, Proxy, s3_client
from test_limits import until

BOUND = {"access_key_id": "bound-key", "secret_access_key": "bound-key-secret-of-20-bytes"}
CONTENT = os.urandom(100_000)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


def pair(files):
    return {"certificate": files[0], "private_key": files[1]}


def hosts_of(running, asked, authority, client=None):
    """The DNS names of the certificate that a client gets who asks for this host."""
    context = ssl.create_default_context(cafile=authority.file)
    context.check_hostname = False
    if client:
        context.load_cert_chain(*client)
    with socket.create_connection(("127.0.0.1", running.port), timeout=10) as stream:
        with context.wrap_socket(stream, server_hostname=asked) as secured:
            return [name for _, name in secured.getpeercert()["subjectAltName"]]


def test_the_host_name_chooses_the_certificate(start, tmp_path, authority):
    default = authority.server("default", "localhost")
    exact = authority.server("exact", "s3.example.com", "other.example")
    wildcard = authority.server("wildcard", "*.s3.example.com")
    running = start(embedded_backend(tmp_path), listen={"tls": {**pair(default), "host": [pair(exact), pair(wildcard)]}})
    cases = {
        None: "localhost",
        "localhost": "localhost",
        "unknown.example": "localhost",
        "s3.example.com": "s3.example.com",
        "S3.Example.COM": "s3.example.com",
        "other.example": "s3.example.com",
        "bucket.s3.example.com": "*.s3.example.com",
        "a.bucket.s3.example.com": "localhost",
    }
    assert {asked: hosts_of(running, asked, authority)[0] for asked in cases} == cases
    names = {name.split('"')[1]: value for name, value in running.metrics().items() if "certificate_expiry" in name}
    hosts = ["listen.tls.host.certificate *.s3.example.com", "listen.tls.host.certificate s3.example.com"]
    assert sorted(names) == ["listen.tls.certificate", *hosts]
    in_30_days = datetime.datetime.now().timestamp() + 30 * 86_400
    assert all(abs(value - in_30_days) < 3_600 for value in names.values())


def test_a_certificate_near_its_end_is_named_everywhere(tmp_path, authority):
    default = authority.server("good", "localhost")
    ending = authority.server("ending", "ending.example", days=(-80, 10))
    expired = authority.server("expired", "expired.example", days=(-80, -1))
    backend = embedded_backend(tmp_path)
    listen = {"tls": {**pair(default), "host": [pair(ending), pair(expired)]}}
    with Proxy(tmp_path / "proxy", backend.upstream, backend.keyring, {"listen": listen}) as running:
        checked = running.command("check", cwd=tmp_path).stdout.decode()
        address = running.config.read_text().split("[admin]")[1].split('"')[1]
        page = urllib.request.urlopen(f"http://{address}/", timeout=10).read().decode()
        log = until(lambda: running.log_text() if "expired.example expired on" in running.log_text() else None)
    name = "listen.tls.host.certificate"
    for text in (log, checked, page):
        assert f"{name} ending.example" in text and f"{name} expired.example" in text
    assert f"{name} ending.example: WARNING: expires on" in checked
    assert "listen.tls.certificate: valid until" in checked
    assert "listen.tls.certificate" not in log


def mutual(start, tmp_path, authority, rule, certificate_subject=None):
    """A proxy that verifies client certificates. Its second access key is bound to one."""
    server = authority.issue("mutual", [("CN", "localhost")], [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    clients = [{"access_key_id": ACCESS_KEY_ID, "secret_access_key": SECRET_ACCESS_KEY, "access": "admin"}]
    if certificate_subject:
        clients.append({**BOUND, "access": "admin", "certificate_subject": certificate_subject})
    tls = {**pair(server), "client_ca": authority.file, "client_certificate": rule}
    running = start(embedded_backend(tmp_path), listen={"tls": tls}, client=clients)
    running.endpoint, running.ca = f"https://127.0.0.1:{running.port}", str(authority.file)
    return running


def boto(running, client=None, **keys):
    credentials = {"access_key_id": ACCESS_KEY_ID, "secret_access_key": SECRET_ACCESS_KEY, **keys}
    files = {"client_cert": tuple(map(str, client))} if client else {}
    return s3_client(running.endpoint, verify=running.ca, **credentials, **files)


def test_a_required_client_certificate(start, tmp_path, authority):
    running = mutual(start, tmp_path, authority, "required")
    good = authority.client("client", ("O", "Example"), ("CN", "client"))
    s3 = boto(running, good)
    bucket = new_bucket(s3)
    s3.put_object(Bucket=bucket, Key="object", Body=CONTENT)
    assert s3.get_object(Bucket=bucket, Key="object")["Body"].read() == CONTENT
    stranger = Authority(tmp_path / "stranger", "another authority").client("client", ("CN", "client"))
    for client in (None, stranger):
        with pytest.raises(BotoCoreError):
            boto(running, client).get_object(Bucket=bucket, Key="object")
    until(lambda: running.metrics().get('s3veil_connections_unusable_total{reason="tls_client_certificate"}', 0) >= 2)
    until(lambda: "reason=tls_client_certificate" in running.log_text())


FORMS = ["header", "presigned", "presigned-v2", "form"]


def attempt(running, form, bucket, client):
    """The status and S3 error code of an upload that is signed in this form by the bound access key."""
    s3 = boto(running, client, **BOUND)
    context = ssl.create_default_context(cafile=running.ca)
    if client:
        context.load_cert_chain(*client)
    try:
        if form == "header":
            s3.put_object(Bucket=bucket, Key="object", Body=CONTENT)
            return 200, None
        if form == "form":
            made = s3.generate_presigned_post(bucket, "object")
            boundary = "boundary"
            parts = [f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in made["fields"].items()]
            parts.append(f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n')
            body = "".join(parts).encode() + CONTENT + f"\r\n--{boundary}--\r\n".encode()
            request = urllib.request.Request(made["url"], body, {"Content-Type": f"multipart/form-data; boundary={boundary}"})
        else:
            version = "s3v4" if form == "presigned" else "s3"
            signer = s3_client(running.endpoint, **BOUND, signature_version=version, verify=running.ca)
            url = signer.generate_presigned_url("put_object", {"Bucket": bucket, "Key": "object"})
            request = urllib.request.Request(url, CONTENT, {"Content-Type": ""}, method="PUT")
        handlers = [urllib.request.HTTPSHandler(context=context), urllib.request.ProxyHandler({})]
        return urllib.request.build_opener(*handlers).open(request, timeout=20).status, None
    except ClientError as refused:
        return refused.response["ResponseMetadata"]["HTTPStatusCode"], refused.response["Error"]["Code"]
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read().decode().split("<Code>")[1].split("</Code>")[0]


@pytest.mark.parametrize("form", FORMS)
def test_an_access_key_bound_to_a_certificate(start, tmp_path, authority, form):
    running = mutual(start, tmp_path, authority, "optional", "CN=backup,O=Example")
    bucket = new_bucket(boto(running))  # a key without certificate_subject requires none
    own = authority.client("backup", ("O", "Example"), ("CN", "backup"))
    other = authority.client("other", ("O", "Example"), ("CN", "other"))
    posing = authority.client("posing", ("CN", "backup,O=Example"))
    for client in (None, other, posing):
        status, code = attempt(running, form, bucket, client)
        assert (status, code) == (403, "AccessDenied"), f"This is a security issue: {client}."
    assert "Contents" not in boto(running).list_objects_v2(Bucket=bucket)
    assert attempt(running, form, bucket, own)[0] in (200, 204)
    assert boto(running).get_object(Bucket=bucket, Key="object")["Body"].read() == CONTENT


def test_the_refusal_names_what_was_presented(start, tmp_path, authority):
    running = mutual(start, tmp_path, authority, "optional", "URI:spiffe://example.com/backup")
    bucket = new_bucket(boto(running))
    named = authority.client("spiffe", alternative=[x509.UniformResourceIdentifier("spiffe://example.com/backup")])
    boto(running, named, **BOUND).put_object(Bucket=bucket, Key="object", Body=b"x")
    other = authority.client("other", ("CN", "other"), alternative=[x509.UniformResourceIdentifier("spiffe://example.com/other")])
    with pytest.raises(ClientError) as refused:
        boto(running, other, **BOUND).put_object(Bucket=bucket, Key="object", Body=b"y")
    message = refused.value.response["Error"]["Message"]
    assert "requires its own client certificate" in message
    assert '["CN=other", "URI:spiffe://example.com/other"]' in message
    with pytest.raises(ClientError) as refused:
        boto(running, **BOUND).put_object(Bucket=bucket, Key="object", Body=b"y")
    assert "this connection has none" in refused.value.response["Error"]["Message"]


def test_operators_have_tls_and_a_token(tmp_path, authority):
    token = "an-admin-token-of-25-byte"
    server = authority.server("admin", "localhost")
    port, backend = free_port(), embedded_backend(tmp_path)
    admin = {"address": f"127.0.0.1:{port}", "tls": pair(server), "bearer_token": token}
    context = ssl.create_default_context(cafile=authority.file)

    def ask(path, **headers):
        request = urllib.request.Request(f"https://localhost:{port}{path}", headers=headers)
        handlers = [urllib.request.HTTPSHandler(context=context), urllib.request.ProxyHandler({})]
        try:
            return urllib.request.build_opener(*handlers).open(request, timeout=10)
        except urllib.error.HTTPError as refused:
            return refused

    with Proxy(tmp_path / "proxy", backend.upstream, backend.keyring, {"admin": admin}) as running:
        assert ask("/healthz").status == 200
        assert until(lambda: ask("/readyz").status == 200)
        for path in ("/", "/metrics", "/anything"):
            refused = ask(path)
            assert refused.status == 401, "This is a security issue."
            assert refused.headers["WWW-Authenticate"] == 'Bearer realm="s3veil"'
            assert ask(path, Authorization="Bearer an-admin-token-of-25-bytf").status == 401
        metrics = ask("/metrics", Authorization=f"Bearer {token}").read().decode()
        assert 's3veil_certificate_expiry_timestamp_seconds{certificate="admin.tls.certificate"}' in metrics
        assert token not in running.log_text()
