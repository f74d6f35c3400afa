//! CompleteMultipartUpload: makes an object of the parts, whose plaintext size follows from its stored size
//! (F-47).
//!
//! It must not need the caches of the process that stored the parts. Every decision is made from the lists of
//! the client and of the storage, so any node can complete an upload, and repeat a completion.

mod carried_checksum;
mod checksum;
mod matched_parts;
mod request;
mod reseal;

use bytes::Bytes;
use http::Response;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue};

use self::matched_parts::MatchedParts;
use self::request::CompleteRequest;
use crate::access::Right;
use crate::body::BoxBody;
use crate::envelope::native::multipart::{
    Completion, CompletionRefused, Layout, MIN_PART, PartNumber, completion,
};
use crate::error::{Error, Result};
use crate::object::location::account_headers;
use crate::object::lost_response::Expected;
use crate::object::response_headers;
use crate::object::rule::counted::count_sealed;
use crate::object::rule::formats::WriteFormat;
use crate::operation::Resources;
use crate::operation::request::Call;
use crate::operation::response::deferred::{DocumentResponse, respond_or_defer};
use crate::s3::checksum::ObjectChecksum;
use crate::s3::xml::{self, CompletionResult};
use crate::s3::{BucketName, Checksum, DeclaredIntegrity, ErrorCode, EtagStyle, Hashed, ObjectKey, S3Error};
use crate::upload::session::{Upload, take_conditions};
use crate::upload::storage::{CompletedUpload, StorageUpload};
use crate::upload::stored_parts::StoredParts;
use crate::upstream::UpstreamBody;

pub(crate) async fn complete_multipart_upload(
    resources: &Resources,
    mut call: Box<Call>,
) -> Result<Response<BoxBody>> {
    let (bucket, object_key) = call.object()?;
    let (bucket, object_key) = (bucket.clone(), object_key.clone());
    call.check_listed_upload(Right::Write)?;
    let customer_key = call.customer_keys.object.as_ref();
    let upload = Upload::to_end(resources, (&bucket, &object_key), call.upload_id(), customer_key).await?;
    upload.check_completable()?;
    if call.content_length()?.is_none() {
        return Err(S3Error::from(ErrorCode::MissingContentLength).into());
    }
    // Checksum headers of this operation declare the object's checksum; only Content-MD5 is the body's.
    let content_md5 = DeclaredIntegrity::content_md5_of(&call.headers)?;
    let declared = DeclaredIntegrity { content_md5, ..DeclaredIntegrity::default() };
    let permit = call.permit.clone();
    let (document, _) = call.document(resources, xml::MAX_COMPLETE_REQUEST as u64, &declared).await?;
    let completion = UploadCompletion {
        request: CompleteRequest::parse(&document, &call.headers, &upload)?,
        resources: resources.clone(),
        location: call.location(),
        account: account_headers(&call.headers),
        conditions: take_conditions(&mut call.headers),
        etag: resources.policies.for_object(&bucket, &object_key)?.etag,
        bucket,
        object_key,
        upload,
    };
    let resource = format!("/{}/{}", completion.bucket, completion.object_key);
    // A client that disconnects now leaves a complete object, or an upload that can be completed, as with S3.
    let sse = completion.upload.envelope.sse();
    respond_or_defer(completion.run(), permit, resource, sse).await
}

/// A completion, with all that it needs to continue when the client has disconnected.
struct UploadCompletion {
    resources: Resources,
    bucket: BucketName,
    object_key: ObjectKey,
    /// How clients see the ETags of the object and of its parts.
    etag: EtagStyle,
    upload: Upload,
    request: CompleteRequest,
    location: String,
    /// The client's account headers, repeated on every request.
    account: HeaderMap,
    /// The client's conditions on the object.
    conditions: HeaderMap,
}

impl UploadCompletion {
    async fn run(self) -> Result<DocumentResponse> {
        let listed = match self.storage().list_parts().await {
            Ok(listed) => listed,
            Err(Error::Refused(error)) if error.code == ErrorCode::NoSuchUpload => {
                return self.completed_before().await?.ok_or_else(|| error.into());
            }
            Err(error) => return Err(error),
        };
        let mut matched = self.match_parts(&listed).await?;
        let outcome = self.make(&listed, &mut matched).await;
        if outcome.is_ok() {
            // No later request lists these parts, or needs the last one sealed again.
            let cache = &self.resources.upload_cache;
            cache.completed(&self.bucket, &self.upload.upstream_id, &matched.named).await;
        } else if let Some(part) = matched.displaced {
            self.restore_part(part).await;
        }
        outcome
    }

    /// Makes the object of the matched parts.
    async fn make(&self, listed: &StoredParts, matched: &mut MatchedParts) -> Result<DocumentResponse> {
        let object = matched.checksum_to_carry(&self.upload);
        let mut decided = completion(&matched.stored);
        if let Err(CompletionRefused::SendAgain(number)) = decided {
            if self.reseal_last_part(number, listed, matched, object.as_ref()).await? {
                decided = completion(&matched.stored);
            } else {
                self.store_early_terminator(matched).await?;
            }
        }
        if matches!(decided, Ok(Completion::Whole))
            && let Some(number) = self.ensure_carried_checksum(listed, matched, object.as_ref()).await?
        {
            decided = Err(CompletionRefused::SendAgain(number));
        }
        let completion = decided.map_err(|refused| into_s3_error(refused, matched))?;
        let checksum = self.request.checksum.verified(&self.upload, matched)?;
        let mut parts = matched.etags.clone();
        if let Completion::Terminate(layout) = completion {
            let etag = self.store_terminator(&layout, object.as_ref()).await?;
            parts.push((PartNumber::TERMINATOR.value(), etag));
        }
        self.complete(&parts, checksum, matched.total()).await
    }

    /// Matches the client's parts with those that the storage lists.
    ///
    /// # Errors
    /// `InvalidPart` for a part that the storage does not have, `InvalidRequest` for another size of the
    /// object.
    async fn match_parts(&self, listed: &StoredParts) -> Result<MatchedParts> {
        let mut matched = MatchedParts::default();
        for part in &self.request.parts {
            let found = listed.number(part.number).and_then(|part| Some((part, listed.stored_part(part)?)));
            let (found, stored) = found.ok_or_else(|| matched_parts::invalid_part(part))?;
            let (known, id) = (&self.resources.upload_cache, &self.upload.upstream_id);
            let receipt = known.receipt(id, part.number, &found.etag).await;
            let named = self.etag.to_storage(&part.etag);
            matched.add(part, named, found, stored, receipt)?;
        }
        self.request.check_size(&matched)?;
        Ok(matched)
    }

    /// Stores the terminator, and returns its ETag.
    async fn store_terminator(&self, layout: &Layout, checksum: Option<&Checksum>) -> Result<String> {
        let sealed = self.upload.seal_terminator(layout, checksum)?;
        self.store_part(PartNumber::TERMINATOR, sealed.into()).await
    }

    /// Stores a terminator before the parts are complete, so that every proxy knows that the listed parts are
    /// all, and can seal the last one for them when the client sends it again (F-46, F-47).
    async fn store_early_terminator(&self, matched: &MatchedParts) -> Result<()> {
        if self.upload.needs_all_parts() {
            return Ok(());
        }
        let is_free = matched.stored.iter().all(|part| part.number < PartNumber::TERMINATOR);
        if let Some(layout) = matched.layout().filter(|_| is_free) {
            match self.store_terminator(&layout, None).await {
                // Without a terminator the client only waits a little longer when it sends the part again.
                Ok(_) | Err(Error::PassThrough(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Stores a segment, and returns its ETag.
    async fn store_part(&self, number: PartNumber, sealed: Bytes) -> Result<String> {
        Ok(self.storage().put_part(number, UpstreamBody::Content(sealed)).await?.0)
    }

    async fn complete(
        &self,
        parts: &[(u16, String)],
        checksum: Option<ObjectChecksum>,
        size: Option<u64>,
    ) -> Result<DocumentResponse> {
        let parts = parts.iter().map(|(number, etag)| (*number, etag.as_str()));
        // White space before the storage's document ends here; `respond_or_defer` keeps the client waiting.
        let CompletedUpload { mut headers, result, .. } =
            self.storage().complete(parts, &self.conditions, &self.expected()).await?;
        count_sealed(WriteFormat::Native);
        headers.remove(CONTENT_LENGTH);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        if let Some(size) = size {
            let sizes = &self.resources.size_cache;
            sizes.insert_completed(&self.bucket, &self.object_key, result.etag(), size).await;
        }
        Ok(self.done(headers, result, checksum))
    }

    fn done(
        &self,
        mut headers: HeaderMap,
        result: CompletionResult,
        checksum: Option<ObjectChecksum>,
    ) -> DocumentResponse {
        response_headers::set_sse(&mut headers, self.upload.envelope.sse(), Some(&self.upload.key_id));
        let etag = self.etag.to_client(result.etag(), Hashed::Ciphertext);
        let result = result.with_etag(&etag).with_bucket(self.bucket.as_str());
        DocumentResponse { headers, document: result.write(&self.location, checksum) }
    }

    /// Returns the response that the client missed if the object is the one that this upload made. The
    /// object's envelope shows that, since no other upload has this envelope.
    async fn completed_before(&self) -> Result<Option<DocumentResponse>> {
        let Some(written) = self.expected().find(&self.resources.upstreams).await? else { return Ok(None) };
        let mut headers = written.version();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        let result = CompletionResult::new(self.bucket.as_str(), self.object_key.as_str(), written.etag()?);
        Ok(Some(self.done(headers, result, None)))
    }

    /// The object that the upload makes, identified by its envelope.
    fn expected(&self) -> Expected {
        let envelope = self.upload.envelope.to_header();
        let envelope = HeaderValue::try_from(envelope).expect("base64 is a header value");
        Expected::new(&self.bucket, &self.object_key, envelope, self.account.clone())
    }

    /// The upload in the storage.
    fn storage(&self) -> StorageUpload {
        let Self { resources, bucket, object_key, upload, account, .. } = self;
        StorageUpload::new(&resources.upstreams, bucket, object_key, &upload.upstream_id, account.clone())
    }
}

/// Converts a refusal to complete the upload into the error that S3 has for it.
fn into_s3_error(refused: CompletionRefused, matched: &MatchedParts) -> Error {
    let about = |error: S3Error, number: PartNumber| error.with("PartNumber", number.value().to_string());
    let error = match refused {
        CompletionRefused::Order => ErrorCode::InvalidPartOrder.into(),
        CompletionRefused::TooSmall(number) => {
            let error = S3Error::from(ErrorCode::EntityTooSmall).with("MinSizeAllowed", MIN_PART.to_string());
            about(
                match matched.plaintext_length(number) {
                    Some(size) => error.with("ProposedSize", size.to_string()),
                    None => error,
                },
                number,
            )
        }
        CompletionRefused::NotASegment(number) | CompletionRefused::SendAgain(number) => {
            about(S3Error::new(ErrorCode::InvalidPart, capitalize(refused)), number)
        }
    };
    error.into()
}

/// The refusal as a sentence: with a capital letter and a full stop.
fn capitalize(refused: CompletionRefused) -> String {
    let text = refused.to_string();
    let mut letters = text.chars();
    letters.next().map(|first| format!("{}{}.", first.to_uppercase(), letters.as_str())).unwrap_or_default()
}
