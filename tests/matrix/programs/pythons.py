"""Libraries of Python that store files: SDKs, file systems, streams."""

from frame.content import PLAIN_TREE
from frame.installs import Pip
from frame.program import Program

FILES, SDKS = "Files and backups", "SDKs"
PLACES = """source, restored = Path(os.environ["SOURCE"]), Path(os.environ["RESTORED"])
bucket, endpoint = os.environ["BUCKET"], os.environ["ENDPOINT"]
"""
NAMES = "names = [path.relative_to(source).as_posix() for path in source.rglob('*') if path.is_file()]\n"
FOLDERS = "    (restored / name).parent.mkdir(parents=True, exist_ok=True)\n"


def library(name, group, install, what, prepare, store, restore, quick=False, **more):
    """`prepare` begins with imports, and goes on after an empty line."""
    imports, _, client = prepare.partition("\n\n")
    before = f"import os\nfrom pathlib import Path\n\n{imports}\n\n{PLACES}{client}"
    return Program(
        name=name, group=group, quick=quick, installs=(install,), what=what, language="py", interpreter=("python",),
        store=before + NAMES + store, restore=before + restore, **more,
    )  # fmt: skip


BOTO3 = "import boto3\n\ns3 = boto3.client('s3', endpoint_url=endpoint)\n"
MINIO = """import minio

s3 = minio.Minio(os.environ["ADDRESS"], os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"], secure=False, region=os.environ["AWS_REGION"])
"""
S3FS = "import s3fs\n\nfiles = s3fs.S3FileSystem(endpoint_url=endpoint)\n"
SMART = """import shutil
import boto3
import smart_open

options = {"client": boto3.client("s3", endpoint_url=endpoint), "min_part_size": 5 << 20}
"""
OBSTORE = """import obstore
from obstore.store import S3Store

store = S3Store(bucket, endpoint=endpoint, virtual_hosted_style_request=False, client_options={"allow_http": True})
"""

PROGRAMS = [
    library(
        "AWS SDK for Python", SDKS, Pip("clients", "boto3"), "`upload_file` and `download_file` of a tree", BOTO3,
        "for name in names:\n    s3.upload_file(str(source / name), bucket, name)\n",
        "for item in s3.list_objects_v2(Bucket=bucket)['Contents']:\n    name = item['Key']\n" + FOLDERS
        + "    s3.download_file(bucket, name, str(restored / name))\n",
        quick=True,
    ),
    library(
        "MinIO SDK for Python", SDKS, Pip("tables", "minio"), "`fput_object` and `fget_object` of a tree", MINIO,
        "for name in names:\n    s3.fput_object(bucket, name, str(source / name), part_size=5 << 20)\n",
        "for item in s3.list_objects(bucket, recursive=True):\n    s3.fget_object(bucket, item.object_name, str(restored / item.object_name))\n",
    ),
    library(
        "fsspec s3fs", FILES, Pip("dataframes", "s3fs"), "`put` and `get` of a tree, in parts of 5 MiB", S3FS,
        "for name in names:\n    files.put(str(source / name), f'{bucket}/{name}', chunksize=5 << 20)\n",
        "for path in files.find(bucket):\n    name = path.partition('/')[2]\n" + FOLDERS + "    files.get(path, str(restored / name))\n",
        quick=True,
    ),
    library(
        "smart_open", FILES, Pip("tables", "smart_open"), "streams of a tree, in parts of 5 MiB", SMART,
        """for name in names:
    with (source / name).open("rb") as file, smart_open.open(f"s3://{bucket}/{name}", "wb", transport_params=options) as stream:
        shutil.copyfileobj(file, stream)
""",
        "for item in options['client'].list_objects_v2(Bucket=bucket)['Contents']:\n    name = item['Key']\n" + FOLDERS + """\
    with smart_open.open(f"s3://{bucket}/{name}", "rb", transport_params={"client": options["client"]}) as stream, (restored / name).open("wb") as file:
        shutil.copyfileobj(stream, file)
""",
        sizes=PLAIN_TREE,
    ),
    library(
        "obstore", FILES, Pip("tables", "obstore"), "`put` and `get` of a tree by Rust's object_store", OBSTORE,
        "for name in names:\n    obstore.put(store, name, source / name, chunk_size=5 << 20)\n",
        "for item in obstore.list(store).collect():\n    name = item['path']\n" + FOLDERS + "    (restored / name).write_bytes(obstore.get(store, name).bytes())\n",
    ),
]  # fmt: skip
