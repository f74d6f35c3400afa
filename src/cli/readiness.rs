//! Readiness: whether this process should receive requests, and the log lines about what it depends on. It
//! must not know how the key service and the storages are checked. It promises that a probe returns the last
//! known state without load on them, and that a process that was ready once is never taken out of service
//! because of a dependency that every other process has too.

mod state;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::OwnedMutexGuard;

use self::state::{Changed, State};
use super::dependencies::{Dependencies, DependencyError, PROBE_LIMIT, StorageStatus};
use crate::admin::{Health, Reports};
use crate::keyring::CacheSettings;
use crate::server::Validity;
use crate::timer;

/// Minimum time between two assessments: probes can't load the storage.
const ASSESSMENT_INTERVAL: Duration = Duration::from_secs(5);

/// The time that a probe waits for the assessment that it started; after that, it returns the last known
/// state. Kubernetes gives up after a second.
const PROBE_WAIT: Duration = Duration::from_millis(250);

/// A certificate and its name in messages, such as `the certificate of listen.tls`.
pub type NamedCertificate = (String, Validity);

/// Assesses readiness. Cheap to clone; all clones share their state.
#[derive(Clone)]
pub struct Readiness {
    shared: Arc<Shared>,
    /// Locked by the current assessment.
    turn: Arc<tokio::sync::Mutex<()>>,
}

struct Shared {
    state: Mutex<State>,
    /// Whether a task assesses what is in trouble until it works.
    is_watched: AtomicBool,
}

impl Readiness {
    /// Readiness before the first assessment. `cache`: how long the keyring keeps data keys; `certificates`:
    /// the server's own.
    pub fn new(
        dependencies: Dependencies,
        cache: &CacheSettings,
        certificates: Vec<NamedCertificate>,
    ) -> Self {
        let state = Mutex::new(State::new(dependencies, cache, certificates));
        Self { shared: Arc::new(Shared { state, is_watched: AtomicBool::new(false) }), turn: Arc::default() }
    }

    /// Starts the first assessment, which includes every key, and logs its results. Returns at once.
    pub fn begin(&self) {
        for problem in self.state().certificate_problems(SystemTime::now()) {
            tracing::warn!(component = problem.component, "{}", problem.message);
        }
        if let Ok(turn) = Arc::clone(&self.turn).try_lock_owned() {
            tokio::spawn(self.clone().assess(turn));
        }
    }

    /// Replaces the dependencies, after the configuration was loaded again, and assesses those that are new.
    /// A process that was ready stays so.
    pub fn replace(
        &self,
        dependencies: Dependencies,
        cache: &CacheSettings,
        certificates: Vec<NamedCertificate>,
    ) {
        self.state().replace(dependencies, cache, certificates);
        self.begin();
    }

    /// The last known state. Starts a new assessment if the last one is older than `ASSESSMENT_INTERVAL`.
    pub async fn health(&self) -> Health {
        if self.state().is_due(Instant::now())
            && let Ok(turn) = Arc::clone(&self.turn).try_lock_owned()
        {
            tokio::spawn(self.clone().assess(turn));
        }
        drop(timer::timeout(PROBE_WAIT, self.turn.lock()).await);
        self.known()
    }

    /// The last known state, without an assessment.
    pub fn known(&self) -> Health {
        let mut state = self.state();
        state.learn_from_requests();
        let mut health = state.health(Instant::now());
        health.degraded.extend(state.certificate_problems(SystemTime::now()));
        health
    }

    /// The storages and keys, as far as they are known.
    pub fn reports(&self) -> Reports {
        self.state().reports()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Assesses once, and while anything is in trouble, until all of it works: so the log says when a
    /// dependency is back, even without probes.
    async fn assess(self, turn: OwnedMutexGuard<()>) {
        self.assess_once().await;
        drop(turn);
        if self.state().is_well() || self.shared.is_watched.swap(true, Ordering::Relaxed) {
            return;
        }
        loop {
            timer::sleep(ASSESSMENT_INTERVAL).await;
            let turn = self.turn.lock().await;
            if self.state().is_due(Instant::now()) {
                self.assess_once().await;
            }
            drop(turn);
            if self.state().is_well() {
                self.shared.is_watched.store(false, Ordering::Relaxed);
                return;
            }
        }
    }

    /// Checks every storage, and the keys whose check is due.
    async fn assess_once(&self) {
        let (dependencies, generation, keys) = {
            let mut state = self.state();
            state.learn_from_requests();
            let now = Instant::now();
            (state.dependencies(), state.generation(), state.take_due_keys(now))
        };
        let storages = async {
            for (index, storage) in dependencies.storages().iter().enumerate() {
                let place = &storage.name().place;
                let outcome = bounded(place, storage.probe()).await;
                let note =
                    |found: StorageStatus| found.is_throttling.then(|| format!("{place} {}", found.text));
                let changed = self.state().record_storage(generation, index, outcome.map(note));
                log(changed, "storage", place);
            }
        };
        let key_service = async {
            for index in keys {
                let key = &dependencies.keys()[index];
                let place = &key.place;
                let outcome = bounded(place, dependencies.key(key)).await;
                let changed = self.state().record_key(generation, index, outcome.map(drop));
                log(changed, "keyring", place);
            }
        };
        tokio::join!(storages, key_service);
    }
}

async fn bounded<T>(
    place: &str,
    work: impl Future<Output = Result<T, DependencyError>>,
) -> Result<T, DependencyError> {
    let late = || DependencyError { message: format!("{place}: no response within {PROBE_LIMIT:?}") };
    timer::timeout(PROBE_LIMIT, work).await.unwrap_or_else(|_| Err(late()))
}

fn log(changed: Changed, component: &'static str, place: &str) {
    match changed {
        Changed::Nothing => {}
        Changed::Fails(problem) => tracing::warn!(component, problem, "requests may fail"),
        Changed::WorksAgain => tracing::info!(component, at = place, "works again"),
    }
}

#[cfg(test)]
mod tests;
