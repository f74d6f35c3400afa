"""Objects through boto3: every size around a chunk's edge, every kind of range, and what is stored for them."""

import http.client
import urllib.parse
import base64
import os

import pytest
from botocore.exceptions import ClientError

from backing import error_code, status

CHUNK = 65_536
SIZES = [0, 1, 15, 16, 17, CHUNK - 17, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK - 1, 5 * CHUNK + 7, 1 << 20]


@pytest.mark.parametrize("size", SIZES)
def test_what_was_put_is_got(s3, bucket, backend, size):
    content = os.urandom(size)
    put = s3.put_object(Bucket=bucket, Key="object", Body=content)
    got = s3.get_object(Bucket=bucket, Key="object")
    head = s3.head_object(Bucket=bucket, Key="object")
    assert got["Body"].read() == content
    assert got["ContentLength"] == head["ContentLength"] == size
    assert got["ETag"] == head["ETag"] == put["ETag"]
    assert len(backend.store.read(bucket, "object").body) == size + 16 * max(1, -(-size // CHUNK))


def test_the_store_holds_no_plaintext_and_the_client_sees_no_envelope(s3, bucket, backend):
    plaintext = b"a very recognisable sentence; " * 10_000
    s3.put_object(Bucket=bucket, Key="object", Body=plaintext, Metadata={"mine": "kept"})
    stored = backend.store.read(bucket, "object")
    assert not backend.store.contains(bucket, b"recognisable")
    assert set(stored.metadata) == {"mine", "encryption-key", "encryption-envelope"}
    for name in ("encryption-key", "encryption-envelope"):
        assert base64.b64encode(base64.b64decode(stored.metadata[name], validate=True)).decode() == stored.metadata[name]
    for answer in (s3.head_object(Bucket=bucket, Key="object"), s3.get_object(Bucket=bucket, Key="object")):
        assert answer["Metadata"] == {"mine": "kept"}
        assert not any("encryption-" in name and name.startswith("x-amz-meta-") for name in answer["ResponseMetadata"]["HTTPHeaders"])


def test_the_same_plaintext_never_has_the_same_ciphertext(s3, bucket, backend):
    for name in ("one", "two"):
        s3.put_object(Bucket=bucket, Key=name, Body=bytes(1000))
    one, two = (backend.store.read(bucket, name) for name in ("one", "two"))
    assert one.body != two.body
    assert one.metadata["encryption-envelope"] != two.metadata["encryption-envelope"]


def test_answers_say_that_the_object_is_encrypted(s3, bucket):
    """Clients such as rclone take an ETag for an MD5 unless the answer says aws:kms."""
    answers = [
        s3.put_object(Bucket=bucket, Key="object", Body=b"x"),
        s3.head_object(Bucket=bucket, Key="object"),
        s3.get_object(Bucket=bucket, Key="object"),
    ]
    for answer in answers:
        assert answer["ServerSideEncryption"] == "aws:kms"
        assert answer["SSEKMSKeyId"]


RANGED = os.urandom(3 * CHUNK + 1000)
EDGES = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK - 1, 3 * CHUNK, len(RANGED) - 1]


@pytest.fixture(scope="module")
def ranged(proxy):
    client, name = proxy.boto(), f"ranged-{os.urandom(6).hex()}"
    client.create_bucket(Bucket=name)
    client.put_object(Bucket=name, Key="object", Body=RANGED)
    return lambda asked: client.get_object(Bucket=name, Key="object", Range=asked)


@pytest.mark.parametrize("first", EDGES)
def test_ranges_between_all_edges(ranged, first):
    for last in (edge for edge in EDGES if edge >= first):
        got = ranged(f"bytes={first}-{last}")
        assert got["Body"].read() == RANGED[first : last + 1], (first, last)
        assert got["ContentRange"] == f"bytes {first}-{last}/{len(RANGED)}"
        assert got["ContentLength"] == last + 1 - first
        assert got["ResponseMetadata"]["HTTPStatusCode"] == 206


@pytest.mark.parametrize("first", EDGES)
def test_open_ranges(ranged, first):
    got = ranged(f"bytes={first}-")
    assert got["Body"].read() == RANGED[first:]
    assert got["ContentRange"] == f"bytes {first}-{len(RANGED) - 1}/{len(RANGED)}"


@pytest.mark.parametrize("length", [1, 999, 1000, 1001, CHUNK, CHUNK + 1000, CHUNK + 1001, len(RANGED) - 1, len(RANGED), len(RANGED) + 1, 1 << 40])
def test_suffix_ranges(ranged, length):
    got = ranged(f"bytes=-{length}")
    first = max(0, len(RANGED) - length)
    assert got["Body"].read() == RANGED[first:]
    assert got["ContentRange"] == f"bytes {first}-{len(RANGED) - 1}/{len(RANGED)}"


@pytest.mark.parametrize("last", [len(RANGED), len(RANGED) + 16, len(RANGED) + CHUNK, 1 << 62])
def test_a_range_that_ends_beyond_the_object_is_clipped(ranged, last):
    got = ranged(f"bytes=100-{last}")
    assert got["Body"].read() == RANGED[100:]
    assert got["ContentRange"] == f"bytes 100-{len(RANGED) - 1}/{len(RANGED)}"


@pytest.mark.parametrize("asked", [f"bytes={len(RANGED)}-", f"bytes={len(RANGED) + 20}-{len(RANGED) + 30}", f"bytes={1 << 62}-", "bytes=-0"])
def test_a_range_outside_the_object_is_refused(ranged, asked):
    with pytest.raises(ClientError) as refused:
        ranged(asked)
    assert (status(refused.value), error_code(refused.value)) == (416, "InvalidRange")


@pytest.mark.parametrize("asked", ["bytes=5-3", "bytes=a-b", "bytes=", "bytes=--1"])
def test_what_is_no_range_is_ignored(ranged, asked):
    got = ranged(asked)
    assert got["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert got["Body"].read() == RANGED


def test_ranges_of_an_empty_object(s3, bucket):
    s3.put_object(Bucket=bucket, Key="empty", Body=b"")
    with pytest.raises(ClientError) as refused:
        s3.get_object(Bucket=bucket, Key="empty", Range="bytes=0-0")
    assert error_code(refused.value) == "InvalidRange"


def test_overwriting(s3, bucket):
    for content in (os.urandom(100_000), b"", os.urandom(10)):
        s3.put_object(Bucket=bucket, Key="object", Body=content)
        assert s3.get_object(Bucket=bucket, Key="object")["Body"].read() == content


def test_deleting(s3, bucket, backend):
    s3.put_object(Bucket=bucket, Key="object", Body=b"x")
    s3.delete_object(Bucket=bucket, Key="object")
    assert backend.store.keys(bucket) == []
    with pytest.raises(ClientError) as missing:
        s3.get_object(Bucket=bucket, Key="object")
    assert (status(missing.value), error_code(missing.value)) == (404, "NoSuchKey")
    with pytest.raises(ClientError) as missing:
        s3.head_object(Bucket=bucket, Key="object")
    assert status(missing.value) == 404


def test_deleting_many(s3, bucket, backend):
    for i in range(5):
        s3.put_object(Bucket=bucket, Key=f"n/{i}", Body=b"x")
    answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": f"n/{i}"} for i in range(4)]})
    assert sorted(item["Key"] for item in answer["Deleted"]) == [f"n/{i}" for i in range(4)]
    assert backend.store.keys(bucket) == ["n/4"]


def test_a_missing_bucket(s3):
    for call in (lambda: s3.put_object(Bucket="no-such-bucket-here", Key="k", Body=b"x"),
                 lambda: s3.get_object(Bucket="no-such-bucket-here", Key="k")):  # fmt: skip
        with pytest.raises(ClientError) as missing:
            call()
        assert status(missing.value) == 404


def test_listing_names_the_objects(s3, bucket):
    names = ["a", "b/1", "b/2", "c d"]
    for name in names:
        s3.put_object(Bucket=bucket, Key=name, Body=b"x")
    assert [item["Key"] for item in s3.list_objects_v2(Bucket=bucket)["Contents"]] == names
    grouped = s3.list_objects_v2(Bucket=bucket, Delimiter="/")
    assert [item["Prefix"] for item in grouped["CommonPrefixes"]] == ["b/"]


def test_buckets(s3, bucket):
    assert bucket in [item["Name"] for item in s3.list_buckets()["Buckets"]]
    s3.head_bucket(Bucket=bucket)
    s3.get_bucket_location(Bucket=bucket)
    s3.delete_bucket(Bucket=bucket)
    with pytest.raises(ClientError) as missing:
        s3.head_bucket(Bucket=bucket)
    assert status(missing.value) == 404


def test_fifty_at_once(proxy, bucket):
    """Concurrent streams must not mix."""
    from concurrent.futures import ThreadPoolExecutor

    client = proxy.boto(max_pool_connections=16)
    contents = {f"object-{i}": os.urandom(1000 * i + i) for i in range(50)}
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda item: client.put_object(Bucket=bucket, Key=item[0], Body=item[1]), contents.items()))
        got = dict(pool.map(lambda name: (name, client.get_object(Bucket=bucket, Key=name)["Body"].read()), contents))
    assert got == contents


def test_an_empty_body_that_waits_to_be_asked_for_ends_its_connection(s3, bucket):
    """botocore would take the next answer on it for headers, since no 100 came before this one."""
    url = urllib.parse.urlsplit(s3.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "empty"}))
    connection = http.client.HTTPConnection(url.netloc, timeout=10)
    connection.request("PUT", f"{url.path}?{url.query}", headers={"Expect": "100-continue", "Content-Length": "0"})
    answer = connection.getresponse()
    assert (answer.status, answer.getheader("connection")) == (200, "close")
    connection.close()
