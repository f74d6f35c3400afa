//! Where the bytes of multipart objects lie: proven once by a few small reads, then cached (F-42, F-44).
//!
//! It must not know client requests. A layout is cached with the identity of its object, and used only for
//! responses about an object with an equal identity.

use std::sync::Arc;

use bytes::{Buf, Bytes};
use http::header::RANGE;
use http::{Method, StatusCode};
use http_body_util::BodyExt;

use super::caches::ProvenLayout;
use super::location::{ObjectIdentity, ObjectLocation, ReceivedRange, unreadable};
use super::range::stored_range;
use crate::body::BoxBody;
use crate::envelope::ContentKey;
use crate::envelope::native::FormatError;
use crate::envelope::native::multipart::{
    CarriedChecksum, Ending, Layout, LayoutGuess, MultipartLength, MultipartWindow, RangeOpener,
    SEGMENT_HEADER, carried_checksum, layout_tail_length, multipart_plaintext_length, open_layout_tail,
};
use crate::error::{Error, UnexpectedResponse};
use crate::object::Resources;

/// Maximum bytes that are read and dropped of a response that holds more than the requested range.
const MAX_DROPPED: u64 = 1 << 20;

/// The layout and the carried checksum, as the first and last bytes of an object prove them.
pub(crate) struct Proven {
    layout: Layout,
    checksum: Option<CarriedChecksum>,
}

impl Proven {
    /// Reads the layout from the last bytes of an object that carries its layout.
    ///
    /// # Errors
    /// The errors of [`open_layout_tail`], and a format error for an invalid carried checksum.
    pub(crate) fn from_tail(
        content_key: &ContentKey,
        tail: &[u8],
        total: u64,
        parts: u16,
    ) -> Result<Self, FormatError> {
        let layout = open_layout_tail(content_key, tail, total, parts)?;
        let footer = Ending::Footer(&tail[tail.len() - SEGMENT_HEADER..]);
        let checksum = carried_checksum(content_key, &layout, footer)?;
        Ok(Self { layout, checksum })
    }
}

/// The layout of a multipart object: from the cache, else from the object itself. Concurrent requests for one
/// object share one read of its layout.
///
/// # Errors
/// [`Error::Replaced`] when the object was replaced meanwhile, a format error when it is not what was sealed.
pub(crate) async fn layout_of(
    resources: &Resources,
    at: &ObjectLocation<'_>,
    identity: &ObjectIdentity,
    content_key: &ContentKey,
) -> Result<Arc<ProvenLayout>, Error> {
    let proven = prove(resources, at, identity, content_key);
    // On the heap: few reads need this future, and the future of every read would reserve room for it.
    Box::pin(remember(resources, at, identity, proven)).await
}

/// Returns the cached layout of this object, else awaits `proven` and caches its layout.
pub(crate) async fn remember(
    resources: &Resources,
    at: &ObjectLocation<'_>,
    identity: &ObjectIdentity,
    proven: impl Future<Output = Result<Proven, Error>>,
) -> Result<Arc<ProvenLayout>, Error> {
    let fingerprint = identity.fingerprint(at);
    let known = async {
        let Proven { layout, checksum } = proven.await?;
        let layout = Arc::new(layout);
        Ok(Arc::new(ProvenLayout { identity: identity.clone(), layout, checksum, fingerprint }))
    };
    let known =
        resources.layout_cache.proven.try_get_with(fingerprint, known).await.map_err(Error::Shared)?;
    resources.layout_cache.record_newest(at.fingerprint(), fingerprint).await;
    Ok(known)
}

/// The segment header that a window needs and does not begin with: from the cache, else from the object.
///
/// # Errors
/// The errors of [`layout_of`].
pub(crate) async fn header_apart(
    resources: &Resources,
    at: &ObjectLocation<'_>,
    known: &ProvenLayout,
    window: &MultipartWindow,
    content_key: &Arc<ContentKey>,
) -> Result<Option<Bytes>, Error> {
    let Some(offset) = window.header_apart else { return Ok(None) };
    let read = async {
        let header = read_stored(resources, at, &known.identity, offset, SEGMENT_HEADER as u64).await?;
        // Only an authentic header is cached, since otherwise a passing fault would last.
        RangeOpener::new(content_key.clone(), known.layout.clone(), window, Some(&header))?;
        Ok(header)
    };
    let headers = &resources.layout_cache.headers;
    let read = headers.try_get_with((known.fingerprint, offset), read);
    Box::pin(read).await.map(Some).map_err(Error::Shared)
}

async fn prove(
    resources: &Resources,
    at: &ObjectLocation<'_>,
    identity: &ObjectIdentity,
    content_key: &ContentKey,
) -> Result<Proven, Error> {
    metrics::counter!("s3veil_layout_reads_total").increment(1);
    let total = identity.stored_total;
    let parts = match identity.parts() {
        Some(parts) => parts,
        None => fetch_part_count(resources, at, identity).await?,
    };
    match multipart_plaintext_length(total, parts)? {
        MultipartLength::NeedsLayout => {
            let length = layout_tail_length(parts);
            let first = total.checked_sub(length).ok_or(FormatError::Length)?;
            let tail = read_stored(resources, at, identity, first, length).await?;
            Ok(Proven::from_tail(content_key, &tail, total, parts)?)
        }
        MultipartLength::Exact(plaintext_total) => {
            let read = |offset| read_stored(resources, at, identity, offset, SEGMENT_HEADER as u64);
            let first = read(0).await?;
            let mut ending = (0, first.clone());
            let mut refused = FormatError::BodyLength;
            for guess in LayoutGuess::from_first_header(content_key, &first, plaintext_total, parts)? {
                let offset = guess.last_header_offset();
                if offset != ending.0 {
                    ending = (offset, read(offset).await?);
                }
                match guess.prove(content_key, &ending.1) {
                    Ok(layout) => {
                        let header = Ending::Header(&ending.1);
                        let checksum = carried_checksum(content_key, &layout, header)?;
                        return Ok(Proven { layout, checksum });
                    }
                    Err(error) => refused = error,
                }
            }
            Err(refused.into())
        }
    }
}

/// Requests the number of segments of an object whose ETag does not hold the number.
async fn fetch_part_count(
    resources: &Resources,
    at: &ObjectLocation<'_>,
    identity: &ObjectIdentity,
) -> Result<u16, Error> {
    let mut request = at.request(Method::HEAD);
    request.query.push(("partNumber".to_owned(), Some("1".to_owned())));
    identity.pin(&mut request.headers);
    let response = resources.upstream.send(request).await?;
    if matches!(response.status(), StatusCode::PRECONDITION_FAILED | StatusCode::NOT_FOUND) {
        return Err(Error::Replaced);
    }
    let count = response.headers().get("x-amz-mp-parts-count");
    let count = count.and_then(|count| count.to_str().ok()?.parse().ok());
    match response.status() {
        StatusCode::OK | StatusCode::PARTIAL_CONTENT => count.ok_or(Error::PartsUnknown),
        StatusCode::BAD_REQUEST | StatusCode::NOT_IMPLEMENTED => Err(Error::PartsUnknown),
        status if status.is_server_error() => Err(Error::UpstreamFailed { status: status.as_u16() }),
        _ => Err(Error::UnexpectedResponse(UnexpectedResponse::Refusal("HeadObject"))),
    }
}

/// Reads `length` stored bytes from `first` on, of the object with this identity.
async fn read_stored(
    resources: &Resources,
    at: &ObjectLocation<'_>,
    identity: &ObjectIdentity,
    first: u64,
    length: u64,
) -> Result<Bytes, Error> {
    let mut request = at.request(Method::GET);
    request.headers.insert(RANGE, stored_range(first, first + length - 1));
    identity.pin(&mut request.headers);
    let response = resources.upstream.fetch(request).await?;
    match response.status() {
        StatusCode::OK | StatusCode::PARTIAL_CONTENT => {}
        status if status.is_server_error() => {
            return Err(Error::UpstreamFailed { status: status.as_u16() });
        }
        StatusCode::PRECONDITION_FAILED | StatusCode::NOT_FOUND | StatusCode::RANGE_NOT_SATISFIABLE => {
            return Err(Error::Replaced);
        }
        StatusCode::FORBIDDEN => return Err(unreadable(response).await),
        status => {
            tracing::debug!(%status, object_key = ?at.object_key, "layout not readable");
            return Err(Error::UnexpectedResponse(UnexpectedResponse::Refusal("GetObject")));
        }
    }
    let (head, body) = response.into_parts();
    let run = ReceivedRange::from_response(head.status, &head.headers, &body)?;
    if !identity.may_be(&head.headers, run.total) {
        return Err(Error::Replaced);
    }
    read_run(body, run, first, length).await
}

/// Takes `length` stored bytes from `first` on out of a response that may hold more.
///
/// # Errors
/// [`Error::UnexpectedResponse`] when the response does not hold these bytes, or holds more than
/// [`MAX_DROPPED`] before them.
pub(crate) async fn read_run(
    mut body: BoxBody,
    run: ReceivedRange,
    first: u64,
    length: u64,
) -> Result<Bytes, Error> {
    let other = Error::UnexpectedResponse(UnexpectedResponse::WrongRange);
    let Some(mut dropping) = first.checked_sub(run.first).filter(|more| *more <= MAX_DROPPED) else {
        return Err(other);
    };
    let length = usize::try_from(length).expect("a header or a tail fits in memory");
    let mut read = Vec::with_capacity(length);
    while read.len() < length {
        let Some(frame) = body.frame().await else { return Err(other) };
        let Ok(mut data) = frame.map_err(Error::UpstreamBody)?.into_data() else { continue };
        let dropped = usize::try_from(dropping).unwrap_or(usize::MAX).min(data.len());
        data.advance(dropped);
        dropping -= dropped as u64;
        read.extend_from_slice(&data[..data.len().min(length - read.len())]);
    }
    Ok(read.into())
}
