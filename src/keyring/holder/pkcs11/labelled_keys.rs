//! The keys of one label, and which of them wraps new data keys.
//! It must not know sessions.
//! It promises that the choice is never a guess: of several keys the configuration names one.

use super::token::KeyObject;
use crate::keyring::{CheckError, KeyringError};
use crate::wire::hex;

/// Maximum number of keys with one label: retired ones stay to open what was wrapped under them.
const MAX_KEYS: usize = 64;
/// The name of a key without CKA_ID.
pub(super) const NO_ID: &str = "-";

/// The secret keys of one label.
#[derive(Debug)]
pub(super) struct LabelledKeys<'a> {
    label: &'a str,
    /// CKA_ID of the key for new data keys.
    current: Vec<u8>,
    /// In the order of their CKA_IDs.
    keys: Vec<KeyObject>,
}

impl<'a> LabelledKeys<'a> {
    /// Sorts `keys`. Without a `configured` CKA_ID there must be one key.
    pub(super) fn new(
        mut keys: Vec<KeyObject>,
        configured: Option<&[u8]>,
        label: &'a str,
    ) -> Result<Self, CheckError> {
        if keys.len() > MAX_KEYS {
            let cause = format!("more than {MAX_KEYS} keys are labelled {label:?}");
            return Err(refusal(KeyringError::InvalidKeyUsage, cause));
        }
        keys.sort_by(|one, other| one.id.cmp(&other.id));
        if let Some(pair) = keys.windows(2).find(|pair| pair[0].id == pair[1].id) {
            let cause =
                format!("two keys are labelled {label:?} and have the CKA_ID {}", id_name(&pair[0].id));
            return Err(refusal(KeyringError::InvalidKeyUsage, cause));
        }
        let current = match (configured, keys.as_slice()) {
            (Some(id), _) => id.to_vec(),
            (None, [only]) => only.id.clone(),
            (None, []) => {
                let cause = format!("no secret key is labelled {label:?}");
                return Err(refusal(KeyringError::KeyNotFound, cause));
            }
            (None, [_, _, ..]) => {
                let ids: Vec<_> = keys.iter().map(|key| id_name(&key.id)).collect();
                let cause = format!(
                    "{} keys are labelled {label:?}, with the CKA_IDs {}: name the one for new objects by `key_id`",
                    keys.len(),
                    ids.join(", ")
                );
                return Err(refusal(KeyringError::InvalidKeyUsage, cause));
            }
        };
        Ok(Self { label, current, keys })
    }

    /// The CKA_IDs, beginning with that of the current key, also if the token lacks it.
    pub(super) fn ids(&self) -> impl Iterator<Item = &[u8]> {
        let others = self.keys.iter().map(|key| key.id.as_slice()).filter(|id| *id != self.current);
        std::iter::once(self.current.as_slice()).chain(others)
    }

    /// Whether the current key can be used. Others open older objects, and are warned of if they are unfit:
    /// refusing them would lose objects.
    pub(super) fn check_current(&self) -> Result<(), CheckError> {
        let mut outcome = Err(refusal(
            KeyringError::KeyNotFound,
            format!("no secret key is labelled {:?} with the CKA_ID {}", self.label, id_name(&self.current)),
        ));
        for key in &self.keys {
            let describe =
                |problem| format!("the key {:?} with the CKA_ID {} {problem}", self.label, id_name(&key.id));
            let is_current = key.id == self.current;
            match (key.problem, key.restriction) {
                (Some(problem), _) if is_current => {
                    outcome = Err(refusal(KeyringError::InvalidKeyUsage, describe(problem)));
                }
                (Some(problem), _) => {
                    tracing::warn!(
                        "{}: it opens older objects, wrap them under another key",
                        describe(problem)
                    );
                }
                (None, Some(restriction)) if is_current => {
                    outcome = Err(refusal(KeyringError::KeyDisabled, describe(restriction)));
                }
                (None, None) if is_current => outcome = Ok(()),
                (None, _) => {}
            }
        }
        outcome
    }
}

fn refusal(error: KeyringError, cause: String) -> CheckError {
    CheckError { error, cause: Some(cause) }
}

/// A CKA_ID in hexadecimal digits, or [`NO_ID`].
pub(super) fn id_name(id: &[u8]) -> String {
    if id.is_empty() { NO_ID.to_owned() } else { hex::encode(id) }
}
