//! How much one connection may buffer: much while there are few of them, little in a crowd.
//!
//! Large buffers are what large objects are fast by: one system call moves a whole chunk and more. They are also most of
//! what a stream costs, three to a connection. With these sizes neither side's connections buffer more than 24 MiB up to
//! a hundred streams, and about 100 KiB each beyond.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes per direction of each connection while there are no more than so many connections; the last entry is for all
/// others. The largest is where more stopped paying off.
const SIZES: [(usize, usize); TIERS] =
    [(8, 512 << 10), (32, 128 << 10), (128, 64 << 10), (usize::MAX, 32 << 10)];

/// How many sizes there are.
pub const TIERS: usize = 4;

/// Which size is right while `connections` are open: the index of a tier.
fn tier_of(connections: usize) -> usize {
    SIZES.iter().position(|(most, _)| connections <= *most).unwrap_or(TIERS - 1)
}

/// Bytes to buffer per direction of a connection in this tier.
///
/// # Panics
/// When there is no such tier.
pub fn bytes_of(tier: usize) -> usize {
    SIZES[tier].1
}

/// Bytes to buffer per direction of a connection that is one of so many.
pub fn bytes_for(connections: usize) -> usize {
    bytes_of(tier_of(connections))
}

/// A count of streams that come and go.
#[derive(Debug, Clone, Default)]
pub struct Crowd(Arc<AtomicUsize>);

/// One of a crowd, until it is dropped.
#[derive(Debug)]
pub struct Member {
    crowd: Crowd,
    tier: usize,
}

impl Crowd {
    /// Counts one more.
    pub fn join(&self) -> Member {
        let before = self.0.fetch_add(1, Ordering::Relaxed);
        Member { crowd: self.clone(), tier: tier_of(before + 1) }
    }
}

impl Member {
    /// The tier of the crowd's size when this member came.
    pub fn tier(&self) -> usize {
        self.tier
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.crowd.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_there_are_the_less_each_may_buffer() {
        let sizes: Vec<_> = [1, 8, 9, 32, 33, 128, 129, 10_000].map(bytes_for).to_vec();
        assert!(sizes.is_sorted_by(|one, next| one >= next), "{sizes:?}");
        for connections in 1..1_000 {
            let all = connections * bytes_for(connections);
            assert!(all <= (8 << 20).max(connections * (32 << 10)), "{connections} connections buffer {all}");
        }
    }

    #[test]
    fn a_crowd_counts_who_is_there() {
        let crowd = Crowd::default();
        let mut members: Vec<_> = (0..9).map(|_| crowd.join()).collect();
        assert_eq!((members[7].tier(), members[8].tier()), (0, 1));
        members.truncate(5);
        assert_eq!(crowd.join().tier(), 0);
        members.clear();
        assert_eq!(crowd.0.load(Ordering::Relaxed), 0);
    }
}
