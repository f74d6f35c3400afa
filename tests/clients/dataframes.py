"""Run by test_dataframes.py with the interpreter that has s3fs and pyarrow: python dataframes.py SCENARIO BUCKET. Endpoint and keys
come from the environment. Each scenario writes, reads back and compares; it prints {name: true size} of what it wrote."""

import io
import json
import os
import random
import sys

import pyarrow as arrow
import pyarrow.dataset as dataset
import pyarrow.fs as arrow_fs
import pyarrow.parquet as parquet
import s3fs

MIB = 1 << 20
CHANCE = random.Random(7)
ROWS = 1_500_000


def fsspec_filesystem(**more):
    return s3fs.S3FileSystem(
        key=os.environ["AWS_ACCESS_KEY_ID"], secret=os.environ["AWS_SECRET_ACCESS_KEY"], use_listings_cache=False, skip_instance_cache=True,
        client_kwargs={"endpoint_url": os.environ["ENDPOINT"], "region_name": "us-east-1"}, **more,
    )  # fmt: skip


def arrow_filesystem():
    return arrow_fs.S3FileSystem(
        access_key=os.environ["AWS_ACCESS_KEY_ID"], secret_key=os.environ["AWS_SECRET_ACCESS_KEY"], region="us-east-1", scheme="http",
        endpoint_override=os.environ["ENDPOINT"].removeprefix("http://"),
    )  # fmt: skip


def table(rows=ROWS):
    """Random numbers, so that nothing compresses: some 20 MB."""
    values = arrow.array(memoryview(CHANCE.randbytes(8 * rows)).cast("q"))
    return arrow.table({"id": arrow.array(range(rows)), "value": values, "group": arrow.array([row % 3 for row in range(rows)])})


def fsspec_files(bucket):
    """fsspec makes a part of whatever its buffer holds when it is full: no two need be of one size."""
    fs, sizes = fsspec_filesystem(), {}
    for name, size, piece, block in (("odd", 17 * MIB + 3, 3_333_333, 5 * MIB), ("pages", 16 * MIB, 4_096, 5 * MIB), ("one", 6 * MIB + 1, 6 * MIB + 1, 5 * MIB),
                                     ("small", 100, 7, 5 * MIB), ("empty", 0, 1, 5 * MIB), ("blocks", 21 * MIB, MIB + 77, 7 * MIB)):  # fmt: skip
        content, path = CHANCE.randbytes(size), f"{bucket}/{name}"
        with fs.open(path, "wb", block_size=block) as file:
            for at in range(0, size, piece):
                file.write(content[at : at + piece])
        assert fs.info(path)["size"] == size, (name, fs.info(path))
        assert {entry["name"]: entry["size"] for entry in fs.ls(bucket, detail=True)}[path] == size
        assert fs.cat(path) == content
        with fs.open(path, "rb", block_size=1_000_003) as file:
            for _ in range(20 if size else 0):
                start = CHANCE.randrange(size)
                file.seek(start)
                assert file.read(70_000) == content[start : start + 70_000]
        sizes[name] = size
    return sizes


def fsspec_appends(bucket):
    """Appending to an object in s3fs copies what is there into the first part and goes on with others."""
    fs, path = fsspec_filesystem(), f"{bucket}/log"
    first, second = CHANCE.randbytes(6 * MIB + 5), CHANCE.randbytes(6 * MIB + 1)
    fs.pipe(path, first)
    with fs.open(path, "ab") as file:
        file.write(second)
    assert fs.cat(path) == first + second
    return {"log": len(first + second)}


def fsspec_transfers(bucket):
    """put and get of files, in chunks of any size."""
    fs, sizes = fsspec_filesystem(), {}
    for name, size, chunk in (("a", 12 * MIB, 5 * MIB), ("b", 12 * MIB + 1, 5 * MIB + 1), ("c", 3, 5 * MIB)):
        content = CHANCE.randbytes(size)
        with open(name, "wb") as file:
            file.write(content)
        fs.put(name, f"{bucket}/{name}", chunksize=chunk)
        fs.get(f"{bucket}/{name}", name + ".back")
        with open(name + ".back", "rb") as file:
            assert file.read() == content
        sizes[name] = size
    fs.mv(f"{bucket}/b", f"{bucket}/moved/b")
    sizes["moved/b"] = sizes.pop("b")
    assert sorted(fs.find(bucket)) == sorted(f"{bucket}/{name}" for name in sizes)
    assert fs.du(bucket) == sum(sizes.values())
    return sizes


def assert_reads(read, written):
    """Whole, one column, and one row group of a file of Parquet."""
    assert parquet.read_table(read()).equals(written)
    assert parquet.read_table(read(), columns=["id"]).equals(written.select(["id"]))
    groups = parquet.ParquetFile(read())
    assert groups.metadata.num_rows == len(written)
    last = groups.read_row_group(groups.num_row_groups - 1)
    assert last.equals(written.slice(len(written) - len(last)))


def parquet_by_fsspec(bucket):
    fs, written, memory = fsspec_filesystem(), table(), io.BytesIO()
    parquet.write_table(written, memory, row_group_size=200_000)
    with fs.open(f"{bucket}/table.parquet", "wb", block_size=5 * MIB) as file:
        parquet.write_table(written, file, row_group_size=200_000)
    assert_reads(lambda: fs.open(f"{bucket}/table.parquet", "rb"), written)
    return {"table.parquet": len(memory.getvalue())}


def parquet_by_arrow(bucket):
    """Arrow's own S3 client: aws-chunked bodies, and parts that are uneven."""
    fs, written, memory = arrow_filesystem(), table(), io.BytesIO()
    parquet.write_table(written, memory, row_group_size=200_000)
    path, size = f"{bucket}/table.parquet", len(memory.getvalue())
    parquet.write_table(written, path, filesystem=fs, row_group_size=200_000)
    assert fs.get_file_info(path).size == size
    assert [(info.path, info.size) for info in fs.get_file_info(arrow_fs.FileSelector(bucket))] == [(path, size)]
    assert_reads(lambda: fs.open_input_file(path), written)
    return {"table.parquet": size}


def arrow_streams(bucket):
    """Writes of every size, with and without the threads that send parts while more is written."""
    sizes = {}
    for name, piece in (("pages", 4_096), ("odd", 3_333_333), ("large", 12 * MIB + 1)):
        fs, content = arrow_filesystem(), CHANCE.randbytes(25 * MIB + 11)
        with fs.open_output_stream(f"{bucket}/{name}") as sink:
            for at in range(0, len(content), piece):
                sink.write(content[at : at + piece])
        with fs.open_input_file(f"{bucket}/{name}") as file:
            assert file.size() == len(content)
            assert file.read_at(100_000, 10 * MIB - 50_000) == content[10 * MIB - 50_000 : 10 * MIB + 50_000]
            assert file.readall() == content
        sizes[name] = len(content)
    return sizes


def datasets(bucket):
    """A partitioned dataset: many files, found by listing them."""
    fs, written = arrow_filesystem(), table(300_000)
    dataset.write_dataset(written, f"{bucket}/data", filesystem=fs, format="parquet", partitioning=["group"], partitioning_flavor="hive")
    found = dataset.dataset(f"{bucket}/data", filesystem=fs, format="parquet", partitioning="hive")
    assert found.count_rows() == len(written)
    assert sorted(found.to_table(filter=dataset.field("group") == 1)["id"].to_pylist()) == list(range(1, len(written), 3))
    infos = fs.get_file_info(arrow_fs.FileSelector(f"{bucket}/data", recursive=True))
    return {info.path.partition("/")[2]: info.size for info in infos if info.type == arrow_fs.FileType.File}


def customer_key(bucket):
    """SSE-C: fsspec's files, and pyarrow's Parquet and datasets over fsspec; pyarrow's own client has no such key."""
    secret = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": os.environ["CUSTOMER_KEY"].encode()}
    fs, written, memory = fsspec_filesystem(s3_additional_kwargs=secret), table(200_000), io.BytesIO()
    sizes = {"small": 7, "parts": 12 * MIB + 5}
    for name, size in sizes.items():
        content, path = CHANCE.randbytes(size), f"{bucket}/{name}"
        with fs.open(path, "wb", block_size=5 * MIB) as file:
            file.write(content)
        assert fs.info(path)["size"] == size
        assert fs.cat(path) == content
        assert fs.cat_file(path, start=size // 2) == content[size // 2 :]
    parquet.write_table(written, memory, row_group_size=50_000)
    with fs.open(f"{bucket}/table.parquet", "wb", block_size=5 * MIB) as file:
        parquet.write_table(written, file, row_group_size=50_000)
    assert_reads(lambda: fs.open(f"{bucket}/table.parquet", "rb"), written)
    found = dataset.dataset(f"{bucket}/table.parquet", filesystem=fs, format="parquet")
    assert found.to_table().equals(written)
    return {**sizes, "table.parquet": len(memory.getvalue())}


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](sys.argv[2])))
