//! What protects stored objects: the rules as configured, the formats as used, failures of authentication,
//! and certificates.
//! It must not know how a format protects.
//! It promises that what nothing authenticates is marked, where it is configured and where it was used.

use serde_json::{Value, json};

use super::{Moment, count, failures, seconds};
use crate::admin::snapshot::Snapshot;
use crate::admin::status::Certificate;

/// A certificate with fewer days left has to be looked at, or is about to end.
const SOON_DAYS: i64 = 30;
const URGENT_DAYS: i64 = 7;

/// Rules, formats and failures.
pub(super) fn protection(moment: &Moment<'_>) -> Value {
    let snapshot = moment.snapshot;
    let mut legacy: Vec<_> = snapshot.samples("s3veil_legacy_reads_total").collect();
    legacy.sort_by_key(|(labels, _)| labels.get("format").to_owned());
    let legacy = legacy
        .iter()
        .map(|(labels, reads)| json!({ "format": labels.get("format"), "reads": count(*reads) }));
    json!({
        "rules": moment.status.rules,
        "opened": by_format(snapshot, "s3veil_objects_opened_total"),
        "sealed": by_format(snapshot, "s3veil_objects_sealed_total"),
        "plaintext_reads": count(snapshot.total("s3veil_plaintext_reads_total")),
        "legacy_reads": legacy.collect::<Vec<_>>(),
        "integrity_failures": count(snapshot.total("s3veil_integrity_failures_total")),
        "latest_integrity_failures": failures::failures(&moment.latest.integrity),
    })
}

fn by_format(snapshot: &Snapshot, metric: &str) -> Value {
    let mut formats: Vec<_> = snapshot.samples(metric).collect();
    formats.sort_by_key(|(labels, _)| (labels.get("format") != "native", labels.get("format").to_owned()));
    let formats = formats.iter().map(|(labels, objects)| {
        let format = labels.get("format");
        let is_authenticated = !matches!(format, "cbc" | "plaintext");
        json!({ "format": format, "objects": count(*objects), "is_authenticated": is_authenticated })
    });
    formats.collect()
}

/// The certificates, in the order of the configuration.
pub(super) fn certificates(moment: &Moment<'_>) -> Value {
    let now = seconds(moment.now);
    let certificates = moment.status.certificates.iter().map(|certificate| {
        let Certificate { setting, subject, names, validity } = certificate;
        let (begins, ends) = (seconds(validity.not_before), seconds(validity.not_after));
        let days_left = ((ends - now) / 86_400.0).floor() as i64;
        let state = match days_left {
            _ if now < begins => "not_yet",
            days if days < 0 => "expired",
            days if days < URGENT_DAYS => "urgent",
            days if days < SOON_DAYS => "soon",
            _ => "valid",
        };
        json!({
            "setting": setting,
            "subject": subject,
            "names": names,
            "not_before": begins,
            "not_after": ends,
            "days_left": days_left,
            "state": state,
        })
    });
    certificates.collect()
}
