//! The error of an invalid configuration.
//! It must not know which keys exist.
//! It promises one line with file, line, problem and remedy, without secrets.

pub(super) mod suggest;
pub(super) mod syntax;

use std::path::{Path, PathBuf};

/// A result whose error, unless another is named, is one of the configuration.
pub(super) type Result<T, E = ConfigError> = std::result::Result<T, E>;

/// An invalid configuration: the position, the problem and its remedy.
///
/// Displayed as one line, `FILE:LINE: PROBLEM: FIX`. Never contains the value of a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{}: {problem}: {fix}", file.display(), line.map(|line| format!(":{line}")).unwrap_or_default())]
pub struct ConfigError {
    /// The configuration file, as named on the command line.
    pub file: PathBuf,
    /// The line, from 1; `None` for a problem of the whole file or of the environment.
    pub line: Option<usize>,
    /// The problem, with the key as `table.key`.
    pub problem: String,
    /// The remedy.
    pub fix: String,
}

impl ConfigError {
    /// An error of the file as a whole.
    pub(super) fn whole(file: &Path, refusal: Refusal) -> Self {
        Self { file: file.to_owned(), line: None, problem: refusal.problem, fix: refusal.fix }
    }
}

/// A [`ConfigError`] without its position.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) problem: String,
    pub(super) fix: String,
}

impl Refusal {
    pub(super) fn new(problem: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { problem: problem.into(), fix: fix.into() }
    }
}
