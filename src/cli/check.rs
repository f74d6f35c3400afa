//! `check`: verifies the configuration, this machine's limits and clock, a round trip through the key
//! service, the storage, and, on request, a trial object that is written, read, listed and removed.

mod machine;
mod trial;

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::StatusCode;

use super::dependencies::{self, Dependencies, Places, StorageFound, Trouble};
use super::startup::{self, Purpose};
use super::{Check, Failure, descriptors};
use crate::config::Config;
use crate::keyring::KeyId;
use crate::server::{Tls, Validity};

/// Beyond the longest wait of a request for its key service, and of a storage that is tried again.
const LIMIT: Duration = Duration::from_secs(60);

/// What was found, line by line.
struct Report {
    text: String,
    failed: bool,
}

impl Report {
    fn line(&mut self, of: &str, found: &Finding) {
        let Finding { kind, told } = found;
        let mark = match kind {
            Kind::Good => "",
            Kind::Warning => "WARNING: ",
            Kind::Failed => "FAILED: ",
        };
        self.failed |= *kind == Kind::Failed;
        // Nothing that a server said makes a line of its own.
        let told: String = told.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        _ = writeln!(self.text, "{of}: {mark}{told}");
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Good,
    /// Requests are served, and something is to be changed.
    Warning,
    Failed,
}

/// One line's content.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    kind: Kind,
    told: String,
}

impl Finding {
    fn good(told: impl Into<String>) -> Self {
        Self { kind: Kind::Good, told: told.into() }
    }

    fn warning(told: impl Into<String>) -> Self {
        Self { kind: Kind::Warning, told: told.into() }
    }

    fn failed(told: impl Into<String>) -> Self {
        Self { kind: Kind::Failed, told: told.into() }
    }
}

/// Tries everything and reports line by line.
///
/// # Errors
/// [`Failure::Unavailable`] with the report, when anything would not work.
pub async fn check(config: Config, arguments: &Check) -> Result<String, Failure> {
    let mut report = Report { text: String::new(), failed: false };
    report.line("configuration", &Finding::good("valid"));
    for warning in &config.warnings {
        report.line("configuration", &Finding::warning(warning));
    }
    for (of, found) in certificates(&config) {
        report.line(of, &found);
    }
    report.line(
        "file descriptors",
        &machine::descriptors(descriptors::hard_limit(), config.listen.max_connections),
    );
    let places = Places::new(&config);
    let exact: Vec<_> = config.buckets.iter().filter_map(dependencies::exact_bucket).collect();
    let trial = match &arguments.bucket {
        Some(bucket) => Some(trial::Trial::new(&config, bucket)?),
        None => None,
    };
    let service = startup::service(config, trial.as_ref().map(trial::Trial::client), Purpose::Look).await?;
    let resources = service.resources();
    let default_key = resources.keyring.default_key_id().cloned();
    let dependencies = Dependencies::new(resources, places);
    for key_id in &dependencies.places().key_ids {
        let shown = key_id.as_ref().or(default_key.as_ref()).map_or("the keyring's own", KeyId::as_str);
        report.line(&format!("key {shown}"), &key(&dependencies, key_id.as_ref()).await);
    }
    match bounded(dependencies.storage()).await {
        Ok(found) => storage(&mut report, &found, &dependencies.places().storage),
        Err(trouble) => report.line("storage", &Finding::failed(trouble.message)),
    }
    for bucket in exact {
        let found = match bounded(dependencies.bucket(&bucket)).await {
            Ok(StatusCode::OK) => Finding::good("is there"),
            Ok(StatusCode::NOT_FOUND) => Finding::warning("is not there: create it, or correct bucket.name"),
            Ok(StatusCode::FORBIDDEN) => {
                Finding::warning("HEAD is refused (403): the proxy's role has no s3:ListBucket there")
            }
            Ok(status) => Finding::failed(format!("HEAD is answered with {status}")),
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

async fn bounded<T>(asking: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
    let late = || Trouble { message: format!("no answer within {LIMIT:?}"), may_pass: true };
    tokio::time::timeout(LIMIT, asking).await.unwrap_or_else(|_| Err(late()))
}

/// The server's own certificate, and those that the storage's is trusted by.
fn certificates(config: &Config) -> Vec<(&'static str, Finding)> {
    let now = SystemTime::now();
    let found = |validity: Validity| match validity.trouble(now) {
        Some(trouble) => Finding::warning(trouble),
        None => Finding::good(validity.told(now)),
    };
    let own = config.listen.tls.as_ref().map(Tls::validity);
    let mut lines: Vec<_> =
        own.map(|validity| ("listen.tls.certificate", found(validity))).into_iter().collect();
    let trusted = config.upstream.extra_root_ca.as_ref().and_then(|file| std::fs::read(file).ok());
    for validity in trusted.map(|pem| Validity::of_pem(&pem)).unwrap_or_default() {
        lines.push(("upstream.ca_file", found(validity)));
    }
    lines
}

/// Generates and unwraps one data key, past the cache.
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

fn storage(report: &mut Report, found: &StorageFound, place: &str) {
    let told = format!("{} ({place})", found.told);
    report.line("storage", &if found.is_throttling { Finding::warning(told) } else { Finding::good(told) });
    if let Some(date) = found.date {
        report.line("clock", &machine::clock(SystemTime::now(), date));
    }
}
