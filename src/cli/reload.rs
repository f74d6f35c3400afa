//! Loads the configuration again while requests are served: on SIGHUP, and when one of its files has changed.
//! It must not know what a setting means.
//! It promises that a configuration that is invalid, or can't be built, changes nothing, and that a request
//! ends under the state that it began with.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use tokio::signal::unix::Signal;

use super::Failure;
use super::dependencies::{Dependencies, DependencyNames};
use super::file_contents::FileContents;
use super::readiness::Readiness;
use super::startup::{self, Earlier, Origin};
use super::status::status;
use crate::admin::Status;
use crate::config::{self, Config};
use crate::error::with_causes;
use crate::log::Log;
use crate::service::Service;

/// How often the files are read, to find changes.
const WATCH_INTERVAL: Duration = Duration::from_secs(10);

/// Files that change together, such as a certificate and its key, are given this time to change.
const SETTLING_TIME: Duration = Duration::from_millis(500);

/// What a reload replaces.
pub(super) struct Reloader<'a> {
    /// `proxy.toml`.
    pub(super) path: PathBuf,
    /// What the current state was built from.
    pub(super) origin: Origin,
    /// The settings that can't change while the process runs, as they were at the start.
    pub(super) fixed: Fixed,
    /// Receives the next state.
    pub(super) service: Service,
    /// Receives the next dependencies.
    pub(super) readiness: Readiness,
    /// Receives the next status.
    pub(super) status: Arc<ArcSwap<Status>>,
    /// Receives the next level.
    pub(super) log: &'a Log,
}

/// The settings that can't change while the process runs, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fixed {
    listen: String,
    admin: String,
    log: String,
}

impl Fixed {
    pub(super) fn new(config: &Config) -> Self {
        let listen = crate::server::Settings { tls: None, ..config.listen.clone() };
        Self {
            listen: format!("{listen:?}"),
            admin: format!("{:?}", config.admin),
            log: format!("{:?}", config.log.format),
        }
    }

    /// The tables with settings that differ in `other`.
    fn changed_in(&self, other: &Self) -> Vec<&'static str> {
        let tables = [
            ("[listen]", self.listen != other.listen),
            ("[admin]", self.admin != other.admin),
            ("log.format", self.log != other.log),
        ];
        tables.into_iter().filter_map(|(table, is_changed)| is_changed.then_some(table)).collect()
    }
}

/// What happened to the last reload.
struct Attempt {
    contents: FileContents,
    /// The message of the failure.
    failure: Option<String>,
}

impl Reloader<'_> {
    /// Reloads on each of `hangups`, and on changes of the files.
    pub(super) async fn run(mut self, mut hangups: Signal) {
        let mut last = Attempt { contents: self.origin.files.clone(), failure: None };
        loaded();
        loop {
            let is_asked = tokio::select! {
                Some(()) = hangups.recv() => true,
                () = tokio::time::sleep(WATCH_INTERVAL) => false,
            };
            let contents = read_again(&last.contents).await;
            if !is_asked {
                // After a failure, what was missing may be there now, in a file that is not known yet.
                let is_changed = contents != last.contents || last.failure.is_some();
                if !is_changed {
                    continue;
                }
                tokio::time::sleep(SETTLING_TIME).await;
                if read_again(&last.contents).await != contents {
                    continue;
                }
            }
            let failure = self.reload().await.err().map(|failure| with_causes(&failure));
            match &failure {
                None => last.contents = self.origin.files.clone(),
                Some(message) => {
                    if is_asked || last.failure.as_ref() != Some(message) {
                        self.refused(message);
                    }
                    last.contents = contents;
                }
            }
            last.failure = failure;
        }
    }

    async fn reload(&mut self) -> Result<(), Failure> {
        let path = self.path.clone();
        let loading = tokio::task::spawn_blocking(move || {
            let config = config::load(&path)?;
            let files = FileContents::read(config.files.iter().cloned());
            Ok::<_, Failure>((config, files))
        });
        let loaded = loading.await.map_err(|error| Failure::Internal(error.to_string()))?;
        let (config, files) = loaded?;
        self.apply(config, files).await
    }

    async fn apply(&mut self, config: Config, files: FileContents) -> Result<(), Failure> {
        let fixed = Fixed::new(&config);
        let (warnings, level) = (config.warnings.clone(), config.log.level.clone());
        let (names, cache) = (DependencyNames::new(&config), config.keyring.cache);
        let mut status = Status { listen: self.status.load().listen.clone(), ..status(&config) };
        let origin = Origin::new(&config, files);
        let current = self.service.state();
        let earlier = Earlier { state: &current, origin: &self.origin };
        let state = startup::next_state(config, &origin, &earlier).await?;

        // Nothing fails from here on.
        if let Some(key_id) = state.resources.keyring.default_key_id() {
            status.name_default_key(key_id.as_str());
        }
        self.readiness.replace(Dependencies::new(Arc::clone(&state.resources), names), &cache);
        self.service.replace(state);
        self.status.store(Arc::new(status));
        if let Err(error) = self.log.set_level(&level) {
            tracing::error!(%error, "the level of the log could not be changed");
        }
        warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        let unchanged = self.fixed.changed_in(&fixed);
        if !unchanged.is_empty() {
            let settings = unchanged.join(", ");
            tracing::warn!(settings, "these settings have changed, and take effect after a restart");
        }
        let changed: Vec<_> =
            origin.files.changed_since(&self.origin.files).map(|file| file.display().to_string()).collect();
        tracing::info!(changed = changed.join(", "), "the configuration was loaded again");
        self.origin = origin;
        loaded();
        Ok(())
    }

    /// Reports a reload that changed nothing.
    fn refused(&self, message: &str) {
        tracing::error!(cause = message, "the configuration could not be loaded again: nothing has changed");
        metrics::counter!("s3veil_reload_failures_total").increment(1);
        let mut status = Status::clone(&self.status.load());
        status.reload_failure = Some((SystemTime::now(), message.to_owned()));
        self.status.store(Arc::new(status));
    }
}

async fn read_again(contents: &FileContents) -> FileContents {
    let earlier = contents.clone();
    let read = tokio::task::spawn_blocking(move || earlier.read_again()).await;
    read.unwrap_or_else(|_| contents.clone())
}

/// Counts a configuration that is in effect now.
fn loaded() {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    metrics::gauge!("s3veil_config_loaded_timestamp_seconds").set(now.as_secs_f64());
    metrics::counter!("s3veil_reload_failures_total").increment(0);
}
