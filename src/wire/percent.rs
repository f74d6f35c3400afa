//! Percent-encoding: canonical when writing, strict or lenient when reading.
//!
//! It must not know which part of a request a text comes from, beyond what `+` means there.
//! Strict decoding refuses a malformed escape; lenient decoding keeps a malformed escape as it is.

use std::cmp::Ordering;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, percent_encode, percent_encode_byte};
use thiserror::Error;

use super::hex::nibble;

/// Everything but the unreserved characters of RFC 3986, 2.3: what SigV4 escapes in a query name or value.
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html>
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// What SigV4 escapes in a path: as in a query, except `/`.
const PATH: &AsciiSet = &QUERY.remove(b'/');

/// The meaning of `+`: itself in a path, a space in a query (the WHATWG form encoding that S3 accepts there).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plus {
    /// A plus sign.
    Literal,
    /// A space.
    Space,
}

/// A text with a malformed escape, or with bytes that are not UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the percent-encoding is invalid")]
pub struct InvalidEncoding;

/// Encodes a name or value of a query.
pub fn encode_query<T: AsRef<[u8]> + ?Sized>(text: &T) -> PercentEncode<'_> {
    percent_encode(text.as_ref(), QUERY)
}

/// Encodes a path, in which `/` stays.
pub fn encode_path<T: AsRef<[u8]> + ?Sized>(text: &T) -> PercentEncode<'_> {
    percent_encode(text.as_ref(), PATH)
}

/// Appends a path encoded as by [`encode_path`].
pub fn push_path(buffer: &mut String, path: &str) {
    if are_plain(path.as_bytes()) {
        buffer.push_str(path);
    } else {
        buffer.extend(encode_path(path));
    }
}

/// Appends a path decoded as by [`decode_lenient`] and encoded as by [`encode_path`], without a copy between.
pub fn push_canonical_path(buffer: &mut Vec<u8>, raw_path: &str) {
    let mut rest = raw_path.as_bytes();
    if are_plain(rest) {
        return buffer.extend_from_slice(rest);
    }
    loop {
        let end = rest.iter().position(|byte| !is_plain(*byte)).unwrap_or(rest.len());
        buffer.extend_from_slice(&rest[..end]);
        let Some((byte, tail)) = decode_first(&rest[end..]) else { return };
        if is_plain(byte) {
            buffer.push(byte);
        } else {
            buffer.extend_from_slice(percent_encode_byte(byte).as_bytes());
        }
        rest = tail;
    }
}

/// The order of two texts as [`encode_query`] writes them, without writing them: an escape begins with `%`,
/// which sorts before every unreserved character, and its digits sort as the byte does.
pub fn compare_encoded_query(left: &[u8], right: &[u8]) -> Ordering {
    let rank = |byte: &u8| (is_unreserved(*byte), *byte);
    left.iter().map(rank).cmp(right.iter().map(rank))
}

/// Whether all bytes stand for themselves in a path, encoded or not.
fn are_plain(path: &[u8]) -> bool {
    // Without a way out early, since nearly all are: several bytes are looked at at once.
    path.iter().fold(true, |all, byte| all & is_plain(*byte))
}

/// Whether a byte stands for itself in a path, encoded or not.
fn is_plain(byte: u8) -> bool {
    is_unreserved(byte) || byte == b'/'
}

/// RFC 3986, 2.3.
fn is_unreserved(byte: u8) -> bool {
    matches!(byte, b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~')
}

/// Decodes every `%XX` once, strictly.
///
/// # Errors
/// [`InvalidEncoding`] for a `%` without two hexadecimal digits, and for bytes that are not UTF-8.
pub fn decode_strict(raw: &str, plus: Plus) -> Result<String, InvalidEncoding> {
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        match first {
            b'%' => {
                let [high, low, tail @ ..] = rest else { return Err(InvalidEncoding) };
                let (high, low) = (nibble(*high), nibble(*low));
                bytes.push(high.ok_or(InvalidEncoding)? << 4 | low.ok_or(InvalidEncoding)?);
                rest = tail;
            }
            b'+' if plus == Plus::Space => bytes.push(b' '),
            other => bytes.push(*other),
        }
    }
    String::from_utf8(bytes).map_err(|_| InvalidEncoding)
}

/// Decodes every well-formed `%XX` once; a malformed escape (`%zz`) stands for itself, and any bytes may
/// result.
#[must_use]
pub fn decode_lenient(raw: &str, plus: Plus) -> Vec<u8> {
    if !raw.bytes().any(|byte| matches!(byte, b'%' | b'+')) {
        return raw.as_bytes().to_vec();
    }
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.as_bytes();
    while let Some((byte, tail)) = decode_first(rest) {
        let is_space = plus == Plus::Space && rest.starts_with(b"+");
        bytes.push(if is_space { b' ' } else { byte });
        rest = tail;
    }
    bytes
}

/// The first byte that `text` stands for, and the text after it; a malformed escape stands for itself.
fn decode_first(text: &[u8]) -> Option<(u8, &[u8])> {
    if let [b'%', high, low, rest @ ..] = text
        && let (Some(high), Some(low)) = (nibble(*high), nibble(*low))
    {
        return Some((high << 4 | low, rest));
    }
    text.split_first().map(|(first, rest)| (*first, rest))
}

#[cfg(test)]
mod tests {
    use percent_encoding::percent_decode;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn short_cuts_change_nothing(raw in "(\\PC|%[0-9A-Fa-f]{2}|[%+/g ~]|[\\x00-\\xff]){0,20}") {
            for plus in [Plus::Literal, Plus::Space] {
                let spaced = if plus == Plus::Space { raw.replace('+', " ") } else { raw.clone() };
                let decoded: Vec<u8> = percent_decode(spaced.as_bytes()).collect();
                prop_assert_eq!(decode_lenient(&raw, plus), decoded);
            }
            let mut path = b"before".to_vec();
            push_canonical_path(&mut path, &raw);
            let slow = format!("before{}", encode_path(&decode_lenient(&raw, Plus::Literal)));
            prop_assert_eq!(String::from_utf8(path).unwrap(), slow);
        }

        #[test]
        fn the_order_is_that_of_encoded_texts(
            left in prop::collection::vec(any::<u8>(), 0..4),
            right in prop::collection::vec(any::<u8>(), 0..4),
        ) {
            let slow = encode_query(&left).to_string().cmp(&encode_query(&right).to_string());
            prop_assert_eq!(compare_encoded_query(&left, &right), slow);
        }
    }

    #[test]
    fn the_order_of_bytes_is_that_of_their_encodings() {
        for (left, right) in (0..=u8::MAX).flat_map(|left| (0..=u8::MAX).map(move |right| ([left], [right])))
        {
            let slow = encode_query(&left).to_string().cmp(&encode_query(&right).to_string());
            assert_eq!(compare_encoded_query(&left, &right), slow, "{left:?} {right:?}");
        }
    }

    #[test]
    fn decodes_once_and_only_whole_escapes() {
        assert_eq!(decode_strict("a%2525b", Plus::Literal).unwrap(), "a%25b");
        assert_eq!(decode_strict("%C3%a9", Plus::Literal).unwrap(), "é");
        for bad in ["%", "%2", "a%", "%zz", "%2g", "%%20", "%+1", "% 1"] {
            assert_eq!(decode_strict(bad, Plus::Literal), Err(InvalidEncoding), "{bad}");
        }
        for not_utf8 in ["%ff", "%C3", "%ED%A0%80", "%C0%AF"] {
            assert_eq!(decode_strict(not_utf8, Plus::Literal), Err(InvalidEncoding), "{not_utf8}");
        }
    }

    #[test]
    fn lenient_decoding_keeps_malformed_escapes() {
        for (raw, decoded) in
            [("a%2525b", &b"a%25b"[..]), ("%", b"%"), ("%2", b"%2"), ("%zz%41", b"%zzA"), ("%ff", b"\xff")]
        {
            assert_eq!(decode_lenient(raw, Plus::Literal), decoded, "{raw}");
        }
        assert_eq!(decode_lenient("a+b%2B", Plus::Literal), b"a+b+");
        assert_eq!(decode_lenient("a+b%2B", Plus::Space), b"a b+");
    }

    #[test]
    fn plus_is_a_space_in_a_query_only() {
        assert_eq!(decode_strict("a+b%2B", Plus::Literal).unwrap(), "a+b+");
        assert_eq!(decode_strict("a+b%2B", Plus::Space).unwrap(), "a b+");
    }

    #[test]
    fn encodes_as_sigv4_does() {
        assert_eq!(
            encode_query("az09-._~ /+=&é*'\u{7f}").to_string(),
            "az09-._~%20%2F%2B%3D%26%C3%A9%2A%27%7F"
        );
        assert_eq!(encode_path("a/b c%//").to_string(), "a/b%20c%25//");
    }
}
