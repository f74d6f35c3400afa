"""What programs store: trees of files and a table, of text that is easy to find where it must not be, and their comparison."""

import hashlib
import random
import secrets

MIB = 1 << 20
MARKER = f"S3VEIL-MATRIX-{secrets.token_hex(8)}"


def text(size, seed):
    """Lines with the marker and with chance in them, so that neither compression nor deduplication makes them small."""
    chance, lines, length = random.Random(seed), [], 0
    while length < size:
        line = f"{MARKER} line {len(lines)} {chance.randbytes(96).hex()}\n".encode()
        lines.append(line)
        length += len(line)
    return b"".join(lines)[:size]


# Name: size. No part of uploads is of the size of another, and there are names that have to be escaped.
TREE = {
    "empty": 0,
    "small.txt": 12_345,
    "folder/exactly": 5 * MIB,
    "folder/one more": 5 * MIB + 1,
    "folder/sub/ünï + more.txt": 70_001,
    "large": 13 * MIB + 17,
}
# For programs that allow plain names only, or store one file.
PLAIN_TREE = {"empty": 0, "small.txt": 12_345, "folder/exactly": 5 * MIB, "folder/sub/more.txt": 70_001, "large": 13 * MIB + 17}


def write_tree(root, sizes):
    for number, (name, size) in enumerate(sizes.items()):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text(size, number))


def write_table(root, rows=120_000):
    """table.csv: id, group, value, and a text with the marker, in the order of the id."""
    chance = random.Random(11)
    root.mkdir(parents=True, exist_ok=True)
    with (root / "table.csv").open("w", newline="\n") as file:
        file.write("id,part,value,note\n")
        for row in range(rows):
            file.write(f"{row},{row % 3},{chance.getrandbits(60)},{MARKER} {chance.randbytes(24).hex()}\n")


def digests(root):
    """{relative name: (size, SHA-256)} of all files."""
    found = {}
    for path in sorted(root.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                found[path.relative_to(root).as_posix()] = (path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())
    return found


def assert_same(source, restored):
    """Fails unless both trees have the same files with the same bytes; gives how many bytes that are."""
    expected, found = digests(source), digests(restored)
    assert expected, f"{source} is empty"
    missing, more = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    assert not missing and not more, f"missing after the restore: {missing}; not there before: {more}"
    differing = [name for name in expected if expected[name] != found[name]]
    assert not differing, f"other bytes after the restore: {differing}"
    return sum(size for size, _ in expected.values())
