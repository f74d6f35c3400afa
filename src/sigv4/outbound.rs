//! Signing what goes upstream.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HOST};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Uri};
use thiserror::Error;

use super::canonical::{canonical_path, canonical_query};
use super::query::Query;
use super::scope::SERVICE;
use super::signing_key::{EMPTY_SHA256, hex};

const CONTENT_MD5: &str = "content-md5";
/// What signing sets; what a request had of it before is dropped.
const SET_BY_SIGNING: [&str; 4] =
    ["authorization", "x-amz-date", "x-amz-content-sha256", "x-amz-security-token"];

/// How the signature covers the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadSigning {
    /// There is none.
    Empty,
    /// By its SHA-256.
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
    /// The path and query are longer than a URI may be.
    #[error("the request could not be signed")]
    Signing(#[from] aws_sigv4::http_request::SigningError),
    /// The signer gave a header that is none.
    #[error("the signature does not fit a header")]
    SignatureHeader(#[from] http::header::InvalidHeaderValue),
}

/// Signs `parts` with Version 4 for S3: sets `Authorization`, `x-amz-date`, `x-amz-content-sha256`, with temporary
/// credentials `x-amz-security-token`, and `Host` if it was missing.
///
/// The signature covers `Host`, `Content-Type`, `Content-MD5`, `Content-Encoding` and every `x-amz-*`, not the
/// headers that proxies in between may change. The URI stays as it is; it is signed in canonical form.
///
/// # Errors
/// [`SignError`] for a request that cannot be spelt canonically; `parts` then is not fit to be sent.
pub fn sign_request(
    parts: &mut Parts,
    payload: PayloadSigning,
    credentials: &Credentials,
    region: &str,
    now: SystemTime,
) -> Result<(), SignError> {
    for name in SET_BY_SIGNING {
        parts.headers.remove(name);
    }
    if !parts.headers.contains_key(HOST) {
        parts.headers.insert(HOST, host_of(&parts.uri).ok_or(SignError::NoHost)?);
    }
    let mut headers = Vec::new();
    for (name, value) in parts.headers.iter().filter(|(name, _)| is_signed(name)) {
        let text = str::from_utf8(value.as_bytes()).map_err(|_| SignError::HeaderNotText(name.clone()))?;
        headers.push((name.as_str(), text));
    }

    let identity = credentials.clone().into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(SERVICE)
        .time(now)
        .settings(s3_settings())
        .build()
        .expect("every signing parameter is set")
        .into();
    let request = SignableRequest::new(
        parts.method.as_str(),
        canonical_uri(&parts.uri)?,
        headers.into_iter(),
        signable_body(payload),
    )?;
    let (instructions, _signature) = sign(request, &params)?.into_parts();
    let (signed, _query) = instructions.into_parts();
    for header in signed {
        let mut value = HeaderValue::from_str(header.value())?;
        value.set_sensitive(header.sensitive());
        parts.headers.insert(HeaderName::from_static(header.name()), value);
    }
    Ok(())
}

/// S3's way: the path as it is, encoded once, and the payload word in a header.
fn s3_settings() -> SigningSettings {
    let mut settings = SigningSettings::default();
    settings.percent_encoding_mode = PercentEncodingMode::Single;
    settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    settings
}

fn signable_body(payload: PayloadSigning) -> SignableBody<'static> {
    match payload {
        PayloadSigning::Empty => SignableBody::Precomputed(EMPTY_SHA256.to_owned()),
        PayloadSigning::Sha256(hash) => SignableBody::Precomputed(hex(&hash)),
        PayloadSigning::Unsigned => SignableBody::UnsignedPayload,
        PayloadSigning::StreamingUnsignedTrailer => SignableBody::StreamingUnsignedPayloadTrailer,
    }
}

fn is_signed(name: &HeaderName) -> bool {
    name == HOST
        || name == CONTENT_TYPE
        || name == CONTENT_ENCODING
        || name == CONTENT_MD5
        || name.as_str().starts_with("x-amz-")
}

/// The URI as a server spells it when it verifies. Its authority does not matter: the `Host` header is signed.
fn canonical_uri(uri: &Uri) -> Result<String, SignError> {
    let query = Query::parse(uri.query().unwrap_or_default()).map_err(|_| SignError::QueryTooLong)?;
    let is_text = |bytes| str::from_utf8(bytes).is_ok();
    if !query.iter().all(|parameter| is_text(&parameter.name) && is_text(parameter.value())) {
        return Err(SignError::QueryNotText);
    }
    let separator = if query.iter().next().is_some() { "?" } else { "" };
    Ok(format!("http://host{}{separator}{}", canonical_path(uri.path()), canonical_query(&query, None)))
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
