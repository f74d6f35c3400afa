//! The KMS key that a bucket's default encryption names: the key for requests that name none, if the rule
//! allows it.
//!
//! It must not know which keys a rule allows. The storage's document is requested only where a rule allows
//! several keys, and cached for a limited time; a failed lookup is an error and never another key.

use std::sync::Arc;

use http::{HeaderMap, Method, StatusCode};

use super::caches::DefaultKeyCache;
use super::upstream_response;
use crate::body::read_bounded;
use crate::error::{Error, Result, UnexpectedResponse};
use crate::object::Resources;
use crate::s3::{BucketName, xml};
use crate::upstream::UpstreamRequest;

/// The KMS key that the bucket's default encryption names. `None`: the configuration names none, there is no
/// such configuration, or the storage does not support it or denies the proxy access to it.
///
/// # Errors
/// When the storage can't respond now: an object must not get a key other than the one that the bucket's
/// owner chose.
pub(crate) async fn default_key(
    resources: &Resources,
    bucket: &BucketName,
    account: HeaderMap,
) -> Result<Option<Arc<str>>> {
    let DefaultKeyCache(known) = &resources.default_keys;
    let lookup = Box::pin(fetch(resources, bucket, account));
    known.try_get_with_by_ref(bucket, lookup).await.map_err(Error::Shared)
}

async fn fetch(resources: &Resources, bucket: &BucketName, account: HeaderMap) -> Result<Option<Arc<str>>> {
    let mut request = UpstreamRequest::new(Method::GET, bucket, None);
    request.query.push(("encryption".to_owned(), None));
    request.headers = account;
    let response = resources.upstreams.fetch(request).await?;
    if response.status().is_server_error() && response.status() != StatusCode::NOT_IMPLEMENTED {
        return Err(Error::UpstreamFailed { status: response.status().as_u16() });
    }
    // An error about the proxy's own credentials, or a redirect, does not show which key the bucket has.
    // Denied access counts as no default key.
    let response = match upstream_response::pass(response).await {
        Ok(response) if response.status() == StatusCode::OK => response,
        Ok(_) | Err(Error::UpstreamDenied { .. } | Error::PassThrough(_)) => return Ok(None),
        Err(error) => return Err(error),
    };
    let document = read_bounded(response.into_body(), xml::MAX_ENCRYPTION_DOCUMENT).await;
    let document = document.map_err(Error::UpstreamBody)?;
    // LocalStack responds with an empty document where the bucket has no default encryption.
    if document.trim_ascii().is_empty() {
        return Ok(None);
    }
    let key = xml::default_kms_key(&document)
        .map_err(|_| UnexpectedResponse::Document("ServerSideEncryptionConfiguration"))?;
    Ok(key.map(Arc::from))
}
