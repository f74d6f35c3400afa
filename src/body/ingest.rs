//! A client's body as it comes off the wire in, verified plaintext out.
//!
//! Takes aws-chunked framing apart and feeds every hash and checksum the request promised. Data is handed on as it
//! comes; whether it may become an object is known only when this body has ended without an error.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use aws_lc_rs::digest;
use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use super::{BoxBody, BoxError};
use crate::s3::{Checksum, DeclaredIntegrity, ErrorCode, S3Error, Verifier};
use crate::sigv4::{AwsChunkedDecoder, ChunkError, Decoded, Payload, Trailers};

/// Why a client's body must not become an object.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// Fewer bytes than promised, or the connection broke.
    #[error("the body ended before its promised length")]
    Incomplete,
    /// More bytes than promised.
    #[error("the body is longer than promised")]
    TooLong,
    /// The client paused for too long.
    #[error("the client sent nothing for {0:?}")]
    Idle(Duration),
    /// The body's SHA-256 is not the signed one.
    #[error("the body's SHA-256 is not the signed one")]
    Sha256Mismatch,
    /// The aws-chunked framing, a chunk's signature or the trailer's is wrong.
    #[error(transparent)]
    Chunk(#[from] ChunkError),
    /// Content-MD5, a checksum, or a trailer is wrong.
    #[error("{}: {}", .0.code, .0.message)]
    Refused(S3Error),
    /// The client went away.
    #[error("the client's connection broke")]
    Client(#[source] BoxError),
}

impl IngestError {
    /// What the client is told.
    pub fn to_s3(&self) -> S3Error {
        let plain = |code: ErrorCode| S3Error::new(code, code.message());
        match self {
            Self::Incomplete | Self::Client(_) => plain(ErrorCode::IncompleteBody),
            Self::TooLong => {
                S3Error::invalid_request("The request's body is longer than its headers promised.")
            }
            Self::Idle(_) => plain(ErrorCode::RequestTimeout),
            Self::Sha256Mismatch => plain(ErrorCode::XAmzContentSHA256Mismatch),
            Self::Chunk(error) => {
                let code = ErrorCode::ALL.iter().copied().find(|code| code.code() == error.s3_code());
                S3Error::new(code.unwrap_or(ErrorCode::InvalidRequest), error.to_string())
            }
            Self::Refused(error) => error.clone(),
        }
    }
}

/// What became known of a body when it had ended well.
#[derive(Debug, Clone)]
pub struct Verdict(Arc<OnceLock<Vec<Checksum>>>);

impl Verdict {
    /// The verified checksums of the whole plaintext; `None` until the body has ended without an error.
    pub fn checksums(&self) -> Option<Vec<Checksum>> {
        self.0.get().cloned()
    }
}

enum Framing {
    Plain,
    AwsChunked(Box<AwsChunkedDecoder>),
}

struct Sha256 {
    hash: digest::Context,
    expected: [u8; 32],
}

/// The plaintext body of a request.
pub struct IngestBody {
    wire: BoxBody,
    pending: Bytes,
    framing: Framing,
    sha256: Option<Sha256>,
    verifier: Option<Verifier>,
    left: u64,
    idle: Duration,
    deadline: Pin<Box<Sleep>>,
    verdict: Verdict,
    ended: bool,
}

impl IngestBody {
    /// The body of a request that promised `length` bytes of plaintext; a client that pauses for `idle` is given up.
    pub fn new(
        wire: BoxBody,
        payload: Payload,
        declared: &DeclaredIntegrity,
        length: u64,
        idle: Duration,
    ) -> (Self, Verdict) {
        let (framing, sha256) = match payload {
            Payload::Unsigned => (Framing::Plain, None),
            Payload::Sha256(expected) => {
                (Framing::Plain, Some(Sha256 { hash: digest::Context::new(&digest::SHA256), expected }))
            }
            Payload::Chunked(chunked) => {
                (Framing::AwsChunked(Box::new(AwsChunkedDecoder::new(chunked))), None)
            }
        };
        let verdict = Verdict(Arc::new(OnceLock::new()));
        let body = Self {
            wire,
            pending: Bytes::new(),
            framing,
            sha256,
            verifier: Some(Verifier::new(declared)),
            left: length,
            idle,
            deadline: Box::pin(tokio::time::sleep(idle)),
            verdict: verdict.clone(),
            ended: false,
        };
        (body, verdict)
    }

    /// Data out of the bytes that came so far.
    fn decode(&mut self) -> Result<Option<Bytes>, IngestError> {
        let data = match &mut self.framing {
            Framing::Plain => std::mem::take(&mut self.pending),
            Framing::AwsChunked(decoder) => match decoder.decode(&mut self.pending)? {
                Decoded::Data(data) => data,
                Decoded::NeedMore => return Ok(None),
            },
        };
        if data.is_empty() {
            return Ok(None);
        }
        self.left = self.left.checked_sub(data.len() as u64).ok_or(IngestError::TooLong)?;
        if let Some(sha256) = &mut self.sha256 {
            sha256.hash.update(&data);
        }
        if let Some(verifier) = &mut self.verifier {
            verifier.update(&data);
        }
        Ok(Some(data))
    }

    /// The verdict, when the wire has ended.
    fn conclude(&mut self) -> Result<(), IngestError> {
        let trailers = match std::mem::replace(&mut self.framing, Framing::Plain) {
            Framing::Plain => HeaderMap::new(),
            Framing::AwsChunked(decoder) => trailer_headers(&decoder.finish()?)?,
        };
        if self.left > 0 {
            return Err(IngestError::Incomplete);
        }
        if let Some(sha256) = self.sha256.take()
            && sha256.hash.finish().as_ref() != sha256.expected
        {
            return Err(IngestError::Sha256Mismatch);
        }
        let verifier = self.verifier.take().expect("a body concludes once");
        let checksums = verifier.finish(&trailers).map_err(IngestError::Refused)?;
        self.verdict.0.set(checksums).expect("a body concludes once");
        Ok(())
    }

    fn poll_wire(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Bytes>, IngestError>> {
        match Pin::new(&mut self.wire).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                self.deadline.as_mut().reset(Instant::now() + self.idle);
                Poll::Ready(Ok(Some(frame.into_data().unwrap_or_default())))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Err(IngestError::Client(error))),
            Poll::Ready(None) => Poll::Ready(Ok(None)),
            Poll::Pending => {
                ready!(self.deadline.as_mut().poll(context));
                Poll::Ready(Err(IngestError::Idle(self.idle)))
            }
        }
    }

    fn next(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Bytes>, IngestError>> {
        loop {
            if let Some(data) = self.decode()? {
                return Poll::Ready(Ok(Some(data)));
            }
            match ready!(self.poll_wire(context))? {
                Some(bytes) => self.pending = bytes,
                None => {
                    self.conclude()?;
                    return Poll::Ready(Ok(None));
                }
            }
        }
    }
}

/// Trailers as what they are in HTTP.
fn trailer_headers(trailers: &Trailers) -> Result<HeaderMap, IngestError> {
    let malformed = || IngestError::Refused(ErrorCode::MalformedTrailerError.into());
    let mut headers = HeaderMap::new();
    for (name, value) in trailers.iter() {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| malformed())?;
        headers.append(name, HeaderValue::from_str(value).map_err(|_| malformed())?);
    }
    Ok(headers)
}

impl Body for IngestBody {
    type Data = Bytes;
    type Error = IngestError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, IngestError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let next = ready!(self.next(context));
        self.ended = !matches!(next, Ok(Some(_)));
        Poll::Ready(next.transpose().map(|data| data.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
