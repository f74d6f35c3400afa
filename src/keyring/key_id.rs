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
        let fits = (1..=MAX_KEY_ID_LEN).contains(&text.len());
        if fits && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidKeyId)
        }
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
    fn a_name_that_no_header_can_carry_is_refused() {
        for text in ["", "a b", "a\r\nx-evil: 1", "ключ", "tab\t", &"k".repeat(MAX_KEY_ID_LEN + 1)] {
            assert_eq!(KeyId::parse(text), Err(InvalidKeyId), "{text:?}");
        }
        assert!(KeyId::parse(&"k".repeat(MAX_KEY_ID_LEN)).is_ok());
    }

    const ARN: &str = "arn:aws:kms:us-east-2:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
    const ID: &str = "1234abcd-12ab-34cd-56ef-1234567890ab";
    const ALIAS_ARN: &str = "arn:aws:kms:us-east-2:111122223333:alias/s3veil";

    #[test]
    fn every_name_of_one_key_is_taken_back() {
        for (configured, full_name, others) in [
            (ARN, None, &[ARN, ID][..]),
            (ID, None, &[ID, ARN]),
            ("alias/s3veil", None, &["alias/s3veil"]),
            ("alias/s3veil", Some(ARN), &["alias/s3veil", ALIAS_ARN, ARN, ID]),
            (ALIAS_ARN, Some(ARN), &[ALIAS_ARN, "alias/s3veil", ARN, ID]),
            ("local-00ff", Some("local-00ff"), &["local-00ff"]),
        ] {
            let key_id = KeyId::parse(configured).unwrap();
            for other in others {
                assert!(key_id.is_named(other, full_name), "{configured} {full_name:?} {other}");
            }
        }
    }

    #[test]
    fn no_name_of_another_key_is() {
        let others = [
            "",
            "alias/other",
            "alias/",
            "s3veil",
            "key/1234abcd-12ab-34cd-56ef-1234567890ab",
            "34cd-56ef-1234567890ab",
            "arn:aws:kms:us-east-2:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ac",
            "arn:aws:kms:us-east-2:999999999999:alias/s3veil",
            "arn:aws:kms:eu-west-1:111122223333:alias/s3veil",
            "arn:aws:kms:us-east-2:111122223333:alias/s3veil2",
            "arn:aws:kms:us-east-2:111122223333:alias/x/alias/s3veil",
            ":alias/s3veil",
        ];
        for configured in [ARN, ID, "alias/s3veil", "local-00ff"] {
            for other in others {
                let key_id = KeyId::parse(configured).unwrap();
                assert!(!key_id.is_named(other, Some(ARN)), "This is a security issue: {configured} {other}");
            }
        }
    }

    #[test]
    fn a_response_names_the_requested_key() {
        let may_be = |requested: &str, returned: &str| KeyId::parse(requested).unwrap().may_be(returned);
        for requested in [ARN, ID, "alias/anything", ALIAS_ARN] {
            assert!(may_be(requested, ARN), "{requested}");
        }
        let other = "arn:aws:kms:us-east-2:111122223333:key/00000000-12ab-34cd-56ef-1234567890ab";
        assert!(!may_be(ARN, other) && !may_be(ID, other) && !may_be(ARN, ID));
        assert!(may_be("local-00ff", "local-00ff") && !may_be("local-00ff", "local-00fe"));
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
