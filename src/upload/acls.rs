//! Whether the objects of a bucket can have grants of their own, found out once for each bucket.
//! It must not know what is done with grants.
//! It promises that only a storage's own word makes a bucket one without ACLs.

use std::time::Duration;

use http::{Method, StatusCode};
use moka::future::Cache;

use super::Resources;
use crate::object::upstream_response::parse_body;
use crate::s3::{BucketName, xml};
use crate::upstream::UpstreamRequest;

/// Max buckets that are remembered, of about 100 bytes each.
const MAX_BUCKETS: u64 = 10_000;

/// How long a bucket is remembered: its owner may enable ACLs at any time.
const LIFETIME: Duration = Duration::from_secs(60);

/// Whether a bucket has ACLs, for each that was asked for. Clones share it.
#[derive(Clone)]
pub struct KnownAcls(Cache<BucketName, bool>);

impl Default for KnownAcls {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(MAX_BUCKETS).time_to_live(LIFETIME).build())
    }
}

impl KnownAcls {
    /// Takes note that the storage has no ACLs in this bucket.
    pub(crate) async fn note_none(&self, bucket: &BucketName) {
        self.0.insert(bucket.clone(), false).await;
    }
}

impl Resources {
    /// Whether an object of the bucket may have other grants than its owner's. Yes, where the storage does
    /// not say otherwise: it knows no GetBucketOwnershipControls, or refuses it.
    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketOwnershipControls.html>
    pub(crate) async fn has_acls(&self, bucket: &BucketName) -> bool {
        self.acls.0.get_with_by_ref(bucket, Box::pin(self.find_acls(bucket))).await
    }

    async fn find_acls(&self, bucket: &BucketName) -> bool {
        let mut request = UpstreamRequest::new(Method::GET, bucket, None);
        request.query.push(("ownershipControls".to_owned(), None));
        let Ok(response) = self.object.upstreams.fetch(request).await else { return true };
        if response.status() != StatusCode::OK {
            return true;
        }
        let (limit, root) = (xml::MAX_OWNERSHIP_DOCUMENT, "OwnershipControls");
        !parse_body(response.into_body(), limit, root, xml::disables_acls).await.unwrap_or(false)
    }
}
