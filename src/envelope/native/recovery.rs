//! Recovery keys: X25519 key pairs, whose public half seals data keys in the proxy and whose private half,
//! kept away from it, opens them without any key service (F-66, F-67).
//!
//! It must not know files or where an entry is stored. It promises that private keys are zeroed when dropped
//! and never shown, and that a public key which it accepts can seal.

mod pem;

use std::fmt;

use bytes::Bytes;
use hpke::aead::{AeadTag, AesGcm256};
use hpke::inout::InOutBuf;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};
use zeroize::Zeroizing;

use super::holders::SEALED_KEY;
use super::{FormatError, HolderFingerprint, HolderKind, Result, kdf};
use crate::envelope::DataKey;
use crate::envelope::data_key::KEY_LENGTH;

/// Length in bytes of an X25519 key, and of the encapsulated key.
const X25519_KEY: usize = 32;
/// Length in bytes of a wrapping for a recovery key: `enc(32) | ciphertext(48)` (F-66).
const BLOB: usize = X25519_KEY + SEALED_KEY;
/// Maximum length of an encryption context in bytes. HPKE's key schedule takes 64 KiB; AWS KMS takes 8 KB.
const MAX_CONTEXT: usize = 32 * 1_024;

/// Why a file holds no recovery key of the expected half.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecoveryKeyError {
    /// There is no PEM block, or more than one, or the block is cut or not base64.
    #[error("is no PEM file of one key")]
    NotPem,
    /// A private key where a public one is required.
    #[error("holds a private key, which must be kept offline; name the file of its public key here")]
    PrivateKey,
    /// A public key where a private one is required.
    #[error("holds a public key, which opens nothing; name the file of its private key here")]
    PublicKey,
    /// A private key under a passphrase.
    #[error("is encrypted; decrypt it first, with `openssl pkey -in FILE -out PLAIN.pem`")]
    Encrypted,
    /// A key of another algorithm or in another structure.
    #[error(
        "holds no X25519 key as `s3veil keygen --recovery` or `openssl genpkey -algorithm x25519` makes it"
    )]
    OtherAlgorithm,
    /// A public key of low order, under which everyone could open what it seals.
    #[error("holds an invalid X25519 public key: a point of low order")]
    LowOrder,
}

/// The public half of a recovery key.
#[derive(Clone, PartialEq, Eq)]
pub struct RecoveryPublicKey(<X25519HkdfSha256 as Kem>::PublicKey);

impl RecoveryPublicKey {
    /// Parses a PEM file (RFC 7468) of one SubjectPublicKeyInfo (RFC 8410), as `openssl pkey -pubout` writes
    /// it.
    ///
    /// # Errors
    /// [`RecoveryKeyError`], also for a point of low order (F-67).
    pub fn from_pem(text: &[u8]) -> Result<Self, RecoveryKeyError> {
        Self::from_bytes(&pem::parse_public(text)?)
    }

    fn from_bytes(bytes: &[u8; X25519_KEY]) -> Result<Self, RecoveryKeyError> {
        let key = Deserializable::from_bytes(bytes).map_err(|_| RecoveryKeyError::OtherAlgorithm)?;
        let key = Self(key);
        // Whether the shared secret is zero (RFC 7748, section 6.1) depends on the public key alone, since
        // every private key is a multiple of the cofactor: what seals once can always seal.
        if key.try_seal(&DataKey::from_bytes([0; KEY_LENGTH]), &[]).is_none() {
            return Err(RecoveryKeyError::LowOrder);
        }
        Ok(key)
    }

    /// The PEM file that [`Self::from_pem`] reads.
    pub fn to_pem(&self) -> String {
        pem::write_public(&self.to_bytes())
    }

    /// The fingerprint of the entries that this key seals (F-62).
    pub fn fingerprint(&self) -> HolderFingerprint {
        HolderFingerprint::new(HolderKind::Recovery, &self.to_bytes())
    }

    /// Seals the data key: HPKE in base mode (RFC 9180) with DHKEM(X25519, HKDF-SHA256), HKDF-SHA256 and
    /// AES-256-GCM, whose `info` holds the canonical encryption context of the object's realm (F-66).
    ///
    /// # Panics
    /// If `context` is longer than 32 KiB, or the data key has not 256 bits.
    pub fn seal(&self, data_key: &DataKey, context: &[u8]) -> Bytes {
        assert!(context.len() <= MAX_CONTEXT, "the configuration has no realm of this length");
        self.try_seal(data_key, context).expect("the key sealed when it was parsed")
    }

    /// `None` for a key of low order.
    fn try_seal(&self, data_key: &DataKey, context: &[u8]) -> Option<Bytes> {
        let mut sealed = Zeroizing::new(*data_key.expose());
        let (enc, tag) = hpke::single_shot_seal_inout_detached::<AesGcm256, HkdfSha256, X25519HkdfSha256>(
            &OpModeS::Base,
            &self.0,
            &info(context),
            InOutBuf::from(sealed.as_mut_slice()),
            &[],
        )
        .ok()?;
        Some(Bytes::from([&enc.to_bytes()[..], sealed.as_slice(), &tag.to_bytes()].concat()))
    }

    fn to_bytes(&self) -> [u8; X25519_KEY] {
        self.0.to_bytes().into()
    }
}

impl fmt::Debug for RecoveryPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecoveryPublicKey({})", self.fingerprint())
    }
}

/// The private half of a recovery key, zeroed when dropped.
pub struct RecoveryPrivateKey(<X25519HkdfSha256 as Kem>::PrivateKey);

impl RecoveryPrivateKey {
    /// Makes a new key from the system's generator.
    pub fn generate() -> Self {
        let (private_key, _) = X25519HkdfSha256::gen_keypair();
        Self(private_key)
    }

    /// Parses a PEM file (RFC 7468) of one PKCS#8 PrivateKeyInfo (RFC 8410), as
    /// `openssl genpkey -algorithm x25519` writes it.
    ///
    /// # Errors
    /// [`RecoveryKeyError`].
    pub fn from_pem(text: &[u8]) -> Result<Self, RecoveryKeyError> {
        let bytes = pem::parse_private(text)?;
        let key =
            Deserializable::from_bytes(bytes.as_slice()).map_err(|_| RecoveryKeyError::OtherAlgorithm)?;
        Ok(Self(key))
    }

    /// The PEM file that [`Self::from_pem`] reads. The scalar is written clamped (RFC 7748, section 5).
    pub fn to_pem(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new([0; X25519_KEY]);
        self.0.write_exact(bytes.as_mut_slice());
        pem::write_private(&bytes)
    }

    /// The public half.
    pub fn public_key(&self) -> RecoveryPublicKey {
        RecoveryPublicKey(X25519HkdfSha256::sk_to_pk(&self.0))
    }

    /// Opens what the public half sealed for this canonical encryption context (F-66).
    ///
    /// # Errors
    /// [`FormatError::HolderBlob`] if the blob is not 80 bytes long; [`FormatError::HolderTag`] if it was
    /// sealed for another key or context, or was altered.
    pub fn open(&self, blob: &[u8], context: &[u8]) -> Result<DataKey> {
        let blob: &[u8; BLOB] = blob.try_into().map_err(|_| FormatError::HolderBlob)?;
        let (enc, sealed) = blob.split_at(X25519_KEY);
        let (ciphertext, tag) = sealed.split_at(KEY_LENGTH);
        let mut data_key = Zeroizing::new([0; KEY_LENGTH]);
        data_key.copy_from_slice(ciphertext);
        if context.len() > MAX_CONTEXT {
            return Err(FormatError::HolderTag);
        }
        let opened = AeadTag::<AesGcm256>::from_bytes(tag).and_then(|tag| {
            hpke::single_shot_open_inout_detached::<AesGcm256, HkdfSha256, X25519HkdfSha256>(
                &OpModeR::Base,
                &self.0,
                &Deserializable::from_bytes(enc)?,
                &info(context),
                InOutBuf::from(data_key.as_mut_slice()),
                &[],
                &tag,
            )
        });
        opened.map_err(|_| FormatError::HolderTag)?;
        Ok(DataKey::from_bytes(*data_key))
    }
}

impl fmt::Debug for RecoveryPrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecoveryPrivateKey(redacted)")
    }
}

fn info(context: &[u8]) -> Vec<u8> {
    [kdf::RECOVERY, context].concat()
}

#[cfg(test)]
mod tests;
