//! A circuit breaker for one holder of keys: after failures, the holder is passed over for a while if another
//! one can respond in its place. It must not know what a call is for. It promises that a holder is tried
//! again within [`MAX_PAUSE`], by one request at a time.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a holder is passed over after the first failure in a row, doubled with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// The longest pause: so long after its return at most, a holder is used again.
const MAX_PAUSE: Duration = Duration::from_secs(4);

/// Whether a holder should be called now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Availability {
    /// Its last call succeeded, or it is time to try it again, which this caller does.
    Present,
    /// It failed a moment ago: it is called only if no other holder can respond.
    Away,
}

/// The failures of one holder in a row.
#[derive(Debug, Default)]
pub(super) struct Health(Mutex<Option<Outage>>);

#[derive(Debug, Clone, Copy)]
struct Outage {
    pause: Duration,
    /// The time of the next attempt.
    retry_at: Instant,
    /// Whether an attempt was made after the last failure, and did not end yet.
    is_tried: bool,
}

impl Health {
    /// Whether to call the holder at the time `now`. Of the callers after a pause, the first is to call it.
    pub(super) fn availability(&self, now: Instant) -> Availability {
        match &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(outage) if now < outage.retry_at => Availability::Away,
            Some(outage) => {
                (outage.retry_at, outage.is_tried) = (now + outage.pause, true);
                Availability::Present
            }
            None => Availability::Present,
        }
    }

    /// Records a response, whatever it said.
    pub(super) fn responded(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Records that the holder did not respond, or not in time.
    pub(super) fn failed(&self, now: Instant) {
        let mut outage = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let pause = match *outage {
            // Calls that began together fail together, which is one failure.
            Some(earlier) if now < earlier.retry_at && !earlier.is_tried => return,
            Some(earlier) => (2 * earlier.pause).min(MAX_PAUSE),
            None => FIRST_PAUSE,
        };
        *outage = Some(Outage { pause, retry_at: now + pause, is_tried: false });
    }
}

#[cfg(test)]
mod tests {
    use super::Availability::{Away, Present};
    use super::*;

    #[test]
    fn a_holder_that_fails_is_passed_over_and_tried_by_one_caller_at_a_time() {
        let (health, start) = (Health::default(), Instant::now());
        assert_eq!(health.availability(start), Present);
        health.failed(start);
        health.failed(start);
        assert_eq!(health.availability(start), Away);
        let later = start + FIRST_PAUSE;
        assert_eq!([health.availability(later), health.availability(later)], [Present, Away]);
        health.responded();
        assert_eq!([health.availability(later), health.availability(later)], [Present, Present]);
    }

    #[test]
    fn pauses_grow_to_a_few_seconds() {
        let (health, mut now) = (Health::default(), Instant::now());
        let mut pauses = Vec::new();
        for _ in 0..7 {
            health.failed(now);
            let failed_at = now;
            while health.availability(now) == Away {
                now += Duration::from_millis(50);
            }
            pauses.push((now - failed_at).as_millis());
        }
        assert_eq!(pauses, [250, 500, 1_000, 2_000, 4_000, 4_000, 4_000]);
    }
}
