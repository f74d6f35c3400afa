//! Requests for buckets of other regions: finds the region, and goes on there.
//!
//! It must not know operations. A redirect is followed to the address of a region alone, never to the one
//! that a response names.

use http::Method;

use super::outcome::Outcome;
use super::regions::{BucketSite, RegionHint, makes_bucket, named_region, region_hint};
use super::request::Prepared;
use super::{Shared, Upstream, UpstreamBody, UpstreamRequest};
use crate::s3::BucketName;

impl Upstream {
    /// Where a request goes; an error is the bucket whose region has to be found out first: a body that
    /// streams can't be sent twice.
    pub(super) fn find_site(&self, request: &UpstreamRequest) -> Result<BucketSite, BucketName> {
        let regions = &self.shared.regions;
        let UpstreamRequest { method, bucket, object, query, body, .. } = request;
        match bucket {
            Some(bucket) if makes_bucket(method, object.as_ref(), query) => {
                regions.forget(bucket);
                Ok(BucketSite::Home)
            }
            Some(bucket)
                if matches!(body, UpstreamBody::StreamedContent { .. }) && regions.is_unknown(bucket) =>
            {
                Err(bucket.clone())
            }
            bucket => Ok(regions.for_bucket(bucket.as_ref())),
        }
    }

    /// Finds out the region of a bucket, and returns its site; that of the configured region, if the storage
    /// does not say.
    pub(super) async fn learn_site(&self, bucket: &BucketName) -> BucketSite {
        let region = self.ask_region(bucket).await;
        region.and_then(|region| self.shared.regions.learn(bucket, &region)).unwrap_or(BucketSite::Home)
    }

    /// The region that the storage's response to HeadBucket names, whatever its status.
    async fn ask_region(&self, bucket: &BucketName) -> Option<String> {
        let Shared { regions, security, checksum, .. } = &*self.shared;
        let request = UpstreamRequest::new(Method::HEAD, bucket, None);
        let site = regions.home();
        let request = Prepared::new(request, *security, *checksum);
        named_region(self.attempt(&request, site, None).await.ok()?.headers())
    }

    /// Takes a redirect or refusal as what it says about the region of the request's bucket. Returns the
    /// bucket's site.
    ///
    /// # Errors
    /// The outcome, if it names no other region, or the request can't be sent again.
    pub(super) async fn follow(
        &self,
        outcome: Outcome,
        request: &Prepared,
        site: &BucketSite,
    ) -> Result<BucketSite, Outcome> {
        let Shared { name, regions, .. } = &*self.shared;
        let Some(bucket) = request.bucket_to_follow().cloned() else { return Err(outcome) };
        let response = outcome.map_err(Err)?;
        let (response, hint) = region_hint(response).await.map_err(Err)?;
        let region = match hint {
            RegionHint::Region(region) => Some(region),
            RegionHint::Elsewhere => self.ask_region(&bucket).await,
            RegionHint::None => None,
        };
        let signed_for = regions.site(site).region();
        let Some(region) = region.filter(|region| region != signed_for) else { return Err(Ok(response)) };
        let Some(moved) = regions.learn(&bucket, &region) else { return Err(Ok(response)) };
        tracing::info!(upstream = name, %bucket, region, "the storage has this bucket in another region");
        if !request.can_be_sent_again() {
            return Err(Ok(response));
        }
        Ok(moved)
    }
}
