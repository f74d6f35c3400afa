//! The Ed25519 keys of checkpoints (RFC 8032), in PEM files (RFC 7468, RFC 8410). It must not know files or
//! what is signed. It promises that a private key is never shown, and that a key has one name: the first 16
//! hexadecimal digits of SHA-256 of the 32 bytes of its public half.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};
use zeroize::Zeroizing;

use crate::wire::hex;

/// Length in bytes of a public key.
const PUBLIC_KEY: usize = 32;
/// SubjectPublicKeyInfo of Ed25519 before the key: SEQUENCE { SEQUENCE { OID 1.3.101.112 }, BIT STRING }.
const SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// Why a file holds no key for checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuditKeyError {
    /// No unencrypted Ed25519 key in PKCS#8.
    #[error("holds no unencrypted Ed25519 private key in PKCS#8, as `s3veil keygen --audit` makes it")]
    PrivateKey,
    /// No Ed25519 public key.
    #[error("holds no Ed25519 public key, as `s3veil keygen --audit` makes it")]
    PublicKey,
    /// The random generator failed.
    #[error("can't be made: the random generator of the system failed")]
    Random,
}

/// A key that signs checkpoints.
#[derive(Clone)]
pub struct SigningKey(Arc<Ed25519KeyPair>);

impl SigningKey {
    /// Makes a new key, and its PEM file.
    ///
    /// # Errors
    /// [`AuditKeyError::Random`].
    pub fn generate() -> Result<(Self, Zeroizing<String>), AuditKeyError> {
        let document = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new());
        let document = document.map_err(|_| AuditKeyError::Random)?;
        let base64 = Zeroizing::new(STANDARD.encode(document.as_ref()));
        let pem =
            Zeroizing::new(format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", *base64));
        Ok((Self::from_pem(pem.as_bytes())?, pem))
    }

    /// Parses a PEM file with a key in PKCS#8, as `openssl genpkey -algorithm ed25519` writes it too.
    ///
    /// # Errors
    /// [`AuditKeyError::PrivateKey`].
    pub fn from_pem(text: &[u8]) -> Result<Self, AuditKeyError> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(text).map_err(|_| AuditKeyError::PrivateKey)?;
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der());
        Ok(Self(Arc::new(pair.map_err(|_| AuditKeyError::PrivateKey)?)))
    }

    /// The public half.
    pub fn public_key(&self) -> PublicKey {
        let key = self.0.public_key().as_ref().try_into();
        PublicKey(key.expect("a public key of Ed25519 has 32 bytes"))
    }

    /// The signature of `message` in base64.
    pub(super) fn sign(&self, message: &[u8]) -> String {
        STANDARD.encode(self.0.sign(message))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public_key().name())
    }
}

/// A key that verifies checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicKey([u8; PUBLIC_KEY]);

impl PublicKey {
    /// Parses a PEM file of one SubjectPublicKeyInfo, as `openssl pkey -pubout` writes it.
    ///
    /// # Errors
    /// [`AuditKeyError::PublicKey`].
    pub fn from_pem(text: &[u8]) -> Result<Self, AuditKeyError> {
        let der = SubjectPublicKeyInfoDer::from_pem_slice(text).map_err(|_| AuditKeyError::PublicKey)?;
        let key = der.strip_prefix(&SPKI).and_then(|key| key.try_into().ok());
        key.map(Self).ok_or(AuditKeyError::PublicKey)
    }

    /// The PEM file of the key.
    pub fn to_pem(self) -> String {
        let base64 = STANDARD.encode([&SPKI[..], &self.0].concat());
        format!("-----BEGIN PUBLIC KEY-----\n{base64}\n-----END PUBLIC KEY-----\n")
    }

    /// The name of the key in checkpoints: 16 hexadecimal digits.
    pub fn name(self) -> String {
        hex::encode(&digest(&SHA256, &self.0).as_ref()[..8])
    }

    /// Whether `signature`, in base64, is that of `message`.
    pub(super) fn verifies(self, message: &[u8], signature: &str) -> bool {
        let Ok(signature) = STANDARD.decode(signature) else { return false };
        UnparsedPublicKey::new(&ED25519, self.0).verify(message, &signature).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by `openssl genpkey -algorithm ed25519`; its public half by `openssl pkey -pubout`.
    const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\n\
                           MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n\
                           -----END PRIVATE KEY-----\n";

    /// RFC 8032, section 7.1, test 1: the private key above, its public key, the signature of nothing.
    #[test]
    fn the_vector_of_the_rfc() {
        let key = SigningKey::from_pem(PRIVATE.as_bytes()).unwrap();
        let public = key.public_key();
        assert_eq!(
            hex::encode(&public.0),
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
        );
        let signature = STANDARD.decode(key.sign(b"")).unwrap();
        assert!(
            hex::encode(&signature)
                .starts_with("e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e0652249")
        );
        assert!(public.verifies(b"", &key.sign(b"")));
        assert!(!public.verifies(b"x", &key.sign(b"")));
        assert!(!public.verifies(b"", "AAAA") && !public.verifies(b"", "no base64"));
    }

    #[test]
    fn keys_pass_through_their_files() {
        let (key, pem) = SigningKey::generate().unwrap();
        let again = SigningKey::from_pem(pem.as_bytes()).unwrap();
        assert_eq!(again.public_key(), key.public_key());
        let public = PublicKey::from_pem(key.public_key().to_pem().as_bytes()).unwrap();
        assert_eq!(public, key.public_key());
        assert_eq!(public.name().len(), 16);
        assert_eq!(format!("{key:?}"), format!("SigningKey({})", public.name()));
    }

    #[test]
    fn other_files_are_refused() {
        let (key, private) = SigningKey::generate().unwrap();
        let public = key.public_key().to_pem();
        for text in ["", "nothing", public.as_str(), &private.replace('M', "N")] {
            assert_eq!(
                SigningKey::from_pem(text.as_bytes()).err(),
                Some(AuditKeyError::PrivateKey),
                "{text}"
            );
        }
        for text in ["", private.as_str(), &public.replace("MCow", "MCox")] {
            assert_eq!(PublicKey::from_pem(text.as_bytes()).err(), Some(AuditKeyError::PublicKey), "{text}");
        }
    }
}
