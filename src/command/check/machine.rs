//! What of this machine keeps requests from being served: its file descriptors, its clock.

use std::time::{Duration, SystemTime};

use super::Finding;

/// Each connection of a client takes a file descriptor, and a request under way one more, to the storage.
const DESCRIPTORS_PER_CONNECTION: u64 = 2;

/// A clock this far off is to be corrected.
const NOTABLE_SKEW: Duration = Duration::from_secs(60);

/// S3 refuses requests that are signed so long before or after its own time.
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html> (RequestTimeTooSkewed)
const MAX_SKEW: Duration = Duration::from_secs(15 * 60);

/// Checks whether the hard limit of open files allows `max_connections` connections.
pub(super) fn descriptors(max_connections: usize) -> Finding {
    match std::fs::read_to_string("/proc/self/limits").ok().as_deref().and_then(hard_limit) {
        Some(limit) => judge_descriptors(limit, max_connections as u64),
        None => Finding::good("this system does not tell its limit"),
    }
}

/// `Max open files            1024                 20000                files`; `None` also for `unlimited`.
fn hard_limit(limits: &str) -> Option<u64> {
    let line = limits.lines().find(|line| line.starts_with("Max open files"))?;
    line.split_whitespace().rev().nth(1)?.parse().ok()
}

fn judge_descriptors(limit: u64, max_connections: u64) -> Finding {
    let needed = max_connections.saturating_mul(DESCRIPTORS_PER_CONNECTION);
    if limit >= needed {
        return Finding::good(format!("{limit} allow listen.max_connections = {max_connections}"));
    }
    Finding::warning(format!(
        "{limit} are too few for listen.max_connections = {max_connections}, which may take {needed}: lower that, or \
         raise the limit (ulimit -Hn, LimitNOFILE=)"
    ))
}

/// How far this machine's clock is from the storage's. An answer's Date has whole seconds.
pub(super) fn clock(ours: SystemTime, theirs: SystemTime) -> Finding {
    let (skew, side) = match ours.duration_since(theirs) {
        Ok(ahead) => (ahead, "ahead of"),
        Err(behind) => (behind.duration(), "behind"),
    };
    let told = format!("{} s {side} the storage's", skew.as_secs());
    if skew >= MAX_SKEW {
        Finding::failed(format!(
            "{told}: S3 refuses requests from 15 minutes on; correct this machine's clock"
        ))
    } else if skew >= NOTABLE_SKEW {
        Finding::warning(format!("{told}: correct this machine's clock"))
    } else {
        Finding::good(told)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Kind;
    use super::*;

    #[test]
    fn the_hard_limit_is_read_and_judged() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max open files            1024                 20000                files     \n";
        assert_eq!(hard_limit(limits), Some(20_000));
        assert_eq!(hard_limit(&limits.replace("20000", "unlimited")), None);
        assert_eq!(hard_limit(""), None);
        assert_eq!(judge_descriptors(20_000, 10_000).kind, Kind::Good);
        let found = judge_descriptors(20_000, 900_000);
        assert_eq!(found.kind, Kind::Warning);
        assert!(found.told.contains("20000 ") && found.told.contains("900000"), "{}", found.told);
    }

    #[test]
    fn a_clock_that_s3_would_refuse_fails_the_check() {
        let theirs = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let cases = [(0, Kind::Good), (59, Kind::Good), (60, Kind::Warning), (900, Kind::Failed)];
        for (seconds, kind) in cases {
            let skew = Duration::from_secs(seconds);
            for ours in [theirs + skew, theirs - skew] {
                assert_eq!(clock(ours, theirs).kind, kind, "{seconds}");
            }
        }
        assert!(clock(theirs - Duration::from_secs(70), theirs).told.starts_with("70 s behind"));
    }
}
