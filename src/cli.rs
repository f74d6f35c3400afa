//! The command line: what can be asked of the process, and how each command ends.
//! Commands write to what they are given and return; they neither print nor exit.
//! Every failure is one message, and one exit code of sysexits.h.

pub mod check;
pub mod decrypt;
pub mod dependencies;
mod descriptors;
#[cfg(feature = "embedded-store")]
pub(crate) mod embedded_store;
pub mod inspect;
pub mod keygen;
pub mod process;
pub mod readiness;
pub mod serve;
pub mod startup;
mod status;
#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand};

use crate::config::ConfigError;
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

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Answer S3 clients (what happens without a command)
    Serve,
    /// Check the configuration, the keyring and the upstream, and say what would not work
    Check(Check),
    /// Make a local keyring, or add a new current key to one
    Keygen(Keygen),
    /// Show how an object is stored: its format, its keys, its lengths
    Inspect(Inspect),
    /// Decrypt a stored object from files, without proxy or storage
    Decrypt(Decrypt),
    /// Print the version
    Version,
}

/// `check`
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Check {
    /// Write, read, list and remove an object in this bucket too
    #[arg(long, value_name = "NAME", value_parser = bucket_name)]
    pub bucket: Option<BucketName>,
}

fn bucket_name(text: &str) -> Result<BucketName, String> {
    let parsed = BucketName::parse(text.to_owned());
    parsed.map_err(|_| {
        "this is no bucket's name: write the name alone, without s3:// and without a key".to_owned()
    })
}

/// `keygen`
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Keygen {
    /// Add a key to an existing keyring and make it the current one; what the others wrapped still opens
    #[arg(long)]
    pub rotate: bool,
    /// The keyring's file; default: keyring.file of the configuration
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
}

/// `inspect`
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Inspect {
    /// The object
    #[arg(value_name = "s3://BUCKET/KEY")]
    pub object: ObjectUrl,
}

/// `decrypt`
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Decrypt {
    /// The stored bytes
    #[arg(long, value_name = "FILE")]
    pub body: PathBuf,
    /// The stored metadata: a JSON object, as `aws s3api head-object --query Metadata` shows it
    #[arg(long, value_name = "FILE.json")]
    pub metadata: PathBuf,
    /// The object's instruction file, if the S3 Encryption Client wrote one
    #[arg(long, value_name = "FILE")]
    pub instruction_file: Option<PathBuf>,
    /// The bucket the object is in
    #[arg(long)]
    pub bucket: String,
    /// The object's key
    #[arg(long = "key", value_name = "KEY")]
    pub object_key: String,
    /// Where to write the plaintext; without it, standard output
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// `s3://BUCKET/KEY`, with the key as it is: nothing in it is percent-decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectUrl {
    /// Not empty, without a slash.
    pub bucket: String,
    /// Not empty.
    pub object_key: String,
}

/// What is no [`ObjectUrl`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write s3://BUCKET/KEY")]
pub struct NoObjectUrl;

impl FromStr for ObjectUrl {
    type Err = NoObjectUrl;

    fn from_str(text: &str) -> Result<Self, NoObjectUrl> {
        let path = text.strip_prefix("s3://").ok_or(NoObjectUrl)?;
        match path.split_once('/') {
            Some((bucket, object_key)) if !bucket.is_empty() && !object_key.is_empty() => {
                Ok(Self { bucket: bucket.to_owned(), object_key: object_key.to_owned() })
            }
            Some(_) | None => Err(NoObjectUrl),
        }
    }
}

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The command was asked for something that makes no sense.
    #[error("{0}")]
    Usage(String),
    /// Nothing can be served.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// Something outside the process, such as KMS or the storage, does not do its part.
    #[error("{0}")]
    Unavailable(String),
    /// The process does not do its own part.
    #[error("{0}")]
    Internal(String),
    /// A file or directory that the configuration names can't be used.
    #[error("{message}")]
    Setup {
        /// Which, why, and what to do.
        message: String,
        /// What the system said.
        kind: io::ErrorKind,
    },
    /// A file or a stream.
    #[error("{action}: {source}")]
    Io {
        /// What was being done, such as `writing keyring`.
        action: String,
        /// What the system said.
        source: io::Error,
    },
}

impl Failure {
    /// The exit code: 64 wrong usage or configuration, 69 unavailable, 70 internal, 74 input and output,
    /// 77 no permission. These are the codes of sysexits.h, except that its 78 (configuration) is reported
    /// as 64.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Usage(_) => USAGE,
            Self::Serve(ServeError::Bind { source, .. }) => of_bind(source.kind()),
            Self::Unavailable(_) => UNAVAILABLE,
            Self::Internal(_) => 70,
            Self::Setup { kind, .. } => of_io(*kind),
            Self::Io { source, .. } => of_io(source.kind()),
        }
    }
}

fn of_bind(kind: io::ErrorKind) -> u8 {
    if kind == io::ErrorKind::AddrNotAvailable {
        USAGE
    } else if kind == io::ErrorKind::PermissionDenied {
        NO_PERMISSION
    } else {
        UNAVAILABLE
    }
}

fn of_io(kind: io::ErrorKind) -> u8 {
    if kind == io::ErrorKind::PermissionDenied {
        NO_PERMISSION
    } else if kind == io::ErrorKind::ResourceBusy {
        UNAVAILABLE
    } else {
        IO
    }
}

/// What to add to clap's answer about arguments that it does not know: the mistakes of a first start.
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
    unknown.starts_with('-').then(|| format!("{unknown} is no argument: set {key} in proxy.toml"))
}

/// The exit code for wrong usage: EX_USAGE.
pub const USAGE: u8 = 64;

/// EX_UNAVAILABLE, EX_IOERR and EX_NOPERM.
const UNAVAILABLE: u8 = 69;
const IO: u8 = 74;
const NO_PERMISSION: u8 = 77;
