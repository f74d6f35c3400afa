"""Programs of machine learning and of pipelines."""

from frame.content import MIB, PLAIN_TREE
from frame.installs import Maven, Pip
from frame.program import Program

GROUP = "Machine learning and pipelines"
MLFLOW = """import os

os.environ["MLFLOW_S3_ENDPOINT_URL"] = os.environ["ENDPOINT"]
import mlflow

source, restored, bucket = os.environ["SOURCE"], os.environ["RESTORED"], os.environ["BUCKET"]
mlflow.set_tracking_uri(f"sqlite:///{os.environ['SCRATCH']}/mlflow.db")
experiment = mlflow.get_experiment_by_name("matrix")
"""
WEBDATASET = """import os

import webdataset

source, restored = os.environ["SOURCE"], os.environ["RESTORED"]
s3 = f"aws --endpoint-url {os.environ['ENDPOINT']} s3 cp"
shard = f"s3://{os.environ['BUCKET']}/shards/%03d.tar"
names = [f"{number:04}" for number in range(60)]
"""
TORCH = """import os
from pathlib import Path

from s3torchconnectorclient._mountpoint_s3_client import MountpointS3Client

source, restored, bucket = Path(os.environ["SOURCE"]), Path(os.environ["RESTORED"]), os.environ["BUCKET"]
client = MountpointS3Client(os.environ["AWS_REGION"], "matrix", endpoint=os.environ["ENDPOINT"], force_path_style=True, part_size=5 << 20)
"""
SPARK = """import os

from pyspark.sql import SparkSession

source, restored, bucket = os.environ["SOURCE"], os.environ["RESTORED"], os.environ["BUCKET"]
settings = {
    "spark.driver.extraClassPath": os.environ["CLASSPATH"],
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.ui.enabled": "false",
    "spark.hadoop.fs.s3a.endpoint": os.environ["ENDPOINT"],
    "spark.hadoop.fs.s3a.endpoint.region": os.environ["AWS_REGION"],
    "spark.hadoop.fs.s3a.path.style.access": "true",
    "spark.hadoop.fs.s3a.connection.ssl.enabled": "false",
}
builder = SparkSession.builder.master("local[2]")
for name, value in settings.items():
    builder = builder.config(name, value)
spark = builder.getOrCreate()
"""

PROGRAMS = [
    Program(
        name="MLflow", group=GROUP, installs=(Pip("learning", "mlflow-skinny"),), what="a tree by `log_artifacts`, `download_artifacts`",
        language="py", interpreter=("python",), sizes=PLAIN_TREE,
        store=MLFLOW + """
if experiment is None:
    mlflow.create_experiment("matrix", artifact_location=f"s3://{bucket}/mlflow")
mlflow.set_experiment("matrix")
with mlflow.start_run() as run:
    mlflow.log_artifacts(source, artifact_path="tree")
with open(f"{os.environ['SCRATCH']}/run", "w") as file:
    file.write(run.info.run_id)
""",
        restore=MLFLOW + """
with open(f"{os.environ['SCRATCH']}/run") as file:
    run = file.read()
folder = mlflow.artifacts.download_artifacts(run_id=run, artifact_path="tree", dst_path=os.environ["SCRATCH"])
os.rmdir(restored)
os.rename(folder, restored)
""",
    ),
    Program(
        name="DVC", group=GROUP, installs=(Pip("dvc", "dvc"),), what="a tree added, pushed, and pulled into another working copy",
        setup="""
cd "$SCRATCH"
mkdir first
cp -r "$SOURCE" first/tree
cd first
dvc init --quiet --no-scm
dvc config core.analytics false
dvc config core.check_update false
dvc remote add --default veil "s3://$BUCKET/dvc"
dvc remote modify veil endpointurl "$ENDPOINT"
dvc add --quiet tree
""",
        store='cd "$SCRATCH/first"\ndvc push',
        restore="""
mkdir "$SCRATCH/second"
cd "$SCRATCH/second"
cp -r ../first/tree.dvc .
dvc init --quiet --no-scm
cp ../first/.dvc/config .dvc/config
dvc pull
cp -r tree/. "$RESTORED"
""",
    ),
    Program(
        name="WebDataset", group=GROUP, installs=(Pip("learning", "webdataset"), Pip("clients", "awscli")), what="shards of samples through pipes of `aws s3 cp`",
        language="py", interpreter=("python",), sizes={f"{number:04}.bin": 300_000 + number for number in range(60)},
        store=WEBDATASET + """
with webdataset.ShardWriter(f"pipe:{s3} - {shard}", maxcount=20) as sink:
    for name in names:
        with open(f"{source}/{name}.bin", "rb") as file:
            sink.write({"__key__": name, "bin": file.read()})
""",
        restore=WEBDATASET + """
shards = [f"pipe:{s3} {shard % number} -" for number in range(3)]
for sample in webdataset.WebDataset(shards, shardshuffle=False):
    with open(f"{restored}/{sample['__key__']}.bin", "wb") as file:
        file.write(sample["bin"])
""",
    ),
    Program(
        name="S3 connector for PyTorch", group=GROUP, installs=(Pip("learning", "s3torchconnectorclient"),),
        what="checkpoints by its client, which is the AWS CRT with Mountpoint's code, in parts of 5 MiB",
        note="The connector's own client without PyTorch, which it needs for its classes alone.",
        language="py", interpreter=("python",), sizes={"first": 12 * MIB + 5, "second": 6 * MIB, "small": 1000},
        store=TORCH + """
for path in source.iterdir():
    stream = client.put_object(bucket, f"checkpoints/{path.name}")
    content = path.read_bytes()
    for start in range(0, len(content), 1 << 20):
        stream.write(content[start : start + (1 << 20)])
    stream.close()
""",
        restore=TORCH + """
for listed in client.list_objects(bucket, "checkpoints/"):
    for item in listed.object_info:
        content = b"".join(client.get_object(bucket, item.key))
        (restored / item.key.rpartition("/")[2]).write_bytes(content)
""",
    ),
    Program(
        name="Spark with S3A", group=GROUP, installs=(Pip("spark", "pyspark"), Maven("spark", "hadoop-aws")),
        what="a table as Parquet by `DataFrame.write`, read by `spark.read`", sizes=None, language="py", interpreter=("python",), kill_after=2_000_000,
        store=SPARK + """
rows = spark.read.csv(f"file://{source}/table.csv", header=True, schema="id long, part long, value long, note string")
rows.repartition(4).write.mode("overwrite").parquet(f"s3a://{bucket}/spark/table")
""",
        restore=SPARK + """
with open(f"{restored}/table.csv", "w") as file:
    file.write("id,part,value,note\\n")
    for row in spark.read.parquet(f"s3a://{bucket}/spark/table").orderBy("id").collect():
        file.write(f"{row.id},{row.part},{row.value},{row.note}\\n")
""",
    ),
]  # fmt: skip
