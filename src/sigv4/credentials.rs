//! A client's access key pair.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::scope::CredentialScope;
use super::signing_key::SigningKey;

/// The public half of a key pair, as in `Credential=`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AccessKeyId(String);

impl AccessKeyId {
    /// Takes the name as it is; any string may be one.
    pub fn new(access_key_id: impl Into<String>) -> Self {
        Self(access_key_id.into())
    }

    /// The name as sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AccessKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The secret half of a key pair: never printed, wiped when dropped, compared in constant time.
///
/// Deliberately not `Clone`; share it behind an `Arc`.
pub struct SecretAccessKey {
    secret: Zeroizing<String>,
    /// The scope and signing key of the latest valid signature. A client signs for one region all day, and
    /// the derivation is half the cost of a verification.
    cached_key: Mutex<Option<(CredentialScope, SigningKey)>>,
}

impl SecretAccessKey {
    /// Takes over the secret; the given string is moved, not copied.
    pub fn new(secret: impl Into<Zeroizing<String>>) -> Self {
        Self { secret: secret.into(), cached_key: Mutex::new(None) }
    }

    pub(in crate::sigv4) fn expose(&self) -> &[u8] {
        self.secret.as_bytes()
    }

    /// The signing key for a scope, derived unless it is the cached one.
    pub(in crate::sigv4) fn signing_key(&self, scope: &CredentialScope) -> SigningKey {
        let cached = self.cached_key.lock().unwrap_or_else(PoisonError::into_inner);
        let known = cached.as_ref().filter(|(known, _)| known == scope).map(|(_, key)| key.clone());
        drop(cached);
        known.unwrap_or_else(|| SigningKey::derive(self, scope))
    }

    /// Caches the signing key of a scope that had a valid signature. Keys of invalid signatures are not
    /// cached: otherwise any client could evict the key in use.
    pub(in crate::sigv4) fn cache_signing_key(&self, scope: &CredentialScope, signing_key: &SigningKey) {
        let mut cached = self.cached_key.lock().unwrap_or_else(PoisonError::into_inner);
        if cached.as_ref().is_none_or(|(known, _)| known != scope) {
            *cached = Some((scope.clone(), signing_key.clone()));
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_printed() {
        let secret = SecretAccessKey::new(String::from("wJalrXUtnFEMI"));
        assert_eq!(format!("{secret:?}"), "SecretAccessKey(redacted)");
    }

    #[test]
    fn the_remembered_signing_key_is_the_one_of_the_scope() {
        let scope = |date: &str, region: &str| CredentialScope { date: date.into(), region: region.into() };
        let scopes = [scope("20130524", "a"), scope("20130525", "a"), scope("20130525", "b")];
        let secret = SecretAccessKey::new(String::from("secret"));
        for cached in &scopes {
            secret.cache_signing_key(cached, &secret.signing_key(cached));
            for requested in &scopes {
                let derived = SigningKey::derive(&secret, requested).sign(b"text");
                let signature = secret.signing_key(requested).sign(b"text");
                assert!(
                    signature.matches(derived.as_str()),
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
