//! The arguments of jobs.
//! They must not know what they mean together.
//! They promise that each value is valid by itself.

pub(super) mod parse;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use self::parse::{InputArgument, Share};
use crate::cli::check::ReportFormat;
use crate::cli::{Decrypt, Failure};
use crate::config;
use crate::envelope::native::Binding;
use crate::keyring::KeyId;
use crate::s3::BucketName;

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
    /// Objects (for rewrap: copies) at once, of the whole job; default: in each process 16, for rewrap and
    /// keys 64
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub concurrency: Option<u32>,
    /// Where to write a row for each object: a directory, or s3://BUCKET/PREFIX (in plaintext: names and key
    /// ids, no content)
    #[arg(long, value_name = "DIR")]
    pub report: Option<String>,
    /// Where to write metrics every ten seconds, as Prometheus reads them (for node_exporter's textfile
    /// collector): FILE.prom, or a directory for s3veil-JOB-SHARD-of-SHARDS.prom
    #[arg(long, value_name = "FILE.prom|DIR")]
    pub metrics: Option<PathBuf>,
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
    pub(super) job: JobArguments,
    /// A random share of the objects, such as 1%
    #[arg(long, value_name = "SHARE", value_parser = parse::sample)]
    pub(super) sample: Option<Share>,
    /// Which sample; the report names the one that was chosen
    #[arg(long, value_name = "N", requires = "sample")]
    pub(super) seed: Option<u64>,
}

/// `encrypt`
#[derive(Debug, Clone, PartialEq, Args)]
pub struct EncryptJob {
    #[command(flatten)]
    pub(super) job: JobArguments,
    /// Write to another bucket, under the keys that the objects have, after a prefix; default: in place
    #[arg(long, value_name = "s3://BUCKET[/PREFIX]")]
    pub(super) to: Option<String>,
    /// Write in the place of what is read, which is the default
    #[arg(long, conflicts_with = "to")]
    pub(super) in_place: bool,
}

/// `decrypt` of many objects.
#[derive(Debug, Clone, PartialEq)]
pub struct DecryptJob {
    pub(super) job: JobArguments,
    pub(super) to: Option<String>,
    pub(super) in_place: bool,
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
