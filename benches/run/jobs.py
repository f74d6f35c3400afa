"""How fast `rewrap` is beside the storage's own CopyObject: `scripts/bench jobs`.

Both do the same to the same objects, one after the other and again: the storage copies each object onto itself with other
metadata. The copies are presigned before the clock runs, so that their client costs little. `rewrap` also looks at each object
before and after, which is what the ratio is about. A storage on the same machine takes as much of its cores for a HEAD as for a
copy, or nearly; with --far, requests take their time as on a storage elsewhere, whose cores are not the limit."""

import argparse
import concurrent.futures
import contextlib
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
import uuid
from pathlib import Path

from backing import LocalStack
from proxy import Proxy, s3_client, write_keyring
from rawsig import Signer

SIZE = 4096
ROUNDS = 3


def fill(proxy, bucket, count):
    client = proxy.boto(max_pool_connections=16)
    client.create_bucket(Bucket=bucket)
    put = lambda number: client.put_object(Bucket=bucket, Key=f"o/{number}", Body=os.urandom(SIZE), Metadata={"mine": "yes"})
    with concurrent.futures.ThreadPoolExecutor(16) as threads:
        list(threads.map(put, range(count)))


def copies(storage, signer, endpoint, bucket, count):
    """The presigned copy of each object onto itself, with the metadata that it has."""
    host = urllib.parse.urlsplit(endpoint).netloc

    def presigned(number):
        key = f"o/{number}"
        metadata = storage.head_object(Bucket=bucket, Key=key)["Metadata"]
        headers = {f"x-amz-meta-{name}": value for name, value in metadata.items()}
        headers |= {"x-amz-copy-source": f"/{bucket}/{key}", "x-amz-metadata-directive": "REPLACE"}
        path = f"/{bucket}/{key}"
        return f"{path}?{signer.presign('PUT', host, path, headers=headers, expires=3600)}", headers

    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        return list(threads.map(presigned, range(count)))


def copy_some(endpoint, requests):
    """Sends requests on one connection; the number that failed."""
    connection, failed = http.client.HTTPConnection(urllib.parse.urlsplit(endpoint).netloc, timeout=60), 0
    for target, headers in requests:
        connection.request("PUT", target, headers=headers)
        response = connection.getresponse()
        failed += response.status != 200 or b"<CopyObjectResult" not in response.read()
    connection.close()
    return failed


def copy_rate(endpoint, requests, concurrency):
    """Copies in a second, on so many connections."""
    shares = [requests[share::concurrency] for share in range(concurrency)]
    with concurrent.futures.ProcessPoolExecutor(min(concurrency, 16)) as processes:
        list(processes.map(len, shares))
        began = time.monotonic()
        failed = sum(processes.map(copy_some, [endpoint] * concurrency, shares))
        taken = time.monotonic() - began
    if failed:
        raise SystemExit(f"{failed} copies failed")
    return len(requests) / taken


def rewrap_rate(proxy, bucket, count, concurrency, directory):
    """Rewrapped objects in a second, to a key that is new, and the summary."""
    proxy.command("keygen", "--rotate", cwd=directory).check_returncode()
    arguments = ["rewrap", f"s3://{bucket}", "--concurrency", str(concurrency), "--format", "json", "--config", proxy.config]
    done = subprocess.run([os.environ["S3VEIL_BINARY"], *arguments], capture_output=True, stdin=subprocess.DEVNULL, timeout=3600)
    if done.returncode:
        raise SystemExit(done.stdout.decode() + done.stderr.decode())
    summary = json.loads(done.stdout)
    if summary["succeeded"] - summary["unchanged"] != count:
        raise SystemExit(f"{summary['succeeded'] - summary['unchanged']} objects were rewrapped instead of {count}")
    return count / summary["seconds"], summary


@contextlib.contextmanager
def far(endpoint, waits):
    """The endpoint as it is, or behind a relay that holds requests back."""
    if not waits:
        yield endpoint
        return
    command = [sys.executable, Path(__file__).with_name("far.py"), endpoint, *waits]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as relay:
        yield f"http://127.0.0.1:{int(relay.stdout.readline())}"
        relay.stdin.close()


def measure(endpoint, keys, asked, directory):
    (access_key_id, secret_access_key), count = keys, asked.objects
    storage = s3_client(endpoint, access_key_id, secret_access_key, max_pool_connections=8)
    upstream = {"endpoint": endpoint, "path_style": True, "access_key_id": access_key_id, "secret_access_key": secret_access_key}
    upstream |= {"checksum": asked.checksum} if asked.checksum else {}
    keyring = {"provider": "local", "file": write_keyring(directory / "keyring", "first")}
    bucket = f"bench-{uuid.uuid4().hex[:12]}"
    with Proxy(directory / "proxy", upstream, keyring) as proxy:
        fill(proxy, bucket, count)
    signer = Signer(access_key_id=access_key_id, secret_access_key=secret_access_key)
    for concurrency in map(int, asked.at_once.split(",")):
        ratios = []
        for _ in range(ROUNDS):
            requests = copies(storage, signer, endpoint, bucket, count)
            before = copy_rate(endpoint, requests, concurrency)
            rewrapped, summary = rewrap_rate(proxy, bucket, count, concurrency, directory)
            after = copy_rate(endpoint, copies(storage, signer, endpoint, bucket, count), concurrency)
            ratios.append(rewrapped / statistics.mean([before, after]))
            cost = f"{summary['read_requests']} reads, {summary['write_requests']} writes"
            print(f"{concurrency:3} at once: {before:6.0f} and {after:6.0f} copies/s, {rewrapped:6.0f} rewrapped/s ({cost}): {ratios[-1]:.2f}", flush=True)
        print(f"{concurrency:3} at once: ratio {statistics.median(ratios):.2f} (median of {ROUNDS})")
    for number in range(count):
        storage.delete_object(Bucket=bucket, Key=f"o/{number}")
    storage.delete_bucket(Bucket=bucket)


def main():
    arguments = argparse.ArgumentParser(prog="scripts/bench jobs")
    arguments.add_argument("--s3veil", required=True)
    arguments.add_argument("--endpoint", help="of a storage (http://); default: a LocalStack of its own")
    arguments.add_argument("--checksum", help="as in proxy.toml: none, for a storage without checksums")
    arguments.add_argument("--far", default="", metavar="HEAD=20,PUT=60", help="hold requests back, in milliseconds")
    arguments.add_argument("--at-once", default="16,64", help="how many copies")
    arguments.add_argument("--objects", type=int, default=2_000)
    asked = arguments.parse_args()
    os.environ["S3VEIL_BINARY"] = str(Path(asked.s3veil).resolve())
    keys = [os.environ.get(f"S3VEIL_BENCH_{name}", "test") for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY")]
    with tempfile.TemporaryDirectory() as directory:
        directory = Path(directory)
        server = None if asked.endpoint else LocalStack(directory / "localstack").start()
        try:
            with far(asked.endpoint or server.endpoint, asked.far.split(",") if asked.far else []) as endpoint:
                measure(endpoint, keys, asked, directory)
        finally:
            if server:
                server.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
