//! A bounded cache of data keys with a time to live that no use extends. It must not know what a value is
//! for, nor which holder of keys it comes from. It promises one fetch per entry at a time, which goes on for
//! the other waiters when the request that started it is cancelled.

mod recent;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::Counter;
use moka::Expiry;
use moka::future::Cache;
use smallvec::SmallVec;
use tracing::Instrument;

use self::recent::Recent;
use super::KeyringError;
use super::lease::Lease;
use crate::clock;
use crate::metric::LabelledHandles;
use crate::trace;
use crate::wire::digest::digest_of_fields;

/// How long an error is cached. Long enough that a burst of requests for one unusable key is not a burst of
/// provider calls; short enough that a repaired key works at once.
const ERROR_TTL: Duration = Duration::from_millis(250);

/// While a value is served past its time to live because the provider is unavailable, the provider is tried
/// again at this interval, so that not every request waits for the provider's timeouts.
const STALE_RETRY_INTERVAL: Duration = Duration::from_secs(5);

thread_local! {
    /// Handles by operation and outcome.
    static LOOKUPS: LabelledHandles<[&'static str; 2], Counter> = const { LabelledHandles::new() };
}

/// The cache key: a tag, and the fields, each after its length in bytes as 4 bytes, big-endian. If that is
/// more than [`MAX_FIELDS`], another tag and a SHA-256 over the fields, so that an attacker's longest blob
/// takes no more memory than a usual one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Fingerprint(SmallVec<[u8; USUAL_FIELDS]>);

/// Bytes of fields that take no room on the heap: those of AWS KMS and of a local file.
const USUAL_FIELDS: usize = 384;
/// Maximum bytes of fields that are kept unhashed. The blobs of all holders are shorter.
const MAX_FIELDS: usize = 1024;

impl Fingerprint {
    /// The key for these fields, each below 4 GiB. Different lists of fields have different keys.
    pub(super) fn new(fields: &[&[u8]]) -> Self {
        let length: usize = fields.iter().map(|field| 4 + field.len()).sum();
        if length > MAX_FIELDS {
            let mut key = SmallVec::from_elem(1, 1);
            key.extend_from_slice(&digest_of_fields(fields.iter().copied()));
            return Self(key);
        }
        let mut key = SmallVec::<[u8; USUAL_FIELDS]>::from_elem(0, 1 + length);
        let mut left = &mut key[1..];
        for field in fields {
            let length = u32::try_from(field.len()).expect("all fields together are at most MAX_FIELDS");
            let (place, rest) = left.split_at_mut(4);
            place.copy_from_slice(&length.to_be_bytes());
            let (place, rest) = rest.split_at_mut(field.len());
            place.copy_from_slice(field);
            left = rest;
        }
        Self(key)
    }
}

/// The time source of the cache: the system's, or in tests one that is set by hand.
#[derive(Debug, Clone)]
pub(super) enum Clock {
    System,
    #[cfg(test)]
    Manual(Arc<std::sync::Mutex<Instant>>),
}

impl Clock {
    fn now(&self) -> Instant {
        match self {
            Self::System => clock::now(),
            #[cfg(test)]
            Self::Manual(now) => *now.lock().unwrap(),
        }
    }
}

/// A value that the cache can hold.
pub(super) trait CacheValue: Clone + Send + Sync + 'static {
    /// Whether the value's use count is reached before its time to live: the cache then never serves it, not
    /// even while the provider is unavailable.
    fn is_exhausted(&self) -> bool;
}

impl CacheValue for Arc<Lease> {
    fn is_exhausted(&self) -> bool {
        Lease::is_exhausted(self)
    }
}

impl CacheValue for super::UnwrappedKey {
    fn is_exhausted(&self) -> bool {
        false
    }
}

#[derive(Clone)]
pub(super) struct TtlCache<V> {
    operation: &'static str,
    entries: Cache<Fingerprint, Arc<Entry<V>>>,
    recent: Recent,
    clock: Clock,
    ttl: Ttl,
}

/// The values of a cache that can be served.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheContent {
    /// How many there are.
    pub values: u64,
    /// The age of the oldest; zero without any.
    pub oldest: Duration,
    /// How long the newest can be served without its provider; zero without any.
    pub longest_left: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Ttl {
    /// How long a value is served without condition.
    fresh: Duration,
    /// How long a value may be served while the provider is unavailable. Includes `fresh`.
    stale: Duration,
}

enum Entry<V> {
    Value {
        value: V,
        fetched_at: Instant,
        /// Set when the provider was unavailable after the time to live: until then the value is served
        /// without another call.
        stale_until: Option<Instant>,
    },
    Failed {
        error: KeyringError,
        failed_at: Instant,
    },
}

impl<V: CacheValue> Entry<V> {
    fn needs_fetch(&self, now: Instant, ttl: Ttl) -> bool {
        match self {
            Self::Value { value, fetched_at, stale_until } => {
                let age = now.saturating_duration_since(*fetched_at);
                let is_usable_stale = age < ttl.stale && stale_until.is_some_and(|until| now < until);
                value.is_exhausted() || !(age < ttl.fresh || is_usable_stale)
            }
            Self::Failed { failed_at, .. } => now.saturating_duration_since(*failed_at) >= ERROR_TTL,
        }
    }

    /// The entry with a value served for [`STALE_RETRY_INTERVAL`] past its time to live; `None` for an error,
    /// or for a value older than [`Ttl::stale`].
    fn to_stale(&self, now: Instant, ttl: Ttl) -> Option<Self> {
        match self {
            Self::Value { value, fetched_at, .. } => {
                let is_usable =
                    now.saturating_duration_since(*fetched_at) < ttl.stale && !value.is_exhausted();
                let stale_until = Some(now + STALE_RETRY_INTERVAL);
                is_usable.then(|| Self::Value { value: value.clone(), fetched_at: *fetched_at, stale_until })
            }
            Self::Failed { .. } => None,
        }
    }

    fn outcome(&self) -> Result<V, KeyringError> {
        match self {
            Self::Value { value, .. } => Ok(value.clone()),
            Self::Failed { error, .. } => Err(error.clone()),
        }
    }
}

/// Frees the memory of entries that can't be served any longer. Whether an entry is served, only
/// [`Entry::needs_fetch`] decides.
impl<V: Send + Sync> Expiry<Fingerprint, Arc<Entry<V>>> for Ttl {
    fn expire_after_create(&self, _: &Fingerprint, entry: &Arc<Entry<V>>, _: Instant) -> Option<Duration> {
        Some(match **entry {
            Entry::Value { .. } => self.stale,
            Entry::Failed { .. } => ERROR_TTL,
        })
    }

    fn expire_after_update(
        &self,
        key: &Fingerprint,
        entry: &Arc<Entry<V>>,
        updated_at: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        self.expire_after_create(key, entry, updated_at)
    }
}

impl<V: CacheValue> TtlCache<V> {
    pub(super) fn new(
        operation: &'static str,
        capacity: u64,
        max_age: Duration,
        stale_if_error: Option<Duration>,
        clock: Clock,
    ) -> Self {
        let ttl = Ttl { fresh: max_age, stale: max_age.saturating_add(stale_if_error.unwrap_or_default()) };
        let entries = Cache::builder().max_capacity(capacity).expire_after(ttl).build();
        Self { operation, entries, recent: Recent::new(), clock, ttl }
    }

    /// The cached value; `None` if it is absent, or a fetch is due.
    pub(super) async fn get(&self, fingerprint: &Fingerprint) -> Option<V> {
        let value = self.served(fingerprint).await?.outcome().ok()?;
        self.count("hit");
        Some(value)
    }

    /// The entry, if no fetch is due.
    async fn served(&self, fingerprint: &Fingerprint) -> Option<Arc<Entry<V>>> {
        let (now, changes) = (self.clock.now(), self.recent.changes());
        let entry = match self.recent.get(fingerprint, now) {
            Some(entry) => entry,
            None => {
                // On the heap, since few looks come to this, and each would have room for it.
                let entry = Box::pin(self.entries.get(fingerprint)).await?;
                self.recent.keep(fingerprint, &entry, now, changes);
                entry
            }
        };
        (!entry.needs_fetch(now, self.ttl)).then_some(entry)
    }

    /// Inserts a value; its time to live starts now.
    pub(super) async fn insert(&self, fingerprint: Fingerprint, value: V) {
        let entry = Entry::Value { value, fetched_at: self.clock.now(), stale_until: None };
        self.entries.insert(fingerprint, Arc::new(entry)).await;
        self.recent.changed();
    }

    /// The cached value, or the fetched one. Concurrent callers share one fetch and its outcome.
    pub(super) async fn get_or_fetch<F>(
        &self,
        fingerprint: Fingerprint,
        fetch: impl FnOnce() -> F,
    ) -> Result<V, KeyringError>
    where
        F: Future<Output = Result<V, KeyringError>> + Send + 'static,
    {
        if let Some(entry) = self.served(&fingerprint).await {
            self.count(if matches!(*entry, Entry::Value { .. }) { "hit" } else { "shared_error" });
            return entry.outcome();
        }
        self.count("miss");
        let cache = self.clone();
        // A task of its own: the request that started the fetch may be cancelled while others wait for it.
        let fetching = cache.fetch_once(fingerprint, fetch()).in_current_span();
        let fetching = Box::pin(trace::observed(trace::current_trace(), fetching));
        let begun = clock::now();
        let fetched = tokio::spawn(fetching).await;
        trace::note_key_call(clock::since(begun));
        match fetched {
            Ok(outcome) => outcome,
            Err(_panicked_or_shut_down) => Err(KeyringError::Interrupted),
        }
    }

    async fn fetch_once(
        self,
        fingerprint: Fingerprint,
        fetch: impl Future<Output = Result<V, KeyringError>>,
    ) -> Result<V, KeyringError> {
        let key = fingerprint.clone();
        let fill = async {
            let cached = self.entries.get(&key).await;
            let outcome = fetch.await;
            let now = self.clock.now();
            Arc::new(match outcome {
                Ok(value) => Entry::Value { value, fetched_at: now, stale_until: None },
                Err(error) => {
                    let cached = cached.filter(|_| error.is_unavailability());
                    match cached.and_then(|entry| entry.to_stale(now, self.ttl)) {
                        Some(stale) => {
                            tracing::warn!(operation = self.operation, %error, "serving a data key past its age");
                            self.count("stale");
                            stale
                        }
                        None => Entry::Failed { error, failed_at: now },
                    }
                }
            })
        };
        let is_due = |entry: &Arc<Entry<V>>| entry.needs_fetch(self.clock.now(), self.ttl);
        let entry = self.entries.entry(fingerprint).or_insert_with_if(fill, is_due).await;
        self.recent.changed();
        entry.into_value().outcome()
    }

    /// The values that can be served now. Looks at every entry.
    pub(super) async fn content(&self) -> CacheContent {
        self.entries.run_pending_tasks().await;
        let now = self.clock.now();
        let mut content = CacheContent::default();
        for (_, entry) in &self.entries {
            let Entry::Value { value, fetched_at, .. } = &*entry else { continue };
            let age = now.saturating_duration_since(*fetched_at);
            let Some(left) = self.ttl.stale.checked_sub(age).filter(|_| !value.is_exhausted()) else {
                continue;
            };
            content.values += 1;
            content.oldest = content.oldest.max(age);
            content.longest_left = content.longest_left.max(left);
        }
        content
    }

    fn count(&self, outcome: &'static str) {
        let operation = self.operation;
        let register = || metrics::counter!("s3veil_keyring_cache_total", "operation" => operation, "outcome" => outcome);
        LOOKUPS.with(|lookups| lookups.with([operation, outcome], register, |counter| counter.increment(1)));
    }

    #[cfg(test)]
    pub(super) async fn settled_len(&self) -> u64 {
        self.entries.run_pending_tasks().await;
        self.entries.entry_count()
    }
}

impl<V> fmt::Debug for TtlCache<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TtlCache").field("operation", &self.operation).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// Whether it is exhausted.
    impl CacheValue for bool {
        fn is_exhausted(&self) -> bool {
            *self
        }
    }

    #[tokio::test]
    async fn the_content_is_what_can_be_served() {
        let now = Arc::new(std::sync::Mutex::new(Instant::now()));
        let pass = |seconds| *now.lock().unwrap() += Duration::from_secs(seconds);
        let (fresh, stale) = (Duration::from_secs(60), Duration::from_secs(30));
        let cache = TtlCache::new("unwrap", 10, fresh, Some(stale), Clock::Manual(now.clone()));
        assert_eq!(cache.content().await, CacheContent::default());
        cache.insert(Fingerprint::new(&[b"one"]), false).await;
        pass(40);
        cache.insert(Fingerprint::new(&[b"two"]), false).await;
        cache.insert(Fingerprint::new(&[b"exhausted"]), true).await;
        let content = |values, oldest, longest_left| CacheContent {
            values,
            oldest: Duration::from_secs(oldest),
            longest_left: Duration::from_secs(longest_left),
        };
        assert_eq!(cache.content().await, content(2, 40, 90));
        pass(55);
        assert_eq!(cache.content().await, content(1, 55, 35));
    }

    #[test]
    fn different_fields_have_different_fingerprints() {
        let long = vec![b'a'; 2 * MAX_FIELDS];
        let digest = digest_of_fields([&long[..]]);
        let lists: [&[&[u8]]; 8] =
            [&[], &[b""], &[b"", b""], &[b"ab", b"c"], &[b"a", b"bc"], &[b"abc"], &[&long], &[&digest]];
        let keys: HashSet<_> = lists.iter().map(|fields| Fingerprint::new(fields)).collect();
        assert_eq!(keys.len(), lists.len(), "This is a security issue: one entry for two keys.");
        assert_eq!(Fingerprint::new(&[&long]).0.len(), 33);
    }
}
