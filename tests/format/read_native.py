"""Opens an object that s3veil stored, without s3veil: only the `cryptography` package and docs/FORMAT.md were used.

    python read_native.py BODY METADATA.json REALM KEY --data-key HEX     (the data key, as KMS Decrypt gives it)
    python read_native.py BODY METADATA.json REALM KEY --keyring FILE     (a local keyring)
    python read_native.py BODY METADATA.json REALM KEY --recovery-key FILE.pem      (the private half of a recovery key)
    ... --customer-key HEX     (beside one of these, for an object that was stored with a customer key, SSE-C)

METADATA.json holds the stored object's user metadata; the plaintext goes to standard output.
"""

import argparse
import base64
import hashlib
import hmac
import json
import sys
import tomllib

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand

CHUNK, TAG, FIXED = 65_536, 16, 124
NO_BINDING, REALM_AND_KEY, REALM = 0, 1, 2
HEADER, MIDDLE, LAST, TERMINATOR, LAST_WITH_LAYOUT, TERMINATOR_WITH_LAYOUT = 80, 0, 1, 3, 5, 7
LAST_PART, MULTIPART, CUSTOMER, AES256 = 10_000, 1, 2, 4
END_KEY = 16
CARRIES_CHECKSUM, UPLOAD_CHECKSUM, FULL_OBJECT = 8, 11, 0x80
LOCAL, RECOVERY, MAX_HOLDERS, SEALED_KEY = 2, 16, 1_536, 48
DIGEST_LENGTHS = {1: 4, 2: 4, 3: 8, 4: 20, 5: 32, 6: 64, 7: 16, 8: 8, 9: 8, 10: 16}
LENGTHS = DIGEST_LENGTHS | {UPLOAD_CHECKSUM: 1}


class Refused(Exception):
    """The object is not what its writer sealed."""


def hkdf(secret, salt, info, length):
    return HKDF(SHA256(), length, salt, info).derive(secret)


def name_binding(binding, realm, key):
    """The names that the envelope is bound to: be32 length and bytes of realm, then of key; what is not bound is empty."""
    realm = b"" if binding == NO_BINDING else realm.encode()
    key = key.encode() if binding == REALM_AND_KEY else b""
    return b"".join(len(name).to_bytes(4, "big") + name for name in (realm, key))


def fixed_length(envelope):
    """The bytes of an envelope before its attributes."""
    return FIXED + SEALED_KEY if envelope[3] & CUSTOMER else FIXED


def check_envelope(envelope):
    pre = envelope[:12]
    if len(envelope) != FIXED and not FIXED + TAG < len(envelope) <= 1536:
        raise Refused("no envelope is so long")
    if pre[0] != 1 or pre[1] != 1 or pre[2] not in (NO_BINDING, REALM_AND_KEY, REALM) or pre[3] & ~MULTIPART not in (0, CUSTOMER, AES256):
        raise Refused("not an envelope of version 1, suite 1")
    fixed = fixed_length(envelope)
    if len(envelope) != fixed and not fixed + TAG < len(envelope):
        raise Refused("no envelope with a customer key is so long")
    if put_length(envelope) >= (1 if pre[3] & MULTIPART else 1 << 40):
        raise Refused("a length that no body of this kind has")


def content_key(data_key, envelope, realm, key, customer_key=None):
    pre, salt, commit, wrapped = envelope[:12], envelope[12:44], envelope[44:76], envelope[76:FIXED]
    check_envelope(envelope)
    if bool(pre[3] & CUSTOMER) != (customer_key is not None):
        raise Refused("CustomerKeyMissing" if customer_key is None else "CustomerKeySurplus")
    sealed_end_key = end_key(data_key, envelope, realm, key) if customer_key else None
    label = b"s3veil/v1/customer\0" if customer_key else b"s3veil/v1/envelope\0"
    keys = hkdf(data_key + (customer_key or b""), salt, label + pre + name_binding(pre[2], realm, key), 64)
    if not hmac.compare_digest(keys[32:], commit):
        raise Refused("CustomerKeyWrong" if customer_key else "another data key, realm or object key")
    content = AESGCM(keys[:32]).decrypt(bytes(12), wrapped, pre + salt + commit)
    if customer_key and not hmac.compare_digest(sealed_end_key, end_key_of(content)):
        raise Refused("the end key of another object")
    return content


def end_key_of(content):
    return hkdf(content, b"", b"s3veil/v1/end\0", 32)


def end_key(data_key, envelope, realm, key):
    """What ends an object with a customer key opens with this, without the customer key."""
    check_envelope(envelope)
    if not envelope[3] & CUSTOMER:
        raise Refused("CustomerKeySurplus")
    info = b"s3veil/v1/end-key\0" + envelope[:12] + name_binding(envelope[2], realm, key)
    wrap_key = hkdf(data_key, envelope[12:44], info, 32)
    try:
        return AESGCM(wrap_key).decrypt(bytes(12), envelope[FIXED : FIXED + SEALED_KEY], envelope[:FIXED])
    except InvalidTag:
        raise Refused("another data key, realm or object key") from None


def put_length(envelope):
    """The plaintext length of the body of one PUT; 0 in the envelope of a multipart upload. Authentic once `content_key` is there."""
    return int.from_bytes(envelope[4:12], "big")


def attributes(content, envelope):
    """{tag: value} of what the envelope says of the plaintext."""
    fixed = fixed_length(envelope)
    if len(envelope) == fixed:
        return {}
    key = hkdf(content, envelope[12:44], b"s3veil/v1/attributes\0", 32)
    rest, values = AESGCM(key).decrypt(bytes(12), envelope[fixed:], envelope[:fixed]), {}
    while rest:
        if len(rest) < 2 or len(rest) < 2 + rest[1] or rest[0] <= max(values, default=0) or rest[1] != LENGTHS.get(rest[0], rest[1]):
            raise Refused("attributes that are not canonical")
        values[rest[0]], rest = rest[2 : 2 + rest[1]], rest[2 + rest[1] :]
    return values


def object_checksum(values, carried):
    """(tag, is of all bytes, value) of the checksum that a multipart body carries; None if none, or none announced."""
    announced = values.get(UPLOAD_CHECKSUM)
    if announced is None or carried is None or announced[0] & ~FULL_OBJECT not in DIGEST_LENGTHS:
        return None
    tag, length = announced[0] & ~FULL_OBJECT, DIGEST_LENGTHS[announced[0] & ~FULL_OBJECT]
    if length > len(carried) or any(carried[length:]):
        raise Refused("no checksum of this algorithm")
    return tag, bool(announced[0] & FULL_OBJECT), carried[:length]


def open_chunks(key, body):
    """The plaintext: 64 KiB chunks whose nonce is be88(index) and a byte that is 1 for the last chunk only."""
    cipher = AESGCM(key)
    chunks = [body[at : at + CHUNK + TAG] for at in range(0, len(body), CHUNK + TAG)] or [b""]
    if len(chunks) > 1 and len(chunks[-1]) <= TAG:
        raise Refused("an empty chunk after another one")
    last = len(chunks) - 1
    return b"".join(cipher.decrypt(i.to_bytes(11, "big") + bytes([i == last]), chunk, None) for i, chunk in enumerate(chunks))


def open_body(content, body, length):
    """The plaintext of the body of one PUT, of which the envelope says `length`."""
    if len(body) != max(chunks_length(length), TAG):
        raise Refused("the stored length is not that of the plaintext")
    return open_chunks(hkdf(content, b"", b"s3veil/v1/put\0", 32), body)


def chunks_length(plaintext):
    return plaintext + TAG * -(-plaintext // CHUNK)


def plaintext_length(stored, segments):
    """What LIST can say of a multipart body; None if the layout has to be read from the tail."""
    q, r = divmod(stored - HEADER * segments, CHUNK + TAG)
    if q < 0 or not 1 <= segments <= LAST_PART:
        raise Refused("no body is so short")
    return None if 1 <= r <= TAG else q * CHUNK + max(r - TAG, 0)


def is_regular(parts):
    """Numbers 1, 2, 3, ..., and all but the last of one length that is a multiple of 64 KiB."""
    before = [length for _, length in parts[:-1]]
    return [number for number, _ in parts] == list(range(1, len(parts) + 1)) and len(set(before)) <= 1 and not any(n % CHUNK for n in before)


def tail_length(segments, chunks):
    sealed = 7 * segments + TAG + HEADER
    r = (chunks + sealed) % (CHUNK + TAG)
    return sealed + (0 if 1 <= r <= TAG else (1 - r) % (CHUNK + TAG))


def open_header(content, header, label, digest=b"", is_end_key=False):
    """The key that goes with 80 bytes of header or footer, what they say, and the checksum that they carry, or None."""
    if len(header) != HEADER:
        raise Refused("the body ends before its last segment")
    carries = header[1] & CARRIES_CHECKSUM
    fields, salt, sealed, commit = (header[a:b] for a, b in ((0, 16), (16, 32 if carries else 48), (32, 64 if carries else 32), (64 if carries else 48, 80)))
    number, tail, length = (int.from_bytes(fields[a:b], "big") for a, b in ((2, 4), (4, 8), (8, 16)))
    flags = fields[1] & ~(CARRIES_CHECKSUM | END_KEY)
    is_end_keys = label == b"s3veil/v1/layout\0" or (flags & TERMINATOR == TERMINATOR and not carries)
    with_end_key = fields[1] & END_KEY and is_end_keys
    if fields[1] & END_KEY and not (flags in (LAST_WITH_LAYOUT, TERMINATOR_WITH_LAYOUT) or (flags == TERMINATOR and not carries)):
        raise Refused("no header of a segment")
    possible = {MIDDLE: length > 0 and not tail, LAST: not tail, LAST_WITH_LAYOUT: tail > 0}
    ends = number == LAST_PART and length == 0
    possible |= {TERMINATOR: ends and not tail, TERMINATOR_WITH_LAYOUT: ends and tail > 0}
    if fields[0] != 1 or not possible.get(flags) or (carries and flags == MIDDLE) or not 1 <= number <= LAST_PART or length >= 1 << 40:
        raise Refused("no header of a segment")
    if is_end_key and not with_end_key:
        raise Refused("the end key opens only what flag 16 marks")
    keys = hkdf(end_key_of(content) if with_end_key and not is_end_key else content, salt, label + fields + sealed + digest, 64)
    if not hmac.compare_digest(keys[32 : 32 + len(commit)], commit):
        raise Refused("a segment of another object, or a terminator of other segments")
    mask = hkdf(content, salt, b"s3veil/v1/checksum\0" + fields, 32)
    carried = bytes(a ^ b for a, b in zip(mask, sealed)) if carries else None
    return keys[:32], flags, number, length, tail, carried


def open_layout(content, sealed, is_end_key=False):
    """The layout, [(number, length), ...] with the terminator, from the end of an object: 7 * segments + 96 bytes. `content` is
    the content key, or, if `is_end_key`, the end key of an upload with a customer key."""
    key, *_ = open_header(content, sealed[-HEADER:], b"s3veil/v1/layout\0", is_end_key=is_end_key)
    entries = AESGCM(key).decrypt(bytes(12), sealed[:-HEADER], None)
    return [(int.from_bytes(entries[i : i + 2], "big"), int.from_bytes(entries[i + 2 : i + 7], "big")) for i in range(0, len(entries), 7)]


def open_multipart(content, body):
    """The plaintext of a whole multipart body."""
    return read_multipart(content, body)[0]


def read_multipart(content, body):
    """The plaintext of a whole multipart body, and the 32 bytes of a checksum that it carries, or None."""
    at, parts, plaintext, flags = 0, [], [], MIDDLE
    while not flags & LAST:
        header = body[at : at + HEADER]
        before = hashlib.sha256(b"".join(number.to_bytes(2, "big") + length.to_bytes(8, "big") for number, length in parts)).digest()
        is_terminator = header[1:2] != b"" and header[1] & ~(CARRIES_CHECKSUM | END_KEY) in (TERMINATOR, TERMINATOR_WITH_LAYOUT)
        key, flags, number, length, tail, carried = open_header(content, header, b"s3veil/v1/part\0", before if is_terminator else b"")
        if number <= (parts[-1][0] if parts else 0) or (is_terminator and not parts):
            raise Refused("a segment out of order")
        at += HEADER + chunks_length(length)
        if length:
            plaintext.append(open_chunks(key, body[at - chunks_length(length) : at]))
        if sum(map(len, plaintext)) != sum(length for _, length in parts) + length:
            raise Refused("the body ends within a segment")
        parts.append((number, length))
    clients = parts[:-1] if is_terminator else parts
    if is_regular(clients) != (tail == 0):
        raise Refused("a layout where none belongs, or none where one does")
    if tail:
        sealed = body[at + tail - 7 * len(parts) - TAG - HEADER : at + tail]
        padding = body[at : at + tail - len(sealed)]
        commitment = 32 if carried is None else 16
        if open_layout(content, sealed) != parts or sealed[-HEADER:][: len(header) - commitment] != header[:-commitment] or any(padding):
            raise Refused("the layout of another body")
        if tail != tail_length(len(parts), sum(chunks_length(length) for _, length in parts)):
            raise Refused("padding of another length")
    if at + tail != len(body):
        raise Refused("bytes after the last segment, or missing from it")
    return b"".join(plaintext), carried


def context(realm):
    return {"s3veil:version": "1", "s3veil:realm": realm}


def canonical(context):
    texts = [text.encode() for name in sorted(context, key=str.encode) for text in (name, context[name])]
    return len(context).to_bytes(4, "big") + b"".join(len(text).to_bytes(4, "big") + text for text in texts)


def unwrap_local(keyring, blob, context):
    """The data key of a local keyring's blob: version(1)=1 | len8 | key id | salt(32) | wrapped(48)."""
    end = 34 + int.from_bytes(blob[1:2])
    prefix, key_id, salt, wrapped = blob[:end], blob[2 : end - 32].decode(errors="replace"), blob[end - 32 : end], blob[end:]
    secrets = {key["id"]: base64.b64decode(key["secret"]) for key in keyring["key"]}
    if blob[:1] != b"\1" or len(wrapped) != 48 or key_id not in secrets:
        raise Refused("no key of this keyring")
    wrap_key = hkdf(secrets[key_id], salt, b"s3veil/keyring/local/v1\0", 32)
    return AESGCM(wrap_key).decrypt(bytes(12), wrapped, prefix + canonical(context))


def decode(text):
    """The bytes of base64 with padding, in its one spelling."""
    try:
        decoded = base64.b64decode(text, validate=True)
    except ValueError:
        decoded = b""
    if base64.b64encode(decoded).decode() != text:
        raise Refused("base64 that is not canonical")
    return decoded


def fingerprint(kind, name):
    return hashlib.sha256(bytes([kind]) + name).digest()[:8]


def parse_holders(text):
    """{(kind, fingerprint): blob} of the metadata entry `encryption-holders`."""
    if len(text) > MAX_HOLDERS // 3 * 4:
        raise Refused("HoldersLength")
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        raise Refused("Holders") from None
    if base64.b64encode(data).decode() != text or data[:1] != b"\1" or len(data) < 2:
        raise Refused("Holders")
    entries, at = {}, 2
    for _ in range(data[1]):
        end = at + 11 + int.from_bytes(data[at + 9 : at + 11], "big")
        name = int.from_bytes(data[at : at + 1]), data[at + 1 : at + 9]
        if not at + 11 < end <= len(data) or name in entries:
            raise Refused("Holders")
        entries[name], at = data[at + 11 : end], end
    if at != len(data) or not entries:
        raise Refused("Holders")
    return entries


def holder_cipher(holder_key):
    return AESGCM(hkdf(holder_key, b"", b"s3veil/v1/holder\0", 32))


def open_service(name, blob, context, unwrap):
    """The data key in a service's entry of this (kind, fingerprint); `unwrap` is its holder's, as of `read_native`."""
    inner, sealed = blob[2 : -SEALED_KEY], blob[-SEALED_KEY:]
    if len(blob) < 3 + SEALED_KEY or len(inner) != int.from_bytes(blob[:2], "big"):
        raise Refused("HolderBlob")
    kind, mark = name
    try:
        return holder_cipher(unwrap(inner, context)).decrypt(bytes(12), sealed, bytes([kind]) + mark + canonical(context))
    except InvalidTag:
        raise Refused("HolderTag") from None


def labeled_extract(suite, salt, label, secret):
    return hmac.digest(salt, b"HPKE-v1" + suite + label + secret, "sha256")


def labeled_expand(suite, key, label, info, length):
    return HKDFExpand(SHA256(), length, length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info).derive(key)


def hpke_keys(shared, enc, public, info, aead=2, key_length=32):
    """Key and nonce of the first message (RFC 9180, 4.1 and 5.1): base mode, X25519, HKDF-SHA256; AEAD 2 is AES-256-GCM."""
    kem, suite = b"KEM\0\x20", b"HPKE\0\x20\0\1" + aead.to_bytes(2, "big")
    secret = labeled_expand(kem, labeled_extract(kem, b"", b"eae_prk", shared), b"shared_secret", enc + public, 32)
    schedule = b"\0" + labeled_extract(suite, b"", b"psk_id_hash", b"") + labeled_extract(suite, b"", b"info_hash", info)
    secret = labeled_extract(suite, secret, b"secret", b"")
    return labeled_expand(suite, secret, b"key", schedule, key_length), labeled_expand(suite, secret, b"base_nonce", schedule, 12)


def raw(public):
    return public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def recovery_info(context):
    return b"s3veil/v1/recovery\0" + canonical(context)


def open_recovery(private, blob, context):
    """The data key that was sealed for this recovery key: enc(32) | ciphertext(48)."""
    if len(blob) != 32 + SEALED_KEY:
        raise Refused("HolderBlob")
    enc = blob[:32]
    try:
        shared = private.exchange(X25519PublicKey.from_public_bytes(enc))
        key, nonce = hpke_keys(shared, enc, raw(private.public_key()), recovery_info(context))
        return AESGCM(key).decrypt(nonce, blob[32:], b"")
    except (InvalidTag, ValueError):
        raise Refused("HolderTag") from None


def data_keys(metadata, context, unwrap, further, recovery):
    """What each wrapping that the reader can open opens to, the first holder's first; `read_native` explains the arguments."""
    if unwrap:
        yield lambda: unwrap(decode(metadata["encryption-key"]), context)
    if "encryption-holders" not in metadata or not (further or recovery):
        return
    for name, blob in parse_holders(metadata["encryption-holders"]).items():
        if recovery and name == (RECOVERY, fingerprint(RECOVERY, raw(recovery.public_key()))):
            yield lambda blob=blob: open_recovery(recovery, blob, context)
        for (kind, key_name), holder in further.items():
            if name == (kind, fingerprint(kind, key_name)):
                yield lambda name=name, blob=blob, holder=holder: open_service(name, blob, context, holder)


def read_native(body, metadata, realm, key, unwrap=None, further=None, recovery=None, customer_key=None):
    """Raises Refused or InvalidTag for anything that was not sealed so. `unwrap(blob, context)` gives the data key of the first
    holder; `further` is {(kind, canonical key name in bytes): such a function} for other holders; `recovery` is a private key; `customer_key` is the
    32 bytes that the client sent, for an object that has such a key."""
    envelope, refused = decode(metadata["encryption-envelope"]), Refused("NoHolder")
    for data_key in data_keys(metadata, context(realm), unwrap, further or {}, recovery):
        try:
            content = content_key(data_key(), envelope, realm, key, customer_key)
        except (Refused, InvalidTag, ValueError) as error:
            refused = error
            continue
        attributes(content, envelope)
        return open_multipart(content, body) if envelope[3] & MULTIPART else open_body(content, body, put_length(envelope))
    raise refused


def local_holders(keyring):
    """`further` of `read_native`, for every key of a local keyring."""
    return {(LOCAL, key["id"].encode()): lambda blob, context: unwrap_local(keyring, blob, context) for key in keyring["key"]}


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("body", "metadata", "realm", "key"):
        arguments.add_argument(name)
    source = arguments.add_mutually_exclusive_group(required=True)
    source.add_argument("--data-key", type=bytes.fromhex)
    source.add_argument("--keyring", type=argparse.FileType("rb"))
    source.add_argument("--recovery-key", type=argparse.FileType("rb"))
    arguments.add_argument("--customer-key", type=bytes.fromhex)
    given = arguments.parse_args()
    metadata = {name.lower().removeprefix("x-amz-meta-"): value for name, value in json.load(open(given.metadata)).items()}
    opener = {"unwrap": lambda *_: given.data_key}
    if given.keyring:
        keyring = tomllib.load(given.keyring)
        opener = {"unwrap": lambda blob, context: unwrap_local(keyring, blob, context), "further": local_holders(keyring)}
    if given.recovery_key:
        opener = {"recovery": serialization.load_pem_private_key(given.recovery_key.read(), None)}
    sys.stdout.buffer.write(read_native(open(given.body, "rb").read(), metadata, given.realm, given.key, customer_key=given.customer_key, **opener))


if __name__ == "__main__":
    main()
