//! A client's request body as it arrives, decoded: aws-chunked framing is removed, and every hash and
//! checksum that the request promised is computed.
//!
//! It must not know what becomes of the data, which is passed on as it comes. It promises that it ends
//! without an error only if everything that was promised holds, so that only then the data may become an
//! object.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use aws_lc_rs::digest;
use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http_body::Body;

use super::{BoxBody, BoxError, DataBody, PollData};
use crate::s3::{Checksum, ChecksumAlgorithm, DeclaredIntegrity, ErrorCode, S3Error, Verifier};
use crate::sigv4::{AwsChunkedDecoder, ChunkError, Decoded, Payload, Trailers};
use crate::timer::Deadline;

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
    /// Converts the error of the body below.
    pub(super) fn from_wire(error: BoxError) -> Self {
        match error.downcast() {
            Ok(refused) => Self::Refused(*refused),
            Err(error) => Self::Client(error),
        }
    }

    /// The S3 error for the client.
    pub fn to_s3(&self) -> S3Error {
        let plain = |code: ErrorCode| S3Error::new(code, code.message());
        match self {
            Self::Incomplete | Self::Client(_) => plain(ErrorCode::IncompleteBody),
            Self::TooLong => {
                S3Error::invalid_request("The request's body is longer than its headers promised.")
            }
            Self::Idle(_) => plain(ErrorCode::RequestTimeout),
            Self::Sha256Mismatch => plain(ErrorCode::XAmzContentSHA256Mismatch),
            Self::Chunk(error) => S3Error::new(error.s3_code(), error.to_string()),
            Self::Refused(error) => error.clone(),
        }
    }
}

/// The result of a body that ended without an error.
#[derive(Debug, Clone)]
pub struct Verdict(Arc<OnceLock<Vec<Checksum>>>);

impl Verdict {
    /// The verified checksums of the whole plaintext; `None` until the body has ended without an error.
    pub fn checksums(&self) -> Option<&[Checksum]> {
        self.0.get().map(Vec::as_slice)
    }
}

enum Framing {
    Plain,
    AwsChunked(Box<AwsChunkedDecoder>),
}

/// The plaintext body of a request.
pub type IngestBody = DataBody<Ingest>;

/// The connection that an [`IngestBody`] is read from.
pub struct Ingest {
    wire: BoxBody,
    pending: Bytes,
    framing: Framing,
    /// The SHA-256 of the body so far, and the signed one.
    sha256: Option<(digest::Context, [u8; 32])>,
    verifier: Option<Verifier>,
    /// Bytes that were promised and have not come; `None` when no length was promised.
    left: Option<u64>,
    idle: Duration,
    /// `None` while this body does not wait for the client.
    deadline: Option<Deadline>,
    verdict: Verdict,
}

impl IngestBody {
    /// The body of a request that promised `length` bytes of plaintext; it fails when the client pauses for
    /// `idle`.
    pub fn new(
        wire: BoxBody,
        payload: Payload,
        declared: &DeclaredIntegrity,
        length: u64,
        idle: Duration,
    ) -> (Self, Verdict) {
        Self::with_length(wire, payload, declared, Some(length), idle)
    }

    /// A body that ends where `content` ends, without a promise of its length: a form's file. An [`S3Error`]
    /// of `content` refuses the client's request.
    pub fn delimited(content: BoxBody, declared: &DeclaredIntegrity, idle: Duration) -> (Self, Verdict) {
        Self::with_length(content, Payload::Unsigned, declared, None, idle)
    }

    /// Computes the body's checksum of this algorithm too, for the verdict.
    #[must_use]
    pub fn computing(mut self, algorithm: ChecksumAlgorithm) -> Self {
        self.source.verifier = self.source.verifier.map(|verifier| verifier.computing(algorithm));
        self
    }

    fn with_length(
        wire: BoxBody,
        payload: Payload,
        declared: &DeclaredIntegrity,
        left: Option<u64>,
        idle: Duration,
    ) -> (Self, Verdict) {
        let (framing, sha256) = match payload {
            Payload::Unsigned => (Framing::Plain, None),
            Payload::Sha256(expected) => {
                (Framing::Plain, Some((digest::Context::new(&digest::SHA256), expected)))
            }
            Payload::Chunked(chunked) => {
                (Framing::AwsChunked(Box::new(AwsChunkedDecoder::new(chunked))), None)
            }
        };
        let verdict = Verdict(Arc::new(OnceLock::new()));
        let body = Self::from_source(Ingest {
            wire,
            pending: Bytes::new(),
            framing,
            sha256,
            verifier: Some(Verifier::new(declared)),
            left,
            idle,
            deadline: None,
            verdict: verdict.clone(),
        });
        (body, verdict)
    }
}

impl Ingest {
    /// Decodes data from the bytes that came so far.
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
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(data.len() as u64).ok_or(IngestError::TooLong)?;
        }
        if let Some((hash, _)) = &mut self.sha256 {
            hash.update(&data);
        }
        if let Some(verifier) = &mut self.verifier {
            verifier.update(&data);
        }
        Ok(Some(data))
    }

    /// Sets the verdict, after the request body has ended.
    fn conclude(&mut self) -> Result<(), IngestError> {
        let trailers = match std::mem::replace(&mut self.framing, Framing::Plain) {
            Framing::Plain => HeaderMap::new(),
            Framing::AwsChunked(decoder) => trailer_headers(&decoder.finish()?)?,
        };
        if self.left.is_some_and(|left| left > 0) {
            return Err(IngestError::Incomplete);
        }
        if let Some((hash, expected)) = self.sha256.take()
            && hash.finish().as_ref() != expected
        {
            return Err(IngestError::Sha256Mismatch);
        }
        let verifier = self.verifier.take().expect("a body concludes once");
        let checksums = verifier.finish(&trailers).map_err(IngestError::Refused)?;
        self.verdict.0.set(checksums).expect("a body concludes once");
        Ok(())
    }

    fn poll_wire(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Bytes>, IngestError>> {
        let frame = match Pin::new(&mut self.wire).poll_frame(context) {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                // The client's time begins when this body is polled: before, a slow storage may have blocked
                // the transfer.
                let idle = self.idle;
                ready!(self.deadline.get_or_insert_with(|| Deadline::after(idle)).poll(context));
                return Poll::Ready(Err(IngestError::Idle(self.idle)));
            }
        };
        self.deadline = None;
        Poll::Ready(match frame {
            Some(Ok(frame)) => Ok(Some(frame.into_data().unwrap_or_default())),
            Some(Err(error)) => Err(IngestError::from_wire(error)),
            None => Ok(None),
        })
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

/// Trailers as HTTP headers.
fn trailer_headers(trailers: &Trailers) -> Result<HeaderMap, IngestError> {
    let malformed = || IngestError::Refused(ErrorCode::MalformedTrailerError.into());
    let mut headers = HeaderMap::new();
    for (name, value) in trailers.iter() {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| malformed())?;
        headers.append(name, HeaderValue::from_str(value).map_err(|_| malformed())?);
    }
    Ok(headers)
}

impl PollData for Ingest {
    type Error = IngestError;

    fn poll_data(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, IngestError>>> {
        self.next(context).map(Result::transpose)
    }

    fn length(&self) -> Option<u64> {
        self.left
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;
    use crate::body::boxed;
    use crate::body::test_support::{Arriving, frames, pattern};

    const IDLE: Duration = Duration::from_secs(1);

    fn declared(headers: &[(&'static str, &str)]) -> DeclaredIntegrity {
        let pairs = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()));
        DeclaredIntegrity::from_headers(&pairs.collect()).unwrap()
    }

    async fn read(
        content: &[u8],
        length: u64,
        payload: Payload,
        declared: &DeclaredIntegrity,
    ) -> (Result<Bytes, IngestError>, Verdict) {
        let wire = boxed(frames(content, &[3, 3, 70_000]));
        let (body, verdict) = IngestBody::new(wire, payload, declared, length, IDLE);
        (body.collect().await.map(|body| body.to_bytes()), verdict)
    }

    #[tokio::test]
    async fn what_was_promised_comes_out_and_its_checksum_is_known() {
        let content = pattern(100_000);
        let declared = declared(&[("x-amz-checksum-crc32", "kSlejg==")]);
        let hash = digest::digest(&digest::SHA256, &content);
        let payload = Payload::Sha256(hash.as_ref().try_into().unwrap());
        let (read, verdict) = read(&content, 100_000, payload, &declared).await;
        assert_eq!(read.unwrap(), content);
        assert_eq!(verdict.checksums().unwrap()[0].to_string(), "kSlejg==");
    }

    /// Each of these must keep the body from becoming an object: no verdict, and an error at the end.
    #[tokio::test]
    async fn what_was_not_promised_has_no_verdict() {
        let content = pattern(1000);
        let nothing = DeclaredIntegrity::default();
        let wrong_crc = declared(&[("x-amz-checksum-crc32", "AAAAAA==")]);
        let wrong_md5 = declared(&[("content-md5", "AAAAAAAAAAAAAAAAAAAAAA==")]);
        for (length, payload, declared, expected) in [
            (1001, Payload::Unsigned, &nothing, "IncompleteBody"),
            (999, Payload::Unsigned, &nothing, "InvalidRequest"),
            (1000, Payload::Sha256([0; 32]), &nothing, "XAmzContentSHA256Mismatch"),
            (1000, Payload::Unsigned, &wrong_crc, "BadDigest"),
            (1000, Payload::Unsigned, &wrong_md5, "BadDigest"),
        ] {
            let (read, verdict) = read(&content, length, payload, declared).await;
            assert_eq!(read.unwrap_err().to_s3().code.code(), expected);
            assert!(verdict.checksums().is_none(), "This is a security issue: {expected} has a verdict.");
        }
    }

    #[tokio::test]
    async fn a_client_that_goes_away_is_no_end_of_the_body() {
        let (body, verdict) = IngestBody::new(
            boxed(frames(b"abc", &[]).then_an_error()),
            Payload::Unsigned,
            &DeclaredIntegrity::default(),
            3,
            IDLE,
        );
        assert!(matches!(body.collect().await, Err(IngestError::Client(_))));
        assert!(verdict.checksums().is_none());
    }

    /// The idle timeout counts while the client is waited for, not while the storage is slow.
    #[tokio::test]
    async fn only_the_clients_own_pauses_count() {
        let (wire, body) = Arriving::new();
        let declared = DeclaredIntegrity::default();
        let (mut body, _) = IngestBody::new(boxed(body), Payload::Unsigned, &declared, 6, IDLE);
        wire.send(Bytes::from_static(b"abc")).unwrap();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "abc");
        tokio::time::sleep(IDLE * 3 / 2).await;
        let late = tokio::spawn(async move {
            tokio::time::sleep(IDLE / 10).await;
            wire.send(Bytes::from_static(b"def")).unwrap();
            wire
        });
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "def");
        let _wire = late.await.unwrap();
        assert!(matches!(body.frame().await, Some(Err(IngestError::Idle(IDLE)))));
    }
}
