//! Bodies of the formats without chunks, opened and sealed as a stream.
//!
//! It must not know which format a body has. It promises that a body ends without an error only if all bytes
//! that were announced were released.

use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http_body::Body;

use super::data::poll_next_data;
use super::{BoxError, DataBody, OpenError, PollData};
use crate::envelope::{StreamError, StreamOpener, StreamSealer};

/// An HTTP body that opens a run of another one's bytes.
///
/// It ends without an error only after all announced bytes were released; of a GCM message only after its tag
/// was verified.
pub type StreamBody<B> = DataBody<OpenStream<B>>;

/// The stored bytes that a [`StreamBody`] opens.
pub struct OpenStream<B> {
    stored: B,
    /// `None` after the end.
    opener: Option<StreamOpener>,
    /// Stored bytes to drop first.
    discard: u64,
    /// Stored bytes to open after those.
    take: u64,
    left: u64,
}

impl<B> StreamBody<B> {
    /// A body that drops `discard` bytes of `stored` and opens the `take` bytes after them.
    pub fn new(stored: B, opener: StreamOpener, discard: u64, take: u64) -> Self {
        let left = opener.left();
        Self::from_source(OpenStream { stored, opener: Some(opener), discard, take, left })
    }
}

impl<B> OpenStream<B> {
    /// The plaintext that `data`, or at `is_end` the end of the stored bytes, releases.
    fn open(&mut self, mut data: Bytes, is_end: bool) -> Result<Bytes, StreamError> {
        let Some(opener) = self.opener.as_mut() else { return Ok(Bytes::new()) };
        let dropped = usize::try_from(self.discard).unwrap_or(usize::MAX).min(data.len());
        data.advance(dropped);
        self.discard -= dropped as u64;
        data.truncate(usize::try_from(self.take).unwrap_or(usize::MAX).min(data.len()));
        self.take -= data.len() as u64;
        let mut released = BytesMut::new();
        opener.push(&data, &mut released)?;
        if self.take == 0 {
            opener.finish(&mut released)?;
            self.opener = None;
        } else if is_end {
            return Err(StreamError::Length);
        }
        self.left -= released.len() as u64;
        Ok(released.freeze())
    }
}

impl<B: Body<Data = Bytes, Error = BoxError> + Unpin> PollData for OpenStream<B> {
    type Error = OpenError;

    fn poll_data(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, OpenError>>> {
        loop {
            if self.opener.is_none() {
                return Poll::Ready(None);
            }
            let data = ready!(poll_next_data(&mut self.stored, context));
            let (data, is_end) = match data.transpose().map_err(OpenError::Upstream)? {
                Some(data) => (data, false),
                None => (Bytes::new(), true),
            };
            let released = self.open(data, is_end).map_err(OpenError::Stream)?;
            if !released.is_empty() {
                return Poll::Ready(Some(Ok(released)));
            }
        }
    }

    fn is_end(&self) -> bool {
        self.opener.is_none()
    }

    fn length(&self) -> Option<u64> {
        Some(self.left)
    }
}

/// An HTTP body that seals another one. An error of the inner body ends it before the bytes that complete the
/// object were released.
pub type SealStreamBody<B> = DataBody<SealStream<B>>;

/// The plaintext that a [`SealStreamBody`] seals.
pub struct SealStream<B> {
    plaintext: B,
    sealer: Option<StreamSealer>,
    left: u64,
}

impl<B> SealStreamBody<B> {
    /// A body that seals `plaintext` into `stored_length` bytes.
    pub fn new(plaintext: B, sealer: StreamSealer, stored_length: u64) -> Self {
        Self::from_source(SealStream { plaintext, sealer: Some(sealer), left: stored_length })
    }
}

impl<B: Body<Data = Bytes> + Unpin> PollData for SealStream<B> {
    type Error = B::Error;

    fn poll_data(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, B::Error>>> {
        loop {
            let Some(sealer) = self.sealer.as_mut() else { return Poll::Ready(None) };
            let mut sealed = BytesMut::new();
            match ready!(poll_next_data(&mut self.plaintext, context)).transpose()? {
                Some(data) => sealer.update(&data, &mut sealed),
                None => {
                    let sealer = self.sealer.take().expect("it was there at the top of the loop");
                    sealer.finish(&mut sealed);
                }
            }
            if !sealed.is_empty() {
                self.left = self.left.saturating_sub(sealed.len() as u64);
                return Poll::Ready(Some(Ok(sealed.freeze())));
            }
        }
    }

    fn is_end(&self) -> bool {
        self.sealer.is_none()
    }

    fn length(&self) -> Option<u64> {
        Some(self.left)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use http_body_util::BodyExt;

    use super::*;
    use crate::body::test_support::{frames, pattern};
    use crate::envelope::s3ec::{Content, ENTROPY, Entries, Envelope, NewObject, Policy, Version};
    use crate::envelope::{DataKey, HELD_BACK, article_cbc};

    /// Ten mebibytes: most of it would be released before the tag.
    const LARGE: usize = 10 << 20;

    async fn sealed(content: &[u8]) -> (Envelope, Vec<u8>) {
        let context = Version::V3.context(&BTreeMap::new());
        let NewObject { entries, sealer } =
            NewObject::new(Version::V3, &data_key(), b"blob", &context, &[5; ENTROPY]);
        let stored_length = content.len() as u64 + 16;
        let body = SealStreamBody::new(frames(content, &[1, 100, 70_000]), sealer, stored_length);
        assert_eq!(body.size_hint().exact(), Some(stored_length));
        let stored = body.collect().await.unwrap().to_bytes().to_vec();
        assert_eq!(stored.len() as u64, stored_length, "the promised length is exact");
        let entries = entries.iter().map(|(name, value)| (*name, value.as_bytes()));
        let entries = Entries::from_metadata(entries).unwrap();
        (Envelope::parse(&entries, Policy::default()).unwrap(), stored)
    }

    fn data_key() -> DataKey {
        DataKey::from_bytes([3; 32])
    }

    fn delayed(envelope: &Envelope, total: usize) -> StreamOpener {
        let Content::Message(message) = envelope.unlock(&data_key()).unwrap() else { panic!("a message") };
        message.delayed(total as u64).unwrap()
    }

    /// Returns the released plaintext, and how the body ended.
    async fn drain(body: impl Body<Data = Bytes, Error = OpenError> + Unpin) -> (Vec<u8>, Option<OpenError>) {
        let mut body = body;
        let mut released = Vec::new();
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => released.extend_from_slice(&frame.into_data().unwrap()),
                Err(error) => return (released, Some(error)),
            }
        }
        (released, None)
    }

    #[tokio::test]
    async fn a_message_comes_back_whatever_the_framing() {
        for length in [0, 1, 16, HELD_BACK - 1, HELD_BACK, HELD_BACK + 1, 200_000] {
            let content = pattern(length);
            let (envelope, stored) = sealed(&content).await;
            for cuts in [&[][..], &[1, 2, 3], &[stored.len() - 1], &[stored.len() - 16, stored.len() - 15]] {
                let opener = delayed(&envelope, stored.len());
                let body = StreamBody::new(frames(&stored, cuts), opener, 0, stored.len() as u64);
                assert_eq!(body.size_hint().exact(), Some(length as u64));
                let (released, error) = drain(body).await;
                assert!(error.is_none(), "{error:?}");
                assert_eq!(released, content);
            }
        }
    }

    #[tokio::test]
    async fn a_flipped_bit_keeps_the_end_back() {
        let content = pattern(LARGE);
        let (envelope, mut stored) = sealed(&content).await;
        for at in [0, LARGE / 2, LARGE - 1, LARGE, LARGE + 15] {
            stored[at] ^= 1;
            let opener = delayed(&envelope, stored.len());
            let body = StreamBody::new(frames(&stored, &[LARGE / 3]), opener, 0, stored.len() as u64);
            let (released, error) = drain(body).await;
            assert!(
                matches!(error, Some(OpenError::Stream(StreamError::Tag))),
                "This is a security issue: byte {at} was altered."
            );
            assert!(released.len() <= LARGE - HELD_BACK, "This is a security issue: the end was released.");
            stored[at] ^= 1;
        }
    }

    #[tokio::test]
    async fn a_message_that_ends_early_is_an_error() {
        let (envelope, stored) = sealed(&pattern(1000)).await;
        for cut in [0, 1, 999, 1000, 1015] {
            let opener = delayed(&envelope, stored.len());
            let body = StreamBody::new(frames(&stored[..cut], &[]), opener, 0, stored.len() as u64);
            let (released, error) = drain(body).await;
            assert!(matches!(error, Some(OpenError::Stream(StreamError::Length))), "{cut}");
            assert!(released.is_empty());
        }
    }

    #[tokio::test]
    async fn a_response_longer_than_requested_is_cut_to_size() {
        let content = pattern(1000);
        let mut sealer = article_cbc::sealer(&data_key(), &[7; 16], article_cbc::Padding::Pkcs7);
        let mut stored = BytesMut::new();
        sealer.update(&content, &mut stored);
        sealer.finish(&mut stored);
        let chain = article_cbc::body(&data_key());
        let range = chain.slice(100, 200);
        let (discard, take) = (range.first(), range.len());
        let body = StreamBody::new(frames(&stored, &[77, 300]), chain.opener(100, 101), discard, take);
        let (released, error) = drain(body).await;
        assert!(error.is_none());
        assert_eq!(released, content[100..=200]);
    }

    #[tokio::test]
    async fn a_refused_plaintext_is_never_completed() {
        for length in [0, 5, 16, 70_000] {
            let content = pattern(length);
            let context = Version::V2.context(&BTreeMap::new());
            let message = NewObject::new(Version::V2, &data_key(), b"blob", &context, &[5; ENTROPY]).sealer;
            let chain = article_cbc::sealer(&data_key(), &[7; 16], article_cbc::Padding::Zero);
            let wholes = [length as u64 + 16, article_cbc::ciphertext_length(length as u64).unwrap()];
            for (sealer, whole) in [message, chain].into_iter().zip(wholes) {
                let mut body = SealStreamBody::new(frames(&content, &[3]).then_an_error(), sealer, whole);
                let mut released = 0;
                let error = loop {
                    match body.frame().await.expect("the error comes before the end") {
                        Ok(frame) => released += frame.into_data().unwrap().len() as u64,
                        Err(error) => break error,
                    }
                };
                assert_eq!(error.to_string(), "verdict: refused");
                assert!(body.frame().await.is_none());
                assert!(released < whole, "This is a security issue: a refused body was completed.");
            }
        }
    }
}
