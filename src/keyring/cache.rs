//! A bounded cache whose values have an age that no use extends, filled by one flight per entry at a time.
//! The call belongs to the cache, not to the request that started it: that request may vanish, and the others
//! still get their answer.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::digest;
use moka::Expiry;
use moka::future::Cache;
use tracing::Instrument;

use super::KeyringError;
use super::lease::Lease;

/// How long an error is shared with those who ask next. Just enough that a storm of requests for one bad key is
/// not a storm of calls; short enough that nobody waits for it after the key was mended.
const ERROR_AGE: Duration = Duration::from_millis(250);

/// While a value is used past its age because the provider is away, the provider is asked again this often,
/// so that not every request waits for its timeouts.
const STALE_RETRY: Duration = Duration::from_secs(5);

/// What a cached value stands for: SHA-256 over its parts, each behind its length. Of one size, so that an
/// attacker's longest blob takes no more memory than any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Fingerprint([u8; 32]);

impl Fingerprint {
    pub(super) fn of(parts: &[&[u8]]) -> Self {
        let mut hash = digest::Context::new(&digest::SHA256);
        for part in parts {
            hash.update(&(part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        Self(hash.finish().as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }
}

/// Where ages are read from.
#[derive(Debug, Clone)]
pub(super) enum Clock {
    System,
    #[cfg(test)]
    Manual(Arc<std::sync::Mutex<Instant>>),
}

impl Clock {
    fn now(&self) -> Instant {
        match self {
            Self::System => Instant::now(),
            #[cfg(test)]
            Self::Manual(now) => *now.lock().unwrap(),
        }
    }
}

/// A value of the cache.
pub(super) trait Perishable: Clone + Send + Sync + 'static {
    /// Used up before its age: no longer served, not even while the provider is away.
    fn is_spent(&self) -> bool;
}

impl Perishable for Arc<Lease> {
    fn is_spent(&self) -> bool {
        Lease::is_spent(self)
    }
}

impl Perishable for super::Unwrapped {
    fn is_spent(&self) -> bool {
        false
    }
}

#[derive(Clone)]
pub(super) struct AgedCache<V> {
    operation: &'static str,
    slots: Cache<Fingerprint, Slot<V>>,
    clock: Clock,
    ages: Ages,
}

#[derive(Debug, Clone, Copy)]
struct Ages {
    fresh: Duration,
    /// From the beginning, `fresh` included.
    stale: Duration,
}

#[derive(Clone)]
enum Slot<V> {
    Held {
        value: V,
        born: Instant,
        /// Past its age, and served until then without asking, because the provider is away.
        excused_until: Option<Instant>,
    },
    Failed {
        error: KeyringError,
        born: Instant,
    },
}

impl<V: Perishable> Slot<V> {
    fn is_due(&self, now: Instant, ages: Ages) -> bool {
        match self {
            Self::Held { value, born, excused_until } => {
                let age = now.saturating_duration_since(*born);
                let excused = age < ages.stale && excused_until.is_some_and(|until| now < until);
                value.is_spent() || !(age < ages.fresh || excused)
            }
            Self::Failed { born, .. } => now.saturating_duration_since(*born) >= ERROR_AGE,
        }
    }

    /// The same value, served for a while though it is past its age; `None` if it is past that grace too.
    fn excused(self, now: Instant, ages: Ages) -> Option<Self> {
        match self {
            Self::Held { value, born, .. } => {
                let usable = now.saturating_duration_since(born) < ages.stale && !value.is_spent();
                usable.then(|| Self::Held { value, born, excused_until: Some(now + STALE_RETRY) })
            }
            Self::Failed { .. } => None,
        }
    }

    fn into_outcome(self) -> Result<V, KeyringError> {
        match self {
            Self::Held { value, .. } => Ok(value),
            Self::Failed { error, .. } => Err(error),
        }
    }
}

/// Frees what is past all use. Whether a value is served, [`Slot::is_due`] alone decides.
impl<V: Send + Sync> Expiry<Fingerprint, Slot<V>> for Ages {
    fn expire_after_create(&self, _: &Fingerprint, slot: &Slot<V>, _: Instant) -> Option<Duration> {
        Some(match slot {
            Slot::Held { .. } => self.stale,
            Slot::Failed { .. } => ERROR_AGE,
        })
    }

    fn expire_after_update(
        &self,
        key: &Fingerprint,
        slot: &Slot<V>,
        updated_at: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        self.expire_after_create(key, slot, updated_at)
    }
}

impl<V: Perishable> AgedCache<V> {
    pub(super) fn new(
        operation: &'static str,
        entries: u64,
        max_age: Duration,
        stale_if_error: Option<Duration>,
        clock: Clock,
    ) -> Self {
        let ages = Ages { fresh: max_age, stale: max_age.saturating_add(stale_if_error.unwrap_or_default()) };
        let slots = Cache::builder().max_capacity(entries).expire_after(ages).build();
        Self { operation, slots, clock, ages }
    }

    /// The value, if it is there and need not be fetched.
    pub(super) async fn hit(&self, fingerprint: Fingerprint) -> Option<V> {
        let slot = self.slots.get(&fingerprint).await?;
        if slot.is_due(self.clock.now(), self.ages) {
            return None;
        }
        let value = slot.into_outcome().ok()?;
        self.count("hit");
        Some(value)
    }

    /// Puts in a value that was just born.
    pub(super) async fn keep(&self, fingerprint: Fingerprint, value: V) {
        let slot = Slot::Held { value, born: self.clock.now(), excused_until: None };
        self.slots.insert(fingerprint, slot).await;
    }

    /// The value, fetched if need be; all who ask meanwhile share that fetch and its outcome.
    pub(super) async fn obtain<F>(
        &self,
        fingerprint: Fingerprint,
        fetch: impl FnOnce() -> F,
    ) -> Result<V, KeyringError>
    where
        F: Future<Output = Result<V, KeyringError>> + Send + 'static,
    {
        if let Some(slot) = self.slots.get(&fingerprint).await
            && !slot.is_due(self.clock.now(), self.ages)
        {
            self.count(if matches!(slot, Slot::Held { .. }) { "hit" } else { "shared_error" });
            return slot.into_outcome();
        }
        self.count("miss");
        let cache = self.clone();
        let flight = cache.fly(fingerprint, fetch()).in_current_span();
        match tokio::spawn(flight).await {
            Ok(outcome) => outcome,
            Err(_panicked_or_shut_down) => Err(KeyringError::Interrupted),
        }
    }

    async fn fly(
        self,
        fingerprint: Fingerprint,
        fetch: impl Future<Output = Result<V, KeyringError>>,
    ) -> Result<V, KeyringError> {
        let fill = async {
            let held = self.slots.get(&fingerprint).await;
            let outcome = fetch.await;
            let now = self.clock.now();
            match outcome {
                Ok(value) => Slot::Held { value, born: now, excused_until: None },
                Err(error) => {
                    let held = held.filter(|_| error.is_unavailability());
                    match held.and_then(|slot| slot.excused(now, self.ages)) {
                        Some(excused) => {
                            tracing::warn!(operation = self.operation, %error, "serving a data key past its age");
                            self.count("stale");
                            excused
                        }
                        None => Slot::Failed { error, born: now },
                    }
                }
            }
        };
        let due = |slot: &Slot<V>| slot.is_due(self.clock.now(), self.ages);
        let entry = self.slots.entry(fingerprint).or_insert_with_if(fill, due).await;
        entry.into_value().into_outcome()
    }

    fn count(&self, outcome: &'static str) {
        metrics::counter!("s3veil_keyring_cache_total", "operation" => self.operation, "outcome" => outcome)
            .increment(1);
    }

    #[cfg(test)]
    pub(super) async fn settled_len(&self) -> u64 {
        self.slots.run_pending_tasks().await;
        self.slots.entry_count()
    }
}

impl<V> fmt::Debug for AgedCache<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgedCache").field("operation", &self.operation).finish_non_exhaustive()
    }
}
