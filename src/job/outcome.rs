//! How a row of a job ended.
//! It must not know reports or exit codes.
//! It promises one [`Status`] for each row, with the reason for every status but success.

/// The status of a row, as the report names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Status {
    /// Done: or found to be done already, see [`Outcome::is_unchanged`].
    Succeeded,
    /// Rightly left alone, for the reason in the message: locked, archived, filtered.
    Skipped,
    /// The object changed while it was worked on. The row is tried again at the end of the job.
    Raced,
    /// Not done, for the reason in the message.
    Failed,
}

/// How serious a failed row is, by which a job's exit code is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing failed.
    None,
    /// The row alone can't be done: it is gone, or the storage refuses it.
    Row,
    /// The storage throttles: run again later.
    Throttled,
    /// The storage or a key holder is unavailable.
    Unavailable,
    /// The object failed authentication: running again does not help.
    NotAuthentic,
}

/// What became of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The status.
    pub status: Status,
    /// Whether the object needed no change, so that nothing was written.
    pub is_unchanged: bool,
    /// How serious the failure is; [`Severity::None`] if nothing failed.
    pub severity: Severity,
    /// The S3 error code, such as `AccessDenied`.
    pub error_code: Option<String>,
    /// The HTTP status of the storage's response that decided the outcome.
    pub http_status: Option<u16>,
    /// The reason, one line; empty for a plain success.
    pub message: String,
    /// Bytes of plaintext, as far as they were read or are known.
    pub bytes: u64,
    /// The format that the object had, such as `native` or `plaintext`.
    pub format: Option<&'static str>,
    /// The key that wrapped the object's data key before.
    pub key_before: Option<String>,
    /// Further keys that the data key was wrapped under before.
    pub further_keys: Vec<String>,
    /// The key that wraps the object's data key now.
    pub key_after: Option<String>,
    /// The version that was written, where the storage names one.
    pub version_after: Option<String>,
}
