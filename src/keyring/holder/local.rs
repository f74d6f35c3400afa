//! The local holder: wrapping keys in a file, for machines without a key service. It must not know caches or
//! other holders. It promises the contexts and refusals of AWS KMS; the keys are as safe as the file, whose
//! readers can read every object.

mod file;
#[cfg(test)]
mod tests;

use std::fmt;
use std::future::ready;
use std::path::PathBuf;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, MAX_TAG_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf;
use bytes::Bytes;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use self::file::reserialize;
pub use self::file::{generate, rotate};

use super::{DecryptedKey, GeneratedKey, KeyProvider, Response, WrappedKey};
use crate::envelope::native::HolderKind;
use crate::envelope::{DataKey, fill_random};
use crate::keyring::settings::Local;
use crate::keyring::{
    CheckError, EncryptionContext, KeyId, KeyringError, KeyringSetupError, MAX_WRAPPED_KEY_LEN,
};

/// Version of the `CiphertextBlob` layout:
/// ```text
/// prefix    version(1)=1 | len8 | key id (1 to 64 bytes) | salt(32) random
/// wrapped   AES-256-GCM(wrap key, nonce 0^12, data key, AAD = prefix | canonical context)             = 48
/// wrap key  HKDF-SHA256(ikm = wrapping key, salt, info = "s3veil/keyring/local/v1\0", 32)
/// ```
/// A wrap key is used once, so its nonce may be zero, and one wrapping key may wrap any number of data keys.
const BLOB_VERSION: u8 = 1;
const INFO: &[u8] = b"s3veil/keyring/local/v1\0";
const SALT_LEN: usize = 32;
const DATA_KEY_LEN: usize = 32;
const WRAPPED_LEN: usize = DATA_KEY_LEN + MAX_TAG_LEN;
/// Maximum length of a key id, in bytes: every object's metadata holds one, and S3 limits metadata to 2,048
/// bytes.
const MAX_LOCAL_KEY_ID_LEN: usize = 64;
/// Maximum number of a keyring's key ids in an error message.
const SHOWN_IDS: usize = 8;

/// A 256-bit key that wraps data keys.
#[derive(Zeroize, ZeroizeOnDrop)]
struct WrappingKey([u8; 32]);

impl fmt::Debug for WrappingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WrappingKey(redacted)")
    }
}

#[derive(Debug)]
pub(in crate::keyring) struct LocalHolder {
    /// The id of the current key first, in the order of `wrapping_keys`.
    ids: Vec<KeyId>,
    /// The file's path, for error messages.
    file: PathBuf,
    wrapping_keys: Vec<WrappingKey>,
}

/// The fields of a blob, not yet authenticated.
struct Blob<'a> {
    prefix: &'a [u8],
    key_id: &'a [u8],
    salt: &'a [u8],
    wrapped: &'a [u8],
}

impl LocalHolder {
    pub(super) fn open(settings: Local) -> Result<Self, KeyringSetupError> {
        let Local { file, create_if_missing } = settings;
        if create_if_missing {
            match generate(&file) {
                Ok(id) => {
                    tracing::warn!(
                        file = %file.display(),
                        key_id = %id,
                        "created a keyring: back it up, it is the only way to the objects"
                    );
                }
                Err(KeyringSetupError::Exists(_)) => {}
                Err(error) => return Err(error),
            }
        }
        let mut keys = file::read(&file)?.keys;
        keys.sort_by_key(|stored| !stored.current);
        let (ids, wrapping_keys) = keys.into_iter().map(|stored| (stored.id, stored.secret)).unzip();
        Ok(Self { ids, file, wrapping_keys })
    }

    /// Adds the keyring's file and ids to an error about a key that the keyring does not have.
    fn explain(&self, error: KeyringError) -> CheckError {
        let cause = (error == KeyringError::KeyNotFound).then(|| format!("not in {}", self.describe()));
        CheckError { error, cause }
    }

    /// The keyring's file and the ids in it: `./data/keyring (has: local-1, local-2)`.
    fn describe(&self) -> String {
        let ids: Vec<_> = self.ids.iter().take(SHOWN_IDS).map(KeyId::as_str).collect();
        let rest = if self.ids.len() > SHOWN_IDS { ", …" } else { "" };
        format!("{} (has: {}{rest})", self.file.display(), ids.join(", "))
    }

    fn generate(&self, key_id: &KeyId, context: &EncryptionContext) -> Result<GeneratedKey, KeyringError> {
        let mut data_key = Zeroizing::new([0; DATA_KEY_LEN]);
        fill_random(data_key.as_mut_slice());
        let WrappedKey { wrapped, key_id } = self.wrap(&data_key, context, key_id)?;
        Ok(GeneratedKey { data_key: DataKey::try_from_slice(data_key.as_slice()), wrapped, key_id })
    }

    fn wrap(
        &self,
        data_key: &[u8; DATA_KEY_LEN],
        context: &EncryptionContext,
        key_id: &KeyId,
    ) -> Result<WrappedKey, KeyringError> {
        let wrapping_key = self.wrapping_key(key_id)?;
        let id = key_id.as_str().as_bytes();
        let id_len = u8::try_from(id.len()).expect("ids were read from the file, 64 bytes long at most");
        let mut salt = [0; SALT_LEN];
        fill_random(&mut salt);
        let prefix = [&[BLOB_VERSION, id_len], id, &salt].concat();
        let mut wrapped = Zeroizing::new(*data_key);
        let tag = wrap_key(wrapping_key, &salt)
            .seal_in_place_separate_tag(
                zero_nonce(),
                associated_data(&prefix, context),
                wrapped.as_mut_slice(),
            )
            .expect("48 bytes are within what AES-GCM seals");
        Ok(WrappedKey {
            wrapped: Bytes::from([&prefix, wrapped.as_slice(), tag.as_ref()].concat()),
            key_id: Some(key_id.as_str().to_owned()),
        })
    }

    fn decrypt(
        &self,
        wrapped: &[u8],
        context: &EncryptionContext,
        key_id: &KeyId,
    ) -> Result<DecryptedKey, KeyringError> {
        let wrapping_key = self.wrapping_key(key_id)?;
        // F-29: all of these are one error, as with KMS.
        let blob = Blob::parse(wrapped).ok_or(KeyringError::InvalidCiphertext)?;
        if blob.key_id != key_id.as_str().as_bytes() {
            return Err(self.other_key(blob.key_id));
        }
        let mut in_out = Zeroizing::new([0; WRAPPED_LEN]);
        in_out.copy_from_slice(blob.wrapped);
        let data_key = wrap_key(wrapping_key, blob.salt)
            .open_in_place(zero_nonce(), associated_data(blob.prefix, context), in_out.as_mut_slice())
            .map_err(|_unauthentic| KeyringError::InvalidCiphertext)?;
        let data_key = DataKey::try_from_slice(data_key);
        Ok(DecryptedKey { data_key, key_id: Some(key_id.as_str().to_owned()) })
    }

    /// The error for a blob that names a key other than the requested one.
    fn other_key(&self, named: &[u8]) -> KeyringError {
        let named = std::str::from_utf8(named).ok().and_then(|named| KeyId::parse(named).ok());
        match named {
            Some(key_id) if !self.ids.contains(&key_id) => {
                KeyringError::KeyMissing { key_id, keyring: self.describe() }
            }
            Some(_) | None => KeyringError::IncorrectKey,
        }
    }

    fn wrapping_key(&self, key_id: &KeyId) -> Result<&WrappingKey, KeyringError> {
        let position = self.ids.iter().position(|id| id == key_id).ok_or(KeyringError::KeyNotFound)?;
        Ok(&self.wrapping_keys[position])
    }
}

impl KeyProvider for LocalHolder {
    fn kind(&self) -> HolderKind {
        HolderKind::Local
    }

    fn may_have_wrapped(&self, blob: &[u8]) -> bool {
        Blob::parse(blob).is_some()
    }

    fn place(&self) -> String {
        self.file.display().to_string()
    }

    fn is_remote(&self) -> bool {
        false
    }

    fn key_ids(&self) -> &[KeyId] {
        &self.ids
    }

    fn generate<'a>(
        &'a self,
        key_id: &'a KeyId,
        context: &'a EncryptionContext,
    ) -> Response<'a, GeneratedKey> {
        Box::pin(ready(self.generate(key_id, context).map_err(|error| self.explain(error))))
    }

    fn decrypt<'a>(
        &'a self,
        wrapped: &'a [u8],
        context: &'a EncryptionContext,
        key_id: &'a KeyId,
    ) -> Response<'a, DecryptedKey> {
        Box::pin(ready(self.decrypt(wrapped, context, key_id).map_err(|error| self.explain(error))))
    }

    fn wrap<'a>(
        &'a self,
        data_key: &'a DataKey,
        context: &'a EncryptionContext,
        key_id: &'a KeyId,
    ) -> Response<'a, WrappedKey> {
        let wrapped = self.wrap(data_key.expose(), context, key_id);
        Box::pin(ready(wrapped.map_err(|error| self.explain(error))))
    }

    fn claimed_key(&self, blob: &[u8]) -> Option<String> {
        let id = Blob::parse(blob)?.key_id;
        std::str::from_utf8(id).ok().and_then(|id| KeyId::parse(id).ok()).map(|id| id.to_string())
    }
}

impl<'a> Blob<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (&[version, id_len], _) = bytes.split_first_chunk()?;
        let prefix_len = 2 + usize::from(id_len) + SALT_LEN;
        let (prefix, wrapped) = bytes.split_at_checked(prefix_len)?;
        let (key_id, salt) = prefix[2..].split_at(usize::from(id_len));
        let is_well_formed = version == BLOB_VERSION && wrapped.len() == WRAPPED_LEN;
        is_well_formed.then_some(Self { prefix, key_id, salt, wrapped })
    }
}

fn wrap_key(wrapping_key: &WrappingKey, salt: &[u8]) -> LessSafeKey {
    let derived = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(&wrapping_key.0);
    let output = derived.expand(&[INFO], &AES_256_GCM).map(UnboundKey::from);
    LessSafeKey::new(output.expect("HKDF-SHA256 gives 32 bytes"))
}

fn zero_nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

fn associated_data(prefix: &[u8], context: &EncryptionContext) -> Aad<Vec<u8>> {
    Aad::from([prefix, context.canonical()].concat())
}

const _: () = assert!(2 + MAX_LOCAL_KEY_ID_LEN + SALT_LEN + WRAPPED_LEN <= MAX_WRAPPED_KEY_LEN);
