//! Every internal error, and one table of what the client is told.
//!
//! Blame has a side: downstream (the client), upstream (the storage), the key service, or us. What is told to the
//! client names no key, no stored bytes and no internal address.

use std::borrow::Cow;
use std::sync::Arc;

use crate::body::{BoxError, IngestError, OpenError};
use crate::envelope::StreamError;
use crate::envelope::native::FormatError;
use crate::envelope::s3ec::{S3ecError, Unreadable};
use crate::keyring::KeyringError;
use crate::s3::{ErrorCode, S3Error};
use crate::sigv4::{AuthError, AuthFault, SignatureMismatch};
use crate::upstream::{AddressError, UpstreamError};

/// Why a request was not answered as asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request is refused as it stands.
    #[error("{}: {}", .0.code, .0.message)]
    Refused(S3Error),
    /// The request's signature was not accepted.
    #[error(transparent)]
    Unauthenticated(#[from] AuthError),
    /// The client's body turned out wrong.
    #[error(transparent)]
    Ingest(#[from] IngestError),
    /// No data key.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// No answer from the storage.
    #[error("no answer from the storage")]
    Upstream(#[source] UpstreamError),
    /// The storage's answer broke off.
    #[error("the storage's answer broke off")]
    UpstreamBody(#[source] BoxError),
    /// The storage answered what it should not.
    #[error("the storage answered {0}")]
    UnexpectedAnswer(&'static str),
    /// The storage is in trouble.
    #[error("the storage answered with status {status}")]
    UpstreamFailed {
        /// The status of the answer, 500 or more.
        status: u16,
    },
    /// A request was repeated after its response was lost, and the repetition was refused; whether the first
    /// attempt was carried out can't be determined.
    #[error("the storage refused a repeated request that may have been carried out before")]
    Unsettled,
    /// The storage wants the request to go elsewhere.
    #[error("the storage answered with a redirect ({status}): check upstream.endpoint and upstream.region")]
    UpstreamRedirect {
        /// The status of the answer.
        status: u16,
    },
    /// The storage does not accept the proxy's own credentials.
    #[error("the storage refused the proxy's own credentials: {code}")]
    UpstreamCredentials {
        /// The storage's error code.
        code: String,
    },
    /// The storage denies this to the proxy, and says so with the name of the proxy's account.
    #[error("the storage denied it: {message}")]
    UpstreamDenied {
        /// The storage's message, which is for the log alone.
        message: String,
    },
    /// What is stored fails authentication.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The same, of a format without chunks.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// The object claims to be the S3 Encryption Client's, and is refused.
    #[error(transparent)]
    S3ec(#[from] S3ecError),
    /// The object is a chain of AES-CBC that can't be decrypted. All its faults are this one.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// The object is of a format that the bucket's rule does not read.
    #[error("the object's format is {found}, and formats.read is {readable}")]
    NotReadable {
        /// What the object is, as `formats.read` would name it.
        found: &'static str,
        /// What the rule reads.
        readable: String,
    },
    /// The wrapped data key is not canonical base64, or of an impossible length.
    #[error("the stored data key is malformed")]
    MalformedWrappedKey,
    /// The object was not written in a format this bucket reads.
    #[error("the object is not in the native format")]
    NotNative {
        /// Whether one of the two metadata entries is there.
        has_wrapped_key: bool,
    },
    /// The object became another one between two requests that read it.
    #[error("the object was replaced while it was read")]
    Replaced,
    /// The object has a multipart body, and nothing says of how many parts.
    #[error(
        "the storage says nowhere how many parts the object has: neither in its ETag nor as x-amz-mp-parts-count"
    )]
    PartsUnknown,
    /// An internal fault of the proxy; the log has the details.
    #[error("the request ended in a panic")]
    Panicked,
    /// What somebody else found out who asked for the same.
    #[error(transparent)]
    Shared(Arc<Error>),
}

impl From<S3Error> for Error {
    fn from(error: S3Error) -> Self {
        Self::Refused(error)
    }
}

impl From<UpstreamError> for Error {
    /// When the storage was cut off because the body for it failed, that failure is what matters.
    fn from(error: UpstreamError) -> Self {
        match error {
            UpstreamError::Body(cause) => Self::of_body(cause),
            UpstreamError::Connect(_)
            | UpstreamError::Timeout { .. }
            | UpstreamError::Protocol(_)
            | UpstreamError::HeadTooLarge
            | UpstreamError::Length(_)
            | UpstreamError::Credentials(_)
            | UpstreamError::Sign(_)
            | UpstreamError::Address(_)
            | UpstreamError::Request(_) => Self::Upstream(error),
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

/// Whose fault an error is.
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

impl Error {
    /// What it means that a body failed which was on its way to the storage: the client's, or the source of a copy.
    pub fn of_body(cause: BoxError) -> Self {
        let cause = match cause.downcast::<IngestError>() {
            Ok(ingest) => return Self::Ingest(*ingest),
            Err(cause) => cause,
        };
        match cause.downcast::<OpenError>() {
            Ok(open) => Self::from(*open),
            Err(cause) => Self::Upstream(UpstreamError::Body(cause)),
        }
    }

    /// An answer of the storage whose body could not be read.
    pub fn upstream_body(error: BoxError) -> Self {
        Self::UpstreamBody(error)
    }

    /// Whether the object was replaced while it was read: to read it anew may help.
    pub fn is_replaced(&self) -> bool {
        if let Self::Shared(error) = self { error.is_replaced() } else { matches!(self, Self::Replaced) }
    }

    /// Whether an answer of the storage broke off: to ask again may help.
    pub fn is_broken_off(&self) -> bool {
        if let Self::Shared(error) = self {
            error.is_broken_off()
        } else {
            matches!(self, Self::UpstreamBody(_))
        }
    }

    /// Whether the storage keeps the object where it can't be read before it was restored.
    pub fn is_archived(&self) -> bool {
        if let Self::Shared(error) = self {
            return error.is_archived();
        }
        matches!(self, Self::Refused(refused) if refused.code == ErrorCode::InvalidObjectState)
    }

    /// Whose fault it is.
    pub fn blame(&self) -> Blame {
        match self {
            Self::Refused(_) | Self::Unauthenticated(_) | Self::Ingest(_) => Blame::Downstream,
            Self::Shared(error) => error.blame(),
            Self::Keyring(_) => Blame::Keys,
            Self::Panicked => Blame::Proxy,
            Self::Upstream(_)
            | Self::UpstreamBody(_)
            | Self::UnexpectedAnswer(_)
            | Self::UpstreamFailed { .. }
            | Self::Unsettled
            | Self::UpstreamRedirect { .. }
            | Self::UpstreamCredentials { .. }
            | Self::UpstreamDenied { .. }
            | Self::Format(_)
            | Self::MalformedWrappedKey
            | Self::Replaced
            | Self::PartsUnknown
            | Self::Stream(_)
            | Self::S3ec(_)
            | Self::Unreadable(_)
            | Self::NotReadable { .. }
            | Self::NotNative { .. } => Blame::Upstream,
        }
    }

    /// What the client is told.
    pub fn to_s3(&self) -> S3Error {
        match self {
            Self::Refused(error) => error.clone(),
            Self::Unauthenticated(error) => unauthenticated(error),
            Self::Ingest(error) => error.to_s3(),
            Self::Keyring(error) => keyring(error),
            Self::Upstream(error) => upstream(error),
            Self::UpstreamBody(_) => unavailable("The storage's answer broke off. Please try again."),
            Self::UnexpectedAnswer(what) => {
                S3Error::new(ErrorCode::InternalError, format!("The storage answered {what}."))
            }
            Self::UpstreamFailed { .. } => unavailable("The storage is in trouble. Please try again."),
            Self::Unsettled => unavailable(
                "The storage's answer was lost, and whether the request was carried out is not known. Please look, or \
                 try again.",
            ),
            Self::UpstreamRedirect { .. } => S3Error::new(
                ErrorCode::InternalError,
                "The storage redirects this bucket to another endpoint; the proxy's upstream.region or \
                 upstream.endpoint is not the bucket's.",
            ),
            Self::UpstreamCredentials { code } => S3Error::new(
                ErrorCode::InternalError,
                format!("The storage refused the proxy's own credentials ({code}), not yours."),
            ),
            Self::UpstreamDenied { .. } => {
                S3Error::new(ErrorCode::AccessDenied, "The storage denies this request to the proxy.")
            }
            Self::Format(error) => integrity(error.to_string()),
            Self::MalformedWrappedKey => integrity(self.to_string()),
            Self::Stream(error) => integrity(error.to_string()),
            Self::S3ec(error) => s3ec(*error),
            Self::Unreadable(error) => integrity(error.to_string()),
            Self::NotReadable { found, readable } => S3Error::invalid_request(format!(
                "{} The bucket's formats.read accepts only {readable}.",
                described(found)
            )),
            Self::NotNative { has_wrapped_key: false } => S3Error::invalid_request(
                "This object is not encrypted by s3veil. The bucket's formats.read accepts only [\"native\"].",
            ),
            Self::NotNative { has_wrapped_key: true } => S3Error::invalid_request(
                "This object is encrypted in another format than s3veil's own. The bucket's formats.read accepts only \
                 [\"native\"].",
            ),
            Self::Replaced => unavailable("The object was replaced while it was read. Please try again."),
            Self::PartsUnknown => {
                S3Error::new(ErrorCode::InternalError, format!("Can't read this object: {self}."))
            }
            Self::Panicked => ErrorCode::InternalError.into(),
            Self::Shared(error) => error.to_s3(),
        }
    }
}

/// What an object is that may not be read.
fn described(found: &str) -> String {
    match found {
        "plaintext" => "This object is not encrypted.".to_owned(),
        format => format!("This object is encrypted in the format \"{format}\"."),
    }
}

/// What the metadata say is told, since whoever may read the object may know it; what fails authentication is one.
fn s3ec(error: S3ecError) -> S3Error {
    match error {
        S3ecError::LegacyWrapping
        | S3ecError::LegacyContent
        | S3ecError::RawWrapping
        | S3ecError::Algorithm(_) => {
            S3Error::invalid_request(format!("This object of the S3 Encryption Client is not read: {error}."))
        }
        S3ecError::Malformed(_)
        | S3ecError::Contradiction
        | S3ecError::InstructionFile
        | S3ecError::ContextAlgorithm
        | S3ecError::Context
        | S3ecError::Commitment
        | S3ecError::DataKeyLength
        | S3ecError::Length
        | S3ecError::Tag => integrity(error.to_string()),
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

fn integrity(what: String) -> S3Error {
    let message = format!("The stored object failed authentication and was not released: {what}.");
    S3Error::new(ErrorCode::IntegrityCheckFailed, message)
}

fn unavailable(message: impl Into<Cow<'static, str>>) -> S3Error {
    S3Error::new(ErrorCode::ServiceUnavailable, message)
}

fn unauthenticated(error: &AuthError) -> S3Error {
    let code = ErrorCode::ALL.iter().copied().find(|code| code.code() == error.s3_code());
    let answer = S3Error::new(code.unwrap_or(ErrorCode::AccessDenied), error.to_string());
    match error {
        AuthError::UnknownAccessKeyId(access_key_id) => answer.with("AWSAccessKeyId", access_key_id),
        AuthError::RequestTimeTooSkewed { request_time, server_time, max_skew } => answer
            .with("RequestTime", request_time)
            .with("ServerTime", server_time)
            .with("MaxAllowedSkewMilliseconds", max_skew.as_millis().to_string()),
        AuthError::Expired { expires, server_time } => {
            answer.with("Expires", expires).with("ServerTime", server_time)
        }
        AuthError::Malformed { fault: AuthFault::Region { expected, .. }, .. } => {
            answer.with("Region", expected)
        }
        AuthError::HeadersNotSigned(names) => answer.with("HeadersNotSigned", names.join(", ")),
        AuthError::SignatureDoesNotMatch(mismatch) => signature_mismatch(answer, mismatch),
        AuthError::Anonymous
        | AuthError::SeveralMechanisms
        | AuthError::SigV2NotAllowed
        | AuthError::SigV2Method
        | AuthError::SigV2UnsignedParameter(_)
        | AuthError::Contradiction(_)
        | AuthError::UnsupportedScheme
        | AuthError::EcdsaNotImplemented(_)
        | AuthError::Malformed { .. }
        | AuthError::AmbiguousHeader(_)
        | AuthError::TooManyQueryParameters { .. }
        | AuthError::InvalidDate
        | AuthError::NotYetValid { .. }
        | AuthError::SecurityToken
        | AuthError::SignedHeaderMissing(_)
        | AuthError::MissingContentSha256
        | AuthError::InvalidContentSha256
        | AuthError::SigV2SignedChunks
        | AuthError::InvalidDecodedLength
        | AuthError::TooManyTrailers { .. } => answer,
    }
}

/// What S3 shows for debugging a signature; it holds nothing a client did not send or could not compute.
fn signature_mismatch(answer: S3Error, mismatch: &SignatureMismatch) -> S3Error {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let answer = answer
        .with("AWSAccessKeyId", &mismatch.access_key_id)
        .with("StringToSign", text(&mismatch.string_to_sign))
        .with("SignatureProvided", &mismatch.signature_provided);
    match &mismatch.canonical_request {
        Some(canonical_request) => answer.with("CanonicalRequest", text(canonical_request)),
        None => answer,
    }
}

fn keyring(error: &KeyringError) -> S3Error {
    let told = |code: ErrorCode| S3Error::new(code, format!("The key service refused: {error}."));
    match error {
        KeyringError::Denied | KeyringError::NotAllowed => told(ErrorCode::AccessDenied),
        // The keyring's path and its other keys are for the operator, in the log. An altered blob can also be
        // the cause.
        KeyringError::KeyMissing { key_id, keyring: _ } => S3Error::new(
            ErrorCode::IntegrityCheckFailed,
            format!(
                "The key service refused: the data key was wrapped under {key_id}, which it does not have."
            ),
        ),
        KeyringError::KeyNotFound => told(ErrorCode::KmsNotFoundException),
        KeyringError::KeyDisabled => told(ErrorCode::KmsDisabledException),
        KeyringError::InvalidKeyState | KeyringError::InvalidKeyUsage => {
            told(ErrorCode::KmsInvalidStateException)
        }
        // Who can alter a blob can also name another key in it, or bring one that a key of its own wrapped.
        KeyringError::InvalidCiphertext | KeyringError::IncorrectKey => integrity(error.to_string()),
        KeyringError::Throttled => S3Error::new(
            ErrorCode::SlowDown,
            "The key service is throttling. Please reduce your request rate.",
        ),
        KeyringError::Unavailable => unavailable("The key service is unavailable. Please try again."),
        KeyringError::Interrupted => {
            unavailable("The call of the key service was interrupted. Please try again.")
        }
        KeyringError::Credentials
        | KeyringError::Malformed(_)
        | KeyringError::NoKeyNamed
        | KeyringError::Unexpected { .. } => {
            S3Error::new(ErrorCode::InternalError, format!("The key service can't be used: {error}."))
        }
    }
}

fn upstream(error: &UpstreamError) -> S3Error {
    match error {
        UpstreamError::Connect(_) => unavailable("The storage can't be reached. Please try again."),
        UpstreamError::Timeout { .. } => unavailable("The storage took too long. Please try again."),
        UpstreamError::Protocol(_) => unavailable("The exchange with the storage failed. Please try again."),
        UpstreamError::HeadTooLarge => S3Error::new(
            ErrorCode::InternalError,
            "The storage's answer has more header fields, metadata among them, than this server reads.",
        ),
        UpstreamError::Credentials(_) => S3Error::new(
            ErrorCode::InternalError,
            "The proxy has no credentials for the storage; its log names the fix.",
        ),
        UpstreamError::Address(AddressError::Administration(name)) => {
            S3Error::from(ErrorCode::InvalidBucketName).with("BucketName", name)
        }
        UpstreamError::Address(AddressError::AnotherHost { .. } | AddressError::NotAUri(_))
        | UpstreamError::Body(_)
        | UpstreamError::Length(_)
        | UpstreamError::Sign(_)
        | UpstreamError::Request(_) => {
            S3Error::new(ErrorCode::InternalError, ErrorCode::InternalError.message())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_the_signature_room_is_a_code_of_s3() {
        for error in [AuthError::Anonymous, AuthError::SecurityToken, AuthError::MissingContentSha256] {
            assert_eq!(Error::Unauthenticated(error.clone()).to_s3().code.code(), error.s3_code());
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
