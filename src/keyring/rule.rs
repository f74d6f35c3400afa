//! Which holders and keys wrap and unwrap the data keys of a rule of the configuration.
//! It must not know buckets, nor how a holder is called.
//! It promises one order: the holder that makes data keys is first, and so is its key for new objects.

use super::KeyId;
use crate::envelope::native::RecoveryPublicKey;

/// The holders and keys of one rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRule {
    /// The places of the holders that wrap, in [`Settings::holders`](super::Settings::holders). The first one
    /// makes data keys. Never empty.
    pub wrapping: Vec<usize>,
    /// The places of further holders that may unwrap, for objects that were written under another rule.
    pub unwrapping: Vec<usize>,
    /// Whether an object may be written without the wrapping of a holder that is unavailable.
    pub required: RequiredHolders,
    /// The public keys whose owners can open the objects without any holder.
    pub recovery: Vec<RecoveryPublicKey>,
    /// The first holder's key that wraps data keys; `None`: the holder's default.
    pub key_id: Option<KeyId>,
    /// Further keys of the first holder that a request may select and that may unwrap.
    pub allowed_key_ids: Vec<KeyId>,
}

/// The holders without which no object is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RequiredHolders {
    /// All holders that wrap.
    #[default]
    All,
    /// The first holder only: another one that is unavailable is left out.
    First,
}

impl Default for KeyRule {
    /// The first holder alone, with its default key.
    fn default() -> Self {
        Self {
            wrapping: vec![0],
            unwrapping: Vec::new(),
            required: RequiredHolders::All,
            recovery: Vec::new(),
            key_id: None,
            allowed_key_ids: Vec::new(),
        }
    }
}

impl KeyRule {
    /// The place of the holder that makes data keys.
    pub fn first(&self) -> usize {
        self.wrapping[0]
    }

    /// This rule for a format whose objects have one wrapping: the first holder wraps, and the others may
    /// unwrap.
    #[must_use]
    pub fn with_one_wrapping(&self) -> Self {
        Self {
            wrapping: vec![self.first()],
            unwrapping: self.holders().skip(1).collect(),
            recovery: Vec::new(),
            ..self.clone()
        }
    }

    /// The places of all holders that may unwrap, beginning with those that wrap.
    pub(super) fn holders(&self) -> impl Iterator<Item = usize> {
        self.wrapping.iter().chain(&self.unwrapping).copied()
    }

    /// Whether objects carry no wrapping but the first holder's.
    pub(super) fn is_single(&self) -> bool {
        self.wrapping.len() == 1 && self.recovery.is_empty()
    }

    /// Bytes that differ between rules whose objects carry different wrappings.
    pub(super) fn wrapping_tag(&self) -> Vec<u8> {
        let mut tag = vec![u8::from(self.required == RequiredHolders::First)];
        for holder in &self.wrapping {
            tag.extend_from_slice(&holder.to_be_bytes());
        }
        for key in &self.recovery {
            tag.extend_from_slice(key.fingerprint().as_bytes());
        }
        tag
    }
}
