"""Presigned URLs of the AWS SDK for JavaScript with its defaults. Its signer knows no body, and puts the checksum of an empty one
into the URL; who holds the URL uploads another."""

import json
import os
import shutil
import subprocess
import urllib.parse
from pathlib import Path

import pytest

from backing import ROOT
from judge import assert_refused
from multiparts import MIB, content
from proxy import ACCESS_KEY_ID, SECRET_ACCESS_KEY
from rawsig import checksum

MODULES = ROOT / ".work" / "node" / "node_modules"
SCRIPT = Path(__file__).with_name("presign.js")

pytestmark = pytest.mark.skipif(
    not (shutil.which("node") and MODULES.is_dir()), reason="node 20 and npm are missing: scripts/test installs the SDK where they are"
)


def urls(proxy, bucket, *commands):
    lines = "\n".join(json.dumps(command) for command in commands)
    done = subprocess.run(
        ["node", SCRIPT, proxy.endpoint, ACCESS_KEY_ID, SECRET_ACCESS_KEY, bucket],
        input=lines, capture_output=True, text=True, timeout=60,
        env={"PATH": os.environ["PATH"], "NODE_PATH": str(MODULES), "HOME": os.environ["HOME"]},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def use(proxy, url, method, body=b"", headers=None):
    raw, parts = proxy.raw(), urllib.parse.urlsplit(url)
    sent = {"host": raw.authority, **(headers or {})}
    if method == "PUT":
        sent["content-length"] = str(len(body))
    return raw.send(method, parts.path, parts.query, sent, [body] if body else [])


def test_put_and_get(proxy, bucket):
    for size in (0, 1, 70_000, MIB):
        body = content(size)
        put, get = urls(proxy, bucket, {"command": "PutObject", "Key": "dir/a b.txt"}, {"command": "GetObject", "Key": "dir/a b.txt"})
        assert "x-amz-checksum-crc32=AAAAAA" in put, "else the SDK's default is another, and this test shows nothing"
        answer = use(proxy, put, "PUT", body)
        assert answer.status == 200, answer.body
        answer = use(proxy, get, "GET")
        assert (answer.status, answer.body) == (200, body)


def test_what_is_hoisted_beside_it_is_kept(proxy, bucket):
    named = {"command": "PutObject", "Key": "object", "ContentType": "text/plain", "Metadata": {"origin": "browser"}}
    (put,) = urls(proxy, bucket, named)
    answer = use(proxy, put, "PUT", b"body", {"content-type": "text/plain"})
    assert answer.status == 200, answer.body
    head = proxy.raw().request("HEAD", f"/{bucket}/object")
    assert (head.headers["x-amz-meta-origin"], head.headers["content-type"]) == ("browser", "text/plain")


def test_a_checksum_in_a_header_is_verified(proxy, bucket):
    (put,) = urls(proxy, bucket, {"command": "PutObject", "Key": "object"})
    wrong = use(proxy, put, "PUT", b"body", {"x-amz-checksum-crc32": checksum("crc32", b"another")})
    assert_refused(wrong, (400, 403), ("BadDigest", "InvalidRequest", "AccessDenied", "InvalidArgument"))


def test_an_upload_in_parts(proxy, s3, bucket):
    place = {"Key": "object", "UploadId": s3.create_multipart_upload(Bucket=bucket, Key="object")["UploadId"]}
    bodies = [content(5 * MIB), content(70_000, seed=1)]
    signed = urls(proxy, bucket, *({"command": "UploadPart", "PartNumber": number, **place} for number in (1, 2)))
    parts = []
    for number, (url, body) in enumerate(zip(signed, bodies, strict=True), 1):
        answer = use(proxy, url, "PUT", body)
        assert answer.status == 200, answer.body
        parts.append({"PartNumber": number, "ETag": answer.headers["etag"]})
    s3.complete_multipart_upload(Bucket=bucket, **place, MultipartUpload={"Parts": parts})
    assert s3.get_object(Bucket=bucket, Key="object")["Body"].read() == b"".join(bodies)
