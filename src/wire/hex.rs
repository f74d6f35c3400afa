//! Bytes as hexadecimal digits.
//!
//! It must not know what the bytes are. Writing uses lowercase digits, as SigV4 requires; parsing accepts
//! both cases.

/// Writes `bytes` as lowercase hexadecimal digits.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    let text: Vec<[u8; 2]> = bytes.iter().map(|byte| DIGITS[usize::from(*byte)]).collect();
    String::from_utf8(text.into_flattened()).expect("digits are ASCII")
}

/// The two lowercase hexadecimal digits of each byte; `as_flattened` gives them in a row.
pub fn encode_array<const N: usize>(bytes: &[u8; N]) -> [[u8; 2]; N] {
    let mut text = [[0; 2]; N];
    for (digits, byte) in text.iter_mut().zip(bytes) {
        *digits = DIGITS[usize::from(*byte)];
    }
    text
}

/// The two digits of each byte.
static DIGITS: [[u8; 2]; 256] = {
    const ONE: &[u8; 16] = b"0123456789abcdef";
    let mut digits = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        digits[byte] = [ONE[byte >> 4], ONE[byte & 0x0f]];
        byte += 1;
    }
    digits
};

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

/// Parses any even number of hexadecimal digits; `None` for anything else.
#[cfg(feature = "pkcs11")]
#[must_use]
pub fn decode_bytes(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let byte = |[high, low]: &[u8; 2]| Some(nibble(*high)? << 4 | nibble(*low)?);
    rest.is_empty().then(|| pairs.iter().map(byte).collect())?
}

/// The value of one hexadecimal digit.
pub(super) fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_written_in_lower_case_and_read_in_both() {
        assert_eq!(encode(&[0x00, 0x9a, 0xff]), "009aff");
        assert_eq!(encode_array(&[0x00, 0x9a, 0xff]).as_flattened(), b"009aff");
        assert_eq!(decode("009aff"), Some([0x00, 0x9a, 0xff]));
        assert_eq!(decode("009AFF"), Some([0x00, 0x9a, 0xff]));
        for malformed in ["", "009a", "009af", "009aff0", "009aff00", "009afg", "+09aff", "éé09"] {
            assert_eq!(decode::<3>(malformed), None, "{malformed}");
        }
        for byte in 0..=u8::MAX {
            let value = char::from(byte).to_digit(16).and_then(|value| u8::try_from(value).ok());
            assert_eq!(nibble(byte), value, "{byte}");
        }
    }
}
