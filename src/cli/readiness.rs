//! Readiness: whether this process should receive requests. It must not know how the key service and the
//! storage are checked. It promises that a probe returns the last known state without load on them, and that
//! the process stays ready while cached data keys still serve, or after a single failure of a storage that
//! every other proxy has too.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::OwnedMutexGuard;

use super::certificates;
use super::dependencies::{Dependencies, DependencyError, PROBE_LIMIT, StorageStatus};
use crate::admin::{Health, Problem};
use crate::keyring::{CacheSettings, KeyId};
use crate::server::Validity;

/// At least this long between two assessments: probes can't load the storage.
const ASSESSMENT_INTERVAL: Duration = Duration::from_secs(5);

/// The minimum time between two round trips through the key service under a key that works: probes can't run
/// up its bill either.
const KEY_INTERVAL: Duration = Duration::from_secs(30);

/// The time that a probe waits for the assessment that it started; after that, it returns the last known
/// state. Kubernetes gives up after a second.
const PROBE_WAIT: Duration = Duration::from_millis(250);

/// The number of consecutive assessments that must find the storage in trouble before the process is unready
/// and requests go elsewhere.
const MAX_STORAGE_FAILURES: u32 = 3;

/// Assesses readiness. Cheap to clone; all clones share their state.
#[derive(Clone)]
pub struct Readiness {
    dependencies: Dependencies,
    certificates: Vec<(String, Validity)>,
    state: Arc<Mutex<State>>,
    /// Locked by the current assessment.
    turn: Arc<tokio::sync::Mutex<()>>,
}

/// The latest results.
struct State {
    storage: Track,
    keys: Vec<(Option<KeyId>, Track)>,
    /// How long a data key remains usable without the key service.
    cached_for: Duration,
}

/// The results of one dependency's checks.
#[derive(Debug, Clone, Default)]
struct Track {
    assessed_at: Option<Instant>,
    succeeded_at: Option<Instant>,
    /// Number of consecutive failures.
    failures: u32,
    trouble: Option<DependencyError>,
    /// A message about a working dependency.
    note: Option<String>,
}

/// The effect of a dependency's state on requests.
enum Verdict {
    Ready,
    Degraded(String),
    Unready(String),
}

impl Readiness {
    /// Readiness before the first assessment. `cache`: how long the keyring keeps data keys; `certificates`:
    /// those of the listeners, by name.
    pub fn new(
        dependencies: Dependencies,
        cache: &CacheSettings,
        certificates: Vec<(String, Validity)>,
    ) -> Self {
        let keys = dependencies.names().key_ids.iter().map(|key_id| (key_id.clone(), Track::default()));
        let state = State {
            storage: Track::default(),
            keys: keys.collect(),
            cached_for: cache.max_age.saturating_add(cache.stale_if_error.unwrap_or_default()),
        };
        let (state, turn) = (Arc::new(Mutex::new(state)), Arc::default());
        Self { dependencies, certificates, state, turn }
    }

    /// Starts the first assessment, which includes every key, and logs its results.
    pub fn begin(&self) {
        for problem in certificates::problems(&self.certificates, SystemTime::now()) {
            tracing::warn!(component = "certificate", "{problem}");
        }
        if let Ok(turn) = Arc::clone(&self.turn).try_lock_owned() {
            tokio::spawn(self.clone().assess(turn, usize::MAX));
        }
    }

    /// The last known state. Starts a new assessment if the last one is older than `ASSESSMENT_INTERVAL`.
    pub async fn health(&self) -> Health {
        let is_due = is_past(self.state().storage.assessed_at, ASSESSMENT_INTERVAL);
        if is_due && let Ok(turn) = Arc::clone(&self.turn).try_lock_owned() {
            tokio::spawn(self.clone().assess(turn, 1));
        }
        drop(tokio::time::timeout(PROBE_WAIT, self.turn.lock()).await);
        let mut health = self.state().health(Instant::now());
        for message in certificates::problems(&self.certificates, SystemTime::now()) {
            health.degraded.push(Problem { component: "certificate", message });
        }
        health
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Checks the storage, and at most `key_limit` of the keys whose check is due.
    async fn assess(self, turn: OwnedMutexGuard<()>, key_limit: usize) {
        let keys = self.state().due_keys(key_limit);
        let storage = async {
            let place = &self.dependencies.names().storage;
            let outcome = bounded(place, self.dependencies.storage()).await;
            let note = |found: StorageStatus| found.is_throttling.then(|| format!("{place} {}", found.text));
            self.state().storage.record("storage", outcome.map(note));
        };
        let key_service = async {
            for (index, key_id) in keys {
                let place = &self.dependencies.names().keys;
                let outcome = bounded(place, self.dependencies.key(key_id.as_ref())).await;
                let named = |trouble: DependencyError| match &key_id {
                    Some(key_id) => {
                        DependencyError { message: format!("key {key_id}: {}", trouble.message), ..trouble }
                    }
                    None => trouble,
                };
                self.state().keys[index].1.record("keyring", outcome.map(|_| None).map_err(named));
            }
        };
        tokio::join!(storage, key_service);
        drop(turn);
    }
}

async fn bounded<T>(
    place: &str,
    work: impl Future<Output = Result<T, DependencyError>>,
) -> Result<T, DependencyError> {
    let late = || DependencyError {
        message: format!("{place}: no response within {PROBE_LIMIT:?}"),
        may_pass: true,
    };
    tokio::time::timeout(PROBE_LIMIT, work).await.unwrap_or_else(|_| Err(late()))
}

fn is_past(assessed_at: Option<Instant>, interval: Duration) -> bool {
    assessed_at.is_none_or(|assessed_at| assessed_at.elapsed() >= interval)
}

impl State {
    /// The due keys: unchecked ones first, then by the age of their last check.
    fn due_keys(&self, limit: usize) -> Vec<(usize, Option<KeyId>)> {
        let is_due = |track: &Track| {
            let interval = if track.trouble.is_some() { ASSESSMENT_INTERVAL } else { KEY_INTERVAL };
            is_past(track.assessed_at, interval)
        };
        let mut due: Vec<_> = self.keys.iter().enumerate().filter(|(_, (_, track))| is_due(track)).collect();
        due.sort_by_key(|(_, (_, track))| track.assessed_at);
        due.into_iter().take(limit).map(|(index, (key_id, _))| (index, key_id.clone())).collect()
    }

    fn health(&self, now: Instant) -> Health {
        let mut health = Health::default();
        health.add("storage", self.storage.storage_verdict());
        let verdicts: Vec<_> =
            self.keys.iter().map(|(_, track)| track.key_verdict(now, self.cached_for)).collect();
        // With one usable key of several, the buckets of that key are served.
        let is_one_usable = verdicts.iter().any(|verdict| !matches!(verdict, Verdict::Unready(_)));
        for verdict in verdicts {
            let verdict = match verdict {
                Verdict::Unready(message) if is_one_usable => Verdict::Degraded(message),
                Verdict::Ready | Verdict::Degraded(_) | Verdict::Unready(_) => verdict,
            };
            health.add("keyring", verdict);
        }
        health
    }
}

impl Health {
    fn add(&mut self, component: &'static str, verdict: Verdict) {
        match verdict {
            Verdict::Ready => {}
            Verdict::Degraded(message) => self.degraded.push(Problem { component, message }),
            Verdict::Unready(message) => self.problems.push(Problem { component, message }),
        }
    }
}

impl Track {
    /// Records an outcome, and logs a change.
    fn record(&mut self, component: &'static str, outcome: Result<Option<String>, DependencyError>) {
        let now = Instant::now();
        self.assessed_at = Some(now);
        match outcome {
            Ok(note) => {
                if self.trouble.take().is_some() {
                    tracing::info!(component, "works again");
                }
                (self.succeeded_at, self.failures, self.note) = (Some(now), 0, note);
            }
            Err(trouble) => {
                if self.trouble.as_ref().map(|before| &before.message) != Some(&trouble.message) {
                    tracing::warn!(component, problem = trouble.message, "requests may fail");
                }
                self.failures += 1;
                self.trouble = Some(trouble);
            }
        }
    }

    fn settled_verdict(&self) -> Option<Verdict> {
        match (&self.trouble, &self.note) {
            (Some(_), _) => None,
            (None, _) if self.assessed_at.is_none() => {
                Some(Verdict::Unready("not assessed yet: the first assessment is running".to_owned()))
            }
            (None, Some(note)) => Some(Verdict::Degraded(note.clone())),
            (None, None) => Some(Verdict::Ready),
        }
    }

    fn message(&self) -> String {
        self.trouble.as_ref().map(|trouble| trouble.message.clone()).unwrap_or_default()
    }

    /// A transient failure leaves the process ready: other proxies have that storage too.
    fn storage_verdict(&self) -> Verdict {
        let may_pass = self.trouble.as_ref().is_some_and(|trouble| trouble.may_pass);
        let is_transient = may_pass && self.succeeded_at.is_some() && self.failures < MAX_STORAGE_FAILURES;
        self.settled_verdict().unwrap_or_else(|| {
            if is_transient { Verdict::Degraded(self.message()) } else { Verdict::Unready(self.message()) }
        })
    }

    /// While cached data keys may still serve, the process stays ready.
    fn key_verdict(&self, now: Instant, cached_for: Duration) -> Verdict {
        let is_cached = self
            .succeeded_at
            .is_some_and(|succeeded_at| now.saturating_duration_since(succeeded_at) < cached_for);
        self.settled_verdict().unwrap_or_else(|| {
            if is_cached {
                Verdict::Degraded(format!("{}; cached data keys still serve", self.message()))
            } else {
                Verdict::Unready(self.message())
            }
        })
    }
}

#[cfg(test)]
mod tests;
