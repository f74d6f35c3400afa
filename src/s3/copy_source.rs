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
        let (path, version) = match text.split_once(VERSION) {
            Some((path, version)) => (path, Some(version)),
            None => (text, None),
        };
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
    #[must_use]
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
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn source(bucket: &str, object: &str, version_id: Option<&str>) -> CopySource {
        CopySource {
            bucket: BucketName::parse(bucket).unwrap(),
            object: ObjectKey::parse(object).unwrap(),
            version_id: version_id.map(str::to_owned),
        }
    }

    #[test]
    fn every_spelling_that_clients_send() {
        for (value, bucket, object, version_id) in [
            ("b/k", "b", "k", None),
            ("/b/k", "b", "k", None),
            ("b/dir/k", "b", "dir/k", None),
            ("b//k", "b", "/k", None),
            ("/b//k/", "b", "/k/", None),
            ("b%2Fdir%2Fk", "b", "dir/k", None),
            ("%2Fb%2Fk", "b", "k", None),
            ("b/a%20b%2Bc%25d", "b", "a b+c%d", None),
            ("b/a+b", "b", "a b", None),
            ("b/%C3%BC", "b", "ü", None),
            ("b/ü", "b", "ü", None),
            ("b/a%3Fb", "b", "a?b", None),
            ("b/a%3FversionId=1", "b", "a?versionId=1", None),
            ("b/k?versionId=null", "b", "k", Some("null")),
            ("/b/k?versionId=3sL4%2Bx.Y_-", "b", "k", Some("3sL4+x.Y_-")),
            ("b/../x", "b", "../x", None),
        ] {
            let parsed = CopySource::parse(value.as_bytes()).unwrap();
            assert_eq!(parsed, source(bucket, object, version_id), "{value}");
        }
    }

    #[test]
    fn what_is_no_source_is_refused() {
        let long = format!("b/{}", "k".repeat(1025));
        for value in [
            "",
            "/",
            "b",
            "/b",
            "b/",
            "//k",
            "./k",
            "../k",
            "team-x@other-secret/k",
            "team-x%40other-secret/k",
            "127.0.0.2:/latest/meta-data",
            "_localstack/health",
            "b/%",
            "b/%zz",
            "b/%ff",
            "b/k?versionId=",
            "b/k?versionId=1&x=2",
            "b/k?versionId=1?versionId=2",
            "b/k?acl",
            "b/k?",
            "b/k?versionId=%zz",
            long.as_str(),
        ] {
            let error = CopySource::parse(value.as_bytes()).unwrap_err();
            assert_eq!(error.code, ErrorCode::InvalidArgument, "{value}");
            assert_eq!(error.extra[0], ("ArgumentName", COPY_SOURCE.to_owned()));
        }
        assert_eq!(CopySource::parse(b"b/\xff").unwrap_err().code, ErrorCode::InvalidArgument);
        for arn in [
            "arn:aws:s3:us-west-2:123456789012:accesspoint/a/object/k",
            "/arn%3Aaws%3As3%3Aus-west-2%3A123456789012%3Aaccesspoint%2Fa%2Fobject%2Fk",
        ] {
            assert_eq!(CopySource::parse(arn.as_bytes()).unwrap_err().code, ErrorCode::NotImplemented);
        }
    }

    /// The check of rights reads the source that the storage will read.
    #[test]
    fn a_source_is_named_once() {
        let mut headers = HeaderMap::new();
        assert_eq!(CopySource::from_headers(&headers).unwrap_err().code, ErrorCode::InvalidArgument);
        headers.append(COPY_SOURCE, HeaderValue::from_static("b/k"));
        assert_eq!(CopySource::from_headers(&headers), Ok(source("b", "k", None)));
        headers.append(COPY_SOURCE, HeaderValue::from_static("other/k"));
        assert_eq!(CopySource::from_headers(&headers).unwrap_err().code, ErrorCode::InvalidArgument);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(object in "\\PC{1,40}", version in prop::option::of("\\PC{1,20}")) {
            let source = source("bucket", &object, version.as_deref());
            let written = source.to_header();
            prop_assert!(written.is_ascii());
            prop_assert_eq!(CopySource::parse(written.as_bytes()).unwrap(), source);
        }

        #[test]
        fn any_bytes_are_a_source_or_an_error(value in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(source) = CopySource::parse(&value) {
                prop_assert_eq!(CopySource::parse(source.to_header().as_bytes()).unwrap(), source);
            }
        }
    }
}
