"""Writes the boto3_*.json and form_boto3_*.json vectors beside it: what boto3 itself signs, offline, at a frozen moment.

Run it with boto3 1.43 or later; the vectors are committed, so the tests need no Python.
"""
import datetime
import io
import json
import pathlib
from unittest import mock
from urllib.parse import urlsplit

import boto3
import botocore.auth
import botocore.signers
from botocore.awsrequest import AWSResponse
from botocore.config import Config

HERE = pathlib.Path(__file__).parent
NOW = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)
ACCESS_KEY_ID = "AKIAIOSFODNN7EXAMPLE"
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"


def client(version, style="path", scheme="http"):
    return boto3.client(
        "s3",
        endpoint_url=f"{scheme}://s3.example.test:8333",
        aws_access_key_id=ACCESS_KEY_ID,
        aws_secret_access_key=SECRET,
        region_name="us-east-1",
        config=Config(signature_version=version, s3={"addressing_style": style}),
    )


def write(name, method, url, headers, expect, body=None):
    parts = urlsplit(url)
    bucket = parts.netloc.split(".")[0] if parts.netloc.count(".") > 2 else None
    headers = {"Host": parts.netloc, **headers}
    vector = {
        "source": f"boto3 {boto3.__version__}",
        "now": NOW.strftime("%Y%m%dT%H%M%SZ"),
        "request": {
            "method": method,
            "path": parts.path,
            "query": parts.query,
            "headers": list(headers.items()),
            "virtual_host_bucket": bucket,
        },
        "expect": {"access_key_id": ACCESS_KEY_ID, **expect},
    }
    if body is not None:
        vector["body"] = [{"text": body}]
    (HERE / f"boto3_{name}.json").write_text(json.dumps(vector, indent=2, ensure_ascii=False) + "\n")


def presigned(name, version, operation, method="GET", style="path", headers=None, **params):
    url = client(version, style).generate_presigned_url(operation, Params={"Bucket": "bucket", **params}, ExpiresIn=600)
    write(name, method, url, headers or {}, {"presigned": True, "payload": "unsigned"})


def sent(name, scheme, operation, expect, **params):
    """The request boto3 puts on the wire for `operation`."""
    s3, wire = client("s3v4", scheme=scheme), {}

    def capture(request, **_):
        body = request.body.read() if hasattr(request.body, "read") else request.body
        wire.update(method=request.method, url=request.url, headers=request.headers, body=body)
        return AWSResponse(request.url, 200, {}, mock.Mock(stream=lambda *_: [b""]))

    s3.meta.events.register("before-send.s3", capture)
    getattr(s3, operation)(Bucket="bucket", **params)
    text = lambda value: value.decode() if isinstance(value, bytes) else value
    machine = ("user-agent", "amz-sdk-invocation-id")
    headers = {name: text(value) for name, value in wire["headers"].items() if name.lower() not in machine}
    write(name, wire["method"], wire["url"], headers, expect, text(wire["body"]) if "decoded" in expect else None)


def posted(name, version):
    """The form of generate_presigned_post: its fields sign its policy."""
    form = client(version).generate_presigned_post(
        "bucket", "dir/${filename}", {"acl": "private"}, [{"acl": "private"}, ["content-length-range", 1, 10]], ExpiresIn=600
    )
    vector = {
        "source": f"boto3 {boto3.__version__}",
        "now": NOW.strftime("%Y%m%dT%H%M%SZ"),
        "form": form["fields"],
        "expect": {"access_key_id": ACCESS_KEY_ID},
    }
    (HERE / f"form_boto3_{name}.json").write_text(json.dumps(vector, indent=2, ensure_ascii=False) + "\n")


def main():
    odd = "//a b+c/../é%&=?#~(1)!*'"
    with (
        mock.patch.object(botocore.auth, "get_current_datetime", lambda: NOW.replace(tzinfo=None)),
        mock.patch.object(botocore.auth.time, "time", NOW.timestamp),
        mock.patch.object(botocore.signers, "get_current_datetime", lambda: NOW.replace(tzinfo=None)),
    ):
        for version, label in (("s3", "v2"), ("s3v4", "v4")):
            presigned(f"{label}_get", version, "get_object", Key="a/b.txt")
            presigned(f"{label}_get_odd_key", version, "get_object", Key=odd)
            presigned(f"{label}_get_virtual_host", version, "get_object", style="virtual", Key=odd)
            presigned(f"{label}_head", version, "head_object", method="HEAD", Key="a/b.txt")
            presigned(f"{label}_put", version, "put_object", method="PUT", Key="a/b.txt")
            presigned(
                f"{label}_put_with_headers", version, "put_object", method="PUT", Key="a/b.txt",
                ContentType="text/plain", ACL="private", Metadata={"colour": "light  blue"},
                headers={"Content-Type": "text/plain", "x-amz-acl": "private", "x-amz-meta-colour": "light  blue"},
            )
            presigned(
                f"{label}_get_overrides", version, "get_object", Key="a", VersionId="v1+/=", PartNumber=2,
                ResponseContentDisposition='attachment; filename="a+b & c.txt"', ResponseContentType="text/plain",
            )
            presigned(f"{label}_list_virtual_host", version, "list_objects_v2", style="virtual", Prefix="a b/")
            posted(label, version)
        # The value of a metadata header in the query counts as that header: a plain `curl -T` must work.
        presigned("v2_put_metadata_in_query", "s3", "put_object", method="PUT", Key="a", Metadata={"colour": "blue"})
        sent("header_get_odd_key", "http", "get_object", {"presigned": False, "payload": "sha256"}, Key=odd)
        sent("header_list", "http", "list_objects_v2", {"presigned": False, "payload": "sha256"}, Prefix="a b+/", MaxKeys=3)
        sent(
            "header_put", "http", "put_object", {"presigned": False, "payload": "sha256"},
            Key=odd, Body=b"hello", Metadata={"a": "one   two", "b": "x"}, ContentType="text/plain",
        )
        sent(
            "header_put_unsigned_trailer", "https", "put_object",
            {
                "presigned": False, "payload": "chunked", "decoded": [{"text": "hello"}],
                "trailers": [["x-amz-checksum-crc32", "NhCmhg=="]],
            },
            Key="a", Body=io.BytesIO(b"hello"), ChecksumAlgorithm="CRC32",
        )


main()
