//! Plaintext in, native ciphertext out.
//!
//! It must not know what the plaintext is or where the ciphertext is stored. It promises to keep one chunk in
//! memory, and to hold the last one back until the plaintext ended without an error.

use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http_body::Body;

use super::data::poll_next_data;
use super::{DataBody, PollData, buffer_pool};
use crate::envelope::native::multipart::SegmentSealer;
use crate::envelope::native::{CHUNK, ChunkSealer, SEALED_CHUNK, ciphertext_length};

/// Bytes of the first buffer of a chunk that is put together from several frames. With hundreds of uploads
/// in flight, chunks take most of the memory, and many chunks are less than half full.
const HALF: usize = CHUNK / 2;

/// An HTTP body that seals another one.
///
/// An error of the inner body ends it before its last chunk was released, so a storage that was promised the
/// exact length never completes the object.
pub type SealBody<B> = DataBody<SealPieces<B>>;

/// The plaintext that a [`SealBody`] seals.
pub struct SealPieces<B> {
    plaintext: B,
    /// The bytes before the chunks, until they were released.
    header: Bytes,
    /// `None` after the last chunk was sealed, and for a segment without chunks.
    sealer: Option<ChunkSealer>,
    /// The bytes after the chunks.
    tail: Bytes,
    chunk: BytesMut,
    pending: Bytes,
    ciphertext_left: u64,
    state: State,
}

#[derive(PartialEq)]
enum State {
    Reading,
    /// The plaintext ended without an error: what is held back is released.
    Ending,
    Ended,
}

impl<B> SealBody<B> {
    /// A body that seals `plaintext`, which promises to be `plaintext_length` bytes long, as the body of one
    /// PUT.
    ///
    /// # Panics
    /// When the ciphertext's length exceeds 64 bits: the caller limits objects to 5 GiB.
    pub fn new(plaintext: B, plaintext_length: u64, sealer: ChunkSealer) -> Self {
        let ciphertext = ciphertext_length(plaintext_length).expect("objects are at most 5 GiB long");
        Self::from_pieces(plaintext, Bytes::new(), Some(sealer), Bytes::new(), ciphertext)
    }

    /// A body that seals `plaintext`, which promises to be as long as the segment's part, as a segment of a
    /// multipart upload.
    pub fn segment(plaintext: B, sealer: SegmentSealer) -> Self {
        let length = sealer.stored_length();
        let SegmentSealer { header, chunks, tail, .. } = sealer;
        Self::from_pieces(plaintext, Bytes::copy_from_slice(&header), chunks, tail.into(), length)
    }

    fn from_pieces(
        plaintext: B,
        header: Bytes,
        sealer: Option<ChunkSealer>,
        tail: Bytes,
        length: u64,
    ) -> Self {
        Self::from_source(SealPieces {
            plaintext,
            header,
            sealer,
            tail,
            chunk: BytesMut::new(),
            pending: Bytes::new(),
            ciphertext_left: length,
            state: State::Reading,
        })
    }
}

impl<B> SealPieces<B> {
    /// Moves pending plaintext into the chunk; true when the chunk is full and more plaintext follows.
    fn fill(&mut self) -> bool {
        if self.pending.is_empty() {
            return false;
        }
        let take = self.pending.len().min(CHUNK - self.chunk.len());
        if self.chunk.len() + take <= HALF {
            self.chunk.reserve(HALF - self.chunk.len());
        } else if self.chunk.capacity() < SEALED_CHUNK {
            let mut whole = buffer_pool::take_empty();
            whole.reserve(SEALED_CHUNK);
            whole.extend_from_slice(&self.chunk);
            self.chunk = whole;
        }
        self.chunk.extend_from_slice(&self.pending[..take]);
        self.pending.advance(take);
        !self.pending.is_empty()
    }

    /// Whether a full chunk is buffered, gathered or contiguous, and more plaintext follows it.
    fn has_full_chunk(&self) -> bool {
        match self.chunk.len() {
            0 => self.pending.len() > CHUNK,
            length => length == CHUNK && !self.pending.is_empty(),
        }
    }

    fn seal_full_chunk(&mut self) -> Bytes {
        let sealer = self.sealer.as_mut().expect("a segment without chunks is promised no plaintext");
        if !self.chunk.is_empty() {
            sealer.seal_next(&mut self.chunk);
            return self.release_chunk();
        }
        let mut sealed = buffer_pool::take();
        sealer.seal_next_into(&self.pending[..CHUNK], &mut sealed);
        self.pending.advance(CHUNK);
        self.release(buffer_pool::freeze(sealed))
    }

    fn release(&mut self, sealed: Bytes) -> Bytes {
        self.ciphertext_left = self.ciphertext_left.saturating_sub(sealed.len() as u64);
        sealed
    }

    fn release_chunk(&mut self) -> Bytes {
        let sealed = std::mem::take(&mut self.chunk);
        let is_whole = sealed.capacity() >= SEALED_CHUNK;
        self.release(if is_whole { buffer_pool::freeze(sealed) } else { sealed.freeze() })
    }

    /// The bytes before the chunks, once.
    fn take_header(&mut self) -> Option<Bytes> {
        let header = std::mem::take(&mut self.header);
        (!header.is_empty()).then(|| self.release(header))
    }

    /// The pieces still held back when the plaintext has ended, one at a time.
    fn end(&mut self) -> Option<Bytes> {
        let header = self.take_header();
        if header.is_some() {
            return header;
        }
        if let Some(sealer) = self.sealer.take() {
            sealer.seal_last(&mut self.chunk);
            return Some(self.release_chunk());
        }
        let tail = std::mem::take(&mut self.tail);
        (!tail.is_empty()).then(|| self.release(tail))
    }
}

impl<B: Body<Data = Bytes> + Unpin> PollData for SealPieces<B> {
    type Error = B::Error;

    fn poll_data(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, B::Error>>> {
        while self.state == State::Reading {
            if self.has_full_chunk() {
                let header = self.take_header();
                return Poll::Ready(Some(Ok(header.unwrap_or_else(|| self.seal_full_chunk()))));
            }
            if self.fill() {
                continue;
            }
            match ready!(poll_next_data(&mut self.plaintext, context)).transpose()? {
                Some(bytes) => self.pending = bytes,
                None => self.state = State::Ending,
            }
        }
        let sealed = if self.state == State::Ending { self.end() } else { None };
        if sealed.is_none() {
            self.state = State::Ended;
        }
        Poll::Ready(sealed.map(Ok))
    }

    fn is_end(&self) -> bool {
        match self.state {
            State::Reading => false,
            State::Ending => self.ciphertext_left == 0,
            State::Ended => true,
        }
    }

    fn length(&self) -> Option<u64> {
        Some(self.ciphertext_left)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use proptest::prelude::*;

    use super::*;
    use crate::body::test_support::{frames, new_object, open_all, pattern};
    use crate::envelope::native::PieceOpener;
    use crate::envelope::native::multipart::{
        BodyClaim, Layout, MultipartOpener, Part, PartNumber, SegmentEnd, SegmentEntropy,
    };

    async fn seal(content: &[u8], cuts: &[usize]) -> (Bytes, crate::envelope::ContentKey) {
        let (content_key, sealer) = new_object();
        let body = SealBody::new(frames(content, cuts), content.len() as u64, sealer);
        let promised = body.size_hint().exact();
        let sealed = body.collect().await.unwrap().to_bytes();
        assert_eq!(promised, Some(sealed.len() as u64), "the promised length is exact");
        (sealed, content_key)
    }

    #[tokio::test]
    async fn any_framing_of_the_input_gives_the_same_object() {
        for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 3 * CHUNK + 7] {
            let content = pattern(length);
            for cuts in [&[][..], &[1], &[0, 1, 1, CHUNK, CHUNK + 1], &[CHUNK], &[2 * CHUNK]] {
                let (sealed, content_key) = seal(&content, cuts).await;
                assert_eq!(open_all(&content_key, &sealed), content, "{length} bytes cut at {cuts:?}");
            }
        }
    }

    #[tokio::test]
    async fn the_last_chunk_is_held_back_until_the_plaintext_ended_well() {
        for length in [0, 5, CHUNK, 2 * CHUNK] {
            let content = pattern(length);
            let broken = frames(&content, &[]).then_an_error();
            let (_, sealer) = new_object();
            let mut body = SealBody::new(broken, length as u64, sealer);
            let mut released = 0;
            let error = loop {
                match body.frame().await.expect("the error comes before the end") {
                    Ok(frame) => released += frame.into_data().unwrap().len() as u64,
                    Err(error) => break error,
                }
            };
            assert_eq!(error.to_string(), "verdict: refused");
            assert!(body.frame().await.is_none());
            let whole = ciphertext_length(length as u64).unwrap();
            assert!(released < whole, "This is a security issue: a refused body was completed.");
        }
    }

    /// Header, chunks and tail of every kind of segment, as the opener reads them; and none of them completes
    /// a broken body.
    #[tokio::test]
    async fn segments_are_sealed_whole_or_not_at_all() {
        let content_key = std::sync::Arc::new(new_object().0);
        let number = |number| PartNumber::new(number).unwrap();
        for lengths in [&[0][..], &[1], &[CHUNK], &[CHUNK, 0], &[CHUNK, 7], &[5, 0], &[70_000, 3 * CHUNK + 1]]
        {
            let parts =
                (1..).zip(lengths).map(|(n, length)| Part { number: number(n), length: *length as u64 });
            let layout = Layout::ended_by_last(parts.collect()).unwrap();
            let content = pattern(lengths.iter().sum());
            let (mut stored, mut rest) = (Vec::new(), &content[..]);
            for (index, part) in layout.parts().iter().enumerate() {
                let end = match index + 1 == lengths.len() {
                    true if layout.is_regular() => SegmentEnd::Last,
                    true => SegmentEnd::LastCarrying(&layout),
                    false => SegmentEnd::Middle,
                };
                let sealer =
                    || SegmentSealer::new(&content_key, *part, end, SegmentEntropy::fresh()).unwrap();
                let (plaintext, after) = rest.split_at(lengths[index]);
                rest = after;
                let promised = sealer().stored_length();
                let body = SealBody::segment(frames(plaintext, &[1, CHUNK, CHUNK + 1]), sealer());
                assert_eq!(body.size_hint().exact(), Some(promised));
                let sealed = body.collect().await.unwrap().to_bytes();
                assert_eq!(sealed.len() as u64, promised);
                stored.extend_from_slice(&sealed);

                let mut broken = SealBody::segment(frames(plaintext, &[]).then_an_error(), sealer());
                let mut released = 0;
                while let Some(Ok(frame)) = broken.frame().await {
                    released += frame.into_data().unwrap().len() as u64;
                }
                assert!(released < promised, "This is a security issue: a refused part was completed.");
            }
            let claim =
                BodyClaim { ciphertext_total: stored.len() as u64, parts: Some(lengths.len() as u16) };
            let carried = (!layout.is_regular()).then(|| std::sync::Arc::new(layout.clone()));
            let mut opener = MultipartOpener::new(content_key.clone(), claim, carried).unwrap();
            let (mut opened, mut rest) = (Vec::new(), &stored[..]);
            while let Some(length) = opener.next_length() {
                let mut piece = BytesMut::from(&rest[..length]);
                rest = &rest[length..];
                opener.open_next(&mut piece).unwrap();
                opened.extend_from_slice(&piece);
            }
            assert!(opened == content, "{lengths:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn framing_never_matters(length in 0..3 * CHUNK, cuts in prop::collection::vec(0..3 * CHUNK, 0..6)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let content = pattern(length);
            let (sealed, content_key) = runtime.block_on(seal(&content, &cuts));
            prop_assert_eq!(open_all(&content_key, &sealed), content);
        }
    }
}
