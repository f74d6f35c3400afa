//! The checksum of the whole object, computed from those of its parts.
//!
//! It must not know how the parts are stored. The checksum in the response was computed by this proxy from
//! plaintext, and equals the one that the client expects, if it expects one.

use http::HeaderMap;

use super::matched_parts::MatchedParts;
use crate::error::{Error, Result};
use crate::s3::checksum::{ChecksumType, ObjectChecksum};
use crate::s3::{Checksum, ChecksumAlgorithm, ErrorCode, S3Error, headers};
use crate::upload::session::Upload;

/// The object's checksum that a request to complete an upload declares, and its type.
pub(crate) struct ExpectedChecksum {
    value: Option<Checksum>,
    kind: Option<ChecksumType>,
}

impl ExpectedChecksum {
    /// Parses the checksum headers of a request that completes `upload` with this number of parts.
    ///
    /// # Errors
    /// `InvalidRequest` for an invalid checksum or more than one, `BadDigest` for an algorithm that is not
    /// the upload's.
    pub(crate) fn from_headers(request: &HeaderMap, upload: &Upload, parts: usize) -> Result<Self> {
        let kind = match request.get(headers::CHECKSUM_TYPE).map(|kind| kind.as_bytes().to_ascii_uppercase())
        {
            None => None,
            Some(kind) if kind == b"COMPOSITE" => Some(ChecksumType::Composite),
            Some(kind) if kind == b"FULL_OBJECT" => Some(ChecksumType::FullObject),
            Some(_) => return Err(invalid(headers::CHECKSUM_TYPE)),
        };
        let mut value = None;
        for algorithm in ChecksumAlgorithm::ALL {
            let Some(text) = request.get(algorithm.header()) else { continue };
            let text = text.to_str().map_err(|_| invalid(algorithm.header()))?;
            let suffix = format!("-{parts}");
            let bare = text.strip_suffix(&suffix).unwrap_or(text);
            let parsed = Checksum::parse(algorithm, bare).ok_or_else(|| invalid(algorithm.header()))?;
            if value.replace(parsed).is_some() {
                return Err(S3Error::invalid_request("Expecting a single x-amz-checksum- header").into());
            }
        }
        if let (Some(value), Some(declared)) = (&value, upload.checksum_algorithm())
            && value.algorithm() != declared
        {
            return Err(S3Error::from(ErrorCode::BadDigest).into());
        }
        Ok(Self { value, kind })
    }

    /// Returns the object's checksum if those of all parts are known, after comparing it with the client's.
    ///
    /// # Errors
    /// `BadDigest` when they differ, `InvalidRequest` when the client's can't be verified.
    pub(crate) fn verified(&self, upload: &Upload, matched: &MatchedParts) -> Result<Option<ObjectChecksum>> {
        let declared = upload.checksum_algorithm();
        let Some(algorithm) = self.value.map(|value| value.algorithm()).or(declared) else { return Ok(None) };
        let kind = self.kind.unwrap_or_else(|| match declared {
            Some(_) if upload.is_full_object() => ChecksumType::FullObject,
            Some(_) => ChecksumType::Composite,
            None if algorithm == ChecksumAlgorithm::Crc64Nvme => ChecksumType::FullObject,
            None => ChecksumType::Composite,
        });
        let known = matched.checksums.iter().map(|sum| sum.filter(|sum| sum.algorithm() == algorithm));
        let known: Option<Vec<Checksum>> = known.collect();
        let computed = known.and_then(|parts| match kind {
            ChecksumType::Composite => Some(Checksum::composite(algorithm, &parts)),
            ChecksumType::FullObject => {
                let lengths = matched.lengths()?;
                Checksum::combine(algorithm, &parts.into_iter().zip(lengths).collect::<Vec<_>>())
            }
        });
        match (computed, self.value) {
            (Some(computed), Some(expected)) if computed != expected => {
                let message = format!("The {algorithm} you specified did not match the calculated checksum.");
                Err(S3Error::new(ErrorCode::BadDigest, message).into())
            }
            (Some(computed), _) => {
                let parts = (kind == ChecksumType::Composite).then_some(matched.stored.len());
                Ok(Some(ObjectChecksum { value: computed, parts }))
            }
            (None, Some(_)) => {
                let message = format!(
                    "The object's {algorithm} can't be verified: list every part with the ETag that UploadPart \
                     gave for it, and upload parts with this checksum."
                );
                Err(S3Error::invalid_request(message).into())
            }
            (None, None) => Ok(None),
        }
    }
}

fn invalid(name: &str) -> Error {
    S3Error::invalid_request(format!("Value for {name} header is invalid.")).into()
}
