use std::path::Path;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use super::login::assertion;
use super::refusal::classify;
use super::*;

#[test]
fn the_checksum_is_castagnolis() {
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    assert!(check_crc32c(b"123456789", Some(&json!("3808858755"))).is_ok());
    assert!(check_crc32c(b"123456789", Some(&json!(3_808_858_755_u64))).is_ok());
    for wrong in [None, Some(json!("0")), Some(json!("")), Some(json!(null)), Some(json!(-1))] {
        let refused = check_crc32c(b"123456789", wrong.as_ref()).unwrap_err();
        assert_eq!(refused.error, KeyringError::Unavailable, "damage on the way is worth another attempt");
    }
}

#[test]
fn an_assertion_is_signed_by_the_service_accounts_key() {
    let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
    let base64 = STANDARD.encode(der.as_ref());
    let key = |token_uri: &str, pem: &str| {
        json!({
            "type": "service_account", "client_email": "s3veil@project.iam.gserviceaccount.com",
            "private_key_id": "0123", "private_key": pem, "token_uri": token_uri,
        })
        .to_string()
    };
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{base64}\n-----END PRIVATE KEY-----\n");
    let google = "https://oauth2.googleapis.com/token";
    let (uri, jwt) = assertion(&key(google, &pem), Path::new("key.json"), 1_000).unwrap();
    assert_eq!(uri, google);
    let (signed, signature) = jwt.rsplit_once('.').unwrap();
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair.public_key().as_ref())
        .verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap())
        .unwrap();
    let parts: Vec<Value> = signed
        .split('.')
        .map(|part| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap())
        .collect();
    assert_eq!(parts[0], json!({ "alg": "RS256", "typ": "JWT", "kid": "0123" }));
    let claims = json!({
        "iss": "s3veil@project.iam.gserviceaccount.com", "aud": google, "iat": 1_000, "exp": 4_600,
        "scope": "https://www.googleapis.com/auth/cloudkms",
    });
    assert_eq!(parts[1], claims);

    for (text, problem) in [
        ("{}".to_owned(), "it is no key of a service account"),
        (key("http://oauth2.googleapis.com/token", &pem), "its token_uri is no https:// address"),
        (
            key(google, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
            "no RSA key in PKCS #8",
        ),
    ] {
        let refused = assertion(&text, Path::new("key.json"), 0).unwrap_err();
        assert_eq!(refused.error, KeyringError::Credentials);
        let cause = refused.cause.unwrap();
        assert!(cause.starts_with("key_file key.json: ") && cause.contains(problem), "{cause}");
    }
}

#[test]
fn every_code_has_its_meaning() {
    let disabled = "projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1 is not enabled, current state \
                    is: DISABLED.";
    let destroyed = disabled.replace("DISABLED", "DESTROY_SCHEDULED");
    for (status, message, call, expected) in [
        ("PERMISSION_DENIED", "", Call::Decrypt, Some(KeyringError::Denied)),
        ("UNAUTHENTICATED", "", Call::Decrypt, Some(KeyringError::Credentials)),
        ("NOT_FOUND", "", Call::Encrypt, Some(KeyringError::KeyNotFound)),
        ("FAILED_PRECONDITION", disabled, Call::Encrypt, Some(KeyringError::KeyDisabled)),
        ("FAILED_PRECONDITION", &destroyed, Call::Decrypt, Some(KeyringError::InvalidKeyState)),
        ("FAILED_PRECONDITION", "the purpose is MAC", Call::Encrypt, Some(KeyringError::InvalidKeyUsage)),
        (
            "INVALID_ARGUMENT",
            "Decryption failed: verify that 'name' refers to the correct CryptoKey.",
            Call::Decrypt,
            Some(KeyringError::InvalidCiphertext),
        ),
        ("INVALID_ARGUMENT", "The checksum did not match", Call::Decrypt, Some(KeyringError::Unavailable)),
        ("INVALID_ARGUMENT", "", Call::Encrypt, None),
        ("RESOURCE_EXHAUSTED", "", Call::Decrypt, Some(KeyringError::Throttled)),
        ("UNAVAILABLE", "", Call::Decrypt, Some(KeyringError::Unavailable)),
        ("INTERNAL", "", Call::Encrypt, Some(KeyringError::Unavailable)),
        ("BRAND_NEW", "", Call::Decrypt, None),
    ] {
        assert_eq!(classify(status, message, call), expected, "{status} {message}");
    }
}
