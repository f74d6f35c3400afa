//! `x-amz-copy-source`: the object that a copy reads, in all its spellings.

use std::fmt::Write as _;

use http::HeaderMap;

use super::error::{ErrorCode, S3Error};
use super::headers::COPY_SOURCE;
use super::name::{BucketName, ObjectKey};
use crate::wire::percent::{self, Plus};

/// What follows the key of a source that is one version. A `?` of the key itself is written `%3F`.
const VERSION: &str = "?versionId=";

/// The source of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopySource {
    /// Its bucket.
    pub bucket: BucketName,
    /// Its key, decoded.
    pub object: ObjectKey,
    /// The version; `None` is the current one.
    pub version_id: Option<String>,
}

impl CopySource {
    /// Reads the one `x-amz-copy-source` of a request.
    ///
    /// # Errors
    /// As [`Self::parse`]; `InvalidArgument` too when the header is missing or repeated.
    pub fn from_headers(headers: &HeaderMap) -> Result<Self, S3Error> {
        let mut values = headers.get_all(COPY_SOURCE).iter();
        match (values.next(), values.next()) {
            (Some(value), None) => Self::parse(value.as_bytes()),
            (None, _) => Err(refused("", "A copy needs a copy source")),
            (Some(_), Some(_)) => Err(refused("", "The copy source is given twice")),
        }
    }

    /// Reads `[/]bucket/key[?versionId=id]`. Bucket, slash and key may be percent-encoded, as a whole or
    /// each; as S3 does, a `+` is read as a space, so that a key's own plus has to be written `%2B`.
    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html>
    ///
    /// # Errors
    /// `InvalidArgument` for whatever has not this form, `NotImplemented` for the ARN of an access point.
    pub fn parse(value: &[u8]) -> Result<Self, S3Error> {
        let text = std::str::from_utf8(value).map_err(|_| refused("", "Invalid copy source encoding"))?;
        let decoded = |part: &str| {
            percent::decode_strict(part, Plus::Space)
                .map_err(|_| refused(text, "Invalid copy source encoding"))
        };
        let versioned = text.split_once(VERSION);
        let (path, version) = versioned.map_or((text, None), |(path, version)| (path, Some(version)));
        if path.contains('?') || version.is_some_and(|version| version.contains(['?', '&'])) {
            return Err(refused(text, "A copy source takes no parameter but versionId"));
        }
        let path = decoded(path)?;
        let path = path.strip_prefix('/').unwrap_or(&path);
        if path.starts_with("arn:") {
            let message = "A copy source that is the ARN of an access point is not implemented";
            return Err(S3Error::not_implemented(message).with("Header", COPY_SOURCE));
        }
        let (bucket, object) = path.split_once('/').ok_or_else(|| {
            refused(text, "Copy Source must mention the source bucket and key: sourcebucket/sourcekey")
        })?;
        let version_id = version.map(decoded).transpose()?;
        if version_id.as_deref() == Some("") {
            return Err(refused(text, "Version id cannot be the empty string"));
        }
        Ok(Self {
            bucket: BucketName::parse(bucket)
                .map_err(|_| refused(text, "Invalid copy source bucket name"))?,
            object: ObjectKey::parse(object).map_err(|_| refused(text, "Invalid copy source object key"))?,
            version_id,
        })
    }

    /// The header's value for the storage, in one spelling: `bucket/key`, percent-encoded, and the version.
    pub fn to_header(&self) -> String {
        let (bucket, object) = (self.bucket.as_str(), self.object.as_str());
        let mut value = format!("{}/{}", percent::encode_path(bucket), percent::encode_path(object));
        if let Some(version_id) = &self.version_id {
            write!(value, "{VERSION}{}", percent::encode_query(version_id))
                .expect("a String takes every write");
        }
        value
    }
}

fn refused(value: &str, message: &'static str) -> S3Error {
    let error = S3Error::new(ErrorCode::InvalidArgument, message).with("ArgumentName", COPY_SOURCE);
    error.with("ArgumentValue", value)
}

#[cfg(test)]
mod tests;
