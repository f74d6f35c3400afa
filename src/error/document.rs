//! The S3 error document of each error.
//!
//! It must not reveal keys, stored bytes or internal addresses. Every error has a code that S3 documents,
//! except `IntegrityCheckFailed`, for which S3 has no code.

use std::borrow::Cow;

use super::Error;
use crate::envelope::native::FormatError;
use crate::envelope::s3ec::S3ecError;
use crate::keyring::KeyringError;
use crate::s3::headers::is_of_customer_key;
use crate::s3::{ErrorCode, S3Error};
use crate::sigv4::{AuthError, AuthFault, SignatureMismatch};
use crate::upstream::{AddressError, UpstreamError};

impl Error {
    /// The error as a client receives it.
    pub fn to_s3(&self) -> S3Error {
        match self {
            Self::Refused(error) => error.clone(),
            Self::Unauthenticated(error) => unauthenticated(error),
            Self::Ingest(error) => error.to_s3(),
            Self::Keyring(error) => keyring(error),
            Self::Upstream(error) => upstream(error),
            Self::UpstreamBody(_) => unavailable("The storage's response broke off. Please try again."),
            Self::PassThrough(refusal) => refusal.to_s3(),
            Self::UnexpectedResponse(what) => internal(format!("The storage responded {what}.")),
            Self::UpstreamFailed { .. } => unavailable("The storage is failing. Please try again."),
            Self::Unsettled => unavailable(
                "The storage's response was lost, and whether the request was carried out is not known. Please \
                 look, or try again.",
            ),
            Self::UpstreamRedirect { .. } => internal(
                "The storage redirects this bucket to another endpoint; the proxy's upstream.region or \
                 upstream.endpoint is not the bucket's.",
            ),
            Self::UpstreamCredentials { code } => {
                internal(format!("The storage refused the proxy's own credentials ({code}), not yours."))
            }
            Self::UpstreamDenied { .. } => {
                S3Error::new(ErrorCode::AccessDenied, "The storage denies this request to the proxy.")
            }
            Self::Format(error) => format(*error),
            Self::MalformedWrappedKey => integrity(self.to_string()),
            Self::Stream(error) => integrity(error.to_string()),
            Self::S3ec(error) => s3ec(*error),
            Self::Unreadable(error) => integrity(error.to_string()),
            Self::NotReadable { found, readable } => S3Error::invalid_request(format!(
                "{} The bucket's formats.read accepts only {readable}.",
                described(found)
            )),
            Self::Replaced => unavailable("The object was replaced while it was read. Please try again."),
            Self::PartsUnknown => internal(format!("Can't read this object: {self}.")),
            Self::Panicked => ErrorCode::InternalError.into(),
            Self::Shared(error) => error.to_s3(),
        }
    }
}

/// The errors of S3 where a request has no, a needless or a wrong customer key; else the object is not what
/// was stored.
fn format(error: FormatError) -> S3Error {
    if error == FormatError::CustomerKeyMissing {
        return S3Error::invalid_request(
            "The object was stored using a form of Server Side Encryption. The correct parameters must be provided \
             to retrieve the object.",
        );
    }
    if error == FormatError::CustomerKeySurplus {
        return S3Error::invalid_request("The encryption parameters are not applicable to this object.");
    }
    if error == FormatError::CustomerKeyWrong {
        return S3Error::new(
            ErrorCode::AccessDenied,
            "Requests specifying Server Side Encryption with Customer provided keys must provide the correct secret \
             key.",
        );
    }
    integrity(error.to_string())
}

/// The sentence that names the format of an object that may not be read.
fn described(found: &str) -> String {
    match found {
        "plaintext" => "This object is not encrypted.".to_owned(),
        format => format!("This object is encrypted in the format \"{format}\"."),
    }
}

/// Faults that the metadata show are named, since a client that may read the object may know them; all faults
/// of authentication have one error code.
fn s3ec(error: S3ecError) -> S3Error {
    let is_not_read = matches!(
        error,
        S3ecError::LegacyWrapping
            | S3ecError::LegacyContent
            | S3ecError::RawWrapping
            | S3ecError::Algorithm(_)
    );
    if is_not_read {
        S3Error::invalid_request(format!("This object of the S3 Encryption Client is not read: {error}."))
    } else {
        integrity(error.to_string())
    }
}

fn integrity(what: String) -> S3Error {
    let message = format!("The stored object failed authentication and was not released: {what}.");
    S3Error::new(ErrorCode::IntegrityCheckFailed, message)
}

fn internal(message: impl Into<Cow<'static, str>>) -> S3Error {
    S3Error::new(ErrorCode::InternalError, message)
}

fn unavailable(message: impl Into<Cow<'static, str>>) -> S3Error {
    S3Error::new(ErrorCode::ServiceUnavailable, message)
}

fn unauthenticated(error: &AuthError) -> S3Error {
    let refused = S3Error::new(error.s3_code(), error.to_string());
    match error {
        AuthError::UnknownAccessKeyId(access_key_id) => refused.with("AWSAccessKeyId", access_key_id),
        AuthError::RequestTimeTooSkewed { request_time, server_time, max_skew } => refused
            .with("RequestTime", request_time)
            .with("ServerTime", server_time)
            .with("MaxAllowedSkewMilliseconds", max_skew.as_millis().to_string()),
        AuthError::Expired { expires, server_time } => {
            refused.with("Expires", expires).with("ServerTime", server_time)
        }
        AuthError::Malformed { fault: AuthFault::Region { expected, .. }, .. } => {
            refused.with("Region", expected)
        }
        AuthError::HeadersNotSigned(names) => refused.with("HeadersNotSigned", names.join(", ")),
        AuthError::SignatureDoesNotMatch(mismatch) => signature_mismatch(refused, mismatch),
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
        | AuthError::TooManyTrailers { .. } => refused,
    }
}

/// Adds what S3 shows for debugging a signature. A client sent or can compute every value of it.
fn signature_mismatch(refused: S3Error, mismatch: &SignatureMismatch) -> S3Error {
    let text = |bytes: &[u8]| without_customer_keys(&String::from_utf8_lossy(bytes));
    let refused = refused
        .with("AWSAccessKeyId", &mismatch.access_key_id)
        .with("StringToSign", text(&mismatch.string_to_sign))
        .with("SignatureProvided", &mismatch.signature_provided);
    match &mismatch.canonical_request {
        Some(canonical_request) => refused.with("CanonicalRequest", text(canonical_request)),
        None => refused,
    }
}

/// The canonical request without the values of headers that hold a customer key.
fn without_customer_keys(text: &str) -> String {
    if !text.contains("-encryption-customer-key") && !text.contains("-Encryption-Customer-Key") {
        return text.to_owned();
    }
    let hidden = text.split('\n').map(|line| match line.split_once(':') {
        Some((name, _)) if is_of_customer_key(name) => format!("{name}:…"),
        _ if line.to_ascii_lowercase().contains("-encryption-customer-key=") => "…".to_owned(),
        _ => line.to_owned(),
    });
    hidden.collect::<Vec<_>>().join("\n")
}

fn keyring(error: &KeyringError) -> S3Error {
    let refused = |code: ErrorCode| S3Error::new(code, format!("The key service refused: {error}."));
    match error {
        KeyringError::Denied | KeyringError::NotAllowed => refused(ErrorCode::AccessDenied),
        // The keyring's path and its other keys are for the operator, in the log. An altered blob can also be
        // the cause.
        KeyringError::KeyMissing { key_id, keyring: _ } => {
            let why = format!("the data key was wrapped under {key_id}, which it does not have");
            S3Error::new(ErrorCode::IntegrityCheckFailed, format!("The key service refused: {why}."))
        }
        KeyringError::KeyNotFound => refused(ErrorCode::KmsNotFoundException),
        KeyringError::KeyDisabled => refused(ErrorCode::KmsDisabledException),
        KeyringError::InvalidKeyState | KeyringError::InvalidKeyUsage => {
            refused(ErrorCode::KmsInvalidStateException)
        }
        // An attacker who can alter a blob can also name another key in it, or store a blob wrapped by the
        // attacker's own key.
        KeyringError::InvalidCiphertext | KeyringError::IncorrectKey => integrity(error.to_string()),
        KeyringError::Throttled => {
            let message = "The key service is throttling. Please reduce your request rate.";
            S3Error::new(ErrorCode::SlowDown, message)
        }
        KeyringError::Unavailable => unavailable("The key service is unavailable. Please try again."),
        KeyringError::Interrupted => {
            unavailable("The call to the key service was interrupted. Please try again.")
        }
        KeyringError::TooManyWrappings => {
            S3Error::new(ErrorCode::MetadataTooLarge, format!("The object can't be stored: {error}."))
        }
        KeyringError::Credentials
        | KeyringError::Malformed(_)
        | KeyringError::NoKeyNamed
        | KeyringError::ContextIgnored
        | KeyringError::Unsupported
        | KeyringError::Unexpected(_) => internal(format!("The key service can't be used: {error}.")),
    }
}

fn upstream(error: &UpstreamError) -> S3Error {
    match error {
        UpstreamError::Connect(_) => unavailable("The storage can't be reached. Please try again."),
        UpstreamError::Timeout { .. } => unavailable("The storage took too long. Please try again."),
        UpstreamError::Protocol(_) => unavailable("The exchange with the storage failed. Please try again."),
        UpstreamError::HeadTooLarge => internal(
            "The storage's response has more header fields, metadata among them, than this server reads.",
        ),
        UpstreamError::Credentials(_) => {
            internal("The proxy has no credentials for the storage; its log names the fix.")
        }
        UpstreamError::Address(AddressError::Administration(name) | AddressError::NoStoredName(name)) => {
            S3Error::from(ErrorCode::InvalidBucketName).with("BucketName", name)
        }
        UpstreamError::Address(AddressError::AnotherBucket(name)) => {
            let message = format!("The storage has another bucket under the name '{name}'.");
            S3Error::new(ErrorCode::AccessDenied, message)
        }
        UpstreamError::Address(
            AddressError::AnotherHost { .. } | AddressError::NotAUri(_) | AddressError::AnotherStorage,
        )
        | UpstreamError::Body(_)
        | UpstreamError::Length(_)
        | UpstreamError::Sign(_) => ErrorCode::InternalError.into(),
    }
}
