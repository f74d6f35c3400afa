//! The PKCS#11 holder: AES keys in a hardware security module or a smart card, through the vendor's library.
//! It must not know caches or other holders.
//! It promises that no call outlasts [`DEADLINE`], that the wrapping key must be unreadable and unable to
//! leave the token, and that a PIN that the token refused is not tried again.

mod blob;
mod failure;
mod labelled_keys;
mod module;
#[cfg(test)]
mod soft_hsm;
#[cfg(test)]
mod tests;
mod threads;
mod token;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use zeroize::Zeroizing;

use self::blob::Blob;
use self::labelled_keys::{LabelledKeys, NO_ID, id_name};
use self::threads::Threads;
use self::token::Token;
use super::{DecryptedKey, GeneratedKey, KeyProvider, Response, WrappedKey};
use crate::envelope::native::HolderKind;
use crate::envelope::{DataKey, fill_random};
use crate::keyring::settings::{Pkcs11, TokenName};
use crate::keyring::{CheckError, EncryptionContext, KeyId, KeyringError, KeyringSetupError};
use crate::wire::{hex, percent};

/// For one call, as for the calls of a key service: S3 clients wait a minute for the head of a response.
const DEADLINE: Duration = Duration::from_secs(10);
/// Maximum number of ids in an error message.
const SHOWN_IDS: usize = 8;

#[derive(Debug)]
pub(in crate::keyring) struct Pkcs11Holder {
    token: Arc<Token>,
    threads: Threads,
    /// The key of the configuration, where it names token and key itself. Known without the token.
    configured: Vec<KeyId>,
    /// The keys that the token has under the label, the current one first; set once they have been seen.
    found: OnceLock<Vec<KeyId>>,
}

impl Pkcs11Holder {
    /// Opens the token and looks at its keys. If the configuration names token and key, a token that is away,
    /// a refused PIN and a missing or disabled key are no errors yet: requests fail until they are corrected.
    ///
    /// # Errors
    /// [`KeyringSetupError::Token`] if the library or the token is unfit, if a key may be read or may leave
    /// the token, or if several keys have the label and none is named.
    pub(super) async fn build(settings: Pkcs11) -> Result<Self, KeyringSetupError> {
        let holder = Self::unconnected(settings, DEADLINE);
        match holder.connect().await {
            Ok(()) => Ok(holder),
            Err(failure)
                if failure.error == KeyringError::InvalidKeyUsage || holder.configured.is_empty() =>
            {
                Err(KeyringSetupError::Token {
                    at: holder.place(),
                    fix: remedy(&failure.error),
                    problem: failure.to_string(),
                })
            }
            Err(failure) => {
                tracing::warn!(at = holder.place(), "the wrapping key can't be used now: {failure}");
                Ok(holder)
            }
        }
    }

    /// A holder that has called nothing yet.
    fn unconnected(settings: Pkcs11, deadline: Duration) -> Self {
        let configured = match (&settings.token, &settings.key_id) {
            (TokenName::Label(token), Some(id)) => vec![key_name(token, &settings.key_label, id)],
            (TokenName::Label(_) | TokenName::Slot(_), _) => Vec::new(),
        };
        let token = Arc::new(Token::new(settings));
        Self { token, threads: Threads::new(deadline), configured, found: OnceLock::new() }
    }

    /// Learns the names of the token's keys.
    ///
    /// # Errors
    /// The failure to do so, or the reason why the key for new data keys can't be used.
    async fn connect(&self) -> Result<(), CheckError> {
        let token = Arc::clone(&self.token);
        let (label, keys) = self.threads.run(move || token.keys()).await?;
        let settings = self.token.settings();
        let keys = LabelledKeys::new(keys, settings.key_id.as_deref(), &settings.key_label)?;
        let names = keys.ids().map(|id| key_name(&label, &settings.key_label, id));
        // A concurrent call may have been first: both saw one token.
        let _ = self.found.set(names.collect());
        keys.check_current()
    }

    /// Connects unless an earlier call has: a token that was away at the start may have older keys as well.
    async fn ensure_connected(&self) -> Result<(), CheckError> {
        if self.found.get().is_some() {
            return Ok(());
        }
        let connected = self.connect().await;
        // What is wrong with the current key alone, its use will show.
        if self.found.get().is_some() { Ok(()) } else { connected }
    }

    /// The CKA_ID in the name of a key of this token.
    fn cka_id(&self, key_id: &KeyId) -> Result<Vec<u8>, CheckError> {
        let is_known = self.key_ids().contains(key_id);
        let id = key_id.as_str().rsplit_once('/').map(|(_, id)| id).filter(|_| is_known);
        let id = id.and_then(|id| if id == NO_ID { Some(Vec::new()) } else { hex::decode_bytes(id) });
        id.ok_or_else(|| {
            let cause = format!("not in {}", self.describe());
            CheckError { error: KeyringError::KeyNotFound, cause: Some(cause) }
        })
    }

    /// The token and the names of its keys: `the token s3veil (has: s3veil/wrap/01)`.
    fn describe(&self) -> String {
        let ids: Vec<_> = self.key_ids().iter().take(SHOWN_IDS).map(KeyId::as_str).collect();
        format!("{} (has: {})", self.place(), ids.join(", "))
    }

    async fn generate(
        &self,
        key_id: &KeyId,
        context: &EncryptionContext,
    ) -> Result<GeneratedKey, CheckError> {
        let mut data_key = Zeroizing::new([0; 32]);
        fill_random(data_key.as_mut_slice());
        let WrappedKey { wrapped, key_id } = self.wrap(&data_key, context, key_id).await?;
        Ok(GeneratedKey { data_key: DataKey::try_from_slice(data_key.as_slice()), wrapped, key_id })
    }

    async fn wrap(
        &self,
        data_key: &[u8; 32],
        context: &EncryptionContext,
        key_id: &KeyId,
    ) -> Result<WrappedKey, CheckError> {
        self.ensure_connected().await?;
        let id = self.cka_id(key_id)?;
        let (token, context) = (Arc::clone(&self.token), context.clone());
        let (cka_id, plaintext) = (id.clone(), Zeroizing::new(*data_key));
        let wrapped =
            self.threads.run(move || token.encrypt(&cka_id, context.canonical(), &plaintext)).await?;
        Ok(WrappedKey {
            wrapped: Bytes::from(Blob { id: &id, iv: &wrapped.iv, ciphertext: &wrapped.ciphertext }.encode()),
            key_id: Some(key_id.as_str().to_owned()),
        })
    }

    async fn decrypt(
        &self,
        wrapped: &[u8],
        context: &EncryptionContext,
        key_id: &KeyId,
    ) -> Result<DecryptedKey, CheckError> {
        self.ensure_connected().await?;
        let id = self.cka_id(key_id)?;
        let blob = Blob::parse(wrapped).ok_or(KeyringError::InvalidCiphertext)?;
        if blob.id != id {
            return Err(self.other_key(key_id, blob.id).into());
        }
        let (token, context) = (Arc::clone(&self.token), context.clone());
        let (iv, ciphertext) = (*blob.iv, *blob.ciphertext);
        let plaintext =
            self.threads.run(move || token.decrypt(&id, context.canonical(), iv, &ciphertext)).await?;
        let data_key = DataKey::try_from_slice(&plaintext);
        Ok(DecryptedKey { data_key, key_id: Some(key_id.as_str().to_owned()) })
    }

    /// The error for a blob that names a key other than the requested one.
    fn other_key(&self, requested: &KeyId, named: &[u8]) -> KeyringError {
        let place = requested.as_str().rsplit_once('/').map_or("", |(place, _)| place);
        match KeyId::parse(&format!("{place}/{}", id_name(named))) {
            Ok(key_id) if !self.key_ids().contains(&key_id) => {
                KeyringError::KeyMissing { key_id, keyring: self.describe() }
            }
            Ok(_) | Err(_) => KeyringError::IncorrectKey,
        }
    }
}

impl KeyProvider for Pkcs11Holder {
    fn kind(&self) -> HolderKind {
        HolderKind::Pkcs11
    }

    fn may_have_wrapped(&self, blob: &[u8]) -> bool {
        Blob::parse(blob).is_some()
    }

    fn place(&self) -> String {
        self.token.settings().token.to_string()
    }

    fn key_ids(&self) -> &[KeyId] {
        self.found.get().unwrap_or(&self.configured)
    }

    fn generate<'a>(
        &'a self,
        key_id: &'a KeyId,
        context: &'a EncryptionContext,
    ) -> Response<'a, GeneratedKey> {
        Box::pin(self.generate(key_id, context))
    }

    fn decrypt<'a>(
        &'a self,
        wrapped: &'a [u8],
        context: &'a EncryptionContext,
        key_id: &'a KeyId,
    ) -> Response<'a, DecryptedKey> {
        Box::pin(self.decrypt(wrapped, context, key_id))
    }

    fn wrap<'a>(
        &'a self,
        data_key: &'a DataKey,
        context: &'a EncryptionContext,
        key_id: &'a KeyId,
    ) -> Response<'a, WrappedKey> {
        Box::pin(self.wrap(data_key.expose(), context, key_id))
    }

    fn claimed_key(&self, blob: &[u8]) -> Option<String> {
        let blob = Blob::parse(blob)?;
        let place = self.key_ids().first()?.as_str().rsplit_once('/')?.0;
        Some(format!("{place}/{}", id_name(blob.id)))
    }
}

/// `<token label>/<key label>/<CKA_ID in hexadecimal digits>`, with labels percent-encoded.
fn key_name(token: &str, label: &str, id: &[u8]) -> KeyId {
    let (token, label) = (percent::encode_query(token), percent::encode_query(label));
    KeyId::parse(&format!("{token}/{label}/{}", id_name(id)))
        .expect("labels and ids are bounded, and encoded as visible ASCII")
}

/// The remedy for a failure at the start.
fn remedy(error: &KeyringError) -> &'static str {
    let remedies = [
        (KeyringError::Credentials, "correct the content of `pin_file`, or the token's PIN"),
        (KeyringError::KeyNotFound, "correct `key_label`, or make the key"),
        (
            KeyringError::Unavailable,
            "correct `library`, `token_label` or `slot`; a token that may be away at the start requires \
             `token_label` and `key_id`",
        ),
    ];
    let remedy = remedies.into_iter().find(|(cause, _)| cause == error).map(|(_, remedy)| remedy);
    remedy.unwrap_or(
        "make an AES key of 256 bits with CKA_ENCRYPT, CKA_DECRYPT and CKA_SENSITIVE true and CKA_EXTRACTABLE \
         false, and name it by `key_label` and `key_id`",
    )
}
