//! What the storage answered when it did not do what was asked.
//!
//! S3's own errors are the client's to read and pass unchanged. Two kinds are not: redirects, which would lead the
//! client (and its plaintext) past the proxy, and complaints about the proxy's own credentials.

use http::{Response, StatusCode};
use http_body_util::Full;

use super::{answer, late_answer};
use crate::body::{BoxBody, boxed, read_bounded};
use crate::error::Error;
use crate::s3::{S3Error, xml};

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

/// Reads the answer to a copy, which may be an error in spite of its status.
///
/// # Errors
/// [`Error::UnexpectedAnswer`] for a document that says neither.
pub(super) fn copy_answer(document: &[u8]) -> Result<xml::CopyAnswer, Error> {
    xml::parse_copy_answer(document).map_err(|error| {
        tracing::warn!(%error, "the answer to a copy can't be read");
        Error::UnexpectedAnswer("a copy with a document that is no result")
    })
}

/// An error that came in the body of a 200.
pub(super) fn failed(told: xml::ErrorDocument) -> Error {
    if ABOUT_OUR_CREDENTIALS.contains(&told.code.as_str()) {
        return Error::UpstreamCredentials { code: told.code };
    }
    let code = late_answer::code_of(&told.code, StatusCode::INTERNAL_SERVER_ERROR);
    S3Error::new(code, told.message).into()
}

/// A body of bytes that are here already.
pub(super) fn buffered(bytes: impl Into<bytes::Bytes>) -> BoxBody {
    boxed(Full::new(bytes.into()))
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    fn answered(status: u16, code: &str) -> Response<BoxBody> {
        let document = format!("<Error><Code>{code}</Code><Message>m</Message></Error>");
        let mut response = Response::new(buffered(document));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        response.headers_mut().insert("location", "https://storage.example/b/k".parse().unwrap());
        response.headers_mut().insert("x-amz-meta-encryption-key", "AA==".parse().unwrap());
        response
    }

    #[tokio::test]
    async fn redirects_never_reach_the_client() {
        for status in [301, 302, 303, 307, 308] {
            let refused = pass(answered(status, "PermanentRedirect")).await.unwrap_err();
            assert!(matches!(refused, Error::UpstreamRedirect { .. }), "This is a security issue: {status}.");
        }
    }

    #[tokio::test]
    async fn complaints_about_our_credentials_are_not_the_clients() {
        for code in ABOUT_OUR_CREDENTIALS {
            for status in [400, 403] {
                let refused = pass(answered(status, code)).await.unwrap_err();
                assert!(matches!(&refused, Error::UpstreamCredentials { code: told } if told == code));
                assert_eq!(refused.to_s3().status(), StatusCode::INTERNAL_SERVER_ERROR);
            }
        }
    }

    #[tokio::test]
    async fn every_other_answer_passes_with_its_body_and_without_what_is_ours() {
        for (status, code) in [
            (304, ""),
            (403, "AccessDenied"),
            (404, "NoSuchKey"),
            (400, "MetadataTooLarge"),
            (503, "SlowDown"),
        ] {
            let passed = pass(answered(status, code)).await.unwrap();
            assert_eq!(passed.status().as_u16(), status);
            assert!(passed.headers().get("x-amz-meta-encryption-key").is_none());
            let body = passed.into_body().collect().await.unwrap().to_bytes();
            assert!(String::from_utf8_lossy(&body).contains(&format!("<Code>{code}</Code>")));
        }
    }
}
