//! The ciphertext's checksum on its way to the store: names, running value, header form.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crc_fast::{CrcAlgorithm, Digest};
use http::{HeaderName, HeaderValue};

use super::settings::Checksum;

/// An algorithm the store knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    Crc64Nvme,
    Crc32c,
}

impl Checksum {
    /// The algorithm, unless there is to be no checksum.
    pub(super) fn algorithm(self) -> Option<Algorithm> {
        match self {
            Self::Crc64Nvme => Some(Algorithm::Crc64Nvme),
            Self::Crc32c => Some(Algorithm::Crc32c),
            Self::None => None,
        }
    }
}

impl Algorithm {
    /// The header or trailer that carries the value.
    pub(super) fn header(self) -> HeaderName {
        HeaderName::from_static(match self {
            Self::Crc64Nvme => "x-amz-checksum-crc64nvme",
            Self::Crc32c => "x-amz-checksum-crc32c",
        })
    }

    /// The value of `x-amz-sdk-checksum-algorithm`.
    pub(super) fn name(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Crc64Nvme => "CRC64NVME",
            Self::Crc32c => "CRC32C",
        })
    }

    /// The length of the base64 value: of 8 bytes, or of 4.
    pub(super) fn value_len(self) -> usize {
        match self {
            Self::Crc64Nvme => 12,
            Self::Crc32c => 8,
        }
    }

    /// The value for `content` at once.
    pub(super) fn of(self, content: &[u8]) -> String {
        let mut running = Running::new(self);
        running.update(content);
        running.value()
    }
}

/// A checksum in the making.
pub(super) struct Running {
    algorithm: Algorithm,
    digest: Digest,
}

impl Running {
    pub(super) fn new(algorithm: Algorithm) -> Self {
        let digest = Digest::new(match algorithm {
            Algorithm::Crc64Nvme => CrcAlgorithm::Crc64Nvme,
            Algorithm::Crc32c => CrcAlgorithm::Crc32Iscsi,
        });
        Self { algorithm, digest }
    }

    pub(super) fn update(&mut self, content: &[u8]) {
        self.digest.update(content);
    }

    /// Base64 of the big-endian value.
    pub(super) fn value(&self) -> String {
        let bytes = self.digest.finalize().to_be_bytes();
        match self.algorithm {
            Algorithm::Crc64Nvme => STANDARD.encode(bytes),
            Algorithm::Crc32c => STANDARD.encode(&bytes[4..]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The check values of the CRC catalogue for "123456789".
    #[test]
    fn catalogue_check_values() {
        assert_eq!(
            Algorithm::Crc64Nvme.of(b"123456789"),
            STANDARD.encode(0xae8b_1486_0a79_9888_u64.to_be_bytes())
        );
        assert_eq!(Algorithm::Crc32c.of(b"123456789"), STANDARD.encode(0xe306_9283_u32.to_be_bytes()));
    }

    #[test]
    fn value_len_is_the_length_of_every_value() {
        for algorithm in [Algorithm::Crc64Nvme, Algorithm::Crc32c] {
            for content in [&b""[..], b"a", b"123456789"] {
                assert_eq!(algorithm.of(content).len(), algorithm.value_len());
            }
        }
    }
}
