//! Counts the calls of key holders of a job, from the metrics that the keyring counts.
//! It must not know key holders.
//! It promises to count what `/metrics` would show, and nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};

use crate::cli::Failure;

/// The counter of calls of key holders.
const CALLS: &str = "s3veil_keyring_calls_total";

/// The number of calls so far. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct KeyServiceCalls(Arc<AtomicU64>);

impl KeyServiceCalls {
    /// Counts from now on, for the whole process.
    pub(super) fn install() -> Result<Self, Failure> {
        let calls = Self::default();
        let installed = metrics::set_global_recorder(calls.clone());
        installed.map_err(|_| Failure::Internal("a metrics recorder is installed already".to_owned()))?;
        Ok(calls)
    }

    pub(super) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Recorder for KeyServiceCalls {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        if key.name() == CALLS { Counter::from_arc(Arc::clone(&self.0)) } else { Counter::noop() }
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_of_all_holders_are_counted_and_nothing_else() {
        let calls = KeyServiceCalls::default();
        metrics::with_local_recorder(&calls, || {
            metrics::counter!(CALLS, "holder" => "a").increment(2);
            metrics::counter!(CALLS, "holder" => "b").increment(1);
            metrics::counter!("s3veil_upstream_retries_total").increment(9);
        });
        assert_eq!(calls.count(), 3);
    }
}
