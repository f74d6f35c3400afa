//! The object of a row as the storage describes it, before anything is done with it.
//! It must not know keys or formats.
//! It promises that what is written in an object's place is written only in the place of the newest version.

use http::header::{ETAG, HeaderMap, HeaderName, HeaderValue, IF_MATCH, LAST_MODIFIED};
use http::{Method, StatusCode};

use super::ending::{Known, Stop};
use crate::error::{Error, UnexpectedResponse};
use crate::job::row::Row;
use crate::object::foreign::{self, DetectedFormat};
use crate::object::location::{ObjectLocation, ReceivedRange, etag_of, part_count};
use crate::object::opened::OpenedObject;
use crate::object::range::RequestedRange;
use crate::object::read::{ReadRequest, open_object};
use crate::object::rule::BucketRule;
use crate::object::upstream_response;
use crate::s3::headers::CHECKSUM_MODE;
use crate::upload::Resources;
use crate::wire::header::VERSION_ID;

/// An object, by the response to HEAD.
pub(super) struct Seen {
    /// The headers of the response.
    pub(super) headers: HeaderMap,
    /// The ETag, as the storage writes it.
    pub(super) etag: HeaderValue,
    /// Stored bytes.
    pub(super) stored: u64,
    /// The version, where the bucket has versions.
    pub(super) version_id: Option<String>,
}

/// Whether the storage's checksums of the object are requested. AWS S3 has them decrypt the object's own
/// encryption, which a role without the right to decrypt may not do.
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html>
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum StoredChecksums {
    Requested,
    Omitted,
}

/// Whether the content of an archived object that was restored for a while is of use.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Restored {
    /// Its copy in the same storage class needs not be read.
    Usable,
    /// Its copy would be archived, and could not be read back.
    Unusable,
}

/// Refuses an object whose content opens with a customer key, which a job does not have.
///
/// # Errors
/// [`Stop::Skipped`] with the reason.
pub(super) fn refuse_customer_key(detected: &DetectedFormat) -> Result<(), Stop> {
    match detected {
        DetectedFormat::Native(stored) if stored.envelope().has_customer_key() => {
            Err(Stop::Skipped("customer key: its content opens with a key that its client has".to_owned()))
        }
        DetectedFormat::Native(_) | DetectedFormat::Foreign(_) => Ok(()),
    }
}

impl Seen {
    /// The object or version that the row names.
    ///
    /// # Errors
    /// [`Stop::Skipped`] for a delete marker, and the storage's refusal.
    pub(super) async fn named(resources: &Resources, row: &Row) -> Result<Self, Stop> {
        Self::find(resources, row, row.version_id.as_deref(), StoredChecksums::Omitted).await
    }

    /// The newest version of the row's object, which alone can be replaced.
    ///
    /// # Errors
    /// [`Stop::Skipped`] for a delete marker, and if the row names another version; the storage's refusal.
    pub(super) async fn newest(
        resources: &Resources,
        row: &Row,
        checksums: StoredChecksums,
    ) -> Result<Self, Stop> {
        let seen = Self::find(resources, row, None, checksums).await?;
        match &row.version_id {
            Some(named) if *named != seen.version_id.as_deref().unwrap_or("null") => {
                let reason = "not the newest version: what is written in its place would become the newest";
                Err(Stop::Skipped(reason.to_owned()))
            }
            Some(_) | None => Ok(seen),
        }
    }

    async fn find(
        resources: &Resources,
        row: &Row,
        version_id: Option<&str>,
        checksums: StoredChecksums,
    ) -> Result<Self, Stop> {
        let Row { bucket, object_key, .. } = row;
        let at = ObjectLocation { bucket, object_key, version_id, headers: HeaderMap::new() };
        Self::request(resources, &at, checksums).await
    }

    /// The object at a location.
    ///
    /// # Errors
    /// [`Stop::Skipped`] for a delete marker, and the storage's refusal.
    pub(super) async fn at(resources: &Resources, at: &ObjectLocation<'_>) -> Result<Self, Stop> {
        Self::request(resources, at, StoredChecksums::Omitted).await
    }

    async fn request(
        resources: &Resources,
        at: &ObjectLocation<'_>,
        checksums: StoredChecksums,
    ) -> Result<Self, Stop> {
        let mut request = at.request(Method::HEAD);
        if checksums == StoredChecksums::Requested {
            let mode = HeaderName::from_static(CHECKSUM_MODE);
            request.headers.insert(mode, HeaderValue::from_static("ENABLED"));
        }
        let response = resources.upstreams.send(request).await?;
        if response.status() != StatusCode::OK {
            if response.headers().get("x-amz-delete-marker").is_some_and(|marker| marker == "true") {
                return Err(Stop::Skipped("a delete marker".to_owned()));
            }
            return Err(upstream_response::refusal(response).await.into());
        }
        let headers = response.into_parts().0.headers;
        let etag = headers.get(ETAG).filter(|etag| !etag.is_empty()).cloned();
        let etag = etag.ok_or(Error::UnexpectedResponse(UnexpectedResponse::Missing("ETag")))?;
        let version_id = headers.get(VERSION_ID).and_then(|id| id.to_str().ok()).map(str::to_owned);
        let stored = ReceivedRange::from_head(&headers)?.total;
        Ok(Self { headers, etag, stored, version_id })
    }

    /// Detects the object's format, and takes note of it.
    ///
    /// # Errors
    /// As [`foreign::detect`].
    pub(super) fn detect(&self, rule: &BucketRule, known: &mut Known) -> Result<DetectedFormat, Error> {
        known.bytes = self.stored;
        let detected = foreign::detect(rule, &self.headers);
        known.format = match &detected {
            Ok(DetectedFormat::Native(_)) => Some("native"),
            Ok(DetectedFormat::Foreign(claims)) => Some(claims.format().name()),
            Err(Error::NotReadable { found, .. }) => Some(found),
            Err(_) => None,
        };
        detected
    }

    /// The location of this very version.
    pub(super) fn location<'a>(&'a self, row: &'a Row) -> ObjectLocation<'a> {
        ObjectLocation {
            bucket: &row.bucket,
            object_key: &row.object_key,
            version_id: self.version_id.as_deref(),
            headers: HeaderMap::new(),
        }
    }

    /// The number of parts that the ETag claims.
    pub(super) fn parts(&self) -> Option<u16> {
        part_count(etag_of(&self.headers)?)
    }

    /// Looks at the object once more, before it is replaced.
    ///
    /// # Errors
    /// [`Error::Replaced`] unless the newest version is this one, unchanged.
    pub(super) async fn require_unchanged(&self, resources: &Resources, row: &Row) -> Result<(), Error> {
        let now = Self::find(resources, row, None, StoredChecksums::Omitted).await;
        if now.is_ok_and(|now| self.is(&now)) { Ok(()) } else { Err(Error::Replaced) }
    }

    /// Whether another response is about this very version, unchanged: equal in its ETag, version, time and
    /// metadata.
    fn is(&self, other: &Self) -> bool {
        let metadata = |seen: &Self| {
            let lines = seen.headers.iter().filter(|(name, _)| name.as_str().starts_with("x-amz-meta-"));
            let mut lines: Vec<_> =
                lines.map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())).collect();
            lines.sort();
            lines
        };
        let time = |seen: &Self| seen.headers.get(LAST_MODIFIED).cloned();
        (&self.etag, &self.version_id, self.stored) == (&other.etag, &other.version_id, other.stored)
            && time(self) == time(other)
            && metadata(self) == metadata(other)
    }

    /// Refuses an object whose content can't be read or copied before it is restored.
    ///
    /// # Errors
    /// [`Stop::Skipped`] with the reason.
    pub(super) fn refuse_archived(&self, restored: Restored) -> Result<(), Stop> {
        let text = |name: &str| self.headers.get(name).and_then(|value| value.to_str().ok());
        let class = text("x-amz-storage-class").unwrap_or("STANDARD");
        let is_restored =
            text("x-amz-restore").is_some_and(|state| state.contains("ongoing-request=\"false\""));
        let archived = matches!(class, "GLACIER" | "DEEP_ARCHIVE") || text("x-amz-archive-status").is_some();
        if !archived || (is_restored && restored == Restored::Usable) {
            return Ok(());
        }
        let reason = if is_restored {
            format!("archived ({class}): what is written in its place could not be read back")
        } else {
            format!("archived ({class}): restore it first")
        };
        Err(Stop::Skipped(reason))
    }

    /// Opens the whole object. The response is about this very object.
    ///
    /// # Errors
    /// As a read; [`Error::Replaced`] if the object was replaced meanwhile.
    pub(super) async fn open(&self, resources: &Resources, row: &Row) -> Result<Box<OpenedObject>, Stop> {
        let version =
            self.version_id.iter().map(|version| ("versionId".to_owned(), Some(version.clone()))).collect();
        let read = ReadRequest {
            bucket: &row.bucket,
            object_key: &row.object_key,
            wanted: RequestedRange::Whole,
            query: version,
            headers: HeaderMap::from_iter([(IF_MATCH, self.etag.clone())]),
            needs_checksum: true,
            if_range: None,
            customer_key: None,
        };
        let opened = open_object(resources, read).await?;
        // Not every storage supports If-Match.
        if opened.head.headers.get(ETAG) != Some(&self.etag) {
            return Err(Error::Replaced.into());
        }
        Ok(opened)
    }
}
