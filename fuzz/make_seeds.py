"""Writes the seeds in fuzz/seeds that come from the vectors in tests/vectors: python3 fuzz/make_seeds.py

They are committed, since tests start from them too. Seeds that no vector has were written by hand beside them, under
names that begin with `hand_`; what a target found is kept as `found_…`.
"""

import base64
import json
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VECTORS = ROOT / "tests" / "vectors"
SEEDS = ROOT / "fuzz" / "seeds"
LONGEST = 4096


def write(target, name, content):
    if len(content) <= LONGEST:
        folder = SEEDS / target
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def vectors(folder):
    for path in sorted((VECTORS / folder).rglob("*.json")):
        yield path.stem, json.loads(path.read_text())


def head(request):
    query = f"?{request['query']}" if request["query"] else ""
    lines = [f"{request['method']} {request['path']}{query}"]
    lines += [f"{name}: {value}" for name, value in request["headers"]]
    return "".join(f"{line}\n" for line in [*lines, ""]).encode()


def text(pieces):
    return b"".join(piece["text"].encode() if "text" in piece else piece["repeat"].encode() * piece["times"] for piece in pieces)


def signatures():
    for name, vector in vectors("sigv4"):
        if "request" not in vector:
            continue
        write("authorization", name, head(vector["request"]))
        if name.startswith("aws_"):
            write("routing", name, head(vector["request"]))
            write("headers", name, head(vector["request"]))
        if "body" in vector:
            # The first byte chooses the framing.
            framing = b"\1" if name == "aws_put_object_chunked" else b"\2" if name == "aws_put_object_trailer" else b"\0"
            write("aws_chunked", name, framing + text(vector["body"]))


def native():
    for name in ("ok_aes256", "ok_attributes", "ok_bound_to_realm", "multipart_ok_regular", "flags_unknown", "base64_unpadded"):
        write("native_envelope", name, json.loads((VECTORS / "format" / f"{name}.json").read_text())["envelope"].encode())


def holders():
    for name in ("ok_service_among_others", "ok_kinds_of_later_versions", "ok_inner_of_a_byte", "header_repeated"):
        write("holders", name, json.loads((VECTORS / "holders" / f"{name}.json").read_text())["header"].encode())
    write("recovery_key", "private", json.loads((VECTORS / "holders" / "ok_recovery.json").read_text())["recovery_key"].encode())


def s3ec():
    for name, vector in vectors("s3ec"):
        if "data_key_hex" not in vector:
            continue
        metadata = "".join(f"{key}: {value}\n" for key, value in vector["metadata"].items())
        body = base64.b64decode(vector["body_b64"])
        if vector.get("instruction_file"):
            body = vector["instruction_file"].encode()
        write("s3ec", name, f"{vector['data_key_hex']}\n{metadata}\n".encode() + body)


if __name__ == "__main__":
    signatures()
    native()
    holders()
    s3ec()
