//! The arguments of jobs, and what they mean together.
//! They must not know how a job runs.
//! They promise that what contradicts itself, or is missing, is refused before anything is read.

mod parse;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

pub(super) use self::parse::PlaceArgument;
use self::parse::{Destined, InputArgument, Share};
use super::Kind;
use crate::cli::check::ReportFormat;
use crate::cli::{Decrypt, Failure};
use crate::config;
use crate::envelope::native::Binding;
use crate::job::step::{Destination, Step};
use crate::job::{
    InputSettings, Job, JobError, Limits, Location, Sample, Selection, Shard, Versions, is_failed_rows,
};
use crate::keyring::KeyId;
use crate::s3::BucketName;
use crate::upload::Resources;

/// Objects at once in one process.
const CONCURRENCY: usize = 16;

/// Which versions of objects a job works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum VersionsArgument {
    /// The newest one of each object
    Current,
    /// All of them
    All,
}

/// How a manifest is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ManifestFormat {
    /// The manifest.json of S3 Inventory
    Inventory,
    /// As S3 Batch takes it: bucket,key[,version], keys URL-encoded
    Csv,
    /// One key in each line, as it is; or s3://BUCKET/KEY
    Lines,
}

/// The arguments that all jobs have.
#[derive(Debug, Clone, PartialEq, Args)]
pub struct JobArguments {
    /// The objects: s3://BUCKET[/PREFIX] as the storage lists them, the s3://…/manifest.json of an inventory,
    /// or - for keys on standard input
    #[arg(value_name = "s3://BUCKET[/PREFIX]", conflicts_with_all = ["manifest", "failed_from"])]
    pub input: Option<InputArgument>,
    /// A manifest instead, in a file or at s3://…: manifest.json, FILE.csv, or keys line by line
    #[arg(long, value_name = "FILE", conflicts_with = "failed_from")]
    pub manifest: Option<String>,
    /// How the manifest is written, where its name does not say so
    #[arg(long, value_enum, requires = "manifest")]
    pub manifest_format: Option<ManifestFormat>,
    /// The bucket of lines that name none
    #[arg(long, value_name = "NAME", value_parser = parse::bucket)]
    pub bucket: Option<BucketName>,
    /// The failed rows of an earlier run: its report, or one FILE.csv of it
    #[arg(long, value_name = "REPORT")]
    pub failed_from: Option<String>,
    /// The number of processes that share the job; default: from the engine's environment, else 1
    #[arg(long, value_name = "N")]
    pub shards: Option<u32>,
    /// The share of this process, from 0
    #[arg(long, value_name = "I", requires = "shards")]
    pub shard: Option<u32>,
    /// Which versions; default: current, for keys all
    #[arg(long, value_enum)]
    pub versions: Option<VersionsArgument>,
    /// Only objects under this key
    #[arg(long, value_name = "ID", value_parser = parse::key_id)]
    pub key_id: Option<KeyId>,
    /// Only objects that are not under this key
    #[arg(long, value_name = "ID", value_parser = parse::key_id)]
    pub not_key_id: Option<KeyId>,
    /// Only objects that were stored longer ago, such as 30d
    #[arg(long, value_name = "TIME", value_parser = config::parse_duration)]
    pub older_than: Option<Duration>,
    /// Only objects with more stored bytes, such as 1GiB
    #[arg(long, value_name = "SIZE", value_parser = config::parse_size)]
    pub larger_than: Option<u64>,
    /// Write nothing; say what would be read, written, called and paid
    #[arg(long)]
    pub dry_run: bool,
    /// Objects in a second, of the whole job, such as 500/s
    #[arg(long, value_name = "N/s", value_parser = parse::rate)]
    pub rate: Option<Share>,
    /// Bytes in a second, of the whole job on average, such as 200MiB/s
    #[arg(long, value_name = "SIZE/s", value_parser = parse::bandwidth)]
    pub bandwidth: Option<Share>,
    /// Objects at once, of the whole job; default: 16 in each process
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub concurrency: Option<u32>,
    /// Where to write a row for each object: a directory, or s3://BUCKET/PREFIX (in plaintext: names and key
    /// ids, no content)
    #[arg(long, value_name = "DIR")]
    pub report: Option<String>,
    /// How long running objects may take after SIGTERM
    #[arg(long, value_name = "TIME", default_value = "25s", value_parser = config::parse_duration)]
    pub grace: Duration,
    /// The form of the summary
    #[arg(long, value_enum, default_value_t)]
    pub format: ReportFormat,
}

/// `verify`
#[derive(Debug, Clone, PartialEq, Args)]
pub struct VerifyJob {
    #[command(flatten)]
    job: JobArguments,
    /// A random share of the objects, such as 1%
    #[arg(long, value_name = "SHARE", value_parser = parse::sample)]
    sample: Option<Share>,
    /// Which sample; the report names the one that was chosen
    #[arg(long, value_name = "N", requires = "sample")]
    seed: Option<u64>,
}

/// `encrypt`
#[derive(Debug, Clone, PartialEq, Args)]
pub struct EncryptJob {
    #[command(flatten)]
    job: JobArguments,
    /// Write to another bucket, under the keys that the objects have, after a prefix; default: in place
    #[arg(long, value_name = "s3://BUCKET[/PREFIX]")]
    to: Option<String>,
    /// Write in the place of what is read, which is the default
    #[arg(long, conflicts_with = "to")]
    in_place: bool,
}

/// `decrypt` of many objects.
#[derive(Debug, Clone, PartialEq)]
pub struct DecryptJob {
    job: JobArguments,
    to: Option<String>,
    in_place: bool,
}

/// `decrypt`
#[derive(Debug, Clone, PartialEq, Args)]
pub struct DecryptCommand {
    #[command(flatten)]
    job: JobArguments,
    /// Write to another bucket, or to files in a directory
    #[arg(long, value_name = "s3://BUCKET[/PREFIX]|DIR", conflicts_with = "body")]
    to: Option<String>,
    /// Write plaintext in the place of what is read
    #[arg(long, conflicts_with_all = ["to", "body"])]
    in_place: bool,
    /// One object from files instead: the stored bytes
    #[arg(long, value_name = "FILE", requires_all = ["metadata", "bucket", "object_key"],
          conflicts_with_all = ["input", "manifest", "failed_from"])]
    body: Option<PathBuf>,
    /// The stored metadata: a JSON object, as `aws s3api head-object --query Metadata` shows it
    #[arg(long, value_name = "FILE.json", requires = "body")]
    metadata: Option<PathBuf>,
    /// The object's instruction file, if the S3 Encryption Client wrote one
    #[arg(long, value_name = "FILE", requires = "body", conflicts_with = "recovery_key")]
    instruction_file: Option<PathBuf>,
    /// The object's key; its bucket is --bucket
    #[arg(long = "key", value_name = "KEY", requires = "body")]
    object_key: Option<String>,
    /// Where to write the plaintext; without it, standard output
    #[arg(long, value_name = "FILE", requires = "body")]
    out: Option<PathBuf>,
    /// Open the object by the private half of a recovery key, without keyring and configuration
    #[arg(long, value_name = "FILE.pem", requires = "body")]
    recovery_key: Option<PathBuf>,
    /// With --recovery-key: the bucket's realm, if its rule has one; default: the bucket
    #[arg(long, value_name = "NAME", requires = "recovery_key")]
    realm: Option<String>,
    /// With --recovery-key: the binding of the bucket's rule, realm+key, realm or none
    #[arg(long, default_value = "realm+key", value_parser = parse::binding)]
    binding: Binding,
}

impl DecryptCommand {
    /// The object from files, if that is what the arguments name; else the job.
    ///
    /// # Errors
    /// When neither is named.
    pub fn into_offline(self) -> Result<Result<Decrypt, DecryptJob>, Failure> {
        let Self { job, to, in_place, metadata, instruction_file, object_key, out, .. } = self;
        let Some(body) = self.body else { return Ok(Err(DecryptJob { job, to, in_place })) };
        let bucket = job.bucket.map(|bucket| bucket.to_string());
        let (Some(metadata), Some(bucket), Some(object_key)) = (metadata, bucket, object_key) else {
            return Err(Failure::Usage("--body requires --metadata, --bucket and --key".to_owned()));
        };
        let (recovery_key, realm, binding) = (self.recovery_key, self.realm, self.binding);
        Ok(Ok(Decrypt {
            body,
            metadata,
            instruction_file,
            bucket,
            object_key,
            out,
            recovery_key,
            realm,
            binding,
        }))
    }
}

/// `report`
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct ReportArguments {
    /// The directory or bucket that the shards wrote to
    #[arg(value_name = "DIR|s3://BUCKET/PREFIX")]
    pub report: String,
    /// The form of the sums
    #[arg(long, value_enum, default_value_t)]
    pub format: ReportFormat,
}

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
        let limits =
            Limits { concurrency: concurrency.map_or(CONCURRENCY, |_| limits.concurrency), ..limits };
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
                InputSettings::BatchCsv(failed_rows(place, resources).await.map_err(super::exit::failure)?)
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

    /// What the summary calls the input.
    pub(super) fn input_name(&self) -> String {
        match &self.input {
            PlannedInput::FailedFrom(place) => format!("the failed rows of {place}"),
            PlannedInput::Settings(InputSettings::Listing { bucket, prefix, .. }) => {
                format!("s3://{bucket}/{prefix}")
            }
            PlannedInput::Settings(InputSettings::Inventory(at) | InputSettings::Lines { file: at, .. }) => {
                parse::shown(at)
            }
            PlannedInput::Settings(InputSettings::BatchCsv(files)) => {
                files.iter().map(parse::shown).collect::<Vec<_>>().join(", ")
            }
        }
    }

    /// Whether older versions are in the input; `None` where the manifest decides.
    pub(super) fn all_versions(&self) -> Option<bool> {
        match &self.input {
            PlannedInput::Settings(InputSettings::Listing { versions, .. }) => {
                Some(*versions == Versions::All)
            }
            PlannedInput::Settings(
                InputSettings::Inventory(_) | InputSettings::BatchCsv(_) | InputSettings::Lines { .. },
            )
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
            let file = parse::location(report)?;
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
            let file = parse::location(manifest)?;
            match job.manifest_format.unwrap_or_else(|| parse::manifest_format(manifest)) {
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
