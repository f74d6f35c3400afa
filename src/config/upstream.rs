use std::path::PathBuf;
use std::time::Duration;

use http::Uri;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::credentials::{self, Credentials};
use super::error::{ConfigError, Refusal};
use super::section::Section;
use super::{required, value};

const KEYS: &[&str] = &[
    "endpoint",
    "region",
    "path_style",
    "access_key_id",
    "secret_access_key",
    "secret_access_key_file",
    "checksum",
    "connect_timeout",
    "head_timeout",
    "idle_timeout",
    "max_retries",
    "ca_file",
];

/// What stands before the directory of the embedded store.
const EMBEDDED: &str = "embedded:";

/// Retries wait longer each time; more than ten only hide that the storage is away.
const MAX_RETRIES: u64 = 10;

/// The storage behind the proxy.
#[derive(Debug)]
pub struct UpstreamConfig {
    /// Where it is.
    pub target: Target,
    /// The region that requests are signed for.
    pub region: String,
    /// Whether buckets go into the path (`true`) or into the host name; left to the target if `None`.
    pub path_style: Option<bool>,
    /// Who the proxy is, to the storage.
    pub credentials: Credentials,
    /// The checksum that goes with the ciphertext.
    pub checksum: Checksum,
    /// For the TCP connection and the TLS handshake.
    pub connect_timeout: Duration,
    /// From the request's last byte to the response's head.
    pub head_timeout: Duration,
    /// Between two frames of a body, either way.
    pub idle_timeout: Duration,
    /// How often a request that can be sent again is sent again.
    pub max_retries: u32,
    /// PEM certificates to trust beside the system's; the file was there, and held some.
    pub ca_file: Option<PathBuf>,
}

/// Where the storage is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A store in this process, for trying it out, in this directory.
    Embedded(PathBuf),
    /// `http` or `https`, a host and perhaps a port, nothing more.
    Endpoint(Uri),
    /// AWS S3 of the configured region.
    Aws,
}

/// The checksum that goes with the ciphertext, so that the storage refuses what was damaged on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checksum {
    /// `x-amz-checksum-crc64nvme`.
    Crc64Nvme,
    /// `x-amz-checksum-crc32c`.
    Crc32C,
    /// None, for storage that knows neither.
    None,
}

pub(super) fn read(root: &Section<'_>) -> Result<UpstreamConfig, ConfigError> {
    let fix =
        "write [upstream] and below it endpoint = \"embedded:./data\", or region = \"us-east-1\" for AWS S3";
    let section = required(root, "upstream", KEYS, fix)?;
    let target = read_target(&section)?;
    let region = section.parsed("region", "us-east-1", value::region)?;
    let region = region.ok_or_else(|| {
        section.refuse(
            "region",
            "is missing",
            "write region = \"us-east-1\", or the region your buckets are in",
        )
    })?;
    if matches!(target, Target::Embedded(_)) {
        for word in ["path_style", "checksum", "ca_file"].into_iter().chain(credentials::KEYS) {
            section.absent(word, "means nothing to the embedded store")?;
        }
    }
    let timeout = |word, seconds| {
        let default = Duration::from_secs(seconds);
        section.parsed(word, "30s", value::timeout).map(|timeout| timeout.unwrap_or(default))
    };
    let checksums =
        [("crc64nvme", Checksum::Crc64Nvme), ("crc32c", Checksum::Crc32C), ("none", Checksum::None)];
    let max_retries = section.count("max_retries", 0..=MAX_RETRIES)?.unwrap_or(3);
    Ok(UpstreamConfig {
        path_style: section.boolean("path_style")?,
        credentials: credentials::read(&section)?,
        checksum: section.choice("checksum", &checksums)?.unwrap_or(Checksum::Crc64Nvme),
        connect_timeout: timeout("connect_timeout", 5)?,
        head_timeout: timeout("head_timeout", 60)?,
        idle_timeout: timeout("idle_timeout", 60)?,
        max_retries: u32::try_from(max_retries).expect("ten fits"),
        ca_file: read_ca_file(&section, &target)?,
        target,
        region,
    })
}

fn read_target(section: &Section<'_>) -> Result<Target, ConfigError> {
    let source = section.source;
    let target =
        section.parsed("endpoint", "http://127.0.0.1:9000", |text| match text.strip_prefix(EMBEDDED) {
            Some("") => Err(Refusal::new("names no directory", "write for example \"embedded:./data\"")),
            Some(directory) => Ok(Target::Embedded(source.resolve(directory))),
            None => value::endpoint(text).map(Target::Endpoint),
        })?;
    Ok(target.unwrap_or(Target::Aws))
}

fn read_ca_file(section: &Section<'_>, target: &Target) -> Result<Option<PathBuf>, ConfigError> {
    let Some(path) = section.text("ca_file", "ca.pem")? else { return Ok(None) };
    if matches!(target, Target::Endpoint(uri) if uri.scheme_str() == Some("http")) {
        return Err(section.refuse(
            "ca_file",
            "means nothing to an http:// endpoint",
            "remove it, or write https://",
        ));
    }
    let path = section.source.resolve(path);
    let fix = "name a PEM file with the certificates to trust";
    let pem = std::fs::read(&path).map_err(|error| {
        section.refuse("ca_file", &format!("names {}, which can't be read: {error}", path.display()), fix)
    })?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    if certificates.is_ok_and(|certificates| !certificates.is_empty()) {
        return Ok(Some(path));
    }
    Err(section.refuse("ca_file", &format!("names {}, which holds no PEM certificate", path.display()), fix))
}
