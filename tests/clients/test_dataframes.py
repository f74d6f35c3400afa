"""s3fs (fsspec) and pyarrow: writers that send what they have when a buffer is full, in parts of any size, and readers that seek.

s3fs pins an older botocore than boto3 wants, so they have an environment of their own (tests/requirements/dataframes.txt)."""

import json
import sys
from pathlib import Path

import pytest

from proxy import ACCESS_KEY_ID, SECRET_ACCESS_KEY
from transfers import run

PYTHON = Path(sys.prefix).with_name("dataframes") / "bin/python"
SCRIPT = Path(__file__).with_name("dataframes.py")
SCENARIOS = [
    "fsspec_files", "fsspec_appends", "fsspec_transfers", "parquet_by_fsspec", "parquet_by_arrow", "arrow_streams", "datasets",
]  # fmt: skip


@pytest.mark.timeout(300)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenario(proxy, bucket, s3, tmp_path, scenario):
    environment = {"ENDPOINT": proxy.endpoint, "AWS_ACCESS_KEY_ID": ACCESS_KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET_ACCESS_KEY}
    environment |= {"AWS_EC2_METADATA_DISABLED": "true", "NO_PROXY": "127.0.0.1", "PYTHONDONTWRITEBYTECODE": "1"}
    sizes = json.loads(run([PYTHON, SCRIPT, scenario, bucket], tmp_path, environment, proxy).stdout)
    assert sizes
    listed = {item["Key"]: item["Size"] for item in s3.list_objects_v2(Bucket=bucket)["Contents"] if not item["Key"].endswith("/")}
    assert listed == sizes
    for key, size in sizes.items():
        assert s3.head_object(Bucket=bucket, Key=key)["ContentLength"] == size
        assert len(s3.get_object(Bucket=bucket, Key=key)["Body"].read()) == size
