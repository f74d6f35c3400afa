"""SSE-C by connection: over plain HTTP from another address a customer key is refused, unless the rule takes it on any connection.
The other address exists in a network namespace alone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from other_address import OTHER

SCRIPT = Path(__file__).with_name("other_address.py")
# A namespace has a loopback interface alone, which is down.
NAMESPACE = ["unshare", "--map-root-user", "--net", "sh", "-ec", f'ip link set lo up; ip address add {OTHER}/32 dev lo; exec "$@"', "sh"]
WITH_KEY = ["PUT", "GET", "HEAD", "create upload", "copy to a key", "copy from a key", "form"]
SECURE = "400 InvalidArgument"
DENIED = "403 AccessDenied"


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    try:
        tried = subprocess.run([*NAMESPACE, "true"], capture_output=True, text=True, timeout=30)
    except FileNotFoundError as missing:
        pytest.skip(f"no network namespace: {missing.filename} is not installed")
    if tried.returncode:
        pytest.skip(f"no network namespace: {tried.stderr.strip()}")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [*NAMESPACE, sys.executable, SCRIPT, tmp_path_factory.mktemp("namespace")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=150, env=environment)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout)


def answers(told, rule, address):
    return {request: told[f"{rule} {address} {request}"] for request in WITH_KEY if f"{rule} {address} {request}" in told}


def test_from_another_address_over_plain_http_a_key_is_refused(told):
    refused = answers(told, "tls", OTHER)
    assert refused.pop("HEAD") == "400"
    assert refused == dict.fromkeys(refused, SECURE) and len(refused) == len(WITH_KEY) - 1
    assert told[f"tls {OTHER} PUT without"] == told[f"tls {OTHER} GET without"] == "200"


@pytest.mark.parametrize("rule, address", [("tls", "127.0.0.1"), ("tls over TLS", OTHER), ("any", OTHER), ("any", "127.0.0.1")])
def test_from_this_machine_over_tls_or_by_the_rule_it_is_taken(told, rule, address):
    taken = answers(told, rule, address)
    assert taken.pop("form", "204") == "204"
    assert taken == dict.fromkeys(taken, "200") and len(taken) == len(WITH_KEY) - 1


def test_where_customer_keys_are_off_neither_is_anything_read_over_plain_http(told):
    for address, read in (("127.0.0.1", "200"), (OTHER, SECURE)):
        answered = answers(told, "off", address)
        assert {answered.pop(stores) for stores in ("PUT", "create upload", "copy to a key", "form")} == {DENIED}
        assert answered == {"GET": read, "HEAD": read.split()[0], "copy from a key": read}
