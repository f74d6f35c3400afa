//! Finds out whether a write was carried out when the response does not say: the stored object then has the
//! envelope of that write, which no other object has.
//!
//! A response can be lost after its request was carried out. If the proxy or its client then sends the
//! request again, the storage may refuse it because of what the request itself did: a copy because its source
//! was deleted since, a conditional PUT because the object exists.

use http::header::{ETAG, HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH, LAST_MODIFIED};
use http::{Method, Response, StatusCode};

use super::location::account_headers;
use super::upstream_response::buffered;
use crate::body::BoxBody;
use crate::error::{Error, UnexpectedResponse};
use crate::s3::headers::{COPY_SOURCE, ENCRYPTION_ENVELOPE};
use crate::s3::iso_time;
use crate::s3::{BucketName, ObjectKey, xml};
use crate::upstream::{self, Upstream, UpstreamError, UpstreamRequest};
use crate::wire::header::VERSION_ID;

const VERSION: HeaderName = HeaderName::from_static(VERSION_ID);

/// An object that a write is expected to make, and the envelope that the object has if it exists.
#[derive(Clone)]
pub(crate) struct Expected {
    bucket: BucketName,
    object_key: ObjectKey,
    envelope: HeaderValue,
    /// What the client wants the storage to check in every request.
    account: HeaderMap,
}

/// An object that is there, as its HEAD describes it.
pub(crate) struct Written {
    headers: HeaderMap,
}

/// What came of a write.
pub(crate) enum Sent {
    /// The storage's answer, which says so.
    Answered(Response<BoxBody>),
    /// No answer that says so, and the object is there.
    Found(Written),
}

impl Expected {
    /// The object that a request makes, or the upload that it begins; `None` if the request carries no native
    /// envelope.
    pub(crate) fn of_request(request: &UpstreamRequest) -> Option<Self> {
        Some(Self {
            bucket: request.bucket.clone()?,
            object_key: request.object.clone()?,
            envelope: request.headers.get(ENCRYPTION_ENVELOPE)?.clone(),
            account: account_headers(&request.headers),
        })
    }

    /// The object of this envelope at this place.
    pub(crate) fn new(
        bucket: &BucketName,
        object_key: &ObjectKey,
        envelope: HeaderValue,
        account: HeaderMap,
    ) -> Self {
        Self { bucket: bucket.clone(), object_key: object_key.clone(), envelope, account }
    }

    /// The object, if it is there now.
    ///
    /// # Errors
    /// When the storage does not answer, or is in trouble.
    pub(crate) async fn find(&self, upstream: &Upstream) -> Result<Option<Written>, Error> {
        let mut request = UpstreamRequest::new(Method::HEAD, &self.bucket, &self.object_key);
        request.headers = self.account.clone();
        let response = upstream.send(request).await?;
        let (head, _) = response.into_parts();
        if head.status.is_server_error() {
            return Err(Error::UpstreamFailed { status: head.status.as_u16() });
        }
        let is_there =
            head.status == StatusCode::OK && head.headers.get(ENCRYPTION_ENVELOPE) == Some(&self.envelope);
        Ok(is_there.then_some(Written { headers: head.headers }))
    }
}

impl Written {
    /// The object's ETag, as the storage writes it in headers.
    ///
    /// # Errors
    /// [`Error::UnexpectedResponse`] for an object without ETag.
    pub(crate) fn etag(&self) -> Result<&str, Error> {
        let etag = self.headers.get(ETAG).and_then(|etag| etag.to_str().ok()).filter(|etag| !etag.is_empty());
        etag.ok_or(Error::UnexpectedResponse(UnexpectedResponse::Missing("ETag")))
    }

    /// When it was made, as HTTP writes it.
    fn last_modified(&self) -> Option<&str> {
        self.headers.get(LAST_MODIFIED)?.to_str().ok()
    }

    /// The headers that the answer to the write would have had.
    pub(crate) fn version(&self) -> HeaderMap {
        let version = self.headers.get(VERSION).map(|version| (VERSION, version.clone()));
        version.into_iter().collect()
    }

    /// What a copy that made it would have been answered.
    ///
    /// # Errors
    /// As [`Self::etag`].
    pub(crate) fn copy_result(&self) -> Result<xml::CopyResult, Error> {
        let etag = self.etag()?.to_owned();
        let time = self.last_modified().and_then(|time| httpdate::parse_http_date(time).ok());
        let last_modified = time.map(|time| iso_time(time.into())).unwrap_or_default();
        Ok(xml::CopyResult { etag, last_modified })
    }

    /// What a PUT of it would have been answered.
    ///
    /// # Errors
    /// As [`Self::etag`].
    pub(crate) fn put_answer(&self) -> Result<Response<BoxBody>, Error> {
        self.etag()?;
        let mut response = Response::new(buffered(""));
        *response.headers_mut() = self.version();
        response.headers_mut().extend(self.headers.get(ETAG).map(|etag| (ETAG, etag.clone())));
        Ok(response)
    }
}

/// Sends a request that makes an object. If the response does not say whether the object was made, looks for
/// the object in the storage.
///
/// # Errors
/// [`Error::Unsettled`] when a copy that may have been carried out is refused and its object does not exist,
/// or no longer exists; otherwise when the storage does not respond.
pub(crate) async fn send_write(upstream: &Upstream, request: UpstreamRequest) -> Result<Sent, Error> {
    let is_copy = request.headers.contains_key(COPY_SOURCE);
    let is_conditional = [IF_MATCH, IF_NONE_MATCH].iter().any(|name| request.headers.contains_key(name));
    // Every other write is as good a second time.
    let expected = if is_copy || is_conditional { Expected::of_request(&request) } else { None };
    let answer = upstream.send(request).await;
    let refuses_itself = answer.as_ref().is_ok_and(|response| {
        let status = response.status();
        is_copy
            && upstream::is_repeated(response)
            && matches!(status, StatusCode::NOT_FOUND | StatusCode::PRECONDITION_FAILED)
    });
    if let Some(expected) = expected.filter(|_| refuses_itself || is_lost(&answer))
        && let Ok(Some(written)) = expected.find(upstream).await
    {
        return Ok(Sent::Found(written));
    }
    if refuses_itself {
        return Err(Error::Unsettled);
    }
    Ok(Sent::Answered(answer?))
}

fn is_lost(answer: &Result<Response<BoxBody>, UpstreamError>) -> bool {
    match answer {
        Ok(response) => response.status().is_server_error(),
        Err(error) => error.may_have_been_done(),
    }
}
