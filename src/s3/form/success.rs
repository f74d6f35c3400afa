//! The response to a form whose file is stored.

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, LOCATION};
use http::{Response, StatusCode, Uri};

use super::Form;
use crate::s3::name::{BucketName, ObjectKey};
use crate::s3::xml;
use crate::wire::percent;

/// The response that `success_action_redirect` (or its old name, `redirect`) and `success_action_status`
/// request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Success {
    /// 303, to this address with the object's name added to its query.
    Redirect(Uri),
    /// 200 or 204 without a document.
    Status(StatusCode),
    /// 201 with a document that names the object.
    Created,
}

/// An object that a form has become.
#[derive(Debug, Clone, Copy)]
pub struct Stored<'a> {
    /// Where it is, as a URL of this server.
    pub location: &'a str,
    /// Its bucket.
    pub bucket: &'a BucketName,
    /// Its key.
    pub object_key: &'a ObjectKey,
    /// Its ETag, in quotes, as the storage said it.
    pub etag: &'a str,
}

impl Success {
    /// Reads a form. As in S3, an address that is none is no error but as if it were not there, and every
    /// status but 200 and 201 means 204.
    pub fn from_form(form: &Form) -> Self {
        let redirect = form.field("success_action_redirect").or_else(|| form.field("redirect"));
        if let Some(address) = redirect.and_then(web_address) {
            return Self::Redirect(address);
        }
        match form.field("success_action_status").map(str::trim) {
            Some("200") => Self::Status(StatusCode::OK),
            Some("201") => Self::Created,
            Some(_) | None => Self::Status(StatusCode::NO_CONTENT),
        }
    }

    /// The response's status, document and headers; `headers` are those of the storage's response.
    pub fn response(&self, stored: &Stored<'_>, mut headers: HeaderMap) -> Response<String> {
        headers.remove(CONTENT_LENGTH);
        headers.remove(CONTENT_TYPE);
        let (status, location, document) = match self {
            Self::Redirect(address) => (StatusCode::SEE_OTHER, redirection(address, stored), String::new()),
            Self::Status(status) => (*status, stored.location.to_owned(), String::new()),
            Self::Created => {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
                (StatusCode::CREATED, stored.location.to_owned(), document(stored))
            }
        };
        headers.remove(LOCATION);
        if let Ok(location) = HeaderValue::try_from(location) {
            headers.insert(LOCATION, location);
        }
        if let Ok(etag) = HeaderValue::from_str(stored.etag) {
            headers.insert(ETAG, etag);
        }
        let mut response = Response::new(document);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }
}

fn web_address(text: &str) -> Option<Uri> {
    let address: Uri = text.trim().parse().ok()?;
    let is_web = address.scheme_str().is_some_and(|scheme| scheme == "http" || scheme == "https");
    (is_web && address.authority().is_some()).then_some(address)
}

fn redirection(address: &Uri, stored: &Stored<'_>) -> String {
    let mut location = address.to_string();
    let mut separator = if address.query().is_none() { '?' } else { '&' };
    let named =
        [("bucket", stored.bucket.as_str()), ("key", stored.object_key.as_str()), ("etag", stored.etag)];
    for (name, value) in named {
        location.push(separator);
        location.push_str(name);
        location.push('=');
        location.push_str(&percent::encode_query(value).to_string());
        separator = '&';
    }
    location
}

fn document(stored: &Stored<'_>) -> String {
    let mut document = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<PostResponse>");
    let fields = [
        ("Location", stored.location),
        ("Bucket", stored.bucket.as_str()),
        ("Key", stored.object_key.as_str()),
        ("ETag", stored.etag),
    ];
    for (name, value) in fields {
        document.extend(["<", name, ">"]);
        xml::push_text(&mut document, value);
        document.extend(["</", name, ">"]);
    }
    document.push_str("</PostResponse>");
    document
}
