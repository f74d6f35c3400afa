//! The verdict on one request head.

use std::time::SystemTime;

use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::canonical::{Folding, canonical_query, canonical_request, string_to_sign};
use super::chunk_signer::ChunkSigner;
use super::claim::{Claim, Validity, X_AMZ_SIGNATURE};
use super::error::{AuthError, SignatureMismatch};
use super::header::single_header;
use super::payload::{ChunkedPayload, ContentSha256, Framing, Payload, UNSIGNED_PAYLOAD};
use super::presigned_v2;
use super::query::Query;
use super::request_head::{Authenticated, RequestHead, VerifyPolicy, content_sha256, secret_or_decoy};
use super::scope::Timestamp;
use super::signing_key::SecretAccessKey;
use crate::wire::header::SECURITY_TOKEN;

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
