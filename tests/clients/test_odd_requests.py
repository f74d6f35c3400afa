"""Requests that are odd in one place: the answer is S3's, the client's fault is not the storage's, and nothing is stored wrong."""

import base64
import http.client

import pytest

from conftest import new_bucket
from judge import assert_nothing_comes, assert_nothing_stored, assert_refused
from proxy import ACCESS_KEY_ID
from rawsig import UNSIGNED, Chunks, UNSIGNED_TRAILER

DELETE = '<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{}</Delete>'


@pytest.mark.parametrize("name", ["content-type", "x-amz-meta-note", "x-amz-acl", "x-amz-tagging", "x-amz-storage-class"])
def test_bytes_that_are_no_text(proxy, bucket, backend, name):
    """Latin-1 in a signed header."""
    raw, path = proxy.raw(), f"/{bucket}/object"
    query = raw.signer.presign("PUT", raw.authority, path)
    connection = http.client.HTTPConnection(raw.host, raw.port, timeout=30)
    connection.putrequest("PUT", f"{path}?{query}", skip_host=True, skip_accept_encoding=True)
    connection.putheader("host", raw.authority)
    connection.putheader("content-length", "1")
    connection.putheader(name, "caf\xe9".encode("latin-1"))
    connection.endheaders(b"x")
    answer = connection.getresponse()
    # An x-amz-* header has to be signed, and this client's signer writes text only.
    assert answer.status == (400 if name == "content-type" else 403), answer.read()
    connection.close()
    assert_nothing_stored(backend.store, bucket)


@pytest.mark.parametrize("name", ["x-amz-meta-note", "x-amz-website-redirect-location"])
def test_signed_bytes_that_are_no_utf_8(proxy, bucket, backend, name):
    """The signature is right, over Latin-1 as it is sent: the value is refused, not the signature."""
    raw, path, headers = proxy.raw(encoding="latin-1"), f"/{bucket}/object", {name: "caf\xe9"}
    signed = raw.request("PUT", path, body=b"x", headers=headers)
    query = raw.signer.presign("PUT", raw.authority, path, headers=headers)
    presigned = raw.send("PUT", path, query, {"host": raw.authority, "content-length": "1", **headers}, [b"x"])
    created = raw.request("POST", path, [("uploads", "")], headers=headers)
    for answer in (signed, presigned, created):
        assert_refused(answer, 400, "InvalidArgument")
        assert name in answer.body.decode()
    assert_nothing_comes(backend.store, bucket)
    assert raw.request("PUT", path, body=b"x", headers={name: "/cafe"}).status == 200, "in ASCII"


@pytest.mark.parametrize("value", ["left\tright", "a\t\tb \t c", "annual  report", "=?UTF-8?Q?caf=C3=A9?="])
def test_white_space_in_metadata(proxy, s3, bucket, value):
    """boto3 folds tabs before it signs, others do not; what is sent is stored."""
    s3.put_object(Bucket=bucket, Key="object", Body=b"x", Metadata={"note": value})

    def note(key):
        return s3.head_object(Bucket=bucket, Key=key)["Metadata"]["note"]

    assert note("object") == value
    s3.copy_object(Bucket=bucket, Key="copy", CopySource=f"{bucket}/object")
    assert note("copy") == value
    raw = proxy.raw()
    query = raw.signer.presign("PUT", raw.authority, f"/{bucket}/hoisted", [("x-amz-meta-note", value)])
    sent = {"host": raw.authority, "content-length": "1"}
    assert raw.send("PUT", f"/{bucket}/hoisted", query, sent, [b"x"]).status == 200
    assert note("hoisted") == value


@pytest.mark.parametrize("date", ["Fri, 31 Dec 9999 23:59:59 -0100", "Fri, 31 Dec 9999 23:59:59 -2359"])
def test_a_date_beyond_the_year_9999(proxy, date):
    raw = proxy.raw()
    claim = f"AWS4-HMAC-SHA256 Credential={ACCESS_KEY_ID}/99991231/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
    answer = raw.send("GET", "/", "", {"host": raw.authority, "date": date, "authorization": claim}, [])
    assert_refused(answer, 403, "AccessDenied")


def test_frames_that_nothing_announces(proxy, bucket, backend):
    """aws-chunked under UNSIGNED-PAYLOAD would be stored with its frames."""
    raw, content = proxy.raw(), b"content" * 100
    framed = b"".join(Chunks(UNSIGNED_TRAILER, content).frames(raw.signer, raw.signer.amz_date(), ""))
    headers = {"content-encoding": "aws-chunked", "x-amz-decoded-content-length": str(len(content))}
    answer = raw.request("PUT", f"/{bucket}/object", body=framed, headers=headers, payload_hash=UNSIGNED)
    assert_refused(answer, 400, "InvalidRequest")
    assert_nothing_comes(backend.store, bucket)
    same = {"content-encoding": "aws-chunked", "x-amz-decoded-content-length": str(len(content))}
    assert raw.request("PUT", f"/{bucket}/object", body=content, headers=same, payload_hash=UNSIGNED).status == 200
    assert raw.request("GET", f"/{bucket}/object").body == content


def test_an_algorithm_without_a_body(proxy, bucket):
    """AWS reads x-amz-sdk-checksum-algorithm on uploads of a body."""
    raw, named = proxy.raw(), {"x-amz-sdk-checksum-algorithm": "CRC32"}
    assert raw.request("PUT", f"/{bucket}/object", body=b"x").status == 200
    assert raw.request("PUT", f"/{bucket}/copy", headers={"x-amz-copy-source": f"{bucket}/object", **named}).status == 200
    assert raw.request("POST", f"/{bucket}/parts", [("uploads", "")], headers=named).status == 200
    assert_refused(raw.request("PUT", f"/{bucket}/object", body=b"x", headers=named), 400, "InvalidRequest")


def test_an_upload_id_that_names_another_key(proxy, bucket):
    """The wrapped data key inside begins with its version and, in a local keyring, its key's id."""
    raw, path = proxy.raw(), f"/{bucket}/parts"
    token = raw.request("POST", path, [("uploads", "")]).text_of("UploadId")
    data = bytearray(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    start = 2 + 2 + int.from_bytes(data[2:4], "big") + 2
    for place in (start, start + 2, start + 3, start + 20):
        altered = bytearray(data)
        altered[place] ^= 1
        upload_id = base64.urlsafe_b64encode(bytes(altered)).decode().rstrip("=")
        answer = raw.request("PUT", path, [("partNumber", "1"), ("uploadId", upload_id)], b"x")
        assert_refused(answer, 404, "NoSuchUpload")


@pytest.fixture
def closed(start, backend):
    """A proxy that serves one prefix of its buckets, and another that serves them whole."""
    return start(backend, bucket=[{"name": "b-*", "prefix": "open/"}]), start(backend)


def delete(running, bucket, *keys, quiet=False):
    objects = "".join(f"<Object><Key>{key}</Key></Object>" for key in keys)
    quiet = "<Quiet>true</Quiet>" if quiet else ""
    return running.raw().request("POST", f"/{bucket}", [("delete", "")], DELETE.format(quiet + objects).encode())


@pytest.mark.parametrize("quiet", [False, True], ids=["loud", "quiet"])
def test_delete_objects_asks_the_rule_of_each_key(closed, backend, quiet):
    running, whole = closed
    bucket = new_bucket(whole.boto())
    for key in ("open/a", "open/b", "closed/c", "closed/d"):
        assert whole.raw().request("PUT", f"/{bucket}/{key}", body=b"x").status == 200
    assert_refused(running.raw().request("DELETE", f"/{bucket}/closed/c"), 403, "AccessDenied")
    answer = delete(running, bucket, "open/a", "closed/c", "open/b", "closed/d", quiet=quiet)
    assert answer.status == 200 and answer.headers["content-type"].startswith("application/xml")
    assert sorted(backend.store.keys(bucket)) == ["closed/c", "closed/d"]
    text = answer.body.decode()
    assert text.count("<Deleted>") == (0 if quiet else 2)
    assert text.count("<Code>AccessDenied</Code>") == 2
    for key in ("closed/c", "closed/d"):
        assert f"<Error><Key>{key}</Key><Code>AccessDenied</Code>" in text
    answer = delete(running, bucket, "closed/c", quiet=quiet)
    assert (answer.status, answer.body.count(b"<Error>")) == (200, 1)
    assert sorted(backend.store.keys(bucket)) == ["closed/c", "closed/d"]
    errors = running.boto().delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "closed/d"}]})["Errors"]
    assert [(error["Key"], error["Code"]) for error in errors] == [("closed/d", "AccessDenied")]


@pytest.mark.parametrize("document", [
    '<s3:Delete xmlns:s3="http://s3.amazonaws.com/doc/2006-03-01/"><s3:Object><s3:Key>a</s3:Key></s3:Object></s3:Delete>',
    DELETE.format("<Object><Key><![CDATA[a]]></Key></Object>"),
], ids=["prefixed", "CDATA"])  # fmt: skip
def test_delete_objects_in_other_spellings_of_xml(proxy, backend, bucket, document):
    raw = proxy.raw()
    for key in ("a", "b"):
        assert raw.request("PUT", f"/{bucket}/{key}", body=b"x").status == 200
    answer = raw.request("POST", f"/{bucket}", [("delete", "")], document.encode())
    assert answer.status == 200 and b"<Deleted><Key>a</Key>" in answer.body, answer.body
    assert backend.store.keys(bucket) == ["b"]


@pytest.mark.parametrize("document", [
    "<Type>SELECT</Type><Tier>Standard</Tier>",
    "<Days>1</Days><OutputLocation><S3><BucketName>other-secret</BucketName><Prefix>p</Prefix></S3></OutputLocation>",
    "<SelectParameters><Expression>SELECT * FROM S3Object</Expression></SelectParameters>",
], ids=["type", "location", "parameters"])  # fmt: skip
def test_a_restore_that_selects(real_proxy, real_bucket, document):
    body = f'<RestoreRequest xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{document}</RestoreRequest>'.encode()
    raw = real_proxy.raw()
    assert raw.request("PUT", f"/{real_bucket}/object", body=b"x").status == 200
    answer = raw.request("POST", f"/{real_bucket}/object", [("restore", "")], body)
    assert_refused(answer, 501, "NotImplemented")
    assert "plaintext" in answer.message
