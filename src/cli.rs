//! The command line: the commands, their arguments, and their failures.
//! Commands return their output or write to a given output; they must not print or exit.
//! It promises one message and one exit code of sysexits.h for every failure.

mod append;
mod audit;
mod certificates;
mod check;
mod decrypt;
mod dependencies;
#[cfg(feature = "embedded-store")]
pub(crate) mod embedded_store;
mod health;
mod inspect;
mod job;
mod keygen;
mod manual;
mod process;
mod readiness;
mod reload;
mod run;
mod serve;
mod startup;
mod status;
#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand};

use self::check::ReportFormat;
use self::job::{DecryptCommand, EncryptJob, JobArguments, ReportArguments, VerifyJob};
pub use self::run::run;
use crate::audit::Position;
use crate::config::ConfigError;
use crate::envelope::native::Binding;
use crate::s3::BucketName;
use crate::server::ServeError;

/// An S3-compatible transparent encrypting proxy.
///
/// Point any S3 client at it with its endpoint URL: what it stores is ciphertext, under keys of your KMS.
#[derive(Debug, Parser)]
#[command(name = "s3veil", version)]
pub struct CommandLine {
    /// The configuration file; paths in it are relative to its directory.
    #[arg(short, long, global = true, value_name = "FILE", default_value = "proxy.toml")]
    pub config: PathBuf,

    #[command(subcommand)]
    command: Option<Command>,
}

impl CommandLine {
    /// The command, `serve` if none was named, and the configuration file.
    pub fn into_parts(self) -> (Command, PathBuf) {
        (self.command.unwrap_or(Command::Serve), self.config)
    }
}

/// The command to run.
#[derive(Debug, Clone, PartialEq, Subcommand)]
pub enum Command {
    /// Serve S3 clients (the default command)
    Serve,
    /// Check the configuration, the keyring and the upstream, and report what would not work
    Check(Check),
    /// Create a local keyring, or add a new current key to one; or make a recovery key, or a key for audit
    /// logs
    Keygen(Keygen),
    /// Show how an object is stored: its format, its keys, its lengths
    Inspect(Inspect),
    /// Read every object of a bucket or manifest, and authenticate every byte
    Verify(VerifyJob),
    /// Wrap the data keys of a bucket's objects again, for the holders of the bucket's rule
    Rewrap(JobArguments),
    /// Encrypt the objects of a bucket as its rule writes objects, in place or to another bucket
    Encrypt(EncryptJob),
    /// Decrypt the objects of a bucket to another bucket or a directory; or, with --body, one stored object
    /// from files, without proxy or storage
    Decrypt(Box<DecryptCommand>),
    /// Count the objects, versions and bytes of a bucket under each key
    Keys(JobArguments),
    /// Merge the reports of a job's shards, and say whether they are whole
    Report(ReportArguments),
    /// Ask the running proxy's admin listener whether it is ready: exit code 0, or 69
    Health(Health),
    /// Print completions for a shell
    Completions(Completions),
    /// Write the manual pages into a directory: s3veil(1) with one page for each command, proxy.toml(5)
    Man(Man),
    /// Verify the audit log
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Show the configuration in effect, or a schema for editors
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print the version
    Version,
}

/// `audit`
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum AuditCommand {
    /// Find every line of an audit log that was altered, removed, inserted or moved
    Verify(Verify),
}

/// `config`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub enum ConfigCommand {
    /// Print the configuration in effect as TOML: with every default, and without secrets. Values from the
    /// environment are shown as env:NAME
    Show,
    /// Print a JSON Schema of proxy.toml, for editors and pipelines
    Schema,
}

/// `audit verify`
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Verify {
    /// The files of the log, the oldest first
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// The public half of the key that signs checkpoints; several times after a change of the key. Without it
    /// signatures are not verified
    #[arg(long, value_name = "FILE.pub.pem")]
    pub public_key: Vec<PathBuf>,
    /// Require the line of this number and hash, such as that of a checkpoint in another log
    #[arg(long, value_name = "SEQUENCE:HASH")]
    pub at_least: Option<Position>,
    /// Require that the proxy was stopped in order after the last line
    #[arg(long)]
    pub ended: bool,
}

/// `check`
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Check {
    /// Write, read, list, copy and remove objects in this bucket too
    #[arg(long, value_name = "NAME", value_parser = bucket_name)]
    pub bucket: Option<BucketName>,
    /// The form of the report
    #[arg(long, value_enum, default_value_t)]
    pub format: ReportFormat,
}

fn bucket_name(text: &str) -> Result<BucketName, String> {
    let parsed = BucketName::parse(text);
    parsed
        .map_err(|_| "invalid bucket name: write the name alone, without s3:// and without a key".to_owned())
}

/// `keygen`
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Keygen {
    /// Add a key to an existing keyring and make it the current one; objects under the older keys stay
    /// readable
    #[arg(long)]
    pub rotate: bool,
    /// Make a recovery key instead: FILE with the private half, default recovery.pem, and beside it one with
    /// the public half, whose name ends in .pub.pem
    #[arg(long, conflicts_with = "rotate")]
    pub recovery: bool,
    /// Make a key that signs the checkpoints of an audit log instead: FILE with the private half, default
    /// audit.pem, and beside it one with the public half, whose name ends in .pub.pem
    #[arg(long, conflicts_with_all = ["rotate", "recovery"])]
    pub audit: bool,
    /// The keyring's file; default: keyring.file of the configuration
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Another way to write FILE
    #[arg(long = "file", value_name = "FILE", conflicts_with = "file", hide = true)]
    pub named_file: Option<PathBuf>,
}

/// `inspect`
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Inspect {
    /// The object
    #[arg(value_name = "s3://BUCKET/KEY")]
    pub object: ObjectUrl,
}

/// `health`
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Health {
    /// Ask whether the process responds at all, whatever it depends on
    #[arg(long)]
    pub live: bool,
}

/// `completions`
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Completions {
    /// The shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

/// `man`
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Man {
    /// The directory, which is made if it is missing
    #[arg(value_name = "DIRECTORY")]
    pub directory: PathBuf,
}

/// `decrypt` of one stored object from files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decrypt {
    /// The stored bytes.
    pub body: PathBuf,
    /// The stored metadata: a JSON object, as `aws s3api head-object --query Metadata` shows it.
    pub metadata: PathBuf,
    /// The object's instruction file, if the S3 Encryption Client wrote one.
    pub instruction_file: Option<PathBuf>,
    /// The bucket the object is in.
    pub bucket: String,
    /// The object's key.
    pub object_key: String,
    /// Where to write the plaintext; without it, standard output.
    pub out: Option<PathBuf>,
    /// Open the object by the private half of a recovery key, without keyring and configuration.
    pub recovery_key: Option<PathBuf>,
    /// With a recovery key: the bucket's realm, if its rule has one; default: the bucket.
    pub realm: Option<String>,
    /// With a recovery key: the binding of the bucket's rule.
    pub binding: Binding,
}

/// `s3://BUCKET/KEY`. The key is not percent-decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectUrl {
    /// The bucket's name: not empty, without a slash.
    pub bucket: String,
    /// The object's key: not empty.
    pub object_key: String,
}

/// The text is not an [`ObjectUrl`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write s3://BUCKET/KEY")]
pub struct InvalidObjectUrl;

impl FromStr for ObjectUrl {
    type Err = InvalidObjectUrl;

    fn from_str(text: &str) -> Result<Self, InvalidObjectUrl> {
        let path = text.strip_prefix("s3://").ok_or(InvalidObjectUrl)?;
        match path.split_once('/') {
            Some((bucket, object_key)) if !bucket.is_empty() && !object_key.is_empty() => {
                Ok(Self { bucket: bucket.to_owned(), object_key: object_key.to_owned() })
            }
            Some(_) | None => Err(InvalidObjectUrl),
        }
    }
}

/// The failure of a command.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The configuration is invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An argument of the command is invalid.
    #[error("{0}")]
    Usage(String),
    /// The listener can't be opened.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// A dependency outside the process, such as KMS or the storage, failed.
    #[error("{0}")]
    Unavailable(String),
    /// What was to be verified was altered.
    #[error("{0}")]
    Altered(String),
    /// The process itself failed.
    #[error("{0}")]
    Internal(String),
    /// A job has ended without success.
    #[error("{message}")]
    Job {
        /// Why, and what to do.
        message: String,
        /// The exit code, by which an engine decides whether to run it again.
        exit_code: u8,
    },
    /// A file or directory that the configuration names can't be used.
    #[error("{message}")]
    Setup {
        /// The file, the problem and its remedy.
        message: String,
        /// The kind of the operating system's error.
        kind: io::ErrorKind,
    },
    /// Reading or writing a file or a stream failed.
    #[error("{action}: {source}")]
    Io {
        /// The failed step, such as `writing keyring`.
        action: String,
        /// The error of the operating system.
        source: io::Error,
    },
}

impl Failure {
    /// The exit code: 64 wrong usage or configuration, 65 altered data, 69 unavailable, 70 internal, 74 input
    /// and output, 77 no permission. These are the codes of sysexits.h, except that its 78 (configuration) is
    /// reported as 64.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Usage(_) | Self::Serve(ServeError::HandedOver { .. }) => USAGE,
            Self::Serve(ServeError::Bind { source, .. }) => bind_exit_code(source.kind()),
            Self::Unavailable(_) => UNAVAILABLE,
            Self::Altered(_) => ALTERED,
            Self::Internal(_) => 70,
            Self::Job { exit_code, .. } => *exit_code,
            Self::Setup { kind, .. } => io_exit_code(*kind),
            Self::Io { source, .. } => io_exit_code(source.kind()),
        }
    }
}

/// The exit code for a kind of the operating system's errors: that of `special` for one kind, else `other`.
fn exit_code_of(kind: io::ErrorKind, special: (io::ErrorKind, u8), other: u8) -> u8 {
    let codes = [(io::ErrorKind::PermissionDenied, NO_PERMISSION), special];
    codes.into_iter().find(|(known, _)| *known == kind).map_or(other, |(_, code)| code)
}

fn bind_exit_code(kind: io::ErrorKind) -> u8 {
    exit_code_of(kind, (io::ErrorKind::AddrNotAvailable, USAGE), UNAVAILABLE)
}

fn io_exit_code(kind: io::ErrorKind) -> u8 {
    exit_code_of(kind, (io::ErrorKind::ResourceBusy, UNAVAILABLE), IO)
}

/// A hint to add to clap's message about an unknown argument, for frequent mistakes of a first start.
pub fn hint(arguments: &[String]) -> Option<String> {
    let unknown = arguments.iter().find(|argument| !matches!(argument.as_str(), "serve" | "check"))?;
    if unknown.ends_with(".toml") && !unknown.starts_with('-') {
        return Some(format!("did you mean --config {unknown}?"));
    }
    let name = unknown.trim_start_matches('-').split('=').next().unwrap_or_default();
    let key = match name {
        "port" | "p" | "address" | "listen" | "host" | "bind" => "listen.address",
        "endpoint" | "endpoint-url" | "upstream" => "upstream.endpoint",
        "region" => "upstream.region",
        "keyring" | "key" | "key-id" | "kms-key-id" => "[keyring]",
        "access-key" | "secret-key" | "access-key-id" | "secret-access-key" | "user" => "[[client]]",
        "log-level" | "verbose" | "v" | "debug" => "log.level",
        _ => return None,
    };
    unknown.starts_with('-').then(|| format!("unknown argument {unknown}: set {key} in proxy.toml"))
}

/// The exit code for wrong usage: EX_USAGE.
pub const USAGE: u8 = 64;

/// The exit code for data that was altered: EX_DATAERR.
const ALTERED: u8 = 65;
/// The exit code for an unavailable dependency: EX_UNAVAILABLE.
const UNAVAILABLE: u8 = 69;
/// The exit code for input and output: EX_IOERR.
const IO: u8 = 74;
/// The exit code for a missing permission: EX_NOPERM.
const NO_PERMISSION: u8 = 77;
