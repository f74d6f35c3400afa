//! Caches the plaintext sizes of listed objects that the listing does not determine, and of uploads that this
//! process completed: in some cases only the layout determines the size, and the layout of an archived object
//! can't be read.
//!
//! It must not know how a size is looked up in the storage. It promises that a size is returned only for the
//! object and ETag that it was cached for.

use std::time::Duration;

use moka::future::Cache;

use crate::object::location::unquoted;
use crate::s3::{BucketName, Hashed, ObjectKey};
use crate::wire::digest::digest_of_fields;

/// The maximum number of cached sizes, of about 150 bytes each: those of 60 listing pages where every size
/// needs a lookup.
const MAX_SIZES: u64 = 60_000;

/// The lifetime of an entry. The size for an ETag does not change, but the object can be replaced by one with
/// equal stored bytes and other metadata.
const MAX_SIZE_AGE: Duration = Duration::from_secs(60 * 60);

/// Plaintext sizes of stored objects. Clones share the cache.
#[derive(Clone)]
pub struct SizeCache(pub(in crate::object) Cache<[u8; 32], ListedSize>);

/// The plaintext size of an object, and what its ETag is a hash of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ListedSize {
    /// The number of plaintext bytes.
    pub(in crate::object) size: u64,
    /// The bytes that the ETag is a hash of, if it is a hash.
    pub(in crate::object) hashed: Hashed,
}

impl ListedSize {
    /// The size of an encrypted object, or of an object that the rule does not read.
    pub(in crate::object) fn encrypted(size: u64) -> Self {
        Self { size, hashed: Hashed::Ciphertext }
    }
}

impl Default for SizeCache {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(MAX_SIZES).time_to_live(MAX_SIZE_AGE).build())
    }
}

impl SizeCache {
    /// Caches the plaintext size of a completed upload.
    pub(crate) async fn insert_completed(
        &self,
        bucket: &BucketName,
        object_key: &ObjectKey,
        etag: &str,
        size: u64,
    ) {
        self.0.insert(completed_key(bucket, object_key, etag), ListedSize::encrypted(size)).await;
    }

    /// The size that [`Self::insert_completed`] cached for the object with this upstream ETag.
    pub(crate) async fn completed_size(
        &self,
        bucket: &BucketName,
        object_key: &ObjectKey,
        etag: &str,
    ) -> Option<u64> {
        self.0.get(&completed_key(bucket, object_key, etag)).await.map(|listed| listed.size)
    }
}

fn completed_key(bucket: &BucketName, object_key: &ObjectKey, etag: &str) -> [u8; 32] {
    let names = ["completed", bucket.as_str(), object_key.as_str(), unquoted(etag)];
    digest_of_fields(names.map(str::as_bytes))
}
