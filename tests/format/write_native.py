"""Seals objects as s3veil does, and, for tests only, objects that s3veil would never write."""

import os
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from read_native import CHUNK, REALM_AND_KEY, hkdf, name_binding


@dataclass
class Seal:
    """The choices of one sealed object; the defaults are those of an honest writer."""

    data_key: bytes
    realm: str
    key: str
    version: int = 1
    suite: int = 1
    binding: int = REALM_AND_KEY
    flags: int = 0
    content_key: bytes = field(default_factory=lambda: os.urandom(32))
    salt: bytes = field(default_factory=lambda: os.urandom(32))

    def envelope(self):
        pre = bytes([self.version, self.suite, self.binding, self.flags])
        keys = hkdf(self.data_key, self.salt, b"s3veil/v1/envelope\0" + pre + name_binding(self.binding, self.realm, self.key), 64)
        wrapped = AESGCM(keys[:32]).encrypt(bytes(12), self.content_key, pre + self.salt + keys[32:])
        return pre + self.salt + keys[32:] + wrapped

    def chunks(self, pieces, final=None):
        """Seals the given pieces of plaintext as chunks 0, 1, ...; the one at index `final` (default: last) is final."""
        cipher = AESGCM(hkdf(self.content_key, b"", b"s3veil/v1/put\0", 32))
        final = len(pieces) - 1 if final is None else final
        return [cipher.encrypt(i.to_bytes(11, "big") + bytes([i == final]), piece, None) for i, piece in enumerate(pieces)]

    def body(self, plaintext):
        return b"".join(self.chunks([plaintext[i : i + CHUNK] for i in range(0, len(plaintext), CHUNK)] or [b""]))
