//! What a job itself reads and writes in the storage, as it is stored: listings, manifests, reports.
//! It must not know objects that jobs work on, nor their formats.
//! It promises that a response other than the expected one is an error with the storage's own code.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};

use super::error::JobError;
use crate::body::{BoxBody, read_bounded};
use crate::s3::xml::{self, ListedPage, MAX_PAGE_DOCUMENT};
use crate::s3::{BucketName, ObjectKey};
use crate::timer;
use crate::upstream::{UpstreamBody, UpstreamRequest, Upstreams};

/// How often a page whose document breaks off, or whose request is throttled, is requested again.
const MAX_RETRIES: u32 = 6;

/// The pause before the first retry; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// Query parameters, decoded.
pub(super) type Parameters = Vec<(String, Option<String>)>;

/// A query parameter with a value.
pub(super) fn parameter(name: &str, value: impl Into<String>) -> (String, Option<String>) {
    (name.to_owned(), Some(value.into()))
}

/// How a page is to write names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    /// URL-encoded.
    Encoded,
    /// As they are, unless they can't be read so. LocalStack compares encoded keys with `start-after` and
    /// `key-marker` as they were sent, and leaves out keys that are after them.
    Plain,
}

/// A page of the bucket's objects, or of their versions.
pub(super) async fn list(
    upstreams: &Upstreams,
    bucket: &BucketName,
    query: &Parameters,
    mut names: Names,
) -> Result<ListedPage, JobError> {
    let (mut pause, mut attempts) = (FIRST_PAUSE, 0);
    loop {
        let document = page(upstreams, bucket, query, names).await;
        let failure = match document {
            Ok(document) => match xml::parse_page(&document) {
                Ok(page) => return Ok(page),
                Err(_) if names == Names::Plain => {
                    names = Names::Encoded;
                    continue;
                }
                Err(error) => JobError::Unavailable(format!("listing s3://{bucket}: {error}")),
            },
            Err(failure) => failure,
        };
        let may_pass = matches!(failure, JobError::Unavailable(_) | JobError::Again(_));
        if !may_pass || attempts == MAX_RETRIES {
            return Err(failure);
        }
        attempts += 1;
        timer::sleep(pause).await;
        pause *= 2;
    }
}

async fn page(
    upstreams: &Upstreams,
    bucket: &BucketName,
    query: &Parameters,
    names: Names,
) -> Result<Bytes, JobError> {
    let mut request = UpstreamRequest::new(Method::GET, bucket, None);
    request.query.clone_from(query);
    request.query.extend((names == Names::Encoded).then(|| parameter("encoding-type", "url")));
    let response = upstreams.fetch(request).await?;
    let what = format!("listing s3://{bucket}");
    if !response.status().is_success() {
        return Err(refusal(response, &what).await);
    }
    let document = read_bounded(response.into_body(), MAX_PAGE_DOCUMENT).await;
    document.map_err(|error| JobError::Unavailable(format!("{what}: {error}")))
}

/// The response with an object's stored bytes; `None` if there is no such object.
pub(super) async fn get(
    upstreams: &Upstreams,
    bucket: &BucketName,
    object_key: &ObjectKey,
) -> Result<Option<Response<BoxBody>>, JobError> {
    let response = upstreams.send(UpstreamRequest::new(Method::GET, bucket, object_key)).await?;
    match response.status() {
        StatusCode::NOT_FOUND => Ok(None),
        status if status.is_success() => Ok(Some(response)),
        _ => Err(refusal(response, &format!("reading s3://{bucket}/{object_key}")).await),
    }
}

/// Whether a new object replaces one that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Existing {
    /// It does.
    Replaced,
    /// It does not: the object that exists stays.
    Kept,
}

/// Stores a plaintext object; whether it was stored, which it always is with [`Existing::Replaced`].
pub(super) async fn put(
    upstreams: &Upstreams,
    bucket: &BucketName,
    object_key: &ObjectKey,
    content: (&'static str, Bytes),
    existing: Existing,
) -> Result<bool, JobError> {
    let mut request = UpstreamRequest::new(Method::PUT, bucket, object_key);
    request.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content.0));
    if existing == Existing::Kept {
        request.headers.insert(header::IF_NONE_MATCH, HeaderValue::from_static("*"));
    }
    request.body = UpstreamBody::Content(content.1);
    let response = upstreams.send(request).await?;
    match response.status() {
        status if status.is_success() => Ok(true),
        StatusCode::PRECONDITION_FAILED | StatusCode::CONFLICT if existing == Existing::Kept => Ok(false),
        _ => Err(refusal(response, &format!("writing s3://{bucket}/{object_key}")).await),
    }
}

/// Removes an object of the job's own, if it exists.
pub(super) async fn delete(
    upstreams: &Upstreams,
    bucket: &BucketName,
    object_key: &ObjectKey,
) -> Result<(), JobError> {
    let response = upstreams.send(UpstreamRequest::new(Method::DELETE, bucket, object_key)).await?;
    match response.status() {
        status if status.is_success() || status == StatusCode::NOT_FOUND => Ok(()),
        _ => Err(refusal(response, &format!("removing s3://{bucket}/{object_key}")).await),
    }
}

/// A plaintext object that is written in parts.
pub(super) struct PartsUpload {
    upstreams: Upstreams,
    bucket: BucketName,
    object_key: ObjectKey,
    id: String,
    parts: Vec<(u16, String)>,
}

impl PartsUpload {
    /// Creates the upload.
    pub(super) async fn create(
        upstreams: &Upstreams,
        bucket: &BucketName,
        object_key: &ObjectKey,
        content_type: &'static str,
    ) -> Result<Self, JobError> {
        let mut request = UpstreamRequest::new(Method::POST, bucket, object_key);
        request.query = vec![("uploads".to_owned(), None)];
        request.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        let document = document(upstreams, request, &format!("writing s3://{bucket}/{object_key}")).await?;
        let id = xml::parse_upload_id(&document)
            .map_err(|error| JobError::Unavailable(format!("writing s3://{bucket}/{object_key}: {error}")))?;
        let (bucket, object_key) = (bucket.clone(), object_key.clone());
        Ok(Self { upstreams: upstreams.clone(), bucket, object_key, id, parts: Vec::new() })
    }

    fn what(&self) -> String {
        format!("writing s3://{}/{}", self.bucket, self.object_key)
    }

    /// How many parts were stored.
    pub(super) fn parts(&self) -> usize {
        self.parts.len()
    }

    /// Stores the next part.
    pub(super) async fn put_part(&mut self, content: Bytes) -> Result<(), JobError> {
        let number = u16::try_from(self.parts.len() + 1).expect("an upload has at most 10,000 parts");
        let mut request = UpstreamRequest::new(Method::PUT, &self.bucket, &self.object_key);
        request.query = vec![parameter("partNumber", number.to_string()), parameter("uploadId", &self.id)];
        request.body = UpstreamBody::Content(content);
        let response = self.upstreams.send(request).await?;
        if !response.status().is_success() {
            return Err(refusal(response, &self.what()).await);
        }
        let etag = response.headers().get(header::ETAG).and_then(|etag| etag.to_str().ok());
        let etag =
            etag.ok_or_else(|| JobError::Unavailable(format!("{}: a part has no ETag", self.what())))?;
        self.parts.push((number, etag.trim_matches('"').to_owned()));
        Ok(())
    }

    /// Makes the object of the parts.
    pub(super) async fn complete(self) -> Result<(), JobError> {
        let mut request = UpstreamRequest::new(Method::POST, &self.bucket, &self.object_key);
        request.query = vec![parameter("uploadId", &self.id)];
        request.headers =
            HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"))]);
        let body =
            xml::write_complete_request(self.parts.iter().map(|(number, etag)| (*number, etag.as_str())));
        request.body = UpstreamBody::Buffered(body.into());
        let what = self.what();
        let document = document(&self.upstreams, request, &what).await?;
        match xml::parse_error_document(&document) {
            // A failure behind a status of 200.
            Ok(error) => Err(JobError::Unavailable(format!("{what}: {}: {}", error.code, error.message))),
            Err(_) => Ok(()),
        }
    }
}

async fn document(upstreams: &Upstreams, request: UpstreamRequest, what: &str) -> Result<Bytes, JobError> {
    let response = upstreams.fetch(request).await?;
    if !response.status().is_success() {
        return Err(refusal(response, what).await);
    }
    let document = read_bounded(response.into_body(), xml::MAX_ERROR_DOCUMENT).await;
    document.map_err(|error| JobError::Unavailable(format!("{what}: {error}")))
}

/// The error for a response that refuses: to be run again if the storage throttles.
pub(super) async fn refusal(response: Response<BoxBody>, what: &str) -> JobError {
    let status = response.status();
    let document = read_bounded(response.into_body(), xml::MAX_ERROR_DOCUMENT).await.unwrap_or_default();
    let said = match xml::parse_error_document(&document) {
        Ok(error) => format!("{} ({})", error.code, error.message),
        Err(_) => "without an S3 error".to_owned(),
    };
    let message = format!("{what}: the storage responds {status}: {said}");
    match status {
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => JobError::Again(message),
        StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST => JobError::Invalid(message),
        _ => JobError::Unavailable(message),
    }
}
