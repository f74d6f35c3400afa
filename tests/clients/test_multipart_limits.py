"""What S3 refuses of a multipart upload, with its codes; sizes are those of the plaintext."""

import pytest

from conftest import new_bucket
from judge import assert_refused
from multiparts import LAST_NUMBER, LEAST, Upload, assert_exact, content, read, refused
from rawsig import SIGNED_CHUNKS, SIGNED_CHUNKS_TRAILER, UNSIGNED, UNSIGNED_TRAILER, Chunks, checksum, content_md5, flip_bit


@pytest.fixture
def begun(s3, bucket):
    return Upload.start(s3, bucket)


def part_query(one, number):
    return [("partNumber", str(number)), ("uploadId", one.id)]


@pytest.mark.parametrize("small", [0, 1, LEAST - 1])
@pytest.mark.parametrize("last", [1, LEAST])
def test_a_part_before_the_last_that_is_too_small(begun, s3, bucket, small, last):
    """By plaintext: the stored part of 5 MiB less one byte is longer than 5 MiB."""
    begun.send(1, content(small))
    begun.send(2, content(last, seed=1))
    assert refused(begun.complete) == (400, "EntityTooSmall")
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_the_upload_goes_on_after_a_refusal(begun, s3, bucket):
    begun.send(1, content(10))
    begun.send(2, content(20, seed=1))
    assert refused(begun.complete) == (400, "EntityTooSmall")
    begun.send(1, content(LEAST))
    begun.send(2, content(20, seed=1))
    begun.complete()
    assert_exact(s3, bucket, content(LEAST) + content(20, seed=1), [LEAST])


@pytest.mark.parametrize("number", ["0", "10001", "-1", "x", "", "1.5", "99999999999999999999"])
def test_part_numbers_that_do_not_exist(begun, proxy, bucket, backend, number):
    answer = proxy.raw().request("PUT", f"/{bucket}/object", part_query(begun, number), b"some plaintext")
    assert_refused(answer, 400, "InvalidArgument")
    assert begun.listed() == []
    assert not backend.store.contains(bucket, b"some plaintext")


def test_part_ten_thousand_is_allowed_if_it_is_small(begun, s3, bucket):
    begun.send(1, content(LEAST))
    begun.send(LAST_NUMBER, content(LEAST - 1, seed=1))
    begun.complete()
    assert_exact(s3, bucket, content(LEAST) + content(LEAST - 1, seed=1), [LEAST])


def test_part_ten_thousand_is_refused_if_it_is_large(begun, proxy, bucket):
    """Nothing could be added behind it, to say that it is the last."""
    answer = proxy.raw().request("PUT", f"/{bucket}/object", part_query(begun, LAST_NUMBER), content(LEAST))
    assert answer.status == 400 and answer.code in ("InvalidArgument", "EntityTooLarge", "InvalidRequest"), answer.body
    assert str(LAST_NUMBER) in answer.message.replace(",", "")
    assert begun.listed() == []


def test_a_part_of_more_than_five_gibibytes(begun, proxy, bucket):
    """By its declared length, before any body."""
    signer, raw = proxy.signer(), proxy.raw()
    amz_date, path = signer.amz_date(), f"/{bucket}/object"
    headers = {"host": raw.authority, "x-amz-date": amz_date, "x-amz-content-sha256": UNSIGNED}
    query = f"partNumber=1&uploadId={begun.id}"
    for length in (5 << 30) + 1, 1 << 40:
        signature, names = signer.sign_request("PUT", path, query, headers, UNSIGNED, amz_date)
        sent = {**headers, "authorization": signer.authorization(amz_date, names, signature), "content-length": str(length)}
        assert_refused(raw.send("PUT", path, query, sent, [b"x" * 1000]), 400, "EntityTooLarge")
    assert begun.listed() == []


@pytest.mark.parametrize("spoil, code", [
    (lambda parts: parts[::-1], "InvalidPartOrder"),
    (lambda parts: [parts[0], parts[0]], "InvalidPartOrder"),
    (lambda parts: [*parts, {"PartNumber": 3, "ETag": parts[1]["ETag"]}], "InvalidPart"),
    (lambda parts: [{**parts[0], "ETag": parts[1]["ETag"]}, parts[1]], "InvalidPart"),
    (lambda parts: [parts[0], {**parts[1], "ETag": '"0123456789abcdef0123456789abcdef"'}], "InvalidPart"),
    (lambda parts: [parts[0], {**parts[1], "ETag": '"nonsense"'}], "InvalidPart"),
    (lambda parts: [parts[0], {**parts[1], "ETag": "\"" + "x" * 2_000 + "\""}], "InvalidPart"),
    (lambda parts: [], ("MalformedXML", "InvalidRequest")),
], ids=["descending", "twice", "never sent", "ETag of the other", "unknown ETag", "no ETag", "a long ETag", "none"])  # fmt: skip
def test_a_complete_that_is_wrong(begun, s3, bucket, spoil, code):
    begun.send(1, content(LEAST))
    begun.send(2, content(LEAST, seed=1))
    parts = spoil([begun.parts[1], begun.parts[2]])
    status, found = refused(s3.complete_multipart_upload, MultipartUpload={"Parts": parts}, **begun.place)
    assert status == 400 and found in (code if isinstance(code, tuple) else (code,))
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
    begun.complete()
    assert read(s3, bucket) == content(LEAST) + content(LEAST, seed=1)


@pytest.mark.parametrize("body", [b"", b"no xml", b"<CompleteMultipartUpload>", b"<Other/>", b"<!DOCTYPE x [<!ENTITY a 'b'>]><CompleteMultipartUpload/>"])
def test_a_complete_that_is_no_document(begun, proxy, bucket, body):
    begun.send(1, b"x")
    answer = proxy.raw().request("POST", f"/{bucket}/object", [("uploadId", begun.id)], body)
    assert answer.status == 400 and answer.code in ("MalformedXML", "InvalidRequest"), answer.body


def test_etags_without_quotes(begun, s3, bucket):
    """As the minio SDKs send them."""
    begun.send(1, content(LEAST))
    begun.send(2, b"tail")
    for part in begun.parts.values():
        part["ETag"] = part["ETag"].strip('"')
    begun.complete()
    assert read(s3, bucket) == content(LEAST) + b"tail"


@pytest.mark.parametrize("upload_id", ["nothing", "A" * 600, "../../x", "a b&c", "\u00fc", "0" * 32])
def test_upload_ids_that_nobody_gave(s3, bucket, proxy, backend, upload_id):
    place = {"Bucket": bucket, "Key": "object", "UploadId": upload_id}
    parts = {"Parts": [{"PartNumber": 1, "ETag": '"0123456789abcdef0123456789abcdef"'}]}
    assert refused(s3.upload_part, PartNumber=1, Body=b"would be plaintext", **place) == (404, "NoSuchUpload")
    assert refused(s3.complete_multipart_upload, MultipartUpload=parts, **place) == (404, "NoSuchUpload")
    assert refused(s3.abort_multipart_upload, **place) == (404, "NoSuchUpload")
    assert refused(s3.list_parts, **place) == (404, "NoSuchUpload")
    assert not backend.store.contains(bucket, b"would be plaintext")


def test_the_id_of_another_key_or_bucket(begun, s3, bucket, backend):
    begun.send(1, content(100))
    other = new_bucket(s3)
    for place in ({"Bucket": bucket, "Key": "other"}, {"Bucket": other, "Key": "object"}, {"Bucket": bucket, "Key": "object/"}):
        place["UploadId"] = begun.id
        assert refused(s3.upload_part, PartNumber=2, Body=b"would be plaintext", **place) == (404, "NoSuchUpload")
        named = {"Parts": [begun.parts[1]]}
        assert refused(s3.complete_multipart_upload, MultipartUpload=named, **place) == (404, "NoSuchUpload")
        assert refused(s3.abort_multipart_upload, **place) == (404, "NoSuchUpload")
        assert refused(s3.list_parts, **place) == (404, "NoSuchUpload")
    assert begun.listed() == [(1, 100)]
    assert s3.list_objects_v2(Bucket=other)["KeyCount"] == 0


def test_every_character_of_the_id(begun, proxy, bucket):
    """It carries the wrapped key and is no secret: changed anywhere, it is refused."""
    path = f"/{bucket}/object"
    for index in range(0, len(begun.id), max(1, len(begun.id) // 40)):
        changed = begun.id[:index] + ("A" if begun.id[index] != "A" else "B") + begun.id[index + 1 :]
        answer = proxy.raw().request("PUT", path, [("partNumber", "1"), ("uploadId", changed)], b"x")
        assert answer.status in (400, 403, 404) and answer.code, ("This is a security issue: a changed id was taken", index, answer)
    for changed in (begun.id[:-1], begun.id + "A", begun.id + "=", begun.id[1:], begun.id[: len(begun.id) // 2]):
        answer = proxy.raw().request("PUT", path, [("partNumber", "1"), ("uploadId", changed)], b"x")
        assert answer.status in (400, 403, 404) and answer.code, ("This is a security issue: a changed id was taken", changed, answer)
    assert begun.listed() == []


def test_to_a_bucket_that_is_not_there(s3):
    assert refused(s3.create_multipart_upload, Bucket="b-nothing-here", Key="object") == (404, "NoSuchBucket")
    assert refused(s3.list_multipart_uploads, Bucket="b-nothing-here") == (404, "NoSuchBucket")


@pytest.mark.parametrize("first, condition, expected", [
    (None, {"IfNoneMatch": "*"}, None),
    (b"there", {"IfNoneMatch": "*"}, (412, "PreconditionFailed")),
    (b"there", {"IfMatch": True}, None),
    (b"there", {"IfMatch": '"other"'}, (412, "PreconditionFailed")),
], ids=["none, and none is there", "none, and one is there", "the one that is there", "another"])  # fmt: skip
def test_conditions_at_complete(s3, bucket, first, condition, expected):
    if first:
        etag = s3.put_object(Bucket=bucket, Key="object", Body=first)["ETag"]
        condition = {name: etag if value is True else value for name, value in condition.items()}
    begun = Upload.start(s3, bucket)
    begun.send(1, b"new")
    if expected:
        assert refused(begun.complete, **condition) == expected
        assert read(s3, bucket) == first
    else:
        begun.complete(**condition)
        assert read(s3, bucket) == b"new"


def test_a_repeated_complete_gets_the_same_answer(begun, s3, bucket, backend):
    """Clients repeat it when the answer was lost. LocalStack forgets a finished upload, and S3 does not."""
    begun.send(1, content(LEAST))
    begun.send(2, b"tail")
    first = begun.complete()
    if backend.name == "localstack":
        pytest.skip("LocalStack forgets an upload that is finished")
    second = begun.complete()
    assert second["ETag"] == first["ETag"]
    assert read(s3, bucket) == content(LEAST) + b"tail"


MODES = [SIGNED_CHUNKS, SIGNED_CHUNKS_TRAILER, UNSIGNED_TRAILER]


def send_chunks(proxy, one, number, body, **more):
    """UploadPart with an aws-chunked body."""
    return proxy.raw().put_chunks(f"/{one.bucket}/{one.key}", body, query=part_query(one, number), **more)


def chunks(mode, body, **spoilt):
    trailer = None if mode == SIGNED_CHUNKS else ("x-amz-checksum-crc32", checksum("crc32", body))
    return Chunks(mode, body, **{"trailer": trailer, **spoilt})


@pytest.mark.parametrize("transfer_chunked", [False, True])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [0, 1, 65_537, LEAST])
def test_a_part_in_every_payload_mode(begun, s3, bucket, proxy, mode, size, transfer_chunked):
    body = content(size, seed=1)
    begun.send(1, content(LEAST))
    answer = send_chunks(proxy, begun, 2, chunks(mode, body), transfer_chunked=transfer_chunked)
    assert answer.status == 200, answer.body
    begun.parts[2] = {"PartNumber": 2, "ETag": answer.headers["etag"]}
    assert begun.listed() == [(1, LEAST), (2, size)]
    begun.complete()
    assert_exact(s3, bucket, content(LEAST) + body, [LEAST])


@pytest.mark.parametrize("payload_hash", [None, UNSIGNED])
def test_a_part_in_one_piece(begun, s3, bucket, proxy, payload_hash):
    body = content(100_000)
    answer = proxy.raw().request("PUT", f"/{bucket}/object", part_query(begun, 1), body, payload_hash=payload_hash)
    assert answer.status == 200, answer.body
    begun.parts[1] = {"PartNumber": 1, "ETag": answer.headers["etag"]}
    begun.complete()
    assert_exact(s3, bucket, body)


@pytest.mark.parametrize("size", [10, 200_000, LEAST])
@pytest.mark.parametrize("mode, spoilt, code", [
    (SIGNED_CHUNKS, {"spoil_chunk": 0}, "SignatureDoesNotMatch"),
    (SIGNED_CHUNKS, {"swap_bytes_after_signing": True}, "SignatureDoesNotMatch"),
    (SIGNED_CHUNKS_TRAILER, {"spoil_trailer_signature": True}, "SignatureDoesNotMatch"),
    (UNSIGNED_TRAILER, {"swap_bytes_after_signing": True}, "BadDigest"),
], ids=["chunk signature", "bytes", "trailer signature", "checksum"])  # fmt: skip
def test_a_spoilt_part_never_comes_to_be(begun, proxy, mode, spoilt, code, size):
    answer = send_chunks(proxy, begun, 1, chunks(mode, content(size), **spoilt))
    assert answer.status in (400, 403) and answer.code == code, answer.body
    assert begun.listed() == []


@pytest.mark.parametrize("size", [10, 200_000, LEAST])
def test_a_part_with_another_hash_or_md5(begun, proxy, bucket, size):
    raw, path, body = proxy.raw(), f"/{bucket}/object", content(size)
    wrong = flip_bit(body, size // 2)
    answer = raw.request("PUT", path, part_query(begun, 1), body, headers={"content-md5": content_md5(wrong)})
    assert_refused(answer, 400, "BadDigest")
    answer = raw.request("PUT", path, part_query(begun, 1), body, headers={"content-md5": "nonsense"})
    assert_refused(answer, 400, "InvalidDigest")
    answer = raw.request("PUT", path, part_query(begun, 1), body, payload_hash="0" * 64)
    assert_refused(answer, 400, "XAmzContentSHA256Mismatch")
    assert begun.listed() == []
    answer = raw.request("PUT", path, part_query(begun, 1), body, headers={"content-md5": content_md5(body)})
    assert answer.status == 200, answer.body
    assert begun.listed() == [(1, size)]
