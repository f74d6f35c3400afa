//! The copy of a multipart object: each stored segment becomes a part of the copy, so that its ETag counts them again.

use crate::object::response_headers;
use std::collections::BTreeMap;
use std::ops::Range;

use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Method, Response, StatusCode};
use tokio::task::JoinSet;

use super::{ObjectCopy, Outcome, told_checksums};
use crate::body::{BoxBody, read_bounded};
use crate::envelope::native::multipart::{Layout, PartNumber};
use crate::error::{Error, with_causes};
use crate::object::lost_response::Expected;
use crate::object::native::Unlocked;
use crate::object::{layout, location, upstream_response};
use crate::operation::request::copy_source::Found;
use crate::s3::headers::{COPY_SOURCE_RANGE, Directive};
use crate::s3::{BucketName, Checksum, Hashed, ObjectKey, S3Error, xml};
use crate::upload::session::take_conditions;
use crate::upstream::{Upstream, UpstreamBody, UpstreamRequest};

/// S3's limit to the source of one copy, here in the client's terms.
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html>
pub(crate) const MAX_SOURCE: u64 = 5 << 30;
/// How many parts are copied side by side.
const AT_ONCE: usize = 8;
pub(crate) const SOURCE_VERSION: HeaderName = HeaderName::from_static("x-amz-copy-source-version-id");
const TAGGING: HeaderName = HeaderName::from_static("x-amz-tagging");

/// A step that the storage did, or refused to do.
pub(crate) type Step<T> = Result<Result<T, Response<BoxBody>>, Error>;

/// The numbers of segments as parts, and their stored bytes.
type Segments = Vec<(PartNumber, Range<u64>)>;

/// A part that was copied.
struct CopiedPart {
    number: u16,
    /// Without quotes.
    etag: String,
    source_version: Option<HeaderValue>,
}

impl ObjectCopy {
    /// An upload of the source's own segments, under a new envelope.
    pub(crate) async fn copy_parts(
        &self,
        found: &Found,
        unlocked: &Unlocked,
        own: Option<Checksum>,
    ) -> Result<Outcome, Error> {
        let at = self.source.at();
        let content_key = &unlocked.opened.content_key;
        let known = layout::layout_of(&self.resources, &at, &found.identity, content_key).await?;
        let length = known.layout.plaintext_total();
        if length > MAX_SOURCE {
            return Err(too_large().into());
        }
        let (mut request, write_key) = self.request(found, unlocked, own, length).await?;
        if let Err(refused) = self.carry_tags(&mut request.headers).await? {
            return Ok(Outcome::Refused(refused));
        }
        let upload = match Upload::create(&self.resources.upstream, request).await? {
            Ok(upload) => upload,
            Err(refused) => return Ok(Outcome::Refused(refused)),
        };
        let mut of_the_source = HeaderMap::new();
        self.name_source(found, &mut of_the_source);
        let outcome = match upload.copy_all(&segments(&known.layout), &of_the_source).await {
            Ok(Ok(copied)) => upload.complete(&copied).await,
            Ok(Err(refused)) => Ok(Err(refused)),
            Err(error) => Err(error),
        };
        match outcome {
            Ok(Ok((mut headers, mut result))) => {
                response_headers::set_sse(&mut headers, self.sse, Some(&write_key.key_id));
                result.etag = self.rule.etag.to_client(&result.etag, Hashed::Ciphertext);
                let told = told_checksums(unlocked, own, Some(&known))?;
                Ok(Outcome::Done(headers, result.to_object_xml(&told)))
            }
            Ok(Err(refused)) => {
                upload.abort().await;
                Ok(Outcome::Refused(refused))
            }
            Err(error) => {
                upload.abort().await;
                Err(error)
            }
        }
    }

    /// Puts the source's tags into the headers of what is to be, unless they are replaced.
    pub(crate) async fn carry_tags(&self, headers: &mut HeaderMap) -> Step<()> {
        if self.tagging == Directive::Replace {
            return Ok(Ok(()));
        }
        match self.source_tags().await? {
            Err(refused) => return Ok(Err(refused)),
            Ok(tags) if tags.is_empty() => _ = headers.remove(TAGGING),
            Ok(tags) => {
                let tags = HeaderValue::try_from(tags).expect("it is percent-encoded");
                headers.insert(TAGGING, tags);
            }
        }
        Ok(Ok(()))
    }

    /// The source's tags as the value of `x-amz-tagging`: an upload takes them from its first request only.
    async fn source_tags(&self) -> Step<String> {
        let mut request = self.source.at().request(Method::GET);
        request.query.push(("tagging".to_owned(), None));
        let response = self.resources.upstream.fetch(request).await?;
        match response.status() {
            StatusCode::OK => (),
            // A storage without tags, or without a set of them here.
            StatusCode::NOT_IMPLEMENTED | StatusCode::NOT_FOUND => return Ok(Ok(String::new())),
            _ => return Ok(Err(upstream_response::pass(response).await?)),
        }
        let document = read_bounded(response.into_body(), xml::MAX_COPY_ANSWER).await;
        let document = document.map_err(Error::upstream_body)?;
        let tags = xml::tagging_to_query(&document);
        tags.map(Ok).map_err(|_| Error::UnexpectedAnswer("a question for tags with another document"))
    }
}

fn too_large() -> S3Error {
    let message = format!(
        "The specified copy source is larger than the maximum allowable size for a copy source: {MAX_SOURCE}"
    );
    S3Error::invalid_request(message)
}

/// The parts keep their numbers, the terminator the one that only it has.
fn segments(layout: &Layout) -> Segments {
    let numbers = layout.parts().iter().map(|part| part.number);
    let terminator = layout.is_terminated().then_some(PartNumber::TERMINATOR);
    numbers.chain(terminator).zip(layout.segment_extents()).collect()
}

/// An upload in progress at the destination.
struct Upload {
    upstream: Upstream,
    bucket: Option<BucketName>,
    object: Option<ObjectKey>,
    /// What the storage calls it.
    id: String,
    /// What the client wants the storage to check in every request.
    headers: HeaderMap,
    /// The client's conditions on the destination, which count when the upload is completed.
    conditions: HeaderMap,
    /// The object that it will be.
    expected: Expected,
}

impl Upload {
    /// Begins an upload that `request` describes.
    async fn create(upstream: &Upstream, mut request: UpstreamRequest) -> Step<Self> {
        let conditions = take_conditions(&mut request.headers);
        let expected = Expected::of_request(&request).expect("a native copy has an envelope");
        let (bucket, object) = (request.bucket.clone(), request.object.clone());
        let headers = location::for_every_question(&request.headers);
        request.method = Method::POST;
        request.query = vec![("uploads".to_owned(), None)];
        let response = upstream.send(request).await?;
        if response.status() != StatusCode::OK {
            return Ok(Err(upstream_response::pass(response).await?));
        }
        let document = read_bounded(response.into_body(), xml::MAX_COPY_ANSWER).await;
        let id = xml::parse_upload_id(&document.map_err(Error::upstream_body)?)
            .map_err(|_| Error::UnexpectedAnswer("the begin of an upload with another document"))?;
        Ok(Ok(Self { upstream: upstream.clone(), bucket, object, id, headers, conditions, expected }))
    }

    fn request(&self, method: Method) -> UpstreamRequest {
        UpstreamRequest {
            method,
            bucket: self.bucket.clone(),
            object: self.object.clone(),
            query: vec![("uploadId".to_owned(), Some(self.id.clone()))],
            headers: self.headers.clone(),
            body: UpstreamBody::Empty,
        }
    }

    /// Copies all segments, and begins no further one after a failure. When it returns, none is on its way: what came after
    /// an abort would stay.
    async fn copy_all(&self, segments: &Segments, of_the_source: &HeaderMap) -> Step<Vec<CopiedPart>> {
        // A source of less than 5 MiB can't be copied by range, and has one segment.
        let is_whole = segments.len() == 1;
        let mut waiting = segments.iter();
        let mut running = JoinSet::new();
        let (mut copied, mut failure) = (BTreeMap::new(), None);
        loop {
            while failure.is_none() && running.len() < AT_ONCE {
                let Some((number, stored)) = waiting.next() else { break };
                let mut request = self.request(Method::PUT);
                request.query.push(("partNumber".to_owned(), Some(number.value().to_string())));
                request.headers.extend(of_the_source.clone());
                if !is_whole {
                    let range = format!("bytes={}-{}", stored.start, stored.end - 1);
                    let range = HeaderValue::try_from(range).expect("digits are a header value");
                    request.headers.insert(COPY_SOURCE_RANGE, range);
                }
                running.spawn(copy_part(self.upstream.clone(), request, number.value()));
            }
            match running.join_next().await {
                None => break,
                Some(Ok(Ok(Ok(part)))) => _ = copied.insert(part.number, part),
                Some(Ok(Ok(Err(refusal)))) => failure = failure.or(Some(Ok(Err(refusal)))),
                Some(Ok(Err(error))) => failure = failure.or(Some(Err(error))),
                Some(Err(_)) => {
                    failure =
                        Some(Err(Error::UnexpectedAnswer("a copy of a part in a way that broke it off")));
                }
            }
        }
        failure.unwrap_or_else(|| Ok(Ok(copied.into_values().collect())))
    }

    /// Makes the object of its parts.
    async fn complete(&self, parts: &[CopiedPart]) -> Step<(HeaderMap, xml::CopyResult)> {
        let list = xml::write_complete_request(parts.iter().map(|part| (part.number, part.etag.as_str())));
        let mut request = self.request(Method::POST);
        request.headers.extend(self.conditions.clone());
        request.body = UpstreamBody::Buffered(list.into());
        let (mut headers, told) = match self.upstream.send(request).await {
            Ok(response) if response.status() != StatusCode::OK => {
                return Ok(Err(upstream_response::pass(response).await?));
            }
            Ok(response) => {
                let (head, body) = response.into_parts();
                let document = read_bounded(body, xml::MAX_COPY_ANSWER).await;
                let document = document.map_err(Error::upstream_body)?;
                match upstream_response::copy_answer(&document)? {
                    xml::CopyAnswer::Failed(error) => return Err(upstream_response::failed(error)),
                    xml::CopyAnswer::Copied(result) => (head.headers, Some(result)),
                }
            }
            // Whether it is complete shows below.
            Err(error) if error.may_have_been_done() => (HeaderMap::new(), None),
            Err(error) => return Err(error.into()),
        };
        response_headers::retain_s3(&mut headers);
        // The answer to a completion does not say when that was, and that of some storages names no ETag.
        let found = self.expected.find(&self.upstream).await;
        let result = match told.filter(|told| !told.etag.is_empty()) {
            Some(told) => {
                let found = found.ok().flatten().and_then(|written| written.copy_result().ok());
                let last_modified = found.map(|found| found.last_modified).unwrap_or_default();
                xml::CopyResult { last_modified, ..told }
            }
            None => {
                let written = found?.ok_or(Error::Unsettled)?;
                headers.extend(written.version());
                written.copy_result()?
            }
        };
        if let Some(version) = parts.first().and_then(|part| part.source_version.clone()) {
            headers.insert(SOURCE_VERSION, version);
        }
        Ok(Ok((headers, result)))
    }

    /// Removes what was copied. That it failed is not the client's matter, but somebody's.
    async fn abort(&self) {
        let failure = match self.upstream.send(self.request(Method::DELETE)).await {
            Ok(response) if response.status().is_success() || response.status() == StatusCode::NOT_FOUND => {
                return;
            }
            Ok(response) => response.status().to_string(),
            Err(error) => with_causes(&error),
        };
        let Self { bucket, object, .. } = self;
        tracing::warn!(failure, ?bucket, ?object, "the upload of a failed copy was not aborted");
    }
}

async fn copy_part(upstream: Upstream, request: UpstreamRequest, number: u16) -> Step<CopiedPart> {
    let response = upstream.send(request).await?;
    if response.status() != StatusCode::OK {
        return Ok(Err(upstream_response::pass(response).await?));
    }
    let (head, body) = response.into_parts();
    let document = read_bounded(body, xml::MAX_COPY_ANSWER).await.map_err(Error::upstream_body)?;
    match upstream_response::copy_answer(&document)? {
        xml::CopyAnswer::Failed(error) => Err(upstream_response::failed(error)),
        xml::CopyAnswer::Copied(result) if result.etag.is_empty() => {
            Err(Error::UnexpectedAnswer("a copied part without ETag"))
        }
        xml::CopyAnswer::Copied(result) => Ok(Ok(CopiedPart {
            number,
            etag: result.etag.trim_matches('"').to_owned(),
            source_version: head.headers.get(SOURCE_VERSION).cloned(),
        })),
    }
}

#[cfg(test)]
mod tests;
