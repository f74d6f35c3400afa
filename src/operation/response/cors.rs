//! CORS headers of responses to which the storage did not add them: responses made here, above all errors,
//! and those to requests that reach the storage as different requests (an upload's part, a form).
//!
//! The storage evaluates the bucket's CORS rules. It is sent a preflight request of the same origin and
//! method, and its response is cached for a short time. Whether a request is carried out does not depend on
//! it; S3 does not make it depend on it either.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderName, HeaderValue, ORIGIN, VARY,
};
use http::{Method, Response, StatusCode};
use moka::future::Cache;

use crate::body::BoxBody;
use crate::error::Result;
use crate::object::upstream_response;
use crate::operation::Resources;
use crate::s3::{BucketName, S3Path, headers};
use crate::timer;
use crate::upstream::UpstreamRequest;
use crate::wire::digest::digest_of_fields;

/// The headers that a preflight's response has in common with the response to the request itself.
const CORS_RESPONSE_HEADERS: [HeaderName; 4] =
    [ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, VARY];

/// Max responses in the cache, of less than 1 KiB each in the usual case.
const MAX_ENTRIES: u64 = 2_000;
/// How long a response is cached: a change of the bucket's rules shows within this time.
const MAX_AGE: Duration = Duration::from_secs(30);
/// Max bytes of an Origin header that is sent to the storage: a scheme, a host name of 253 bytes and a port.
const MAX_ORIGIN: usize = 300;
/// Max time that a response waits for its CORS headers.
const MAX_WAIT: Duration = Duration::from_secs(2);
/// Max preflight requests per second for requests without a valid signature.
const MAX_UNSIGNED_PER_SECOND: u32 = 10;

/// Whether the request that needs CORS headers is authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requester {
    /// A request with a valid signature.
    Signed,
    /// Any other request. The storage receives at most ten preflights a second for such requests.
    Unsigned,
}

/// A request that a page of a browser sent.
pub struct CorsRequest<'a> {
    /// The bucket of the request.
    pub bucket: &'a BucketName,
    /// The method of the request.
    pub method: &'a Method,
    /// The value of the request's Origin header.
    pub origin: &'a HeaderValue,
}

/// The storage's responses by bucket, method and origin. Cloning shares the cache.
#[derive(Clone)]
pub struct CorsCache {
    responses: Cache<[u8; 32], Arc<HeaderMap>>,
    unsigned: Arc<Mutex<Allowance>>,
}

/// The preflights that are left of the current second.
struct Allowance {
    begun: Instant,
    left: u32,
}

impl Allowance {
    fn take(&mut self, now: Instant) -> bool {
        if now.duration_since(self.begun) >= Duration::from_secs(1) {
            *self = Self { begun: now, left: MAX_UNSIGNED_PER_SECOND };
        }
        let is_left = self.left > 0;
        self.left = self.left.saturating_sub(1);
        is_left
    }
}

impl Default for CorsCache {
    fn default() -> Self {
        let responses = Cache::builder().max_capacity(MAX_ENTRIES).time_to_live(MAX_AGE).build();
        let unsigned = Allowance { begun: Instant::now(), left: MAX_UNSIGNED_PER_SECOND };
        Self { responses, unsigned: Arc::new(Mutex::new(unsigned)) }
    }
}

/// The headers that let a page of this origin read a response to this method; empty if the bucket's CORS
/// rules do not allow it, or the storage does not say.
pub async fn cors_headers(
    resources: &Resources,
    request: &CorsRequest<'_>,
    requester: Requester,
) -> Arc<HeaderMap> {
    let CorsRequest { bucket, method, origin } = request;
    if origin.len() > MAX_ORIGIN {
        return Arc::default();
    }
    let CorsCache { responses, unsigned } = &resources.cors;
    let key = [bucket.as_str().as_bytes(), method.as_str().as_bytes(), origin.as_bytes()];
    let key = digest_of_fields(key);
    if let Some(headers) = responses.get(&key).await {
        return headers;
    }
    let is_allowed = requester == Requester::Signed
        || unsigned.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now());
    if !is_allowed {
        return Arc::default();
    }
    let fetching = timer::timeout(MAX_WAIT, responses.try_get_with(key, fetch(resources, request)));
    match fetching.await {
        Ok(Ok(headers)) => headers,
        Ok(Err(_)) | Err(_) => Arc::default(),
    }
}

/// The storage did not say now. This is not cached.
struct Unavailable;

async fn fetch(resources: &Resources, request: &CorsRequest<'_>) -> Result<Arc<HeaderMap>, Unavailable> {
    let mut preflight = HeaderMap::new();
    preflight.insert(ORIGIN, request.origin.clone());
    let method = HeaderValue::from_str(request.method.as_str()).map_err(|_| Unavailable)?;
    preflight.insert(ACCESS_CONTROL_REQUEST_METHOD, method);
    let path = S3Path::Bucket(request.bucket.clone());
    resources.policies.serve_bucket(request.bucket).map_err(|_| Unavailable)?;
    let response = match send_preflight(resources, &path, &preflight).await {
        Ok(response) => response,
        Err(error) => match error.refusal_status() {
            Some(status) if !status.is_server_error() || status == StatusCode::NOT_IMPLEMENTED => {
                return Ok(Arc::default());
            }
            Some(_) | None => return Err(Unavailable),
        },
    };
    let headers = response.headers().iter().filter(|(name, _)| CORS_RESPONSE_HEADERS.contains(name));
    Ok(Arc::new(headers.map(|(name, value)| (name.clone(), value.clone())).collect()))
}

/// Sends a preflight request to the storage.
///
/// # Errors
/// When the storage does not respond, or its response must not reach a client.
pub(crate) async fn send_preflight(
    resources: &Resources,
    path: &S3Path,
    request_headers: &HeaderMap,
) -> Result<Response<BoxBody>> {
    let mut request = UpstreamRequest::new(Method::OPTIONS, path.bucket(), path.object());
    request.headers = headers::preflight_headers(request_headers);
    upstream_response::pass(resources.upstreams.send(request).await?).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsigned_requests_have_few_questions_a_second() {
        let begun = Instant::now();
        let mut allowance = Allowance { begun, left: MAX_UNSIGNED_PER_SECOND };
        let taken = |allowance: &mut Allowance, at| (0..1_000).filter(|_| allowance.take(at)).count();
        assert_eq!(taken(&mut allowance, begun), MAX_UNSIGNED_PER_SECOND as usize);
        assert_eq!(taken(&mut allowance, begun + Duration::from_millis(999)), 0);
        assert_eq!(taken(&mut allowance, begun + Duration::from_secs(1)), MAX_UNSIGNED_PER_SECOND as usize);
    }
}
