//! The names of things in S3: buckets and objects, checked once and carried as types.

use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;

use super::error::{ErrorCode, S3Error};
use crate::wire::limits::MAX_OBJECT_KEY;

/// The longest bucket name that us-east-1 allowed before 2018, in bytes; every bucket made since then has a
/// name of at most 63.
pub const MAX_BUCKET_NAME: usize = 255;
/// The longest bucket name under the rules of today, which make it fit a host name.
const MAX_HOST_LABELS: usize = 63;

/// A bucket's name: ASCII letters, digits, `.`, `-` and `_`, with a letter or digit first, and not an IP
/// address; at most 255 bytes.
///
/// That is every name that S3 ever allowed: those of today (3 to 63 bytes, no upper case, no `_`, a letter or
/// digit last, no two dots in a row), which [`Self::fits_host`] recognises, and those that us-east-1 allowed
/// before 2018, which are only ever written into a path. A name is a piece of a URI's authority or path, and
/// rights and rules are judged by it, so no character is accepted that either could read in another way.
/// Names of one or two bytes are accepted: they can't be misread, and whether a bucket may be created under
/// them is the storage's decision.
/// Source: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html>
///
/// Clones share the text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BucketName(Arc<str>);

impl BucketName {
    /// # Errors
    /// `InvalidBucketName`.
    pub fn parse(name: impl AsRef<str>) -> Result<Self, S3Error> {
        let name = name.as_ref();
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        let begins = name.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric());
        let is_name = begins && name.len() <= MAX_BUCKET_NAME && name.bytes().all(is_allowed);
        if is_name && name.parse::<Ipv4Addr>().is_err() {
            Ok(Self(name.into()))
        } else {
            Err(S3Error::from(ErrorCode::InvalidBucketName).with("BucketName", name))
        }
    }

    /// The name as S3 knows it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the name can be a part of a host name without becoming another name: a host has no upper case
    /// and no `_`, and its labels are neither empty nor long.
    #[must_use]
    pub fn fits_host(&self) -> bool {
        let is_allowed = |byte: u8| !byte.is_ascii_uppercase() && byte != b'_';
        let ends = self.0.bytes().next_back().is_some_and(|last| last.is_ascii_alphanumeric());
        ends && self.0.len() <= MAX_HOST_LABELS && !self.0.contains("..") && self.0.bytes().all(is_allowed)
    }
}

impl fmt::Display for BucketName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An object's key, decoded: 1 to 1,024 bytes of any UTF-8, kept exactly as the client meant it. Clones share
/// the text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey(Arc<str>);

impl ObjectKey {
    /// # Errors
    /// `KeyTooLongError` over 1,024 bytes, `InvalidArgument` when empty.
    pub fn parse(text: impl AsRef<str>) -> Result<Self, S3Error> {
        let text = text.as_ref();
        match text.len() {
            0 => Err(S3Error::new(ErrorCode::InvalidArgument, "An object key must not be empty")),
            1..=MAX_OBJECT_KEY => Ok(Self(text.into())),
            size => Err(S3Error::from(ErrorCode::KeyTooLongError)
                .with("Size", size.to_string())
                .with("MaxSizeAllowed", MAX_OBJECT_KEY.to_string())),
        }
    }

    /// The key as S3 knows it, not percent-encoded.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The bytes an envelope is bound to.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_names_are_those_that_s3_allowed_at_any_time() {
        let (longest_today, longest) = ("b".repeat(63), "b".repeat(255));
        for (good, fits_host) in [
            ("b", true),
            ("my-bucket", true),
            ("my.bucket.v2", true),
            ("0-1", true),
            ("192.168.0.1.2", true),
            (longest_today.as_str(), true),
            // Buckets of us-east-1 from before 2018.
            (longest.as_str(), false),
            ("Old_Bucket", false),
            ("OLD", false),
            ("old_bucket", false),
            ("old..bucket", false),
            ("old-", false),
            ("old.", false),
        ] {
            let name = BucketName::parse(good).unwrap();
            assert_eq!((name.as_str(), name.fits_host()), (good, fits_host));
        }
    }

    /// What could be another host, another path, or a storage's own place beside its buckets.
    #[test]
    fn what_is_no_bucket_name_is_refused() {
        let too_long = "b".repeat(256);
        for bad in [
            "",
            ".",
            "..",
            "...",
            ".b",
            "-b",
            "_localstack",
            ".minio.sys",
            "a/b",
            "a\nb",
            "a\0",
            "a\u{85}",
            "a b",
            "a%b",
            "127.0.0.2:",
            "127.0.0.2:80",
            "team-x@other-secret",
            "a:b@c",
            "a#b",
            "a?b",
            "a\\b",
            "[::1]",
            "a,b",
            "bücket",
            "ｂ",
            "192.168.0.1",
            too_long.as_str(),
        ] {
            assert_eq!(BucketName::parse(bad).unwrap_err().code, ErrorCode::InvalidBucketName, "{bad:?}");
        }
    }

    #[test]
    fn keys_are_measured_in_bytes() {
        assert_eq!(ObjectKey::parse("k".repeat(1024)).unwrap().as_bytes().len(), 1024);
        assert_eq!(ObjectKey::parse("é".repeat(512)).unwrap().as_str().chars().count(), 512);
        let error = ObjectKey::parse("é".repeat(513)).unwrap_err();
        assert_eq!(error.code, ErrorCode::KeyTooLongError);
        assert_eq!(error.extra, [("Size", "1026".to_owned()), ("MaxSizeAllowed", "1024".to_owned())]);
        assert_eq!(ObjectKey::parse("").unwrap_err().code, ErrorCode::InvalidArgument);
    }
}
