use super::login::resource;
use super::refusal::classify;
use super::*;

const VERSION: &[u8] = b"0698c2156c1a4e1da5b6bab6f6422fd6";

fn context() -> EncryptionContext {
    EncryptionContext::native("realm")
}

#[test]
fn a_blob_is_bound_to_its_context_and_to_all_that_it_says() {
    let data_key = DataKey::from_bytes([5; 32]);
    let bytes = Blob::new(AzureAlgorithm::A256Kw, VERSION, &[9; 40]).unwrap().encode(&data_key, &context());
    assert_eq!(bytes[..3], [1, 2, 32]);
    assert_eq!(bytes.len(), 3 + 32 + 32 + 40);
    let (blob, mac) = Blob::parse(&bytes).unwrap();
    assert!(blob.is_bound(&data_key, &context(), mac));
    assert!(!blob.is_bound(&data_key, &EncryptionContext::native("other"), mac), "This is a security issue.");
    assert!(!blob.is_bound(&DataKey::from_bytes([6; 32]), &context(), mac), "This is a security issue.");
    for at in 1..3 + 32 + 32 {
        let mut altered = bytes.clone();
        altered[at] ^= 3;
        let is_bound =
            Blob::parse(&altered).is_some_and(|(blob, mac)| blob.is_bound(&data_key, &context(), mac));
        assert!(!is_bound, "This is a security issue: byte {at}.");
    }
}

#[test]
fn what_is_no_blob_is_not_parsed_and_no_version_leaves_its_place_in_the_url() {
    let blob = |version: &[u8]| Blob::new(AzureAlgorithm::RsaOaep256, version, &[1; 256]).is_some();
    assert!(blob(VERSION));
    for version in [&b""[..], b"../secrets", b"a/b", b"a?b", b"a b", &[b'a'; 65]] {
        assert!(!blob(version), "{}", version.escape_ascii());
    }
    for bytes in [&b""[..], b"vault:v1:AAAA", &[1, 1, 200, 7], &[2; 400], &[1, 9, 1, b'a', 0, 0]] {
        assert!(Blob::parse(bytes).is_none());
    }
}

#[test]
fn a_token_is_for_the_service_that_the_vault_belongs_to() {
    for (host, expected) in [
        ("name.vault.azure.net", "https://vault.azure.net"),
        ("name.managedhsm.azure.net", "https://managedhsm.azure.net"),
        ("name.vault.azure.cn", "https://vault.azure.cn"),
        ("127.0.0.1", "https://vault.azure.net"),
        ("localhost", "https://vault.azure.net"),
    ] {
        assert_eq!(resource(host), expected, "{host}");
    }
}

#[test]
fn every_code_has_its_meaning() {
    for (code, inner, call, expected) in [
        ("Forbidden", "KeyDisabled", Call::Unwrap, Some(KeyringError::KeyDisabled)),
        ("Forbidden", "KeyExpired", Call::Wrap, Some(KeyringError::InvalidKeyState)),
        ("Forbidden", "ForbiddenByRbac", Call::Wrap, Some(KeyringError::Denied)),
        ("Forbidden", "", Call::Wrap, Some(KeyringError::Denied)),
        ("KeyNotFound", "", Call::Unwrap, Some(KeyringError::KeyNotFound)),
        ("Conflict", "ObjectIsDeletedButRecoverable", Call::Wrap, Some(KeyringError::InvalidKeyState)),
        ("KeyOperationNotSupported", "", Call::Wrap, Some(KeyringError::InvalidKeyUsage)),
        ("Throttled", "", Call::Wrap, Some(KeyringError::Throttled)),
        ("BadParameter", "", Call::Unwrap, Some(KeyringError::InvalidCiphertext)),
        ("BadParameter", "", Call::Wrap, None),
        ("BrandNew", "", Call::Unwrap, None),
    ] {
        assert_eq!(classify(code, inner, call), expected, "{code} {inner}");
    }
}
