//! `check`: verifies the configuration, this machine's limits and clock, a round trip through the key
//! service, the storage, and, on request, a trial object that is written, read, listed and removed.
//! It must not know how requests are served.
//! It promises one line per finding, free of secrets, and a failure if anything would not work.

mod machine;
mod trial;

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::StatusCode;

use super::dependencies::{self, Dependencies, DependencyError, DependencyNames, StorageStatus};
use super::startup::{self, Purpose};
use super::{Check, Failure, descriptors};
use crate::config::Config;
use crate::keyring::KeyId;
use crate::server::{Tls, Validity};

/// Longer than a request waits for its key service, and than all retries of a storage request.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The report, one line per finding.
struct Report {
    text: String,
    failed: bool,
}

impl Report {
    fn line(&mut self, subject: &str, found: &Finding) {
        let Finding { kind, text } = found;
        let mark = match kind {
            Kind::Good => "",
            Kind::Warning => "WARNING: ",
            Kind::Failed => "FAILED: ",
        };
        self.failed |= *kind == Kind::Failed;
        // Text from a server can't begin a line of the report.
        let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        _ = writeln!(self.text, "{subject}: {mark}{text}");
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Good,
    /// Requests are served, but a setting should be changed.
    Warning,
    Failed,
}

/// The content of one line.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    kind: Kind,
    text: String,
}

impl Finding {
    fn good(text: impl Into<String>) -> Self {
        Self { kind: Kind::Good, text: text.into() }
    }

    fn warning(text: impl Into<String>) -> Self {
        Self { kind: Kind::Warning, text: text.into() }
    }

    fn failed(text: impl Into<String>) -> Self {
        Self { kind: Kind::Failed, text: text.into() }
    }
}

/// Runs all checks and returns the report.
///
/// # Errors
/// [`Failure::Unavailable`] with the report, if anything would not work.
pub async fn check(config: Config, arguments: &Check) -> Result<String, Failure> {
    let mut report = Report { text: String::new(), failed: false };
    report.line("configuration", &Finding::good("valid"));
    for warning in &config.warnings {
        report.line("configuration", &Finding::warning(warning));
    }
    for (subject, found) in certificates(&config) {
        report.line(subject, &found);
    }
    let found = machine::descriptors(descriptors::hard_limit(), config.listen.max_connections);
    report.line("file descriptors", &found);
    let names = DependencyNames::new(&config);
    let exact: Vec<_> = config.buckets.iter().filter_map(dependencies::exact_bucket).collect();
    let trial = arguments.bucket.as_ref().map(|bucket| trial::Trial::new(&config, bucket)).transpose()?;
    let service = startup::service(config, trial.as_ref().map(trial::Trial::client), Purpose::Look).await?;
    let resources = service.resources();
    let default_key = resources.keyring.default_key_id().cloned();
    let dependencies = Dependencies::new(resources, names);
    for key_id in &dependencies.names().key_ids {
        let shown = key_id.as_ref().or(default_key.as_ref()).map_or("the keyring's own", KeyId::as_str);
        report.line(&format!("key {shown}"), &key(&dependencies, key_id.as_ref()).await);
    }
    match bounded(dependencies.storage()).await {
        Ok(found) => storage(&mut report, &found, &dependencies.names().storage),
        Err(trouble) => report.line("storage", &Finding::failed(trouble.message)),
    }
    for bucket in exact {
        let found = match bounded(dependencies.bucket(&bucket)).await {
            Ok(StatusCode::OK) => Finding::good("is there"),
            Ok(StatusCode::NOT_FOUND) => Finding::warning("is not there: create it, or correct bucket.name"),
            Ok(StatusCode::FORBIDDEN) => {
                Finding::warning("HEAD is refused (403): the proxy's role has no s3:ListBucket there")
            }
            Ok(status) => Finding::failed(format!("HEAD returns {status}")),
            Err(trouble) => Finding::failed(trouble.message),
        };
        report.line(&format!("bucket {bucket}"), &found);
    }
    if let Some(trial) = trial {
        trial.run(Arc::new(service), &mut report).await?;
    }
    let Report { text, failed } = report;
    if failed { Err(Failure::Unavailable(text.trim_end().to_owned())) } else { Ok(text) }
}

async fn bounded<T>(work: impl Future<Output = Result<T, DependencyError>>) -> Result<T, DependencyError> {
    let late = || DependencyError { message: format!("no response within {TIMEOUT:?}"), may_pass: true };
    tokio::time::timeout(TIMEOUT, work).await.unwrap_or_else(|_| Err(late()))
}

/// Findings for the server's own certificate, and for the certificates of `upstream.ca_file`.
fn certificates(config: &Config) -> Vec<(&'static str, Finding)> {
    let now = SystemTime::now();
    let found = |validity: Validity| match validity.problem(now) {
        Some(trouble) => Finding::warning(trouble),
        None => Finding::good(validity.describe(now)),
    };
    let own = config.listen.tls.as_ref().map(Tls::validity);
    let mut lines = Vec::from_iter(own.map(|validity| ("listen.tls.certificate", found(validity))));
    let trusted = config.upstream().extra_root_ca.as_ref().and_then(|file| std::fs::read(file).ok());
    for validity in trusted.map(|pem| Validity::from_pem(&pem)).unwrap_or_default() {
        lines.push(("upstream.ca_file", found(validity)));
    }
    lines
}

/// Generates and unwraps one data key, bypassing the cache.
async fn key(dependencies: &Dependencies, key_id: Option<&KeyId>) -> Finding {
    match bounded(dependencies.key(key_id)).await {
        Ok(trip) => Finding::good(format!(
            "{} generates in {} ms and unwraps in {} ms",
            trip.key_id,
            trip.generate.as_millis(),
            trip.unwrap.as_millis()
        )),
        Err(trouble) => Finding::failed(trouble.message),
    }
}

fn storage(report: &mut Report, found: &StorageStatus, place: &str) {
    let text = format!("{} ({place})", found.text);
    report.line("storage", &if found.is_throttling { Finding::warning(text) } else { Finding::good(text) });
    if let Some(date) = found.date {
        report.line("clock", &machine::clock(SystemTime::now(), date));
    }
}
