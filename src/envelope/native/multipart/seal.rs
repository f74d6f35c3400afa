//! Sealing the parts of an upload: each alone, in any order, by any node.
//!
//! It must not know which parts exist beside the one it seals. It promises that no two segments share a key.

use super::length::chunks_length;
use super::segment::{Fields, Header, Place, Purpose};
use super::{Layout, Part, PartNumber, SEGMENT_HEADER, SegmentEntropy, carried_layout};
use crate::envelope::native::chunk::ChunkKey;
use crate::envelope::native::{ChunkSealer, FormatError, Result};
use crate::envelope::{ContentKey, ObjectSecret};
use crate::wire::checksum::Checksum;

/// Whether a part ends its object, and how.
#[derive(Debug, Clone, Copy)]
pub enum SegmentEnd<'a> {
    /// Another part follows, as far as the writer knows.
    Middle,
    /// The last part of a regular layout.
    Last,
    /// The last part of this layout, which is not regular.
    LastCarrying(&'a Layout),
    /// The last part of this layout, in an upload with a customer key: the end key opens the layout (F-74).
    LastCarryingForEndKey(&'a Layout),
}

/// One part to be stored: `header | chunks | tail`.
pub struct SegmentSealer {
    /// The bytes before the chunks.
    pub header: [u8; SEGMENT_HEADER],
    /// Seals the plaintext; `None` when it is empty (F-34).
    pub chunks: Option<ChunkSealer>,
    /// The bytes after the chunks: empty unless the segment carries a layout (F-39).
    pub tail: Vec<u8>,
    stored_length: u64,
}

impl SegmentSealer {
    /// A sealer for one upload of one part. Every upload needs entropy of its own, also if a part is sent
    /// again (F-33).
    ///
    /// # Errors
    /// [`FormatError::SegmentHeader`] when there can't be such a part: too long, or empty and not the last.
    /// [`FormatError::Layout`] when the layout to carry is regular, terminated, or does not end with this
    /// part.
    pub fn new(
        content_key: &ContentKey,
        part: Part,
        end: SegmentEnd<'_>,
        entropy: SegmentEntropy,
    ) -> Result<Self> {
        Self::carrying(content_key, part, end, None, entropy)
    }

    /// A sealer for one upload of a last part that carries the object's checksum (F-54).
    ///
    /// # Errors
    /// The errors of [`Self::new`], and [`FormatError::SegmentHeader`] for a checksum of more than 32 bytes
    /// or in a part that is not the last.
    pub fn carrying(
        content_key: &ContentKey,
        part: Part,
        end: SegmentEnd<'_>,
        checksum: Option<&Checksum>,
        entropy: SegmentEntropy,
    ) -> Result<Self> {
        let with_end_key = matches!(end, SegmentEnd::LastCarryingForEndKey(_));
        let (place, layout) = match end {
            SegmentEnd::Middle => (Place::Middle, None),
            SegmentEnd::Last => (Place::Last, None),
            SegmentEnd::LastCarrying(layout) | SegmentEnd::LastCarryingForEndKey(layout) => {
                (Place::Last, Some(layout))
            }
        };
        if let Some(layout) = layout
            && (layout.is_regular() || layout.is_terminated() || layout.parts().last() != Some(&part))
        {
            return Err(FormatError::Layout);
        }
        let tail_length = layout.map_or(0, Layout::tail_length);
        let fields = Fields { place, part, tail_length, with_end_key };
        if !fields.is_possible() {
            return Err(FormatError::SegmentHeader);
        }
        let salt = entropy.into_salt(content_key, &fields, checksum)?;
        let (header, key) = Header::make(content_key, fields, salt, Purpose::Segment(None))?;
        let tail = match layout {
            Some(layout) => carried_layout::seal(content_key, layout, fields, salt)?,
            None => Vec::new(),
        };
        Ok(Self {
            header: header.write(),
            chunks: (part.length > 0).then(|| ChunkSealer::new(ChunkKey::new(&key))),
            stored_length: (SEGMENT_HEADER + tail.len()) as u64 + chunks_length(part.length),
            tail,
        })
    }

    /// Bytes of the whole segment as stored.
    pub fn stored_length(&self) -> u64 {
        self.stored_length
    }
}

/// Seals the complete terminator of a layout: 80 bytes, and the tail when the layout is not regular (F-36,
/// F-39). It carries the object's checksum if there is one (F-54).
///
/// # Errors
/// [`FormatError::Layout`] when no terminator ends the layout, [`FormatError::SegmentHeader`] for a checksum
/// of more than 32 bytes.
pub fn seal_terminator(
    content_key: &ContentKey,
    layout: &Layout,
    checksum: Option<&Checksum>,
    entropy: SegmentEntropy,
) -> Result<Vec<u8>> {
    terminator(content_key.into(), layout, checksum, entropy, false)
}

/// Seals the complete terminator of an upload with a customer key, so that the end key opens what listings
/// need (F-74). With the end key as the secret, there can be no checksum.
///
/// # Errors
/// The errors of [`seal_terminator`], and [`FormatError::SegmentHeader`] for a checksum without the content
/// key.
pub fn seal_terminator_for_end_key<'a>(
    secret: impl Into<ObjectSecret<'a>>,
    layout: &Layout,
    checksum: Option<&Checksum>,
    entropy: SegmentEntropy,
) -> Result<Vec<u8>> {
    // A header with a checksum is the content key's; then only a layout is for the end key.
    let with_end_key = checksum.is_none() || layout.tail_length() > 0;
    terminator(secret.into(), layout, checksum, entropy, with_end_key)
}

fn terminator(
    secret: ObjectSecret<'_>,
    layout: &Layout,
    checksum: Option<&Checksum>,
    entropy: SegmentEntropy,
    with_end_key: bool,
) -> Result<Vec<u8>> {
    if !layout.is_terminated() {
        return Err(FormatError::Layout);
    }
    let part = Part { number: PartNumber::TERMINATOR, length: 0 };
    let tail_length = layout.tail_length();
    let fields = Fields { place: Place::Terminator, part, tail_length, with_end_key };
    let salt = entropy.into_salt(secret, &fields, checksum)?;
    let purpose = Purpose::Segment(Some(&layout.digest()));
    let mut stored = Header::make(secret, fields, salt, purpose)?.0.write().to_vec();
    if fields.tail_length > 0 {
        stored.extend_from_slice(&carried_layout::seal(secret, layout, fields, salt)?);
    }
    Ok(stored)
}
