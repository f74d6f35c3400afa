//! Shared by the tests of several adapters: contents, framings, and objects sealed without any adapter.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame};
use tokio::sync::mpsc;

use crate::body::BoxError;
use crate::envelope::native::multipart::{
    Layout, Part, PartNumber, SegmentEnd, SegmentEntropy, SegmentSealer, seal_terminator,
};
use crate::envelope::native::{
    Attributes, Binding, BodyKind, CHUNK, ChunkOpener, ChunkSealer, Entropy, Envelope, EnvelopeKeys,
    ObjectName, PieceOpener, SealRequest, SseAlgorithm, plaintext_length,
};
use crate::envelope::{ContentKey, DataKey};

/// Bytes without a short period.
pub(crate) fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index * 31 + index / 251) as u8).collect()
}

/// A body of frames that are ready at once.
pub(crate) struct Frames(std::vec::IntoIter<Result<Frame<Bytes>, BoxError>>);

impl Frames {
    /// The frames with an error instead of their end.
    pub(crate) fn then_an_error(self) -> Self {
        let frames: Vec<_> = self.0.chain([Err("verdict: refused".into())]).collect();
        Self(frames.into_iter())
    }
}

impl Body for Frames {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Poll::Ready(self.0.next())
    }
}

/// A body whose frames arrive when they are sent, and that stays open until the sender is dropped.
pub(crate) struct Arriving(mpsc::UnboundedReceiver<Bytes>);

impl Arriving {
    pub(crate) fn new() -> (mpsc::UnboundedSender<Bytes>, Self) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (sender, Self(receiver))
    }
}

impl Body for Arriving {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.0.poll_recv(context).map(|data| data.map(|data| Ok(Frame::data(data))))
    }
}

/// `content` as data frames, cut at these offsets; equal cuts give empty frames.
pub(crate) fn frames(content: &[u8], cuts: &[usize]) -> Frames {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| (*cut).min(content.len())).collect();
    cuts.sort_unstable();
    cuts.push(content.len());
    let mut start = 0;
    let mut frames = Vec::new();
    for cut in cuts {
        frames.push(Ok(Frame::data(Bytes::copy_from_slice(&content[start..cut]))));
        start = cut;
    }
    Frames(frames.into_iter())
}

/// A new content key and the sealer of its body.
pub(crate) fn new_object() -> (ContentKey, ChunkSealer) {
    let data_key = DataKey::from_bytes([1; 32]);
    let request = SealRequest {
        keys: EnvelopeKeys::without_customer(&data_key),
        binding: Binding::None,
        body: BodyKind::Put { plaintext_length: 0 },
        sse: SseAlgorithm::AwsKms,
        name: ObjectName { realm: "", object_key: b"" },
        attributes: &Attributes::default(),
    };
    let sealed = Envelope::seal(&request, Entropy::fresh());
    let sealer = ChunkSealer::for_put(&sealed.content_key);
    (sealed.content_key, sealer)
}

/// Seals without the adapter under test.
pub(crate) fn seal_all(mut sealer: ChunkSealer, content: &[u8]) -> Vec<u8> {
    let mut stored = Vec::new();
    let mut rest = content;
    while rest.len() > CHUNK {
        let (full, after) = rest.split_at(CHUNK);
        let mut chunk = BytesMut::from(full);
        sealer.seal_next(&mut chunk);
        stored.extend_from_slice(&chunk);
        rest = after;
    }
    let mut chunk = BytesMut::from(rest);
    sealer.seal_last(&mut chunk);
    stored.extend_from_slice(&chunk);
    stored
}

/// The segments of a multipart body of this layout, terminator included.
pub(crate) fn seal_segments(content_key: &ContentKey, layout: &Layout, content: &[u8]) -> Vec<Vec<u8>> {
    let mut segments = Vec::new();
    let mut rest = content;
    for (index, part) in layout.parts().iter().enumerate() {
        let end = if index + 1 < layout.parts().len() || layout.is_terminated() {
            SegmentEnd::Middle
        } else if layout.is_regular() {
            SegmentEnd::Last
        } else {
            SegmentEnd::LastCarrying(layout)
        };
        let (plaintext, after) = rest.split_at(usize::try_from(part.length).unwrap());
        let sealer = SegmentSealer::new(content_key, *part, end, SegmentEntropy::fresh()).unwrap();
        let mut stored = sealer.header.to_vec();
        if let Some(mut chunks) = sealer.chunks {
            let mut rest = plaintext;
            while rest.len() > CHUNK {
                let mut chunk = BytesMut::from(&rest[..CHUNK]);
                chunks.seal_next(&mut chunk);
                stored.extend_from_slice(&chunk);
                rest = &rest[CHUNK..];
            }
            let mut chunk = BytesMut::from(rest);
            chunks.seal_last(&mut chunk);
            stored.extend_from_slice(&chunk);
        }
        stored.extend_from_slice(&sealer.tail);
        segments.push(stored);
        rest = after;
    }
    if layout.is_terminated() {
        segments.push(seal_terminator(content_key, layout, None, SegmentEntropy::fresh()).unwrap());
    }
    segments
}

/// A layout of parts 1, 2, 3, … of these lengths.
pub(crate) fn layout(lengths: &[u64], terminated: bool) -> Layout {
    let number = |number| PartNumber::new(number).unwrap();
    let parts = (1..).zip(lengths).map(|(at, length)| Part { number: number(at), length: *length }).collect();
    if terminated { Layout::terminated(parts).unwrap() } else { Layout::ended_by_last(parts).unwrap() }
}

/// Opens without the adapter under test.
pub(crate) fn open_all(content_key: &ContentKey, stored: &[u8]) -> Vec<u8> {
    let total = plaintext_length(stored.len() as u64).unwrap();
    let mut opener = ChunkOpener::for_put(content_key, total, 0).unwrap();
    let mut rest = stored;
    let mut content = Vec::new();
    while let Some(length) = opener.next_length() {
        let (chunk, after) = rest.split_at(length);
        let mut chunk = BytesMut::from(chunk);
        opener.open_next(&mut chunk).unwrap();
        content.extend_from_slice(&chunk);
        rest = after;
    }
    assert!(rest.is_empty());
    content
}
