//! The body that an envelope is for: the body of one PUT, whose length the envelope names (F-17), or the body
//! of a multipart upload, whose segments name their lengths.
//!
//! It must not know keys. It promises that a plaintext length is returned only after it was compared with the
//! stored length (F-24).

use super::length::{MAX_PLAINTEXT, ciphertext_length};
use super::{FormatError, Result};

/// The kind of body that an envelope is for. It is authentic if the envelope is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyKind {
    /// The body of one PUT, and the number of its plaintext bytes.
    Put {
        /// Bytes of plaintext, below 2^40.
        plaintext_length: u64,
    },
    /// The body of a multipart upload.
    Multipart,
}

impl BodyKind {
    /// The kind that an envelope's multipart flag and length field name.
    ///
    /// # Errors
    /// [`FormatError::PlaintextLength`] for a multipart upload with a length, and for a length of 2^40 bytes
    /// or more (F-17).
    pub(super) fn from_fields(multipart: bool, length: [u8; 8]) -> Result<Self> {
        match (multipart, u64::from_be_bytes(length)) {
            (true, 0) => Ok(Self::Multipart),
            (false, plaintext_length @ ..=MAX_PLAINTEXT) => Ok(Self::Put { plaintext_length }),
            (true | false, _) => Err(FormatError::PlaintextLength),
        }
    }

    /// The envelope's length field: 0 for a multipart upload (F-17).
    pub(super) fn length_field(self) -> [u8; 8] {
        match self {
            Self::Put { plaintext_length } => plaintext_length.to_be_bytes(),
            Self::Multipart => [0; 8],
        }
    }

    /// Whether the body is a multipart upload's.
    pub fn is_multipart(self) -> bool {
        match self {
            Self::Put { .. } => false,
            Self::Multipart => true,
        }
    }

    /// Plaintext bytes of the body of one PUT that has `stored` bytes in the storage; `None` for a multipart
    /// upload.
    ///
    /// # Errors
    /// [`FormatError::Length`] when the stored length is not that of the plaintext (F-24).
    pub fn put_length(self, stored: u64) -> Result<Option<u64>> {
        match self {
            Self::Multipart => Ok(None),
            Self::Put { plaintext_length } if ciphertext_length(plaintext_length) == Some(stored) => {
                Ok(Some(plaintext_length))
            }
            Self::Put { .. } => Err(FormatError::Length),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f_17_a_length_is_below_two_to_the_40_and_zero_for_a_multipart_upload() {
        let put = |plaintext_length| Ok(BodyKind::Put { plaintext_length });
        let refused = Err(FormatError::PlaintextLength);
        for (multipart, length, expected) in [
            (false, 0, put(0)),
            (false, 5 << 30, put(5 << 30)),
            (false, MAX_PLAINTEXT, put(MAX_PLAINTEXT)),
            (false, MAX_PLAINTEXT + 1, refused),
            (false, u64::MAX, refused),
            (true, 0, Ok(BodyKind::Multipart)),
            (true, 1, refused),
            (true, u64::MAX, refused),
        ] {
            let kind = BodyKind::from_fields(multipart, length.to_be_bytes());
            assert_eq!(kind, expected, "{multipart} {length}");
            if let Ok(kind) = kind {
                assert_eq!((kind.length_field(), kind.is_multipart()), (length.to_be_bytes(), multipart));
            }
        }
    }

    #[test]
    fn f_24_every_other_stored_length_is_refused() {
        for plaintext_length in [0, 1, 65_535, 65_536, 65_537, 131_072, 5 << 30] {
            let kind = BodyKind::Put { plaintext_length };
            let stored = ciphertext_length(plaintext_length).unwrap();
            assert_eq!(kind.put_length(stored), Ok(Some(plaintext_length)));
            for other in [0, stored - 1, stored + 1, stored.saturating_sub(65_552), stored + 65_552, u64::MAX]
            {
                let outcome = kind.put_length(other);
                assert_eq!(
                    outcome,
                    Err(FormatError::Length),
                    "This is a security issue: {other} is believed."
                );
            }
        }
        assert_eq!(BodyKind::Multipart.put_length(1), Ok(None));
    }
}
