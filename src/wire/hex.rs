//! Bytes as hexadecimal digits.
//!
//! It must not know what the bytes are. Writing uses lowercase digits, as SigV4 requires; parsing accepts
//! both cases.

/// Writes `bytes` as lowercase hexadecimal digits.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = |byte: &u8| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 0x0f)]];
    let text: Vec<[u8; 2]> = bytes.iter().map(digits).collect();
    String::from_utf8(text.into_flattened()).expect("digits are ASCII")
}

/// Parses exactly `2 * N` hexadecimal digits; `None` for anything else.
#[must_use]
pub fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = nibble(*high)? << 4 | nibble(*low)?;
    }
    Some(bytes)
}

/// The value of one hexadecimal digit.
pub(super) fn nibble(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_written_in_lower_case_and_read_in_both() {
        assert_eq!(encode(&[0x00, 0x9a, 0xff]), "009aff");
        assert_eq!(decode("009aff"), Some([0x00, 0x9a, 0xff]));
        assert_eq!(decode("009AFF"), Some([0x00, 0x9a, 0xff]));
        for malformed in ["", "009a", "009af", "009aff0", "009aff00", "009afg", "+09aff", "éé09"] {
            assert_eq!(decode::<3>(malformed), None, "{malformed}");
        }
    }
}
