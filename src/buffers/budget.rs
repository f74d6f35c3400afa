//! Memory for what has to be held whole, shared by all requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

/// So many bytes of memory. Nobody waits for a share: whoever gets none tries again later.
#[derive(Debug, Clone)]
pub struct Budget(Arc<AtomicU64>);

/// Bytes taken from a budget, until this is dropped.
#[derive(Debug)]
pub struct Share {
    budget: Budget,
    bytes: u64,
}

impl Budget {
    /// A budget of so many bytes.
    pub fn new(bytes: u64) -> Self {
        Self(Arc::new(AtomicU64::new(bytes)))
    }

    /// Takes so many bytes; `None` if there are not as many left.
    pub fn take(&self, bytes: u64) -> Option<Share> {
        let take = |left: u64| left.checked_sub(bytes);
        let taken = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        taken.is_ok().then(|| Share { budget: self.clone(), bytes })
    }
}

impl Share {
    /// The same bytes, with the share held as long as any of them are.
    pub fn with(self, bytes: Bytes) -> Bytes {
        Bytes::from_owner(Held { bytes, _share: self })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.0.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

struct Held {
    bytes: Bytes,
    _share: Share,
}

impl AsRef<[u8]> for Held {
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
