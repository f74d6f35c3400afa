//! Signing keys and signatures: the only place that turns a secret into a MAC.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac::{HMAC_SHA1_FOR_LEGACY_USE_ONLY, Key as LegacyKey, sign as legacy_sign};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::scope::{CredentialScope, SERVICE, TERMINATOR};
use crate::wire::hex;

/// SHA-256 of nothing, as lowercase hex.
pub(in crate::sigv4) const EMPTY_SHA256: &str =
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// The secret half of a key pair: never printed, wiped when dropped, compared in constant time.
///
/// Deliberately not `Clone`; share it behind an `Arc`.
pub struct SecretAccessKey {
    secret: Zeroizing<String>,
    /// The key of the latest valid signature. A client signs for one region all day, and the derivation is
    /// half the cost of a verification.
    cached_key: Mutex<Option<CachedKey>>,
}

/// A signing key with its scope.
struct CachedKey {
    date: String,
    region: String,
    key: SigningKey,
}

impl SecretAccessKey {
    /// Takes over the secret; the given string is moved, not copied.
    pub fn new(secret: impl Into<Zeroizing<String>>) -> Self {
        Self { secret: secret.into(), cached_key: Mutex::new(None) }
    }

    pub(in crate::sigv4) fn expose(&self) -> &[u8] {
        self.secret.as_bytes()
    }

    /// The cached signing key, if it is that of `scope`.
    pub(in crate::sigv4) fn cached_signing_key(&self, scope: &CredentialScope<'_>) -> Option<SigningKey> {
        let cached = self.cached_key.lock().unwrap_or_else(PoisonError::into_inner);
        let is_of_scope = |cached: &&CachedKey| cached.date == scope.date && cached.region == scope.region;
        cached.as_ref().filter(is_of_scope).map(|cached| cached.key.clone())
    }

    /// Caches the signing key of a scope that had a valid signature. Keys of invalid signatures are not
    /// cached: otherwise any client could evict the key in use.
    pub(in crate::sigv4) fn cache_signing_key(&self, scope: &CredentialScope<'_>, signing_key: &SigningKey) {
        let (date, region) = (scope.date.to_owned(), scope.region.to_owned());
        let mut cached = self.cached_key.lock().unwrap_or_else(PoisonError::into_inner);
        *cached = Some(CachedKey { date, region, key: signing_key.clone() });
    }
}

impl PartialEq for SecretAccessKey {
    fn eq(&self, other: &Self) -> bool {
        self.expose().ct_eq(other.expose()).into()
    }
}

impl Eq for SecretAccessKey {}

impl fmt::Debug for SecretAccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretAccessKey(redacted)")
    }
}

/// A secret narrowed to one day, region and service; it signs the head, every chunk and the trailer.
///
/// Shared, because a clone of the key copies two hash states.
#[derive(Clone)]
pub(in crate::sigv4) struct SigningKey(Arc<Hmac<Sha256>>);

/// HMAC-SHA256 under `key`.
fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes a key of any length")
}

fn authenticate(key: &Hmac<Sha256>, message: &[u8]) -> Zeroizing<[u8; 32]> {
    Zeroizing::new(key.clone().chain_update(message).finalize().into_bytes().into())
}

impl SigningKey {
    /// `HMAC(HMAC(HMAC(HMAC("AWS4" + secret, date), region), "s3"), "aws4_request")`.
    ///
    /// The chain is written out here for clients' secrets, because `aws_sigv4::generate_signing_key`, which
    /// derives the keys for upstream, leaves a copy of the secret in freed memory. A test holds the two
    /// against each other.
    pub(in crate::sigv4) fn derive(secret: &SecretAccessKey, scope: &CredentialScope<'_>) -> Self {
        let exposed = secret.expose();
        let mut start = Zeroizing::new(Vec::with_capacity(4 + exposed.len()));
        start.extend_from_slice(b"AWS4");
        start.extend_from_slice(exposed);
        let mut key = keyed(&start);
        for step in [scope.date, scope.region, SERVICE, TERMINATOR] {
            key = keyed(authenticate(&key, step.as_bytes()).as_slice());
        }
        Self(Arc::new(key))
    }

    /// The key with these bytes, which [`Self::derive`] or aws-sigv4 derives.
    pub(in crate::sigv4) fn from_bytes(key: &[u8]) -> Self {
        Self(Arc::new(keyed(key)))
    }

    pub(in crate::sigv4) fn sign(&self, string_to_sign: &[u8]) -> Signature {
        Signature::V4(hex::encode_array(&authenticate(&self.0, string_to_sign)))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(redacted)")
    }
}

/// A signature this side computed, in the text form clients send.
#[derive(Clone)]
pub(in crate::sigv4) enum Signature {
    /// HMAC-SHA256 in lowercase hexadecimal digits.
    V4([[u8; 2]; 32]),
    /// HMAC-SHA1 in base64.
    V2([u8; 28]),
}

impl Signature {
    /// The Version 2 signature: base64 of HMAC-SHA1 under the secret itself.
    pub(in crate::sigv4) fn v2(secret: &SecretAccessKey, string_to_sign: &[u8]) -> Self {
        let key = LegacyKey::new(HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.expose());
        let mut text = [0; 28];
        STANDARD
            .encode_slice(legacy_sign(&key, string_to_sign), &mut text)
            .expect("the 20 bytes of HMAC-SHA1 are 28 digits in base64");
        Self::V2(text)
    }

    /// Whether the client sent this text; compared in constant time.
    pub(in crate::sigv4) fn matches(&self, provided: &str) -> bool {
        verify_slices_are_equal(self.as_bytes(), provided.as_bytes()).is_ok()
    }

    pub(in crate::sigv4) fn as_str(&self) -> &str {
        str::from_utf8(self.as_bytes()).expect("digits are ASCII")
    }

    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::V4(digits) => digits.as_flattened(),
            Self::V2(digits) => digits,
        }
    }
}

/// A right signature is as good as a password until the request is over.
impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signature(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use aws_sigv4::sign::v4::generate_signing_key;

    use super::*;

    #[test]
    fn the_empty_hash_is_the_hash_of_nothing() {
        assert_eq!(hex::encode(&crate::wire::digest::sha256(b"")), EMPTY_SHA256);
    }

    #[test]
    fn a_signature_matches_itself_only() {
        let secret = SecretAccessKey::new(String::from("secret"));
        let scope = CredentialScope { date: "20130524", region: "us-east-1" };
        let signature = SigningKey::derive(&secret, &scope).sign(b"text");
        let text = signature.as_str().to_owned();
        assert!(signature.matches(&text));
        assert!(!signature.matches(&text.to_uppercase()));
        assert!(!signature.matches(&text[..63]));
        assert!(!signature.matches(""));
        let elsewhere = CredentialScope { region: "eu-west-1", ..scope };
        assert!(!SigningKey::derive(&secret, &elsewhere).sign(b"text").matches(&text));
    }

    #[test]
    fn the_derivation_is_the_one_of_awss_crate() {
        let day = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_369_353_600);
        let theirs = generate_signing_key("secret", day, "us-east-1", SERVICE);
        let theirs = SigningKey::from_bytes(theirs.as_ref()).sign(b"text");
        let secret = SecretAccessKey::new(String::from("secret"));
        let scope = CredentialScope { date: "20130524", region: "us-east-1" };
        assert!(SigningKey::derive(&secret, &scope).sign(b"text").matches(theirs.as_str()));
    }

    #[test]
    fn neither_key_nor_signature_is_printed() {
        let secret = SecretAccessKey::new(String::from("secret"));
        let scope = CredentialScope { date: "20130524", region: "us-east-1" };
        let signing_key = SigningKey::derive(&secret, &scope);
        assert_eq!(format!("{signing_key:?}"), "SigningKey(redacted)");
        assert_eq!(format!("{:?}", signing_key.sign(b"")), "Signature(redacted)");
    }

    #[test]
    fn a_secret_is_never_printed() {
        let secret = SecretAccessKey::new(String::from("wJalrXUtnFEMI"));
        assert_eq!(format!("{secret:?}"), "SecretAccessKey(redacted)");
    }

    #[test]
    fn the_remembered_signing_key_is_the_one_of_the_scope() {
        let scope = |date, region| CredentialScope { date, region };
        let scopes = [scope("20130524", "a"), scope("20130525", "a"), scope("20130525", "b")];
        let secret = SecretAccessKey::new(String::from("secret"));
        for cached in &scopes {
            secret.cache_signing_key(cached, &SigningKey::derive(&secret, cached));
            for requested in &scopes {
                let derived = SigningKey::derive(&secret, requested).sign(b"text");
                let found = secret.cached_signing_key(requested);
                assert_eq!(found.is_some(), requested == cached);
                assert!(
                    found.is_none_or(|key| key.sign(b"text").matches(derived.as_str())),
                    "This is a security issue: a signing key of another scope."
                );
            }
        }
    }

    #[test]
    fn secrets_compare_by_content() {
        let secret = |text: &str| SecretAccessKey::new(text.to_owned());
        assert_eq!(secret("one"), secret("one"));
        assert_ne!(secret("one"), secret("two"));
        assert_ne!(secret("one"), secret("one "));
    }
}
