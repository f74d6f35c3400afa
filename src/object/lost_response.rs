//! Finds out whether a write was carried out when the response does not say: the stored object then has the
//! envelope of that write, which no other object has.
//!
//! A response can be lost after its request was carried out. If the proxy or its client then sends the
//! request again, the storage may refuse it because of what the request itself did: a copy because its source
//! was deleted since, a conditional PUT because the object exists.
//!
//! It must not know operations. A write is reported as done only if the storage confirmed it or the object
//! with its envelope was found.

use http::header::{ETAG, HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH, LAST_MODIFIED};
use http::{Method, Response, StatusCode};

use super::location::account_headers;
use super::upstream_response::buffered;
use crate::body::BoxBody;
use crate::error::{Error, Result, UnexpectedResponse};
use crate::s3::headers::ENCRYPTION_ENVELOPE;
use crate::s3::{BucketName, ObjectKey, iso_time, xml};
use crate::upstream::{self, UpstreamError, UpstreamRequest, Upstreams};
use crate::wire::header::{VERSION_ID, name};

const VERSION: HeaderName = HeaderName::from_static(VERSION_ID);

/// An object that a write is expected to make, and the metadata entry that only this object has: its
/// envelope, or its wrapped key.
#[derive(Clone)]
pub(crate) struct Expected {
    bucket: BucketName,
    object_key: ObjectKey,
    name: HeaderName,
    value: HeaderValue,
    /// The client's headers that the storage has to check in every request.
    account: HeaderMap,
}

/// The object that a write made, as the response to HEAD describes it.
pub(crate) struct Written {
    headers: HeaderMap,
}

/// The outcome of a write.
pub(crate) enum Sent {
    /// The storage's response to the write.
    Response(Response<BoxBody>),
    /// The response was lost or refused a repetition, and the object exists.
    Found(Written),
}

impl Expected {
    /// The object that a request makes, or the upload that it begins; `None` if the request carries no native
    /// envelope.
    pub(crate) fn from_request(request: &UpstreamRequest) -> Option<Self> {
        Self::by_entry(request, HeaderName::from_static(ENCRYPTION_ENVELOPE))
    }

    /// The object that a request makes, or the upload that it begins, by the metadata entry `name`, whose
    /// value no other object has; `None` if the request carries no such entry.
    pub(crate) fn by_entry(request: &UpstreamRequest, name: HeaderName) -> Option<Self> {
        Some(Self {
            bucket: request.bucket.clone()?,
            object_key: request.object.clone()?,
            value: request.headers.get(&name)?.clone(),
            name,
            account: account_headers(&request.headers),
        })
    }

    /// The object with this envelope under this name.
    pub(crate) fn new(
        bucket: &BucketName,
        object_key: &ObjectKey,
        envelope: HeaderValue,
        account: HeaderMap,
    ) -> Self {
        let name = HeaderName::from_static(ENCRYPTION_ENVELOPE);
        Self { bucket: bucket.clone(), object_key: object_key.clone(), name, value: envelope, account }
    }

    /// The object, if it exists now.
    ///
    /// # Errors
    /// When the storage does not respond, or responds with a server error.
    pub(crate) async fn find(&self, upstreams: &Upstreams) -> Result<Option<Written>> {
        let mut request = UpstreamRequest::new(Method::HEAD, &self.bucket, &self.object_key);
        request.headers = self.account.clone();
        let (head, _) = upstreams.send(request).await?.into_parts();
        if head.status.is_server_error() {
            return Err(Error::UpstreamFailed { status: head.status.as_u16() });
        }
        let is_there = head.status == StatusCode::OK && head.headers.get(&self.name) == Some(&self.value);
        Ok(is_there.then_some(Written { headers: head.headers }))
    }
}

impl Written {
    /// The object's ETag, as the storage writes it in headers.
    ///
    /// # Errors
    /// [`Error::UnexpectedResponse`] for an object without ETag.
    pub(crate) fn etag(&self) -> Result<&str> {
        let etag = self.headers.get(ETAG).and_then(|etag| etag.to_str().ok()).filter(|etag| !etag.is_empty());
        etag.ok_or(Error::UnexpectedResponse(UnexpectedResponse::Missing("ETag")))
    }

    /// The version header that the lost response to the write would have had.
    pub(crate) fn version(&self) -> HeaderMap {
        let version = self.headers.get(VERSION).map(|version| (VERSION, version.clone()));
        version.into_iter().collect()
    }

    /// The result in the lost response to the copy that made the object.
    ///
    /// # Errors
    /// [`Error::UnexpectedResponse`] for an object without ETag.
    pub(crate) fn copy_result(&self) -> Result<xml::CopyResult> {
        let etag = self.etag()?.to_owned();
        let time = self.headers.get(LAST_MODIFIED).and_then(|time| time.to_str().ok());
        let time = time.and_then(|time| httpdate::parse_http_date(time).ok());
        let last_modified = time.map(|time| iso_time(time.into())).unwrap_or_default();
        Ok(xml::CopyResult { etag, last_modified })
    }

    /// The lost response to the PUT that made the object.
    ///
    /// # Errors
    /// [`Error::UnexpectedResponse`] for an object without ETag.
    pub(crate) fn put_response(&self) -> Result<Response<BoxBody>> {
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
pub(crate) fn send_write(
    upstreams: &Upstreams,
    request: UpstreamRequest,
) -> impl Future<Output = Result<Sent>> + Send {
    let is_copy = request.headers.contains_key(&name::COPY_SOURCE);
    let is_conditional = [IF_MATCH, IF_NONE_MATCH].iter().any(|name| request.headers.contains_key(name));
    // Every other write may be repeated without harm.
    let expected =
        if is_copy || is_conditional { Expected::from_request(&request).map(Box::new) } else { None };
    async move {
        let outcome = upstreams.send(request).await;
        let refuses_itself = outcome.as_ref().is_ok_and(|response| {
            let status = response.status();
            is_copy
                && upstream::is_repeated(response)
                && matches!(status, StatusCode::NOT_FOUND | StatusCode::PRECONDITION_FAILED)
        });
        if let Some(expected) = expected.filter(|_| refuses_itself || is_lost(&outcome))
            && let Ok(Some(written)) = Box::pin(expected.find(upstreams)).await
        {
            return Ok(Sent::Found(written));
        }
        if refuses_itself {
            return Err(Error::Unsettled);
        }
        Ok(Sent::Response(outcome?))
    }
}

fn is_lost(outcome: &Result<Response<BoxBody>, UpstreamError>) -> bool {
    match outcome {
        Ok(response) => response.status().is_server_error(),
        Err(error) => error.may_have_been_done(),
    }
}
