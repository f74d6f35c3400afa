//! How a step ends: done, skipped, raced or failed, and what that means for the report.
//! It must not know what a step does.
//! It promises that each failure of the storage, of a key holder and of the object itself has one severity.

use std::sync::Arc;

use http::StatusCode;

use super::digest::OtherChecksum;
use crate::envelope::s3ec::S3ecError;
use crate::error::{Error, Result, with_causes};
use crate::job::outcome::{Outcome, Severity, Status};
use crate::keyring::{KeyringError, RewrapError};
use crate::s3::{ErrorCode, S3Error};
use crate::upstream::UpstreamError;

/// The good ends of a step, each with a message, which may be empty.
pub(super) enum Success {
    /// The work was done, or would be in a dry run.
    Done(String),
    /// Nothing had to be done.
    Unchanged(String),
}

/// Why a step ended without success.
pub(super) enum Stop {
    /// The object is rightly left alone, for this reason.
    Skipped(String),
    /// The object changed meanwhile.
    Raced(String),
    /// The object is not what was sealed.
    NotAuthentic(String),
    /// This row can't be done, for this reason.
    Refused(String),
    /// The storage, a key holder or the object failed.
    Failed(Box<Error>),
    /// The storage failed or refused while this was done.
    During(&'static str, Box<Error>),
    /// The data key could not be wrapped again.
    NotRewrapped(std::sync::Arc<RewrapError>),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        if let Error::Upstream(UpstreamError::Body(cause)) = &error
            && cause.is::<OtherChecksum>()
        {
            return Self::NotAuthentic(cause.to_string());
        }
        Self::Failed(Box::new(error))
    }
}

impl From<S3Error> for Stop {
    fn from(error: S3Error) -> Self {
        Error::from(error).into()
    }
}

impl From<UpstreamError> for Stop {
    fn from(error: UpstreamError) -> Self {
        Error::from(error).into()
    }
}

/// What a step has learned of its object when it ends.
#[derive(Default)]
pub(super) struct Known {
    /// Bytes of plaintext, else stored bytes.
    pub(super) bytes: u64,
    /// The format that the object had.
    pub(super) format: Option<&'static str>,
    /// The key that wrapped the object's data key before.
    pub(super) key_before: Option<Arc<str>>,
    /// Further keys that wrapped it before.
    pub(super) further_keys: Vec<String>,
    /// The key that wraps the object's data key now.
    pub(super) key_after: Option<Arc<str>>,
    /// The version that was written.
    pub(super) version_after: Option<String>,
}

impl Known {
    /// The outcome of a step that ended like this.
    pub(super) fn outcome(self, ended: Result<Success, Stop>) -> Outcome {
        let succeeded = |message| Judgement { message, ..Judgement::new(Status::Succeeded, Severity::None) };
        let is_unchanged = matches!(ended, Ok(Success::Unchanged(_)));
        let ending = match ended {
            Ok(Success::Done(message) | Success::Unchanged(message)) => succeeded(message),
            Err(Stop::Skipped(message)) => {
                Judgement { message, ..Judgement::new(Status::Skipped, Severity::None) }
            }
            Err(Stop::Raced(message)) => {
                Judgement { message, ..Judgement::new(Status::Raced, Severity::Row) }
            }
            Err(Stop::NotAuthentic(message)) => {
                Judgement { message, ..Judgement::new(Status::Failed, Severity::NotAuthentic) }
            }
            Err(Stop::Refused(message)) => Judgement { message, ..Judgement::row() },
            Err(Stop::Failed(error)) => judge(&error),
            Err(Stop::During(work, error)) => {
                let ending = judge(&error);
                Judgement { message: format!("{work}: {}", ending.message), ..ending }
            }
            Err(Stop::NotRewrapped(error)) => {
                let severity = error.cause().map_or(Severity::Row, severity_of);
                let message = error.to_string();
                Judgement { message, ..Judgement::new(Status::Failed, severity) }
            }
        };
        let Judgement { status, severity, code, http_status, message } = ending;
        Outcome {
            status,
            is_unchanged,
            severity,
            error_code: code,
            http_status,
            message: message.replace(['\n', '\r'], " "),
            bytes: self.bytes,
            format: self.format,
            key_before: self.key_before.map(|key_id| key_id.to_string()),
            further_keys: self.further_keys,
            key_after: self.key_after.map(|key_id| key_id.to_string()),
            version_after: self.version_after,
        }
    }
}

/// What an error means for its row.
struct Judgement {
    status: Status,
    severity: Severity,
    code: Option<String>,
    http_status: Option<u16>,
    message: String,
}

impl Judgement {
    fn new(status: Status, severity: Severity) -> Self {
        Self { status, severity, code: None, http_status: None, message: String::new() }
    }

    fn row() -> Self {
        Self::new(Status::Failed, Severity::Row)
    }

    /// A refusal by its code and HTTP status.
    fn refused(code: &str, status: StatusCode) -> Self {
        let (status_of_row, severity) = match status {
            _ if code == ErrorCode::InvalidObjectState.code() => (Status::Skipped, Severity::None),
            StatusCode::PRECONDITION_FAILED | StatusCode::CONFLICT => (Status::Raced, Severity::Row),
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
                (Status::Failed, Severity::Throttled)
            }
            StatusCode::NOT_IMPLEMENTED => (Status::Failed, Severity::Row),
            status if status.is_server_error() => (Status::Failed, Severity::Unavailable),
            _ => (Status::Failed, Severity::Row),
        };
        Self {
            code: Some(code.to_owned()),
            http_status: Some(status.as_u16()),
            ..Self::new(status_of_row, severity)
        }
    }
}

/// What an error means for its row, with its text.
fn judge(error: &Error) -> Judgement {
    let error = error.unshared();
    let unavailable = || Judgement::new(Status::Failed, Severity::Unavailable);
    let not_authentic = || Judgement::new(Status::Failed, Severity::NotAuthentic);
    let found = match error {
        Error::Refused(refused) if refused.code == ErrorCode::IntegrityCheckFailed => not_authentic(),
        Error::Refused(refused) => Judgement::refused(refused.code.code(), refused.status()),
        Error::PassThrough(refusal) => {
            let found = refusal.error();
            let code = found.as_ref().map_or_else(|| default_code(refusal.status), |error| &error.code);
            let message = found.as_ref().map(|error| format!("{}: {}", error.code, error.message));
            let message = message.unwrap_or_else(|| error.to_string());
            return Judgement { message, ..Judgement::refused(code, refusal.status) };
        }
        Error::UpstreamDenied { .. } => {
            Judgement::refused(ErrorCode::AccessDenied.code(), StatusCode::FORBIDDEN)
        }
        Error::UpstreamFailed { status } => {
            let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            Judgement::refused(default_code(status), status)
        }
        Error::Keyring(error) => Judgement::new(Status::Failed, severity_of(error)),
        Error::Upstream(UpstreamError::Address(_)) => Judgement::row(),
        Error::Upstream(_)
        | Error::UpstreamBody(_)
        | Error::UpstreamCredentials { .. }
        | Error::UpstreamRedirect { .. } => unavailable(),
        Error::Format(_) | Error::Stream(_) | Error::Unreadable(_) | Error::MalformedWrappedKey => {
            not_authentic()
        }
        Error::S3ec(
            S3ecError::LegacyWrapping
            | S3ecError::LegacyContent
            | S3ecError::RawWrapping
            | S3ecError::Algorithm(_),
        ) => Judgement::row(),
        Error::S3ec(_) => not_authentic(),
        Error::Replaced | Error::Unsettled => Judgement::new(Status::Raced, Severity::Row),
        Error::NotReadable { .. }
        | Error::PartsUnknown
        | Error::Panicked
        | Error::UnexpectedResponse(_)
        | Error::Unauthenticated(_)
        | Error::Ingest(_)
        | Error::Shared(_) => Judgement::row(),
    };
    Judgement { message: with_causes(error), ..found }
}

/// How serious a holder's failure is.
fn severity_of(error: &KeyringError) -> Severity {
    match error {
        KeyringError::Throttled => Severity::Throttled,
        KeyringError::Unavailable
        | KeyringError::Credentials
        | KeyringError::Malformed(_)
        | KeyringError::Interrupted => Severity::Unavailable,
        KeyringError::InvalidCiphertext => Severity::NotAuthentic,
        KeyringError::Denied
        | KeyringError::KeyNotFound
        | KeyringError::KeyDisabled
        | KeyringError::InvalidKeyState
        | KeyringError::InvalidKeyUsage
        | KeyringError::IncorrectKey
        | KeyringError::KeyMissing { .. }
        | KeyringError::NotAllowed
        | KeyringError::NoKeyNamed
        | KeyringError::TooManyWrappings
        | KeyringError::Unexpected(_)
        | KeyringError::ContextIgnored
        | KeyringError::Unsupported => Severity::Row,
    }
}

/// The code of a refusal without a document, as every refusal of a HEAD is.
fn default_code(status: StatusCode) -> &'static str {
    match status {
        StatusCode::NOT_FOUND => "NoSuchKey",
        StatusCode::FORBIDDEN => "AccessDenied",
        StatusCode::PRECONDITION_FAILED => "PreconditionFailed",
        StatusCode::METHOD_NOT_ALLOWED => "MethodNotAllowed",
        StatusCode::SERVICE_UNAVAILABLE => "SlowDown",
        StatusCode::NOT_IMPLEMENTED => "NotImplemented",
        status if status.is_server_error() => "InternalError",
        _ => "InvalidRequest",
    }
}
