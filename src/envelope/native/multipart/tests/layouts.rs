//! Lengths and layouts as numbers only: no byte is sealed, so parts are as long as real ones.

use super::*;
use crate::envelope::native::SEALED_CHUNK;

const MIB: u64 = 1 << 20;

/// Whether a stored length is one of the 16 in every 65,552 that can't be inverted.
fn is_impossible(ciphertext: u64, parts: u16) -> bool {
    (1..=TAG as u64).contains(&((ciphertext - 80 * u64::from(parts)) % SEALED_CHUNK as u64))
}

#[test]
fn f_37_which_layouts_are_regular() {
    let eight = 8 * MIB;
    for (regular, parts) in [
        (true, numbered(&[0])),
        (true, numbered(&[7])),
        (true, numbered(&[eight, 5])),
        (true, numbered(&[eight, eight, 0])),
        (true, numbered(&[eight, eight, 3 * eight + 1])),
        (false, numbered(&[eight + 1, 5])),
        (false, numbered(&[eight, 2 * eight, 5])),
        (false, numbered(&[5, 5])),
        (false, vec![part(2, 7)]),
        (false, vec![part(1, eight), part(3, 7)]),
        // The arithmetic would be right here by accident; a range would still not find its offset.
        (false, numbered(&[eight - 1, 5])),
    ] {
        let layout = Layout::ended_by_last(parts).unwrap();
        assert_eq!(layout.is_regular(), regular, "{layout:?}");
        assert_eq!(is_impossible(layout.stored_total(), layout.segments()), !regular);
    }
}

#[test]
fn layouts_that_cannot_be_are_refused() {
    for parts in [
        vec![],
        vec![part(2, 1), part(1, 1)],
        vec![part(1, 1), part(1, 1)],
        vec![part(1, 0), part(2, 1)],
        vec![part(1, MAX_PART_LENGTH + 1)],
    ] {
        assert_eq!(Layout::ended_by_last(parts), Err(FormatError::Layout));
    }
    assert_eq!(Layout::terminated(vec![part(1, 0)]), Err(FormatError::Layout));
    assert_eq!(Layout::terminated(vec![part(10_000, 1)]), Err(FormatError::Layout));
    assert_eq!(PartNumber::new(0), None);
    assert_eq!(PartNumber::new(10_001), None);
}

#[test]
fn f_41_entries_are_seven_bytes_and_parse_only_as_written() {
    let layout = Layout::terminated(vec![part(1, 256), part(258, MAX_PART_LENGTH)]).unwrap();
    let bytes = layout.write();
    assert_eq!(
        bytes,
        [0, 1, 0, 0, 0, 1, 0, 1, 2, 255, 255, 255, 255, 255, 39, 16, 0, 0, 0, 0, 0],
        "part(2) | length(5)"
    );
    assert_eq!(Layout::parse(&bytes, true), Ok(layout));
    assert_eq!(Layout::parse(&bytes, false).unwrap().parts().len(), 3, "a client's part 10,000, and empty");
    assert_eq!(Layout::parse(&bytes[..14], true), Err(FormatError::Layout), "no terminator");
    assert_eq!(Layout::parse(&bytes[..20], true), Err(FormatError::Layout), "cut");
    assert_eq!(Layout::parse(&[], false), Err(FormatError::Layout), "empty");
    assert_eq!(Layout::parse(&[&bytes[7..14], &bytes[..7]].concat(), false), Err(FormatError::Layout));
}

#[test]
fn f_36_the_digest_is_over_number_and_length() {
    let layout = Layout::terminated(vec![part(1, 256), part(258, 5)]).unwrap();
    let bytes = [0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 5];
    let expected = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &bytes);
    assert_eq!(layout.digest(), expected.as_ref());
}

#[test]
fn f_38_last_parts_around_five_mebibytes_are_exact() {
    for last in [0, 1, 5 * MIB - 1, 5 * MIB, 5 * MIB + 1] {
        for parts in [1, 2, 200, 9_999] {
            let mut lengths = vec![8 * MIB; parts - 1];
            lengths.push(last);
            let layout = match last < MIN_PART {
                true => Layout::ended_by_last(numbered(&lengths)),
                false => Layout::terminated(numbered(&lengths)),
            };
            let layout = layout.unwrap();
            assert_eq!(
                multipart_plaintext_length(layout.stored_total(), layout.segments()),
                Ok(MultipartLength::Exact((parts as u64 - 1) * 8 * MIB + last))
            );
        }
    }
}

#[test]
fn the_longest_layout_is_bounded() {
    let lengths: Vec<_> = (0..9_999).map(|index| 5 * MIB + index).collect();
    let layout = Layout::terminated(numbered(&lengths)).unwrap();
    assert_eq!(layout.segments(), MAX_PARTS);
    assert_eq!(layout_tail_length(MAX_PARTS), 70_096);
    let stored = seal_terminator(&content_key(1), &layout, None, SegmentEntropy::fresh()).unwrap();
    assert!((80 + 70_096..=80 + 70_096 + CHUNK).contains(&stored.len()));
    let tail = &stored[stored.len() - 70_096..];
    let read = open_layout_tail(&content_key(1), tail, layout.stored_total(), MAX_PARTS);
    assert_eq!(read.unwrap(), layout);
}

#[test]
fn f_42_a_tail_of_another_body_is_refused() {
    let layout = Layout::ended_by_last(numbered(&[5, 6])).unwrap();
    let object = Object::seal(&content_key(1), layout.clone());
    let body = object.body();
    let total = body.len() as u64;
    let tail = &body[body.len() - layout_tail_length(2) as usize..];
    assert_eq!(open_layout_tail(&content_key(1), tail, total, 2), Ok(layout));
    assert_eq!(open_layout_tail(&content_key(2), tail, total, 2), Err(FormatError::SegmentCommitment));
    assert_eq!(open_layout_tail(&content_key(1), tail, total, 3), Err(FormatError::Layout));
    assert_eq!(open_layout_tail(&content_key(1), tail, total + 1, 2), Err(FormatError::Layout));
    assert_eq!(open_layout_tail(&content_key(1), &tail[1..], total, 2), Err(FormatError::LayoutTag));
    assert_eq!(open_layout_tail(&content_key(1), &[], total, 2), Err(FormatError::SegmentHeader));
    let header = &object.segments[1][..80];
    assert_eq!(open_layout_tail(&content_key(1), header, total, 2), Err(FormatError::SegmentCommitment));
    for bit in 0..tail.len() * 8 {
        let mut altered = tail.to_vec();
        altered[bit / 8] ^= 1 << (bit % 8);
        assert!(open_layout_tail(&content_key(1), &altered, total, 2).is_err(), "bit {bit}");
    }
}

fn real_lengths() -> impl Strategy<Value = u64> {
    prop_oneof![MIN_PART..1 << 33, (80..2_000_u64).prop_map(|chunks| chunks * CHUNK as u64), 1..MIN_PART]
}

proptest! {
    /// Even layouts, regular or not, have lengths that the formula inverts.
    #[test]
    fn f_38_every_regular_layout_is_invertible(
        chunks in 80..100_000_u64, parts in 0..9_998_u64, last in 0_u64..1 << 34, terminated in any::<bool>(),
    ) {
        let mut lengths = vec![chunks * CHUNK as u64; parts as usize];
        lengths.push(last.max(u64::from(terminated)));
        let layout = if terminated {
            Layout::terminated(numbered(&lengths))
        } else {
            Layout::ended_by_last(numbered(&lengths))
        };
        let layout = layout.unwrap();
        prop_assert!(layout.is_regular());
        prop_assert!(!is_impossible(layout.stored_total(), layout.segments()));
        prop_assert_eq!(
            multipart_plaintext_length(layout.stored_total(), layout.segments()),
            Ok(MultipartLength::Exact(layout.plaintext_total()))
        );
    }

    /// Every layout that is carried has a length that the formula does not invert, for its own number of
    /// segments.
    #[test]
    fn f_40_every_carried_layout_is_not(
        lengths in prop::collection::vec(real_lengths(), 1..60), gap in 0..3_u16, terminated in any::<bool>(),
    ) {
        let mut parts = numbered(&lengths);
        for part in parts.iter_mut().skip(1) {
            part.number = PartNumber::new(part.number.value() + gap).unwrap();
        }
        let layout = if terminated { Layout::terminated(parts) } else { Layout::ended_by_last(parts) }.unwrap();
        let length = multipart_plaintext_length(layout.stored_total(), layout.segments()).unwrap();
        if layout.is_regular() {
            prop_assert_eq!(length, MultipartLength::Exact(layout.plaintext_total()));
        } else {
            prop_assert_eq!(length, MultipartLength::NeedsLayout);
            let least = layout.stored_total() - u64::from(layout.tail_length())
                + layout_tail_length(layout.segments());
            prop_assert!(layout.stored_total() - least <= CHUNK as u64);
        }
    }

    /// Fewer segments of the same object never look like a whole one: a storage can cut a body only after a
    /// segment without `last`.
    #[test]
    fn f_35_no_prefix_of_segments_is_a_body(layout in layouts(), keep in any::<prop::sample::Index>()) {
        let object = Object::seal(&content_key(1), layout);
        let keep = keep.index(object.segments.len());
        let body = object.segments[..keep].concat();
        for parts in [None, Some(keep as u16), Some(object.segments.len() as u16)] {
            let claim = BodyClaim { ciphertext_total: body.len() as u64, parts };
            prop_assert!(open(&content_key(1), &body, claim, None).1.is_err());
        }
    }
}
