//! Searches of a text for some kinds of bytes, eight bytes in one step, as one number.
//!
//! It must not know what the text is. A search finds a byte if and only if the text has one.

/// A one in each of eight bytes.
pub const ONES: u64 = u64::from_ne_bytes([1; 8]);
/// The highest bit of each of eight bytes, which a search sets in the places of the bytes that it finds.
/// Carries and borrows begin only at such bytes, and may set further bits then.
const HIGHEST_BITS: u64 = ONES << 7;

/// Whether `find` finds a byte in `text`.
pub fn contains(text: &[u8], find: impl Fn(u64) -> u64) -> bool {
    let Some(last) = text.last_chunk() else {
        let Some(first) = text.first() else { return false };
        let mut eight = [*first; 8];
        eight[..text.len()].copy_from_slice(text);
        return find(u64::from_ne_bytes(eight)) & HIGHEST_BITS != 0;
    };
    // The last eight may have some in common with those before.
    let (eights, _) = text.as_chunks();
    eights.iter().chain([last]).any(|eight| find(u64::from_ne_bytes(*eight)) & HIGHEST_BITS != 0)
}

/// Finds a byte.
pub fn equal(byte: u8, eight: u64) -> u64 {
    below(1, eight ^ (ONES * u64::from(byte)))
}

/// Finds bytes below a limit, which is at most 128.
pub fn below(limit: u8, eight: u64) -> u64 {
    eight.wrapping_sub(ONES * u64::from(limit)) & !eight
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_found_is_there(text in prop::collection::vec(0x1c_u8..0x24, 0..40), byte in any::<u8>()) {
            prop_assert_eq!(contains(&text, |eight| equal(b' ', eight)), text.contains(&b' '));
            prop_assert_eq!(contains(&text, |eight| equal(byte, eight)), text.contains(&byte));
            prop_assert_eq!(contains(&text, |eight| below(b' ', eight)), text.iter().any(|byte| *byte < b' '));
        }
    }
}
