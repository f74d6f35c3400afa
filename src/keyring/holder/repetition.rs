//! How calls of a service are repeated after throttling or an outage, for the providers without an SDK. It
//! must not know what a call is. It promises limits that a client of S3 can wait for.

use std::time::Duration;

use crate::envelope::fill_random;

/// For all attempts together, logins included: S3 clients wait a minute for the head of a response, and retry
/// a 503 themselves.
pub(super) const OPERATION_TIMEOUT: Duration = Duration::from_secs(10);
/// The first attempt and three retries after throttling or an outage: the load on an overloaded service is at
/// most quadrupled.
pub(super) const MAX_ATTEMPTS: u32 = 4;
/// The longest backoff before the second attempt, doubled before each further one.
const INITIAL_BACKOFF: Duration = Duration::from_millis(100);

/// The backoff after the attempt of this number, from 1: random, so that many processes do not repeat their
/// calls in step.
pub(super) fn backoff(attempt: u32) -> Duration {
    random_part(INITIAL_BACKOFF * 2_u32.pow(attempt - 1))
}

/// A random duration of at most `longest`.
pub(super) fn random_part(longest: Duration) -> Duration {
    let mut part = [0; 2];
    fill_random(&mut part);
    longest * u32::from(u16::from_be_bytes(part)) / u32::from(u16::MAX)
}
