//! Finds out at the start whether the storage can serve clients with the right `append`: whether it refuses
//! to overwrite an object.
//!
//! It must not know how the storage is tried. No client with this right is served over a storage that is
//! known to overwrite; where nothing is known yet, the first such request finds out.

use std::cell::RefCell;
use std::time::Duration;

use http::{HeaderMap, Method};

use crate::access::{Client, Grant, Right, Rights};
use crate::body::read_bounded;
use crate::cli::Failure;
use crate::error::{Error, Result, with_causes};
use crate::s3::{BucketName, xml};
use crate::timer;
use crate::upload;
use crate::upload::conditional_writes::ConditionalWrites;
use crate::upstream::{Upstream, UpstreamRequest};

/// How long the start waits for the storage.
const MAX_WAIT: Duration = Duration::from_secs(10);
/// Max bytes of a listing of buckets.
const MAX_LISTING: usize = 8 << 20;

/// The message about a storage that overwrites.
pub(super) const OVERWRITES: &str = "a client has the right append, and the storage ignores If-None-Match, so it would overwrite existing \
                                     objects: remove the right, or use a storage with conditional writes";

/// What a storage lacks for clients with the right `append`.
pub(super) enum Missing {
    /// All their writes.
    Everything,
    /// Some of them, in words.
    Partly(&'static str),
}

/// What the storage lacks; `None`: nothing.
pub(super) fn missing(found: ConditionalWrites) -> Option<Missing> {
    match found {
        ConditionalWrites { put: true, complete: true, copy: true } => None,
        ConditionalWrites { put: true, complete: true, copy: false } => Some(Missing::Partly(
            "the storage ignores If-None-Match on copies, which clients with the right append can't make",
        )),
        ConditionalWrites { put: true, complete: false, copy: _ } => Some(Missing::Partly(
            "the storage ignores If-None-Match on uploads in parts, so clients with the right append can make neither \
             these, nor copies, nor send forms",
        )),
        ConditionalWrites { put: false, .. } => Some(Missing::Everything),
    }
}

/// The grants with the right `append` and without `write`, which would allow to overwrite.
pub(super) struct AppendGrants(Vec<Grant>);

impl AppendGrants {
    /// Those of `clients`.
    pub(super) fn new(clients: &[(String, Client)]) -> Self {
        let grants = clients.iter().flat_map(|(_, client)| client.grants.iter());
        Self(grants.filter(|grant| is_restricted(grant.rights)).cloned().collect())
    }

    /// Refuses the start where the storage overwrites. What is not known within [`MAX_WAIT`] is logged.
    ///
    /// # Errors
    /// [`Failure::Usage`].
    pub(super) async fn require(&self, resources: &upload::Resources) -> Result<(), Failure> {
        if self.0.is_empty() {
            return Ok(());
        }
        let Ok(all) = timer::timeout(MAX_WAIT, self.find(resources)).await else {
            tracing::warn!("whether the storage overwrites is not known yet: the first append finds out");
            return Ok(());
        };
        for (bucket, found) in all {
            match found.map(missing) {
                Ok(None) => {}
                Ok(Some(Missing::Everything)) => {
                    return Err(Failure::Usage(format!("bucket {bucket}: {OVERWRITES}")));
                }
                Ok(Some(Missing::Partly(text))) => tracing::warn!(%bucket, "{text}"),
                Err(error) => {
                    let cause = with_causes(&error);
                    tracing::warn!(%bucket, cause, "whether the storage overwrites is not known yet: the first append finds out");
                }
            }
        }
        Ok(())
    }

    /// Tries one existing bucket for each pattern of each grant, where one is found.
    pub(super) async fn find(
        &self,
        resources: &upload::Resources,
    ) -> Vec<(BucketName, Result<ConditionalWrites>)> {
        let patterns = || self.0.iter().flat_map(|grant| grant.buckets.iter().map(move |name| (grant, name)));
        let needs_listing = patterns().any(|(_, pattern)| !pattern.is_name());
        let listed = if needs_listing { list_buckets(resources).await } else { Vec::new() };
        let mut found: Vec<(BucketName, Result<ConditionalWrites>)> = Vec::new();
        for (grant, pattern) in patterns() {
            let named = BucketName::parse(pattern.as_str()).ok().filter(|_| pattern.is_name());
            let mut matching = named.into_iter().chain(listed.iter().cloned());
            let bucket = matching.find(|bucket| {
                pattern.matches(bucket.as_str()) && resources.policies.serve_bucket(bucket).is_ok()
            });
            if let Some(bucket) = bucket.filter(|bucket| found.iter().all(|(tried, _)| tried != bucket)) {
                let outcome =
                    resources.find_conditional_writes(&bucket, &grant.prefix, HeaderMap::new()).await;
                found.push((bucket, outcome));
            }
        }
        found
    }
}

fn is_restricted(rights: Rights) -> bool {
    rights.has(Right::Append) && !rights.has(Right::Write)
}

/// The buckets of the storages, by their names for clients. A storage that lists none, refuses or fails
/// leaves it to the first append of a client.
async fn list_buckets(resources: &upload::Resources) -> Vec<BucketName> {
    let mut buckets = Vec::new();
    for (place, (_, upstream)) in resources.upstreams.all().enumerate() {
        let stored = stored_buckets(upstream).await.unwrap_or_default();
        buckets.extend(stored.iter().filter_map(|stored| resources.upstreams.client_name(place, stored)));
    }
    buckets
}

async fn stored_buckets(upstream: &Upstream) -> Result<Vec<BucketName>> {
    let response = upstream.fetch(UpstreamRequest::new(Method::GET, None, None)).await?;
    let document = read_bounded(response.into_body(), MAX_LISTING).await.map_err(Error::UpstreamBody)?;
    let names = RefCell::new(Vec::new());
    let collect = |name: &str| {
        names.borrow_mut().extend(BucketName::parse(name));
        true
    };
    Ok(xml::retain_buckets(&document, collect).map(|_| names.into_inner()).unwrap_or_default())
}
