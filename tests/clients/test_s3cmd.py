"""s3cmd, unchanged: it compares sizes and MD5, and divides what is large into parts."""

import sys
from pathlib import Path

import pytest

from proxy import ACCESS_KEY_ID, SECRET_ACCESS_KEY
from transfers import MIB, TREE, file_hash, run, tree_hashes, write_file, write_tree

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def s3cmd(proxy, tmp_path):
    """s3cmd("put", ...): parts of 5 MiB."""
    settings = {
        "access_key": ACCESS_KEY_ID, "secret_key": SECRET_ACCESS_KEY, "host_base": f"127.0.0.1:{proxy.port}",
        "host_bucket": f"127.0.0.1:{proxy.port}", "use_https": "False", "bucket_location": "us-east-1", "signature_v2": "False",
        "multipart_chunk_size_mb": "5", "use_mime_magic": "False", "max_retries": "0",
    }  # fmt: skip
    config = tmp_path / "s3cfg"
    config.write_text("[default]\n" + "".join(f"{name} = {value}\n" for name, value in settings.items()))
    command = [sys.executable, Path(sys.executable).with_name("s3cmd"), "--config", config, "--no-progress"]

    def s3cmd(*arguments, **more):
        return run([*command, *arguments], tmp_path, {"NO_PROXY": "127.0.0.1"}, proxy, **more)

    return s3cmd


def listed(s3cmd, place):
    """{name: size} as `s3cmd ls` shows them."""
    lines = [line.split(maxsplit=3) for line in s3cmd("ls", "--recursive", place).stdout.splitlines()]
    return {line[3].removeprefix(place + "/"): int(line[2]) for line in lines}


@pytest.mark.parametrize("size", [0, 5_000, 5 * MIB, 5 * MIB + 1, 12 * MIB + 7, 15 * MIB])
def test_put_and_get(s3cmd, bucket, tmp_path, size):
    source, target = tmp_path / "source", tmp_path / "target"
    written = write_file(source, size)
    s3cmd("put", source, f"s3://{bucket}/object")
    assert listed(s3cmd, f"s3://{bucket}") == {"object": size}
    done = s3cmd("get", f"s3://{bucket}/object", target)
    assert file_hash(target) == written
    assert "WARNING" not in done.stderr, done.stderr
    assert f"File size: {size}" in s3cmd("info", f"s3://{bucket}/object").stdout.replace("  ", " ")


def test_getting_the_rest(s3cmd, bucket, tmp_path):
    """A download that broke off goes on where it stopped: one range to the end."""
    source, target = tmp_path / "source", tmp_path / "target"
    written = write_file(source, 12 * MIB + 7)
    s3cmd("put", source, f"s3://{bucket}/object")
    target.write_bytes(source.read_bytes()[: 7 * MIB + 3])
    s3cmd("get", "--continue", f"s3://{bucket}/object", target)
    assert file_hash(target) == written


def test_sync(s3cmd, bucket, tmp_path):
    tree, back = tmp_path / "tree", tmp_path / "back"
    written = write_tree(tree)
    back.mkdir()
    first = s3cmd("sync", f"{tree}/", f"s3://{bucket}/")
    assert first.stdout.count("upload:") == len(written) and "WARNING" not in first.stderr, first.stderr
    assert listed(s3cmd, f"s3://{bucket}") == TREE
    for _ in range(2):
        assert "upload:" not in s3cmd("sync", f"{tree}/", f"s3://{bucket}/").stdout, "nothing changed"
    down = s3cmd("sync", f"s3://{bucket}/", f"{back}/")
    assert tree_hashes(back) == written and "WARNING" not in down.stderr, down.stderr
    for _ in range(2):
        assert "download:" not in s3cmd("sync", f"s3://{bucket}/", f"{back}/").stdout, "nothing changed"
    assert "upload:" not in s3cmd("sync", f"{back}/", f"s3://{bucket}/").stdout, "what came down is what went up"
    (tree / "small").write_bytes(bytes(TREE["small"]))
    assert s3cmd("sync", f"{tree}/", f"s3://{bucket}/").stdout.count("upload:") == 1, "of the same size, with another MD5"


def test_sync_of_what_others_wrote(s3cmd, bucket, s3, tmp_path):
    """Objects without s3cmd's own record of the MD5, in one piece and in parts."""
    tree, back = tmp_path / "tree", tmp_path / "back"
    written = write_tree(tree)
    back.mkdir()
    for name in written:
        s3.upload_file(str(tree / name), bucket, name)
    s3cmd("sync", f"s3://{bucket}/", f"{back}/")
    assert tree_hashes(back) == written
    assert "download:" not in s3cmd("sync", f"s3://{bucket}/", f"{back}/").stdout, "nothing changed"
    assert "upload:" not in s3cmd("sync", f"{back}/", f"s3://{bucket}/").stdout, "nothing changed"


def test_move(s3cmd, bucket, tmp_path):
    written = write_file(tmp_path / "source", 9 * MIB)
    s3cmd("put", tmp_path / "source", f"s3://{bucket}/one")
    s3cmd("mv", f"s3://{bucket}/one", f"s3://{bucket}/two")
    assert listed(s3cmd, f"s3://{bucket}") == {"two": 9 * MIB}
    s3cmd("get", f"s3://{bucket}/two", tmp_path / "target")
    assert file_hash(tmp_path / "target") == written


def test_disk_usage(s3cmd, bucket, tmp_path):
    write_tree(tmp_path / "tree")
    s3cmd("put", "--recursive", f"{tmp_path}/tree/", f"s3://{bucket}/")
    assert s3cmd("du", f"s3://{bucket}").stdout.split()[0] == str(sum(TREE.values()))


def test_an_upload_goes_on_after_a_break(s3cmd, bucket, s3, tmp_path):
    """With the upload's id: s3cmd lists the parts, and sends those again that differ in size or are missing."""
    source = tmp_path / "source"
    written = write_file(source, 12 * MIB)
    upload_id = s3.create_multipart_upload(Bucket=bucket, Key="object")["UploadId"]
    with source.open("rb") as opened:
        s3.upload_part(Bucket=bucket, Key="object", UploadId=upload_id, PartNumber=1, Body=opened.read(5 * MIB))
    shown = s3cmd("multipart", f"s3://{bucket}").stdout
    assert upload_id in shown
    s3cmd("put", f"--upload-id={upload_id}", source, f"s3://{bucket}/object")
    s3cmd("get", f"s3://{bucket}/object", tmp_path / "target")
    assert file_hash(tmp_path / "target") == written
    assert s3cmd("multipart", f"s3://{bucket}").stdout.count(upload_id) == 0
