//! Where the bytes of multipart objects lie: proven once by a few small reads, then cached (F-42, F-44).
//!
//! It must not know client requests. A layout is cached with the identity of its object, and used only for
//! responses about an object with an equal identity. Stored bytes may be requested by a layout that is not
//! proven yet; nothing is opened by it.

use std::sync::Arc;

use bytes::{Buf, Bytes};
use http::header::RANGE;
use http::{Method, StatusCode};
use http_body_util::BodyExt;

use super::caches::ProvenLayout;
use super::location::{ObjectIdentity, ObjectLocation, ReceivedRange, unreadable};
use super::range::stored_range;
use crate::body::BoxBody;
use crate::envelope::native::FormatError;
use crate::envelope::native::multipart::{
    CarriedChecksum, Ending, Layout, LayoutGuess, MultipartLength, MultipartWindow, RangeOpener,
    SEGMENT_HEADER, carried_checksum, layout_tail_length, multipart_plaintext_length, open_layout_tail,
};
use crate::envelope::{ContentKey, EndKey};
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

/// The plaintext length of an object with a customer key, from the layout that it carries, without that key
/// (F-75). `tail` is a response that may hold the layout; without one, the layout is requested. Nothing is
/// cached here: the layout cache holds checksums, which the end key does not open.
///
/// # Errors
/// The errors of [`layout_of`], and a format error where the layout opens with the content key alone.
pub(crate) async fn length_by_end_key(
    resources: &Resources,
    at: &ObjectLocation<'_>,
    identity: &ObjectIdentity,
    end_key: &EndKey,
    tail: Option<(ReceivedRange, BoxBody)>,
) -> Result<u64, Error> {
    let total = identity.stored_total;
    let parts = match identity.parts() {
        Some(parts) => parts,
        None => fetch_part_count(resources, at, identity).await?,
    };
    match multipart_plaintext_length(total, parts)? {
        MultipartLength::Exact(length) => Ok(length),
        MultipartLength::NeedsLayout => {
            let length = layout_tail_length(parts);
            let first = total.checked_sub(length).ok_or(FormatError::Length)?;
            let tail = match tail {
                Some((run, body)) => read_run(body, run, first, length).await?,
                None => read_stored(resources, at, identity, first, length).await?,
            };
            Ok(open_layout_tail(end_key, &tail, total, parts)?.plaintext_total())
        }
    }
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

/// The layout by which the stored bytes of a range are requested.
pub(crate) enum ExpectedLayout {
    /// The object's layout.
    Proven(Arc<ProvenLayout>),
    /// The layout that the first segment's header makes most likely.
    Likely { identity: ObjectIdentity, layout: Layout, content_key: Arc<ContentKey> },
}

/// The layout to expect of an object that `response` describes: from the cache, else after one small read. An
/// object that carries no layout is read for its first segment's header only, if the response does not begin
/// with that.
///
/// # Errors
/// The errors of [`layout_of`].
pub(crate) async fn expect_layout(
    resources: &Resources,
    at: &ObjectLocation<'_>,
    identity: ObjectIdentity,
    content_key: Arc<ContentKey>,
    response: (ReceivedRange, BoxBody),
) -> Result<ExpectedLayout, Error> {
    if let Some(known) = resources.layout_cache.known(at, &identity).await {
        return Ok(ExpectedLayout::Proven(known));
    }
    let (Some(parts), Some(plaintext_total)) = (identity.parts(), identity.plaintext_total()?) else {
        // The bytes of a wrong guess are of no use.
        drop(response);
        return layout_of(resources, at, &identity, &content_key).await.map(ExpectedLayout::Proven);
    };
    let claim = (plaintext_total, parts);
    let guesses = guess_layouts(resources, at, &identity, &content_key, claim, Some(response));
    let (_, guesses) = Box::pin(guesses).await?;
    let layout = guesses.first().ok_or(FormatError::BodyLength)?.unproven().clone();
    Ok(ExpectedLayout::Likely { identity, layout, content_key })
}

/// What is needed to open a range of a multipart object.
pub(crate) struct ProvenRange {
    pub(crate) known: Arc<ProvenLayout>,
    /// The stored bytes that were requested; `None` for none.
    pub(crate) window: Option<MultipartWindow>,
    /// The segment header that the window needs and does not begin with. Not authentic before
    /// [`Self::opener`].
    header: Option<Bytes>,
}

impl ExpectedLayout {
    pub(crate) fn identity(&self) -> &ObjectIdentity {
        match self {
            Self::Proven(known) => &known.identity,
            Self::Likely { identity, .. } => identity,
        }
    }

    pub(crate) fn layout(&self) -> &Layout {
        match self {
            Self::Proven(known) => &known.layout,
            Self::Likely { layout, .. } => layout,
        }
    }

    /// Proves the layout if it is not proven yet, and meanwhile reads the segment header that `window` needs
    /// and does not begin with. The proven layout may be another one than the expected.
    ///
    /// # Errors
    /// The errors of [`layout_of`].
    pub(crate) async fn prove(
        &self,
        resources: &Resources,
        at: &ObjectLocation<'_>,
        window: Option<MultipartWindow>,
    ) -> Result<ProvenRange, Error> {
        let (known, header) = match self {
            Self::Proven(known) => {
                let header = header_apart(resources, at, &known.identity, known.fingerprint, window).await?;
                (known.clone(), header)
            }
            Self::Likely { identity, content_key, .. } => {
                let header = header_apart(resources, at, identity, identity.fingerprint(at), window);
                tokio::try_join!(layout_of(resources, at, identity, content_key), header)?
            }
        };
        Ok(ProvenRange { known, window, header })
    }
}

impl ProvenRange {
    /// Opens the window of the proven layout, which must be the one that was requested, and caches the header
    /// that was read for it. Only an authentic header is cached, since otherwise a passing fault would last.
    ///
    /// # Errors
    /// The errors of [`RangeOpener::new`].
    pub(crate) async fn opener(
        self,
        resources: &Resources,
        window: &MultipartWindow,
        content_key: Arc<ContentKey>,
    ) -> Result<RangeOpener, FormatError> {
        let Self { known, header, .. } = self;
        let opener = RangeOpener::new(content_key, known.layout.clone(), window, header.as_deref())?;
        if let (Some(header), Some(offset)) = (header, window.header_apart) {
            resources.layout_cache.headers.entry((known.fingerprint, offset)).or_insert(header).await;
        }
        Ok(opener)
    }
}

/// The segment header that a window needs and does not begin with: from the cache, else from the object, and
/// then not authenticated.
async fn header_apart(
    resources: &Resources,
    at: &ObjectLocation<'_>,
    identity: &ObjectIdentity,
    fingerprint: [u8; 32],
    window: Option<MultipartWindow>,
) -> Result<Option<Bytes>, Error> {
    let Some(offset) = window.and_then(|window| window.header_apart) else { return Ok(None) };
    if let Some(header) = resources.layout_cache.headers.get(&(fingerprint, offset)).await {
        return Ok(Some(header));
    }
    read_stored(resources, at, identity, offset, SEGMENT_HEADER as u64).await.map(Some)
}

/// The first segment's header of an object that carries no layout, and the layouts that fit it. The header
/// comes from the cache, else from the response if that begins with it, else from the object.
async fn guess_layouts(
    resources: &Resources,
    at: &ObjectLocation<'_>,
    identity: &ObjectIdentity,
    content_key: &ContentKey,
    (plaintext_total, parts): (u64, u16),
    response: Option<(ReceivedRange, BoxBody)>,
) -> Result<(Bytes, Vec<LayoutGuess>), Error> {
    let guess = |header: &[u8]| LayoutGuess::from_first_header(content_key, header, plaintext_total, parts);
    let read = async {
        let length = SEGMENT_HEADER as u64;
        let header = match response.filter(|(run, _)| run.first == 0) {
            Some((run, body)) => read_run(body, run, 0, length).await?,
            None => read_stored(resources, at, identity, 0, length).await?,
        };
        // Only an authentic header is cached.
        guess(&header)?;
        Ok(header)
    };
    let headers = &resources.layout_cache.headers;
    let header = headers.try_get_with((identity.fingerprint(at), 0), read).await.map_err(Error::Shared)?;
    let guesses = guess(&header)?;
    Ok((header, guesses))
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
            let claim = (plaintext_total, parts);
            let (first, guesses) = guess_layouts(resources, at, identity, content_key, claim, None).await?;
            let mut ending = (0, first);
            let mut refused = FormatError::BodyLength;
            for guess in guesses {
                let offset = guess.last_header_offset();
                if offset != ending.0 {
                    let header = read_stored(resources, at, identity, offset, SEGMENT_HEADER as u64);
                    ending = (offset, header.await?);
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
    let response = resources.upstreams.send(request).await?;
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
    let response = resources.upstreams.fetch(request).await?;
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
