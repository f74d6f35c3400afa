//! The source of a copy, as the storage describes it now.

use http::header::{CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderValue, RANGE};
use http::{HeaderMap, Method, Response, StatusCode};

use crate::body::{BoxBody, read_bounded};
use crate::error::Error;
use crate::handler::policy::BucketRule;
use crate::handler::stored::StoredKeys;
use crate::handler::{Call, Resources, upstream_answer};
use crate::s3::{ByteRange, CopySource, ErrorCode, S3Error, headers};
use crate::upstream::{Upstream, UpstreamBody, UpstreamRequest};

/// Where a copy reads, and under which rule.
pub(super) struct Source {
    upstream: Upstream,
    pub(super) named: CopySource,
    pub(super) rule: BucketRule,
    /// The client's conditions on it, as those of a read.
    conditions: HeaderMap,
}

/// An answer to the question what the source is.
pub(super) enum Examined {
    Found(Found),
    /// The storage refused, in words that the client may read.
    Refused(Response<BoxBody>),
}

/// What the source is now.
pub(super) struct Found {
    /// Which the copy is pinned to.
    pub(super) etag: HeaderValue,
    /// Well-formed, not yet authentic.
    pub(super) keys: StoredKeys,
    pub(super) stored_length: u64,
    /// What S3 copies along, without what is ours.
    pub(super) metadata: HeaderMap,
    /// Whether there are more that can be no headers.
    pub(super) lacks_metadata: bool,
}

impl Source {
    pub(super) fn of(resources: &Resources, call: &Call) -> Result<Self, Error> {
        let named = call.source()?.clone();
        let rule = resources.policies.of_object(&named.bucket, &named.object)?.clone();
        let conditions = headers::source_read_headers(&call.headers);
        Ok(Self { upstream: resources.upstream.clone(), named, rule, conditions })
    }

    /// Asks for the first byte rather than the head alone: so a refusal comes with S3's error document, and an object
    /// that is archived is refused as it is when it is copied.
    ///
    /// # Errors
    /// `PreconditionFailed` when a condition of the client does not hold, and as a read when the source is of another kind.
    pub(super) async fn examine(&self) -> Result<Examined, Error> {
        let mut request = self.request(Method::GET);
        request.headers.insert(RANGE, HeaderValue::from_static("bytes=0-0"));
        let mut response = self.upstream.send(request).await?;
        if response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
            response = self.upstream.send(self.request(Method::HEAD)).await?;
        }
        match response.status() {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => (),
            StatusCode::NOT_MODIFIED => return Err(S3Error::from(ErrorCode::PreconditionFailed).into()),
            _ => return Ok(Examined::Refused(upstream_answer::pass(response).await?)),
        }
        let (head, body) = response.into_parts();
        if head.status == StatusCode::PARTIAL_CONTENT {
            // Read to its end, the connection can serve another request.
            read_bounded(body, 1).await.map_err(Error::upstream_body)?;
        }
        Found::of(head.status, &head.headers).map(Examined::Found)
    }

    fn request(&self, method: Method) -> UpstreamRequest {
        let version = self.named.version_id.clone();
        UpstreamRequest {
            method,
            bucket: Some(self.named.bucket.clone()),
            object: Some(self.named.object.clone()),
            query: version.map(|version| ("versionId".to_owned(), Some(version))).into_iter().collect(),
            headers: self.conditions.clone(),
            body: UpstreamBody::Empty,
        }
    }
}

impl Found {
    fn of(status: StatusCode, headers: &HeaderMap) -> Result<Self, Error> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let stored_length = match status {
            StatusCode::PARTIAL_CONTENT => {
                text(CONTENT_RANGE).and_then(ByteRange::parse_content_range).map(|(_, total)| total)
            }
            _ => text(CONTENT_LENGTH).and_then(|length| length.parse().ok()),
        };
        let metadata = headers.iter().filter(|(name, _)| headers::is_copied_metadata(name));
        let mut copied = HeaderMap::new();
        metadata.for_each(|(name, value)| _ = copied.append(name, value.clone()));
        Ok(Self {
            keys: StoredKeys::from_headers(headers)?,
            etag: headers.get(ETAG).cloned().ok_or(Error::UnexpectedAnswer("an object without ETag"))?,
            stored_length: stored_length.ok_or(Error::UnexpectedAnswer("an object without its length"))?,
            metadata: copied,
            lacks_metadata: headers.contains_key("x-amz-missing-meta"),
        })
    }
}
