//! Takes snapshots of the metrics, and keeps what the status page shows of the past.
//! It must not know pages, nor how health is assessed.
//! It promises a new snapshot for each request, and that samples take a hundredth of one core at most.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use metrics_exporter_prometheus::PrometheusHandle;
use metrics_process::Collector;
use serde_json::Value;

use super::document::{Moment, document};
use super::history::{History, Sample};
use super::snapshot::Snapshot;
use super::verdict::Verdict;
use super::{Health, Source, Status};
use crate::recent;
use crate::timer;

/// The time between two samples. Each of them also aggregates the histograms, whose memory stays bounded so.
const INTERVAL: Duration = Duration::from_secs(1);

/// A sample that takes long is followed by this many times as long without one.
const PAUSE: u32 = 100;

/// The rates of single names are those since a snapshot that is at least so old, and less than twice so old.
const RATE_WINDOW: Duration = Duration::from_secs(10);

/// The metrics and the health of the process, now and in the past.
pub(super) struct Overview<S> {
    metrics: PrometheusHandle,
    /// The metrics of the process: CPU time, memory, descriptors, threads.
    process: Collector,
    status: Arc<ArcSwap<Status>>,
    source: S,
    started_at: SystemTime,
    past: Mutex<Past>,
}

struct Past {
    history: History,
    verdict: Verdict,
    /// The snapshots of about [`RATE_WINDOW`] ago and of twice that, the older one first.
    snapshots: [Option<Arc<(Instant, Snapshot)>>; 2],
}

impl<S: Source> Overview<S> {
    /// The overview of a process that begins now.
    pub(super) fn new(metrics: PrometheusHandle, status: Arc<ArcSwap<Status>>, source: S) -> Self {
        let process = Collector::default();
        process.describe();
        let started_at = SystemTime::now();
        let past =
            Past { history: History::default(), verdict: Verdict::new(started_at), snapshots: [None, None] };
        Self { metrics, process, status, source, started_at, past: Mutex::new(past) }
    }

    /// The health, after an assessment if the last one is old.
    pub(super) async fn health(&self) -> Health {
        let health = self.source.health().await;
        self.past().verdict.observe(&health, SystemTime::now());
        health
    }

    /// The metrics now, as text.
    pub(super) async fn metrics(&self) -> String {
        self.snapshot().await.into_text()
    }

    /// The document of the status page now.
    pub(super) async fn document(&self) -> Value {
        self.health().await;
        let snapshot = self.snapshot().await;
        let (reports, status, latest) = (self.source.reports(), self.status.load_full(), recent::latest());
        let sample = Sample::new(Instant::now(), &snapshot);
        let past = self.past();
        let earlier = past.snapshots[0].clone().or_else(|| past.snapshots[1].clone());
        document(&Moment {
            now: SystemTime::now(),
            started_at: self.started_at,
            status: &status,
            verdict: &past.verdict,
            snapshot: &snapshot,
            sample: &sample,
            history: &past.history,
            earlier: earlier.as_deref(),
            reports: &reports,
            latest: &latest,
        })
    }

    /// Takes a sample each second, for as long as it is polled.
    pub(super) async fn sample(&self) {
        loop {
            let began = Instant::now();
            let snapshot = self.snapshot().await;
            let health = self.source.known_health();
            self.past().add(began, snapshot, &health);
            let taken = began.elapsed();
            timer::sleep(INTERVAL.saturating_sub(taken).max(taken * PAUSE)).await;
        }
    }

    async fn snapshot(&self) -> Snapshot {
        self.source.set_gauges().await;
        self.process.collect();
        Snapshot::new(self.metrics.render())
    }

    fn past(&self) -> MutexGuard<'_, Past> {
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Past {
    fn add(&mut self, at: Instant, snapshot: Snapshot, health: &Health) {
        self.verdict.observe(health, SystemTime::now());
        self.history.push(Sample::new(at, &snapshot));
        let [older, newer] = &mut self.snapshots;
        if newer.as_ref().is_none_or(|newer| at.saturating_duration_since(newer.0) >= RATE_WINDOW) {
            *older = newer.replace(Arc::new((at, snapshot)));
        }
    }
}
