"""The storage as the attacker of the entries of further holders: it strips, exchanges and forges them. An object may then open by
fewer holders, or not at all; what it opens to is right, or nothing. A failure here is a security issue."""

import base64
import os
import tomllib
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from backing import Stored
from conftest import embedded_backend, new_bucket
from judge import assert_fails_closed
from multiparts import LEAST, upload
from proxy import Proxy, write_keyring
from rawsig import flip_bit
from read_native import CHUNK, LOCAL, RECOVERY, context, fingerprint, local_holders, parse_holders, raw, read_native, unwrap_local
from write_native import Seal, holders_entry, seal_recovery, seal_service

AWS_KMS, KEY, OTHER = 1, "object", "other"
CONTENT, OTHER_CONTENT = os.urandom(2 * CHUNK + 9), os.urandom(2 * CHUNK + 9)


class House:
    """Holders and a recovery key, one storage, and proxies that know all of these or some."""

    def __init__(self, directory, backend, second):
        self.directory, self.backend, self.running = directory, backend, []
        self.files = {"first": write_keyring(directory / "first", "key-one"), "second": write_keyring(directory / "second", "key-two")}
        self.holders = [{"name": "first", "provider": "local", "file": self.files["first"]}]
        self.holders += [{"name": "second", **(second or {"provider": "local", "file": self.files["second"]})}]
        self.recovery = X25519PrivateKey.generate()
        form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        (directory / "ops.pub.pem").write_bytes(self.recovery.public_key().public_bytes(*form))
        self.rule = {"name": "*", "holders": ["first", "second"], "recovery": [directory / "ops.pub.pem"]}
        self.writer = self.proxy()
        self.bucket, self.elsewhere = (new_bucket(self.writer.boto()) for _ in range(2))

    def proxy(self, **rule):
        sections = {"keyring": [], "holder": self.holders, "bucket": [self.rule | rule]}
        # The provider is for the environment alone: there are [[holder]] instead of a [keyring].
        made = Proxy(self.directory / f"proxy-{len(self.running)}", self.backend.upstream, {"provider": "aws-kms"}, sections)
        self.running.append(made)
        return made.start()

    def cold(self):
        """A proxy that has seen nothing yet, in the place of the last such one."""
        if len(self.running) > 1:
            self.running.pop().stop()
        return self.proxy()

    def keyring(self, holder):
        return tomllib.loads(self.files[holder].read_text())

    def put(self, key=KEY, content=CONTENT, bucket=None):
        bucket = bucket or self.bucket
        assert self.writer.raw().request("PUT", f"/{bucket}/{key}", body=content).status == 200
        return self.backend.store.read(bucket, key)


@pytest.fixture
def make_house(tmp_path):
    made = []

    def make(backend=None, second=None):
        made.append(House(tmp_path, backend or embedded_backend(tmp_path), second))
        return made[-1]

    yield make
    for house in made:
        for running in house.running:
            running.stop()


@pytest.fixture
def house(make_house):
    return make_house()


def entries(stored):
    return [(kind, mark, blob) for (kind, mark), blob in parse_holders(stored.metadata["encryption-holders"]).items()]


def with_metadata(stored, **changes):
    """The object with other metadata: `key=...` is of `encryption-key`, and so on; None removes it."""
    changed = {f"encryption-{name}": base64.b64encode(value).decode() if isinstance(value, bytes) else value for name, value in changes.items()}
    return replace(stored, metadata={name: value for name, value in (stored.metadata | changed).items() if value is not None})


def blob_of(stored):
    return base64.b64decode(stored.metadata["encryption-key"])


def of_unknown_key(blob):
    """The first wrapping, as if it were of a key that no keyring has."""
    return blob[:2] + b"x" * blob[1] + blob[2 + blob[1] :]


def attacks(house, honest, other, elsewhere):
    """{name: what the storage makes of the object}, with other objects that the proxy wrote."""
    service, recovery = entries(honest)
    kind, mark, blob = service
    first, inner = blob_of(honest), blob[2 : 2 + int.from_bytes(blob[:2], "big")]
    gone = of_unknown_key(first)
    secret = os.urandom(32)
    realm = context(house.bucket)
    mine = seal_service(secret, inner, secret, kind, mark, realm)
    public = house.recovery.public_key()
    forged = Seal(secret, house.bucket, KEY, length=len(OTHER_CONTENT))
    forgery = with_metadata(Stored(forged.body(OTHER_CONTENT), honest.metadata), envelope=forged.envelope())
    header = base64.b64decode(honest.metadata["encryption-holders"])
    made = {
        "stripped": with_metadata(honest, holders=None),
        "empty": with_metadata(honest, holders=""),
        "no base64": with_metadata(honest, holders="*"),
        "longest": with_metadata(honest, holders=b"\1\xff" + os.urandom(1_500)),
        "first stripped": with_metadata(honest, key=None),
        "first empty": with_metadata(honest, key=""),
        "first of an unknown key": with_metadata(honest, key=gone),
        "first altered": with_metadata(honest, key=flip_bit(first, len(first) - 1)),
        "both stripped": with_metadata(honest, key=None, holders=None),
        "envelope stripped": with_metadata(honest, envelope=None),
        "inner as the first": with_metadata(honest, key=inner),
        "first as inner": with_metadata(honest, key=gone, holders=holders_entry([(kind, mark, len(first).to_bytes(2, "big") + first + blob[-48:])])),
        "entry as the first": with_metadata(honest, key=blob),
        "first exchanged": with_metadata(honest, key=blob_of(elsewhere)),
        "kinds exchanged": with_metadata(honest, key=gone, holders=holders_entry([(RECOVERY, mark, blob), (kind, recovery[1], recovery[2])])),
        "a sealed key of my own": with_metadata(honest, key=gone, holders=holders_entry([(kind, mark, mine)])),
        "a recovery entry of my own": with_metadata(honest, key=gone, holders=holders_entry([(RECOVERY, fingerprint(RECOVERY, raw(public)), seal_recovery(public, secret, realm))])),
        "all forged, sealed": with_metadata(forgery, key=gone, holders=holders_entry([(kind, mark, mine)])),
        "all forged, for recovery": with_metadata(forgery, key=gone, holders=holders_entry([(RECOVERY, recovery[1], seal_recovery(public, secret, realm))])),
        "zero keys": with_metadata(honest, key=bytes(len(first)), holders=holders_entry([(kind, mark, bytes(len(blob)))])),
        "doubled": with_metadata(honest, key=gone, holders=holders_entry([service, service])),
    }  # fmt: skip
    for name, source in (("another object", other), ("another bucket", elsewhere)):
        theirs = source.metadata["encryption-holders"]
        made |= {
            f"entries of {name}": with_metadata(honest, holders=theirs),
            f"entries of {name}, first gone": with_metadata(honest, key=gone, holders=theirs),
            f"entries and first of {name}": with_metadata(honest, key=source.metadata["encryption-key"], holders=theirs),
            f"all metadata of {name}": replace(honest, metadata=source.metadata),
            f"body of {name}": replace(honest, body=source.body),
        }
    for at in range(0, len(header), 23):
        made[f"bit {at}"] = with_metadata(honest, key=gone, holders=flip_bit(header, at))
        made[f"cut at {at}"] = with_metadata(honest, key=gone, holders=header[:at])
    return made


# One genuine wrapping is left in each of these, and the holders' answers show which.
MUST_OPEN = {"stripped", "empty", "no base64", "longest", "first of an unknown key", "first altered", "first exchanged"}


def assert_right_or_nothing(answer, content):
    if answer.status == 200 and not answer.broken:
        assert answer.body == content, "bytes that nobody wrote there: this is a security issue"
        return True
    assert_fails_closed(answer, content)
    return False


def test_the_entries(house):
    honest, other = house.put(), house.put(OTHER, OTHER_CONTENT)
    elsewhere = house.put(KEY, OTHER_CONTENT, house.elsewhere)
    made = attacks(house, honest, other, elsewhere)
    for name, stored in made.items():
        house.backend.store.write(house.bucket, KEY, stored)
        # One proxy has the keys in its cache, the other has seen nothing.
        opened = [assert_right_or_nothing(proxy.raw().request("GET", f"/{house.bucket}/{KEY}"), CONTENT) for proxy in (house.writer, house.cold())]
        assert all(opened) or name not in MUST_OPEN, f"{name}: a genuine wrapping is left"
    house.backend.store.write(house.bucket, KEY, honest)
    assert house.proxy().raw().request("GET", f"/{house.bucket}/{KEY}").body == CONTENT


def test_each_holder_opens_alone(house):
    honest = house.put()
    gone = with_metadata(honest, key=of_unknown_key(blob_of(honest)))
    for stored in (honest, gone):
        house.backend.store.write(house.bucket, KEY, stored)
        for holders in (["first", "second"], ["second", "first"]):
            answer = house.proxy(holders=holders).raw().request("GET", f"/{house.bucket}/{KEY}")
            assert (answer.status, answer.body) == (200, CONTENT), answer.body
    openers = [{"further": local_holders(house.keyring("second"))}, {"recovery": house.recovery}]
    for opener in openers:
        assert read_native(gone.body, gone.metadata, house.bucket, KEY, **opener) == CONTENT
    secrets = house.keyring("first")
    assert read_native(honest.body, honest.metadata, house.bucket, KEY, lambda blob, context: unwrap_local(secrets, blob, context)) == CONTENT


def test_only_the_rules_holders_are_asked(house):
    """An entry that the second holder can open is none for a bucket whose rule has the first alone."""
    honest = house.put()
    house.backend.store.write(house.bucket, KEY, with_metadata(honest, key=of_unknown_key(blob_of(honest))))
    alone = house.proxy(holders=["first"])
    assert_fails_closed(alone.raw().request("GET", f"/{house.bucket}/{KEY}"), CONTENT)
    house.backend.store.write(house.bucket, KEY, honest)
    assert alone.raw().request("GET", f"/{house.bucket}/{KEY}").body == CONTENT


def test_clients_neither_send_nor_see_entries(house):
    honest = house.put()
    s3 = house.writer.boto()
    for got in (s3.get_object(Bucket=house.bucket, Key=KEY), s3.head_object(Bucket=house.bucket, Key=KEY)):
        assert got["Metadata"] == {}
    sent = house.writer.raw().request("PUT", f"/{house.bucket}/{KEY}", body=b"x", headers={"x-amz-meta-encryption-holders": honest.metadata["encryption-holders"]})
    assert sent.status == 400 and house.backend.store.read(house.bucket, KEY) == honest
    assert [kind for kind, *_ in entries(honest)] == [LOCAL, RECOVERY]


def test_uploads_and_copies_have_entries_of_their_own(house):
    content = upload(house.writer.boto(), house.bucket, [(1, LEAST), (2, 9)], KEY)
    s3 = house.writer.boto()
    s3.copy_object(Bucket=house.elsewhere, Key=OTHER, CopySource={"Bucket": house.bucket, "Key": KEY})
    for bucket, key in ((house.bucket, KEY), (house.elsewhere, OTHER)):
        stored = house.backend.store.read(bucket, key)
        assert [kind for kind, *_ in entries(stored)] == [LOCAL, RECOVERY]
        for opener in ({"further": local_holders(house.keyring("second"))}, {"recovery": house.recovery}):
            assert read_native(stored.body, stored.metadata, bucket, key, **opener) == content
        gone = with_metadata(stored, key=of_unknown_key(blob_of(stored)))
        house.backend.store.write(bucket, key, gone)
        answer = house.proxy().raw().request("GET", f"/{bucket}/{key}", headers={"range": "bytes=5242870-"})
        assert (answer.status, answer.body) == (206, content[5_242_870:])


def test_a_key_service_as_the_second_holder(make_house, real, kms, kms_key):
    """The alias of the key is configured; its full ARN makes the fingerprint."""
    settings = {name: value for name, value in real.keyring.items() if name != "provider"}
    house = make_house(real, {"provider": "aws-kms", **settings})
    honest = house.put()
    arn = kms.describe_key(KeyId=kms_key)["KeyMetadata"]["Arn"]
    (kind, mark, _), _ = entries(honest)
    assert (kind, mark) == (AWS_KMS, fingerprint(AWS_KMS, arn.encode()))
    gone = with_metadata(honest, key=of_unknown_key(blob_of(honest)))
    unwrap = lambda blob, context: kms.decrypt(CiphertextBlob=blob, EncryptionContext=context)["Plaintext"]  # noqa: E731
    assert read_native(gone.body, gone.metadata, house.bucket, KEY, further={(AWS_KMS, arn.encode()): unwrap}) == CONTENT
    house.backend.store.write(house.bucket, KEY, gone)
    assert house.proxy().raw().request("GET", f"/{house.bucket}/{KEY}").body == CONTENT
    with pytest.raises(kms.exceptions.InvalidCiphertextException):
        read_native(gone.body, gone.metadata, "another-realm", KEY, further={(AWS_KMS, arn.encode()): unwrap})
