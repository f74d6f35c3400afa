//! Data keys: generated, wrapped and unwrapped by holders of wrapping keys, such as AWS KMS or a local file.
//! The keyring knows keys, blobs and encryption contexts, and must not know objects, formats or HTTP. It
//! promises that a blob opens only under a key that its caller allowed and in the context it was made for,
//! and that no data key is used beyond the configured age, object count or bytes.

mod cache;
mod context;
mod endpoint;
mod error;
mod examination;
mod health;
mod holder;
mod key_id;
mod lease;
mod opening;
mod purpose;
mod rewrapping;
mod round_trip;
mod rule;
mod settings;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use self::tests::ScriptedHolder;
mod verification;
mod wrapping;

use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderValue;
use moka::future::Cache;

pub use self::context::EncryptionContext;
pub use self::endpoint::is_private_endpoint;
pub use self::error::{CheckError, KeyringError, KeyringSetupError, MalformedResponse};
pub use self::examination::{ExaminedWrapping, WrappingName};
pub use self::holder::local;
pub use self::key_id::{InvalidKeyId, KeyId};
pub use self::purpose::Purpose;
pub use self::rewrapping::{RewrapError, Rewrapping};
pub use self::round_trip::{KeyCall, RoundTrip, RoundTripError};
pub use self::rule::{KeyRule, RequiredHolders};
#[cfg(feature = "aws")]
pub use self::settings::AwsKms;
#[cfg(feature = "azure-key-vault")]
pub use self::settings::{AzureAlgorithm, AzureKeyVault, AzureLogin};
pub use self::settings::{
    CacheSettings, HolderSettings, Local, Provider, Reuse, Settings, Vault, VaultLogin,
};
#[cfg(feature = "gcp-kms")]
pub use self::settings::{GcpKms, GcpLogin};
#[cfg(feature = "pkcs11")]
pub use self::settings::{Pkcs11, TokenName};

pub use self::cache::CacheContent;
use self::cache::{Clock, Fingerprint, TtlCache};
use self::holder::KeyHolder;
use self::lease::Lease;
use self::round_trip::Successes;
use self::verification::{Verification, is_same};
use crate::audit::{KeyAction, note_key_use};
use crate::envelope::DataKey;
use crate::trace;
use crate::wire::base64;

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
    /// In the order of [`Settings::holders`].
    holders: Vec<KeyHolder>,
    reuse: Reuse,
    max_objects: u64,
    max_bytes: u64,
    /// Data keys for writing, by (purpose, holders, key id, context).
    leases: TtlCache<Arc<Lease>>,
    /// Data keys for reading, by (purpose, holder, blob, context, allowed key).
    unwrapped: TtlCache<UnwrappedKey>,
    /// Blobs that were unwrapped again because an object contradicted their data key, by the fingerprints of
    /// `unwrapped`.
    refetched: Cache<Fingerprint, ()>,
    /// Wrappings that were made anew, by the rule's keys, the context and the former wrappings.
    rewrapped: Cache<Fingerprint, Rewrapping>,
    /// The full names of wrapping keys, as the providers last returned them, by holder and requested name.
    full_names: Cache<(usize, KeyId), Arc<str>>,
    /// The last successful calls of remote providers.
    successes: Successes,
}

/// The data key for one object to be written.
#[derive(Debug, Clone)]
pub struct WriteKey {
    /// 256 bits, possibly shared with other objects of the same wrapping keys and context.
    pub data_key: Arc<DataKey>,
    /// The first holder's `CiphertextBlob`: at most [`MAX_WRAPPED_KEY_LEN`] bytes.
    pub wrapped: WrappedDataKey,
    /// The further wrappings of the data key, as the value of `x-amz-meta-encryption-holders` (F-60); `None`
    /// where there are none.
    pub further: Option<Bytes>,
    /// The first holder's wrapping key as the provider names it: the full ARN for AWS KMS. Visible ASCII.
    pub key_id: Arc<str>,
}

/// A wrapped data key, and the value of the header in which all objects with this data key carry it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WrappedDataKey {
    blob: Bytes,
    header_value: HeaderValue,
}

impl WrappedDataKey {
    /// The wrapped data key, not base64.
    pub fn blob(&self) -> &Bytes {
        &self.blob
    }

    /// The value of `x-amz-meta-encryption-key`: the wrapped data key in base64.
    pub fn header_value(&self) -> &HeaderValue {
        &self.header_value
    }
}

impl From<Bytes> for WrappedDataKey {
    fn from(blob: Bytes) -> Self {
        let header_value = HeaderValue::try_from(base64::encode(&blob)).expect("base64 is a header value");
        Self { blob, header_value }
    }
}

impl Deref for WrappedDataKey {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.blob
    }
}

impl WriteKey {
    /// The wrappings of the data key, as an object carries them.
    pub fn wrappings(&self) -> Wrappings<'_> {
        Wrappings { first: &self.wrapped, further: self.further.as_deref() }
    }
}

/// The wrappings of one data key, as an object carries them. None of them is trusted: whether a data key is
/// the object's, the object's envelope shows.
#[derive(Debug, Clone, Copy)]
pub struct Wrappings<'a> {
    /// The first holder's blob.
    pub first: &'a [u8],
    /// The value of `x-amz-meta-encryption-holders` (F-60), if the object has it.
    pub further: Option<&'a [u8]>,
}

impl<'a> Wrappings<'a> {
    /// The only wrapping of a data key.
    pub fn single(blob: &'a [u8]) -> Self {
        Self { first: blob, further: None }
    }
}

/// A data key that was unwrapped for reading.
#[derive(Debug, Clone)]
pub struct UnwrappedKey {
    /// 256 bits, or 128 where the [`Purpose`] accepts them.
    pub data_key: Arc<DataKey>,
    /// The wrapping key as the provider names it: the full ARN for AWS KMS. Visible ASCII.
    pub key_id: Arc<str>,
}

impl Keyring {
    /// Opens the keyrings' files, or loads the AWS configuration. Calls no service: [`Keyring::check`] does.
    ///
    /// # Errors
    /// A [`KeyringSetupError`] that names the file or setting and its remedy.
    pub async fn build(settings: Settings) -> Result<Keyring, KeyringSetupError> {
        let Settings { holders: all, cache, reuse } = settings;
        let mut holders = Vec::with_capacity(all.len());
        for settings in all {
            holders.push(KeyHolder::build(settings).await?);
        }
        Ok(Self::new(holders, &cache, reuse, Clock::System))
    }

    fn new(holders: Vec<KeyHolder>, cache: &CacheSettings, reuse: Reuse, clock: Clock) -> Self {
        let CacheSettings { max_age, max_objects, max_bytes, entries, stale_if_error } = *cache;
        Self {
            inner: Arc::new(Inner {
                holders,
                reuse,
                max_objects,
                max_bytes,
                leases: TtlCache::new("generate", entries, max_age, stale_if_error, clock.clone()),
                unwrapped: TtlCache::new("unwrap", entries, max_age, stale_if_error, clock),
                refetched: Cache::builder().max_capacity(entries).time_to_live(max_age).build(),
                rewrapped: Cache::builder().max_capacity(entries).time_to_live(max_age).build(),
                full_names: Cache::builder().max_capacity(entries).time_to_live(max_age).build(),
                successes: Successes::default(),
            }),
        }
    }

    /// The data keys for new objects, and those for reading, that are in memory.
    pub async fn cached_keys(&self) -> [CacheContent; 2] {
        [self.inner.leases.content().await, self.inner.unwrapped.content().await]
    }

    /// The first holder's keys that may unwrap under a rule, each once, beginning with the one for new
    /// objects. A rotated local keyring lists its older keys too; AWS KMS rotates inside one key.
    pub fn allowed_keys<'a>(&'a self, rule: &'a KeyRule) -> impl Iterator<Item = &'a KeyId> {
        self.inner.allowed_keys(rule)
    }

    /// A data key for one native object of `plaintext_bytes`, under `key_id` or else the rule's key.
    ///
    /// # Errors
    /// As [`Self::for_write_as`].
    pub async fn for_write(
        &self,
        rule: &KeyRule,
        key_id: Option<&KeyId>,
        context: &EncryptionContext,
        plaintext_bytes: u64,
    ) -> Result<WriteKey, KeyringError> {
        self.for_write_as(Purpose::NATIVE, rule, key_id, context, plaintext_bytes).await
    }

    /// A data key for one object of `plaintext_bytes`, under `key_id` or else the rule's key.
    ///
    /// With [`Reuse::Bucket`], objects of one key and context share a data key until its age, object count or
    /// bytes are used up; an object larger than the byte limit gets a data key of its own. With
    /// [`Reuse::Off`] each call is one call of each holder.
    ///
    /// # Errors
    /// The provider's failure. Concurrent callers that need one uncached key share one call and its error.
    pub async fn for_write_as(
        &self,
        purpose: Purpose,
        rule: &KeyRule,
        key_id: Option<&KeyId>,
        context: &EncryptionContext,
        plaintext_bytes: u64,
    ) -> Result<WriteKey, KeyringError> {
        match self.inner.reuse {
            Reuse::Off => self.for_one_object(purpose, rule, key_id, context).await,
            Reuse::Bucket => {
                let key_id = self.inner.write_key_id(rule, key_id)?;
                let write_key = self.lease(purpose, rule, key_id, context, plaintext_bytes).await?;
                self.inner.note_use(KeyAction::Seal, purpose, rule.first(), &write_key.key_id);
                Ok(write_key)
            }
        }
    }

    /// A data key for one object only, regardless of the configured reuse: for formats that encrypt with the
    /// data key itself. Always one call of each holder.
    ///
    /// # Errors
    /// The provider's failure.
    pub async fn for_one_object(
        &self,
        purpose: Purpose,
        rule: &KeyRule,
        key_id: Option<&KeyId>,
        context: &EncryptionContext,
    ) -> Result<WriteKey, KeyringError> {
        let write_key = self.unshared(purpose, rule, key_id, context).await?;
        self.inner.note_use(KeyAction::Seal, purpose, rule.first(), &write_key.key_id);
        Ok(write_key)
    }

    async fn unshared(
        &self,
        purpose: Purpose,
        rule: &KeyRule,
        key_id: Option<&KeyId>,
        context: &EncryptionContext,
    ) -> Result<WriteKey, KeyringError> {
        let key_id = self.inner.write_key_id(rule, key_id)?;
        Box::pin(self.inner.generate(purpose, rule, key_id, context, Verification::Skipped)).await
    }

    /// Returns the full name of a key of the rule's first holder, as its provider reports it: from an earlier
    /// response, otherwise with a new data key, which [`Reuse::Bucket`] keeps in the cache for later writes.
    ///
    /// # Errors
    /// The provider's failure.
    pub async fn full_name(
        &self,
        rule: &KeyRule,
        key_id: &KeyId,
        context: &EncryptionContext,
    ) -> Result<Arc<str>, KeyringError> {
        if let Some(full_name) = self.inner.full_names.get(&(rule.first(), key_id.clone())).await {
            return Ok(full_name);
        }
        match self.inner.reuse {
            Reuse::Off => {
                let made = self.unshared(Purpose::NATIVE, rule, Some(key_id), context).await?;
                Ok(made.key_id)
            }
            Reuse::Bucket => Ok(self.shared(Purpose::NATIVE, rule, key_id, context).await?.key_id().into()),
        }
    }

    async fn lease(
        &self,
        purpose: Purpose,
        rule: &KeyRule,
        key_id: &KeyId,
        context: &EncryptionContext,
        plaintext_bytes: u64,
    ) -> Result<WriteKey, KeyringError> {
        for _ in 0..MAX_SHARED_KEY_ATTEMPTS {
            let lease = self.shared(purpose, rule, key_id, context).await?;
            if let Some(write_key) = lease.take(plaintext_bytes) {
                return Ok(write_key);
            }
        }
        Box::pin(self.inner.generate(purpose, rule, key_id, context, Verification::Skipped)).await
    }

    /// A data key that objects share. Thousands of objects may depend on it, so it is unwrapped once before
    /// the first object is written.
    async fn shared(
        &self,
        purpose: Purpose,
        rule: &KeyRule,
        key_id: &KeyId,
        context: &EncryptionContext,
    ) -> Result<Arc<Lease>, KeyringError> {
        let fingerprint = lease_fingerprint(purpose, rule, key_id, context);
        let fetch = || {
            let (inner, rule) = (Arc::clone(&self.inner), rule.clone());
            let (key_id, context) = (key_id.clone(), context.clone());
            async move {
                let write_key =
                    inner.generate(purpose, &rule, &key_id, &context, Verification::RoundTrip).await?;
                Ok(Arc::new(Lease::new(write_key, inner.max_objects, inner.max_bytes)))
            }
        };
        self.inner.leases.get_or_fetch(fingerprint, fetch).await
    }
}

impl Inner {
    fn allowed_keys<'a>(&'a self, rule: &'a KeyRule) -> impl Iterator<Item = &'a KeyId> {
        let own: &[KeyId] = match &rule.key_id {
            Some(key_id) => std::slice::from_ref(key_id),
            None => self.holders[rule.first()].key_ids(),
        };
        own.iter().chain(rule.allowed_key_ids.iter().filter(move |other| !own.contains(other)))
    }

    /// The key that wraps new data keys: the requested one, else the rule's.
    fn write_key_id<'a>(
        &'a self,
        rule: &'a KeyRule,
        requested: Option<&'a KeyId>,
    ) -> Result<&'a KeyId, KeyringError> {
        requested.or_else(|| self.allowed_keys(rule).next()).ok_or(KeyringError::NoKeyNamed)
    }

    /// Notes for the audit log, and for the line of the request, that the current request uses a data key.
    fn note_use(&self, action: KeyAction, purpose: Purpose, holder: usize, key_id: &str) {
        trace::note_format(purpose.suite());
        note_key_use(action, purpose.suite(), key_id, self.holders[holder].name());
    }

    /// Records a successful call of a remote provider.
    fn note(&self, call: KeyCall, holder: usize, key_id: &KeyId) {
        if self.holders[holder].is_remote() {
            self.successes.record(call, holder, key_id);
        }
    }
}

/// Whether a blob may be a wrapped data key, by its length.
fn is_wrapped_key_length(blob: &[u8]) -> bool {
    (1..=MAX_WRAPPED_KEY_LEN).contains(&blob.len())
}

/// The cache key of a shared data key.
fn lease_fingerprint(
    purpose: Purpose,
    rule: &KeyRule,
    key_id: &KeyId,
    context: &EncryptionContext,
) -> Fingerprint {
    let (key_id, context) = (key_id.as_str().as_bytes(), context.canonical());
    if rule.is_single() {
        return Fingerprint::new(&[purpose.name(), &rule.first().to_be_bytes(), key_id, context]);
    }
    Fingerprint::new(&[purpose.name(), &rule.wrapping_tag(), key_id, context])
}

/// The cache key of an unwrapped data key.
fn blob_fingerprint(
    purpose: Purpose,
    holder: usize,
    wrapped: &[u8],
    context: &EncryptionContext,
    key_id: &KeyId,
) -> Fingerprint {
    let (holder, key_id) = (holder.to_be_bytes(), key_id.as_str().as_bytes());
    Fingerprint::new(&[purpose.name(), &holder, key_id, context.canonical(), wrapped])
}
