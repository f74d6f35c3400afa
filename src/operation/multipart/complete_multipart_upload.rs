//! CompleteMultipartUpload: the parts become an object that opens, of a size that lists exactly (F-47).
//!
//! Everything is decided from what the client and the storage list, so any node can do it, and do it again.

mod carried;
mod checksum;
mod request;
mod resealed;

use crate::object::response_headers;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Method, Response, StatusCode};

use super::complete_multipart_upload::carried::Carried;
use super::complete_multipart_upload::request::{Asked, Chosen};
use super::complete_multipart_upload::resealed::Resealed;
use crate::body::{BoxBody, read_bounded};
use crate::envelope::native::multipart::{
    Completion, CompletionRefused, Layout, MIN_PART, PartNumber, SegmentEntropy, completion, seal_terminator,
};
use crate::error::Error;
use crate::object::location::for_every_question;
use crate::object::lost_response::Expected;
use crate::object::upstream_response::{buffered, pass};
use crate::operation::Resources;
use crate::operation::request::Call;
use crate::operation::response::deferred::{Outcome, answer_in_time};
use crate::s3::checksum::ObjectChecksum;
use crate::s3::xml::{self, CompletionAnswer, CompletionResult};
use crate::s3::{BucketName, Checksum, DeclaredIntegrity, ErrorCode, EtagStyle, Hashed, ObjectKey, S3Error};
use crate::upload::memory::Tail;
use crate::upload::session::{Upload, take_conditions};
use crate::upload::stored_parts::{AllParts, UploadAt, etag_of_part, list_parts};
use crate::upstream::UpstreamBody;

/// S3's answers to a completed upload have a few hundred bytes.
const MAX_ANSWER: usize = 64 * 1024;

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
    let under_way = call.under_way.clone();
    let (document, _) = call.document(resources, xml::MAX_COMPLETE_REQUEST as u64, &declared).await?;
    let completing = Completing {
        asked: Asked::of(&document, &call.headers, &upload)?,
        resources: resources.clone(),
        location: call.location(),
        account: for_every_question(&call.headers),
        conditions: take_conditions(&mut call.headers),
        etag: resources.policies.of_object(&bucket, &object_key)?.etag,
        bucket,
        object_key,
        upload,
    };
    let resource = format!("/{}/{}", completing.bucket, completing.object_key);
    // Whoever goes away now leaves a complete object or an upload that can be completed, as with S3.
    let sse = completing.upload.envelope.sse();
    answer_in_time(completing.run(), under_way, resource, sse).await
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
    async fn run(self) -> Result<Outcome, Error> {
        let listed = match list_parts(&self.resources, &self.at()).await {
            Ok(listed) => listed,
            Err(Error::Refused(error)) if error.code == ErrorCode::NoSuchUpload => {
                return self.completed_before().await?.ok_or_else(|| error.into());
            }
            Err(error) => return Err(error),
        };
        let mut chosen = self.choose(&listed).await?;
        let mut displaced = None;
        let outcome = self.make(&listed, &mut chosen, &mut displaced).await;
        if matches!(outcome, Ok(Outcome::Done(..))) {
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
    ) -> Result<Outcome, Error> {
        let object = chosen.checksum_to_carry(&self.upload);
        let mut decided = completion(&chosen.stored);
        if let Err(CompletionRefused::SendAgain(number)) = decided {
            match self.seal_again(number, listed, chosen, object.as_ref(), displaced).await? {
                Resealed::Stored => decided = completion(&chosen.stored),
                Resealed::Refused(refusal) => return Ok(Outcome::Refused(refusal)),
                Resealed::NotHere => self.settle(chosen).await?,
            }
        }
        if matches!(decided, Ok(Completion::Whole)) {
            match self.carry(listed, chosen, object.as_ref(), displaced).await? {
                Carried::Right => (),
                Carried::Refused(refusal) => return Ok(Outcome::Refused(refusal)),
                Carried::SendAgain(number) => decided = Err(CompletionRefused::SendAgain(number)),
            }
        }
        let completion = decided.map_err(|refused| explain(refused, chosen))?;
        let checksum = self.asked.checksum.verified(&self.upload, chosen)?;
        let mut parts = chosen.etags.clone();
        if let Completion::Terminate(layout) = completion {
            match self.store_terminator(&layout, object.as_ref()).await? {
                Ok(etag) => parts.push((PartNumber::TERMINATOR.value(), etag)),
                Err(refusal) => return Ok(Outcome::Refused(refusal)),
            }
        }
        self.complete(&parts, checksum, chosen.total()).await
    }

    /// The client's parts among those that the storage lists.
    async fn choose(&self, listed: &AllParts) -> Result<Chosen, Error> {
        let mut chosen = Chosen::default();
        for part in &self.asked.parts {
            let found =
                listed.of_number(part.number).and_then(|found| Some((found, listed.stored_part(found)?)));
            let (found, stored) = found.ok_or_else(|| request::invalid_part(part))?;
            let (known, id) = (&self.resources.known_uploads, &self.upload.upstream_id);
            let mark = known.mark(id, part.number, &found.etag).await;
            let named = self.etag.to_storage(&part.etag);
            chosen.add(part, named, found, stored, mark)?;
        }
        self.asked.check_size(&chosen)?;
        Ok(chosen)
    }

    /// The ETag of the stored terminator, or the storage's refusal.
    async fn store_terminator(
        &self,
        layout: &Layout,
        checksum: Option<&Checksum>,
    ) -> Result<Result<String, Response<BoxBody>>, Error> {
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
            // Without it the client is told the same, and waits a little longer when it sends the part.
            let _ = self.store_terminator(&layout, None).await?;
        }
        Ok(())
    }

    /// The ETag of a stored segment, or the storage's refusal.
    async fn store_part(
        &self,
        number: PartNumber,
        sealed: Bytes,
    ) -> Result<Result<String, Response<BoxBody>>, Error> {
        let mut request = self.at().part_request(number);
        request.body = UpstreamBody::Content(sealed);
        let response = pass(self.resources.upstream.send(request).await?).await?;
        if !response.status().is_success() {
            return Ok(Err(response));
        }
        Ok(Ok(etag_of_part(response.headers())?.to_owned()))
    }

    async fn complete(
        &self,
        parts: &[(u16, String)],
        checksum: Option<ObjectChecksum>,
        size: Option<u64>,
    ) -> Result<Outcome, Error> {
        let mut request = self.at().request(Method::POST);
        request.headers.extend(self.conditions.clone());
        let listed = parts.iter().map(|(number, etag)| (*number, etag.as_str()));
        request.body = UpstreamBody::Buffered(xml::write_complete_request(listed).into());
        let response = pass(self.resources.upstream.send(request).await?).await?;
        match response.status() {
            StatusCode::OK => {}
            // The client may have sent the request again before the first was answered, which is done by now.
            StatusCode::NOT_FOUND | StatusCode::CONFLICT | StatusCode::PRECONDITION_FAILED => {
                let done = self.completed_before().await.ok().flatten();
                return Ok(done.unwrap_or(Outcome::Refused(response)));
            }
            _ => return Ok(Outcome::Refused(response)),
        }
        // The storage's white space ends here; `answer_in_time` keeps the client waiting in the same way.
        let (mut head, body) = response.into_parts();
        let document = read_bounded(body, MAX_ANSWER).await.map_err(Error::upstream_body)?;
        let answer = xml::completion_answer(&document)
            .map_err(|_| Error::UnexpectedAnswer("what is no answer to a completed upload"))?;
        head.headers.remove(CONTENT_LENGTH);
        match answer {
            CompletionAnswer::Done(result) => {
                let result = match result.etag() {
                    "" => self.named_result().await?,
                    _ => result,
                };
                if let Some(size) = size {
                    let sizes = &self.resources.learned_sizes;
                    sizes.completed(&self.bucket, &self.object_key, result.etag(), size).await;
                }
                Ok(self.done(head.headers, result, checksum))
            }
            CompletionAnswer::Failed => Ok(Outcome::Refused(Response::from_parts(head, buffered(document)))),
        }
    }

    /// The result for a storage that named no ETag.
    async fn named_result(&self) -> Result<CompletionResult, Error> {
        let written = self.expected().find(&self.resources.upstream).await?;
        let written = written.ok_or(Error::UnexpectedAnswer("a completed upload without its ETag"))?;
        Ok(CompletionResult::of(self.bucket.as_str(), self.object_key.as_str(), written.etag()?))
    }

    fn done(
        &self,
        mut headers: HeaderMap,
        result: CompletionResult,
        checksum: Option<ObjectChecksum>,
    ) -> Outcome {
        response_headers::set_sse(&mut headers, self.upload.envelope.sse(), Some(&self.upload.key_id));
        let etag = self.etag.to_client(result.etag(), Hashed::Ciphertext);
        let result = result.with_etag(&etag);
        Outcome::Done(headers, result.write(&self.location, checksum))
    }

    /// Returns the response that the client missed if the object is the one that this upload made. The
    /// object's envelope shows that, since no other upload has this envelope.
    async fn completed_before(&self) -> Result<Option<Outcome>, Error> {
        let Some(written) = self.expected().find(&self.resources.upstream).await? else { return Ok(None) };
        let mut headers = written.version();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        let result = CompletionResult::of(self.bucket.as_str(), self.object_key.as_str(), written.etag()?);
        Ok(Some(self.done(headers, result, None)))
    }

    /// The object that the upload makes.
    fn expected(&self) -> Expected {
        let envelope = self.upload.envelope.to_header();
        let envelope = HeaderValue::try_from(envelope).expect("base64 is a header value");
        Expected::new(&self.bucket, &self.object_key, envelope, self.account.clone())
    }

    fn at(&self) -> UploadAt<'_> {
        UploadAt {
            bucket: &self.bucket,
            object_key: &self.object_key,
            upstream_id: &self.upload.upstream_id,
            headers: &self.account,
        }
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
