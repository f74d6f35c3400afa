//! The 80-byte segment header: the description of the segment, bound to its key (F-31 to F-33), and the
//! object's checksum if the segment carries it (F-54).
//!
//! It must not know the segments before or after its own. It promises that no key comes out of a header that
//! was not authenticated.

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::layout::sealed_length;
use super::{Layout, MAX_PART_LENGTH, MAX_PARTS, Part, PartNumber};
use crate::envelope::data_key::{KEY_LENGTH, fill_random};
use crate::envelope::native::chunk::ChunkKey;
use crate::envelope::native::{CHUNK, FormatError, Result, kdf};
use crate::envelope::{ContentKey, ObjectSecret};
use crate::wire::checksum::{Checksum, ChecksumAlgorithm};

/// Bytes before the chunks of every segment.
pub const SEGMENT_HEADER: usize = FIELDS + SALT + COMMITMENT;

const FIELDS: usize = 16;
const SALT: usize = 32;
const COMMITMENT: usize = 32;
const VERSION: u8 = 1;
const FLAG_LAST: u8 = 1;
const FLAG_TERMINATOR: u8 = 2;
const FLAG_LAYOUT: u8 = 4;
const FLAG_CHECKSUM: u8 = 8;
const FLAG_END_KEY: u8 = 16;
/// Salt beside a carried checksum.
const SHORT_SALT: usize = 16;
/// Bytes of a carried checksum: the value, then zeros.
pub(super) const CARRIED: usize = 32;
/// Commitment beside a carried checksum.
const SHORT_COMMITMENT: usize = COMMITMENT - (SHORT_SALT + CARRIED - SALT);
/// Longest tail: layout and footer of 10,000 segments and the longest padding.
const MAX_TAIL: u64 = sealed_length(MAX_PARTS) + CHUNK as u64;

/// The random salt of one segment. Sealing consumes it, so no salt is used twice.
pub struct SegmentEntropy([u8; SALT]);

impl SegmentEntropy {
    /// 32 bytes from the system's generator (F-33).
    pub fn fresh() -> Self {
        let mut salt = [0; SALT];
        fill_random(&mut salt);
        Self(salt)
    }

    /// Fixed bytes, for test vectors.
    #[cfg(test)]
    pub(in crate::envelope::native) fn fixed(salt: [u8; SALT]) -> Self {
        Self(salt)
    }

    /// The bytes after the fields: the salt, and the sealed checksum if one is to be carried (F-54).
    ///
    /// # Errors
    /// [`FormatError::SegmentHeader`] for a checksum that is too long, or in a segment that another follows.
    pub(super) fn into_salt<'a>(
        self,
        secret: impl Into<ObjectSecret<'a>>,
        fields: &Fields,
        checksum: Option<&Checksum>,
    ) -> Result<Salt> {
        let Some(checksum) = checksum else { return Ok(Salt::Plain(self.0)) };
        let value = checksum.bytes();
        // F-74: the end key hides no checksum.
        let ObjectSecret::Content(content_key) = secret.into() else {
            return Err(FormatError::SegmentHeader);
        };
        if value.len() > CARRIED || fields.place == Place::Middle {
            return Err(FormatError::SegmentHeader);
        }
        let mut salt = [0; SHORT_SALT];
        salt.copy_from_slice(&self.0[..SHORT_SALT]);
        let mut sealed = *mask(content_key, fields, &salt);
        sealed.iter_mut().zip(value).for_each(|(byte, value)| *byte ^= value);
        Ok(Salt::Carrying { salt, sealed })
    }
}

/// The bytes between the fields and the commitment.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Salt {
    /// 32 random bytes.
    Plain([u8; SALT]),
    /// 16 random bytes, and the object's checksum (F-54).
    Carrying {
        /// The random bytes.
        salt: [u8; SHORT_SALT],
        /// The value and its zeros, under a mask that is unique to this segment.
        sealed: [u8; CARRIED],
    },
}

/// HKDF-SHA256(content key, salt, label | fields, 32): the mask that hides a carried checksum. Each salt
/// gives a different mask.
fn mask(content_key: &ContentKey, fields: &Fields, salt: &[u8; SHORT_SALT]) -> Zeroizing<[u8; CARRIED]> {
    kdf::hkdf(content_key.expose(), salt, &[kdf::CHECKSUM, &fields.write(true)])
}

/// The place of a segment in its object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Another segment follows.
    Middle,
    /// The last segment, which is a part of the client's.
    Last,
    /// The last segment, without plaintext, added by the proxy (F-36).
    Terminator,
}

/// version(1) | flags(1) | part(2) | tail length(4) | plaintext length(8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fields {
    pub(super) place: Place,
    pub(super) part: Part,
    /// Bytes after the chunks; 0 unless the segment carries a layout (F-39).
    pub(super) tail_length: u32,
    /// Whether the end key is the secret of the layout, and of a terminator without checksum (F-74).
    pub(super) with_end_key: bool,
}

impl Fields {
    fn write(&self, carries_checksum: bool) -> [u8; FIELDS] {
        let place = match self.place {
            Place::Middle => 0,
            Place::Last => FLAG_LAST,
            Place::Terminator => FLAG_LAST | FLAG_TERMINATOR,
        };
        let layout = if self.tail_length == 0 { 0 } else { FLAG_LAYOUT };
        let mut bytes = [0; FIELDS];
        bytes[0] = VERSION;
        let checksum = if carries_checksum { FLAG_CHECKSUM } else { 0 };
        bytes[1] = place | layout | checksum | if self.with_end_key { FLAG_END_KEY } else { 0 };
        bytes[2..4].copy_from_slice(&self.part.number.value().to_be_bytes());
        bytes[4..8].copy_from_slice(&self.tail_length.to_be_bytes());
        bytes[8..].copy_from_slice(&self.part.length.to_be_bytes());
        bytes
    }

    /// The fields, and whether a checksum follows them.
    fn parse(bytes: &[u8; FIELDS]) -> Result<(Self, bool)> {
        let [version, flags, part_high, part_low, rest @ ..] = bytes;
        let (tail_length, length) = rest.split_first_chunk().ok_or(FormatError::SegmentHeader)?;
        let tail_length = u32::from_be_bytes(*tail_length);
        let length = u64::from_be_bytes(length.try_into().map_err(|_| FormatError::SegmentHeader)?);
        let number = PartNumber::new(u16::from_be_bytes([*part_high, *part_low]));
        let part = Part { number: number.ok_or(FormatError::SegmentHeader)?, length };
        let carries_checksum = flags & FLAG_CHECKSUM != 0;
        let with_end_key = flags & FLAG_END_KEY != 0;
        let (place, carries) = match flags & !(FLAG_CHECKSUM | FLAG_END_KEY) {
            // F-74: there is a layout, or a terminator whose header is sealed with the end key.
            0 | FLAG_LAST if with_end_key => return Err(FormatError::SegmentHeader),
            3 if with_end_key && carries_checksum => return Err(FormatError::SegmentHeader),
            0 if carries_checksum => return Err(FormatError::SegmentHeader),
            0 => (Place::Middle, false),
            FLAG_LAST => (Place::Last, false),
            3 => (Place::Terminator, false),
            5 => (Place::Last, true),
            7 => (Place::Terminator, true),
            _ => return Err(FormatError::SegmentHeader),
        };
        let fields = Self { place, part, tail_length, with_end_key };
        let tails = if carries { sealed_length(1)..=MAX_TAIL } else { 0..=0 };
        let is_tail_possible = tails.contains(&u64::from(tail_length));
        let is_possible = *version == VERSION && is_tail_possible && fields.is_possible();
        if is_possible { Ok((fields, carries_checksum)) } else { Err(FormatError::SegmentHeader) }
    }

    /// Whether the fields are those that a layout gives for a segment: all but the secret (F-74), which the
    /// commitment covers.
    pub(super) fn agrees_with(&self, expected: &Self) -> bool {
        let told = |fields: &Self| (fields.place, fields.part, fields.tail_length);
        told(self) == told(expected)
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

/// fields(16) | salt(32) | commitment(32), or fields(16) | salt(16) | sealed checksum(32) | commitment(16).
/// It is well-formed, but authentic only after [`Header::authenticate`] has succeeded. A layout's
/// footer has the same shape (F-41).
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) fields: Fields,
    pub(super) salt: Salt,
    /// Only the first 16 bytes are stored with [`Salt::Carrying`]; the others are zero here.
    commitment: [u8; COMMITMENT],
}

/// The purpose that a header's key and commitment are derived for.
#[derive(Clone, Copy)]
pub(super) enum Purpose<'a> {
    /// A segment; with the digest of the segments before it, if it is a terminator.
    Segment(Option<&'a [u8; 32]>),
    /// The layout in the tail of the segment.
    Layout,
}

impl Header {
    /// The header of these fields, and the key that goes with it.
    ///
    /// # Errors
    /// [`FormatError::SegmentCommitment`] when the secret is the end key and the content key is needed.
    pub(super) fn make<'a>(
        secret: impl Into<ObjectSecret<'a>>,
        fields: Fields,
        salt: Salt,
        purpose: Purpose<'_>,
    ) -> Result<(Self, Zeroizing<[u8; KEY_LENGTH]>)> {
        let (key, commitment) = derive(secret.into(), &fields, &salt, purpose)?;
        Ok((Self { fields, salt, commitment }, key))
    }

    pub(super) fn write(&self) -> [u8; SEGMENT_HEADER] {
        let mut bytes = [0; SEGMENT_HEADER];
        let (fields, rest) = bytes.split_at_mut(FIELDS);
        match &self.salt {
            Salt::Plain(salt) => {
                fields.copy_from_slice(&self.fields.write(false));
                rest[..SALT].copy_from_slice(salt);
                rest[SALT..].copy_from_slice(&self.commitment);
            }
            Salt::Carrying { salt, sealed } => {
                fields.copy_from_slice(&self.fields.write(true));
                rest[..SHORT_SALT].copy_from_slice(salt);
                rest[SHORT_SALT..SHORT_SALT + CARRIED].copy_from_slice(sealed);
                rest[SHORT_SALT + CARRIED..].copy_from_slice(&self.commitment[..SHORT_COMMITMENT]);
            }
        }
        bytes
    }

    pub(super) fn parse(bytes: &[u8]) -> Result<Self> {
        let bytes: &[u8; SEGMENT_HEADER] = bytes.try_into().map_err(|_| FormatError::SegmentHeader)?;
        let (fields, rest) = bytes.split_first_chunk().ok_or(FormatError::SegmentHeader)?;
        let (fields, carries_checksum) = Fields::parse(fields)?;
        let mut header = Self { fields, salt: Salt::Plain([0; SALT]), commitment: [0; COMMITMENT] };
        if carries_checksum {
            let (salt, rest) = rest.split_first_chunk().ok_or(FormatError::SegmentHeader)?;
            let (sealed, commitment) = rest.split_first_chunk().ok_or(FormatError::SegmentHeader)?;
            header.salt = Salt::Carrying { salt: *salt, sealed: *sealed };
            header.commitment[..SHORT_COMMITMENT].copy_from_slice(commitment);
        } else {
            let (salt, commitment) = rest.split_first_chunk().ok_or(FormatError::SegmentHeader)?;
            header.salt = Salt::Plain(*salt);
            header.commitment.copy_from_slice(commitment);
        }
        Ok(header)
    }

    /// Compares the commitment in constant time and returns the key only if it matches (F-32).
    pub(super) fn authenticate<'a>(
        &self,
        secret: impl Into<ObjectSecret<'a>>,
        purpose: Purpose<'_>,
    ) -> Result<Zeroizing<[u8; KEY_LENGTH]>> {
        let (key, expected) = derive(secret.into(), &self.fields, &self.salt, purpose)?;
        let is_authentic = bool::from(expected.ct_eq(&self.commitment));
        if is_authentic { Ok(key) } else { Err(FormatError::SegmentCommitment) }
    }

    /// The checksum that the header carries; call it only on an authenticated header.
    pub(super) fn carried(&self, content_key: &ContentKey) -> Option<CarriedChecksum> {
        match &self.salt {
            Salt::Plain(_) => None,
            Salt::Carrying { salt, sealed } => {
                let mut padded = *mask(content_key, &self.fields, salt);
                padded.iter_mut().zip(sealed).for_each(|(byte, sealed)| *byte ^= sealed);
                Some(CarriedChecksum(padded))
            }
        }
    }

    /// The key of this segment's chunks, which are numbered from 0 as those of a PUT (F-34).
    pub(super) fn chunk_key(&self, content_key: &ContentKey, digest: Option<&[u8; 32]>) -> Result<ChunkKey> {
        let key = self.authenticate(content_key, Purpose::Segment(digest))?;
        Ok(ChunkKey::new(&key))
    }
}

/// The authenticated checksum of an object, as its last segment carries it (F-54). The envelope names its
/// algorithm.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CarriedChecksum([u8; CARRIED]);

impl CarriedChecksum {
    /// The checksum as one of this algorithm.
    ///
    /// # Errors
    /// [`FormatError::Checksum`] when it is not a checksum of this algorithm: the algorithm's value is longer
    /// than the field, or the bytes after the value are not zeros.
    pub fn read_as(&self, algorithm: ChecksumAlgorithm) -> Result<Checksum> {
        let (value, zeros) = self.0.split_at_checked(algorithm.digest_len()).ok_or(FormatError::Checksum)?;
        match Checksum::new(algorithm, value) {
            Some(checksum) if zeros.iter().all(|byte| *byte == 0) => Ok(checksum),
            Some(_) | None => Err(FormatError::Checksum),
        }
    }
}

impl std::fmt::Debug for CarriedChecksum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CarriedChecksum")
    }
}

/// Whether a checksum of this algorithm fits a header.
pub const fn fits_header(algorithm: ChecksumAlgorithm) -> bool {
    algorithm.digest_len() <= CARRIED
}

/// Where the last segment describes itself.
#[derive(Debug, Clone, Copy)]
pub enum Ending<'a> {
    /// The 80 bytes before the segment's chunks.
    Header(&'a [u8]),
    /// The 80 bytes at the end of the segment's tail.
    Footer(&'a [u8]),
}

/// The checksum that an object of this layout carries, if any (F-54).
///
/// # Errors
/// [`FormatError::SegmentHeader`] or [`FormatError::SegmentCommitment`] when these bytes do not belong to the
/// object.
pub fn carried_checksum(
    content_key: &ContentKey,
    layout: &Layout,
    ending: Ending<'_>,
) -> Result<Option<CarriedChecksum>> {
    let digest = layout.is_terminated().then(|| layout.digest());
    let (bytes, purpose) = match ending {
        Ending::Header(bytes) => (bytes, Purpose::Segment(digest.as_ref())),
        Ending::Footer(bytes) => (bytes, Purpose::Layout),
    };
    let header = Header::parse(bytes)?;
    header.authenticate(content_key, purpose)?;
    Ok(header.carried(content_key))
}

/// key(32) | commitment(32) = HKDF-SHA256(content key, salt, label | fields | sealed checksum | digest, 64)
/// (F-32, F-41, F-54), or of the end key (F-74). With a carried checksum, the stored commitment is the first
/// 16 bytes of this one.
///
/// # Errors
/// [`FormatError::SegmentCommitment`] when the secret is the end key and the content key is needed.
fn derive(
    secret: ObjectSecret<'_>,
    fields: &Fields,
    salt: &Salt,
    purpose: Purpose<'_>,
) -> Result<(Zeroizing<[u8; KEY_LENGTH]>, [u8; COMMITMENT])> {
    let is_end_keys = fields.with_end_key
        && match purpose {
            Purpose::Layout => true,
            Purpose::Segment(_) => fields.place == Place::Terminator && matches!(salt, Salt::Plain(_)),
        };
    let derived_end_key;
    let secret = match (secret, is_end_keys) {
        (ObjectSecret::Content(content_key), false) => content_key.expose(),
        (ObjectSecret::Content(content_key), true) => {
            derived_end_key = kdf::end_key(content_key);
            derived_end_key.expose()
        }
        (ObjectSecret::End(end_key), true) => end_key.expose(),
        (ObjectSecret::End(_), false) => return Err(FormatError::SegmentCommitment),
    };
    let (label, digest): (_, &[u8]) = match purpose {
        Purpose::Segment(digest) => (kdf::PART, digest.map_or(&[], |digest| digest)),
        Purpose::Layout => (kdf::LAYOUT, &[]),
    };
    let (salt, sealed, stored): (&[u8], &[u8], _) = match salt {
        Salt::Plain(salt) => (salt, &[], COMMITMENT),
        Salt::Carrying { salt, sealed } => (salt, sealed, SHORT_COMMITMENT),
    };
    let info = [label, &fields.write(!sealed.is_empty()), sealed, digest];
    let derived = kdf::hkdf::<{ KEY_LENGTH + COMMITMENT }>(secret, salt, &info);
    let (mut key, mut commitment) = (Zeroizing::new([0; KEY_LENGTH]), [0; COMMITMENT]);
    key.copy_from_slice(&derived[..KEY_LENGTH]);
    commitment[..stored].copy_from_slice(&derived[KEY_LENGTH..KEY_LENGTH + stored]);
    Ok((key, commitment))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content_key(byte: u8) -> ContentKey {
        ContentKey::from_zeroizing(Zeroizing::new([byte; 32]))
    }

    fn fields(place: Place, number: u16, length: u64, tail_length: u32) -> Fields {
        let part = Part { number: PartNumber::new(number).unwrap(), length };
        Fields { place, part, tail_length, with_end_key: false }
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
            assert_eq!(fields.write(false), expected);
            assert_eq!(Fields::parse(&expected), Ok((fields, false)));
            let mut carrying = expected;
            carrying[1] |= 8;
            assert_eq!(fields.write(true), carrying);
            let parsed = Fields::parse(&carrying);
            match fields.place {
                Place::Middle => assert_eq!(parsed, Err(FormatError::SegmentHeader), "F-54"),
                Place::Last | Place::Terminator => assert_eq!(parsed, Ok((fields, true))),
            }
        }
    }

    #[test]
    fn f_31_everything_else_is_refused() {
        let good = fields(Place::Last, 2, 256, 103).write(false);
        for (what, at, byte) in [
            ("version", 0, 2),
            ("no flag, but a tail", 1, 0),
            ("last without layout, but a tail", 1, 1),
            ("terminator that is not last", 1, 2),
            ("terminator of another number", 1, 7),
            ("unknown flag", 1, 0x25),
            ("end key without layout", 1, 0x11),
            ("end key where another segment follows", 1, 0x10),
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
            Salt::Plain([7; 32]),
            Purpose::Segment(None),
        )
        .unwrap();
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
            let fields = fields(Place::Middle, 1, 5, 0);
            Header::make(&content_key(1), fields, Salt::Plain([salt; 32]), Purpose::Segment(None)).unwrap().1
        };
        assert_ne!(make(1), make(2));
        assert_ne!(SegmentEntropy::fresh().0, SegmentEntropy::fresh().0);
    }

    fn carrying(salt: u8, checksum: &Checksum, fields: Fields) -> Header {
        let entropy = SegmentEntropy::fixed([salt; 32]);
        let salt = entropy.into_salt(&content_key(1), &fields, Some(checksum)).unwrap();
        Header::make(&content_key(1), fields, salt, Purpose::Segment(None)).unwrap().0
    }

    #[test]
    fn f_54_a_carried_checksum_is_hidden_authentic_and_comes_back() {
        let last = fields(Place::Last, 3, 70_000, 0);
        for (tag, length) in
            [(ChecksumAlgorithm::Crc32, 4), (ChecksumAlgorithm::Sha1, 20), (ChecksumAlgorithm::Sha256, 32)]
        {
            let checksum = Checksum::new(tag, &vec![0xab; length]).unwrap();
            let bytes = carrying(7, &checksum, last).write();
            assert!(
                !bytes.windows(4).any(|window| window == [0xab; 4]),
                "This is a security issue: it is readable."
            );
            let header = Header::parse(&bytes).unwrap();
            assert!(header.chunk_key(&content_key(1), None).is_ok());
            assert_eq!(header.carried(&content_key(1)).unwrap().read_as(tag), Ok(checksum));
            for bit in 0..SEGMENT_HEADER * 8 {
                let mut altered = bytes;
                altered[bit / 8] ^= 1 << (bit % 8);
                let opened =
                    Header::parse(&altered).and_then(|header| header.chunk_key(&content_key(1), None));
                assert!(opened.is_err(), "This is a security issue: bit {bit} is not authenticated.");
            }
        }
    }

    #[test]
    fn f_54_another_salt_is_another_key_and_another_mask() {
        let checksum = Checksum::new(ChecksumAlgorithm::Crc32, &[1, 2, 3, 4]).unwrap();
        let last = fields(Place::Last, 1, 5, 0);
        let (one, other) = (carrying(1, &checksum, last), carrying(2, &checksum, last));
        let Salt::Carrying { sealed: one_sealed, .. } = one.salt else { panic!("it carries one") };
        let Salt::Carrying { sealed: other_sealed, .. } = other.salt else { panic!("it carries one") };
        assert_ne!(one_sealed, other_sealed);
        assert_ne!(one.commitment, other.commitment);
    }

    #[test]
    fn f_54_what_can_not_be_carried_is_refused() {
        let long = Checksum::new(ChecksumAlgorithm::Sha512, &[1; 64]).unwrap();
        let short = Checksum::new(ChecksumAlgorithm::Crc32, &[1; 4]).unwrap();
        for (checksum, place) in [(long, Place::Last), (short, Place::Middle)] {
            let refused =
                SegmentEntropy::fresh().into_salt(&content_key(1), &fields(place, 1, 5, 0), Some(&checksum));
            assert_eq!(refused.err(), Some(FormatError::SegmentHeader));
        }
        assert!(fits_header(ChecksumAlgorithm::Sha256) && !fits_header(ChecksumAlgorithm::Sha512));
    }

    #[test]
    fn f_54_only_zeros_follow_the_value() {
        let long = Checksum::new(ChecksumAlgorithm::Crc64Nvme, &[1; 8]).unwrap();
        let carried = carrying(7, &long, fields(Place::Last, 1, 5, 0)).carried(&content_key(1)).unwrap();
        assert_eq!(carried.read_as(ChecksumAlgorithm::Crc64Nvme), Ok(long));
        assert_eq!(carried.read_as(ChecksumAlgorithm::Crc32), Err(FormatError::Checksum));
        assert_eq!(carried.read_as(ChecksumAlgorithm::Sha512), Err(FormatError::Checksum));
    }

    #[test]
    fn f_74_the_end_key_opens_what_is_marked_and_nothing_else() {
        let (content, end) = (content_key(1), kdf::end_key(&content_key(1)));
        let marked = |place, number, tail_length| Fields {
            with_end_key: true,
            ..fields(place, number, if place == Place::Terminator { 0 } else { 5 }, tail_length)
        };
        let digest = [7; 32];
        let terminator = Purpose::Segment(Some(&digest));
        for (what, fields, purpose, is_end_keys) in [
            ("a terminator", marked(Place::Terminator, 10_000, 0), terminator, true),
            ("its layout", marked(Place::Terminator, 10_000, 300), Purpose::Layout, true),
            ("a layout", marked(Place::Last, 3, 300), Purpose::Layout, true),
            ("the part before the layout", marked(Place::Last, 3, 300), Purpose::Segment(None), false),
            ("an unmarked terminator", fields(Place::Terminator, 10_000, 0, 0), terminator, false),
            ("an unmarked layout", fields(Place::Last, 3, 5, 300), Purpose::Layout, false),
        ] {
            let (header, _) = Header::make(&content, fields, Salt::Plain([7; 32]), purpose).unwrap();
            let parsed = Header::parse(&header.write()).unwrap();
            assert_eq!(parsed.fields, fields, "{what}");
            assert!(parsed.authenticate(&content, purpose).is_ok(), "{what}");
            assert_eq!(parsed.authenticate(&end, purpose).is_ok(), is_end_keys, "{what}");
            let sealed = Header::make(&end, fields, Salt::Plain([7; 32]), purpose);
            assert_eq!(sealed.is_ok(), is_end_keys, "{what}");
        }
    }

    #[test]
    fn f_74_a_checksum_is_never_under_the_end_key() {
        let end = kdf::end_key(&content_key(1));
        let checksum = Checksum::new(ChecksumAlgorithm::Crc32, &[1, 2, 3, 4]).unwrap();
        let fields = Fields { with_end_key: true, ..fields(Place::Terminator, 10_000, 0, 300) };
        let refused = SegmentEntropy::fresh().into_salt(&end, &fields, Some(&checksum));
        assert_eq!(refused.err(), Some(FormatError::SegmentHeader));
        let salt = SegmentEntropy::fresh().into_salt(&content_key(1), &fields, Some(&checksum)).unwrap();
        let purpose = Purpose::Segment(Some(&[7; 32]));
        let (header, _) = Header::make(&content_key(1), fields, salt, purpose).unwrap();
        assert!(header.authenticate(&end, purpose).is_err(), "the header of a checksum is the content key's");
        let (footer, _) = Header::make(&content_key(1), fields, salt, Purpose::Layout).unwrap();
        assert!(footer.authenticate(&end, Purpose::Layout).is_ok());
    }
}
