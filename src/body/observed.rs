//! Counts the bytes of a body and reports once how it ended.
//!
//! It must not change the body. It promises exactly one report: complete, failed, or dropped by the peer.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::{BoxError, OpenError};

/// How a body ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BodyEnd {
    /// Every byte was read.
    Complete,
    /// The body failed; the connection is cut.
    Failed {
        /// The error.
        cause: String,
        /// Whether what the storage sent failed authentication.
        is_integrity_failure: bool,
    },
    /// The body was dropped before its end: the peer closed the connection.
    Dropped,
}

/// A body that calls `report` exactly once, with the data bytes read from it and how it ended.
///
/// The inner body is dropped before the report, so that the report of a response comes after the end of the
/// upstream request that it was made of.
///
/// A failure is returned one poll late: the writer of the body flushes what it has when no more is ready, so
/// the reader receives the head and the bytes before the cut, rather than nothing.
pub struct ObservedBody<B: Body<Error = BoxError>, F: FnOnce(u64, BodyEnd)> {
    /// `None` once the body has ended.
    inner: Option<B>,
    bytes: u64,
    report: Option<F>,
    failure: Option<BoxError>,
}

impl<B: Body<Error = BoxError>, F: FnOnce(u64, BodyEnd)> ObservedBody<B, F> {
    /// Observes `inner`.
    pub fn new(inner: B, report: F) -> Self {
        Self { inner: Some(inner), bytes: 0, report: Some(report), failure: None }
    }

    fn end(&mut self, end: BodyEnd) {
        self.inner = None;
        if let Some(report) = self.report.take() {
            report(self.bytes, end);
        }
    }
}

impl<B, F> Body for ObservedBody<B, F>
where
    B: Body<Data = Bytes, Error = BoxError> + Unpin,
    F: FnOnce(u64, BodyEnd) + Unpin,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(failure) = self.failure.take() {
            return Poll::Ready(Some(Err(failure)));
        }
        let Some(inner) = &mut self.inner else {
            return Poll::Ready(None);
        };
        let frame = ready!(Pin::new(&mut *inner).poll_frame(context));
        match frame {
            Some(Ok(ref data)) => {
                let is_last = inner.is_end_stream();
                self.bytes += data.data_ref().map_or(0, Bytes::len) as u64;
                if is_last {
                    self.end(BodyEnd::Complete);
                }
            }
            Some(Err(failure)) => {
                let opening = failure.downcast_ref::<OpenError>();
                let is_integrity_failure = opening.is_some_and(OpenError::is_integrity_failure);
                self.end(BodyEnd::Failed { cause: failure.to_string(), is_integrity_failure });
                self.failure = Some(failure);
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            None => self.end(BodyEnd::Complete),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.failure.is_none() && self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.inner, &self.failure) {
            (Some(inner), _) => inner.size_hint(),
            (None, Some(_)) => SizeHint::default(),
            (None, None) => SizeHint::with_exact(0),
        }
    }
}

impl<B: Body<Error = BoxError>, F: FnOnce(u64, BodyEnd)> Drop for ObservedBody<B, F> {
    fn drop(&mut self) {
        // A body that is empty from the start is never polled, but complete.
        let is_complete = self.inner.as_ref().is_none_or(Body::is_end_stream);
        let end = if is_complete { BodyEnd::Complete } else { BodyEnd::Dropped };
        self.end(end);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use http_body_util::{BodyExt, Full};

    use super::*;
    use crate::body::boxed;
    use crate::body::test_support::frames;
    use crate::envelope::native::FormatError;

    fn failed(cause: &str, is_integrity_failure: bool) -> BodyEnd {
        BodyEnd::Failed { cause: cause.to_owned(), is_integrity_failure }
    }

    type Seen = Arc<Mutex<Vec<(u64, BodyEnd)>>>;

    fn recorder() -> (Seen, impl FnOnce(u64, BodyEnd) + Unpin) {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let writer = Arc::clone(&seen);
        (seen, move |bytes, end| writer.lock().unwrap().push((bytes, end)))
    }

    #[tokio::test]
    async fn each_way_to_end_is_reported_once() {
        let (seen, report) = recorder();
        ObservedBody::new(boxed(Full::new(Bytes::from_static(b"abc"))), report).collect().await.unwrap();
        assert_eq!(*seen.lock().unwrap(), [(3, BodyEnd::Complete)]);

        let (seen, report) = recorder();
        let broken = frames(b"abc", &[]).then_an_error();
        ObservedBody::new(boxed(broken), report).collect().await.unwrap_err();
        assert_eq!(*seen.lock().unwrap(), [(3, failed("verdict: refused", false))]);

        let (seen, report) = recorder();
        let altered =
            frames(b"abc", &[]).then_an_error().map_err(|_| OpenError::Format(FormatError::ChunkTag));
        ObservedBody::new(boxed(altered), report).collect().await.unwrap_err();
        let cause = FormatError::ChunkTag.to_string();
        assert_eq!(*seen.lock().unwrap(), [(3, failed(&cause, true))]);

        let (seen, report) = recorder();
        let mut body = ObservedBody::new(boxed(frames(b"abcdef", &[2])), report);
        body.frame().await.unwrap().unwrap();
        drop(body);
        assert_eq!(*seen.lock().unwrap(), [(2, BodyEnd::Dropped)]);
    }

    /// A body that writes down when it is dropped.
    struct DropObserver<B>(B, Arc<Mutex<Vec<&'static str>>>);

    impl<B: Body<Data = Bytes, Error = BoxError> + Unpin> Body for DropObserver<B> {
        type Data = Bytes;
        type Error = BoxError;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
            Pin::new(&mut self.0).poll_frame(context)
        }

        fn is_end_stream(&self) -> bool {
            self.0.is_end_stream()
        }
    }

    impl<B> Drop for DropObserver<B> {
        fn drop(&mut self) {
            self.1.lock().unwrap().push("body dropped");
        }
    }

    #[tokio::test]
    async fn the_inner_body_is_dropped_before_the_report() {
        let in_order = || {
            let order = Arc::new(Mutex::new(Vec::new()));
            let writer = Arc::clone(&order);
            (order, move |_, _| writer.lock().unwrap().push("reported"))
        };
        let expected = ["body dropped", "reported"];

        let (order, report) = in_order();
        let whole = DropObserver(boxed(Full::new(Bytes::from_static(b"abc"))), Arc::clone(&order));
        ObservedBody::new(whole, report).collect().await.unwrap();
        assert_eq!(*order.lock().unwrap(), expected);

        let (order, report) = in_order();
        let broken = DropObserver(boxed(frames(b"abc", &[]).then_an_error()), Arc::clone(&order));
        ObservedBody::new(broken, report).collect().await.unwrap_err();
        assert_eq!(*order.lock().unwrap(), expected);

        let (order, report) = in_order();
        let unread = DropObserver(boxed(frames(b"abcdef", &[2])), Arc::clone(&order));
        drop(ObservedBody::new(unread, report));
        assert_eq!(*order.lock().unwrap(), expected);
    }

    /// During the pause, the bytes before the failure are written out.
    #[tokio::test]
    async fn a_failure_comes_after_a_pause() {
        let mut body = ObservedBody::new(boxed(frames(b"abc", &[]).then_an_error()), |_, _| ());
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
