//! ListBuckets: passed through, without the buckets that no grant of the client reaches; of several storages,
//! one list.
//!
//! It must not know which storage has a bucket. A list is complete, or an error: of storages that do not list
//! their buckets now, none is left out.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Response};
use tokio::task::JoinSet;

use super::Resources;
use super::request::Call;
use crate::body::{BoxBody, read_bounded};
use crate::error::{Error, Result, UnexpectedResponse};
use crate::object::upstream_response;
use crate::s3::xml::{self, BucketOwner, ListedBucket, MAX_BUCKETS_DOCUMENT};
use crate::s3::{BucketName, BucketPattern, S3Error, headers};
use crate::upstream::{Upstream, UpstreamRequest, Upstreams};

/// The maximum buckets of a page, and the number for a request that gives none.
const MAX_BUCKETS: usize = 10_000;

/// Max requests to one storage for one list: a million buckets, the most that AWS gives an account.
const MAX_PAGES: usize = 100;

const MAX_BUCKETS_PARAMETER: &str = "max-buckets";
const CONTINUATION_TOKEN: &str = "continuation-token";

const DOCUMENT: UnexpectedResponse = UnexpectedResponse::Document("ListAllMyBucketsResult");

pub(crate) async fn list_buckets(resources: &Resources, call: Box<Call>) -> Result<Response<BoxBody>> {
    if !resources.upstreams.is_single() {
        return merge(resources, call).await;
    }
    let mut request = call.upstream_request(Method::GET);
    request.headers = headers::passthrough_headers(call.operation, &call.headers)?;
    request.query = call.upstream_query(|_| true);
    let response = upstream_response::pass(resources.upstreams.send(request).await?).await?;
    if call.grants.reach_all_buckets() {
        return Ok(response);
    }
    let (mut parts, body) = response.into_parts();
    let listing: Bytes = read_bounded(body, MAX_BUCKETS_DOCUMENT).await.map_err(Error::UpstreamBody)?;
    let kept = xml::retain_buckets(&listing, |name| call.grants.reach(name)).map_err(|_| DOCUMENT)?;
    parts.headers.remove(CONTENT_LENGTH);
    Ok(Response::from_parts(parts, upstream_response::buffered(kept)))
}

/// The buckets that the client may see; `None`: all.
fn visible(call: &Call) -> Option<Vec<BucketPattern>> {
    let patterns = || call.grants.iter().flat_map(|grant| grant.buckets.iter().cloned()).collect();
    (!call.grants.reach_all_buckets()).then(patterns)
}

/// A list of the buckets of all storages that the client can reach, by their names for clients, in order.
///
/// # Errors
/// `InvalidArgument` for invalid parameters; the error of a storage that does not list its buckets.
async fn merge(resources: &Resources, call: Box<Call>) -> Result<Response<BoxBody>> {
    let wanted = Arc::new(WantedBuckets::from_call(&call)?);
    let headers = headers::passthrough_headers(call.operation, &call.headers)?;
    let mut listings = JoinSet::new();
    for (place, upstream) in resources.upstreams.reachable(visible(&call).as_deref()) {
        let upstreams = resources.upstreams.clone();
        let (headers, wanted) = (headers.clone(), Arc::clone(&wanted));
        listings.spawn(async move {
            let listing = StorageListing { upstreams, upstream, place, headers };
            listing.collect(&wanted).await.map(|found| (place, found))
        });
    }
    let prefix = call.query.first("prefix").map(str::to_owned);
    let _permit = call.permit;
    let (mut owner, mut buckets) = (None, BTreeMap::new());
    while let Some(listed) = listings.join_next().await {
        let (place, (found_owner, found)) = listed.map_err(|_| Error::Panicked)??;
        if place == 0 || owner.is_none() {
            owner = found_owner.or(owner);
        }
        buckets.extend(found);
        wanted.trim(&mut buckets);
    }
    let is_truncated = buckets.len() > wanted.max;
    let shown = buckets.into_values().take(wanted.max).collect::<Vec<_>>();
    let next = shown.last().filter(|_| is_truncated).map(|last| URL_SAFE_NO_PAD.encode(&last.name));
    let document = xml::write_buckets(owner, shown, next.as_deref(), prefix.as_deref());
    let mut response = Response::new(upstream_response::buffered(document));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    Ok(response)
}

/// The buckets that a request is for.
struct WantedBuckets {
    /// The buckets that the client may see; `None`: all.
    visible: Option<Vec<BucketPattern>>,
    max: usize,
    prefix: String,
    region: Option<String>,
    /// The last bucket of the page before.
    after: Option<String>,
}

impl WantedBuckets {
    fn from_call(call: &Call) -> Result<Self, S3Error> {
        let parameter = |name: &str| call.query.first(name).filter(|value| !value.is_empty());
        let max = match parameter(MAX_BUCKETS_PARAMETER) {
            None => MAX_BUCKETS,
            Some(text) => {
                text.parse().ok().filter(|max| (1..=MAX_BUCKETS).contains(max)).ok_or_else(|| {
                    let message = "Argument max-buckets must be an integer between 1 and 10000";
                    S3Error::invalid_argument(MAX_BUCKETS_PARAMETER, text, message)
                })?
            }
        };
        let after = match parameter(CONTINUATION_TOKEN) {
            None => None,
            Some(token) => Some(named_by(token).ok_or_else(|| {
                let message = "The continuation token provided is incorrect";
                S3Error::invalid_argument(CONTINUATION_TOKEN, token, message)
            })?),
        };
        Ok(Self {
            visible: visible(call),
            max,
            prefix: parameter("prefix").unwrap_or_default().to_owned(),
            region: parameter("bucket-region").map(str::to_owned),
            after,
        })
    }

    fn include(&self, name: &str, region: Option<&str>) -> bool {
        name.starts_with(&self.prefix)
            && self.after.as_deref().is_none_or(|after| name > after)
            && self.visible.as_ref().is_none_or(|visible| visible.iter().any(|it| it.matches(name)))
            && (self.region.is_none() || self.region.as_deref() == region)
    }

    /// Keeps what the page shows, and one bucket more, which shows that there is another page.
    fn trim<T>(&self, buckets: &mut BTreeMap<String, T>) {
        while buckets.len() > self.max + 1 {
            buckets.pop_last();
        }
    }
}

/// The bucket after which a continuation token goes on.
fn named_by(token: &str) -> Option<String> {
    let name = String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
    BucketName::parse(&name).is_ok().then_some(name)
}

/// The list of buckets of one storage.
struct StorageListing {
    upstreams: Upstreams,
    upstream: Upstream,
    place: usize,
    headers: HeaderMap,
}

type Found = (Option<BucketOwner>, BTreeMap<String, ListedBucket>);

impl StorageListing {
    /// The wanted buckets, page by page, by their names for clients. What the storage has under names that
    /// clients do not have is left out.
    async fn collect(&self, wanted: &WantedBuckets) -> Result<Found> {
        let (mut owner, mut buckets, mut token) = (None, BTreeMap::new(), None);
        for _ in 0..MAX_PAGES {
            let page = self.page(token.take()).await.inspect_err(|error| {
                let upstream = self.upstream.name();
                tracing::warn!(upstream, %error, "the storage does not list its buckets");
            })?;
            for listed in page.buckets {
                let Ok(stored) = BucketName::parse(&listed.name) else { continue };
                let Some(name) = self.upstreams.client_name(self.place, &stored) else { continue };
                let region = listed.region.as_deref().or_else(|| Some(self.upstream.region()));
                if wanted.include(name.as_str(), region) {
                    buckets.insert(name.to_string(), listed.renamed(name.as_str()));
                    wanted.trim(&mut buckets);
                }
            }
            owner = owner.or(page.owner);
            match page.next {
                None => return Ok((owner, buckets)),
                next => token = next,
            }
        }
        Err(DOCUMENT.into())
    }

    async fn page(&self, token: Option<String>) -> Result<xml::BucketPage> {
        let mut request = UpstreamRequest::new(Method::GET, None, None);
        request.headers = self.headers.clone();
        request.query.push((MAX_BUCKETS_PARAMETER.to_owned(), Some(MAX_BUCKETS.to_string())));
        request.query.extend(token.map(|token| (CONTINUATION_TOKEN.to_owned(), Some(token))));
        let response = upstream_response::pass(self.upstream.fetch(request).await?).await?;
        let (body, limit) = (response.into_body(), MAX_BUCKETS_DOCUMENT);
        upstream_response::parse_body(body, limit, "ListAllMyBucketsResult", xml::parse_buckets).await
    }
}

#[cfg(test)]
mod tests;
