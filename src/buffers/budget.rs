//! The memory for bodies that have to be buffered whole, shared by all requests.
//!
//! It must not know what is buffered. It promises that no more than the budget is taken, and that a taken
//! share returns when its bytes are dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

/// A number of bytes of memory. Taking a share never waits: a caller that receives none tries again later.
#[derive(Debug, Clone)]
pub struct Budget {
    left: Arc<AtomicU64>,
    size: u64,
    /// The budget that this one is a part of.
    whole: Option<Arc<Budget>>,
}

/// Bytes taken from a budget, until the share is dropped.
#[derive(Debug)]
pub struct Share {
    budget: Budget,
    bytes: u64,
}

impl Budget {
    /// A budget of `bytes`.
    pub fn new(bytes: u64) -> Self {
        Self { left: Arc::new(AtomicU64::new(bytes)), size: bytes, whole: None }
    }

    /// Returns a new budget of `bytes`. What is taken from it is taken from this budget too.
    #[must_use]
    pub fn part(&self, bytes: u64) -> Self {
        Self { left: Arc::new(AtomicU64::new(bytes)), size: bytes, whole: Some(Arc::new(self.clone())) }
    }

    /// How many bytes there are, and how many of them are taken.
    pub fn usage(&self) -> (u64, u64) {
        (self.size, self.size.saturating_sub(self.left.load(Ordering::Relaxed)))
    }

    /// Takes `bytes`; `None` if fewer are left.
    pub fn take(&self, bytes: u64) -> Option<Share> {
        self.subtract(bytes).then(|| Share { budget: self.clone(), bytes })
    }

    fn subtract(&self, bytes: u64) -> bool {
        let take = |left: u64| left.checked_sub(bytes);
        if self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_err() {
            return false;
        }
        let is_taken = self.whole.as_ref().is_none_or(|whole| whole.subtract(bytes));
        if !is_taken {
            self.left.fetch_add(bytes, Ordering::Relaxed);
        }
        is_taken
    }

    fn add(&self, bytes: u64) {
        self.left.fetch_add(bytes, Ordering::Relaxed);
        if let Some(whole) = &self.whole {
            whole.add(bytes);
        }
    }
}

impl Share {
    /// Takes more bytes from the share's budget, so that the share is at least `bytes` large. Returns false
    /// if the budget has too few bytes left; the share is then unchanged.
    pub fn grow_to(&mut self, bytes: u64) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        let is_taken = self.budget.subtract(more);
        if is_taken {
            self.bytes += more;
        }
        is_taken
    }

    /// Attaches the share to `bytes`: it is held as long as any of them are.
    pub fn with(self, bytes: Bytes) -> Bytes {
        Bytes::from_owner(SharedBytes { bytes, _share: self })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.add(self.bytes);
    }
}

struct SharedBytes {
    bytes: Bytes,
    _share: Share,
}

impl AsRef<[u8]> for SharedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_comes_back() {
        let budget = Budget::new(10);
        let most = budget.take(7).unwrap();
        assert!(budget.take(4).is_none());
        let rest = budget.take(3).unwrap();
        drop(most);
        assert!(budget.take(8).is_none());
        drop(rest);
        assert!(budget.take(10).is_some());
    }

    #[test]
    fn a_share_grows_while_there_is_something_left() {
        let budget = Budget::new(10);
        let mut share = budget.take(1).unwrap();
        assert!(share.grow_to(8) && share.grow_to(3));
        assert!(!share.grow_to(11));
        assert!(budget.take(2).is_some() && budget.take(3).is_none());
        drop(share);
        assert!(budget.take(10).is_some());
    }

    #[test]
    fn what_is_taken_of_a_part_is_taken_of_the_whole() {
        let whole = Budget::new(10);
        let part = whole.part(6);
        assert!(part.take(7).is_none());
        let share = part.take(6).unwrap();
        assert!(whole.take(5).is_none());
        drop(share);
        let _most = whole.take(9).unwrap();
        assert!(part.take(2).is_none());
        assert!(part.take(1).is_some());
    }

    #[test]
    fn a_share_is_held_as_long_as_its_bytes() {
        let budget = Budget::new(10);
        let bytes = budget.take(10).unwrap().with(Bytes::from_static(b"0123456789"));
        let part = bytes.slice(2..4);
        drop(bytes);
        assert!(budget.take(1).is_none());
        assert_eq!(part, "23");
        drop(part);
        assert!(budget.take(10).is_some());
    }
}
