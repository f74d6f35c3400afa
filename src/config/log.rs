//! `[log]`: the log's format and level.
//! It must not know how a line is written.
//! It promises a level that `tracing_subscriber` parses as intended.

use super::error::{ConfigError, Refusal, Result};
use super::section::Section;
pub use crate::log::{LogFormat, LogSettings};

/// The environment variable that overrides `log.level`, as is usual for Rust programs.
const ENVIRONMENT: &str = "RUST_LOG";

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

pub(super) fn read(root: &Section<'_>) -> Result<LogSettings> {
    let mut settings = LogSettings { format: LogFormat::Text, level: "info".to_owned() };
    if let Some(section) = root.section("log", "format level")? {
        let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
        settings.format = section.choice("format", &formats)?.unwrap_or(settings.format);
        settings.level = section.parsed("level", "info", level)?.unwrap_or(settings.level);
    }
    if let Some(text) = (root.source.environment)(ENVIRONMENT).filter(|text| !text.is_empty()) {
        settings.level = level(&text).map_err(|Refusal { problem, fix }| {
            let refusal = Refusal::new(format!("the environment variable {ENVIRONMENT} {problem}"), fix);
            ConfigError::whole(root.source.file, refusal)
        })?;
    }
    Ok(settings)
}

/// Parses a comma-separated list of `LEVEL` or `TARGET=LEVEL`. A filter would take a misspelt level for a
/// target.
fn level(text: &str) -> Result<String, Refusal> {
    let known = |directive: &str| {
        let (target, level) = directive.split_once('=').unwrap_or(("s3veil", directive));
        let target_fits = target.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_:-".contains(&byte));
        !target.is_empty() && target_fits && LEVELS.contains(&level.to_ascii_lowercase().as_str())
    };
    if text.split(',').all(|directive| known(directive.trim())) {
        return Ok(text.to_owned());
    }
    let fix = format!("write one of {}, or such as \"info,s3veil=debug\"", LEVELS.join(", "));
    Err(Refusal::new(format!("is an invalid level: {text:?}"), fix))
}
