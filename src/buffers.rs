//! Per-connection buffer sizes, which shrink as connections grow, and the global budget for buffered bodies:
//! with large buffers one system call moves a whole chunk and more, but buffers are also most of the cost of
//! a stream.
//!
//! It must not know what is buffered or for whom. It promises that the bytes a connection reads at once
//! ([`CappedStream`]), and those of a body that it has not yet written ([`PacedBody`]), depend on the number
//! of connections now, not when it was opened.

mod budget;
mod capped;
mod paced;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

pub use self::budget::{Budget, Share};
pub use self::capped::CappedStream;
pub use self::paced::PacedBody;

/// Bytes per direction of each connection, for at most that many connections. Above the largest, more gains
/// nothing; below the smallest, system calls cost more than the bytes they move.
const ALLOWANCES: [(usize, usize); 6] = [
    (8, MAX_ALLOWANCE),
    (16, 512 << 10),
    (64, 128 << 10),
    (128, 64 << 10),
    (256, 32 << 10),
    (usize::MAX, 8 << 10),
];

/// Max bytes that a connection is ever allowed.
pub const MAX_ALLOWANCE: usize = 1 << 20;

/// Max bytes read at once: more than a core's own cache would be read, opened and written in turn.
const MAX_READ: usize = 512 << 10;

fn allowance_for(connections: usize) -> usize {
    let fitting = ALLOWANCES.iter().find(|(most, _)| connections <= *most);
    fitting.map_or(MAX_ALLOWANCE, |(_, bytes)| *bytes)
}

/// Counts open connections.
#[derive(Debug, Clone, Default)]
pub struct ConnectionCounter(Arc<AtomicUsize>);

/// Counts as one connection until it is dropped.
#[derive(Debug)]
pub struct ConnectionGuard(ConnectionCounter);

impl ConnectionCounter {
    /// Counts one more connection.
    pub fn enter(&self) -> ConnectionGuard {
        self.0.fetch_add(1, Ordering::Relaxed);
        ConnectionGuard(self.clone())
    }

    /// How many connections are open now.
    pub fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Bytes that each connection may buffer in one direction, with the connections there are now.
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
    fn a_counter_counts_open_connections() {
        let connections = ConnectionCounter::default();
        let members: Vec<_> = (0..9).map(|_| connections.enter()).collect();
        assert_eq!(connections.allowance(), 512 << 10);
        drop(members);
        assert_eq!(connections.allowance(), MAX_ALLOWANCE);
    }
}
