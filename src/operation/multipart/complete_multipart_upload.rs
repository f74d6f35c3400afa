//! CompleteMultipartUpload: the parts become an object that opens, of a size that lists exactly (F-47).
//!
//! Everything is decided from what the client and the storage list, so any node can do it, and do it again.

mod carried;
mod checksum;
mod request;
mod resealed;

use crate::object::response_headers;
use bytes::Bytes;
use http::Response;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue};

use super::complete_multipart_upload::carried::Carried;
use super::complete_multipart_upload::request::{Asked, Chosen};
use super::complete_multipart_upload::resealed::Resealed;
use crate::body::BoxBody;
use crate::envelope::native::multipart::{
    Completion, CompletionRefused, Layout, MIN_PART, PartNumber, SegmentEntropy, completion, seal_terminator,
};
use crate::error::Error;
use crate::object::location::account_headers;
use crate::object::lost_response::Expected;
use crate::operation::Resources;
use crate::operation::request::Call;
use crate::operation::response::deferred::{Completed, respond_or_defer};
use crate::s3::checksum::ObjectChecksum;
use crate::s3::xml::{self, CompletionResult};
use crate::s3::{BucketName, Checksum, DeclaredIntegrity, ErrorCode, EtagStyle, Hashed, ObjectKey, S3Error};
use crate::upload::memory::Tail;
use crate::upload::session::{Upload, take_conditions};
use crate::upload::storage::{self, StorageUpload};
use crate::upload::stored_parts::AllParts;
use crate::upstream::UpstreamBody;

pub(crate) async fn complete_multipart_upload(
    resources: &Resources,
    mut call: Call,
) -> Result<Response<BoxBody>, Error> {
    let (bucket, object_key) = call.object()?;
    let (bucket, object_key) = (bucket.clone(), object_key.clone());
    let upload = Upload::of_id(resources, &bucket, &object_key, call.upload_id()).await?;
    if call.content_length()?.is_none() {
        return Err(S3Error::from(ErrorCode::MissingContentLength).into());
    }
    // A checksum header speaks of the object here; only Content-MD5 is of this body.
    let content_md5 = DeclaredIntegrity::content_md5_of(&call.headers)?;
    let declared = DeclaredIntegrity { content_md5, ..DeclaredIntegrity::default() };
    let permit = call.permit.clone();
    let (document, _) = call.document(resources, xml::MAX_COMPLETE_REQUEST as u64, &declared).await?;
    let completing = Completing {
        asked: Asked::of(&document, &call.headers, &upload)?,
        resources: resources.clone(),
        location: call.location(),
        account: account_headers(&call.headers),
        conditions: take_conditions(&mut call.headers),
        etag: resources.policies.of_object(&bucket, &object_key)?.etag,
        bucket,
        object_key,
        upload,
    };
    let resource = format!("/{}/{}", completing.bucket, completing.object_key);
    // Whoever goes away now leaves a complete object or an upload that can be completed, as with S3.
    let sse = completing.upload.envelope.sse();
    respond_or_defer(completing.run(), permit, resource, sse).await
}

/// A completion, with all that it needs to go on when nobody waits for it any more.
struct Completing {
    resources: Resources,
    bucket: BucketName,
    object_key: ObjectKey,
    /// How the object's ETag, and those of its parts, appear to clients.
    etag: EtagStyle,
    upload: Upload,
    asked: Asked,
    location: String,
    /// What goes along with every request.
    account: HeaderMap,
    /// The client's conditions on the object that is to be.
    conditions: HeaderMap,
}

impl Completing {
    async fn run(self) -> Result<Completed, Error> {
        let listed = match self.storage().list_parts().await {
            Ok(listed) => listed,
            Err(Error::Refused(error)) if error.code == ErrorCode::NoSuchUpload => {
                return self.completed_before().await?.ok_or_else(|| error.into());
            }
            Err(error) => return Err(error),
        };
        let mut chosen = self.choose(&listed).await?;
        let mut displaced = None;
        let outcome = self.make(&listed, &mut chosen, &mut displaced).await;
        if outcome.is_ok() {
            // No later request lists these parts, or needs the last one sealed again.
            let known = &self.resources.known_uploads;
            known.completed(&self.bucket, &self.upload.upstream_id, &chosen.named).await;
        } else if let Some(part) = displaced {
            self.put_back(part).await;
        }
        outcome
    }

    /// Makes the object of the chosen parts.
    async fn make(
        &self,
        listed: &AllParts,
        chosen: &mut Chosen,
        displaced: &mut Option<Tail>,
    ) -> Result<Completed, Error> {
        let object = chosen.checksum_to_carry(&self.upload);
        let mut decided = completion(&chosen.stored);
        if let Err(CompletionRefused::SendAgain(number)) = decided {
            match self.seal_again(number, listed, chosen, object.as_ref(), displaced).await? {
                Resealed::Stored => decided = completion(&chosen.stored),
                Resealed::NotHere => self.settle(chosen).await?,
            }
        }
        if matches!(decided, Ok(Completion::Whole)) {
            match self.carry(listed, chosen, object.as_ref(), displaced).await? {
                Carried::Right => (),
                Carried::SendAgain(number) => decided = Err(CompletionRefused::SendAgain(number)),
            }
        }
        let completion = decided.map_err(|refused| explain(refused, chosen))?;
        let checksum = self.asked.checksum.verified(&self.upload, chosen)?;
        let mut parts = chosen.etags.clone();
        if let Completion::Terminate(layout) = completion {
            let etag = self.store_terminator(&layout, object.as_ref()).await?;
            parts.push((PartNumber::TERMINATOR.value(), etag));
        }
        self.complete(&parts, checksum, chosen.total()).await
    }

    /// The client's parts among those that the storage lists.
    async fn choose(&self, listed: &AllParts) -> Result<Chosen, Error> {
        let mut chosen = Chosen::default();
        for part in &self.asked.parts {
            let found =
                listed.number(part.number).and_then(|found| Some((found, listed.stored_part(found)?)));
            let (found, stored) = found.ok_or_else(|| request::invalid_part(part))?;
            let (known, id) = (&self.resources.known_uploads, &self.upload.upstream_id);
            let mark = known.mark(id, part.number, &found.etag).await;
            let named = self.etag.to_storage(&part.etag);
            chosen.add(part, named, found, stored, mark)?;
        }
        self.asked.check_size(&chosen)?;
        Ok(chosen)
    }

    /// Stores the terminator, and returns its ETag.
    async fn store_terminator(&self, layout: &Layout, checksum: Option<&Checksum>) -> Result<String, Error> {
        let sealed = seal_terminator(&self.upload.content_key, layout, checksum, SegmentEntropy::fresh())?;
        self.store_part(PartNumber::TERMINATOR, sealed.into()).await
    }

    /// Tells every proxy that the named parts are all there are, so that the last can be sealed for them when it is sent
    /// again (F-46, F-47).
    async fn settle(&self, chosen: &Chosen) -> Result<(), Error> {
        if self.upload.needs_all_parts() {
            return Ok(());
        }
        if let Some(layout) = chosen.layout().filter(|_| listed_below_terminator(chosen)) {
            match self.store_terminator(&layout, None).await {
                // Without the terminator the client only waits a little longer when it sends the part again.
                Ok(_) | Err(Error::PassThrough(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Stores a segment, and returns its ETag.
    async fn store_part(&self, number: PartNumber, sealed: Bytes) -> Result<String, Error> {
        Ok(self.storage().put_part(number, UpstreamBody::Content(sealed)).await?.0)
    }

    async fn complete(
        &self,
        parts: &[(u16, String)],
        checksum: Option<ObjectChecksum>,
        size: Option<u64>,
    ) -> Result<Completed, Error> {
        let parts = parts.iter().map(|(number, etag)| (*number, etag.as_str()));
        // White space before the storage's document ends here; `respond_or_defer` keeps the client waiting.
        let storage::Completed { mut headers, result } =
            self.storage().complete(parts, &self.conditions, &self.expected()).await?;
        headers.remove(CONTENT_LENGTH);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        if let Some(size) = size {
            let sizes = &self.resources.size_cache;
            sizes.completed(&self.bucket, &self.object_key, result.etag(), size).await;
        }
        Ok(self.done(headers, result, checksum))
    }

    fn done(
        &self,
        mut headers: HeaderMap,
        result: CompletionResult,
        checksum: Option<ObjectChecksum>,
    ) -> Completed {
        response_headers::set_sse(&mut headers, self.upload.envelope.sse(), Some(&self.upload.key_id));
        let etag = self.etag.to_client(result.etag(), Hashed::Ciphertext);
        let result = result.with_etag(&etag);
        Completed { headers, document: result.write(&self.location, checksum) }
    }

    /// Returns the response that the client missed if the object is the one that this upload made. The
    /// object's envelope shows that, since no other upload has this envelope.
    async fn completed_before(&self) -> Result<Option<Completed>, Error> {
        let Some(written) = self.expected().find(&self.resources.upstream).await? else { return Ok(None) };
        let mut headers = written.version();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        let result = CompletionResult::new(self.bucket.as_str(), self.object_key.as_str(), written.etag()?);
        Ok(Some(self.done(headers, result, None)))
    }

    /// The object that the upload makes.
    fn expected(&self) -> Expected {
        let envelope = self.upload.envelope.to_header();
        let envelope = HeaderValue::try_from(envelope).expect("base64 is a header value");
        Expected::new(&self.bucket, &self.object_key, envelope, self.account.clone())
    }

    /// The upload in the storage.
    fn storage(&self) -> StorageUpload {
        let Self { resources, bucket, object_key, upload, account, .. } = self;
        StorageUpload::new(&resources.upstream, bucket, object_key, &upload.upstream_id, account.clone())
    }
}

fn listed_below_terminator(chosen: &Chosen) -> bool {
    chosen.stored.iter().all(|part| part.number < PartNumber::TERMINATOR)
}

/// A refusal in S3's words.
fn explain(refused: CompletionRefused, chosen: &Chosen) -> Error {
    let about = |error: S3Error, number: PartNumber| error.with("PartNumber", number.value().to_string());
    let error = match refused {
        CompletionRefused::Order => ErrorCode::InvalidPartOrder.into(),
        CompletionRefused::TooSmall(number) => {
            let error = S3Error::from(ErrorCode::EntityTooSmall).with("MinSizeAllowed", MIN_PART.to_string());
            let size = chosen.plaintext_length(number);
            let error = match size {
                Some(size) => error.with("ProposedSize", size.to_string()),
                None => error,
            };
            about(error, number)
        }
        CompletionRefused::NotASegment(number) | CompletionRefused::SendAgain(number) => {
            about(S3Error::new(ErrorCode::InvalidPart, sentence(refused)), number)
        }
    };
    error.into()
}

fn sentence(refused: CompletionRefused) -> String {
    let text = refused.to_string();
    let mut letters = text.chars();
    letters.next().map(|first| format!("{}{}.", first.to_uppercase(), letters.as_str())).unwrap_or_default()
}
