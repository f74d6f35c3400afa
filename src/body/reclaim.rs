//! Returns the unread rest of a request body, so that a client that is still sending receives the response
//! that refuses it: closing a connection with unread bytes makes the kernel reset it, and the response is
//! lost.
//!
//! It must not know why a request was refused. It promises that the rest is read within bounds of size and
//! time, while the response is sent.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;

use crate::timer;

/// Max bytes drained from a refused request body: at 1 Gbit/s, the response has long arrived by then.
const MAX_DRAINED: u64 = 32 * 1024 * 1024;
/// Max duration for which a refused request body is drained.
const MAX_DRAINING: Duration = Duration::from_secs(5);

type Slot<B> = Arc<Mutex<Option<Unread<B>>>>;

struct Unread<B> {
    body: B,
    was_polled: bool,
}

/// A body that returns itself to its [`Leftover`] when it is dropped before its end.
pub struct ReclaimableBody<B: Body + Unpin> {
    body: Option<B>,
    was_polled: bool,
    slot: Slot<B>,
}

/// The place of the unread rest of a body.
pub struct Leftover<B>(Slot<B>);

impl<B: Body + Unpin> ReclaimableBody<B> {
    /// Wraps `body`.
    pub fn new(body: B) -> (Self, Leftover<B>) {
        let slot = Arc::new(Mutex::new(None));
        (Self { body: Some(body), was_polled: false, slot: Arc::clone(&slot) }, Leftover(slot))
    }
}

impl<B> Leftover<B>
where
    B: Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Send,
{
    /// Reads and drops the unread rest, in the background and within bounds. `expects_continue`: the client
    /// sends nothing before it receives 100 Continue, so an unpolled body is left alone; the result is true
    /// then: the connection has to be closed.
    pub fn drain(self, expects_continue: bool) -> bool {
        let Some(unread) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() else { return false };
        if expects_continue && !unread.was_polled {
            return true;
        }
        tokio::spawn(async move {
            let mut body = unread.body;
            let mut drained = 0;
            let reading = async {
                while let Some(Ok(frame)) = body.frame().await {
                    drained += frame.data_ref().map_or(0, Bytes::len) as u64;
                    if drained > MAX_DRAINED {
                        break;
                    }
                }
            };
            // Past the bounds the body is dropped, and the connection with it.
            let _ = timer::timeout(MAX_DRAINING, reading).await;
        });
        false
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for ReclaimableBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        self.was_polled = true;
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(body).poll_frame(context));
        if !matches!(frame, Some(Ok(_))) {
            self.body = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl<B: Body + Unpin> Drop for ReclaimableBody<B> {
    fn drop(&mut self) {
        if let Some(body) = self.body.take().filter(|body| !body.is_end_stream()) {
            let unread = Unread { body, was_polled: self.was_polled };
            *self.slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(unread);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::test_support::frames;

    #[tokio::test]
    async fn the_unread_rest_comes_back_and_a_body_that_was_read_does_not() {
        let (body, leftover) = ReclaimableBody::new(frames(b"abc", &[1]));
        body.collect().await.unwrap();
        assert!(leftover.0.lock().unwrap().is_none());

        let (mut body, leftover) = ReclaimableBody::new(frames(b"abc", &[1]));
        body.frame().await.unwrap().unwrap();
        drop(body);
        let unread = leftover.0.lock().unwrap().take().unwrap();
        assert!(unread.was_polled);
        assert_eq!(unread.body.collect().await.unwrap().to_bytes(), "bc");
    }
}
