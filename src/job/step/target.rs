//! Where a step writes an object to. It must not know what is written. It promises that no object is
//! overwritten but the one that was read: a write in its place is conditional on its ETag, any other on the
//! absence of an object.

use http::StatusCode;
use http::header::{HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH, LAST_MODIFIED};
use time::OffsetDateTime;

use super::ending::Stop;
use super::seen::Seen;
use crate::job::row::Row;
use crate::job::step::Destination;
use crate::object::location::ObjectLocation;
use crate::s3::{BucketName, ObjectKey};
use crate::upload::Resources;
use crate::upload::conditional_writes::ConditionalWrites;

/// The name of the object that is written.
pub(super) struct Target {
    pub(super) bucket: BucketName,
    pub(super) object_key: ObjectKey,
    /// Whether it takes the place of the object that is read.
    pub(super) is_in_place: bool,
}

/// How an object is stored.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Means {
    Put,
    Upload,
}

impl Target {
    /// The object that the row's object becomes; `None` for a directory.
    ///
    /// # Errors
    /// [`Stop::Refused`] for a key that is too long with the prefix.
    pub(super) fn new(destination: &Destination, row: &Row) -> Result<Option<Self>, Stop> {
        let (bucket, prefix) = match destination {
            Destination::InPlace => (&row.bucket, ""),
            Destination::Bucket { bucket, prefix } => (bucket, prefix.as_str()),
            Destination::Directory(_) => return Ok(None),
        };
        let object_key = ObjectKey::parse(format!("{prefix}{}", row.object_key.as_str()));
        let object_key = object_key
            .map_err(|error| Stop::Refused(format!("invalid key after the prefix: {}", error.message)))?;
        let is_in_place = *bucket == row.bucket && object_key == row.object_key;
        Ok(Some(Self { bucket: bucket.clone(), object_key, is_in_place }))
    }

    /// The condition under which the object is stored.
    pub(super) fn condition(&self, seen: &Seen) -> (HeaderName, HeaderValue) {
        if self.is_in_place {
            (IF_MATCH, seen.etag.clone())
        } else {
            (IF_NONE_MATCH, HeaderValue::from_static("*"))
        }
    }

    /// Refuses a write that the storage would not make conditional, so that it could overwrite a newer
    /// object.
    ///
    /// # Errors
    /// [`Stop::Refused`] with the way out; the failure of the trial.
    pub(super) async fn require_conditions(&self, resources: &Resources, means: Means) -> Result<(), Stop> {
        let prefix = self.object_key.as_str().rsplit_once('/').map_or("", |(folder, _)| folder);
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        let found = resources.find_conditional_writes(&self.bucket, &prefix, HeaderMap::new()).await?;
        let ConditionalWrites { put, complete, .. } = found;
        if put && (complete || means == Means::Put) {
            return Ok(());
        }
        let reason = "the storage ignores conditions on writes, so that an object that is written meanwhile could be \
                      overwritten: ";
        let way_out = if self.is_in_place {
            "write to a bucket that nothing else writes to, in a storage with conditional writes"
        } else {
            "use a storage with conditional writes"
        };
        Err(Stop::Refused(format!("{reason}{way_out}")))
    }

    /// The object that has the name already.
    ///
    /// # Errors
    /// The storage's refusal or failure.
    pub(super) async fn present(&self, resources: &Resources) -> Result<Option<Seen>, Stop> {
        let at = ObjectLocation {
            bucket: &self.bucket,
            object_key: &self.object_key,
            version_id: None,
            headers: HeaderMap::new(),
        };
        match Seen::at(resources, &at).await {
            Ok(seen) => Ok(Some(seen)),
            // A delete marker.
            Err(Stop::Skipped(_)) => Ok(None),
            Err(Stop::Failed(error)) if error.refusal_status() == Some(StatusCode::NOT_FOUND) => Ok(None),
            Err(stop) => Err(stop),
        }
    }
}

/// Whether an object of this length, which stands where `source` is to be written, is what an earlier run
/// wrote: as long, and not older.
pub(super) fn is_done_before(present: &Seen, length: u64, source: &Seen, source_length: u64) -> bool {
    let time = |seen: &Seen| {
        let time = seen.headers.get(LAST_MODIFIED).and_then(|time| time.to_str().ok())?;
        Some(OffsetDateTime::from(httpdate::parse_http_date(time).ok()?))
    };
    length == source_length && time(present).zip(time(source)).is_some_and(|(now, then)| now >= then)
}
