//! Gives an object other metadata entries in its place: the storage copies it onto itself. It must not know
//! keys, and reads no content. It promises that the copied object is the one that was seen: each request is
//! conditional on its ETag, and an upload is completed only if a last look finds the object unchanged.

use http::header::{HeaderMap, HeaderName, HeaderValue, IF_MATCH};
use http::{Method, StatusCode};
use tokio::sync::Semaphore;

use super::carried::Carried;
use super::ending::{Stop, Success};
use super::seen::Seen;
use crate::error::Result;
use crate::job::row::Row;
use crate::object::location::{ObjectLocation, etag_of, unquoted};
use crate::object::lost_response::Expected;
use crate::object::upstream_response::read_copy;
use crate::s3::CopySource;
use crate::s3::headers::{COPY_SOURCE, COPY_SOURCE_IF_MATCH, METADATA_DIRECTIVE};
use crate::upload::Resources;
use crate::upload::part_copies::{PartRanges, copy_parts};
use crate::upload::storage::{CompletedUpload, StorageUpload};
use crate::upstream::UpstreamRequest;
use crate::wire::header::{COPY_SOURCE_VERSION_ID, VERSION_ID};

/// An object that was written.
#[derive(Default)]
pub(super) struct Written {
    /// The ETag without quotes; `None` if the response to the write was lost.
    pub(super) etag: Option<String>,
    /// The version, where the bucket has versions.
    pub(super) version_id: Option<String>,
}

impl Written {
    /// What the headers of a response to a write, and its ETag, say.
    pub(super) fn new(headers: &HeaderMap, etag: &str) -> Self {
        let version_id = headers.get(VERSION_ID).and_then(|id| id.to_str().ok()).map(str::to_owned);
        Self { etag: Some(unquoted(etag).to_owned()), version_id }
    }

    /// Why the object that is there now is not what was written, of which `what` differs: the storage stored
    /// something else than it was given, or another object has taken the place.
    pub(super) fn differs(&self, now: &Seen, what: &str) -> Stop {
        if self.version_id.is_some() || self.etag.as_deref() == etag_of(&now.headers) {
            return Stop::Refused(format!(
                "the storage stored something else than it was given: {what} differs"
            ));
        }
        Stop::Raced("another object has taken the place of the one that was written".to_owned())
    }
}

/// An object, and what its copy in its place is to have.
pub(super) struct InPlace<'a> {
    pub(super) resources: &'a Resources,
    pub(super) row: &'a Row,
    pub(super) seen: &'a Seen,
    pub(super) carried: &'a Carried,
    /// The metadata entries of the object's format that are not carried.
    pub(super) entries: HeaderMap,
}

/// The outcome of a dry run for an object of these parts.
pub(super) fn would_be_copied(parts: Option<&PartRanges>) -> Success {
    let parts = parts.map_or(String::new(), |parts| format!(" of {} parts", parts.len()));
    Success::Done(format!("would be copied onto itself{parts} with new wrappings"))
}

impl InPlace<'_> {
    /// The copy, as a whole or part by part, with one of the permits.
    ///
    /// # Errors
    /// The storage's refusal or failure; [`Stop::Raced`] if the object changed meanwhile.
    pub(super) async fn copy(
        &self,
        parts: Option<&PartRanges>,
        permits: &Semaphore,
    ) -> Result<Written, Stop> {
        let _permit = permits.acquire().await.expect("the semaphore is never closed");
        match parts {
            Some(parts) => self.copy_parts(parts).await,
            None => self.copy_whole().await,
        }
    }

    /// The storage's own CopyObject.
    ///
    /// # Errors
    /// The storage's refusal or failure; [`Stop::Raced`] if another version was copied.
    async fn copy_whole(&self) -> Result<Written, Stop> {
        let request = || {
            let mut request = self.request(Method::PUT);
            request.headers.extend(self.source());
            request.headers.insert(METADATA_DIRECTIVE, HeaderValue::from_static("REPLACE"));
            request
        };
        let mut conditional = request();
        conditional.headers.insert(IF_MATCH, self.seen.etag.clone());
        let upstreams = &self.resources.upstreams;
        let mut response = upstreams.send(conditional).await?;
        if response.status() == StatusCode::NOT_IMPLEMENTED {
            // The condition on the source holds for its place as well, but for the time that the copy takes.
            response = upstreams.send(request()).await?;
        }
        let (headers, result) = read_copy(response).await?;
        self.check_source(headers.get(COPY_SOURCE_VERSION_ID))?;
        Ok(Written::new(&headers, &result.etag))
    }

    /// An upload of the object's own parts.
    ///
    /// # Errors
    /// The storage's refusal or failure; [`Stop::Raced`] if the object changed meanwhile.
    async fn copy_parts(&self, parts: &PartRanges) -> Result<Written, Stop> {
        let request = self.request(Method::POST);
        let expected = self.expected(&request);
        let (upload, _) = StorageUpload::create(&self.resources.upstreams, request).await?;
        let abort = upload.abort_on_drop();
        let made = async {
            let copied = copy_parts(&upload, parts, &self.source()).await?;
            self.seen.require_unchanged(self.resources, self.row).await?;
            let parts = || copied.iter().map(|part| (part.number, part.etag.as_str()));
            let condition = HeaderMap::from_iter([(IF_MATCH, self.seen.etag.clone())]);
            match upload.complete(parts(), &condition, &expected).await {
                Err(error) if error.refusal_status() == Some(StatusCode::NOT_IMPLEMENTED) => {
                    upload.complete(parts(), &HeaderMap::new(), &expected).await
                }
                completed => completed,
            }
        };
        let CompletedUpload { headers, result, .. } = abort.settle(made.await).await?;
        Ok(Written::new(&headers, result.etag()))
    }

    /// Reads the head of the object that was written. `names` are the metadata entries of its format; those
    /// that are not in `entries` must be absent.
    ///
    /// # Errors
    /// The error of the write, if it was not carried out; [`Stop::Refused`] if the storage stored something
    /// else than it was given; [`Stop::Raced`] if another object has taken its place.
    pub(super) async fn read_back(
        &self,
        written: Result<Written, Stop>,
        names: &[&str],
    ) -> Result<Seen, Stop> {
        let (written, trouble) = match written {
            Ok(written) => (written, None),
            Err(raced @ Stop::Raced(_)) => return Err(raced),
            // A response may have been lost, and the repeated request be refused because of the first one.
            Err(stop) => (Written::default(), Some(stop)),
        };
        let Row { bucket, object_key, .. } = self.row;
        let version_id = written.version_id.as_deref();
        let at = ObjectLocation { bucket, object_key, version_id, headers: HeaderMap::new() };
        let (now, trouble) = match (Seen::at(self.resources, &at).await, trouble) {
            (Ok(now), trouble) => (now, trouble),
            (Err(_), Some(trouble)) => return Err(trouble),
            (Err(failure), None) => return Err(failure),
        };
        let other = names.iter().find(|name| now.headers.get(**name) != self.entries.get(**name));
        if let (Some(_), Some(trouble)) = (other, trouble) {
            return Err(trouble);
        }
        let other = other.map(|name| (*name).to_owned());
        let other = other.or_else(|| self.carried.first_lost(&now).map(ToString::to_string));
        let other = other.or_else(|| (now.stored != self.seen.stored).then(|| "Content-Length".to_owned()));
        let other = other.or_else(|| (now.parts() != self.seen.parts()).then(|| "ETag".to_owned()));
        match other {
            Some(other) => Err(written.differs(&now, &other)),
            None => Ok(now),
        }
    }

    /// The copy that a request makes, by the first entry that the object does not have yet.
    fn expected(&self, request: &UpstreamRequest) -> Expected {
        let is_new =
            |(name, value): &(&HeaderName, &HeaderValue)| self.seen.headers.get(*name) != Some(value);
        let new = self.entries.iter().find(is_new).map(|(name, _)| name.clone());
        let by_entry = new.and_then(|name| Expected::by_entry(request, name));
        by_entry.unwrap_or_else(|| {
            // It only lacks an entry, by which it can't be found.
            let nothing = HeaderValue::from_static("no object has this envelope");
            Expected::new(&self.row.bucket, &self.row.object_key, nothing, HeaderMap::new())
        })
    }

    fn request(&self, method: Method) -> UpstreamRequest {
        let mut request = UpstreamRequest::new(method, &self.row.bucket, &self.row.object_key);
        request.headers = self.carried.headers();
        request.headers.extend(self.entries.clone());
        request
    }

    /// The headers that name the source. It is named without its version: a storage that ignores conditions
    /// on the place of a copy then refuses it by the ETag of its source, if another object has taken the
    /// place.
    fn source(&self) -> HeaderMap {
        let Row { bucket, object_key, .. } = self.row;
        let source = CopySource { bucket: bucket.clone(), object: object_key.clone(), version_id: None };
        let source = HeaderValue::try_from(source.to_header()).expect("it is percent-encoded");
        HeaderMap::from_iter([
            (HeaderName::from_static(COPY_SOURCE), source),
            (HeaderName::from_static(COPY_SOURCE_IF_MATCH), self.seen.etag.clone()),
        ])
    }

    /// Checks that the version that was copied is the one that was seen.
    fn check_source(&self, copied: Option<&HeaderValue>) -> Result<(), Stop> {
        match (copied.and_then(|copied| copied.to_str().ok()), &self.seen.version_id) {
            (Some(copied), Some(seen)) if copied != seen => {
                Err(Stop::Raced(format!("the version {copied} was written meanwhile, with equal content")))
            }
            _ => Ok(()),
        }
    }
}
