//! Native ciphertext in, authenticated plaintext out.
//!
//! It must not know how ciphertext was requested. It promises to keep one chunk in memory, and that nothing
//! is released before its tag was verified.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;

use super::data::poll_next_data;
use super::{BoxError, DataBody, PollData, buffer_pool};
use crate::envelope::StreamError;
use crate::envelope::native::{FormatError, PieceOpener, ReadWindow, SEALED_CHUNK};

/// Why a stored body could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The storage sent other bytes than were sealed.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The storage sent other bytes than were sealed, in a format without chunks.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// The storage's response broke off.
    #[error("the storage's response broke off")]
    Upstream(#[source] BoxError),
}

impl OpenError {
    /// Whether the storage sent other bytes than were sealed.
    pub fn is_integrity_failure(&self) -> bool {
        match self {
            Self::Format(_) | Self::Stream(_) => true,
            Self::Upstream(_) => false,
        }
    }
}

/// An opener of any type.
pub type BoxOpener = Box<dyn PieceOpener + Send>;

/// Which stored and which opened bytes to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlaintextWindow {
    /// Stored bytes to drop before the first piece.
    pub discard: u64,
    /// Plaintext bytes to drop before the first one to release.
    pub skip: u64,
    /// Plaintext bytes to release.
    pub length: u64,
}

impl From<&ReadWindow> for PlaintextWindow {
    fn from(window: &ReadWindow) -> Self {
        Self { discard: window.discard, skip: window.skip, length: window.length }
    }
}

/// An HTTP body that opens a window of another one.
///
/// It ends without an error only after every byte of the window was authenticated and released, and of a
/// whole multipart body also its end.
pub type OpenBody<B> = DataBody<OpenPieces<B>>;

/// The ciphertext that an [`OpenBody`] opens.
pub struct OpenPieces<B> {
    ciphertext: B,
    opener: BoxOpener,
    left: PlaintextWindow,
    piece: BytesMut,
    pending: Bytes,
    has_ended: bool,
}

/// The state of the next piece.
enum Filled {
    /// Incomplete.
    No,
    /// Complete in a buffer of its own, put together from several frames.
    Gathered,
    /// Contiguous at the beginning of the last frame.
    Contiguous,
}

impl<B> OpenBody<B>
where
    B: Body<Data = Bytes, Error = BoxError> + Unpin,
{
    /// A body that opens `plaintext_window` of `ciphertext`.
    pub fn new(ciphertext: B, opener: BoxOpener, plaintext_window: PlaintextWindow) -> Self {
        Self::from_source(OpenPieces {
            ciphertext,
            opener,
            left: plaintext_window,
            piece: BytesMut::new(),
            pending: Bytes::new(),
            has_ended: false,
        })
    }

    /// Waits until the first chunk was authenticated, so that a damaged object is refused with a proper
    /// response instead of a broken connection.
    ///
    /// # Errors
    /// The error of the first chunk.
    pub async fn primed(mut self) -> Result<PrimedBody<Self>, OpenError> {
        let first = self.frame().await.transpose()?;
        Ok(PrimedBody { first, rest: self })
    }
}

impl<B> OpenPieces<B>
where
    B: Body<Data = Bytes, Error = BoxError> + Unpin,
{
    /// Moves pending bytes into the next piece.
    fn fill(&mut self, wanted: usize) -> Filled {
        let dropped = self.left.discard.min(self.pending.len() as u64);
        self.pending.advance(usize::try_from(dropped).expect("it is at most the frame's length"));
        self.left.discard -= dropped;
        if self.piece.is_empty() && wanted == SEALED_CHUNK && self.pending.len() >= wanted {
            return Filled::Contiguous;
        }
        if self.piece.capacity() == 0 {
            if wanted == SEALED_CHUNK {
                self.piece = buffer_pool::take_empty();
            }
            self.piece.reserve(wanted);
        }
        let take = self.pending.len().min(wanted - self.piece.len());
        self.piece.extend_from_slice(&self.pending[..take]);
        self.pending.advance(take);
        if self.piece.len() == wanted { Filled::Gathered } else { Filled::No }
    }

    /// Opens a gathered piece.
    fn open_gathered(&mut self) -> Result<Bytes, FormatError> {
        let mut piece = std::mem::take(&mut self.piece);
        self.opener.open_next(&mut piece)?;
        let is_whole = piece.capacity() >= SEALED_CHUNK;
        Ok(if is_whole { buffer_pool::freeze(piece) } else { piece.freeze() })
    }

    /// Opens a contiguous piece of `wanted` bytes.
    fn open_contiguous(&mut self, wanted: usize) -> Result<Bytes, FormatError> {
        let mut plaintext = buffer_pool::take();
        self.opener.open_next_into(&self.pending[..wanted], &mut plaintext)?;
        self.pending.advance(wanted);
        Ok(buffer_pool::freeze(plaintext))
    }

    /// Cuts the window out of the plaintext that may be released.
    fn release(&mut self, mut plaintext: Bytes) -> Result<Bytes, FormatError> {
        let skipped = self.left.skip.min(plaintext.len() as u64);
        plaintext.advance(usize::try_from(skipped).expect("it is at most the piece's length"));
        self.left.skip -= skipped;
        let keep = usize::try_from(self.left.length).unwrap_or(usize::MAX).min(plaintext.len());
        self.left.length -= keep as u64;
        let is_last = keep > 0 && self.left.length == 0;
        if self.opener.authenticates_end()
            && (keep < plaintext.len() || is_last && self.opener.next_length().is_some())
        {
            // More than was announced, or all of it although the body's end is not authenticated yet.
            return Err(FormatError::BodyLength);
        }
        plaintext.truncate(keep);
        Ok(plaintext)
    }
}

impl<B> PollData for OpenPieces<B>
where
    B: Body<Data = Bytes, Error = BoxError> + Unpin,
{
    type Error = OpenError;

    fn poll_data(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, OpenError>>> {
        loop {
            if self.has_ended {
                return Poll::Ready(None);
            }
            let Some(wanted) = self.opener.next_length() else {
                if self.left.length > 0 {
                    // The last piece was opened and the window is not full: it lay outside the object.
                    return Poll::Ready(Some(Err(FormatError::BodyLength.into())));
                }
                self.has_ended = true;
                continue;
            };
            let opened = match self.fill(wanted) {
                Filled::No => None,
                Filled::Gathered => Some(self.open_gathered()?),
                Filled::Contiguous => Some(self.open_contiguous(wanted)?),
            };
            if let Some(opened) = opened {
                let plaintext = self.release(opened)?;
                let is_over = !self.opener.authenticates_end() || self.opener.next_length().is_none();
                self.has_ended = self.left.length == 0 && is_over;
                if plaintext.is_empty() {
                    continue;
                }
                return Poll::Ready(Some(Ok(plaintext)));
            }
            let data = ready!(poll_next_data(&mut self.ciphertext, context));
            self.pending = data.transpose().map_err(OpenError::Upstream)?.ok_or(FormatError::BodyLength)?;
        }
    }

    fn is_end(&self) -> bool {
        self.has_ended
    }

    fn length(&self) -> Option<u64> {
        Some(self.left.length)
    }
}

/// A body whose first frame was read already.
pub struct PrimedBody<B> {
    first: Option<Frame<Bytes>>,
    rest: B,
}

impl<B> Body for PrimedBody<B>
where
    B: Body<Data = Bytes> + Unpin,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.first.take() {
            Some(frame) => Poll::Ready(Some(Ok(frame))),
            None => Pin::new(&mut self.rest).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let first = self.first.as_ref().and_then(Frame::data_ref).map_or(0, Bytes::len) as u64;
        match self.rest.size_hint().exact() {
            Some(rest) => SizeHint::with_exact(first + rest),
            None => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::body::test_support::{frames, layout, new_object, pattern, seal_all, seal_segments};
    use crate::envelope::ContentKey;
    use crate::envelope::native::multipart::{BodyClaim, Layout, MultipartOpener, RangeOpener};
    use crate::envelope::native::{CHUNK, ChunkOpener, CiphertextRange, PlaintextRange, SEALED_CHUNK};
    use crate::wire::range::RangeSpec;

    fn open<B>(ciphertext: B, content_key: &ContentKey, window: &ReadWindow) -> OpenBody<B>
    where
        B: Body<Data = Bytes, Error = BoxError> + Unpin,
    {
        let opener = ChunkOpener::for_put(content_key, window.plaintext_total, window.first_chunk).unwrap();
        OpenBody::new(ciphertext, Box::new(opener), window.into())
    }

    async fn read(
        stored: &[u8],
        content_key: &ContentKey,
        window: &ReadWindow,
        cuts: &[usize],
    ) -> Result<Vec<u8>, OpenError> {
        let body = open(frames(stored, cuts), content_key, window).primed().await?;
        assert_eq!(body.size_hint().exact(), Some(window.length), "the promised length is exact");
        Ok(body.collect().await?.to_bytes().to_vec())
    }

    fn object(length: usize) -> (Vec<u8>, Vec<u8>, ContentKey) {
        let content = pattern(length);
        let (content_key, sealer) = new_object();
        let stored = seal_all(sealer, &content);
        (content, stored, content_key)
    }

    #[tokio::test]
    async fn a_whole_object_comes_back_whatever_the_framing() {
        for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK] {
            let (content, stored, content_key) = object(length);
            let window = ReadWindow::whole(length as u64);
            for cuts in [&[][..], &[1, 2, 3], &[SEALED_CHUNK], &[16, SEALED_CHUNK - 1, SEALED_CHUNK + 1]] {
                assert_eq!(read(&stored, &content_key, &window, cuts).await.unwrap(), content);
            }
        }
    }

    #[tokio::test]
    async fn a_body_that_ends_early_is_an_error_and_not_a_short_object() {
        let (_, stored, content_key) = object(2 * CHUNK + 9);
        let window = ReadWindow::whole(2 * CHUNK as u64 + 9);
        for cut in [0, 5, SEALED_CHUNK, 2 * SEALED_CHUNK, stored.len() - 1] {
            let error = read(&stored[..cut], &content_key, &window, &[]).await.unwrap_err();
            assert!(matches!(error, OpenError::Format(FormatError::BodyLength)), "cut at {cut}");
        }
    }

    #[tokio::test]
    async fn nothing_of_a_damaged_chunk_is_released() {
        let (content, mut stored, content_key) = object(3 * CHUNK);
        stored[SEALED_CHUNK + 100] ^= 1;
        let window = ReadWindow::whole(3 * CHUNK as u64);
        let mut body = open(frames(&stored, &[]), &content_key, &window);
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(first, content[..CHUNK]);
        let error = body.frame().await.unwrap().unwrap_err();
        assert!(matches!(error, OpenError::Format(FormatError::ChunkTag)));
        assert!(body.frame().await.is_none(), "nothing comes after the failure");
    }

    #[tokio::test]
    async fn priming_reports_a_damaged_first_chunk_before_the_response() {
        let (_, mut stored, content_key) = object(10);
        stored[0] ^= 1;
        let window = ReadWindow::whole(10);
        let body = open(frames(&stored, &[]), &content_key, &window);
        assert!(body.primed().await.is_err());
    }

    #[tokio::test]
    async fn the_empty_object_is_authenticated_too() {
        let (_, mut stored, content_key) = object(0);
        stored[3] ^= 1;
        let window = ReadWindow::whole(0);
        assert!(read(&stored, &content_key, &window, &[]).await.is_err());
    }

    /// A multipart upload, its segments and its key.
    fn uploaded(layout: &Layout) -> (Vec<u8>, Vec<Vec<u8>>, Arc<ContentKey>) {
        let content = pattern(usize::try_from(layout.plaintext_total()).unwrap());
        let (content_key, _) = new_object();
        let segments = seal_segments(&content_key, layout, &content);
        (content, segments, Arc::new(content_key))
    }

    /// The plaintext of a whole multipart body, and how it ended.
    async fn read_multipart(
        stored: &[u8],
        content_key: &Arc<ContentKey>,
        claim: BodyClaim,
        total: u64,
        cuts: &[usize],
    ) -> (Vec<u8>, Result<(), OpenError>) {
        let opener = match MultipartOpener::new(content_key.clone(), claim, None) {
            Ok(opener) => Box::new(opener),
            Err(error) => return (Vec::new(), Err(error.into())),
        };
        let plaintext_window = PlaintextWindow { discard: 0, skip: 0, length: total };
        let mut body = OpenBody::new(frames(stored, cuts), opener, plaintext_window);
        let mut released = Vec::new();
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => released.extend_from_slice(&frame.into_data().unwrap()),
                Err(error) => {
                    assert!(body.frame().await.is_none(), "nothing comes after the failure");
                    return (released, Err(error));
                }
            }
        }
        (released, Ok(()))
    }

    #[tokio::test]
    async fn a_whole_multipart_body_ends_only_when_its_end_was_authenticated() {
        const CHUNK_U64: u64 = CHUNK as u64;
        for layout in [
            layout(&[0], false),
            layout(&[CHUNK_U64, 0], false),
            layout(&[CHUNK_U64, CHUNK_U64 + 5], true),
            layout(&[CHUNK_U64, CHUNK_U64, 5], false),
            layout(&[5, CHUNK_U64 + 1], true),
            layout(&[5, 0], false),
        ] {
            let (content, segments, content_key) = uploaded(&layout);
            let stored = segments.concat();
            let total = content.len() as u64;
            let claim = BodyClaim { ciphertext_total: stored.len() as u64, parts: None };
            for cuts in [&[][..], &[1, 79, 80, 81], &[SEALED_CHUNK + 80, stored.len() - 1]] {
                let (released, outcome) = read_multipart(&stored, &content_key, claim, total, cuts).await;
                assert!(outcome.is_ok() && released == content, "{layout:?}");
            }
            // Cut anywhere, with an honest claim and with one that fits the cut.
            let ends = segments.iter().scan(0, |end, segment| {
                *end += segment.len();
                Some(*end)
            });
            for cut in ends.flat_map(|end| [end.saturating_sub(1), end, end + 1, end + 80]) {
                if cut >= stored.len() {
                    continue;
                }
                for ciphertext_total in [stored.len() as u64, cut as u64] {
                    let claim = BodyClaim { ciphertext_total, parts: None };
                    let read = read_multipart(&stored[..cut], &content_key, claim, total, &[]).await;
                    let (released, outcome) = read;
                    assert!(outcome.is_err(), "This is a security issue: cut at {cut} of {layout:?}");
                    assert!(content.starts_with(&released));
                    assert!(
                        total == 0 || released.len() < content.len(),
                        "This is a security issue: all of a body came out whose end is missing."
                    );
                }
            }
        }
    }

    #[tokio::test]
    async fn a_wrong_promise_of_length_is_an_error_and_not_a_short_object() {
        let (content, segments, content_key) = uploaded(&layout(&[CHUNK as u64, 9], false));
        let stored = segments.concat();
        let claim = BodyClaim { ciphertext_total: stored.len() as u64, parts: None };
        for promised in [content.len() - 9, content.len() - 1, content.len() + 1] {
            let (_, outcome) = read_multipart(&stored, &content_key, claim, promised as u64, &[]).await;
            assert!(outcome.is_err(), "{promised}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn a_range_equals_the_slice(
            length in 1..4 * CHUNK, a in any::<usize>(), b in any::<usize>(),
            kind in 0..3, cuts in prop::collection::vec(0..4 * CHUNK, 0..4),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let (content, stored, content_key) = object(length);
            let total = stored.len() as u64;
            let (first, last) = ((a % length).min(b % length), (a % length).max(b % length));
            let (requested, slice) = match kind {
                0 => (PlaintextRange(RangeSpec::Bounded { first: first as u64, last: last as u64 }), first..last + 1),
                1 => (PlaintextRange(RangeSpec::From { first: first as u64 }), first..length),
                _ => (PlaintextRange(RangeSpec::Suffix { length: (length - first) as u64 }), first..length),
            };
            let (start, end) = match requested.ciphertext() {
                CiphertextRange(RangeSpec::Bounded { first, last }) => (first, (last + 1).min(total)),
                CiphertextRange(RangeSpec::From { first }) => (first, total),
                CiphertextRange(RangeSpec::Suffix { length }) => (total.saturating_sub(length), total),
            };
            let window =
                ReadWindow::slice(length as u64, start, slice.start as u64, slice.end as u64 - 1).unwrap();
            let part = &stored[start as usize..end as usize];
            let got = runtime.block_on(read(part, &content_key, &window, &cuts)).unwrap();
            prop_assert_eq!(got, &content[slice]);
        }

        #[test]
        fn a_range_of_a_multipart_body_equals_the_slice(
            lengths in prop::collection::vec(1..2 * CHUNK as u64, 1..5), terminated in any::<bool>(),
            a in any::<u64>(), b in any::<u64>(), early in 0_u64..100, cuts in prop::collection::vec(0..8 * CHUNK, 0..4),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let layout = layout(&lengths, terminated);
            let (content, segments, content_key) = uploaded(&layout);
            let stored = segments.concat();
            let total = layout.plaintext_total();
            let (first, last) = ((a % total).min(b % total), (a % total).max(b % total));
            let window = layout.window(first, last).unwrap();
            let header = window.header_apart.map(|at| &stored[at as usize..at as usize + 80]);
            let opener = RangeOpener::new(content_key, Arc::new(layout), &window, header).unwrap();
            // A response may begin earlier than requested.
            let start = window.ciphertext_first.saturating_sub(early);
            let discard = window.ciphertext_first - start;
            let plaintext_window = PlaintextWindow { discard, skip: window.skip, length: window.length };
            let run = &stored[start as usize..=window.ciphertext_last as usize];
            let body = OpenBody::new(frames(run, &cuts), Box::new(opener), plaintext_window);
            prop_assert_eq!(body.size_hint().exact(), Some(last - first + 1));
            let got = runtime.block_on(async { body.collect().await.map(|all| all.to_bytes().to_vec()) });
            prop_assert!(got.unwrap() == content[first as usize..=last as usize]);
        }
    }
}
