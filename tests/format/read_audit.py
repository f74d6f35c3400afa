"""Verifies audit logs by docs/AUDIT.md alone: `read_audit.py [--key FILE.pub.pem] FILE...`, the oldest first. It shares nothing
with s3veil."""

import argparse
import base64
import hashlib
import json
import sys
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import load_pem_public_key


def sha256(line):
    return hashlib.sha256(line).hexdigest()


def verify(files, public_key=None):
    """The lines as objects. Raises ValueError with file and line."""
    sequence, previous, torn, lines = 0, "0" * 64, [], []
    for file in files:
        for number, line in enumerate(Path(file).read_bytes().removesuffix(b"\n").split(b"\n"), 1):
            place = f"{file}:{number}"
            try:
                fields = dict(json.loads(line))
            except (TypeError, ValueError):
                torn.append(sha256(line))
                continue
            if not lines and fields.get("type") == "begin":
                sequence, previous = fields["seq"] - 1, fields["prev"]  # an earlier file is not here
            if fields.get("torn", []) != torn:
                raise ValueError(f"{place}: a line before it was altered")
            if (fields.get("seq"), fields.get("prev")) != (sequence + 1, previous):
                raise ValueError(f"{place}: does not follow the line before it")
            if fields["type"] == "checkpoint" and public_key is not None:
                signed, _, _ = line.rpartition(b',"signature":"')
                try:
                    public_key.verify(base64.b64decode(fields["signature"]), b"s3veil-audit-1\n" + signed)
                except (InvalidSignature, KeyError):
                    raise ValueError(f"{place}: a wrong signature") from None
            sequence, previous, torn = fields["seq"], sha256(line), []
            lines.append(fields)
    if torn or not lines:
        raise ValueError("the end is no whole line")
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--key", type=Path)
    parser.add_argument("files", nargs="+")
    arguments = parser.parse_args()
    key = load_pem_public_key(arguments.key.read_bytes()) if arguments.key else None
    try:
        lines = verify(arguments.files, key)
    except ValueError as error:
        sys.exit(str(error))
    print(f"{len(lines)} lines, number {lines[0]['seq']} to {lines[-1]['seq']}")


if __name__ == "__main__":
    main()
