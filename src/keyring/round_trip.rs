//! Whether wrapping keys work: a round trip that bypasses the caches, and the times of the last successful
//! calls. It must not know what an operator does with the result. It promises that only a call that the
//! provider carried out counts as a success.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{CheckError, EncryptionContext, KeyId, Keyring, KeyringError, MalformedResponse, is_same};

/// Maximum number of keys whose calls are remembered. The names are those of the configuration.
const MAX_REMEMBERED: usize = 1_000;

/// The result of [`Keyring::check`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoundTrip {
    /// The wrapping key as the provider names it: the full ARN for AWS KMS.
    pub key_id: Arc<str>,
    /// How long generating a data key took.
    pub generate: Duration,
    /// How long unwrapping that data key took.
    pub unwrap: Duration,
}

/// One of the two calls of a round trip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyCall {
    /// A new data key is generated.
    Generate,
    /// A wrapped data key is unwrapped.
    Unwrap,
}

impl KeyCall {
    /// The action of AWS KMS that a policy has to allow for this call.
    pub fn action(self) -> &'static str {
        match self {
            Self::Generate => "kms:GenerateDataKey",
            Self::Unwrap => "kms:Decrypt",
        }
    }

    /// The call in words, for other services.
    pub fn described(self) -> &'static str {
        match self {
            Self::Generate => "to make a data key",
            Self::Unwrap => "to unwrap a data key",
        }
    }
}

/// The failure of [`Keyring::check`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoundTripError {
    /// The call that failed.
    pub call: KeyCall,
    /// The wrapping key as it was requested; `None` if no key is configured.
    pub key_id: Option<KeyId>,
    /// The error and its cause.
    pub failure: CheckError,
}

/// When calls of the providers last succeeded, by the holder and the requested key.
#[derive(Debug, Default)]
pub(super) struct Successes(Mutex<HashMap<(usize, KeyId), LastSuccess>>);

#[derive(Debug, Clone, Copy, Default)]
struct LastSuccess {
    generate: Option<Instant>,
    unwrap: Option<Instant>,
}

impl Successes {
    pub(super) fn record(&self, call: KeyCall, holder: usize, key_id: &KeyId) {
        let mut successes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (holder, key_id.clone());
        if successes.len() >= MAX_REMEMBERED && !successes.contains_key(&key) {
            return;
        }
        let last = successes.entry(key).or_default();
        match call {
            KeyCall::Generate => last.generate = Some(Instant::now()),
            KeyCall::Unwrap => last.unwrap = Some(Instant::now()),
        }
    }

    /// The time since which both calls have succeeded.
    fn both(&self, holder: usize, key_id: &KeyId) -> Option<Instant> {
        let successes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let LastSuccess { generate, unwrap } = *successes.get(&(holder, key_id.clone()))?;
        Some(generate?.min(unwrap?))
    }
}

impl Keyring {
    /// Generates a data key and unwraps it, bypassing the caches, to find out whether a holder's key works in
    /// this context now. `holder` is a place in [`Settings::holders`](super::Settings::holders), and `None`
    /// its default key. A replica unwraps what the holder of the original key generates.
    ///
    /// # Errors
    /// The provider's failure, or [`MalformedResponse::RoundTrip`] if another data key comes back.
    pub async fn check(
        &self,
        holder: usize,
        key_id: Option<&KeyId>,
        context: &EncryptionContext,
    ) -> Result<RoundTrip, RoundTripError> {
        let failed =
            |call, key_id: Option<&KeyId>, failure| RoundTripError { call, key_id: key_id.cloned(), failure };
        let reader = &self.inner.holders[holder];
        let writer = reader.replica_of().map_or(reader, |original| &self.inner.holders[original]);
        let read_id = key_id.or(reader.key_ids().first());
        let written_id = if reader.replica_of().is_some() { writer.key_ids().first() } else { read_id };
        let (Some(read_id), Some(written_id)) = (read_id, written_id) else {
            return Err(failed(KeyCall::Generate, None, KeyringError::NoKeyNamed.into()));
        };
        let started = Instant::now();
        let written = writer.try_generate(written_id, context).await;
        let written = written.map_err(|failure| failed(KeyCall::Generate, Some(written_id), failure))?;
        let generate = started.elapsed();
        let started = Instant::now();
        let read = reader.try_unwrap(&written.wrapped, context, read_id).await;
        let read = read.map_err(|failure| failed(KeyCall::Unwrap, Some(read_id), failure))?;
        let unwrap = started.elapsed();
        if !is_same(&written.data_key, &read.data_key) {
            let error = KeyringError::Malformed(MalformedResponse::RoundTrip);
            return Err(failed(KeyCall::Unwrap, Some(read_id), error.into()));
        }
        Ok(RoundTrip { key_id: read.key_id, generate, unwrap })
    }

    /// Proves that a holder's key binds data keys to their encryption context, where its provider has keys
    /// that do not. `holder` is a place in [`Settings::holders`](super::Settings::holders). For the start:
    /// without it the proof is made before the first data key is returned.
    ///
    /// # Errors
    /// [`KeyringError::ContextIgnored`], or the failure that prevented a proof, which is no reason to refuse
    /// a start if [`KeyringError::is_unavailability`].
    pub async fn prove(&self, holder: usize) -> Result<(), CheckError> {
        self.inner.holders[holder].prove().await
    }

    /// Wraps a holder's data key again under the newest version of its wrapping key, without the data key
    /// leaving the service. The context of the blob stays. Bypasses the caches.
    ///
    /// # Errors
    /// The provider's failure, or [`KeyringError::Unsupported`] if it can't do so.
    pub async fn rewrap(
        &self,
        holder: usize,
        wrapped: &[u8],
        context: &EncryptionContext,
        key_id: &KeyId,
    ) -> Result<Bytes, CheckError> {
        let rewrapped = self.inner.holders[holder].rewrap(wrapped, context, (key_id, key_id)).await;
        rewrapped.map(|(wrapped, _)| wrapped)
    }

    /// The time since which ordinary requests have had a data key both generated and unwrapped under this key
    /// of a holder; `None` if either has not happened, or the holder is a local file. `None` as `key_id` is
    /// the holder's default key.
    pub fn last_success(&self, holder: usize, key_id: Option<&KeyId>) -> Option<Instant> {
        let key_id = key_id.or(self.inner.holders[holder].key_ids().first())?;
        self.inner.successes.both(holder, key_id)
    }

    /// The names of the holders in the configuration, in the order of
    /// [`Settings::holders`](super::Settings::holders), each with its default key.
    pub fn holders(&self) -> impl Iterator<Item = (&str, Option<&KeyId>)> {
        self.inner.holders.iter().map(|holder| (holder.name(), holder.key_ids().first()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_success_is_one_of_both_calls_and_as_old_as_the_older() {
        let (successes, key) = (Successes::default(), KeyId::parse("alias/a").expect("a key id"));
        successes.record(KeyCall::Unwrap, 0, &key);
        assert_eq!(successes.both(0, &key), None, "nothing was generated");
        let before = Instant::now();
        successes.record(KeyCall::Generate, 0, &key);
        let both = successes.both(0, &key).expect("both succeeded");
        assert!(both <= before, "the unwrapping is the older");
        successes.record(KeyCall::Unwrap, 0, &key);
        assert!(successes.both(0, &key).expect("both succeeded") >= before);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let successes = Successes::default();
        for number in 0..2 * MAX_REMEMBERED {
            let key = KeyId::parse(&format!("alias/{number}")).expect("a key id");
            successes.record(KeyCall::Generate, 0, &key);
        }
        assert_eq!(successes.0.lock().expect("no panic").len(), MAX_REMEMBERED);
    }
}
