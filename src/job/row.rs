//! One row of a job's input: the name of an object, or of one version of it.
//! It must not know where the row comes from, nor what is done with it.
//! What it holds is parsed: names are valid.

use time::OffsetDateTime;

use crate::s3::{BucketName, ObjectKey};

/// The object of one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The bucket, by the name that clients know.
    pub bucket: BucketName,
    /// The object's key.
    pub object_key: ObjectKey,
    /// The version; `None`: the newest one.
    pub version_id: Option<String>,
    /// What the input says of the object, which may have changed since.
    pub listed: Option<Listed>,
}

/// An object as a listing or an inventory describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Stored bytes.
    pub size: u64,
    /// When the object was stored.
    pub last_modified: Option<OffsetDateTime>,
    /// The ETag without quotes.
    pub etag: Option<String>,
    /// The storage class, such as `GLACIER`; `None` for the standard one.
    pub storage_class: Option<String>,
    /// Whether this is the newest version.
    pub is_latest: bool,
}
