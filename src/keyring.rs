//! Data keys: generated and unwrapped under wrapping keys that never leave AWS KMS (or the local keyring's file).
//! It knows keys, blobs and encryption contexts, and must not know objects, formats or HTTP. It promises that a
//! blob opens only under a key its caller allowed and in the context it was made for, and that no key outlives the
//! configured age, object count or bytes.

mod cache;
mod context;
mod error;
mod key_id;
mod kms;
mod lease;
pub mod local;
mod proof;
mod provider;
mod purpose;
mod settings;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use moka::future::Cache;

pub use self::context::EncryptionContext;
pub use self::error::{CheckError, KeyringError, KeyringSetupError, MalformedAnswer};
pub use self::key_id::{InvalidKeyId, KeyId};
pub use self::purpose::Purpose;
pub use self::settings::{AwsKms, CacheSettings, Local, Provider, Reuse, Settings};

use self::cache::{AgedCache, Clock, Fingerprint};
use self::lease::Lease;
use self::proof::{Proof, is_same};
use self::provider::Backend;
use crate::envelope::DataKey;

/// AWS KMS takes no longer `CiphertextBlob`, so no longer one is sent or stored.
/// <https://docs.aws.amazon.com/kms/latest/APIReference/API_Decrypt.html>
pub const MAX_WRAPPED_KEY_LEN: usize = 6_144;

/// With objects so large that a shared data key is spent before its writers get their turn, a writer stops
/// waiting for the next shared one after this many and takes a data key of its own.
const SHARED_KEY_ATTEMPTS: u32 = 8;

/// The data keys of one process. Cheap to clone; every clone shares the same caches.
#[derive(Debug, Clone)]
pub struct Keyring {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    backend: Backend,
    reuse: Reuse,
    max_objects: u64,
    max_bytes: u64,
    /// Data keys to write with, by (purpose, key id, context).
    leases: AgedCache<Arc<Lease>>,
    /// Data keys to read with, by (purpose, blob, context, allowed key).
    unwrapped: AgedCache<Unwrapped>,
    /// Blobs that were unwrapped again because an object contradicted their data key, named as in
    /// `unwrapped`.
    asked_again: Cache<Fingerprint, ()>,
    /// The full names of wrapping keys, as the provider last returned them.
    full_names: Cache<KeyId, Arc<str>>,
}

/// The data key for one object to be written.
#[derive(Debug, Clone)]
pub struct WriteKey {
    /// 256 bits, possibly shared with other objects of the same wrapping key and context.
    pub data_key: Arc<DataKey>,
    /// The provider's `CiphertextBlob`: at most [`MAX_WRAPPED_KEY_LEN`] bytes, not base64.
    pub wrapped: Bytes,
    /// The wrapping key as the provider names it: the full ARN for AWS KMS. Visible ASCII.
    pub key_id: String,
}

/// A data key that was unwrapped for reading.
#[derive(Debug, Clone)]
pub struct Unwrapped {
    /// 256 bits, or 128 where the [`Purpose`] takes them.
    pub data_key: Arc<DataKey>,
    /// The wrapping key as the provider names it: the full ARN for AWS KMS. Visible ASCII.
    pub key_id: String,
}

/// What [`Keyring::check`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoundTrip {
    /// The wrapping key as the provider names it: the full ARN for AWS KMS.
    pub key_id: String,
    /// How long generating a data key took.
    pub generate: Duration,
    /// How long unwrapping it again took.
    pub unwrap: Duration,
}

impl Keyring {
    /// Opens the keyring's file, or loads the AWS configuration. Calls no KMS: [`Keyring::check`] does.
    ///
    /// # Errors
    /// A [`KeyringSetupError`] that names the file or setting, and what to do about it.
    pub async fn build(settings: Settings) -> Result<Keyring, KeyringSetupError> {
        let Settings { provider, cache, reuse } = settings;
        Ok(Self::new(Backend::build(provider).await?, &cache, reuse, Clock::System))
    }

    fn new(backend: Backend, cache: &CacheSettings, reuse: Reuse, clock: Clock) -> Self {
        let CacheSettings { max_age, max_objects, max_bytes, entries, stale_if_error } = *cache;
        Self {
            inner: Arc::new(Inner {
                backend,
                reuse,
                max_objects,
                max_bytes,
                leases: AgedCache::new("generate", entries, max_age, stale_if_error, clock.clone()),
                unwrapped: AgedCache::new("unwrap", entries, max_age, stale_if_error, clock),
                asked_again: Cache::builder().max_capacity(entries).time_to_live(max_age).build(),
                full_names: Cache::builder().max_capacity(entries).time_to_live(max_age).build(),
            }),
        }
    }

    /// The key that writes where nobody names another: the configured one of AWS KMS, the current one of a
    /// local keyring.
    pub fn default_key_id(&self) -> Option<&KeyId> {
        self.inner.backend.default_key_id()
    }

    /// The keys that may open a blob where nobody names others, the one that writes first. A local keyring that
    /// was rotated lists its older keys too; AWS KMS rotates inside one key.
    pub fn default_allowed(&self) -> &[KeyId] {
        self.inner.backend.default_allowed()
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
    /// With [`Reuse::Bucket`], objects of one key and context share a data key until its age, count or bytes run
    /// out; an object larger than the byte bound gets a data key of its own. With [`Reuse::Off`] each call is one call of
    /// the provider.
    ///
    /// # Errors
    /// Why the provider gave no data key. Concurrent callers of one cold key share one call, and its error.
    pub async fn for_write_as(
        &self,
        purpose: Purpose,
        key_id: Option<&KeyId>,
        context: &EncryptionContext,
        plaintext_bytes: u64,
    ) -> Result<WriteKey, KeyringError> {
        let key_id = key_id.or_else(|| self.default_key_id()).ok_or(KeyringError::NoKeyNamed)?;
        match self.inner.reuse {
            Reuse::Off => self.inner.generate(purpose, key_id, context, Proof::Untried).await,
            Reuse::Bucket => self.lease(purpose, key_id, context, plaintext_bytes).await,
        }
    }

    /// A data key that no other object has, whatever the configuration says of reuse: for formats that encrypt
    /// with the data key itself. Always one call of the provider.
    ///
    /// # Errors
    /// Why the provider gave no data key.
    pub async fn for_one_object(
        &self,
        purpose: Purpose,
        key_id: Option<&KeyId>,
        context: &EncryptionContext,
    ) -> Result<WriteKey, KeyringError> {
        let key_id = key_id.or_else(|| self.default_key_id()).ok_or(KeyringError::NoKeyNamed)?;
        self.inner.generate(purpose, key_id, context, Proof::Untried).await
    }

    /// Returns the full name of a key, as its provider reports it: from an earlier response, otherwise with
    /// a new data key, which [`Reuse::Bucket`] keeps in the cache for later writes.
    ///
    /// # Errors
    /// Why the provider gave no data key.
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
                let made = self.inner.generate(Purpose::NATIVE, key_id, context, Proof::Untried).await?;
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
        for _ in 0..SHARED_KEY_ATTEMPTS {
            let lease = self.shared(purpose, key_id, context).await?;
            if let Some(write_key) = lease.take(plaintext_bytes) {
                return Ok(write_key);
            }
        }
        self.inner.generate(purpose, key_id, context, Proof::Untried).await
    }

    /// A data key that objects share. Thousands of objects may be written with it, so it is unwrapped once
    /// before the first of them.
    async fn shared(
        &self,
        purpose: Purpose,
        key_id: &KeyId,
        context: &EncryptionContext,
    ) -> Result<Arc<Lease>, KeyringError> {
        let fingerprint = Fingerprint::of(&[purpose.name(), key_id.as_str().as_bytes(), context.canonical()]);
        let fetch = || {
            let (inner, key_id, context) = (Arc::clone(&self.inner), key_id.clone(), context.clone());
            async move {
                let write_key = inner.generate(purpose, &key_id, &context, Proof::Unwrapped).await?;
                Ok(Arc::new(Lease::new(write_key, inner.max_objects, inner.max_bytes)))
            }
        };
        self.inner.leases.obtain(fingerprint, fetch).await
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
    ) -> Result<Unwrapped, KeyringError> {
        self.unwrap_as(Purpose::NATIVE, wrapped, context, allowed).await
    }

    /// Opens `wrapped` under one of the `allowed` keys, tried in order, and under no other.
    ///
    /// Every attempt names its key to the provider: a blob that somebody made under a key of their own does not
    /// open. Errors that concern one key (another key's blob, disabled, denied, missing) let the next key try;
    /// others end the search.
    ///
    /// # Errors
    /// Of several keys, the first error that says more than that the blob is another key's. An empty `allowed` is
    /// [`KeyringError::NotAllowed`].
    pub async fn unwrap_as(
        &self,
        purpose: Purpose,
        wrapped: &[u8],
        context: &EncryptionContext,
        allowed: &[KeyId],
    ) -> Result<Unwrapped, KeyringError> {
        if wrapped.is_empty() || wrapped.len() > MAX_WRAPPED_KEY_LEN {
            return Err(KeyringError::InvalidCiphertext);
        }
        // A hit under any allowed key comes first, or the blobs of an older key would cost a call each time.
        for key_id in allowed {
            if let Some(hit) =
                self.inner.unwrapped.hit(blob_fingerprint(purpose, wrapped, context, key_id)).await
            {
                return Ok(hit);
            }
        }
        let mut refused = KeyringError::NotAllowed;
        for key_id in allowed {
            let outcome = self
                .inner
                .unwrapped
                .obtain(blob_fingerprint(purpose, wrapped, context, key_id), || {
                    let (inner, key_id, context) = (Arc::clone(&self.inner), key_id.clone(), context.clone());
                    let wrapped = Bytes::copy_from_slice(wrapped);
                    async move { inner.unwrap(purpose, &wrapped, &context, &key_id).await }
                })
                .await;
            match outcome {
                Ok(unwrapped) => return Ok(unwrapped),
                Err(error) if !error.concerns_one_key() => return Err(error),
                Err(error) if refused.says_less_than(&error) => refused = error,
                Err(_) => {}
            }
        }
        Err(refused)
    }

    /// The wrapping key's full name if a native object's `wrapped` is cached, for answers that carry no body. Never calls the
    /// provider.
    pub async fn known_key_id(
        &self,
        wrapped: &[u8],
        context: &EncryptionContext,
        allowed: &[KeyId],
    ) -> Option<String> {
        self.known_key_id_as(Purpose::NATIVE, wrapped, context, allowed).await
    }

    /// [`Self::known_key_id`] of an object of another format.
    pub async fn known_key_id_as(
        &self,
        purpose: Purpose,
        wrapped: &[u8],
        context: &EncryptionContext,
        allowed: &[KeyId],
    ) -> Option<String> {
        for key_id in allowed {
            if let Some(hit) =
                self.inner.unwrapped.hit(blob_fingerprint(purpose, wrapped, context, key_id)).await
            {
                return Some(hit.key_id);
            }
        }
        None
    }

    /// Generates a data key and unwraps it again, past the caches: whether this key works in this context now.
    ///
    /// # Errors
    /// What the provider says, or [`MalformedAnswer::RoundTrip`] if another data key comes back.
    pub async fn check(
        &self,
        key_id: Option<&KeyId>,
        context: &EncryptionContext,
    ) -> Result<RoundTrip, CheckError> {
        let key_id = key_id.or_else(|| self.default_key_id()).ok_or(KeyringError::NoKeyNamed)?;
        let started = Instant::now();
        let written = self.inner.backend.try_generate(key_id, context).await?;
        let generate = started.elapsed();
        let started = Instant::now();
        let read = self.inner.backend.try_unwrap(&written.wrapped, context, key_id).await?;
        let unwrap = started.elapsed();
        if !is_same(&written.data_key, &read.data_key) {
            return Err(KeyringError::Malformed(MalformedAnswer::RoundTrip).into());
        }
        Ok(RoundTrip { key_id: written.key_id, generate, unwrap })
    }
}

impl Inner {
    /// Generates a data key, and keeps it for reading back under the name it was asked by and its full name.
    async fn generate(
        &self,
        purpose: Purpose,
        key_id: &KeyId,
        context: &EncryptionContext,
        proof: Proof,
    ) -> Result<WriteKey, KeyringError> {
        let write_key = self.backend.generate(key_id, context).await?;
        // What the local keyring wraps and returns is one value in this process.
        if proof == Proof::Unwrapped && self.backend.is_remote() {
            self.prove(&write_key, key_id, context).await?;
        }
        self.full_names.insert(key_id.clone(), write_key.key_id.as_str().into()).await;
        let unwrapped =
            Unwrapped { data_key: Arc::clone(&write_key.data_key), key_id: write_key.key_id.clone() };
        let full_name = KeyId::parse(&write_key.key_id).ok().filter(|full_name| full_name != key_id);
        for name in [Some(key_id), full_name.as_ref()].into_iter().flatten() {
            let fingerprint = blob_fingerprint(purpose, &write_key.wrapped, context, name);
            self.unwrapped.keep(fingerprint, unwrapped.clone()).await;
        }
        Ok(write_key)
    }

    /// Opens a blob under exactly this key, past the cache.
    async fn unwrap(
        &self,
        purpose: Purpose,
        wrapped: &[u8],
        context: &EncryptionContext,
        key_id: &KeyId,
    ) -> Result<Unwrapped, KeyringError> {
        let unwrapped = self.backend.unwrap(wrapped, context, key_id).await?;
        self.full_names.insert(key_id.clone(), unwrapped.key_id.as_str().into()).await;
        match unwrapped.data_key.is_short() && !purpose.takes_short_keys() {
            true => Err(KeyringError::Malformed(MalformedAnswer::DataKeyLength)),
            false => Ok(unwrapped),
        }
    }
}

fn blob_fingerprint(
    purpose: Purpose,
    wrapped: &[u8],
    context: &EncryptionContext,
    key_id: &KeyId,
) -> Fingerprint {
    Fingerprint::of(&[purpose.name(), key_id.as_str().as_bytes(), context.canonical(), wrapped])
}
