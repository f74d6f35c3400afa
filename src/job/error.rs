//! Why a job can't begin, or has to end before its input does.
//! It must not know exit codes.
//! It promises one line for each failure, with what to change where that is known.

use std::io;

use crate::upstream::UpstreamError;

/// The failure of a job as a whole. A failure of one object is a row of the report.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The input, or another argument, is invalid.
    #[error("{0}")]
    Invalid(String),
    /// The storage or a key holder is not to be reached, or refuses.
    #[error("{0}")]
    Unavailable(String),
    /// The storage throttles, or the job was interrupted: to be run again.
    #[error("{0}")]
    Again(String),
    /// What was read is not what was written: it was altered, or is incomplete.
    #[error("{0}")]
    NotAuthentic(String),
    /// Reading or writing a file failed.
    #[error("{action}: {source}")]
    Io {
        /// The failed step, such as `writing the report`.
        action: String,
        /// The error of the operating system.
        source: io::Error,
    },
}

impl JobError {
    /// An error of the operating system at `action`.
    pub fn io(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |source| Self::Io { action, source }
    }
}

impl From<UpstreamError> for JobError {
    fn from(error: UpstreamError) -> Self {
        match error {
            UpstreamError::Address(_) => Self::Invalid(error.to_string()),
            UpstreamError::Connect(_)
            | UpstreamError::Timeout { .. }
            | UpstreamError::Protocol(_)
            | UpstreamError::HeadTooLarge
            | UpstreamError::Body(_)
            | UpstreamError::Length(_)
            | UpstreamError::Credentials(_)
            | UpstreamError::Sign(_) => Self::Unavailable(crate::error::with_causes(&error)),
        }
    }
}
