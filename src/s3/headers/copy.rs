//! The headers of a copy: what it says of its source, of what becomes of the source's metadata, and of its
//! destination.

use http::HeaderMap;
use http::header::{
    HeaderName, HeaderValue, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_UNMODIFIED_SINCE,
};

use super::{
    COPY_SOURCE, COPY_SOURCE_IF_MATCH, COPY_SOURCE_IF_NONE_MATCH, COPY_SOURCE_RANGE, METADATA_DIRECTIVE,
    RESERVED, SOURCE_OWNER, TAGGING_DIRECTIVE, put_headers,
};
use crate::s3::error::S3Error;
use crate::wire::header::{EXPECTED_BUCKET_OWNER, REQUEST_PAYER};

const EXPECTED_OWNER: HeaderName = HeaderName::from_static(EXPECTED_BUCKET_OWNER);

/// The conditions on a copy's source, each with the condition of a read that it means.
const CONDITIONS: [(&str, HeaderName); 4] = [
    (COPY_SOURCE_IF_MATCH, IF_MATCH),
    (COPY_SOURCE_IF_NONE_MATCH, IF_NONE_MATCH),
    ("x-amz-copy-source-if-modified-since", IF_MODIFIED_SINCE),
    ("x-amz-copy-source-if-unmodified-since", IF_UNMODIFIED_SINCE),
];

/// Where the metadata or the tags of a copy come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Directive {
    /// From the source.
    Copy,
    /// From the request.
    Replace,
}

impl Directive {
    /// Reads `x-amz-metadata-directive`.
    ///
    /// # Errors
    /// `InvalidArgument` unless it is absent, `COPY` or `REPLACE`.
    pub fn for_metadata(headers: &HeaderMap) -> Result<Self, S3Error> {
        Self::read(headers, METADATA_DIRECTIVE, "Unknown metadata directive.")
    }

    /// Reads `x-amz-tagging-directive`.
    ///
    /// # Errors
    /// `InvalidArgument` unless it is absent, `COPY` or `REPLACE`.
    pub fn for_tagging(headers: &HeaderMap) -> Result<Self, S3Error> {
        Self::read(headers, TAGGING_DIRECTIVE, "Unknown tagging directive.")
    }

    fn read(headers: &HeaderMap, name: &'static str, message: &'static str) -> Result<Self, S3Error> {
        match headers.get(name).map(HeaderValue::as_bytes) {
            None | Some(b"COPY") => Ok(Self::Copy),
            Some(b"REPLACE") => Ok(Self::Replace),
            Some(other) => {
                Err(S3Error::invalid_argument(name, String::from_utf8_lossy(other).into_owned(), message))
            }
        }
    }
}

/// The headers with which a copy's source is read: the client's conditions on it, translated, whom it expects
/// to own its bucket, and who pays. A date counts only without the ETag that it would be combined with (RFC
/// 9110, 13.2.2, and S3's page on copies); a condition that does not hold is a 304 or 412 where a copy is
/// with 412.
#[must_use]
pub fn source_read_headers(headers: &HeaderMap) -> HeaderMap {
    let mut read = HeaderMap::new();
    for (name, meaning) in CONDITIONS.into_iter().chain([(SOURCE_OWNER, EXPECTED_OWNER)]) {
        for value in headers.get_all(name) {
            read.append(&meaning, value.clone());
        }
    }
    if let Some(payer) = headers.get(REQUEST_PAYER) {
        read.insert(REQUEST_PAYER, payer.clone());
    }
    for (etag, date) in [(IF_MATCH, IF_UNMODIFIED_SINCE), (IF_NONE_MATCH, IF_MODIFIED_SINCE)] {
        if read.contains_key(etag) {
            read.remove(date);
        }
    }
    read
}

/// The headers of a CopyObject for its destination, as [`put_headers`].
///
/// # Errors
/// As [`put_headers`]; so a header of a copy that is not known here is refused.
pub fn copy_headers(headers: &HeaderMap) -> Result<HeaderMap, S3Error> {
    let mut destination = headers.clone();
    let of_the_source = CONDITIONS.iter().map(|(name, _)| *name);
    let others = [COPY_SOURCE, COPY_SOURCE_RANGE, METADATA_DIRECTIVE, TAGGING_DIRECTIVE, SOURCE_OWNER];
    for name in of_the_source.chain(others) {
        destination.remove(name);
    }
    put_headers(&destination)
}

/// Whether the metadata directive covers a header, as in S3: not the
/// storage class, nor the website redirect, ACL, lock or encryption, which are the request's in any case.
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html>
#[must_use]
pub fn is_copied_metadata(name: &HeaderName) -> bool {
    let name = name.as_str();
    let is_content = matches!(
        name,
        "cache-control"
            | "content-disposition"
            | "content-encoding"
            | "content-language"
            | "content-type"
            | "expires"
    );
    is_content || (name.starts_with("x-amz-meta-") && !RESERVED.contains(&name))
}
