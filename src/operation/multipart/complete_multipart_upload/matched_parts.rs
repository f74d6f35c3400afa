//! The parts that make the object: those that the client lists, matched with those that the storage lists.
//!
//! It must not know the client's request or its headers. A part whose ETag or checksum differs from the
//! stored part's is never matched.

use crate::envelope::native::multipart::{
    Layout, Part, PartNumber, PartReceipt, StoredPart, segment_plaintext_length,
};
use crate::error::{Error, Result};
use crate::s3::xml::{CompletedPart, ListedPart};
use crate::s3::{Checksum, ErrorCode, S3Error};
use crate::upload::memory::SealedLastPart;
use crate::upload::session::Upload;

/// The parts that make the object, in ascending order.
#[derive(Default)]
pub(crate) struct MatchedParts {
    /// The parts as the envelope format describes them.
    pub(crate) stored: Vec<StoredPart>,
    /// The storage's number and ETag (without quotes) of each part to complete the upload with.
    pub(crate) etags: Vec<(u16, String)>,
    /// The storage's number and ETag (without quotes) of each part that the client lists. The last one
    /// differs from that in `etags` if the part was sealed again.
    pub(crate) named: Vec<(u16, String)>,
    /// The checksum of each part's plaintext, if it is known.
    pub(crate) checksums: Vec<Option<Checksum>>,
    /// The last part as the client sent it, where the resealed one has replaced it in the storage.
    pub(crate) displaced: Option<SealedLastPart>,
}

impl MatchedParts {
    /// Adds a part that the client lists and the storage has. `named` is the client's ETag of the part as the
    /// storage writes ETags, and `known` the part's receipt if it is in the cache.
    ///
    /// # Errors
    /// `InvalidPart` when the ETag or the checksum is not the part's.
    pub(crate) fn add(
        &mut self,
        requested: &CompletedPart,
        named: &str,
        found: &ListedPart,
        stored: StoredPart,
        known: Option<PartReceipt>,
    ) -> Result<()> {
        let rest = named.strip_prefix(found.etag.as_str()).ok_or_else(|| invalid_part(requested))?;
        // Either the storage's own ETag, as in ListParts, or the one of UploadPart, which ends with a
        // receipt.
        let sent = match rest.strip_prefix('-') {
            Some(receipt) => Some(PartReceipt::parse(receipt).map_err(|_| invalid_part(requested))?),
            None if rest.is_empty() => None,
            None => return Err(invalid_part(requested)),
        };
        let receipt = known.or(sent);
        let computed = receipt.as_ref().and_then(PartReceipt::checksum).copied();
        for expected in &requested.checksums {
            if computed.is_some_and(|known| known.algorithm() == expected.algorithm() && known != *expected) {
                return Err(invalid_part(requested));
            }
        }
        self.stored.push(StoredPart { receipt, ..stored });
        self.etags.push((requested.number, found.etag.clone()));
        self.named.push((requested.number, found.etag.clone()));
        self.checksums.push(computed);
        Ok(())
    }

    /// The checksum that the last segment of an object of these parts must carry (F-54); `None` if it carries
    /// none, or if a part's checksum is unknown.
    pub(crate) fn checksum_to_carry(&self, upload: &Upload) -> Option<Checksum> {
        let checksums = self.checksums.iter().copied().collect::<Option<Vec<_>>>()?;
        upload.carried_checksum(&checksums.into_iter().zip(self.lengths()?).collect::<Vec<_>>())
    }

    /// Whether a part was stored after the last one, which then was sealed without knowing that part.
    pub(crate) fn has_younger_before_last(&self) -> bool {
        let last = self.stored.last().map(|last| last.modified);
        self.stored.iter().any(|part| Some(part.modified) > last)
    }

    /// Replaces the last part by the resealed one, which is stored under the number `at`.
    pub(crate) fn replace_last(
        &mut self,
        at: PartNumber,
        etag: String,
        stored_length: u64,
        receipt: PartReceipt,
    ) {
        if let (Some(stored), Some(last)) = (self.stored.last_mut(), self.etags.last_mut()) {
            *stored = StoredPart { stored_length, receipt: Some(receipt), ..*stored };
            *last = (at.value(), etag);
        }
    }

    /// The plaintext length of a part in bytes, if it is known.
    pub(crate) fn plaintext_length(&self, number: PartNumber) -> Option<u64> {
        self.stored.iter().find(|part| part.number == number).and_then(length)
    }

    /// The plaintext length of each part in bytes, if all are known.
    pub(crate) fn lengths(&self) -> Option<Vec<u64>> {
        self.stored.iter().map(length).collect()
    }

    /// The layout of these parts followed by a terminator, if it is a valid one.
    pub(crate) fn layout(&self) -> Option<Layout> {
        let parts = self.stored.iter().zip(self.lengths()?);
        let parts = parts.map(|(stored, length)| Part { number: stored.number, length });
        Layout::terminated(parts.collect()).ok()
    }

    /// The plaintext length of the object in bytes, if all parts' lengths are known.
    pub(crate) fn total(&self) -> Option<u64> {
        Some(self.lengths()?.iter().sum())
    }
}

fn length(part: &StoredPart) -> Option<u64> {
    let marked = part.receipt.as_ref().map(PartReceipt::length);
    marked.or_else(|| segment_plaintext_length(part.stored_length).ok())
}

/// The error for a part that the client lists and the storage does not have, or has with another ETag.
pub(crate) fn invalid_part(part: &CompletedPart) -> Error {
    let error = S3Error::from(ErrorCode::InvalidPart);
    error.with("PartNumber", part.number.to_string()).with("ETag", part.etag.clone()).into()
}
