//! Percent-encoding as SigV4 and S3 define it: strict when decoding, canonical when encoding.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, utf8_percent_encode};

use super::error::{ErrorCode, S3Error};

/// Everything but RFC 3986 §2.3 "unreserved": what a query name or value escapes.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// As [`QUERY`], with `/` kept: what a path escapes.
const PATH: &AsciiSet = &QUERY.remove(b'/');

/// What a `+` stands for: itself in a path, a space in a query (the WHATWG form encoding that S3 accepts there).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Plus {
    Literal,
    Space,
}

pub(super) fn encode_query(text: &str) -> PercentEncode<'_> {
    utf8_percent_encode(text, QUERY)
}

pub(super) fn encode_path(text: &str) -> PercentEncode<'_> {
    utf8_percent_encode(text, PATH)
}

/// Decodes every `%XX`, once.
///
/// # Errors
/// `InvalidURI` for a `%` without two hexadecimal digits, and for bytes that are not UTF-8.
pub(super) fn decode(raw: &str, plus: Plus) -> Result<String, S3Error> {
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        match first {
            b'%' => {
                let [high, low, tail @ ..] = rest else { return Err(ErrorCode::InvalidURI.into()) };
                bytes.push(nibble(*high)? << 4 | nibble(*low)?);
                rest = tail;
            }
            b'+' if plus == Plus::Space => bytes.push(b' '),
            other => bytes.push(*other),
        }
    }
    String::from_utf8(bytes).map_err(|_| ErrorCode::InvalidURI.into())
}

fn nibble(digit: u8) -> Result<u8, S3Error> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        b'A'..=b'F' => Ok(digit - b'A' + 10),
        _ => Err(ErrorCode::InvalidURI.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_once_and_only_whole_escapes() {
        assert_eq!(decode("a%2525b", Plus::Literal).unwrap(), "a%25b");
        assert_eq!(decode("%C3%a9", Plus::Literal).unwrap(), "é");
        for bad in ["%", "%2", "a%", "%zz", "%2g", "%%20", "%+1", "% 1"] {
            assert_eq!(decode(bad, Plus::Literal).unwrap_err().code, ErrorCode::InvalidURI, "{bad}");
        }
        for not_utf8 in ["%ff", "%C3", "%ED%A0%80", "%C0%AF"] {
            assert_eq!(
                decode(not_utf8, Plus::Literal).unwrap_err().code,
                ErrorCode::InvalidURI,
                "{not_utf8}"
            );
        }
    }

    #[test]
    fn plus_is_a_space_in_a_query_only() {
        assert_eq!(decode("a+b%2B", Plus::Literal).unwrap(), "a+b+");
        assert_eq!(decode("a+b%2B", Plus::Space).unwrap(), "a b+");
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
