//! What happened in the last quarter of an hour, from samples of the metrics, for the status page's charts.
//! It must not know how a chart is drawn.
//! It promises bounded memory: a sample each second for two minutes, and each ten seconds for fifteen.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::snapshot::{Distribution, Snapshot};

/// The steps of both rings, and the number of steps that each keeps.
const SHORT: (Duration, usize) = (Duration::from_secs(1), 120);
const LONG: (Duration, usize) = (Duration::from_secs(10), 90);

/// The window of the current rates.
const RATE_WINDOW: Duration = Duration::from_secs(10);

/// The window of the current latencies: with few requests, ten seconds have none.
const LATENCY_WINDOW: Duration = Duration::from_secs(60);

/// The classes of requests by latency, as the status page names them.
pub(super) const CLASSES: [&str; 4] = ["get", "put", "list", "other"];

/// Those who can cause an error, as the label `side` of the metric names them.
pub(super) const SIDES: [&str; 4] = ["client", "proxy", "storage", "keys"];

/// The counters whose rates are shown, by the names that they have in the document.
const COUNTERS: [(&str, &str); 5] = [
    ("requests", "s3veil_requests_total"),
    ("request_bytes", "s3veil_request_bytes_total"),
    ("response_bytes", "s3veil_response_bytes_total"),
    ("slow_downs", "s3veil_slow_downs_total"),
    ("storage_retries", "s3veil_upstream_retries_total"),
];

/// The gauges that are shown.
const GAUGES: [(&str, &str); 3] = [
    ("requests_in_flight", "s3veil_requests_in_flight"),
    ("connections", "s3veil_connections_open"),
    ("buffered_bytes", "s3veil_buffered_bytes"),
];

/// The numbers of one moment.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    at: Instant,
    counters: [f64; COUNTERS.len()],
    errors: [f64; SIDES.len()],
    gauges: [f64; GAUGES.len()],
    /// From a request's head to its response's end, by class.
    whole: [Distribution; CLASSES.len()],
    /// From a request's head to its response's head, by class.
    first_byte: [Distribution; CLASSES.len()],
    /// Requests to the storages.
    storage: Distribution,
}

/// The samples.
#[derive(Debug, Default)]
pub(super) struct History {
    short: VecDeque<Sample>,
    long: VecDeque<Sample>,
}

/// The class of an operation.
fn class(operation: &str) -> usize {
    match operation {
        "GetObject" => 0,
        "PutObject" | "PostObject" | "UploadPart" => 1,
        _ if operation.starts_with("List") => 2,
        _ => 3,
    }
}

impl Sample {
    pub(super) fn new(at: Instant, snapshot: &Snapshot) -> Self {
        let by_class = |labels: &super::snapshot::Labels<'_>| Some(class(labels.get("operation")));
        let side = |side| snapshot.sum("s3veil_errors_total", |labels| labels.get("side") == side);
        let [storage] = snapshot.distributions("s3veil_upstream_request_duration_seconds", |_| Some(0));
        Self {
            at,
            counters: COUNTERS.map(|(_, metric)| snapshot.total(metric)),
            errors: SIDES.map(side),
            gauges: GAUGES.map(|(_, metric)| snapshot.total(metric)),
            whole: snapshot.distributions("s3veil_request_duration_seconds", by_class),
            first_byte: snapshot.distributions("s3veil_request_time_to_first_byte_seconds", by_class),
            storage,
        }
    }

    fn seconds_since(&self, earlier: &Self) -> f64 {
        self.at.saturating_duration_since(earlier.at).as_secs_f64().max(0.001)
    }
}

impl History {
    /// Keeps a sample. A step without one is missing in the charts.
    pub(super) fn push(&mut self, sample: Sample) {
        let is_due = self.long.back().is_none_or(|last| {
            // A tenth of a second early is on time.
            sample.at.saturating_duration_since(last.at) + SHORT.0 / 10 >= LONG.0
        });
        if is_due {
            push(&mut self.long, sample.clone(), LONG.1);
        }
        push(&mut self.short, sample, SHORT.1);
    }

    /// The current rates, up to `now`.
    pub(super) fn rates(&self, now: &Sample) -> Value {
        let Some(earlier) = self.before(now, RATE_WINDOW) else { return rates(now, now) };
        rates(now, earlier)
    }

    /// The latencies of the last minute by class, up to `now`.
    pub(super) fn latencies(&self, now: &Sample) -> Value {
        let earlier = self.before(now, LATENCY_WINDOW);
        let none = [Distribution::default(); CLASSES.len()];
        let (whole, first_byte) =
            earlier.map_or((&none, &none), |earlier| (&earlier.whole, &earlier.first_byte));
        let by_class = (0..CLASSES.len()).map(|class| {
            let whole = now.whole[class].since(&whole[class]);
            let first_byte = now.first_byte[class].since(&first_byte[class]);
            json!({
                "class": CLASSES[class],
                "requests": whole.count(),
                "whole": quantiles(&whole),
                "first_byte": quantiles(&first_byte),
            })
        });
        by_class.collect()
    }

    /// The samples as series: `long` of fifteen minutes, `short` of two.
    pub(super) fn series(&self) -> Value {
        json!({ "long": series(&self.long, LONG), "short": series(&self.short, SHORT) })
    }

    /// The youngest sample that is at least this old, else the oldest.
    fn before(&self, now: &Sample, window: Duration) -> Option<&Sample> {
        let is_old = |sample: &&Sample| now.at.saturating_duration_since(sample.at) >= window;
        self.short.iter().rev().find(is_old).or(self.short.front())
    }
}

fn push(ring: &mut VecDeque<Sample>, sample: Sample, steps: usize) {
    if ring.len() > steps {
        ring.pop_front();
    }
    ring.push_back(sample);
}

/// The 50th, 95th and 99th percentile, in seconds; null without observations.
pub(super) fn quantiles(distribution: &Distribution) -> Value {
    let quantile = |share| distribution.quantile(share).map(rounded);
    json!({ "p50": quantile(0.5), "p95": quantile(0.95), "p99": quantile(0.99) })
}

/// A number with as many digits as a reader can use: six after the point, which is a microsecond.
pub(super) fn rounded(number: f64) -> f64 {
    (number * 1e6).round() / 1e6
}

fn rates(now: &Sample, earlier: &Sample) -> Value {
    let seconds = now.seconds_since(earlier);
    let mut rates = Map::new();
    for (place, (name, _)) in COUNTERS.iter().enumerate() {
        let grown = now.counters[place] - earlier.counters[place];
        rates.insert((*name).to_owned(), json!(rounded(grown / seconds)));
    }
    let errors = SIDES.iter().enumerate().map(|(place, side)| {
        let grown = now.errors[place] - earlier.errors[place];
        ((*side).to_owned(), json!(rounded(grown / seconds)))
    });
    rates.insert("errors".to_owned(), errors.collect());
    Value::Object(rates)
}

/// One ring: a number for each step, the newest last.
fn series(ring: &VecDeque<Sample>, (step, steps): (Duration, usize)) -> Value {
    let pairs = || ring.iter().zip(ring.iter().skip(1));
    let rate = |counter: &dyn Fn(&Sample) -> f64| -> Value {
        let rates = pairs()
            .map(|(earlier, later)| (counter(later) - counter(earlier)) / later.seconds_since(earlier));
        rates.map(|rate| json!((rate * 100.0).round() / 100.0)).collect()
    };
    let mut series = Map::new();
    for (place, (name, _)) in COUNTERS.iter().enumerate() {
        series.insert((*name).to_owned(), rate(&|sample| sample.counters[place]));
    }
    for (place, side) in SIDES.iter().enumerate() {
        series.insert(format!("errors_{side}"), rate(&|sample| sample.errors[place]));
    }
    for (place, (name, _)) in GAUGES.iter().enumerate() {
        series.insert((*name).to_owned(), pairs().map(|(_, sample)| json!(sample.gauges[place])).collect());
    }
    let mut latency = |name: &str, distribution: &dyn Fn(&Sample) -> Distribution| {
        for (quantile, share) in [("p50", 0.5), ("p95", 0.95), ("p99", 0.99)] {
            let values = pairs().map(|(earlier, later)| {
                let new = distribution(later).since(&distribution(earlier));
                json!(new.quantile(share).map(rounded))
            });
            series.insert(format!("{name}_{quantile}"), values.collect());
        }
    };
    for (place, class) in CLASSES.iter().enumerate() {
        latency(class, &|sample| sample.whole[place]);
    }
    let all =
        |of: &[Distribution; CLASSES.len()]| of.iter().fold(Distribution::default(), |sum, it| sum.plus(it));
    latency("first_byte", &|sample| all(&sample.first_byte));
    latency("storage", &|sample| sample.storage);
    json!({ "step_seconds": step.as_secs(), "steps": steps, "series": series })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(requests: u64, get: u64) -> Snapshot {
        Snapshot::new(format!(
            "# TYPE s3veil_requests_total counter\ns3veil_requests_total{{operation=\"GetObject\"}} {requests}\n\
             # TYPE s3veil_request_duration_seconds histogram\n\
             s3veil_request_duration_seconds_bucket{{operation=\"GetObject\",le=\"0.001\"}} {get}\n\
             s3veil_request_duration_seconds_bucket{{operation=\"GetObject\",le=\"+Inf\"}} {get}\n"
        ))
    }

    #[test]
    fn rates_and_latencies_are_those_of_their_windows() {
        let (mut history, start) = (History::default(), Instant::now());
        let at = |second: u64| start + Duration::from_secs(second);
        for second in 0..1_000 {
            history.push(Sample::new(at(second), &snapshot(5 * second, 5 * second)));
        }
        let now = Sample::new(at(1_000), &snapshot(5_020, 5_020));
        assert_eq!(history.rates(&now)["requests"], json!(7.0), "70 more than 10 seconds ago");
        assert_eq!(history.rates(&now)["errors"]["keys"], json!(0.0));
        let get = &history.latencies(&now)[0];
        assert_eq!((&get["class"], &get["requests"]), (&json!("get"), &json!(320)));
        assert_eq!(get["whole"]["p50"], json!(0.000_75));
        assert_eq!(history.latencies(&now)[1]["whole"]["p50"], Value::Null);
        let series = history.series();
        for (ring, steps) in [("long", 90), ("short", 120)] {
            let requests = series[ring]["series"]["requests"].as_array().unwrap();
            assert_eq!((requests.len(), &series[ring]["steps"]), (steps, &json!(steps)));
            assert!(requests.iter().all(|rate| *rate == json!(5.0)), "{requests:?}");
        }
    }

    #[test]
    fn a_process_without_samples_has_rates_of_zero() {
        let now = Sample::new(Instant::now(), &snapshot(7, 7));
        let history = History::default();
        assert_eq!(history.rates(&now)["requests"], json!(0.0));
        assert_eq!(history.latencies(&now)[0]["requests"], json!(7));
        assert_eq!(history.series()["short"]["series"]["requests"], json!([]));
    }
}
