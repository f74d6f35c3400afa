//! Signing what goes upstream.
//!
//! It must not know how requests are sent. The signing key is derived once a day for one pair of credentials,
//! and the date is formatted once a second in each thread.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::sign::v4::generate_signing_key;
use bytes::Bytes;
use http::header::{HOST, InvalidHeaderValue};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Uri};
use thiserror::Error;

use super::canonical::{ALGORITHM, CanonicalRequest, Folding, SignedHeaders, with_scratch};
use super::header::{AMZ_DATE, AUTHORIZATION};
use super::payload::{STREAMING_UNSIGNED_TRAILER, UNSIGNED_PAYLOAD};
use super::query::Query;
use super::scope::{BasicTime, CredentialScope, SERVICE, Timestamp};
use super::signing_key::{EMPTY_SHA256, SigningKey};
use crate::wire::header::name::{CONTENT_SHA256, SECURITY_TOKEN};
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
    SignatureHeader(#[from] InvalidHeaderValue),
}

/// Signs requests with Version 4 for S3 in one region.
///
/// The signing context in use is cached: deriving the key costs as much as the rest of a signature.
#[derive(Debug)]
pub struct Signer {
    region: String,
    last: Mutex<Option<Arc<SigningContext>>>,
}

/// What all signatures of one day and one pair of credentials have in common.
#[derive(Debug)]
struct SigningContext {
    credentials: Credentials,
    /// `YYYYMMDD`.
    day: String,
    key: SigningKey,
    /// The value of `Authorization` up to the names of the signed headers.
    prefix: String,
    /// The value of `x-amz-security-token`, with temporary credentials.
    token: Option<HeaderValue>,
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
        let second = SigningSecond::latest(now);
        let context = self.signing_context(credentials, second.time.day(), now)?;
        let content_sha256 = content_sha256(payload)?;
        let headers = &mut parts.headers;
        headers.insert(&AMZ_DATE, second.header);
        headers.insert(&CONTENT_SHA256, content_sha256.clone());
        match &context.token {
            Some(token) => headers.insert(&SECURITY_TOKEN, token.clone()),
            None => headers.remove(&SECURITY_TOKEN),
        };
        if !headers.contains_key(HOST) {
            headers.insert(HOST, host_of(&parts.uri).ok_or(SignError::NoHost)?);
        }
        let authorization = self.authorization(parts, &content_sha256, &context, &second.time)?;
        parts.headers.insert(&AUTHORIZATION, authorization);
        Ok(())
    }

    /// The value of `Authorization`.
    fn authorization(
        &self,
        parts: &Parts,
        content_sha256: &HeaderValue,
        context: &SigningContext,
        time: &BasicTime,
    ) -> Result<HeaderValue, SignError> {
        let query =
            Query::parse(parts.uri.query().unwrap_or_default()).map_err(|_| SignError::QueryTooLong)?;
        let is_text = |bytes| str::from_utf8(bytes).is_ok();
        if !query.iter().all(|parameter| is_text(&parameter.name) && is_text(parameter.value())) {
            return Err(SignError::QueryNotText);
        }
        let headers = SignedHeaders::new(&parts.headers, is_signed);
        let canonical = CanonicalRequest {
            method: parts.method.as_str(),
            raw_path: parts.uri.path(),
            query: &query,
            unsigned_parameter: None,
            headers: &headers,
            content_sha256: content_sha256.as_bytes(),
        };
        let scope = CredentialScope { date: &context.day, region: &self.region };
        // What MinIO and the embedded store verify, and what AWS's SDKs for Python, JavaScript and Java sign.
        let folding = Folding::WhiteSpace;
        let value = with_scratch(|buffer| {
            let text = canonical.write(buffer, folding, time, &scope);
            // One look at all headers serves nearly all requests.
            if !text.canonical_request.is_ascii()
                && let Some(name) = headers.first_not_text()
            {
                return Err(SignError::HeaderNotText(name.clone()));
            }
            let signature = context.key.sign(text.string_to_sign);
            let prefix = context.prefix.as_bytes();
            Ok([prefix, text.signed_names, b", Signature=", signature.as_str().as_bytes()].concat())
        })?;
        Ok(sensitive(HeaderValue::from_maybe_shared(Bytes::from(value))?))
    }

    fn signing_context(
        &self,
        credentials: &Credentials,
        day: &str,
        now: SystemTime,
    ) -> Result<Arc<SigningContext>, InvalidHeaderValue> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some(kept) if kept.day == day && kept.credentials == *credentials => Ok(Arc::clone(kept)),
            Some(_) | None => {
                let secret = credentials.secret_access_key();
                let key = generate_signing_key(secret, now, &self.region, SERVICE);
                let scope = CredentialScope { date: day, region: &self.region };
                let id = credentials.access_key_id();
                let made = Arc::new(SigningContext {
                    credentials: credentials.clone(),
                    day: day.to_owned(),
                    key: SigningKey::from_bytes(key.as_ref()),
                    prefix: format!("{ALGORITHM} Credential={id}/{scope}, SignedHeaders="),
                    token: credentials.session_token().map(HeaderValue::try_from).transpose()?.map(sensitive),
                });
                *last = Some(Arc::clone(&made));
                Ok(made)
            }
        }
    }
}

/// A second in which requests are signed.
#[derive(Clone)]
struct SigningSecond {
    start: SystemTime,
    time: BasicTime,
    /// The value of `x-amz-date`.
    header: HeaderValue,
}

thread_local! {
    /// The second of the thread's latest signature.
    static LATEST: RefCell<Option<SigningSecond>> = const { RefCell::new(None) };
}

impl SigningSecond {
    fn new(now: SystemTime) -> Self {
        let timestamp = Timestamp::from(now);
        let time = timestamp.basic();
        let header = HeaderValue::from_str(time.as_str()).expect("digits and letters fit a header");
        Self { start: timestamp.start_of_second(), time, header }
    }

    /// The second of `now`; made only if the thread's latest signature has another one.
    fn latest(now: SystemTime) -> Self {
        LATEST.with_borrow_mut(|latest| match latest {
            Some(kept) if kept.contains(now) => kept.clone(),
            Some(_) | None => latest.insert(Self::new(now)).clone(),
        })
    }

    fn contains(&self, moment: SystemTime) -> bool {
        moment.duration_since(self.start).is_ok_and(|age| age < Duration::from_secs(1))
    }
}

fn sensitive(mut value: HeaderValue) -> HeaderValue {
    value.set_sensitive(true);
    value
}

fn content_sha256(payload: PayloadSigning) -> Result<HeaderValue, InvalidHeaderValue> {
    match payload {
        PayloadSigning::Empty => Ok(HeaderValue::from_static(EMPTY_SHA256)),
        PayloadSigning::Sha256(hash) => HeaderValue::from_bytes(hex::encode_array(&hash).as_flattened()),
        PayloadSigning::Unsigned => Ok(HeaderValue::from_static(UNSIGNED_PAYLOAD)),
        PayloadSigning::StreamingUnsignedTrailer => Ok(HeaderValue::from_static(STREAMING_UNSIGNED_TRAILER)),
    }
}

fn is_signed(name: &str) -> bool {
    name.starts_with("x-amz-") || matches!(name, "host" | "content-type" | "content-encoding" | "content-md5")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_spelt_as_its_second() {
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_369_353_600);
        for millis in [0, 999, 1_000, 500, 86_399_999, 86_400_000, 86_400_001, 0] {
            let now = start + Duration::from_millis(millis);
            let second = SigningSecond::latest(now);
            assert_eq!(second.time, Timestamp::from(now).basic(), "{millis}");
            assert_eq!(second.header, second.time.as_str(), "{millis}");
        }
    }
}
