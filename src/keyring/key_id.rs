//! Names of wrapping keys, in configuration, requests and the responses of key providers.
//! They must not know which keys exist.
//! They promise that a name fits a header, and that two names are taken as one key only where they show it.

use std::fmt;

/// Maximum length of a key id, ARN or alias in AWS KMS, in bytes.
/// <https://docs.aws.amazon.com/kms/latest/APIReference/API_GenerateDataKey.html>
const MAX_KEY_ID_LEN: usize = 2_048;

/// The name of a wrapping key: a KMS key id, key ARN, alias or alias ARN; or the id of a key in a local
/// keyring. At most 2,048 bytes of visible ASCII, so that it fits a header. Two names may mean one key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyId(String);

/// The text is no valid key id: empty, longer than 2,048 bytes, or with a byte that is not visible ASCII.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key id is 1 to 2048 characters of visible ASCII")]
pub struct InvalidKeyId;

impl KeyId {
    /// Parses a name. Whether a key of this name exists, only the provider knows.
    ///
    /// # Errors
    /// [`InvalidKeyId`] if no key can have this name.
    pub fn parse(text: &str) -> Result<Self, InvalidKeyId> {
        let is_visible = text.bytes().all(|byte| byte.is_ascii_graphic());
        let is_valid = is_visible && (1..=MAX_KEY_ID_LEN).contains(&text.len());
        if is_valid { Ok(Self(text.to_owned())) } else { Err(InvalidKeyId) }
    }

    /// The name as it was parsed.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a provider may respond with `full_name` to a request for this key. A key's own ARN and id
    /// name one key; an alias names the key that its owner chose.
    pub(super) fn may_be(&self, full_name: &str) -> bool {
        let requested = self.0.as_str();
        if self.is_alias() {
            return true;
        }
        requested == full_name || full_name.strip_suffix(requested).is_some_and(|arn| arn.ends_with(":key/"))
    }

    /// Whether this is an alias or the ARN of one, which does not say which key it names.
    pub fn is_alias(&self) -> bool {
        self.0.starts_with("alias/") || (self.0.starts_with("arn:") && self.0.contains(":alias/"))
    }

    /// Whether `other` also names this key, as far as the two names themselves show, or together with
    /// `full_name`, the key's full name as returned by its provider: the key's ARN or id, the name of this
    /// alias or its ARN.
    pub fn is_named(&self, other: &str, full_name: Option<&str>) -> bool {
        let this = self.0.as_str();
        let ends = |long: &str, short: &str, before: &str| {
            !short.is_empty() && long.strip_suffix(short).is_some_and(|rest| rest.ends_with(before))
        };
        let is_same = this == other
            || ends(other, this, ":key/")
            || ends(this, other, ":key/")
            || (other.starts_with("alias/") && ends(this, other, ":"));
        let is_same_alias = |full_name: &str| {
            let account = full_name.split_once(":key/").map(|(account, _)| account);
            let is_here = other.strip_suffix(this).and_then(|rest| rest.strip_suffix(':')) == account;
            this.starts_with("alias/") && account.is_some() && is_here
        };
        is_same
            || full_name.is_some_and(|full_name| {
                other == full_name || ends(full_name, other, ":key/") || is_same_alias(full_name)
            })
    }

    /// The region that an ARN names: `arn:aws:kms:<region>:<account>:key/<id>`.
    #[cfg(feature = "aws")]
    pub(super) fn region(&self) -> Option<&str> {
        let mut fields = self.0.split(':');
        let (arn, _partition, service) = (fields.next()?, fields.next()?, fields.next()?);
        fields.next().filter(|region| arn == "arn" && service == "kms" && !region.is_empty())
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests;
