//! All storages as one: a request names a bucket as the client does, and goes to the storage that has it.
//!
//! It must not know what a request means. It promises that a request reaches no other storage than its
//! bucket's, and that no stored name of a bucket is in a refusal.

mod renamed;
mod route;

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Response};

use self::route::Located;
pub use self::route::{Conflict, InvalidStoredName, Route, Routes, StoredName};
use super::{AddressError, BoxBody, Exchange, Reading, Upstream, UpstreamError, UpstreamRequest};
use crate::s3::headers::COPY_SOURCE;
use crate::s3::{BucketName, BucketPattern, CopySource};
use crate::wire::checksum::ChecksumAlgorithm;

/// The clients of all storages. Cloning shares them.
#[derive(Clone)]
pub struct Upstreams(Arc<Inner>);

struct Inner {
    default: Upstream,
    others: Vec<Upstream>,
    /// `None` when every bucket is in the default storage, under the name that clients use.
    routes: Option<Routes>,
}

impl Upstreams {
    /// The default storage, further ones, and the routes to them in the order of precedence.
    pub fn new(default: Upstream, others: Vec<Upstream>, routes: Vec<Route>) -> Self {
        let routes = Some(Routes::new(routes)).filter(|routes| !routes.are_trivial());
        Self(Arc::new(Inner { default, others, routes }))
    }

    /// Each storage and its name, the default first.
    pub fn all(&self) -> impl Iterator<Item = (&str, &Upstream)> {
        std::iter::once(&self.0.default).chain(&self.0.others).map(|upstream| (upstream.name(), upstream))
    }

    fn at(&self, place: usize) -> &Upstream {
        match place.checked_sub(1) {
            None => &self.0.default,
            Some(other) => &self.0.others[other],
        }
    }

    /// The storage that has a bucket.
    pub fn for_bucket(&self, bucket: &BucketName) -> &Upstream {
        self.0.routes.as_ref().map_or(&self.0.default, |routes| self.at(routes.upstream(bucket)))
    }

    /// Whether one storage has both buckets, so that it can copy from one to the other.
    pub fn is_one(&self, bucket: &BucketName, other: &BucketName) -> bool {
        self.0.routes.as_ref().is_none_or(|routes| routes.upstream(bucket) == routes.upstream(other))
    }

    /// Whether the storage knows the bucket by another name, so that its documents name another one.
    pub fn is_renamed(&self, bucket: &BucketName) -> bool {
        let routes = self.0.routes.as_ref();
        routes.is_some_and(|routes| routes.locate(bucket).is_ok_and(|found| found.stored.is_some()))
    }

    /// The algorithm of the checksum that is sent with the bucket's ciphertext.
    pub fn checksum_algorithm(&self, bucket: &BucketName) -> Option<ChecksumAlgorithm> {
        self.for_bucket(bucket).checksum_algorithm()
    }

    /// The storages that can have a bucket that one of `patterns` matches, each with its place; `None`: a
    /// bucket of any name.
    pub fn reachable(&self, patterns: Option<&[BucketPattern]>) -> Vec<(usize, Upstream)> {
        let is_reached = |place| match (patterns, &self.0.routes) {
            (Some(patterns), Some(routes)) => routes.can_reach(patterns, place),
            (None, Some(_)) => true,
            (Some(_) | None, None) => place == 0,
        };
        let all = self.all().map(|(_, upstream)| upstream).enumerate();
        all.filter(|(place, _)| is_reached(*place)).map(|(place, it)| (place, it.clone())).collect()
    }

    /// Whether every bucket is in the default storage, under the name that clients use.
    pub fn is_single(&self) -> bool {
        self.0.routes.is_none()
    }

    /// The client's name of a bucket of the storage at `place`; `None` if clients have no such bucket there.
    pub fn client_name(&self, place: usize, stored: &BucketName) -> Option<BucketName> {
        match &self.0.routes {
            Some(routes) => routes.client_name(place, stored),
            None => (place == 0).then(|| stored.clone()),
        }
    }

    /// Sends a request to the storage of its bucket, as [`Upstream::send`] does; without a bucket, to the
    /// default storage.
    ///
    /// # Errors
    /// As [`Upstream::send`], and [`UpstreamError::Address`] for a bucket that no storage has.
    pub fn send(&self, request: UpstreamRequest) -> impl Exchange {
        self.exchange(request, Reading::Head)
    }

    /// Sends a request to the storage of its bucket, as [`Upstream::fetch`] does; without a bucket, to the
    /// default storage.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn fetch(&self, request: UpstreamRequest) -> impl Exchange {
        self.exchange(request, Reading::SmallBody)
    }

    async fn send_routed(
        &self,
        routes: &Routes,
        mut request: UpstreamRequest,
        reading: Reading,
    ) -> Result<Response<BoxBody>, UpstreamError> {
        let Some(client) = request.bucket.clone() else {
            return self.0.default.exchange(request, reading).await;
        };
        let Located { upstream, stored } = routes.locate(&client)?;
        rename_source(routes, upstream, &mut request.headers)?;
        let Some(stored) = stored else { return self.at(upstream).exchange(request, reading).await };
        request.bucket = Some(stored.clone());
        match self.at(upstream).exchange(request, reading).await {
            Ok(response) => renamed::restore(response, &stored, &client).await,
            Err(UpstreamError::Address(AddressError::Administration(_))) => {
                Err(AddressError::Administration(client.to_string()).into())
            }
            Err(error) => Err(error),
        }
    }

    fn exchange(&self, request: UpstreamRequest, reading: Reading) -> impl Exchange {
        let Inner { default, routes, .. } = &*self.0;
        async move {
            match routes {
                None => default.exchange(request, reading).await,
                Some(routes) => Box::pin(self.send_routed(routes, request, reading)).await,
            }
        }
    }
}

/// Names the source of a copy as the storage at `place` does.
///
/// # Errors
/// [`AddressError::AnotherStorage`] when another storage has the source: the caller has to read it itself.
fn rename_source(routes: &Routes, place: usize, headers: &mut HeaderMap) -> Result<(), AddressError> {
    let Some(value) = headers.get_mut(COPY_SOURCE) else { return Ok(()) };
    let Ok(mut source) = CopySource::parse(value.as_bytes()) else {
        return Err(AddressError::AnotherStorage);
    };
    let Located { upstream, stored } = routes.locate(&source.bucket)?;
    if upstream != place {
        return Err(AddressError::AnotherStorage);
    }
    if let Some(stored) = stored {
        source.bucket = stored;
        *value = HeaderValue::try_from(source.to_header()).expect("it is percent-encoded");
    }
    Ok(())
}
