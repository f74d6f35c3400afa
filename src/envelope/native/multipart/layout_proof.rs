//! The layout of an object that carries none, from two headers: the first gives the length of the parts, the
//! last proves that all have it (F-44).
//!
//! It must not know how headers are read from the storage. It promises that no layout comes out that the last
//! header does not prove.

use super::segment::{Fields, Header, Place, Purpose};
use super::{Layout, Part, PartNumber};
use crate::envelope::ContentKey;
use crate::envelope::native::{FormatError, Result};

/// A regular layout that fits all that is known. Not authentic before [`Self::prove`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayoutGuess(Layout);

impl LayoutGuess {
    /// The regular layouts of `plaintext_total` bytes in `parts` segments whose first segment has this
    /// header, most likely first. There are at most two: the last segment is a part, or a terminator after a
    /// longer one.
    ///
    /// # Errors
    /// [`FormatError::SegmentHeader`] and [`FormatError::SegmentCommitment`] when it is not a header of this
    /// object, [`FormatError::SegmentOrder`] when it is not the first part's, [`FormatError::BodyLength`]
    /// when no regular layout fits.
    pub fn from_first_header(
        content_key: &ContentKey,
        header: &[u8],
        plaintext_total: u64,
        parts: u16,
    ) -> Result<Vec<Self>> {
        let header = Header::parse(header)?;
        header.authenticate(content_key, Purpose::Segment(None))?;
        let Fields { place, part: first, .. } = header.fields;
        if first.number != PartNumber::FIRST {
            return Err(FormatError::SegmentOrder);
        }
        let regular = |parts: u16, terminated: bool| {
            let before = first.length.checked_mul(u64::from(parts.checked_sub(1)?))?;
            let last = plaintext_total.checked_sub(before)?;
            let part = |number| {
                let length = if number == parts { last } else { first.length };
                PartNumber::new(number).map(|number| Part { number, length })
            };
            let parts = (1..=parts).map(part).collect::<Option<Vec<_>>>()?;
            let begins = parts.first() == Some(&first);
            let layout = if terminated { Layout::terminated(parts) } else { Layout::ended_by_last(parts) };
            layout.ok().filter(|layout| begins && layout.is_regular()).map(Self)
        };
        let guesses: Vec<_> = match place {
            Place::Last if parts == 1 => regular(1, false).into_iter().collect(),
            Place::Middle if parts > 1 => {
                [regular(parts, false), regular(parts - 1, true)].into_iter().flatten().collect()
            }
            Place::Last | Place::Middle | Place::Terminator => Vec::new(),
        };
        if guesses.is_empty() { Err(FormatError::BodyLength) } else { Ok(guesses) }
    }

    /// The layout, for requests that are sent before it is proven. Nothing may be opened by it.
    pub fn unproven(&self) -> &Layout {
        &self.0
    }

    /// Offset at which the last segment's header should lie.
    pub fn last_header_offset(&self) -> u64 {
        self.0.last_header_offset()
    }

    /// The layout, if the 80 bytes at [`Self::last_header_offset`] are the header that ends it. A
    /// terminator's commitment covers every number and length; a last part that carries no layout says that
    /// the layout is regular (F-37).
    ///
    /// # Errors
    /// [`FormatError::SegmentHeader`], [`FormatError::SegmentCommitment`] and [`FormatError::SegmentOrder`]
    /// when they are not: the guess was wrong, or the object is not the one that was stored.
    pub fn prove(self, content_key: &ContentKey, header: &[u8]) -> Result<Layout> {
        let Self(layout) = self;
        let header = Header::parse(header)?;
        let (expected, digest) = if layout.is_terminated() {
            let part = Part { number: PartNumber::TERMINATOR, length: 0 };
            (
                Fields { place: Place::Terminator, part, tail_length: 0, with_end_key: false },
                Some(layout.digest()),
            )
        } else {
            let part = *layout.parts().last().expect("a layout has parts");
            (Fields { place: Place::Last, part, tail_length: 0, with_end_key: false }, None)
        };
        if !header.fields.agrees_with(&expected) {
            return Err(FormatError::SegmentOrder);
        }
        header.authenticate(content_key, Purpose::Segment(digest.as_ref()))?;
        Ok(layout)
    }
}
