//! What was done and how long it took, between the end of the warm-up and the deadline.

use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind};
use std::time::Duration;

use tokio::time::Instant;

/// Largest share of requests cut off by the window's edges with which a median still says something.
const CUT_FOR_MEDIAN: f64 = 0.05;
/// For the 99th percentile: half of what is above it.
const CUT_FOR_P99: f64 = 0.005;

/// Counts for all connections; they run on one thread.
#[derive(Default)]
pub struct Tally {
    /// When the warm-up ended; `None` before, and after the deadline.
    window: Cell<Option<Instant>>,
    /// Everything since the start, for dividing a process's CPU time by.
    all_bytes: Cell<u64>,
    all_requests: Cell<u64>,
    bytes: Cell<u64>,
    requests: Cell<u64>,
    /// Answered with 503 (SlowDown) in the window.
    refused: Cell<u64>,
    in_flight: Cell<u64>,
    errors: Cell<u64>,
    first_error: RefCell<Option<String>>,
    /// Of the requests that began and ended in the window.
    nanoseconds: RefCell<Vec<u64>>,
}

impl Tally {
    /// Content that came or went.
    pub fn bytes(&self, count: u64) {
        add(&self.all_bytes, count);
        if self.window.get().is_some() {
            add(&self.bytes, count);
        }
    }

    /// A request begins.
    pub fn started(&self) -> Instant {
        add(&self.in_flight, 1);
        Instant::now()
    }

    /// A request that began at `begun` has ended.
    pub fn ended(&self, begun: Instant, outcome: &io::Result<()>) {
        self.in_flight.set(self.in_flight.get().saturating_sub(1));
        let window = self.window.get();
        match outcome {
            Ok(()) => {
                add(&self.all_requests, 1);
                let Some(opened) = window else { return };
                add(&self.requests, 1);
                if begun >= opened {
                    let nanoseconds = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
                    self.nanoseconds.borrow_mut().push(nanoseconds);
                }
            }
            Err(error) if error.kind() == ErrorKind::ResourceBusy && window.is_some() => {
                add(&self.refused, 1);
            }
            Err(_) => {}
        }
    }

    /// A connection or a request failed.
    pub fn error(&self, error: &str) {
        add(&self.errors, 1);
        self.first_error.borrow_mut().get_or_insert_with(|| error.to_owned());
    }

    /// The warm-up is over.
    pub fn begin(&self) {
        self.window.set(Some(Instant::now()));
    }

    /// The measured time is over: the report. Percentiles are `null` where the window cut too many requests.
    pub fn end(&self, elapsed: Duration) -> serde_json::Value {
        self.window.set(None);
        let mut nanoseconds = self.nanoseconds.take();
        nanoseconds.sort_unstable();
        let timed = nanoseconds.len();
        // Those that ran into the window, and those that ran out of it.
        let cut = self.requests.get().saturating_sub(timed as u64) + self.in_flight.get();
        let percentile = |share: f64, most: f64| {
            let index = (timed as f64 * share) as usize;
            let found = nanoseconds.get(index.min(timed.saturating_sub(1)));
            found.filter(|_| cut as f64 <= timed as f64 * most).map(|ns| *ns as f64 / 1e3)
        };
        serde_json::json!({
            "seconds": elapsed.as_secs_f64(),
            "bytes": self.bytes.get(),
            "requests": self.requests.get(),
            "refused": self.refused.get(),
            "timed": timed,
            "cut": cut,
            "all_bytes": self.all_bytes.get(),
            "all_requests": self.all_requests.get(),
            "errors": self.errors.get(),
            "first_error": *self.first_error.borrow(),
            "p50_us": percentile(0.5, CUT_FOR_MEDIAN),
            "p99_us": percentile(0.99, CUT_FOR_P99),
        })
    }
}

fn add(counter: &Cell<u64>, count: u64) {
    counter.set(counter.get() + count);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_requests_that_began_and_ended_in_the_window_are_timed() {
        let tally = Tally::default();
        let (early, late) = (tally.started(), tally.started());
        tally.begin();
        tally.ended(early, &Ok(()));
        tally.ended(tally.started(), &Ok(()));
        tally.ended(tally.started(), &Err(ErrorKind::ResourceBusy.into()));
        let report = tally.end(Duration::from_secs(1));
        tally.ended(late, &Ok(()));
        assert_eq!(report["requests"], 2);
        assert_eq!(report["refused"], 1);
        // Those cut are `late`, and `early` unless the clock stood still.
        let number = |name: &str| report[name].as_u64().expect("the report has it");
        assert_eq!(number("timed") + number("cut"), 3);
        assert!(report["p50_us"].is_null());
    }
}
