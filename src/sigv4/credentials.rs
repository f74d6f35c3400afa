//! A client's access key pair.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// The public half of a key pair, as the client names it in `Credential=`.
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
pub struct SecretAccessKey(Zeroizing<String>);

impl SecretAccessKey {
    /// Takes over the secret; the given string is moved, not copied.
    pub fn new(secret: impl Into<Zeroizing<String>>) -> Self {
        Self(secret.into())
    }

    pub(in crate::sigv4) fn expose(&self) -> &[u8] {
        self.0.as_bytes()
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
    fn secrets_compare_by_content() {
        let secret = |text: &str| SecretAccessKey::new(text.to_owned());
        assert_eq!(secret("one"), secret("one"));
        assert_ne!(secret("one"), secret("two"));
        assert_ne!(secret("one"), secret("one "));
    }
}
