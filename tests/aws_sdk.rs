//! The Rust AWS SDK as a client of the running binary, against the embedded store and against LocalStack (S3
//! and KMS).
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumMode};
use base64::Engine;
use tempfile::TempDir;

const CHUNK: usize = 65_536;
/// Each algorithm, the length of its checksum in bytes, and how a request is given one.
type Algorithm = (ChecksumAlgorithm, usize, fn(PutObjectFluentBuilder, &str) -> PutObjectFluentBuilder);
const ALGORITHMS: [Algorithm; 5] = [
    (ChecksumAlgorithm::Crc32, 4, |put, value| put.checksum_crc32(value)),
    (ChecksumAlgorithm::Crc32C, 4, |put, value| put.checksum_crc32_c(value)),
    (ChecksumAlgorithm::Crc64Nvme, 8, |put, value| put.checksum_crc64_nvme(value)),
    (ChecksumAlgorithm::Sha1, 20, |put, value| put.checksum_sha1(value)),
    (ChecksumAlgorithm::Sha256, 32, |put, value| put.checksum_sha256(value)),
];

/// The binary, serving on a port of its own until dropped.
struct Proxy {
    process: Child,
    port: u16,
    _directory: TempDir,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Proxy {
    fn start(upstream: &str, keyring: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let configuration = format!(
            "[listen]\naddress = \"127.0.0.1:{port}\"\n[upstream]\n{upstream}\n[keyring]\n{keyring}\n\
             [[client]]\naccess_key_id = \"sdk\"\nsecret_access_key = \"sdk-secret\"\naccess = \"admin\"\n[[bucket]]\nname = \"*\"\n"
        );
        let file = directory.path().join("proxy.toml");
        std::fs::write(&file, configuration).unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_s3veil"))
            .args(["serve", "--config"])
            .arg(&file)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap()).lines();
        let serving = log.by_ref().map_while(Result::ok).any(|line| line.contains("serving"));
        assert!(serving, "the proxy ended before it served");
        // The pipe is read to its end, so that the proxy never waits for it.
        std::thread::spawn(move || log.for_each(drop));
        Self { process, port, _directory: directory }
    }

    fn client(&self) -> Client {
        let configuration = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .endpoint_url(format!("http://127.0.0.1:{}", self.port))
            .credentials_provider(Credentials::new("sdk", "sdk-secret", None, None, "test"))
            .force_path_style(true)
            .build();
        Client::from_conf(configuration)
    }
}

fn content(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index * 31 + index / 251) as u8).collect()
}

async fn everything(client: &Client) {
    let bucket = format!("sdk-{}", uuid::Uuid::new_v4());
    client.create_bucket().bucket(&bucket).send().await.unwrap();
    round_trips(client, &bucket).await;
    checksums(client, &bucket).await;
    refusals(client, &bucket).await;
    presigned(client, &bucket).await;
    client.delete_object().bucket(&bucket).key("dir/object").send().await.unwrap();
    let gone = client.get_object().bucket(&bucket).key("dir/object").send().await.unwrap_err();
    assert_eq!(gone.code(), Some("NoSuchKey"));
}

async fn round_trips(client: &Client, bucket: &str) {
    for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 5 * CHUNK + 7] {
        let content = content(length);
        let put = client.put_object().bucket(bucket).key("dir/object").metadata("colour", "blue");
        let put =
            put.content_type("text/x-test").body(ByteStream::from(content.clone())).send().await.unwrap();
        let head = client.head_object().bucket(bucket).key("dir/object").send().await.unwrap();
        assert_eq!(head.content_length(), Some(length as i64));
        assert_eq!(head.metadata().unwrap().len(), 1, "nothing of ours shows");
        assert_eq!(head.metadata().unwrap()["colour"], "blue");
        assert_eq!((head.e_tag(), head.content_type()), (put.e_tag(), Some("text/x-test")));
        let got = client.get_object().bucket(bucket).key("dir/object").send().await.unwrap();
        assert_eq!(got.body.collect().await.unwrap().to_vec(), content);
        for (range, slice) in [
            ("bytes=0-0", 0..1),
            ("bytes=65530-65540", 65_530..65_541),
            ("bytes=65536-", CHUNK..length),
            ("bytes=-5", length.saturating_sub(5)..length),
        ] {
            let answer = client.get_object().bucket(bucket).key("dir/object").range(range).send().await;
            if slice.start >= length {
                assert_eq!(answer.unwrap_err().code(), Some("InvalidRange"), "{range} of {length}");
                continue;
            }
            let got = answer.unwrap().body.collect().await.unwrap().to_vec();
            assert_eq!(got, content[slice.start..slice.end.min(length)], "{range} of {length}");
        }
    }
}

async fn checksums(client: &Client, bucket: &str) {
    for (algorithm, length, set) in ALGORITHMS {
        let put = client.put_object().bucket(bucket).key("summed").checksum_algorithm(algorithm.clone());
        put.body(ByteStream::from(content(CHUNK + 9))).send().await.unwrap();
        let get = client.get_object().bucket(bucket).key("summed").checksum_mode(ChecksumMode::Enabled);
        // The SDK verifies what the proxy says.
        assert_eq!(get.send().await.unwrap().body.collect().await.unwrap().to_vec(), content(CHUNK + 9));
        let wrong = client.put_object().bucket(bucket).key("wrong").body(ByteStream::from_static(b"content"));
        let digest = |bytes: usize| base64::engine::general_purpose::STANDARD.encode(vec![0; bytes]);
        let wrong = wrong.checksum_algorithm(algorithm.clone());
        let wrong = set(wrong, &digest(length));
        assert_eq!(wrong.send().await.unwrap_err().code(), Some("BadDigest"), "{algorithm}");
        let missing = client.head_object().bucket(bucket).key("wrong").send().await.unwrap_err();
        assert!(missing.into_service_error().is_not_found(), "{algorithm}: a refused body became an object");
    }
}

async fn refusals(client: &Client, bucket: &str) {
    let torrent = client.get_object_torrent().bucket(bucket).key("summed");
    assert_eq!(torrent.send().await.unwrap_err().code(), Some("NotImplemented"));
    let reserved = client.put_object().bucket(bucket).key("x").metadata("encryption-key", "mine");
    assert_eq!(reserved.send().await.unwrap_err().code(), Some("InvalidArgument"));
}

async fn presigned(client: &Client, bucket: &str) {
    let config = || PresigningConfig::expires_in(std::time::Duration::from_secs(60)).unwrap();
    let get = client.get_object().bucket(bucket).key("summed").presigned(config()).await.unwrap();
    let fetched = Command::new("curl").args(["-sSf", get.uri()]).output().unwrap();
    assert!(fetched.status.success(), "{}", String::from_utf8_lossy(&fetched.stderr));
    assert_eq!(fetched.stdout, content(CHUNK + 9));
}

#[tokio::test]
async fn the_sdk_against_the_embedded_store() {
    let proxy = Proxy::start(
        "endpoint = \"embedded:./data\"\nregion = \"us-east-1\"",
        "provider = \"local\"\nfile = \"./keyring\"",
    );
    everything(&proxy.client()).await;
}

#[expect(clippy::disallowed_methods, reason = "the test's own settings")]
fn endpoint(name: &str) -> String {
    std::env::var(name)
        .unwrap_or_else(|_| panic!("{name} must name LocalStack's endpoint; scripts/test sets it"))
}

#[tokio::test]
#[ignore = "needs LocalStack: scripts/test starts it"]
async fn the_sdk_against_localstack() {
    let (s3, kms) = (endpoint("S3VEIL_TEST_S3_ENDPOINT"), endpoint("S3VEIL_TEST_KMS_ENDPOINT"));
    let configuration = aws_sdk_kms::Config::builder()
        .behavior_version(aws_sdk_kms::config::BehaviorVersion::latest())
        .region(aws_sdk_kms::config::Region::new("us-east-1"))
        .endpoint_url(&kms)
        .credentials_provider(aws_sdk_kms::config::Credentials::new("test", "test", None, None, "test"))
        .build();
    let key_service = aws_sdk_kms::Client::from_conf(configuration);
    let key = key_service.create_key().send().await.unwrap();
    let key_id = key.key_metadata().unwrap().key_id();
    let alias = format!("alias/s3veil-{key_id}");
    key_service.create_alias().alias_name(&alias).target_key_id(key_id).send().await.unwrap();
    let credentials = "access_key_id = \"test\"\nsecret_access_key = \"test\"";
    let proxy = Proxy::start(
        &format!("endpoint = \"{s3}\"\nregion = \"us-east-1\"\n{credentials}"),
        &format!("provider = \"aws-kms\"\nkey_id = \"{alias}\"\nendpoint = \"{kms}\"\n{credentials}"),
    );
    everything(&proxy.client()).await;
}
