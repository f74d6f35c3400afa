//! Seals a last part again that was sealed before the other parts were stored, if it is still in the cache.
//!
//! It must not know why that is needed. The client's own part stays in the storage until the upload is
//! complete, or is stored again when the completion fails.

use bytes::{Buf, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};

use super::UploadCompletion;
use super::matched_parts::MatchedParts;
use crate::body::SealBody;
use crate::envelope::ContentKey;
use crate::envelope::native::multipart::{
    Layout, Part, PartNumber, PartReceipt, SEGMENT_HEADER, SegmentEntropy, SegmentSealer,
};
use crate::envelope::native::{ChunkOpener, FormatError, PieceOpener};
use crate::error::{Result, with_causes};
use crate::s3::Checksum;
use crate::upload::memory::SealedLastPart;
use crate::upload::stored_parts::StoredParts;

impl UploadCompletion {
    /// Seals the last of the matched parts for the layout that they make, with this checksum of the object,
    /// and stores it under a number of its own. The part as the client sent it stays in the storage: whatever
    /// happens to the storage or to this process before the upload is complete, the ETag that the client has
    /// names a part that exists, at every node. If the storage requires all parts in the object, the resealed
    /// part replaces the client's part, which is then [`displaced`](MatchedParts::displaced).
    ///
    /// Returns whether the new segment is stored, and replaces the last of the matched parts. If not, the
    /// part is not in the cache, or no number is free, and the client has to send the part again.
    ///
    /// # Errors
    /// Those of [`StorageUpload::put_part`](crate::upload::storage::StorageUpload::put_part), and a format
    /// error for a cached part that does not open.
    pub(crate) async fn reseal_last_part(
        &self,
        number: PartNumber,
        listed: &StoredParts,
        matched: &mut MatchedParts,
        object: Option<&Checksum>,
    ) -> Result<bool> {
        let (Some(stored), Some((_, etag))) = (matched.stored.last(), matched.etags.last()) else {
            return Ok(false);
        };
        let (known, id) = (&self.resources.upload_cache, &self.upload.upstream_id);
        let is_last = stored.number == number;
        let Some(last_part) = known.last_part(id, number.value(), etag).await.filter(|_| is_last) else {
            return Ok(false);
        };
        let checksum = stored.receipt.as_ref().and_then(PartReceipt::checksum).copied();
        let at = if self.upload.needs_all_parts() { Some(number) } else { free_number(listed, matched) };
        let (Some(layout), Some(at)) = (layout_of(&last_part, matched), at) else {
            return Ok(false);
        };
        let content_key = &last_part.content_key;
        let plaintext = open(content_key, &last_part)?;
        let end = self.upload.end_of_last_part((!layout.is_regular()).then_some(&layout));
        let entropy = SegmentEntropy::fresh();
        let sealer = SegmentSealer::carrying(content_key, last_part.part, end, object, entropy)?;
        let sealed = SealBody::segment(Full::new(plaintext), sealer).collect().await;
        let sealed = sealed.expect("bytes in memory do not fail").to_bytes();
        let stored_length = sealed.len() as u64;
        matched.displaced = Some(last_part).filter(|_| at == number);
        let etag = self.store_part(at, sealed).await?;
        let receipt = PartReceipt::for_last(&layout).with_checksum(checksum).carrying(object);
        matched.replace_last(at, etag, stored_length, receipt);
        Ok(true)
    }

    /// Stores a displaced part again as the client sent it, so that its ETag is the client's, since the
    /// object was not made. A failure is logged, not returned.
    pub(crate) async fn restore_part(&self, part: SealedLastPart) {
        let Err(error) = self.store_part(part.part.number, part.sealed).await else { return };
        let failure = with_causes(&error);
        let bucket = &self.bucket;
        tracing::warn!(failure, %bucket, "a part that was sealed again stays; the client has to send it again");
    }
}

/// Returns a number for another last part: above the numbers of the parts before it, and not used by any part
/// in the storage. The terminator's number is the first choice, since only an earlier attempt to complete the
/// upload leaves a part there. The number in the segment stays the client's; only the order of the storage's
/// numbers counts.
fn free_number(listed: &StoredParts, matched: &MatchedParts) -> Option<PartNumber> {
    let (last, before) = matched.stored.split_last()?;
    let above = before.last().map_or(0, |part| part.number.value());
    let numbers = (above + 1..=PartNumber::TERMINATOR.value()).rev().filter_map(PartNumber::new);
    let is_free = |number: &PartNumber| {
        let is_terminators = *number == PartNumber::TERMINATOR;
        *number != last.number && (is_terminators || listed.number(number.value()).is_none())
    };
    numbers.into_iter().find(is_free)
}

/// The layout of the matched parts, whose last one is the cached part.
fn layout_of(last_part: &SealedLastPart, matched: &MatchedParts) -> Option<Layout> {
    let (_, before) = matched.stored.split_last()?;
    let parts = before.iter().zip(matched.lengths()?);
    let parts = parts.map(|(stored, length)| Part { number: stored.number, length });
    Layout::ended_by_last(parts.chain([last_part.part]).collect()).ok()
}

/// Opens a cached segment. This process sealed it, and authenticates it like every stored segment.
///
/// # Errors
/// A format error for a segment that is not authentic, or not of the part's length.
fn open(content_key: &ContentKey, last_part: &SealedLastPart) -> Result<Bytes, FormatError> {
    if last_part.part.length == 0 {
        return Ok(Bytes::new());
    }
    let mut sealed = last_part.sealed.clone();
    if sealed.len() < SEGMENT_HEADER {
        return Err(FormatError::BodyLength);
    }
    let header = sealed.split_to(SEGMENT_HEADER);
    let mut opener = match &last_part.layout {
        Some(layout) => ChunkOpener::for_segment(content_key, layout, layout.parts().len() - 1, &header, 0)?,
        None => ChunkOpener::for_last_segment(content_key, last_part.part, &header)?,
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
