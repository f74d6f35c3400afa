//! Object keys as file names: flat, reversible, and unable to leave their directory.
//!
//! A key is one file name, percent-encoded, `/` too. So `a` and `a/b` can both exist, as in S3 and unlike in
//! a directory tree, and `//`, `..` or a trailing `/` have no meaning for the file system. A key whose
//! encoding is too long for a file name is stored under its hash; the key itself is in the object's record.

use std::borrow::Cow;

use aws_lc_rs::digest::{SHA256, digest};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// Characters that are kept besides letters and digits. `~` is encoded, since it marks hashes; so is a
/// leading `.`.
const IN_FILE_NAME: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'=')
    .remove(b' ')
    .remove(b'+')
    .remove(b'@');

/// The first character of the file name of an object whose key is too long for a file name.
const HASHED: char = '~';

/// The maximum bytes of a file name (ext4, XFS, APFS, NTFS).
const MAX_FILE_NAME: usize = 255;

/// The file name of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum StoredName {
    /// The percent-encoded key.
    Encoded(String),
    /// The hash of the key, which is in the object's record.
    Hashed(String),
}

impl StoredName {
    /// The file name of `object`.
    pub(super) fn new(object: &str) -> Self {
        let mut encoded = utf8_percent_encode(object, IN_FILE_NAME).to_string();
        if encoded.starts_with('.') {
            encoded.replace_range(..1, "%2E");
        }
        if encoded.len() <= MAX_FILE_NAME {
            return Self::Encoded(encoded);
        }
        let hash = digest(&SHA256, object.as_bytes());
        let hex = hash.as_ref().iter().map(|byte| format!("{byte:02x}"));
        Self::Hashed(std::iter::once(HASHED.to_string()).chain(hex).collect())
    }

    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Encoded(name) | Self::Hashed(name) => name,
        }
    }
}

/// The key of a file name; `None` for a hash.
pub(super) fn object_of(name: &str) -> Option<String> {
    if name.starts_with(HASHED) {
        return None;
    }
    percent_decode_str(name).decode_utf8().ok().map(Cow::into_owned)
}

/// A key as a continuation token: visible ASCII.
pub(super) fn as_token(object: &str) -> String {
    utf8_percent_encode(object, NON_ALPHANUMERIC).to_string()
}

/// The reverse of [`as_token`].
pub(super) fn from_token(value: &str) -> Option<String> {
    percent_decode_str(value).decode_utf8().ok().map(Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_stay_readable() {
        let name = |object| StoredName::new(object).as_str().to_owned();
        assert_eq!(name("photos/2026/cat 1.jpg"), "photos%2F2026%2Fcat 1.jpg");
        assert_eq!(name("dt=2026-01-01/part-0.parquet"), "dt=2026-01-01%2Fpart-0.parquet");
        assert_eq!(name("../../etc/passwd"), "%2E.%2F..%2Fetc%2Fpasswd");
        assert_eq!(name("."), "%2E");
    }

    #[test]
    fn long_keys_are_hashed() {
        for len in [254, 255, 256, 1024] {
            let stored = StoredName::new(&"k".repeat(len));
            assert_eq!(matches!(stored, StoredName::Hashed(_)), len > MAX_FILE_NAME);
            assert!(stored.as_str().len() <= MAX_FILE_NAME);
        }
    }

    proptest! {
        #[test]
        fn every_name_is_one_harmless_file_name_and_turns_back(object in "\\PC{1,60}|[/.~%\\x00-\\x7f]{1,60}") {
            match StoredName::new(&object) {
                StoredName::Encoded(name) => {
                    prop_assert!(!name.contains('/') && !name.contains('\0') && !name.starts_with(['.', HASHED]));
                    prop_assert_eq!(object_of(&name), Some(object));
                }
                StoredName::Hashed(name) => {
                    prop_assert_eq!(name.len(), 65);
                    prop_assert_eq!(object_of(&name), None);
                }
            }
            }

        #[test]
        fn tokens_turn_back(object in "\\PC{0,200}|[\\x00-\\x7f]{0,200}") {
            let value = as_token(&object);
            prop_assert!(value.bytes().all(|byte| byte.is_ascii_graphic()));
            prop_assert_eq!(from_token(&value), Some(object));
        }
    }
}
