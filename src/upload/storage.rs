//! The storage's multipart API: one client for the uploads of clients, of copies and of forms.
//!
//! It must not know what parts hold. What a response of the storage means is decided here, once: a refusal, a
//! failure behind a status of 200, and a response that was lost after the request was carried out.

use http::header::{CONTENT_LENGTH, ETAG, HeaderMap, HeaderValue};
use http::{Method, Response, StatusCode};
use tokio::task::JoinHandle;

use super::session::no_such_upload;
use super::stored_parts::StoredParts;
use crate::body::{BoxBody, read_bounded};
use crate::envelope::native::multipart::{MAX_PARTS, PartNumber};
use crate::error::{Error, Result, UnexpectedResponse, with_causes};
use crate::object::location::account_headers;
use crate::object::lost_response::{Expected, Written};
use crate::object::upstream_response::{failed, parse_body, pass, read_copy};
use crate::s3::checksum::ChecksumType;
use crate::s3::headers::{CHECKSUM_ALGORITHM, CHECKSUM_TYPE};
use crate::s3::xml::{self, CompletionResponse, CompletionResult, ListedPart};
use crate::s3::{BucketName, ErrorCode, ObjectKey, S3Error};
use crate::upstream::{UpstreamBody, UpstreamRequest, Upstreams};

/// An upload in the storage.
#[derive(Clone)]
pub(crate) struct StorageUpload {
    upstreams: Upstreams,
    bucket: BucketName,
    object_key: ObjectKey,
    /// The storage's id of the upload.
    id: String,
    /// The client's account headers, repeated on every request.
    headers: HeaderMap,
}

/// A completed upload.
pub(crate) struct CompletedUpload {
    /// The headers of the storage's response.
    pub(crate) headers: HeaderMap,
    /// The result, which has an ETag.
    pub(crate) result: CompletionResult,
    /// The object, if it was looked up because the response to the completion was lost.
    pub(crate) found: Option<Written>,
}

impl StorageUpload {
    /// The upload that the storage knows by `id`; `headers` are repeated on every request.
    pub(crate) fn new(
        upstreams: &Upstreams,
        bucket: &BucketName,
        object_key: &ObjectKey,
        id: &str,
        headers: HeaderMap,
    ) -> Self {
        let (upstreams, id) = (upstreams.clone(), id.to_owned());
        Self { upstreams, bucket: bucket.clone(), object_key: object_key.clone(), id, headers }
    }

    /// Creates the upload that the headers of `request` describe, and returns the storage's response headers,
    /// too.
    ///
    /// # Errors
    /// [`Error::PassThrough`] when the storage refuses, [`Error::UnexpectedResponse`] for a response without
    /// an upload id, and an upstream error.
    pub(crate) async fn create(
        upstreams: &Upstreams,
        mut request: UpstreamRequest,
    ) -> Result<(Self, HeaderMap)> {
        let (Some(bucket), Some(object_key)) = (request.bucket.clone(), request.object.clone()) else {
            unreachable!("an upload makes an object");
        };
        let headers = account_headers(&request.headers);
        request.method = Method::POST;
        request.query = vec![("uploads".to_owned(), None)];
        let (head, body) = pass(upstreams.send(request).await?).await?.into_parts();
        let (limit, root) = (xml::MAX_UPLOAD_DOCUMENT, "InitiateMultipartUploadResult");
        let id = parse_body(body, limit, root, xml::parse_upload_id).await?;
        Ok((Self { upstreams: upstreams.clone(), bucket, object_key, id, headers }, head.headers))
    }

    /// The storage's id of the upload.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Stores a part; returns its ETag without quotes, and the storage's response.
    ///
    /// # Errors
    /// [`Error::PassThrough`] when the storage refuses, [`Error::UnexpectedResponse`] for a response without
    /// ETag, and an upstream error.
    pub(crate) async fn put_part(
        &self,
        number: PartNumber,
        body: UpstreamBody,
    ) -> Result<(String, Response<BoxBody>)> {
        let mut request = self.part_request(number);
        request.body = body;
        let response = pass(self.upstreams.send(request).await?).await?;
        let etag = part_etag(response.headers())?.to_owned();
        Ok((etag, response))
    }

    /// Stores a part that the storage copies from the source that `source` names; returns its ETag without
    /// quotes, and the headers of the storage's response.
    ///
    /// # Errors
    /// As [`Self::put_part`].
    pub(crate) async fn copy_part(
        &self,
        number: PartNumber,
        source: HeaderMap,
    ) -> Result<(String, HeaderMap)> {
        let mut request = self.part_request(number);
        request.headers.extend(source);
        let (headers, result) = read_copy(self.upstreams.send(request).await?).await?;
        Ok((result.etag.trim_matches('"').to_owned(), headers))
    }

    /// Lists all parts, page by page.
    ///
    /// # Errors
    /// `NoSuchUpload` when there is no such upload; [`Error::UnexpectedResponse`] for a document that is not
    /// a list of parts.
    pub(crate) async fn list_parts(&self) -> Result<StoredParts> {
        const ROOT: &str = "ListPartsResult";

        let mut all: Vec<ListedPart> = Vec::new();
        let mut marker: Option<String> = None;
        // The limit ends a listing of a storage that repeats its pages.
        while all.len() <= usize::from(MAX_PARTS) {
            let mut request = self.request(Method::GET);
            let page = marker.into_iter().map(|marker| ("part-number-marker".to_owned(), Some(marker)));
            request.query.splice(..0, page);
            let response = pass(self.upstreams.fetch(request).await?).await.map_err(listing_refused)?;
            let (body, limit) = (response.into_body(), xml::MAX_UPLOAD_DOCUMENT);
            let page = parse_body(body, limit, ROOT, xml::parse_uploaded_parts).await?;
            marker = page.next.clone();
            let is_empty = page.parts.is_empty();
            all.extend(page.parts);
            if marker.is_none() || is_empty {
                return Ok(StoredParts::new(all));
            }
        }
        Err(UnexpectedResponse::Document(ROOT).into())
    }

    /// Makes the object of `parts` (number, the storage's ETag) if the client's `conditions` hold. `expected`
    /// is the object that it becomes: it is looked up when the storage's response does not say whether it
    /// exists, or refuses a repeated request that may have been carried out before.
    ///
    /// # Errors
    /// [`Error::PassThrough`] when the storage refuses, the storage's own error when it failed behind a
    /// status of 200, [`Error::Unsettled`] when the response was lost and the object does not exist.
    pub(crate) async fn complete<'p>(
        &self,
        parts: impl IntoIterator<Item = (u16, &'p str)>,
        conditions: &HeaderMap,
        expected: &Expected,
    ) -> Result<CompletedUpload> {
        let mut request = self.request(Method::POST);
        request.headers.extend(conditions.clone());
        request.body = UpstreamBody::Buffered(xml::write_complete_request(parts).into());
        let response = match self.upstreams.send(request).await {
            Ok(response) => pass(response).await,
            Err(error) if error.may_have_been_done() => return self.look_up(expected).await,
            Err(error) => return Err(error.into()),
        };
        let response = match response {
            Ok(response) => response,
            // An earlier attempt, of the client or of the proxy, may have completed the upload.
            Err(refusal) if is_of_a_completed_upload(&refusal) => {
                return self.look_up(expected).await.map_err(|_| refusal);
            }
            Err(error) => return Err(error),
        };
        let (mut head, body) = response.into_parts();
        let Ok(document) = read_bounded(body, xml::MAX_COPY_RESPONSE).await else {
            return self.look_up(expected).await;
        };
        let answer = xml::parse_completion_response(&document)
            .map_err(|_| UnexpectedResponse::Document("CompleteMultipartUploadResult"))?;
        head.headers.remove(CONTENT_LENGTH);
        match answer {
            CompletionResponse::Failed(error) => Err(failed(error)),
            CompletionResponse::Done(result) if result.etag().is_empty() => {
                let found = self.look_up(expected).await?;
                head.headers.extend(found.headers);
                Ok(CompletedUpload { headers: head.headers, ..found })
            }
            CompletionResponse::Done(result) => {
                Ok(CompletedUpload { headers: head.headers, result, found: None })
            }
        }
    }

    async fn look_up(&self, expected: &Expected) -> Result<CompletedUpload> {
        let written = expected.find(&self.upstreams).await?.ok_or(Error::Unsettled)?;
        let result = CompletionResult::new(self.bucket.as_str(), self.object_key.as_str(), written.etag()?);
        Ok(CompletedUpload { headers: written.version(), result, found: Some(written) })
    }

    /// Aborts the upload. A failure is logged, not returned.
    pub(crate) async fn abort(&self) {
        let failure = match self.upstreams.send(self.request(Method::DELETE)).await {
            Ok(response) if response.status().is_success() || response.status() == StatusCode::NOT_FOUND => {
                return;
            }
            Ok(response) => response.status().to_string(),
            Err(error) => with_causes(&error),
        };
        let Self { bucket, object_key, .. } = self;
        tracing::warn!(failure, %bucket, %object_key, "an upload of the proxy's own was not aborted");
    }

    /// A guard that aborts the upload when it is dropped.
    pub(crate) fn abort_on_drop(&self) -> AbortOnDrop {
        AbortOnDrop { upload: Some(self.clone()) }
    }

    fn part_request(&self, number: PartNumber) -> UpstreamRequest {
        let mut request = self.request(Method::PUT);
        request.query.insert(0, ("partNumber".to_owned(), Some(number.value().to_string())));
        request
    }

    fn request(&self, method: Method) -> UpstreamRequest {
        let mut request = UpstreamRequest::new(method, &self.bucket, &self.object_key);
        request.query.push(("uploadId".to_owned(), Some(self.id.clone())));
        request.headers = self.headers.clone();
        request
    }
}

/// Aborts an upload when it is dropped, as it is when the client disconnects and its request is dropped.
pub(crate) struct AbortOnDrop {
    upload: Option<StorageUpload>,
}

impl AbortOnDrop {
    /// Leaves a complete upload as it is. Aborts an upload that failed, and returns when the storage has
    /// responded; if this future is dropped, the request goes on.
    pub(crate) async fn settle<T>(mut self, outcome: Result<T>) -> Result<T> {
        if outcome.is_ok() {
            self.upload = None;
        } else if let Some(aborting) = self.begin() {
            // A panic of the task is logged, and changes nothing for the caller.
            let _ = aborting.await;
        }
        outcome
    }

    fn begin(&mut self) -> Option<JoinHandle<()>> {
        let upload = self.upload.take()?;
        Some(tokio::spawn(async move { upload.abort().await }))
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        drop(self.begin());
    }
}

/// Declares the checksum that is sent with each part: S3 accepts checksums of parts only if the upload
/// declares one.
pub(crate) fn announce_checksum(upstreams: &Upstreams, bucket: &BucketName, request: &mut HeaderMap) {
    if let Some(algorithm) = upstreams.checksum_algorithm(bucket) {
        request.insert(CHECKSUM_ALGORITHM, HeaderValue::from_static(algorithm.token()));
        request.insert(CHECKSUM_TYPE, HeaderValue::from_static(ChecksumType::FullObject.token()));
    }
}

/// The ETag of a stored part, without quotes.
///
/// # Errors
/// [`Error::UnexpectedResponse`] for a response without ETag.
pub(crate) fn part_etag(response: &HeaderMap) -> Result<&str> {
    let etag = response.get(ETAG).and_then(|etag| etag.to_str().ok());
    let etag = etag.map(|etag| etag.trim_matches('"')).filter(|etag| !etag.is_empty());
    Ok(etag.ok_or(UnexpectedResponse::Missing("ETag"))?)
}

/// Whether the storage refuses to complete an upload as it does when the upload is complete already.
fn is_of_a_completed_upload(error: &Error) -> bool {
    matches!(
        error.refusal_status(),
        Some(StatusCode::NOT_FOUND | StatusCode::CONFLICT | StatusCode::PRECONDITION_FAILED)
    )
}

/// Converts the storage's refusal to list parts into the error that S3 has for it.
fn listing_refused(error: Error) -> Error {
    let refusal = match error.into_refusal() {
        Ok(refusal) => refusal,
        Err(error) => return error,
    };
    if refusal.status.is_server_error() {
        return Error::UpstreamFailed { status: refusal.status.as_u16() };
    }
    if refusal.is_no_such_upload() {
        return no_such_upload();
    }
    match refusal.error().and_then(|error| Some((ErrorCode::parse(&error.code)?, error.message))) {
        Some((code, message)) => S3Error::new(code, message).into(),
        None => UnexpectedResponse::Refusal("ListParts").into(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::upstream::{Settings, Target};

    fn request(method: Method, object: bool, query: &[(&str, Option<&str>)]) -> UpstreamRequest {
        let query = query.iter().map(|(name, value)| ((*name).to_owned(), value.map(str::to_owned)));
        let (bucket, object_key) =
            (BucketName::parse("bucket").unwrap(), ObjectKey::parse("object").unwrap());
        let mut request = UpstreamRequest::new(method, &bucket, Some(&object_key).filter(|_| object));
        request.query = query.collect();
        request
    }

    async fn answered(upstreams: &Upstreams, request: UpstreamRequest) -> String {
        let response = upstreams.send(request).await.unwrap();
        let body = read_bounded(response.into_body(), xml::MAX_UPLOAD_DOCUMENT).await.unwrap();
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[cfg(feature = "embedded-store")]
    #[tokio::test]
    async fn an_upload_that_is_dropped_is_aborted() {
        let root = tempfile::tempdir().unwrap();
        let settings = Settings::new(Target::Embedded { path: root.path().to_owned() });
        let upstream = crate::cli::embedded_store::open(settings).await.unwrap();
        let upstreams = Upstreams::new(upstream, Vec::new(), Vec::new());
        answered(&upstreams, request(Method::PUT, false, &[])).await;
        let started = answered(&upstreams, request(Method::POST, true, &[("uploads", None)])).await;
        let id = xml::parse_upload_id(started.as_bytes()).unwrap();
        let listed = async || answered(&upstreams, request(Method::GET, false, &[("uploads", None)])).await;
        assert!(listed().await.contains("<Upload>"));

        let (bucket, object_key) =
            (BucketName::parse("bucket").unwrap(), ObjectKey::parse("object").unwrap());
        let upload = StorageUpload::new(&upstreams, &bucket, &object_key, &id, HeaderMap::new());
        drop(upload.abort_on_drop());
        for _ in 0..500 {
            if !listed().await.contains("<Upload>") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the upload is still there");
    }
}
