//! The 80 bytes that begin a segment: what it is, bound to its key (F-31 to F-33).

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::layout::sealed_length;
use super::{MAX_PART_LENGTH, MAX_PARTS, Part, PartNumber};
use crate::envelope::ContentKey;
use crate::envelope::data_key::KEY_LENGTH;
use crate::envelope::native::chunk::ChunkKey;
use crate::envelope::native::{CHUNK, FormatError, kdf};

/// Bytes before the chunks of every segment.
pub const SEGMENT_HEADER: usize = FIELDS + SALT + COMMITMENT;

const FIELDS: usize = 16;
const SALT: usize = 32;
const COMMITMENT: usize = 32;
const VERSION: u8 = 1;
const FLAG_LAST: u8 = 1;
const FLAG_TERMINATOR: u8 = 2;
const FLAG_LAYOUT: u8 = 4;
/// Longest tail: layout and footer of 10,000 segments and the longest padding.
const LONGEST_TAIL: u64 = sealed_length(MAX_PARTS) + CHUNK as u64;

/// The random salt of one segment. Consumed by use, so none serves twice.
pub struct SegmentEntropy([u8; SALT]);

impl SegmentEntropy {
    /// 32 bytes from the system's generator (F-33).
    pub fn fresh() -> Self {
        let mut salt = [0; SALT];
        aws_lc_rs::rand::fill(&mut salt)
            .expect("the system's random generator works or the process must end");
        Self(salt)
    }

    /// Fixed bytes, for test vectors.
    #[cfg(test)]
    pub(in crate::envelope::native) fn fixed(salt: [u8; SALT]) -> Self {
        Self(salt)
    }

    pub(super) fn into_salt(self) -> [u8; SALT] {
        self.0
    }
}

/// The place of a segment in its object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Another segment follows.
    Middle,
    /// The last segment, a part of the client's.
    Last,
    /// The last segment, of no plaintext, added by the proxy (F-36).
    Terminator,
}

/// version(1) | flags(1) | part(2) | tail length(4) | plaintext length(8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fields {
    pub(super) place: Place,
    pub(super) part: Part,
    /// Bytes after the chunks; 0 unless the segment carries a layout (F-39).
    pub(super) tail_length: u32,
}

impl Fields {
    fn write(&self) -> [u8; FIELDS] {
        let place = match self.place {
            Place::Middle => 0,
            Place::Last => FLAG_LAST,
            Place::Terminator => FLAG_LAST | FLAG_TERMINATOR,
        };
        let layout = if self.tail_length == 0 { 0 } else { FLAG_LAYOUT };
        let mut bytes = [0; FIELDS];
        bytes[0] = VERSION;
        bytes[1] = place | layout;
        bytes[2..4].copy_from_slice(&self.part.number.value().to_be_bytes());
        bytes[4..8].copy_from_slice(&self.tail_length.to_be_bytes());
        bytes[8..].copy_from_slice(&self.part.length.to_be_bytes());
        bytes
    }

    fn parse(bytes: &[u8; FIELDS]) -> Result<Self, FormatError> {
        let [version, flags, part_high, part_low, rest @ ..] = bytes;
        let (tail_length, length) = rest.split_first_chunk().ok_or(FormatError::SegmentHeader)?;
        let tail_length = u32::from_be_bytes(*tail_length);
        let length = u64::from_be_bytes(length.try_into().map_err(|_| FormatError::SegmentHeader)?);
        let number = PartNumber::new(u16::from_be_bytes([*part_high, *part_low]));
        let part = Part { number: number.ok_or(FormatError::SegmentHeader)?, length };
        let (place, carries) = match *flags {
            0 => (Place::Middle, false),
            FLAG_LAST => (Place::Last, false),
            3 => (Place::Terminator, false),
            5 => (Place::Last, true),
            7 => (Place::Terminator, true),
            _ => return Err(FormatError::SegmentHeader),
        };
        let fields = Self { place, part, tail_length };
        let tail = match carries {
            true => (sealed_length(1)..=LONGEST_TAIL).contains(&u64::from(tail_length)),
            false => tail_length == 0,
        };
        if *version == VERSION && tail && fields.is_possible() {
            Ok(fields)
        } else {
            Err(FormatError::SegmentHeader)
        }
    }

    /// Whether a segment at this place may have this number and length (F-31).
    pub(super) fn is_possible(&self) -> bool {
        let Part { number, length } = self.part;
        let placed = match self.place {
            Place::Middle => length > 0,
            Place::Last => true,
            Place::Terminator => length == 0 && number == PartNumber::TERMINATOR,
        };
        placed && length <= MAX_PART_LENGTH
    }
}

/// fields(16) | salt(32) | commitment(32), well-formed; authentic only when [`Header::authenticate`] says so. A
/// layout's footer has the same shape (F-41).
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) fields: Fields,
    pub(super) salt: [u8; SALT],
    commitment: [u8; COMMITMENT],
}

/// What a header's two halves are derived for.
#[derive(Clone, Copy)]
pub(super) enum Purpose<'a> {
    /// A segment; with the digest of those before it, if it is a terminator.
    Segment(Option<&'a [u8; 32]>),
    /// The layout in its tail.
    Layout,
}

impl Header {
    /// The header of these fields, and the key that goes with it.
    pub(super) fn make(
        content_key: &ContentKey,
        fields: Fields,
        salt: [u8; SALT],
        purpose: Purpose<'_>,
    ) -> (Self, Zeroizing<[u8; KEY_LENGTH]>) {
        let (key, commitment) = derive(content_key, &fields, &salt, purpose);
        (Self { fields, salt, commitment }, key)
    }

    pub(super) fn write(&self) -> [u8; SEGMENT_HEADER] {
        let mut bytes = [0; SEGMENT_HEADER];
        bytes[..FIELDS].copy_from_slice(&self.fields.write());
        bytes[FIELDS..FIELDS + SALT].copy_from_slice(&self.salt);
        bytes[FIELDS + SALT..].copy_from_slice(&self.commitment);
        bytes
    }

    pub(super) fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let bytes: &[u8; SEGMENT_HEADER] = bytes.try_into().map_err(|_| FormatError::SegmentHeader)?;
        let (fields, rest) = bytes.split_first_chunk().ok_or(FormatError::SegmentHeader)?;
        let (salt, commitment) = rest.split_first_chunk().ok_or(FormatError::SegmentHeader)?;
        let commitment = commitment.try_into().map_err(|_| FormatError::SegmentHeader)?;
        Ok(Self { fields: Fields::parse(fields)?, salt: *salt, commitment })
    }

    /// Compares the commitment in constant time and gives the key out only if it matches (F-32).
    pub(super) fn authenticate(
        &self,
        content_key: &ContentKey,
        purpose: Purpose<'_>,
    ) -> Result<Zeroizing<[u8; KEY_LENGTH]>, FormatError> {
        let (key, expected) = derive(content_key, &self.fields, &self.salt, purpose);
        if bool::from(expected.ct_eq(&self.commitment)) {
            Ok(key)
        } else {
            Err(FormatError::SegmentCommitment)
        }
    }

    /// The key of this segment's chunks, which are numbered from 0 as those of a PUT (F-34).
    pub(super) fn chunk_key(
        &self,
        content_key: &ContentKey,
        digest: Option<&[u8; 32]>,
    ) -> Result<ChunkKey, FormatError> {
        let key = self.authenticate(content_key, Purpose::Segment(digest))?;
        Ok(ChunkKey::new(&key))
    }
}

/// key(32) | commitment(32) = HKDF-SHA256(content key, salt, label | fields | digest, 64) (F-32, F-41).
fn derive(
    content_key: &ContentKey,
    fields: &Fields,
    salt: &[u8; SALT],
    purpose: Purpose<'_>,
) -> (Zeroizing<[u8; KEY_LENGTH]>, [u8; COMMITMENT]) {
    let (label, digest): (_, &[u8]) = match purpose {
        Purpose::Segment(digest) => (kdf::PART, digest.map_or(&[], |digest| digest)),
        Purpose::Layout => (kdf::LAYOUT, &[]),
    };
    let derived = kdf::hkdf::<{ KEY_LENGTH + COMMITMENT }>(
        content_key.expose(),
        salt,
        &[label, &fields.write(), digest],
    );
    let (mut key, mut commitment) = (Zeroizing::new([0; KEY_LENGTH]), [0; COMMITMENT]);
    key.copy_from_slice(&derived[..KEY_LENGTH]);
    commitment.copy_from_slice(&derived[KEY_LENGTH..]);
    (key, commitment)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content_key(byte: u8) -> ContentKey {
        ContentKey::from_zeroizing(Zeroizing::new([byte; 32]))
    }

    fn fields(place: Place, number: u16, length: u64, tail_length: u32) -> Fields {
        Fields { place, part: Part { number: PartNumber::new(number).unwrap(), length }, tail_length }
    }

    #[test]
    fn f_31_fields_have_one_spelling() {
        for (fields, expected) in [
            (fields(Place::Middle, 1, 5, 0), [1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5]),
            (fields(Place::Last, 258, 0, 0), [1, 1, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            (fields(Place::Terminator, 10_000, 0, 0), [1, 3, 39, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            (fields(Place::Last, 2, 256, 103), [1, 5, 0, 2, 0, 0, 0, 103, 0, 0, 0, 0, 0, 0, 1, 0]),
            (fields(Place::Terminator, 10_000, 0, 300), [1, 7, 39, 16, 0, 0, 1, 44, 0, 0, 0, 0, 0, 0, 0, 0]),
        ] {
            assert_eq!(fields.write(), expected);
            assert_eq!(Fields::parse(&expected), Ok(fields));
        }
    }

    #[test]
    fn f_31_everything_else_is_refused() {
        let good = fields(Place::Last, 2, 256, 103).write();
        for (what, at, byte) in [
            ("version", 0, 2),
            ("no flag, but a tail", 1, 0),
            ("last without layout, but a tail", 1, 1),
            ("terminator that is not last", 1, 2),
            ("terminator of another number", 1, 7),
            ("unknown flag", 1, 13),
            ("tail shorter than a layout", 7, 102),
            ("tail longer than any", 5, 3),
            ("a length of more than 40 bits", 10, 1),
        ] {
            let mut bad = good;
            bad[at] = byte;
            assert_eq!(Fields::parse(&bad), Err(FormatError::SegmentHeader), "{what}");
        }
        for (what, bad) in [
            ("part 0", [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5]),
            ("part 10,001", [1, 0, 39, 17, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5]),
            ("an empty part that is not the last", [1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            ("a terminator with plaintext", [1, 3, 39, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5]),
            ("a layout without tail", [1, 5, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5]),
        ] {
            assert_eq!(Fields::parse(&bad), Err(FormatError::SegmentHeader), "{what}");
        }
    }

    #[test]
    fn f_32_a_header_is_bound_to_content_key_digest_purpose_and_every_byte() {
        let (header, _) = Header::make(
            &content_key(1),
            fields(Place::Middle, 3, 70_000, 0),
            [7; 32],
            Purpose::Segment(None),
        );
        let bytes = header.write();
        assert!(Header::parse(&bytes).unwrap().chunk_key(&content_key(1), None).is_ok());
        let refused = Some(FormatError::SegmentCommitment);
        assert_eq!(header.chunk_key(&content_key(2), None).err(), refused);
        assert_eq!(header.chunk_key(&content_key(1), Some(&[0; 32])).err(), refused);
        assert_eq!(header.authenticate(&content_key(1), Purpose::Layout).err(), refused);
        for bit in 0..SEGMENT_HEADER * 8 {
            let mut altered = bytes;
            altered[bit / 8] ^= 1 << (bit % 8);
            let opened = Header::parse(&altered).and_then(|header| header.chunk_key(&content_key(1), None));
            assert!(opened.is_err(), "This is a security issue: bit {bit} is not authenticated.");
        }
    }

    #[test]
    fn f_33_another_salt_is_another_key() {
        let make = |salt| {
            Header::make(&content_key(1), fields(Place::Middle, 1, 5, 0), [salt; 32], Purpose::Segment(None))
                .1
        };
        assert_ne!(make(1), make(2));
        assert_ne!(SegmentEntropy::fresh().into_salt(), SegmentEntropy::fresh().into_salt());
    }
}
