//! Checks storage responses that report something other than success.
//!
//! S3's own errors are passed to the client unchanged. Four kinds are not: redirects, which would lead the
//! client (and its plaintext) past the proxy; errors about the proxy's own credentials; refusals that name
//! the proxy's account; and statuses that S3 does not have, some of them with an effect on a browser.
//!
//! It must not know operations. No response that passes leads a client past the proxy or names its account.

use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Response, StatusCode, response};
use http_body_util::Full;

use super::response_headers;
use crate::body::{BoxBody, boxed, read_bounded};
use crate::error::{Error, Result, UnexpectedResponse, UpstreamRefusal, error_code};
use crate::s3::{S3Error, xml};
use crate::upstream;

/// Error codes about the credentials that the proxy signed with, not about the client's.
const PROXY_CREDENTIAL_CODES: &[&str] = &[
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "ExpiredToken",
    "InvalidToken",
    "TokenRefreshRequired",
    "RequestTimeTooSkewed",
    "AuthorizationHeaderMalformed",
];

/// Substring of an AccessDenied message that names the requester whose request was denied: the proxy's own
/// role or user.
const ARN_PREFIX: &str = "arn:";

/// Returns a successful response of the storage, fit for the client. For responses without object content.
///
/// # Errors
/// [`Error::PassThrough`] for an error that the client may read, and [`Error::UpstreamRedirect`],
/// [`Error::UpstreamCredentials`], [`Error::UpstreamDenied`] and [`Error::UnexpectedResponse`] for the four
/// kinds of responses that must not pass.
pub(crate) async fn pass(response: Response<BoxBody>) -> Result<Response<BoxBody>> {
    let status = response.status();
    if status.is_redirection() && status != StatusCode::NOT_MODIFIED {
        return Err(Error::UpstreamRedirect { status: status.as_u16() });
    }
    if status == StatusCode::UNAUTHORIZED {
        // Cloudflare R2's response to a credential that it does not know. A browser would ask its user for
        // another credential.
        return Err(Error::UpstreamCredentials { code: "Unauthorized".to_owned() });
    }
    if !is_s3_status(status) {
        return Err(UnexpectedResponse::Status(status.as_u16()).into());
    }
    let (mut parts, body) = response.into_parts();
    response_headers::retain_s3(&mut parts.headers);
    if status.is_success() {
        return Ok(Response::from_parts(parts, body));
    }
    let document = read_bounded(body, xml::MAX_ERROR_DOCUMENT).await.map_err(Error::UpstreamBody)?;
    if let Ok(error) = xml::parse_error_document(&document) {
        refuse_proxy_error(&error)?;
    }
    Err(Error::PassThrough(Box::new(UpstreamRefusal { status, headers: parts.headers, document })))
}

/// The error for a response whose status was not the expected one.
pub(crate) async fn refusal(response: Response<BoxBody>) -> Error {
    match pass(response).await {
        Err(refusal) => refusal,
        Ok(unexpected) => Error::UnexpectedResponse(UnexpectedResponse::Status(unexpected.status().as_u16())),
    }
}

/// Whether S3 can respond with this status: success, 304 and errors, except those that ask a browser or an
/// HTTP client to reach the server in another way (407, 421, 426, 511).
fn is_s3_status(status: StatusCode) -> bool {
    match status.as_u16() {
        200 | 201 | 202 | 204 | 206 | 304 => true,
        407 | 421 | 426 | 511 => false,
        other => (400..600).contains(&other),
    }
}

/// Refuses an error document about the proxy's own credentials or account.
fn refuse_proxy_error(error: &xml::ErrorDocument) -> Result<()> {
    if PROXY_CREDENTIAL_CODES.contains(&error.code.as_str()) {
        return Err(Error::UpstreamCredentials { code: error.code.clone() });
    }
    if error.code == "AccessDenied" && error.message.contains(ARN_PREFIX) {
        return Err(Error::UpstreamDenied { message: error.message.clone() });
    }
    Ok(())
}

/// Converts the response to a deletion. A 404 to a repeated request becomes 204: an earlier attempt, whose
/// response was lost, deleted the object, so the object is not reported as missing.
pub(crate) fn deleted(response: Response<BoxBody>) -> Response<BoxBody> {
    if response.status() != StatusCode::NOT_FOUND || !upstream::is_repeated(&response) {
        return response;
    }
    let mut done = Response::new(BoxBody::default());
    *done.status_mut() = StatusCode::NO_CONTENT;
    done
}

/// Parses the document of a response to a copy, which may be an error document despite the status 200.
///
/// # Errors
/// [`Error::UnexpectedResponse`] for a document that is neither a copy's result nor an error.
pub(crate) fn parse_copy(document: &[u8]) -> Result<xml::CopyResponse> {
    xml::parse_copy_response(document).map_err(|error| {
        tracing::warn!(%error, "the response to a copy is invalid");
        Error::UnexpectedResponse(UnexpectedResponse::Document("CopyObjectResult"))
    })
}

/// Reads the storage's response to a copy: its headers, and the result, which has an ETag.
///
/// # Errors
/// As [`pass`], the storage's own error when it failed behind a status of 200, [`Error::UpstreamBody`] for a
/// response that breaks off, and [`Error::UnexpectedResponse`] for one without ETag.
pub(crate) async fn read_copy(response: Response<BoxBody>) -> Result<(HeaderMap, xml::CopyResult)> {
    let (head, body) = pass(response).await?.into_parts();
    let document = read_bounded(body, xml::MAX_COPY_RESPONSE).await.map_err(Error::UpstreamBody)?;
    match parse_copy(&document)? {
        xml::CopyResponse::Failed(error) => Err(failed(error)),
        xml::CopyResponse::Copied(result) if result.etag.is_empty() => {
            Err(UnexpectedResponse::Missing("ETag").into())
        }
        xml::CopyResponse::Copied(result) => Ok((head.headers, result)),
    }
}

/// Converts an error document that was the body of a 200 response.
pub(crate) fn failed(document: xml::ErrorDocument) -> Error {
    if let Err(proxy_error) = refuse_proxy_error(&document) {
        return proxy_error;
    }
    let code = error_code(&document.code, StatusCode::INTERNAL_SERVER_ERROR);
    S3Error::new(code, document.message).into()
}

/// Parses the document of a successful response, of at most `limit` bytes, whose root element is `root`.
///
/// # Errors
/// [`Error::UpstreamBody`] for a body that breaks off or is longer, [`Error::UnexpectedResponse`] for another
/// document.
pub(crate) async fn parse_body<T, E>(
    body: BoxBody,
    limit: usize,
    root: &'static str,
    parse: impl FnOnce(&[u8]) -> Result<T, E>,
) -> Result<T> {
    let document = read_bounded(body, limit).await.map_err(Error::UpstreamBody)?;
    Ok(parse(&document).map_err(|_| UnexpectedResponse::Document(root))?)
}

/// A body of buffered bytes.
pub(crate) fn buffered(bytes: impl Into<bytes::Bytes>) -> BoxBody {
    boxed(Full::new(bytes.into()))
}

/// A response with this head and another document.
pub(crate) fn with_document(mut head: response::Parts, document: String) -> Response<BoxBody> {
    head.headers.remove(CONTENT_LENGTH);
    Response::from_parts(head, buffered(document))
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    fn response(status: u16, code: &str) -> Response<BoxBody> {
        let document = format!("<Error><Code>{code}</Code><Message>m</Message></Error>");
        let mut response = Response::new(buffered(document));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        response.headers_mut().insert("location", "https://storage.example/b/k".parse().unwrap());
        response.headers_mut().insert("x-amz-meta-encryption-key", "AA==".parse().unwrap());
        response
    }

    /// The response that the client receives.
    async fn passed(response: Response<BoxBody>) -> Response<BoxBody> {
        match pass(response).await {
            Ok(response) => response,
            Err(error) => error.into_refusal().unwrap().into_response(),
        }
    }

    #[tokio::test]
    async fn redirects_never_reach_the_client() {
        for status in [301, 302, 303, 307, 308] {
            let refused = pass(response(status, "PermanentRedirect")).await.unwrap_err();
            assert!(matches!(refused, Error::UpstreamRedirect { .. }), "This is a security issue: {status}.");
        }
    }

    #[tokio::test]
    async fn errors_about_the_proxys_credentials_are_not_the_clients() {
        for code in PROXY_CREDENTIAL_CODES {
            for status in [400, 403] {
                let refused = pass(response(status, code)).await.unwrap_err();
                assert!(
                    matches!(&refused, Error::UpstreamCredentials { code: reported } if reported == code)
                );
                assert_eq!(refused.to_s3().status(), StatusCode::INTERNAL_SERVER_ERROR);
            }
        }
    }

    #[tokio::test]
    async fn a_refusal_does_not_name_the_proxys_account() {
        let message =
            "User: arn:aws:iam::123456789012:user/s3veil is not authorized to perform: s3:GetObject";
        let document_of =
            |message: &str| format!("<Error><Code>AccessDenied</Code><Message>{message}</Message></Error>");
        let mut response = Response::new(buffered(document_of(message)));
        *response.status_mut() = StatusCode::FORBIDDEN;
        let refused = pass(response).await.unwrap_err();
        assert!(matches!(&refused, Error::UpstreamDenied { message: logged } if logged == message));
        let error = refused.to_s3();
        assert_eq!((error.code, error.status().as_u16()), (crate::s3::ErrorCode::AccessDenied, 403));
        assert!(!error.message.contains("arn:"), "This is a security issue.");
        let document = xml::parse_error_document(document_of(message).as_bytes()).unwrap();
        assert!(matches!(failed(document), Error::UpstreamDenied { .. }));
    }

    #[tokio::test]
    async fn a_status_that_s3_does_not_have_is_an_error() {
        for status in [100, 101, 102, 103, 203, 205, 207, 226, 299, 407, 421, 426, 511, 600, 999] {
            let refused = pass(response(status, "x")).await.unwrap_err();
            assert!(matches!(refused, Error::UnexpectedResponse(_)), "{status}");
            assert_eq!(refused.to_s3().status(), StatusCode::INTERNAL_SERVER_ERROR);
        }
        let refused = pass(response(401, "Unauthorized")).await.unwrap_err();
        assert!(matches!(refused, Error::UpstreamCredentials { .. }));
        for status in [200, 201, 202, 204, 206, 304, 404, 405, 409, 411, 412, 416, 429, 500, 501, 503, 507] {
            assert_eq!(passed(response(status, "x")).await.status().as_u16(), status);
        }
    }

    #[tokio::test]
    async fn every_other_response_passes_with_its_body_and_without_our_headers() {
        for (status, code) in [
            (304, ""),
            (403, "AccessDenied"),
            (404, "NoSuchKey"),
            (400, "MetadataTooLarge"),
            (503, "SlowDown"),
        ] {
            let passed = passed(response(status, code)).await;
            assert_eq!(passed.status().as_u16(), status);
            assert!(passed.headers().get("x-amz-meta-encryption-key").is_none());
            assert!(passed.headers().get("location").is_none());
            let body = passed.into_body().collect().await.unwrap().to_bytes();
            assert!(String::from_utf8_lossy(&body).contains(&format!("<Code>{code}</Code>")));
        }
    }
}
