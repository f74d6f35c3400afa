//! A cache of the uploads and parts that passed through this process.
//!
//! It must not hold anything that correctness needs: another node, or this one after a restart, does equal
//! work from tokens and from what the storage lists. With it ListMultipartUploads returns the ids that
//! clients have, ListParts the exact length and checksum of every part, and a last part that was sealed
//! before the others were stored is sealed again without the client.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use moka::future::Cache;

use crate::envelope::ContentKey;
use crate::envelope::native::UploadToken;
use crate::envelope::native::multipart::{Layout, Part, PartReceipt};
use crate::s3::BucketName;
use crate::wire::digest::digest_of_fields;

/// Max cached tokens, of about 1 KiB each.
const MAX_UPLOADS: u64 = 10_000;
/// Max cached parts, of about 150 bytes each: ten uploads of 10,000 parts.
const MAX_PARTS: u64 = 100_000;
/// Max bytes of cached last parts, which CompleteMultipartUpload may have to seal again.
const MAX_LAST_PART_BYTES: u64 = 64 << 20;
/// How long a last part is cached. In most cases an upload is completed seconds after its last part.
const MAX_LAST_PART_AGE: Duration = Duration::from_secs(15 * 60);

/// Tokens, receipts and sealed last parts. Cloning shares the cache.
#[derive(Clone)]
pub struct UploadCache {
    tokens: Cache<(String, String), Arc<str>>,
    receipts: Cache<[u8; 32], PartReceipt>,
    last_parts: Cache<[u8; 32], SealedLastPart>,
}

/// A small last part as it was sealed and stored.
#[derive(Debug, Clone)]
pub(crate) struct SealedLastPart {
    /// The whole segment, ciphertext.
    pub(crate) sealed: Bytes,
    /// The number and plaintext length of the part.
    pub(crate) part: Part,
    /// The layout that the segment carries, if any.
    pub(crate) layout: Option<Layout>,
    /// The content key of the object: the request that completes an upload may have no customer key.
    pub(crate) content_key: Arc<ContentKey>,
}

impl Default for UploadCache {
    fn default() -> Self {
        let tokens = Cache::builder().max_capacity(MAX_UPLOADS).build();
        let receipts = Cache::builder().max_capacity(MAX_PARTS).build();
        let last_parts = Cache::builder()
            .weigher(|_, last_part: &SealedLastPart| {
                u32::try_from(last_part.sealed.len()).unwrap_or(u32::MAX)
            })
            .max_capacity(MAX_LAST_PART_BYTES)
            .time_to_live(MAX_LAST_PART_AGE)
            .build();
        Self { tokens, receipts, last_parts }
    }
}

impl UploadCache {
    pub(crate) async fn remember(&self, bucket: &BucketName, token: &UploadToken) {
        let name = (bucket.as_str().to_owned(), token.upstream_id().to_owned());
        if !self.tokens.contains_key(&name) {
            self.tokens.insert(name, token.to_text().into()).await;
        }
    }

    /// The token for an upload id of the storage.
    pub(crate) async fn token(&self, bucket: &BucketName, id: &str) -> Option<Arc<str>> {
        self.tokens.get(&(bucket.as_str().to_owned(), id.to_owned())).await
    }

    /// Remembers the receipt of a part of this ETag (the storage's), and the part itself if it is a small
    /// last one.
    pub(crate) async fn remember_part(
        &self,
        id: &str,
        number: u16,
        etag: &str,
        receipt: PartReceipt,
        last_part: Option<SealedLastPart>,
    ) {
        let name = part_cache_key(id, number, etag);
        self.receipts.insert(name, receipt).await;
        if let Some(last_part) = last_part {
            self.last_parts.insert(name, last_part).await;
        }
    }

    /// The receipt of a part of this ETag (the storage's).
    pub(crate) async fn receipt(&self, id: &str, number: u16, etag: &str) -> Option<PartReceipt> {
        self.receipts.get(&part_cache_key(id, number, etag)).await
    }

    /// The small last part with the storage's ETag `etag`, if it is still cached.
    pub(crate) async fn last_part(&self, id: &str, number: u16, etag: &str) -> Option<SealedLastPart> {
        self.last_parts.get(&part_cache_key(id, number, etag)).await
    }

    /// Removes an upload that has become an object of these parts (number, the storage's ETag).
    pub(crate) async fn completed(&self, bucket: &BucketName, id: &str, parts: &[(u16, String)]) {
        self.tokens.invalidate(&(bucket.as_str().to_owned(), id.to_owned())).await;
        for (number, etag) in parts {
            let name = part_cache_key(id, *number, etag);
            self.receipts.invalidate(&name).await;
        }
        if let Some((number, etag)) = parts.last() {
            self.last_parts.invalidate(&part_cache_key(id, *number, etag)).await;
        }
    }
}

/// The key of a part in the caches.
fn part_cache_key(id: &str, number: u16, etag: &str) -> [u8; 32] {
    digest_of_fields([id.as_bytes(), &number.to_be_bytes(), etag.as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::native::multipart::PartNumber;

    #[tokio::test]
    async fn nothing_is_remembered_of_an_upload_that_is_complete() {
        let known = UploadCache::default();
        let bucket = BucketName::parse("bucket").unwrap();
        let part = Part { number: PartNumber::new(2).unwrap(), length: 1 };
        let receipt = PartReceipt::plain(1).unwrap();
        for id in ["complete", "going-on"] {
            known.remember_part(id, 1, "a", receipt, None).await;
            let content_key = Arc::new(crate::body::new_object().0);
            let last_part = SealedLastPart { sealed: Bytes::new(), part, layout: None, content_key };
            known.remember_part(id, 2, "b", receipt, Some(last_part)).await;
        }
        known.completed(&bucket, "complete", &[(1, "a".to_owned()), (2, "b".to_owned())]).await;
        for (id, is_known) in [("complete", false), ("going-on", true)] {
            assert_eq!(known.receipt(id, 1, "a").await.is_some(), is_known);
            assert_eq!(known.receipt(id, 2, "b").await.is_some(), is_known);
            assert_eq!(known.last_part(id, 2, "b").await.is_some(), is_known);
        }
    }
}
