//! One name of fixed size for several values: a SHA-256 over length-prefixed fields.
//!
//! It must not know what the fields are. Two different lists of fields never hash the same bytes.

use aws_lc_rs::digest;

/// SHA-256 over `fields`, each after its length in bytes as 8 bytes, big-endian.
#[must_use]
pub fn digest_of_fields<'a>(fields: impl IntoIterator<Item = &'a [u8]>) -> [u8; 32] {
    let mut hash = digest::Context::new(&digest::SHA256);
    for field in fields {
        hash.update(&(field.len() as u64).to_be_bytes());
        hash.update(field);
    }
    hash.finish().as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// SHA-256 of `bytes`.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    digest::digest(&digest::SHA256, bytes).as_ref().try_into().expect("SHA-256 has 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_field_ends_is_part_of_the_digest() {
        let digests = [
            digest_of_fields([&b"ab"[..], b"c"]),
            digest_of_fields([&b"a"[..], b"bc"]),
            digest_of_fields([&b"abc"[..]]),
            digest_of_fields([&b"abc"[..], b""]),
        ];
        for (at, digest) in digests.iter().enumerate() {
            assert!(!digests[..at].contains(digest), "{at}");
        }
        assert_eq!(digest_of_fields([]), sha256(b""));
        assert_eq!(digest_of_fields([&b"a"[..]]), sha256(b"\0\0\0\0\0\0\0\x01a"));
    }
}
