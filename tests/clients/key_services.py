"""Google Cloud KMS and Azure Key Vault, played by fakes that were written from their documentation: no emulator can be had.

https://cloud.google.com/kms/docs/reference/rest/v1/projects.locations.keyRings.cryptoKeys/encrypt
https://learn.microsoft.com/en-us/rest/api/keyvault/keys/wrap-key/wrap-key"""

import base64
import json
import os

import awscrt.checksums
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from standin import Reply, StandIn

GCP_KEY = "projects/p/locations/europe-west3/keyRings/r/cryptoKeys/s3veil"
AZURE_KEY = "s3veil"


def reply(content, status=200):
    return Reply(status, [("content-type", "application/json")], json.dumps(content).encode())


def checked(name, content):
    """A field in bytes, and its checksum, as Google writes both."""
    return {name: base64.b64encode(content).decode(), f"{name}Crc32c": str(awscrt.checksums.crc32c(content))}


def gcp_kms():
    """One key of Cloud KMS. The token of its holder is any."""
    cipher = AESGCM(os.urandom(32))

    def answer(asked):
        body = json.loads(asked.body)
        bound = base64.b64decode(body["additionalAuthenticatedData"])
        if asked.path == f"/v1/{GCP_KEY}:encrypt":
            nonce = os.urandom(12)
            sealed = nonce + cipher.encrypt(nonce, base64.b64decode(body["plaintext"]), bound)
            verified = {"verifiedPlaintextCrc32c": True, "verifiedAdditionalAuthenticatedDataCrc32c": True}
            return reply({"name": f"{GCP_KEY}/cryptoKeyVersions/1", **checked("ciphertext", sealed), **verified})
        sealed = base64.b64decode(body["ciphertext"])
        try:
            return reply(checked("plaintext", cipher.decrypt(sealed[:12], sealed[12:], bound)))
        except InvalidTag:
            return reply({"error": {"code": 400, "message": "Decryption failed", "status": "INVALID_ARGUMENT"}}, 400)

    return StandIn(answer)


def azure_key_vault():
    """One key of Key Vault, and the login with a client's secret, whose tokens last two seconds."""
    key = os.urandom(32)

    def decode(text):
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))

    def answer(asked):
        if asked.path.endswith("/oauth2/v2.0/token"):
            return reply({"token_type": "Bearer", "expires_in": 2, "access_token": "token"})
        value = decode(json.loads(asked.body)["value"])
        try:
            result = aes_key_wrap(key, value) if asked.path.endswith("/wrapkey") else aes_key_unwrap(key, value)
        except InvalidUnwrap:
            return reply({"error": {"code": "BadParameter", "message": "", "innererror": None}}, 400)
        kid = f"http://{asked.headers['host']}/keys/{AZURE_KEY}/{1:032}"
        return reply({"kid": kid, "value": base64.urlsafe_b64encode(result).rstrip(b"=").decode()})

    return StandIn(answer)
