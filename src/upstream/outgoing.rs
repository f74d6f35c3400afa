//! Request bodies to the storage: exactly of the announced length or cut, framed and with a checksum if
//! needed. Progress is recorded, which distinguishes a stalled storage from a slow client.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::oneshot;

use super::error::LengthError;
use super::{BoxBody, BoxError, UpstreamError};
use crate::clock;
use crate::sigv4::{self, AwsChunkedEncoder, UPSTREAM_CHUNK_SIZE as CHUNK_SIZE};
use crate::wire::checksum::{ChecksumAlgorithm, Hasher};

/// A request's body, by how it is protected in transit.
pub enum UpstreamBody {
    /// No body.
    Empty,
    /// A small document (XML, JSON): signed with its SHA-256, with a Content-MD5 unless it carries another
    /// digest.
    Buffered(Bytes),
    /// Object ciphertext in memory: the checksum goes in a header, and the request can be repeated.
    Content(Bytes),
    /// Object ciphertext that streams: the checksum goes in a trailer.
    StreamedContent {
        /// The bytes. An error, or an end before or after `length`, cuts the request.
        body: BoxBody,
        /// The exact number of bytes.
        length: u64,
    },
}

impl UpstreamBody {
    /// Takes out a streamed body without bytes, in whose place there is content without bytes then. hyper
    /// never polls a body of length 0, so an error of it has to be found before the request is sent.
    pub(super) fn take_empty_stream(&mut self) -> Option<BoxBody> {
        let Self::StreamedContent { body, length: 0 } = self else { return None };
        let body = std::mem::take(body);
        *self = Self::Content(Bytes::new());
        Some(body)
    }
}

impl fmt::Debug for UpstreamBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("Empty"),
            Self::Buffered(bytes) => write!(f, "Buffered({} bytes)", bytes.len()),
            Self::Content(bytes) => write!(f, "Content({} bytes)", bytes.len()),
            Self::StreamedContent { length, .. } => write!(f, "StreamedContent({length} bytes)"),
        }
    }
}

/// Lets exactly `remaining` bytes pass. The last of them wait until the source has ended without an error, so
/// that an error at the end of the body is never too late.
pub(super) struct ExactLength {
    source: BoxBody,
    remaining: u64,
    held: Option<Bytes>,
    ended: bool,
}

impl ExactLength {
    pub(super) fn new(source: BoxBody, length: u64) -> Self {
        Self { source, remaining: length, held: None, ended: false }
    }

    /// The next bytes.
    pub(super) async fn next(&mut self) -> Option<Result<Bytes, UpstreamError>> {
        std::future::poll_fn(|cx| self.poll_data(cx)).await
    }

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, UpstreamError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        loop {
            let frame = ready!(Pin::new(&mut self.source).poll_frame(cx));
            self.ended = !matches!(frame, Some(Ok(_)));
            let data = match frame {
                // Trailers of the source are checked by the source itself.
                Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
                Some(Err(error)) => return Poll::Ready(Some(Err(UpstreamError::Body(error)))),
                None if self.remaining > 0 => {
                    return Poll::Ready(Some(Err(LengthError::Short { missing: self.remaining }.into())));
                }
                None => return Poll::Ready(self.held.take().map(Ok)),
            };
            if data.is_empty() {
                continue;
            }
            let Some(remaining) = self.remaining.checked_sub(data.len() as u64) else {
                self.ended = true;
                return Poll::Ready(Some(Err(LengthError::Long.into())));
            };
            self.remaining = remaining;
            if remaining > 0 {
                return Poll::Ready(Some(Ok(data)));
            }
            self.held = Some(data);
        }
    }
}

/// How the content is put on the wire.
enum Framing {
    Plain,
    AwsChunked(Box<AwsChunked>),
}

/// aws-chunked framing, with the running checksum that goes into the trailer.
struct AwsChunked {
    /// `None` after the trailer was framed.
    encoder: Option<AwsChunkedEncoder>,
    checksum: Hasher,
    /// Framed pieces not yet sent: those of one frame of content at most.
    framed: VecDeque<Bytes>,
}

impl AwsChunked {
    fn new(algorithm: ChecksumAlgorithm, length: u64) -> Self {
        let encoder =
            AwsChunkedEncoder::new(length, CHUNK_SIZE, algorithm.header_name(), algorithm.base64_len());
        let encoder = encoder.expect("lengths of stored objects fit 64 bits, framed too");
        Self { encoder: Some(encoder), checksum: Hasher::new(algorithm), framed: VecDeque::new() }
    }

    fn is_done(&self) -> bool {
        self.encoder.is_none() && self.framed.is_empty()
    }

    /// Frames more content, or with `None` the end.
    fn frame(&mut self, content: Option<Bytes>) {
        let framed = &mut self.framed;
        match content {
            Some(data) => {
                self.checksum.update(&data);
                let encoder = self.encoder.as_mut().expect("nothing comes after the end");
                encoder.encode(data, |piece| framed.push_back(piece)).expect("ExactLength lets no more pass");
            }
            None => {
                let encoder = self.encoder.take().expect("the end comes once");
                let end = encoder.finish(&self.checksum.clone().finish().to_string());
                framed.push_back(end.expect("ExactLength ends after all announced bytes, or with an error"));
            }
        }
    }
}

/// Where an upload stands; `supervise` reads it to know what to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The body was not polled yet, since that time.
    Unbegun(Instant),
    /// The source has no data at the moment: the client's time, not the storage's.
    AwaitingSource,
    /// A frame was passed on at that time, and the next was not polled since.
    AwaitingStore(Instant),
    /// The last frame was passed on at that time.
    Sent(Instant),
}

/// What the sender and the body on the connection's task share.
pub(super) struct Upload {
    state: Mutex<UploadState>,
}

struct UploadState {
    source: Option<BoxBody>,
    stage: Stage,
    failure: Option<UpstreamError>,
}

impl Upload {
    pub(super) fn new(source: BoxBody) -> Arc<Self> {
        let stage = Stage::Unbegun(clock::now());
        Arc::new(Self { state: Mutex::new(UploadState { source: Some(source), stage, failure: None }) })
    }

    /// Whether the source was not polled yet, so that the upload can be sent on another connection.
    pub(super) fn is_untouched(&self) -> bool {
        self.state().source.is_some()
    }

    pub(super) fn stage(&self) -> Stage {
        self.state().stage
    }

    /// Whether the whole body was passed on.
    pub(super) fn is_sent(&self) -> bool {
        matches!(self.stage(), Stage::Sent(_))
    }

    /// Begins a new attempt.
    pub(super) fn restart(&self) {
        self.state().stage = Stage::Unbegun(clock::now());
    }

    /// Takes the error of the body, if it failed.
    pub(super) fn take_failure(&self) -> Option<UpstreamError> {
        self.state().failure.take()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, UploadState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The error that hyper gets when a body failed; the reason is in the [`Upload`].
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the request body was cut")]
pub(super) struct Cut;

/// A streamed body on the connection: takes the source from its [`Upload`] when first polled.
pub(super) struct Streamed {
    upload: Arc<Upload>,
    content: Option<ExactLength>,
    content_length: u64,
    wire_length: u64,
    framing: Framing,
    /// Completes when the response is dropped.
    interest: oneshot::Receiver<()>,
    done: bool,
}

impl Streamed {
    /// A body of `length` content bytes, framed as aws-chunked with a trailer if there is an `algorithm`. The
    /// sender returned with it keeps the body going; when dropped, the body fails at its next frame.
    pub(super) fn new(
        upload: &Arc<Upload>,
        length: u64,
        algorithm: Option<ChecksumAlgorithm>,
    ) -> (Self, oneshot::Sender<()>) {
        let (interested, interest) = oneshot::channel();
        let framing = algorithm.map_or(Framing::Plain, |algorithm| {
            Framing::AwsChunked(Box::new(AwsChunked::new(algorithm, length)))
        });
        let body = Self {
            upload: Arc::clone(upload),
            content: None,
            content_length: length,
            wire_length: wire_length(length, algorithm),
            framing,
            interest,
            done: false,
        };
        (body, interested)
    }

    fn poll_wire(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, UpstreamError>>> {
        let length = self.content_length;
        let upload = &self.upload;
        let content = self.content.get_or_insert_with(|| {
            let source = upload.state().source.take().expect("one attempt at a time polls the source");
            ExactLength::new(source, length)
        });
        match &mut self.framing {
            Framing::Plain => {
                let data = ready!(content.poll_data(cx));
                self.done = content.ended;
                Poll::Ready(data)
            }
            Framing::AwsChunked(chunked) => loop {
                if let Some(piece) = chunked.framed.pop_front() {
                    self.done = chunked.is_done();
                    return Poll::Ready(Some(Ok(piece)));
                }
                match ready!(content.poll_data(cx)) {
                    Some(Ok(data)) => chunked.frame(Some(data)),
                    Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                    None => chunked.frame(None),
                }
            },
        }
    }
}

impl Body for Streamed {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.done {
            return Poll::Ready(None);
        }
        if Pin::new(&mut self.interest).poll(cx).is_ready() {
            self.done = true;
            return Poll::Ready(Some(Err(Cut.into())));
        }
        let polled = self.poll_wire(cx);
        let now = clock::now();
        let mut failure = None;
        let (stage, polled) = match polled {
            Poll::Pending => (Stage::AwaitingSource, Poll::Pending),
            Poll::Ready(Some(Ok(data))) if !self.done => {
                (Stage::AwaitingStore(now), Poll::Ready(Some(Ok(Frame::data(data)))))
            }
            Poll::Ready(Some(Ok(data))) => (Stage::Sent(now), Poll::Ready(Some(Ok(Frame::data(data))))),
            Poll::Ready(None) => (Stage::Sent(now), Poll::Ready(None)),
            Poll::Ready(Some(Err(error))) => {
                self.done = true;
                failure = Some(error);
                (Stage::Sent(now), Poll::Ready(Some(Err(Cut.into()))))
            }
        };
        let mut state = self.upload.state();
        state.stage = stage;
        state.failure = failure;
        drop(state);
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.done
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.wire_length)
    }
}

/// The body's exact length on the wire.
pub(super) fn wire_length(content_length: u64, algorithm: Option<ChecksumAlgorithm>) -> u64 {
    match algorithm {
        Some(algorithm) => {
            let framed = sigv4::encoded_length(
                content_length,
                CHUNK_SIZE,
                &algorithm.header_name(),
                algorithm.base64_len(),
            );
            framed.expect("lengths of stored objects fit 64 bits, framed too")
        }
        None => content_length,
    }
}

/// A request body.
pub(super) enum OutgoingBody {
    /// A body in memory, or an empty one.
    Whole(Option<Bytes>),
    Streamed(Box<Streamed>),
}

impl OutgoingBody {
    pub(super) fn whole(bytes: Bytes) -> Self {
        Self::Whole(Some(bytes).filter(|bytes| !bytes.is_empty()))
    }
}

impl Body for OutgoingBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Streamed(streamed) => Pin::new(streamed.as_mut()).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_none(),
            Self::Streamed(streamed) => streamed.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Streamed(streamed) => streamed.size_hint(),
        }
    }
}

#[cfg(test)]
mod tests;
