use proptest::prelude::*;

use super::*;

#[test]
fn f_27_ranges_ask_for_whole_chunks() {
    assert_eq!(
        PlaintextRange(RangeSpec::Bounded { first: 0, last: 0 }).ciphertext(),
        CiphertextRange(RangeSpec::Bounded { first: 0, last: 65_551 })
    );
    assert_eq!(
        PlaintextRange(RangeSpec::Bounded { first: 65_535, last: 65_536 }).ciphertext(),
        CiphertextRange(RangeSpec::Bounded { first: 0, last: 131_103 })
    );
    assert_eq!(
        PlaintextRange(RangeSpec::From { first: 131_072 }).ciphertext(),
        CiphertextRange(RangeSpec::From { first: 131_104 })
    );
    assert_eq!(
        PlaintextRange(RangeSpec::Suffix { length: 1 }).ciphertext(),
        CiphertextRange(RangeSpec::Suffix { length: 131_104 })
    );
}

#[test]
fn offsets_at_the_end_of_64_bits_saturate() {
    let CiphertextRange(RangeSpec::Bounded { last, .. }) =
        (PlaintextRange(RangeSpec::Bounded { first: 0, last: u64::MAX })).ciphertext()
    else {
        panic!("a bounded range stays bounded")
    };
    assert_eq!(last, u64::MAX);
    assert_eq!(
        PlaintextRange(RangeSpec::Suffix { length: u64::MAX }).ciphertext(),
        CiphertextRange(RangeSpec::Suffix { length: u64::MAX })
    );
}

#[test]
fn a_range_outside_the_object_or_before_the_bytes_is_refused() {
    assert_eq!(ReadWindow::slice(0, 0, 0, 0), Err(FormatError::BodyLength));
    assert_eq!(ReadWindow::slice(1, 0, 0, 1), Err(FormatError::BodyLength));
    assert_eq!(ReadWindow::slice(65_537, 65_552, 0, 1), Err(FormatError::BodyLength));
}

proptest! {
    /// At most two chunks more than requested are read, and the bytes read cover the range.
    #[test]
    fn a_window_covers_its_range(total in 1_u64..1 << 40, a in any::<u64>(), b in any::<u64>()) {
        let (first, last) = ((a % total).min(b % total), (a % total).max(b % total));
        let stored = ciphertext_length(total).unwrap();
        let window = ReadWindow::slice(total, 0, first, last).unwrap();
        prop_assert_eq!(window.first_chunk * CHUNK_U64 + window.skip, first);
        prop_assert!(window.discard + window.ciphertext_needed() <= stored);
        let CiphertextRange(RangeSpec::Bounded { first: requested, last: requested_last }) =
            (PlaintextRange(RangeSpec::Bounded { first, last })).ciphertext() else { unreachable!() };
        prop_assert_eq!(requested, window.discard);
        prop_assert!(requested + window.ciphertext_needed() <= requested_last.saturating_add(1));
        prop_assert!(requested_last - requested < (last - first + 1) + 2 * SEALED_U64 + (last - first) / 4096);
    }

    #[test]
    fn a_suffix_asks_for_enough(total in 1_u64..1 << 40, length in 1_u64..1 << 41) {
        let stored = ciphertext_length(total).unwrap();
        let CiphertextRange(RangeSpec::Suffix { length: requested }) =
            (PlaintextRange(RangeSpec::Suffix { length })).ciphertext() else { unreachable!() };
        let start = stored.saturating_sub(requested);
        let first = total.saturating_sub(length);
        let window = ReadWindow::slice(total, start, first, total - 1).unwrap();
        prop_assert!(start + window.discard + window.ciphertext_needed() == stored);
    }
}
