//! The names of things in S3: buckets and objects, checked once and carried as types.

use std::fmt;

use super::error::{ErrorCode, S3Error};

/// The longest bucket name any region ever allowed (us-east-1 before 2018); newer rules stop at 63.
pub const MAX_BUCKET_NAME: usize = 255;
/// The longest object key, in bytes of UTF-8.
/// Source: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html>
pub const MAX_OBJECT_KEY: usize = 1024;

/// A bucket's name: 1 to 255 bytes without `/` or control characters, and neither `.` nor `..`.
///
/// Deliberately lenient: whether a name may be created is the storage's decision, and old buckets carry names that
/// today's rules forbid. What is refused could change the meaning of a path or of a log line.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BucketName(String);

impl BucketName {
    /// # Errors
    /// `InvalidBucketName`.
    pub fn parse(name: impl Into<String>) -> Result<Self, S3Error> {
        let name = name.into();
        let fits = (1..=MAX_BUCKET_NAME).contains(&name.len());
        let plain = !name.contains(|c: char| c == '/' || c.is_control());
        if fits && plain && name != "." && name != ".." {
            Ok(Self(name))
        } else {
            Err(S3Error::from(ErrorCode::InvalidBucketName).with("BucketName", name))
        }
    }

    /// The name as S3 knows it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BucketName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An object's key, decoded: 1 to 1,024 bytes of any UTF-8, kept exactly as the client meant it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey(String);

impl ObjectKey {
    /// # Errors
    /// `KeyTooLongError` over 1,024 bytes, `InvalidArgument` when empty.
    pub fn parse(text: impl Into<String>) -> Result<Self, S3Error> {
        let text = text.into();
        match text.len() {
            0 => Err(S3Error::new(ErrorCode::InvalidArgument, "An object key must not be empty")),
            1..=MAX_OBJECT_KEY => Ok(Self(text)),
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
    fn bucket_names_are_lenient_but_cannot_change_a_path() {
        let longest = "b".repeat(255);
        for good in ["b", "my-bucket", "my.bucket.v2", "Old_Bucket", "192.168.0.1", "...", longest.as_str()] {
            assert_eq!(BucketName::parse(good).unwrap().as_str(), good);
        }
        let too_long = "b".repeat(256);
        for bad in ["", "a/b", "a\nb", "a\0", ".", "..", "a\u{85}", too_long.as_str()] {
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
