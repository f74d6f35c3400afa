//! An object's checksum from those of its parts.
//! Source: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html>

use std::fmt;

use super::{CRC32, CRC32C, CRC64NVME, Checksum, ChecksumAlgorithm, ChecksumType, Hasher};

/// The checksum of an object. Displays as in S3's responses: base64, followed by `-` and the number of parts
/// where it is a checksum of the parts' checksums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObjectChecksum {
    /// Its value.
    pub value: Checksum,
    /// How many parts it is of; `None` where it is of all bytes.
    pub parts: Option<usize>,
}

impl ObjectChecksum {
    /// How it relates to the object's parts.
    #[must_use]
    pub const fn kind(&self) -> ChecksumType {
        match self.parts {
            Some(_) => ChecksumType::Composite,
            None => ChecksumType::FullObject,
        }
    }
}

impl From<Checksum> for ObjectChecksum {
    /// One of all bytes.
    fn from(value: Checksum) -> Self {
        Self { value, parts: None }
    }
}

impl fmt::Display for ObjectChecksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.parts {
            Some(parts) => write!(f, "{}-{parts}", self.value),
            None => self.value.fmt(f),
        }
    }
}

/// The checksum of the parts' checksums, in their order. All are of `algorithm`.
#[must_use]
pub fn composite(algorithm: ChecksumAlgorithm, parts: &[Checksum]) -> Checksum {
    let mut hasher = Hasher::new(algorithm);
    parts.iter().for_each(|part| hasher.update(part.bytes()));
    hasher.finish()
}

/// The checksum of all bytes, from those of the parts and the parts' lengths, in their order; `None` for an algorithm
/// whose values can't be joined.
#[must_use]
pub fn full_object(algorithm: ChecksumAlgorithm, parts: &[(Checksum, u64)]) -> Option<Checksum> {
    let crc = match algorithm {
        ChecksumAlgorithm::Crc32 => CRC32,
        ChecksumAlgorithm::Crc32c => CRC32C,
        ChecksumAlgorithm::Crc64Nvme => CRC64NVME,
        ChecksumAlgorithm::Sha1
        | ChecksumAlgorithm::Sha256
        | ChecksumAlgorithm::Sha512
        | ChecksumAlgorithm::Md5
        | ChecksumAlgorithm::XxHash64
        | ChecksumAlgorithm::XxHash3
        | ChecksumAlgorithm::XxHash128 => return None,
    };
    let number =
        |checksum: &Checksum| checksum.bytes().iter().fold(0, |value, byte| value << 8 | u64::from(*byte));
    let nothing = number(&Hasher::new(algorithm).finish());
    let joined = parts.iter().fold(nothing, |before, (part, length)| {
        if *length == 0 { before } else { crc_fast::checksum_combine(crc, before, number(part), *length) }
    });
    let bytes = joined.to_be_bytes();
    Checksum::new(algorithm, &bytes[bytes.len() - algorithm.digest_len()..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(algorithm: ChecksumAlgorithm, bytes: &[u8]) -> Checksum {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(bytes);
        hasher.finish()
    }

    #[test]
    fn joined_parts_have_the_checksum_of_the_whole() {
        let content: Vec<u8> = (0..100_000_u32).map(|index| (index * 7 % 251) as u8).collect();
        for algorithm in ChecksumAlgorithm::ALL {
            for cuts in [&[][..], &[0], &[1], &[50_000, 50_000, 99_999], &[100_000]] {
                let (mut parts, mut from) = (Vec::new(), 0);
                for to in cuts.iter().copied().chain([content.len()]) {
                    parts.push((of(algorithm, &content[from..to]), (to - from) as u64));
                    from = to;
                }
                let whole = algorithm.joins().then(|| of(algorithm, &content));
                assert_eq!(full_object(algorithm, &parts), whole, "{algorithm} cut at {cuts:?}");
            }
        }
    }

    /// SHA-256 of two SHA-256s, computed with Python's hashlib.
    #[test]
    fn a_composite_checksum_is_one_of_checksums() {
        let parts = [of(ChecksumAlgorithm::Sha256, b"a"), of(ChecksumAlgorithm::Sha256, b"b")];
        let expected = "5aAf7hTg7VxIcU8iGA8lrYNltT+XefedxKPX6Tlj+Uo=";
        assert_eq!(composite(ChecksumAlgorithm::Sha256, &parts).to_string(), expected);
    }
}
