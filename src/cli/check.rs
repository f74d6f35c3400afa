//! `check`: verifies the configuration, this machine's limits and clock, a round trip through the key
//! service, the storages, and, on request, trial objects that are written, read, listed and removed.
//! It must not know how requests are served.
//! It promises one finding per check, free of secrets, and a failure if anything would not work.

mod existing;
mod machine;
mod report;
mod trial;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::StatusCode;

use self::report::Finding;
pub use self::report::{Report, ReportFormat};
use super::append::{self, AppendGrants, Missing};
use super::dependencies::{self, Dependencies, DependencyError, DependencyNames, HolderKey, StorageStatus};
use super::process::descriptors;
use super::startup::{self, Purpose};
use super::{Check, Failure};
use crate::config::Config;
use crate::error::{Error, with_causes};
use crate::keyring::KeyId;
use crate::s3::BucketName;
use crate::server::Validity;
use crate::service::Service;
use crate::timer;
use crate::upload::conditional_writes::ConditionalWrites;

/// Longer than a request waits for its key service, and than all retries of a storage request.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Runs all checks and returns the report.
///
/// # Errors
/// [`Failure`] if the proxy would not start, or --bucket names a bucket without a rule.
pub async fn check(config: Config, arguments: &Check) -> Result<Report, Failure> {
    let mut report = Report::default();
    report.add("configuration", "configuration", None, Finding::good("valid"));
    for warning in &config.warnings {
        report.add("configuration", "configuration", None, Finding::warning(warning));
    }
    certificates(&config, &mut report);
    let found = machine::descriptors(descriptors::hard_limit(), config.listen.max_connections);
    report.add("file_descriptors", "file descriptors", None, found);
    let names = DependencyNames::new(&config);
    let appends = AppendGrants::new(&config.clients);
    let mut buckets: Vec<_> = config.buckets.iter().filter_map(dependencies::exact_bucket).collect();
    let named = arguments.bucket.clone();
    buckets.extend(named.filter(|named| !buckets.contains(named)));
    let trial = arguments.bucket.as_ref().map(|bucket| trial::Trial::new(&config, bucket)).transpose()?;
    let client = trial.as_ref().map(trial::Trial::client);
    let service = Service::new(startup::state(config, client, Purpose::Look).await?);
    let resources = Arc::clone(&service.state().resources);
    let uploads = resources.upload.clone();
    let dependencies = Dependencies::new(&resources, names);
    let holders: Vec<_> = resources.keyring.holders().collect();
    for key in dependencies.keys() {
        let (holder, default_key) = holders[key.holder];
        let shown = key.key_id.as_ref().or(default_key).map_or("the keyring's own", KeyId::as_str);
        let title =
            if holders.len() == 1 { format!("key {shown}") } else { format!("key {shown} of {holder}") };
        report.add("key", &title, Some(shown), self::key(&dependencies, key).await);
    }
    storages(&dependencies, &mut report).await;
    for bucket in &buckets {
        let found = self::bucket(&dependencies, bucket).await;
        report.add("bucket", &format!("bucket {bucket}"), Some(bucket.as_str()), found);
    }
    for (bucket, found) in appends.find(&uploads).await {
        let title = format!("append in {bucket}");
        report.add("append", &title, Some(bucket.as_str()), conditional_writes(found));
    }
    if let Some(trial) = trial {
        let bucket = trial.bucket().clone();
        let found = bounded(existing::existing(&resources, &dependencies, &bucket)).await;
        let found = found.unwrap_or_else(|trouble| Finding::warning(trouble.message));
        report.add("existing_object", &format!("objects in {bucket}"), Some(bucket.as_str()), found);
        trial.run(Arc::new(service), &mut report).await?;
    }
    Ok(report)
}

/// Whether clients with the right `append` can write to a bucket.
fn conditional_writes(found: Result<ConditionalWrites, Error>) -> Finding {
    match found {
        Ok(found) => match append::missing(found) {
            None => Finding::good("the storage keeps existing objects"),
            Some(Missing::Everything) => Finding::failed(append::OVERWRITES),
            Some(Missing::Partly(text)) => Finding::warning(text),
        },
        Err(error) => Finding::warning(format!("not known: {}", with_causes(&error))),
    }
}

async fn bounded<T>(work: impl Future<Output = Result<T, DependencyError>>) -> Result<T, DependencyError> {
    let late = || DependencyError { message: format!("no response within {TIMEOUT:?}") };
    timer::timeout(TIMEOUT, work).await.unwrap_or_else(|_| Err(late()))
}

/// Adds findings for the certificates of this process, for those of its clients' authorities, and for those
/// of `upstream.ca_file`. Clients refuse a server's certificate that has ended; of several authorities one
/// may have ended.
fn certificates(config: &Config, report: &mut Report) {
    let now = SystemTime::now();
    for (name, validity) in super::certificates::certificates(config) {
        let is_authority = name.contains(".client_ca ");
        let found = if is_authority { authority(validity, now) } else { own_certificate(validity, now) };
        report.add("certificate", &name, Some(&name), found);
    }
    let files: BTreeSet<_> =
        config.upstreams.iter().filter_map(|upstream| upstream.extra_root_ca.as_deref()).collect();
    let trusted = files.into_iter().filter_map(|file| std::fs::read(file).ok());
    for validity in trusted.flat_map(|pem| Validity::from_pem(&pem)) {
        report.add("certificate", "upstream.ca_file", Some("upstream.ca_file"), authority(validity, now));
    }
}

fn authority(validity: Validity, now: SystemTime) -> Finding {
    match validity.problem(now) {
        Some(trouble) => Finding::warning(trouble),
        None => Finding::good(validity.describe(now)),
    }
}

fn own_certificate(validity: Validity, now: SystemTime) -> Finding {
    let is_valid = (validity.not_before..=validity.not_after).contains(&now);
    match validity.problem(now) {
        Some(trouble) if is_valid => Finding::warning(trouble),
        Some(trouble) => Finding::failed(format!("{trouble}: clients refuse it; renew it")),
        None => Finding::good(validity.describe(now)),
    }
}

/// Generates and unwraps one data key, bypassing the cache.
async fn key(dependencies: &Dependencies, key: &HolderKey) -> Finding {
    match bounded(dependencies.key(key)).await {
        Ok(trip) => Finding::good(format!(
            "{} generates in {} ms and unwraps in {} ms",
            trip.key_id,
            trip.generate.as_millis(),
            trip.unwrap.as_millis()
        )),
        Err(trouble) => Finding::failed(trouble.message),
    }
}

async fn storages(dependencies: &Dependencies, report: &mut Report) {
    let is_alone = dependencies.storages().len() == 1;
    for storage in dependencies.storages() {
        let name = &storage.name().name;
        let title = if is_alone { "storage".to_owned() } else { format!("storage {name}") };
        match bounded(storage.probe()).await {
            Ok(found) => {
                let StorageStatus { text, is_throttling, date } = found;
                let text = format!("{text} ({})", storage.name().place);
                let found = if is_throttling { Finding::warning(text) } else { Finding::good(text) };
                report.add("storage", &title, Some(name), found);
                if let Some(date) = date {
                    let title = if is_alone { "clock".to_owned() } else { format!("clock of {name}") };
                    report.add("clock", &title, Some(name), machine::clock(SystemTime::now(), date));
                }
            }
            Err(trouble) => report.add("storage", &title, Some(name), Finding::failed(trouble.message)),
        }
    }
}

async fn bucket(dependencies: &Dependencies, bucket: &BucketName) -> Finding {
    match bounded(dependencies.storage_for(bucket).bucket(bucket)).await {
        Ok(StatusCode::OK) => Finding::good("is there"),
        Ok(StatusCode::NOT_FOUND) => Finding::warning("is not there: create it, or correct bucket.name"),
        Ok(StatusCode::FORBIDDEN) => {
            Finding::warning("HEAD is refused (403): the proxy's role has no s3:ListBucket there")
        }
        Ok(status) => Finding::failed(format!("HEAD returns {status}")),
        Err(trouble) => Finding::failed(trouble.message),
    }
}
