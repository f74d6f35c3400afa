//! The error texts of the pinned server. `src/keyring/holder/vault/refusal.rs` classifies errors by these
//! texts, so a server that changes one fails this test before it fails in production.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use serde_json::{Value, json};

use super::server::{Admin, Key, ROOT};

/// Status and first error of a call of Transit.
async fn refusal(admin: &Admin, path: &str, token: &str, body: &Value) -> (u16, String) {
    let (status, response) = admin.call(Method::POST, path, token, body).await;
    (status, response["errors"][0].as_str().unwrap_or_default().to_owned())
}

fn context(text: &str) -> String {
    STANDARD.encode(text)
}

async fn blob(admin: &Admin, key: &Key) -> String {
    let path = format!("transit/datakey/plaintext/{}", key.name);
    let made = admin.post(&path, &json!({ "context": context("a") })).await;
    made["data"]["ciphertext"].as_str().expect("a blob").to_owned()
}

async fn assert_refused(admin: &Admin, path: &str, body: &Value, status: u16, text: &str) {
    let refused = refusal(admin, path, ROOT, body).await;
    assert_eq!(refused.0, status, "{path} {body}: {}", refused.1);
    assert!(refused.1.starts_with(text), "{path} {body}: {:?} instead of {text:?}", refused.1);
}

#[tokio::test]
#[ignore = "needs OpenBao"]
async fn refusals_of_blobs_have_the_known_texts() {
    let admin = Admin::new().await;
    let (key, other) = (admin.new_key(true).await, admin.new_key(true).await);
    let (blob, foreign) = (blob(&admin, &key).await, blob(&admin, &other).await);
    assert_eq!(blob.len(), 89, "{blob}");
    let decrypt = format!("transit/decrypt/{}", key.name);
    let cases = [
        (json!({ "ciphertext": blob, "context": context("b") }), "cipher: message authentication failed"),
        (json!({ "ciphertext": foreign, "context": context("a") }), "cipher: message authentication failed"),
        (json!({ "ciphertext": "AAAA", "context": context("a") }), "invalid ciphertext: no prefix"),
        (json!({ "ciphertext": "vault:v1:AAAA", "context": context("a") }), "invalid ciphertext length"),
        (
            json!({ "ciphertext": blob.replacen("v1", "v2", 1), "context": context("a") }),
            "invalid ciphertext: version is too new",
        ),
        (json!({ "ciphertext": blob }), "missing 'context' for key derivation"),
    ];
    for (body, text) in cases {
        assert_refused(&admin, &decrypt, &body, 400, text).await;
    }
}

#[tokio::test]
#[ignore = "needs OpenBao"]
async fn refusals_of_keys_have_the_known_texts() {
    let admin = Admin::new().await;
    let key = admin.new_key(true).await;
    let blob = blob(&admin, &key).await;
    let body = json!({ "ciphertext": blob, "context": context("a") });
    let decrypt = format!("transit/decrypt/{}", key.name);
    let settings = format!("transit/keys/{}", key.name);

    assert_refused(&admin, "transit/decrypt/missing", &body, 400, "encryption key not found").await;
    assert_refused(&admin, "elsewhere/decrypt/missing", &body, 404, "no handler for route").await;

    admin.delete(&format!("{settings}/soft-delete")).await;
    assert_refused(&admin, &decrypt, &body, 400, "refusing to use soft-deleted key").await;
    admin.post(&format!("{settings}/soft-delete-restore"), &json!({})).await;

    admin.post(&format!("{settings}/rotate"), &json!({})).await;
    admin.post(&format!("{settings}/config"), &json!({ "min_decryption_version": 2 })).await;
    let too_old = "ciphertext or signature version is disallowed by policy";
    assert_refused(&admin, &decrypt, &body, 400, too_old).await;
    let rewrap = format!("transit/rewrap/{}", key.name);
    assert_refused(&admin, &rewrap, &body, 400, too_old).await;
}

/// The other blobs of a batch are not failed by one that is refused.
#[tokio::test]
#[ignore = "needs OpenBao"]
async fn a_batch_has_a_result_or_the_known_text_for_each_blob() {
    let admin = Admin::new().await;
    let (key, other) = (admin.new_key(true).await, admin.new_key(true).await);
    let item = |blob: &str| json!({ "ciphertext": blob, "context": context("a") });
    let items = [
        item(&blob(&admin, &key).await),
        item(&blob(&admin, &other).await),
        item("AAAA"),
        item("vault:v1:AAAA"),
    ];
    let body = json!({ "batch_input": items });
    let response = admin.post(&format!("transit/rewrap/{}", key.name), &body).await;
    let results = &response["data"]["batch_results"];
    assert!(results[0]["ciphertext"].as_str().expect("a blob").starts_with("vault:v1:"), "{results}");
    let texts = [
        "cipher: message authentication failed",
        "invalid ciphertext: no prefix",
        "invalid ciphertext length",
    ];
    for (result, text) in results.as_array().expect("a list")[1..].iter().zip(texts) {
        assert!(result["error"].as_str().expect("an error").starts_with(text), "{result}");
    }
}

#[tokio::test]
#[ignore = "needs OpenBao"]
async fn refusals_of_tokens_have_the_known_texts() {
    let admin = Admin::new().await;
    let key = admin.new_key(true).await;
    let path = format!("transit/datakey/plaintext/{}", key.name);
    let body = json!({ "context": context("a") });
    let wrong = refusal(&admin, &path, "s.wrong", &body).await;
    assert_eq!(wrong, (403, "permission denied".to_owned()));
    let powerless = admin.token_without_rights().await;
    let denied = refusal(&admin, &path, &powerless, &body).await;
    assert_eq!(denied, (403, "1 error occurred:\n\t* permission denied\n\n".to_owned()));
    let login = json!({ "role_id": "wrong", "secret_id": "wrong" });
    let refused = refusal(&admin, "auth/approle/login", "", &login).await;
    assert_eq!(refused, (400, "invalid role or secret ID".to_owned()));
}
