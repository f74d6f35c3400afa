//! A real OpenBao: keys, policies and logins made with the root token of a development server.

use std::path::Path;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use s3veil::keyring::{Provider, Vault, VaultLogin};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The root token with which `scripts/openbao` starts the server.
pub(super) const ROOT: &str = "root";

#[expect(clippy::disallowed_methods, reason = "where the server is, only the environment knows")]
pub(super) fn address() -> String {
    std::env::var("S3VEIL_TEST_VAULT_ADDRESS")
        .expect("S3VEIL_TEST_VAULT_ADDRESS names no OpenBao to test against, such as http://127.0.0.1:8200")
}

/// A client of the server with every right.
pub(super) struct Admin {
    http: Client<HttpConnector, Full<Bytes>>,
}

/// A key of Transit, and a token with the least policy for it.
pub(super) struct Key {
    pub(super) name: String,
    directory: TempDir,
}

impl Admin {
    /// A client of the server, on which Transit and AppRole are mounted.
    pub(super) async fn new() -> Self {
        let admin = Self { http: Client::builder(TokioExecutor::new()).build_http() };
        // A second mount is refused: another test was first.
        admin.call(Method::POST, "sys/mounts/transit", ROOT, &json!({ "type": "transit" })).await;
        admin.call(Method::POST, "sys/auth/approle", ROOT, &json!({ "type": "approle" })).await;
        admin
    }

    /// Status and body of one request.
    pub(super) async fn call(&self, method: Method, path: &str, token: &str, body: &Value) -> (u16, Value) {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}/v1/{path}", address()))
            .header("x-vault-token", token)
            .body(Full::new(Bytes::from(body.to_string())))
            .expect("the path is valid");
        let response = self.http.request(request).await.expect("the server responds");
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.expect("the response is complete").to_bytes();
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    /// The body of a request with the root token, which succeeds.
    pub(super) async fn post(&self, path: &str, body: &Value) -> Value {
        let (status, response) = self.call(Method::POST, path, ROOT, body).await;
        assert!((200..300).contains(&status), "{path}: {status} {response}");
        response
    }

    pub(super) async fn delete(&self, path: &str) {
        let (status, response) = self.call(Method::DELETE, path, ROOT, &Value::Null).await;
        assert!((200..300).contains(&status), "{path}: {status} {response}");
    }

    /// A new key, and a token that may make and open its data keys, and no more.
    pub(super) async fn new_key(&self, is_derived: bool) -> Key {
        let directory = tempfile::tempdir().expect("a directory for the token");
        let unique = directory.path().file_name().and_then(|name| name.to_str()).expect("the name is ASCII");
        let name = format!("key-{}", unique.trim_start_matches('.'));
        self.post(&format!("transit/keys/{name}"), &json!({ "derived": is_derived })).await;
        self.post(&format!("sys/policies/acl/{name}"), &json!({ "policy": least_policy(&name) })).await;
        let token = self.token(&name, "1h").await;
        std::fs::write(directory.path().join("token"), token + "\n").expect("the directory is writable");
        Key { name, directory }
    }

    /// A token of this policy.
    pub(super) async fn token(&self, policy: &str, ttl: &str) -> String {
        let created = self.post("auth/token/create", &json!({ "policies": [policy], "ttl": ttl })).await;
        created["auth"]["client_token"].as_str().expect("a token was made").to_owned()
    }

    /// A valid token that may use no key.
    pub(super) async fn token_without_rights(&self) -> String {
        self.token("default", "1h").await
    }
}

/// What `docs/HOLDERS.md` says is enough.
fn least_policy(key: &str) -> String {
    format!(
        "path \"transit/datakey/plaintext/{key}\" {{ capabilities = [\"update\"] }}\n\
         path \"transit/decrypt/{key}\" {{ capabilities = [\"update\"] }}\n"
    )
}

impl Key {
    pub(super) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Settings with the token of the least policy.
    pub(super) fn provider(&self) -> Provider {
        self.with_login(VaultLogin::Token { token_file: self.directory().join("token") })
    }

    pub(super) fn with_login(&self, login: VaultLogin) -> Provider {
        Provider::Vault(settings(&address(), &self.name, login))
    }

    /// Settings with another token, in a file of its own.
    pub(super) fn provider_with_token(&self, token: &str) -> Provider {
        let token_file = self.directory().join("another-token");
        std::fs::write(&token_file, token).expect("the directory is writable");
        self.with_login(VaultLogin::Token { token_file })
    }

    /// Settings of another key, with the root token.
    pub(super) fn provider_with_root(&self, key: &str) -> Provider {
        let token_file = self.directory().join("root-token");
        std::fs::write(&token_file, ROOT).expect("the directory is writable");
        Provider::Vault(settings(&address(), key, VaultLogin::Token { token_file }))
    }
}

/// Settings of a key in the mount `transit`.
pub(super) fn settings(address: &str, key: &str, login: VaultLogin) -> Vault {
    Vault {
        address: address.parse().expect("the address is a URL"),
        mount: "transit".to_owned(),
        key: key.to_owned(),
        namespace: None,
        ca_file: None,
        login,
    }
}
