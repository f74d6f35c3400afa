"""Multipart uploads step by step, and what every finished one is held to."""

import os
from dataclasses import dataclass, field

import pytest
from botocore.exceptions import ClientError

from backing import error_code, status
from rawsig import checksum

MIB = 1 << 20
CHUNK = 65_536
LEAST = 5 * MIB
LAST_NUMBER = 10_000
NOISE = os.urandom(16 * MIB)


def content(size, seed=0):
    """So many bytes that look random; another seed gives others at every place."""
    start = seed * 7_919 % CHUNK
    if start + size <= len(NOISE):
        return NOISE[start : start + size]
    noise = NOISE[start:] + NOISE[:start]
    return (noise * (size // len(noise) + 1))[:size]


@dataclass
class Upload:
    """One upload, with the parts' answers as a client keeps them for Complete."""

    s3: object
    bucket: str
    key: str
    id: str
    algorithm: str | None = None
    parts: dict = field(default_factory=dict)

    @classmethod
    def start(cls, s3, bucket, key="object", **more):
        upload_id = s3.create_multipart_upload(Bucket=bucket, Key=key, **more)["UploadId"]
        return cls(s3, bucket, key, upload_id, more.get("ChecksumAlgorithm"))

    @property
    def place(self):
        return {"Bucket": self.bucket, "Key": self.key, "UploadId": self.id}

    def send(self, number, body, s3=None, **more):
        if self.algorithm == "MD5":
            # boto3 sends one, and computes none.
            more.setdefault("ChecksumMD5", checksum("md5", body))
        elif self.algorithm:
            more.setdefault("ChecksumAlgorithm", self.algorithm)
        answer = (s3 or self.s3).upload_part(PartNumber=number, Body=body, **self.place, **more)
        self.parts[number] = {"PartNumber": number, "ETag": answer["ETag"]}
        if self.algorithm:
            self.parts[number][f"Checksum{self.algorithm}"] = answer[f"Checksum{self.algorithm}"]
        return answer

    def complete(self, s3=None, numbers=None, **more):
        named = {"Parts": [self.parts[number] for number in (numbers or sorted(self.parts))]}
        return (s3 or self.s3).complete_multipart_upload(MultipartUpload=named, **self.place, **more)

    def abort(self):
        self.s3.abort_multipart_upload(**self.place)

    def listed(self, s3=None, **more):
        """[(number, size), ...] as ListParts tells them."""
        pages = (s3 or self.s3).get_paginator("list_parts").paginate(**self.place, **more)
        return [(part["PartNumber"], part["Size"]) for page in pages for part in page.get("Parts", [])]


def upload(s3, bucket, layout, key="object", order=None, **create):
    """An object of these parts, [(number, size), ...], sent in that order or in `order` (indexes); gives its content."""
    one = Upload.start(s3, bucket, key, **create)
    bodies = {number: content(size, seed=number) for number, size in layout}
    for index in order or range(len(layout)):
        one.send(layout[index][0], bodies[layout[index][0]])
    one.complete()
    return b"".join(bodies[number] for number in sorted(bodies))


def refused(call, *arguments, **named):
    """The status and code of the refusal."""
    with pytest.raises(ClientError) as caught:
        call(*arguments, **named)
    return status(caught.value), error_code(caught.value)


def read(s3, bucket, key="object", **asked):
    return s3.get_object(Bucket=bucket, Key=key, **asked)["Body"].read()


def assert_exact(s3, bucket, expected, edges=(), key="object"):
    """Data, HEAD, both LISTs and the ranges at and across the given edges all tell of just these bytes."""
    size = len(expected)
    answer = s3.get_object(Bucket=bucket, Key=key)
    assert answer["ContentLength"] == size
    assert answer["Body"].read() == expected
    assert s3.head_object(Bucket=bucket, Key=key)["ContentLength"] == size
    for listing in (s3.list_objects, s3.list_objects_v2):
        listed = {item["Key"]: item for item in listing(Bucket=bucket, Prefix=key)["Contents"]}[key]
        assert (listed["Size"], listed["ETag"]) == (size, answer["ETag"])
    spans = [(edge + before, edge + after) for edge in {0, size, *edges} for before, after in ((-1, 0), (0, 1), (-3, 3), (-CHUNK, CHUNK))]
    for start, stop in spans:
        start, stop = max(start, 0), min(stop, size)
        if start < stop:
            ranged = s3.get_object(Bucket=bucket, Key=key, Range=f"bytes={start}-{stop - 1}")
            assert ranged["ContentRange"] == f"bytes {start}-{stop - 1}/{size}"
            assert ranged["Body"].read() == expected[start:stop], (start, stop)
    if size:
        for suffix in {1, min(size, CHUNK + 5), size}:
            assert read(s3, bucket, key, Range=f"bytes=-{suffix}") == expected[-suffix:]
