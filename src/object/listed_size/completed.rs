//! Sizes of uploads that this process completed: in some cases only the layout gives the size, and the
//! layout of an archived object can't be read.

use super::{Learned, LearnedSizes, Listed, SizeReader};
use crate::object::location::unquoted;
use crate::s3::{BucketName, ObjectKey};
use crate::wire::digest::digest_of_fields;

impl LearnedSizes {
    /// Remembers the plaintext's size of a completed upload.
    pub(crate) async fn completed(&self, bucket: &BucketName, object_key: &ObjectKey, etag: &str, size: u64) {
        self.0.insert(key_of(bucket, object_key, etag), Learned::encrypted(size)).await;
    }

    /// The size that [`Self::completed`] was given for the object with this ETag of the storage.
    pub(crate) async fn of_completed(
        &self,
        bucket: &BucketName,
        object_key: &ObjectKey,
        etag: &str,
    ) -> Option<u64> {
        self.0.get(&key_of(bucket, object_key, etag)).await.map(|learned| learned.size)
    }
}

impl SizeReader {
    /// Returns the size of an object that can't be read now (usually an archived one): its size at
    /// completion, if this process completed it not long ago, otherwise the stored size.
    pub(crate) async fn closed_size(&self, listed: &Listed) -> Learned {
        let etag = listed.etag.as_deref().unwrap_or_default();
        let known = self.resources.learned_sizes.of_completed(&self.bucket, &listed.object, etag).await;
        Learned::encrypted(known.unwrap_or(listed.stored))
    }
}

fn key_of(bucket: &BucketName, object_key: &ObjectKey, etag: &str) -> [u8; 32] {
    let names = ["completed", bucket.as_str(), object_key.as_str(), unquoted(etag)];
    digest_of_fields(names.map(str::as_bytes))
}
