//! The checksums of S3: their names in headers and documents, their values, and computing values of streams.
//!
//! It must not know who declares, stores or compares a checksum. A [`Checksum`] always has its algorithm's
//! length. Source: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html>

use std::fmt;
use std::hash::Hasher as _;

use ::base64::display::Base64Display;
use ::base64::engine::general_purpose::STANDARD;
use aws_lc_rs::digest;
use crc_fast::CrcAlgorithm;
use http::{HeaderName, HeaderValue};
use md5::Digest as _;
use twox_hash::{XxHash3_64, XxHash3_128, XxHash64};

use super::base64;

/// The prefix of every header and trailer that carries a checksum.
pub const CHECKSUM_PREFIX: &str = "x-amz-checksum-";
/// The length of the longest value in bytes, SHA-512's.
const MAX_DIGEST: usize = 64;

macro_rules! algorithms {
    ($($(#[$doc:meta])* $variant:ident $token:literal $name:literal $length:literal;)*) => {
        /// An algorithm that clients may name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ChecksumAlgorithm {
            $($(#[$doc])* $variant,)*
        }

        impl ChecksumAlgorithm {
            /// Every algorithm.
            pub const ALL: [Self; 10] = [$(Self::$variant,)*];

            /// The name of the header or trailer that carries a value.
            pub const fn header(self) -> &'static str {
                match self { $(Self::$variant => concat!("x-amz-checksum-", $name),)* }
            }

            /// The name in `x-amz-sdk-checksum-algorithm`, `x-amz-checksum-algorithm`, XML and messages.
            pub const fn token(self) -> &'static str {
                match self { $(Self::$variant => $token,)* }
            }

            /// The value's length in bytes, before base64.
            pub const fn digest_len(self) -> usize {
                match self { $(Self::$variant => $length,)* }
            }
        }
    };
}

algorithms! {
    /// CRC-32 of ISO-HDLC (zlib, Ethernet); big-endian.
    Crc32 "CRC32" "crc32" 4;
    /// CRC-32C, Castagnoli (iSCSI); big-endian.
    Crc32c "CRC32C" "crc32c" 4;
    /// CRC-64 of NVM Express; big-endian.
    Crc64Nvme "CRC64NVME" "crc64nvme" 8;
    /// SHA-1.
    Sha1 "SHA1" "sha1" 20;
    /// SHA-256.
    Sha256 "SHA256" "sha256" 32;
    /// SHA-512.
    Sha512 "SHA512" "sha512" 64;
    /// MD5. Not Content-MD5, which is verified and not kept.
    Md5 "MD5" "md5" 16;
    /// XXH64 with seed 0; big-endian.
    XxHash64 "XXHASH64" "xxhash64" 8;
    /// XXH3 of 64 bits with seed 0; big-endian.
    XxHash3 "XXHASH3" "xxhash3" 8;
    /// XXH3 of 128 bits with seed 0; big-endian.
    XxHash128 "XXHASH128" "xxhash128" 16;
}

impl ChecksumAlgorithm {
    /// The algorithm that S3 uses for an object without a declared checksum.
    pub const DEFAULT: Self = Self::Crc64Nvme;

    /// [`Self::header`] as a header name.
    pub const fn header_name(self) -> HeaderName {
        HeaderName::from_static(self.header())
    }

    /// The algorithm of a header or trailer, in any letter case.
    pub fn from_header(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.header().eq_ignore_ascii_case(name))
    }

    /// Reads a [`token`](Self::token), in any letter case.
    pub fn parse(token: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.token().eq_ignore_ascii_case(token))
    }

    /// The value's length in base64, with padding.
    pub const fn base64_len(self) -> usize {
        self.digest_len().div_ceil(3) * 4
    }

    /// Whether a multipart upload may have a checksum of all bytes: S3 combines the parts' CRCs; other
    /// checksums can't be combined.
    pub const fn is_combinable(self) -> bool {
        self.crc().is_some()
    }

    /// The CRC of this algorithm; `None` when the algorithm is not a CRC.
    const fn crc(self) -> Option<CrcAlgorithm> {
        match self.function() {
            Function::Crc(crc) => Some(crc),
            Function::Sha(_)
            | Function::Md5
            | Function::XxHash64
            | Function::XxHash3
            | Function::XxHash128 => None,
        }
    }

    const fn function(self) -> Function {
        match self {
            Self::Crc32 => Function::Crc(CrcAlgorithm::Crc32IsoHdlc),
            Self::Crc32c => Function::Crc(CrcAlgorithm::Crc32Iscsi),
            Self::Crc64Nvme => Function::Crc(CrcAlgorithm::Crc64Nvme),
            Self::Sha1 => Function::Sha(&digest::SHA1_FOR_LEGACY_USE_ONLY),
            Self::Sha256 => Function::Sha(&digest::SHA256),
            Self::Sha512 => Function::Sha(&digest::SHA512),
            Self::Md5 => Function::Md5,
            Self::XxHash64 => Function::XxHash64,
            Self::XxHash3 => Function::XxHash3,
            Self::XxHash128 => Function::XxHash128,
        }
    }
}

/// What computes a checksum, as the library that has it names it.
enum Function {
    Crc(CrcAlgorithm),
    Sha(&'static digest::Algorithm),
    Md5,
    XxHash64,
    XxHash3,
    XxHash128,
}

impl fmt::Display for ChecksumAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.token())
    }
}

/// A checksum: an algorithm and a value of the algorithm's length. Displays as base64, the form in headers.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Checksum {
    algorithm: ChecksumAlgorithm,
    /// The value, then zeros.
    padded: [u8; MAX_DIGEST],
}

impl Checksum {
    /// `None` if `bytes` is not as long as the algorithm's digests are.
    pub fn new(algorithm: ChecksumAlgorithm, bytes: &[u8]) -> Option<Self> {
        if bytes.len() != algorithm.digest_len() {
            return None;
        }
        let mut padded = [0; MAX_DIGEST];
        padded[..bytes.len()].copy_from_slice(bytes);
        Some(Self { algorithm, padded })
    }

    /// Parses the form in headers; `None` unless it is canonical base64 of the algorithm's length.
    pub fn parse(algorithm: ChecksumAlgorithm, text: impl AsRef<[u8]>) -> Option<Self> {
        Self::new(algorithm, &base64::decode(text.as_ref())?)
    }

    /// The algorithm of the value.
    pub fn algorithm(&self) -> ChecksumAlgorithm {
        self.algorithm
    }

    /// Combines the CRCs of consecutive parts, each with its part's length in bytes, to the CRC of all bytes.
    /// `None` when the algorithm is not a CRC.
    pub fn combine(algorithm: ChecksumAlgorithm, parts: &[(Self, u64)]) -> Option<Self> {
        let crc = algorithm.crc()?;
        let number = |part: &Self| part.bytes().iter().fold(0, |value, byte| value << 8 | u64::from(*byte));
        let nothing = number(&Hasher::new(algorithm).finish());
        let combined = parts.iter().fold(nothing, |before, (part, length)| {
            if *length == 0 { before } else { crc_fast::checksum_combine(crc, before, number(part), *length) }
        });
        Some(Self::from_crc(algorithm, combined))
    }

    /// The checksum whose value is `crc`; a CRC-32 is in the low half.
    fn from_crc(algorithm: ChecksumAlgorithm, crc: u64) -> Self {
        let bytes = crc.to_be_bytes();
        let value = &bytes[bytes.len() - algorithm.digest_len()..];
        Self::new(algorithm, value).expect("it has the algorithm's length")
    }

    /// The checksum of the parts' checksums, which have the same algorithm and are in the order of the parts.
    pub fn composite(algorithm: ChecksumAlgorithm, parts: &[Self]) -> Self {
        let mut hasher = Hasher::new(algorithm);
        parts.iter().for_each(|part| hasher.update(part.bytes()));
        hasher.finish()
    }

    /// The value, [`digest_len`](ChecksumAlgorithm::digest_len) bytes, big-endian.
    pub fn bytes(&self) -> &[u8] {
        &self.padded[..self.algorithm.digest_len()]
    }

    /// The value of the [header](ChecksumAlgorithm::header_name) that carries the checksum: base64.
    pub fn header_value(&self) -> HeaderValue {
        HeaderValue::try_from(base64::encode(self.bytes())).expect("base64 is a header value")
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Base64Display::new(self.bytes(), &STANDARD).fmt(f)
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{self}", self.algorithm)
    }
}

/// Computes one checksum of a stream.
#[derive(Clone)]
pub struct Hasher(State);

#[derive(Clone)]
enum State {
    Crc(ChecksumAlgorithm, Box<crc_fast::Digest>),
    Sha(ChecksumAlgorithm, digest::Context),
    Md5(Md5),
    XxHash64(XxHash64),
    XxHash3(Box<XxHash3_64>),
    XxHash128(Box<XxHash3_128>),
}

impl Hasher {
    /// A hasher of the empty stream.
    pub fn new(algorithm: ChecksumAlgorithm) -> Self {
        Self(match algorithm.function() {
            Function::Crc(crc) => State::Crc(algorithm, Box::new(crc_fast::Digest::new(crc))),
            Function::Sha(sha) => State::Sha(algorithm, digest::Context::new(sha)),
            Function::Md5 => State::Md5(Md5::default()),
            Function::XxHash64 => State::XxHash64(XxHash64::with_seed(0)),
            Function::XxHash3 => State::XxHash3(Box::new(XxHash3_64::with_seed(0))),
            Function::XxHash128 => State::XxHash128(Box::new(XxHash3_128::with_seed(0))),
        })
    }

    /// The algorithm of the checksum.
    pub fn algorithm(&self) -> ChecksumAlgorithm {
        match &self.0 {
            State::Crc(algorithm, _) | State::Sha(algorithm, _) => *algorithm,
            State::Md5(_) => ChecksumAlgorithm::Md5,
            State::XxHash64(_) => ChecksumAlgorithm::XxHash64,
            State::XxHash3(_) => ChecksumAlgorithm::XxHash3,
            State::XxHash128(_) => ChecksumAlgorithm::XxHash128,
        }
    }

    /// Adds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Crc(_, crc) => crc.update(bytes),
            State::Sha(_, sha) => sha.update(bytes),
            State::Md5(md5) => md5.update(bytes),
            State::XxHash64(hash) => hash.write(bytes),
            State::XxHash3(hash) => hash.write(bytes),
            State::XxHash128(hash) => hash.write(bytes),
        }
    }

    /// The checksum of all bytes added.
    pub fn finish(self) -> Checksum {
        let algorithm = self.algorithm();
        let checksum = match self.0 {
            State::Crc(_, crc) => return Checksum::from_crc(algorithm, crc.finalize()),
            State::Sha(_, sha) => Checksum::new(algorithm, sha.finish().as_ref()),
            State::Md5(md5) => Checksum::new(algorithm, &md5.finish()),
            State::XxHash64(hash) => Checksum::new(algorithm, &hash.finish().to_be_bytes()),
            State::XxHash3(hash) => Checksum::new(algorithm, &hash.finish().to_be_bytes()),
            State::XxHash128(hash) => Checksum::new(algorithm, &hash.finish_128().to_be_bytes()),
        };
        checksum.expect("each algorithm's digest has the algorithm's length")
    }
}

/// Computes the checksum of `content`.
pub fn checksum(algorithm: ChecksumAlgorithm, content: &[u8]) -> Checksum {
    if let Some(crc) = algorithm.crc() {
        return Checksum::from_crc(algorithm, crc_fast::checksum(crc, content));
    }
    let mut hasher = Hasher::new(algorithm);
    hasher.update(content);
    hasher.finish()
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hasher").field(&self.algorithm()).finish()
    }
}

/// Computes a stream's MD5.
#[derive(Clone, Debug, Default)]
pub struct Md5(md5::Md5);

impl Md5 {
    /// The length of a digest in bytes.
    pub const LEN: usize = 16;

    /// Adds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all bytes added.
    pub fn finish(self) -> [u8; Self::LEN] {
        self.0.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn computed(algorithm: ChecksumAlgorithm, pieces: &[&[u8]]) -> Checksum {
        let mut hasher = Hasher::new(algorithm);
        pieces.iter().for_each(|piece| hasher.update(piece));
        hasher.finish()
    }

    /// The check values of the CRC catalogue, FIPS 180 and RFC 1321, over "123456789"; the values of XXHash
    /// are those that the AWS Common Runtime computes, which SDKs use.
    #[test]
    fn known_values() {
        for (algorithm, of_nothing, of_digits) in [
            (ChecksumAlgorithm::Crc32, "AAAAAA==", "y/Q5Jg=="),
            (ChecksumAlgorithm::Crc32c, "AAAAAA==", "4waSgw=="),
            (ChecksumAlgorithm::Crc64Nvme, "AAAAAAAAAAA=", "rosUhgp5mIg="),
            (ChecksumAlgorithm::Sha1, "2jmj7l5rSw0yVb/vlWAYkK/YBwk=", "98O8HYCOBHMq32eZZczDTKeuNEE="),
            (
                ChecksumAlgorithm::Sha256,
                "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
                "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU=",
            ),
            (
                ChecksumAlgorithm::Sha512,
                "z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg==",
                "2eZ2LdHI6vbWGzxhkvxAjU1tXxF20MKRabwk5xw/J0rSf81YEbMT1oH35V7ALXPUmclUVba1u1A6z1dPuo/+hQ==",
            ),
            (ChecksumAlgorithm::Md5, "1B2M2Y8AsgTpgAmY7PhCfg==", "JfnnlDI7RTiF9RgfG2JNCw=="),
            (ChecksumAlgorithm::XxHash64, "70bbN1HY6Zk=", "jLhB20DmroM="),
            (ChecksumAlgorithm::XxHash3, "LQaABTjTlMI=", "ctyxi2ehff8="),
            (ChecksumAlgorithm::XxHash128, "maoG0wFHmNhgAcMkRo1Jfw==", "MxGUd+3l3NXpcWQnaB1YYA=="),
        ] {
            assert_eq!(computed(algorithm, &[]).to_string(), of_nothing, "{algorithm}");
            assert_eq!(computed(algorithm, &[b"123456789"]).to_string(), of_digits, "{algorithm}");
            assert_eq!(
                computed(algorithm, &[b"", b"1234", b"5", b"6789"]).to_string(),
                of_digits,
                "{algorithm}"
            );
            assert_eq!(Checksum::parse(algorithm, of_digits), Some(computed(algorithm, &[b"123456789"])));
        }
    }

    /// Where XXH3 no longer hashes in one step: beyond 240 bytes, and over several of its blocks.
    #[test]
    fn long_inputs_have_the_values_that_the_sdks_compute() {
        let content: Vec<u8> = (0..1000_u32).map(|index| ((index * 31) & 255) as u8).collect();
        for (algorithm, expected) in [
            (ChecksumAlgorithm::XxHash64, "sSgPZCgSZTI="),
            (ChecksumAlgorithm::XxHash3, "Knpl0ToUUOs="),
            (ChecksumAlgorithm::XxHash128, "YrF5uQO8OgcqemXROhRQ6w=="),
        ] {
            for piece in [1, 7, 256, 1000] {
                let pieces: Vec<&[u8]> = content.chunks(piece).collect();
                assert_eq!(computed(algorithm, &pieces).to_string(), expected, "{algorithm} in {piece}s");
            }
        }
    }

    #[test]
    fn names_lead_both_ways() {
        for algorithm in ChecksumAlgorithm::ALL {
            assert_eq!(ChecksumAlgorithm::from_header(algorithm.header()), Some(algorithm));
            assert_eq!(ChecksumAlgorithm::from_header(&algorithm.header().to_uppercase()), Some(algorithm));
            assert_eq!(ChecksumAlgorithm::parse(algorithm.token()), Some(algorithm));
            assert_eq!(ChecksumAlgorithm::parse(&algorithm.token().to_lowercase()), Some(algorithm));
            assert_eq!(
                algorithm.header().strip_prefix(CHECKSUM_PREFIX),
                Some(&*algorithm.token().to_lowercase())
            );
            assert_eq!(Hasher::new(algorithm).algorithm(), algorithm);
            assert_eq!(checksum(algorithm, b"123456789"), computed(algorithm, &[b"1234", b"56789"]));
            let of_nothing = checksum(algorithm, b"");
            assert_eq!(of_nothing.to_string().len(), algorithm.base64_len());
            assert_eq!(of_nothing.header_value(), of_nothing.to_string());
        }
        assert_eq!(ChecksumAlgorithm::from_header("x-amz-checksum-sha3"), None);
        assert_eq!(ChecksumAlgorithm::from_header("content-md5"), None);
        assert_eq!(ChecksumAlgorithm::parse("XXHASH32"), None);
    }

    #[test]
    fn values_are_canonical_base64_of_the_right_length() {
        for bad in [
            "",
            "y/Q5Jg",
            "y/Q5Jg=",
            "y/Q5Jh==",
            "y/Q5Jg==\n",
            " y/Q5Jg==",
            "y_Q5Jg==",
            "y/Q5",
            "y/Q5Jgw=",
            "cbf43926",
        ] {
            assert_eq!(Checksum::parse(ChecksumAlgorithm::Crc32, bad), None, "{bad:?}");
        }
        let checksum = Checksum::parse(ChecksumAlgorithm::Crc32, "y/Q5Jg==").unwrap();
        assert_eq!(checksum.bytes(), [0xcb, 0xf4, 0x39, 0x26]);
        assert_eq!(format!("{checksum:?}"), "CRC32:y/Q5Jg==");
        assert_eq!(Checksum::new(ChecksumAlgorithm::Crc32, &[0; 5]), None);
    }
    #[test]
    fn combined_parts_have_the_checksum_of_the_whole() {
        let content: Vec<u8> = (0..100_000_u32).map(|index| (index * 7 % 251) as u8).collect();
        for algorithm in ChecksumAlgorithm::ALL {
            for cuts in [&[][..], &[0], &[1], &[50_000, 50_000, 99_999], &[100_000]] {
                let (mut parts, mut from) = (Vec::new(), 0);
                for to in cuts.iter().copied().chain([content.len()]) {
                    parts.push((checksum(algorithm, &content[from..to]), (to - from) as u64));
                    from = to;
                }
                let whole = algorithm.is_combinable().then(|| checksum(algorithm, &content));
                assert_eq!(Checksum::combine(algorithm, &parts), whole, "{algorithm} cut at {cuts:?}");
            }
        }
    }

    /// SHA-256 of two SHA-256s, computed with Python's hashlib.
    #[test]
    fn a_composite_checksum_is_one_of_checksums() {
        let parts = [checksum(ChecksumAlgorithm::Sha256, b"a"), checksum(ChecksumAlgorithm::Sha256, b"b")];
        let expected = "5aAf7hTg7VxIcU8iGA8lrYNltT+XefedxKPX6Tlj+Uo=";
        assert_eq!(Checksum::composite(ChecksumAlgorithm::Sha256, &parts).to_string(), expected);
    }
}
