"""What a client writes beside the content comes back exactly; what the proxy writes beside it does not."""

import pytest
from botocore.exceptions import ClientError

HEADERS = {
    "CacheControl": "max-age=3600, must-revalidate",
    "ContentDisposition": 'attachment; filename="na me.txt"; filename*=UTF-8\'\'na%20me.txt',
    "ContentEncoding": "gzip",
    "ContentLanguage": "de-CH, en",
    "ContentType": "text/plain; charset=utf-8",
}
METADATA = {"plain": "value", "with-space": "a b  c", "punctuation": "!#$%&'*+,/:;=?@[]~", "empty": "", "x" * 100: "y" * 200}


def test_content_headers(s3, bucket):
    s3.put_object(Bucket=bucket, Key="object", Body=b"x" * 100, **HEADERS)
    for answer in (s3.head_object(Bucket=bucket, Key="object"), s3.get_object(Bucket=bucket, Key="object")):
        assert {name: answer.get(name) for name in HEADERS} == HEADERS


def test_expires(proxy, bucket):
    moment = "Thu, 01 Dec 2033 16:00:00 GMT"
    raw = proxy.raw()
    assert raw.request("PUT", f"/{bucket}/object", body=b"x", headers={"expires": moment}).status == 200
    assert raw.request("HEAD", f"/{bucket}/object").headers["expires"] == moment


def test_user_metadata(s3, bucket, backend):
    s3.put_object(Bucket=bucket, Key="object", Body=b"x", Metadata=METADATA)
    assert s3.head_object(Bucket=bucket, Key="object")["Metadata"] == METADATA
    assert s3.get_object(Bucket=bucket, Key="object")["Metadata"] == METADATA
    kept = {name: value for name, value in backend.store.read(bucket, "object").metadata.items() if not name.startswith("encryption-")}
    assert kept == METADATA


def test_names_of_metadata_are_lower_case(s3, bucket):
    s3.put_object(Bucket=bucket, Key="object", Body=b"x", Metadata={"MixedCase": "Value"})
    assert s3.head_object(Bucket=bucket, Key="object")["Metadata"] == {"mixedcase": "Value"}


def test_aws_chunked_is_no_content_encoding(proxy, bucket, backend):
    from rawsig import SIGNED_CHUNKS, Chunks

    raw = proxy.raw()
    for sent, kept in (("aws-chunked", None), ("aws-chunked,gzip", "gzip")):
        answer = raw.put_chunks(f"/{bucket}/object", Chunks(SIGNED_CHUNKS, b"x" * 100), headers={"content-encoding": sent})
        assert answer.status == 200, answer.body
        assert raw.request("HEAD", f"/{bucket}/object").headers.get("content-encoding") == kept


@pytest.mark.parametrize("name", ["encryption-key", "encryption-envelope", "encryption-holders"])
def test_a_client_can_not_speak_for_the_envelope(s3, bucket, name):
    """Refused, or overruled; never stored as if the proxy had written it."""
    try:
        s3.put_object(Bucket=bucket, Key="object", Body=b"content", Metadata={name: "bWluZQ=="})
    except ClientError as refused:
        assert 400 <= refused.response["ResponseMetadata"]["HTTPStatusCode"] < 500
    else:
        got = s3.get_object(Bucket=bucket, Key="object")
        assert got["Body"].read() == b"content"
        assert name not in got["Metadata"]


def test_response_overrides(real_proxy, real_bucket):
    s3 = real_proxy.boto()
    s3.put_object(Bucket=real_bucket, Key="object", Body=b"x", ContentType="text/plain")
    got = s3.get_object(
        Bucket=real_bucket, Key="object", ResponseContentType="image/png", ResponseCacheControl="no-store",
        ResponseContentDisposition="inline", ResponseContentLanguage="fr", ResponseContentEncoding="identity",
    )  # fmt: skip
    assert got["Body"].read() == b"x"
    names = ("ContentType", "CacheControl", "ContentDisposition", "ContentLanguage", "ContentEncoding")
    assert [got[name] for name in names] == ["image/png", "no-store", "inline", "fr", "identity"]


def test_storage_class_and_tags_at_put(real_proxy, real_bucket):
    s3 = real_proxy.boto()
    s3.put_object(Bucket=real_bucket, Key="object", Body=b"x", StorageClass="STANDARD_IA", Tagging="a=1&b=two%20words")
    assert s3.head_object(Bucket=real_bucket, Key="object")["StorageClass"] == "STANDARD_IA"
    tags = s3.get_object_tagging(Bucket=real_bucket, Key="object")["TagSet"]
    assert {tag["Key"]: tag["Value"] for tag in tags} == {"a": "1", "b": "two words"}


def test_website_redirect(real_proxy, real_bucket):
    s3 = real_proxy.boto()
    s3.put_object(Bucket=real_bucket, Key="object", Body=b"x", WebsiteRedirectLocation="/elsewhere")
    assert s3.head_object(Bucket=real_bucket, Key="object")["WebsiteRedirectLocation"] == "/elsewhere"
