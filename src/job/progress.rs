//! What a running shard shows: counts that others read while it runs.
//! It must not know terminals.
//! It promises counts of rows that have ended, each counted once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The counts. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    rows: AtomicU64,
    failed: AtomicU64,
    bytes: AtomicU64,
    waiting: AtomicU64,
    /// Rows of the input that were read.
    read: AtomicU64,
    /// Whether that is all of them.
    is_all: AtomicBool,
}

/// The counts at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProgressCounts {
    /// Rows of the report.
    pub rows: u64,
    /// Rows that failed.
    pub failed: u64,
    /// Bytes of plaintext.
    pub bytes: u64,
    /// Rows that are to be tried again.
    pub waiting: u64,
    /// Rows of the input that have not ended; `None` until the input was read to its end.
    pub remaining: Option<u64>,
}

impl Progress {
    pub(super) fn add(&self, is_failed: bool, bytes: u64) {
        self.0.rows.fetch_add(1, Ordering::Relaxed);
        self.0.failed.fetch_add(u64::from(is_failed), Ordering::Relaxed);
        self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn set_waiting(&self, rows: usize) {
        self.0.waiting.store(u64::try_from(rows).expect("a count fits"), Ordering::Relaxed);
    }

    pub(super) fn read(&self) {
        self.0.read.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read_all(&self) {
        self.0.is_all.store(true, Ordering::Relaxed);
    }

    /// The counts now.
    pub fn counts(&self) -> ProgressCounts {
        let counts = &self.0;
        let rows = counts.rows.load(Ordering::Relaxed);
        let is_all = counts.is_all.load(Ordering::Relaxed);
        let remaining = is_all.then(|| counts.read.load(Ordering::Relaxed).saturating_sub(rows));
        ProgressCounts {
            rows,
            remaining,
            failed: counts.failed.load(Ordering::Relaxed),
            bytes: counts.bytes.load(Ordering::Relaxed),
            waiting: counts.waiting.load(Ordering::Relaxed),
        }
    }
}
