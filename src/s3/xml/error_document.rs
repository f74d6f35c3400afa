//! The storage's own error documents, for the few errors a handler must understand.

use super::XmlError;
use super::reader::{Element, Limits, read};
use crate::s3::error::S3Error;

/// How large an error document may be to be read. S3's are under 2 KiB; a larger one is passed on unread.
pub const MAX_ERROR_DOCUMENT: usize = 64 << 10;
const LIMITS: Limits = Limits { bytes: MAX_ERROR_DOCUMENT, elements: 256 };

/// What the storage said went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorDocument {
    /// The code as the storage wrote it; not limited to the codes known here.
    pub code: String,
    /// The sentence; empty if there was none.
    pub message: String,
    /// The stored (ciphertext) size that comes with `InvalidRange`.
    pub actual_object_size: Option<u64>,
    /// The region that requests are to be signed for, where the storage insists on another.
    pub region: Option<String>,
    /// The host that the storage names instead, with a redirect.
    pub endpoint: Option<String>,
}

/// Reads an S3 error document.
///
/// # Errors
/// Any [`XmlError`]; `Unexpected` for a document that is no `Error` with a `Code`.
pub fn parse_error_document(body: &[u8]) -> Result<ErrorDocument, XmlError> {
    ErrorDocument::from_element(&read(body, LIMITS)?).ok_or(XmlError::Unexpected)
}

impl ErrorDocument {
    /// What an `Error` with a `Code` says; `None` for any other element.
    pub(super) fn from_element(root: &Element) -> Option<Self> {
        let code = root.text_of("Code").map(str::trim).filter(|code| !code.is_empty())?;
        (root.name == "Error").then(|| Self {
            code: code.to_owned(),
            message: root.text_of("Message").unwrap_or_default().to_owned(),
            actual_object_size: root.text_of("ActualObjectSize").and_then(|size| size.trim().parse().ok()),
            region: root.text_of("Region").map(|region| region.trim().to_owned()),
            endpoint: root.text_of("Endpoint").map(|endpoint| endpoint.trim().to_owned()),
        })
    }
}

impl S3Error {
    /// The whole response body. `resource` is the request's path as the client sent it.
    #[must_use]
    pub fn to_xml(&self, resource: &str, request_id: &str, host_id: &str) -> String {
        let fixed = [("Code", self.code.code()), ("Message", &self.message)];
        let extra = self.extra.iter().map(|(field, value)| (*field, value.as_str()));
        let ids = [("Resource", resource), ("RequestId", request_id), ("HostId", host_id)];
        super::error_document(fixed.into_iter().chain(extra).chain(ids))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::error::{ErrorCode, S3Error};
    use crate::s3::range::unsatisfiable;
    use crate::wire::range::RangeSpec;

    #[test]
    fn reads_what_we_write() {
        let document = unsatisfiable(RangeSpec::From { first: 9 }, 5).to_xml("/b/k", "id", "host");
        let expected = ErrorDocument {
            code: "InvalidRange".into(),
            message: "The requested range is not satisfiable".into(),
            actual_object_size: Some(5),
            region: None,
            endpoint: None,
        };
        assert_eq!(parse_error_document(document.as_bytes()), Ok(expected));
        for code in ErrorCode::ALL {
            let read = parse_error_document(S3Error::from(*code).to_xml("/", "", "").as_bytes()).unwrap();
            assert_eq!((read.code.as_str(), read.message.as_str()), (code.code(), code.message()));
        }
    }

    #[test]
    fn the_region_that_the_storage_insists_on() {
        let document = "<Error><Code>AuthorizationHeaderMalformed</Code><Message>m</Message>\
                        <Region>eu-west-1</Region><Endpoint>s3.eu-west-1.example</Endpoint></Error>";
        let read = parse_error_document(document.as_bytes()).unwrap();
        assert_eq!(read.region.as_deref(), Some("eu-west-1"));
        assert_eq!(read.endpoint.as_deref(), Some("s3.eu-west-1.example"));
    }

    #[test]
    fn refuses_other_documents() {
        for (body, error) in [
            ("", XmlError::Malformed),
            ("<html>502 Bad Gateway</html>", XmlError::Unexpected),
            ("<Error/>", XmlError::Unexpected),
            ("<Error><Code> </Code></Error>", XmlError::Unexpected),
            ("<Fault><Code>x</Code></Fault>", XmlError::Unexpected),
        ] {
            assert_eq!(parse_error_document(body.as_bytes()), Err(error), "{body}");
        }
        let long = format!("<Error><Code>{}</Code></Error>", "x".repeat(MAX_ERROR_DOCUMENT));
        assert_eq!(parse_error_document(long.as_bytes()), Err(XmlError::TooLarge));
        let unknown = "<Error xmlns='u'><Code>New</Code><ActualObjectSize>many</ActualObjectSize></Error>";
        let read = parse_error_document(unknown.as_bytes()).unwrap();
        assert_eq!((read.code.as_str(), read.message.as_str(), read.actual_object_size), ("New", "", None));
    }
}
