//! What the storage answered when it did not do what was asked.
//!
//! S3's own errors are the client's to read and pass unchanged. Two kinds are not: redirects, which would lead the
//! client (and its plaintext) past the proxy, and complaints about the proxy's own credentials.

use http::{Response, StatusCode};
use http_body_util::Full;

use super::answer;
use crate::body::{BoxBody, boxed, read_bounded};
use crate::error::Error;
use crate::s3::xml;

/// Codes that speak of the credentials the proxy signed with, not of the client's.
const ABOUT_OUR_CREDENTIALS: &[&str] = &[
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "ExpiredToken",
    "InvalidToken",
    "TokenRefreshRequired",
    "RequestTimeTooSkewed",
    "AuthorizationHeaderMalformed",
];

/// Makes an answer of the storage fit for the client. For answers that carry no object content.
///
/// # Errors
/// [`Error::UpstreamRedirect`] and [`Error::UpstreamCredentials`] for the two kinds that must not pass.
pub(super) async fn pass(response: Response<BoxBody>) -> Result<Response<BoxBody>, Error> {
    let status = response.status();
    if status.is_redirection() && status != StatusCode::NOT_MODIFIED {
        return Err(Error::UpstreamRedirect { status: status.as_u16() });
    }
    let (mut parts, body) = response.into_parts();
    answer::clean(&mut parts.headers);
    if status != StatusCode::FORBIDDEN && status != StatusCode::BAD_REQUEST {
        return Ok(Response::from_parts(parts, body));
    }
    let document = read_bounded(body, xml::MAX_ERROR_DOCUMENT).await.map_err(Error::upstream_body)?;
    let code = xml::parse_error_document(&document).ok().map(|error| error.code).unwrap_or_default();
    if ABOUT_OUR_CREDENTIALS.contains(&code.as_str()) {
        return Err(Error::UpstreamCredentials { code });
    }
    Ok(Response::from_parts(parts, buffered(document)))
}

/// A body of bytes that are here already.
pub(super) fn buffered(bytes: impl Into<bytes::Bytes>) -> BoxBody {
    boxed(Full::new(bytes.into()))
}
