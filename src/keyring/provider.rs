//! The providers behind one face: what each answers is checked here before anybody uses it.

use std::sync::Arc;

use bytes::Bytes;
use subtle::ConstantTimeEq;

use super::kms::KmsKeys;
use super::local::LocalKeys;
use super::{
    CheckError, EncryptionContext, KeyId, KeyringError, KeyringSetupError, MAX_WRAPPED_KEY_LEN,
    MalformedAnswer, Provider, Unwrapped, WriteKey,
};
use crate::envelope::DataKey;

/// What a provider says to GenerateDataKey, unchecked.
#[derive(Debug)]
pub(super) struct Generated {
    pub(super) data_key: Option<DataKey>,
    pub(super) wrapped: Bytes,
    pub(super) key_id: Option<String>,
}

/// What a provider says to Decrypt, unchecked.
#[derive(Debug)]
pub(super) struct Decrypted {
    pub(super) data_key: Option<DataKey>,
    pub(super) key_id: Option<String>,
}

#[derive(Debug)]
pub(super) enum Backend {
    AwsKms(KmsKeys),
    Local(LocalKeys),
    #[cfg(test)]
    Scripted(Arc<super::tests::Scripted>),
}

impl Backend {
    pub(super) async fn build(provider: Provider) -> Result<Self, KeyringSetupError> {
        match provider {
            Provider::AwsKms(settings) => KmsKeys::build(settings).await.map(Self::AwsKms),
            Provider::Local(settings) => tokio::task::spawn_blocking(|| LocalKeys::open(settings))
                .await
                .map_err(|_panicked_or_shut_down| KeyringSetupError::Interrupted)?
                .map(Self::Local),
        }
    }

    pub(super) fn default_key_id(&self) -> Option<&KeyId> {
        self.default_allowed().first()
    }

    pub(super) fn default_allowed(&self) -> &[KeyId] {
        match self {
            Self::AwsKms(kms) => kms.default_key_id(),
            Self::Local(local) => local.key_ids(),
            #[cfg(test)]
            Self::Scripted(scripted) => scripted.key_ids(),
        }
    }

    pub(super) async fn generate(
        &self,
        key_id: &KeyId,
        context: &EncryptionContext,
    ) -> Result<WriteKey, KeyringError> {
        self.try_generate(key_id, context).await.map_err(logged)
    }

    /// [`Self::generate`] with the cause of a failure, which is not logged here.
    pub(super) async fn try_generate(
        &self,
        key_id: &KeyId,
        context: &EncryptionContext,
    ) -> Result<WriteKey, CheckError> {
        let answer = match self {
            Self::AwsKms(kms) => kms.generate(key_id, context).await,
            Self::Local(local) => local.generate(key_id, context).map_err(CheckError::from),
            #[cfg(test)]
            Self::Scripted(scripted) => scripted.generate(key_id, context).await.map_err(CheckError::from),
        };
        let checked = answer.and_then(|answer| Ok(answer.check()?));
        let named = |made: WriteKey| named(key_id, &made.key_id).map(|()| made).map_err(CheckError::from);
        counted("generate", key_id, checked.and_then(named))
    }

    /// Whether answers come over a network: what comes back may not be what was sent.
    pub(super) fn is_remote(&self) -> bool {
        match self {
            Self::AwsKms(_) => true,
            Self::Local(_) => false,
            #[cfg(test)]
            Self::Scripted(scripted) => scripted.is_remote(),
        }
    }

    /// Opens the blob under exactly this key.
    pub(super) async fn unwrap(
        &self,
        wrapped: &[u8],
        context: &EncryptionContext,
        key_id: &KeyId,
    ) -> Result<Unwrapped, KeyringError> {
        self.try_unwrap(wrapped, context, key_id).await.map_err(logged)
    }

    /// [`Self::unwrap`] with the cause of a failure, which is not logged here.
    pub(super) async fn try_unwrap(
        &self,
        wrapped: &[u8],
        context: &EncryptionContext,
        key_id: &KeyId,
    ) -> Result<Unwrapped, CheckError> {
        let answer = match self {
            Self::AwsKms(kms) => kms.decrypt(wrapped, context, key_id).await,
            Self::Local(local) => local.decrypt(wrapped, context, key_id).map_err(CheckError::from),
            #[cfg(test)]
            Self::Scripted(scripted) => {
                scripted.decrypt(wrapped, context, key_id).await.map_err(CheckError::from)
            }
        };
        let checked = answer.and_then(|answer| Ok(answer.check()?));
        let named = |found: Unwrapped| named(key_id, &found.key_id).map(|()| found).map_err(CheckError::from);
        counted("unwrap", key_id, checked.and_then(named))
    }
}

impl Generated {
    fn check(self) -> Result<WriteKey, KeyringError> {
        let Self { data_key, wrapped, key_id } = self;
        if wrapped.is_empty() || wrapped.len() > MAX_WRAPPED_KEY_LEN {
            return Err(KeyringError::Malformed(MalformedAnswer::WrappedKeyLength));
        }
        Ok(WriteKey { data_key: checked_data_key(data_key)?, wrapped, key_id: checked_key_id(key_id)? })
    }
}

impl Decrypted {
    fn check(self) -> Result<Unwrapped, KeyringError> {
        let Self { data_key, key_id } = self;
        Ok(Unwrapped { data_key: checked_data_key(data_key)?, key_id: checked_key_id(key_id)? })
    }
}

fn checked_data_key(data_key: Option<DataKey>) -> Result<Arc<DataKey>, KeyringError> {
    let data_key = data_key.ok_or(KeyringError::Malformed(MalformedAnswer::DataKeyLength))?;
    let zeros = &[0; 32][..data_key.as_slice().len()];
    if bool::from(data_key.as_slice().ct_eq(zeros)) {
        return Err(KeyringError::Malformed(MalformedAnswer::ZeroDataKey));
    }
    Ok(Arc::new(data_key))
}

fn checked_key_id(key_id: Option<String>) -> Result<String, KeyringError> {
    key_id
        .filter(|key_id| KeyId::parse(key_id).is_ok())
        .ok_or(KeyringError::Malformed(MalformedAnswer::KeyId))
}

/// # Errors
/// When an answer names another key than was asked for.
fn named(asked: &KeyId, answered: &str) -> Result<(), KeyringError> {
    if asked.may_be(answered) { Ok(()) } else { Err(KeyringError::Malformed(MalformedAnswer::OtherKey)) }
}

/// Of errors without a cause there is nothing to tell that the request's own line does not.
fn logged(failure: CheckError) -> KeyringError {
    if failure.cause.is_some() {
        super::kms::log(&failure);
    }
    failure.error
}

fn counted<T>(
    operation: &'static str,
    key_id: &KeyId,
    answer: Result<T, CheckError>,
) -> Result<T, CheckError> {
    let outcome = answer.as_ref().err().map_or("ok", |failure| failure.error.outcome());
    metrics::counter!("s3veil_keyring_calls_total", "operation" => operation, "outcome" => outcome)
        .increment(1);
    tracing::debug!(operation, outcome, %key_id, "asked the key provider");
    answer
}
