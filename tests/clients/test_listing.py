"""Listings: the store's own, with the sizes of what readers get. Tools that compare sizes (`aws s3 sync`) rely on them."""

import os
import re
import xml.etree.ElementTree
from concurrent.futures import ThreadPoolExecutor

import pytest
from botocore.exceptions import ClientError

from backing import Stored, error_code, status
from proxy import ACCESS_KEY_ID, s3_client
from rawsig import RawClient, Signer
from relay import Relay
from test_odd_keys import ANY_NAMES, FILE_NAMES

CHUNK = 65_536
SIZES = {"empty": 0, "one": 1, "a-chunk": CHUNK, "a-chunk-and-one": CHUNK + 1, "dir/deep": 2 * CHUNK - 1, "dir/sub/deeper": 1 << 20, "other/x": 17}
TREE = {"empty": 0, "one": 1, "a chunk": CHUNK, "a+chunk&one": CHUNK + 1, "sub/ünï": 100_000, "sub/deeper/large": 3 << 20}
HOUR_AGO = -3600


@pytest.fixture
def filled(s3, bucket):
    for name, size in SIZES.items():
        s3.put_object(Bucket=bucket, Key=name, Body=os.urandom(size))
    return bucket


def sizes_of(answer):
    return {item["Key"]: item["Size"] for item in answer.get("Contents", [])}


def prefixes_of(answer):
    return [item["Prefix"] for item in answer.get("CommonPrefixes", [])]


@pytest.mark.parametrize("list_type", ["list_objects", "list_objects_v2"])
def test_sizes_are_those_of_the_plaintext(s3, filled, list_type):
    answer = getattr(s3, list_type)(Bucket=filled)
    assert sizes_of(answer) == SIZES
    assert [item["Key"] for item in answer["Contents"]] == sorted(SIZES)
    for item in answer["Contents"]:
        assert item["ETag"] == s3.head_object(Bucket=filled, Key=item["Key"])["ETag"]


@pytest.mark.parametrize("list_type", ["list_objects", "list_objects_v2"])
def test_prefixes_and_delimiters(s3, filled, list_type):
    listed = lambda **asked: getattr(s3, list_type)(Bucket=filled, **asked)  # noqa: E731
    top = listed(Delimiter="/")
    assert sizes_of(top) == {name: size for name, size in SIZES.items() if "/" not in name}
    assert prefixes_of(top) == ["dir/", "other/"]
    inside = listed(Delimiter="/", Prefix="dir/")
    assert (sizes_of(inside), prefixes_of(inside)) == ({"dir/deep": SIZES["dir/deep"]}, ["dir/sub/"])
    assert sizes_of(listed(Prefix="a-chunk")) == {name: size for name, size in SIZES.items() if name.startswith("a-chunk")}
    assert sizes_of(listed(Prefix="nothing")) == {}


def test_an_empty_bucket(s3, bucket):
    assert "Contents" not in s3.list_objects(Bucket=bucket)
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


@pytest.mark.parametrize("list_type", ["list_objects", "list_objects_v2"])
def test_pages_add_up(s3, filled, list_type):
    for size in (1, 2, 3, len(SIZES)):
        pages = list(s3.get_paginator(list_type).paginate(Bucket=filled, PaginationConfig={"PageSize": size}))
        assert all(len(page.get("Contents", [])) <= size for page in pages)
        assert [pair for page in pages for pair in sizes_of(page).items()] == sorted(SIZES.items())


def test_a_token_goes_back_to_the_store_as_it_came(s3, filled):
    first = s3.list_objects_v2(Bucket=filled, MaxKeys=3)
    assert (first["IsTruncated"], first["KeyCount"]) == (True, 3)
    rest = s3.list_objects_v2(Bucket=filled, ContinuationToken=first["NextContinuationToken"])
    assert not rest["IsTruncated"]
    assert sizes_of(first) | sizes_of(rest) == SIZES
    assert sizes_of(s3.list_objects_v2(Bucket=filled, StartAfter="dir/deep")) == {name: size for name, size in SIZES.items() if name > "dir/deep"}


@pytest.mark.timeout(300)
def test_more_keys_than_a_page_holds(proxy, bucket):
    client = proxy.boto(max_pool_connections=8)
    wanted = {f"many/{number:04}": number % 40 for number in range(1003)}
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda item: client.put_object(Bucket=bucket, Key=item[0], Body=bytes(item[1])), wanted.items()))
    page = client.list_objects_v2(Bucket=bucket)
    assert (page["KeyCount"], page["IsTruncated"]) == (1000, True)
    pages = list(client.get_paginator("list_objects_v2").paginate(Bucket=bucket))
    assert [len(page["Contents"]) for page in pages] == [1000, 3]
    assert [pair for page in pages for pair in sizes_of(page).items()] == sorted(wanted.items())


@pytest.mark.parametrize("encoded", [True, False])
def test_odd_names(proxy, bucket, encoded):
    """boto3 asks for encoding-type=url by itself; a client that does not gets the names in XML."""
    raw = proxy.raw()
    for size, name in enumerate(FILE_NAMES):
        assert raw.request("PUT", f"/{bucket}/{name}", body=bytes(size)).status == 200
    wanted = {name: size for size, name in enumerate(FILE_NAMES)}
    if encoded:
        assert sizes_of(proxy.boto().list_objects_v2(Bucket=bucket)) == wanted
        assert sizes_of(proxy.boto().list_objects(Bucket=bucket)) == wanted
    else:
        assert entries_of(raw.request("GET", f"/{bucket}", [("list-type", "2")])) == wanted


def test_names_of_any_kind(real_proxy, real_bucket):
    raw = real_proxy.raw()
    # XML can't carry control characters as they are, and LocalStack does not escape them.
    names = [name for name in FILE_NAMES + ANY_NAMES if all(ord(letter) >= 32 for letter in name)]
    wanted = {name: size for size, name in enumerate(names)}
    for name, size in wanted.items():
        assert raw.request("PUT", f"/{real_bucket}/{name}", body=bytes(size)).status == 200
    assert sizes_of(real_proxy.boto().list_objects_v2(Bucket=real_bucket)) == wanted
    assert entries_of(raw.request("GET", f"/{real_bucket}", [("list-type", "2")])) == wanted


def test_a_name_that_looks_like_a_listing(s3, bucket):
    name = "</Key><Size>1</Size></Contents><Contents><Key>x"
    s3.put_object(Bucket=bucket, Key=name, Body=bytes(50))
    assert sizes_of(s3.list_objects_v2(Bucket=bucket)) == {name: 50}


def entries_of(answer):
    """Keys and sizes of an answer's XML, read by hand."""
    assert (answer.status, answer.broken) == (200, False), (answer.status, answer.body[:500])
    root = xml.etree.ElementTree.fromstring(answer.body)
    return {entry.findtext("{*}Key"): int(entry.findtext("{*}Size")) for entry in root.findall("{*}Contents")}


def direct_to(localstack):
    return RawClient(localstack[0], Signer("test", "test", "us-east-1"))


QUERIES = {
    "v1": [],
    "v1 paged": [("max-keys", "2"), ("marker", "a-chunk")],
    "v2": [("list-type", "2")],
    "v2 with everything": [("list-type", "2"), ("fetch-owner", "true"), ("encoding-type", "url"), ("delimiter", "/"), ("max-keys", "3")],
    "versions": [("versions", "")],
    "refused": [("versions", ""), ("version-id-marker", "without-a-key-marker")],
}  # fmt: skip


@pytest.mark.parametrize("query", QUERIES)
def test_every_other_byte_is_the_stores(real_proxy, real_bucket, localstack, query):
    for name, size in SIZES.items():
        assert real_proxy.raw().request("PUT", f"/{real_bucket}/{name}", body=bytes(size)).status == 200
    through = real_proxy.raw().request("GET", f"/{real_bucket}", QUERIES[query])
    direct = direct_to(localstack).request("GET", f"/{real_bucket}", QUERIES[query])
    assert through.status == direct.status
    if direct.status != 200:
        assert through.code == direct.code
        return
    assert not through.broken and "content-encoding" not in through.headers
    sizes = re.compile(rb"(?<=<Size>)\d+(?=</Size>)")
    assert sizes.findall(through.body) != sizes.findall(direct.body)
    # An ETag has its suffix, and what is said of the ciphertext's checksum is left out.
    suffixes = re.compile(rb"-v(?=(?:\"|&quot;)?</ETag>)")
    checksums = re.compile(rb"<Checksum(Algorithm|Type)>[^<]*</Checksum\1>")
    assert len(suffixes.findall(through.body)) == len(sizes.findall(direct.body))
    assert suffixes.sub(b"", sizes.sub(b"", through.body)) == checksums.sub(b"", sizes.sub(b"", direct.body))
    stored = [int(size) for size in sizes.findall(direct.body)]
    assert [int(size) + 16 * max(1, -(-int(size) // CHUNK)) for size in sizes.findall(through.body)] == stored


def test_versions(real_proxy, real_bucket):
    s3 = real_proxy.boto()
    s3.put_object(Bucket=real_bucket, Key="old", Body=bytes(5))
    s3.put_bucket_versioning(Bucket=real_bucket, VersioningConfiguration={"Status": "Enabled"})
    wanted = {("old", "null"): 5}
    for name, size in (("object", 0), ("object", CHUNK + 1), ("other", 33)):
        wanted[name, s3.put_object(Bucket=real_bucket, Key=name, Body=bytes(size))["VersionId"]] = size
    marker = s3.delete_object(Bucket=real_bucket, Key="object")["VersionId"]

    def versions(answer):
        return {(item["Key"], item["VersionId"]): item["Size"] for item in answer.get("Versions", [])}

    listed = s3.list_object_versions(Bucket=real_bucket)
    assert versions(listed) == wanted
    assert [(item["Key"], item["VersionId"]) for item in listed["DeleteMarkers"]] == [("object", marker)]
    assert versions(s3.list_object_versions(Bucket=real_bucket, Prefix="ot")) == {pair: size for pair, size in wanted.items() if pair[0] == "other"}
    pages = s3.get_paginator("list_object_versions").paginate(Bucket=real_bucket, PaginationConfig={"PageSize": 1})
    found = {}
    for page in pages:
        found |= versions(page)
    assert found == wanted


def test_what_is_not_ours_keeps_its_size(real_proxy, real_bucket, real):
    """Lengths that no sealed object has: the store is asked, and says that nobody sealed them."""
    foreign = {"folder/": 0, "short": 15, "chunk-and-a-bit": CHUNK + 17, "chunk-and-a-tag": CHUNK + 32}
    for name, size in foreign.items():
        real.store.write(real_bucket, name, Stored(os.urandom(size), {}))
    real_proxy.boto().put_object(Bucket=real_bucket, Key="ours", Body=bytes(7))
    for _ in range(2):
        assert sizes_of(real_proxy.boto().list_objects_v2(Bucket=real_bucket)) == foreign | {"ours": 7}
    listed = real_proxy.boto().list_object_versions(Bucket=real_bucket)["Versions"]
    assert {item["Key"]: item["Size"] for item in listed} == foreign | {"ours": 7}


def test_many_objects_that_are_not_ours(real_proxy, real_bucket, real):
    wanted = {f"{number:03}": CHUNK + 17 + number % 16 for number in range(100)}
    for name, size in wanted.items():
        real.store.write(real_bucket, name, Stored(bytes(size), {}))
    assert sizes_of(real_proxy.boto().list_objects_v2(Bucket=real_bucket)) == wanted


def test_a_key_that_no_rule_speaks_of_keeps_its_size(start, real, real_bucket):
    running = start(real, bucket=[{"name": "*", "prefix": "ours/"}])
    running.boto().put_object(Bucket=real_bucket, Key="ours/object", Body=bytes(7))
    real.store.write(real_bucket, "theirs", Stored(bytes(100), {}))
    assert sizes_of(running.boto().list_objects_v2(Bucket=real_bucket)) == {"ours/object": 7, "theirs": 100}


def test_a_missing_bucket(s3):
    for call in (s3.list_objects, s3.list_objects_v2):
        with pytest.raises(ClientError) as missing:
            call(Bucket="no-such-bucket-here")
        assert (status(missing.value), error_code(missing.value)) == (404, "NoSuchBucket")


def test_a_presigned_listing(proxy, bucket):
    proxy.boto().put_object(Bucket=bucket, Key="object", Body=bytes(9))
    raw = proxy.raw()
    query = proxy.signer().presign("GET", raw.authority, f"/{bucket}", [("list-type", "2"), ("prefix", "ob")])
    assert ACCESS_KEY_ID in query
    assert entries_of(raw.send("GET", f"/{bucket}", query, {"host": raw.authority}, [])) == {"object": 9}


@pytest.mark.parametrize("after", [200, 1000, 5000])
def test_a_store_that_dies_while_it_lists(start, real, real_bucket, localstack, after):
    """A listing that is cut must not look whole: a tool that mirrors it would delete the rest."""
    relay = Relay(localstack[0])
    running = start(real, upstream={"endpoint": relay.endpoint, "max_retries": 0})
    for number in range(30):
        assert running.raw().request("PUT", f"/{real_bucket}/{number:03}", body=b"x").status == 200
    relay.cut_answers_after = after
    answer = running.raw().request("GET", f"/{real_bucket}", [("list-type", "2")])
    relay.stop()
    if answer.status == 200:
        assert answer.broken and b"</ListBucketResult>" not in answer.body
    else:
        assert answer.status in (500, 502, 503, 504) and answer.code


def write_tree(root):
    """The tree on disk, an hour old: `sync` also compares times, and stores have whole seconds."""
    for name, size in TREE.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(size))
        then = path.stat().st_mtime + HOUR_AGO
        os.utime(path, (then, then))


def tree_of(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_ls(aws, filled):
    def lines(*arguments):
        return [line.split(maxsplit=3) for line in aws("s3", "ls", *arguments).stdout.splitlines()]

    top = lines(f"s3://{filled}/")
    assert [words for words in top if words[0] == "PRE"] == [["PRE", "dir/"], ["PRE", "other/"]]
    assert {words[3]: int(words[2]) for words in top if words[0] != "PRE"} == {name: size for name, size in SIZES.items() if "/" not in name}
    assert {words[3]: int(words[2]) for words in lines(f"s3://{filled}", "--recursive")} == SIZES
    summary = aws("s3", "ls", f"s3://{filled}", "--recursive", "--summarize").stdout
    assert f"Total Objects: {len(SIZES)}" in summary and f"Total Size: {sum(SIZES.values())}" in summary


def test_sync_up_and_again_and_down_and_again(aws, bucket, s3, tmp_path):
    here, back = tmp_path / "here", tmp_path / "back"
    write_tree(here)
    up = ["s3", "sync", "--no-progress", here, f"s3://{bucket}/tree"]
    assert aws(*up).stdout.count("upload:") == len(TREE)
    assert aws(*up).stdout == ""
    assert sizes_of(s3.list_objects_v2(Bucket=bucket)) == {f"tree/{name}": size for name, size in TREE.items()}

    down = ["s3", "sync", "--no-progress", f"s3://{bucket}/tree", back]
    assert aws(*down).stdout.count("download:") == len(TREE)
    assert tree_of(back) == tree_of(here)
    assert aws(*down).stdout == ""

    changed = here / "one"
    changed.write_bytes(b"no longer one byte")
    assert aws(*up).stdout.count("upload:") == 1
    (here / "empty").unlink()
    assert aws(*up, "--delete").stdout.count("delete:") == 1
    assert sorted(sizes_of(s3.list_objects_v2(Bucket=bucket))) == sorted(f"tree/{name}" for name in TREE if name != "empty")


def test_removing_recursively(aws, filled, s3, backend):
    assert aws("s3", "rm", "--recursive", f"s3://{filled}/dir").stdout.count("delete:") == 2
    assert sizes_of(s3.list_objects_v2(Bucket=filled)) == {name: size for name, size in SIZES.items() if not name.startswith("dir/")}
    aws("s3", "rm", "--recursive", f"s3://{filled}")
    assert backend.store.keys(filled) == []


def test_a_bucket_is_emptied_and_removed(aws, filled):
    aws("s3", "rb", "--force", f"s3://{filled}")
    assert filled not in aws("s3", "ls").stdout


def test_the_store_itself_lists_what_it_stores(real_proxy, real_bucket, localstack):
    """The sizes above prove nothing unless the stored ones differ."""
    real_proxy.boto().put_object(Bucket=real_bucket, Key="object", Body=bytes(CHUNK + 1))
    assert sizes_of(s3_client(localstack[0]).list_objects_v2(Bucket=real_bucket)) == {"object": CHUNK + 33}
