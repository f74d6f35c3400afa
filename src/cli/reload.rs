//! Loads the configuration again while requests are served: on SIGHUP, and when one of its files has changed.
//! It must not know what a setting means.
//! It promises that a configuration that is invalid, or can't be built, changes nothing, and that a request
//! ends under the state that it began with.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use tokio::signal::unix::Signal;

use super::dependencies::{Dependencies, DependencyNames};
use super::readiness::Readiness;
use super::serve::{Replaceable, metric_descriptions};
use super::startup::{self, Earlier, FileContents, Origin};
use super::status::status;
use super::{Failure, certificates};
use crate::admin::Status;
use crate::audit::Audit;
use crate::config::{self, Config};
use crate::error::with_causes;
use crate::keyring::KeyId;
use crate::log::Log;
use crate::metric::timestamp_seconds;
use crate::server::{self, CurrentTls, Tls, Validity};
use crate::service::{Service, State};
use crate::timer;

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
    /// Receives the next status, certificates and token.
    pub(super) replaceable: Replaceable,
    /// Receives the next level.
    pub(super) log: &'a Log,
    /// Opens its file again.
    pub(super) audit: Option<Audit>,
}

/// The settings that can't change while the process runs, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fixed {
    listen: String,
    admin: String,
    log: String,
    audit: String,
    traces: String,
}

/// A state that has been built, as far as operators see it.
pub(super) struct Loaded {
    default_key: Option<KeyId>,
    has_anonymous: bool,
    certificates: Vec<(String, Validity)>,
}

impl Loaded {
    pub(super) fn new(state: &State, certificates: Vec<(String, Validity)>) -> Self {
        let default_key = state.resources.keyring.holders().next().and_then(|(_, key_id)| key_id.cloned());
        Self { default_key, has_anonymous: state.clients.admit_anonymous(), certificates }
    }

    /// Completes the status, and sets the metrics.
    pub(super) fn show(&self, status: &ArcSwap<Status>) {
        if let Some(key_id) = &self.default_key {
            let mut named = Status::clone(&status.load());
            named.name_default_key(key_id.as_str());
            status.store(Arc::new(named));
        }
        certificates::set_expiry_metrics(&self.certificates);
        metrics::gauge!("s3veil_anonymous_client").set(if self.has_anonymous { 1.0 } else { 0.0 });
        let now = timestamp_seconds(SystemTime::now());
        metrics::gauge!("s3veil_config_loaded_timestamp_seconds").set(now);
    }
}

impl Fixed {
    pub(super) fn new(config: &Config) -> Self {
        // The certificates can be replaced, but not whether there are any.
        let listen = server::Settings { tls: None, ..config.listen.clone() };
        let admin = config.admin.as_ref().map(|admin| (admin.address, admin.reuse_port, admin.tls.is_some()));
        Self {
            listen: format!("{listen:?} {}", config.listen.tls.is_some()),
            admin: format!("{admin:?}"),
            log: format!("{:?}", config.log.format),
            audit: format!("{:?}", config.audit),
            traces: format!("{:?}", config.traces),
        }
    }

    /// The tables with settings that differ in `other`.
    fn changed_in(&self, other: &Self) -> Vec<&'static str> {
        let tables = [
            ("[listen]", self.listen != other.listen),
            ("[admin]", self.admin != other.admin),
            ("log.format", self.log != other.log),
            ("[audit]", self.audit != other.audit),
            ("[traces]", self.traces != other.traces),
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
        loop {
            let is_asked = tokio::select! {
                Some(()) = hangups.recv() => true,
                () = timer::sleep(WATCH_INTERVAL) => false,
            };
            if let Some(audit) = self.audit.as_ref().filter(|_| is_asked) {
                audit.reopen();
            }
            let contents = read_again(&last.contents).await;
            if !is_asked {
                // After a failure, what was missing may be there now, in a file that is not known yet.
                let is_changed = contents != last.contents || last.failure.is_some();
                if !is_changed {
                    continue;
                }
                timer::sleep(SETTLING_TIME).await;
                if read_again(&last.contents).await != contents {
                    continue;
                }
            }
            self.replaceable.notifier.reloading();
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
            self.replaceable.notifier.ready();
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
        let max_requests = config.requests.max_requests;
        let plaintext_rules = metric_descriptions::plaintext_rules(&config);
        let Replaceable { status: shown, tls, admin_tls, admin_token, .. } = &self.replaceable;
        let status = Status { listen: shown.load().listen.clone(), ..status(&config) };
        let certificates = certificates::certificates(&config);
        let (next_tls, admin) = (config.listen.tls.clone(), config.admin.clone());
        let origin = Origin::new(&config, files);
        let current = self.service.state();
        let earlier = Earlier { state: &current, origin: &self.origin };
        let state = startup::next_state(config, &origin, &earlier).await?;

        // Nothing fails from here on.
        let loaded = Loaded::new(&state, certificates.clone());
        self.readiness.replace(Dependencies::new(&state.resources, names), &cache, certificates);
        self.service.replace(state);
        metric_descriptions::set_request_limit(max_requests);
        metric_descriptions::set_plaintext_rules(plaintext_rules);
        shown.store(Arc::new(status));
        loaded.show(shown);
        replace_tls(tls.as_ref(), next_tls.as_ref());
        if let Some(admin) = admin {
            replace_tls(admin_tls.as_ref(), admin.tls.as_ref());
            if let Some(token) = admin_token {
                token.store(admin.token.map(Arc::new));
            }
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
        // Last, so that the level before shows the lines above.
        if let Err(error) = self.log.set_level(&level) {
            tracing::error!(%error, "the level of the log could not be changed");
        }
        self.origin = origin;
        Ok(())
    }

    /// Reports a reload that changed nothing.
    fn refused(&self, message: &str) {
        tracing::error!(cause = message, "the configuration could not be loaded again: nothing has changed");
        metrics::counter!("s3veil_reload_failures_total").increment(1);
        let shown = &self.replaceable.status;
        let mut status = Status::clone(&shown.load());
        status.reload_failure = Some((SystemTime::now(), message.to_owned()));
        shown.store(Arc::new(status));
    }
}

async fn read_again(contents: &FileContents) -> FileContents {
    let earlier = contents.clone();
    let read = tokio::task::spawn_blocking(move || earlier.read_again()).await;
    read.unwrap_or_else(|_| contents.clone())
}

fn replace_tls(current: Option<&CurrentTls>, next: Option<&Tls>) {
    if let (Some(current), Some(next)) = (current, next) {
        current.replace(next);
    }
}
