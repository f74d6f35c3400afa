//! Runs a job's work over the rows of a shard: several at once, as fast as limits and storage allow.
//!
//! It must not know what the work is, nor exit codes. It promises one row of the report for each row that was
//! begun and has ended; that rows which raced, or were refused for load, are tried again; and that after a
//! stop no row is begun.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::pin;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::{Id, JoinSet};

use super::error::JobError;
use super::feed::Fed;
use super::input::InputTotal;
use super::outcome::{Outcome, Severity, Status};
use super::progress::Progress;
use super::report::{Ending, Report, ReportedObject};
use super::row::Row;
use super::throttle::{Limits, Throttle};
use crate::timer;

/// The maximum number of rows that wait to be tried again, each of up to a few KiB. With more of them no new
/// row is begun.
const MAX_WAITING: usize = 2_000;

/// How often a row is tried.
const MAX_TRIES: u32 = 5;

/// The pause before a row is tried again; it doubles with each try.
const FIRST_PAUSE: Duration = Duration::from_millis(if cfg!(test) { 5 } else { 500 });

/// After as many rows in sequence for which the storage or a key holder was away, the job ends.
const MAX_UNAVAILABLE: u32 = 50;

/// How often the report is flushed.
const FLUSH: Duration = Duration::from_secs(5);

/// How a run ended.
#[derive(Debug)]
pub struct Run {
    /// How it ended.
    pub ending: Ending,
    /// What the input has, if it was read to its end.
    pub total: InputTotal,
    /// Why the input could not be read to its end, if that is so.
    pub failure: Option<JobError>,
}

/// A row with how often it was tried.
#[derive(Debug, Clone)]
struct Tried {
    row: Row,
    tries: u32,
}

/// The state of a run.
struct Runner<'a, W> {
    work: W,
    throttle: Throttle,
    report: &'a mut Report,
    progress: &'a Progress,
    tasks: JoinSet<Outcome>,
    begun: HashMap<Id, Tried>,
    /// Rows to try again, and when: the longest waiting first.
    waiting: VecDeque<(Instant, Tried)>,
    /// Rows in sequence for which a service was away.
    unavailable: u32,
    total: Option<InputTotal>,
    ending: Option<Ending>,
    failure: Option<JobError>,
}

/// Runs `work` for every row of the feed, until the feed ends or `stop` is ready; then running work has
/// `grace` to end.
///
/// # Errors
/// When the report can't be written.
pub(super) async fn run<W, F>(
    mut feed: mpsc::Receiver<Fed>,
    work: W,
    (limits, grace): (Limits, Duration),
    report: &mut Report,
    progress: &Progress,
    stop: impl Future<Output = ()>,
) -> Result<Run, JobError>
where
    W: Fn(Row) -> F,
    F: Future<Output = Outcome> + Send + 'static,
{
    let mut runner = Runner {
        work,
        throttle: Throttle::new(limits),
        report,
        progress,
        tasks: JoinSet::new(),
        begun: HashMap::new(),
        waiting: VecDeque::new(),
        unavailable: 0,
        total: None,
        ending: None,
        failure: None,
    };
    let mut stop = pin!(stop);
    let mut flush = timer::interval(FLUSH);
    while !runner.is_done() {
        let now = Instant::now();
        let is_feeding = runner.wants_row() && runner.throttle.wait(now).is_none();
        let next = runner.next_begin(now);
        tokio::select! {
            biased;
            () = &mut stop => {
                runner.ending = Some(Ending::Interrupted);
                break;
            }
            Some(ended) = runner.tasks.join_next_with_id(), if !runner.tasks.is_empty() => {
                runner.ended(ended).await?;
            }
            () = timer::sleep_until(next.unwrap_or(now)), if next.is_some() => runner.begin_waiting(),
            fed = feed.recv(), if is_feeding => runner.fed(fed.unwrap_or_else(cut)).await?,
            _ = flush.tick() => runner.report.flush().await?,
        }
    }
    drop(feed);
    runner.drain(grace).await
}

impl<W, F> Runner<'_, W>
where
    W: Fn(Row) -> F,
    F: Future<Output = Outcome> + Send + 'static,
{
    fn is_done(&self) -> bool {
        let is_over = self.ending.is_some() || self.total.is_some() || self.failure.is_some();
        let is_idle = self.tasks.is_empty() && (self.waiting.is_empty() || self.failure.is_some());
        self.ending.is_some() || (is_over && is_idle)
    }

    fn has_room(&self) -> bool {
        self.tasks.len() < self.throttle.window()
    }

    /// Whether a row of the feed may come.
    fn wants_row(&self) -> bool {
        let is_open = self.total.is_none() && self.failure.is_none();
        is_open && self.has_room() && self.waiting.len() < MAX_WAITING
    }

    /// When to look for a row to begin: a row that waits, or the end of a pause. `None`: other events come
    /// first.
    fn next_begin(&self, now: Instant) -> Option<Instant> {
        let paused = self.throttle.wait(now);
        if self.wants_row() {
            return paused;
        }
        if !self.has_room() || self.failure.is_some() {
            return None;
        }
        let (due, _) = self.waiting.front()?;
        Some(paused.map_or(*due, |paused| paused.max(*due)))
    }

    /// Begins a row that waits, if it is due.
    fn begin_waiting(&mut self) {
        let now = Instant::now();
        let is_due = self.waiting.front().is_some_and(|(due, _)| *due <= now);
        if is_due && !self.wants_row() && self.has_room() && self.throttle.wait(now).is_none() {
            let (_, tried) = self.waiting.pop_front().expect("there is one");
            self.begin(tried);
        }
    }

    fn begin(&mut self, tried: Tried) {
        self.throttle.begin(Instant::now());
        let task = self.tasks.spawn((self.work)(tried.row.clone()));
        self.begun.insert(task.id(), tried);
        self.progress.set_waiting(self.waiting.len());
    }

    async fn fed(&mut self, fed: Fed) -> Result<(), JobError> {
        match fed {
            Fed::Row(row) => self.begin(Tried { row, tries: 0 }),
            Fed::Settled(row, outcome) => self.add(&row, &outcome).await?,
            Fed::Invalid(row, outcome) => {
                let object = ReportedObject {
                    bucket: &row.bucket,
                    object_key: &row.object_key,
                    version_id: None,
                    is_latest: true,
                };
                self.report.add(object, &outcome).await?;
                self.progress.add(true, 0);
                count(&outcome);
            }
            Fed::NotSampled => self.report.not_sampled(),
            Fed::End(total) => self.total = Some(total),
            Fed::Failed(error) => self.failure = Some(error),
        }
        Ok(())
    }

    async fn add(&mut self, row: &Row, outcome: &Outcome) -> Result<(), JobError> {
        let is_failed = matches!(outcome.status, Status::Failed | Status::Raced);
        let object = ReportedObject {
            bucket: row.bucket.as_str(),
            object_key: row.object_key.as_str(),
            version_id: row.version_id.as_deref(),
            is_latest: row.listed.as_ref().is_none_or(|listed| listed.is_latest),
        };
        self.report.add(object, outcome).await?;
        self.progress.add(is_failed, outcome.bytes);
        count(outcome);
        Ok(())
    }

    async fn ended(&mut self, ended: Result<(Id, Outcome), tokio::task::JoinError>) -> Result<(), JobError> {
        let (id, outcome) = match ended {
            Ok((id, outcome)) => (id, outcome),
            Err(error) => (error.id(), panicked()),
        };
        let Tried { row, tries } = self.begun.remove(&id).expect("every task was begun for a row");
        let (tries, now) = (tries + 1, Instant::now());
        self.throttle.moved(outcome.bytes, now);
        let is_away = outcome.severity == Severity::Unavailable;
        let is_refused = is_away || outcome.severity == Severity::Throttled;
        if is_refused {
            self.throttle.lower(now)
        } else {
            self.throttle.raise()
        }
        self.unavailable = if is_away { self.unavailable + 1 } else { 0 };
        if self.unavailable >= MAX_UNAVAILABLE {
            self.ending = Some(Ending::Unavailable);
            self.failure = Some(JobError::Unavailable(format!(
                "the storage or a key holder was away for {MAX_UNAVAILABLE} objects in sequence: {}",
                outcome.message
            )));
        }
        if tries < MAX_TRIES && (is_refused || outcome.status == Status::Raced) {
            metrics::counter!("s3veil_job_retries_total", "reason" => reason(&outcome)).increment(1);
            let due = now + FIRST_PAUSE * 2_u32.pow(tries - 1);
            self.waiting.push_back((due, Tried { row, tries }));
            self.progress.set_waiting(self.waiting.len());
            return Ok(());
        }
        self.add(&row, &outcome).await
    }

    /// Lets running work end, for no longer than `grace` after a stop.
    async fn drain(mut self, grace: Duration) -> Result<Run, JobError> {
        let until = Instant::now() + grace;
        while !self.tasks.is_empty() {
            tokio::select! {
                Some(ended) = self.tasks.join_next_with_id() => self.ended(ended).await?,
                () = timer::sleep_until(until) => {
                    self.tasks.shutdown().await;
                }
            }
        }
        let is_whole = self.waiting.is_empty() && self.failure.is_none();
        let ending = match self.ending {
            Some(Ending::Interrupted) if self.total.is_some() && is_whole && self.begun.is_empty() => {
                Ending::Complete
            }
            Some(ending) => ending,
            None if self.failure.is_some() => Ending::InputFailed,
            None => Ending::Complete,
        };
        Ok(Run { ending, total: self.total.unwrap_or_default(), failure: self.failure })
    }
}

/// Counts a row that has ended.
fn count(outcome: &Outcome) {
    let status = match outcome.status {
        Status::Succeeded if outcome.is_unchanged => "unchanged",
        Status::Succeeded => "succeeded",
        Status::Skipped => "skipped",
        Status::Raced => "raced",
        Status::Failed => "failed",
    };
    metrics::counter!("s3veil_job_rows_total", "status" => status).increment(1);
    metrics::counter!("s3veil_job_bytes_total").increment(outcome.bytes);
}

/// Why a row is tried again.
fn reason(outcome: &Outcome) -> &'static str {
    match outcome.severity {
        Severity::Throttled => "throttled",
        Severity::Unavailable => "unavailable",
        Severity::None | Severity::Row | Severity::NotAuthentic => "raced",
    }
}

/// What a feed gave out that ended without its last row.
fn cut() -> Fed {
    Fed::Failed(JobError::Again("reading the input ended early: this is a fault in s3veil".to_owned()))
}

/// The outcome of a row whose work panicked.
fn panicked() -> Outcome {
    Outcome {
        status: Status::Failed,
        is_unchanged: false,
        severity: Severity::Row,
        error_code: Some("InternalError".to_owned()),
        http_status: None,
        message: "s3veil failed: this is a fault in s3veil".to_owned(),
        bytes: 0,
        format: None,
        key_before: None,
        further_keys: Vec::new(),
        key_after: None,
        version_after: None,
    }
}

#[cfg(test)]
mod tests;
