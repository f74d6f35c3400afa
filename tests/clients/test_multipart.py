"""Multipart uploads of every shape: whatever the parts' sizes, numbers and order, sizes and data are exact."""

import random

import pytest

from multiparts import CHUNK, LAST_NUMBER, LEAST, MIB, Upload, assert_exact, content, read, refused, upload


def edges(layout):
    """Where the parts begin."""
    return [sum(size for _, size in layout[:index]) for index in range(1, len(layout))]


ALONE = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, LEAST - 1, LEAST, LEAST + 1]
TAILS = [0, 1, CHUNK, CHUNK + 1, LEAST - 1, LEAST, LEAST + 1]
LAYOUTS = {
    "even": [(1, LEAST), (2, LEAST), (3, LEAST)],
    "even, small last": [(1, LEAST), (2, LEAST), (3, 100)],
    "uneven, small last": [(1, LEAST + 1), (2, LEAST + 70_000), (3, 77)],
    "uneven, large last": [(1, LEAST + 1), (2, LEAST + 70_000), (3, LEAST + 5)],
    "uneven, empty last": [(1, LEAST + 5), (2, LEAST + 3), (3, 0)],
    "even, but of two lengths": [(1, LEAST), (2, LEAST + CHUNK), (3, 9)],
    "larger last": [(1, LEAST), (2, 2 * LEAST)],
    "gaps": [(2, LEAST), (5, LEAST), (9, 300)],
    "the last number": [(1, LEAST), (LAST_NUMBER, 10)],
    "the last number alone": [(LAST_NUMBER, 10)],
    "one that is not the first": [(7, 10)],
    "gaps, large last": [(2, LEAST), (5, LEAST), (9_999, LEAST)],
    "gaps, uneven": [(3, LEAST + 11), (4, LEAST + 13), (700, 17)],
    "a large one that is not the first": [(7, LEAST)],
}  # fmt: skip


@pytest.mark.parametrize("size", ALONE)
def test_a_single_part(s3, bucket, size):
    assert_exact(s3, bucket, upload(s3, bucket, [(1, size)]))


@pytest.mark.parametrize("size", TAILS)
def test_every_size_of_the_last_part(s3, bucket, size):
    layout = [(1, LEAST), (2, size)]
    assert_exact(s3, bucket, upload(s3, bucket, layout), edges(layout))


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts(s3, bucket, name):
    layout = LAYOUTS[name]
    assert_exact(s3, bucket, upload(s3, bucket, layout), edges(layout))


@pytest.mark.parametrize("name", ["even", "even, small last", "uneven, large last", "gaps, large last"])
def test_the_last_part_first(s3, bucket, name):
    layout = LAYOUTS[name]
    order = list(reversed(range(len(layout))))
    assert_exact(s3, bucket, upload(s3, bucket, layout, order=order), edges(layout))


@pytest.mark.parametrize("seed", range(3))
def test_random_order(s3, bucket, seed):
    layout = [(number, LEAST) for number in range(1, 6)] + [(6, 12_345)]
    order = random.Random(seed).sample(range(6), 6)
    assert_exact(s3, bucket, upload(s3, bucket, layout, order=order), edges(layout))


def test_a_part_sent_again_replaces_the_first(s3, bucket):
    one = Upload.start(s3, bucket)
    one.send(1, content(LEAST, seed=1))
    one.send(2, content(1_000, seed=2))
    one.send(1, content(LEAST, seed=3))
    one.send(2, content(1_000, seed=4))
    one.complete()
    assert_exact(s3, bucket, content(LEAST, seed=3) + content(1_000, seed=4), [LEAST])


@pytest.mark.parametrize("first, then", [(10, LEAST), (LEAST, 10), (10, 20), (LEAST, LEAST + 1)])
def test_a_last_part_sent_again_with_another_size(s3, bucket, first, then):
    one = Upload.start(s3, bucket)
    one.send(1, content(LEAST))
    one.send(2, content(first, seed=1))
    one.send(2, content(then, seed=2))
    one.complete()
    assert_exact(s3, bucket, content(LEAST) + content(then, seed=2), [LEAST])


def test_an_old_etag_of_a_part_sent_again_is_refused(s3, bucket):
    one = Upload.start(s3, bucket)
    one.send(1, content(LEAST, seed=1))
    old = dict(one.parts)
    one.send(1, content(LEAST, seed=2))
    one.parts = old
    assert refused(one.complete) == (400, "InvalidPart")


def test_parts_that_complete_does_not_name_are_left_out(s3, bucket):
    """The large parts are enough: the rest was, for S3, never there."""
    one = Upload.start(s3, bucket)
    for number, size in ((1, LEAST), (2, LEAST), (3, LEAST + 1)):
        one.send(number, content(size, seed=number))
    one.complete(numbers=[1, 3])
    assert_exact(s3, bucket, content(LEAST, seed=1) + content(LEAST + 1, seed=3), [LEAST])


def test_a_small_last_part_of_another_selection_is_never_wrong(s3, bucket):
    """It was sealed as the last of all three; S3 would take it after the first alone. Exact, or refused and to be sent again."""
    one = Upload.start(s3, bucket)
    for number, size in ((1, LEAST), (2, LEAST), (3, 5)):
        one.send(number, content(size, seed=number))
    try:
        one.complete(numbers=[1, 3])
    except s3.exceptions.ClientError as error:
        assert error.response["Error"]["Code"] == "InvalidPart", error
        assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
        return
    assert_exact(s3, bucket, content(LEAST, seed=1) + content(5, seed=3), [LEAST])


@pytest.mark.parametrize("layout", [[(1, LEAST), (2, LEAST + 1), (3, 10)], [(1, LEAST), (2, 100)], [(1, LEAST), (2, LEAST)], [(1, 7)]])
def test_reading_by_part_number(s3, bucket, layout):
    whole = upload(s3, bucket, layout)
    starts = [0, *edges(layout), len(whole)]
    for index in range(len(layout)):
        expected = whole[starts[index] : starts[index + 1]]
        answer = s3.get_object(Bucket=bucket, Key="object", PartNumber=index + 1)
        assert answer["Body"].read() == expected
        assert answer["PartsCount"] == len(layout)
        assert answer["ContentRange"] == f"bytes {starts[index]}-{starts[index + 1] - 1}/{len(whole)}"
        head = s3.head_object(Bucket=bucket, Key="object", PartNumber=index + 1)
        assert (head["ContentLength"], head["PartsCount"]) == (len(expected), len(layout))
    assert refused(s3.get_object, Bucket=bucket, Key="object", PartNumber=len(layout) + 1)[0] == 416


@pytest.mark.parametrize("layout", [[(1, LEAST), (2, 100)], [(1, LEAST), (2, LEAST)], [(1, LEAST + 3), (2, LEAST), (3, 1)]])
def test_parts_as_they_are_listed(s3, bucket, layout):
    one = Upload.start(s3, bucket)
    for number, size in layout:
        one.send(number, content(size, seed=number))
    assert one.listed() == layout
    assert one.listed(PaginationConfig={"PageSize": 1}) == layout
    first = s3.list_parts(**one.place, MaxParts=1)
    assert (first["IsTruncated"], first["NextPartNumberMarker"], first["MaxParts"]) == (True, 1, 1)
    assert [part["PartNumber"] for part in s3.list_parts(**one.place, PartNumberMarker=1)["Parts"]] == [number for number, _ in layout[1:]]
    listed = {part["PartNumber"]: part["ETag"] for part in s3.list_parts(**one.place)["Parts"]}
    assert listed == {number: part["ETag"] for number, part in one.parts.items()}, "a client may complete with either"
    one.abort()


def test_completing_from_what_list_parts_tells(s3, bucket):
    """A client that resumes has the ETags of ListParts only."""
    layout = [(1, LEAST + 1), (2, LEAST), (3, 50)]
    one = Upload.start(s3, bucket)
    for number, size in layout:
        one.send(number, content(size, seed=number))
    one.parts = {part["PartNumber"]: {"PartNumber": part["PartNumber"], "ETag": part["ETag"]} for part in s3.list_parts(**one.place)["Parts"]}
    one.complete()
    assert_exact(s3, bucket, b"".join(content(size, seed=number) for number, size in layout), edges(layout))


def test_what_was_said_at_the_start_is_the_objects(s3, bucket):
    said = {"ContentType": "text/x-test", "CacheControl": "max-age=7", "ContentDisposition": "inline", "ContentLanguage": "de"}
    upload(s3, bucket, [(1, LEAST), (2, 5)], Metadata={"one": "1", "two": "zwei"}, Tagging="a=b", **said)
    head = s3.head_object(Bucket=bucket, Key="object")
    assert {name: head[name] for name in said} == said
    assert head["Metadata"] == {"one": "1", "two": "zwei"}, "nothing of the proxy's"
    assert s3.get_object_tagging(Bucket=bucket, Key="object")["TagSet"] == [{"Key": "a", "Value": "b"}]


def test_the_etag_is_everywhere_the_same(s3, bucket):
    one = Upload.start(s3, bucket)
    one.send(1, content(LEAST))
    one.send(2, content(LEAST, seed=1))
    etag = one.complete()["ETag"]
    assert s3.head_object(Bucket=bucket, Key="object")["ETag"] == etag
    assert s3.get_object(Bucket=bucket, Key="object")["ETag"] == etag
    assert s3.get_object(Bucket=bucket, Key="object", Range="bytes=0-0", IfMatch=etag)["ETag"] == etag
    assert s3.list_objects_v2(Bucket=bucket)["Contents"][0]["ETag"] == etag
    assert refused(s3.get_object, Bucket=bucket, Key="object", IfMatch='"other"')[0] == 412


def test_object_attributes(s3, bucket):
    layout = [(1, LEAST), (2, LEAST + 1), (3, 10)]
    whole = upload(s3, bucket, layout)
    asked = ["ETag", "ObjectSize", "ObjectParts", "StorageClass"]
    answer = s3.get_object_attributes(Bucket=bucket, Key="object", ObjectAttributes=asked)
    assert answer["ObjectSize"] == len(whole)
    assert answer["ETag"] == s3.head_object(Bucket=bucket, Key="object")["ETag"].strip('"')
    assert answer["ObjectParts"]["TotalPartsCount"] == 3


def test_nothing_of_the_plaintext_is_stored(s3, bucket, backend):
    needle = b"the quick brown fox jumps over the lazy dog"
    one = Upload.start(s3, bucket)
    one.send(1, needle * (LEAST // len(needle) + 1))
    one.send(2, needle)
    one.complete()
    assert not backend.store.contains(bucket, needle)


def test_an_aborted_upload_leaves_nothing(s3, bucket, backend):
    one = Upload.start(s3, bucket)
    one.send(1, content(LEAST))
    one.abort()
    assert backend.store.keys(bucket) == []
    assert refused(one.send, 2, b"late") == (404, "NoSuchUpload")
    assert refused(one.complete, numbers=[1]) == (404, "NoSuchUpload")
    assert refused(s3.list_parts, **one.place) == (404, "NoSuchUpload")


def test_uploads_side_by_side_to_one_key(s3, bucket):
    """The last to complete wins, and neither has parts of the other."""
    one, two = Upload.start(s3, bucket), Upload.start(s3, bucket)
    assert one.id != two.id
    for number, size in ((1, LEAST), (2, 40)):
        one.send(number, content(size, seed=number))
        two.send(number, content(size, seed=number + 10))
    two.complete()
    assert read(s3, bucket) == content(LEAST, seed=11) + content(40, seed=12)
    one.complete()
    assert read(s3, bucket) == content(LEAST, seed=1) + content(40, seed=2)


def test_uploads_are_listed(s3, bucket):
    uploads = [Upload.start(s3, bucket, key) for key in ("a/one", "a/two", "b")]
    listed = s3.list_multipart_uploads(Bucket=bucket)["Uploads"]
    assert [item["Key"] for item in listed] == ["a/one", "a/two", "b"]
    assert {item["UploadId"] for item in listed} == {one.id for one in uploads}, "the node that has seen the ids tells them"
    assert [item["Key"] for item in s3.list_multipart_uploads(Bucket=bucket, Prefix="a/")["Uploads"]] == ["a/one", "a/two"]
    assert s3.list_multipart_uploads(Bucket=bucket, Delimiter="/")["CommonPrefixes"] == [{"Prefix": "a/"}]
    first = s3.list_multipart_uploads(Bucket=bucket, MaxUploads=1)
    assert first["IsTruncated"] and [item["Key"] for item in first["Uploads"]] == ["a/one"]
    rest = s3.list_multipart_uploads(Bucket=bucket, KeyMarker=first["NextKeyMarker"], UploadIdMarker=first["NextUploadIdMarker"])
    assert [item["Key"] for item in rest["Uploads"]] == ["a/two", "b"]
    for one in uploads:
        one.abort()
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)
