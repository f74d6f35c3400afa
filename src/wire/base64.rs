//! Base64 of what requests and responses carry in their headers: the standard alphabet, padded, canonical
//! (RFC 4648, section 4).
//! It must not know what the bytes are.
//! It promises one text for the same bytes, and no bytes for any other text.

use base64_simd::STANDARD;

/// The text of `bytes`.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    STANDARD.encode_to_string(bytes)
}

/// The bytes of a text; `None` for what [`encode`] does not write.
#[must_use]
pub fn decode(text: &[u8]) -> Option<Vec<u8>> {
    STANDARD.decode_to_vec(text).ok()
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD as REFERENCE;
    use proptest::prelude::*;

    use super::*;

    /// RFC 4648, section 10.
    #[test]
    fn known_values() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(encode(bytes.as_bytes()), text);
            assert_eq!(decode(text.as_bytes()).as_deref(), Some(bytes.as_bytes()));
        }
        for bad in ["Zg", "Zg=", "Zg===", "Zh==", "Zm9=", "Zm8=Zg==", "Zm9v\n", " Zm9v", "Zm-_", "=", "===="]
        {
            assert_eq!(decode(bad.as_bytes()), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let text = encode(&bytes);
            prop_assert_eq!(&text, &REFERENCE.encode(&bytes));
            prop_assert_eq!(decode(text.as_bytes()), Some(bytes));
        }

        /// Wide and narrow steps of the decoder refuse alike.
        #[test]
        fn what_another_library_refuses_is_refused(
            bytes in prop::collection::vec(any::<u8>(), 1..200),
            place in any::<prop::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let mut text = encode(&bytes).into_bytes();
            let place = place.index(text.len());
            text[place] = byte;
            prop_assert_eq!(decode(&text), REFERENCE.decode(&text).ok());
        }
    }
}
