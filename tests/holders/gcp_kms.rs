//! Google Cloud KMS in the suite, played by a fake that was written from its documentation: no emulator can
//! be had.
//! <https://cloud.google.com/kms/docs/reference/rest/v1/projects.locations.keyRings.cryptoKeys/encrypt>,
//! <https://cloud.google.com/kms/docs/reference/rest/v1/projects.locations.keyRings.cryptoKeys/decrypt>

use std::path::Path;
use std::sync::{Arc, Mutex};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, Uri};
use s3veil::keyring::{GcpKms, GcpLogin, KeyId, Keyring, KeyringError, Provider, RoundTrip, RoundTripError};
use serde_json::Value;
use tempfile::TempDir;

use crate::bench::{Bench, Delete, Deny, Disable, Login, Name, Rotate, context, keyring, read, write};
use crate::conformance;
use crate::fault_cases::Scripted;
use crate::scripted_server::{Reply, ScriptedServer, json};

const KEY: &str = "projects/p/locations/europe-west3/keyRings/r/cryptoKeys/s3veil";

/// The state of the fake's one key.
struct Cloud {
    versions: Vec<[u8; 32]>,
    state: &'static str,
    /// The token that the service accepts, and counts.
    token: String,
    /// Damages each response but every third.
    is_noisy: bool,
    calls: usize,
}

struct GcpBench {
    cloud: Arc<Mutex<Cloud>>,
    server: ScriptedServer,
    directory: TempDir,
}

fn settings(address: &str, key: &str, login: GcpLogin) -> Provider {
    let address: Uri = format!("http://{address}").parse().expect("an address");
    Provider::GcpKms(GcpKms {
        key_id: KeyId::parse(key).expect("a key's name"),
        endpoint: address.clone(),
        login,
        metadata: address,
    })
}

fn error(code: u16, status: &str, message: &str) -> Reply {
    json(code, format!(r#"{{"error":{{"code":{code},"message":"{message}","status":"{status}"}}}}"#))
}

fn crc32c(bytes: &[u8]) -> String {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes).to_string()
}

/// A field of the request in bytes, if its checksum is right.
fn field(body: &Value, name: &str) -> Option<Vec<u8>> {
    let bytes = STANDARD.decode(body[name].as_str()?).ok()?;
    (body[format!("{name}Crc32c")].as_str() == Some(&crc32c(&bytes))).then_some(bytes)
}

fn cipher(key: &[u8; 32]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("32 bytes"))
}

impl Cloud {
    fn respond(&mut self, request: &Request<Bytes>) -> Reply {
        let path = request.uri().path();
        if path == "/computeMetadata/v1/instance/service-accounts/default/token" {
            if request.headers().get("metadata-flavor").is_none_or(|flavor| flavor != "Google") {
                return json(403, "");
            }
            return json(
                200,
                format!(r#"{{"access_token":"{}","expires_in":3599,"token_type":"Bearer"}}"#, self.token),
            );
        }
        let token =
            request.headers().get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
        if token == "Bearer powerless" {
            return error(
                403,
                "PERMISSION_DENIED",
                "Permission 'cloudkms.cryptoKeyVersions.useToEncrypt' denied",
            );
        }
        if token != format!("Bearer {}", self.token) {
            return error(401, "UNAUTHENTICATED", "Request had invalid authentication credentials.");
        }
        let Some(call) = path.strip_prefix(&format!("/v1/{KEY}:")) else {
            return error(404, "NOT_FOUND", "CryptoKey not found.");
        };
        if self.state != "ENABLED" {
            let message =
                format!("{KEY}/cryptoKeyVersions/1 is not enabled, current state is: {}.", self.state);
            return error(400, "FAILED_PRECONDITION", &message);
        }
        let body: Value = serde_json::from_slice(request.body()).expect("JSON");
        let Some(aad) = field(&body, "additionalAuthenticatedData") else {
            return error(
                400,
                "INVALID_ARGUMENT",
                "The checksum in additional_authenticated_data_crc32c did not match",
            );
        };
        self.calls += 1;
        match call {
            "encrypt" => self.encrypt(&body, aad),
            "decrypt" => self.decrypt(&body, aad),
            _ => error(404, "NOT_FOUND", "no such method"),
        }
    }

    fn checksum(&self, bytes: &[u8]) -> String {
        if self.is_noisy && !self.calls.is_multiple_of(3) { "1".to_owned() } else { crc32c(bytes) }
    }

    fn encrypt(&self, body: &Value, aad: Vec<u8>) -> Reply {
        let mut sealed = field(body, "plaintext").expect("a plaintext with its checksum");
        let version = self.versions.len();
        let mut nonce = [0; NONCE_LEN];
        aws_lc_rs::rand::fill(&mut nonce).expect("random bytes");
        cipher(&self.versions[version - 1])
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), &mut sealed)
            .expect("a short text");
        let blob = [&[0x0a, u8::try_from(version).expect("few versions")], &nonce[..], &sealed].concat();
        json(
            200,
            serde_json::json!({
                "name": format!("{KEY}/cryptoKeyVersions/{version}"),
                "ciphertext": STANDARD.encode(&blob), "ciphertextCrc32c": self.checksum(&blob),
                "verifiedPlaintextCrc32c": true, "verifiedAdditionalAuthenticatedDataCrc32c": true,
                "protectionLevel": "HSM",
            })
            .to_string(),
        )
    }

    fn decrypt(&self, body: &Value, aad: Vec<u8>) -> Reply {
        let blob = field(body, "ciphertext").expect("a ciphertext with its checksum");
        let refused = || {
            error(
                400,
                "INVALID_ARGUMENT",
                "Decryption failed: verify that 'name' refers to the correct CryptoKey.",
            )
        };
        let Some((&[0x0a, version], rest)) = blob.split_first_chunk() else { return refused() };
        let Some((nonce, sealed)) = rest.split_first_chunk::<NONCE_LEN>() else { return refused() };
        let Some(key) = usize::from(version).checked_sub(1).and_then(|at| self.versions.get(at)) else {
            return refused();
        };
        let mut sealed = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let Ok(plaintext) = cipher(key).open_in_place(nonce, Aad::from(aad), &mut sealed) else {
            return refused();
        };
        json(
            200,
            serde_json::json!({
                "plaintext": STANDARD.encode(&*plaintext), "plaintextCrc32c": self.checksum(plaintext),
                "usedPrimary": true, "protectionLevel": "HSM",
            })
            .to_string(),
        )
    }
}

fn new_version() -> [u8; 32] {
    let mut key = [0; 32];
    aws_lc_rs::rand::fill(&mut key).expect("random bytes");
    key
}

impl GcpBench {
    fn with_token(&self, token: &str) -> Provider {
        let token_file = self.directory.path().join(token);
        std::fs::write(&token_file, token).expect("the directory is there");
        settings(&self.server.address.to_string(), KEY, GcpLogin::Token { token_file })
    }

    fn change(&self, change: impl FnOnce(&mut Cloud)) {
        change(&mut self.cloud.lock().expect("no test panics in the fake"));
    }
}

impl Bench for GcpBench {
    async fn new() -> Self {
        let cloud = Cloud {
            versions: vec![new_version()],
            state: "ENABLED",
            token: "good".to_owned(),
            is_noisy: false,
            calls: 0,
        };
        let cloud = Arc::new(Mutex::new(cloud));
        let script = Arc::clone(&cloud);
        let server = ScriptedServer::start(move |request| {
            script.lock().expect("no test panics in the fake").respond(request)
        })
        .await;
        Self { cloud, server, directory: tempfile::tempdir().expect("a directory for files") }
    }

    fn provider(&self) -> Provider {
        self.with_token("good")
    }
}

impl Name for GcpBench {
    fn missing_key(&self) -> Provider {
        let token_file = self.directory.path().join("good");
        settings(&self.server.address.to_string(), &format!("{KEY}-missing"), GcpLogin::Token { token_file })
    }
}

impl Disable for GcpBench {
    async fn disable(&self) {
        self.change(|cloud| cloud.state = "DISABLED");
    }

    async fn enable(&self) {
        self.change(|cloud| cloud.state = "ENABLED");
    }
}

impl Delete for GcpBench {
    const DELETED: KeyringError = KeyringError::InvalidKeyState;

    async fn delete(&self) {
        self.change(|cloud| cloud.state = "DESTROY_SCHEDULED");
    }
}

impl Rotate for GcpBench {
    async fn rotate(&self) {
        self.change(|cloud| cloud.versions.push(new_version()));
    }
}

impl Deny for GcpBench {
    async fn without_right(&self) -> Provider {
        self.with_token("powerless")
    }
}

impl Login for GcpBench {
    async fn with_wrong_credentials(&self) -> Provider {
        self.with_token("wrong")
    }
}

conformance! { cases::<GcpBench>:
    a_data_key_comes_back_in_another_process,
    an_existing_data_key_is_wrapped,
    another_realm_does_not_open,
    a_blob_of_another_key_does_not_open,
    an_altered_blob_does_not_open,
    what_is_no_blob_does_not_open,
    a_missing_key_neither_writes_nor_reads,
    a_check_makes_the_round_trip,
    a_disabled_key_neither_writes_nor_reads,
    a_deleted_key_neither_writes_nor_reads,
    rotation_keeps_old_blobs_readable,
    credentials_without_the_right_are_denied,
    wrong_credentials_are_told_apart,
}

#[tokio::test]
async fn a_damaged_response_is_requested_again() {
    let bench = GcpBench::new().await;
    bench.change(|cloud| cloud.is_noisy = true);
    let written = write(bench.provider()).await.expect("every third response is whole");
    let read = read(bench.provider(), &written.wrapped).await.expect("every third response is whole");
    assert_eq!(read.data_key.expose(), written.data_key.expose());
}

/// Two calls of the service, past the caches.
async fn check_with(keyring: &Keyring) -> Result<RoundTrip, RoundTripError> {
    keyring.check(0, None, &context()).await
}

#[tokio::test]
async fn the_metadata_servers_token_is_shared_and_replaced_once_it_is_refused() {
    let bench = GcpBench::new().await;
    let address = bench.server.address.to_string();
    let keyring = keyring(settings(&address, KEY, GcpLogin::Metadata)).await;
    let logins = || bench.server.received("computeMetadata").len();
    let (one, two) = tokio::join!(check_with(&keyring), check_with(&keyring));
    one.expect("the token is good");
    two.expect("the token is good");
    assert_eq!(logins(), 1, "concurrent calls share one login");
    bench.change(|cloud| cloud.token = "rotated".to_owned());
    check_with(&keyring).await.expect("a refused token is replaced");
    assert_eq!(logins(), 2);
}

mod scripted {
    //! What a broken or malicious service may respond.

    use super::*;

    struct ScriptedGcp;

    impl Scripted for ScriptedGcp {
        const MAKES_DATA_KEYS: bool = false;

        fn provider(address: &str, directory: &Path) -> Provider {
            let token_file = directory.join("token");
            std::fs::write(&token_file, "good").expect("the directory is there");
            settings(address, KEY, GcpLogin::Token { token_file })
        }

        fn respond(request: &Request<Bytes>, data_key: &[u8]) -> Reply {
            let body: Value = serde_json::from_slice(request.body()).unwrap_or_default();
            if let Some(plaintext) = field(&body, "plaintext") {
                return json(
                    200,
                    serde_json::json!({
                        "name": format!("{KEY}/cryptoKeyVersions/1"),
                        "ciphertext": STANDARD.encode(&plaintext), "ciphertextCrc32c": crc32c(&plaintext),
                        "verifiedPlaintextCrc32c": true, "verifiedAdditionalAuthenticatedDataCrc32c": true,
                    })
                    .to_string(),
                );
            }
            let ciphertext = field(&body, "ciphertext").unwrap_or_default();
            let plaintext = if ciphertext == Self::blob() { data_key } else { &ciphertext };
            json(
                200,
                serde_json::json!({
                    "plaintext": STANDARD.encode(plaintext), "plaintextCrc32c": crc32c(plaintext),
                })
                .to_string(),
            )
        }

        fn is_login(_request: &Request<Bytes>) -> bool {
            false
        }

        fn blob() -> Vec<u8> {
            b"a blob".to_vec()
        }

        fn throttled() -> Reply {
            error(429, "RESOURCE_EXHAUSTED", "Quota exceeded for quota metric 'Cryptographic requests'")
        }
    }

    conformance! { fault_cases::<ScriptedGcp>:
        the_script_is_a_healthy_service,
        a_throttling_service_is_throttling,
        a_failing_service_is_unavailable,
        a_service_that_hangs_up_is_unavailable,
        a_silent_service_is_unavailable,
        a_response_that_is_none_gives_no_key,
        an_endless_response_gives_no_key,
        a_redirect_is_not_followed,
        a_data_key_of_zeros_or_of_another_length_is_refused,
    }
}
