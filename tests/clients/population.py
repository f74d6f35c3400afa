"""The objects of a bucket that jobs are tried on: plaintext, uploads in parts, other formats and native objects, in the embedded store.

They are written past the proxy, straight into the store's files and by several processes, so that there can be hundreds of thousands
of them; and they are read the same way, with the reader of docs/FORMAT.md, so that what a job reports is compared with a count that
owes it nothing. What an object is, and its content, follow from its number."""

import base64
import collections
import concurrent.futures
import hashlib
import json
import multiprocessing
import os
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

import read_native
from backing import EmbeddedStore

BUCKET = "jobs"
PART = 5 * 1024 * 1024
FOREIGN = ["cbc", "s3ec-v2", "s3ec-v3"]
EVERYTHING = ["native", "cbc", "s3ec", "plaintext"]
# Objects of other formats are copies of so many, since these formats know no names.
TEMPLATES = 5
PIECE = 2_500


def rules():
    """The rules of the buckets: one for the jobs, and one for each other format that templates are written in."""
    templates = [{"name": f"as-{name}", "formats": {"write": name}} for name in FOREIGN]
    return [*templates, {"name": "*", "formats": {"write": "native", "read": EVERYTHING}}]


@dataclass
class Population:
    """`objects` objects, of which `large` have several parts of at least 5 MiB. One of ten is an upload in parts."""

    objects: int
    large: int
    store: Path
    keyring: Path
    templates: dict = field(default_factory=dict)
    sample: dict = field(default_factory=dict)

    def kind(self, number):
        if number % 10 == 0:
            return "large" if number // 10 < self.large else "parts"
        if number % 10 == 1:
            return FOREIGN[number // 10 % len(FOREIGN)]
        return "native" if number % 50 == 2 else "plaintext"

    def kinds(self):
        """How many objects there are of each kind."""
        return collections.Counter(self.kind(number) for number in range(self.objects))

    def formats(self):
        """How many objects there are in each format, as reports name them, before anything was encrypted."""
        names = {"large": "plaintext", "parts": "plaintext", "s3ec-v2": "s3ec", "s3ec-v3": "s3ec"}
        counts = collections.Counter()
        for kind, count in self.kinds().items():
            counts[names.get(kind, kind)] += count
        return dict(counts)

    def key(self, number):
        return f"{self.kind(number)}/{number % 97}/{number}"

    def keys(self):
        return [self.key(number) for number in range(self.objects)]

    def parts(self, number):
        """The lengths of the parts, even for every second object; empty for what is no upload in parts."""
        if self.kind(number) == "large":
            return [PART, PART] if number // 10 % 2 else [PART, PART + number, 17]
        return [len(self.content(number))] if self.kind(number) == "parts" else []

    def content(self, number):
        kind = self.kind(number)
        if kind in FOREIGN:
            return template(number // 10 % TEMPLATES)
        seed = hashlib.sha256(str(number).encode()).digest()
        if kind == "large":
            length = sum(self.parts(number))
            return (seed * (length // 32 + 1))[:length]
        return seed * (number % 40)

    def total(self):
        """Bytes of all contents."""
        return sum(sum(self.parts(number)) or len(self.content(number)) for number in range(self.objects))

    def write(self, proxy):
        """Writes all objects. The templates, and what is native, come through the proxy, where the binding needs it."""
        client, store = proxy.boto(max_pool_connections=16), EmbeddedStore(self.store)
        for bucket in [BUCKET, *(f"as-{name}" for name in FOREIGN)]:
            client.create_bucket(Bucket=bucket)
        client.put_object(Bucket=BUCKET, Key="probe", Body=b"probe")
        _, record = store.split(store.file(BUCKET, "probe"))
        client.delete_object(Bucket=BUCKET, Key="probe")
        left_out = ("attributes", "checksums", "checksum", "parts", "upload_id")
        self.sample = {name: value for name, value in record.items() if name not in left_out}
        for name in FOREIGN:
            for index in range(TEMPLATES):
                client.put_object(Bucket=f"as-{name}", Key=str(index), Body=template(index), Metadata={"mine": "yes"})
                self.templates[name, index] = store.split(store.file(f"as-{name}", str(index)))

        def put(number):
            client.put_object(Bucket=BUCKET, Key=self.key(number), Body=self.content(number), Metadata={"mine": "yes"})

        natives = [number for number in range(self.objects) if self.kind(number) == "native"]
        with concurrent.futures.ThreadPoolExecutor(8) as threads:
            list(threads.map(put, natives))
        for _ in self.each_piece(write_piece):
            pass

    def write_one(self, store, number):
        kind, key = self.kind(number), self.key(number)
        if kind == "native":
            return
        if kind in FOREIGN:
            body, record = self.templates[kind, number // 10 % TEMPLATES]
            record = record | {"key": key}
        else:
            body, parts = self.content(number), self.parts(number)
            record = self.sample | {"key": key, "size": len(body), "attributes": {"metadata": {"mine": "yes"}}}
            record["etag"] = hashlib.md5(body).hexdigest()
            if parts:
                record["etag"] = f"{record['etag']}-{len(parts)}"
                record["parts"] = [{"number": place, "size": size} for place, size in enumerate(parts, 1)]
        store.file(BUCKET, key).write_bytes(b"%b\n%b\n" % (body, json.dumps(record).encode()))

    def count(self):
        """What the store has now: a count of what is as it should be, and a few names of what is not, each with the problem."""
        total, wrong = collections.Counter(), []
        for counts, problems in self.each_piece(count_piece):
            total.update(counts)
            wrong += problems
        # A process that is killed while it tries the storage's conditions leaves the object that it does so with.
        stored = sum(1 for path in (self.store / BUCKET).iterdir() if "s3veil-append-probe-" not in path.name)
        if stored != self.objects:
            wrong.append(f"{stored} objects instead of {self.objects}")
        return total, wrong

    def count_one(self, store, keyring, number, total):
        """The problem with one object that has to be native, or None."""
        key = self.key(number)
        try:
            body, record = store.split(store.file(BUCKET, key))
        except OSError:
            return "lost"
        metadata = record["attributes"]["metadata"]
        if "encryption-envelope" not in metadata:
            return "not native"
        if metadata.get("mine") != "yes":
            return "without its own metadata"
        try:
            found = read_native.read_native(body, metadata, BUCKET, key, lambda *blob: read_native.unwrap_local(keyring, *blob))
        except Exception as error:
            return repr(error)
        if found != self.content(number):
            return "another content"
        parts = self.parts(number)
        if len(record.get("parts", [])) < len(parts) or ("-" in record["etag"]) != bool(parts):
            return f"{len(record.get('parts', []))} parts instead of {len(parts)}"
        blob = base64.b64decode(metadata["encryption-key"])
        total["objects"] += 1
        total["bytes"] += len(found)
        total[blob[2 : 2 + blob[1]].decode()] += 1
        return None

    def each_piece(self, work):
        """The results of `work(population, first, last)` for all objects: by several processes, if there are many."""
        pieces = [(first, min(first + PIECE, self.objects)) for first in range(0, self.objects, PIECE)]
        if len(pieces) == 1:
            yield work(self, *pieces[0])
            return
        processes = concurrent.futures.ProcessPoolExecutor(os.cpu_count(), mp_context=multiprocessing.get_context("spawn"))
        with processes:
            for running in [processes.submit(work, self, *piece) for piece in pieces]:
                yield running.result()


def template(index):
    return hashlib.sha256(b"template %d" % index).digest() * (index * 7)


def write_piece(population, first, last):
    store = EmbeddedStore(population.store)
    for number in range(first, last):
        population.write_one(store, number)


def count_piece(population, first, last):
    store, total, wrong = EmbeddedStore(population.store), collections.Counter(), []
    keyring = tomllib.loads(population.keyring.read_text())
    for number in range(first, last):
        problem = population.count_one(store, keyring, number, total)
        if problem:
            wrong.append(f"{population.key(number)}: {problem}")
    return total, wrong[:5]


def forget_key(keyring, name):
    """Removes a key from a local keyring's file, for good."""
    head, *tables = keyring.read_text().split("[[key]]")
    kept = [table for table in tables if tomllib.loads(table)["id"] != name]
    assert len(kept) == len(tables) - 1, f"{name} is not in the keyring"
    keyring.write_text("[[key]]".join([head, *kept]))
