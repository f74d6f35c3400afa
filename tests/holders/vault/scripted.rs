//! OpenBao played by a script: AppRole, `datakey/plaintext` and `decrypt` of a derived key. A blob names its
//! context, by which it is refused in another one.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Request;
use s3veil::keyring::{Provider, VaultLogin};
use serde_json::Value;

use super::server::settings;
use crate::bench::context;
use crate::conformance;
use crate::fault_cases::Scripted;
use crate::scripted_server::{Reply, json};

pub(super) const TOKEN: &str = "s.scripted";

pub(super) struct ScriptedVault;

impl Scripted for ScriptedVault {
    fn provider(address: &str, directory: &Path) -> Provider {
        let secret_id_file = directory.join("secret-id");
        std::fs::write(&secret_id_file, "secret\n").expect("the directory is writable");
        let login =
            VaultLogin::AppRole { mount: "approle".to_owned(), role_id: "role".to_owned(), secret_id_file };
        Provider::Vault(settings(&format!("http://{address}"), "scripted", login))
    }

    fn respond(request: &Request<Bytes>, data_key: &[u8]) -> Reply {
        let body: Value = serde_json::from_slice(request.body()).unwrap_or(Value::Null);
        match request.uri().path() {
            "/v1/auth/approle/login" => token(TOKEN, 3600, true),
            "/v1/transit/datakey/plaintext/scripted" => transit(&body["context"], data_key),
            "/v1/transit/decrypt/scripted" if body["ciphertext"] == blob(&body["context"]) => {
                transit(&body["context"], data_key)
            }
            "/v1/transit/decrypt/scripted" => {
                json(400, r#"{"errors":["cipher: message authentication failed"]}"#)
            }
            path => json(
                404,
                format!(r#"{{"errors":["no handler for route {path:?}. route entry not found."]}}"#),
            ),
        }
    }

    fn is_login(request: &Request<Bytes>) -> bool {
        request.uri().path().starts_with("/v1/auth/")
    }

    fn blob() -> Vec<u8> {
        blob(&STANDARD.encode(context().canonical()).into()).into_bytes()
    }
}

/// A successful login or renewal.
pub(super) fn token(token: &str, lease: u64, is_renewable: bool) -> Reply {
    let auth = format!(r#"{{"client_token":"{token}","lease_duration":{lease},"renewable":{is_renewable}}}"#);
    json(200, format!(r#"{{"auth":{auth},"warnings":null}}"#))
}

fn blob(context: &Value) -> String {
    format!("vault:v1:{}", context.as_str().unwrap_or_default())
}

fn transit(context: &Value, data_key: &[u8]) -> Reply {
    let (plaintext, blob) = (STANDARD.encode(data_key), blob(context));
    json(200, format!(r#"{{"data":{{"plaintext":"{plaintext}","ciphertext":"{blob}","key_version":1}}}}"#))
}

conformance! { fault_cases::<ScriptedVault>:
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

#[tokio::test]
async fn a_sealed_server_is_unavailable_and_says_so() {
    let server =
        crate::scripted_server::ScriptedServer::start(|_| json(503, r#"{"errors":["Vault is sealed"]}"#))
            .await;
    let directory = tempfile::tempdir().expect("a directory for files");
    let provider = ScriptedVault::provider(&server.address.to_string(), directory.path());
    let failure = crate::bench::check(provider).await.expect_err("sealed");
    assert_eq!(failure.error, s3veil::keyring::KeyringError::Unavailable);
    assert_eq!(failure.cause.as_deref(), Some("Vault is sealed"));
}
