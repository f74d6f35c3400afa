"""The audit log: a line for each use of a key on an object, in a chain that shows every change, whatever happens to process and disk."""

import json
import os
import resource
import signal
import socket
import subprocess
import urllib.parse

import pytest
import urllib3
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from conftest import embedded_backend, new_bucket
from proxy import ACCESS_KEY_ID, SECRET_ACCESS_KEY, Proxy, binary
from read_audit import sha256, verify
from test_limits import until

MIB = 1 << 20
READER = {"access_key_id": "reader", "secret_access_key": "reader-secret-0123", "access": "read-only"}


class Audited:
    """A proxy with an audit log, whose checkpoints are signed."""

    def __init__(self, directory, **settings):
        self.directory = directory
        self.file = directory / "audit.jsonl"
        made = subprocess.run([binary(), "keygen", "--audit", directory / "audit.pem"], capture_output=True, timeout=60)
        assert made.returncode == 0, made.stderr
        self.public = directory / "audit.pub.pem"
        self.key = load_pem_public_key(self.public.read_bytes())
        self.backend = embedded_backend(directory)
        client = {"access_key_id": ACCESS_KEY_ID, "secret_access_key": SECRET_ACCESS_KEY, "access": "admin"}
        audit = {"file": self.file, "signing_key_file": directory / "audit.pem", **settings}
        self.sections = {"audit": audit, "client": [client, READER]}
        self.proxy = self.another()

    def another(self, name="proxy"):
        return Proxy(self.directory / name, self.backend.upstream, self.backend.keyring, self.sections)

    def lines(self, *earlier):
        """The lines of the chain, verified."""
        return verify([*earlier, self.file], self.key)

    def requests(self, *earlier, **wanted):
        lines = [line for line in self.lines(*earlier) if line["type"] == "request"]
        return [line for line in lines if all(line.get(name) == value for name, value in wanted.items())]

    def until_requests(self, number, **wanted):
        def found():
            try:
                lines = self.requests(**wanted)
            except ValueError as error:  # a line that is half written
                assert "no whole line" in str(error)
                return None
            return len(lines) >= number and lines

        return until(found)

    def verified(self, *arguments, files=None):
        """`s3veil audit verify` and its exit code."""
        files = files or [self.file]
        done = subprocess.run([binary(), "audit", "verify", *files, *arguments], capture_output=True, timeout=60, text=True)
        return done.returncode, done.stdout + done.stderr

    def limit(self, size):
        """No file of the process may become longer."""
        resource.prlimit(self.proxy.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


@pytest.fixture
def audited(tmp_path):
    audited = Audited(tmp_path)
    with audited.proxy:
        yield audited


def code_of(call, **arguments):
    with pytest.raises(ClientError) as refused:
        call(**arguments)
    return refused.value.response["Error"]["Code"]


def admin(proxy, path):
    address = proxy.config.read_text().split("[admin]")[1].split('"')[1]
    return urllib3.request("GET", f"http://{address}{path}", retries=False)


def uses(line):
    return [(key["use"], key["format"], key["key_id"], key["holder"]) for key in line["keys"]]


OPEN, SEAL = (("open", "native", "test-key", "keyring"), ("seal", "native", "test-key", "keyring"))


def test_each_operation_says_who_did_what_under_which_key(audited):
    s3 = audited.proxy.boto()
    bucket = new_bucket(s3)
    s3.put_object(Bucket=bucket, Key="a", Body=b"0123456789")
    assert s3.get_object(Bucket=bucket, Key="a")["Body"].read() == b"0123456789"
    assert s3.get_object(Bucket=bucket, Key="a", Range="bytes=2-4")["Body"].read() == b"234"
    s3.head_object(Bucket=bucket, Key="a")
    s3.copy_object(Bucket=bucket, Key="b", CopySource={"Bucket": bucket, "Key": "a"})
    upload = s3.create_multipart_upload(Bucket=bucket, Key="m")["UploadId"]
    part = {"Bucket": bucket, "Key": "m", "UploadId": upload}
    first = s3.upload_part(**part, PartNumber=1, Body=bytes(5 * MIB))["ETag"]
    second = s3.upload_part_copy(**part, PartNumber=2, CopySource={"Bucket": bucket, "Key": "a"})["CopyPartResult"]["ETag"]
    parts = [{"PartNumber": 1, "ETag": first}, {"PartNumber": 2, "ETag": second}]
    s3.complete_multipart_upload(**part, MultipartUpload={"Parts": parts})
    s3.list_objects_v2(Bucket=bucket)
    form = s3.generate_presigned_post(bucket, "f")
    assert urllib3.request("POST", form["url"], fields={**form["fields"], "file": ("f", b"form")}).status == 204
    assert code_of(s3.get_object, Bucket=bucket, Key="none") == "NoSuchKey"
    s3.delete_object(Bucket=bucket, Key="a")
    s3.put_object_tagging(Bucket=bucket, Key="b", Tagging={"TagSet": []})

    lines = audited.until_requests(11)
    found = [(line["operation"], line["key"], line["status"], uses(line)) for line in lines]
    assert sorted(found) == sorted([
        ("PutObject", "a", 200, [SEAL]),
        ("GetObject", "a", 200, [OPEN]),
        ("GetObject", "a", 206, [OPEN]),
        ("HeadObject", "a", 200, [OPEN]),
        ("CopyObject", "b", 200, [OPEN, SEAL]),
        ("CreateMultipartUpload", "m", 200, [SEAL]),
        ("UploadPart", "m", 200, [OPEN]),
        ("UploadPartCopy", "m", 200, [OPEN]),
        ("CompleteMultipartUpload", "m", 200, [OPEN]),
        ("PostObject", "f", 204, [SEAL]),
        ("GetObject", "none", 404, []),
    ])  # fmt: skip

    def one(operation, **wanted):
        (line,) = audited.requests(operation=operation, **wanted)
        return line

    put, whole, part = one("PutObject"), one("GetObject", status=200), one("GetObject", status=206)
    assert (put["request_bytes"], whole["response_bytes"], part["response_bytes"]) == (10, 10, 3)
    assert (part["range"], "range" in whole) == ("2-4/10", False)
    copy, upload_part, part_copy = one("CopyObject"), one("UploadPart"), one("UploadPartCopy")
    assert (copy["source_bucket"], copy["source_key"]) == (bucket, "a")
    assert (upload_part["part"], part_copy["part"], part_copy["source_key"]) == ("1", "2", "a")
    assert one("GetObject", key="none")["code"] == "NoSuchKey"
    assert all((line["client"], line["bucket"], line["end"]) == (ACCESS_KEY_ID, bucket, "complete") for line in lines)
    identifiers = {line["request_id"] for line in lines}
    assert len(identifiers) == 11
    until(lambda: (log := audited.proxy.log_text()) and all(name in log for name in identifiers))
    until(lambda: audited.proxy.metrics()["s3veil_audit_lines_total"] == 11)
    metrics = audited.proxy.metrics()
    assert (metrics["s3veil_audit_lines_lost_total"], metrics["s3veil_audit_up"]) == (0, 1)


def test_refusals_for_want_of_rights_or_authenticity(audited):
    bucket = new_bucket(audited.proxy.boto())
    reader = audited.proxy.boto(READER["access_key_id"], READER["secret_access_key"])
    assert code_of(reader.put_object, Bucket=bucket, Key="denied", Body=b"x") == "AccessDenied"
    audited.proxy.raw(secret_access_key="wrong").request("GET", f"/{bucket}/forged")
    audited.proxy.raw(access_key_id="AKIANOBODY").request("PUT", f"/{bucket}/unknown", body=b"x")
    urllib3.request("GET", f"{audited.proxy.endpoint}/{bucket}/unsigned")
    audited.proxy.raw(secret_access_key="wrong").request("GET", f"/{bucket}")
    lines = audited.until_requests(4)
    found = [(line["operation"], line["key"], line["code"], line.get("client"), line.get("claimed_client")) for line in lines]
    assert sorted(found, key=str) == [
        ("GetObject", "forged", "SignatureDoesNotMatch", None, ACCESS_KEY_ID),
        ("GetObject", "unsigned", "AccessDenied", None, None),
        ("PutObject", "denied", "AccessDenied", "reader", None),
        ("PutObject", "unknown", "InvalidAccessKeyId", None, "AKIANOBODY"),
    ]
    assert all(line["keys"] == [] and line["status"] == 403 for line in lines)


KEYS = ['quote " and \\ back', "line\nbreak", "\x7f\u202e\u2028", "ä€😀", "}{\"seq\":1", "k" * 1024]


def test_any_key_is_one_value_of_one_line(audited):
    s3 = audited.proxy.boto()
    bucket = new_bucket(s3)
    for key in KEYS:
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    assert [line["key"] for line in audited.until_requests(len(KEYS))] == KEYS


def test_no_secret_is_in_a_line(audited):
    bucket = new_bucket(audited.proxy.boto())
    host = f"127.0.0.1:{audited.proxy.port}"
    query = audited.proxy.signer().presign("GET", host, f"/{bucket}/object")
    audited.proxy.raw().send("GET", f"/{bucket}/object", query, {"host": host}, [])
    upload = audited.proxy.boto().create_multipart_upload(Bucket=bucket, Key="m")["UploadId"]
    audited.proxy.boto().put_object(Bucket=bucket, Key="object", Body=b"the plaintext", Metadata={"a": "the metadata"})
    audited.proxy.boto().abort_multipart_upload(Bucket=bucket, Key="m", UploadId=upload)
    audited.until_requests(4)
    text = audited.file.read_text()
    signature = urllib.parse.parse_qs(query)["X-Amz-Signature"][0]
    for secret in (signature, SECRET_ACCESS_KEY, "X-Amz", upload[:40], "the plaintext", "the metadata"):
        assert secret not in text, "This is a security issue"
    stored = audited.backend.store.read(bucket, "object").metadata
    assert len(stored) >= 3 and all(value not in text for value in stored.values())


def test_a_client_that_leaves_is_said_with_what_it_got(audited):
    s3 = audited.proxy.boto()
    bucket = new_bucket(s3)
    s3.put_object(Bucket=bucket, Key="large", Body=bytes(40 * MIB))
    host = f"127.0.0.1:{audited.proxy.port}"
    query = audited.proxy.signer().presign("GET", host, f"/{bucket}/large")
    with socket.create_connection(("127.0.0.1", audited.proxy.port), timeout=30) as connection:
        connection.sendall(f"GET /{bucket}/large?{query} HTTP/1.1\r\nhost: {host}\r\n\r\n".encode())
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
    (line,) = audited.until_requests(1, operation="GetObject")
    assert (line["end"], line["status"]) == ("dropped by client", 200)
    assert 0 < line["response_bytes"] < 40 * MIB


def test_after_a_kill_the_chain_goes_on_and_says_so(audited):
    s3 = audited.proxy.boto()
    bucket = new_bucket(s3)
    for round in range(3):
        s3.put_object(Bucket=bucket, Key=f"k{round}", Body=b"x")
        audited.until_requests(round + 1)
        audited.proxy.process.send_signal(signal.SIGKILL)
        audited.proxy.process.wait(10)
        if round == 1:  # cut within a line, as a crash of the machine may do
            text = audited.file.read_bytes()
            audited.file.write_bytes(text + b'{"seq":99,"prev":"00')
        audited.proxy.start()
        until(lambda: audited.file.read_text().count('"type":"gap"') == round + 1)
    gaps = [line for line in audited.lines() if line["type"] == "gap"]
    assert [len(line.get("torn", [])) for line in gaps] == [0, 1, 0]
    assert gaps[1]["torn"] == [sha256(b'{"seq":99,"prev":"00')]
    audited.proxy.stop()
    code, text = audited.verified("--public-key", audited.public, "--ended")
    assert code == 0 and "a line that was cut when it was written, and kept" in text, text
    assert "the audit log was not ended in order" in audited.proxy.log_text()


@pytest.mark.parametrize("signalled", [True, False], ids=["sighup", "by-name"])
def test_a_rotated_log_is_one_chain(audited, signalled):
    s3 = audited.proxy.boto()
    bucket = new_bucket(s3)
    earlier = []
    for number in range(1, 4):
        for index in range(5):
            s3.put_object(Bucket=bucket, Key=f"{number}-{index}", Body=b"x")
        earlier.append(audited.file.with_name(f"audit.jsonl.{number}"))
        audited.file.rename(earlier[-1])
        if signalled:
            audited.proxy.process.send_signal(signal.SIGHUP)
        until(audited.file.exists)
    s3.put_object(Bucket=bucket, Key="last", Body=b"x")
    until(lambda: '"key":"last"' in audited.file.read_text())
    keys = [line["key"] for line in audited.requests(*earlier)]
    assert keys == [f"{number}-{index}" for number in range(1, 4) for index in range(5)] + ["last"]
    audited.proxy.stop()
    assert audited.verified("--public-key", audited.public, "--ended", files=[*earlier, audited.file])[0] == 0
    assert audited.verified(files=[earlier[0], earlier[2], audited.file])[0] == 65
    assert audited.verified(files=[earlier[1], audited.file])[0] == 65
    assert audited.verified(files=earlier[1:])[0] == 0


def test_a_full_disk_refuses_what_uses_keys_and_loses_nothing(audited):
    s3 = audited.proxy.boto()
    bucket = new_bucket(s3)
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    audited.until_requests(1)
    audited.limit(audited.file.stat().st_size + 100)
    served = 1
    raw = audited.proxy.raw()
    while (answer := raw.request("GET", f"/{bucket}/k")).status == 200:
        served += 1
        assert served < 10_000
    assert (answer.status, answer.code) == (503, "ServiceUnavailable")
    for method, path in (("PUT", "new"), ("HEAD", "k"), ("GET", "k")):
        assert raw.request(method, f"/{bucket}/{path}", body=b"x" if method == "PUT" else b"").status == 503
    assert raw.request("GET", f"/{bucket}").status == 200, "listings use no key"
    assert raw.request("DELETE", f"/{bucket}/none").status == 204
    metrics = audited.proxy.metrics()
    assert metrics["s3veil_audit_up"] == 0 and metrics["s3veil_audit_refused_total"] == 4
    ready = admin(audited.proxy, "/readyz")
    assert ready.status == 503 and b'"component":"audit"' in ready.data
    with pytest.raises(ValueError, match="no whole line"):
        audited.lines()  # the last line was cut by the disk
    audited.limit(resource.RLIM_INFINITY)
    until(lambda: admin(audited.proxy, "/readyz").status == 200)
    until(lambda: raw.request("GET", f"/{bucket}/k").status == 200)
    lines = audited.until_requests(served + 1)
    assert [line["status"] for line in lines] == [200] * (served + 1), "what was served, and nothing else"
    assert code_of(s3.get_object, Bucket=bucket, Key="new") == "NoSuchKey", "it did not reach the storage"
    until(lambda: "the audit log is written again" in audited.proxy.log_text())
    refused = audited.proxy.metrics()["s3veil_audit_refused_total"]
    audited.proxy.stop()
    outages = [line for line in audited.lines() if line["type"] == "outage"]
    assert [outage["lost"] for outage in outages] == [0] * len(outages)
    assert sum(outage["refused"] for outage in outages) == refused
    code, text = audited.verified("--public-key", audited.public, "--ended")
    assert code == 0, text


def test_the_other_policy_serves_and_writes_what_it_kept(tmp_path):
    audited = Audited(tmp_path, on_failure="serve")
    with audited.proxy:
        s3 = audited.proxy.boto()
        bucket = new_bucket(s3)
        s3.put_object(Bucket=bucket, Key="k", Body=b"x")
        audited.until_requests(1)
        audited.limit(audited.file.stat().st_size + 100)
        for _ in range(30):
            assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"
        until(lambda: audited.proxy.metrics()["s3veil_audit_up"] == 0)
        audited.limit(resource.RLIM_INFINITY)
        until(lambda: audited.proxy.metrics()["s3veil_audit_up"] == 1)
        assert len(audited.until_requests(31)) == 31
        assert audited.proxy.metrics()["s3veil_audit_refused_total"] == 0


def exit_code(proxy):
    """Of a process that ends at its start, perhaps after its port is open."""
    try:
        proxy.start()
    except AssertionError:
        pass
    return proxy.process.wait(20)


def test_a_second_process_is_refused(audited):
    other = audited.another("other")
    assert exit_code(other) == 69
    assert "another process writes this audit log" in other.log_text()
    audited.proxy.stop()
    with other:
        until(lambda: [line["type"] for line in audited.lines()].count("start") == 1)


def test_what_is_no_audit_log_is_not_written_to(tmp_path):
    audited = Audited(tmp_path)
    audited.file.write_text("precious\n")
    assert exit_code(audited.proxy) == 64
    assert audited.file.read_text() == "precious\n"
    audited.file.unlink()
    os.mkfifo(audited.file)
    assert exit_code(audited.proxy) == 74
    assert "it is no regular file" in audited.proxy.log_text()


def test_verify_names_the_line_and_its_exit_codes_are_those_documented(audited):
    s3 = audited.proxy.boto()
    bucket = new_bucket(s3)
    for index in range(20):
        s3.put_object(Bucket=bucket, Key=f"k{index}", Body=b"x")
    audited.proxy.stop()
    key = ("--public-key", audited.public)
    code, text = audited.verified(*key, "--ended")
    assert code == 0 and "2 checkpoints (with signatures of --public-key)" in text
    lines = audited.file.read_bytes().splitlines(keepends=True)
    position = f"{len(lines)}:{sha256(lines[-1].rstrip())}"
    assert audited.verified("--at-least", position)[0] == 0
    logged = [line.split("position=")[1].split()[0] for line in audited.proxy.log_text().splitlines() if "position=" in line]
    assert logged[-1] == position, "an outside copy"
    altered = lines[9].replace(b"k7", b"k8")
    for changed, at in (
        ([*lines[:9], altered, *lines[10:]], 10),
        ([*lines[:9], *lines[10:]], 10),
        ([*lines[:9], lines[10], lines[9], *lines[11:]], 10),
        ([*lines[:9], b"{}\n", *lines[9:]], 10),
    ):
        audited.file.write_bytes(b"".join(changed))
        code, text = audited.verified(*key)
        assert code == 65 and f"PROBLEM {audited.file}:{at}: " in text, text
        with pytest.raises(ValueError, match=rf":(10|11|12): "):
            audited.lines()
    audited.file.write_bytes(b"".join(lines[:10]))
    assert audited.verified(*key)[0] == 0, "a file that is written may end anywhere"
    assert "The file alone can't show whether others followed" in audited.verified(*key)[1]
    assert audited.verified(*key, "--ended")[0] == 65
    assert audited.verified("--at-least", position)[0] == 65
    assert audited.verified("--at-least", "12")[0] == 64
    assert audited.verified("--public-key", audited.file)[0] == 64
    assert audited.verified("--public-key", audited.directory / "none")[0] == 74
    assert audited.verified(files=[audited.directory / "none"])[0] == 74


def test_a_change_of_the_settings_takes_a_restart(audited):
    text = audited.proxy.config.read_text()
    audited.proxy.config.write_text(text.replace('[audit]', '[audit]\non_failure = "serve"'))
    audited.proxy.process.send_signal(signal.SIGHUP)
    until(lambda: "settings=[audit]" in audited.proxy.log_text())


def test_checkpoints_without_a_key_are_warned_of(tmp_path):
    audited = Audited(tmp_path)
    del audited.sections["audit"]["signing_key_file"]
    with audited.proxy:
        until(lambda: "`audit.signing_key_file` is missing" in audited.proxy.log_text())
        done = audited.proxy.command("check", "--format", "json", cwd=tmp_path)
        warnings = [check["message"] for check in json.loads(done.stdout)["checks"] if check["status"] == "warning"]
        assert any("`audit.signing_key_file` is missing" in warning for warning in warnings)
        assert audited.verified()[0] == 0
        assert audited.verified("--public-key", audited.public)[0] == 65
