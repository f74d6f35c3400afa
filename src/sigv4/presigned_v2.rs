//! Presigned Signature Version 2: `?AWSAccessKeyId=...&Expires=...&Signature=...`, HMAC-SHA1 over a string
//! that covers the path, listed sub-resources and `x-amz-*`, but not the rest of the query.
//!
//! Source: "Authenticating Requests (AWS Signature Version 2)", and the list of signed parameters boto3 uses.

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue};

use super::claim::single_parameter;
use super::credentials::AccessKeyId;
use super::error::{AuthError, AuthFault, AuthSource, SignatureMismatch};
use super::header::{CONTENT_MD5, CONTENT_TYPE, single_header};
use super::payload::{ChunkedPayload, ContentSha256, Framing, Payload};
use super::query::Query;
use super::request_head::{Authenticated, RequestHead, VerifyPolicy, content_sha256, secret_or_decoy};
use super::scope::Timestamp;
use super::signing_key::{SecretAccessKey, Signature};

const ACCESS_KEY_ID: &str = "AWSAccessKeyId";
const SIGNATURE: &str = "Signature";
const EXPIRES: &str = "Expires";

/// Query parameters that are part of the string to sign.
const SIGNED_PARAMETERS: &[&str] = &[
    "accelerate",
    "acl",
    "analytics",
    "cors",
    "defaultObjectAcl",
    "delete",
    "inventory",
    "lifecycle",
    "location",
    "logging",
    "metrics",
    "notification",
    "object-lock",
    "partNumber",
    "policy",
    "replication",
    "requestPayment",
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "response-content-language",
    "response-content-type",
    "response-expires",
    "restore",
    "select",
    "select-type",
    "storageClass",
    "tagging",
    "torrent",
    "uploadId",
    "uploads",
    "versionId",
    "versioning",
    "versions",
    "website",
];

/// Parameters that Version 2 leaves unsigned and that do not turn the signed operation into another one: they
/// steer listings, name the operation for logs, or repeat a signed header. Any other parameter with a meaning
/// here is refused: the holder of the URL could have added it.
const HARMLESS_PARAMETERS: &[&str] = &[
    ACCESS_KEY_ID,
    SIGNATURE,
    EXPIRES,
    "content-md5",
    "content-type",
    "continuation-token",
    "delimiter",
    "encoding-type",
    "fetch-owner",
    "key-marker",
    "list-type",
    "marker",
    "max-keys",
    "max-parts",
    "max-uploads",
    "part-number-marker",
    "prefix",
    "start-after",
    "upload-id-marker",
    "version-id-marker",
    "x-id",
];

/// Whether the query claims a Version 2 signature, well formed or not.
pub(in crate::sigv4) fn is_in(query: &Query) -> bool {
    query.contains(ACCESS_KEY_ID) || query.contains(SIGNATURE)
}

pub(in crate::sigv4) fn verify<'k>(
    head: &RequestHead<'_>,
    query: &Query,
    policy: &VerifyPolicy,
    now: Timestamp,
    lookup: impl Fn(&str) -> Option<&'k SecretAccessKey>,
) -> Result<Authenticated, AuthError> {
    if !policy.allow_sigv2 {
        return Err(AuthError::SigV2NotAllowed);
    }
    if !matches!(head.method, "GET" | "HEAD" | "PUT") {
        return Err(AuthError::SigV2Method);
    }
    let malformed = |fault| AuthError::Malformed { found_in: AuthSource::Query, fault };
    let access_key_id = single_parameter(query, ACCESS_KEY_ID).map_err(malformed)?;
    let provided = single_parameter(query, SIGNATURE).map_err(malformed)?;
    let expires = single_parameter(query, EXPIRES).map_err(malformed)?;
    let end = Timestamp::parse_epoch(expires).ok_or_else(|| malformed(AuthFault::Epoch))?;
    if now > end {
        return Err(AuthError::Expired { expires: end.to_string(), server_time: now.to_string() });
    }
    let to_sign = string_to_sign(head, query, expires)?;

    let (secret, known) = secret_or_decoy(lookup(access_key_id));
    let matches = Signature::v2(secret, &to_sign).matches(provided);
    if !known {
        return Err(AuthError::UnknownAccessKeyId(access_key_id.to_owned()));
    }
    if !matches {
        return Err(AuthError::SignatureDoesNotMatch(Box::new(SignatureMismatch {
            access_key_id: access_key_id.to_owned(),
            signature_provided: provided.to_owned(),
            string_to_sign: to_sign,
            canonical_request: None,
        })));
    }
    Ok(Authenticated {
        access_key_id: AccessKeyId::new(access_key_id),
        payload: payload(head, query)?,
        presigned: true,
    })
}

/// Method, Content-MD5, Content-Type and `Expires`, a line each, then the `x-amz-*` lines and the resource.
fn string_to_sign(head: &RequestHead<'_>, query: &Query, expires: &str) -> Result<Vec<u8>, AuthError> {
    let text = |name| single_header(head.headers, name).map(|value| value.unwrap_or_default().trim());
    let (md5, content_type) = (text(&CONTENT_MD5)?, text(&CONTENT_TYPE)?);
    let mut to_sign = format!("{}\n{md5}\n{content_type}\n{expires}\n", head.method).into_bytes();
    for (name, value) in amz_values(head, query)? {
        to_sign.extend_from_slice(name.as_bytes());
        to_sign.push(b':');
        to_sign.extend_from_slice(&value);
        to_sign.push(b'\n');
    }
    push_resource(&mut to_sign, head, query)?;
    Ok(to_sign)
}

/// The `x-amz-*` values by lowercase name, from the headers and from the query, where boto3 puts the headers
/// it signs; given in both places they must agree.
fn amz_values(head: &RequestHead<'_>, query: &Query) -> Result<BTreeMap<String, Vec<u8>>, AuthError> {
    let mut values = BTreeMap::new();
    for name in head.headers.keys().filter(|name| name.as_str().starts_with("x-amz-")) {
        let pieces: Vec<&[u8]> =
            head.headers.get_all(name).iter().map(|value| value.as_bytes().trim_ascii()).collect();
        values.insert(name.as_str().to_owned(), pieces.join(&b','));
    }
    for parameter in query.iter().filter(|parameter| is_amz(&parameter.name)) {
        let name = String::from_utf8_lossy(&parameter.name).to_ascii_lowercase();
        let value = parameter.value().trim_ascii();
        // A colon or a line break would let one parameter sign as two headers.
        if HeaderName::try_from(&name).is_err() || HeaderValue::try_from(value).is_err() {
            return Err(AuthError::SigV2UnsignedParameter(name));
        }
        if values.entry(name.clone()).or_insert_with(|| value.to_vec()) != value {
            return Err(AuthError::Contradiction(name));
        }
    }
    Ok(values)
}

/// `/bucket/key` as on the wire, then the signed parameters sorted by name, their values decoded.
fn push_resource(to_sign: &mut Vec<u8>, head: &RequestHead<'_>, query: &Query) -> Result<(), AuthError> {
    if let Some(bucket) = head.virtual_host_bucket {
        to_sign.push(b'/');
        to_sign.extend_from_slice(bucket.as_bytes());
    }
    to_sign.extend_from_slice(head.raw_path.as_bytes());

    let mut signed = Vec::new();
    for parameter in query.iter().filter(|parameter| !is_amz(&parameter.name)) {
        let is_signed = is_one_of(SIGNED_PARAMETERS, &parameter.name);
        let means_nothing = !str::from_utf8(&parameter.name).is_ok_and(head.is_parameter);
        let is_harmless = means_nothing || is_one_of(HARMLESS_PARAMETERS, &parameter.name);
        if (!is_signed && !is_harmless) || (is_signed && swallows_another(parameter.value())) {
            let name = String::from_utf8_lossy(&parameter.name).into_owned();
            return Err(AuthError::SigV2UnsignedParameter(name));
        }
        if is_signed {
            signed.push(parameter);
        }
    }
    signed.sort_by_key(|parameter| &parameter.name);
    let mut separator = b'?';
    for parameter in signed {
        to_sign.push(separator);
        to_sign.extend_from_slice(&parameter.name);
        if let Some(value) = &parameter.value {
            to_sign.push(b'=');
            to_sign.extend_from_slice(value);
        }
        separator = b'&';
    }
    Ok(())
}

/// Whether a decoded value reads like further signed parameters: Version 2 signs values decoded, so
/// `torrent=&versionId=1` and `torrent=%26versionId%3D1` have one signature.
fn swallows_another(value: &[u8]) -> bool {
    value.split(|&byte| byte == b'&').skip(1).any(|piece| {
        let name = piece.split(|&byte| byte == b'=').next().unwrap_or_default();
        is_one_of(SIGNED_PARAMETERS, name)
    })
}

fn is_one_of(names: &[&str], name: &[u8]) -> bool {
    names.iter().any(|one| one.as_bytes() == name)
}

fn is_amz(name: &[u8]) -> bool {
    name.get(..6).is_some_and(|start| start.eq_ignore_ascii_case(b"x-amz-"))
}

fn payload(head: &RequestHead<'_>, query: &Query) -> Result<Payload, AuthError> {
    let Some(word) = content_sha256(head.headers, query)? else {
        return Ok(Payload::Unsigned);
    };
    match ContentSha256::parse(word)? {
        ContentSha256::Unsigned => Ok(Payload::Unsigned),
        ContentSha256::Sha256(hash) => Ok(Payload::Sha256(hash)),
        ContentSha256::StreamingUnsignedTrailer => {
            ChunkedPayload::new(Framing::UnsignedTrailer, head.headers).map(Payload::Chunked)
        }
        ContentSha256::StreamingSigned | ContentSha256::StreamingSignedTrailer => {
            Err(AuthError::SigV2SignedChunks)
        }
    }
}
