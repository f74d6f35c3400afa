//! An error response of the storage that the client may read.
//!
//! It must not hold content of an object: its document is an error document, and bounded.

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::Full;

use crate::body::{BoxBody, boxed};
use crate::s3::{ErrorCode, S3Error, xml};

/// A refusal by the storage, buffered.
#[derive(Debug, Clone)]
pub struct UpstreamRefusal {
    /// 304, or 400 and more.
    pub status: StatusCode,
    /// The headers, without those that S3 does not have.
    pub headers: HeaderMap,
    /// The document; empty in response to HEAD.
    pub document: Bytes,
}

impl UpstreamRefusal {
    /// The response that passes the refusal on to the client.
    pub fn into_response(self) -> Response<BoxBody> {
        let mut response = Response::new(boxed(Full::new(self.document)));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }

    /// The error that the document names, if it is an error document.
    pub fn error(&self) -> Option<xml::ErrorDocument> {
        xml::parse_error_document(&self.document).ok()
    }

    /// Whether the storage says that the upload does not exist. radosgw reports an upload as a key: NoSuchKey
    /// when the upload is finished, or never existed.
    pub fn is_no_such_upload(&self) -> bool {
        let codes = [ErrorCode::NoSuchUpload.code(), ErrorCode::NoSuchKey.code()];
        self.error().is_some_and(|error| codes.contains(&error.code.as_str()))
    }

    /// The refusal as an error document with a status of its own, for a response whose status was already
    /// sent. A code that S3 does not have becomes `InvalidRequest` or `InternalError`.
    pub fn to_s3(&self) -> S3Error {
        if let Some(error) = self.error() {
            return S3Error::new(error_code(&error.code, self.status), error.message);
        }
        let message = format!("The storage refused with status {}.", self.status.as_u16());
        S3Error::new(ErrorCode::InternalError, message)
    }
}

/// The error code with this name. A name that S3 does not have is the client's fault where `status` says so.
pub fn error_code(name: &str, status: StatusCode) -> ErrorCode {
    let unknown = if status.is_client_error() { ErrorCode::InvalidRequest } else { ErrorCode::InternalError };
    ErrorCode::parse(name).unwrap_or(unknown)
}
