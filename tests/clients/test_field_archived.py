"""Archived objects (GLACIER, DEEP_ARCHIVE): what describes them keeps answering, what reads them is refused until they are restored."""

import re

import pytest

from conftest import new_bucket
from judge import assert_refused
from multiparts import MIB, Upload, content

SHAPES = {
    "one": [70_000],
    "even": [5 * MIB, 5 * MIB, 9],
    "uneven": [5 * MIB, 5 * MIB + 12_345, 6 * MIB, 9],
    "one part": [70_000 + 1],
}
RESTORE = b'<RestoreRequest xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Days>1</Days></RestoreRequest>'


def store(s3, bucket, shape, storage_class):
    sizes = SHAPES[shape]
    bodies = [content(size, seed) for seed, size in enumerate(sizes)]
    if shape == "one":
        s3.put_object(Bucket=bucket, Key="object", Body=bodies[0], StorageClass=storage_class)
    else:
        one = Upload.start(s3, bucket, StorageClass=storage_class)
        for number, body in enumerate(bodies, 1):
            one.send(number, body)
        one.complete()
    return b"".join(bodies)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("storage_class", ["GLACIER", "DEEP_ARCHIVE"])
@pytest.mark.parametrize("completed_here", [True, False], ids=["completed here", "completed elsewhere"])
def test_an_archived_object(start, real, shape, storage_class, completed_here):
    writer = start(real)
    bucket = new_bucket(writer.boto())
    body = store(writer.boto(), bucket, shape, storage_class)
    raw = (writer if completed_here else start(real)).raw()
    path = f"/{bucket}/object"
    head = raw.request("HEAD", path)
    listed = raw.request("GET", f"/{bucket}", [("list-type", "2")])
    attributes = raw.request("GET", path, [("attributes", "")], headers={"x-amz-object-attributes": "ETag,ObjectSize,StorageClass,ObjectParts"})
    assert (head.status, head.headers["x-amz-storage-class"]) == (200, storage_class)
    assert (listed.status, listed.broken, listed.body.count(b"<Key>")) == (200, False, 1)
    assert (attributes.status, attributes.text_of("StorageClass")) == (200, storage_class)
    # All three tell one size: the content's, or, where its layout alone tells that and nobody remembers it, the stored one.
    size = int(head.headers["content-length"])
    stored = real.store.client.head_object(Bucket=bucket, Key="object")["ContentLength"]
    assert size == (stored if shape == "uneven" and not completed_here else len(body))
    assert re.findall(rb"<Size>(\d+)</Size>", listed.body) == [str(size).encode()]
    assert attributes.text_of("ObjectSize") == str(size)
    for answer in (
        raw.request("GET", path),
        raw.request("GET", path, headers={"range": "bytes=0-9"}),
        raw.request("PUT", f"/{bucket}/copy", headers={"x-amz-copy-source": f"{bucket}/object"}),
    ):
        assert_refused(answer, 403, "InvalidObjectState")
    assert raw.request("POST", path, [("restore", "")], body=RESTORE).status in (200, 202)
    restored = raw.request("HEAD", path)
    assert restored.status == 200 and "ongoing-request" in restored.headers["x-amz-restore"]
