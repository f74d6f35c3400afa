//! The metrics of a job: calls of key holders for its summary, and all of them for the file of metrics.
//! It must not know key holders.
//! It promises to count what `/metrics` of the proxy would show, under the same names.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use metrics::{Counter, CounterFn, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use metrics_exporter_prometheus::PrometheusRecorder;

use crate::cli::Failure;

/// The counter of calls of key holders.
const CALLS: &str = "s3veil_keyring_calls_total";

/// The number of calls so far. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct KeyServiceCalls(Arc<AtomicU64>);

impl KeyServiceCalls {
    /// Counts from now on, for the whole process; `all` records all metrics.
    ///
    /// # Errors
    /// [`Failure::Internal`] if the process counts already.
    pub(super) fn install(all: Option<PrometheusRecorder>) -> Result<Self, Failure> {
        let calls = Self::default();
        let installed = metrics::set_global_recorder(JobRecorder { calls: calls.clone(), all });
        installed.map_err(|_| Failure::Internal("a metrics recorder is installed already".to_owned()))?;
        Ok(calls)
    }

    pub(super) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counts calls, and passes all metrics on.
struct JobRecorder {
    calls: KeyServiceCalls,
    /// Without it, nothing but calls is counted: a recorder that no one reads would grow.
    all: Option<PrometheusRecorder>,
}

/// A counter that is counted twice.
struct Both(Counter, Counter);

impl CounterFn for Both {
    fn increment(&self, value: u64) {
        self.0.increment(value);
        self.1.increment(value);
    }

    fn absolute(&self, value: u64) {
        self.0.absolute(value);
        self.1.absolute(value);
    }
}

impl Recorder for JobRecorder {
    fn describe_counter(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        if let Some(all) = &self.all {
            all.describe_counter(key, unit, description);
        }
    }

    fn describe_gauge(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        if let Some(all) = &self.all {
            all.describe_gauge(key, unit, description);
        }
    }

    fn describe_histogram(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        if let Some(all) = &self.all {
            all.describe_histogram(key, unit, description);
        }
    }

    fn register_counter(&self, key: &Key, metadata: &Metadata<'_>) -> Counter {
        let all = self.all.as_ref().map(|all| all.register_counter(key, metadata));
        let calls = (key.name() == CALLS).then(|| Counter::from_arc(Arc::clone(&self.calls.0)));
        match (all, calls) {
            (Some(all), Some(calls)) => Counter::from_arc(Arc::new(Both(all, calls))),
            (one, other) => one.or(other).unwrap_or_else(Counter::noop),
        }
    }

    fn register_gauge(&self, key: &Key, metadata: &Metadata<'_>) -> Gauge {
        self.all.as_ref().map_or_else(Gauge::noop, |all| all.register_gauge(key, metadata))
    }

    fn register_histogram(&self, key: &Key, metadata: &Metadata<'_>) -> Histogram {
        self.all.as_ref().map_or_else(Histogram::noop, |all| all.register_histogram(key, metadata))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::serve;

    fn count() {
        metrics::counter!(CALLS, "holder" => "a").increment(2);
        metrics::counter!(CALLS, "holder" => "b").increment(1);
        metrics::counter!("s3veil_upstream_retries_total").increment(9);
    }

    #[test]
    fn calls_of_all_holders_are_counted_and_nothing_else() {
        let calls = KeyServiceCalls::default();
        let recorder = JobRecorder { calls: calls.clone(), all: None };
        metrics::with_local_recorder(&recorder, count);
        assert_eq!(calls.count(), 3);
    }

    #[test]
    fn all_metrics_are_recorded_beside_them() {
        let calls = KeyServiceCalls::default();
        let all = serve::recorder_with(&[("shard", "3".to_owned())]);
        let handle = all.handle();
        metrics::with_local_recorder(&JobRecorder { calls: calls.clone(), all: Some(all) }, count);
        assert_eq!(calls.count(), 3);
        let text = handle.render();
        let lines = [
            "s3veil_keyring_calls_total{shard=\"3\",holder=\"a\"} 2",
            "s3veil_upstream_retries_total{shard=\"3\"} 9",
        ];
        for line in lines {
            assert!(text.lines().any(|found| found == line), "{text}");
        }
    }
}
