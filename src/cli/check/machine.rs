//! Checks of this machine: file descriptors and clock.

use std::time::{Duration, SystemTime};

use super::super::process::descriptors::TooFewDescriptors;
use super::report::Finding;

/// Minimum clock difference for a warning.
const MIN_NOTABLE_SKEW: Duration = Duration::from_secs(60);

/// S3 refuses requests that are signed this long before or after its own time.
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html> (RequestTimeTooSkewed)
const MAX_SKEW: Duration = Duration::from_secs(15 * 60);

/// Checks whether `limit` open files allow `max_connections` connections.
pub(super) fn descriptors(limit: Option<u64>, max_connections: usize) -> Finding {
    match (TooFewDescriptors::within(limit, max_connections), limit) {
        (Some(too_few), _) => Finding::warning(too_few.to_string()),
        (None, Some(limit)) => {
            Finding::good(format!("{limit} allow listen.max_connections = {max_connections}"))
        }
        (None, None) => Finding::good("this system sets no limit"),
    }
}

/// Compares this machine's clock with the storage's. The `Date` of a response has whole seconds.
pub(crate) fn clock(ours: SystemTime, theirs: SystemTime) -> Finding {
    let (skew, side) = match ours.duration_since(theirs) {
        Ok(ahead) => (ahead, "ahead of"),
        Err(behind) => (behind.duration(), "behind"),
    };
    let text = format!("{} s {side} the storage's", skew.as_secs());
    if skew >= MAX_SKEW {
        let why = "S3 refuses requests from 15 minutes on; correct this machine's clock";
        Finding::failed(format!("{text}: {why}"))
    } else if skew >= MIN_NOTABLE_SKEW {
        Finding::warning(format!("{text}: correct this machine's clock"))
    } else {
        Finding::good(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::check::report::Kind;

    #[test]
    fn too_few_descriptors_are_a_warning() {
        assert_eq!(descriptors(Some(20_256), 10_000).kind, Kind::Good);
        assert_eq!(descriptors(None, 900_000).kind, Kind::Good);
        let found = descriptors(Some(20_000), 900_000);
        assert_eq!(found.kind, Kind::Warning);
        assert!(found.text.contains("20000 ") && found.text.contains("900000"), "{}", found.text);
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
        assert!(clock(theirs - Duration::from_secs(70), theirs).text.starts_with("70 s behind"));
    }
}
