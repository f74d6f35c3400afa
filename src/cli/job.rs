//! The jobs over whole buckets, and the merging of their reports.
//! It must not know how objects are worked on.
//! It promises that a job which can't do what was asked for ends before anything is written.

mod arguments;
mod counters;
mod exit;
mod metrics_file;
mod plan;
mod screen;
mod table;

use std::future::Future;
use std::path::Path;
use std::time::Instant;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use self::arguments::parse::PlaceArgument;
pub use self::arguments::{DecryptCommand, DecryptJob, EncryptJob, JobArguments, ReportArguments, VerifyJob};
use self::counters::KeyServiceCalls;
use self::metrics_file::MetricsFile;
use self::plan::Plan;
use super::check::ReportFormat;
use super::startup::{self, Purpose};
use super::{Failure, process, serve};
use crate::config::{self, Config};
use crate::job::{Ending, Job, Place, Progress, RunFacts, Summary};
use crate::metric;
use crate::upload::Resources;

/// A job with its arguments.
pub enum Kind {
    /// `verify`
    Verify(VerifyJob),
    /// `rewrap`
    Rewrap(JobArguments),
    /// `encrypt`
    Encrypt(EncryptJob),
    /// `decrypt`
    Decrypt(DecryptJob),
    /// `keys`
    Keys(JobArguments),
}

/// What a job, or the merging of reports, shows when it has ended, and whether it succeeded.
pub struct Ended {
    /// The summary.
    pub shown: String,
    /// [`Failure`], with the exit code by which an engine decides.
    pub outcome: Result<(), Failure>,
}

/// Runs a job.
///
/// # Errors
/// [`Failure`] of a job that has no summary.
pub fn run(path: &Path, kind: Kind) -> Result<Ended, Failure> {
    // What the arguments alone show to be wrong needs no configuration.
    let plan = Plan::new(kind)?;
    let config = config::load(path)?;
    let file = plan.metrics.as_deref().map(|path| MetricsFile::new(path, plan.name(), plan.shard()));
    let (file, recorder) = file.unzip();
    let calls = KeyServiceCalls::install(recorder)?;
    let (format, hint) = (plan.format, plan.place.is_none());
    file.as_ref().map_or(Ok(()), MetricsFile::begin)?;
    let counting = Counting { calls, file: file.clone() };
    let summary = runtime()?.block_on(execute(plan, &config, &counting));
    if let Some(file) = file {
        file.end(match &summary {
            Ok(summary) => exit::of_summary(summary).err().map_or(0, |failure| failure.exit_code()),
            Err(failure) => failure.exit_code(),
        });
    }
    let summary = summary?;
    let shown = match format {
        ReportFormat::Text => table::summary(&summary, hint),
        ReportFormat::Json => String::from_utf8(summary.to_json()).expect("JSON is text"),
    };
    Ok(Ended { shown, outcome: exit::of_summary(&summary) })
}

/// What counts, beside the report.
struct Counting {
    calls: KeyServiceCalls,
    /// Where metrics are written.
    file: Option<MetricsFile>,
}

/// Merges the reports of a job's shards.
///
/// # Errors
/// [`Failure`] where there is nothing to merge.
pub fn report(path: &Path, arguments: &ReportArguments) -> Result<Ended, Failure> {
    let merged = runtime()?.block_on(async {
        let place = match PlaceArgument::parse(&arguments.report)? {
            PlaceArgument::Directory(directory) => Place::Directory(directory),
            place @ PlaceArgument::Bucket(..) => {
                let resources = startup::resources(&config::load(path)?, Purpose::Look).await?;
                place.at(&resources.upload.upstreams)
            }
        };
        crate::job::merge(&place).await.map_err(exit::failure)
    })?;
    let shown = match arguments.format {
        ReportFormat::Text => table::merged(&merged),
        ReportFormat::Json => {
            let text = serde_json::to_string_pretty(&merged).expect("a report is text and numbers");
            format!("{text}\n")
        }
    };
    Ok(Ended { shown, outcome: exit::of_merged(&merged) })
}

/// A runtime with a thread for each core: verifying and encrypting keep cores busy.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(|source| Failure::Io { action: "starting the runtime".to_owned(), source })
}

async fn execute(plan: Plan, config: &Config, counting: &Counting) -> Result<Summary, Failure> {
    let signals = serve::signals();
    let catching = |source| Failure::Io { action: "catching signals".to_owned(), source };
    let serve::Shutdown { graceful, now } = signals.map_err(catching)?;
    metric::keep_handles();
    process::raise_descriptor_limit(plan.concurrency());
    let resources = startup::resources(config, Purpose::Look).await?;
    let running = run_job(plan, &resources, counting, graceful);
    tokio::select! {
        summary = running => summary,
        () = now => Err(Failure::Job {
            message: "interrupted twice: the report is incomplete, run the job again".to_owned(),
            exit_code: exit::AGAIN,
        }),
    }
}

async fn run_job(
    plan: Plan,
    resources: &crate::operation::Resources,
    counting: &Counting,
    stop: impl Future<Output = ()>,
) -> Result<Summary, Failure> {
    let resources: &Resources = &resources.upload;
    let (began, started) = (Instant::now(), OffsetDateTime::now_utc());
    let started = started.format(&Rfc3339).expect("the time of a clock can be written");
    let job = plan.job(resources).await?;
    let mut facts = facts(&job, &plan, started);
    let progress = Progress::default();
    let screen = screen::show(job.name, progress.clone());
    let upstreams = &resources.upstreams;
    let kept = counting.file.clone().map(|file| file.keep(progress.clone(), upstreams.clone()));
    let ended = job.run(resources, &progress, stop).await;
    screen.end();
    kept.inspect(tokio::task::JoinHandle::abort);
    metrics_file::measure(&progress, upstreams);
    let ended = ended.map_err(exit::failure)?;
    facts.ending = ended.ending.clone();
    facts.reason = ended.failure.as_ref().map(ToString::to_string);
    facts.input_rows = ended.total.rows;
    facts.plan = ended.total.plan.map(|plan| format!("{plan:016x}"));
    facts.seconds = began.elapsed().as_secs_f64();
    for (_, upstream) in upstreams.all() {
        let (reads, writes) = upstream.request_counts();
        facts.read_requests += reads;
        facts.write_requests += writes;
    }
    facts.kms_calls = counting.calls.count();
    facts.failure_code = ended.failure.as_ref().map(exit::code);
    ended.end(facts).await.map_err(exit::failure)
}

fn facts(job: &Job, plan: &Plan, started: String) -> RunFacts {
    let sample = job.selection.sample;
    RunFacts {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        job: job.name.to_owned(),
        input: plan.input_name(),
        shard: job.shard.index(),
        shards: job.shard.count(),
        ending: Ending::Complete,
        reason: None,
        failure_code: None,
        dry_run: job.dry_run,
        started,
        seconds: 0.0,
        input_rows: None,
        plan: None,
        sample: sample.map(|sample| sample.share),
        seed: sample.map(|sample| sample.seed),
        key_id: job.selection.key_id.as_ref().map(|key| key.as_str().to_owned()),
        all_versions: plan.all_versions(),
        read_requests: 0,
        write_requests: 0,
        kms_calls: 0,
    }
}
