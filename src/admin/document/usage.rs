//! Who uses the proxy, and for what: operations, clients and rules, the busiest first.
//! It must not know what a client or a rule is.
//! It promises tables of bounded length, with the rest in one line.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Moment, count, moment_of};
use crate::admin::history::rounded;
use crate::admin::snapshot::{Labels, Snapshot};

/// How many lines a table has.
const SHOWN: usize = 20;

/// The metrics of one kind of names.
struct Family {
    label: &'static str,
    requests: &'static str,
    errors: &'static str,
    received: &'static str,
    sent: &'static str,
    latest: &'static str,
}

const CLIENTS: Family = Family {
    label: "client",
    requests: "s3veil_client_requests_total",
    errors: "s3veil_client_errors_total",
    received: "s3veil_client_request_bytes_total",
    sent: "s3veil_client_response_bytes_total",
    latest: "s3veil_client_last_request_timestamp_seconds",
};

const RULES: Family = Family {
    label: "rule",
    requests: "s3veil_rule_requests_total",
    errors: "s3veil_rule_errors_total",
    received: "s3veil_rule_request_bytes_total",
    sent: "s3veil_rule_response_bytes_total",
    latest: "s3veil_rule_last_request_timestamp_seconds",
};

/// The numbers of one name.
#[derive(Debug, Clone, Copy, Default)]
struct Line {
    requests: f64,
    rate: f64,
    errors: f64,
    received: f64,
    sent: f64,
    latest: f64,
}

/// The clients, if they are counted one by one.
pub(super) fn clients(moment: &Moment<'_>) -> Value {
    table(moment, &CLIENTS, moment.status.by_client)
}

/// The rules, if they are counted one by one.
pub(super) fn rules(moment: &Moment<'_>) -> Value {
    table(moment, &RULES, moment.status.by_rule)
}

/// The operations, the busiest first.
pub(super) fn operations(moment: &Moment<'_>) -> Value {
    let mut lines = BTreeMap::<String, Line>::new();
    for (labels, value) in moment.snapshot.samples("s3veil_requests_total") {
        let line = lines.entry(labels.get("operation").to_owned()).or_default();
        line.requests += value;
        if labels.get("status").starts_with(['4', '5']) {
            line.errors += value;
        }
    }
    let earlier = sums(moment.earlier.map(|(_, snapshot)| snapshot), "s3veil_requests_total", "operation");
    set_rates(&mut lines, &earlier, moment);
    busiest(lines)
}

fn table(moment: &Moment<'_>, family: &Family, is_counted: bool) -> Value {
    let mut lines = BTreeMap::<String, Line>::new();
    let mut read = |metric, add: fn(&mut Line, f64)| {
        for (labels, value) in moment.snapshot.samples(metric) {
            add(lines.entry(labels.get(family.label).to_owned()).or_default(), value);
        }
    };
    read(family.requests, |line, value| line.requests += value);
    read(family.errors, |line, value| line.errors += value);
    read(family.received, |line, value| line.received += value);
    read(family.sent, |line, value| line.sent += value);
    read(family.latest, |line, value| line.latest = line.latest.max(value));
    let earlier = sums(moment.earlier.map(|(_, snapshot)| snapshot), family.requests, family.label);
    set_rates(&mut lines, &earlier, moment);
    let mut table = busiest(lines);
    table["is_counted"] = json!(is_counted);
    table
}

/// The sum of a counter for each value of a label.
fn sums(snapshot: Option<&Snapshot>, metric: &str, label: &str) -> BTreeMap<String, f64> {
    let mut sums = BTreeMap::new();
    let samples = snapshot.into_iter().flat_map(|snapshot| snapshot.samples(metric));
    for (labels, value) in samples {
        let labels: Labels<'_> = labels;
        *sums.entry(labels.get(label).to_owned()).or_default() += value;
    }
    sums
}

fn set_rates(lines: &mut BTreeMap<String, Line>, earlier: &BTreeMap<String, f64>, moment: &Moment<'_>) {
    let Some((taken, _)) = moment.earlier else { return };
    let seconds = taken.elapsed().as_secs_f64().max(0.001);
    for (name, line) in lines {
        line.rate = (line.requests - earlier.get(name).copied().unwrap_or_default()) / seconds;
    }
}

/// The busiest names, and the sum of all others.
fn busiest(lines: BTreeMap<String, Line>) -> Value {
    let mut lines: Vec<_> = lines.into_iter().collect();
    lines.sort_by(|(_, one), (_, other)| {
        other.rate.total_cmp(&one.rate).then(other.requests.total_cmp(&one.requests))
    });
    let rest = lines.split_off(lines.len().min(SHOWN));
    let sum = rest.iter().fold(Line::default(), |sum, (_, line)| Line {
        requests: sum.requests + line.requests,
        rate: sum.rate + line.rate,
        errors: sum.errors + line.errors,
        received: sum.received + line.received,
        sent: sum.sent + line.sent,
        latest: sum.latest.max(line.latest),
    });
    let others = (!rest.is_empty()).then(|| shown(&format!("{} more", rest.len()), &sum));
    let busiest: Vec<_> = lines.iter().map(|(name, line)| shown(name, line)).collect();
    json!({ "busiest": busiest, "rest": others })
}

fn shown(name: &str, line: &Line) -> Value {
    json!({
        "name": name,
        "requests": count(line.requests),
        "requests_per_second": rounded(line.rate),
        "errors": count(line.errors),
        "request_bytes": count(line.received),
        "response_bytes": count(line.sent),
        "last_request_at": moment_of(line.latest),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busiest_come_first_and_the_rest_is_one_line() {
        let lines = (0..25_u32).map(|number| {
            let line = Line { requests: f64::from(number), sent: 2.0, ..Line::default() };
            (format!("client {number}"), line)
        });
        let mut lines: BTreeMap<_, _> = lines.collect();
        lines.get_mut("client 3").unwrap().rate = 9.0;
        let table = busiest(lines);
        let names: Vec<_> =
            table["busiest"].as_array().unwrap().iter().map(|line| line["name"].clone()).collect();
        assert_eq!(names.len(), SHOWN);
        assert_eq!(names[..3], ["client 3", "client 24", "client 23"]);
        assert_eq!(table["rest"]["name"], "5 more");
        assert_eq!((&table["rest"]["requests"], &table["rest"]["response_bytes"]), (&json!(12), &json!(10)));
    }
}
