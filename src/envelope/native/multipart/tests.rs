use std::ops::Range;
use std::sync::Arc;

use bytes::BytesMut;
use proptest::prelude::*;
use zeroize::Zeroizing;

use super::*;
use crate::envelope::ContentKey;
use crate::envelope::native::{CHUNK, FormatError, PieceOpener, TAG};

mod attacks;
mod layouts;
mod ranges;

fn content_key(byte: u8) -> Arc<ContentKey> {
    Arc::new(ContentKey::from_zeroizing(Zeroizing::new([byte; 32])))
}

fn part(number: u16, length: u64) -> Part {
    Part { number: PartNumber::new(number).unwrap(), length }
}

/// Parts 1, 2, 3, … of these lengths.
fn numbered(lengths: &[u64]) -> Vec<Part> {
    (1..).zip(lengths).map(|(number, length)| part(number, *length)).collect()
}

fn pattern(length: u64) -> Vec<u8> {
    (0..length).map(|index| (index * 31 + index / 251) as u8).collect()
}

fn seal_segment(content_key: &ContentKey, part: Part, end: SegmentEnd<'_>, content: &[u8]) -> Vec<u8> {
    let sealer = SegmentSealer::new(content_key, part, end, SegmentEntropy::fresh()).unwrap();
    let promised = sealer.stored_length();
    let mut stored = sealer.header.to_vec();
    if let Some(mut chunks) = sealer.chunks {
        let mut rest = content;
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
    assert_eq!(stored.len() as u64, promised);
    stored
}

/// An object as the storage keeps it.
#[derive(Clone)]
struct Object {
    layout: Layout,
    content: Vec<u8>,
    segments: Vec<Vec<u8>>,
}

impl Object {
    fn seal(content_key: &ContentKey, layout: Layout) -> Self {
        let content = pattern(layout.plaintext_total());
        let mut segments = Vec::new();
        for (index, part) in layout.parts().iter().enumerate() {
            let offset = layout.plaintext_offset(index) as usize;
            let end = match index + 1 == layout.parts().len() && !layout.is_terminated() {
                true if layout.is_regular() => SegmentEnd::Last,
                true => SegmentEnd::LastCarrying(&layout),
                false => SegmentEnd::Middle,
            };
            let plaintext = &content[offset..offset + part.length as usize];
            segments.push(seal_segment(content_key, *part, end, plaintext));
        }
        if layout.is_terminated() {
            segments.push(seal_terminator(content_key, &layout, None, SegmentEntropy::fresh()).unwrap());
        }
        Self { layout, content, segments }
    }

    fn body(&self) -> Vec<u8> {
        self.segments.concat()
    }

    fn claim(&self) -> BodyClaim {
        let parts = Some(self.segments.len() as u16);
        BodyClaim { ciphertext_total: self.body().len() as u64, parts }
    }
}

/// The plaintext that a body released, and why no more was.
fn open(
    content_key: &Arc<ContentKey>,
    body: &[u8],
    claim: BodyClaim,
    layout: Option<Layout>,
) -> (Vec<u8>, Result<(), FormatError>) {
    let mut released = Vec::new();
    let mut opener = match MultipartOpener::new(content_key.clone(), claim, layout.map(Arc::new)) {
        Ok(opener) => opener,
        Err(error) => return (released, Err(error)),
    };
    let (total, mut rest) = (opener.plaintext_total(), body);
    let mut outcome = Ok(());
    while let Some(length) = opener.next_length() {
        assert!(
            length <= CHUNK + TAG || length as u64 <= layout_tail_length(MAX_PARTS),
            "pieces are bounded"
        );
        let Some((piece, after)) = rest.split_at_checked(length) else {
            outcome = Err(FormatError::BodyLength);
            break;
        };
        let mut piece = BytesMut::from(piece);
        outcome = opener.open_next(&mut piece);
        assert!(outcome.is_ok() || piece.is_empty(), "F-25: a refused piece releases nothing");
        if outcome.is_err() {
            break;
        }
        released.extend_from_slice(&piece);
        rest = after;
    }
    if outcome.is_ok() && !rest.is_empty() {
        outcome = Err(FormatError::BodyLength);
    }
    if let Some(total) = total {
        let released = released.len() as u64;
        assert!(released <= total, "more was released than announced");
        assert_eq!(
            outcome.is_ok(),
            released == total && (total > 0 || outcome.is_ok()),
            "This is a security issue: F-43: a refused body released all that it announced."
        );
    }
    (released, outcome)
}

/// Lengths that matter, small enough to seal.
fn lengths() -> impl Strategy<Value = u64> {
    const CHUNK_U64: u64 = CHUNK as u64;
    prop_oneof![
        Just(CHUNK_U64),
        Just(2 * CHUNK_U64),
        Just(CHUNK_U64 - 1),
        Just(CHUNK_U64 + 1),
        1..40_u64,
        1..3 * CHUNK_U64
    ]
}

/// Regular and irregular layouts, with gaps and without, with a terminator and without.
fn layouts() -> impl Strategy<Value = Layout> {
    let irregular = (prop::collection::vec((lengths(), 1..3_u16), 1..7), any::<bool>(), any::<bool>());
    let irregular = irregular.prop_map(|(parts, terminated, empty_last)| {
        let mut number = 0;
        let mut parts: Vec<_> = parts
            .into_iter()
            .map(|(length, step)| {
                number += step;
                part(number, length)
            })
            .collect();
        if terminated {
            return Layout::terminated(parts).unwrap();
        }
        if empty_last {
            parts.push(part(number + 1, 0));
        }
        Layout::ended_by_last(parts).unwrap()
    });
    let regular = (1..3_u64, 0..6_usize, 0..3 * CHUNK as u64, any::<bool>());
    let regular = regular.prop_map(|(chunks, parts, last, terminated)| {
        let mut lengths = vec![chunks * CHUNK as u64; parts];
        lengths.push(if terminated { last + 1 } else { last });
        let parts = numbered(&lengths);
        let layout = if terminated { Layout::terminated(parts) } else { Layout::ended_by_last(parts) };
        layout.unwrap()
    });
    prop_oneof![irregular, regular]
}

#[test]
fn objects_of_every_shape_come_back() {
    const CHUNK_U64: u64 = CHUNK as u64;
    let last = |lengths: &[u64]| Layout::ended_by_last(numbered(lengths)).unwrap();
    let terminated = |lengths: &[u64]| Layout::terminated(numbered(lengths)).unwrap();
    for layout in [
        last(&[0]),
        last(&[1]),
        last(&[CHUNK_U64]),
        last(&[CHUNK_U64, 0]),
        last(&[CHUNK_U64, CHUNK_U64, 1]),
        last(&[5, 0]),
        last(&[5, 5]),
        last(&[CHUNK_U64 + 1, CHUNK_U64 - 1, 2 * CHUNK_U64]),
        terminated(&[1]),
        terminated(&[CHUNK_U64, 3 * CHUNK_U64 + 1]),
        terminated(&[3, CHUNK_U64]),
        Layout::ended_by_last(vec![part(7, 0)]).unwrap(),
        Layout::ended_by_last(vec![part(2, 3), part(10_000, 4)]).unwrap(),
        Layout::terminated(vec![part(9_999, 1)]).unwrap(),
        last(&[&[CHUNK_U64; 199][..], &[77]].concat()),
        last(&[[100; 100], [3; 100]].concat()),
        terminated(&(1..=200).collect::<Vec<_>>()),
    ] {
        let object = Object::seal(&content_key(1), layout.clone());
        let body = object.body();
        assert_eq!(layout.stored_total(), body.len() as u64);
        for (index, (extent, segment)) in
            layout.segment_extents().into_iter().zip(&object.segments).enumerate()
        {
            assert_eq!(layout.stored_offset(index), extent.start);
            assert_eq!(body[extent.start as usize..extent.end as usize], segment[..]);
        }
        assert_eq!(layout.segment_extents().len(), object.segments.len());
        let claim = object.claim();
        let (content, outcome) = open(&content_key(1), &body, claim, None);
        assert_eq!((outcome, content == object.content), (Ok(()), true), "{layout:?}");
        let opened = open(&content_key(1), &body, BodyClaim { parts: None, ..claim }, None);
        assert_eq!((opened.1, opened.0 == object.content), (Ok(()), true), "without the number of parts");
        let opened = open(&content_key(1), &body, claim, Some(layout));
        assert_eq!((opened.1, opened.0 == object.content), (Ok(()), true), "with the layout");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn open_of_seal_is_the_identity(layout in layouts()) {
        let object = Object::seal(&content_key(1), layout.clone());
        let body = object.body();
        prop_assert_eq!(layout.stored_total(), body.len() as u64);
        let (content, outcome) = open(&content_key(1), &body, object.claim(), None);
        prop_assert_eq!(outcome, Ok(()));
        prop_assert_eq!(&content, &object.content);
        let length = multipart_plaintext_length(body.len() as u64, layout.segments()).unwrap();
        if layout.is_regular() {
            prop_assert_eq!(length, MultipartLength::Exact(object.content.len() as u64));
        } else {
            prop_assert_eq!(length, MultipartLength::NeedsLayout);
            let tail = &body[body.len() - layout_tail_length(layout.segments()) as usize..];
            let read = open_layout_tail(&content_key(1), tail, body.len() as u64, layout.segments());
            prop_assert_eq!(read.unwrap(), layout);
        }
    }
}
