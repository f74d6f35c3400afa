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

/// An error document with `name` in the place of `stored`, the name of its bucket. Keys and ids stay.
///
/// # Errors
/// Any [`XmlError`]; `Unexpected` for a document that is no `Error`.
pub fn rename_bucket(body: &[u8], stored: &str, name: &str) -> Result<String, XmlError> {
    let mut root = read(body, LIMITS)?;
    if root.name != "Error" {
        return Err(XmlError::Unexpected);
    }
    for field in &mut root.children {
        match field.name.as_str() {
            "Key" | "RequestId" | "HostId" | "UploadId" | "VersionId" => (),
            // The bucket, and then the key.
            "Resource" => field.text = replace_name(&field.text, stored, name, 1),
            _ => field.text = replace_name(&field.text, stored, name, usize::MAX),
        }
    }
    Ok(root.to_document_without_namespace())
}

/// Replaces a bucket's name up to `limit` times where it is a word of its own.
fn replace_name(text: &str, stored: &str, name: &str, limit: usize) -> String {
    let is_of_a_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let mut replaced = String::with_capacity(text.len());
    let (mut copied, mut left) = (0, limit);
    for (at, _) in text.match_indices(stored) {
        let (before, after) = (&text[..at], &text.as_bytes()[at + stored.len()..]);
        // A full stop may end a sentence.
        let ends = match after {
            [b'.', next, ..] => !is_of_a_name(next),
            [b'.'] | [] => true,
            [next, ..] => !is_of_a_name(next),
        };
        if left > 0 && ends && !before.as_bytes().last().is_some_and(is_of_a_name) {
            replaced.extend([&text[copied..at], name]);
            copied = at + stored.len();
            left -= 1;
        }
    }
    replaced.push_str(&text[copied..]);
    replaced
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
    fn a_refusal_names_the_bucket_as_clients_do() {
        let document = "<?xml version=\"1.0\"?><Error><Code>NoSuchKey</Code><Message>In company-a: company-a-b, x.company-a, no \
                        company-a.</Message><BucketName>company-a</BucketName><Key>company-a</Key>\
                        <Resource>/company-a/company-a</Resource><HostId>company-a</HostId></Error>";
        let renamed = rename_bucket(document.as_bytes(), "company-a", "a").unwrap();
        assert_eq!(
            renamed,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>NoSuchKey</Code><Message>In a: company-a-b, \
             x.company-a, no a.</Message><BucketName>a</BucketName><Key>company-a</Key><Resource>/a/company-a</Resource>\
             <HostId>company-a</HostId></Error>"
        );
        assert_eq!(rename_bucket(b"<html>a</html>", "a", "b"), Err(XmlError::Unexpected));
        assert_eq!(replace_name("a b ab a", "a", "x", 1), "x b ab a");
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
