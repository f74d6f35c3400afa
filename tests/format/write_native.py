"""Seals objects as s3veil does, and, for tests only, objects that s3veil would never write."""

import hashlib
import os
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from read_native import (
    CARRIES_CHECKSUM, CHUNK, CUSTOMER, END_KEY, HEADER, LAST, LAST_PART, LAST_WITH_LAYOUT, MIDDLE, REALM_AND_KEY, TAG, TERMINATOR, TERMINATOR_WITH_LAYOUT, canonical, chunks_length,
    end_key_of, hkdf, holder_cipher, hpke_keys, is_regular, name_binding, raw, recovery_info, tail_length,
)  # fmt: skip


@dataclass
class Seal:
    """The choices of one sealed object. The defaults are those of an honest writer, of an empty object: `length` is the
    plaintext's of one PUT, and stays 0 for an upload in parts."""

    data_key: bytes
    realm: str
    key: str
    version: int = 1
    suite: int = 1
    binding: int = REALM_AND_KEY
    flags: int = 0
    customer_key: bytes | None = None
    length: int = 0
    content_key: bytes = field(default_factory=lambda: os.urandom(32))
    salt: bytes = field(default_factory=lambda: os.urandom(32))

    def envelope(self):
        flags = self.flags | (CUSTOMER if self.customer_key else 0)
        pre = bytes([self.version, self.suite, self.binding, flags]) + self.length.to_bytes(8, "big")
        names = pre + name_binding(self.binding, self.realm, self.key)
        label = b"s3veil/v1/customer\0" if self.customer_key else b"s3veil/v1/envelope\0"
        keys = hkdf(self.data_key + (self.customer_key or b""), self.salt, label + names, 64)
        wrapped = AESGCM(keys[:32]).encrypt(bytes(12), self.content_key, pre + self.salt + keys[32:])
        envelope = pre + self.salt + keys[32:] + wrapped
        if self.customer_key:
            wrap_key = hkdf(self.data_key, self.salt, b"s3veil/v1/end-key\0" + names, 32)
            envelope += AESGCM(wrap_key).encrypt(bytes(12), end_key_of(self.content_key), envelope)
        return envelope

    def chunks(self, pieces, final=None, key=None):
        """Seals the given pieces of plaintext as chunks 0, 1, ...; the one at index `final` (default: last) is final."""
        cipher = AESGCM(key or hkdf(self.content_key, b"", b"s3veil/v1/put\0", 32))
        final = len(pieces) - 1 if final is None else final
        return [cipher.encrypt(i.to_bytes(11, "big") + bytes([i == final]), piece, None) for i, piece in enumerate(pieces)]

    def body(self, plaintext):
        return b"".join(self.chunks([plaintext[i : i + CHUNK] for i in range(0, len(plaintext), CHUNK)] or [b""]))

    def header(self, flags, number, length, *, salt, tail=0, digest=b"", label=b"s3veil/v1/part\0", version=1, checksum=None):
        """80 bytes, and the key that goes with them; with `checksum`, up to 32 bytes, one that carries it."""
        flags |= 0 if checksum is None else CARRIES_CHECKSUM
        is_layouts = label == b"s3veil/v1/layout\0"
        with_end_key = flags & END_KEY and (is_layouts or (flags & TERMINATOR == TERMINATOR and checksum is None))
        fields = bytes([version, flags]) + number.to_bytes(2, "big") + tail.to_bytes(4, "big") + length.to_bytes(8, "big")
        sealed = b""
        if checksum is not None:
            salt = salt[:16]
            mask = hkdf(self.content_key, salt, b"s3veil/v1/checksum\0" + fields, 32)
            sealed = bytes(a ^ b for a, b in zip(mask, checksum.ljust(32, b"\0")))
        secret = end_key_of(self.content_key) if with_end_key else self.content_key
        keys = hkdf(secret, salt, label + fields + sealed + digest, 64)
        return fields + salt + sealed + keys[32 : 96 - len(salt + sealed)], keys[:32]

    def segment(self, number, plaintext, flags=MIDDLE, layout=None, *, salt=None, padding=None, **choices):
        """One segment; with `layout`, [(number, length), ...], its tail. `padding` other than the right one is for tests."""
        salt = salt or os.urandom(32)
        tail = tail_length(len(layout), sum(chunks_length(length) for _, length in layout)) if layout else 0
        sealed_length = 7 * len(layout or ()) + TAG + HEADER
        if layout and padding is not None:
            tail = sealed_length + padding
        checksum = choices.get("checksum")
        header, key = self.header(flags, number, choices.pop("length", len(plaintext)), salt=salt, tail=tail, **choices)
        pieces = [plaintext[i : i + CHUNK] for i in range(0, len(plaintext), CHUNK)]
        stored = header + b"".join(self.chunks(pieces, key=key))
        if not layout:
            return stored
        footer, key = self.header(flags, number, len(plaintext), salt=salt, tail=tail, label=b"s3veil/v1/layout\0", checksum=checksum)
        entries = b"".join(number.to_bytes(2, "big") + length.to_bytes(5, "big") for number, length in layout)
        return stored + bytes(tail - sealed_length) + AESGCM(key).encrypt(bytes(12), entries, None) + footer

    def terminator(self, parts, layout=None, **choices):
        digest = hashlib.sha256(b"".join(number.to_bytes(2, "big") + length.to_bytes(8, "big") for number, length in parts)).digest()
        flags = choices.pop("flags", TERMINATOR_WITH_LAYOUT if layout else TERMINATOR)
        return self.segment(choices.pop("number", LAST_PART), b"", flags, layout, digest=digest, **choices)

    def segments(self, parts, plaintext, terminated=False, salts=None, checksum=None):
        """All segments of an upload of these parts, [(number, length), ...]; the last carries `checksum`."""
        layout = None if is_regular(parts) else parts + [(LAST_PART, 0)] * terminated
        ends = END_KEY if self.customer_key and (layout or (terminated and checksum is None)) else 0
        sealed, at = [], 0
        for index, (number, length) in enumerate(parts):
            last = index == len(parts) - 1 and not terminated
            flags = (LAST_WITH_LAYOUT | ends if layout else LAST) if last else MIDDLE
            salt = salts[index] if salts else None
            sealed.append(self.segment(number, plaintext[at : at + length], flags, layout if last else None, salt=salt, checksum=checksum if last else None))
            at += length
        if terminated:
            flags = (TERMINATOR_WITH_LAYOUT if layout else TERMINATOR) | ends
            sealed.append(self.terminator(parts, layout, flags=flags, salt=salts[len(parts)] if salts else None, checksum=checksum))
        return sealed


def seal_service(holder_key, inner, data_key, kind, mark, context):
    """The blob of a service's entry: the data key, sealed under a key that the holder made for this alone."""
    sealed = holder_cipher(holder_key).encrypt(bytes(12), data_key, bytes([kind]) + mark + canonical(context))
    return len(inner).to_bytes(2, "big") + inner + sealed


def seal_recovery(public, data_key, context, ephemeral=None):
    """The blob of a recovery key's entry: HPKE in base mode, enc(32) | ciphertext(48)."""
    ephemeral = ephemeral or X25519PrivateKey.generate()
    enc = raw(ephemeral.public_key())
    key, nonce = hpke_keys(ephemeral.exchange(public), enc, raw(public), recovery_info(context))
    return enc + AESGCM(key).encrypt(nonce, data_key, b"")


def holders_entry(entries):
    """The metadata entry `encryption-holders`, before base64, of [(kind, fingerprint, blob), ...]."""
    parts = (bytes([kind]) + mark + len(blob).to_bytes(2, "big") + blob for kind, mark, blob in entries)
    return bytes([1, len(entries)]) + b"".join(parts)
