//! A body of which only a bounded number of bytes is in flight.
//!
//! It must not know what the body is. It promises that hyper never holds more frames than the allowance, and
//! that a body that waits is woken when a frame was written.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::ConnectionCounter;

/// Frames below this length are not counted: hyper writes them together with what is around them.
const SMALL: usize = 16 << 10;

/// A body that returns the next frame when the bytes that hyper has not yet written of the frames before are
/// fewer than a connection's allowance.
///
/// hyper requests frames until its own buffer is full, whose size can't be changed once a connection is open.
/// It drops each frame when it has been written, and this body counts by that. A reader that keeps frames
/// receives no more: this body is for hyper.
pub struct PacedBody<B> {
    inner: B,
    connections: ConnectionCounter,
    /// Created with the first frame that counts: most bodies are small.
    in_flight: Option<Arc<InFlight>>,
}

/// The bytes between this body and the connection.
#[derive(Default)]
struct InFlight(Mutex<InFlightState>);

#[derive(Default)]
struct InFlightState {
    bytes: usize,
    waiting: Option<Waker>,
}

impl InFlight {
    fn lock(&self) -> MutexGuard<'_, InFlightState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A frame's bytes until they were written.
struct InFlightBytes {
    bytes: Bytes,
    in_flight: Arc<InFlight>,
}

impl AsRef<[u8]> for InFlightBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for InFlightBytes {
    fn drop(&mut self) {
        let mut in_flight = self.in_flight.lock();
        in_flight.bytes -= self.bytes.len();
        let waiting = in_flight.waiting.take();
        drop(in_flight);
        waiting.into_iter().for_each(Waker::wake);
    }
}

impl<B> PacedBody<B> {
    /// A body that paces `inner` by the allowance of `connections`.
    pub fn new(inner: B, connections: ConnectionCounter) -> Self {
        Self { inner, connections, in_flight: None }
    }

    /// The body itself, for a reader other than hyper.
    pub fn into_inner(self) -> B {
        self.inner
    }

    fn counted(&mut self, bytes: Bytes) -> Bytes {
        if bytes.len() < SMALL {
            return bytes;
        }
        let in_flight = Arc::clone(self.in_flight.get_or_insert_default());
        in_flight.lock().bytes += bytes.len();
        Bytes::from_owner(InFlightBytes { bytes, in_flight })
    }

    /// Whether the frames before have to be written first; `cx` is woken then.
    fn is_full(&self, cx: &mut Context<'_>) -> bool {
        let Some(in_flight) = &self.in_flight else { return false };
        let mut in_flight = in_flight.lock();
        let is_full = in_flight.bytes > 0 && in_flight.bytes >= self.connections.allowance();
        if is_full {
            in_flight.waiting = Some(cx.waker().clone());
        }
        is_full
    }
}

impl<B> Body for PacedBody<B>
where
    B: Body<Data = Bytes> + Unpin,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if self.is_full(cx) {
            return Poll::Pending;
        }
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(|bytes| self.counted(bytes)))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;
    use crate::buffers::MAX_ALLOWANCE;

    /// A body of frames of these lengths.
    struct Frames(Vec<usize>);

    impl Body for Frames {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            Poll::Ready(self.0.pop().map(|length| Ok(Frame::data(vec![1; length].into()))))
        }
    }

    fn next<B: Body<Data = Bytes> + Unpin>(body: &mut PacedBody<B>) -> Option<Bytes> {
        match Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(frame) => frame.and_then(Result::ok).and_then(|frame| frame.into_data().ok()),
            Poll::Pending => None,
        }
    }

    #[test]
    fn with_many_connections_one_frame_waits_for_another() {
        let connections = ConnectionCounter::default();
        let _connections: Vec<_> = (0..200).map(|_| connections.enter()).collect();
        let mut body = PacedBody::new(Frames(vec![65_536; 3]), connections);
        let first = next(&mut body).expect("nothing is in flight");
        assert!(next(&mut body).is_none());
        drop(first);
        assert!(next(&mut body).is_some(), "what was written does not count");
    }

    #[test]
    fn with_few_connections_more_may_be_in_flight() {
        let mut body = PacedBody::new(Frames(vec![65_536; 40]), ConnectionCounter::default());
        let mut held = Vec::new();
        held.extend(std::iter::from_fn(|| next(&mut body)));
        assert_eq!(held.len(), MAX_ALLOWANCE / 65_536);
    }

    #[tokio::test]
    async fn a_waiting_body_is_woken() {
        let connections = ConnectionCounter::default();
        let _connections: Vec<_> = (0..200).map(|_| connections.enter()).collect();
        let mut body = PacedBody::new(Frames(vec![65_536; 2]), connections);
        let first = body.frame().await.unwrap().unwrap();
        let waiting = tokio::spawn(async move { body.frame().await.is_some() });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(first);
        assert!(waiting.await.unwrap());
    }

    #[test]
    fn small_frames_and_the_end_pass() {
        let connections = ConnectionCounter::default();
        let _connections: Vec<_> = (0..200).map(|_| connections.enter()).collect();
        let mut body = PacedBody::new(Frames(vec![1000; 5]), connections);
        let held: Vec<_> = std::iter::from_fn(|| next(&mut body)).collect();
        assert_eq!(held.len(), 5);
    }
}
