//! Readiness: whether this process should get requests. A separate task assesses the key service and the
//! storage, and a probe returns the last known state.
//!
//! Degraded is not unready. A proxy whose key service is unavailable still serves what its caches hold. After
//! a single failure of the storage, another proxy in front of the same storage would not do better.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::OwnedMutexGuard;

use super::dependencies::{Dependencies, PROBE_LIMIT, StorageFound, Trouble};
use crate::admin::{Health, Problem};
use crate::keyring::{CacheSettings, KeyId};
use crate::server::Validity;

/// At least this long between two assessments: probes can't load the storage.
const PAUSE: Duration = Duration::from_secs(5);

/// The minimum time between two round trips through the key service under a key that works: probes can't run
/// up its bill either.
const KEY_PAUSE: Duration = Duration::from_secs(30);

/// The time that a probe waits for the assessment that it started; after that, it returns the last known
/// state. Kubernetes gives up after a second.
const PATIENCE: Duration = Duration::from_millis(250);

/// The number of consecutive assessments that must find the storage in trouble before the process is unready
/// and requests go elsewhere.
const STORAGE_FAILURES: u32 = 3;

/// Assesses readiness. Cloning shares what is known.
#[derive(Clone)]
pub struct Readiness {
    dependencies: Dependencies,
    certificate: Option<Validity>,
    state: Arc<Mutex<State>>,
    /// Held by the assessment under way.
    turn: Arc<tokio::sync::Mutex<()>>,
}

/// What is known.
struct State {
    storage: Track,
    keys: Vec<(Option<KeyId>, Track)>,
    /// As long as a data key goes on working without the key service.
    cached_for: Duration,
}

/// How one dependency did when it was asked.
#[derive(Debug, Clone, Default)]
struct Track {
    asked: Option<Instant>,
    worked: Option<Instant>,
    /// In a row, up to now.
    failures: u32,
    trouble: Option<Trouble>,
    /// It works, and something is to be said of it.
    note: Option<String>,
}

/// What a dependency's state means for requests.
enum Verdict {
    Well,
    Degraded(String),
    Unready(String),
}

impl Readiness {
    /// Knows nothing yet. `cache`: how long the keyring keeps data keys; `certificate`: the server's own.
    pub fn new(dependencies: Dependencies, cache: &CacheSettings, certificate: Option<Validity>) -> Self {
        let keys = dependencies.places().key_ids.iter().map(|key_id| (key_id.clone(), Track::default()));
        let state = State {
            storage: Track::default(),
            keys: keys.collect(),
            cached_for: cache.max_age.saturating_add(cache.stale_if_error.unwrap_or_default()),
        };
        let (state, turn) = (Arc::new(Mutex::new(state)), Arc::default());
        Self { dependencies, certificate, state, turn }
    }

    /// Begins the first assessment, of every key, whose findings go to the log.
    pub fn begin(&self) {
        if let Some(trouble) = self.certificate.and_then(|validity| validity.trouble(SystemTime::now())) {
            tracing::warn!(component = "certificate", "the certificate of listen.tls {trouble}");
        }
        if let Ok(turn) = Arc::clone(&self.turn).try_lock_owned() {
            tokio::spawn(self.clone().assess(turn, usize::MAX));
        }
    }

    /// The last known state; a new assessment begins if the last one is some seconds old.
    pub async fn health(&self) -> Health {
        let is_due = is_past(self.state().storage.asked, PAUSE);
        if is_due && let Ok(turn) = Arc::clone(&self.turn).try_lock_owned() {
            tokio::spawn(self.clone().assess(turn, 1));
        }
        drop(tokio::time::timeout(PATIENCE, self.turn.lock()).await);
        let mut health = self.state().health(Instant::now());
        if let Some(trouble) = self.certificate.and_then(|validity| validity.trouble(SystemTime::now())) {
            let message = format!("the certificate of listen.tls {trouble}");
            health.degraded.push(Problem { component: "certificate", message });
        }
        health
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the storage, and at most `key_limit` of the keys that have not been asked for a while.
    async fn assess(self, turn: OwnedMutexGuard<()>, key_limit: usize) {
        let keys = self.state().due_keys(key_limit);
        let storage = async {
            let place = &self.dependencies.places().storage;
            let outcome = bounded(place, self.dependencies.storage()).await;
            let note = |found: StorageFound| found.is_throttling.then(|| format!("{place} {}", found.told));
            self.state().storage.record("storage", outcome.map(note));
        };
        let key_service = async {
            for (index, key_id) in keys {
                let place = &self.dependencies.places().keys;
                let outcome = bounded(place, self.dependencies.key(key_id.as_ref())).await;
                let named = |trouble: Trouble| match &key_id {
                    Some(key_id) => {
                        Trouble { message: format!("key {key_id}: {}", trouble.message), ..trouble }
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

async fn bounded<T>(place: &str, asking: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
    let late = || Trouble { message: format!("{place}: no answer within {PROBE_LIMIT:?}"), may_pass: true };
    tokio::time::timeout(PROBE_LIMIT, asking).await.unwrap_or_else(|_| Err(late()))
}

fn is_past(asked: Option<Instant>, pause: Duration) -> bool {
    asked.is_none_or(|asked| asked.elapsed() >= pause)
}

impl State {
    /// Those not asked yet first, then those asked longest ago.
    fn due_keys(&self, limit: usize) -> Vec<(usize, Option<KeyId>)> {
        let is_due =
            |track: &Track| is_past(track.asked, if track.trouble.is_some() { PAUSE } else { KEY_PAUSE });
        let mut due: Vec<_> = self.keys.iter().enumerate().filter(|(_, (_, track))| is_due(track)).collect();
        due.sort_by_key(|(_, (_, track))| track.asked);
        due.into_iter().take(limit).map(|(index, (key_id, _))| (index, key_id.clone())).collect()
    }

    fn health(&self, now: Instant) -> Health {
        let mut health = Health::default();
        health.add("storage", self.storage.storage_verdict());
        let verdicts: Vec<_> =
            self.keys.iter().map(|(_, track)| track.key_verdict(now, self.cached_for)).collect();
        // Where one key of several works, its buckets are served.
        let is_one_well = verdicts.iter().any(|verdict| !matches!(verdict, Verdict::Unready(_)));
        for verdict in verdicts {
            let verdict = match verdict {
                Verdict::Unready(message) if is_one_well => Verdict::Degraded(message),
                Verdict::Well | Verdict::Degraded(_) | Verdict::Unready(_) => verdict,
            };
            health.add("keyring", verdict);
        }
        health
    }
}

impl Health {
    fn add(&mut self, component: &'static str, verdict: Verdict) {
        match verdict {
            Verdict::Well => {}
            Verdict::Degraded(message) => self.degraded.push(Problem { component, message }),
            Verdict::Unready(message) => self.problems.push(Problem { component, message }),
        }
    }
}

impl Track {
    /// Notes an outcome; the log learns of changes alone.
    fn record(&mut self, component: &'static str, outcome: Result<Option<String>, Trouble>) {
        let now = Instant::now();
        self.asked = Some(now);
        match outcome {
            Ok(note) => {
                if self.trouble.take().is_some() {
                    tracing::info!(component, "works again");
                }
                (self.worked, self.failures, self.note) = (Some(now), 0, note);
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

    fn told(&self) -> Option<Verdict> {
        match (&self.trouble, &self.note) {
            (Some(_), _) => None,
            (None, _) if self.asked.is_none() => {
                Some(Verdict::Unready("not assessed yet: the first answer is awaited".to_owned()))
            }
            (None, Some(note)) => Some(Verdict::Degraded(note.clone())),
            (None, None) => Some(Verdict::Well),
        }
    }

    fn message(&self) -> String {
        self.trouble.as_ref().map(|trouble| trouble.message.clone()).unwrap_or_default()
    }

    /// A stumble is no reason to go elsewhere: every other proxy has the same storage.
    fn storage_verdict(&self) -> Verdict {
        let may_pass = self.trouble.as_ref().is_some_and(|trouble| trouble.may_pass);
        let is_stumble = may_pass && self.worked.is_some() && self.failures < STORAGE_FAILURES;
        self.told().unwrap_or_else(|| match is_stumble {
            true => Verdict::Degraded(self.message()),
            false => Verdict::Unready(self.message()),
        })
    }

    /// As long as cached data keys may still serve, requests are better here than nowhere.
    fn key_verdict(&self, now: Instant, cached_for: Duration) -> Verdict {
        let is_cached = self.worked.is_some_and(|worked| now.saturating_duration_since(worked) < cached_for);
        self.told().unwrap_or_else(|| match is_cached {
            true => Verdict::Degraded(format!("{}; cached data keys still serve", self.message())),
            false => Verdict::Unready(self.message()),
        })
    }
}

#[cfg(test)]
mod tests;
