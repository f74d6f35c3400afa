//! Plaintext in, native ciphertext out: one chunk in memory, the last one held back until the plaintext ended well.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};

use crate::envelope::native::{CHUNK, PutSealer, SEALED_CHUNK, ciphertext_length};

/// An HTTP body that seals another one.
///
/// The inner body's error ends it before its last chunk was released, so a store that was promised the exact length
/// never completes the object.
pub struct SealBody<B> {
    plaintext: B,
    sealer: Option<PutSealer>,
    chunk: BytesMut,
    pending: Bytes,
    ciphertext_left: u64,
}

impl<B> SealBody<B> {
    /// Seals `plaintext`, which promises to be `plaintext_length` bytes long.
    ///
    /// # Panics
    /// When the ciphertext's length exceeds 64 bits: the caller limits objects to 5 GiB.
    pub fn new(plaintext: B, plaintext_length: u64, sealer: PutSealer) -> Self {
        let ciphertext_left = ciphertext_length(plaintext_length).expect("objects are at most 5 GiB long");
        Self {
            plaintext,
            sealer: Some(sealer),
            chunk: BytesMut::new(),
            pending: Bytes::new(),
            ciphertext_left,
        }
    }

    /// Moves pending plaintext into the chunk; true when the chunk is full and more plaintext waits behind it.
    fn fill(&mut self) -> bool {
        if self.pending.is_empty() {
            return false;
        }
        if self.chunk.capacity() == 0 {
            self.chunk.reserve(SEALED_CHUNK);
        }
        let take = self.pending.len().min(CHUNK - self.chunk.len());
        self.chunk.extend_from_slice(&self.pending[..take]);
        self.pending.advance(take);
        !self.pending.is_empty()
    }

    fn release(&mut self) -> Bytes {
        let sealed = std::mem::take(&mut self.chunk).freeze();
        self.ciphertext_left = self.ciphertext_left.saturating_sub(sealed.len() as u64);
        sealed
    }
}

impl<B> Body for SealBody<B>
where
    B: Body<Data = Bytes> + Unpin,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = &mut *self;
        loop {
            let Some(sealer) = this.sealer.as_mut() else { return Poll::Ready(None) };
            if this.chunk.len() == CHUNK && !this.pending.is_empty() {
                sealer.seal_next(&mut this.chunk);
                return Poll::Ready(Some(Ok(Frame::data(this.release()))));
            }
            if this.fill() {
                continue;
            }
            match ready!(Pin::new(&mut this.plaintext).poll_frame(context)) {
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        this.pending = bytes;
                    }
                }
                Some(Err(error)) => {
                    this.sealer = None;
                    return Poll::Ready(Some(Err(error)));
                }
                None => {
                    let sealer = this.sealer.take().expect("it was there at the top of the loop");
                    sealer.seal_last(&mut this.chunk);
                    return Poll::Ready(Some(Ok(Frame::data(this.release()))));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.sealer.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.ciphertext_left)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use proptest::prelude::*;

    use super::*;
    use crate::body::tests_support::{frames, new_object, open_all, pattern};

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
