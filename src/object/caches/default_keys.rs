//! The keys of buckets' default encryption, as the storage returned them.

use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;

use crate::s3::BucketName;

/// How long a bucket's default is remembered: as long another proxy's change of it may go unnoticed.
const MAX_KEY_AGE: Duration = Duration::from_secs(60);

/// Buckets remembered, of about 200 bytes each.
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
    /// What the storage said of this bucket may have changed.
    pub(crate) async fn forget(&self, bucket: &BucketName) {
        self.0.invalidate(bucket).await;
    }
}
