//! What the arguments of a job mean together.
//! It must not know how a job runs.
//! It promises that what contradicts itself, or is missing, is refused before anything is read.

use std::path::PathBuf;
use std::time::Duration;

use super::arguments::parse::{
    Destined, InputArgument, PlaceArgument, Share, location, manifest_format, shown,
};
use super::arguments::{DecryptJob, EncryptJob, JobArguments, ManifestFormat, VerifyJob, VersionsArgument};
use super::{Kind, exit};
use crate::cli::Failure;
use crate::cli::check::ReportFormat;
use crate::config;
use crate::job::step::{Destination, Step};
use crate::job::{
    InputSettings, Job, JobError, Limits, Location, Sample, Selection, Shard, Versions, is_failed_rows,
};
use crate::s3::BucketName;
use crate::upload::Resources;

/// Objects at once in one process that reads contents.
const CONCURRENCY: usize = 16;

/// Objects at once in one process that reads and writes metadata alone: it waits for the storage nearly all
/// of the time, and a row takes a few KiB.
const METADATA_CONCURRENCY: usize = 64;

/// What a job works on, before the storage is known.
#[derive(Debug)]
enum PlannedInput {
    Settings(InputSettings),
    /// The failed rows in the reports of another run.
    FailedFrom(PlaceArgument),
}

/// A job with all that its arguments say.
#[derive(Debug)]
pub(super) struct Plan {
    name: &'static str,
    step: Step,
    input: PlannedInput,
    selection: Selection,
    shard: Shard,
    limits: Limits,
    grace: Duration,
    dry_run: bool,
    /// Where metrics are written.
    pub(super) metrics: Option<PathBuf>,
    /// Where the report is.
    pub(super) place: Option<PlaceArgument>,
    /// The form of the summary.
    pub(super) format: ReportFormat,
}

impl Plan {
    /// # Errors
    /// [`Failure::Usage`].
    pub(super) fn new(kind: Kind) -> Result<Self, Failure> {
        let (name, step, job, sample) = match kind {
            Kind::Verify(VerifyJob { job, sample, seed }) => {
                let seed = seed.unwrap_or_else(|| uuid::Uuid::new_v4().as_u64_pair().0 >> 32);
                let sample = sample.map(|Share(share)| Sample { share, seed });
                ("verify", Step::Verify, job, sample)
            }
            Kind::Rewrap(job) => ("rewrap", Step::Rewrap, job, None),
            Kind::Encrypt(EncryptJob { job, to, .. }) => {
                let destination = match to.map(|to| Destined::parse(&to)).transpose()? {
                    None => Destination::InPlace,
                    Some(Destined(Destination::Directory(_))) => {
                        return Err(usage("--to: encrypt writes to s3://BUCKET[/PREFIX]"));
                    }
                    Some(Destined(destination)) => destination,
                };
                ("encrypt", Step::Encrypt(destination), job, None)
            }
            Kind::Decrypt(DecryptJob { job, to, in_place }) => {
                let destination = match (to.map(|to| Destined::parse(&to)).transpose()?, in_place) {
                    (Some(Destined(destination)), _) => destination,
                    (None, true) => Destination::InPlace,
                    (None, false) => {
                        let advice =
                            "decrypt requires --to s3://BUCKET[/PREFIX], --to DIRECTORY or --in-place";
                        return Err(usage(advice));
                    }
                };
                ("decrypt", Step::Decrypt(destination), job, None)
            }
            Kind::Keys(job) => ("keys", Step::Keys, job, None),
        };
        Self::with(name, step, job, sample)
    }

    fn with(
        name: &'static str,
        step: Step,
        job: JobArguments,
        sample: Option<Sample>,
    ) -> Result<Self, Failure> {
        let shard = config::job_shard(job.shard, job.shards).map_err(|error| usage(&error.to_string()))?;
        let is_keys = name == "keys";
        let versions = match job.versions {
            Some(VersionsArgument::Current) => Versions::Current,
            Some(VersionsArgument::All) => Versions::All,
            None if is_keys => Versions::All,
            None => Versions::Current,
        };
        let input = planned_input(&job, versions)?;
        let place = job.report.as_deref().map(PlaceArgument::parse).transpose()?;
        if let PlannedInput::Settings(InputSettings::Listing { bucket, prefix, .. }) = &input {
            refuse_overlap((bucket, prefix), place.as_ref(), &step)?;
        }
        let share = |share: Option<Share>| share.map(|Share(share)| share);
        let (rate, bandwidth) = (share(job.rate), share(job.bandwidth));
        let concurrency = job.concurrency.map(|count| usize::try_from(count).expect("a count fits"));
        let limits =
            Limits { concurrency: concurrency.unwrap_or(1), rate, bandwidth }.shared_by(shard.count());
        let usual = match &step {
            Step::Rewrap | Step::Keys => METADATA_CONCURRENCY,
            Step::Verify | Step::Encrypt(_) | Step::Decrypt(_) => CONCURRENCY,
        };
        let limits = Limits { concurrency: concurrency.map_or(usual, |_| limits.concurrency), ..limits };
        let selection = Selection {
            versions: Some(versions),
            key_id: job.key_id,
            not_key_id: job.not_key_id,
            larger_than: job.larger_than,
            sample,
            stored_before: None,
        };
        Ok(Self {
            name,
            step,
            input,
            selection: selection.older_than(job.older_than),
            shard,
            limits,
            grace: job.grace,
            dry_run: job.dry_run,
            metrics: job.metrics,
            place,
            format: job.format,
        })
    }

    /// The job, with the storages of `resources`.
    ///
    /// # Errors
    /// When the bucket has no rule, and when the report of failed rows can't be read.
    pub(super) async fn job(&self, resources: &Resources) -> Result<Job, Failure> {
        let input = match &self.input {
            PlannedInput::Settings(settings) => settings.clone(),
            PlannedInput::FailedFrom(place) => {
                InputSettings::BatchCsv(failed_rows(place, resources).await.map_err(exit::failure)?)
            }
        };
        if let InputSettings::Listing { bucket, .. } = &input {
            let served = resources.policies.serve_bucket(bucket);
            served.map_err(|error| usage(&format!("bucket {bucket}: {error}")))?;
        }
        Ok(Job {
            name: self.name,
            step: self.step.clone(),
            input,
            selection: self.selection.clone(),
            shard: self.shard,
            limits: self.limits,
            grace: self.grace,
            dry_run: self.dry_run,
            place: self.place.as_ref().map(|place| place.at(&resources.upstreams)),
        })
    }

    /// The job's name, such as `verify`.
    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// The share of this process.
    pub(super) fn shard(&self) -> Shard {
        self.shard
    }

    /// How many objects this process works on at once.
    pub(super) fn concurrency(&self) -> usize {
        self.step.objects_at_once(self.limits.concurrency)
    }

    /// What the summary calls the input.
    pub(super) fn input_name(&self) -> String {
        match &self.input {
            PlannedInput::FailedFrom(place) => format!("the failed rows of {place}"),
            PlannedInput::Settings(InputSettings::Listing { bucket, prefix, .. }) => {
                format!("s3://{bucket}/{prefix}")
            }
            PlannedInput::Settings(InputSettings::Inventory(at) | InputSettings::Lines { file: at, .. }) => {
                shown(at)
            }
            PlannedInput::Settings(InputSettings::BatchCsv(files)) => {
                files.iter().map(shown).collect::<Vec<_>>().join(", ")
            }
        }
    }

    /// Whether older versions are in the input; `None` where the manifest decides.
    pub(super) fn all_versions(&self) -> Option<bool> {
        match &self.input {
            PlannedInput::Settings(InputSettings::Listing { versions, .. }) => {
                Some(*versions == Versions::All)
            }
            // A line names the newest version.
            PlannedInput::Settings(InputSettings::Lines { .. }) => Some(false),
            PlannedInput::Settings(InputSettings::Inventory(_) | InputSettings::BatchCsv(_))
            | PlannedInput::FailedFrom(_) => None,
        }
    }
}

fn usage(message: &str) -> Failure {
    Failure::Usage(message.to_owned())
}

fn planned_input(job: &JobArguments, versions: Versions) -> Result<PlannedInput, Failure> {
    if let Some(report) = &job.failed_from {
        if report.ends_with(".csv") {
            let file = location(report)?;
            return Ok(PlannedInput::Settings(InputSettings::BatchCsv(vec![file])));
        }
        return Ok(PlannedInput::FailedFrom(PlaceArgument::parse(report)?));
    }
    let settings = match (&job.input, &job.manifest) {
        (Some(InputArgument::Listing(bucket, prefix)), _) => {
            InputSettings::Listing { bucket: bucket.clone(), prefix: prefix.clone(), versions }
        }
        (Some(InputArgument::Manifest(location)), _) => InputSettings::Inventory(location.clone()),
        (Some(InputArgument::StandardInput), _) => {
            InputSettings::Lines { file: Location::File("-".into()), bucket: job.bucket.clone() }
        }
        (None, Some(manifest)) => {
            let file = location(manifest)?;
            match job.manifest_format.unwrap_or_else(|| manifest_format(manifest)) {
                ManifestFormat::Inventory => InputSettings::Inventory(file),
                ManifestFormat::Csv => InputSettings::BatchCsv(vec![file]),
                ManifestFormat::Lines => InputSettings::Lines { file, bucket: job.bucket.clone() },
            }
        }
        (None, None) => {
            return Err(usage(
                "missing input: name s3://BUCKET[/PREFIX], --manifest FILE, --failed-from REPORT or -",
            ));
        }
    };
    Ok(PlannedInput::Settings(settings))
}

/// Refuses to write where the job itself reads, since it would work on what it wrote.
fn refuse_overlap(
    (bucket, prefix): (&BucketName, &str),
    place: Option<&PlaceArgument>,
    step: &Step,
) -> Result<(), Failure> {
    let is_within = |other: &BucketName, other_prefix: &str| {
        other == bucket && (other_prefix.starts_with(prefix) || prefix.starts_with(other_prefix))
    };
    if let Some(PlaceArgument::Bucket(other, report)) = place
        && other == bucket
        && report.starts_with(prefix)
    {
        return Err(usage(
            "--report is among the objects that the job works on: name another bucket or prefix",
        ));
    }
    if let Step::Encrypt(Destination::Bucket { bucket: other, prefix: to })
    | Step::Decrypt(Destination::Bucket { bucket: other, prefix: to }) = step
        && is_within(other, to)
    {
        return Err(usage("--to is among the objects that the job works on: name another bucket or prefix"));
    }
    Ok(())
}

/// The manifests of failed rows of a report.
async fn failed_rows(place: &PlaceArgument, resources: &Resources) -> Result<Vec<Location>, JobError> {
    let at = place.at(&resources.upstreams);
    let names = at.list().await?.into_iter().filter(|(name, _)| is_failed_rows(name));
    let files: Vec<_> = names.map(|(name, _)| place.file(&name)).collect::<Result<_, _>>()?;
    if files.is_empty() {
        return Err(JobError::Invalid(format!("{place} has no report of a job")));
    }
    Ok(files)
}
