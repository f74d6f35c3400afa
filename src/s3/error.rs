//! An error of S3 and its XML document.
//!
//! It must not know why a request failed. A document is well-formed whatever a request contained.
//! Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>

use std::borrow::Cow;

use http::StatusCode;

pub use crate::wire::error_code::ErrorCode;
use crate::wire::percent::InvalidEncoding;

/// A result whose error, unless another is named, is one of S3.
pub type Result<T, E = S3Error> = std::result::Result<T, E>;

/// An error response of S3: a code, a sentence for people, and further fields such as `ArgumentName`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct S3Error {
    /// The code, which fixes the status.
    pub code: ErrorCode,
    /// The text of `<Message>`; never holds a secret.
    pub message: Cow<'static, str>,
    /// More elements of the document, in order.
    pub extra: Vec<(&'static str, String)>,
}

impl S3Error {
    /// An error with another sentence than the code's.
    pub fn new(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), extra: Vec::new() }
    }

    /// `InvalidArgument` about one parameter or header, with the two fields S3 gives it.
    pub fn invalid_argument(
        name: impl Into<String>,
        value: impl Into<String>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::new(ErrorCode::InvalidArgument, message).with("ArgumentName", name).with("ArgumentValue", value)
    }

    /// `InvalidRequest` with a sentence.
    pub fn invalid_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorCode::InvalidRequest, message)
    }

    /// `NotImplemented` (501) with a sentence that says what.
    pub fn not_implemented(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorCode::NotImplemented, message)
    }

    /// Adds an element to the document. `field` is an XML element name.
    #[must_use]
    pub fn with(mut self, field: &'static str, value: impl Into<String>) -> Self {
        self.extra.push((field, value.into()));
        self
    }

    /// The value of a further element of the document.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.extra.iter().find(|(field, _)| *field == name).map(|(_, value)| value.as_str())
    }

    /// The status of the response.
    pub fn status(&self) -> StatusCode {
        self.code.status()
    }
}

impl From<ErrorCode> for S3Error {
    fn from(code: ErrorCode) -> Self {
        Self::new(code, code.message())
    }
}

impl From<InvalidEncoding> for S3Error {
    fn from(InvalidEncoding: InvalidEncoding) -> Self {
        ErrorCode::InvalidURI.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_well_formed_whatever_the_request_said() {
        let error = S3Error::invalid_argument("a<b>", "x\u{0}\u{1f}\u{fffe}&\r", "don't \"do\" that");
        assert_eq!(
            error.to_xml("/b/<k>", "4442587FB7D0A2F9", "h"),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>InvalidArgument</Code>\
             <Message>don't \"do\" that</Message><ArgumentName>a&lt;b&gt;</ArgumentName>\
             <ArgumentValue>x\u{fffd}&#x1f;&#xfffe;&amp;&#13;</ArgumentValue><Resource>/b/&lt;k&gt;</Resource>\
             <RequestId>4442587FB7D0A2F9</RequestId><HostId>h</HostId></Error>"
        );
        assert_eq!(error.to_string(), "InvalidArgument: don't \"do\" that");
    }
}
