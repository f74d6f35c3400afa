"""Several proxies over one storage and one keyring share an upload, and nothing else: what the upload's id carries is enough."""

import itertools
import random
from concurrent.futures import ThreadPoolExecutor

import pytest
from botocore.exceptions import ClientError

from backing import error_code
from conftest import embedded_backend, new_bucket
from multiparts import CHUNK, LEAST, Upload, assert_exact, content, refused
from proxy import write_keyring


@pytest.fixture
def nodes(start, backend):
    """Clients of two proxies of one configuration."""
    return [start(backend).boto(), start(backend).boto()]


@pytest.fixture
def shared(nodes):
    return new_bucket(nodes[0])


def complete_uneven(one, last, turn):
    """Of several lengths, and the last part came early: a node that does not have it any more wants it again, once."""
    try:
        one.complete(s3=next(turn))
    except ClientError as error:
        assert error_code(error) == "InvalidPart"
        one.send(max(one.parts), last, s3=next(turn))
        one.complete(s3=next(turn))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("sizes", [[LEAST] * 4 + [1_000], [LEAST] * 4, [LEAST + 1, LEAST + CHUNK, LEAST, LEAST + 7, 99], [LEAST + 1, LEAST, LEAST + 2]])
def test_parts_through_both_in_any_order_and_twice(nodes, shared, sizes, seed):
    """A round robin: every request goes to the other node. Some parts come twice, with other bytes the first time."""
    chance, turn = random.Random(seed), itertools.cycle(nodes)
    one = Upload.start(next(turn), shared)
    right = {number: content(size, seed=number) for number, size in enumerate(sizes, 1)}
    stale = {number: content(len(body), seed=number + 50) for number, body in right.items() if chance.random() < 0.5}
    for number, body in sorted(stale.items(), key=lambda _: chance.random()):
        one.send(number, body, s3=next(turn))
    for number, body in sorted(right.items(), key=lambda _: chance.random()):
        one.send(number, body, s3=next(turn))
    if sizes[-1] >= LEAST or len(set(sizes[:-1])) == 1:
        assert one.listed(s3=next(turn)) == list(enumerate(sizes, 1))
        one.complete(s3=next(turn))
    else:
        complete_uneven(one, right[len(sizes)], turn)
    expected = b"".join(right.values())
    edges = list(itertools.accumulate(sizes))
    for node in nodes:
        assert_exact(node, shared, expected, edges)


def test_all_parts_at_once(nodes, shared):
    """As an SDK sends them: side by side, over whatever node takes the connection."""
    sizes = [LEAST] * 7 + [54_321]
    one = Upload.start(nodes[0], shared)
    bodies = {number: content(size, seed=number) for number, size in enumerate(sizes, 1)}
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: one.send(number, bodies[number], s3=nodes[number % 2]), reversed(list(bodies))))
    one.complete(s3=nodes[1])
    assert_exact(nodes[0], shared, b"".join(bodies.values()), list(itertools.accumulate(sizes)))


def test_uneven_parts_all_at_once(nodes, shared):
    """The small last part is sealed while the others are still on their way; it waits for them, or the client hears that it must send it again."""
    sizes = [LEAST + 1, LEAST + 70_001, LEAST + 3, 54_321]
    one = Upload.start(nodes[0], shared)
    bodies = {number: content(size, seed=number) for number, size in enumerate(sizes, 1)}
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: one.send(number, bodies[number], s3=nodes[number % 2]), reversed(list(bodies))))
    one.complete(s3=nodes[1])
    assert_exact(nodes[0], shared, b"".join(bodies.values()), list(itertools.accumulate(sizes)))


def test_the_storages_own_id_is_enough_to_list_and_abort(nodes, shared, backend):
    one = Upload.start(nodes[0], shared)
    one.send(1, content(LEAST))
    one.send(2, content(10))
    [raw] = backend.store.upload_ids(shared)
    assert raw != one.id
    for node in nodes:
        listed = node.list_parts(Bucket=shared, Key="object", UploadId=raw)["Parts"]
        assert [(part["PartNumber"], part["Size"]) for part in listed] == [(1, LEAST), (2, 10)]
    nodes[1].abort_multipart_upload(Bucket=shared, Key="object", UploadId=raw)
    assert refused(one.send, 3, b"late") == (404, "NoSuchUpload")


def test_what_another_node_lists_can_be_aborted(nodes, shared):
    """As a lifecycle job does it: list, abort."""
    one = Upload.start(nodes[0], shared)
    one.send(1, content(100))
    for item in nodes[1].list_multipart_uploads(Bucket=shared)["Uploads"]:
        nodes[1].abort_multipart_upload(Bucket=shared, Key=item["Key"], UploadId=item["UploadId"])
    assert "Uploads" not in nodes[0].list_multipart_uploads(Bucket=shared)


def test_a_part_under_the_storages_own_id_is_sealed_or_refused(nodes, shared, backend):
    """The node that has not seen the upload's own id has no key for it."""
    one = Upload.start(nodes[0], shared)
    [raw] = backend.store.upload_ids(shared)
    needle = b"would be plaintext " * 10
    place = {"Bucket": shared, "Key": "object", "UploadId": raw}
    assert refused(nodes[1].upload_part, PartNumber=1, Body=needle, **place)[0] in (400, 403, 404)
    assert one.listed() == [], "This is a security issue: a part was stored without its key"
    answer = nodes[0].upload_part(PartNumber=1, Body=needle, **place)
    one.parts[1] = {"PartNumber": 1, "ETag": answer["ETag"]}
    one.complete()
    assert not backend.store.contains(shared, needle), "This is a security issue: plaintext was stored"
    assert_exact(nodes[1], shared, needle)


def test_a_node_with_another_keyring_refuses(start, tmp_path):
    """Its id opens nowhere else."""
    backend = embedded_backend(tmp_path)
    first = start(backend)
    bucket = new_bucket(first.boto())
    one = Upload.start(first.boto(), bucket)
    one.send(1, content(10))
    first.stop()
    second = start(backend, keyring={"file": write_keyring(tmp_path / "other", "test-key")}).boto()
    status, _ = refused(second.upload_part, PartNumber=2, Body=b"would be plaintext", **one.place)
    assert status >= 400
    assert not backend.store.contains(bucket, b"would be plaintext")


def test_an_upload_outlives_the_node_that_began_it(start, tmp_path):
    """Nothing of it was in that process."""
    backend = embedded_backend(tmp_path)
    first = start(backend)
    bucket = new_bucket(first.boto())
    one = Upload.start(first.boto(), bucket)
    one.send(1, content(LEAST + 1, seed=1))
    first.stop()
    second = start(backend).boto()
    one.send(2, content(LEAST, seed=2), s3=second)
    one.send(3, content(5, seed=3), s3=second)
    one.complete(s3=second)
    assert_exact(second, bucket, content(LEAST + 1, seed=1) + content(LEAST, seed=2) + content(5, seed=3), [LEAST + 1, 2 * LEAST + 1])
