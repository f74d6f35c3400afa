//! What a response says, for the line and the span of its request.
//! It must not know where these are written.
//! It promises that the body is passed on unchanged.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::header::HeaderValue;
use http_body_util::BodyExt;

use crate::body::{BodyEnd, BoxBody, boxed};
use crate::error::Error;
use crate::operation::request::document::NamedKeys;
use crate::s3::ErrorCode;
use crate::s3::xml::parse_error_document;

/// The logged properties of a response: known with its head, except for the error code, which its body holds.
pub(super) struct ResponseRecord {
    pub(super) status: u16,
    /// From the request's head to the response's.
    pub(super) first_byte: Duration,
    /// The version of the object that the response names.
    pub(super) version_id: Option<HeaderValue>,
    pub(super) storage_id: Option<HeaderValue>,
    /// For an error response of the storage.
    pub(super) storage_code: Option<Arc<OnceLock<String>>>,
    pub(super) keys: Option<NamedKeys>,
    /// Whether the client was cut off.
    pub(super) is_cut: bool,
}

impl ResponseRecord {
    /// How the response ended, in words.
    pub(super) fn end_text(&self, end: &BodyEnd) -> &'static str {
        match end {
            BodyEnd::Complete => "complete",
            BodyEnd::Failed { .. } => "cut",
            BodyEnd::Dropped if self.is_cut => "cut: the client was too slow",
            BodyEnd::Dropped => "dropped by client",
        }
    }

    /// The error code of the storage; empty if there is none.
    pub(super) fn storage_code<'a>(&'a self, error: Option<&'a Error>) -> &'a str {
        match error {
            Some(Error::UpstreamCredentials { code }) => code.as_str(),
            Some(Error::UpstreamDenied { .. }) => ErrorCode::AccessDenied.code(),
            Some(_) | None => {
                self.storage_code.as_ref().and_then(|code| code.get()).map_or("", String::as_str)
            }
        }
    }
}

/// A body of the storage, and the error code that it contains if it is an error document.
pub(super) fn observe_error_code(body: BoxBody) -> (BoxBody, Arc<OnceLock<String>>) {
    let code = Arc::new(OnceLock::new());
    let found = Arc::clone(&code);
    let watched = body.map_frame(move |frame| {
        let document = frame.data_ref().filter(|_| found.get().is_none());
        if let Some(error) = document.and_then(|document| parse_error_document(document).ok()) {
            // Only the first code is kept.
            drop(found.set(error.code));
        }
        frame
    });
    (boxed(watched), code)
}
