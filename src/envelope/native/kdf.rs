//! Key derivation: HKDF-SHA256 (RFC 5869) with the format's labels.
//!
//! It must not know what a derived key is used for beyond its label. It promises that two labels never give
//! the same key.

use std::sync::LazyLock;

use aws_lc_rs::aead::Nonce;
use hkdf::HkdfExtract;
use sha2::Sha256;
use zeroize::{Zeroize, Zeroizing};

use crate::envelope::{ContentKey, EndKey};

/// The label of the envelope's wrap key and commitment (F-10).
pub(super) const ENVELOPE: &[u8] = b"s3veil/v1/envelope\0";
/// The label of the wrap key and commitment of an envelope with a customer key (F-70).
pub(super) const CUSTOMER: &[u8] = b"s3veil/v1/customer\0";
/// The label of the key that seals the end key in an envelope (F-71).
pub(super) const END_WRAP: &[u8] = b"s3veil/v1/end-key\0";
/// The label of the end key (F-72).
const END: &[u8] = b"s3veil/v1/end\0";
/// The label of the attributes' key (F-14).
pub(super) const ATTRIBUTES: &[u8] = b"s3veil/v1/attributes\0";
/// The label of the body key of an object written by one PUT (F-20).
pub(super) const PUT: &[u8] = b"s3veil/v1/put\0";
/// The label of a segment's key and commitment (F-32).
pub(super) const PART: &[u8] = b"s3veil/v1/part\0";
/// The label of a carried layout's key and commitment (F-41).
pub(super) const LAYOUT: &[u8] = b"s3veil/v1/layout\0";
/// The label of the mask of a carried checksum (F-54).
pub(super) const CHECKSUM: &[u8] = b"s3veil/v1/checksum\0";
/// The label of an upload token's tag (F-51).
pub(super) const UPLOAD: &[u8] = b"s3veil/v1/upload\0";
/// The label of the key that seals a data key for a further holder (F-63).
pub(super) const HOLDER: &[u8] = b"s3veil/v1/holder\0";
/// The label in the HPKE `info` of a recovery key's entry (F-66).
pub(super) const RECOVERY: &[u8] = b"s3veil/v1/recovery\0";

/// The extraction without a salt (RFC 5869, 2.2), before its key.
static UNSALTED: LazyLock<Salt> = LazyLock::new(|| Salt(HkdfExtract::new(None)));

/// The salt of an envelope, from which several keys are derived.
///
/// By `hkdf`, which keeps nothing on the heap, and takes a quarter less time than AWS-LC for keys so short.
pub(super) struct Salt(HkdfExtract<Sha256>);

impl Salt {
    pub(super) fn new(salt: &[u8]) -> Self {
        Self(HkdfExtract::new(Some(salt)))
    }

    /// HKDF-SHA256(ikm, this salt, info) → `N` bytes; `info` is the concatenation of its pieces.
    pub(super) fn derive<const N: usize>(&self, ikm: &[u8], info: &[&[u8]]) -> Zeroizing<[u8; N]> {
        let mut extraction = self.0.clone();
        extraction.input_ikm(ikm);
        let (mut extracted, expansion) = extraction.finalize();
        extracted.zeroize();
        let mut output = Zeroizing::new([0; N]);
        expansion
            .expand_multi_info(info, output.as_mut_slice())
            .expect("at most 64 bytes are requested, HKDF-SHA256 gives up to 255 * 32");
        output
    }
}

/// HKDF-SHA256(ikm, salt, info) → `N` bytes; `info` is the concatenation of its pieces.
pub(super) fn hkdf<const N: usize>(ikm: &[u8], salt: &[u8], info: &[&[u8]]) -> Zeroizing<[u8; N]> {
    if salt.is_empty() { UNSALTED.derive(ikm, info) } else { Salt::new(salt).derive(ikm, info) }
}

/// HKDF-SHA256(content key, "", label, 32): the end key of an object (F-72).
pub(super) fn end_key(content_key: &ContentKey) -> EndKey {
    EndKey::from_zeroizing(hkdf(content_key.expose(), &[], &[END]))
}

/// The nonce of a key that encrypts one message.
pub(super) fn zero_nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of RFC 5869 have 22- and 80-byte keys; this one was computed with Python's `cryptography`.
    #[test]
    fn agrees_with_an_independent_implementation() {
        let okm = hkdf::<32>(&[0x0b; 32], &[0x01; 32], &[b"s3veil", b"/test"]);
        let joined = hkdf::<32>(&[0x0b; 32], &[0x01; 32], &[b"s3veil/test"]);
        assert_eq!(*okm, *joined);
        let expected = "4cade936dec19edfb38684a10eb022756e017417907fb4ecedeb4ea199e6e4ff";
        let got: String = okm.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(got, expected);
    }
}
