//! The order of segments: which segment may follow those that a reader has seen of a body (F-35 to F-38).
//!
//! It must not know how segments are opened. It promises that a body is complete only if it ends with the
//! segment that was sealed as its last, at the length that was claimed.

use std::sync::Arc;

use super::layout::{Regularity, SegmentsDigest, tail_length};
use super::length::chunks_length;
use super::segment::{Fields, Place};
use super::{Layout, MultipartLength, PartNumber, SEGMENT_HEADER, multipart_plaintext_length};
use crate::envelope::native::{FormatError, Result};

/// The storage's claims about a body before it is read. They are not trusted: a body that differs from them
/// is refused before the last of it is released (F-43).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyClaim {
    /// Stored bytes of the body, from `Content-Length` or `Content-Range`.
    pub ciphertext_total: u64,
    /// The number of its segments, from an ETag's `-N` or `x-amz-mp-parts-count`; `None` if the storage
    /// doesn't say.
    pub parts: Option<u16>,
}

/// The claim and the lengths that follow from it.
#[derive(Clone)]
struct Expected {
    claim: BodyClaim,
    plaintext_total: Option<u64>,
    regular: bool,
    layout: Option<Arc<Layout>>,
}

impl Expected {
    fn new(claim: BodyClaim, layout: Option<Arc<Layout>>) -> Result<Self> {
        let length = claim.parts.map(|parts| multipart_plaintext_length(claim.ciphertext_total, parts));
        let length = length.transpose()?;
        let plaintext_total = match (&layout, length) {
            (Some(layout), _) => {
                let parts = claim.parts.unwrap_or(layout.segments());
                if layout.stored_total() != claim.ciphertext_total || layout.segments() != parts {
                    return Err(FormatError::BodyLength);
                }
                Some(layout.plaintext_total())
            }
            (None, Some(MultipartLength::Exact(length))) => Some(length),
            (None, Some(MultipartLength::NeedsLayout) | None) => None,
        };
        let regular = matches!(length, Some(MultipartLength::Exact(_)));
        Ok(Self { claim, plaintext_total, regular, layout })
    }
}

/// The segments that were read so far.
#[derive(Clone)]
pub(super) struct SegmentTracker {
    expected: Expected,
    segments: u16,
    newest: Option<PartNumber>,
    regularity: Regularity,
    digest: SegmentsDigest,
    plaintext: u64,
    chunks: u64,
}

impl SegmentTracker {
    pub(super) fn new(claim: BodyClaim, layout: Option<Arc<Layout>>) -> Result<Self> {
        Ok(Self {
            expected: Expected::new(claim, layout)?,
            segments: 0,
            newest: None,
            regularity: Regularity::new(),
            digest: SegmentsDigest::new(),
            plaintext: 0,
            chunks: 0,
        })
    }

    pub(super) fn segments(&self) -> u16 {
        self.segments
    }

    pub(super) fn plaintext_total(&self) -> Option<u64> {
        self.expected.plaintext_total
    }

    /// The digest of the client's parts so far (F-36).
    pub(super) fn digest(&self) -> [u8; 32] {
        self.digest.value()
    }

    /// The tracker after one more segment, whose header was authenticated; an error if that segment may not
    /// come next.
    pub(super) fn admit(&self, fields: &Fields) -> Result<Self> {
        let mut next = self.clone();
        let part = fields.part;
        let is_part = fields.place != Place::Terminator;
        if self.newest >= Some(part.number) || (!is_part && self.segments == 0) {
            return Err(FormatError::SegmentOrder);
        }
        next.newest = Some(part.number);
        next.segments += 1;
        next.plaintext += part.length;
        next.chunks += chunks_length(part.length);
        if is_part {
            next.regularity.add(part);
            next.digest.add(part);
        }
        next.check_part(fields)?;
        next.check_place(fields)?;
        Ok(next)
    }

    /// Checks that the segment is the one that the layout names at this place, or continues a regular layout.
    fn check_part(&self, fields: &Fields) -> Result<()> {
        let index = usize::from(self.segments) - 1;
        if let Some(layout) = &self.expected.layout {
            let named = match fields.place {
                Place::Middle | Place::Last => layout.parts().get(index) == Some(&fields.part),
                Place::Terminator => layout.is_terminated() && index == layout.parts().len(),
            };
            if !named {
                return Err(FormatError::SegmentOrder);
            }
        }
        if self.expected.regular && !self.regularity.holds() {
            return Err(self.irregular(fields));
        }
        let total = self.expected.plaintext_total.unwrap_or(u64::MAX);
        if self.plaintext > total { Err(FormatError::BodyLength) } else { Ok(()) }
    }

    /// Checks that the segment ends the body exactly where the body ends, and that no other does.
    fn check_place(&self, fields: &Fields) -> Result<()> {
        let BodyClaim { ciphertext_total, parts } = self.expected.claim;
        let end = SEGMENT_HEADER as u64 * u64::from(self.segments) + self.chunks;
        match fields.place {
            Place::Middle => {
                let more = parts.is_none_or(|parts| self.segments < parts);
                if more && end + SEGMENT_HEADER as u64 <= ciphertext_total {
                    return Ok(());
                }
                Err(FormatError::MissingLast)
            }
            Place::Last | Place::Terminator => {
                let tail = if self.regularity.holds() { 0 } else { tail_length(self.segments, self.chunks) };
                if fields.tail_length == 0 && tail > 0 {
                    return Err(self.irregular(fields));
                }
                if fields.tail_length != tail {
                    return Err(FormatError::Layout);
                }
                let counted = parts.is_none_or(|parts| self.segments == parts);
                let total = self.expected.plaintext_total.unwrap_or(self.plaintext);
                if counted && total == self.plaintext && end + u64::from(tail) == ciphertext_total {
                    return Ok(());
                }
                Err(FormatError::BodyLength)
            }
        }
    }

    /// Which rule of a regular layout the newest part breaks.
    fn irregular(&self, fields: &Fields) -> FormatError {
        let is_part = fields.place != Place::Terminator;
        let is_misplaced = is_part && fields.part.number.value() != self.segments;
        if is_misplaced { FormatError::SegmentOrder } else { FormatError::Irregular }
    }
}
