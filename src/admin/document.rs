//! The document of `/status.json`, which the status page shows: docs/STATUS.md describes its fields.
//! It must not know HTML, nor where a number comes from.
//! It promises that each number of a metric is read from one snapshot, and no secret.

mod dependencies;
mod failures;
mod protection;
mod usage;

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::history::{History, SIDES, Sample, rounded};
use super::snapshot::Snapshot;
use super::status::Status;
use super::verdict::Verdict;
use super::{DependencyReport, Reports};
use crate::recent::Latest;

/// All that one document says.
pub(super) struct Moment<'a> {
    pub(super) now: SystemTime,
    pub(super) started_at: SystemTime,
    pub(super) status: &'a Status,
    pub(super) verdict: &'a Verdict,
    pub(super) snapshot: &'a Snapshot,
    pub(super) sample: &'a Sample,
    pub(super) history: &'a History,
    /// A snapshot of some seconds ago, for the rates of single names, and when it was taken.
    pub(super) earlier: Option<&'a (Instant, Snapshot)>,
    pub(super) reports: &'a Reports,
    pub(super) latest: &'a Latest,
}

/// Builds the document.
pub(super) fn document(moment: &Moment<'_>) -> Value {
    let Moment { snapshot, history, sample, latest, .. } = moment;
    json!({
        "now": seconds(moment.now),
        "verdict": verdict(moment.verdict),
        "process": process(moment),
        "config": config(moment.status),
        "totals": totals(snapshot),
        "rates": history.rates(sample),
        "latency": history.latencies(sample),
        "limits": limits(snapshot),
        "operations": usage::operations(moment),
        "history": history.series(),
        "keys": dependencies::keys(moment),
        "storages": dependencies::storages(moment),
        "protection": protection::protection(moment),
        "clients": usage::clients(moment),
        "rules": usage::rules(moment),
        "certificates": protection::certificates(moment),
        "failures": failures::failures(&latest.failures),
        "refusals": failures::failures(&latest.refusals),
    })
}

/// Seconds since 1970, to the millisecond.
fn seconds(time: SystemTime) -> f64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    (since.as_secs_f64() * 1e3).round() / 1e3
}

/// The value of a gauge that is a time; null for 0, which means never.
fn moment_of(gauge: f64) -> Value {
    if gauge > 0.0 { json!((gauge * 1e3).round() / 1e3) } else { Value::Null }
}

/// A counter's value, which is whole.
fn count(total: f64) -> Value {
    json!(total as u64)
}

fn verdict(verdict: &Verdict) -> Value {
    let reasons = verdict.reasons.iter().map(|(problem, since)| {
        json!({ "component": problem.component, "message": problem.message, "since": seconds(*since) })
    });
    json!({
        "state": verdict.state.name(),
        "title": verdict.state.title(),
        "since": seconds(verdict.since),
        "reasons": reasons.collect::<Vec<_>>(),
    })
}

fn process(moment: &Moment<'_>) -> Value {
    let Moment { status, snapshot, started_at, now, .. } = moment;
    json!({
        "version": status.version,
        "commit": status.commit,
        "listen": status.listen,
        "started_at": seconds(*started_at),
        "uptime_seconds": now.duration_since(*started_at).unwrap_or_default().as_secs(),
        "memory_bytes": count(snapshot.total("process_resident_memory_bytes")),
        "cpu_seconds": rounded(snapshot.total("process_cpu_seconds_total")),
        "open_descriptors": count(snapshot.total("process_open_fds")),
    })
}

fn config(status: &Status) -> Value {
    let refused = status.reload_failure.as_ref();
    let refused = refused.map(|(at, cause)| json!({ "at": seconds(*at), "cause": cause }));
    json!({
        "digest": status.digest,
        "loaded_at": seconds(status.loaded_at),
        "refused": refused,
        "anonymous": status.anonymous,
    })
}

/// The counters since the process began.
fn totals(snapshot: &Snapshot) -> Value {
    let total = |metric| count(snapshot.total(metric));
    let errors = SIDES.iter().map(|side| {
        let of_side = snapshot.sum("s3veil_errors_total", |labels| labels.get("side") == *side);
        ((*side).to_owned(), count(of_side))
    });
    json!({
        "requests": total("s3veil_requests_total"),
        "request_bytes": total("s3veil_request_bytes_total"),
        "response_bytes": total("s3veil_response_bytes_total"),
        "errors": errors.collect::<Value>(),
        "responses_cut": total("s3veil_responses_cut_total"),
        "slow_downs": total("s3veil_slow_downs_total"),
        "slow_clients_cut": total("s3veil_slow_clients_cut_total"),
        "logins_refused": total("s3veil_logins_refused_total"),
        "connections": total("s3veil_connections_total"),
        "connections_unusable": total("s3veil_connections_unusable_total"),
        "log_lines_dropped": total("s3veil_log_lines_dropped_total"),
        "audit_lines": total("s3veil_audit_lines_total"),
        "audit_lines_lost": total("s3veil_audit_lines_lost_total"),
        "reload_failures": total("s3veil_reload_failures_total"),
    })
}

fn limits(snapshot: &Snapshot) -> Value {
    let limit =
        |used, limit| json!({ "used": count(snapshot.total(used)), "limit": count(snapshot.total(limit)) });
    json!({
        "requests": limit("s3veil_requests_in_flight", "s3veil_requests_limit"),
        "connections": limit("s3veil_connections_open", "s3veil_connections_limit"),
        "buffered_bytes": limit("s3veil_buffered_bytes", "s3veil_buffered_bytes_limit"),
        "descriptors": limit("process_open_fds", "process_max_fds"),
    })
}

/// What the latest checks and requests say of a storage or a key.
fn report(report: &DependencyReport) -> Value {
    let state = match (&report.trouble, &report.note, report.succeeded_at) {
        (Some(_), _, _) => "failing",
        (None, Some(_), _) => "throttling",
        (None, None, Some(_)) => "working",
        (None, None, None) => "unknown",
    };
    json!({
        "place": report.place,
        "key_id": report.key_id,
        "state": state,
        "message": report.trouble.as_ref().or(report.note.as_ref()),
        "last_success_at": report.succeeded_at.map(seconds),
    })
}
