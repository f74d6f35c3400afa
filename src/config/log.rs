//! `[log]`: the log's format and level, and which requests have a line.
//! It must not know how a line is written.
//! It promises a level that `tracing_subscriber` parses as intended.

pub(super) mod metrics;

use super::error::{ConfigError, Refusal, Result};
use super::section::Section;
use super::value;
use crate::log::{AccessLog, Share};
pub use crate::log::{LogFormat, LogSettings};

/// The environment variable that overrides `log.level`, as is usual for Rust programs.
const ENVIRONMENT: &str = "RUST_LOG";

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

pub(super) fn read(root: &Section<'_>) -> Result<LogSettings> {
    let mut settings =
        LogSettings { format: LogFormat::Text, level: "info".to_owned(), access: AccessLog::default() };
    if let Some(section) = root.section("log")? {
        let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
        settings.format = section.choice("format", &formats)?.unwrap_or(settings.format);
        settings.level = section.parsed("level", "info", level)?.unwrap_or(settings.level);
        settings.access = read_access(&section)?;
    }
    if let Some(text) = (root.source.environment)(ENVIRONMENT).filter(|text| !text.is_empty()) {
        settings.level = level(&text).map_err(|Refusal { problem, fix }| {
            let refusal = Refusal::new(format!("the environment variable {ENVIRONMENT} {problem}"), fix);
            ConfigError::whole(root.source.file, refusal)
        })?;
    }
    Ok(settings)
}

/// Which requests have a line.
#[derive(Clone, Copy)]
enum Access {
    All,
    Errors,
    Off,
}

fn read_access(section: &Section<'_>) -> Result<AccessLog> {
    let default = AccessLog::default();
    let choices = [("all", Access::All), ("errors", Access::Errors), ("off", Access::Off)];
    let access = section.choice("access", &choices)?.unwrap_or(Access::All);
    let sample = section.parsed("access_sample", "10%", value::share)?;
    let slow = section.parsed("slow", "1s", value::timeout)?.unwrap_or(default.slow);
    match access {
        Access::All => Ok(AccessLog { successes: sample.unwrap_or(Share::ALL), failures: true, slow }),
        Access::Errors => {
            section.absent("access_sample", "has no effect with access = \"errors\"")?;
            Ok(AccessLog { successes: Share::NONE, failures: true, slow })
        }
        Access::Off => {
            for word in ["access_sample", "slow"] {
                section.absent(word, "has no effect with access = \"off\"")?;
            }
            Ok(AccessLog { successes: Share::NONE, failures: false, slow })
        }
    }
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
