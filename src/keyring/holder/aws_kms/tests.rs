use std::sync::{Arc, Mutex};

use aws_credential_types::Credentials;
use aws_credential_types::credential_fn::provide_credentials_fn;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::keyring::{CacheSettings, HolderSettings, KeyRule, Keyring, Provider, Reuse, Settings, Wrappings};

const ARN: &str = "arn:aws:kms:eu-west-3:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";

/// An endpoint with one response for every request, which records the requests' bodies.
struct Canned {
    endpoint: String,
    requests: Arc<Mutex<Vec<Value>>>,
}

impl Canned {
    async fn responding(status: u16, body: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::<Mutex<Vec<Value>>>::default();
        let response = format!(
            "HTTP/1.1 {status} x\r\ncontent-type: application/x-amz-json-1.1\r\ncontent-length: {}\r\n\
             connection: close\r\n\r\n{body}",
            body.len()
        );
        let noted = Arc::clone(&requests);
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                let body = loop {
                    let mut buffer = [0; 4_096];
                    let len = stream.read(&mut buffer).await.unwrap();
                    assert_ne!(len, 0, "the client hung up");
                    request.extend_from_slice(&buffer[..len]);
                    let head_end = request.windows(4).position(|window| window == b"\r\n\r\n");
                    let body = head_end.map(|at| &request[at + 4..]);
                    if let Some(body) = body.and_then(|body| serde_json::from_slice(body).ok()) {
                        break body;
                    }
                };
                noted.lock().unwrap().push(body);
                stream.write_all(response.as_bytes()).await.unwrap();
                stream.shutdown().await.unwrap();
            }
        });
        Self { endpoint, requests }
    }

    async fn kms(&self) -> AwsKmsHolder {
        AwsKmsHolder::build(settings(&self.endpoint)).await.unwrap()
    }
}

fn settings(endpoint: &str) -> AwsKms {
    AwsKms {
        key_id: Some(KeyId::parse(ARN).unwrap()),
        endpoint: Some(endpoint.to_owned()),
        region: Some("eu-west-3".to_owned()),
        credentials: Some(Credentials::new("AKIDEXAMPLE", "secret", None, None, "test")),
    }
}

fn key_id() -> KeyId {
    KeyId::parse("alias/s3veil").unwrap()
}

fn context() -> EncryptionContext {
    EncryptionContext::native("logs")
}

#[tokio::test]
async fn decrypt_always_names_its_key_and_the_whole_context() {
    let response = json!({ "Plaintext": STANDARD.encode([5; 32]), "KeyId": ARN, "EncryptionAlgorithm": "SYMMETRIC_DEFAULT" });
    let canned = Canned::responding(200, &response.to_string()).await;
    let decrypted = canned.kms().await.decrypt(b"blob", &context(), &key_id()).await.unwrap();
    assert_eq!(decrypted.data_key.unwrap().expose(), &[5; 32]);
    assert_eq!(decrypted.key_id.as_deref(), Some(ARN));
    let expected = json!({
        "CiphertextBlob": STANDARD.encode("blob"),
        "KeyId": "alias/s3veil",
        "EncryptionAlgorithm": "SYMMETRIC_DEFAULT",
        "EncryptionContext": { "s3veil:version": "1", "s3veil:realm": "logs" },
    });
    assert_eq!(*canned.requests.lock().unwrap(), [expected], "without KeyId anybody's blob would open");
}

#[tokio::test]
async fn a_data_key_of_256_bits_is_requested() {
    let response = json!({ "Plaintext": STANDARD.encode([5; 32]), "KeyId": ARN, "CiphertextBlob": STANDARD.encode("blob") });
    let canned = Canned::responding(200, &response.to_string()).await;
    let generated = canned.kms().await.generate(&key_id(), &context()).await.unwrap();
    assert_eq!(generated.data_key.unwrap().expose(), &[5; 32]);
    assert_eq!((&generated.wrapped[..], generated.key_id.as_deref()), (&b"blob"[..], Some(ARN)));
    let expected = json!({
        "KeyId": "alias/s3veil",
        "KeySpec": "AES_256",
        "EncryptionContext": { "s3veil:version": "1", "s3veil:realm": "logs" },
    });
    assert_eq!(*canned.requests.lock().unwrap(), [expected]);
}

#[tokio::test]
async fn malformed_responses_are_distinguished_from_an_outage() {
    for (body, expected) in [
        (
            json!({ "Plaintext": STANDARD.encode([5; 16]), "KeyId": ARN }).to_string(),
            MalformedResponse::DataKeyLength,
        ),
        (json!({ "KeyId": ARN }).to_string(), MalformedResponse::DataKeyLength),
        (
            json!({ "Plaintext": STANDARD.encode([0; 32]), "KeyId": ARN }).to_string(),
            MalformedResponse::ZeroDataKey,
        ),
        (json!({ "Plaintext": STANDARD.encode([5; 32]) }).to_string(), MalformedResponse::KeyId),
        ("<html>not KMS</html>".to_owned(), MalformedResponse::Unparsable),
    ] {
        let canned = Canned::responding(200, &body).await;
        let keyring = Keyring::build(Settings {
            holders: vec![HolderSettings {
                name: "kms".to_owned(),
                provider: Provider::AwsKms(settings(&canned.endpoint)),
                replica_of: None,
            }],
            cache: CacheSettings::default(),
            reuse: Reuse::Bucket,
        });
        let refused = keyring
            .await
            .unwrap()
            .unwrap(&KeyRule::default(), Wrappings::single(b"blob"), &context())
            .await
            .unwrap_err();
        assert_eq!(refused, KeyringError::Malformed(expected), "{body}");
    }
}

#[tokio::test]
async fn a_throttled_call_is_tried_again_within_bounds() {
    let canned =
        Canned::responding(400, r#"{"__type":"ThrottlingException","message":"Rate exceeded"}"#).await;
    let refused = canned.kms().await.generate(&key_id(), &context()).await.err().map(|failure| failure.error);
    assert_eq!(refused, Some(KeyringError::Throttled));
    assert_eq!(canned.requests.lock().unwrap().len(), MAX_ATTEMPTS as usize);
}

#[tokio::test]
async fn a_denied_call_is_not_tried_again() {
    let canned = Canned::responding(400, r#"{"__type":"AccessDeniedException","Message":"no"}"#).await;
    let refused = canned.kms().await.decrypt(b"blob", &context(), &key_id()).await.err();
    let refused = refused.expect("a refusal");
    assert_eq!(refused.error, KeyringError::Denied);
    assert_eq!(refused.cause.as_deref(), Some("AccessDeniedException: no"), "code and message");
    assert_eq!(canned.requests.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_modelled_error_is_understood_from_its_wire_form() {
    let canned =
        Canned::responding(400, r#"{"__type":"KMSInvalidStateException","message":"pending deletion"}"#)
            .await;
    let refused =
        canned.kms().await.decrypt(b"blob", &context(), &key_id()).await.err().map(|failure| failure.error);
    assert_eq!(refused, Some(KeyringError::InvalidKeyState));
}

#[tokio::test]
async fn a_refused_connection_is_an_outage() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let kms = AwsKmsHolder::build(settings(&endpoint)).await.unwrap();
    assert_eq!(
        kms.generate(&key_id(), &context()).await.err().map(|failure| failure.error),
        Some(KeyringError::Unavailable)
    );
}

#[tokio::test]
async fn missing_credentials_are_no_outage() {
    let canned = Canned::responding(400, "{}").await;
    let provider = provide_credentials_fn(|| async { Err(CredentialsError::not_loaded("none")) });
    let config = canned.kms().await.client.config().to_builder().credentials_provider(provider).build();
    let kms =
        AwsKmsHolder { client: aws_sdk_kms::Client::from_conf(config), key_id: None, place: String::new() };
    assert_eq!(
        kms.generate(&key_id(), &context()).await.err().map(|failure| failure.error),
        Some(KeyringError::Credentials)
    );
    assert_eq!(canned.requests.lock().unwrap().len(), 0);
}

#[tokio::test]
async fn an_endpoint_that_is_no_url_is_refused_at_once() {
    for endpoint in ["127.0.0.1:4566", "kms", "ftp://kms", "http://", "/kms", ""] {
        let refused = AwsKmsHolder::build(settings(endpoint)).await.err();
        assert_eq!(refused, Some(KeyringSetupError::Endpoint(endpoint.to_owned())));
    }
}

#[test]
fn an_endpoint_of_the_environment_keeps_data_keys_private_too() {
    let inherited = |url: &str| inherited_endpoint(&SdkConfig::builder().endpoint_url(url).build());
    for url in ["http://kms.internal:4566", "http://10.0.0.1", "kms.internal:4566", "ftp://kms"] {
        assert_eq!(inherited(url), Err(KeyringSetupError::InheritedEndpoint(url.to_owned())));
    }
    for url in ["https://kms.internal", "http://127.0.0.1:4566", "http://localhost:4566"] {
        assert_eq!(inherited(url), Ok(Some(url.to_owned())));
    }
    assert_eq!(inherited_endpoint(&SdkConfig::builder().build()), Ok(None));
}

#[tokio::test]
async fn the_region_of_an_arn_will_do() {
    let canned = Canned::responding(400, "{}").await;
    let without = AwsKms { region: None, ..settings(&canned.endpoint) };
    let kms = AwsKmsHolder::build(without).await.unwrap();
    assert_eq!(kms.client.config().region().map(Region::as_ref), Some("eu-west-3"));
}

#[test]
fn a_credentials_failure_is_found_wherever_it_is_wrapped() {
    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] CredentialsError);
    let error = |cause| {
        SdkError::<aws_sdk_kms::operation::decrypt::DecryptError, HttpResponse>::construction_failure(Outer(
            cause,
        ))
    };
    assert_eq!(check_error(&error(CredentialsError::not_loaded("none"))).error, KeyringError::Credentials);
    assert_eq!(
        check_error(&error(CredentialsError::provider_timed_out(CONNECT_TIMEOUT))).error,
        KeyringError::Unavailable
    );
}

#[test]
fn every_code_has_its_meaning() {
    for (code, status, expected) in [
        ("AccessDeniedException", 400, KeyringError::Denied),
        ("NotFoundException", 400, KeyringError::KeyNotFound),
        ("DisabledException", 409, KeyringError::KeyDisabled),
        ("KMSInvalidStateException", 409, KeyringError::InvalidKeyState),
        ("InvalidKeyUsageException", 400, KeyringError::InvalidKeyUsage),
        ("IncorrectKeyException", 400, KeyringError::IncorrectKey),
        ("InvalidCiphertextException", 400, KeyringError::InvalidCiphertext),
        ("ThrottlingException", 400, KeyringError::Throttled),
        ("", 429, KeyringError::Throttled),
        ("KeyUnavailableException", 500, KeyringError::Unavailable),
        ("DependencyTimeoutException", 503, KeyringError::Unavailable),
        ("KMSInternalException", 500, KeyringError::Unavailable),
        ("BrandNewServerError", 502, KeyringError::Unavailable),
        ("UnrecognizedClientException", 400, KeyringError::Credentials),
        ("ExpiredTokenException", 400, KeyringError::Credentials),
        ("ValidationException", 400, KeyringError::Unexpected("ValidationException".to_owned())),
        ("", 403, KeyringError::Unexpected("HTTP403".to_owned())),
        ("", 200, KeyringError::Malformed(MalformedResponse::Unparsable)),
        ("evil\r\ncode", 400, KeyringError::Unexpected("evilcode".to_owned())),
    ] {
        assert_eq!(classify_code(code, status), expected, "{code}");
    }
    let long = classify_code(&"x".repeat(1_000), 400);
    assert_eq!(long, KeyringError::Unexpected("x".repeat(MAX_CODE_LEN)));
}
