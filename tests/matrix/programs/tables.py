"""Table formats and arrays: a table of text is stored in the program's own format, read back, and written as text again."""

from frame.installs import Pip
from frame.program import Program

GROUP = "Tables and arrays"
PLACES = "source, restored, bucket, endpoint = (os.environ[name] for name in ('SOURCE', 'RESTORED', 'BUCKET', 'ENDPOINT'))\n"
OPTIONS = """options = {
    "aws_endpoint_url": endpoint, "aws_allow_http": "true", "aws_region": os.environ["AWS_REGION"],
    "aws_access_key_id": os.environ["AWS_ACCESS_KEY_ID"], "aws_secret_access_key": os.environ["AWS_SECRET_ACCESS_KEY"],
}
"""


def table(name, package, what, prepare, store, restore, quick=False, environment="tables", **more):
    """A program in Python that stores $SOURCE/table.csv. `prepare` begins with imports, and goes on after an empty line."""
    imports, _, client = prepare.partition("\n\n")
    before = f"import os\n\n{imports}\n\n{PLACES}{client}"
    script = {"store": before + store, "restore": before + restore}
    settings = {"sizes": None, "kill_after": 3_000_000, **more}
    return Program(
        name=name, group=GROUP, quick=quick, installs=(Pip(environment, package),), what=what, language="py", interpreter=("python",), **script, **settings
    )  # fmt: skip


DUCKDB = """import duckdb
from duckdb_extensions import import_extension

import_extension("httpfs")
database = duckdb.connect()
database.load_extension("httpfs")
database.execute(f\"\"\"CREATE SECRET (TYPE s3, KEY_ID '{os.environ["AWS_ACCESS_KEY_ID"]}', SECRET '{os.environ["AWS_SECRET_ACCESS_KEY"]}',
    REGION '{os.environ["AWS_REGION"]}', ENDPOINT '{os.environ["ADDRESS"]}', URL_STYLE 'path', USE_SSL false)\"\"\")
"""
ICEBERG = """import polars
from pyiceberg.catalog.sql import SqlCatalog

catalog = SqlCatalog("local", **{
    "uri": f"sqlite:///{os.environ['SCRATCH']}/catalog.db", "warehouse": f"s3://{bucket}/iceberg", "s3.endpoint": endpoint, "s3.region": os.environ["AWS_REGION"],
    "s3.access-key-id": os.environ["AWS_ACCESS_KEY_ID"], "s3.secret-access-key": os.environ["AWS_SECRET_ACCESS_KEY"], "s3.force-virtual-addressing": "false",
})
"""
ARROW = """import polars
import pyarrow.dataset
import pyarrow.fs

files = pyarrow.fs.S3FileSystem(
    endpoint_override=os.environ["ADDRESS"], scheme="http", region=os.environ["AWS_REGION"],
    access_key=os.environ["AWS_ACCESS_KEY_ID"], secret_key=os.environ["AWS_SECRET_ACCESS_KEY"],
)
"""
ZARR = """import obstore.store
import zarr

store = zarr.storage.ObjectStore(obstore.store.S3Store(bucket, prefix="array", endpoint=endpoint, virtual_hosted_style_request=False, client_options={"allow_http": True}))
"""

PROGRAMS = [
    table(
        "DuckDB", "duckdb", "a table as Parquet by `COPY … TO 's3://…'`, read by `read_parquet`", DUCKDB,
        """database.execute(f"COPY (FROM read_csv('{source}/table.csv')) TO 's3://{bucket}/duckdb/table.parquet' (FORMAT parquet)")""",
        """database.execute(f"COPY (FROM read_parquet('s3://{bucket}/duckdb/*.parquet') ORDER BY id) TO '{restored}/table.csv' (HEADER)")""",
    ),
    table(
        "Polars", "polars", "a table as Parquet by `sink_parquet`, read by `scan_parquet`", "import polars\n\n" + OPTIONS,
        """polars.scan_csv(f"{source}/table.csv").sink_parquet(f"s3://{bucket}/polars/table.parquet", compression="uncompressed", storage_options=options)""",
        """polars.scan_parquet(f"s3://{bucket}/polars/*.parquet", storage_options=options).sort("id").collect().write_csv(f"{restored}/table.csv")""",
        kill_after=6_000_000,
    ),
    table(
        "PyArrow", "pyarrow", "a partitioned dataset of Parquet files by Arrow's own S3 client, on the AWS SDK for C++", ARROW,
        """table = polars.read_csv(f"{source}/table.csv").to_arrow()
pyarrow.dataset.write_dataset(table, f"{bucket}/arrow", filesystem=files, format="parquet", partitioning=["part"], existing_data_behavior="overwrite_or_ignore")
""",
        """dataset = pyarrow.dataset.dataset(f"{bucket}/arrow", filesystem=files, format="parquet", partitioning=pyarrow.dataset.partitioning(field_names=["part"]))
polars.from_arrow(dataset.to_table()).select("id", "part", "value", "note").sort("id").write_csv(f"{restored}/table.csv")
""",
    ),
    table(
        "delta-rs", "deltalake", "a Delta table in three transactions, read with its log", "import deltalake\nimport polars\n\n" + OPTIONS,
        """rows = polars.read_csv(f"{source}/table.csv")
for part, mode in ((0, "overwrite"), (1, "append"), (2, "append")):
    deltalake.write_deltalake(f"s3://{bucket}/delta", rows.filter(polars.col("part") == part).to_arrow(), mode=mode, storage_options=options)
""",
        """rows = polars.from_arrow(deltalake.DeltaTable(f"s3://{bucket}/delta", storage_options=options).to_pyarrow_table())
rows.sort("id").write_csv(f"{restored}/table.csv")
""",
    ),
    table(
        "PyIceberg", "pyiceberg", "an Iceberg table in three snapshots, read by a scan", ICEBERG,
        """rows = polars.read_csv(f"{source}/table.csv").to_arrow()
catalog.create_namespace_if_not_exists("matrix")
stored = catalog.create_table_if_not_exists("matrix.facts", schema=rows.schema)
stored.overwrite(rows.slice(0, 40_000))
stored.append(rows.slice(40_000, 40_000))
stored.append(rows.slice(80_000))
""",
        """polars.from_arrow(catalog.load_table("matrix.facts").scan().to_arrow()).sort("id").write_csv(f"{restored}/table.csv")""",
    ),
    table(
        "LanceDB", "lancedb", "a Lance table in two writes, read whole", "import lancedb\nimport polars\n\n" + OPTIONS
        + 'database = lancedb.connect(f"s3://{bucket}/lance", storage_options=options)\n',
        """rows = polars.read_csv(f"{source}/table.csv").to_arrow()
stored = database.create_table("facts", rows.slice(0, 60_000), mode="overwrite")
stored.add(rows.slice(60_000))
""",
        """polars.from_arrow(database.open_table("facts").to_arrow()).sort("id").write_csv(f"{restored}/table.csv")""",
    ),
    table(
        "zarr with obstore", "zarr", "an array of 16 Mi bytes in chunks of 3 MiB", ZARR,
        """import numpy

content = numpy.fromfile(f"{source}/array", dtype="u1")
array = zarr.create_array(store, name="bytes", shape=content.shape, chunks=(3 << 20,), dtype="u1", compressors=None, overwrite=True)
array[:] = content
""",
        """zarr.open_array(store, path="bytes", mode="r")[:].tofile(f"{restored}/array")""",
        sizes={"array": 16 << 20}, kill_after=9_000_000,
    ),
]  # fmt: skip
