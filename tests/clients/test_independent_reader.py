"""The data is not locked in: sixty lines of Python, written from docs/FORMAT.md alone, open what the proxy stored."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import read_native
from multiparts import LEAST, upload
from read_native import CHUNK, read_native as open_object, unwrap_local


@pytest.fixture
def unwrap(backend, request):
    if backend.keyring["provider"] == "local":
        keyring = tomllib.loads(Path(backend.keyring["file"]).read_text())
        return lambda blob, context: unwrap_local(keyring, blob, context)
    kms = request.getfixturevalue("kms")
    return lambda blob, context: kms.decrypt(CiphertextBlob=blob, EncryptionContext=context)["Plaintext"]


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 10 * CHUNK + 3])
def test_opens_what_the_proxy_stored(s3, bucket, backend, unwrap, size):
    content = os.urandom(size)
    s3.put_object(Bucket=bucket, Key="dir/ünï", Body=content)
    stored = backend.store.read(bucket, "dir/ünï")
    assert open_object(stored.body, stored.metadata, bucket, "dir/ünï", unwrap) == content


LAYOUTS = {
    "one part": [(1, 100)],
    "nothing": [(1, 0)],
    "small last part": [(1, LEAST), (2, LEAST), (3, CHUNK + 1)],
    "large last part": [(1, LEAST), (2, LEAST)],
    "uneven, small last part": [(1, LEAST + 1), (2, LEAST + 3), (3, 7)],
    "uneven, large last part": [(1, LEAST + 1), (2, LEAST)],
    "gaps": [(3, LEAST), (8, 7)],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_opens_what_came_in_parts(s3, bucket, backend, unwrap, layout):
    content = upload(s3, bucket, LAYOUTS[layout], "dir/ünï")
    stored = backend.store.read(bucket, "dir/ünï")
    assert open_object(stored.body, stored.metadata, bucket, "dir/ünï", unwrap) == content


def test_by_its_command_line(start, tmp_path):
    from conftest import embedded_backend, new_bucket

    backend = embedded_backend(tmp_path)
    running = start(backend)
    bucket = new_bucket(running.boto())
    running.boto().put_object(Bucket=bucket, Key="object", Body=b"not locked in")
    stored = backend.store.read(bucket, "object")
    (tmp_path / "body").write_bytes(stored.body)
    (tmp_path / "metadata.json").write_text(json.dumps(stored.metadata))
    command = [sys.executable, read_native.__file__, tmp_path / "body", tmp_path / "metadata.json", bucket, "object",
               "--keyring", backend.keyring["file"]]  # fmt: skip
    assert subprocess.run(command, capture_output=True, check=True, timeout=30).stdout == b"not locked in"
