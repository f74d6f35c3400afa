//! The rows of reports, as S3 Batch Operations writes its completion reports: without a header row, keys
//! URL-encoded. <https://docs.aws.amazon.com/AmazonS3/latest/userguide/batch-ops-examples-reports.html>
//! They must not know where a report is.
//! Each row is one line: no field holds a line end.

use super::ReportedObject;
use crate::job::outcome::{Outcome, Status};
use crate::wire::percent;

/// The columns of a report.
pub const SCHEMA: &str = "Bucket, Key, VersionId, TaskStatus, ErrorCode, HTTPStatusCode, ResultMessage";

/// The row of an object in the report.
pub(super) fn row(object: ReportedObject<'_>, outcome: &Outcome) -> String {
    let status = match outcome.status {
        Status::Succeeded => "succeeded",
        Status::Skipped => "skipped",
        Status::Raced => "raced",
        Status::Failed => "failed",
    };
    let code = outcome.error_code.as_deref().unwrap_or_default();
    let http_status = outcome.http_status.map(|status| status.to_string()).unwrap_or_default();
    format!("{},{status},{},{http_status},{}\n", names(object), quoted(code), quoted(&message(outcome)))
}

/// The row of an object in a manifest.
pub(super) fn manifest_row(object: ReportedObject<'_>) -> String {
    let ReportedObject { version_id, .. } = object;
    let names = names(object);
    let names = if version_id.is_none() { names.trim_end_matches(',') } else { &names };
    format!("{names}\n")
}

/// A failed object for people.
pub(super) fn shown(object: ReportedObject<'_>, outcome: &Outcome) -> String {
    let ReportedObject { bucket, object_key, version_id, .. } = object;
    let version = version_id.map(|id| format!(" (version {id})")).unwrap_or_default();
    let code = outcome.error_code.as_deref().unwrap_or("failed");
    let text = format!("s3://{bucket}/{object_key}{version}: {code}: {}", message(outcome));
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

fn names(object: ReportedObject<'_>) -> String {
    let ReportedObject { bucket, object_key, version_id, .. } = object;
    let key = percent::encode_path(object_key);
    format!("{},{key},{}", quoted(bucket), quoted(version_id.unwrap_or_default()))
}

fn message(outcome: &Outcome) -> String {
    match (outcome.status, outcome.is_unchanged, outcome.message.is_empty()) {
        (Status::Succeeded, true, true) => "unchanged".to_owned(),
        _ => outcome.message.clone(),
    }
}

/// A field, in quotes where it needs them (RFC 4180, 2.6).
fn quoted(field: &str) -> String {
    let field: String = field.chars().map(|it| if it.is_control() { ' ' } else { it }).collect();
    if field.contains([',', '"', '\'']) || field.starts_with(' ') {
        return format!("\"{}\"", field.replace('"', "\"\""));
    }
    field
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::outcome::Severity;

    fn outcome(status: Status, message: &str) -> Outcome {
        Outcome {
            status,
            is_unchanged: false,
            severity: Severity::None,
            error_code: None,
            http_status: None,
            message: message.to_owned(),
            bytes: 0,
            format: None,
            key_before: None,
            further_keys: Vec::new(),
            key_after: None,
            version_after: None,
        }
    }

    #[test]
    fn rows_have_seven_columns_and_one_line() {
        let object = ReportedObject {
            bucket: "b",
            object_key: "a b/é,\"x\"\n+",
            version_id: Some("v1"),
            is_latest: true,
        };
        let failed = Outcome {
            error_code: Some("AccessDenied".to_owned()),
            http_status: Some(403),
            ..outcome(Status::Failed, "a \"word\",\nor two")
        };
        assert_eq!(
            row(object, &failed),
            "b,a%20b/%C3%A9%2C%22x%22%0A%2B,v1,failed,AccessDenied,403,\"a \"\"word\"\", or two\"\n"
        );
        assert_eq!(manifest_row(object), "b,a%20b/%C3%A9%2C%22x%22%0A%2B,v1\n");
        let plain = ReportedObject { object_key: "k", version_id: None, ..object };
        assert_eq!(row(plain, &outcome(Status::Succeeded, "")), "b,k,,succeeded,,,\n");
        assert_eq!(manifest_row(plain), "b,k\n");
        let unchanged = Outcome { is_unchanged: true, ..outcome(Status::Succeeded, "") };
        assert_eq!(row(plain, &unchanged), "b,k,,succeeded,,,unchanged\n");
    }
}
