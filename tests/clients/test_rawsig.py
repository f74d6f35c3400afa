"""The signer is a judge of the proxy, so it is judged first: by AWS's published example and by botocore."""

import datetime

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from rawsig import SIGNED_CHUNKS, SIGNED_CHUNKS_TRAILER, Chunks, Signer, checksum, quote_path, quote_query

EXAMPLE = Signer(
    "AKIAIOSFODNN7EXAMPLE",
    "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    at=datetime.datetime(2013, 5, 24, tzinfo=datetime.timezone.utc),
)
BODY = b"a" * 66_560


def seed(mode, trailer=None):
    headers = {
        "content-encoding": "aws-chunked",
        "content-length": "66824",
        "host": "s3.amazonaws.com",
        "x-amz-content-sha256": mode,
        "x-amz-date": "20130524T000000Z",
        "x-amz-decoded-content-length": "66560",
        "x-amz-storage-class": "REDUCED_REDUNDANCY",
    }
    if trailer:
        del headers["content-length"]
        headers["x-amz-trailer"] = trailer
    signature, _ = EXAMPLE.sign_request("PUT", "/examplebucket/chunkObject.txt", "", headers, mode, "20130524T000000Z")
    return signature


def test_signed_chunks_match_the_published_example():
    first = seed(SIGNED_CHUNKS)
    frames = b"".join(Chunks(SIGNED_CHUNKS, BODY).frames(EXAMPLE, "20130524T000000Z", first))
    assert first == "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"
    assert len(frames) == 66_824
    for signature in (
        b"ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
        b"0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
        b"b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
    ):
        assert signature in frames


def test_signed_trailer_matches_the_published_example():
    first = seed(SIGNED_CHUNKS_TRAILER, trailer="x-amz-checksum-crc32c")
    chunks = Chunks(SIGNED_CHUNKS_TRAILER, BODY, trailer=("x-amz-checksum-crc32c", checksum("crc32c", BODY)))
    frames = b"".join(chunks.frames(EXAMPLE, "20130524T000000Z", first))
    assert first == "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e"
    assert b"x-amz-checksum-crc32c:sOO8/Q==" in frames
    assert b"x-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435" in frames


@pytest.mark.parametrize("key", ["plain", "a b+c", "//", "ü/~*'()%25", "q?&=#"])
def test_header_signatures_match_botocore(key):
    now = datetime.datetime.now(datetime.timezone.utc)
    signer = Signer("AKID", "secret", at=now)
    path, query = quote_path("/bucket/" + key), quote_query([("versionId", "a/b"), ("uploads", "")])
    request = AWSRequest("GET", f"http://127.0.0.1:9{path}?{query}", headers={"x-amz-meta-a": " two  words "})
    auth = S3SigV4Auth(Credentials("AKID", "secret"), "s3", "us-east-1")
    request.context["timestamp"] = signer.amz_date()
    headers = {
        "host": "127.0.0.1:9",
        "x-amz-date": signer.amz_date(),
        "x-amz-content-sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "x-amz-meta-a": " two  words ",
    }
    request.headers["X-Amz-Content-SHA256"] = headers["x-amz-content-sha256"]
    request.headers["X-Amz-Date"] = headers["x-amz-date"]
    theirs = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
    ours, _ = signer.sign_request("GET", path, query, headers, headers["x-amz-content-sha256"], signer.amz_date())
    assert ours == theirs
