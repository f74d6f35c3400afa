"""ETags: of one form in every answer, never taken for an MD5 that they are not, and taken back in every condition."""

import hashlib
import os
import re

import pytest
from botocore.exceptions import ClientError

from backing import error_code, status
from proxy import ACCESS_KEY_ID, SECRET_ACCESS_KEY
from rawsig import RawClient, Signer
from test_post import post

OPAQUE = re.compile(r'"[0-9a-f]{32}-v"')
MD5 = re.compile(r'"[0-9a-f]{32}"')
CONTENT = os.urandom(70_000)
WHERE = {"Key": "k"}


@pytest.fixture
def raw(proxy):
    return RawClient(proxy.endpoint, Signer(ACCESS_KEY_ID, SECRET_ACCESS_KEY))


def refused(call, **arguments):
    with pytest.raises(ClientError) as failed:
        call(**arguments)
    return status(failed.value)


def of_listings(s3, bucket, key="k"):
    """The ETag of a key in every listing that the storage has."""
    found = {}
    for name, entries in (("list_objects", "Contents"), ("list_objects_v2", "Contents"), ("list_object_versions", "Versions")):
        try:
            answer = getattr(s3, name)(Bucket=bucket, Prefix=key)
        except ClientError as error:
            assert error_code(error) == "NotImplemented", error
            continue
        found[name] = answer[entries][0]["ETag"]
    return found


def everywhere(s3, bucket, key="k"):
    """The ETags in all answers about an object."""
    where = {"Bucket": bucket, "Key": key}
    etags = of_listings(s3, bucket, key)
    etags["head"] = s3.head_object(**where)["ETag"]
    etags["get"] = s3.get_object(**where)["ETag"]
    etags["range"] = s3.get_object(**where, Range="bytes=3-7")["ETag"]
    etags["attributes"] = f'"{s3.get_object_attributes(**where, ObjectAttributes=["ETag"])["ETag"]}"'
    return etags


def test_an_object_of_one_put(s3, bucket, backend):
    where = {"Bucket": bucket, **WHERE}
    etag = s3.put_object(**where, Body=CONTENT)["ETag"]
    assert OPAQUE.fullmatch(etag)
    assert set(everywhere(s3, bucket).values()) == {etag}
    stored = hashlib.md5(backend.store.read(bucket, "k").body).hexdigest()
    assert etag == f'"{stored}-v"', "the storage's own, with a suffix"
    copy = s3.copy_object(Bucket=bucket, Key="copy", CopySource=where)["CopyObjectResult"]["ETag"]
    assert OPAQUE.fullmatch(copy)
    assert set(everywhere(s3, bucket, "copy").values()) == {copy}


def test_an_upload_in_parts(s3, bucket):
    where = {"Bucket": bucket, **WHERE}
    upload = {**where, "UploadId": s3.create_multipart_upload(**where)["UploadId"]}
    parts = [{"PartNumber": 1, "ETag": s3.upload_part(**upload, PartNumber=1, Body=CONTENT)["ETag"]}]
    assert "-" in parts[0]["ETag"]
    etag = s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})["ETag"]
    assert re.fullmatch(r'"[0-9a-f]{32}-1"', etag)
    assert set(everywhere(s3, bucket).values()) == {etag}


def test_a_part_that_another_proxy_stored(start, backend, s3, bucket):
    """A proxy that does not know the part's mark lists the storage's ETag, in the form of every other; Complete takes it."""
    where = {"Bucket": bucket, **WHERE}
    upload = {**where, "UploadId": s3.create_multipart_upload(**where)["UploadId"]}
    s3.upload_part(**upload, PartNumber=1, Body=CONTENT)
    if backend.name == "embedded":
        pytest.skip("the embedded store serves one proxy")
    other = start(backend).boto()
    listed = other.list_parts(**upload)["Parts"]
    assert OPAQUE.fullmatch(listed[0]["ETag"])
    parts = [{"PartNumber": 1, "ETag": listed[0]["ETag"]}]
    other.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
    assert s3.get_object(**where)["Body"].read() == CONTENT


def test_a_form(proxy, s3, bucket):
    for fields, expected in (({}, 204), ({"success_action_status": "201"}, 201), ({"success_action_redirect": "http://page.example/"}, 303)):
        answer = post(proxy, bucket, key="k", fields=fields)
        assert answer.status == expected
        etag = answer.headers["etag"]
        assert OPAQUE.fullmatch(etag)
        if expected == 201:
            assert answer.text_of("ETag") == etag
        if expected == 303:
            assert f"etag=%22{etag[1:-1]}%22" in answer.headers["location"]
        assert s3.head_object(Bucket=bucket, Key="k")["ETag"] == etag
    etag = s3.head_object(Bucket=bucket, Key="k")["ETag"]
    assert post(proxy, bucket, key="k", fields={"If-Match": '"other"'}).status == 412
    assert post(proxy, bucket, key="k", fields={"If-Match": etag}).status == 204


def test_conditions_in_every_form_that_clients_write(raw, s3, bucket, backend):
    etag = s3.put_object(Bucket=bucket, Key="k", Body=CONTENT)["ETag"]
    bare, storages = etag.strip('"'), etag.replace("-v", "")
    other = f'"{"0" * 32}-v"'

    def got(method, **headers):
        return raw.request(method, f"/{bucket}/k", headers={name.replace("_", "-"): value for name, value in headers.items()})

    for method in ("GET", "HEAD"):
        # Lists of several, and `*`, pass too; but not every storage reads them.
        for known in (etag, bare, storages):
            assert got(method, If_Match=known).status == 200, known
            assert got(method, If_None_Match=known).status == 304, known
        for stranger in (other, f'"{bare}-v"', '"x"'):
            assert got(method, If_Match=stranger).status == 412, stranger
            answer = got(method, If_None_Match=stranger)
            assert (answer.status, answer.headers["etag"]) == (200, etag)
    for known in (etag, storages):
        # LocalStack's 304 has no ETag.
        expected = None if backend.name == "localstack" else known
        assert got("GET", If_None_Match=known).headers.get("etag") == expected, "a cache finds the answer that it has"


def test_conditional_writes(s3, bucket):
    where = {"Bucket": bucket, **WHERE}
    etag = s3.put_object(**where, Body=b"one", IfNoneMatch="*")["ETag"]
    for known in (lambda etag: etag, lambda etag: etag.strip('"'), lambda etag: etag.replace("-v", "")):
        former = etag
        etag = s3.put_object(**where, Body=os.urandom(9), IfMatch=known(etag))["ETag"]
        assert refused(s3.put_object, **where, Body=b"two", IfMatch=former) == 412
    upload = {**where, "UploadId": s3.create_multipart_upload(**where)["UploadId"]}
    parts = [{"PartNumber": 1, "ETag": s3.upload_part(**upload, PartNumber=1, Body=CONTENT)["ETag"]}]
    assert refused(s3.complete_multipart_upload, **upload, MultipartUpload={"Parts": parts}, IfMatch='"other"') == 412
    s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts}, IfMatch=etag)


def test_conditions_on_the_source_of_a_copy(s3, bucket):
    source = {"Bucket": bucket, **WHERE}
    etag = s3.put_object(**source, Body=CONTENT)["ETag"]
    whole = {"Bucket": bucket, "Key": "copy", "CopySource": source}
    begun = {"Bucket": bucket, "Key": "parts"}
    part = {**begun, "CopySource": source, "PartNumber": 1, "UploadId": s3.create_multipart_upload(**begun)["UploadId"]}
    for copy, arguments in ((s3.copy_object, whole), (s3.upload_part_copy, part)):
        for known in (etag, etag.strip('"'), etag.replace("-v", "")):
            copy(**arguments, CopySourceIfMatch=known)
            assert refused(copy, **arguments, CopySourceIfNoneMatch=known) == 412
        for stranger in ('"other"', etag.replace("-v", "-v-v")):
            copy(**arguments, CopySourceIfNoneMatch=stranger)
            assert refused(copy, **arguments, CopySourceIfMatch=stranger) == 412


def test_plaintext_keeps_its_md5(start, real):
    """Where plaintext is read, an object of any other format still has an ETag that is no MD5."""
    client = real.store.client
    names = {write: f"etags-{write}-{os.urandom(4).hex()}" for write in ("native", "cbc", "s3ec-v2", "s3ec-v3")}
    rules = [{"name": name, "formats": {"write": write, "read": ["native", "cbc", "s3ec", "plaintext"]}} for write, name in names.items()]
    s3 = start(real, bucket=rules).boto()
    for name in names.values():
        client.create_bucket(Bucket=name)
        client.put_object(Bucket=name, Key="plain", Body=CONTENT)
        md5 = f'"{hashlib.md5(CONTENT).hexdigest()}"'
        assert set(everywhere(s3, name, "plain").values()) == {md5}
        sealed = s3.put_object(Bucket=name, Key="sealed", Body=CONTENT)["ETag"]
        assert OPAQUE.fullmatch(sealed)
        assert set(everywhere(s3, name, "sealed").values()) == {sealed}
        assert set(of_listings(s3, name, "sealed").values()) == {sealed}, "as it was learned"
        for key, etag in (("plain", md5), ("sealed", sealed)):
            where = {"Bucket": name, "Key": key}
            assert s3.get_object(**where, IfMatch=etag)["ETag"] == etag
            assert refused(s3.get_object, **where, IfNoneMatch=etag) == 304
            assert refused(s3.get_object, **where, IfMatch='"other"') == 412
        copy = s3.copy_object(Bucket=name, Key="copy", CopySource={"Bucket": name, "Key": "plain"}, CopySourceIfMatch=md5)
        assert OPAQUE.fullmatch(copy["CopyObjectResult"]["ETag"])


def test_the_storages_etags(start, real, real_bucket):
    s3 = start(real, bucket=[{"name": "*", "prefix": "opaque/"}, {"name": "*", "etag": "storage"}]).boto()
    where = {"Bucket": real_bucket, "Key": "k"}
    etag = s3.put_object(**where, Body=CONTENT)["ETag"]
    assert MD5.fullmatch(etag)
    assert set(everywhere(s3, real_bucket).values()) == {etag}
    assert s3.get_object(**where, IfMatch=etag)["ETag"] == etag
    assert refused(s3.get_object, **where, IfMatch=etag.replace('"', "") + "-v") == 412
    copied = s3.copy_object(Bucket=real_bucket, Key="opaque/k", CopySource=where, CopySourceIfMatch=etag)["CopyObjectResult"]["ETag"]
    assert OPAQUE.fullmatch(copied), "each object by its own rule"
    assert set(of_listings(s3, real_bucket, "opaque/k").values()) == {copied}
    back = {"CopySource": {"Bucket": real_bucket, "Key": "opaque/k"}, "CopySourceIfMatch": copied}
    assert MD5.fullmatch(s3.copy_object(Bucket=real_bucket, Key="back", **back)["CopyObjectResult"]["ETag"])


def test_no_listing_names_the_checksums_of_the_ciphertext(raw, s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=CONTENT, ChecksumAlgorithm="SHA256")
    upload = {"Bucket": bucket, "Key": "parts", "UploadId": s3.create_multipart_upload(Bucket=bucket, Key="parts")["UploadId"]}
    parts = [{"PartNumber": 1, "ETag": s3.upload_part(**upload, PartNumber=1, Body=CONTENT)["ETag"]}]
    pages = [("uploads", ""), ("uploadId", upload["UploadId"])]
    for query, path in (([pages[0]], f"/{bucket}"), ([pages[1]], f"/{bucket}/parts")):
        answer = raw.request("GET", path, query=query)
        assert answer.status == 200 and b"ChecksumCRC64NVME" not in answer.body and b"CRC64NVME" not in answer.body, answer.body
    s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
    for query in ([], [("list-type", "2")], [("versions", "")]):
        answer = raw.request("GET", f"/{bucket}", query=query)
        if answer.status == 200:
            assert b"<ETag>" in answer.body and b"Checksum" not in answer.body, answer.body
