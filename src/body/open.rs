//! Native ciphertext in, authenticated plaintext out: one chunk in memory, nothing released before its tag.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;

use super::BoxError;
use crate::envelope::ContentKey;
use crate::envelope::native::{FormatError, PutOpener, ReadWindow};

/// Why a stored body could not be given out.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// What the storage sent is not what was sealed.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The storage's answer broke off.
    #[error("the storage's answer broke off")]
    Upstream(#[source] BoxError),
}

/// An HTTP body that opens a window of another one.
///
/// It ends without an error only after every byte of the window was authenticated and released.
pub struct OpenBody<B> {
    ciphertext: B,
    opener: PutOpener,
    discard: u64,
    skip: usize,
    plaintext_left: u64,
    chunk: BytesMut,
    pending: Bytes,
    state: State,
}

#[derive(PartialEq)]
enum State {
    Reading,
    Ended,
}

impl<B> OpenBody<B>
where
    B: Body<Data = Bytes, Error = BoxError> + Unpin,
{
    /// Opens `window` out of `ciphertext`.
    ///
    /// # Errors
    /// [`FormatError::BodyLength`] when the window lies outside the object.
    pub fn new(ciphertext: B, content_key: &ContentKey, window: &ReadWindow) -> Result<Self, FormatError> {
        Ok(Self {
            ciphertext,
            opener: PutOpener::new(content_key, window.plaintext_total, window.first_chunk)?,
            discard: window.discard,
            skip: usize::try_from(window.skip).map_err(|_| FormatError::BodyLength)?,
            plaintext_left: window.length,
            chunk: BytesMut::new(),
            pending: Bytes::new(),
            state: State::Reading,
        })
    }

    /// Waits until the first chunk was authenticated, so that a damaged object is refused with a proper answer
    /// instead of a broken connection.
    ///
    /// # Errors
    /// What the first chunk failed with.
    pub async fn primed(mut self) -> Result<Primed<Self>, OpenError> {
        let first = self.frame().await.transpose()?;
        Ok(Primed { first, rest: self })
    }

    /// Takes pending bytes towards the next chunk; true when the chunk is complete.
    fn fill(&mut self, wanted: usize) -> bool {
        let dropped = self.discard.min(self.pending.len() as u64);
        self.pending.advance(usize::try_from(dropped).expect("it is at most the frame's length"));
        self.discard -= dropped;
        if self.chunk.capacity() == 0 {
            self.chunk.reserve(wanted);
        }
        let take = self.pending.len().min(wanted - self.chunk.len());
        self.chunk.extend_from_slice(&self.pending[..take]);
        self.pending.advance(take);
        self.chunk.len() == wanted
    }

    /// Opens the complete chunk and cuts the window's part out of it.
    fn release(&mut self) -> Result<Bytes, FormatError> {
        let mut chunk = std::mem::take(&mut self.chunk);
        self.opener.open_next(&mut chunk)?;
        let mut plaintext = chunk.freeze();
        plaintext.advance(self.skip.min(plaintext.len()));
        self.skip = 0;
        let keep = usize::try_from(self.plaintext_left).unwrap_or(usize::MAX).min(plaintext.len());
        plaintext.truncate(keep);
        self.plaintext_left -= keep as u64;
        Ok(plaintext)
    }

    fn fail<T>(&mut self, error: OpenError) -> Poll<Option<Result<T, OpenError>>> {
        self.state = State::Ended;
        Poll::Ready(Some(Err(error)))
    }
}

impl<B> Body for OpenBody<B>
where
    B: Body<Data = Bytes, Error = BoxError> + Unpin,
{
    type Data = Bytes;
    type Error = OpenError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, OpenError>>> {
        let this = &mut *self;
        loop {
            if this.state == State::Ended {
                return Poll::Ready(None);
            }
            let Some(wanted) = this.opener.next_length() else {
                // The last chunk was opened and the window is still not full: it lied outside the object.
                return this.fail(FormatError::BodyLength.into());
            };
            if this.fill(wanted) {
                let plaintext = match this.release() {
                    Ok(plaintext) => plaintext,
                    Err(error) => return this.fail(error.into()),
                };
                if this.plaintext_left == 0 {
                    this.state = State::Ended;
                }
                if plaintext.is_empty() {
                    continue;
                }
                return Poll::Ready(Some(Ok(Frame::data(plaintext))));
            }
            match ready!(Pin::new(&mut this.ciphertext).poll_frame(context)) {
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        this.pending = bytes;
                    }
                }
                Some(Err(error)) => return this.fail(OpenError::Upstream(error)),
                None => return this.fail(FormatError::BodyLength.into()),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.state == State::Ended
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.plaintext_left)
    }
}

/// A body whose first frame was already waited for.
pub struct Primed<B> {
    first: Option<Frame<Bytes>>,
    rest: B,
}

impl<B> Body for Primed<B>
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
    use proptest::prelude::*;

    use super::*;
    use crate::body::tests_support::{frames, new_object, pattern, seal_all};
    use crate::envelope::native::{CHUNK, CiphertextRange, PlaintextRange, SEALED_CHUNK};

    async fn read(
        stored: &[u8],
        content_key: &ContentKey,
        window: &ReadWindow,
        cuts: &[usize],
    ) -> Result<Vec<u8>, OpenError> {
        let body = OpenBody::new(frames(stored, cuts), content_key, window)?;
        let body = body.primed().await?;
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
            let window = ReadWindow::whole(stored.len() as u64).unwrap();
            for cuts in [&[][..], &[1, 2, 3], &[SEALED_CHUNK], &[16, SEALED_CHUNK - 1, SEALED_CHUNK + 1]] {
                assert_eq!(read(&stored, &content_key, &window, cuts).await.unwrap(), content);
            }
        }
    }

    #[tokio::test]
    async fn a_body_that_ends_early_is_an_error_and_not_a_short_object() {
        let (_, stored, content_key) = object(2 * CHUNK + 9);
        let window = ReadWindow::whole(stored.len() as u64).unwrap();
        for cut in [0, 5, SEALED_CHUNK, 2 * SEALED_CHUNK, stored.len() - 1] {
            let error = read(&stored[..cut], &content_key, &window, &[]).await.unwrap_err();
            assert!(matches!(error, OpenError::Format(FormatError::BodyLength)), "cut at {cut}");
        }
    }

    #[tokio::test]
    async fn nothing_of_a_damaged_chunk_is_released() {
        let (content, mut stored, content_key) = object(3 * CHUNK);
        stored[SEALED_CHUNK + 100] ^= 1;
        let window = ReadWindow::whole(stored.len() as u64).unwrap();
        let mut body = OpenBody::new(frames(&stored, &[]), &content_key, &window).unwrap();
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(first, content[..CHUNK]);
        let error = body.frame().await.unwrap().unwrap_err();
        assert!(matches!(error, OpenError::Format(FormatError::ChunkTag)));
        assert!(body.frame().await.is_none(), "nothing comes after the failure");
    }

    #[tokio::test]
    async fn priming_reports_a_damaged_first_chunk_before_any_answer() {
        let (_, mut stored, content_key) = object(10);
        stored[0] ^= 1;
        let window = ReadWindow::whole(stored.len() as u64).unwrap();
        let body = OpenBody::new(frames(&stored, &[]), &content_key, &window).unwrap();
        assert!(body.primed().await.is_err());
    }

    #[tokio::test]
    async fn the_empty_object_is_authenticated_too() {
        let (_, mut stored, content_key) = object(0);
        stored[3] ^= 1;
        let window = ReadWindow::whole(16).unwrap();
        assert!(read(&stored, &content_key, &window, &[]).await.is_err());
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
            let (asked, slice) = match kind {
                0 => (PlaintextRange::Bounded { first: first as u64, last: last as u64 }, first..last + 1),
                1 => (PlaintextRange::From { first: first as u64 }, first..length),
                _ => (PlaintextRange::Suffix { length: (length - first) as u64 }, first..length),
            };
            let (start, end) = match asked.ciphertext() {
                CiphertextRange::Bounded { first, last } => (first, (last + 1).min(total)),
                CiphertextRange::From { first } => (first, total),
                CiphertextRange::Suffix { length } => (total.saturating_sub(length), total),
            };
            let window =
                ReadWindow::slice(total, start, slice.start as u64, slice.end as u64 - 1).unwrap();
            let part = &stored[start as usize..end as usize];
            let got = runtime.block_on(read(part, &content_key, &window, &cuts)).unwrap();
            prop_assert_eq!(got, &content[slice]);
        }
    }
}
