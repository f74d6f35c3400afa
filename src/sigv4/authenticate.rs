//! The verdict on one request head.

use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::canonical::{Folding, canonical_query, canonical_request, string_to_sign};
use super::chunked::ChunkSigner;
use super::claim::{Claim, Validity, X_AMZ_SIGNATURE};
use super::credentials::{AccessKeyId, SecretAccessKey};
use super::error::{AuthError, SignatureMismatch};
use super::payload::{ChunkedPayload, ContentSha256, Framing, Payload, UNSIGNED_PAYLOAD};
use super::presigned_v2;
use super::query::Query;
use super::scope::Timestamp;
use crate::wire::header::{CONTENT_SHA256, SECURITY_TOKEN};

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

/// Verifies the signature of `head` and returns the signer's access key id.
///
/// `lookup` gives the secret of an access key id. The body has still to be checked, as
/// [`Authenticated::payload`] says.
///
/// # Errors
/// [`AuthError`] for everything S3 refuses, and for whatever is ambiguous.
pub fn authenticate<'k>(
    head: &RequestHead<'_>,
    policy: &VerifyPolicy,
    now: SystemTime,
    lookup: impl Fn(&str) -> Option<&'k SecretAccessKey>,
) -> Result<Authenticated, AuthError> {
    let query = Query::parse(head.raw_query)?;
    let mechanism = Mechanism::find(head.headers, &query)?;
    if head.headers.contains_key(SECURITY_TOKEN) || query.contains_ignoring_case(SECURITY_TOKEN) {
        return Err(AuthError::SecurityToken);
    }
    match mechanism {
        Mechanism::Header(authorization) => {
            let claim = Claim::from_header(authorization, head.headers)?;
            verify(head, &query, claim, policy, now.into(), lookup)
        }
        Mechanism::Presigned => verify(head, &query, Claim::from_query(&query)?, policy, now.into(), lookup),
        Mechanism::PresignedV2 => presigned_v2::verify(head, &query, policy, now.into(), lookup),
    }
}

enum Mechanism<'a> {
    Header(&'a str),
    Presigned,
    PresignedV2,
}

impl<'a> Mechanism<'a> {
    fn find(headers: &'a HeaderMap, query: &Query) -> Result<Self, AuthError> {
        let authorization = single_header(headers, AUTHORIZATION.as_str())?;
        match (authorization, Claim::is_in(query), presigned_v2::is_in(query)) {
            (None, false, false) => Err(AuthError::Anonymous),
            (Some(authorization), false, false) => Ok(Self::Header(authorization)),
            (None, true, false) => Ok(Self::Presigned),
            (None, false, true) => Ok(Self::PresignedV2),
            (Some(_), true, _) | (Some(_), _, true) | (None, true, true) => Err(AuthError::SeveralMechanisms),
        }
    }
}

fn verify<'k>(
    head: &RequestHead<'_>,
    query: &Query,
    claim: Claim,
    policy: &VerifyPolicy,
    now: Timestamp,
    lookup: impl Fn(&str) -> Option<&'k SecretAccessKey>,
) -> Result<Authenticated, AuthError> {
    claim.check_region(policy.region.as_deref())?;
    claim.check_time(now, policy.max_skew)?;
    claim.signed_headers.refuse_unsigned(head.headers)?;
    let content_sha256 = match (content_sha256(head.headers, query)?, claim.validity) {
        (Some(word), _) => word,
        (None, Validity::For(_)) => UNSIGNED_PAYLOAD,
        (None, Validity::AroundNow) => return Err(AuthError::MissingContentSha256),
    };
    let word = ContentSha256::parse(content_sha256)?;
    let canonical_query = canonical_query(query, Some(X_AMZ_SIGNATURE));
    let canonical = |folding| {
        let signed = &claim.signed_headers;
        let (method, path) = (head.method, head.raw_path);
        canonical_request(method, path, &canonical_query, head.headers, signed, content_sha256, folding)
    };
    let (secret, known) = secret_or_decoy(lookup(claim.access_key_id.as_str()));
    let signing_key = secret.signing_key(&claim.scope);
    let compare = |canonical: &[u8]| {
        let to_sign = string_to_sign(claim.timestamp, &claim.scope, canonical);
        let signature = signing_key.sign(to_sign.as_bytes());
        (signature.matches(&claim.signature), signature, to_sign)
    };
    let spaces = canonical(Folding::Spaces)?;
    let (mut matches, mut signature, to_sign) = compare(&spaces);
    if !matches && claim.signed_headers.is_ambiguous(head.headers) {
        (matches, signature, _) = compare(&canonical(Folding::WhiteSpace)?);
    }
    if !known {
        return Err(AuthError::UnknownAccessKeyId(claim.access_key_id.to_string()));
    }
    if !matches {
        return Err(AuthError::SignatureDoesNotMatch(Box::new(SignatureMismatch {
            access_key_id: claim.access_key_id.to_string(),
            signature_provided: claim.signature,
            string_to_sign: to_sign.into_bytes(),
            canonical_request: Some(spaces),
        })));
    }
    secret.cache_signing_key(&claim.scope, &signing_key);

    let signer = || Box::new(ChunkSigner::new(signing_key, claim.timestamp, &claim.scope, signature));
    Ok(Authenticated {
        payload: payload(word, signer, head.headers)?,
        access_key_id: claim.access_key_id,
        presigned: claim.validity != Validity::AroundNow,
    })
}

/// `signer` is called only for bodies in signed chunks.
fn payload(
    word: ContentSha256,
    signer: impl FnOnce() -> Box<ChunkSigner>,
    headers: &HeaderMap,
) -> Result<Payload, AuthError> {
    let framing = match word {
        ContentSha256::Unsigned => return Ok(Payload::Unsigned),
        ContentSha256::Sha256(hash) => return Ok(Payload::Sha256(hash)),
        ContentSha256::StreamingSigned => Framing::Signed(signer()),
        ContentSha256::StreamingSignedTrailer => Framing::SignedTrailer(signer()),
        ContentSha256::StreamingUnsignedTrailer => Framing::UnsignedTrailer,
    };
    ChunkedPayload::new(framing, headers).map(Payload::Chunked)
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
    let mut word = single_header(headers, CONTENT_SHA256)?;
    for value in query.values_ignoring_case(CONTENT_SHA256) {
        let value = str::from_utf8(value).map_err(|_| AuthError::InvalidContentSha256)?;
        if *word.get_or_insert(value) != value {
            return Err(AuthError::Contradiction(CONTENT_SHA256.to_owned()));
        }
    }
    Ok(word)
}

/// The value of a header that may occur once at most and must be ASCII text.
pub(in crate::sigv4) fn single_header<'a>(
    headers: &'a HeaderMap,
    name: &'static str,
) -> Result<Option<&'a str>, AuthError> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| AuthError::AmbiguousHeader(name)),
        (Some(_), Some(_)) => Err(AuthError::AmbiguousHeader(name)),
    }
}
