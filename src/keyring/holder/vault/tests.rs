use http::{HeaderValue, StatusCode};
use zeroize::Zeroizing;

use super::client::HttpResponse;
use super::refusal::Refusal;
use super::*;

fn response(status: u16, body: &str) -> HttpResponse {
    HttpResponse {
        status: StatusCode::from_u16(status).unwrap(),
        content_type: Some(HeaderValue::from_static("application/json")),
        body: Zeroizing::new(body.as_bytes().to_vec()),
    }
}

fn errors(status: u16, text: &str) -> HttpResponse {
    response(status, &serde_json::json!({ "errors": [text] }).to_string())
}

fn failure(response: &HttpResponse) -> (KeyringError, String) {
    match response.refusal(1) {
        Refusal::Failed(CheckError { error, cause }) => (error, cause.unwrap()),
        Refusal::TokenRejected { words, .. } => panic!("a rejected token: {words}"),
    }
}

#[test]
fn each_refusal_has_its_kind_and_the_words_of_the_server() {
    let unexpected = |status: u16| KeyringError::Unexpected(format!("HTTP{status}"));
    let cases = [
        (400, "cipher: message authentication failed", KeyringError::InvalidCiphertext),
        (400, "chacha20poly1305: message authentication failed", KeyringError::InvalidCiphertext),
        (400, "invalid ciphertext: no prefix", KeyringError::InvalidCiphertext),
        (400, "invalid ciphertext length", KeyringError::InvalidCiphertext),
        (400, "invalid ciphertext: version is too new", KeyringError::InvalidCiphertext),
        (400, "encryption key not found", KeyringError::KeyNotFound),
        (400, "refusing to use soft-deleted key", KeyringError::KeyDisabled),
        (400, "message encryption not supported for key type ed25519", KeyringError::InvalidKeyUsage),
        (
            400,
            "missing 'context' for key derivation; the key was created using a derived key",
            unexpected(400),
        ),
        (400, "illegal base64 data at input byte 0", unexpected(400)),
        (400, "something new", unexpected(400)),
        (403, "1 error occurred:\n\t* permission denied\n\n", KeyringError::Denied),
        (405, "unsupported operation", unexpected(405)),
        (412, "required index state not present", KeyringError::Unavailable),
        (429, "request path \"transit/decrypt/k\": rate limit quota exceeded", KeyringError::Throttled),
        (500, "internal error", KeyringError::Unavailable),
        (503, "Vault is sealed", KeyringError::Unavailable),
    ];
    for (status, text, expected) in cases {
        let (error, cause) = failure(&errors(status, text));
        assert_eq!(error, expected, "{text}");
        assert_eq!(cause, text.split_whitespace().collect::<Vec<_>>().join(" "));
    }
}

#[test]
fn what_an_operator_can_change_is_said() {
    let too_old = "ciphertext or signature version is disallowed by policy (too old)";
    let (error, cause) = failure(&errors(400, too_old));
    assert_eq!(error, KeyringError::InvalidKeyState);
    assert_eq!(cause, format!("{too_old}: rewrap, or lower min_decryption_version"));
    let no_route = "no handler for route \"transti/decrypt/k\". route entry not found.";
    let (error, cause) = failure(&errors(404, no_route));
    assert_eq!(error, KeyringError::KeyNotFound);
    assert_eq!(cause, format!("{no_route}: correct mount or namespace"));
}

#[test]
fn a_rejected_token_is_told_from_a_policy() {
    let invalid = r#"{"errors":["2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"]}"#;
    let two = r#"{"errors":["permission denied","invalid token"]}"#;
    for body in [r#"{"errors":["permission denied"]}"#, invalid, two] {
        let refusal = response(403, body).refusal(7);
        assert!(matches!(refusal, Refusal::TokenRejected { session: 7, .. }), "{refusal:?}");
    }
}

#[test]
fn a_refused_login_is_about_credentials_and_an_outage_is_not() {
    for (status, text) in
        [(400, "invalid role or secret ID"), (403, "permission denied"), (404, "no handler")]
    {
        let CheckError { error, cause } = errors(status, text).login_failure();
        assert_eq!((error, cause.as_deref()), (KeyringError::Credentials, Some(text)));
    }
    let outages =
        [(429, KeyringError::Throttled), (500, KeyringError::Unavailable), (503, KeyringError::Unavailable)];
    for (status, expected) in outages {
        assert_eq!(errors(status, "no").login_failure().error, expected);
    }
    assert_eq!(response(404, "<html>").login_failure().error, KeyringError::Unexpected("HTTP404".to_owned()));
}

#[test]
fn a_response_of_another_server_is_described() {
    let mut html = response(404, "<html>");
    html.content_type = Some(HeaderValue::from_static("text/html"));
    let (error, cause) = failure(&html);
    assert_eq!(error, KeyringError::Unexpected("HTTP404".to_owned()));
    assert_eq!(cause, "HTTP status 404 with the Content-Type \"text/html\"");
    let long = failure(&errors(400, &"x".repeat(10_000))).1;
    assert!(long.len() <= 400, "{} characters", long.len());
}

#[test]
fn only_a_blob_of_transit_is_sent() {
    assert_eq!(parse_blob(b"vault:v1:AAAA").unwrap(), "vault:v1:AAAA");
    assert_eq!(parse_blob(b"vault:v10:AAAA").unwrap(), "vault:v10:AAAA");
    let others = [
        &b""[..],
        b"vault",
        b"AAAA",
        b"vault:v1",
        b"vault:v:AAAA",
        b"vault:v0:AAAA",
        b"vault:v01:AAAA",
        b"vault:v+1:AAAA",
        b"vault:v1:\xff",
        b"vault:v1:A A",
        b"vault:v1:\n",
    ];
    for blob in others {
        assert_eq!(parse_blob(blob).unwrap_err().error, KeyringError::InvalidCiphertext);
    }
}
