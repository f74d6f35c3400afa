//! What UploadPart sealed, in a few characters that the client carries to CompleteMultipartUpload (F-48).

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::{Layout, MAX_PART_LENGTH};

const LENGTH: usize = 5;
const DIGEST: usize = 8;

/// The length of a part and, if it carries a layout, which one.
///
/// It is no secret and not authentic: it keeps an honest client's upload from becoming an object that does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TailMark {
    length: u64,
    layout: Option<[u8; DIGEST]>,
}

/// The text is not a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the part's mark is malformed")]
pub struct MarkError;

impl TailMark {
    /// The mark of a part that carries no layout; `None` for one longer than any part.
    pub fn plain(length: u64) -> Option<Self> {
        (length <= MAX_PART_LENGTH).then_some(Self { length, layout: None })
    }

    /// The mark of the last part of this layout.
    pub fn of_last(layout: &Layout) -> Self {
        let length = layout.parts().last().expect("a layout has parts").length;
        let digest = digest(&SHA256, &layout.write());
        let digest = digest.as_ref().first_chunk().expect("SHA-256 gives 32 bytes");
        Self { length, layout: (!layout.is_regular()).then_some(*digest) }
    }

    /// Plaintext bytes of the part.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// length(5) | first bytes of SHA-256 of the layout's entries (8, only if it is carried), in base64url: 7 or 18
    /// characters of `A-Z a-z 0-9 - _`.
    pub fn to_text(&self) -> String {
        let mut bytes = self.length.to_be_bytes()[8 - LENGTH..].to_vec();
        bytes.extend_from_slice(self.layout.as_ref().map_or(&[], |digest| digest));
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Parses what [`Self::to_text`] wrote.
    ///
    /// # Errors
    /// [`MarkError`] for anything else.
    pub fn parse(text: &str) -> Result<Self, MarkError> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| MarkError)?;
        let (length, digest) = bytes.split_first_chunk::<LENGTH>().ok_or(MarkError)?;
        let layout = match digest {
            [] => None,
            digest => Some(digest.try_into().map_err(|_| MarkError)?),
        };
        Ok(Self { length: length.iter().fold(0, |length, byte| length << 8 | u64::from(*byte)), layout })
    }
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
        for (layout, characters) in [(&regular, 7), (&other, 18)] {
            let mark = TailMark::of_last(layout);
            assert_eq!(mark.length(), 5);
            assert_eq!(mark.to_text().len(), characters);
            assert_eq!(TailMark::parse(&mark.to_text()), Ok(mark));
        }
        assert_eq!(Some(TailMark::of_last(&regular)), TailMark::plain(5));
        assert_eq!(TailMark::plain(MAX_PART_LENGTH + 1), None);
        for malformed in ["", "AAAAAA", "AAAAAAA=", "AAAAAAAA", "AAAAAA+", "AAAAAAB", "AAAAAAAAAAAAAAAAAAAA"]
        {
            assert_eq!(TailMark::parse(malformed), Err(MarkError), "{malformed}");
        }
    }
}
