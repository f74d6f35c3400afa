//! What a storage may do to the segments it keeps, and to its claims about them.

use super::*;

/// Opens altered segments under every claim that a storage might make, and returns the error under the most
/// likely one.
fn refused(what: &str, segments: &[&[u8]]) -> FormatError {
    let body = segments.concat();
    let count = segments.len() as u16;
    let claims = (0..=count + 2).map(Some).chain([None]);
    for parts in claims {
        let claim = BodyClaim { ciphertext_total: body.len() as u64, parts };
        let (_, outcome) = open(&content_key(1), &body, claim, None);
        assert!(outcome.is_err(), "This is a security issue: {what}, with {parts:?} parts claimed.");
    }
    let claim = BodyClaim { ciphertext_total: body.len() as u64, parts: Some(count) };
    open(&content_key(1), &body, claim, None).1.unwrap_err()
}

fn shapes() -> [Layout; 4] {
    const CHUNK_U64: u64 = CHUNK as u64;
    [
        Layout::ended_by_last(numbered(&[CHUNK_U64, CHUNK_U64, CHUNK_U64, 9])).unwrap(),
        Layout::terminated(numbered(&[CHUNK_U64, CHUNK_U64, CHUNK_U64, CHUNK_U64])).unwrap(),
        Layout::ended_by_last(numbered(&[70_000, 9, CHUNK_U64, 9])).unwrap(),
        Layout::terminated(numbered(&[9, 9, 70_000, 9])).unwrap(),
    ]
}

#[test]
fn f_35_dropped_swapped_and_repeated_segments_are_noticed() {
    for layout in shapes() {
        let object = Object::seal(&content_key(1), layout);
        let all: Vec<&[u8]> = object.segments.iter().map(Vec::as_slice).collect();
        for first in 0..all.len() {
            let mut dropped = all.clone();
            dropped.remove(first);
            refused("a dropped segment", &dropped);
            let mut repeated = all.clone();
            repeated.insert(first, all[first]);
            refused("a repeated segment", &repeated);
            refused("an appended segment", &[&all[..], &[all[first]]].concat());
            refused("one segment alone", &[all[first], &[]]);
            for second in 0..first {
                let mut swapped = all.clone();
                swapped.swap(first, second);
                refused("swapped segments", &swapped);
            }
        }
    }
}

#[test]
fn f_35_each_break_has_its_error() {
    let [last, terminated, carried, carried_terminated] =
        shapes().map(|layout| Object::seal(&content_key(1), layout));
    let pick = |object: &Object, order: &[usize]| {
        let segments: Vec<_> = order.iter().map(|index| object.segments[*index].clone()).collect();
        refused("another order", &segments.iter().map(Vec::as_slice).collect::<Vec<_>>())
    };
    for (object, order, expected) in [
        (&last, &[0, 1, 2][..], FormatError::MissingLast),
        (&last, &[0, 2, 3], FormatError::SegmentOrder),
        (&last, &[1, 2, 3], FormatError::SegmentOrder),
        (&last, &[1, 0, 2, 3], FormatError::SegmentOrder),
        (&last, &[0, 0, 1, 2, 3], FormatError::SegmentOrder),
        (&last, &[0, 1, 2, 3, 3], FormatError::BodyLength),
        (&last, &[3, 0, 1, 2], FormatError::SegmentOrder),
        (&terminated, &[0, 1, 2, 3], FormatError::MissingLast),
        (&terminated, &[0, 1, 2, 4], FormatError::SegmentCommitment),
        (&terminated, &[4], FormatError::SegmentCommitment),
        (&terminated, &[0, 1, 2, 3, 4, 4], FormatError::BodyLength),
        (&carried, &[0, 1, 2], FormatError::Irregular),
        (&carried, &[0, 1, 3], FormatError::Layout),
        (&carried_terminated, &[0, 1, 2, 3], FormatError::Irregular),
    ] {
        assert_eq!(pick(object, order), expected, "{order:?}");
    }
}

#[test]
fn f_32_segments_of_another_upload_are_noticed() {
    for layout in shapes() {
        let object = Object::seal(&content_key(1), layout.clone());
        let other = Object::seal(&content_key(2), layout);
        for index in 0..object.segments.len() {
            let mut spliced = object.clone();
            spliced.segments[index] = other.segments[index].clone();
            let segments: Vec<_> = spliced.segments.iter().map(Vec::as_slice).collect();
            assert_eq!(refused("a spliced segment", &segments), FormatError::SegmentCommitment);
        }
    }
}

/// A part was uploaded twice with different lengths, and the storage serves the earlier one.
#[test]
fn f_37_an_earlier_upload_of_another_length_is_noticed() {
    for layout in shapes() {
        let object = Object::seal(&content_key(1), layout);
        for index in 0..3 {
            for length in [8, 100_000, 2 * CHUNK as u64] {
                let number = index as u16 + 1;
                let content = pattern(length);
                let stale = seal_segment(&content_key(1), part(number, length), SegmentEnd::Middle, &content);
                let mut segments: Vec<_> = object.segments.iter().map(Vec::as_slice).collect();
                segments[index] = &stale;
                refused("an earlier upload of a part", &segments);
            }
        }
    }
}

#[test]
fn f_34_chunks_do_not_move_between_segments() {
    let object = Object::seal(&content_key(1), shapes()[0].clone());
    let mut segments = object.segments.clone();
    let (left, right) = segments.split_at_mut(1);
    left[0][80..].swap_with_slice(&mut right[0][80..]);
    let segments: Vec<_> = segments.iter().map(Vec::as_slice).collect();
    assert_eq!(refused("exchanged chunks", &segments), FormatError::ChunkTag);
}

#[test]
fn f_39_a_tail_of_another_upload_of_the_last_part_is_noticed() {
    let layout = shapes()[2].clone();
    let object = Object::seal(&content_key(1), layout.clone());
    let again = Object::seal(&content_key(1), layout.clone());
    let mut spliced = object.clone();
    let tail = again.segments[3].len() - layout.tail_length() as usize;
    spliced.segments[3].truncate(tail);
    spliced.segments[3].extend_from_slice(&again.segments[3][tail..]);
    let segments: Vec<_> = spliced.segments.iter().map(Vec::as_slice).collect();
    assert_eq!(refused("another tail", &segments), FormatError::Layout);
}

#[test]
fn f_40_padding_is_zero_and_of_one_length() {
    let layout = shapes()[2].clone();
    let object = Object::seal(&content_key(1), layout.clone());
    let at = object.segments[3].len() - layout.tail_length() as usize;
    for (what, expected, alter) in [
        (
            "a byte that is not zero",
            FormatError::Layout,
            (|tail: &mut Vec<u8>, at| tail[at] = 1) as fn(&mut _, _),
        ),
        ("one byte less", FormatError::Irregular, |tail: &mut Vec<u8>, at| _ = tail.remove(at)),
        ("one byte more", FormatError::BodyLength, |tail: &mut Vec<u8>, at| tail.insert(at, 0)),
    ] {
        let mut last = object.segments[3].clone();
        alter(&mut last, at);
        let mut segments: Vec<_> = object.segments.iter().map(Vec::as_slice).collect();
        segments[3] = &last;
        assert_eq!(refused(what, &segments), expected, "{what}");
    }
}

/// The layout was read before and the length promised. Then the tail is damaged: the last bytes are not
/// released.
#[test]
fn f_43_a_spoilt_tail_keeps_the_last_chunk_back() {
    for layout in &shapes()[2..] {
        let object = Object::seal(&content_key(1), layout.clone());
        let tail = layout.tail_length() as usize;
        for at in [1, 40, 70, 90, layout_tail_length(layout.segments()) as usize + 1, tail] {
            let mut body = object.body();
            let at = body.len() - at;
            body[at] ^= 1;
            // `open` itself checks that less than the whole was released.
            let (_, outcome) = open(&content_key(1), &body, object.claim(), Some(layout.clone()));
            assert!(outcome.is_err(), "byte {at}");
        }
    }
}

/// A storage that does not report the number of parts: only the segments themselves can tell.
#[test]
fn f_37_without_a_number_the_segments_tell() {
    let pair = |end| {
        let first = seal_segment(&content_key(1), part(1, 9), SegmentEnd::Middle, &pattern(9));
        [first, seal_segment(&content_key(1), part(2, 9), end, &pattern(9))].concat()
    };
    let open = |body: &[u8]| {
        let claim = BodyClaim { ciphertext_total: body.len() as u64, parts: None };
        open(&content_key(1), body, claim, None).1
    };
    assert_eq!(open(&pair(SegmentEnd::Last)), Err(FormatError::Irregular));
    let object = Object::seal(&content_key(1), shapes()[2].clone());
    let body = [&object.segments[..1], &object.segments[..]].concat().concat();
    assert_eq!(open(&body), Err(FormatError::SegmentOrder), "repeated");
}

/// The storage claims other lengths than the object has: the whole object is served, and refused.
#[test]
fn f_43_a_lie_about_length_or_number_gets_nothing_past_a_reader() {
    for layout in shapes() {
        let object = Object::seal(&content_key(1), layout);
        let body = object.body();
        let BodyClaim { ciphertext_total, parts } = object.claim();
        for wrong in [1, 79, 80, 96, CHUNK as u64, ciphertext_total - 1] {
            for total in [ciphertext_total - wrong, ciphertext_total + wrong] {
                for parts in [parts, None] {
                    let claim = BodyClaim { ciphertext_total: total, parts };
                    assert!(open(&content_key(1), &body, claim, None).1.is_err(), "{wrong} bytes");
                    let cut = &body[..body.len().min(total as usize)];
                    assert!(open(&content_key(1), cut, claim, None).1.is_err(), "{wrong} bytes");
                }
            }
        }
        for parts in (0..9).filter(|count| Some(*count) != parts) {
            let claim = BodyClaim { ciphertext_total, parts: Some(parts) };
            assert!(open(&content_key(1), &body, claim, None).1.is_err(), "{parts} parts");
        }
    }
}

#[test]
fn f_43_a_layout_of_another_body_opens_nothing() {
    let [_, _, carried, _] = shapes();
    let object = Object::seal(&content_key(1), carried);
    let claim = object.claim();
    // Another part with the same total, so that only the segments can tell.
    let other = Layout::ended_by_last(numbered(&[9, 70_000, CHUNK as u64, 9])).unwrap();
    assert_eq!(other.stored_total(), claim.ciphertext_total);
    let (released, outcome) = open(&content_key(1), &object.body(), claim, Some(other));
    assert_eq!((released.len(), outcome), (0, Err(FormatError::SegmentOrder)));
    let shorter = Layout::ended_by_last(numbered(&[9, 9])).unwrap();
    assert_eq!(open(&content_key(1), &object.body(), claim, Some(shorter)).1, Err(FormatError::BodyLength));
}

#[test]
fn f_31_writers_cannot_seal_what_readers_refuse() {
    let layout = Layout::ended_by_last(numbered(&[5, 6])).unwrap();
    let regular = Layout::ended_by_last(numbered(&[6])).unwrap();
    let terminated = Layout::terminated(numbered(&[5, 6])).unwrap();
    let seal = |part, end| SegmentSealer::new(&content_key(1), part, end, SegmentEntropy::fresh()).err();
    assert_eq!(seal(part(1, 0), SegmentEnd::Middle), Some(FormatError::SegmentHeader));
    assert_eq!(seal(part(1, 1 << 40), SegmentEnd::Last), Some(FormatError::SegmentHeader));
    assert_eq!(seal(part(2, 6), SegmentEnd::LastCarrying(&layout)), None);
    assert_eq!(seal(part(2, 7), SegmentEnd::LastCarrying(&layout)), Some(FormatError::Layout));
    assert_eq!(seal(part(1, 6), SegmentEnd::LastCarrying(&regular)), Some(FormatError::Layout));
    assert_eq!(seal(part(2, 6), SegmentEnd::LastCarrying(&terminated)), Some(FormatError::Layout));
    let refused = seal_terminator(&content_key(1), &layout, None, SegmentEntropy::fresh());
    assert_eq!(refused, Err(FormatError::Layout));
}

#[test]
fn f_33_a_part_sealed_twice_shares_no_key() {
    let seal = || seal_segment(&content_key(1), part(1, 5), SegmentEnd::Last, b"hello");
    let (one, other) = (seal(), seal());
    assert_ne!(one[16..48], other[16..48], "This is a security issue: a salt served twice.");
    assert_ne!(one[80..], other[80..], "This is a security issue: a nonce served twice under one key.");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_flipped_bit_is_an_error(layout in layouts(), bit in any::<prop::sample::Index>()) {
        let object = Object::seal(&content_key(1), layout);
        let mut body = object.body();
        let bit = bit.index(body.len() * 8);
        body[bit / 8] ^= 1 << (bit % 8);
        for parts in [object.claim().parts, None] {
            let claim = BodyClaim { parts, ..object.claim() };
            prop_assert!(open(&content_key(1), &body, claim, None).1.is_err());
        }
    }

    #[test]
    fn any_cut_is_an_error(layout in layouts(), cut in any::<prop::sample::Index>()) {
        let object = Object::seal(&content_key(1), layout);
        let body = object.body();
        let body = &body[..cut.index(body.len())];
        for parts in (0..=object.segments.len() as u16).map(Some).chain([None]) {
            for total in [body.len() as u64, object.claim().ciphertext_total] {
                let claim = BodyClaim { ciphertext_total: total, parts };
                prop_assert!(open(&content_key(1), body, claim, None).1.is_err());
            }
        }
    }

    #[test]
    fn anything_appended_is_an_error(layout in layouts(), more in prop::collection::vec(0..=1_u8, 1..200)) {
        let object = Object::seal(&content_key(1), layout);
        let body = [object.body(), more].concat();
        for parts in (0..=object.segments.len() as u16 + 1).map(Some).chain([None]) {
            let claim = BodyClaim { ciphertext_total: body.len() as u64, parts };
            prop_assert!(open(&content_key(1), &body, claim, None).1.is_err());
        }
    }
}
