//! The report of `check`: what was found, as text for people or JSON for programs.
//! It must not know how anything is found.
//! It promises one line or one object per finding, and stable names in JSON (docs/OPERATING.md).

use std::fmt::Write as _;
use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;

/// The form of the report.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// One line per finding
    #[default]
    Text,
    /// One JSON object
    Json,
}

/// What a finding means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    #[serde(rename = "ok")]
    Good,
    /// Requests are served, but a setting should be changed.
    Warning,
    Failed,
    /// The configuration excludes this step.
    Skipped,
}

/// The content of one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) kind: Kind,
    pub(super) text: String,
}

impl Finding {
    pub(super) fn good(text: impl Into<String>) -> Self {
        Self { kind: Kind::Good, text: text.into() }
    }

    pub(super) fn warning(text: impl Into<String>) -> Self {
        Self { kind: Kind::Warning, text: text.into() }
    }

    pub(super) fn failed(text: impl Into<String>) -> Self {
        Self { kind: Kind::Failed, text: text.into() }
    }

    pub(super) fn skipped(text: impl Into<String>) -> Self {
        Self { kind: Kind::Skipped, text: text.into() }
    }
}

/// One finding with its names.
#[derive(Debug, Serialize)]
struct Entry {
    check: &'static str,
    subject: Option<String>,
    status: Kind,
    message: String,
    milliseconds: Option<u64>,
    /// The beginning of the line of text.
    #[serde(skip)]
    title: String,
}

#[derive(Serialize)]
struct Document<'a> {
    version: &'static str,
    ok: bool,
    checks: &'a [Entry],
}

/// All findings, in order.
#[derive(Debug, Default)]
pub struct Report {
    entries: Vec<Entry>,
}

impl Report {
    /// Adds a finding. `check` is its name in JSON; `title` begins its line of text, and `subject` says in
    /// JSON what was checked: a key id, a bucket, a file.
    pub(super) fn add(&mut self, check: &'static str, title: &str, subject: Option<&str>, found: Finding) {
        self.push(check, title, subject, found, None);
    }

    /// Adds the finding of a step that took `time`.
    pub(super) fn add_timed(
        &mut self,
        check: &'static str,
        title: &str,
        subject: Option<&str>,
        found: Finding,
        time: Duration,
    ) {
        let milliseconds = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.push(check, title, subject, found, Some(milliseconds));
    }

    fn push(
        &mut self,
        check: &'static str,
        title: &str,
        subject: Option<&str>,
        found: Finding,
        milliseconds: Option<u64>,
    ) {
        let Finding { kind: status, text } = found;
        // Text from a server can't begin a line of the report.
        let message = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let (title, subject) = (title.to_owned(), subject.map(str::to_owned));
        self.entries.push(Entry { check, subject, status, message, milliseconds, title });
    }

    /// The number of failed checks.
    pub fn failed(&self) -> usize {
        self.entries.iter().filter(|entry| entry.status == Kind::Failed).count()
    }

    /// The number of all checks.
    pub fn total(&self) -> usize {
        self.entries.len()
    }

    /// The report with a final line break.
    pub fn render(&self, format: ReportFormat) -> String {
        match format {
            ReportFormat::Text => self.text(),
            ReportFormat::Json => {
                let version = env!("CARGO_PKG_VERSION");
                let document = Document { version, ok: self.failed() == 0, checks: &self.entries };
                serde_json::to_string_pretty(&document).expect("strings and numbers are always JSON") + "\n"
            }
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for Entry { status, message, milliseconds, title, .. } in &self.entries {
            let mark = match status {
                Kind::Good => "",
                Kind::Warning => "WARNING: ",
                Kind::Failed => "FAILED: ",
                Kind::Skipped => "skipped: ",
            };
            let time = milliseconds.map_or_else(String::new, |time| format!(" ({time} ms)"));
            _ = writeln!(text, "{title}: {mark}{message}{time}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut report = Report::default();
        report.add("configuration", "configuration", None, Finding::good("valid"));
        let (found, time) = (Finding::failed("404\nNoSuchBucket"), Duration::from_millis(12));
        report.add_timed("object_put", "object b/k put", Some("b/k"), found, time);
        report
    }

    #[test]
    fn text_has_one_line_for_each_finding() {
        let expected = "configuration: valid\nobject b/k put: FAILED: 404 NoSuchBucket (12 ms)\n";
        assert_eq!(report().render(ReportFormat::Text), expected);
        assert_eq!((report().failed(), report().total()), (1, 2));
    }

    #[test]
    fn json_has_stable_names() {
        let json: serde_json::Value =
            serde_json::from_str(&report().render(ReportFormat::Json)).expect("JSON");
        let expected = serde_json::json!({
            "version": env!("CARGO_PKG_VERSION"),
            "ok": false,
            "checks": [
                { "check": "configuration", "subject": null, "status": "ok", "message": "valid", "milliseconds": null },
                {
                    "check": "object_put",
                    "subject": "b/k",
                    "status": "failed",
                    "message": "404 NoSuchBucket",
                    "milliseconds": 12
                },
            ],
        });
        assert_eq!(json, expected);
    }
}
