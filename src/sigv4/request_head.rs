//! What a verification reads and returns: the head of a request, the policy, and who signed.
//!
//! It must not know the mechanisms (header, query, Version 2). An unknown access key id costs the time of a
//! known one.

use std::sync::LazyLock;
use std::time::Duration;

use http::HeaderMap;

use super::credentials::AccessKeyId;
use super::error::AuthError;
use super::header::single_header;
use super::payload::Payload;
use super::query::Query;
use super::signing_key::SecretAccessKey;
use crate::wire::header::name::CONTENT_SHA256;

/// Replaces the secret of an unknown access key id, so that the response takes as long as for a known one.
/// A signature by this secret is never accepted.
static DECOY: LazyLock<SecretAccessKey> = LazyLock::new(|| SecretAccessKey::new("*".repeat(40)));

/// A request without its body, as sent.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    /// The method, as sent.
    pub method: &'a str,
    /// The path, percent-encoded as sent, without `?`.
    pub raw_path: &'a str,
    /// What follows `?`, as sent; empty if nothing does.
    pub raw_query: &'a str,
    /// All headers, `Host` among them.
    pub headers: &'a HeaderMap,
    /// The bucket, where the host name says it; Version 2 signs it as part of the path.
    pub virtual_host_bucket: Option<&'a str>,
    /// Whether a query parameter means anything to this endpoint. Version 2 does not sign parameters that it
    /// does not know, so one without a meaning may be added to a presigned URL, as S3 allows, and one with a
    /// meaning may not.
    pub is_parameter: fn(&str) -> bool,
}

/// What this endpoint accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyPolicy {
    /// The region clients must sign for; `None` takes any.
    pub region: Option<String>,
    /// How far clocks may differ; S3 says 15 minutes.
    pub max_skew: Duration,
    /// Whether presigned Version 2 URLs and forms are good (boto3 makes them for custom endpoints by
    /// default).
    pub allow_sigv2: bool,
}

impl Default for VerifyPolicy {
    /// S3's: any region, 15 minutes, Version 2 URLs accepted.
    fn default() -> Self {
        Self { region: None, max_skew: Duration::from_secs(15 * 60), allow_sigv2: true }
    }
}

/// A request whose signature is right.
#[derive(Debug)]
pub struct Authenticated {
    /// Whose signature it is.
    pub access_key_id: AccessKeyId,
    /// How the body is bound to the signature.
    pub payload: Payload,
    /// Whether the signature came in the query.
    pub presigned: bool,
}

/// The secret to compute with, and whether it belongs to an access key id.
pub(in crate::sigv4) fn secret_or_decoy(found: Option<&SecretAccessKey>) -> (&SecretAccessKey, bool) {
    match found {
        Some(secret) => (secret, true),
        None => (&DECOY, false),
    }
}

/// `x-amz-content-sha256` from the header or the query (where presigners put it); the two must not differ.
pub(in crate::sigv4) fn content_sha256<'a>(
    headers: &'a HeaderMap,
    query: &'a Query,
) -> Result<Option<&'a str>, AuthError> {
    let mut word = single_header(headers, &CONTENT_SHA256)?;
    for value in query.values_ignoring_case(CONTENT_SHA256.as_str()) {
        let value = str::from_utf8(value).map_err(|_| AuthError::InvalidContentSha256)?;
        if *word.get_or_insert(value) != value {
            return Err(AuthError::Contradiction(CONTENT_SHA256.to_string()));
        }
    }
    Ok(word)
}
