//! Counts the bytes of a body and reports once how it ended.
//!
//! It must not change the body. It promises exactly one report: complete, failed, or dropped by the peer.

use std::fmt::Display;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// How a body ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BodyEnd {
    /// Every byte was read.
    Complete,
    /// The body failed, with this error; the connection is cut.
    Failed(String),
    /// The body was dropped before its end: the peer closed the connection.
    Dropped,
}

/// A body that calls `report` exactly once, with the data bytes read from it and how it ended.
///
/// A failure is returned one poll late: the writer of the body flushes what it has when no more is ready, so
/// the reader receives the head and the bytes before the cut, rather than nothing.
pub struct ObservedBody<B: Body, F: FnOnce(u64, BodyEnd)> {
    inner: B,
    bytes: u64,
    report: Option<F>,
    failure: Option<B::Error>,
}

impl<B: Body, F: FnOnce(u64, BodyEnd)> ObservedBody<B, F> {
    /// Observes `inner`.
    pub fn new(inner: B, report: F) -> Self {
        Self { inner, bytes: 0, report: Some(report), failure: None }
    }

    fn end(&mut self, end: BodyEnd) {
        if let Some(report) = self.report.take() {
            report(self.bytes, end);
        }
    }
}

impl<B, F> Body for ObservedBody<B, F>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Display + Unpin,
    F: FnOnce(u64, BodyEnd) + Unpin,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if let Some(failure) = self.failure.take() {
            return Poll::Ready(Some(Err(failure)));
        }
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(context));
        match frame {
            Some(Ok(ref data)) => {
                self.bytes += data.data_ref().map_or(0, Bytes::len) as u64;
                if self.inner.is_end_stream() {
                    self.end(BodyEnd::Complete);
                }
            }
            Some(Err(failure)) => {
                self.end(BodyEnd::Failed(failure.to_string()));
                self.failure = Some(failure);
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            None => self.end(BodyEnd::Complete),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.failure.is_none() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<B: Body, F: FnOnce(u64, BodyEnd)> Drop for ObservedBody<B, F> {
    fn drop(&mut self) {
        // A body that is empty from the start is never polled, but complete.
        let end = if self.inner.is_end_stream() { BodyEnd::Complete } else { BodyEnd::Dropped };
        self.end(end);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use http_body_util::{BodyExt, Full};

    use super::*;
    use crate::body::test_support::frames;

    type Seen = Arc<Mutex<Vec<(u64, BodyEnd)>>>;

    fn recorder() -> (Seen, impl FnOnce(u64, BodyEnd) + Unpin) {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let writer = Arc::clone(&seen);
        (seen, move |bytes, end| writer.lock().unwrap().push((bytes, end)))
    }

    #[tokio::test]
    async fn each_way_to_end_is_reported_once() {
        let (seen, report) = recorder();
        ObservedBody::new(Full::new(Bytes::from_static(b"abc")), report).collect().await.unwrap();
        assert_eq!(*seen.lock().unwrap(), [(3, BodyEnd::Complete)]);

        let (seen, report) = recorder();
        let broken = frames(b"abc", &[]).then_an_error();
        ObservedBody::new(broken, report).collect().await.unwrap_err();
        assert_eq!(*seen.lock().unwrap(), [(3, BodyEnd::Failed("verdict: refused".to_owned()))]);

        let (seen, report) = recorder();
        let mut body = ObservedBody::new(frames(b"abcdef", &[2]), report);
        body.frame().await.unwrap().unwrap();
        drop(body);
        assert_eq!(*seen.lock().unwrap(), [(2, BodyEnd::Dropped)]);
    }

    /// During the pause, the bytes before the failure are written out.
    #[tokio::test]
    async fn a_failure_comes_after_a_pause() {
        let mut body = ObservedBody::new(frames(b"abc", &[]).then_an_error(), |_, _| ());
        body.frame().await.unwrap().unwrap();
        let (first, second) = std::future::poll_fn(|context| {
            let mut poll = || Pin::new(&mut body).poll_frame(context);
            Poll::Ready((poll().is_pending(), matches!(poll(), Poll::Ready(Some(Err(_))))))
        })
        .await;
        assert_eq!((first, second), (true, true));
        assert!(body.frame().await.is_none());
    }
}
