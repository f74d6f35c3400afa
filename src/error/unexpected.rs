//! Responses of the storage that S3 does not give.
//!
//! It must not know requests of clients. Each kind can be counted and matched, and names what is wrong.

/// What is wrong with a response of the storage. Displayed after "the storage responded".
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnexpectedResponse {
    /// A status code that S3 does not have, or does not give to this request.
    #[error("with the unexpected status {0}")]
    Status(u16),
    /// A header or an XML element is missing.
    #[error("without the required {0}")]
    Missing(&'static str),
    /// A header or an XML element is invalid.
    #[error("with an invalid {0}")]
    Invalid(&'static str),
    /// The document is not the XML document of this root element.
    #[error("with an invalid document in place of {0}")]
    Document(&'static str),
    /// Other bytes of the object than the request selects.
    #[error("with other bytes of the object than requested")]
    WrongRange,
    /// The body ended before or after its declared length.
    #[error("with a body of another length than it declared")]
    WrongLength,
    /// The body has a content coding, which was not requested.
    #[error("with a compressed document, which was not requested")]
    ContentEncoding,
    /// The object is not a multipart object.
    #[error("with an object that is not a multipart object")]
    NotMultipart,
    /// An error in response to a request of the proxy's own.
    #[error("with an error to the proxy's own {0} request")]
    Refusal(&'static str),
}
