//! All errors of a request, the party at fault, and the S3 error that the client receives.
//!
//! It must not know where an error is raised. A message for the client contains no key material, no stored
//! bytes and no internal address.

mod document;
mod unexpected;
mod upstream_refusal;

use std::sync::Arc;

use http::StatusCode;

use crate::body::{BoxError, IngestError, OpenError};
use crate::envelope::StreamError;
use crate::envelope::native::FormatError;
use crate::envelope::s3ec::{S3ecError, Unreadable};
use crate::keyring::KeyringError;
use crate::s3::{ErrorCode, S3Error};
use crate::sigv4::AuthError;
use crate::upstream::UpstreamError;

pub use self::unexpected::UnexpectedResponse;
pub use self::upstream_refusal::{UpstreamRefusal, error_code};

/// A result whose error, unless another is named, fails a request.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A request's failure.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request is refused with this S3 error.
    #[error("{}: {}", .0.code, .0.message)]
    Refused(S3Error),
    /// The request's signature was not accepted.
    #[error(transparent)]
    Unauthenticated(#[from] AuthError),
    /// The client's body is invalid or incomplete.
    #[error(transparent)]
    Ingest(#[from] IngestError),
    /// No data key.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// No response from the storage.
    #[error("no response from the storage")]
    Upstream(#[source] UpstreamError),
    /// The storage's response broke off.
    #[error("the storage's response broke off")]
    UpstreamBody(#[source] BoxError),
    /// The storage refused, in a response that the client may read.
    #[error("the storage refused with status {}", .0.status.as_u16())]
    PassThrough(Box<UpstreamRefusal>),
    /// The storage's response is not one that S3 gives.
    #[error("the storage responded {0}")]
    UnexpectedResponse(UnexpectedResponse),
    /// The storage responded with a server error.
    #[error("the storage responded with status {status}")]
    UpstreamFailed {
        /// The status of the response, 500 or more.
        status: u16,
    },
    /// A request was repeated after its response was lost, and the repetition was refused; whether the first
    /// attempt was carried out can't be determined.
    #[error("the storage refused a repeated request that may have been carried out before")]
    Unsettled,
    /// The storage redirects the request.
    #[error("the storage responded with a redirect ({status}): check upstream.endpoint and upstream.region")]
    UpstreamRedirect {
        /// The status of the response.
        status: u16,
    },
    /// The storage does not accept the proxy's own credentials.
    #[error("the storage refused the proxy's own credentials: {code}")]
    UpstreamCredentials {
        /// The storage's error code.
        code: String,
    },
    /// The storage denies this request to the proxy; its message names the proxy's account.
    #[error("the storage denied it: {message}")]
    UpstreamDenied {
        /// The storage's message, which only the log may show.
        message: String,
    },
    /// The stored object fails authentication.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// A stored body of a format without chunks fails authentication.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// The object claims to be the S3 Encryption Client's, and is refused.
    #[error(transparent)]
    S3ec(#[from] S3ecError),
    /// The object is a chain of AES-CBC that can't be decrypted. Every fault of a chain has this one error,
    /// so that an attacker can't tell them apart.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// The object is of a format that the bucket's rule does not read.
    #[error("the object's format is {found}, and formats.read is {readable}")]
    NotReadable {
        /// The object's format, by its name in `formats.read`.
        found: &'static str,
        /// The formats of the rule's `formats.read`.
        readable: String,
    },
    /// The wrapped data key is missing beside an envelope, not canonical base64, or of an impossible length.
    #[error("the stored data key is malformed")]
    MalformedWrappedKey,
    /// The object was replaced between two requests that read it.
    #[error("the object was replaced while it was read")]
    Replaced,
    /// The object has a multipart body, and no response of the storage contains the number of parts.
    #[error("the storage reports no number of parts of the object, in its ETag or as x-amz-mp-parts-count")]
    PartsUnknown,
    /// An internal fault of the proxy; the log has the details.
    #[error("the request ended in a panic")]
    Panicked,
    /// The error of a request that another one waited for, such as one lookup for several readers.
    #[error(transparent)]
    Shared(Arc<Error>),
}

impl From<S3Error> for Error {
    fn from(error: S3Error) -> Self {
        Self::Refused(error)
    }
}

impl From<UnexpectedResponse> for Error {
    fn from(response: UnexpectedResponse) -> Self {
        Self::UnexpectedResponse(response)
    }
}

impl From<UpstreamError> for Error {
    /// If the request to the storage was aborted because its body failed, the body's error is the cause.
    fn from(error: UpstreamError) -> Self {
        if let UpstreamError::Body(cause) = error {
            Self::from_body_error(cause)
        } else {
            Self::Upstream(error)
        }
    }
}

impl From<OpenError> for Error {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Format(error) => Self::Format(error),
            OpenError::Stream(error) => Self::Stream(error),
            OpenError::Upstream(error) => Self::UpstreamBody(error),
        }
    }
}

/// The party at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The client's.
    Downstream,
    /// The storage's.
    Upstream,
    /// The key service's.
    Keys,
    /// The proxy's own.
    Proxy,
}

impl Blame {
    /// The name in the metrics.
    pub fn side(self) -> &'static str {
        match self {
            Self::Downstream => "client",
            Self::Upstream => "storage",
            Self::Keys => "keys",
            Self::Proxy => "proxy",
        }
    }
}

impl Error {
    /// The error itself, without the sharing.
    pub(crate) fn unshared(&self) -> &Self {
        if let Self::Shared(error) = self { error.unshared() } else { self }
    }

    /// The storage's refusal that the client may read, if the error is one; else the error.
    ///
    /// # Errors
    /// Every other error, unchanged.
    pub fn into_refusal(self) -> Result<UpstreamRefusal> {
        if let Self::PassThrough(refusal) = self.unshared() { Ok((**refusal).clone()) } else { Err(self) }
    }

    /// The status of a refusal by the storage that the client may read.
    pub fn refusal_status(&self) -> Option<StatusCode> {
        if let Self::PassThrough(refusal) = self.unshared() { Some(refusal.status) } else { None }
    }

    /// The error for a failed request body to the storage, which is the client's body or the source of a
    /// copy.
    pub fn from_body_error(cause: BoxError) -> Self {
        let cause = match cause.downcast::<IngestError>() {
            Ok(ingest) => return Self::Ingest(*ingest),
            Err(cause) => cause,
        };
        match cause.downcast::<OpenError>() {
            Ok(open) => Self::from(*open),
            Err(cause) => Self::Upstream(UpstreamError::Body(cause)),
        }
    }

    /// Whether the object was replaced while it was read, so that a retry may succeed.
    pub fn is_replaced(&self) -> bool {
        matches!(self.unshared(), Self::Replaced)
    }

    /// Whether a response of the storage broke off, so that a retry may succeed.
    pub fn is_broken_off(&self) -> bool {
        matches!(self.unshared(), Self::UpstreamBody(_))
    }

    /// Whether the object is archived, so that it can't be read before it is restored.
    pub fn is_archived(&self) -> bool {
        matches!(self.unshared(), Self::Refused(refused) if refused.code == ErrorCode::InvalidObjectState)
    }

    /// The party at fault.
    pub fn blame(&self) -> Blame {
        match self {
            Self::Refused(_) | Self::Unauthenticated(_) | Self::Ingest(_) => Blame::Downstream,
            Self::Shared(error) => error.blame(),
            Self::Format(error) if error.is_about_customer_key() => Blame::Downstream,
            Self::Format(_) => Blame::Upstream,
            Self::Keyring(_) => Blame::Keys,
            Self::Panicked => Blame::Proxy,
            Self::Upstream(_)
            | Self::UpstreamBody(_)
            | Self::UnexpectedResponse(_)
            | Self::PassThrough(_)
            | Self::UpstreamFailed { .. }
            | Self::Unsettled
            | Self::UpstreamRedirect { .. }
            | Self::UpstreamCredentials { .. }
            | Self::UpstreamDenied { .. }
            | Self::MalformedWrappedKey
            | Self::Replaced
            | Self::PartsUnknown
            | Self::Stream(_)
            | Self::S3ec(_)
            | Self::Unreadable(_)
            | Self::NotReadable { .. } => Blame::Upstream,
        }
    }
}

/// An error and its causes in one line.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_of_sigv4_keeps_its_code() {
        for (error, code) in crate::sigv4::tests::refusals() {
            assert_eq!(Error::Unauthenticated(error).to_s3().code.code(), code);
        }
    }

    #[test]
    fn a_clients_broken_body_is_the_clients_fault_even_when_the_storage_was_cut() {
        let cause = Box::new(IngestError::Incomplete);
        let error = Error::from(UpstreamError::Body(cause));
        assert_eq!(error.blame(), Blame::Downstream);
        assert_eq!(error.to_s3().code, ErrorCode::IncompleteBody);
    }

    #[test]
    fn a_copys_source_that_fails_authentication_is_the_storages_fault() {
        let cause = Box::new(OpenError::Format(FormatError::ChunkTag));
        let error = Error::from(UpstreamError::Body(cause));
        assert_eq!(error.blame(), Blame::Upstream);
        assert_eq!(error.to_s3().code, ErrorCode::IntegrityCheckFailed);
    }

    #[test]
    fn key_service_outages_are_503_and_refusals_are_not() {
        let status = |error: KeyringError| Error::Keyring(error).to_s3().status().as_u16();
        assert_eq!(status(KeyringError::Unavailable), 503);
        assert_eq!(status(KeyringError::Throttled), 503);
        assert_eq!(status(KeyringError::Denied), 403);
        assert_eq!(status(KeyringError::KeyDisabled), 400);
        assert_eq!(status(KeyringError::InvalidCiphertext), 502);
        assert_eq!(status(KeyringError::IncorrectKey), 502);
    }
}
