//! Response bodies from the storage: complete, or an error that says what is missing.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use tokio::sync::oneshot;

use super::carrier::ReceivedBody;
use super::error::{LengthError, Phase};
use super::{BoxBody, BoxError, UpstreamError};
use crate::buffers::ConnectionGuard;
use crate::timer::Deadline;
use crate::trace::OpenSpan;

/// A response body with a deadline between frames and a check of its length.
pub(super) struct Incoming {
    source: ReceivedBody,
    limit: Duration,
    /// `None` while no frame is awaited, so that a slow reader on our side does not count.
    deadline: Option<Deadline>,
    /// Bytes that are left of `Content-Length`; `None` without one.
    remaining: Option<u64>,
    ended: bool,
    /// Dropped with the response, which ends an upload that is still sent after an early response.
    _interest: Option<oneshot::Sender<()>>,
    /// Counts this response until it is dropped.
    _member: ConnectionGuard,
    /// Ends when the body has ended, and with this value at the latest.
    span: Option<OpenSpan>,
}

impl Incoming {
    pub(super) fn new(
        source: ReceivedBody,
        remaining: Option<u64>,
        limit: Duration,
        (interest, member, span): (Option<oneshot::Sender<()>>, ConnectionGuard, Option<OpenSpan>),
    ) -> Self {
        Self {
            source,
            limit,
            deadline: None,
            remaining,
            ended: false,
            _interest: interest,
            _member: member,
            span,
        }
    }

    fn fail(&mut self, error: UpstreamError) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.ended = true;
        if let Some(mut span) = self.span.take() {
            span.fail(error.kind());
        }
        Poll::Ready(Some(Err(error.into())))
    }
}

/// The bytes that follow this head, if it announces them: none after HEAD, 204 and 304 (RFC 9110, 6.4.1).
pub(super) fn promised_length(method: &Method, status: StatusCode, headers: &HeaderMap) -> Option<u64> {
    if *method == Method::HEAD || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED {
        return Some(0);
    }
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let Poll::Ready(frame) = Pin::new(&mut self.source).poll_frame(cx) else {
            let limit = self.limit;
            ready!(self.deadline.get_or_insert_with(|| Deadline::after(limit)).poll(cx));
            return self.fail(UpstreamError::Timeout { phase: Phase::Idle, limit });
        };
        self.deadline = None;
        match (frame, self.remaining) {
            (Some(Err(error)), _) => self.fail(UpstreamError::Protocol(error)),
            (None, Some(missing @ 1..)) => {
                self.fail(UpstreamError::Protocol(LengthError::Short { missing }.into()))
            }
            (None, Some(0) | None) => {
                self.ended = true;
                self.span = None;
                Poll::Ready(None)
            }
            (Some(Ok(frame)), None) => Poll::Ready(Some(Ok(frame))),
            (Some(Ok(frame)), Some(remaining)) => {
                let len = frame.data_ref().map_or(0, Bytes::len) as u64;
                match remaining.checked_sub(len) {
                    Some(remaining) => {
                        self.remaining = Some(remaining);
                        if remaining == 0 {
                            self.span = None;
                        }
                        Poll::Ready(Some(Ok(frame)))
                    }
                    None => self.fail(UpstreamError::Protocol(LengthError::Long.into())),
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended || (self.remaining.is_none_or(|remaining| remaining == 0) && self.source.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.remaining.map_or_else(|| self.source.size_hint(), SizeHint::with_exact)
    }
}

/// A body whose beginning was read already.
pub(super) struct ReadAhead {
    pub(super) read: VecDeque<Bytes>,
    pub(super) rest: BoxBody,
    /// Bytes of both parts together, if known.
    pub(super) length: Option<u64>,
}

impl Body for ReadAhead {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = match self.read.pop_front() {
            Some(read) => Poll::Ready(Some(Ok(Frame::data(read)))),
            None => Pin::new(&mut self.rest).poll_frame(cx),
        };
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            let given = frame.data_ref().map_or(0, Bytes::len) as u64;
            self.length = self.length.map(|length| length.saturating_sub(given));
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.read.is_empty() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use http_body_util::{BodyExt, Full};

    use super::super::tests::{Step, script};
    use super::*;
    use crate::buffers::ConnectionCounter;

    fn body(text: &'static str) -> BoxBody {
        Full::new(Bytes::from_static(text.as_bytes())).map_err(|never| match never {}).boxed_unsync()
    }

    async fn outcome(source: BoxBody, remaining: Option<u64>) -> Result<usize, String> {
        let incoming = Incoming::new(
            ReceivedBody::InProcess(source),
            remaining,
            Duration::from_secs(5),
            (None, ConnectionCounter::default().enter(), None),
        );
        incoming.collect().await.map(|body| body.to_bytes().len()).map_err(|error| format!("{error:?}"))
    }

    #[tokio::test]
    async fn length_is_kept_or_it_is_an_error() {
        assert_eq!(outcome(body("12345"), Some(5)).await, Ok(5));
        assert_eq!(outcome(body("12345"), None).await, Ok(5));
        assert!(outcome(body("1234"), Some(5)).await.unwrap_err().contains("missing: 1"));
        assert!(outcome(body("123456"), Some(5)).await.unwrap_err().contains("Long"));
    }

    #[tokio::test]
    async fn silence_ends_in_a_timeout_and_a_slow_reader_does_not() {
        let limit = Duration::from_millis(50);
        let source =
            script([Step::Give(Bytes::from_static(b"a")), Step::Give(Bytes::from_static(b"b")), Step::Stall]);
        let source = ReceivedBody::InProcess(source);
        let mut incoming =
            Incoming::new(source, None, limit, (None, ConnectionCounter::default().enter(), None));
        incoming.frame().await.unwrap().unwrap();
        tokio::time::sleep(limit * 4).await;
        incoming.frame().await.unwrap().unwrap();
        let begun = Instant::now();
        let error = incoming.frame().await.unwrap().unwrap_err();
        assert!(begun.elapsed() >= limit);
        let error = error.downcast::<UpstreamError>().unwrap();
        assert!(matches!(*error, UpstreamError::Timeout { phase: Phase::Idle, .. }));
        assert!(incoming.frame().await.is_none());
    }
}
