//! What a thread has found in a shared cache a moment ago: threads look there first, without the cache's
//! locks, its counts of uses and its clock.
//! It must not know what a value is for, nor how long it may be served.
//! It keeps no value alive that the cache has dropped. A value that was replaced is never returned.

use std::any::Any;
use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::Fingerprint;

/// How long a thread does without the shared cache, which would otherwise take a value in constant use for an
/// unused one, and drop it for another.
const MAX_AGE: Duration = Duration::from_secs(1);

/// Maximum number of values of one thread, of all caches together; a power of two.
const PLACES: usize = 64;

thread_local! {
    /// Empty until the first value; then [`PLACES`].
    static FOUND: RefCell<Vec<Option<Found>>> = const { RefCell::new(Vec::new()) };
}

struct Found {
    /// [`Recent::cache`].
    cache: u64,
    /// [`Recent::changes`] at that time.
    changes: u64,
    fingerprint: Fingerprint,
    until: Instant,
    value: Weak<dyn Any + Send + Sync>,
}

/// What threads have found in one cache.
#[derive(Debug, Clone)]
pub(super) struct Recent {
    /// A number of the cache, different from those of all others of this process.
    cache: u64,
    /// How often a value was inserted or replaced.
    changes: Arc<AtomicU64>,
}

impl Recent {
    /// For a new cache.
    pub(super) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self { cache: NEXT.fetch_add(1, Ordering::Relaxed), changes: Arc::default() }
    }

    /// What this thread has found lately.
    pub(super) fn get<T: Send + Sync + 'static>(
        &self,
        fingerprint: &Fingerprint,
        now: Instant,
    ) -> Option<Arc<T>> {
        FOUND.with_borrow(|places| {
            let found = places.get(place(fingerprint))?.as_ref()?;
            let is_it = found.cache == self.cache
                && found.changes == self.changes.load(Ordering::Acquire)
                && now < found.until
                && found.fingerprint == *fingerprint;
            is_it.then(|| found.value.upgrade())??.downcast().ok()
        })
    }

    /// Keeps what this thread has found at `now`. `changes` is the number from before it was looked for.
    pub(super) fn keep<T: Send + Sync + 'static>(
        &self,
        fingerprint: &Fingerprint,
        value: &Arc<T>,
        now: Instant,
        changes: u64,
    ) {
        let value: Weak<T> = Arc::downgrade(value);
        let (fingerprint, until) = (fingerprint.clone(), now + MAX_AGE);
        FOUND.with_borrow_mut(|places| {
            if places.is_empty() {
                places.resize_with(PLACES, || None);
            }
            let place = place(&fingerprint);
            places[place] = Some(Found { cache: self.cache, changes, fingerprint, until, value });
        });
    }

    /// The number of changes so far, for [`Self::keep`].
    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Has all threads look into the cache again. Called after a value was inserted or replaced.
    pub(super) fn changed(&self) {
        self.changes.fetch_add(1, Ordering::Release);
    }
}

/// The only place where a value with this fingerprint can be. Values whose fingerprints share a place are
/// looked for in the cache, as without this module.
fn place(fingerprint: &Fingerprint) -> usize {
    let (eights, _) = fingerprint.0.as_chunks::<8>();
    let mixed = eights.iter().fold(0_u64, |mixed, eight| {
        (mixed.rotate_left(5) ^ u64::from_ne_bytes(*eight)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    });
    // The upper bits depend on all others.
    usize::try_from(mixed >> (u64::BITS - PLACES.trailing_zeros())).expect("it is below PLACES")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fingerprint(field: &[u8]) -> Fingerprint {
        Fingerprint::new(&[field, b"a text that is longer than eight bytes"])
    }

    #[test]
    fn a_value_is_found_until_it_is_old_dropped_or_replaced() {
        let (recent, now, one) = (Recent::new(), Instant::now(), fingerprint(b"one"));
        let value = Arc::new(1_u8);
        let keep = || recent.keep(&one, &value, now, recent.changes());
        let found = |now| recent.get::<u8>(&one, now).map(|value| *value);
        assert_eq!(found(now), None);
        keep();
        assert_eq!(found(now), Some(1));
        assert_eq!(found(now + MAX_AGE), None);
        recent.changed();
        assert_eq!(found(now), None);
        keep();
        assert_eq!(found(now), Some(1));
        assert_eq!(Recent::new().get::<u8>(&one, now), None, "another cache");
        assert_eq!(recent.get::<u8>(&fingerprint(b"two"), now), None);
        assert_eq!(recent.get::<u16>(&one, now), None, "another type");
        drop(value);
        assert_eq!(recent.get::<u8>(&one, now), None, "the cache has dropped it");
    }

    #[test]
    fn a_value_that_changed_while_it_was_looked_for_is_not_kept() {
        let (recent, now, one) = (Recent::new(), Instant::now(), fingerprint(b"one"));
        let (before, value) = (recent.changes(), Arc::new(1_u8));
        recent.changed();
        recent.keep(&one, &value, now, before);
        assert_eq!(recent.get::<u8>(&one, now), None);
    }

    #[test]
    fn each_thread_has_its_own() {
        let (recent, now, one) = (Recent::new(), Instant::now(), fingerprint(b"one"));
        let value = Arc::new(1_u8);
        recent.keep(&one, &value, now, recent.changes());
        let elsewhere = std::thread::scope(|scope| scope.spawn(|| recent.get::<u8>(&one, now)).join());
        assert_eq!(elsewhere.expect("no panic"), None);
    }

    #[test]
    fn fingerprints_are_spread() {
        let mut places: Vec<_> = (0..1000_u32).map(|n| place(&fingerprint(&n.to_be_bytes()))).collect();
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), PLACES);
    }
}
