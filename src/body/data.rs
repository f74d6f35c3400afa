//! The part that the bodies of this module share: each is written as a source of data, and [`DataBody`] makes
//! an [`http_body::Body`] of it.
//!
//! It must not know what the data mean. It promises that a source is not polled after its end or an error.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// A source of data. It is not polled again after it returned `None` or an error.
pub trait PollData {
    /// The source's error.
    type Error;

    /// The next bytes, which may be none; `None` at the end.
    fn poll_data(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>>;

    /// Whether it is known that no more data will come.
    fn is_end(&self) -> bool {
        false
    }

    /// The exact number of bytes still to come, if it is known.
    fn length(&self) -> Option<u64> {
        None
    }
}

/// The HTTP body of a source of data.
pub struct DataBody<T> {
    pub(super) source: T,
    is_over: bool,
}

impl<T> DataBody<T> {
    pub(super) fn from_source(source: T) -> Self {
        Self { source, is_over: false }
    }
}

impl<T: PollData + Unpin> Body for DataBody<T> {
    type Data = Bytes;
    type Error = T::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, T::Error>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let data = ready!(self.source.poll_data(context));
        self.is_over = !matches!(data, Some(Ok(_)));
        Poll::Ready(data.map(|data| data.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.is_over || self.source.is_end()
    }

    fn size_hint(&self) -> SizeHint {
        self.source.length().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// The next data of a body; its trailers are skipped.
pub(super) fn poll_next_data<B: Body<Data = Bytes> + Unpin>(
    body: &mut B,
    context: &mut Context<'_>,
) -> Poll<Option<Result<Bytes, B::Error>>> {
    loop {
        match ready!(Pin::new(&mut *body).poll_frame(context)) {
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Poll::Ready(Some(Ok(data)));
                }
            }
            Some(Err(error)) => return Poll::Ready(Some(Err(error))),
            None => return Poll::Ready(None),
        }
    }
}
