//! Caches the KMS keys of the buckets' default encryption.
//!
//! It must not know how a key is requested from the storage. It promises that an entry expires after
//! `MAX_KEY_AGE`, and that a change which this process forwards invalidates the entry.

use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;

use crate::s3::BucketName;

/// The lifetime of an entry. A change of the default through another proxy may go unnoticed for as long.
const MAX_KEY_AGE: Duration = Duration::from_secs(60);

/// The maximum number of cached buckets, of about 200 bytes each.
const MAX_BUCKETS: u64 = 10_000;

/// The KMS keys of the buckets' default encryption, as the storage returned them. Clones share the cache.
#[derive(Clone)]
pub struct DefaultKeyCache(pub(in crate::object) Cache<BucketName, Option<Arc<str>>>);

impl Default for DefaultKeyCache {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(MAX_BUCKETS).time_to_live(MAX_KEY_AGE).build())
    }
}

impl DefaultKeyCache {
    /// Invalidates the entry of a bucket whose default encryption may have changed.
    pub(crate) async fn forget(&self, bucket: &BucketName) {
        self.0.invalidate(bucket).await;
    }
}
