"""Corners of listings, and keys with control characters, which AWS writes into XML 1.0 as character references."""

import re
import urllib.parse

import pytest

from conftest import EMBEDDED
from judge import assert_code
from multiparts import content
from standin import StandIn, document

SIZE = 70_001
KEYS = ["asdf", "boo/bar", "boo/baz/xyzzy", "cquux/bla", "cquux/thud", "d+e f/x", "d+e f/y", "z--1", "z--2", "\u00fc/1", "\u00fc/2"]


@pytest.fixture
def page(proxy, s3, bucket):
    """page([(name, value), ...]): a listing of a bucket with KEYS, each of SIZE bytes."""
    for key in KEYS:
        s3.put_object(Bucket=bucket, Key=key, Body=content(SIZE))
    raw = proxy.raw()
    return lambda *query: raw.request("GET", f"/{bucket}", list(query))


def texts(name, answer):
    return re.findall(f"<{name}>([^<]*)</{name}>", answer.body.decode())


def keys(answer):
    assert answer.status == 200 and not answer.broken, answer.body
    return texts("Key", answer)


V2 = ("list-type", "2")


@pytest.mark.parametrize("version", [[V2], []], ids=["v2", "v1"])
def test_page_sizes(page, backend, version):
    if backend.name == EMBEDDED:  # LocalStack takes nought for none, and lists all
        nothing = page(*version, ("max-keys", "0"))
        assert (keys(nothing), texts("IsTruncated", nothing)) == ([], ["false"])
        assert not texts("NextContinuationToken", nothing) and "".join(texts("NextMarker", nothing)) == ""
    assert keys(page(*version, ("max-keys", "100000"))) == KEYS
    for wrong in ("-1", "x", "1.5") if backend.name == EMBEDDED else ():  # LocalStack reads -1, too
        assert_code(page(*version, ("max-keys", wrong)), 400, "InvalidArgument")


def test_prefixes_and_delimiters(page):
    folder = page(V2, ("delimiter", "/"), ("prefix", "boo/"))
    assert (keys(folder), texts("Prefix", folder)[-1], texts("IsTruncated", folder)) == (["boo/bar"], "boo/baz/", ["false"])
    assert [prefix for prefix in texts("Prefix", page(V2, ("delimiter", "--"))) if prefix] == ["z--"]
    encoded = page(V2, ("prefix", "d+e f/"), ("encoding-type", "url"))
    assert [urllib.parse.unquote_plus(key) for key in keys(encoded)] == ["d+e f/x", "d+e f/y"]
    assert urllib.parse.unquote_plus(texts("Prefix", encoded)[0]) == "d+e f/"
    seen, token = [], []
    for _ in range(20):
        answer = page(V2, ("delimiter", "/"), ("max-keys", "1"), *token)
        assert answer.status == 200, answer.body
        seen += keys(answer) + re.findall(r"<CommonPrefixes><Prefix>([^<]*)", answer.body.decode())
        if texts("IsTruncated", answer) == ["false"]:
            break
        token = [("continuation-token", texts("NextContinuationToken", answer)[0])]
    assert sorted(seen) == sorted(["asdf", "boo/", "cquux/", "d+e f/", "z--1", "z--2", "\u00fc/"])


def test_where_a_page_begins(page):
    after = page(V2, ("start-after", "cquux/bla"), ("max-keys", "2"))
    assert keys(after) == ["cquux/thud", "d+e f/x"]
    token = texts("NextContinuationToken", after)[0]
    assert keys(page(V2, ("start-after", "zzz"), ("max-keys", "2"), ("continuation-token", token))) == ["d+e f/y", "z--1"]


@pytest.mark.parametrize("query", [
    [V2, ("fetch-owner", "true"), ("delimiter", ""), ("encoding-type", "url"), ("prefix", "")],
    [V2, ("fetch-owner", "true")],
    [("max-keys", "1000"), ("marker", ""), ("prefix", ""), ("delimiter", "")],
], ids=["empty v2", "owners", "empty v1"])  # fmt: skip
def test_parameters_without_a_value_change_nothing(page, query):
    answer = page(*query)
    assert answer.status == 200 and texts("Size", answer) == [str(SIZE)] * len(KEYS)


def test_what_is_no_listing(page, proxy):
    assert_code(page(V2, ("encoding-type", "base64")), 400, "InvalidArgument")
    assert_code(page(("list-type", "3")), 400, "InvalidArgument")
    missing = f"/no-such-bucket-{id(page)}"
    assert_code(proxy.raw().request("GET", missing, [V2]), 404, "NoSuchBucket")
    head = proxy.raw().request("HEAD", missing)
    assert (head.status, head.body) == (404, b"")


ODD = ["a\x01b", "a\x02b", "c\x0bd", "e\x19\x07", "f\x7fg", "h\ti", "j\rk", "l\nm", "n\r\no", "plain", "z&<>'\"]]>", "\u00e9\u2028x", "\ufffe", "p%01q", "r s+t"]


def test_keys_with_control_characters(proxy, s3, bucket):
    raw = proxy.raw()
    sizes = {key: 70_000 + number for number, key in enumerate(ODD)}
    for key, size in sizes.items():
        assert raw.request("PUT", f"/{bucket}/{key}", body=content(size)).status == 200
    for query in ([V2], []):
        plain = raw.request("GET", f"/{bucket}", query)
        assert (plain.status, plain.broken) == (200, False) and plain.body.rstrip().endswith(b">")
        assert sorted(map(int, texts("Size", plain))) == sorted(sizes.values())
        encoded = raw.request("GET", f"/{bucket}", [*query, ("encoding-type", "url")])
        listed = zip(keys(encoded), texts("Size", encoded), strict=True)
        assert {urllib.parse.unquote_plus(key): int(size) for key, size in listed} == sizes
    copied = raw.request("PUT", f"/{bucket}/copy\x02of", headers={"x-amz-copy-source": f"{bucket}/a%01b"})
    assert copied.status == 200 and raw.request("GET", f"/{bucket}/copy\x02of").body == content(sizes["a\x01b"])
    assert_code(raw.request("GET", f"/{bucket}/missing\x01"), 404, "NoSuchKey")
    for key in [*ODD, "copy\x02of"]:
        assert raw.request("DELETE", f"/{bucket}/{key}").status == 204
    assert keys(raw.request("GET", f"/{bucket}", [V2])) == []


ENTRY = "<LastModified>2018-12-26T12:03:51.000Z</LastModified><ETag>&quot;{etag}&quot;</ETag><Size>{size}</Size><StorageClass>STANDARD</StorageClass>"
MD5 = "d41d8cd98f00b204e9800998ecf8427e"


def answer_as_aws(asked):
    entry = ENTRY.format(etag=MD5, size=116)
    if "versions" in asked.query:
        return document("ListVersionsResult", f"<Name>b</Name><IsTruncated>false</IsTruncated><Version><Key>a&#x19;&#x7;</Key><VersionId>null</VersionId>{entry}</Version>")
    two_parts = ENTRY.format(etag=MD5 + "-2", size=10_487_000)
    return document("ListBucketResult", f"<Name>b</Name><IsTruncated>false</IsTruncated><Contents><Key>a&#x19;&#x7;</Key>{entry}</Contents><Contents><Key>x&#x1;</Key>{two_parts}</Contents>")


def test_character_references_of_the_storage_pass_as_they_are(start, real):
    """Python's parser reads no such document; those of SDKs on libxml2 in recovery mode, or in Go, do."""
    with StandIn(answer_as_aws) as stand_in:
        raw = start(real, upstream=stand_in.upstream).raw()
        for query, entries in (([V2], [("a&#x19;&#x7;", "100"), ("x&#x1;", "10486360")]), ([], None), ([("versions", "")], [("a&#x19;&#x7;", "100")])):
            answer = raw.request("GET", "/bucket", query)
            assert (answer.status, answer.broken) == (200, False)
            listed = list(zip(texts("Key", answer), texts("Size", answer), strict=True))
            assert [key for key, _ in listed][0] == "a&#x19;&#x7;" and (entries is None or listed[0] == entries[0])
