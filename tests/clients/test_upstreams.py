"""Several storages behind one proxy: routes, names, lists, copies between them, and one that is away."""

import uuid
from dataclasses import dataclass

import pytest
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

from backing import EmbeddedStore, LocalStack, LocalStackStore, error_code, status
from ports import free_port
from proxy import Proxy, write_keyring
from standin import Reply, StandIn

MIB = 1 << 20
ALL, ALL_SECRET = "client-all", "client-all-secret"
# `main-` and all others are in the default storage, under their names.
RENAMED_THERE, FAR, ARCHIVE = "ren-", "far-", "arch-"


@dataclass
class Storages:
    """The proxy, and what is behind each of its storages."""

    proxy: Proxy
    main: LocalStackStore
    far: LocalStackStore
    archive: EmbeddedStore


@pytest.fixture(scope="module")
def storages(localstack, tmp_path_factory):
    directory = tmp_path_factory.mktemp("upstreams")
    second = LocalStack(directory / "localstack").start()
    data = directory / "data"
    data.mkdir()
    credentials = {"path_style": True, "access_key_id": "test", "secret_access_key": "test"}
    upstreams = [
        {"name": "main", "endpoint": localstack[0], **credentials},
        {"name": "far", "endpoint": second.endpoint, **credentials, "region": "eu-west-1", "checksum": "none"},
        {"name": "archive", "endpoint": f"embedded:{data}", "embedded_sync": "off"},
        {"name": "away", "endpoint": f"http://127.0.0.1:{free_port()}", **credentials, "max_retries": 1},
    ]
    buckets = [
        {"name": f"{RENAMED_THERE}*", "stored_as": "company-{bucket}"},
        {"name": f"{FAR}*", "upstream": "far"},
        {"name": f"{ARCHIVE}*", "upstream": "archive", "stored_as": "company-{bucket}"},
        {"name": "away-*", "upstream": "away"},
        {"name": "*"},
    ]
    sees = ["main-*", f"{RENAMED_THERE}*", f"{FAR}*", f"{ARCHIVE}*"]
    clients = [
        {"access_key_id": "client-one", "secret_access_key": "client-one-secret", "buckets": sees, "access": "admin"},
        {"access_key_id": ALL, "secret_access_key": ALL_SECRET, "access": "admin"},
    ]
    keyring = {"provider": "local", "file": write_keyring(directory / "keyring", "key")}
    with Proxy(directory / "proxy", upstreams, keyring, {"bucket": buckets, "client": clients}) as running:
        yield Storages(running, LocalStackStore(localstack[0]), LocalStackStore(second.endpoint), EmbeddedStore(data))
    second.stop()


def new_bucket(storages, prefix):
    name = f"{prefix}{uuid.uuid4().hex[:12]}"
    region = {"CreateBucketConfiguration": {"LocationConstraint": "eu-west-1"}} if prefix == FAR else {}
    storages.proxy.boto().create_bucket(Bucket=name, **region)
    return name


def names(client, **parameters):
    return [bucket["Name"] for bucket in client.list_buckets(**parameters)["Buckets"]]


def stored_names(client):
    return [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]


def test_a_bucket_is_in_the_storage_that_its_rule_names(storages):
    content = b"stored where it belongs"
    made = {prefix: new_bucket(storages, prefix) for prefix in ("main-", RENAMED_THERE, FAR, ARCHIVE)}
    s3 = storages.proxy.boto()
    for bucket in made.values():
        s3.put_object(Bucket=bucket, Key="k", Body=content)
        assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == content
        assert [item["Key"] for item in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["k"]
    in_main, in_far = stored_names(storages.main.client), stored_names(storages.far.client)
    assert made["main-"] in in_main and f"company-{made[RENAMED_THERE]}" in in_main and made[FAR] in in_far
    assert not {made["main-"], made[RENAMED_THERE], made[ARCHIVE]} & set(in_far)
    assert not {made[FAR], made[ARCHIVE], made[RENAMED_THERE]} & set(in_main)
    for store, bucket in [
        (storages.main, made["main-"]),
        (storages.main, f"company-{made[RENAMED_THERE]}"),
        (storages.far, made[FAR]),
        (storages.archive, f"company-{made[ARCHIVE]}"),
    ]:
        body = store.read(bucket, "k").body
        assert body and content not in body
    assert s3.get_bucket_location(Bucket=made[FAR])["LocationConstraint"] == "eu-west-1"


def test_one_list_shows_the_buckets_of_all(storages, aws_at):
    made = sorted(new_bucket(storages, prefix) for prefix in ("main-", RENAMED_THERE, FAR, ARCHIVE))
    # The storage has this one, but clients would find it in another storage.
    hidden = f"{FAR}{uuid.uuid4().hex}"
    storages.main.client.create_bucket(Bucket=hidden)
    shown = [line.split()[-1] for line in aws_at(storages.proxy, "s3", "ls").stdout.splitlines()]
    assert set(made) <= set(shown) and hidden not in shown and shown == sorted(shown)
    assert not [name for name in shown if "company" in name]
    s3 = storages.proxy.boto()
    assert names(s3) == shown
    paged = [bucket["Name"] for page in s3.get_paginator("list_buckets").paginate(PaginationConfig={"PageSize": 3}) for bucket in page["Buckets"]]
    assert paged == shown
    assert set(names(s3, Prefix=FAR)) == {name for name in shown if name.startswith(FAR)}


def test_a_stored_name_is_no_bucket_of_clients(storages):
    renamed = new_bucket(storages, RENAMED_THERE)
    storages.proxy.boto().put_object(Bucket=renamed, Key="k", Body=b"x")
    everything = storages.proxy.boto(ALL, ALL_SECRET)
    for call in (
        lambda: everything.get_object(Bucket=f"company-{renamed}", Key="k"),
        lambda: everything.delete_object(Bucket=f"company-{renamed}", Key="k"),
        lambda: everything.copy_object(Bucket=renamed, Key="c", CopySource=f"company-{renamed}/k"),
    ):
        with pytest.raises(ClientError) as refused:
            call()
        assert error_code(refused.value) == "AccessDenied"
    assert storages.main.objects(f"company-{renamed}") == ["k"]


@pytest.mark.parametrize("prefix", [RENAMED_THERE, ARCHIVE])
def test_no_response_shows_a_stored_name(storages, prefix):
    bucket = new_bucket(storages, prefix)
    s3 = storages.proxy.boto()
    seen = []
    s3.meta.events.register("before-parse.s3", lambda response_dict, **_: seen.append(response_dict))
    s3.put_object(Bucket=bucket, Key="company-of-a-key", Body=b"x" * 100)
    listed = s3.list_objects(Bucket=bucket)
    assert listed["Name"] == s3.list_objects_v2(Bucket=bucket)["Name"] == bucket
    assert [item["Key"] for item in listed["Contents"]] == ["company-of-a-key"]
    upload = {"Bucket": bucket, "Key": "u"}
    begun = s3.create_multipart_upload(**upload)
    assert begun["Bucket"] == bucket
    upload["UploadId"] = begun["UploadId"]
    etag = s3.upload_part(PartNumber=1, Body=b"y" * 10, **upload)["ETag"]
    assert s3.list_parts(**upload)["Bucket"] == s3.list_multipart_uploads(Bucket=bucket)["Bucket"] == bucket
    done = s3.complete_multipart_upload(MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag}]}, **upload)
    assert done["Bucket"] == bucket and f"/{bucket}/u" in done["Location"]
    s3.copy_object(Bucket=bucket, Key="c", CopySource=f"{bucket}/u")
    s3.head_bucket(Bucket=bucket)
    s3.get_bucket_location(Bucket=bucket)
    absent = f"{prefix}{uuid.uuid4().hex[:12]}"
    for call in (
        lambda: s3.get_object(Bucket=bucket, Key="none"),
        lambda: s3.head_object(Bucket=bucket, Key="none"),
        lambda: s3.delete_bucket(Bucket=bucket),
        lambda: s3.list_objects_v2(Bucket=absent),
        lambda: s3.get_object(Bucket=absent, Key="k"),
        lambda: s3.put_object(Bucket=absent, Key="k", Body=b"x"),
        lambda: s3.get_bucket_policy(Bucket=bucket),
    ):
        with pytest.raises(ClientError) as refused:
            call()
        assert status(refused.value) >= 400
    assert len(seen) > 15
    for response in seen:
        shown = f"{dict(response['headers'])} {bytes(response['body'])}"
        assert f"company-{prefix}" not in shown, shown


COPIES = [("main-", FAR), (FAR, RENAMED_THERE), ("main-", ARCHIVE), (ARCHIVE, FAR), (RENAMED_THERE, "main-")]


@pytest.mark.parametrize(("source", "target"), COPIES)
def test_copies_between_storages(storages, aws_at, tmp_path, source, target):
    source, target = new_bucket(storages, source), new_bucket(storages, target)
    small, large = tmp_path / "small", tmp_path / "large"
    small.write_bytes(b"small" * 1000)
    large.write_bytes(bytes(range(256)) * (11 * MIB // 256) + b"end")
    for file in (small, large):
        aws_at(storages.proxy, "s3", "cp", "--no-progress", file, f"s3://{source}/{file.name}")
        # `aws` copies objects of more than 8 MiB with UploadPartCopy.
        aws_at(storages.proxy, "s3", "cp", "--no-progress", f"s3://{source}/{file.name}", f"s3://{target}/{file.name}")
        back = tmp_path / "back"
        aws_at(storages.proxy, "s3", "cp", "--no-progress", f"s3://{target}/{file.name}", back)
        assert back.read_bytes() == file.read_bytes()
    s3 = storages.proxy.boto()
    # One CopyObject of an upload in parts, and parts by a lower threshold.
    copied = s3.copy_object(Bucket=target, Key="whole", CopySource=f"{source}/large")
    assert copied["CopyObjectResult"]["ETag"] == s3.head_object(Bucket=target, Key="whole")["ETag"]
    config = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB)
    s3.copy({"Bucket": source, "Key": "large"}, target, "parts", Config=config)
    for key in ("whole", "parts"):
        assert s3.get_object(Bucket=target, Key=key)["Body"].read() == large.read_bytes(), key
    assert s3.head_object(Bucket=target, Key="parts")["ETag"].strip('"').endswith("-3")


def test_a_copy_keeps_and_replaces_what_a_copy_does(storages):
    source, target = new_bucket(storages, "main-"), new_bucket(storages, FAR)
    s3 = storages.proxy.boto()
    s3.put_object(Bucket=source, Key="k", Body=b"content", Metadata={"a": "1"}, ContentType="text/x", Tagging="t=1")
    etag = s3.head_object(Bucket=source, Key="k")["ETag"]
    place = {"Bucket": target, "CopySource": f"{source}/k"}
    s3.copy_object(Key="kept", CopySourceIfMatch=etag, **place)
    kept = s3.head_object(Bucket=target, Key="kept")
    assert (kept["Metadata"], kept["ContentType"], kept["ContentLength"]) == ({"a": "1"}, "text/x", 7)
    assert s3.get_object_tagging(Bucket=target, Key="kept")["TagSet"] == [{"Key": "t", "Value": "1"}]
    replaced = {"Metadata": {"b": "2"}, "MetadataDirective": "REPLACE", "Tagging": "u=2", "TaggingDirective": "REPLACE"}
    s3.copy_object(Key="replaced", **replaced, **place)
    assert s3.head_object(Bucket=target, Key="replaced")["Metadata"] == {"b": "2"}
    assert s3.get_object_tagging(Bucket=target, Key="replaced")["TagSet"] == [{"Key": "u", "Value": "2"}]
    for condition in ({"CopySourceIfMatch": '"0"'}, {"CopySourceIfNoneMatch": etag}):
        with pytest.raises(ClientError) as refused:
            s3.copy_object(Key="refused", **condition, **place)
        assert error_code(refused.value) == "PreconditionFailed"
    with pytest.raises(ClientError) as refused:
        s3.copy_object(Bucket=target, Key="refused", CopySource=f"{source}/none")
    assert error_code(refused.value) == "NoSuchKey"
    assert storages.far.objects(target) == ["kept", "replaced"]


def test_a_copy_is_sealed_anew(storages):
    source, target = new_bucket(storages, "main-"), new_bucket(storages, FAR)
    s3 = storages.proxy.boto()
    s3.put_object(Bucket=source, Key="k", Body=b"c" * 100_000)
    s3.copy_object(Bucket=target, Key="k", CopySource=f"{source}/k")
    before, after = storages.main.read(source, "k"), storages.far.read(target, "k")
    assert len(before.body) == len(after.body) and before.body != after.body
    assert before.metadata.keys() == after.metadata.keys() and before.metadata != after.metadata


def test_a_damaged_source_is_not_copied(storages):
    source, target = new_bucket(storages, "main-"), new_bucket(storages, FAR)
    s3 = storages.proxy.boto()
    s3.put_object(Bucket=source, Key="k", Body=b"c" * 300_000)
    stored = storages.main.read(source, "k")
    stored.body = stored.body[:-1] + bytes([stored.body[-1] ^ 1])
    storages.main.write(source, "k", stored)
    with pytest.raises(ClientError):
        s3.copy_object(Bucket=target, Key="k", CopySource=f"{source}/k")
    assert storages.far.objects(target) == []


def test_a_second_sync_moves_nothing(storages, aws_at, tmp_path):
    source, target = new_bucket(storages, "main-"), new_bucket(storages, ARCHIVE)
    s3 = storages.proxy.boto()
    for number in range(5):
        s3.put_object(Bucket=source, Key=f"d/{number}", Body=b"x" * (number * 1000))
    sync = ("s3", "sync", "--no-progress", f"s3://{source}", f"s3://{target}")
    assert len(aws_at(storages.proxy, *sync).stdout.splitlines()) == 5
    assert aws_at(storages.proxy, *sync).stdout == ""


def test_one_storage_that_is_away_concerns_its_buckets_alone(storages):
    bucket = new_bucket(storages, "main-")
    everything = storages.proxy.boto(ALL, ALL_SECRET, retries={"max_attempts": 0})
    everything.put_object(Bucket=bucket, Key="k", Body=b"x")
    away = [
        lambda: everything.get_object(Bucket="away-1", Key="k"),
        lambda: everything.put_object(Bucket="away-1", Key="k", Body=b"x"),
        lambda: everything.copy_object(Bucket="away-1", Key="k", CopySource=f"{bucket}/k"),
        # Not a list without its buckets.
        everything.list_buckets,
    ]
    for call in away:
        with pytest.raises(ClientError) as refused:
            call()
        assert (error_code(refused.value), status(refused.value)) == ("ServiceUnavailable", 503)
    assert everything.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"
    # This client has no bucket there.
    assert bucket in names(storages.proxy.boto())
    retries = {name: value for name, value in storages.proxy.metrics().items() if "upstream_retries_total" in name}
    assert retries['s3veil_upstream_retries_total{upstream="away"}'] >= 3
    assert not any(count for name, count in retries.items() if '"far"' in name)


def test_each_storage_is_told_that_the_request_came_through_the_proxy(tmp_path):
    with StandIn(lambda asked: Reply(404)) as first, StandIn(lambda asked: Reply(404)) as second:
        keyring = {"provider": "local", "file": write_keyring(tmp_path / "keyring", "key")}
        upstreams = [{"name": "one", **first.upstream}, {"name": "two", **second.upstream}]
        buckets = [{"name": "b-2", "upstream": "two"}, {"name": "*"}]
        with Proxy(tmp_path / "proxy", upstreams, keyring, {"bucket": buckets}) as running:
            for bucket in ("b-1", "b-2"):
                assert running.raw().request("HEAD", f"/{bucket}/k").status == 404
        for number, stand_in in enumerate((first, second), 1):
            assert [asked.path for asked in stand_in.asked if asked.path != "/"] == [f"/b-{number}/k"]
            assert all(asked.headers["via"] == "1.1 s3veil" for asked in stand_in.asked)


REGION_REDIRECT = b"<Error><Code>TemporaryRedirect</Code><Message>Elsewhere.</Message></Error>"


def test_a_redirect_to_another_region_never_reaches_the_client(tmp_path):
    """A storage with one host, whose bucket `b-1` is in `eu-1`."""

    def answer(asked):
        if "/eu-1/s3/" in asked.headers["authorization"] or asked.path.startswith("/b-2"):
            return Reply(404)
        headers = [("location", "http://127.0.0.1:1/b-1/k"), ("x-amz-bucket-region", "eu-1")]
        return Reply(307, headers, REGION_REDIRECT)

    with StandIn(answer) as stand_in:
        keyring = {"provider": "local", "file": write_keyring(tmp_path / "keyring", "key")}
        with Proxy(tmp_path / "proxy", stand_in.upstream, keyring) as running:
            for path in ("/b-1/k", "/b-1/k", "/b-2/k"):
                assert running.raw().request("HEAD", path).status == 404
        regions = [asked.headers["authorization"].split("/")[2] for asked in stand_in.asked if asked.path != "/"]
        assert regions == ["us-east-1", "eu-1", "eu-1", "us-east-1"]
