//! The holders of wrapping keys, one file each, behind one interface. It must not know caches, leases or what
//! a data key is used for. It promises that a holder's response is checked before use: lengths, all-zero
//! keys, and the name of the key.

#[cfg(feature = "aws")]
mod aws_kms;
#[cfg(feature = "azure-key-vault")]
mod azure_key_vault;
#[cfg(any(feature = "gcp-kms", feature = "azure-key-vault"))]
mod bearer_service;
mod call;
#[cfg(feature = "gcp-kms")]
mod gcp_kms;
mod http_client;
pub mod local;
#[cfg(feature = "pkcs11")]
mod pkcs11;
mod repetition;
mod vault;

use std::error::Error;
use std::fmt;
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use subtle::ConstantTimeEq;

#[cfg(feature = "aws")]
use self::aws_kms::AwsKmsHolder;
#[cfg(feature = "azure-key-vault")]
use self::azure_key_vault::AzureKeyVaultHolder;
use self::call::Call;
#[cfg(feature = "gcp-kms")]
use self::gcp_kms::GcpKmsHolder;
use self::local::LocalHolder;
#[cfg(feature = "pkcs11")]
use self::pkcs11::Pkcs11Holder;
use self::vault::VaultHolder;
use super::health::Health;
use super::{
    CheckError, EncryptionContext, HolderSettings, KeyCall, KeyId, KeyringError, KeyringSetupError,
    MalformedResponse, Provider, UnwrappedKey, WriteKey, is_wrapped_key_length,
};
use crate::envelope::DataKey;
use crate::envelope::native::HolderKind;
use crate::metric::timestamp_seconds;
use crate::timer;

/// A holder's response to the request for a new data key, unchecked.
#[derive(Debug)]
pub(super) struct GeneratedKey {
    /// 256 bits; `None` if the response had another length.
    pub(super) data_key: Option<DataKey>,
    /// The wrapped data key.
    pub(super) wrapped: Bytes,
    /// The full name of the wrapping key.
    pub(super) key_id: Option<String>,
}

/// A holder's response to the request to unwrap a data key, unchecked.
#[derive(Debug)]
pub(super) struct DecryptedKey {
    /// 256 or 128 bits; `None` if the response had another length.
    pub(super) data_key: Option<DataKey>,
    /// The full name of the wrapping key.
    pub(super) key_id: Option<String>,
}

/// A holder's response to the request to wrap a data key, unchecked.
#[derive(Debug)]
pub(super) struct WrappedKey {
    /// The wrapped data key.
    pub(super) wrapped: Bytes,
    /// The full name of the wrapping key.
    pub(super) key_id: Option<String>,
}

/// The response of a holder, or the reason why there is none.
pub(super) type Response<'a, T> = Pin<Box<dyn Future<Output = Result<T, CheckError>> + Send + 'a>>;

/// A service or file that has wrapping keys: what each provider implements, in a file of its own. Responses
/// are checked by [`KeyHolder`], and calls are not repeated beyond what the provider's own client does.
pub(super) trait KeyProvider: fmt::Debug + Send + Sync {
    /// The kind of this provider in the stored format.
    fn kind(&self) -> HolderKind;

    /// Whether a blob may have been wrapped by this provider, as far as its first bytes show.
    fn may_have_wrapped(&self, blob: &[u8]) -> bool;

    /// The address of the service, or the file, for messages to operators.
    fn place(&self) -> String;

    /// Whether responses come over a network, where a response may differ from what the service sent.
    fn is_remote(&self) -> bool {
        true
    }

    /// The configured wrapping keys, beginning with the one for new data keys; more than one only where older
    /// keys are separate keys. Empty if every bucket's rule names its key.
    fn key_ids(&self) -> &[KeyId];

    /// Makes a new data key of 256 bits and wraps it under `key_id`, bound to `context`.
    ///
    /// # Errors
    /// The service's refusal or outage in the keyring's terms, with the service's own words as the cause.
    fn generate<'a>(
        &'a self,
        key_id: &'a KeyId,
        context: &'a EncryptionContext,
    ) -> Response<'a, GeneratedKey>;

    /// Unwraps `wrapped` under `key_id` and under no other key, whatever key the blob names.
    ///
    /// # Errors
    /// As [`Self::generate`]. A blob of another key or context, or an altered one, is
    /// [`KeyringError::IncorrectKey`] or [`KeyringError::InvalidCiphertext`].
    fn decrypt<'a>(
        &'a self,
        wrapped: &'a [u8],
        context: &'a EncryptionContext,
        key_id: &'a KeyId,
    ) -> Response<'a, DecryptedKey>;

    /// Wraps a data key that exists under `key_id`, bound to `context`.
    ///
    /// # Errors
    /// As [`Self::generate`].
    fn wrap<'a>(
        &'a self,
        data_key: &'a DataKey,
        context: &'a EncryptionContext,
        key_id: &'a KeyId,
    ) -> Response<'a, WrappedKey>;

    /// The name of the key that a blob claims to be wrapped under, with the version where the provider counts
    /// versions of a key; not authenticated. `None` where blobs do not tell.
    fn claimed_key(&self, _blob: &[u8]) -> Option<String> {
        None
    }

    /// Proves that the configured key binds data keys to their context, where the provider has keys that do
    /// not. Such a provider returns no data key before a proof has succeeded, whether or not this was called.
    ///
    /// # Errors
    /// [`KeyringError::ContextIgnored`], or as [`Self::generate`] if no proof was possible.
    fn prove(&self) -> Response<'_, ()> {
        Box::pin(ready(Ok(())))
    }

    /// Wraps the data key of `wrapped`, which is under the key `from` and under no other, again under the
    /// newest version of the key `to`, bound to `context`, too, without the data key leaving the service.
    ///
    /// # Errors
    /// As [`Self::decrypt`]; [`KeyringError::Unsupported`] if the provider can't do so.
    fn rewrap<'a>(
        &'a self,
        _wrapped: &'a [u8],
        _context: &'a EncryptionContext,
        _from: &'a KeyId,
        _to: &'a KeyId,
    ) -> Response<'a, WrappedKey> {
        Box::pin(ready(Err(KeyringError::Unsupported.into())))
    }
}

/// One holder of wrapping keys: its provider, behind the checks that all providers' responses go through.
#[derive(Debug)]
pub(super) struct KeyHolder {
    /// The name in the configuration.
    name: Arc<str>,
    provider: Box<dyn KeyProvider>,
    /// The place of the holder of the original key, where this one's key is a replica.
    replica_of: Option<usize>,
    pub(super) health: Health,
}

impl KeyHolder {
    pub(super) async fn build(settings: HolderSettings) -> Result<Self, KeyringSetupError> {
        let HolderSettings { name, provider, replica_of } = settings;
        let provider: Box<dyn KeyProvider> = match provider {
            #[cfg(feature = "aws")]
            Provider::AwsKms(settings) => Box::new(AwsKmsHolder::build(settings).await?),
            Provider::Vault(settings) => Box::new(VaultHolder::build(settings)?),
            Provider::Local(settings) => Box::new(
                tokio::task::spawn_blocking(|| LocalHolder::open(settings))
                    .await
                    .map_err(|_panicked_or_shut_down| KeyringSetupError::Interrupted)??,
            ),
            #[cfg(feature = "pkcs11")]
            Provider::Pkcs11(settings) => Box::new(Pkcs11Holder::build(settings).await?),
            #[cfg(feature = "gcp-kms")]
            Provider::GcpKms(settings) => Box::new(GcpKmsHolder::build(settings)?),
            #[cfg(feature = "azure-key-vault")]
            Provider::AzureKeyVault(settings) => Box::new(AzureKeyVaultHolder::build(settings)?),
        };
        Ok(Self { name: name.into(), provider, replica_of, health: Health::default() })
    }

    /// A holder called `name` whose keys this provider has.
    #[cfg(test)]
    pub(super) fn new(name: &str, provider: impl KeyProvider + 'static) -> Self {
        Self { name: name.into(), provider: Box::new(provider), replica_of: None, health: Health::default() }
    }

    /// The name in the configuration.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn kind(&self) -> HolderKind {
        self.provider.kind()
    }

    pub(super) fn replica_of(&self) -> Option<usize> {
        self.replica_of
    }

    /// The configured wrapping keys, beginning with the one for new data keys.
    pub(super) fn key_ids(&self) -> &[KeyId] {
        self.provider.key_ids()
    }

    pub(super) fn may_have_wrapped(&self, blob: &[u8]) -> bool {
        self.provider.may_have_wrapped(blob)
    }

    pub(super) async fn generate(
        &self,
        key_id: &KeyId,
        context: &EncryptionContext,
    ) -> Result<WriteKey, KeyringError> {
        let generated = self.try_generate(key_id, context).await;
        generated.map_err(|failure| self.log_failure(KeyCall::Generate, key_id, failure))
    }

    /// [`Self::generate`] with the cause of a failure, which is not logged here.
    pub(super) async fn try_generate(
        &self,
        key_id: &KeyId,
        context: &EncryptionContext,
    ) -> Result<WriteKey, CheckError> {
        let call = Call::begin(self, "generate", key_id);
        let response = timer::with_tokio_timers(self.provider.generate(key_id, context)).await;
        let checked = response.and_then(|response| Ok(response.check(key_id)?));
        self.record(call, key_id, checked)
    }

    /// Whether responses come over a network, where a response may differ from what the holder sent.
    pub(super) fn is_remote(&self) -> bool {
        self.provider.is_remote()
    }

    /// Unwraps the blob under exactly this key.
    pub(super) async fn unwrap(
        &self,
        wrapped: &[u8],
        context: &EncryptionContext,
        key_id: &KeyId,
    ) -> Result<UnwrappedKey, KeyringError> {
        let unwrapped = self.try_unwrap(wrapped, context, key_id).await;
        unwrapped.map_err(|failure| self.log_failure(KeyCall::Unwrap, key_id, failure))
    }

    /// [`Self::unwrap`] with the cause of a failure, which is not logged here.
    pub(super) async fn try_unwrap(
        &self,
        wrapped: &[u8],
        context: &EncryptionContext,
        key_id: &KeyId,
    ) -> Result<UnwrappedKey, CheckError> {
        let call = Call::begin(self, "unwrap", key_id);
        let response = timer::with_tokio_timers(self.provider.decrypt(wrapped, context, key_id)).await;
        let checked = response.and_then(|response| Ok(response.check(key_id)?));
        self.record(call, key_id, checked)
    }

    pub(super) async fn prove(&self) -> Result<(), CheckError> {
        timer::with_tokio_timers(self.provider.prove()).await
    }

    /// Wraps a data key that exists. The new blob, and the full name of the key.
    pub(super) async fn wrap(
        &self,
        data_key: &DataKey,
        context: &EncryptionContext,
        key_id: &KeyId,
    ) -> Result<(Bytes, String), KeyringError> {
        let call = Call::begin(self, "wrap", key_id);
        let response = timer::with_tokio_timers(self.provider.wrap(data_key, context, key_id)).await;
        let checked = response.and_then(|wrapped| Ok(wrapped.check(key_id)?));
        let recorded = self.record(call, key_id, checked);
        recorded.map_err(|failure| self.log_failure(KeyCall::Generate, key_id, failure))
    }

    /// The name of the key that a blob claims, as far as this holder's blobs tell.
    pub(super) fn claimed_key(&self, blob: &[u8]) -> Option<String> {
        self.provider.claimed_key(blob)
    }

    /// Wraps the data key of a blob that is under `from` again under the newest version of `to`. The new
    /// blob, and the full name of the key.
    ///
    /// # Errors
    /// The provider's failure, or [`MalformedResponse::WrappedKeyLength`].
    pub(super) async fn rewrap(
        &self,
        wrapped: &[u8],
        context: &EncryptionContext,
        (from, to): (&KeyId, &KeyId),
    ) -> Result<(Bytes, String), CheckError> {
        let call = Call::begin(self, "rewrap", to);
        let response = timer::with_tokio_timers(self.provider.rewrap(wrapped, context, from, to)).await;
        let checked = response.and_then(|wrapped| Ok(wrapped.check(to)?));
        self.record(call, to, checked)
    }

    /// Logs why requests fail, for operators, and returns the error. An error without a cause is complete in
    /// the log line of its request; a failure that any client with the right to store objects can cause is
    /// not logged as a warning.
    fn log_failure(&self, call: KeyCall, key_id: &KeyId, failure: CheckError) -> KeyringError {
        let CheckError { error, cause } = failure;
        let Some(causes) = cause else { return error };
        let (holder, at, call) = (self.name(), self.provider.place(), call.action());
        if error.is_of_another_key() {
            tracing::debug!(holder, at, call, %key_id, causes, "the key provider refused");
        } else {
            tracing::warn!(holder, at, call, %key_id, causes, "the key provider failed: {error}");
        }
        error
    }

    /// Counts a call, and takes note of whether the holder responds.
    fn record<T>(
        &self,
        call: Call,
        key_id: &KeyId,
        response: Result<T, CheckError>,
    ) -> Result<T, CheckError> {
        let (operation, duration) = (call.operation(), call.end(response.as_ref().err()));
        let taken = duration.as_secs_f64();
        metrics::histogram!(
            "s3veil_keyring_call_duration_seconds",
            "operation" => operation,
            "holder" => Arc::clone(&self.name)
        )
        .record(taken);
        let error = response.as_ref().err().map(|failure| &failure.error);
        let is_outage = error.is_some_and(KeyringError::is_outage);
        if is_outage {
            self.health.failed(Instant::now());
        } else {
            self.health.responded();
        }
        let up = metrics::gauge!("s3veil_keyring_holder_up", "holder" => Arc::clone(&self.name));
        up.set(if is_outage { 0.0 } else { 1.0 });
        if error.is_none() {
            let holder = Arc::clone(&self.name);
            metrics::gauge!("s3veil_keyring_last_success_timestamp_seconds", "holder" => holder)
                .set(timestamp_seconds(SystemTime::now()));
        }
        let outcome = error.map_or("ok", KeyringError::outcome);
        let labels = [
            ("operation", operation.into()),
            ("outcome", outcome.into()),
            ("holder", Arc::clone(&self.name).into()),
        ];
        let labels =
            labels.map(|(name, value): (&str, metrics::SharedString)| metrics::Label::new(name, value));
        metrics::counter!("s3veil_keyring_calls_total", labels.to_vec()).increment(1);
        tracing::debug!(holder = self.name(), operation, outcome, %key_id, "called the key provider");
        response
    }
}

impl GeneratedKey {
    fn check(self, requested: &KeyId) -> Result<WriteKey, KeyringError> {
        let Self { data_key, wrapped, key_id } = self;
        let wrapped = checked_blob(wrapped)?.into();
        let data_key = checked_data_key(data_key)?;
        Ok(WriteKey { data_key, wrapped, further: None, key_id: checked_key_id(key_id, requested)?.into() })
    }
}

impl DecryptedKey {
    fn check(self, requested: &KeyId) -> Result<UnwrappedKey, KeyringError> {
        let Self { data_key, key_id } = self;
        let data_key = checked_data_key(data_key)?;
        Ok(UnwrappedKey { data_key, key_id: checked_key_id(key_id, requested)?.into() })
    }
}

impl WrappedKey {
    fn check(self, requested: &KeyId) -> Result<(Bytes, String), KeyringError> {
        let Self { wrapped, key_id } = self;
        Ok((checked_blob(wrapped)?, checked_key_id(key_id, requested)?))
    }
}

fn checked_blob(wrapped: Bytes) -> Result<Bytes, KeyringError> {
    if is_wrapped_key_length(&wrapped) {
        Ok(wrapped)
    } else {
        Err(KeyringError::Malformed(MalformedResponse::WrappedKeyLength))
    }
}

fn checked_data_key(data_key: Option<DataKey>) -> Result<Arc<DataKey>, KeyringError> {
    let data_key = data_key.ok_or(KeyringError::Malformed(MalformedResponse::DataKeyLength))?;
    let zeros = &[0; 32][..data_key.as_slice().len()];
    if bool::from(data_key.as_slice().ct_eq(zeros)) {
        return Err(KeyringError::Malformed(MalformedResponse::ZeroDataKey));
    }
    Ok(Arc::new(data_key))
}

/// # Errors
/// [`MalformedResponse::OtherKey`] if a response names a key other than the requested one.
fn checked_key_id(key_id: Option<String>, requested: &KeyId) -> Result<String, KeyringError> {
    let key_id = key_id.filter(|key_id| KeyId::parse(key_id).is_ok());
    let key_id = key_id.ok_or(KeyringError::Malformed(MalformedResponse::KeyId))?;
    let is_requested = requested.may_be(&key_id);
    if is_requested { Ok(key_id) } else { Err(KeyringError::Malformed(MalformedResponse::OtherKey)) }
}

/// Checks that a request for `requested` concerns the only key of a holder.
///
/// # Errors
/// [`KeyringError::KeyNotFound`], with the holder's key as the cause.
fn require_own_key(own: &KeyId, requested: &KeyId) -> Result<(), CheckError> {
    if own == requested {
        return Ok(());
    }
    let cause = Some(format!("this holder has {own} alone"));
    Err(CheckError { error: KeyringError::KeyNotFound, cause })
}

/// The error and its causes. To be shown by `Display` only: `Debug` of a response may show a data key.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&cause| cause.source())
}
