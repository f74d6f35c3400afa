"""Trees of files and their hashes, for tools that move files; and how those tools are run."""

import hashlib
import os
import subprocess

MIB = 1 << 20
# Five parts of the sizes that tools use. One gibibyte takes minutes: `scripts/test full` sets S3VEIL_TEST_LARGE_MIB=1024.
LARGE = int(os.environ.get("S3VEIL_TEST_LARGE_MIB", "40")) * MIB
TREE = {
    "empty": 0,
    "small": 12_345,
    "dir/also empty": 0,
    "dir/exactly": 8 * MIB,
    "dir/one-more": 8 * MIB + 1,
    "dir/sub/ünï + more": 70_000,
}
TREE_WITH_LARGE = {**TREE, "large": LARGE}


def write_file(path, size):
    """A file of random bytes, in pieces; gives its SHA-256."""
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for at in range(0, size, 8 * MIB):
            piece = os.urandom(min(8 * MIB, size - at))
            digest.update(piece)
            file.write(piece)
    return digest.hexdigest()


def file_hash(path):
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_tree(root, sizes=TREE):
    """
    The tree on disk, an hour old: `sync` compares times too, an object in parts may be as old as the start of its upload, and
    stores tell whole seconds.
    """
    written = {name: write_file(root / name, size) for name, size in sizes.items()}
    for name in sizes:
        then = (root / name).stat().st_mtime - 3600
        os.utime(root / name, (then, then))
    return written


def tree_hashes(root):
    return {path.relative_to(root).as_posix(): file_hash(path) for path in root.rglob("*") if path.is_file()}


def run(command, home, environment, running, timeout=300, text=True, stdin=subprocess.DEVNULL):
    """A tool with a home of its own; its failure is the test's."""
    environment = {"HOME": str(home), "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"} | environment
    command = [*map(str, command)]
    done = subprocess.run(command, capture_output=True, text=text, timeout=timeout, env=environment, cwd=home, stdin=stdin)
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}\n{done.stderr[-2000:]}\n{running.log_text()[-2000:]}"
    return done
