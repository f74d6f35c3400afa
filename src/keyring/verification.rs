//! Detection of wrong data keys: a new data key is compared with its blob, and a data key that an object
//! contradicts is requested from the provider again. It must not know how an object shows that its data key
//! is wrong. It promises that a shared data key is verified before the first object is written with it, and
//! that a wrong data key is used only until one object contradicts it.

use subtle::ConstantTimeEq;

use super::{
    EncryptionContext, Inner, KeyCall, KeyId, KeyRule, Keyring, KeyringError, MalformedResponse, Purpose,
    UnwrappedKey, Wrappings, WriteKey,
};
use crate::envelope::DataKey;

/// How a new data key is verified before its first use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verification {
    /// Not at all: only one object is written with the data key.
    Skipped,
    /// The blob is unwrapped and compared with the data key.
    RoundTrip,
}

/// Compares two data keys in constant time.
pub(super) fn is_same(one: &DataKey, other: &DataKey) -> bool {
    one.as_slice().ct_eq(other.as_slice()).into()
}

impl Keyring {
    /// Requests the data key of a native object's `wrappings` again, bypassing the cache, because the object
    /// indicates that it was sealed with a data key other than `found`. Returns `None` if the provider
    /// returned `found` again, or was already called again within the cache's time to live. So a wrong data
    /// key is used only until one object contradicts it, and a damaged object does not cost a provider call
    /// for each read.
    ///
    /// # Errors
    /// As [`Self::unwrap_as`].
    pub async fn unwrap_again(
        &self,
        rule: &KeyRule,
        wrappings: Wrappings<'_>,
        context: &EncryptionContext,
        found: &UnwrappedKey,
    ) -> Result<Option<UnwrappedKey>, KeyringError> {
        for wrapping in self.inner.candidates(rule, wrappings).await {
            for key_id in &wrapping.key_ids {
                let fingerprint = wrapping.fingerprint(Purpose::NATIVE, context, key_id);
                match self.inner.unwrapped.get(&fingerprint).await {
                    None => continue,
                    // Another reader has replaced the cached data key meanwhile.
                    Some(hit) if !is_same(&hit.data_key, &found.data_key) => return Ok(Some(hit)),
                    Some(_) => {}
                }
                if self.inner.refetched.contains_key(&fingerprint) {
                    return Ok(None);
                }
                self.inner.refetched.insert(fingerprint.clone(), ()).await;
                let again = self.inner.unwrap(Purpose::NATIVE, &wrapping, context, key_id).await?;
                if is_same(&again.data_key, &found.data_key) {
                    return Ok(None);
                }
                tracing::warn!(%key_id, "the key provider opened one blob to two different data keys");
                self.inner.unwrapped.insert(fingerprint, again.clone()).await;
                return Ok(Some(again));
            }
        }
        Ok(None)
    }
}

impl Inner {
    /// Unwraps the blob of a new data key and compares the result with the data key.
    ///
    /// # Errors
    /// [`MalformedResponse::RoundTrip`] when the blob holds another data key, and any error of the
    /// unwrap call except [`KeyringError::Denied`]: a proxy that may only write cannot verify the data key.
    pub(super) async fn verify_round_trip(
        &self,
        holder: usize,
        write_key: &WriteKey,
        key_id: &KeyId,
        context: &EncryptionContext,
    ) -> Result<(), KeyringError> {
        match self.holders[holder].unwrap(&write_key.wrapped, context, key_id).await {
            Ok(read) if is_same(&read.data_key, &write_key.data_key) => {
                self.note(KeyCall::Unwrap, holder, key_id);
                Ok(())
            }
            Ok(_) => {
                tracing::error!(%key_id, "the key provider returned a data key that its blob does not hold");
                Err(KeyringError::Malformed(MalformedResponse::RoundTrip))
            }
            Err(KeyringError::Denied) => {
                tracing::warn!(%key_id, "a new data key was not verified: the key provider denies unwrapping it");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}
