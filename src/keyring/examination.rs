//! Examines every wrapping of an object, for operators: who made it, and whether it opens now. It must not
//! know what is printed. It promises that each wrapping of the object is reported, once for each holder that
//! may open it, and that no cached data key is taken for a response.

use super::{EncryptionContext, Keyring, KeyringError, Purpose, UnwrappedKey, Wrappings};
use crate::envelope::native::{HolderEntries, HolderFingerprint, HolderKind};
use crate::keyring::KeyRule;

/// One wrapping of an object's data key, and the attempt of one holder to open it.
#[derive(Debug, Clone)]
pub struct ExaminedWrapping {
    /// The wrapping.
    pub wrapping: WrappingName,
    /// The name of the holder in the configuration, and its response. `None` for a wrapping that no holder of
    /// the rule may open.
    pub attempt: Option<(String, Result<UnwrappedKey, KeyringError>)>,
}

/// Where a wrapping is in the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WrappingName {
    /// `x-amz-meta-encryption-key`.
    First,
    /// An entry of `x-amz-meta-encryption-holders`.
    Further(HolderKind, HolderFingerprint),
}

impl Keyring {
    /// Calls every holder of the rule that may open one of the wrappings, bypassing the cache.
    ///
    /// # Errors
    /// [`KeyringError::InvalidCiphertext`] if the further wrappings are malformed (F-61).
    pub async fn examine(
        &self,
        rule: &KeyRule,
        wrappings: Wrappings<'_>,
        context: &EncryptionContext,
    ) -> Result<Vec<ExaminedWrapping>, KeyringError> {
        let further = wrappings.further.map(HolderEntries::parse).transpose();
        let further = further.map_err(|_malformed| KeyringError::InvalidCiphertext)?;
        let further = further.iter().flat_map(HolderEntries::iter);
        let names = further.map(|entry| WrappingName::Further(entry.kind, entry.fingerprint));
        let candidates = self.inner.candidates(rule, wrappings).await;
        let mut examined = Vec::new();
        for wrapping in std::iter::once(WrappingName::First).chain(names) {
            let before = examined.len();
            for candidate in candidates.iter().filter(|candidate| candidate.name() == wrapping) {
                let mut outcome = Err(KeyringError::NotAllowed);
                for key_id in &candidate.key_ids {
                    outcome = self.inner.unwrap(Purpose::NATIVE, candidate, context, key_id).await;
                    if outcome.is_ok() {
                        break;
                    }
                }
                let holder = self.inner.holders[candidate.holder()].name().to_owned();
                examined.push(ExaminedWrapping { wrapping, attempt: Some((holder, outcome)) });
            }
            if examined.len() == before {
                examined.push(ExaminedWrapping { wrapping, attempt: None });
            }
        }
        Ok(examined)
    }
}
