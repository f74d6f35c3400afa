//! Azure Key Vault in the suite, played by a fake that was written from its documentation: no emulator can be
//! had. <https://learn.microsoft.com/en-us/rest/api/keyvault/keys/wrap-key/wrap-key>,
//! <https://learn.microsoft.com/en-us/azure/key-vault/general/rest-error-codes>,
//! <https://learn.microsoft.com/en-us/entra/identity-platform/v2-oauth2-client-creds-grant-flow>

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use aws_lc_rs::key_wrap::{AES_256, AesKek, KeyWrap};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{Request, Uri};
use s3veil::keyring::{AzureAlgorithm, AzureKeyVault, AzureLogin, KeyringError, Provider};
use serde_json::Value;
use tempfile::TempDir;

use crate::bench::{
    Bench, Delete, Deny, Disable, Login, Name, Rotate, is_refusal_of_blob, keyring, write_with,
};
use crate::conformance;
use crate::fault_cases::Scripted;
use crate::scripted_server::{Reply, ScriptedServer, json};

const KEY: &str = "s3veil";

/// The state of the fake's one key.
struct Vault {
    address: String,
    versions: Vec<[u8; 32]>,
    /// The refusal of every operation.
    refusal: Option<(u16, &'static str)>,
    secret: &'static str,
}

struct AzureBench {
    vault: Arc<Mutex<Vault>>,
    server: ScriptedServer,
    directory: TempDir,
}

fn settings(address: &str, key: &str, login: AzureLogin) -> Provider {
    let address: Uri = format!("http://{address}").parse().expect("an address");
    Provider::AzureKeyVault(AzureKeyVault {
        vault: address.clone(),
        key: key.to_owned(),
        algorithm: AzureAlgorithm::A256Kw,
        login,
        authority: address.clone(),
        metadata: address,
    })
}

fn error(status: u16, code: &str, inner: &str) -> Reply {
    let inner =
        if inner.is_empty() { String::new() } else { format!(r#","innererror":{{"code":"{inner}"}}"#) };
    json(status, format!(r#"{{"error":{{"code":"{code}","message":"in words"{inner}}}}}"#))
}

fn token(value: &str, expires_in: &str) -> Reply {
    json(200, format!(r#"{{"token_type":"Bearer","expires_in":{expires_in},"access_token":"{value}"}}"#))
}

/// A version's name, which has 32 letters and digits.
fn version_name(number: usize) -> String {
    format!("{number:032}")
}

fn kek(key: &[u8; 32]) -> AesKek {
    AesKek::new(&AES_256, key).expect("32 bytes")
}

impl Vault {
    fn log_in(&self, request: &Request<Bytes>) -> Reply {
        let form = String::from_utf8_lossy(request.body());
        let secret = format!("client_secret={}", self.secret);
        let has = |field: &str| form.split('&').any(|given| given == field);
        let scope = "scope=https%3A%2F%2Fvault.azure.net%2F.default";
        if !has("grant_type=client_credentials") || !has("client_id=app") || !has(scope) {
            return json(400, r#"{"error":"invalid_request","error_description":"AADSTS900144"}"#);
        }
        let is_federated = has("client_assertion=jwt")
            && has("client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer");
        if has(&secret) || is_federated {
            return token("good", "3599");
        }
        json(
            401,
            r#"{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret provided."}"#,
        )
    }

    fn respond(&self, request: &Request<Bytes>) -> Reply {
        let path = request.uri().path();
        if path == "/tenant/oauth2/v2.0/token" {
            return self.log_in(request);
        }
        if path == "/metadata/identity/oauth2/token" {
            let query = "api-version=2018-02-01&resource=https%3A%2F%2Fvault.azure.net";
            let is_right = request.uri().query() == Some(query) && request.headers().contains_key("metadata");
            return if is_right {
                token("good", "\"3599\"")
            } else {
                json(400, r#"{"error":"invalid_request"}"#)
            };
        }
        match request.headers().get("authorization").and_then(|value| value.to_str().ok()) {
            Some("Bearer good") => {}
            Some("Bearer powerless") => return error(403, "Forbidden", "ForbiddenByRbac"),
            _ => return error(401, "Unauthorized", ""),
        }
        assert_eq!(request.uri().query(), Some("api-version=7.4"));
        let parts: Vec<_> = path.split('/').collect();
        let ["", "keys", KEY, version, operation] = parts.as_slice() else {
            return error(404, "KeyNotFound", "");
        };
        if let Some((status, inner)) = self.refusal {
            return error(status, if status == 409 { "Conflict" } else { "Forbidden" }, inner);
        }
        let number = if version.is_empty() { Ok(self.versions.len()) } else { version.parse() };
        let key = number.ok().and_then(|number| Some((number, self.versions.get(number.checked_sub(1)?)?)));
        let Some((number, key)) = key else { return error(404, "KeyNotFound", "") };
        let body: Value = serde_json::from_slice(request.body()).expect("JSON");
        assert_eq!(body["alg"], "A256KW");
        let value = URL_SAFE_NO_PAD.decode(body["value"].as_str().expect("a value")).expect("base64url");
        let mut output = vec![0; 1_024];
        let result = match *operation {
            "wrapkey" => kek(key).wrap(&value, &mut output),
            "unwrapkey" => kek(key).unwrap(&value, &mut output),
            _ => return error(404, "NotFound", ""),
        };
        let Ok(result) = result else { return error(400, "BadParameter", "") };
        let kid = format!("http://{}/keys/{KEY}/{}", self.address, version_name(number));
        json(200, serde_json::json!({ "kid": kid, "value": URL_SAFE_NO_PAD.encode(&*result) }).to_string())
    }
}

fn new_version() -> [u8; 32] {
    let mut key = [0; 32];
    aws_lc_rs::rand::fill(&mut key).expect("random bytes");
    key
}

impl AzureBench {
    fn file(&self, name: &str, content: &str) -> PathBuf {
        let file = self.directory.path().join(name);
        std::fs::write(&file, content).expect("the directory is there");
        file
    }

    fn provider_of(&self, key: &str, login: AzureLogin) -> Provider {
        settings(&self.server.address.to_string(), key, login)
    }

    fn with_secret(&self, secret: &str) -> Provider {
        let secret_file = self.file(secret, secret);
        let (tenant, client_id) = ("tenant".to_owned(), "app".to_owned());
        self.provider_of(KEY, AzureLogin::ClientSecret { tenant, client_id, secret_file })
    }

    fn change(&self, change: impl FnOnce(&mut Vault)) {
        change(&mut self.vault.lock().expect("no test panics in the fake"));
    }
}

impl Bench for AzureBench {
    async fn new() -> Self {
        let vault =
            Vault { address: String::new(), versions: vec![new_version()], refusal: None, secret: "s3cret" };
        let vault = Arc::new(Mutex::new(vault));
        let script = Arc::clone(&vault);
        let server = ScriptedServer::start(move |request| {
            script.lock().expect("no test panics in the fake").respond(request)
        })
        .await;
        let bench = Self { vault, server, directory: tempfile::tempdir().expect("a directory for files") };
        let address = bench.server.address.to_string();
        bench.change(|vault| vault.address = address);
        bench
    }

    fn provider(&self) -> Provider {
        self.with_secret("s3cret")
    }
}

impl Name for AzureBench {
    fn missing_key(&self) -> Provider {
        let token_file = self.file("token", "good");
        self.provider_of("missing", AzureLogin::Token { token_file })
    }
}

impl Disable for AzureBench {
    async fn disable(&self) {
        self.change(|vault| vault.refusal = Some((403, "KeyDisabled")));
    }

    async fn enable(&self) {
        self.change(|vault| vault.refusal = None);
    }
}

impl Delete for AzureBench {
    const DELETED: KeyringError = KeyringError::InvalidKeyState;

    async fn delete(&self) {
        self.change(|vault| vault.refusal = Some((409, "ObjectIsDeletedButRecoverable")));
    }
}

impl Rotate for AzureBench {
    async fn rotate(&self) {
        self.change(|vault| vault.versions.push(new_version()));
    }
}

impl Deny for AzureBench {
    async fn without_right(&self) -> Provider {
        let token_file = self.file("token", "powerless");
        self.provider_of(KEY, AzureLogin::Token { token_file })
    }
}

impl Login for AzureBench {
    async fn with_wrong_credentials(&self) -> Provider {
        self.with_secret("wrong")
    }
}

/// A blob whose key version has no key: the service says KeyNotFound for it.
fn is_of_missing_version(error: &KeyringError) -> bool {
    is_refusal_of_blob(error) || *error == KeyringError::KeyNotFound
}

conformance! { cases::<AzureBench>:
    a_data_key_comes_back_in_another_process,
    an_existing_data_key_is_wrapped,
    another_realm_does_not_open,
    a_blob_of_another_key_does_not_open,
    what_is_no_blob_does_not_open,
    a_missing_key_neither_writes_nor_reads,
    a_check_makes_the_round_trip,
    a_disabled_key_neither_writes_nor_reads,
    a_deleted_key_neither_writes_nor_reads,
    rotation_keeps_old_blobs_readable,
    credentials_without_the_right_are_denied,
    wrong_credentials_are_told_apart,
}

mod altered {
    //! An altered blob may name a version that the key does not have.

    use super::*;

    struct AlteredBench(AzureBench);

    impl Bench for AlteredBench {
        async fn new() -> Self {
            Self(AzureBench::new().await)
        }

        fn provider(&self) -> Provider {
            self.0.provider()
        }

        fn is_refusal_of_blob(error: &KeyringError) -> bool {
            is_of_missing_version(error)
        }
    }

    conformance! { cases::<AlteredBench>: an_altered_blob_does_not_open }
}

#[tokio::test]
async fn each_login_gives_a_token_that_calls_share() {
    let bench = AzureBench::new().await;
    let (tenant, client_id) = ("tenant".to_owned(), "app".to_owned());
    let assertion_file = bench.file("assertion", "jwt");
    for (login, path) in [
        (AzureLogin::ManagedIdentity { client_id: None }, "/metadata/identity"),
        (AzureLogin::Federated { tenant, client_id, assertion_file }, "/tenant/oauth2"),
    ] {
        let before = bench.server.received(path).len();
        let keyring = keyring(bench.provider_of(KEY, login)).await;
        for _ in 0..3 {
            write_with(&keyring).await.expect("the login is good");
        }
        assert_eq!(bench.server.received(path).len() - before, 1, "{path}");
    }
}

#[tokio::test]
async fn a_refused_login_is_not_repeated_for_each_call() {
    let bench = AzureBench::new().await;
    let keyring = keyring(bench.with_secret("wrong")).await;
    let started = std::time::Instant::now();
    for _ in 0..50 {
        assert_eq!(write_with(&keyring).await.expect_err("no login"), KeyringError::Credentials);
    }
    let seconds = usize::try_from(started.elapsed().as_secs()).expect("a short test");
    assert!(bench.server.received("/tenant/oauth2").len() <= 1 + seconds, "at most one login a second");
}

mod scripted {
    //! What a broken or malicious service may respond.

    use super::*;

    struct ScriptedVault;

    impl Scripted for ScriptedVault {
        const MAKES_DATA_KEYS: bool = false;

        fn provider(address: &str, directory: &Path) -> Provider {
            let token_file = directory.join("token");
            std::fs::write(&token_file, "good").expect("the directory is there");
            settings(address, KEY, AzureLogin::Token { token_file })
        }

        fn respond(_request: &Request<Bytes>, _data_key: &[u8]) -> Reply {
            error(500, "InternalServerError", "")
        }

        fn is_login(_request: &Request<Bytes>) -> bool {
            false
        }

        fn blob() -> Vec<u8> {
            [&[1, 2, 32], version_name(1).as_bytes(), &[0; 32 + 40]].concat()
        }

        fn throttled() -> Reply {
            error(429, "Throttled", "")
        }
    }

    conformance! { fault_cases::<ScriptedVault>:
        a_throttling_service_is_throttling,
        a_failing_service_is_unavailable,
        a_service_that_hangs_up_is_unavailable,
        a_silent_service_is_unavailable,
        a_response_that_is_none_gives_no_key,
        an_endless_response_gives_no_key,
        a_redirect_is_not_followed,
    }
}
