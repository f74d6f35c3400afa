"""Object names that break proxies: each is a name of its own, decoded and encoded exactly once on the way."""

import os
import re

import pytest

from proxy import ACCESS_KEY_ID, SECRET_ACCESS_KEY
from rawsig import RawClient, Signer

# The embedded store maps names to files, and can not hold them all.
FILE_NAMES = [
    "plain",
    "deep/er/and/deep/er",
    "plus+plus",
    "space in name",
    "ünïcödé/日本語/🦀",
    "~tilde-dash_dot.",
    "=equals&amp,comma;semi@at$dollar",
    "(round)[square]{curly}!star*",
    "/".join(["n" * 204] * 5),
]
ANY_NAMES = [
    "/leading",
    "//two-leading",
    "double//slash",
    "trailing/",
    "trailing//",
    "..",
    "../up",
    "a/../b",
    "a/./b",
    ".",
    "%",
    "%25",
    "%2F",
    "%zz",
    "a%20b",
    "quote\"quote",
    "apostrophe'",
    "back\\slash",
    "question?mark",
    "hash#hash",
    "tab\tnew\nline\rreturn",
    "\x01\x1f\x7f",
    "<xml>&\"'",
    "\ufffd\u200b\u0301",
    "k" * 1024,
    "日" * 341 + "x",
]


def round_trip(raw, bucket, key):
    content = os.urandom(100)
    path = f"/{bucket}/{key}"
    put = raw.request("PUT", path, body=content)
    assert put.status == 200, (put.status, put.body)
    got = raw.request("GET", path)
    assert (got.status, got.body) == (200, content)
    assert raw.request("HEAD", path).headers["content-length"] == "100"
    return content


@pytest.mark.parametrize("key", FILE_NAMES)
def test_names_that_are_file_names(proxy, bucket, backend, key):
    round_trip(proxy.raw(), bucket, key)
    assert backend.store.keys(bucket) == [key]
    assert proxy.raw().request("DELETE", f"/{bucket}/{key}").status == 204
    assert backend.store.keys(bucket) == []


@pytest.mark.parametrize("key", ANY_NAMES)
def test_names_of_any_kind(real_proxy, real_bucket, real, key):
    round_trip(real_proxy.raw(), real_bucket, key)
    # By the store's own word, so that an escape done twice both ways is noticed. LIST can't carry control characters.
    if all(ord(letter) >= 32 for letter in key):
        assert real.store.keys(real_bucket) == [key]
    assert real_proxy.raw().request("DELETE", f"/{real_bucket}/{key}").status == 204
    assert real_proxy.raw().request("GET", f"/{real_bucket}/{key}").status == 404


def test_names_that_look_alike_are_different_objects(real_proxy, real_bucket):
    raw = real_proxy.raw()
    names = ["a b", "a+b", "a%20b", "a%2Bb", "a//b", "a/b", "/a/b", "a/b/", "A/b", "é", "e\u0301"]
    for number, name in enumerate(names):
        assert raw.request("PUT", f"/{real_bucket}/{name}", body=str(number).encode()).status == 200
    for number, name in enumerate(names):
        assert raw.request("GET", f"/{real_bucket}/{name}").body == str(number).encode(), name


@pytest.mark.parametrize("key", [name for name in FILE_NAMES + ANY_NAMES if not name.startswith("/")])
def test_boto3_agrees_on_names(real_proxy, real_bucket, key):
    s3 = real_proxy.boto()
    s3.put_object(Bucket=real_bucket, Key=key, Body=key.encode())
    assert s3.get_object(Bucket=real_bucket, Key=key)["Body"].read() == key.encode()


def test_a_name_that_is_too_long(proxy, bucket, backend):
    answer = proxy.raw().request("PUT", f"/{bucket}/{'k' * 1025}", body=b"x")
    assert (answer.status, answer.code) == (400, "KeyTooLongError")
    assert backend.store.keys(bucket) == []


@pytest.mark.parametrize("key", ["../escaped", "a/../../../escaped", "..", "%2e%2e/escaped"])
def test_the_embedded_store_is_not_left(start, tmp_path, key):
    """A name that climbs out of the directory is refused, or is a file inside it."""
    from conftest import embedded_backend, new_bucket

    backend = embedded_backend(tmp_path)
    running = start(backend)
    bucket = new_bucket(running.boto())
    running.raw().request("PUT", f"/{bucket}/{key}", body=b"x")
    assert [path for path in tmp_path.rglob("*escaped*") if not path.is_relative_to(backend.store.root / bucket)] == []
    assert (backend.store.root / bucket).is_dir()


def test_virtual_hosted_style(start, real, real_bucket):
    running = start(real, listen={"domain": "s3.test"})
    raw = running.raw()
    put = raw.request("PUT", "/dir/object", body=b"by name", host=f"{real_bucket}.s3.test:{running.port}")
    assert put.status == 200, put.body
    assert raw.request("GET", f"/{real_bucket}/dir/object").body == b"by name"
    assert raw.request("GET", f"/{real_bucket}/dir/object", host=f"s3.test:{running.port}").body == b"by name"
    assert raw.request("GET", "/dir/object", host=f"{real_bucket}.s3.test").body == b"by name"


def read_text(written):
    """Character data as a lenient parser reads it; Python's own refuse references to control characters, or drop them."""
    named = {"lt": "<", "gt": ">", "amp": "&", "quot": '"', "apos": "'"}

    def character(found):
        text = found[1]
        return named.get(text) or chr(int(text[2:], 16) if text.startswith("#x") else int(text[1:]))

    return re.sub("&([^;]+);", character, written)


def test_an_upload_under_a_key_with_control_characters_can_be_aborted_as_it_is_listed(proxy, s3, bucket):
    """XML 1.0 has no way to write them; S3 writes a reference all the same. (A strict parser asks for encoding-type=url.)"""
    raw = RawClient(proxy.endpoint, Signer(ACCESS_KEY_ID, SECRET_ACCESS_KEY))
    keys = ["u\x01v", "w\x0bx&", "y\x1fz"]
    for key in keys:
        answer = raw.request("POST", f"/{bucket}/{key}", query=[("uploads", "")])
        assert answer.status == 200, answer.body
        assert [read_text(found) for found in re.findall("<Key>(.*?)</Key>", answer.body.decode())] == [key]
    listed = raw.request("GET", f"/{bucket}", query=[("uploads", "")]).body.decode()
    entries = re.findall(r"<Upload>.*?</Upload>", listed, re.S)
    found = {read_text(re.search("<Key>(.*?)</Key>", entry, re.S)[1]): re.search("<UploadId>(.*?)</UploadId>", entry)[1] for entry in entries}
    assert sorted(found) == keys
    for key, upload_id in found.items():
        assert raw.request("GET", f"/{bucket}/{key}", query=[("uploadId", upload_id)]).status == 200
        assert raw.request("DELETE", f"/{bucket}/{key}", query=[("uploadId", upload_id)]).status == 204
    assert "<Upload>" not in raw.request("GET", f"/{bucket}", query=[("uploads", "")]).body.decode()
