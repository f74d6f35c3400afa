//! A body whose bytes are hashed while they pass.
//! It must not know what the bytes are.
//! It promises that a body whose checksum is not the expected one ends with an error, and that the digest is
//! known only of a body that ended well.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame};
use http_body_util::BodyExt;

use crate::body::{BoxBody, BoxError};
use crate::error::{Error, Result, UnexpectedResponse};
use crate::s3::{Checksum, ChecksumAlgorithm};
use crate::wire::checksum::Hasher;

/// The hash by which contents are compared.
pub(super) const CONTENT_DIGEST: ChecksumAlgorithm = ChecksumAlgorithm::Sha256;

/// What the bytes of a body were.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Digested {
    /// Their number.
    pub(super) length: u64,
    /// Their hash.
    pub(super) value: Checksum,
}

/// The hash of the bytes so far, and the checksums that all of them are expected to have.
#[derive(Clone)]
pub(super) struct Digest {
    hasher: Hasher,
    length: u64,
    expected: Vec<(Hasher, Checksum)>,
}

impl Digest {
    /// The digest of nothing.
    pub(super) fn new(algorithm: ChecksumAlgorithm, expected: &[Checksum]) -> Self {
        let expected = expected.iter().map(|value| (Hasher::new(value.algorithm()), *value)).collect();
        Self { hasher: Hasher::new(algorithm), length: 0, expected }
    }

    fn update(&mut self, data: &[u8]) {
        self.length += data.len() as u64;
        self.hasher.update(data);
        self.expected.iter_mut().for_each(|(hasher, _)| hasher.update(data));
    }

    /// The digest of all bytes.
    ///
    /// # Errors
    /// [`OtherChecksum`] if they do not have an expected checksum.
    pub(super) fn finish(self) -> Result<Digested, OtherChecksum> {
        for (hasher, expected) in self.expected {
            if hasher.finish() != expected {
                return Err(OtherChecksum(expected.algorithm()));
            }
        }
        Ok(Digested { length: self.length, value: self.hasher.finish() })
    }
}

/// What is known of a body once it has ended well.
pub(super) struct Pending<T>(Arc<Mutex<Option<T>>>);

impl<T> Pending<T> {
    /// What is known of a body that was read to its end.
    ///
    /// # Errors
    /// [`UnexpectedResponse::WrongLength`] for a body that was not.
    pub(super) fn take(&self) -> Result<T> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        Ok(known.ok_or(UnexpectedResponse::WrongLength)?)
    }
}

/// The bytes are not those of a checksum that is kept with the object.
#[derive(Debug, thiserror::Error)]
#[error("the content does not have its {0} checksum")]
pub(super) struct OtherChecksum(pub(super) ChecksumAlgorithm);

impl From<OtherChecksum> for Error {
    fn from(error: OtherChecksum) -> Self {
        Self::from_body_error(Box::new(error))
    }
}

/// Hashes a body while it passes, and compares it with these checksums of all its bytes.
pub(super) fn digesting(
    inner: BoxBody,
    algorithm: ChecksumAlgorithm,
    expected: &[Checksum],
) -> (BoxBody, Pending<Digested>) {
    observing(inner, Digest::new(algorithm, expected), Digest::finish)
}

/// Hashes a body while it passes, after the bytes that `digest` has seen.
pub(super) fn continuing(inner: BoxBody, digest: Digest) -> (BoxBody, Pending<Digest>) {
    observing(inner, digest, Ok)
}

fn observing<T: Send + 'static>(
    inner: BoxBody,
    digest: Digest,
    at_end: fn(Digest) -> Result<T, OtherChecksum>,
) -> (BoxBody, Pending<T>) {
    let known = Arc::new(Mutex::new(None));
    let body = DigestBody { inner, digest: Some(digest), at_end, known: Arc::clone(&known) };
    (body.boxed_unsync(), Pending(known))
}

/// Reads a body to its end.
///
/// # Errors
/// The body's own error, and [`OtherChecksum`].
pub(super) async fn drain(body: BoxBody, expected: &[Checksum]) -> Result<Digested> {
    let (body, pending) = digesting(body, CONTENT_DIGEST, expected);
    exhaust(body).await?;
    pending.take()
}

/// Reads a body to its end, and drops its bytes.
///
/// # Errors
/// The body's own error.
pub(super) async fn exhaust(mut body: BoxBody) -> Result<()> {
    while let Some(frame) = body.frame().await {
        frame.map_err(Error::from_body_error)?;
    }
    Ok(())
}

/// A body that passes `inner` on.
struct DigestBody<T> {
    inner: BoxBody,
    /// `None` after the end.
    digest: Option<Digest>,
    at_end: fn(Digest) -> Result<T, OtherChecksum>,
    known: Arc<Mutex<Option<T>>>,
}

impl<T> Body for DigestBody<T> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let frame = ready!(Pin::new(&mut this.inner).poll_frame(context));
        if let (Some(Ok(frame)), Some(digest)) = (&frame, &mut this.digest)
            && let Some(data) = frame.data_ref()
        {
            digest.update(data);
        }
        if frame.is_none()
            && let Some(digest) = this.digest.take()
        {
            match (this.at_end)(digest) {
                Ok(known) => *this.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(known),
                Err(error) => return Poll::Ready(Some(Err(error.into()))),
            }
        }
        Poll::Ready(frame)
    }
}
