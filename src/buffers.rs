//! How much one connection may buffer: much while there are few of them, little in a connections; and how much all may that hold
//! something whole.
//!
//! Large buffers are what large objects are fast by: one system call moves a whole chunk and more. They are also most of
//! what a stream costs. So what a connection reads at once ([`CappedStream`]) and what it has not yet written of a body
//! ([`PacedBody`]) depend on how many connections there are now, not on how many there were when it was opened.

mod budget;
mod capped;
mod paced;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

pub use self::budget::{Budget, Share};
pub use self::capped::CappedStream;
pub use self::paced::PacedBody;

/// Bytes per direction of each connection while there are no more than so many. The largest is where more stopped paying
/// off, the smallest where system calls begin to cost more than what they move.
const ALLOWANCES: [(usize, usize); 6] = [
    (8, MAX_ALLOWANCE),
    (16, 512 << 10),
    (64, 128 << 10),
    (128, 64 << 10),
    (256, 32 << 10),
    (usize::MAX, 16 << 10),
];

/// The most that a connection is ever allowed, bytes.
pub const MAX_ALLOWANCE: usize = 1 << 20;

/// The most that is read at once, bytes: more than a core's own cache would be read, opened and written in turn.
const MAX_READ: usize = 512 << 10;

fn allowance_for(connections: usize) -> usize {
    let fitting = ALLOWANCES.iter().find(|(most, _)| connections <= *most);
    fitting.map_or(MAX_ALLOWANCE, |(_, bytes)| *bytes)
}

/// A count of those that come and go.
#[derive(Debug, Clone, Default)]
pub struct ConnectionCounter(Arc<AtomicUsize>);

/// One of a connections, until it is dropped.
#[derive(Debug)]
pub struct ConnectionGuard(ConnectionCounter);

impl ConnectionCounter {
    /// Counts one more.
    pub fn enter(&self) -> ConnectionGuard {
        self.0.fetch_add(1, Ordering::Relaxed);
        ConnectionGuard(self.clone())
    }

    /// Bytes that each may buffer in one direction, as many as there are now.
    pub fn allowance(&self) -> usize {
        allowance_for(self.0.load(Ordering::Relaxed))
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_there_are_the_less_each_may_buffer() {
        let sizes: Vec<_> = (0..1_000).map(allowance_for).collect();
        assert!(sizes.is_sorted_by(|one, next| one >= next));
        for connections in 1..1_000 {
            let all = connections * allowance_for(connections);
            assert!(all <= (8 << 20).max(connections * (16 << 10)), "{connections} connections buffer {all}");
        }
    }

    #[test]
    fn a_crowd_counts_who_is_there() {
        let connections = ConnectionCounter::default();
        let members: Vec<_> = (0..9).map(|_| connections.enter()).collect();
        assert_eq!(connections.allowance(), 512 << 10);
        drop(members);
        assert_eq!(connections.allowance(), MAX_ALLOWANCE);
    }
}
