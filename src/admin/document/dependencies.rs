//! The holders of wrapping keys, the cache of data keys, and the storages.
//! They must not know how a holder or a storage is called.
//! They promise that what an outage would still serve is said before it happens.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Moment, count, failures, moment_of, report, seconds};
use crate::admin::history::quantiles;
use crate::admin::snapshot::Labels;
use crate::admin::status::Named;

/// The holders, their keys, and the data keys in memory.
pub(super) fn keys(moment: &Moment<'_>) -> Value {
    let holders: Vec<_> = moment.status.holders.iter().map(|named| holder(moment, named)).collect();
    let keys: Vec<_> = moment.reports.keys.iter().map(report).collect();
    let lookups = |outcome: &str| {
        count(moment.snapshot.sum("s3veil_keyring_cache_total", |labels| labels.get("outcome") == outcome))
    };
    let mut calls: Vec<_> = moment.snapshot.samples("s3veil_keyring_calls_total").collect();
    let names = ["holder", "operation", "outcome"];
    calls.sort_by_key(|(labels, _)| names.map(|name| labels.get(name).to_owned()));
    let calls = calls.iter().map(|(labels, calls)| {
        let [holder, operation, outcome] = names.map(|name| labels.get(name));
        json!({ "holder": holder, "operation": operation, "outcome": outcome, "calls": count(*calls) })
    });
    let calls: Vec<_> = calls.collect();
    json!({
        "holders": holders,
        "calls": calls,
        "keys": keys,
        "caching": moment.status.caching,
        "lookups": {
            "hits": lookups("hit"),
            "misses": lookups("miss"),
            "stale": lookups("stale"),
            "shared_errors": lookups("shared_error"),
        },
        "cached": [cached(moment, "generate", "to write"), cached(moment, "unwrap", "to read")],
        "left_out": count(moment.snapshot.total("s3veil_keyring_left_out_total")),
    })
}

/// A holder and its calls.
fn holder(moment: &Moment<'_>, named: &Named) -> Value {
    let snapshot = moment.snapshot;
    let is_its = |labels: &Labels<'_>| labels.get("holder") == named.name;
    let calls = snapshot.sum("s3veil_keyring_calls_total", is_its);
    let failed =
        snapshot.sum("s3veil_keyring_calls_total", |labels| is_its(labels) && labels.get("outcome") != "ok");
    let [taken] =
        snapshot.distributions("s3veil_keyring_call_duration_seconds", |labels| is_its(labels).then_some(0));
    let up = snapshot.samples("s3veil_keyring_holder_up").find(|(labels, _)| is_its(labels));
    let state = match up {
        Some((_, up)) if up > 0.0 => "working",
        Some(_) => "failing",
        None => "unknown",
    };
    json!({
        "name": named.name,
        "place": named.place,
        "state": state,
        "calls": count(calls),
        "failed": count(failed),
        "duration": quantiles(&taken),
        "last_success_at": moment_of(snapshot.sum("s3veil_keyring_last_success_timestamp_seconds", is_its)),
    })
}

/// The data keys in memory for one purpose, and until when the last of them would serve without the holders.
fn cached(moment: &Moment<'_>, operation: &str, purpose: &str) -> Value {
    let gauge = |metric| moment.snapshot.sum(metric, |labels| labels.get("operation") == operation);
    let keys = gauge("s3veil_keyring_cached_keys");
    let reserve = Duration::try_from_secs_f64(gauge("s3veil_keyring_cache_reserve_seconds"));
    let until = moment.now.checked_add(reserve.unwrap_or_default()).filter(|_| keys > 0.0);
    json!({
        "operation": operation,
        "purpose": purpose,
        "keys": count(keys),
        "oldest_age_seconds": gauge("s3veil_keyring_oldest_key_age_seconds"),
        "serves_until": until.map(seconds),
    })
}

/// The storages and the requests to them.
pub(super) fn storages(moment: &Moment<'_>) -> Value {
    let storages = moment.status.storages.iter().enumerate();
    storages.map(|(place, named)| storage(moment, place, named)).collect()
}

fn storage(moment: &Moment<'_>, place: usize, named: &Named) -> Value {
    let snapshot = moment.snapshot;
    let is_its = |labels: &Labels<'_>| labels.get("upstream") == named.name;
    let connections = |state: &str| {
        let is_wanted = |labels: &Labels<'_>| is_its(labels) && labels.get("state") == state;
        count(snapshot.sum("s3veil_upstream_connections", is_wanted))
    };
    let [ok, failed] = snapshot.distributions("s3veil_upstream_request_duration_seconds", |labels| {
        let is_failed = !matches!(labels.get("outcome"), "ok" | "4xx");
        is_its(labels).then_some(usize::from(is_failed))
    });
    let health = moment.reports.storages.get(place).map(report);
    let is_single = moment.status.storages.len() == 1;
    let last = moment.latest.failures.iter().rev().find(|failed| is_single && failed.side == "storage");
    json!({
        "name": named.name,
        "place": named.place,
        "health": health,
        "connections": { "idle": connections("idle"), "busy": connections("busy") },
        "requests": ok.plus(&failed).count(),
        "failed": failed.count(),
        "retries": count(snapshot.sum("s3veil_upstream_retries_total", is_its)),
        "duration": quantiles(&ok),
        "last_failure": last.map(|failed| failures::failure(failed)),
    })
}
