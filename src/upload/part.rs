//! Seals and stores one part of an upload, for UploadPart and UploadPartCopy.
//!
//! It must not know where the plaintext comes from. At most a part of 5 MiB is buffered, and only if it may
//! be the last one; every larger part is sealed while it streams.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::Response;
use http::header::{ETAG, HeaderMap, HeaderValue};
use http_body_util::BodyExt;

use super::memory::SealedLastPart;
use super::session::Upload;
use super::storage::StorageUpload;
use super::stored_parts::StoredParts;
use crate::body::{BoxBody, SealBody, boxed};
use crate::envelope::native::CHUNK;
use crate::envelope::native::multipart::{
    MIN_PART, Part, PartKind, PartNumber, PartReceipt, PartRefused, SegmentEnd, SegmentEntropy,
    SegmentSealer, WaitBudget, decide_part_kind, segment_length,
};
use crate::error::{Result, UnexpectedResponse};
use crate::object::response_headers;
use crate::object::write::seal_whole;
use crate::s3::{BucketName, Checksum, ErrorCode, ObjectKey, S3Error};
use crate::timer;
use crate::upload::Resources;
use crate::upstream::{UpstreamBody, UpstreamError};
use crate::wire::limits::MAX_PART;

/// A part of at most this many bytes, one chunk, is verified before anything is sent, and can be sent again.
const BUFFERED: u64 = CHUNK as u64;
/// How long a small part waits for the parts before it (F-46).
const MAX_WAIT: Duration = Duration::from_secs(10);
/// The first interval between two requests for the storage's list of parts, which doubles each time, and the
/// longest.
const POLL_BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// Whether a part is small and not the first. Such a part is the last of its object, and
/// CompleteMultipartUpload may have to seal it again.
const fn is_small_last(part: Part) -> bool {
    part.length < MIN_PART && part.number.value() > 1
}

/// A part to store.
pub(crate) struct NewPart<'a> {
    pub(crate) resources: &'a Resources,
    pub(crate) bucket: &'a BucketName,
    pub(crate) object_key: &'a ObjectKey,
    pub(crate) upload: &'a Upload,
    pub(crate) number: PartNumber,
    /// The plaintext's length in bytes.
    pub(crate) length: u64,
    /// Headers repeated on every request: the expected bucket owner and the request payer.
    pub(crate) headers: HeaderMap,
}

/// A part that was stored, and what the storage responded.
pub(crate) struct UploadedPart {
    pub(crate) response: Response<BoxBody>,
    /// The storage's ETag of the part, without quotes.
    etag: String,
    /// The checksums of the part's plaintext.
    pub(crate) checksums: Vec<Checksum>,
    receipt: PartReceipt,
    last_part: Option<SealedLastPart>,
}

/// Checks that a part of `length` plaintext bytes can be stored under this number.
///
/// # Errors
/// `EntityTooLarge`; `InvalidArgument` for a large part 10,000, whose number a terminator may need (F-45).
pub(crate) fn check_length(number: PartNumber, length: u64) -> Result<()> {
    if segment_length(length).is_none_or(|stored| stored > MAX_PART) {
        let message = "Your proposed upload exceeds the maximum size of a part after encryption (5 GiB less 16 bytes \
                       for every 64 KiB).";
        let error = S3Error::new(ErrorCode::EntityTooLarge, message);
        return Err(error.with("ProposedSize", length.to_string()).into());
    }
    match decide_part_kind(Part { number, length }, &[], WaitBudget::Left) {
        Ok(_) => Ok(()),
        Err(PartRefused::TooLong) => Err(S3Error::from(ErrorCode::EntityTooLarge).into()),
        Err(PartRefused::TerminatorNumber) => {
            let message = "Part 10000 of an encrypted upload must be smaller than 5 MiB.";
            Err(S3Error::invalid_argument("partNumber", "10000", message).into())
        }
    }
}

impl NewPart<'_> {
    /// Seals the plaintext and stores it. The kind of segment is decided before the first byte is read, so
    /// nothing is buffered while the parts before it are awaited. At most 5 MiB are buffered: a small part
    /// that ends its object. `checksums` returns those of the plaintext, and is called when the plaintext has
    /// ended.
    ///
    /// # Errors
    /// The plaintext's own error, and those of [`StorageUpload::put_part`].
    pub(crate) async fn store(
        self,
        plaintext: BoxBody,
        checksums: impl FnOnce() -> Result<Vec<Checksum>>,
    ) -> Result<UploadedPart> {
        let part = Part { number: self.number, length: self.length };
        let (decision, listed) = self.decide(part).await?;
        let content_key = self.upload.content_key()?;
        let (end, receipt) = match &decision {
            PartKind::Middle => (SegmentEnd::Middle, None),
            PartKind::Last => (SegmentEnd::Last, None),
            PartKind::LastCarrying(layout) => {
                (self.upload.end_of_last_part(Some(layout)), Some(PartReceipt::for_last(layout)))
            }
            PartKind::Wait => unreachable!("decide returns another kind when its time is over"),
        };
        let receipt = receipt.or_else(|| PartReceipt::plain(part.length));
        let mut receipt = receipt.expect("the length was checked");
        let sealer = SegmentSealer::new(content_key, part, end, SegmentEntropy::fresh())?;
        let stored_length = sealer.stored_length();
        let (mut last_part, mut checksums, mut known) = (None, Some(checksums), Vec::new());
        let carries_checksum = self.upload.must_carry_checksum() && !matches!(end, SegmentEnd::Middle);
        let is_buffered = is_small_last(part) || carries_checksum;
        let budget = if is_buffered { Some(self.resources.hold(stored_length)?) } else { None };
        let body = if self.length <= BUFFERED || is_buffered {
            let sealed = if carries_checksum {
                // The checksum to carry is known when the plaintext has ended.
                let room = usize::try_from(stored_length).expect("a small part fits in memory");
                let plaintext = read_all(plaintext, self.length, room).await?;
                known = checksums.take().map_or_else(|| Ok(Vec::new()), |checksums| checksums())?;
                let object = self.object_checksum(part, listed.as_ref(), &known).await;
                receipt = receipt.carrying(object.as_ref());
                let entropy = SegmentEntropy::fresh();
                let sealer = SegmentSealer::carrying(content_key, part, end, object.as_ref(), entropy)?;
                seal_segment(sealer, plaintext)
            } else {
                let sealed = SealBody::segment(plaintext, sealer).collect().await;
                sealed.map_err(UpstreamError::Body)?.to_bytes()
            };
            if is_small_last(part) {
                let carried = match decision {
                    PartKind::LastCarrying(layout) => Some(layout),
                    PartKind::Middle | PartKind::Last | PartKind::Wait => None,
                };
                let (sealed, content_key) = (sealed.clone(), Arc::clone(content_key));
                last_part = Some(SealedLastPart { sealed, part, layout: carried, content_key });
            }
            UpstreamBody::Content(sealed)
        } else {
            let body = boxed(SealBody::segment(plaintext, sealer));
            UpstreamBody::StreamedContent { body, length: stored_length }
        };
        let (etag, mut response) = self.storage().put_part(part.number, body).await?;
        drop(budget);
        if let Some(checksums) = checksums {
            known = checksums()?;
        }
        let upload = self.upload;
        response_headers::set_sse(response.headers_mut(), upload.envelope.sse(), Some(&upload.key_id));
        Ok(UploadedPart { response, etag, checksums: known, receipt, last_part })
    }

    /// The checksum of the object that this part ends, if it is known now: when all parts before it are
    /// present and were uploaded through this process.
    async fn object_checksum(
        &self,
        part: Part,
        listed: Option<&StoredParts>,
        own: &[Checksum],
    ) -> Option<Checksum> {
        let algorithm = self.upload.checksum_algorithm()?;
        let mut parts = Vec::new();
        for number in 1..part.number.value() {
            let etag = &listed?.number(number)?.etag;
            let receipt = self.resources.upload_cache.receipt(&self.upload.upstream_id, number, etag).await?;
            if receipt.length() < MIN_PART {
                return None;
            }
            parts.push((*receipt.checksum()?, receipt.length()));
        }
        let own = own.iter().find(|checksum| checksum.algorithm() == algorithm)?;
        parts.push((*own, part.length));
        self.upload.carried_checksum(&parts)
    }

    /// The upload in the storage.
    fn storage(&self) -> StorageUpload {
        let Self { resources, bucket, object_key, upload, headers, .. } = self;
        StorageUpload::new(&resources.upstreams, bucket, object_key, &upload.upstream_id, headers.clone())
    }

    /// Decides the kind of segment (F-46): from the part's length, else from the parts that the storage
    /// lists. The list is requested until it is conclusive or [`MAX_WAIT`] is over, and is returned with the
    /// decision.
    async fn decide(&self, part: Part) -> Result<(PartKind, Option<StoredParts>)> {
        let decide = |stored: &[_], budget| {
            decide_part_kind(part, stored, budget).map_err(|_| S3Error::from(ErrorCode::EntityTooLarge))
        };
        let decision = decide(&[], WaitBudget::Left)?;
        if decision != PartKind::Wait {
            return Ok((decision, None));
        }
        let began = Instant::now();
        let mut pause = POLL_BACKOFF.0;
        loop {
            let listed = self.storage().list_parts().await?;
            let is_over = began.elapsed() + pause > MAX_WAIT;
            let budget = if is_over { WaitBudget::Spent } else { WaitBudget::Left };
            let decision = decide(&listed.stored(), budget)?;
            if decision != PartKind::Wait {
                return Ok((decision, Some(listed)));
            }
            timer::sleep(pause).await;
            pause = POLL_BACKOFF.1.min(pause * 2);
        }
    }
}

impl UploadedPart {
    /// The ETag for the client, without quotes: the storage's ETag and the part's receipt (F-48). The receipt
    /// is cached.
    pub(crate) async fn etag_with_receipt(
        &mut self,
        resources: &Resources,
        upload: &Upload,
        number: PartNumber,
    ) -> String {
        let etag = &self.etag;
        let wanted = upload.checksum_algorithm();
        let checksum =
            self.checksums.iter().find(|checksum| wanted.is_none_or(|wanted| checksum.algorithm() == wanted));
        let receipt = self.receipt.with_checksum(checksum.copied());
        let known = &resources.upload_cache;
        let last_part = self.last_part.take();
        known.remember_part(&upload.upstream_id, number.value(), etag, receipt, last_part).await;
        with_receipt(etag, &receipt)
    }
}

/// Reads all of a small plaintext into a buffer with room for sealing it in place: `room` bytes.
///
/// # Errors
/// The plaintext's own error, and [`UnexpectedResponse`] when it does not have `length` bytes.
pub(crate) async fn read_all(mut plaintext: BoxBody, length: u64, room: usize) -> Result<BytesMut> {
    let mut all = BytesMut::with_capacity(room);
    while let Some(frame) = plaintext.frame().await {
        if let Ok(data) = frame.map_err(UpstreamError::Body)?.into_data() {
            all.extend_from_slice(&data);
        }
    }
    if all.len() as u64 != length {
        return Err(UnexpectedResponse::WrongLength.into());
    }
    Ok(all)
}

/// Seals all of a segment whose plaintext is in memory, in place if the buffer has room.
pub(crate) fn seal_segment(sealer: SegmentSealer, plaintext: BytesMut) -> Bytes {
    let SegmentSealer { header, chunks, tail, .. } = sealer;
    let Some(chunks) = chunks else { return [&header[..], &tail].concat().into() };
    let sealed = seal_whole(&header, chunks, plaintext);
    if tail.is_empty() {
        return sealed;
    }
    let mut sealed = BytesMut::from(sealed);
    sealed.extend_from_slice(&tail);
    sealed.freeze()
}

/// Appends a receipt to an ETag, both without quotes.
pub(crate) fn with_receipt(etag: &str, receipt: &PartReceipt) -> String {
    format!("{etag}-{}", receipt.to_text())
}

/// Sets the ETag of a response; `etag` has no quotes.
///
/// # Errors
/// [`UnexpectedResponse`] for an ETag that is not a valid header value.
pub(crate) fn set_etag(response: &mut HeaderMap, etag: &str) -> Result<()> {
    let value = HeaderValue::try_from(format!("\"{etag}\""));
    response.insert(ETAG, value.map_err(|_| UnexpectedResponse::Invalid("ETag"))?);
    Ok(())
}
