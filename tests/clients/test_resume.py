"""A client of the Docker registry's kind: it keeps no upload id, but finds it in the list of uploads, lists the parts, and goes on."""

import pytest

from multiparts import LEAST, Upload, assert_exact, content


def resumed(s3, bucket, key):
    """The upload to this key as somebody finds it who remembers nothing."""
    found = [item for item in s3.list_multipart_uploads(Bucket=bucket, Prefix=key)["Uploads"] if item["Key"] == key]
    assert len(found) == 1
    one = Upload(s3, bucket, key, found[0]["UploadId"])
    listed = s3.get_paginator("list_parts").paginate(**one.place)
    one.parts = {part["PartNumber"]: {"PartNumber": part["PartNumber"], "ETag": part["ETag"]} for page in listed for part in page.get("Parts", [])}
    return one


@pytest.mark.parametrize("sizes", [[LEAST, LEAST, 100], [LEAST, LEAST], [LEAST + 1, LEAST + 3, 7], [LEAST + 1, LEAST + 3, LEAST + 5], [10]])
def test_every_part_by_another_client(proxy, bucket, sizes):
    Upload.start(proxy.boto(), bucket, "blobs/upload/data")
    expected = b""
    for number, size in enumerate(sizes, 1):
        one = resumed(proxy.boto(), bucket, "blobs/upload/data")
        assert one.listed() == list(enumerate(sizes[: number - 1], 1)), "the registry computes how far it is from these sizes"
        body = content(size, seed=number)
        one.send(len(one.parts) + 1, body)
        expected += body
    resumed(proxy.boto(), bucket, "blobs/upload/data").complete()
    assert_exact(proxy.boto(), bucket, expected, key="blobs/upload/data")


def test_the_registry_reads_a_small_part_back_by_completing(proxy, bucket):
    """Its last part was too small to go on with: it completes the upload, reads it, begins anew with it, and appends."""
    s3 = proxy.boto()
    Upload.start(s3, bucket, "data")
    resumed(s3, bucket, "data").send(1, content(3_000_000, seed=1))
    resumed(s3, bucket, "data").complete()
    so_far = s3.get_object(Bucket=bucket, Key="data")["Body"].read()
    assert so_far == content(3_000_000, seed=1)
    Upload.start(s3, bucket, "data")
    resumed(s3, bucket, "data").send(1, so_far + content(LEAST, seed=2))
    resumed(s3, bucket, "data").send(2, content(9, seed=3))
    resumed(s3, bucket, "data").complete()
    assert_exact(s3, bucket, so_far + content(LEAST, seed=2) + content(9, seed=3), key="data")


def test_given_up(proxy, bucket, backend):
    s3 = proxy.boto()
    Upload.start(s3, bucket, "data").send(1, content(LEAST))
    resumed(s3, bucket, "data").abort()
    assert backend.store.keys(bucket) == []
