//! What happens on a connection, for the decision to free its buffers.
//! It must not know HTTP.
//! It promises that a connection is idle only if no request is in flight, no body is left unread or
//! unwritten, and no write waits for the client.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http_body::{Body, Frame, SizeHint};

use crate::clock;
use crate::wakes;

/// The activity of one connection. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Activity(Arc<State>);

#[derive(Debug, Default)]
struct State {
    in_flight: AtomicUsize,
    /// The number of requests and bodies that were ever in flight, modulo 2^64.
    entered: AtomicUsize,
    /// The number of reads and writes that moved bytes, modulo 2^64.
    moves: AtomicUsize,
    is_write_waiting: AtomicBool,
    /// Whether the body of the latest request was not read to its end.
    has_unread_body: AtomicBool,
    /// When the last of the requests and bodies ended, in microseconds since `opened`.
    idle_since: AtomicU64,
    opened: Opened,
}

/// The time at which a record of activity was begun.
#[derive(Debug)]
struct Opened(Instant);

impl Default for Opened {
    fn default() -> Self {
        Self(clock::now())
    }
}

impl Activity {
    /// Records that bytes were read or written.
    pub(super) fn moved(&self) {
        self.0.moves.fetch_add(1, Ordering::Relaxed);
    }

    /// Records whether a write waits for the client.
    pub(super) fn set_write_waiting(&self, is_waiting: bool) {
        self.0.is_write_waiting.store(is_waiting, Ordering::Relaxed);
    }

    /// A value that changes with every move of bytes.
    pub(super) fn moves(&self) -> usize {
        self.0.moves.load(Ordering::Relaxed)
    }

    /// Whether the connection waits for its next request, or for the rest of a head.
    pub(super) fn is_idle(&self) -> bool {
        self.0.in_flight.load(Ordering::Relaxed) == 0 && !self.0.is_write_waiting.load(Ordering::Relaxed)
    }

    /// Whether the body of the latest request was not read to its end, so that what arrives belongs to it.
    pub(super) fn has_unread_body(&self) -> bool {
        self.0.has_unread_body.load(Ordering::Relaxed)
    }

    pub(super) fn set_unread_body(&self, is_unread: bool) {
        self.0.has_unread_body.store(is_unread, Ordering::Relaxed);
    }

    /// When the last of the requests and bodies ended.
    pub(super) fn idle_since(&self) -> Instant {
        self.0.opened.0 + Duration::from_micros(self.0.idle_since.load(Ordering::Relaxed))
    }

    /// A value that changes with every request.
    pub(super) fn entered(&self) -> usize {
        self.0.entered.load(Ordering::Relaxed)
    }

    /// Counts a request, or a body, as in flight.
    pub(super) fn enter(&self) -> InFlight {
        self.0.entered.fetch_add(1, Ordering::Relaxed);
        self.0.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(self.clone())
    }
}

/// Counts as in flight until it is dropped.
#[derive(Debug)]
pub(super) struct InFlight(Activity);

impl Drop for InFlight {
    fn drop(&mut self) {
        let state = &*self.0.0;
        if state.in_flight.fetch_sub(1, Ordering::Relaxed) == 1 {
            let idle_since = u64::try_from(clock::since(state.opened.0).as_micros()).unwrap_or(u64::MAX);
            state.idle_since.store(idle_since, Ordering::Relaxed);
        }
    }
}

/// A body that counts as in flight until it is dropped.
#[derive(Debug)]
pub struct TrackedBody<B> {
    body: B,
    in_flight: InFlight,
    is_request: bool,
}

impl<B: Body> TrackedBody<B> {
    /// The body of a request that begins.
    pub(super) fn request(body: B, in_flight: InFlight) -> Self {
        in_flight.0.set_unread_body(!body.is_end_stream());
        Self { body, in_flight, is_request: true }
    }

    /// The body of a response.
    pub(super) fn response(body: B, in_flight: InFlight) -> Self {
        Self { body, in_flight, is_request: false }
    }
}

impl<B: Body + Unpin> Body for TrackedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        if !self.is_request {
            return Pin::new(&mut self.body).poll_frame(context);
        }
        let (frame, held) = wakes::hold(|| Pin::new(&mut self.body).poll_frame(context));
        // The connection's task reads what follows of the body; after its end it looks for the client's.
        if matches!(frame, Poll::Ready(None)) || self.body.is_end_stream() {
            self.in_flight.0.set_unread_body(false);
            held.forget_own(context);
        } else {
            held.pass_on();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::{BodyExt, Empty, Full};

    use super::*;

    #[test]
    fn a_connection_is_idle_when_nothing_is_in_flight_or_waiting() {
        let activity = Activity::default();
        assert!(activity.is_idle());
        let requests = (activity.enter(), activity.enter());
        drop(requests.0);
        assert!(!activity.is_idle());
        drop(requests.1);
        activity.set_write_waiting(true);
        assert!(!activity.is_idle());
        activity.set_write_waiting(false);
        assert!(activity.is_idle());
        let before = activity.moves();
        activity.moved();
        assert_ne!(activity.moves(), before);
    }

    #[tokio::test]
    async fn the_body_of_the_latest_request_is_unread_until_its_end() {
        let activity = Activity::default();
        let request =
            |body: &'static [u8]| TrackedBody::request(Full::new(Bytes::from_static(body)), activity.enter());
        let mut read = request(b"body");
        assert!(activity.has_unread_body());
        read.frame().await;
        assert!(!activity.has_unread_body());
        drop(request(b"refused"));
        assert!(activity.has_unread_body(), "what arrives is still that body");
        let _without = TrackedBody::request(Empty::<Bytes>::new(), activity.enter());
        assert!(!activity.has_unread_body());
        let _response = TrackedBody::response(Full::new(Bytes::from_static(b"response")), activity.enter());
        assert!(!activity.has_unread_body());
    }
}
