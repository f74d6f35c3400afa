//! Data keys: generated and unwrapped by a holder of wrapping keys, such as AWS KMS or a local file. The
//! keyring knows keys, blobs and encryption contexts, and must not know objects, formats or HTTP. It promises
//! that a blob opens only under a key that its caller allowed and in the context it was made for, and that no
//! data key is used beyond the configured age, object count or bytes.

mod cache;
mod context;
mod endpoint;
mod error;
mod holder;
mod key_id;
mod lease;
mod purpose;
mod round_trip;
mod settings;
#[cfg(test)]
mod tests;
mod verification;

use std::sync::Arc;

use bytes::Bytes;
use moka::future::Cache;

pub use self::context::EncryptionContext;
pub use self::endpoint::is_private_endpoint;
pub use self::error::{CheckError, KeyringError, KeyringSetupError, MalformedResponse};
pub use self::holder::local;
pub use self::key_id::{InvalidKeyId, KeyId};
pub use self::purpose::Purpose;
pub use self::round_trip::{KeyCall, RoundTrip, RoundTripError};
pub use self::settings::{AwsKms, CacheSettings, Local, Provider, Reuse, Settings};

use self::cache::{Clock, Fingerprint, TtlCache};
use self::holder::KeyHolder;
use self::lease::Lease;
use self::round_trip::Successes;
use self::verification::{Verification, is_same};
use crate::envelope::DataKey;

/// Maximum length of a wrapped data key, in bytes: AWS KMS's limit for `CiphertextBlob`.
/// <https://docs.aws.amazon.com/kms/latest/APIReference/API_Decrypt.html>
pub const MAX_WRAPPED_KEY_LEN: usize = 6_144;

/// How many exhausted shared data keys a writer passes before it takes a data key of its own. Large objects
/// can exhaust a shared data key before all of its waiting writers have used it.
const MAX_SHARED_KEY_ATTEMPTS: u32 = 8;

/// The data keys of one process. Cheap to clone; every clone shares the same caches.
#[derive(Debug, Clone)]
pub struct Keyring {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    holder: KeyHolder,
    reuse: Reuse,
    max_objects: u64,
    max_bytes: u64,
    /// Data keys for writing, by (purpose, key id, context).
    leases: TtlCache<Arc<Lease>>,
    /// Data keys for reading, by (purpose, blob, context, allowed key).
    unwrapped: TtlCache<UnwrappedKey>,
    /// Blobs that were unwrapped again because an object contradicted their data key, by the fingerprints of
    /// `unwrapped`.
    refetched: Cache<Fingerprint, ()>,
    /// The full names of wrapping keys, as the provider last returned them.
    full_names: Cache<KeyId, Arc<str>>,
    /// The last successful calls of a remote provider.
    successes: Successes,
}

/// The data key for one object to be written.
#[derive(Debug, Clone)]
pub struct WriteKey {
    /// 256 bits, possibly shared with other objects of the same wrapping key and context.
    pub data_key: Arc<DataKey>,
    /// The holder's `CiphertextBlob`: at most [`MAX_WRAPPED_KEY_LEN`] bytes, not base64.
    pub wrapped: Bytes,
    /// The wrapping key as the provider names it: the full ARN for AWS KMS. Visible ASCII.
    pub key_id: String,
}

/// A data key that was unwrapped for reading.
#[derive(Debug, Clone)]
pub struct UnwrappedKey {
    /// 256 bits, or 128 where the [`Purpose`] accepts them.
    pub data_key: Arc<DataKey>,
    /// The wrapping key as the provider names it: the full ARN for AWS KMS. Visible ASCII.
    pub key_id: String,
}

impl Keyring {
    /// Opens the keyring's file, or loads the AWS configuration. Does not call KMS: [`Keyring::check`] does.
    ///
    /// # Errors
    /// A [`KeyringSetupError`] that names the file or setting and its remedy.
    pub async fn build(settings: Settings) -> Result<Keyring, KeyringSetupError> {
        let Settings { provider, cache, reuse } = settings;
        Ok(Self::new(KeyHolder::build(provider).await?, &cache, reuse, Clock::System))
    }

    fn new(holder: KeyHolder, cache: &CacheSettings, reuse: Reuse, clock: Clock) -> Self {
        let CacheSettings { max_age, max_objects, max_bytes, entries, stale_if_error } = *cache;
        Self {
            inner: Arc::new(Inner {
                holder,
                reuse,
                max_objects,
                max_bytes,
                leases: TtlCache::new("generate", entries, max_age, stale_if_error, clock.clone()),
                unwrapped: TtlCache::new("unwrap", entries, max_age, stale_if_error, clock),
                refetched: Cache::builder().max_capacity(entries).time_to_live(max_age).build(),
                full_names: Cache::builder().max_capacity(entries).time_to_live(max_age).build(),
                successes: Successes::default(),
            }),
        }
    }

    /// The key used for writing where a bucket names none: the configured one of AWS KMS, the current one of
    /// a local keyring.
    pub fn default_key_id(&self) -> Option<&KeyId> {
        self.inner.holder.default_key_id()
    }

    /// The keys that may open a blob where a bucket names none, beginning with the one used for writing. A
    /// rotated local keyring lists its older keys too; AWS KMS rotates inside one key.
    pub fn default_allowed(&self) -> &[KeyId] {
        self.inner.holder.default_allowed()
    }

    /// A data key for one native object of `plaintext_bytes`, under `key_id` or else the default key.
    ///
    /// # Errors
    /// As [`Self::for_write_as`].
    pub async fn for_write(
        &self,
        key_id: Option<&KeyId>,
        context: &EncryptionContext,
        plaintext_bytes: u64,
    ) -> Result<WriteKey, KeyringError> {
        self.for_write_as(Purpose::NATIVE, key_id, context, plaintext_bytes).await
    }

    /// A data key for one object of `plaintext_bytes`, under `key_id` or else the default key.
    ///
    /// With [`Reuse::Bucket`], objects of one key and context share a data key until its age, object count or
    /// bytes are used up; an object larger than the byte limit gets a data key of its own. With
    /// [`Reuse::Off`] each call is one call of the key provider.
    ///
    /// # Errors
    /// The provider's failure. Concurrent callers that need one uncached key share one call and its error.
    pub async fn for_write_as(
        &self,
        purpose: Purpose,
        key_id: Option<&KeyId>,
        context: &EncryptionContext,
        plaintext_bytes: u64,
    ) -> Result<WriteKey, KeyringError> {
        let key_id = key_id.or_else(|| self.default_key_id()).ok_or(KeyringError::NoKeyNamed)?;
        match self.inner.reuse {
            Reuse::Off => {
                Box::pin(self.inner.generate(purpose, key_id, context, Verification::Skipped)).await
            }
            Reuse::Bucket => self.lease(purpose, key_id, context, plaintext_bytes).await,
        }
    }

    /// A data key for one object only, regardless of the configured reuse: for formats that encrypt with the
    /// data key itself. Always one call of the key provider.
    ///
    /// # Errors
    /// The provider's failure.
    pub async fn for_one_object(
        &self,
        purpose: Purpose,
        key_id: Option<&KeyId>,
        context: &EncryptionContext,
    ) -> Result<WriteKey, KeyringError> {
        let key_id = key_id.or_else(|| self.default_key_id()).ok_or(KeyringError::NoKeyNamed)?;
        Box::pin(self.inner.generate(purpose, key_id, context, Verification::Skipped)).await
    }

    /// Returns the full name of a key, as its provider reports it: from an earlier response, otherwise with
    /// a new data key, which [`Reuse::Bucket`] keeps in the cache for later writes.
    ///
    /// # Errors
    /// The provider's failure.
    pub async fn full_name(
        &self,
        key_id: &KeyId,
        context: &EncryptionContext,
    ) -> Result<Arc<str>, KeyringError> {
        if let Some(full_name) = self.inner.full_names.get(key_id).await {
            return Ok(full_name);
        }
        match self.inner.reuse {
            Reuse::Off => {
                let made =
                    Box::pin(self.inner.generate(Purpose::NATIVE, key_id, context, Verification::Skipped))
                        .await?;
                Ok(made.key_id.into())
            }
            Reuse::Bucket => Ok(self.shared(Purpose::NATIVE, key_id, context).await?.key_id().into()),
        }
    }

    async fn lease(
        &self,
        purpose: Purpose,
        key_id: &KeyId,
        context: &EncryptionContext,
        plaintext_bytes: u64,
    ) -> Result<WriteKey, KeyringError> {
        for _ in 0..MAX_SHARED_KEY_ATTEMPTS {
            let lease = self.shared(purpose, key_id, context).await?;
            if let Some(write_key) = lease.take(plaintext_bytes) {
                return Ok(write_key);
            }
        }
        Box::pin(self.inner.generate(purpose, key_id, context, Verification::Skipped)).await
    }

    /// A data key that objects share. Thousands of objects may depend on it, so it is unwrapped once before
    /// the first object is written.
    async fn shared(
        &self,
        purpose: Purpose,
        key_id: &KeyId,
        context: &EncryptionContext,
    ) -> Result<Arc<Lease>, KeyringError> {
        let fingerprint =
            Fingerprint::new(&[purpose.name(), key_id.as_str().as_bytes(), context.canonical()]);
        let fetch = || {
            let (inner, key_id, context) = (Arc::clone(&self.inner), key_id.clone(), context.clone());
            async move {
                let write_key = inner.generate(purpose, &key_id, &context, Verification::RoundTrip).await?;
                Ok(Arc::new(Lease::new(write_key, inner.max_objects, inner.max_bytes)))
            }
        };
        self.inner.leases.get_or_fetch(fingerprint, fetch).await
    }

    /// Opens the `wrapped` key of a native object.
    ///
    /// # Errors
    /// As [`Self::unwrap_as`].
    pub async fn unwrap(
        &self,
        wrapped: &[u8],
        context: &EncryptionContext,
        allowed: &[KeyId],
    ) -> Result<UnwrappedKey, KeyringError> {
        self.unwrap_as(Purpose::NATIVE, wrapped, context, allowed).await
    }

    /// Opens `wrapped` under one of the `allowed` keys, tried in order, and under no other.
    ///
    /// Every attempt names its key to the provider, so a blob made under an attacker's key does not open.
    /// Errors that concern one key (wrapped under another key, disabled, denied, missing) let the next key
    /// try; other errors end the search.
    ///
    /// # Errors
    /// With several keys, the first error that is more specific than [`KeyringError::IncorrectKey`]. An empty
    /// `allowed` is [`KeyringError::NotAllowed`].
    pub async fn unwrap_as(
        &self,
        purpose: Purpose,
        wrapped: &[u8],
        context: &EncryptionContext,
        allowed: &[KeyId],
    ) -> Result<UnwrappedKey, KeyringError> {
        if wrapped.is_empty() || wrapped.len() > MAX_WRAPPED_KEY_LEN {
            return Err(KeyringError::InvalidCiphertext);
        }
        // The cache is searched under all allowed keys first, or the blobs of an older key would cost a call
        // each.
        for key_id in allowed {
            if let Some(hit) =
                self.inner.unwrapped.get(&blob_fingerprint(purpose, wrapped, context, key_id)).await
            {
                return Ok(hit);
            }
        }
        let mut refused = KeyringError::NotAllowed;
        for key_id in allowed {
            let outcome = self
                .inner
                .unwrapped
                .get_or_fetch(blob_fingerprint(purpose, wrapped, context, key_id), || {
                    let (inner, key_id, context) = (Arc::clone(&self.inner), key_id.clone(), context.clone());
                    let wrapped = Bytes::copy_from_slice(wrapped);
                    async move { inner.unwrap(purpose, &wrapped, &context, &key_id).await }
                })
                .await;
            match outcome {
                Ok(unwrapped) => return Ok(unwrapped),
                Err(error) if !error.is_key_specific() => return Err(error),
                Err(error) if refused.is_less_specific_than(&error) => refused = error,
                Err(_) => {}
            }
        }
        Err(refused)
    }

    /// The wrapping key's full name if the data key of a native object's `wrapped` is cached, for responses
    /// without a body. Never calls the provider.
    pub async fn known_key_id(
        &self,
        wrapped: &[u8],
        context: &EncryptionContext,
        allowed: &[KeyId],
    ) -> Option<String> {
        self.known_key_id_as(Purpose::NATIVE, wrapped, context, allowed).await
    }

    /// [`Self::known_key_id`] for an object of another format.
    pub async fn known_key_id_as(
        &self,
        purpose: Purpose,
        wrapped: &[u8],
        context: &EncryptionContext,
        allowed: &[KeyId],
    ) -> Option<String> {
        for key_id in allowed {
            if let Some(hit) =
                self.inner.unwrapped.get(&blob_fingerprint(purpose, wrapped, context, key_id)).await
            {
                return Some(hit.key_id);
            }
        }
        None
    }
}

impl Inner {
    /// Records a successful call of a remote provider.
    fn note(&self, call: KeyCall, key_id: &KeyId) {
        if self.holder.is_remote() {
            self.successes.record(call, key_id);
        }
    }

    fn note_unwrapped(&self, key_id: &KeyId) {
        self.note(KeyCall::Unwrap, key_id);
    }

    /// Generates a data key, and caches it for reads under the requested name of its wrapping key and the
    /// full name.
    async fn generate(
        &self,
        purpose: Purpose,
        key_id: &KeyId,
        context: &EncryptionContext,
        verification: Verification,
    ) -> Result<WriteKey, KeyringError> {
        let write_key = self.holder.generate(key_id, context).await?;
        self.note(KeyCall::Generate, key_id);
        // A local keyring returns and wraps one and the same value in this process.
        if verification == Verification::RoundTrip && self.holder.is_remote() {
            self.verify_round_trip(&write_key, key_id, context).await?;
        }
        self.full_names.insert(key_id.clone(), write_key.key_id.as_str().into()).await;
        let unwrapped =
            UnwrappedKey { data_key: Arc::clone(&write_key.data_key), key_id: write_key.key_id.clone() };
        let full_name = KeyId::parse(&write_key.key_id).ok().filter(|full_name| full_name != key_id);
        for name in [Some(key_id), full_name.as_ref()].into_iter().flatten() {
            let fingerprint = blob_fingerprint(purpose, &write_key.wrapped, context, name);
            self.unwrapped.insert(fingerprint, unwrapped.clone()).await;
        }
        Ok(write_key)
    }

    /// Opens a blob under exactly this key, bypassing the cache.
    async fn unwrap(
        &self,
        purpose: Purpose,
        wrapped: &[u8],
        context: &EncryptionContext,
        key_id: &KeyId,
    ) -> Result<UnwrappedKey, KeyringError> {
        let unwrapped = self.holder.unwrap(wrapped, context, key_id).await?;
        self.note_unwrapped(key_id);
        self.full_names.insert(key_id.clone(), unwrapped.key_id.as_str().into()).await;
        if unwrapped.data_key.is_short() && !purpose.accepts_short_keys() {
            return Err(KeyringError::Malformed(MalformedResponse::DataKeyLength));
        }
        Ok(unwrapped)
    }
}

fn blob_fingerprint(
    purpose: Purpose,
    wrapped: &[u8],
    context: &EncryptionContext,
    key_id: &KeyId,
) -> Fingerprint {
    Fingerprint::new(&[purpose.name(), key_id.as_str().as_bytes(), context.canonical(), wrapped])
}
