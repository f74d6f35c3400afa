//! One part of an upload on its way to the storage: what UploadPart and UploadPartCopy have in common.

use crate::object::response_headers;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::Response;
use http::header::{ETAG, HeaderMap, HeaderValue};
use http_body_util::BodyExt;

use super::memory::Tail;
use super::session::Upload;
use super::storage::StorageUpload;
use super::stored_parts::AllParts;
use crate::body::{BoxBody, SealBody, boxed};
use crate::envelope::native::CHUNK;
use crate::envelope::native::multipart::{
    MIN_PART, Part, PartKind, PartNumber, PartReceipt, PartRefused, SegmentEnd, SegmentEntropy,
    SegmentSealer, WaitBudget, decide_part_kind, segment_length,
};
use crate::error::{Error, UnexpectedResponse};
use crate::object::write::seal_whole;
use crate::s3::{BucketName, Checksum, ErrorCode, ObjectKey, S3Error};
use crate::upload::Resources;
use crate::upstream::{UpstreamBody, UpstreamError};
use crate::wire::limits::MAX_PART;

/// A part of one chunk is verified before anything is sent, and can be sent again.
const BUFFERED: u64 = CHUNK as u64;
/// How long a small part waits for the others (F-46).
const PATIENCE: Duration = Duration::from_secs(10);
/// The pauses between two looks at the storage's list of parts: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// Whether a part is small and not the first: it ends its object, and Complete may find that it has to be sealed anew.
const fn is_kept(part: Part) -> bool {
    part.length < MIN_PART && part.number.value() > 1
}

/// Where a part goes.
pub(crate) struct NewPart<'a> {
    pub(crate) resources: &'a Resources,
    pub(crate) bucket: &'a BucketName,
    pub(crate) object_key: &'a ObjectKey,
    pub(crate) upload: &'a Upload,
    pub(crate) number: PartNumber,
    /// Bytes of its plaintext.
    pub(crate) length: u64,
    /// What goes along with every request: expected owner, who pays.
    pub(crate) headers: HeaderMap,
}

/// A stored part.
pub(crate) struct Sent {
    pub(crate) response: Response<BoxBody>,
    /// The storage's ETag of the part, without quotes.
    etag: String,
    /// Those of the part's plaintext, where the storage took it.
    pub(crate) checksums: Vec<Checksum>,
    mark: PartReceipt,
    kept: Option<Tail>,
}

/// Checks that a part of so many bytes can be stored.
///
/// # Errors
/// `EntityTooLarge`; `InvalidArgument` for a large part 10,000, whose number a terminator may need (F-45).
pub(crate) fn check_length(number: PartNumber, length: u64) -> Result<(), Error> {
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
    /// Seals the plaintext and stores it. What kind of segment it becomes is decided before the first byte is read, so
    /// nothing is held while other parts are waited for. At most 5 MiB are held at all: a small part that ends its object.
    /// `checksums` gives those of the plaintext once it has ended.
    ///
    /// # Errors
    /// What the plaintext fails with, or what keeps the storage from answering.
    pub(crate) async fn store(
        self,
        plaintext: BoxBody,
        checksums: impl FnOnce() -> Result<Vec<Checksum>, Error>,
    ) -> Result<Sent, Error> {
        let part = Part { number: self.number, length: self.length };
        let (decision, listed) = self.decide(part).await?;
        let (end, mark) = match &decision {
            PartKind::Middle => (SegmentEnd::Middle, None),
            PartKind::Last => (SegmentEnd::Last, None),
            PartKind::LastCarrying(layout) => {
                (SegmentEnd::LastCarrying(layout), Some(PartReceipt::for_last(layout)))
            }
            PartKind::Wait => unreachable!("decide waits no longer than its patience"),
        };
        let mut mark = mark.or_else(|| PartReceipt::plain(part.length)).expect("the length was checked");
        let sealer = SegmentSealer::new(&self.upload.content_key, part, end, SegmentEntropy::fresh())?;
        let stored_length = sealer.stored_length();
        let (mut kept, mut checksums, mut known) = (None, Some(checksums), Vec::new());
        let is_to_carry = self.upload.is_to_carry() && !matches!(end, SegmentEnd::Middle);
        let is_held = is_kept(part) || is_to_carry;
        let held = if is_held { Some(self.resources.hold(stored_length)?) } else { None };
        let body = if self.length <= BUFFERED || is_held {
            let sealed = if is_to_carry {
                // What it is to carry is known when the plaintext has ended.
                let plaintext = read_all(plaintext, self.length, stored_length).await?;
                known = checksums.take().map_or_else(|| Ok(Vec::new()), |checksums| checksums())?;
                let object = self.object_checksum(part, listed.as_ref(), &known).await;
                mark = mark.carrying(object.as_ref());
                let (content_key, entropy) = (&self.upload.content_key, SegmentEntropy::fresh());
                seal_segment(
                    SegmentSealer::carrying(content_key, part, end, object.as_ref(), entropy)?,
                    plaintext,
                )
            } else {
                let sealed = SealBody::segment(plaintext, sealer).collect().await;
                sealed.map_err(UpstreamError::Body)?.to_bytes()
            };
            if is_kept(part) {
                let carried = match decision {
                    PartKind::LastCarrying(layout) => Some(layout),
                    PartKind::Middle | PartKind::Last | PartKind::Wait => None,
                };
                kept = Some(Tail { sealed: sealed.clone(), part, layout: carried });
            }
            UpstreamBody::Content(sealed)
        } else {
            let body = boxed(SealBody::segment(plaintext, sealer));
            UpstreamBody::StreamedContent { body, length: stored_length }
        };
        let (etag, mut response) = self.storage().put_part(part.number, body).await?;
        drop(held);
        if let Some(checksums) = checksums {
            known = checksums()?;
        }
        let upload = self.upload;
        response_headers::set_sse(response.headers_mut(), upload.envelope.sse(), Some(&upload.key_id));
        Ok(Sent { response, etag, checksums: known, mark, kept })
    }

    /// The checksum of the object that this part ends, if it is known now: when all parts before it are
    /// present and were uploaded through this process.
    async fn object_checksum(
        &self,
        part: Part,
        listed: Option<&AllParts>,
        own: &[Checksum],
    ) -> Option<Checksum> {
        let algorithm = self.upload.checksum_algorithm()?;
        let mut parts = Vec::new();
        for number in 1..part.number.value() {
            let etag = &listed?.number(number)?.etag;
            let mark = self.resources.known_uploads.mark(&self.upload.upstream_id, number, etag).await?;
            if mark.length() < MIN_PART {
                return None;
            }
            parts.push((*mark.checksum()?, mark.length()));
        }
        let own = own.iter().find(|checksum| checksum.algorithm() == algorithm)?;
        parts.push((*own, part.length));
        self.upload.carried(&parts)
    }

    /// The upload in the storage.
    fn storage(&self) -> StorageUpload {
        let Self { resources, bucket, object_key, upload, headers, .. } = self;
        StorageUpload::new(&resources.upstream, bucket, object_key, &upload.upstream_id, headers.clone())
    }

    /// F-46: from the part's length, else from the parts that the storage lists, looked at until they are enough or time
    /// is over. Gives the list, too.
    async fn decide(&self, part: Part) -> Result<(PartKind, Option<AllParts>), Error> {
        let decide = |stored: &[_], patience| {
            decide_part_kind(part, stored, patience).map_err(|_| S3Error::from(ErrorCode::EntityTooLarge))
        };
        let decision = decide(&[], WaitBudget::Left)?;
        if decision != PartKind::Wait {
            return Ok((decision, None));
        }
        let began = tokio::time::Instant::now();
        let mut pause = PAUSES.0;
        loop {
            let listed = self.storage().list_parts().await?;
            let is_over = began.elapsed() + pause > PATIENCE;
            let patience = if is_over { WaitBudget::Spent } else { WaitBudget::Left };
            let decision = decide(&listed.stored(), patience)?;
            if decision != PartKind::Wait {
                return Ok((decision, Some(listed)));
            }
            tokio::time::sleep(pause).await;
            pause = PAUSES.1.min(pause * 2);
        }
    }
}

impl Sent {
    /// The ETag for the client, without quotes: the storage's ETag and the part's receipt (F-48). This process
    /// remembers it.
    pub(crate) async fn marked_etag(
        &mut self,
        resources: &Resources,
        upload: &Upload,
        number: PartNumber,
    ) -> String {
        let etag = &self.etag;
        let wanted = upload.checksum_algorithm();
        let checksum =
            self.checksums.iter().find(|checksum| wanted.is_none_or(|wanted| checksum.algorithm() == wanted));
        let mark = self.mark.with_checksum(checksum.copied());
        let known = &resources.known_uploads;
        known.remember_part(&upload.upstream_id, number.value(), etag, mark).await;
        if let Some(tail) = self.kept.take() {
            known.remember_tail(&upload.upstream_id, number.value(), etag, tail).await;
        }
        with_mark(etag, &mark)
    }
}

/// All of a small plaintext, with room to be sealed in place.
async fn read_all(mut plaintext: BoxBody, length: u64, stored_length: u64) -> Result<BytesMut, Error> {
    let room = usize::try_from(stored_length).expect("a small part fits in memory");
    let mut all = BytesMut::with_capacity(room);
    while let Some(frame) = plaintext.frame().await {
        if let Ok(data) = frame.map_err(UpstreamError::Body)?.into_data() {
            all.extend_from_slice(&data);
        }
    }
    if all.len() as u64 != length {
        return Err(Error::UnexpectedResponse(UnexpectedResponse::WrongLength));
    }
    Ok(all)
}

/// All of a segment whose plaintext is in memory: sealed in place where it has room.
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

/// An ETag with a mark, both without quotes.
pub(crate) fn with_mark(etag: &str, mark: &PartReceipt) -> String {
    format!("{etag}-{}", mark.to_text())
}

/// Puts an ETag into an answer's head.
pub(crate) fn set_etag(response: &mut HeaderMap, etag: &str) -> Result<(), Error> {
    let value = HeaderValue::try_from(format!("\"{etag}\""));
    response.insert(ETAG, value.map_err(|_| Error::UnexpectedResponse(UnexpectedResponse::Invalid("ETag")))?);
    Ok(())
}
