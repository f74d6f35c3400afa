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

/// The digest of a body, once it has ended well. Clones share it.
#[derive(Clone, Default)]
pub(super) struct PendingDigest(Arc<Mutex<Option<Digested>>>);

/// The digest of a body that was read to its end.
///
/// # Errors
/// [`UnexpectedResponse::WrongLength`] for a body that was not.
pub(super) fn ended(pending: &PendingDigest) -> Result<Digested> {
    let digested = pending.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    Ok(digested.ok_or(UnexpectedResponse::WrongLength)?)
}

/// The bytes are not those of a checksum that is kept with the object.
#[derive(Debug, thiserror::Error)]
#[error("the content does not have its {0} checksum")]
pub(super) struct OtherChecksum(ChecksumAlgorithm);

impl OtherChecksum {
    /// The error of a body with another checksum.
    pub(super) fn error(algorithm: ChecksumAlgorithm) -> Error {
        Error::from_body_error(Box::new(Self(algorithm)))
    }
}

/// A body that passes `inner` on.
struct DigestBody {
    inner: BoxBody,
    hasher: Option<Hasher>,
    length: u64,
    expected: Vec<(Hasher, Checksum)>,
    pending: PendingDigest,
}

/// Hashes a body while it passes, and compares it with these checksums of all its bytes.
pub(super) fn digesting(
    inner: BoxBody,
    algorithm: ChecksumAlgorithm,
    expected: &[Checksum],
) -> (BoxBody, PendingDigest) {
    let pending = PendingDigest::default();
    let body = DigestBody {
        inner,
        hasher: Some(Hasher::new(algorithm)),
        length: 0,
        expected: expected.iter().map(|value| (Hasher::new(value.algorithm()), *value)).collect(),
        pending: pending.clone(),
    };
    (body.boxed_unsync(), pending)
}

/// Reads a body to its end.
///
/// # Errors
/// The body's own error, and [`OtherChecksum`].
pub(super) async fn drain(body: BoxBody, expected: &[Checksum]) -> Result<Digested> {
    let (mut body, pending) = digesting(body, CONTENT_DIGEST, expected);
    while let Some(frame) = body.frame().await {
        frame.map_err(Error::from_body_error)?;
    }
    ended(&pending)
}

impl Body for DigestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let frame = ready!(Pin::new(&mut this.inner).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    this.length += data.len() as u64;
                    this.hasher.iter_mut().for_each(|hasher| hasher.update(data));
                    this.expected.iter_mut().for_each(|(hasher, _)| hasher.update(data));
                }
            }
            Some(Err(_)) => {}
            None => {
                for (hasher, expected) in this.expected.drain(..) {
                    if hasher.finish() != expected {
                        return Poll::Ready(Some(Err(OtherChecksum(expected.algorithm()).into())));
                    }
                }
                if let Some(hasher) = this.hasher.take() {
                    let digested = Digested { length: this.length, value: hasher.finish() };
                    *this.pending.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(digested);
                }
            }
        }
        Poll::Ready(frame)
    }
}
