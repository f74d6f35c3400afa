"""Fixtures: what is behind the proxy (both kinds), a proxy per kind and scheme for the whole session, a bucket per test."""

import functools
import os
import uuid
from dataclasses import dataclass

import pytest

from aws_command import Aws
from backing import EmbeddedStore, LocalStack, LocalStackStore, localstack_from_environment
from judge import appeared_late
from proxy import Certificate, Proxy, kms_client, write_keyring
from scheduler import Scheduler

EMBEDDED, LOCALSTACK = "embedded", "localstack"
KEY_ALIAS = "alias/s3veil"  # as README's configuration names the key


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    return Scheduler(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item, nextitem):
    """Fails a test after which something appeared in a bucket that has to stay empty, or the test that runs a second later. What
    another file, or another backend, tests may stop the proxy, so none goes on before."""
    goes_on = nextitem is not None and nextitem.path == item.path and backend_of(nextitem) == backend_of(item)
    try:
        late = appeared_late(wait=not goes_on)
    finally:
        outcome = yield
    assert not late, f"appeared after the test had ended: {late}"
    return outcome


def backend_of(item):
    return getattr(item, "callspec", None) and item.callspec.params.get("backend")


@pytest.fixture(scope="session")
def localstack(tmp_path_factory):
    """The endpoints (S3, KMS) of LocalStack: the one that scripts/test started, else one of our own. It works on one request
    at a time, so every further process of a parallel run has its own too."""
    s3, kms = localstack_from_environment()
    is_first = os.environ.get("PYTEST_XDIST_WORKER", "gw0") == "gw0"
    if s3 and kms and is_first:
        yield s3, kms
        return
    server = LocalStack(tmp_path_factory.mktemp("localstack")).start()
    yield server.endpoint, server.endpoint
    server.stop()


@pytest.fixture(scope="session")
def kms(localstack):
    return kms_client(localstack[1])


@pytest.fixture(scope="session")
def kms_key(kms):
    """The id of the key that KEY_ALIAS names; the proxies know it by that alias alone."""
    try:
        return kms.describe_key(KeyId=KEY_ALIAS)["KeyMetadata"]["KeyId"]
    except kms.exceptions.NotFoundException:
        return new_key(kms, KEY_ALIAS)


def new_key(kms, alias=None):
    """The id of a new KMS key, which has an alias: the given one, else `alias_of` its id."""
    key_id = kms.create_key(Description="s3veil tests")["KeyMetadata"]["KeyId"]
    kms.create_alias(AliasName=alias or alias_of(key_id), TargetKeyId=key_id)
    return key_id


def alias_of(key_id):
    return f"{KEY_ALIAS}-{key_id}"


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    return Certificate.make(tmp_path_factory.mktemp("tls"))


@dataclass
class Backend:
    """A kind of storage, with how a proxy reaches it and how a test looks behind the proxy."""

    name: str
    upstream: dict
    keyring: dict
    store: EmbeddedStore | LocalStackStore


def embedded_backend(directory):
    data = directory / "data"
    data.mkdir()
    keyring = {"provider": "local", "file": write_keyring(directory / "keyring", "test-key")}
    # Several proxies of one test serve one directory, and a disk that is waited for thousands of times proves nothing more.
    upstream = {"endpoint": f"embedded:{data}", "embedded_shared": True, "embedded_sync": "off"}
    return Backend(EMBEDDED, upstream, keyring, EmbeddedStore(data))


def localstack_backend(endpoints, key_id=KEY_ALIAS):
    """LocalStack behind a proxy whose key service is configured as README does it. The alias has to be there: see `kms_key`."""
    upstream = {"endpoint": endpoints[0], "path_style": True, "access_key_id": "test", "secret_access_key": "test"}
    keyring = {"provider": "aws-kms", "key_id": key_id, "endpoint": endpoints[1], "region": "us-east-1"}
    return Backend(LOCALSTACK, upstream, keyring, LocalStackStore(endpoints[0]))


def backend_named(request, directory):
    if request.param == EMBEDDED:
        return embedded_backend(directory)
    request.getfixturevalue("kms_key")
    return localstack_backend(request.getfixturevalue("localstack"))


@pytest.fixture(scope="session", params=[EMBEDDED, LOCALSTACK])
def backend(request, tmp_path_factory):
    return backend_named(request, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="session")
def proxy(backend, tmp_path_factory):
    with Proxy(tmp_path_factory.mktemp("proxy"), backend.upstream, backend.keyring) as running:
        yield running


@pytest.fixture(scope="session", params=[EMBEDDED, LOCALSTACK])
def tls(request, tmp_path_factory, certificate):
    """A proxy that speaks TLS, where boto3 sends its checksums in trailers, and its backend."""
    backend = backend_named(request, tmp_path_factory.mktemp("tls-" + request.param))
    with Proxy(tmp_path_factory.mktemp("tls-proxy"), backend.upstream, backend.keyring, certificate=certificate) as running:
        yield running, backend


@pytest.fixture(scope="session")
def real(localstack, kms_key):
    """The LocalStack backend, for tests of what the embedded store does not have."""
    return localstack_backend(localstack)


@pytest.fixture(scope="session")
def real_proxy(real, tmp_path_factory):
    with Proxy(tmp_path_factory.mktemp("real-proxy"), real.upstream, real.keyring) as running:
        yield running


@pytest.fixture
def start(tmp_path):
    """start(backend, keyring={...}, **sections): a further proxy, stopped when the test ends."""
    running = []

    def start_one(backend, upstream=None, keyring=None, **sections):
        directory = tmp_path / f"proxy-{len(running)}"
        upstream, keyring = {**backend.upstream, **(upstream or {})}, {**backend.keyring, **(keyring or {})}
        if not upstream["endpoint"].startswith("embedded:"):
            upstream = {name: value for name, value in upstream.items() if not name.startswith("embedded_")}
        made = Proxy(directory, upstream, keyring, sections)
        running.append(made)
        return made.start()

    yield start_one
    for made in running:
        made.stop()


def new_bucket(client):
    name = f"b-{uuid.uuid4().hex[:16]}"
    client.create_bucket(Bucket=name)
    return name


@pytest.fixture
def s3(proxy):
    return proxy.boto()


# A boto3 client takes longer to make than a bucket.
@pytest.fixture(scope="session")
def bucket_maker(proxy):
    return proxy.boto()


@pytest.fixture(scope="session")
def real_bucket_maker(real_proxy):
    return real_proxy.boto()


@pytest.fixture(scope="session")
def tls_bucket_maker(tls):
    return tls[0].boto()


@pytest.fixture
def bucket(bucket_maker, backend):
    name = new_bucket(bucket_maker)
    yield name
    forget_large(backend, name)


@pytest.fixture
def real_bucket(real_bucket_maker):
    return new_bucket(real_bucket_maker)


@pytest.fixture
def tls_bucket(tls_bucket_maker, tls):
    name = new_bucket(tls_bucket_maker)
    yield name
    forget_large(tls[1], name)


def forget_large(backend, bucket):
    # LocalStack's objects are no files.
    if isinstance(backend.store, EmbeddedStore):
        backend.store.forget_large(bucket)


@pytest.fixture(scope="session")
def aws_process():
    process = Aws()
    yield process
    process.stop()


@pytest.fixture
def aws_at(aws_process, tmp_path):
    """aws_at(running, "s3", "ls", ...): the `aws` command against a proxy; a failure is the test's unless `check=False`."""

    def run(running, *arguments, check=True, **streams):
        environment = running.aws_environment() | {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
        arguments = ["--endpoint-url", running.endpoint, *map(str, arguments)]
        done = aws_process.run(arguments, environment, tmp_path, **streams)
        assert not check or done.returncode == 0, f"aws {arguments}: {done.stderr}\n{running.log_text()[-2000:]}"
        return done

    return run


@pytest.fixture
def aws(proxy, aws_at):
    """aws("s3", "ls", ...): the `aws` command against the proxy of the session."""
    return functools.partial(aws_at, proxy)
