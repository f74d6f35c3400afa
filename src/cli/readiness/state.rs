//! The results of the latest checks, and what they mean for readiness. It must not know how a check is made,
//! nor wait for one. It promises the table of states in docs/OPERATING.md.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::{ASSESSMENT_INTERVAL, NamedCertificate};
use crate::admin::{DependencyReport, Health, Problem, Reports};
use crate::cli::certificates;
use crate::cli::dependencies::{Dependencies, DependencyError, HolderKey};
use crate::keyring::{CacheSettings, KeyId};

/// Minimum time between two round trips through the key service, whatever the number of probes and of keys:
/// probes can't run up its bill.
const KEY_INTERVAL: Duration = Duration::from_secs(60);

/// The results of all checks.
pub(super) struct State {
    dependencies: Option<Arc<Dependencies>>,
    certificates: Vec<NamedCertificate>,
    /// Counts the replacements of the dependencies.
    generation: u64,
    pub(super) storages: Vec<Track>,
    pub(super) keys: Vec<Track>,
    /// How long a data key remains usable without the key service.
    cached_for: Duration,
    /// Whether the process was ready at any time.
    was_ready: bool,
    assessed_at: Option<Instant>,
    /// The last round trip through the key service for readiness, and the time until the next one.
    keys_assessed_at: Option<Instant>,
    key_wait: Duration,
}

/// The results of one dependency's checks.
#[derive(Debug, Clone, Default)]
pub(super) struct Track {
    /// The address or key id, by which a result survives a replacement of the dependencies.
    name: String,
    pub(super) assessed_at: Option<Instant>,
    succeeded_at: Option<Instant>,
    trouble: Option<String>,
    /// A message about a working dependency.
    note: Option<String>,
}

/// What a result changes, for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Changed {
    /// Nothing that was not logged before.
    Nothing,
    /// The dependency fails, with this message.
    Fails(String),
    /// The dependency works after it had failed.
    WorksAgain,
}

/// The effect of one dependency's state on requests.
enum Verdict {
    Ready,
    Degraded(String),
    /// The dependency has never worked in this process.
    Unusable(String),
}

impl State {
    pub(super) fn new(
        dependencies: Dependencies,
        cache: &CacheSettings,
        certificates: Vec<NamedCertificate>,
    ) -> Self {
        let mut state = Self::with_tracks(Vec::new(), Vec::new(), Duration::ZERO);
        state.replace(dependencies, cache, certificates);
        state
    }

    pub(super) fn with_tracks(storages: Vec<Track>, keys: Vec<Track>, cached_for: Duration) -> Self {
        Self {
            dependencies: None,
            certificates: Vec::new(),
            generation: 0,
            storages,
            keys,
            cached_for,
            was_ready: false,
            assessed_at: None,
            keys_assessed_at: None,
            key_wait: ASSESSMENT_INTERVAL,
        }
    }

    /// Replaces the dependencies. Results of those that stay are kept.
    pub(super) fn replace(
        &mut self,
        dependencies: Dependencies,
        cache: &CacheSettings,
        certificates: Vec<NamedCertificate>,
    ) {
        let storages = dependencies.storages().iter().map(|storage| storage.name().place.clone());
        let shown = |key: &HolderKey| key.key_id.as_ref().map_or("", KeyId::as_str).to_owned();
        let keys = dependencies.keys().iter().map(|key| format!("{} {}", key.place, shown(key)));
        self.storages = kept_tracks(&self.storages, storages);
        self.keys = kept_tracks(&self.keys, keys);
        self.dependencies = Some(Arc::new(dependencies));
        self.certificates = certificates;
        self.cached_for = cache.max_age.saturating_add(cache.stale_if_error.unwrap_or_default());
        self.generation += 1;
        self.assessed_at = None;
    }

    pub(super) fn dependencies(&self) -> Arc<Dependencies> {
        Arc::clone(self.dependencies.as_ref().expect("only states of unit tests have none"))
    }

    /// The number of the current dependencies, which a result has to name.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether a new assessment may begin.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        is_past(self.assessed_at, ASSESSMENT_INTERVAL, now)
    }

    /// Whether everything was assessed, and works.
    pub(super) fn is_well(&self) -> bool {
        let mut tracks = self.storages.iter().chain(&self.keys);
        tracks.all(|track| track.assessed_at.is_some() && track.trouble.is_none())
    }

    /// Begins an assessment: every key that was never assessed, else the one that was assessed longest ago,
    /// if a round trip is due. Before the process is ready for the first time, round trips become rarer from
    /// `ASSESSMENT_INTERVAL` on; afterwards `KEY_INTERVAL` is between two.
    pub(super) fn take_due_keys(&mut self, now: Instant) -> Vec<usize> {
        self.assessed_at = Some(now);
        let indexes = self.keys.iter().enumerate();
        let never: Vec<_> =
            indexes.filter(|(_, track)| track.assessed_at.is_none()).map(|(index, _)| index).collect();
        if !never.is_empty() {
            self.keys_assessed_at = Some(now);
            return never;
        }
        let wait = if self.was_ready { KEY_INTERVAL } else { self.key_wait };
        let oldest = self.keys.iter().enumerate().min_by_key(|(_, track)| track.assessed_at);
        let Some((index, track)) = oldest else { return Vec::new() };
        if !is_past(self.keys_assessed_at, wait, now) || !is_past(track.assessed_at, wait, now) {
            return Vec::new();
        }
        self.key_wait = (self.key_wait * 2).min(KEY_INTERVAL);
        self.keys_assessed_at = Some(now);
        vec![index]
    }

    /// Takes successful calls of ordinary requests for successful checks of their keys.
    pub(super) fn learn_from_requests(&mut self) {
        let Some(dependencies) = self.dependencies.clone() else { return };
        for (index, key) in dependencies.keys().iter().enumerate() {
            let Some(succeeded_at) = dependencies.last_key_success(key) else { continue };
            let track = &mut self.keys[index];
            if track.assessed_at.is_none_or(|assessed_at| assessed_at < succeeded_at) {
                let changed = track.record(Ok(None), succeeded_at);
                super::log(changed, "keyring", &key.place);
            }
        }
        self.note_readiness();
    }

    pub(super) fn record_storage(
        &mut self,
        generation: u64,
        index: usize,
        outcome: Result<Option<String>, DependencyError>,
    ) -> Changed {
        if generation != self.generation {
            return Changed::Nothing;
        }
        let changed = self.storages[index].record(outcome, Instant::now());
        self.note_readiness();
        changed
    }

    pub(super) fn record_key(
        &mut self,
        generation: u64,
        index: usize,
        outcome: Result<(), DependencyError>,
    ) -> Changed {
        if generation != self.generation {
            return Changed::Nothing;
        }
        let changed = self.keys[index].record(outcome.map(|()| None), Instant::now());
        self.note_readiness();
        changed
    }

    fn note_readiness(&mut self) {
        self.was_ready |= self.health(Instant::now()).problems.is_empty();
    }

    /// The state at `now`, without the certificates.
    pub(super) fn health(&self, now: Instant) -> Health {
        let mut health = Health::default();
        let storages: Vec<_> = self.storages.iter().map(Track::verdict).collect();
        self.add(&mut health, "storage", storages);
        let keys = self.keys.iter().map(|track| match track.verdict() {
            Verdict::Degraded(message) if track.trouble.is_some() => {
                let until = track.succeeded_at.map(|succeeded_at| succeeded_at + self.cached_for);
                let is_cached = until.is_some_and(|until| now < until);
                let why = if is_cached {
                    "cached data keys still serve"
                } else {
                    "no cached data key can serve any more"
                };
                Verdict::Degraded(format!("{message}; {why}"))
            }
            verdict @ (Verdict::Ready | Verdict::Degraded(_) | Verdict::Unusable(_)) => verdict,
        });
        let keys: Vec<_> = keys.collect();
        self.add(&mut health, "keyring", keys);
        health
    }

    /// Adds the dependencies of one kind. One usable storage or key of several serves its buckets, so the
    /// others make the process degraded only.
    fn add(&self, health: &mut Health, component: &'static str, verdicts: Vec<Verdict>) {
        let is_one_usable = verdicts.iter().any(|verdict| !matches!(verdict, Verdict::Unusable(_)));
        for verdict in verdicts {
            match verdict {
                Verdict::Ready => {}
                Verdict::Unusable(message) if !self.was_ready && !is_one_usable => {
                    health.problems.push(Problem { component, message });
                }
                Verdict::Unusable(message) | Verdict::Degraded(message) => {
                    health.degraded.push(Problem { component, message });
                }
            }
        }
    }

    /// What is known of each storage and key.
    pub(super) fn reports(&self) -> Reports {
        let (now, time) = (Instant::now(), SystemTime::now());
        let report = |track: &Track, place: &str, key_id: Option<String>| DependencyReport {
            place: place.to_owned(),
            key_id,
            trouble: track.trouble.clone(),
            note: track.note.clone(),
            succeeded_at: track
                .succeeded_at
                .and_then(|succeeded_at| time.checked_sub(now.saturating_duration_since(succeeded_at))),
        };
        let Some(dependencies) = &self.dependencies else { return Reports::default() };
        let storages = dependencies.storages().iter().zip(&self.storages);
        let keys = dependencies.keys().iter().zip(&self.keys);
        Reports {
            storages: storages.map(|(it, track)| report(track, &it.name().place, None)).collect(),
            keys: keys.map(|(key, track)| report(track, &key.place, dependencies.key_name(key))).collect(),
        }
    }

    /// The certificates that have ended, have not begun, or end soon.
    pub(super) fn certificate_problems(&self, now: SystemTime) -> Vec<Problem> {
        let problems = certificates::problems(&self.certificates, now).into_iter();
        problems.map(|message| Problem { component: "certificate", message }).collect()
    }
}

/// A track for each name, with the results of the track that had the name before.
fn kept_tracks(before: &[Track], names: impl Iterator<Item = String>) -> Vec<Track> {
    names
        .map(|name| {
            let kept = before.iter().find(|track| track.name == name).cloned();
            kept.unwrap_or_else(|| Track { name, ..Track::default() })
        })
        .collect()
}

fn is_past(at: Option<Instant>, interval: Duration, now: Instant) -> bool {
    at.is_none_or(|at| now.saturating_duration_since(at) >= interval)
}

impl Track {
    /// Records an outcome of `now`. A message that differs from the one before is a change too.
    pub(super) fn record(
        &mut self,
        outcome: Result<Option<String>, DependencyError>,
        now: Instant,
    ) -> Changed {
        self.assessed_at = Some(now);
        match outcome {
            Ok(note) => {
                (self.succeeded_at, self.note) = (Some(now), note);
                if self.trouble.take().is_some() { Changed::WorksAgain } else { Changed::Nothing }
            }
            Err(DependencyError { message }) => {
                let is_new = self.trouble.as_ref() != Some(&message);
                self.trouble = Some(message.clone());
                if is_new { Changed::Fails(message) } else { Changed::Nothing }
            }
        }
    }

    fn verdict(&self) -> Verdict {
        match (&self.trouble, &self.note, self.succeeded_at) {
            (Some(trouble), _, Some(_)) => Verdict::Degraded(trouble.clone()),
            (Some(trouble), _, None) => Verdict::Unusable(trouble.clone()),
            (None, _, None) => {
                Verdict::Unusable("not assessed yet: the first assessment is running".to_owned())
            }
            (None, Some(note), Some(_)) => Verdict::Degraded(note.clone()),
            (None, None, Some(_)) => Verdict::Ready,
        }
    }
}
