//! A carried layout as bytes: padding | sealed layout | footer, at the end of the last segment (F-39 to
//! F-42).
//!
//! It must not know when a layout is carried. It promises that a layout that opens is canonical and belongs
//! to the segment that carries it.

use aws_lc_rs::aead::Aad;

use super::layout::sealed_length;
use super::segment::{Fields, Header, Place, Purpose, Salt};
use super::{Layout, Part, PartNumber, SEGMENT_HEADER};
use crate::envelope::ObjectSecret;
use crate::envelope::native::chunk::aead_key;
use crate::envelope::native::kdf::zero_nonce;
use crate::envelope::native::{FormatError, Result};

/// Number of bytes to read from the end of an object of `parts` segments to get its carried layout (F-42).
pub const fn layout_tail_length(parts: u16) -> u64 {
    sealed_length(parts)
}

/// The layout that an object of `total` bytes in `parts` segments carries, from its last
/// [`layout_tail_length`] bytes (F-42).
///
/// # Errors
/// [`FormatError::SegmentHeader`] and [`FormatError::SegmentCommitment`] when there is no footer of this
/// object, [`FormatError::LayoutTag`] when the layout was altered, [`FormatError::Layout`] when it is not
/// canonical or the layout of another number of bytes or segments.
pub fn open_layout_tail<'a>(
    secret: impl Into<ObjectSecret<'a>>,
    tail: &[u8],
    total: u64,
    parts: u16,
) -> Result<Layout> {
    let (_, layout) = open(secret, tail)?;
    let is_whole = layout.segments() == parts && layout.stored_total() == total;
    if is_whole { Ok(layout) } else { Err(FormatError::Layout) }
}

/// The whole tail of a last segment that was sealed with this salt.
///
/// # Errors
/// [`FormatError::SegmentCommitment`] when the secret is the end key and the content key is needed.
pub(super) fn seal<'a>(
    secret: impl Into<ObjectSecret<'a>>,
    layout: &Layout,
    fields: Fields,
    salt: Salt,
) -> Result<Vec<u8>> {
    let (footer, key) = Header::make(secret, fields, salt, Purpose::Layout)?;
    let padding = u64::from(fields.tail_length) - sealed_length(layout.segments());
    let mut tail = vec![0; usize::try_from(padding).expect("padding is at most 64 KiB")];
    let mut entries = layout.write();
    // Zero is a safe nonce: the key is derived from the segment's fresh salt and used once (F-33).
    let tag = aead_key(key.as_slice())
        .seal_in_place_separate_tag(zero_nonce(), Aad::empty(), &mut entries)
        .expect("a layout is far below AES-GCM's limit");
    tail.extend_from_slice(&entries);
    tail.extend_from_slice(tag.as_ref());
    tail.extend_from_slice(&footer.write());
    Ok(tail)
}

/// Opens sealed layout and footer: `entries | tag(16) | footer(80)`, without the padding. What comes back is
/// authentic and consistent in itself; that it belongs to the segment at hand is for the caller to compare.
pub(super) fn open<'a>(secret: impl Into<ObjectSecret<'a>>, sealed: &[u8]) -> Result<(Header, Layout)> {
    let (entries, footer) = sealed.split_last_chunk::<SEGMENT_HEADER>().ok_or(FormatError::SegmentHeader)?;
    let footer = Header::parse(footer)?;
    let fields = footer.fields;
    if fields.tail_length == 0 {
        return Err(FormatError::Layout);
    }
    let key = footer.authenticate(secret, Purpose::Layout)?;
    let mut entries = entries.to_vec();
    let entries = aead_key(key.as_slice())
        .open_in_place(zero_nonce(), Aad::empty(), &mut entries)
        .map_err(|_| FormatError::LayoutTag)?;
    let layout = Layout::parse(entries, fields.place == Place::Terminator)?;
    let ending = match fields.place {
        Place::Middle => None,
        Place::Last => layout.parts().last().copied(),
        Place::Terminator => Some(Part { number: PartNumber::TERMINATOR, length: 0 }),
    };
    // A regular layout has no tail, so it is refused here too (F-37).
    let is_consistent = ending == Some(fields.part) && layout.tail_length() == fields.tail_length;
    if is_consistent { Ok((footer, layout)) } else { Err(FormatError::Layout) }
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;
    use crate::envelope::ContentKey;

    /// A writer that seals a layout into a segment that it does not describe. No storage can make such
    /// segments.
    #[test]
    fn f_41_a_layout_belongs_to_the_segment_that_carries_it() {
        let content_key = ContentKey::from_zeroizing(Zeroizing::new([1; 32]));
        let part = |number, length| Part { number: PartNumber::new(number).unwrap(), length };
        let layout = Layout::ended_by_last(vec![part(1, 5), part(2, 6)]).unwrap();
        let tail_length = layout.tail_length();
        let regular = Layout::ended_by_last(vec![part(1, 6)]).unwrap();
        let honest = Fields { place: Place::Last, part: part(2, 6), tail_length, with_end_key: false };
        let open = |layout: &Layout, fields: Fields| {
            let tail = seal(&content_key, layout, fields, Salt::Plain([7; 32])).unwrap();
            let sealed = tail.len() - usize::try_from(sealed_length(layout.segments())).unwrap();
            super::open(&content_key, &tail[sealed..]).map(|(_, layout)| layout)
        };
        assert_eq!(open(&layout, honest), Ok(layout.clone()));
        for (what, layout, fields) in [
            ("another part", &layout, Fields { part: part(3, 6), ..honest }),
            ("another length", &layout, Fields { part: part(2, 7), ..honest }),
            ("more padding", &layout, Fields { tail_length: tail_length + 1, ..honest }),
            ("a regular layout", &regular, Fields { part: part(1, 6), ..honest }),
            ("a part that ends as a terminator", &layout, Fields { place: Place::Middle, ..honest }),
        ] {
            assert!(open(layout, fields).is_err(), "F-41: {what}");
        }
    }
}
