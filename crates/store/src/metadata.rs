//! Metadata values on their way through s3s, which knows RFC 2047: it stores the text of an encoded word
//! instead of the word, and responds with an encoded word to a value with a tab. S3 does neither.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue};

/// The prefix of the headers with metadata.
const METADATA: &str = "x-amz-meta-";

/// Encodes each value that s3s would decode, so that s3s stores the value that the client sent.
pub(super) fn encode_words(headers: &mut HeaderMap) {
    for (name, value) in headers.iter_mut() {
        if name.as_str().starts_with(METADATA)
            && let Some(word) = is_word(value.as_bytes()).then(|| encoded(value.as_bytes()))
        {
            *value = HeaderValue::try_from(word).expect("base64 is a header value");
        }
    }
}

fn is_word(value: &[u8]) -> bool {
    let value = value.trim_ascii();
    value.starts_with(b"=?") && value.ends_with(b"?=")
}

fn encoded(value: &[u8]) -> String {
    format!("=?UTF-8?B?{}?=", STANDARD.encode(value.trim_ascii()))
}

/// The response headers of all values in ASCII, as they were stored. Other values remain in `metadata`: s3s
/// responds with an encoded word to them, as S3 does.
pub(super) fn take_headers(metadata: &mut BTreeMap<String, String>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    metadata.retain(|name, value| {
        let name = HeaderName::try_from(format!("{METADATA}{name}"));
        match (name, HeaderValue::from_str(value)) {
            (Ok(name), Ok(header)) if value.is_ascii() => {
                headers.insert(name, header);
                false
            }
            (_, _) => true,
        }
    });
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_encoded_once_more_and_other_values_stay() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-amz-meta-word", " =?UTF-8?Q?a_b?= "),
            ("x-amz-meta-plain", "=? a"),
            ("x-amz-meta-tab", "a\tb"),
            ("content-disposition", "=?UTF-8?Q?a?="),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let mut expected = headers.clone();
        expected.insert("x-amz-meta-word", HeaderValue::from_static("=?UTF-8?B?PT9VVEYtOD9RP2FfYj89?="));
        encode_words(&mut headers);
        assert_eq!(headers, expected);
    }

    #[test]
    fn only_values_in_ascii_become_headers_as_they_are() {
        let values = [("tab", "a\tb"), ("word", "=?UTF-8?Q?a?="), ("e", "é"), ("empty", "")];
        let mut metadata: BTreeMap<_, _> =
            values.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let headers = take_headers(&mut metadata);
        assert_eq!(metadata.keys().collect::<Vec<_>>(), ["e"]);
        assert_eq!(headers["x-amz-meta-tab"], "a\tb");
        assert_eq!(headers["x-amz-meta-word"], "=?UTF-8?Q?a?=");
        assert_eq!(headers["x-amz-meta-empty"], "");
    }
}
