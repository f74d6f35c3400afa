//! A last part that was sealed before the others were there: sealed anew, where this process still has it.

use bytes::{Buf, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};

use super::Completing;
use super::request::Chosen;
use crate::body::SealBody;
use crate::envelope::ContentKey;
use crate::envelope::native::FormatError;
use crate::envelope::native::multipart::{
    Layout, Part, PartNumber, SEGMENT_HEADER, SegmentEnd, SegmentEntropy, SegmentOpener, SegmentSealer,
    TailMark,
};
use crate::error::Error;
use crate::handler::known_uploads::Tail;

impl Completing {
    /// Seals and stores the last of the chosen parts for the layout that they make; false where that can't be done, so
    /// the client has to send it again.
    ///
    /// # Errors
    /// When the storage is in trouble, or what was kept does not open.
    pub(super) async fn seal_again(&self, number: PartNumber, chosen: &mut Chosen) -> Result<bool, Error> {
        let (Some(stored), Some((_, etag))) = (chosen.stored.last(), chosen.etags.last()) else {
            return Ok(false);
        };
        let (known, id) = (&self.resources.known_uploads, &self.upload.upstream_id);
        let is_last = stored.number == number;
        let Some(tail) = known.tail(id, number.value(), etag).await.filter(|_| is_last) else {
            return Ok(false);
        };
        let checksum = stored.mark.as_ref().and_then(TailMark::checksum).copied();
        let Some(layout) = layout_of(&tail, chosen) else { return Ok(false) };
        let part = tail.part;
        let plaintext = open(&self.upload.content_key, &tail)?;
        let end = if layout.is_regular() { SegmentEnd::Last } else { SegmentEnd::LastCarrying(&layout) };
        let sealer = SegmentSealer::new(&self.upload.content_key, part, end, SegmentEntropy::fresh())?;
        let sealed = SealBody::segment(Full::new(plaintext), sealer).collect().await;
        let sealed = sealed.expect("bytes in memory do not fail").to_bytes();
        let stored_length = sealed.len() as u64;
        let former = etag.clone();
        let Ok(etag) = self.store_part(number, sealed.clone()).await? else { return Ok(false) };
        known.forget_tail(id, number.value(), &former).await;
        known.remember_former(id, number.value(), &etag, &former).await;

        let mark = TailMark::of_last(&layout).with_checksum(checksum);
        let carried = (!layout.is_regular()).then_some(layout);
        known.remember_part(id, number.value(), &etag, mark).await;
        known.remember_tail(id, number.value(), &etag, Tail { sealed, part, layout: carried }).await;
        chosen.replace_last(etag, stored_length, mark);
        Ok(true)
    }
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
        Some(layout) => SegmentOpener::new(content_key, layout, layout.parts().len() - 1, &header, 0)?,
        None => SegmentOpener::of_last(content_key, tail.part, &header)?,
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
