"""The published script that the format `cbc` comes from (docs/FOREIGN.md), with what Python 3 requires.

Its functions are as published but for these: what is text in Python 2 and must be bytes or text now; files are replaced
by bytes in memory; a padding can be chosen, since what the script writes (`b"/0"`, two characters) is not what it means.
"""

import base64

from Crypto import Random
from Crypto.Cipher import AES


def pad(s):
    """As published: a slash and a nought, which gives whole blocks only where there were whole blocks before."""
    return s + b"/0" * (AES.block_size - len(s) % AES.block_size)


def pad_zero(s):
    """As meant."""
    return s + b"\0" * (AES.block_size - len(s) % AES.block_size)


def pad_pkcs7(s):
    """As the many scripts do that came after."""
    count = AES.block_size - len(s) % AES.block_size
    return s + bytes([count]) * count


def encrypt(message, key, padding=pad):
    message = padding(message)
    iv = Random.new().read(AES.block_size)
    cipher = AES.new(key, AES.MODE_CBC, iv)
    return iv + cipher.encrypt(message)


def decrypt(ciphertext, key):
    iv = ciphertext[: AES.block_size]
    cipher = AES.new(key, AES.MODE_CBC, iv)
    plaintext = cipher.decrypt(ciphertext[AES.block_size :])
    return plaintext.rstrip(b"\0")


def upload(kms, s3, customer_key, bucket, name, content, padding=pad):
    """Creates a data key, encrypts under it, and stores the wrapped key in the metadata."""
    data_key_req = kms.generate_data_key(KeyId=customer_key, KeySpec="AES_256")
    data_key = data_key_req["Plaintext"]
    data_key_ciphered = data_key_req["CiphertextBlob"]
    s3.put_object(
        Bucket=bucket, Body=encrypt(content, data_key, padding), Key=name,
        Metadata={"encryption-key": base64.b64encode(data_key_ciphered).decode()},
    )  # fmt: skip


def download(kms, s3, bucket, name):
    """The way back, which was not published."""
    answer = s3.get_object(Bucket=bucket, Key=name)
    blob = base64.b64decode(answer["Metadata"]["encryption-key"])
    return decrypt(answer["Body"].read(), kms.decrypt(CiphertextBlob=blob)["Plaintext"])
