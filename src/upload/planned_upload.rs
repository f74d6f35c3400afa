//! The upload of a native object whose parts are known before its first byte: what the proxy stores in parts
//! by itself.
//!
//! It must not know where the plaintext comes from. It promises that an object comes to be only if all parts
//! of the planned layout were stored, and buffers no more than a chunk.

use http::{HeaderMap, Method};

use super::session::take_conditions;
use super::storage::{CompletedUpload, StorageUpload, announce_checksum};
use crate::body::{BoxBody, SealBody, boxed};
use crate::envelope::ContentKey;
use crate::envelope::native::multipart::{
    Layout, MIN_PART, Part, PartNumber, SEGMENT_HEADER, SegmentEnd, SegmentEntropy, SegmentSealer,
    seal_terminator,
};
use crate::envelope::native::{Attributes, BodyKind, CHUNK, SEALED_CHUNK};
use crate::error::Result;
use crate::object::lost_response::Expected;
use crate::object::rule::counted::count_sealed;
use crate::object::rule::formats::WriteFormat;
use crate::object::write::NewObject;
use crate::s3::Checksum;
use crate::upload::Resources;
use crate::upstream::UpstreamBody;
use crate::wire::limits::MAX_PART;

/// The length of parts where nothing else determines it: 64 MiB, of which 10,000 are 625 GiB.
const PART_LENGTH: u64 = 64 << 20;

/// The greatest plaintext length of a part, in whole chunks, that fits into a part of the storage when it is
/// sealed.
pub(crate) const LONGEST_PART: u64 = (MAX_PART - SEGMENT_HEADER as u64) / SEALED_CHUNK as u64 * CHUNK as u64;

/// The greatest number of parts to which a terminator can be added.
const MAX_TERMINATED: u64 = PartNumber::TERMINATOR.value() as u64 - 1;

/// The layout of an object of parts with these lengths, if it can be sealed so: those before the last have 5
/// MiB at least, and none is longer than a part can be. `None` otherwise.
pub(crate) fn planned_layout(lengths: &[u64]) -> Option<Layout> {
    let (last, before) = lengths.split_last()?;
    let is_valid = before.iter().all(|length| *length >= MIN_PART)
        && lengths.iter().all(|length| *length <= LONGEST_PART);
    let parts = (1..).map_while(PartNumber::new).zip(lengths);
    let parts: Vec<_> = parts.map(|(number, length)| Part { number, length: *length }).collect();
    if !is_valid || parts.len() != lengths.len() {
        return None;
    }
    // F-45: only a part below S3's minimum is sealed as the last.
    if *last < MIN_PART { Layout::ended_by_last(parts).ok() } else { Layout::terminated(parts).ok() }
}

/// The layout of an object of `length` bytes in `parts` parts of equal length, or in as few as possible.
pub(crate) fn even_layout(length: u64, parts: Option<u64>) -> Option<Layout> {
    let least = length.div_ceil(MAX_TERMINATED).max(MIN_PART);
    let usual = parts.map_or(PART_LENGTH, |parts| length.div_ceil(parts.max(1))).max(least);
    let usual = usual.next_multiple_of(CHUNK as u64);
    let mut lengths = vec![usual; usize::try_from(length / usual).ok()?];
    if !length.is_multiple_of(usual) || lengths.is_empty() {
        lengths.push(length % usual);
    }
    planned_layout(&lengths)
}

/// An upload of a planned layout.
pub(crate) struct PlannedUpload {
    storage: StorageUpload,
    content_key: ContentKey,
    layout: Layout,
    /// The checksum of the object that the last segment carries (F-54).
    carried: Option<Checksum>,
    /// The number of each stored part, and its ETag without quotes.
    etags: Vec<(u16, String)>,
    conditions: HeaderMap,
    expected: Expected,
}

impl PlannedUpload {
    /// Creates the upload of an object of this layout. `attributes` announce the checksum that is `carried`,
    /// if any. Conditions among the object's headers apply when the upload is completed.
    ///
    /// # Errors
    /// The keyring's and the storage's.
    pub(crate) async fn create(
        resources: &Resources,
        object: &NewObject<'_>,
        layout: Layout,
        (attributes, carried): (&Attributes, Option<Checksum>),
    ) -> Result<Self> {
        let write_key = object.write_key(resources, layout.plaintext_total()).await?;
        let mut create = object.request(Method::POST);
        create.headers = object.headers.clone();
        let conditions = take_conditions(&mut create.headers);
        if let Some(bucket) = create.bucket.clone() {
            announce_checksum(&resources.upstreams, &bucket, &mut create.headers);
        }
        let content_key =
            object.seal(&write_key, BodyKind::Multipart, attributes, &mut create.headers)?.content_key;
        let expected = Expected::from_request(&create).expect("a native object has an envelope");
        let (storage, _) = StorageUpload::create(&resources.upstreams, create).await?;
        Ok(Self { storage, content_key, layout, carried, etags: Vec::new(), conditions, expected })
    }

    /// The upload in the storage, to be aborted if it is not completed.
    pub(crate) fn storage(&self) -> &StorageUpload {
        &self.storage
    }

    /// Seals and stores the next part while its plaintext streams.
    ///
    /// # Errors
    /// The plaintext's own error, and those of [`StorageUpload::put_part`].
    pub(crate) async fn store_next(&mut self, plaintext: BoxBody) -> Result<()> {
        let index = self.etags.len();
        let part = self.layout.parts()[index];
        let is_last = index + 1 == self.layout.parts().len() && !self.layout.is_terminated();
        let end = match (is_last, self.layout.is_regular()) {
            (false, _) => SegmentEnd::Middle,
            (true, true) => SegmentEnd::Last,
            (true, false) => SegmentEnd::LastCarrying(&self.layout),
        };
        let carried = self.carried.as_ref().filter(|_| is_last);
        let entropy = SegmentEntropy::fresh();
        let sealer = SegmentSealer::carrying(&self.content_key, part, end, carried, entropy)?;
        let length = sealer.stored_length();
        let body =
            UpstreamBody::StreamedContent { body: boxed(SealBody::segment(plaintext, sealer)), length };
        let (etag, _) = self.storage.put_part(part.number, body).await?;
        self.etags.push((part.number.value(), etag));
        Ok(())
    }

    /// Completes the upload, after the terminator if the layout has one.
    ///
    /// # Errors
    /// Those of [`StorageUpload::complete`].
    pub(crate) async fn complete(&mut self) -> Result<CompletedUpload> {
        if self.layout.is_terminated() {
            let (carried, entropy) = (self.carried.as_ref(), SegmentEntropy::fresh());
            let sealed = seal_terminator(&self.content_key, &self.layout, carried, entropy)?;
            let number = PartNumber::TERMINATOR;
            let (etag, _) = self.storage.put_part(number, UpstreamBody::Content(sealed.into())).await?;
            self.etags.push((number.value(), etag));
        }
        let parts = self.etags.iter().map(|(number, etag)| (*number, etag.as_str()));
        let completed = self.storage.complete(parts, &self.conditions, &self.expected).await?;
        count_sealed(WriteFormat::Native);
        Ok(completed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::native::multipart::segment_length;

    const MIB: u64 = 1 << 20;

    fn lengths(layout: Option<Layout>) -> Option<(Vec<u64>, bool)> {
        let layout = layout?;
        Some((layout.parts().iter().map(|part| part.length).collect(), layout.is_terminated()))
    }

    #[test]
    fn f_45_only_a_small_last_part_ends_the_object() {
        assert_eq!(lengths(planned_layout(&[0])), Some((vec![0], false)));
        assert_eq!(lengths(planned_layout(&[6 * MIB, 7])), Some((vec![6 * MIB, 7], false)));
        assert_eq!(lengths(planned_layout(&[6 * MIB, 5 * MIB])), Some((vec![6 * MIB, 5 * MIB], true)));
        assert_eq!(planned_layout(&[]), None);
        assert_eq!(planned_layout(&[5 * MIB - 1, 7]), None);
        assert!(segment_length(LONGEST_PART).is_some_and(|stored| stored <= MAX_PART));
        assert!(segment_length(LONGEST_PART + CHUNK as u64).is_some_and(|stored| stored > MAX_PART));
        assert_eq!(planned_layout(&[LONGEST_PART + 1]), None);
        assert_eq!(planned_layout(&[5 * MIB; 10_000]), None, "no number is left for the terminator");
        assert_eq!(planned_layout(&[5 * MIB; 9_999]).map(|layout| layout.segments()), Some(10_000));
        let small_last = [&[5 * MIB; 9_999][..], &[1]].concat();
        assert_eq!(planned_layout(&small_last).map(|layout| layout.segments()), Some(10_000));
    }

    #[test]
    fn any_length_is_divided_into_parts_that_can_be_sealed() {
        const TIB: u64 = 1 << 40;
        for (length, parts) in [
            (0, None),
            (1, Some(3)),
            (12 * MIB, Some(3)),
            (17 * MIB + 5, Some(3)),
            (5 * TIB, None),
            (5 * TIB, Some(10_000)),
            (4 * TIB + 1, Some(9_999)),
        ] {
            let layout = even_layout(length, parts).expect("it can be divided");
            assert_eq!(layout.plaintext_total(), length);
            assert!(layout.is_regular(), "{length}");
        }
        assert_eq!(lengths(even_layout(17 * MIB, Some(3))).map(|(parts, _)| parts.len()), Some(3));
    }
}
