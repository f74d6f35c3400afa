"""moto's S3 server behind the proxy. It verifies no signature, and reads no part by its number. Skipped where it is not installed
(tests/requirements/moto.txt)."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from backing import LocalStackStore
from conftest import Backend, new_bucket
from ports import free_port
from proxy import Proxy, write_keyring
from test_independent_reader import unwrap  # noqa: F401, a fixture
from test_sse_c import (  # noqa: F401, tests that run here too
    test_a_checksum_needs_the_key,
    test_a_key_is_rotated_in_place,
    test_a_last_part_that_has_to_be_sealed_again,
    test_copied_parts,
    test_copies,
    test_forms,
    test_parts_have_the_key_of_their_upload,
    test_round_trips,
    test_without_the_key_and_with_another,
)

SERVER = Path(sys.prefix).with_name("moto") / "bin/moto_server"
START_SECONDS = 60


def until_it_listens(server, port):
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise AssertionError(f"moto did not start within {START_SECONDS} s")


@pytest.fixture(scope="module")
def backend(tmp_path_factory):
    if not SERVER.exists():
        pytest.skip("moto is not installed")
    directory, port = tmp_path_factory.mktemp("moto"), free_port()
    environment = {**os.environ, "S3_IGNORE_SUBDOMAIN_BUCKETNAME": "true", "MOTO_S3_DEFAULT_KEY_BUFFER_SIZE": str(16 << 20)}
    with (directory / "log").open("wb") as log:
        command = [SERVER, "--host", "127.0.0.1", "--port", str(port)]
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=directory, env=environment)
    try:
        until_it_listens(server, port)
        endpoint = f"http://127.0.0.1:{port}"
        upstream = {"endpoint": endpoint, "path_style": True, "access_key_id": "test", "secret_access_key": "test"}
        keyring = {"provider": "local", "file": write_keyring(directory / "keyring", "test-key")}
        yield Backend("moto", upstream, keyring, LocalStackStore(endpoint))
    finally:
        server.terminate()
        server.wait(20)


@pytest.fixture(scope="module")
def proxy(backend, tmp_path_factory):
    with Proxy(tmp_path_factory.mktemp("moto-proxy"), backend.upstream, backend.keyring) as running:
        yield running


@pytest.fixture
def bucket(s3):
    return new_bucket(s3)
