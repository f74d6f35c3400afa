//! The settings of the log. It must not know where settings are read from. It promises nothing about the
//! level, which the configuration checks.

/// The log's format and level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    /// The format of the lines, one per event.
    pub format: LogFormat,
    /// A level, or a list such as `info,s3veil=debug`, in the syntax of `tracing_subscriber::EnvFilter`.
    pub level: String,
}

/// The format of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text for people.
    Text,
    /// One JSON object.
    Json,
}
