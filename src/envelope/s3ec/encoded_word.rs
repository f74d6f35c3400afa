//! Metadata as S3 returns it: text that is not ASCII comes as RFC 2047 words around a doubly encoded text.
//!
//! It must not know what the metadata mean. It promises the text that the client stored, or none.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The text that a client stored. ASCII is unchanged; RFC 2047 words are decoded, each character taken as a
/// byte (latin-1), and the bytes as UTF-8. `None` if the result is not text.
pub(super) fn decode(value: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(value).ok()?;
    if !text.starts_with("=?") {
        return Some(text.to_owned());
    }
    let mut decoded = String::new();
    for word in text.split_ascii_whitespace() {
        decoded.push_str(&decode_word(word)?);
    }
    let bytes: Option<Vec<u8>> = decoded.chars().map(|letter| u8::try_from(u32::from(letter)).ok()).collect();
    match bytes.map(String::from_utf8) {
        Some(Ok(text)) => Some(text),
        // Encoded only once: the words held the text itself.
        Some(Err(_)) | None => Some(decoded),
    }
}

/// Decodes one `=?charset?B|Q?text?=`.
fn decode_word(word: &str) -> Option<String> {
    let mut fields = word.strip_prefix("=?")?.strip_suffix("?=")?.splitn(3, '?');
    let (charset, encoding, text) = (fields.next()?, fields.next()?, fields.next()?);
    let bytes = match encoding {
        "B" | "b" => STANDARD.decode(text).ok()?,
        "Q" | "q" => quoted_printable(text.as_bytes())?,
        _ => return None,
    };
    if charset.eq_ignore_ascii_case("utf-8") {
        String::from_utf8(bytes).ok()
    } else if charset.eq_ignore_ascii_case("iso-8859-1") {
        Some(bytes.into_iter().map(char::from).collect())
    } else {
        None
    }
}

fn quoted_printable(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        bytes.push(match first {
            b'_' => b' ',
            b'=' => {
                let (digits, after) = rest.split_first_chunk::<2>()?;
                rest = after;
                u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?
            }
            other => other,
        });
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ascii_is_itself() {
        assert_eq!(decode(b"{\"a\": \"b\"}").as_deref(), Some("{\"a\": \"b\"}"));
        assert_eq!(decode(b"").as_deref(), Some(""));
        assert_eq!(decode(b"\xff"), None);
    }

    #[test]
    fn words_of_a_doubly_encoded_text_are_undone() {
        // "blå" as UTF-8 is 62 6c c3 a5; each byte as a character, in UTF-8 again: 62 6c c3 83 c2 a5.
        assert_eq!(decode(b"=?UTF-8?Q?bl=C3=83=C2=A5?=").as_deref(), Some("blå"));
        let twice = STANDARD.encode("bl\u{c3}\u{a5}");
        assert_eq!(decode(format!("=?utf-8?B?{twice}?=").as_bytes()).as_deref(), Some("blå"));
        assert_eq!(decode(b"=?UTF-8?Q?a?= =?UTF-8?Q?_b?=").as_deref(), Some("a b"));
        assert_eq!(decode(b"=?ISO-8859-1?Q?bl=E5?=").as_deref(), Some("blå"), "encoded once");
    }

    #[test]
    fn broken_words_are_no_text() {
        for broken in ["=?UTF-8?Q?a", "=?UTF-8?X?a?=", "=?UTF-8?Q?=4?=", "=?KOI8-R?Q?a?=", "=?UTF-8?B?*?="] {
            assert_eq!(decode(broken.as_bytes()), None, "{broken}");
        }
    }
}
