//! Jobs over whole buckets: verify, rewrap, encrypt, decrypt, and counting keys.
//!
//! It must not know command lines or clients' requests. It promises that each row of an input ends as exactly
//! one row of a report, and that nothing is kept beside the objects themselves: a job that runs again
//! continues.

mod error;
mod feed;
pub mod input;
pub mod outcome;
mod progress;
mod report;
pub mod row;
mod runner;
mod select;
mod shard;
pub mod step;
mod storage;
mod throttle;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

pub use self::error::JobError;
pub use self::input::{InputSettings, Location, Versions};
pub use self::progress::{Progress, ProgressCounts};
pub use self::report::{
    DryRun, Ending, KeyCount, MergedReport, Place, RunFacts, Summary, Tally, is_failed_rows, merge,
};
pub use self::select::{Sample, Selection, UnknownKeys};
pub use self::shard::{InvalidShard, Shard};
pub use self::throttle::Limits;

use self::input::{Input, InputTotal};
use self::outcome::{Outcome, Status};
use self::report::{Report, ReportName};
use self::row::Row;
use self::step::{Step, Writes};
use crate::upload::Resources;

/// What a job is: an input, a step for each object, and a report.
pub struct Job {
    /// The job's name, such as `verify`.
    pub name: &'static str,
    /// What is done with each object.
    pub step: Step,
    /// What the job works on.
    pub input: InputSettings,
    /// Which rows of it.
    pub selection: Selection,
    /// The share of this process.
    pub shard: Shard,
    /// How fast this process works.
    pub limits: Limits,
    /// How long running work may take after a stop.
    pub grace: Duration,
    /// Whether nothing is written.
    pub dry_run: bool,
    /// Where the report is; `None`: a summary alone.
    pub place: Option<Place>,
}

/// A job that has ended, whose report has not yet.
pub struct EndedJob {
    report: Report,
    /// How the job ended.
    pub ending: Ending,
    /// What the input has, if it was read to its end.
    pub total: InputTotal,
    /// Why the job ended early, if there is more to say.
    pub failure: Option<JobError>,
}

impl Job {
    /// Runs the job until its input ends, or until `stop` is ready and running work has ended.
    ///
    /// # Errors
    /// [`JobError`] before anything was done, when the input or the report can't be opened; and when the
    /// report can't be written.
    pub async fn run(
        self,
        resources: &Resources,
        progress: &Progress,
        stop: impl Future<Output = ()>,
    ) -> Result<EndedJob, JobError> {
        let writes = if self.dry_run { None } else { Some(Semaphore::new(self.limits.concurrency)) };
        let work = step_work(resources, self.step.clone(), self.selection.clone(), writes);
        self.run_with(resources, progress, stop, work).await
    }

    /// Runs `work` in the place of the step.
    async fn run_with<W, F>(
        self,
        resources: &Resources,
        progress: &Progress,
        stop: impl Future<Output = ()>,
        work: W,
    ) -> Result<EndedJob, JobError>
    where
        W: Fn(Row) -> F,
        F: Future<Output = Outcome> + Send + 'static,
    {
        let input = Input::open(&self.input, resources, self.shard, self.place.as_ref()).await?;
        self.selection.check(&input)?;
        let mut report = Report::begin(self.place.as_ref(), ReportName::new(self.name, self.shard)).await?;
        let feed = feed::feed(input, self.selection, progress.clone());
        let at_once = self.limits.concurrency;
        let at_once = if self.dry_run { at_once } else { self.step.objects_at_once(at_once) };
        let limits = (Limits { concurrency: at_once, ..self.limits }, self.grace);
        let run = runner::run(feed, work, limits, &mut report, progress, stop).await?;
        Ok(EndedJob { report, ending: run.ending, total: run.total, failure: run.failure })
    }
}

impl EndedJob {
    /// Ends the report.
    ///
    /// # Errors
    /// When it can't be written.
    pub async fn end(self, facts: RunFacts) -> Result<Summary, JobError> {
        self.report.end(facts).await
    }
}

/// The work on one row. A filter by key comes first, which takes a request of its own, unless the step itself
/// finds the key. `writes` is `None` in a dry run, else it has a permit for each copy at once.
fn step_work(
    resources: &Resources,
    step: Step,
    selection: Selection,
    writes: Option<Semaphore>,
) -> impl Fn(Row) -> Pin<Box<dyn Future<Output = Outcome> + Send>> {
    let shared = Arc::new((resources.clone(), step, selection, writes));
    move |row| {
        let shared = Arc::clone(&shared);
        Box::pin(async move {
            let (resources, step, selection, writes) = &*shared;
            if selection.needs_key() {
                let found = Step::Keys.run(resources, &row, Writes::None).await;
                if matches!(found.status, Status::Failed | Status::Raced) {
                    return found;
                }
                let unknown = match step {
                    Step::Verify | Step::Rewrap | Step::Keys => UnknownKeys::Included,
                    Step::Encrypt(_) | Step::Decrypt(_) => UnknownKeys::LeftOut,
                };
                if let Some(refused) = selection.refuse_key(&found, unknown) {
                    return refused;
                }
                if matches!(step, Step::Keys) {
                    return found;
                }
            }
            step.run(resources, &row, writes.as_ref().map_or(Writes::None, Writes::Copies)).await
        })
    }
}
