//! The request of CompleteMultipartUpload: its document and its headers.
//!
//! It must not know what the storage has. A request that is parsed lists its parts in ascending order and
//! declares at most one checksum.

use http::HeaderMap;

use super::checksum::ExpectedChecksum;
use super::matched_parts::MatchedParts;
use crate::error::Result;
use crate::s3::xml::{self, CompletedPart};
use crate::s3::{ErrorCode, S3Error};
use crate::upload::session::Upload;

/// The header with the size in bytes that the client expects of the object.
const OBJECT_SIZE: &str = "x-amz-mp-object-size";

/// The parts, and what the client expects of the object that they make.
pub(crate) struct CompleteRequest {
    pub(crate) parts: Vec<CompletedPart>,
    pub(crate) checksum: ExpectedChecksum,
    size: Option<u64>,
}

impl CompleteRequest {
    /// Parses the document and the headers of a request that completes `upload`.
    ///
    /// # Errors
    /// `InvalidPartOrder` for parts that do not ascend, `InvalidArgument` for an invalid size, and the errors
    /// of [`xml::complete_request`] and [`ExpectedChecksum::from_headers`].
    pub(crate) fn parse(document: &[u8], headers: &HeaderMap, upload: &Upload) -> Result<Self> {
        let parts = xml::complete_request(document)?;
        if parts.windows(2).any(|pair| pair[0].number >= pair[1].number) {
            return Err(S3Error::from(ErrorCode::InvalidPartOrder).into());
        }
        let size = headers.get(OBJECT_SIZE).map(|size| {
            let text = String::from_utf8_lossy(size.as_bytes()).into_owned();
            let message = "x-amz-mp-object-size must be a number of bytes.";
            text.parse().map_err(|_| S3Error::invalid_argument(OBJECT_SIZE, text, message))
        });
        Ok(Self {
            checksum: ExpectedChecksum::from_headers(headers, upload, parts.len())?,
            parts,
            size: size.transpose()?,
        })
    }

    /// Checks the size of the object against the client's.
    ///
    /// # Errors
    /// `InvalidRequest` when they differ.
    pub(crate) fn check_size(&self, matched: &MatchedParts) -> Result<()> {
        let (Some(expected), Some(found)) = (self.size, matched.total()) else { return Ok(()) };
        if expected == found {
            return Ok(());
        }
        let message = format!(
            "The provided '{OBJECT_SIZE}' header value {expected} does not match what was computed: {found}"
        );
        Err(S3Error::invalid_request(message).into())
    }
}
