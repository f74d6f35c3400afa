//! Percent-encoding: canonical when writing, strict or lenient when reading.
//!
//! It must not know which part of a request a text comes from, beyond what `+` means there.
//! Strict decoding refuses a malformed escape; lenient decoding keeps a malformed escape as it is.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, percent_decode, percent_encode};
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
    let spaced: Vec<u8> =
        raw.bytes().map(|byte| if byte == b'+' && plus == Plus::Space { b' ' } else { byte }).collect();
    percent_decode(&spaced).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
