//! Sizes of listed objects that the listing itself does not give, and of uploads that this process completed:
//! in some cases only the layout gives the size, and the layout of an archived object can't be read.

use std::time::Duration;

use moka::future::Cache;

use crate::object::location::unquoted;
use crate::s3::{BucketName, Hashed, ObjectKey};
use crate::wire::digest::digest_of_fields;

/// How many looked_up sizes are remembered, of about 150 bytes each: sixty pages that hold nothing else.
const MAX_SIZES: u64 = 60_000;

/// How long. An ETag's size does not change, but its object can be replaced by one of equal bytes and other metadata.
const MAX_SIZE_AGE: Duration = Duration::from_secs(60 * 60);

/// Sizes that the storage was asked for. Cloning shares them.
#[derive(Clone)]
pub struct SizeCache(pub(in crate::object) Cache<[u8; 32], ListedSize>);

/// What a question to the storage says of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ListedSize {
    /// Bytes of its content.
    pub(in crate::object) size: u64,
    /// The bytes whose hash its ETag is, where the ETag is a hash.
    pub(in crate::object) hashed: Hashed,
}

impl ListedSize {
    /// An encrypted object, or one that the rule does not read.
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
    /// Remembers the plaintext's size of a completed upload.
    pub(crate) async fn completed(&self, bucket: &BucketName, object_key: &ObjectKey, etag: &str, size: u64) {
        self.0.insert(key_of(bucket, object_key, etag), ListedSize::encrypted(size)).await;
    }

    /// The size that [`Self::completed`] was given for the object with this ETag of the storage.
    pub(crate) async fn of_completed(
        &self,
        bucket: &BucketName,
        object_key: &ObjectKey,
        etag: &str,
    ) -> Option<u64> {
        self.0.get(&key_of(bucket, object_key, etag)).await.map(|looked_up| looked_up.size)
    }
}

fn key_of(bucket: &BucketName, object_key: &ObjectKey, etag: &str) -> [u8; 32] {
    let names = ["completed", bucket.as_str(), object_key.as_str(), unquoted(etag)];
    digest_of_fields(names.map(str::as_bytes))
}
