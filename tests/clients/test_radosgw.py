"""Ceph's object gateway behind the proxy: it verifies signatures, and has quirks of its own. Skipped where it is not installed."""

import itertools
import subprocess
from pathlib import Path

import pytest

from backing import LocalStackStore
from conftest import Backend, new_bucket
from faulty import Faulty, error
from multiparts import LEAST, Upload, assert_exact, content, read, refused, upload
from ports import free_port
from proxy import REGION, Proxy, s3_client, write_keyring
from test_independent_reader import unwrap  # noqa: F401, a fixture
from test_sse_c import (  # noqa: F401, tests that run here too
    test_a_checksum_needs_the_key,
    test_a_key_is_rotated_in_place,
    test_a_last_part_that_has_to_be_sealed_again,
    test_copied_parts,
    test_copies,
    test_parts_have_the_key_of_their_upload,
    test_round_trips,
    test_uploads,
)

SCRIPT = Path(__file__).parents[2] / "scripts" / "radosgw"
ACCESS_KEY_ID, SECRET = "test", "testsecret"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    """The address of a running radosgw."""
    looked = subprocess.run([SCRIPT, "installed"], capture_output=True, text=True, timeout=30)
    if looked.returncode:
        pytest.skip(f"radosgw: {looked.stdout.strip()}")
    directory, port = tmp_path_factory.mktemp("radosgw") / "cluster", free_port()
    try:
        subprocess.run([SCRIPT, "start", directory, str(port)], check=True, timeout=300)
        yield f"http://127.0.0.1:{port}"
    finally:
        subprocess.run([SCRIPT, "stop", directory], timeout=60)


def backend_at(endpoint, directory):
    upstream = {"endpoint": endpoint, "path_style": True, "access_key_id": ACCESS_KEY_ID, "secret_access_key": SECRET, "checksum": "none", "region": REGION}
    keyring = {"provider": "local", "file": write_keyring(directory / "keyring", "test-key")}
    return Backend("radosgw", upstream, keyring, LocalStackStore(endpoint, ACCESS_KEY_ID, SECRET))


@pytest.fixture(scope="module")
def backend(gateway, tmp_path_factory):
    return backend_at(gateway, tmp_path_factory.mktemp("radosgw-keys"))


@pytest.fixture(scope="module")
def proxy(backend, tmp_path_factory):
    with Proxy(tmp_path_factory.mktemp("radosgw-proxy"), backend.upstream, backend.keyring) as running:
        yield running


@pytest.fixture
def bucket(s3):
    return new_bucket(s3)


@pytest.fixture
def storage(gateway):
    return s3_client(gateway, ACCESS_KEY_ID, SECRET)


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 3_000_000])
def test_objects_of_one_put(s3, bucket, storage, size):
    body = content(size)
    put = s3.put_object(Bucket=bucket, Key="object", Body=body, Metadata={"a": "b"}, ContentType="text/x-test")
    assert_exact(s3, bucket, body, [size // 2])
    head = s3.head_object(Bucket=bucket, Key="object")
    assert (head["ETag"], head["Metadata"], head["ContentType"]) == (put["ETag"], {"a": "b"}, "text/x-test")
    stored = storage.get_object(Bucket=bucket, Key="object")["Body"].read()
    assert len(stored) == size + 16 * max(1, -(-size // 65_536)) and (size < 16 or body[:16] not in stored)
    assert refused(read, s3, bucket, Range=f"bytes={size + 100_000}-") == (416, "InvalidRange")


def test_listings_and_deletions(s3, bucket):
    names = ["a", "b/c", "b/d e", "ü", "z+%"]
    for name in names:
        s3.put_object(Bucket=bucket, Key=name, Body=content(70_000))
    listed = s3.list_objects_v2(Bucket=bucket)["Contents"]
    assert sorted((item["Key"], item["Size"]) for item in listed) == sorted((name, 70_000) for name in names)
    assert [item["Prefix"] for item in s3.list_objects_v2(Bucket=bucket, Delimiter="/")["CommonPrefixes"]] == ["b/"]
    s3.delete_object(Bucket=bucket, Key="a")
    deleted = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": name} for name in names[1:]]})
    assert sorted(item["Key"] for item in deleted["Deleted"]) == sorted(names[1:])
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
    assert refused(read, s3, bucket, "a") == (404, "NoSuchKey")


@pytest.mark.parametrize("sizes", [[LEAST, LEAST, 99], [LEAST + 1, LEAST + 70_000, 99], [LEAST, LEAST]])
@pytest.mark.parametrize("order", ["in order", "the last first"])
def test_uploads_and_their_copies(s3, bucket, sizes, order):
    one = Upload.start(s3, bucket)
    bodies = {number: content(size, seed=number) for number, size in enumerate(sizes, 1)}
    for number in sorted(bodies, reverse=order != "in order"):
        one.send(number, bodies[number])
    done = one.complete()
    expected = b"".join(bodies.values())
    edges = list(itertools.accumulate(sizes))
    assert_exact(s3, bucket, expected, edges)
    assert done["ETag"] == s3.head_object(Bucket=bucket, Key="object")["ETag"]
    assert one.complete()["ETag"] == done["ETag"], "sent again, it is answered again"
    copied = s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "object"})
    assert copied["CopyObjectResult"]["ETag"] == s3.head_object(Bucket=bucket, Key="copy")["ETag"]
    assert_exact(s3, bucket, expected, edges, key="copy")


def test_an_upload_that_never_was(s3, bucket):
    one = Upload.start(s3, bucket)
    one.send(1, b"content")
    one.abort()
    for call in (one.complete, one.abort, one.listed):
        assert refused(call) == (404, "NoSuchUpload")


def test_copies(s3, bucket):
    body = content(200_000)
    s3.put_object(Bucket=bucket, Key="from", Body=body, Metadata={"a": "b"})
    s3.copy_object(Bucket=bucket, Key="to", CopySource={"Bucket": bucket, "Key": "from"})
    s3.copy_object(Bucket=bucket, Key="from", CopySource={"Bucket": bucket, "Key": "from"}, MetadataDirective="REPLACE", Metadata={"c": "d"})
    assert read(s3, bucket, "to") == read(s3, bucket, "from") == body
    assert [s3.head_object(Bucket=bucket, Key=name)["Metadata"] for name in ("to", "from")] == [{"a": "b"}, {"c": "d"}]
    one = Upload.start(s3, bucket, "assembled")
    copied = s3.upload_part_copy(PartNumber=1, CopySource={"Bucket": bucket, "Key": "from"}, CopySourceRange="bytes=7-150006", **one.place)
    one.parts[1] = {"PartNumber": 1, "ETag": copied["CopyPartResult"]["ETag"]}
    one.complete()
    assert read(s3, bucket, "assembled") == body[7:150_007]


def test_versions(s3, bucket):
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    versions = {}
    for seed in (1, 2):
        versions[seed] = s3.put_object(Bucket=bucket, Key="object", Body=content(100_000 + seed, seed))["VersionId"]
    upload(s3, bucket, [(1, LEAST), (2, 5)])
    marker = s3.delete_object(Bucket=bucket, Key="object")
    assert marker["DeleteMarker"] and refused(read, s3, bucket)[0] == 404
    for seed, version in versions.items():
        assert read(s3, bucket, VersionId=version) == content(100_000 + seed, seed)
    listed = s3.list_object_versions(Bucket=bucket)
    assert sorted(item["Size"] for item in listed["Versions"]) == [100_001, 100_002, LEAST + 5]
    s3.delete_object(Bucket=bucket, Key="object", VersionId=marker["VersionId"])
    assert len(read(s3, bucket)) == LEAST + 5


def test_conditions(s3, bucket):
    etag = s3.put_object(Bucket=bucket, Key="object", Body=b"content")["ETag"]
    assert read(s3, bucket, IfMatch=etag) == b"content"
    assert refused(read, s3, bucket, IfMatch='"0"')[0] == 412
    assert refused(read, s3, bucket, IfNoneMatch=etag)[0] == 304


def test_a_client_with_a_wrong_secret(proxy, bucket):
    assert refused(proxy.boto(secret_access_key="wrong").put_object, Bucket=bucket, Key="object", Body=b"x")[0] == 403


@pytest.mark.parametrize("moment", [r"^PUT .*[?&]partNumber=3\b", r"^POST .*[?&]uploadId="])
def test_an_upload_whose_last_part_is_resealed_outlives_a_failure(gateway, start, tmp_path, moment):
    """radosgw makes an object only of all parts, so the new last part takes the client's place; it is put back when the upload is not completed."""
    faulty = Faulty(gateway)
    backend = backend_at(faulty.endpoint, tmp_path)
    backend.upstream["max_retries"] = 0
    s3 = start(backend).boto()
    bucket = new_bucket(s3)
    one = Upload.start(s3, bucket)
    bodies = {number: content(size, seed=number) for number, size in enumerate([LEAST + 1, LEAST + 2, 99], 1)}
    for number in (3, 1, 2):
        one.send(number, bodies[number])
    fault = faulty.on(moment, instead=error(500))
    assert refused(one.complete)[0] in (500, 503)
    assert fault.times == 0
    other = start(backend).boto()
    assert refused(one.complete, s3=other) == (400, "InvalidPart"), "it has to be sent again there"
    one.complete()
    assert_exact(other, bucket, b"".join(bodies.values()))
    faulty.stop()
