//! The verdict on one request head.

use std::time::SystemTime;

use http::HeaderMap;

use super::canonical::{CanonicalRequest, Folding, with_scratch};
use super::chunk_signer::ChunkSigner;
use super::claim::{Claim, Validity, X_AMZ_SIGNATURE};
use super::credentials::AccessKeyId;
use super::error::{AuthError, SignatureMismatch};
use super::header::{AUTHORIZATION, single_header};
use super::payload::{ChunkedPayload, ContentSha256, Framing, Payload, UNSIGNED_PAYLOAD};
use super::presigned_v2;
use super::query::Query;
use super::request_head::{Authenticated, RequestHead, VerifyPolicy, content_sha256, secret_or_decoy};
use super::scope::Timestamp;
use super::signing_key::{SecretAccessKey, Signature, SigningKey};
use crate::wire::header::{self, name::SECURITY_TOKEN};

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
    if header::find(head.headers, &SECURITY_TOKEN).is_some()
        || query.contains_ignoring_case(SECURITY_TOKEN.as_str())
    {
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
        let authorization = single_header(headers, &AUTHORIZATION)?;
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
    claim: Claim<'_>,
    policy: &VerifyPolicy,
    now: Timestamp,
    lookup: impl Fn(&str) -> Option<&'k SecretAccessKey>,
) -> Result<Authenticated, AuthError> {
    claim.check_region(policy.region.as_deref())?;
    claim.check_time(now, policy.max_skew)?;
    let found = claim.signed_names.find(head.headers)?;
    let content_sha256 = match (content_sha256(head.headers, query)?, claim.validity) {
        (Some(word), _) => word,
        (None, Validity::For(_)) => UNSIGNED_PAYLOAD,
        (None, Validity::AroundNow) => return Err(AuthError::MissingContentSha256),
    };
    let word = ContentSha256::parse(content_sha256)?;
    let headers = found.complete()?;
    let canonical = CanonicalRequest {
        method: head.method,
        raw_path: head.raw_path,
        query,
        unsigned_parameter: Some(X_AMZ_SIGNATURE),
        headers: &headers,
        content_sha256: content_sha256.as_bytes(),
    };
    let (secret, known) = secret_or_decoy(lookup(claim.access_key_id));
    let cached = secret.cached_signing_key(&claim.scope);
    let is_cached = cached.is_some();
    let signing_key = cached.unwrap_or_else(|| SigningKey::derive(secret, &claim.scope));
    let verified = with_scratch(|buffer| verify_signature(&canonical, &claim, &signing_key, buffer));
    if !known {
        return Err(AuthError::UnknownAccessKeyId(claim.access_key_id.to_owned()));
    }
    let signature = verified.map_err(AuthError::SignatureDoesNotMatch)?;
    if !is_cached {
        secret.cache_signing_key(&claim.scope, &signing_key);
    }

    let signer = || Box::new(ChunkSigner::new(signing_key, claim.time, &claim.scope, signature));
    Ok(Authenticated {
        payload: payload(word, signer, head.headers)?,
        access_key_id: AccessKeyId::new(claim.access_key_id),
        presigned: claim.validity != Validity::AroundNow,
    })
}

/// The signature, if it is the one that the client sent, in either way to fold white space.
fn verify_signature(
    canonical: &CanonicalRequest<'_, '_>,
    claim: &Claim<'_>,
    signing_key: &SigningKey,
    buffer: &mut Vec<u8>,
) -> Result<Signature, Box<SignatureMismatch>> {
    let text = canonical.write(buffer, Folding::Spaces, &claim.time, &claim.scope);
    let signature = signing_key.sign(text.string_to_sign);
    if signature.matches(claim.signature) {
        return Ok(signature);
    }
    let mismatch = Box::new(SignatureMismatch {
        access_key_id: claim.access_key_id.to_owned(),
        signature_provided: claim.signature.to_owned(),
        string_to_sign: text.string_to_sign.to_vec(),
        canonical_request: Some(text.canonical_request.to_vec()),
    });
    if canonical.headers.is_ambiguous() {
        let text = canonical.write(buffer, Folding::WhiteSpace, &claim.time, &claim.scope);
        let signature = signing_key.sign(text.string_to_sign);
        if signature.matches(claim.signature) {
            return Ok(signature);
        }
    }
    Err(mismatch)
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
