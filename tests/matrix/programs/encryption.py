"""Amazon's S3 Encryption Clients beside the proxy, both ways, over one storage and one KMS key."""

from frame.content import MIB
from frame.installs import Maven, Pip
from frame.localstack import LocalStack
from frame.program import Program

GROUP = "Client-side encryption of Amazon's"
SIZES = {"by-proxy/large": 11 * MIB + 5, "by-proxy/small": 100, "by-client/large": 5 * MIB + 3, "by-client/small": 77_777}
RULE = 'formats = { write = "s3ec-v3", read = ["s3ec"] }'
NOTE = f"""The proxy's rule is `{RULE}`. `STORAGE` is the storage's own address and `KMS_KEY` the key that proxy and client share. What
is under `by-proxy` goes through the proxy and is read by Amazon's client, what is under `by-client` the other way."""

PYTHON = """import os
from pathlib import Path

import boto3
from s3_encryption import S3EncryptionClient, S3EncryptionClientConfig
from s3_encryption.materials.kms_keyring import KmsKeyring

source, restored, bucket = Path(os.environ["SOURCE"]), Path(os.environ["RESTORED"]), os.environ["BUCKET"]
plain = boto3.client("s3", endpoint_url=os.environ["ENDPOINT"])
keyring = KmsKeyring(kms_client=boto3.client("kms", endpoint_url=os.environ["STORAGE"]), kms_key_id=os.environ["KMS_KEY"])
amazon = S3EncryptionClient(boto3.client("s3", endpoint_url=os.environ["STORAGE"]), S3EncryptionClientConfig(keyring=keyring))
"""
JAVA = """import java.net.URI;
import java.nio.file.*;
import software.amazon.awssdk.core.sync.RequestBody;
import software.amazon.awssdk.services.kms.KmsClient;
import software.amazon.awssdk.services.s3.S3AsyncClient;
import software.amazon.awssdk.services.s3.S3Client;
import software.amazon.encryption.s3.S3EncryptionClient;
import software.amazon.encryption.s3.materials.KmsKeyring;

class Both {
    static final String bucket = System.getenv("BUCKET");
    static final Path source = Path.of(System.getenv("SOURCE")), restored = Path.of(System.getenv("RESTORED"));
    static final URI storage = URI.create(System.getenv("STORAGE"));

    static S3Client plain(String endpoint) {
        return S3Client.builder().endpointOverride(URI.create(endpoint)).forcePathStyle(true).build();
    }

    static S3Client amazon() {
        var kms = KmsClient.builder().endpointOverride(storage).build();
        var keyring = KmsKeyring.builder().kmsClient(kms).wrappingKeyId(System.getenv("KMS_KEY")).build();
        var concurrent = S3AsyncClient.builder().endpointOverride(storage).forcePathStyle(true).build();
        return S3EncryptionClient.builderV4().wrappedClient(plain(storage.toString())).wrappedAsyncClient(concurrent).keyring(keyring).build();
    }

    static void store(S3Client client, String name) {
        client.putObject(put -> put.bucket(bucket).key(name), RequestBody.fromFile(source.resolve(name)));
    }

    static void restore(S3Client client, String name) throws Exception {
        Files.createDirectories(restored.resolve(name).getParent());
        Files.write(restored.resolve(name), client.getObjectAsBytes(get -> get.bucket(bucket).key(name)).asByteArray());
    }

    public static void main(String[] arguments) throws Exception {
        S3Client proxy = plain(System.getenv("ENDPOINT")), amazon = amazon();
"""

PROGRAMS = [
    Program(
        name="S3 Encryption Client for Python", group=GROUP, installs=(Pip("clients", "amazon-s3-encryption-client-python"), Pip("localstack", "localstack-core")),
        what="files written by the proxy and read by Amazon's client, and the other way", note=NOTE, rule=RULE, sizes=SIZES, with_storage=LocalStack,
        language="py", interpreter=("python",), kill_after=8_000_000,
        store=PYTHON + """
for name in ("large", "small"):
    plain.put_object(Bucket=bucket, Key=f"by-proxy/{name}", Body=(source / "by-proxy" / name).read_bytes())
    amazon.put_object(Bucket=bucket, Key=f"by-client/{name}", Body=(source / "by-client" / name).read_bytes())
""",
        restore=PYTHON + """
for folder, client in (("by-proxy", amazon), ("by-client", plain)):
    (restored / folder).mkdir(exist_ok=True)
    for name in ("large", "small"):
        (restored / folder / name).write_bytes(client.get_object(Bucket=bucket, Key=f"{folder}/{name}")["Body"].read())
""",
    ),
    Program(
        name="S3 Encryption Client for Java", group=GROUP, installs=(Maven("java", "amazon-s3-encryption-client-java"), Pip("localstack", "localstack-core")),
        what="files written by the proxy and read by Amazon's client, and the other way", note=NOTE, rule=RULE, sizes=SIZES, with_storage=LocalStack,
        language="java", interpreter=("java", "-Xmx1g"), kill_after=8_000_000,
        store=JAVA + """        for (var name : new String[] {"large", "small"}) {
            store(proxy, "by-proxy/" + name);
            store(amazon, "by-client/" + name);
        }
    }
}
""",
        restore=JAVA + """        for (var name : new String[] {"large", "small"}) {
            restore(amazon, "by-proxy/" + name);
            restore(proxy, "by-client/" + name);
        }
    }
}
""",
    ),
]  # fmt: skip
