"""The storage provider as the attacker of objects that were uploaded in parts: pieces dropped, swapped, repeated, taken from elsewhere.
The reader gets an error or a broken connection, and never bytes that nobody wrote there. A failure here is a security issue."""

from dataclasses import dataclass

import pytest

from conftest import new_bucket
from judge import assert_fails_closed
from multiparts import CHUNK, LEAST, upload
from rawsig import flip_bit
from read_native import HEADER, TAG, chunks_length

LAYOUTS = {
    "small last part": [(1, LEAST), (2, LEAST), (3, CHUNK + 100)],
    "terminator": [(1, LEAST), (2, LEAST), (3, LEAST)],
    "layout in a small last part": [(1, LEAST + 1), (2, LEAST + 2), (3, 100)],
    "layout in the terminator": [(1, LEAST + 1), (2, LEAST + 2), (3, LEAST + 3)],
}


def segments(body):
    """The sealed parts, as their headers divide the body."""
    found, at = [], 0
    while at < len(body):
        tail, length = (int.from_bytes(body[at + a : at + b], "big") for a, b in ((4, 8), (8, 16)))
        end = at + HEADER + chunks_length(length) + tail
        found.append(body[at:end])
        at = end
    return found


@dataclass
class Honest:
    """An object that the proxy wrote, and another of the same layout, whose parts the storage has too."""

    path: str
    plaintext: bytes
    metadata: dict
    parts: list
    others: list
    other_metadata: dict
    write: object


def made(proxy, backend, layout):
    s3 = proxy.boto()
    bucket = new_bucket(s3)
    upload(s3, bucket, layout, "other")
    plaintext = upload(s3, bucket, layout)
    stored, foreign = (backend.store.read(bucket, key) for key in ("object", "other"))
    parts, others = segments(stored.body), segments(foreign.body)
    assert len(parts) == len(layout) + (layout[-1][1] >= LEAST), "the test knows how many segments there are"

    def write(pieces, metadata=stored.metadata):
        backend.store.write_parts(bucket, "object", pieces, metadata)

    return Honest(f"/{bucket}/object", plaintext, stored.metadata, parts, others, foreign.metadata, write)


@pytest.fixture(scope="module")
def objects(proxy, backend):
    return {name: made(proxy, backend, layout) for name, layout in LAYOUTS.items()}


@pytest.fixture(params=LAYOUTS)
def honest(objects, request):
    return objects[request.param]


def joined(parts, *more):
    """Pieces with the small ones glued to what is before them, as S3 wants them: all but the last of 5 MiB at least."""
    pieces = []
    for part in [*parts, *more]:
        if pieces and len(pieces[-1]) < LEAST:
            pieces[-1] += part
        else:
            pieces.append(part)
    return pieces


def flipped(index, at, bit=0):
    """One bit of one part."""
    return lambda parts, others: [flip_bit(part, at % len(part), bit) if part is parts[index] else part for part in parts]


ATTACKS = {
    "the last dropped": lambda parts, others: parts[:-1],
    "the last two dropped": lambda parts, others: parts[:-2],
    "the first dropped": lambda parts, others: parts[1:],
    "one in the middle dropped": lambda parts, others: [parts[0], *parts[2:]],
    "the last alone": lambda parts, others: parts[-1:],
    "the first two swapped": lambda parts, others: [parts[1], parts[0], *parts[2:]],
    "the first twice": lambda parts, others: [parts[0], *parts],
    "the first instead of the second": lambda parts, others: [parts[0], parts[0], *parts[2:]],
    "the second twice": lambda parts, others: [parts[0], parts[1], *parts[1:]],
    "the last twice": lambda parts, others: joined(parts, parts[-1]),
    "all twice": lambda parts, others: joined(parts, *parts),
    "the first of another upload": lambda parts, others: [others[0], *parts[1:]],
    "the second of another upload": lambda parts, others: [parts[0], others[1], *parts[2:]],
    "the last of another upload": lambda parts, others: [*parts[:-1], others[-1]],
    "all but the last of another upload": lambda parts, others: [*others[:-1], parts[-1]],
    "all of another upload": lambda parts, others: others,
    "the chunks of another upload": lambda parts, others: [parts[0], parts[1][:HEADER] + others[1][HEADER:], *parts[2:]],
    "a chunk of the first in the second": lambda parts, others: [
        parts[0], parts[1][:HEADER] + parts[0][HEADER : HEADER + CHUNK + TAG] + parts[1][HEADER + CHUNK + TAG :], *parts[2:]
    ],
    "all as one part": lambda parts, others: [b"".join(parts)],
    "a byte appended": lambda parts, others: [*parts[:-1], parts[-1] + b"\0"],
    "a byte missing": lambda parts, others: [*parts[:-1], parts[-1][:-1]],
    "the last empty": lambda parts, others: [*parts[:-1], b""],
    "version": flipped(1, 0),
    "the first flagged as the last": flipped(0, 1, 0),
    "the last not flagged": flipped(-1, 1, 0),
    "the last flagged otherwise": flipped(-1, 1, 1),
    "part number": flipped(1, 3, 1),
    "length of the first": flipped(0, 15),
    "length of the last": flipped(-1, 15),
    "tail length": flipped(-1, 7),
    "salt": flipped(1, 20),
    "commitment": flipped(1, 60),
    "a bit of the first chunk": flipped(0, HEADER),
    "a bit of the second part": flipped(1, HEADER + CHUNK + TAG + 5),
    "a bit of the second part's last tag": flipped(1, -1),
    "the last bit": flipped(-1, -1, 7),
    "a bit of a layout": flipped(-1, -HEADER - TAG - 3),
    "a bit of padding, or of the last chunk": flipped(-1, -300),
}  # fmt: skip


@pytest.fixture
def get(proxy, honest):
    return lambda query=(), **headers: proxy.raw().request("GET", honest.path, query, headers=headers)


def test_untouched(honest, get):
    """The tests below prove nothing unless writing it back as it was leaves it readable."""
    honest.write(honest.parts)
    assert get().body == honest.plaintext
    assert get(range=f"bytes={LEAST - 5}-{LEAST + 5}").body == honest.plaintext[LEAST - 5 : LEAST + 6]


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_the_storage_does_to_the_parts(honest, get, attack):
    pieces = ATTACKS[attack](honest.parts, honest.others)
    if pieces == honest.parts:
        pytest.skip("this layout has nothing there")
    honest.write(pieces)
    assert_fails_closed(get(), honest.plaintext)
    size = len(honest.plaintext)
    for first, last in ((0, 9), (LEAST - 5, LEAST + 5), (LEAST + CHUNK, LEAST + CHUNK + 9), (2 * LEAST + 8, 2 * LEAST + 30), (size - 10, size - 1)):
        assert_right_or_refused(get(range=f"bytes={first}-{last}"), honest.plaintext[first : last + 1])
    assert_right_or_refused(get(range="bytes=-20"), honest.plaintext[-20:])
    for number in ("1", "2", "3"):
        answer = get([("partNumber", number)])
        if answer.status == 206 and not answer.broken:
            assert answer.body and answer.body in honest.plaintext, "This is a security issue: a part that nobody wrote"


def assert_right_or_refused(answer, expected):
    """A range sees some segments only: it may be right where they were left alone, and must not be wrong."""
    if answer.status == 206 and not answer.broken:
        assert answer.body == expected, "This is a security issue: bytes that nobody wrote there"
    elif answer.status == 206:
        assert expected.startswith(answer.body), "This is a security issue: bytes that nobody wrote there"
    else:
        assert answer.status >= 400 or answer.broken


def test_parts_divided_at_other_places(honest, get):
    """The bytes are all there and in order; where the storage puts the ends of its parts, no reader needs to know."""
    honest.write([honest.parts[0] + honest.parts[1][:100], honest.parts[1][100:], *honest.parts[2:]])
    assert get().body == honest.plaintext
    for number, size in (("1", LEAST), ("2", LEAST)):
        answer = get([("partNumber", number)])
        assert answer.status >= 400 or size <= len(answer.body) <= LEAST + 2 and answer.body in honest.plaintext


def test_the_envelope_of_another_upload(honest, get):
    honest.write(honest.parts, honest.other_metadata)
    assert_fails_closed(get(), honest.plaintext)
    for name in honest.metadata:
        honest.write(honest.parts, {**honest.metadata, name: honest.other_metadata[name]})
        if honest.metadata[name] != honest.other_metadata[name]:
            assert_fails_closed(get(), honest.plaintext)


def test_the_cached_layout_of_an_object_that_was_exchanged(honest, get):
    """The proxy knows the layout from a read before; the storage puts other parts under the same ETag, if it can."""
    honest.write(honest.parts)
    assert get(range=f"bytes={LEAST}-{LEAST + 10}").status == 206
    honest.write([honest.parts[0], honest.others[1], *honest.parts[2:]])
    assert_right_or_refused(get(range=f"bytes={LEAST + 10}-{LEAST + 20}"), honest.plaintext[LEAST + 10 : LEAST + 21])
    assert_fails_closed(get(), honest.plaintext)


def test_an_object_in_parts_relabelled_as_one_that_was_put(honest, get, backend):
    """Its envelope says that it came in parts; as one body the storage can't pass it off."""
    if backend.name == "embedded":
        pytest.skip("its files always say in how many parts they came")
    bucket, key = honest.path[1:].split("/")
    backend.store.client.put_object(Bucket=bucket, Key=key, Body=b"".join(honest.parts), Metadata=honest.metadata)
    assert_fails_closed(get(), honest.plaintext)
    assert_right_or_refused(get(range="bytes=0-9"), honest.plaintext[:10])
