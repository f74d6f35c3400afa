"""`aws s3 cp`, `sync`, `mv` and `ls`, which divide what is large into parts of 8 MiB and upload and download them side by side."""

import os
import subprocess

import pytest

from conftest import new_bucket
from transfers import LARGE, MIB, TREE, TREE_WITH_LARGE, file_hash, tree_hashes, write_file, write_tree

pytestmark = pytest.mark.timeout(600)


def listed(aws, place):
    """{name: size} as `aws s3 ls --recursive` shows them."""
    lines = aws("s3", "ls", "--recursive", place).stdout.splitlines()
    return {line.split(maxsplit=3)[3]: int(line.split(maxsplit=3)[2]) for line in lines}


@pytest.mark.parametrize("size", [LARGE, 8 * MIB, 8 * MIB + 1, 24 * MIB])
def test_up_and_down(aws, bucket, s3, tmp_path, size):
    source, target = tmp_path / "source", tmp_path / "target"
    written = write_file(source, size)
    aws("s3", "cp", source, f"s3://{bucket}/dir/object")
    assert listed(aws, f"s3://{bucket}") == {"dir/object": size}
    head = s3.head_object(Bucket=bucket, Key="dir/object")
    assert head["ContentLength"] == size
    assert "-" in head["ETag"], "the test is about uploads in parts"
    aws("s3", "cp", f"s3://{bucket}/dir/object", target)
    assert file_hash(target) == written


def test_a_stream_up_and_down(aws, bucket, tmp_path):
    """From and to a pipe, where the size is not known."""
    source = tmp_path / "source"
    written = write_file(source, 20 * MIB + 3)
    with source.open("rb") as opened, subprocess.Popen(["cat"], stdin=opened, stdout=subprocess.PIPE) as piped:
        aws("s3", "cp", "-", f"s3://{bucket}/object", stdin=piped.stdout)
    with (tmp_path / "target").open("wb") as target:
        aws("s3", "cp", f"s3://{bucket}/object", "-", stdout=target)
    assert file_hash(tmp_path / "target") == written


def test_sync(aws, bucket, tmp_path):
    tree, back = tmp_path / "tree", tmp_path / "back"
    written = write_tree(tree, TREE_WITH_LARGE)
    first = aws("s3", "sync", tree, f"s3://{bucket}/tree", "--no-progress").stdout
    assert first.count("upload:") == len(written)
    assert aws("s3", "sync", tree, f"s3://{bucket}/tree").stdout == "", "nothing changed, so nothing is to be sent"
    assert listed(aws, f"s3://{bucket}") == {f"tree/{name}": size for name, size in TREE_WITH_LARGE.items()}
    aws("s3", "sync", f"s3://{bucket}/tree", back, "--no-progress")
    assert tree_hashes(back) == written
    assert aws("s3", "sync", f"s3://{bucket}/tree", back).stdout == "", "nothing changed, so nothing is to be fetched"
    (tree / "small").write_bytes(b"changed")
    os.remove(tree / "dir/exactly")
    lines = aws("s3", "sync", "--delete", "--no-progress", tree, f"s3://{bucket}/tree").stdout.splitlines()
    assert sorted(line.partition(":")[0] for line in lines) == ["delete", "upload"]
    aws("s3", "sync", "--delete", "--no-progress", f"s3://{bucket}/tree", back)
    assert tree_hashes(back) == tree_hashes(tree)


def test_sync_between_buckets(aws, bucket, s3, tmp_path):
    other = new_bucket(s3)
    written = write_tree(tmp_path / "tree")
    aws("s3", "sync", tmp_path / "tree", f"s3://{bucket}")
    first = aws("s3", "sync", f"s3://{bucket}", f"s3://{other}", "--no-progress").stdout
    assert first.count("copy:") == len(written)
    assert aws("s3", "sync", f"s3://{bucket}", f"s3://{other}").stdout == "", "nothing changed, so nothing is to be copied"
    assert listed(aws, f"s3://{other}") == TREE
    aws("s3", "sync", f"s3://{other}", tmp_path / "back")
    assert tree_hashes(tmp_path / "back") == written


@pytest.mark.parametrize("size", [0, 5_000, 8 * MIB, 20 * MIB + 7])
def test_move(aws, bucket, s3, tmp_path, size):
    """A file into a bucket, to another key, to another bucket, and back."""
    other = new_bucket(s3)
    source, target = tmp_path / "source", tmp_path / "target"
    written = write_file(source, size)
    aws("s3", "mv", source, f"s3://{bucket}/one")
    assert not source.exists()
    aws("s3", "mv", f"s3://{bucket}/one", f"s3://{bucket}/two")
    assert listed(aws, f"s3://{bucket}") == {"two": size}
    aws("s3", "mv", f"s3://{bucket}/two", f"s3://{other}/three")
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
    assert listed(aws, f"s3://{other}") == {"three": size}
    aws("s3", "mv", f"s3://{other}/three", target)
    assert s3.list_objects_v2(Bucket=other)["KeyCount"] == 0
    assert file_hash(target) == written


@pytest.mark.parametrize("size", [0, 5_000, 8 * MIB, 20 * MIB + 7])
def test_copy_between_buckets(aws, bucket, s3, tmp_path, size):
    other = new_bucket(s3)
    written = write_file(tmp_path / "source", size)
    aws("s3", "cp", tmp_path / "source", f"s3://{bucket}/one", "--content-type", "text/x-test", "--metadata", "a=b")
    aws("s3", "cp", f"s3://{bucket}/one", f"s3://{other}/two")
    aws("s3", "cp", f"s3://{other}/two", tmp_path / "target")
    assert file_hash(tmp_path / "target") == written
    head = s3.head_object(Bucket=other, Key="two")
    assert head["ContentLength"] == size
    # Version 1 of the command leaves them behind when it copies in parts.
    if size < 8 * MIB:
        assert (head["ContentType"], head["Metadata"]) == ("text/x-test", {"a": "b"})
    assert listed(aws, f"s3://{other}") == {"two": size}


def test_listing_with_a_summary(aws, bucket, tmp_path):
    write_tree(tmp_path / "tree")
    aws("s3", "sync", tmp_path / "tree", f"s3://{bucket}")
    summary = aws("s3", "ls", "--recursive", "--summarize", f"s3://{bucket}").stdout
    assert f"Total Objects: {len(TREE)}" in summary
    assert f"Total Size: {sum(TREE.values())}" in summary


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"])
def test_checksum_algorithms_in_parts(aws, bucket, tmp_path, algorithm):
    written = write_file(tmp_path / "source", 16 * MIB + 1)
    aws("s3", "cp", tmp_path / "source", f"s3://{bucket}/object", "--checksum-algorithm", algorithm)
    aws("s3", "cp", f"s3://{bucket}/object", tmp_path / "target", "--checksum-mode", "ENABLED")
    assert file_hash(tmp_path / "target") == written
