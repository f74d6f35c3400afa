//! The wrapping key of a new object: the key that its request names, else the bucket's default if the rule
//! allows it, else the rule's own.
//!
//! It must not know data keys. A key that the rule does not allow is never returned.

use http::HeaderMap;

use super::default_key;
use super::location::account_headers;
use super::rule::BucketRule;
use crate::error::Result;
use crate::keyring::{EncryptionContext, KeyId, KeyringError};
use crate::object::Resources;
use crate::s3::headers::{self, SseRequest};
use crate::s3::{BucketName, ErrorCode, S3Error};

/// The wrapping key for an object that is stored by a request with these headers; `None`: the keyring's
/// default.
///
/// # Errors
/// `AccessDenied` for a key that the rule does not allow.
pub(crate) async fn selected_key(
    resources: &Resources,
    rule: &BucketRule,
    bucket: &BucketName,
    request: &HeaderMap,
) -> Result<Option<KeyId>> {
    match headers::sse_request(request)? {
        SseRequest::Kms { key_id: Some(requested) } => {
            let message = "The KMS key of the request is not among key_id and allowed_key_ids of the \
                           bucket's rule in the proxy's configuration.";
            let refused = || S3Error::new(ErrorCode::AccessDenied, message);
            Ok(Some(allowed_key(resources, rule, bucket, &requested).await?.ok_or_else(refused)?))
        }
        SseRequest::None if !rule.keys.allowed_key_ids.is_empty() => {
            let account = account_headers(request);
            let Some(default) = default_key::default_key(resources, bucket, account).await? else {
                return Ok(rule.keys.key_id.clone());
            };
            let allowed = allowed_key(resources, rule, bucket, &default).await?;
            Ok(allowed.or_else(|| rule.keys.key_id.clone()))
        }
        SseRequest::None | SseRequest::Kms { key_id: None } | SseRequest::S3Managed => {
            Ok(rule.keys.key_id.clone())
        }
    }
}

/// The key called `name`, among the keys that the rule allows. `name` may be an alias, the ARN of an
/// alias, a key's ARN or its id. A name that the configuration does not contain is compared with the full
/// names that the key service reports for the configured keys.
///
/// # Errors
/// When the key service can't respond now.
pub(crate) async fn allowed_key(
    resources: &Resources,
    rule: &BucketRule,
    bucket: &BucketName,
    name: &str,
) -> Result<Option<KeyId>> {
    let keyring = &resources.keyring;
    if let Some(key_id) = keyring.allowed_keys(&rule.keys).find(|key_id| key_id.is_named(name, None)) {
        return Ok(Some(key_id.clone()));
    }
    let context = EncryptionContext::native(rule.realm(bucket));
    for key_id in keyring.allowed_keys(&rule.keys).filter(|key_id| key_id.is_alias()) {
        match keyring.full_name(&rule.keys, key_id, &context).await {
            Ok(full_name) if key_id.is_named(name, Some(&full_name)) => return Ok(Some(key_id.clone())),
            Ok(_) => {}
            Err(error) if error.is_unavailability() || error == KeyringError::Interrupted => {
                return Err(error.into());
            }
            Err(error) => tracing::debug!(%error, %key_id, "the full name of an allowed key is unavailable"),
        }
    }
    Ok(None)
}
