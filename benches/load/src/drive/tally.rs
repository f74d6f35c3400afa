//! What was done and how long it took, between the end of the warm-up and the deadline.

use std::cell::{Cell, RefCell};
use std::time::Duration;

/// Counts for all connections; they run on one thread.
#[derive(Default)]
pub struct Tally {
    measuring: Cell<bool>,
    /// Everything since the start, for dividing a process's CPU time by.
    all_bytes: Cell<u64>,
    all_requests: Cell<u64>,
    bytes: Cell<u64>,
    requests: Cell<u64>,
    errors: Cell<u64>,
    first_error: RefCell<Option<String>>,
    nanoseconds: RefCell<Vec<u64>>,
}

impl Tally {
    /// Content that came or went.
    pub fn bytes(&self, count: u64) {
        self.all_bytes.set(self.all_bytes.get() + count);
        if self.measuring.get() {
            self.bytes.set(self.bytes.get() + count);
        }
    }

    /// A request that ended well.
    pub fn request(&self, took: Duration) {
        self.all_requests.set(self.all_requests.get() + 1);
        if self.measuring.get() {
            self.requests.set(self.requests.get() + 1);
            let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
            self.nanoseconds.borrow_mut().push(nanoseconds);
        }
    }

    /// A request that did not.
    pub fn error(&self, error: &str) {
        self.errors.set(self.errors.get() + 1);
        self.first_error.borrow_mut().get_or_insert_with(|| error.to_owned());
    }

    /// The warm-up is over.
    pub fn begin(&self) {
        self.measuring.set(true);
    }

    /// The measured time is over: the report.
    pub fn end(&self, elapsed: Duration) -> serde_json::Value {
        self.measuring.set(false);
        let mut nanoseconds = self.nanoseconds.take();
        nanoseconds.sort_unstable();
        let percentile = |share: f64| {
            let index = (nanoseconds.len() as f64 * share) as usize;
            nanoseconds.get(index.min(nanoseconds.len().saturating_sub(1))).map(|ns| *ns as f64 / 1e3)
        };
        serde_json::json!({
            "seconds": elapsed.as_secs_f64(),
            "bytes": self.bytes.get(),
            "requests": self.requests.get(),
            "all_bytes": self.all_bytes.get(),
            "all_requests": self.all_requests.get(),
            "errors": self.errors.get(),
            "first_error": *self.first_error.borrow(),
            "p50_us": percentile(0.5),
            "p99_us": percentile(0.99),
        })
    }
}
