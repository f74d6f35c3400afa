//! What UploadPart sealed, in a few characters that the client returns with CompleteMultipartUpload (F-48).
//!
//! It must not reach the storage, and is not authentic. It promises that an honest client's upload does not
//! become an object that can't be opened, and that any node can combine the parts' checksums.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::{Layout, MAX_PART_LENGTH};
use crate::wire::checksum::{Checksum, ChecksumAlgorithm};

const LENGTH: usize = 5;
const DIGEST: usize = 8;
const FLAG_LAYOUT: u8 = 1;
const FLAG_CHECKSUM: u8 = 2;
const FLAG_OBJECT: u8 = 4;

/// The length of a part, the layout that it carries if any, and a checksum of its plaintext if one was
/// computed.
///
/// The client may read it; the storage never receives it. It is not authentic: it keeps an honest client's
/// upload from becoming an object that does not open, and lets any node compare checksums of the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartReceipt {
    length: u64,
    layout: Option<[u8; DIGEST]>,
    /// First bytes of SHA-256 of the object's checksum, if the part carries one.
    object: Option<[u8; DIGEST]>,
    checksum: Option<Checksum>,
}

/// The text is not a part's receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the part's receipt is malformed")]
pub struct ReceiptError;

impl PartReceipt {
    /// The receipt of a part that carries no layout; `None` for a part longer than [`MAX_PART_LENGTH`].
    pub fn plain(length: u64) -> Option<Self> {
        (length <= MAX_PART_LENGTH).then_some(Self { length, layout: None, object: None, checksum: None })
    }

    /// The receipt of the last part of this layout.
    pub fn for_last(layout: &Layout) -> Self {
        let length = layout.parts().last().expect("a layout has parts").length;
        let digest = digest(&SHA256, &layout.write());
        let digest = digest.as_ref().first_chunk().expect("SHA-256 gives 32 bytes");
        Self { length, layout: (!layout.is_regular()).then_some(*digest), object: None, checksum: None }
    }

    /// The receipt with a checksum of the part's plaintext.
    #[must_use]
    pub fn with_checksum(self, checksum: Option<Checksum>) -> Self {
        Self { checksum, ..self }
    }

    /// The receipt of a part that also carries this checksum of the object (F-54).
    #[must_use]
    pub fn carrying(self, object: Option<&Checksum>) -> Self {
        Self { object: object.map(truncated_digest), ..self }
    }

    /// Whether the part carries a checksum of the object.
    pub fn carries_one(&self) -> bool {
        self.object.is_some()
    }

    /// Whether the part carries just this checksum of the object.
    pub fn carries(&self, object: &Checksum) -> bool {
        self.object == Some(truncated_digest(object))
    }

    /// Plaintext bytes of the part.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The checksum of the part's plaintext, if it was computed.
    pub fn checksum(&self) -> Option<&Checksum> {
        self.checksum.as_ref()
    }

    /// Whether the part was sealed as the last of this layout.
    pub(super) fn matches_last(&self, layout: &Layout) -> bool {
        let expected = Self::for_last(layout);
        (self.length, self.layout) == (expected.length, expected.layout)
    }

    /// Encodes the receipt, in base64url: length(5) | flags(1) | first bytes of SHA-256 of the layout's
    /// entries (8, flag 1) | first bytes of SHA-256 of the object's checksum (8, flag 4) | tag(1) | checksum
    /// (flag 2). The text has 8 to 116 characters of `A-Z a-z 0-9 - _`.
    pub fn to_text(&self) -> String {
        let mut bytes = self.length.to_be_bytes()[8 - LENGTH..].to_vec();
        let flag = |present: bool, flag: u8| if present { flag } else { 0 };
        bytes.push(
            flag(self.layout.is_some(), FLAG_LAYOUT)
                | flag(self.checksum.is_some(), FLAG_CHECKSUM)
                | flag(self.object.is_some(), FLAG_OBJECT),
        );
        for digest in [&self.layout, &self.object].into_iter().flatten() {
            bytes.extend_from_slice(digest);
        }
        if let Some(checksum) = &self.checksum {
            bytes.push(checksum.algorithm().tag());
            bytes.extend_from_slice(checksum.bytes());
        }
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Parses the text of [`Self::to_text`].
    ///
    /// # Errors
    /// [`ReceiptError`] for anything else.
    pub fn parse(text: &str) -> Result<Self, ReceiptError> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| ReceiptError)?;
        let (length, rest) = bytes.split_first_chunk::<LENGTH>().ok_or(ReceiptError)?;
        let (flags, mut rest) = rest.split_first().ok_or(ReceiptError)?;
        if flags & !(FLAG_LAYOUT | FLAG_CHECKSUM | FLAG_OBJECT) != 0 {
            return Err(ReceiptError);
        }
        let mut digest = |flag| match flags & flag {
            0 => Ok(None),
            _ => {
                let (digest, after) = rest.split_first_chunk::<DIGEST>().ok_or(ReceiptError)?;
                rest = after;
                Ok(Some(*digest))
            }
        };
        let (layout, object) = (digest(FLAG_LAYOUT)?, digest(FLAG_OBJECT)?);
        let mut checksum = None;
        if flags & FLAG_CHECKSUM != 0 {
            let (tag, value) = rest.split_first().ok_or(ReceiptError)?;
            let tag = ChecksumAlgorithm::from_tag(*tag).ok_or(ReceiptError)?;
            (checksum, rest) = (Some(Checksum::new(tag, value).ok_or(ReceiptError)?), &[]);
        }
        if !rest.is_empty() {
            return Err(ReceiptError);
        }
        let length = length.iter().fold(0, |length, byte| length << 8 | u64::from(*byte));
        Ok(Self { length, layout, object, checksum })
    }
}

/// The first bytes of SHA-256 of a checksum's value.
fn truncated_digest(checksum: &Checksum) -> [u8; DIGEST] {
    *digest(&SHA256, checksum.bytes()).as_ref().first_chunk().expect("SHA-256 gives 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::native::multipart::{Part, PartNumber};

    #[test]
    fn f_48_a_mark_survives_its_text() {
        let part = |number, length| Part { number: PartNumber::new(number).unwrap(), length };
        let regular = Layout::ended_by_last(vec![part(1, 65_536), part(2, 5)]).unwrap();
        let other = Layout::ended_by_last(vec![part(1, 65_537), part(2, 5)]).unwrap();
        let checksum = Checksum::new(ChecksumAlgorithm::Sha256, &[9; 32]);
        for (layout, characters) in [(&regular, 8), (&other, 19)] {
            let receipt = PartReceipt::for_last(layout);
            assert_eq!(receipt.length(), 5);
            assert_eq!(receipt.to_text().len(), characters);
            assert_eq!(PartReceipt::parse(&receipt.to_text()), Ok(receipt));
            let marked = receipt.with_checksum(checksum);
            assert!(marked.matches_last(layout) && marked != receipt);
            assert_eq!(PartReceipt::parse(&marked.to_text()), Ok(marked));
            let longest = receipt.with_checksum(Checksum::new(ChecksumAlgorithm::Sha512, &[9; 64]));
            assert_eq!(PartReceipt::parse(&longest.to_text()), Ok(longest));
            let object = Checksum::new(ChecksumAlgorithm::Crc32, &[1, 2, 3, 4]).unwrap();
            let longest = longest.carrying(Some(&object));
            assert_eq!(PartReceipt::parse(&longest.to_text()), Ok(longest));
            assert!(longest.to_text().len() <= 116 && longest.matches_last(layout));
            assert!(longest.carries(&object) && longest.carries_one() && !marked.carries_one());
            let other = Checksum::new(ChecksumAlgorithm::Crc32, &[1, 2, 3, 5]).unwrap();
            assert!(!longest.carries(&other) && !marked.carries(&other));
        }
        assert_eq!(Some(PartReceipt::for_last(&regular)), PartReceipt::plain(5));
        assert!(!PartReceipt::for_last(&other).matches_last(&regular));
        assert_eq!(PartReceipt::plain(MAX_PART_LENGTH + 1), None);
        let short = |flags: u8, rest: &[u8]| URL_SAFE_NO_PAD.encode([&[0, 0, 0, 0, 5, flags], rest].concat());
        for malformed in [
            "".to_owned(),
            "AAAAAAA".to_owned(),
            "AAAAAAAA=".to_owned(),
            "AAAAAA+A".to_owned(),
            short(8, &[]),
            short(4, &[0; 7]),
            short(5, &[0; 15]),
            short(0, &[0]),
            short(1, &[0; 7]),
            short(1, &[0; 9]),
            short(2, &[]),
            short(2, &[11, 0, 0, 0, 0]),
            short(2, &[1, 0, 0, 0]),
            short(2, &[1, 0, 0, 0, 0, 0]),
        ] {
            assert_eq!(PartReceipt::parse(&malformed), Err(ReceiptError), "{malformed}");
        }
    }
}
