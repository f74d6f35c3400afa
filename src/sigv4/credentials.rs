//! A client's access key pair.

use std::fmt;
use std::sync::Arc;

/// The public half of a key pair, as in `Credential=`. Clones share the text.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AccessKeyId(Arc<str>);

impl AccessKeyId {
    /// Takes the name as it is; any string may be one.
    pub fn new(access_key_id: impl Into<Arc<str>>) -> Self {
        Self(access_key_id.into())
    }

    /// The name as sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AccessKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
