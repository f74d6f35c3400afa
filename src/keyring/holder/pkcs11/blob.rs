//! The layout of a data key that a PKCS#11 token wrapped.
//! It must not know tokens.
//! It promises that every blob has one encoding, and that parsing accepts no other.

/// ```text
/// version(1)=1 | len8 | CKA_ID (0 to 64 bytes) | IV(12) | AES-256-GCM(wrapping key, IV, data key, AAD)  = 48
/// ```
/// The AAD is the canonical encryption context alone: an altered id is one of another key, which does not
/// open the ciphertext.
const VERSION: u8 = 1;
/// Maximum length of a CKA_ID, in bytes: every object's metadata holds one, and S3 limits metadata to 2,048
/// bytes.
pub(super) const MAX_ID_LEN: usize = 64;
pub(super) const IV_LEN: usize = 12;
/// A data key of 32 bytes, and the tag.
pub(super) const CIPHERTEXT_LEN: usize = 48;

/// The fields of a blob, not yet authenticated.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Blob<'a> {
    /// The CKA_ID of the wrapping key.
    pub(super) id: &'a [u8],
    pub(super) iv: &'a [u8; IV_LEN],
    /// The data key and the tag.
    pub(super) ciphertext: &'a [u8; CIPHERTEXT_LEN],
}

impl<'a> Blob<'a> {
    /// Parses a blob; `None` for another version or length.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (&[version, id_len], rest) = bytes.split_first_chunk()?;
        let (id, rest) = rest.split_at_checked(usize::from(id_len))?;
        let (iv, rest) = rest.split_first_chunk()?;
        let ciphertext = rest.try_into().ok()?;
        (version == VERSION && id.len() <= MAX_ID_LEN).then_some(Self { id, iv, ciphertext })
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let id_len = u8::try_from(self.id.len()).expect("longer ids are refused where keys are found");
        [&[VERSION, id_len], self.id, self.iv, self.ciphertext].concat()
    }
}
