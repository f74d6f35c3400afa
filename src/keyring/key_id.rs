//! How configuration and requests name a wrapping key.

use std::fmt;

/// AWS KMS takes no longer key id, ARN or alias.
/// <https://docs.aws.amazon.com/kms/latest/APIReference/API_GenerateDataKey.html>
const MAX_KEY_ID_LEN: usize = 2_048;

/// The name of a wrapping key: a KMS key id, key ARN, alias or alias ARN; or the id of a key in a local keyring.
/// At most 2,048 bytes of visible ASCII, so it fits a header. Two names may mean one key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyId(String);

/// The text names no wrapping key: it is empty, longer than 2,048 bytes, or has a byte that is not visible ASCII.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key id is 1 to 2048 characters of visible ASCII")]
pub struct InvalidKeyId;

impl KeyId {
    /// # Errors
    /// [`InvalidKeyId`] if no key can have this name. Whether one does, only the provider knows.
    pub fn parse(text: &str) -> Result<Self, InvalidKeyId> {
        let fits = (1..=MAX_KEY_ID_LEN).contains(&text.len());
        if fits && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidKeyId)
        }
    }

    /// The name as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The region that an ARN names: `arn:aws:kms:<region>:<account>:key/<id>`.
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
mod tests {
    use super::*;

    #[test]
    fn every_way_to_name_a_key_is_a_key_id() {
        for text in [
            "1234abcd-12ab-34cd-56ef-1234567890ab",
            "arn:aws:kms:us-east-2:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab",
            "alias/s3veil",
            "arn:aws:kms:us-east-2:111122223333:alias/s3veil",
            "mrk-1234abcd12ab34cd56ef1234567890ab",
            "local-00ff",
        ] {
            assert_eq!(KeyId::parse(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn what_no_header_could_carry_is_refused() {
        for text in ["", "a b", "a\r\nx-evil: 1", "ключ", "tab\t", &"k".repeat(MAX_KEY_ID_LEN + 1)] {
            assert_eq!(KeyId::parse(text), Err(InvalidKeyId), "{text:?}");
        }
        assert!(KeyId::parse(&"k".repeat(MAX_KEY_ID_LEN)).is_ok());
    }

    #[test]
    fn only_an_arn_of_kms_names_a_region() {
        let region = |text| KeyId::parse(text).unwrap().region().map(str::to_owned);
        assert_eq!(region("arn:aws:kms:eu-west-3:111122223333:alias/x"), Some("eu-west-3".to_owned()));
        assert_eq!(region("arn:aws-cn:kms:cn-north-1:1:key/x"), Some("cn-north-1".to_owned()));
        assert_eq!(region("arn:aws:s3:eu-west-3:111122223333:x"), None);
        assert_eq!(region("arn:aws:kms::111122223333:key/x"), None);
        assert_eq!(region("alias/x"), None);
        assert_eq!(region("arn:aws"), None);
    }
}
