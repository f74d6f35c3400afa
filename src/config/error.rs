use std::path::{Path, PathBuf};

/// Why a configuration was refused: where it stands, what is wrong, and what to write instead.
///
/// Displayed as one line, `FILE:LINE: PROBLEM: FIX`; it never contains the value of a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{}: {problem}: {fix}", file.display(), Line(*line))]
pub struct ConfigError {
    /// The configuration file, as it was named on the command line.
    pub file: PathBuf,
    /// Counted from 1; `None` where the file as a whole, or the environment, is at fault.
    pub line: Option<usize>,
    /// What is wrong, naming the key as `table.key`.
    pub problem: String,
    /// What to do about it.
    pub fix: String,
}

impl ConfigError {
    /// An error of the file as a whole.
    pub(super) fn whole(file: &Path, refusal: Refusal) -> Self {
        Self { file: file.to_owned(), line: None, problem: refusal.problem, fix: refusal.fix }
    }
}

/// A [`ConfigError`] that does not know yet where it happened.
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

struct Line(Option<usize>);

impl std::fmt::Display for Line {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.map_or(Ok(()), |line| write!(out, ":{line}"))
    }
}
