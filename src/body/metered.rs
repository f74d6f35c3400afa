//! A request's body as its client sends it, measured.
//!
//! It must not know when a client counts as too slow. It promises that the meter counts every byte and
//! every wait, and that a client that it cuts off receives `RequestTimeout`.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::BoxError;
use crate::meter::{CutOff, Direction, Meter};
use crate::s3::{ErrorCode, S3Error};

/// A body that reports to a meter how many bytes arrive and how long it waits for them. It fails with
/// `RequestTimeout` when the meter cuts its client off.
pub struct MeteredBody<B> {
    body: B,
    sends: Direction,
}

impl<B> MeteredBody<B> {
    /// Measures `body`.
    pub fn new(body: B, meter: &Meter) -> Self {
        Self { body, sends: meter.direction() }
    }
}

impl<B> Body for MeteredBody<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                return match self.sends.wait(context) {
                    Ok(()) => Poll::Pending,
                    Err(CutOff) => {
                        let error: BoxError = Box::new(S3Error::from(ErrorCode::RequestTimeout));
                        Poll::Ready(Some(Err(error)))
                    }
                };
            }
        };
        let data = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref());
        let bytes = data.map_or(0, Bytes::len);
        self.sends.received(bytes);
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
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
    use http_body_util::BodyExt;

    use super::*;
    use crate::body::test_support::Arriving;

    #[tokio::test]
    async fn a_client_that_is_cut_off_receives_request_timeout() {
        let (wire, body) = Arriving::new();
        let meter = Meter::new(1);
        let mut body = MeteredBody::new(body, &meter);
        wire.send(Bytes::from_static(b"abc")).unwrap();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "abc");
        let cut = tokio::spawn(async move {
            while meter.delay().is_zero() {
                tokio::task::yield_now().await;
            }
            meter.cut();
        });
        let error = body.frame().await.unwrap().unwrap_err();
        assert_eq!(error.downcast::<S3Error>().unwrap().code, ErrorCode::RequestTimeout);
        cut.await.unwrap();
        drop(wire);
    }
}
