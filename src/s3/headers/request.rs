//! A client's request headers: passed on, consumed or refused, each by name.

use http::header::{self, Entry, HeaderMap, HeaderName, HeaderValue};
use memchr::memchr;

use super::{
    CANNED_ACL, METADATA, RESERVED, SDK_CHECKSUM_ALGORITHM, SSE, SSE_BUCKET_KEY, SSE_CONTEXT,
    SSE_CUSTOMER_PREFIX, SSE_KMS_KEY_ID, is_checksum_setting, is_of_customer_key,
};
use crate::s3::error::{ErrorCode, S3Error};
use crate::s3::query::{Query, is_hoisted};
use crate::wire::checksum::CHECKSUM_PREFIX;
use crate::wire::limits::MAX_METADATA;

/// About as many headers are added to those of an upload before it is sent: its metadata entries, and what
/// the signature and the connection need. With room for them, the map's table is made once.
const ADDED_LATER: usize = 12;

/// What the proxy does with one header of an upload.
pub(super) enum HeaderAction {
    Pass,
    Consume,
    Reserved,
    Refuse,
}

/// The headers of a PutObject or CreateMultipartUpload that go upstream with the ciphertext.
///
/// Values are passed byte for byte, and repeated header lines stay repeated. Headers that describe the
/// plaintext body or its transfer are consumed; Content-Encoding loses its `aws-chunked`.
///
/// # Errors
/// `NotImplemented`, naming the header, for SSE-C, an encryption context, DSSE, a condition that S3 does
/// not have on uploads, and every unknown `x-amz-*` header; `InvalidArgument` for a metadata name that is
/// reserved for the proxy, and for a value that is not UTF-8; `MetadataTooLarge` for more metadata than S3
/// keeps; and the errors of [`sse_request`].
pub fn put_headers(headers: &HeaderMap) -> Result<HeaderMap, S3Error> {
    sse_request(headers)?;
    let mut upstream = HeaderMap::with_capacity(headers.len() + ADDED_LATER);
    for (name, value) in headers {
        match upload_action(name.as_str()) {
            HeaderAction::Pass => _ = upstream.append(name, value.clone()),
            HeaderAction::Consume => (),
            HeaderAction::Reserved => {
                let message = "This metadata name is reserved for the encrypting proxy";
                return Err(S3Error::invalid_argument(name.as_str(), "", message));
            }
            HeaderAction::Refuse => return Err(not_implemented(name.as_str())),
        }
    }
    if let Entry::Occupied(mut passed) = upstream.entry(header::CONTENT_ENCODING) {
        match stored_content_encoding(headers) {
            Some(encoding) => _ = passed.insert(encoding),
            None => _ = passed.remove(),
        }
    }
    check_metadata_size(&upstream)?;
    check_text(&upstream)?;
    Ok(upstream)
}

/// Checks that S3 stores the user metadata of a request.
///
/// # Errors
/// `MetadataTooLarge` for more than 2,048 bytes.
/// Source: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html>
pub fn check_metadata_size(headers: &HeaderMap) -> Result<(), S3Error> {
    if metadata_size(headers) > MAX_METADATA { Err(ErrorCode::MetadataTooLarge.into()) } else { Ok(()) }
}

/// Bytes of user metadata as S3 counts them.
fn metadata_size(headers: &HeaderMap) -> usize {
    let entries =
        headers.iter().filter_map(|(name, value)| Some((name.as_str().strip_prefix(METADATA)?, value)));
    entries.map(|(name, value)| name.len() + value.len()).sum()
}

pub(super) fn upload_action(name: &str) -> HeaderAction {
    match name {
        "cache-control"
        | "content-disposition"
        | "content-encoding"
        | "content-language"
        | "content-type"
        | "expires"
        | "if-match"
        | "if-none-match"
        | "origin" => HeaderAction::Pass,
        CANNED_ACL
        | "x-amz-expected-bucket-owner"
        | "x-amz-request-payer"
        | "x-amz-storage-class"
        | "x-amz-tagging"
        | "x-amz-website-redirect-location" => HeaderAction::Pass,
        name if RESERVED.contains(&name) => HeaderAction::Reserved,
        name if [METADATA, "x-amz-grant-", "x-amz-object-lock-"].iter().any(|p| name.starts_with(p)) => {
            HeaderAction::Pass
        }
        // Ignoring these would do what the client wanted to prevent.
        "content-range" | "if-modified-since" | "if-unmodified-since" => HeaderAction::Refuse,
        "x-amz-api-version"
        | "x-amz-cf-id"
        | "x-amz-content-sha256"
        | "x-amz-date"
        | "x-amz-decoded-content-length"
        | "x-amz-security-token"
        | "x-amz-trailer"
        | "x-amz-user-agent" => HeaderAction::Consume,
        SDK_CHECKSUM_ALGORITHM | SSE | SSE_KMS_KEY_ID | SSE_BUCKET_KEY => HeaderAction::Consume,
        name if name.starts_with(CHECKSUM_PREFIX) => HeaderAction::Consume,
        name if name.starts_with("x-amz-") => HeaderAction::Refuse,
        _ => HeaderAction::Consume,
    }
}

/// Checks the values that a request to the storage signs: a signature covers text.
///
/// # Errors
/// `InvalidArgument`, naming the header, for a value that is not UTF-8. (S3 accepts US-ASCII, and stores
/// UTF-8 in encoded form.)
/// Source: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html>
pub(super) fn check_text(headers: &HeaderMap) -> Result<(), S3Error> {
    let wrong = headers
        .iter()
        .find(|(name, value)| is_signed(name.as_str()) && std::str::from_utf8(value.as_bytes()).is_err());
    match wrong {
        None => Ok(()),
        Some((name, value)) => {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            Err(S3Error::invalid_argument(
                name.as_str(),
                value,
                format!("The header {name} is not valid UTF-8."),
            ))
        }
    }
}

/// The first header that a request to the storage would sign and that has a tab inside.
#[must_use]
pub fn first_with_tab(headers: &HeaderMap) -> Option<HeaderName> {
    let has_tab = |value: &HeaderValue| memchr(b'\t', value.as_bytes()).is_some();
    headers
        .iter()
        .find(|(name, value)| is_signed(name.as_str()) && has_tab(value))
        .map(|(name, _)| name.clone())
}

/// Whether the signature of a request to the storage covers a header of the client's.
fn is_signed(name: &str) -> bool {
    name.starts_with("x-amz-") || matches!(name, "content-encoding" | "content-md5" | "content-type")
}

/// The refusal of a header.
pub(super) fn not_implemented(name: &str) -> S3Error {
    S3Error::not_implemented(format!("The header {name} asks for something that is not implemented"))
        .with("Header", name)
}

/// Content-Encoding as S3 stores it: without the `aws-chunked` of the transfer; untouched where that is not
/// named.
fn stored_content_encoding(headers: &HeaderMap) -> Option<HeaderValue> {
    let is_transfer = |coding: &[u8]| coding.trim_ascii().eq_ignore_ascii_case(b"aws-chunked");
    let lines: Vec<&[u8]> =
        headers.get_all(header::CONTENT_ENCODING).iter().map(HeaderValue::as_bytes).collect();
    let joined = lines.join(&b","[..]);
    let codings = || joined.split(|byte| *byte == b',');
    if !codings().any(is_transfer) && lines.len() <= 1 {
        return headers.get(header::CONTENT_ENCODING).cloned();
    }
    let kept: Vec<&[u8]> = codings()
        .map(<[u8]>::trim_ascii)
        .filter(|coding| !coding.is_empty() && !is_transfer(coding))
        .collect();
    if kept.is_empty() {
        return None;
    }
    Some(HeaderValue::from_bytes(&kept.join(&b","[..])).expect("pieces of a header value make one"))
}

/// The server-side encryption that a client requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SseRequest {
    /// Nothing: the bucket's default.
    None,
    /// `AES256`.
    S3Managed,
    /// `aws:kms`.
    Kms {
        /// The requested key; the bucket's default if absent.
        key_id: Option<String>,
    },
}

/// Reads the server-side encryption headers of an upload or copy.
///
/// # Errors
/// `NotImplemented` for SSE-C, an encryption context and `aws:kms:dsse`; `InvalidArgument` for another
/// algorithm, for a key id without `aws:kms` and for a value that is not text.
pub fn sse_request(headers: &HeaderMap) -> Result<SseRequest, S3Error> {
    if !headers.keys().any(|name| name.as_str().starts_with(SSE)) {
        return Ok(SseRequest::None);
    }
    refuse_customer_key(headers)?;
    if headers.contains_key(SSE_CONTEXT) {
        return Err(not_implemented(SSE_CONTEXT));
    }
    let key_id = text(headers, SSE_KMS_KEY_ID)?;
    match (text(headers, SSE)?, key_id) {
        (None, None) => Ok(SseRequest::None),
        (Some("AES256"), None) => Ok(SseRequest::S3Managed),
        (Some("aws:kms"), Some("")) => {
            Err(S3Error::invalid_argument(SSE_KMS_KEY_ID, "", "The KMS key id is empty"))
        }
        (Some("aws:kms"), key_id) => Ok(SseRequest::Kms { key_id: key_id.map(str::to_owned) }),
        (Some("aws:kms:dsse"), _) => {
            Err(S3Error::not_implemented("Dual-layer encryption (aws:kms:dsse) is not implemented")
                .with("Header", SSE))
        }
        (None | Some("AES256"), Some(key_id)) => Err(S3Error::invalid_argument(
            SSE_KMS_KEY_ID,
            key_id,
            "Server Side Encryption with AWS KMS managed key requires HTTP header x-amz-server-side-encryption : \
             aws:kms",
        )),
        (Some(other), _) => {
            Err(S3Error::invalid_argument(SSE, other, "The encryption method specified is not supported"))
        }
    }
}

/// Customer keys were taken out of the request before. What is left of their kind is not one of S3's headers,
/// and must not have the effect that the object is stored without a key that the client named.
fn refuse_customer_key(headers: &HeaderMap) -> Result<(), S3Error> {
    match headers.keys().find(|name| name.as_str().starts_with(SSE_CUSTOMER_PREFIX)) {
        None => Ok(()),
        Some(name) => Err(S3Error::not_implemented(
            "This header of a customer-provided key (SSE-C) is not implemented here",
        )
        .with("Header", name.as_str())),
    }
}

/// The one value of a header that must be text.
fn text<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<Option<&'a str>, S3Error> {
    let mut values = headers.get_all(name).iter();
    match (values.next().map(HeaderValue::to_str), values.next()) {
        (None, _) => Ok(None),
        (Some(Ok(value)), None) => Ok(Some(value)),
        (Some(_), _) => Err(S3Error::invalid_argument(name, "", "A header is repeated or is no text")),
    }
}

/// The headers of a GetObject or HeadObject that go upstream as they are. Range and If-Range are the
/// handler's to translate; `x-amz-checksum-mode` would bring the ciphertext's checksum.
///
/// # Errors
/// `NotImplemented` for SSE-C, `InvalidArgument` for a value that is not UTF-8.
pub fn read_headers(headers: &HeaderMap) -> Result<HeaderMap, S3Error> {
    refuse_customer_key(headers)?;
    let passed = headers.iter().filter(|(name, _)| {
        matches!(
            name.as_str(),
            "if-match"
                | "if-modified-since"
                | "if-none-match"
                | "if-unmodified-since"
                | "origin"
                | "x-amz-expected-bucket-owner"
                | "x-amz-request-payer"
        )
    });
    let passed = collect(passed);
    check_text(&passed)?;
    Ok(passed)
}

/// The headers of a CORS preflight, which carries no signature: what the browser needs, and nothing else.
#[must_use]
pub fn preflight_headers(headers: &HeaderMap) -> HeaderMap {
    let is_asked =
        |name: &HeaderName| *name == header::ORIGIN || name.as_str().starts_with("access-control-request-");
    collect(headers.iter().filter(|(name, _)| is_asked(name)))
}

pub(super) fn collect<'a>(lines: impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(name, value.clone());
    }
    headers
}

/// Copies the headers that a presigned URL carries as `x-amz-*` query parameters into `headers`, where all
/// functions of this module look for them. SigV4's own parameters are not copied. Neither are checksum
/// values and `x-amz-sdk-checksum-algorithm`, which S3 ignores in a query: a presigner has no body to
/// compute a checksum from, and the AWS SDK for JavaScript writes the checksum of an empty body.
///
/// # Errors
/// `InvalidArgument` for a parameter that is not valid as a header, or that the request has as a header
/// with another value.
pub fn unhoist(query: &Query, headers: &mut HeaderMap) -> Result<(), S3Error> {
    for (name, value) in query.iter().filter(|(name, _)| is_hoisted(name)) {
        let lower = name.to_ascii_lowercase();
        let of_signer = matches!(
            lower.as_str(),
            "x-amz-algorithm"
                | "x-amz-content-sha256"
                | "x-amz-credential"
                | "x-amz-date"
                | "x-amz-expires"
                | "x-amz-security-token"
                | "x-amz-signature"
                | "x-amz-signedheaders"
                | "x-amz-user-agent"
                | SDK_CHECKSUM_ALGORITHM
        );
        let is_checksum = lower.starts_with(CHECKSUM_PREFIX) && !is_checksum_setting(&lower);
        if of_signer || is_checksum {
            continue;
        }
        let (Ok(header), Ok(line)) =
            (HeaderName::from_bytes(lower.as_bytes()), HeaderValue::from_bytes(value.as_bytes()))
        else {
            let value = if is_of_customer_key(&lower) { "" } else { value };
            return Err(S3Error::invalid_argument(name, value, "This query parameter can be no header"));
        };
        match headers.get(&header) {
            Some(present) if *present != line => {
                return Err(S3Error::new(
                    ErrorCode::InvalidArgument,
                    "A header and a query parameter contradict",
                )
                .with("ArgumentName", name));
            }
            Some(_) => (),
            None => _ = headers.insert(header, line),
        }
    }
    Ok(())
}
