//! The settings of the audit log. It must not know where settings are read from. It promises that a signing
//! key is shown by its name alone.

use std::path::PathBuf;

use super::SigningKey;

/// The file of the audit log, the key of its checkpoints, and what happens when it can't be written.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The file, to which lines are appended.
    pub file: PathBuf,
    /// The key that signs checkpoints; `None`: they are not signed.
    pub signing_key: Option<SigningKey>,
    /// What happens to requests while lines can't be written.
    pub on_failure: OnFailure,
}

/// What happens to requests that use keys while lines can't be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnFailure {
    /// They are refused before they reach the storage.
    #[default]
    Refuse,
    /// They are served, and lines beyond the memory for them are lost and counted.
    Serve,
}
