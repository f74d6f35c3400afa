//! How many requests are under way, and that they are not too many.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::handler::slow_down;
use crate::s3::S3Error;

/// Lets in so many requests at once. Nobody waits here: whoever is refused tries again later, as S3's clients do, while a
/// queue would hold connections and answer when nobody listens any more.
#[derive(Debug, Clone)]
pub(super) struct Admission(Arc<Semaphore>);

/// A request that was let in, until its answer has ended.
#[derive(Debug)]
pub(super) struct Admitted(#[expect(dead_code, reason = "it is held")] OwnedSemaphorePermit);

impl Admission {
    pub(super) fn new(max_requests: usize) -> Self {
        Self(Arc::new(Semaphore::new(max_requests)))
    }

    /// # Errors
    /// `SlowDown` when there are too many, or too many connections already.
    pub(super) fn admit(&self, is_surplus: bool) -> Result<Admitted, S3Error> {
        match Arc::clone(&self.0).try_acquire_owned() {
            Ok(permit) if !is_surplus => {
                metrics::gauge!("s3veil_requests_under_way").increment(1.0);
                Ok(Admitted(permit))
            }
            Ok(_) | Err(_) => Err(slow_down()),
        }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        metrics::gauge!("s3veil_requests_under_way").decrement(1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::ErrorCode;

    #[test]
    fn there_is_room_again_when_a_request_has_ended() {
        let admission = Admission::new(2);
        let admitted = [admission.admit(false).unwrap(), admission.admit(false).unwrap()];
        assert_eq!(admission.admit(false).unwrap_err().code, ErrorCode::SlowDown);
        drop(admitted);
        admission.admit(false).unwrap();
        assert_eq!(admission.admit(true).unwrap_err().code, ErrorCode::SlowDown);
    }
}
