//! The copy of what is not native, or is not to be, or is in another storage: opened under the source's rule,
//! and sealed while it streams in the format that the destination's rule writes.
//!
//! It must not know the source's envelope: only the opened plaintext and the client's own metadata are
//! copied. What the source's format can't authenticate stays unauthenticated content; from then on it is
//! sealed like everything else.

use http::HeaderMap;
use http::header::{CONTENT_LENGTH, ETAG, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH};
use time::OffsetDateTime;

use super::{DocumentResponse, ObjectCopy, is_unmet};
use crate::body::BoxBody;
use crate::envelope::native::ciphertext_length;
use crate::error::{Error, Result, UnexpectedResponse};
use crate::object::location::etag_of;
use crate::object::opened::OpenedObject;
use crate::object::plaintext::Plaintext;
use crate::object::rule::formats::ReadFormat;
use crate::object::write::{BUFFERED, NewObject, room_to_seal};
use crate::operation::request::copy_source::SourceMetadata;
use crate::s3::checksum::ObjectChecksum;
use crate::s3::{Checksum, S3Error, iso_time, xml};
use crate::upload::part::read_all;
use crate::wire::header::{COPY_SOURCE_VERSION_ID, VERSION_ID};
use crate::wire::limits::{MAX_COPY, MAX_PUT};

impl ObjectCopy {
    /// Copies a source of the format `found`.
    ///
    /// # Errors
    /// As a read of the source and as PutObject; [`Error::Replaced`] when the source was overwritten
    /// meanwhile.
    pub(crate) async fn reseal(&self, found: ReadFormat) -> Result<DocumentResponse> {
        // A change of the format is a change of the object: a bucket is migrated by copying in place.
        if found == self.rule.formats.write.read_as() {
            self.refuse_copy_to_itself()?;
        }
        let opened = *self.source.open(&self.resources).await?;
        let kept: Vec<_> =
            opened.checksums.iter().filter(|kept| kept.parts.is_none()).map(|kept| kept.value).collect();
        refuse_large(opened.length)?;
        let etag = opened.head.headers.get(ETAG).cloned().ok_or(UnexpectedResponse::Missing("ETag"))?;
        // An envelope is sent before its content, so the source is read first to compute a checksum.
        let checksums = self.own_checksum(&etag, &kept).await?.map_or(kept, |own| vec![own]);
        let OpenedObject { head, length, body, .. } = opened;
        let mut headers = self.copied_headers(&SourceMetadata::from_headers(&head.headers))?;
        self.carry_tags(&mut headers).await?;
        let is_pinned = self.pin(etag, &mut headers);
        let place = (&self.bucket, &self.object);
        let keys = (self.key_id.clone(), self.customer_key.clone(), self.sse);
        let object = NewObject::for_copy(place, &self.rule, keys, headers)?;
        let plaintext = plaintext(body, length, &checksums).await?;
        let response = match object.put(&self.resources, plaintext).await {
            Err(error) if is_pinned && is_unmet(&error) => return Err(Error::Replaced),
            response => response?,
        };
        let etag = etag_of(response.headers()).ok_or(UnexpectedResponse::Missing("ETag"))?;
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

    /// A copy that takes its source's place may only replace the object that was read, since another write
    /// may come in between. True if the condition on the copy is this one, and not one of the client's.
    fn pin(&self, etag: HeaderValue, copy: &mut HeaderMap) -> bool {
        let is_free = !copy.contains_key(IF_MATCH) && !copy.contains_key(IF_NONE_MATCH);
        let is_pinned = self.is_in_place() && is_free;
        if is_pinned {
            copy.insert(IF_MATCH, etag);
        }
        is_pinned
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
async fn plaintext(body: BoxBody, length: u64, checksums: &[Checksum]) -> Result<Plaintext> {
    if length > BUFFERED {
        return Ok(Plaintext::Streaming(body, length, checksums.to_vec()));
    }
    let room = room_to_seal(0, usize::try_from(length).expect("a chunk fits in memory"));
    Ok(Plaintext::Whole(read_all(body, length, room).await?, checksums.to_vec()))
}
