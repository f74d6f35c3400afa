//! Signing what goes upstream.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::sign::v4::generate_signing_key;
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HOST};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Uri};
use thiserror::Error;

use super::canonical::{ALGORITHM, CanonicalRequest, Folding, canonical_query, string_to_sign};
use super::payload::{STREAMING_UNSIGNED_TRAILER, UNSIGNED_PAYLOAD};
use super::query::Query;
use super::scope::{CredentialScope, SERVICE, Timestamp};
use super::signing_key::{EMPTY_SHA256, SigningKey};
use crate::wire::header::{CONTENT_MD5, CONTENT_SHA256, DATE, SECURITY_TOKEN};
use crate::wire::hex;

/// How the signature covers the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadSigning {
    /// The body is empty.
    Empty,
    /// By the body's SHA-256.
    Sha256([u8; 32]),
    /// Not at all (`UNSIGNED-PAYLOAD`).
    Unsigned,
    /// Not at all, but aws-chunked with a checksum trailer (`STREAMING-UNSIGNED-PAYLOAD-TRAILER`).
    StreamingUnsignedTrailer,
}

/// Why a request could not be signed.
#[derive(Debug, Error)]
pub enum SignError {
    /// Neither a `Host` header nor an authority in the URI.
    #[error("the request has no host")]
    NoHost,
    /// A header that must be signed has bytes that are no text.
    #[error("the header {0} is not valid UTF-8")]
    HeaderNotText(HeaderName),
    /// The query has bytes that are no text.
    #[error("the query is not valid UTF-8")]
    QueryNotText,
    /// The query has more parameters than any S3 request.
    #[error("the query is too long")]
    QueryTooLong,
    /// The access key id or the session token has bytes that no header may have.
    #[error("the credentials do not fit a header")]
    SignatureHeader(#[from] http::header::InvalidHeaderValue),
}

/// Signs requests with Version 4 for S3 in one region.
///
/// The signing context in use is cached: deriving the key costs as much as the rest of a signature.
#[derive(Debug)]
pub struct Signer {
    region: String,
    last: Mutex<Option<Arc<SigningContext>>>,
}

/// The scope and signing key of one day and one pair of credentials.
#[derive(Debug)]
struct SigningContext {
    credentials: Credentials,
    scope: CredentialScope,
    key: SigningKey,
}

impl Signer {
    /// Signs for this region.
    pub fn new(region: impl Into<String>) -> Self {
        Self { region: region.into(), last: Mutex::new(None) }
    }

    /// Signs `parts`: sets `Authorization`, `x-amz-date`, `x-amz-content-sha256`, with temporary credentials
    /// `x-amz-security-token`, and `Host` if it was missing.
    ///
    /// The signature covers `Host`, `Content-Type`, `Content-MD5`, `Content-Encoding` and every `x-amz-*`,
    /// not the headers that proxies in between may change. The URI stays as it is; it is signed in canonical
    /// form.
    ///
    /// # Errors
    /// [`SignError`] for a request without a canonical form; `parts` must not be sent then.
    pub fn sign(
        &self,
        parts: &mut Parts,
        payload: PayloadSigning,
        credentials: &Credentials,
        now: SystemTime,
    ) -> Result<(), SignError> {
        let timestamp = Timestamp::from(now);
        let payload_hash = payload_hash_value(payload);
        let headers = &mut parts.headers;
        headers.remove(AUTHORIZATION);
        headers.remove(SECURITY_TOKEN);
        let date_time = timestamp.basic();
        headers.insert(DATE, HeaderValue::try_from(&date_time)?);
        headers.insert(CONTENT_SHA256, HeaderValue::try_from(&*payload_hash)?);
        if let Some(token) = credentials.session_token() {
            headers.insert(SECURITY_TOKEN, sensitive(token)?);
        }
        if !headers.contains_key(HOST) {
            headers.insert(HOST, host_of(&parts.uri).ok_or(SignError::NoHost)?);
        }

        let (canonical, names) = canonical(parts, &payload_hash)?;
        let signing_context = self.signing_context(credentials, Timestamp::day_of(&date_time), now);
        let to_sign = string_to_sign(timestamp, &signing_context.scope, &canonical);
        let signature = signing_context.key.sign(to_sign.as_bytes());
        let mut authorization = String::with_capacity(512);
        authorization.extend([ALGORITHM, " Credential=", credentials.access_key_id(), "/"]);
        authorization.extend(signing_context.scope.pieces());
        authorization.extend([", SignedHeaders=", &names, ", Signature=", signature.as_str()]);
        parts.headers.insert(AUTHORIZATION, sensitive(&authorization)?);
        Ok(())
    }

    fn signing_context(&self, credentials: &Credentials, day: &str, now: SystemTime) -> Arc<SigningContext> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some(kept) if kept.scope.date == day && kept.credentials == *credentials => Arc::clone(kept),
            Some(_) | None => {
                let secret = credentials.secret_access_key();
                let key = generate_signing_key(secret, now, &self.region, SERVICE);
                let made = Arc::new(SigningContext {
                    credentials: credentials.clone(),
                    scope: CredentialScope { date: day.to_owned(), region: self.region.clone() },
                    key: SigningKey::from_bytes(key.as_ref()),
                });
                *last = Some(Arc::clone(&made));
                made
            }
        }
    }
}

fn sensitive(value: &str) -> Result<HeaderValue, http::header::InvalidHeaderValue> {
    let mut value = HeaderValue::try_from(value)?;
    value.set_sensitive(true);
    Ok(value)
}

fn payload_hash_value(payload: PayloadSigning) -> Cow<'static, str> {
    match payload {
        PayloadSigning::Empty => EMPTY_SHA256.into(),
        PayloadSigning::Sha256(hash) => hex::encode(&hash).into(),
        PayloadSigning::Unsigned => UNSIGNED_PAYLOAD.into(),
        PayloadSigning::StreamingUnsignedTrailer => STREAMING_UNSIGNED_TRAILER.into(),
    }
}

/// The canonical request, and the names of the headers in it.
fn canonical(parts: &Parts, content_sha256: &str) -> Result<(Vec<u8>, String), SignError> {
    let query = Query::parse(parts.uri.query().unwrap_or_default()).map_err(|_| SignError::QueryTooLong)?;
    let is_text = |bytes| str::from_utf8(bytes).is_ok();
    if !query.iter().all(|parameter| is_text(&parameter.name) && is_text(parameter.value())) {
        return Err(SignError::QueryNotText);
    }
    let mut signed: Vec<&HeaderName> = parts.headers.keys().filter(|name| is_signed(name)).collect();
    signed.sort_unstable_by_key(|name| name.as_str());
    let query = canonical_query(&query, None);
    // What MinIO and the embedded store verify, and what AWS's SDKs for Python, JavaScript and Java sign.
    let folding = Folding::WhiteSpace;
    let mut canonical = CanonicalRequest::begin(parts.method.as_str(), parts.uri.path(), &query, folding);
    let mut names = String::with_capacity(256);
    for name in signed {
        let values = parts.headers.get_all(name);
        if !values.iter().all(|value| is_text(value.as_bytes())) {
            return Err(SignError::HeaderNotText(name.clone()));
        }
        canonical.header(name.as_str(), values.iter());
        let separator = if names.is_empty() { "" } else { ";" };
        names.extend([separator, name.as_str()]);
    }
    let canonical = canonical.end(&names, content_sha256);
    Ok((canonical, names))
}

fn is_signed(name: &HeaderName) -> bool {
    name == HOST
        || name == CONTENT_TYPE
        || name == CONTENT_ENCODING
        || name == CONTENT_MD5
        || name.as_str().starts_with("x-amz-")
}

/// The authority without a default port, as HTTP clients write `Host`.
fn host_of(uri: &Uri) -> Option<HeaderValue> {
    let authority = uri.authority()?;
    let host = match (uri.scheme_str(), authority.port_u16()) {
        (Some("http"), Some(80)) | (Some("https"), Some(443)) => authority.host(),
        _ => authority.as_str(),
    };
    HeaderValue::from_str(host).ok()
}
