"""The storage provider as the attacker: whatever it does to an object, the reader gets an error or a broken connection,
never bytes that nobody wrote, and never a part that looks whole. A failure here is a security issue."""

import base64
import os
from dataclasses import replace

import pytest

from backing import Stored
from judge import assert_fails_closed, assert_refused
from rawsig import flip_bit
from read_native import CHUNK, FIXED, TAG, context
from write_native import Seal

SEALED = CHUNK + TAG
PLAINTEXT = os.urandom(2 * CHUNK + 1000)
REGIONS = {"version": 0, "suite": 1, "binding": 2, "flags": 3, "length": 11, "salt": 12, "commit": 44, "wrapped": 76, "tag": 123}


@pytest.fixture
def honest(real_proxy, real_bucket, real):
    """An object that the proxy itself wrote."""
    assert real_proxy.raw().request("PUT", f"/{real_bucket}/object", body=PLAINTEXT).status == 200
    return real.store.read(real_bucket, "object")


@pytest.fixture
def read(real_proxy, real_bucket, real):
    """read(stored): puts that behind the proxy's back and reads it through the proxy."""

    def read_one(stored, key="object", **headers):
        real.store.write(real_bucket, key, stored)
        return real_proxy.raw().request("GET", f"/{real_bucket}/{key}", headers=headers)

    return read_one


def chunks(body):
    return [body[at : at + SEALED] for at in range(0, len(body), SEALED)]


def with_envelope(stored, envelope):
    encoded = envelope if isinstance(envelope, str) else base64.b64encode(envelope).decode()
    return replace(stored, metadata={**stored.metadata, "encryption-envelope": encoded})


def with_key(stored, blob):
    encoded = blob if isinstance(blob, str) else base64.b64encode(blob).decode()
    return replace(stored, metadata={**stored.metadata, "encryption-key": encoded})


def envelope_of(stored):
    return base64.b64decode(stored.metadata["encryption-envelope"], validate=True)


def test_untouched(honest, read):
    """The tests below prove nothing unless writing it back as it was leaves it readable."""
    assert read(honest).body == PLAINTEXT


BODIES = {
    "first bit": lambda body: flip_bit(body, 0),
    "last bit of the first chunk": lambda body: flip_bit(body, CHUNK - 1, 7),
    "tag of the first chunk": lambda body: flip_bit(body, CHUNK),
    "first bit of the second chunk": lambda body: flip_bit(body, SEALED),
    "last chunk": lambda body: flip_bit(body, 2 * SEALED + 10),
    "last bit": lambda body: flip_bit(body, len(body) - 1, 7),
    "cut at a chunk's edge": lambda body: body[: 2 * SEALED],
    "cut after the first chunk": lambda body: body[:SEALED],
    "cut one byte": lambda body: body[:-1],
    "cut off a chunk's edge": lambda body: body[: SEALED + 500],
    "cut to a tag": lambda body: body[:TAG],
    "cut to nothing": lambda body: b"",
    "first chunks swapped": lambda body: body[SEALED : 2 * SEALED] + body[:SEALED] + body[2 * SEALED :],
    "a chunk repeated": lambda body: body[:SEALED] * 2 + body[2 * SEALED :],
    "a chunk inserted": lambda body: body[:SEALED] + body,
    "first chunk dropped": lambda body: body[SEALED:],
    "middle chunk dropped": lambda body: body[:SEALED] + body[2 * SEALED :],
    "last chunk alone": lambda body: body[2 * SEALED :],
    "a byte appended": lambda body: body + b"\0",
    "a tag appended": lambda body: body + bytes(TAG),
    "itself appended": lambda body: body + body,
    "zeros": lambda body: bytes(len(body)),
}  # fmt: skip


@pytest.mark.parametrize("attack", BODIES)
def test_the_body(honest, read, attack):
    assert_fails_closed(read(replace(honest, body=BODIES[attack](honest.body))), PLAINTEXT)


OTHER_LENGTHS = {name: attack for name, attack in BODIES.items() if len(attack(bytes(3 * SEALED - 9))) != 3 * SEALED - 9}
RANGES = ["0-0", f"{CHUNK - 5}-{CHUNK + 5}", f"{CHUNK}-", f"{2 * CHUNK + 10}-{2 * CHUNK + 20}", "-20", f"{10 * CHUNK}-"]


def every_read(proxy, path):
    """What any read of the object gives: whole, by ranges (one lies behind its end), by part number, for a copy; then HEAD."""
    raw = proxy.raw()
    yield "whole", raw.request("GET", path)
    for span in RANGES:
        yield span, raw.request("GET", path, headers={"range": f"bytes={span}"})
    yield "part", raw.request("GET", path, [("partNumber", "1")])
    yield "copy", raw.request("PUT", path + "-copy", headers={"x-amz-copy-source": path})
    attributes = {"x-amz-object-attributes": "ObjectSize"}
    yield "attributes", raw.request("GET", path, [("attributes", "")], headers=attributes)
    for headers in ({}, {"range": "bytes=0-0"}, {"x-amz-checksum-mode": "ENABLED"}):
        yield f"HEAD {headers}", raw.request("HEAD", path, headers=headers)


def assert_nothing_released(proxy, path):
    for what, answer in every_read(proxy, path):
        if what.startswith("HEAD"):
            assert answer.status == 502, f"{what}: {answer.status}: a false length: this is a security issue"
        else:
            assert not answer.broken, what
            assert_refused(answer, 502, "IntegrityCheckFailed")


@pytest.mark.parametrize("attack", OTHER_LENGTHS)
def test_a_body_of_another_length_releases_nothing(honest, real_proxy, real_bucket, real, attack):
    """The storage claims the length that its body has, everywhere alike: no 206, no byte, no total."""
    real.store.write(real_bucket, "object", replace(honest, body=OTHER_LENGTHS[attack](honest.body)))
    assert_nothing_released(real_proxy, f"/{real_bucket}/object")


def with_length(stored, length):
    envelope = envelope_of(stored)
    return with_envelope(stored, envelope[:4] + length.to_bytes(8, "big") + envelope[12:])


@pytest.mark.parametrize("length", [0, CHUNK, 2 * CHUNK])
def test_a_cut_body_under_a_length_that_fits_releases_nothing(honest, real_proxy, real_bucket, real, length):
    """The length in the envelope is the cut one's too, but for that no key is needed, and for its commitment one is."""
    cut = honest.body[: length + max(1, length // CHUNK) * TAG]
    real.store.write(real_bucket, "object", with_length(replace(honest, body=cut), length))
    assert_nothing_released(real_proxy, f"/{real_bucket}/object")


def test_a_cut_body_under_a_length_that_fits_and_a_proxy_without_the_key(honest, start, real_bucket, real):
    """HEAD calls no key service: where the data key is not at hand, the length is what the storage says. After a GET it is."""
    cut = with_length(replace(honest, body=honest.body[:SEALED]), CHUNK)
    real.store.write(real_bucket, "object", cut)
    running, path = start(real), f"/{real_bucket}/object"
    described = running.raw().request("HEAD", path)
    assert (described.status, described.headers["content-length"]) == (200, str(CHUNK))
    assert_nothing_released(running, path)


@pytest.mark.parametrize("size", [0, 100, CHUNK, 2 * CHUNK, 2 * CHUNK + 999, 3 * CHUNK])
def test_the_body_of_another_object_or_version_releases_nothing(honest, real_proxy, real_bucket, real, size):
    path = f"/{real_bucket}/object"
    assert real_proxy.raw().request("PUT", path, body=PLAINTEXT[:1] * size).status == 200
    other = real.store.read(real_bucket, "object")
    for stored in (replace(honest, body=other.body), replace(other, body=honest.body)):
        real.store.write(real_bucket, "object", stored)
        assert_nothing_released(real_proxy, path)


@pytest.mark.parametrize("attack", BODIES)
@pytest.mark.parametrize("first, last", [(0, 10), (CHUNK - 5, CHUNK + 5), (2 * CHUNK + 10, 2 * CHUNK + 20)])
def test_ranges_of_the_body(honest, read, attack, first, last):
    """A range sees some chunks only: it may be right where they were left alone, and must not be wrong."""
    answer = read(replace(honest, body=BODIES[attack](honest.body)), range=f"bytes={first}-{last}")
    if answer.status == 206 and not answer.broken:
        assert answer.body == PLAINTEXT[first : last + 1], "bytes that nobody wrote there: this is a security issue"
    else:
        assert answer.status >= 400 or answer.broken


@pytest.mark.parametrize("attack", BODIES)
def test_suffix_ranges_of_the_body(honest, read, attack):
    answer = read(replace(honest, body=BODIES[attack](honest.body)), range="bytes=-20")
    assert answer.status >= 400 or answer.broken or answer.body == PLAINTEXT[-20:]


@pytest.mark.parametrize("region", REGIONS)
def test_the_envelope(honest, read, region):
    for bit in (0, 1, 7):
        assert_fails_closed(read(with_envelope(honest, flip_bit(envelope_of(honest), REGIONS[region], bit))), PLAINTEXT)


def test_every_byte_of_the_envelope(honest, read):
    envelope = envelope_of(honest)
    for index in range(len(envelope)):
        answer = read(with_envelope(honest, flip_bit(envelope, index)))
        # Attributes are sealed apart; whether or not a reader opens them, the content must be right or refused.
        if index >= FIXED and answer.status == 200 and not answer.broken:
            assert answer.body == PLAINTEXT
        else:
            assert_fails_closed(answer, PLAINTEXT)


@pytest.mark.parametrize("shape", [
    lambda text: "",
    lambda text: text[:-4],
    lambda text: text[: 4 * 10],
    lambda text: text + "AAAA",
    lambda text: text + "=",
    lambda text: text[:-1] + "!",
    lambda text: text.replace("A", "-", 1) if "A" in text else "-" + text[1:],
    lambda text: "A" * 1000,
    lambda text: "x",
])  # fmt: skip
def test_an_envelope_of_another_shape(honest, read, shape):
    text = honest.metadata["encryption-envelope"]
    assert shape(text) != text
    assert_fails_closed(read(with_envelope(honest, shape(text))), PLAINTEXT)


def test_base64_that_is_not_canonical(honest, read):
    """The unused bits of the last letter: another text for the same bytes."""
    for stored, name in ((honest, "encryption-envelope"), (honest, "encryption-key")):
        text = stored.metadata[name]
        if not text.endswith("="):
            continue
        alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
        at = len(text.rstrip("=")) - 1
        other = text[:at] + alphabet[alphabet.index(text[at]) ^ 1] + text[at + 1 :]
        assert base64.b64decode(other) == base64.b64decode(text)
        assert_fails_closed(read(replace(stored, metadata={**stored.metadata, name: other})), PLAINTEXT)


def test_the_wrapped_key(honest, read):
    blob = base64.b64decode(honest.metadata["encryption-key"])
    for index in (0, len(blob) // 2, len(blob) - 1):
        assert_fails_closed(read(with_key(honest, flip_bit(blob, index))), PLAINTEXT)
    for other in ("", "AAAA", "!", blob[:-1], blob + b"\0", os.urandom(len(blob)), "A" * 1800):
        assert_fails_closed(read(with_key(honest, other)), PLAINTEXT)


@pytest.mark.parametrize("left", [[], ["encryption-key"], ["encryption-envelope"]])
def test_stripped_metadata(honest, read, left):
    answer = read(replace(honest, metadata={name: honest.metadata[name] for name in left}))
    assert_fails_closed(answer, PLAINTEXT)


def test_a_plaintext_object_slipped_in(read):
    """The error tells an operator which setting decides."""
    answer = read(Stored(b"written by someone else", {}))
    assert answer.status >= 400 and b"written by" not in answer.body
    assert "formats.read" in answer.message
    ranged = read(Stored(b"written by someone else", {}), range="bytes=0-3")
    assert ranged.status >= 400 and "formats.read" in ranged.message


def test_moved_to_another_key(honest, read):
    assert_fails_closed(read(honest, key="elsewhere"), PLAINTEXT)


def test_moved_to_another_bucket(honest, real_proxy, real):
    from conftest import new_bucket

    other = new_bucket(real_proxy.boto())
    real.store.write(other, "object", honest)
    assert_fails_closed(real_proxy.raw().request("GET", f"/{other}/object"), PLAINTEXT)


def test_the_envelope_of_another_object(honest, read, real_proxy, real_bucket, real):
    assert real_proxy.raw().request("PUT", f"/{real_bucket}/other", body=PLAINTEXT).status == 200
    other = real.store.read(real_bucket, "other")
    for changed in (
        with_envelope(honest, envelope_of(other)),
        replace(honest, metadata=other.metadata),
        replace(honest, body=other.body),
        replace(honest, body=honest.body[:SEALED] + other.body[SEALED:]),
    ):
        assert_fails_closed(read(changed), PLAINTEXT)


def test_an_older_body_under_the_new_envelope(honest, read, real_proxy, real_bucket, real):
    assert real_proxy.raw().request("PUT", f"/{real_bucket}/object", body=PLAINTEXT).status == 200
    newer = real.store.read(real_bucket, "object")
    assert_fails_closed(read(replace(newer, body=honest.body)), PLAINTEXT)


@pytest.fixture
def forge(honest, kms, real_bucket):
    """forge(plaintext, **choices): an object sealed by the independent writer under the real data key, as only a
    holder of the key could, with choices that the proxy would never make."""
    blob = base64.b64decode(honest.metadata["encryption-key"])
    data_key = kms.decrypt(CiphertextBlob=blob, EncryptionContext=context(real_bucket))["Plaintext"]

    def sealed(plaintext=PLAINTEXT, body=None, **choices):
        seal = Seal(data_key, **{"realm": real_bucket, "key": "object", "length": len(plaintext), **choices})
        made = body(seal) if body else seal.body(plaintext)
        if body:
            # The length that fits, so that only the chunks can refuse it.
            full, rest = divmod(len(made), SEALED)
            seal.length = full * CHUNK + max(rest - TAG, 0)
        return with_envelope(with_key(Stored(made, {}), blob), seal.envelope())

    return sealed


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_the_independent_writer_is_understood(forge, read, size):
    assert read(forge(PLAINTEXT[:1] * size)).body == PLAINTEXT[:1] * size


@pytest.mark.parametrize("choices", [
    {"binding": 0}, {"binding": 2}, {"binding": 3}, {"binding": 255},
    {"version": 0}, {"version": 2}, {"suite": 0}, {"suite": 2}, {"flags": 1}, {"flags": 1, "length": 0}, {"flags": 2}, {"flags": 128},
    {"length": 0}, {"length": len(PLAINTEXT) - 1}, {"length": len(PLAINTEXT) + 1}, {"length": len(PLAINTEXT) - CHUNK}, {"length": 1 << 63},
    {"key": "other"}, {"realm": "other"}, {"realm": "", "key": "object"},
], ids=str)  # fmt: skip
def test_labels_that_the_bucket_does_not_allow(forge, read, choices):
    """Right in every tag and hash, so only the check of the label itself can refuse it."""
    assert_fails_closed(read(forge(**choices)), PLAINTEXT)


def test_fields_shifted_between_realm_and_key(forge, read, real_bucket):
    assert_fails_closed(read(forge(realm=real_bucket + "o", key="bject")), PLAINTEXT)


@pytest.mark.parametrize("body", [
    lambda seal: b"".join(seal.chunks([PLAINTEXT[:CHUNK], b""])),
    lambda seal: b"".join(seal.chunks([PLAINTEXT[:CHUNK]], final=-1)),
    lambda seal: b"".join(seal.chunks([PLAINTEXT[:CHUNK], PLAINTEXT[CHUNK : 2 * CHUNK]], final=0)),
    lambda seal: b"".join(seal.chunks([PLAINTEXT[:100], PLAINTEXT[100:200]])),
    lambda seal: b"".join(seal.chunks([PLAINTEXT[: CHUNK + 1]])),
    lambda seal: b"".join(seal.chunks([PLAINTEXT[:CHUNK], PLAINTEXT[CHUNK : 2 * CHUNK]])[1:]),
    lambda seal: seal.body(PLAINTEXT) + seal.body(PLAINTEXT),
], ids=["empty last chunk", "no final chunk", "final chunk too early", "short chunk inside", "chunk too long", "chunk 0 missing", "twice"])  # fmt: skip
def test_bodies_that_no_writer_makes(forge, read, body):
    assert_fails_closed(read(forge(body=body)), PLAINTEXT)


def test_a_native_object_relabelled_as_cbc(honest, read):
    """The seed's format has the same key header and an IV; it must not be tried on a native body."""
    relabelled = {"encryption-key": honest.metadata["encryption-key"], "encryption-iv": base64.b64encode(bytes(16)).decode()}
    assert_fails_closed(read(replace(honest, metadata=relabelled)), PLAINTEXT)


def test_files_of_the_embedded_store(start, tmp_path):
    """The same holds for the store that tries things out."""
    from conftest import embedded_backend, new_bucket

    backend = embedded_backend(tmp_path)
    running = start(backend)
    bucket = new_bucket(running.boto())
    assert running.raw().request("PUT", f"/{bucket}/object", body=PLAINTEXT).status == 200
    stored = backend.store.read(bucket, "object")
    for attack in ("first bit", "last bit", "cut at a chunk's edge", "first chunks swapped", "a byte appended"):
        backend.store.write(bucket, "object", replace(stored, body=BODIES[attack](stored.body)))
        assert_fails_closed(running.raw().request("GET", f"/{bucket}/object"), PLAINTEXT)
    backend.store.write(bucket, "object", stored)
    assert running.raw().request("GET", f"/{bucket}/object").body == PLAINTEXT
