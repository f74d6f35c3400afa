"""The S3 Encryption Client's formats: Amazon's own client for Python beside the proxy, both ways, over LocalStack's KMS and S3."""

import io
import json
import os

import pytest
from botocore.exceptions import ClientError, IncompleteReadError, ResponseStreamingError
from s3_encryption import S3EncryptionClient, S3EncryptionClientConfig
from s3_encryption.materials.kms_keyring import KmsKeyring
from s3_encryption.materials.materials import AlgorithmSuite, CommitmentPolicy

import article_cbc
from backing import Stored, error_code
from conftest import new_bucket
from proxy import s3_client
from test_limits import until

V2 = {
    "encryption_algorithm": AlgorithmSuite.ALG_AES_256_GCM_IV12_TAG16_NO_KDF,
    "commitment_policy": CommitmentPolicy.FORBID_ENCRYPT_ALLOW_DECRYPT,
}
V3 = {}
VERSIONS = {"v2": V2, "v3": V3}
READS = {"formats": {"read": ["native", "s3ec"]}}
LARGE = 10 << 20
LENGTHS = [0, 1, 15, 16, 17, 65_536, 100_000]
EVERYTHING = ["native", "cbc", "s3ec", "plaintext"]


@pytest.fixture
def amazon(real, kms, kms_key):
    """amazon(**config): Amazon's client straight to the storage."""

    def make(**config):
        keyring = KmsKeyring(kms_client=kms, kms_key_id=kms_key, enable_legacy_wrapping_algorithms=True)
        return S3EncryptionClient(s3_client(real.upstream["endpoint"]), S3EncryptionClientConfig(keyring=keyring, **config))

    return make


@pytest.fixture
def reader(start, real):
    running = start(real, bucket=[{"name": "*", **READS}])
    return running, running.boto(), new_bucket(running.boto())


def refusal(call, **arguments):
    with pytest.raises(ClientError) as refused:
        call(**arguments)
    return refused.value


def check_read(s3, bucket, key, content):
    length = len(content)
    answer = s3.get_object(Bucket=bucket, Key=key)
    assert answer["Body"].read() == content
    assert answer["ContentLength"] == length and not any(name.startswith("x-amz-") for name in answer["Metadata"])
    assert s3.head_object(Bucket=bucket, Key=key)["ContentLength"] == length
    sizes = {item["Key"]: item["Size"] for item in s3.list_objects_v2(Bucket=bucket)["Contents"]}
    assert sizes[key] == length
    if length:
        first, last = length // 3, length * 2 // 3
        ranged = s3.get_object(Bucket=bucket, Key=key, Range=f"bytes={first}-{last}")
        assert ranged["Body"].read() == content[first : last + 1]
        assert ranged["ContentRange"] == f"bytes {first}-{last}/{length}"
        assert s3.get_object(Bucket=bucket, Key=key, Range="bytes=-1")["Body"].read() == content[-1:]
    past = refusal(s3.get_object, Bucket=bucket, Key=key, Range=f"bytes={length}-")
    assert error_code(past) == "InvalidRange"


@pytest.mark.parametrize("version", VERSIONS)
def test_what_amazons_client_put_the_proxy_reads(version, reader, amazon):
    _, s3, bucket = reader
    client = amazon(**VERSIONS[version])
    for length in LENGTHS:
        content, key = os.urandom(length), f"k{length}"
        client.put_object(Bucket=bucket, Key=key, Body=content, EncryptionContext={"tenant": "blue & green"})
        check_read(s3, bucket, key, content)


@pytest.mark.parametrize("version", VERSIONS)
def test_what_amazons_client_uploaded_in_parts_the_proxy_reads(version, reader, amazon, real):
    _, s3, bucket = reader
    content = os.urandom(LARGE + 5)
    amazon(**VERSIONS[version]).upload_fileobj(io.BytesIO(content), bucket, "k", multipart_chunksize=5 << 20)
    assert "-" in real.store.client.head_object(Bucket=bucket, Key="k")["ETag"]
    check_read(s3, bucket, "k", content)


@pytest.mark.parametrize("version", VERSIONS)
def test_what_the_proxy_stored_amazons_client_reads(version, start, real, amazon):
    running = start(real, bucket=[{"name": "*", "formats": {"write": f"s3ec-{version}"}}])
    s3, client = running.boto(), amazon(**VERSIONS[version])
    bucket = new_bucket(s3)
    for length in [*LENGTHS, LARGE]:
        content = os.urandom(length)
        s3.put_object(Bucket=bucket, Key="k", Body=content, Metadata={"mine": "yes"})
        assert client.get_object(Bucket=bucket, Key="k")["Body"].read() == content, length
        check_read(s3, bucket, "k", content)
    assert s3.head_object(Bucket=bucket, Key="k")["Metadata"] == {"mine": "yes"}


def test_a_configured_context_is_amazons_callers_context(start, real, amazon):
    rule = {"name": "*", "formats": {"write": "s3ec-v3"}, "s3ec": {"context": {"tenant": "blue"}}}
    s3 = start(real, bucket=[rule]).boto()
    bucket = new_bucket(s3)
    s3.put_object(Bucket=bucket, Key="k", Body=b"content")
    answer = amazon().get_object(Bucket=bucket, Key="k", EncryptionContext={"tenant": "blue"})
    assert answer["Body"].read() == b"content"
    amazon().put_object(Bucket=bucket, Key="theirs", Body=b"content", EncryptionContext={"tenant": "green"})
    error = refusal(s3.get_object, Bucket=bucket, Key="theirs")
    assert error_code(error) == "AccessDenied" and "s3ec.context" in str(error)


def test_metadata_of_the_formats_own_names_is_refused(start, real):
    s3 = start(real, bucket=[{"name": "*", "formats": {"write": "s3ec-v3"}}]).boto()
    bucket = new_bucket(s3)
    for name in ("x-amz-3", "x-amz-key-v2", "x-amz-iv"):
        error = refusal(s3.put_object, Bucket=bucket, Key="k", Body=b"", Metadata={name: "x"})
        assert error_code(error) == "InvalidArgument", name


def test_multipart_uploads_are_refused(start, real):
    s3 = start(real, bucket=[{"name": "*", "formats": {"write": "s3ec-v2"}}]).boto()
    bucket = new_bucket(s3)
    error = refusal(s3.create_multipart_upload, Bucket=bucket, Key="k")
    assert error_code(error) == "NotImplemented" and "one message" in str(error)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_flipped_bit_gives_no_byte_of_ten_mebibytes(version, reader, amazon, real):
    running, s3, bucket = reader
    amazon(**VERSIONS[version]).put_object(Bucket=bucket, Key="k", Body=os.urandom(LARGE))
    stored = real.store.read(bucket, "k")
    for at in (0, LARGE // 2, LARGE + 15):
        altered = bytearray(stored.body)
        altered[at] ^= 1
        real.store.write(bucket, "k", Stored(bytes(altered), stored.metadata))
        answer = running.raw().request("GET", f"/{bucket}/k")
        assert answer.status == 502 and answer.code == "IntegrityCheckFailed", "This is a security issue: it was released."
        assert len(answer.body) < 1000
        ranged = refusal(s3.get_object, Bucket=bucket, Key="k", Range="bytes=0-0")
        assert error_code(ranged) == "IntegrityCheckFailed", "This is a security issue: a range was released."


def test_above_the_buffer_it_is_refused_or_streamed_and_cut(start, real, amazon):
    small = {"buffer": "1MiB"}
    refusing = start(real, bucket=[{"name": "*", **READS, "s3ec": small}]).boto()
    bucket, content = new_bucket(refusing), os.urandom(LARGE)
    amazon().put_object(Bucket=bucket, Key="k", Body=content)
    assert "s3ec.large" in str(refusal(refusing.get_object, Bucket=bucket, Key="k"))
    assert "s3ec.ranges" in str(refusal(refusing.get_object, Bucket=bucket, Key="k", Range="bytes=0-9"))
    streaming = start(real, bucket=[{"name": "*", **READS, "s3ec": {**small, "large": "stream"}}]).boto()
    assert streaming.get_object(Bucket=bucket, Key="k")["Body"].read() == content
    stored = real.store.read(bucket, "k")
    for at in (5, LARGE + 3):
        altered = bytearray(stored.body)
        altered[at] ^= 1
        real.store.write(bucket, "k", Stored(bytes(altered), stored.metadata))
        answer = streaming.get_object(Bucket=bucket, Key="k")
        seen = b""
        with pytest.raises((IncompleteReadError, ResponseStreamingError)):
            for piece in answer["Body"].iter_chunks():
                seen += piece
        assert len(seen) <= LARGE - 65_536, "This is a security issue: the end of an altered object was released."


def test_unauthenticated_ranges_are_read_where_they_are_allowed(start, real, amazon):
    s3 = start(real, bucket=[{"name": "*", **READS, "s3ec": {"buffer": "1MiB", "ranges": "unauthenticated"}}]).boto()
    bucket, content = new_bucket(s3), os.urandom(LARGE)
    amazon().put_object(Bucket=bucket, Key="k", Body=content)
    for first, last in ((0, 0), (15, 16), (1000, 99_999), (LARGE - 1, LARGE + 50)):
        answer = s3.get_object(Bucket=bucket, Key="k", Range=f"bytes={first}-{last}")
        assert answer["Body"].read() == content[first : last + 1]
        assert answer["ContentRange"] == f"bytes {first}-{min(last, LARGE - 1)}/{LARGE}"
    # The commitment is compared all the same.
    stored = real.store.read(bucket, "k")
    other = stored.metadata | {"x-amz-i": stored.metadata["x-amz-d"]}
    real.store.write(bucket, "k", Stored(stored.body, other))
    assert error_code(refusal(s3.get_object, Bucket=bucket, Key="k", Range="bytes=0-9")) == "IntegrityCheckFailed"


def split(stored, version):
    """What of an object's entries an instruction file holds, and what stays on it."""
    stays = {"v2": (), "v3": ("x-amz-c", "x-amz-d", "x-amz-i")}[version]
    in_file = {name: value for name, value in stored.metadata.items() if name not in stays}
    return in_file, {name: value for name, value in stored.metadata.items() if name in stays}


@pytest.mark.parametrize("version", VERSIONS)
def test_instruction_files_are_read(version, reader, amazon, real):
    _, s3, bucket = reader
    content = os.urandom(1000)
    amazon(**VERSIONS[version]).put_object(Bucket=bucket, Key="k", Body=content)
    stored = real.store.read(bucket, "k")
    in_file, on_object = split(stored, version)
    text = json.dumps(in_file).encode()
    real.store.write(bucket, "k.instruction", Stored(text, {"x-amz-crypto-instr-file": ""}))
    real.store.write(bucket, "k", Stored(stored.body, on_object))
    assert amazon(**VERSIONS[version]).get_object(Bucket=bucket, Key="k")["Body"].read() == content
    check_read(s3, bucket, "k", content)
    # The file itself is no secret, and whoever mirrors the bucket needs it.
    assert s3.get_object(Bucket=bucket, Key="k.instruction")["Body"].read() == text
    real.store.client.delete_object(Bucket=bucket, Key="k.instruction")
    assert refusal(s3.get_object, Bucket=bucket, Key="k")


def test_what_was_relabelled_is_refused_under_every_policy(start, real, amazon, kms, kms_key):
    """The storage gives an object the metadata of another format: its data key must not serve it."""
    for legacy in (False, True):
        rule = {"name": "*", "formats": {"read": EVERYTHING}, "s3ec": {"legacy": legacy}}
        s3 = start(real, bucket=[rule]).boto()
        bucket = new_bucket(s3)
        s3.put_object(Bucket=bucket, Key="native", Body=os.urandom(64))
        amazon(**V2).put_object(Bucket=bucket, Key="v2", Body=os.urandom(64))
        amazon(**V3).put_object(Bucket=bucket, Key="v3", Body=os.urandom(64))
        article_cbc.upload(kms, real.store.client, kms_key, bucket, "cbc", os.urandom(64), article_cbc.pad_zero)
        stored = {key: real.store.read(bucket, key) for key in ("native", "v2", "v3", "cbc")}
        blobs = {
            "native": stored["native"].metadata["encryption-key"],
            "v2": stored["v2"].metadata["x-amz-key-v2"],
            "v3": stored["v3"].metadata["x-amz-3"],
            "cbc": stored["cbc"].metadata["encryption-key"],
        }
        native_context = '{"s3veil:version":"1","s3veil:realm":"%s"}' % bucket
        contexts = {
            "native": native_context,
            "v2": stored["v2"].metadata["x-amz-matdesc"],
            "v3": stored["v3"].metadata["x-amz-t"],
            "cbc": "{}",
        }
        gcm_iv, cbc_iv = "AAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAAA=="
        for key, blob in blobs.items():
            labels = {"cbc": {"encryption-key": blob}}
            for context in contexts.values():
                for wrap in ("kms", "kms+context"):
                    entries = {"x-amz-key-v2": blob, "x-amz-wrap-alg": wrap, "x-amz-matdesc": context}
                    labels[f"gcm {wrap} {context}"] = entries | {"x-amz-cek-alg": "AES/GCM/NoPadding", "x-amz-iv": gcm_iv}
                    labels[f"cbc {wrap} {context}"] = entries | {"x-amz-cek-alg": "AES/CBC/PKCS5Padding", "x-amz-iv": cbc_iv}
                v3 = {name: stored["v3"].metadata[name] for name in ("x-amz-c", "x-amz-d", "x-amz-i", "x-amz-w")}
                labels[f"v3 {context}"] = v3 | {"x-amz-3": blob, "x-amz-t": context}
            labels["native"] = {"encryption-key": blob, "encryption-envelope": stored["native"].metadata["encryption-envelope"]}
            for label, metadata in labels.items():
                if label == key or (key == "v3" and label == f"v3 {contexts['v3']}"):
                    continue
                real.store.write(bucket, key, Stored(stored[key].body, metadata))
                for range_ in ({}, {"Range": "bytes=0-15"}):
                    with pytest.raises(ClientError):
                        s3.get_object(Bucket=bucket, Key=key, **range_)
                        pytest.fail(f"This is a security issue: {key} opened as {label}, legacy = {legacy}.")


@pytest.mark.parametrize("everything", [True, False])
def test_a_mixed_bucket_is_exact_and_the_default_reads_native_objects_only(everything, start, real, amazon, kms, kms_key, aws_at, tmp_path):
    rule = {"name": "*", "formats": {"read": EVERYTHING}} if everything else {"name": "*"}
    running = start(real, bucket=[rule])
    s3 = running.boto()
    bucket = new_bucket(s3)
    contents = {name: os.urandom(3000 + index) for index, name in enumerate(["native", "plain", "seed", "seed-published", "v2", "v3", "instr"])}
    contents["seed-published"] = os.urandom(4096)
    s3.put_object(Bucket=bucket, Key="native", Body=contents["native"])
    real.store.write(bucket, "plain", Stored(contents["plain"], {}))
    article_cbc.upload(kms, real.store.client, kms_key, bucket, "seed", contents["seed"], article_cbc.pad_pkcs7)
    article_cbc.upload(kms, real.store.client, kms_key, bucket, "seed-published", contents["seed-published"])
    for key, version in (("v2", V2), ("v3", V3), ("instr", V2)):
        amazon(**version).put_object(Bucket=bucket, Key=key, Body=contents[key])
    stored = real.store.read(bucket, "instr")
    contents["instr.instruction"] = json.dumps(stored.metadata).encode()
    real.store.write(bucket, "instr.instruction", Stored(contents["instr.instruction"], {}))
    real.store.write(bucket, "instr", Stored(stored.body, {}))
    if not everything:
        for key in contents:
            if key == "native":
                assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == contents[key]
            else:
                assert "formats.read" in str(refusal(s3.get_object, Bucket=bucket, Key=key))
                assert refusal(s3.head_object, Bucket=bucket, Key=key)
        return
    sizes = {item["Key"]: item["Size"] for item in s3.list_objects_v2(Bucket=bucket)["Contents"]}
    assert sizes == {key: len(content) for key, content in contents.items()}
    for key, content in contents.items():
        answer = s3.get_object(Bucket=bucket, Key=key)
        assert answer["Body"].read() == content, key
        assert ("ServerSideEncryption" in answer) == (key not in ("plain", "instr.instruction"))
        assert s3.head_object(Bucket=bucket, Key=key)["ContentLength"] == len(content)
    mirror = tmp_path / "mirror"
    aws_at(running, "s3", "sync", f"s3://{bucket}", mirror)
    assert {path.name: path.read_bytes() for path in mirror.iterdir()} == contents
    again = aws_at(running, "s3", "sync", f"s3://{bucket}", mirror)
    assert "download" not in again.stdout, "a second sync has nothing to do"
    until(lambda: "a plaintext object is read" in running.log_text())
    until(lambda: "an unauthenticated AES-CBC object is read" in running.log_text())
    counted = running.metrics()
    assert counted["s3veil_plaintext_reads_total"] == 2, "by GET and by the first sync"
    assert counted['s3veil_legacy_reads_total{format="cbc"}'] == 4, "two objects, as often"
