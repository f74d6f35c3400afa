//! A last part that was sealed before the others were there: sealed anew, where this process still has it.

use bytes::{Buf, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};

use super::Completing;
use super::request::Chosen;
use crate::body::SealBody;
use crate::envelope::ContentKey;
use crate::envelope::native::multipart::{
    Layout, Part, PartNumber, PartReceipt, SEGMENT_HEADER, SegmentEnd, SegmentEntropy, SegmentSealer,
};
use crate::envelope::native::{ChunkOpener, FormatError, PieceOpener};
use crate::error::{Error, with_causes};
use crate::s3::Checksum;
use crate::upload::memory::Tail;
use crate::upload::stored_parts::AllParts;

/// The result of sealing a last part again.
pub(crate) enum Resealed {
    /// It is stored, and takes the place of the last of the chosen parts.
    Stored,
    /// This process does not have the part, or there is no number for it: the client has to send it again.
    NotHere,
}

impl Completing {
    /// Seals the last of the chosen parts for the layout that they make, with this checksum of the object,
    /// and stores it under a number of its own. The part as the client sent it stays in the storage: whatever
    /// happens to the storage or to this process before the upload is complete, the ETag that the client has
    /// names a part that exists, at every node. Where the storage wants all parts in the object, the part
    /// that was sealed again replaces the client's part, which is then `displaced`.
    ///
    /// # Errors
    /// When the storage is in trouble, or what was kept does not open.
    pub(crate) async fn seal_again(
        &self,
        number: PartNumber,
        listed: &AllParts,
        chosen: &mut Chosen,
        object: Option<&Checksum>,
        displaced: &mut Option<Tail>,
    ) -> Result<Resealed, Error> {
        let (Some(stored), Some((_, etag))) = (chosen.stored.last(), chosen.etags.last()) else {
            return Ok(Resealed::NotHere);
        };
        let (known, id) = (&self.resources.known_uploads, &self.upload.upstream_id);
        let is_last = stored.number == number;
        let Some(tail) = known.tail(id, number.value(), etag).await.filter(|_| is_last) else {
            return Ok(Resealed::NotHere);
        };
        let checksum = stored.receipt.as_ref().and_then(PartReceipt::checksum).copied();
        let at = match self.upload.needs_all_parts() {
            true => Some(number),
            false => free_number(listed, chosen),
        };
        let (Some(layout), Some(at)) = (layout_of(&tail, chosen), at) else {
            return Ok(Resealed::NotHere);
        };
        let plaintext = open(&self.upload.content_key, &tail)?;
        let end = if layout.is_regular() { SegmentEnd::Last } else { SegmentEnd::LastCarrying(&layout) };
        let (content_key, entropy) = (&self.upload.content_key, SegmentEntropy::fresh());
        let sealer = SegmentSealer::carrying(content_key, tail.part, end, object, entropy)?;
        let sealed = SealBody::segment(Full::new(plaintext), sealer).collect().await;
        let sealed = sealed.expect("bytes in memory do not fail").to_bytes();
        let stored_length = sealed.len() as u64;
        *displaced = Some(tail).filter(|_| at == number);
        let etag = self.store_part(at, sealed).await?;
        let mark = PartReceipt::for_last(&layout).with_checksum(checksum).carrying(object);
        chosen.replace_last(at, etag, stored_length, mark);
        Ok(Resealed::Stored)
    }

    /// Stores a part as the client sent it, under the ETag that the client has: the object was not made.
    pub(crate) async fn put_back(&self, part: Tail) {
        let Err(error) = self.store_part(part.part.number, part.sealed).await else { return };
        let failure = with_causes(&error);
        tracing::warn!(failure, bucket = %self.bucket, "a part that was sealed anew stays; it has to be sent again");
    }
}

/// Returns a number for another last part: above the numbers of the parts before it, and not used by any part
/// in the storage. The terminator's number is the first choice, since only an earlier attempt to complete the
/// upload leaves a part there. The number in the segment stays the client's; only the order of the storage's
/// numbers counts.
fn free_number(listed: &AllParts, chosen: &Chosen) -> Option<PartNumber> {
    let (last, before) = chosen.stored.split_last()?;
    let above = before.last().map_or(0, |part| part.number.value());
    let numbers = (above + 1..=PartNumber::TERMINATOR.value()).rev().filter_map(PartNumber::new);
    let is_free = |number: &PartNumber| {
        let is_terminators = *number == PartNumber::TERMINATOR;
        *number != last.number && (is_terminators || listed.number(number.value()).is_none())
    };
    numbers.into_iter().find(is_free)
}

/// The layout of the chosen parts, the last of the length that was kept.
fn layout_of(tail: &Tail, chosen: &Chosen) -> Option<Layout> {
    let (_, before) = chosen.stored.split_last()?;
    let lengths = chosen.lengths()?.into_iter();
    let parts = before.iter().zip(lengths).map(|(stored, length)| Part { number: stored.number, length });
    let mut parts: Vec<_> = parts.collect();
    parts.push(tail.part);
    Layout::ended_by_last(parts).ok()
}

/// The plaintext of a kept segment: what this process sealed, authenticated like all that comes back.
fn open(content_key: &ContentKey, tail: &Tail) -> Result<Bytes, FormatError> {
    if tail.part.length == 0 {
        return Ok(Bytes::new());
    }
    let mut sealed = tail.sealed.clone();
    if sealed.len() < SEGMENT_HEADER {
        return Err(FormatError::BodyLength);
    }
    let header = sealed.split_to(SEGMENT_HEADER);
    let mut opener = match &tail.layout {
        Some(layout) => ChunkOpener::for_segment(content_key, layout, layout.parts().len() - 1, &header, 0)?,
        None => ChunkOpener::for_last_segment(content_key, tail.part, &header)?,
    };
    let mut plaintext = BytesMut::new();
    while let Some(length) = opener.next_length() {
        if sealed.remaining() < length {
            return Err(FormatError::BodyLength);
        }
        let mut chunk = BytesMut::from(&sealed.split_to(length)[..]);
        opener.open_next(&mut chunk)?;
        plaintext.extend_from_slice(&chunk);
    }
    Ok(plaintext.freeze())
}
