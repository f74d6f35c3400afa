//! The copy of what is not native, or is not to be: opened under the source's rule, and sealed while it
//! streams in the format that the destination's rule writes.
//!
//! It must not know the source's envelope: only the opened plaintext and the client's own metadata are
//! copied. What the source's format can't authenticate stays unauthenticated content; from then on it is
//! sealed like everything else.

use bytes::BytesMut;
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, ETAG, HeaderName, IF_MATCH, IF_NONE_MATCH};
use http_body_util::BodyExt;
use time::OffsetDateTime;

use super::{DocumentResponse, ObjectCopy, is_unmet};
use crate::body::BoxBody;
use crate::envelope::native::ciphertext_length;
use crate::error::{Error, UnexpectedResponse};
use crate::object::location::etag_of;
use crate::object::opened::OpenedObject;
use crate::object::plaintext::Plaintext;
use crate::object::rule::formats::ReadFormat;
use crate::object::write::BUFFERED;
use crate::object::write::{NewObject, room_to_seal};
use crate::operation::request::copy_source::SourceMetadata;
use crate::s3::checksum::ObjectChecksum;
use crate::s3::iso_time;
use crate::s3::{Checksum, S3Error, xml};
use crate::upstream::UpstreamError;
use crate::wire::header::{COPY_SOURCE_VERSION_ID, VERSION_ID};
use crate::wire::limits::MAX_COPY;
use crate::wire::limits::MAX_PUT;

impl ObjectCopy {
    /// Copies a source of the format `found`.
    ///
    /// # Errors
    /// As a read of the source and as PutObject; [`Error::Replaced`] when the source was overwritten
    /// meanwhile.
    pub(crate) async fn reseal(&self, found: ReadFormat) -> Result<DocumentResponse, Error> {
        // A change of the format is a change of the object: a bucket is migrated by copying in place.
        if found == self.rule.formats.write.read_as() {
            self.refuse_copy_to_itself()?;
        }
        let opened = *self.source.open(&self.resources).await?;
        let kept: Vec<_> =
            opened.checksums.iter().filter(|kept| kept.parts.is_none()).map(|kept| kept.value).collect();
        refuse_large(opened.length)?;
        let (opened, checksums) = self.with_own_checksum(opened, kept).await?;
        let OpenedObject { head, length, body, .. } = opened;
        let mut headers = self.copied_headers(&SourceMetadata::from_headers(&head.headers))?;
        self.carry_tags(&mut headers).await?;
        let is_pinned = self.pin(&head.headers, &mut headers)?;
        let place = (&self.bucket, &self.object);
        let object = NewObject::for_copy(place, &self.rule, (self.key_id.clone(), self.sse), headers)?;
        let plaintext = plaintext(body, length, &checksums).await?;
        let response = match object.put(&self.resources, plaintext).await {
            Err(error) if is_pinned && is_unmet(&error) => return Err(Error::Replaced),
            response => response?,
        };
        let etag = etag_of(response.headers())
            .ok_or(Error::UnexpectedResponse(UnexpectedResponse::Missing("ETag")))?;
        let last_modified = iso_time(OffsetDateTime::now_utc());
        let result = xml::CopyResult { etag: format!("\"{etag}\""), last_modified };
        let (mut stored, _) = response.into_parts();
        stored.headers.remove(ETAG);
        stored.headers.remove(CONTENT_LENGTH);
        let version = head.headers.get(VERSION_ID).cloned();
        stored
            .headers
            .extend(version.map(|version| (HeaderName::from_static(COPY_SOURCE_VERSION_ID), version)));
        let told: Vec<_> = checksums.into_iter().map(ObjectChecksum::from).collect();
        Ok(DocumentResponse { headers: stored.headers, document: result.to_object_xml(&told) })
    }

    /// The source with the checksums that the copy is to have: those of the source, or the one that the
    /// request asks for. An envelope is sent before its content, so the source is read first to compute the
    /// requested checksum.
    async fn with_own_checksum(
        &self,
        opened: OpenedObject,
        kept: Vec<Checksum>,
    ) -> Result<(OpenedObject, Vec<Checksum>), Error> {
        let etag = opened.head.headers.get(ETAG).cloned();
        let etag = etag.ok_or(Error::UnexpectedResponse(UnexpectedResponse::Missing("ETag")))?;
        match self.own_checksum(&etag, &kept).await? {
            Some(own) => Ok((opened, vec![own])),
            None => Ok((opened, kept)),
        }
    }

    /// A copy that takes its source's place may only replace the object that was read, since another write
    /// may come in between. True if the condition on the copy is this one, and not one of the client's.
    fn pin(&self, source: &HeaderMap, copy: &mut HeaderMap) -> Result<bool, Error> {
        if !self.is_in_place() || copy.contains_key(IF_MATCH) || copy.contains_key(IF_NONE_MATCH) {
            return Ok(false);
        }
        let etag = source
            .get(ETAG)
            .cloned()
            .ok_or(Error::UnexpectedResponse(UnexpectedResponse::Missing("ETag")))?;
        copy.insert(IF_MATCH, etag);
        Ok(true)
    }
}

/// Refuses a source whose copy exceeds one PUT: a resealed copy is never a multipart object.
fn refuse_large(length: u64) -> Result<(), S3Error> {
    if ciphertext_length(length).is_some_and(|stored| stored <= MAX_PUT) {
        return Ok(());
    }
    Err(S3Error::invalid_request(format!(
        "The specified copy source is larger than the maximum allowable size for a copy source that gets another format: \
         {MAX_COPY} after encryption"
    )))
}

/// The source's content as the plaintext to store. A small one is read to its end first, so that an invalid
/// source costs the storage nothing.
async fn plaintext(body: BoxBody, length: u64, checksums: &[Checksum]) -> Result<Plaintext, Error> {
    if length > BUFFERED {
        return Ok(Plaintext::Streaming(body, length, checksums.to_vec()));
    }
    let content = body.collect().await.map_err(UpstreamError::Body)?.to_bytes();
    if content.len() as u64 != length {
        return Err(Error::UnexpectedResponse(UnexpectedResponse::WrongLength));
    }
    let mut whole = BytesMut::with_capacity(room_to_seal(0, content.len()));
    whole.extend_from_slice(&content);
    Ok(Plaintext::Whole(whole, checksums.to_vec()))
}
