//! The time limits of an exchange with the storage, up to the head of the response.
//! They must not know what a request means, nor whether it is repeated.
//! A client that is slow to send a body is never mistaken for a storage that is slow to read.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use super::error::{Phase, UpstreamError};
use super::outgoing::{Stage, Upload};
use super::settings::Timeouts;
use crate::clock;
use crate::timer::{self, Deadline};

/// Waits for at most `limit`.
pub(super) fn within<T>(
    mut exchange: Pin<&mut impl Future<Output = Result<T, UpstreamError>>>,
    limit: Duration,
) -> impl Future<Output = Result<T, UpstreamError>> {
    let mut deadline = Deadline::after(limit);
    poll_fn(move |cx| match exchange.as_mut().poll(cx) {
        Poll::Pending => {
            deadline.poll(cx).map(|()| Err(UpstreamError::Timeout { phase: Phase::Head, limit }))
        }
        outcome => outcome,
    })
}

/// Waits while the upload makes progress, or waits for its source; not for a storage that neither reads nor
/// responds.
pub(super) async fn supervise<T>(
    mut exchange: Pin<&mut impl Future<Output = Result<T, UpstreamError>>>,
    upload: &Upload,
    timeouts: Timeouts,
) -> Result<T, UpstreamError> {
    let look_again = timeouts.idle.min(timeouts.head);
    loop {
        let now = clock::now();
        let (since, limit, phase) = match upload.stage() {
            Stage::Unbegun(since) => (since, timeouts.connect + timeouts.head, Phase::Send),
            Stage::AwaitingStore(since) => (since, timeouts.idle, Phase::Send),
            Stage::Sent(since) => (since, timeouts.head, Phase::Head),
            Stage::AwaitingSource => (now, look_again, Phase::Send),
        };
        if since + limit <= now {
            return Err(UpstreamError::Timeout { phase, limit });
        }
        if let Ok(outcome) = timer::timeout_at(since + limit, exchange.as_mut()).await {
            return outcome;
        }
    }
}
