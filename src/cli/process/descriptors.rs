//! The number of file descriptors that client connections may need, compared with the system's limit.

use rustix::process::{Resource, getrlimit};

/// Descriptors of each connection: its own, and one to the storage.
const PER_CONNECTION: u64 = 2;
/// Descriptors of listeners, files of the embedded store and connections to the key service.
const OTHERS: u64 = 256;

/// The remedy for too few descriptors.
pub(in crate::cli) const REMEDY: &str = "lower it, or raise the limit (ulimit -Hn, LimitNOFILE= of systemd)";

/// A limit below what `listen.max_connections` may need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{limit} are too few for listen.max_connections = {max_connections}, which may need {needed}: {REMEDY}"
)]
pub(in crate::cli) struct TooFewDescriptors {
    pub(in crate::cli) limit: u64,
    pub(in crate::cli) needed: u64,
    max_connections: usize,
}

impl TooFewDescriptors {
    /// `None` if the limit suffices, or if there is no limit.
    pub(in crate::cli) fn within(limit: Option<u64>, max_connections: usize) -> Option<Self> {
        let needed = needed(max_connections);
        let limit = limit.filter(|limit| *limit < needed)?;
        Some(Self { limit, needed, max_connections })
    }
}

/// The highest limit that the process may set for itself; `None` for no limit.
pub(in crate::cli) fn hard_limit() -> Option<u64> {
    getrlimit(Resource::Nofile).maximum
}

fn needed(max_connections: usize) -> u64 {
    (max_connections as u64).saturating_mul(PER_CONNECTION).saturating_add(OTHERS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_connection_may_need_two_descriptors() {
        assert_eq!(needed(10_000), 20_256);
        assert_eq!(needed(usize::MAX), u64::MAX);
    }

    #[test]
    fn a_limit_below_what_is_needed_is_too_low() {
        assert_eq!(TooFewDescriptors::within(Some(20_256), 10_000), None);
        assert_eq!(TooFewDescriptors::within(None, usize::MAX), None);
        let found = TooFewDescriptors::within(Some(20_255), 10_000).unwrap();
        let text = found.to_string();
        assert!(text.contains("20255 ") && text.contains("20256") && text.contains("10000,"), "{text}");
    }
}
