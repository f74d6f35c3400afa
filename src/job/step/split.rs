//! One body, read as several one after the other.
//! It must not know what the parts are.
//! It promises that each part has its bytes and no others, and ends well only if the body ends where it must.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame};
use http_body_util::BodyExt;

use crate::body::{BoxBody, BoxError};

/// A body that is cut into parts.
#[derive(Clone)]
pub(super) struct SplitBody(Arc<Mutex<Source>>);

struct Source {
    body: BoxBody,
    /// Bytes that came and belong to the next parts.
    left: Bytes,
    is_ended: bool,
}

/// The body has fewer or more bytes than its parts together.
#[derive(Debug, thiserror::Error)]
#[error("the content is not as long as it was announced")]
struct OtherLength;

impl SplitBody {
    pub(super) fn new(body: BoxBody) -> Self {
        Self(Arc::new(Mutex::new(Source { body, left: Bytes::new(), is_ended: false })))
    }

    /// The next `length` bytes. The part before has to be read to its end first. The last part ends when the
    /// body has ended.
    pub(super) fn next_part(&self, length: u64, is_last: bool) -> BoxBody {
        PartBody { source: self.clone(), left: length, is_last }.boxed_unsync()
    }
}

struct PartBody {
    source: SplitBody,
    left: u64,
    is_last: bool,
}

impl Body for PartBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        // Parts are read one after the other, so no other reader holds it.
        let mut source = this.source.0.lock().unwrap_or_else(PoisonError::into_inner);
        if this.left == 0 && !this.is_last {
            return Poll::Ready(None);
        }
        while source.left.is_empty() && !source.is_ended {
            match ready!(Pin::new(&mut source.body).poll_frame(context)) {
                Some(Ok(frame)) => source.left = frame.into_data().unwrap_or_default(),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => source.is_ended = true,
            }
        }
        let is_ended = source.left.is_empty();
        match (this.left, is_ended) {
            (0, true) => Poll::Ready(None),
            (0, false) | (_, true) => Poll::Ready(Some(Err(OtherLength.into()))),
            (left, false) => {
                let taken = usize::try_from(left).unwrap_or(usize::MAX).min(source.left.len());
                let data = source.left.split_to(taken);
                this.left -= taken as u64;
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// A body of these frames.
    struct Pieces(VecDeque<&'static str>);

    impl Body for Pieces {
        type Data = Bytes;
        type Error = BoxError;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
            Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(Bytes::from(piece)))))
        }
    }

    fn split(pieces: &[&'static str]) -> SplitBody {
        SplitBody::new(Pieces(pieces.iter().copied().collect()).boxed_unsync())
    }

    async fn read(body: BoxBody) -> Result<String, BoxError> {
        Ok(String::from_utf8(body.collect().await?.to_bytes().to_vec()).unwrap())
    }

    #[tokio::test]
    async fn parts_have_their_bytes_wherever_pieces_end() {
        for pieces in [&["abcdefg"][..], &["a", "b", "c", "d", "e", "f", "g"], &["abc", "", "defg"]] {
            let body = split(pieces);
            assert_eq!(read(body.next_part(3, false)).await.unwrap(), "abc");
            assert_eq!(read(body.next_part(2, false)).await.unwrap(), "de");
            assert_eq!(read(body.next_part(2, true)).await.unwrap(), "fg");
        }
        assert_eq!(read(split(&["ab"]).next_part(0, false)).await.unwrap(), "");
        assert_eq!(read(split(&[]).next_part(0, true)).await.unwrap(), "");
    }

    #[tokio::test]
    async fn a_body_of_another_length_ends_no_part_well() {
        assert!(read(split(&["abc"]).next_part(2, true)).await.is_err());
        assert!(read(split(&["abc"]).next_part(4, true)).await.is_err());
        assert!(read(split(&["abc"]).next_part(4, false)).await.is_err());
    }
}
