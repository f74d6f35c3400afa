//! What is computed over content while it is written (the MD5 that is its ETag, and checksums), and what the
//! client claims these values to be.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crc_fast::{CrcAlgorithm, checksum_combine};
use http::HeaderMap;
use md5::{Digest as _, Md5};
use s3s::checksum::ChecksumHasher;
use s3s::{S3Result, s3_error};
use serde::{Deserialize, Serialize};

/// S3's checksums, in base64, by algorithm.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Checksums {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) crc32: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) crc32c: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) crc64nvme: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sha1: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sha256: Option<String>,
}

/// The checksums of an s3s structure that has the usual five fields.
macro_rules! checksums_of {
    ($input:expr) => {
        $crate::digest::Checksums {
            crc32: $input.checksum_crc32.clone(),
            crc32c: $input.checksum_crc32c.clone(),
            crc64nvme: $input.checksum_crc64nvme.clone(),
            sha1: $input.checksum_sha1.clone(),
            sha256: $input.checksum_sha256.clone(),
        }
    };
}
pub(super) use checksums_of;

/// An s3s structure with the usual five checksum fields, and the given others, `..` them included.
macro_rules! with_checksums {
    ($checksums:expr, $structure:ident { $($others:tt)* }) => {{
        let checksums: $crate::digest::Checksums = $checksums;
        $structure {
            checksum_crc32: checksums.crc32,
            checksum_crc32c: checksums.crc32c,
            checksum_crc64nvme: checksums.crc64nvme,
            checksum_sha1: checksums.sha1,
            checksum_sha256: checksums.sha256,
            $($others)*
        }
    }};
}
pub(super) use with_checksums;

/// A checksum algorithm that s3s computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Algorithm {
    Crc32,
    Crc32c,
    Crc64Nvme,
    Sha1,
    Sha256,
}

const ALGORITHMS: [(Algorithm, &str); 5] = [
    (Algorithm::Crc32, "x-amz-checksum-crc32"),
    (Algorithm::Crc32c, "x-amz-checksum-crc32c"),
    (Algorithm::Crc64Nvme, "x-amz-checksum-crc64nvme"),
    (Algorithm::Sha1, "x-amz-checksum-sha1"),
    (Algorithm::Sha256, "x-amz-checksum-sha256"),
];

impl Checksums {
    fn slot(&mut self, algorithm: Algorithm) -> &mut Option<String> {
        match algorithm {
            Algorithm::Crc32 => &mut self.crc32,
            Algorithm::Crc32c => &mut self.crc32c,
            Algorithm::Crc64Nvme => &mut self.crc64nvme,
            Algorithm::Sha1 => &mut self.sha1,
            Algorithm::Sha256 => &mut self.sha256,
        }
    }

    /// Whether every checksum in `claimed` is equal.
    pub(super) fn verify(&self, claimed: &Self) -> bool {
        let holds = |own: &Option<String>, claim: &Option<String>| claim.is_none() || own == claim;
        holds(&self.crc32, &claimed.crc32)
            && holds(&self.crc32c, &claimed.crc32c)
            && holds(&self.crc64nvme, &claimed.crc64nvme)
            && holds(&self.sha1, &claimed.sha1)
            && holds(&self.sha256, &claimed.sha256)
    }
}

/// What a request claims about its own body.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// In base64.
    pub(super) content_md5: Option<String>,
    pub(super) checksums: Checksums,
    /// Checksums in the aws-chunked trailer, whose values come with the end of the body.
    announced: Vec<(Algorithm, &'static str)>,
}

impl Claims {
    pub(super) fn new(content_md5: Option<String>, checksums: Checksums, headers: &HeaderMap) -> Self {
        let trailers = headers.get_all("x-amz-trailer").iter().filter_map(|value| value.to_str().ok());
        let named: Vec<_> = trailers.flat_map(|names| names.split(',')).map(str::trim).collect();
        let is_named = |header: &str| named.iter().any(|name| name.eq_ignore_ascii_case(header));
        let announced = ALGORITHMS.into_iter().filter(|(_, header)| is_named(header)).collect();
        Self { content_md5, checksums, announced }
    }

    /// Adds the checksums in the trailer.
    pub(super) fn take_trailers(&mut self, trailers: Option<&HeaderMap>) -> S3Result<()> {
        for (algorithm, header) in &self.announced {
            let value = trailers.and_then(|trailers| trailers.get(*header)?.to_str().ok());
            let Some(value) = value else {
                return Err(s3_error!(InvalidRequest, "the trailer {header} was announced and did not come"));
            };
            *self.checksums.slot(*algorithm) = Some(value.to_owned());
        }
        Ok(())
    }
}

/// The running digests.
pub(super) struct Digest {
    md5: Md5,
    checksums: ChecksumHasher,
}

impl Digest {
    /// MD5 and CRC64NVME, which every object has, and the algorithms that `claims` needs.
    pub(super) fn new(claims: &Claims) -> Self {
        let Checksums { crc32, crc32c, crc64nvme: _, sha1, sha256 } = &claims.checksums;
        let is_needed = |algorithm, value: &Option<String>| {
            value.is_some() || claims.announced.iter().any(|(announced, _)| *announced == algorithm)
        };
        let checksums = ChecksumHasher {
            crc32: is_needed(Algorithm::Crc32, crc32).then(Default::default),
            crc32c: is_needed(Algorithm::Crc32c, crc32c).then(Default::default),
            crc64nvme: Some(Default::default()),
            sha1: is_needed(Algorithm::Sha1, sha1).then(Default::default),
            sha256: is_needed(Algorithm::Sha256, sha256).then(Default::default),
        };
        Self { md5: Md5::new(), checksums }
    }

    pub(super) fn update(&mut self, content: &[u8]) {
        self.md5.update(content);
        self.checksums.update(content);
    }

    /// The ETag (without quotes) and the checksums.
    ///
    /// # Errors
    /// `BadDigest` when a claim differs, `InvalidDigest` when Content-MD5 is not an MD5 in base64.
    pub(super) fn finish(self, claims: &Claims) -> S3Result<(String, Checksums)> {
        let md5 = self.md5.finalize();
        if let Some(claimed) = &claims.content_md5 {
            let claimed = STANDARD.decode(claimed).map_err(|error| s3_error!(error, InvalidDigest))?;
            if claimed.len() != md5.len() {
                return Err(s3_error!(InvalidDigest));
            }
            if claimed != md5[..] {
                return Err(s3_error!(BadDigest, "Content-MD5 is not that of the body"));
            }
        }
        let computed = self.checksums.finalize();
        let checksums = checksums_of!(computed);
        if !checksums.verify(&claims.checksums) {
            return Err(s3_error!(BadDigest, "x-amz-checksum-* is not that of the body"));
        }
        Ok((hex(&md5), checksums))
    }
}

/// The ETag and the checksum of an object made of parts, from those of its parts.
#[derive(Default)]
pub(super) struct Composition {
    etags: Vec<String>,
    crc64nvme: u64,
}

impl Composition {
    /// Adds the next part; `None` when its digests are not in the form that this store writes.
    pub(super) fn add(&mut self, etag: &str, checksums: &Checksums, size: u64) -> Option<()> {
        let crc64nvme = STANDARD.decode(checksums.crc64nvme.as_deref()?).ok()?;
        let crc64nvme = u64::from_be_bytes(crc64nvme.try_into().ok()?);
        unhex(etag)?;
        self.etags.push(etag.to_owned());
        self.crc64nvme = checksum_combine(CrcAlgorithm::Crc64Nvme, self.crc64nvme, crc64nvme, size);
        Some(())
    }

    /// The ETag and the CRC64NVME of the whole.
    pub(super) fn finish(self) -> (String, Checksums) {
        let etag =
            etag_of_parts(self.etags.iter().map(String::as_str)).expect("each was seen to be hexadecimal");
        let crc64nvme = Some(STANDARD.encode(self.crc64nvme.to_be_bytes()));
        (etag, Checksums { crc64nvme, ..Checksums::default() })
    }
}

/// `MD5 of the MD5s - number of parts`; `None` when an ETag is not an MD5 in hexadecimal.
pub(super) fn etag_of_parts<'a>(etags: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let (mut md5s, mut count) = (Md5::new(), 0_usize);
    for etag in etags {
        md5s.update(unhex(etag)?);
        count += 1;
    }
    Some(format!("{}-{count}", hex(&md5s.finalize())))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(digits: &str) -> Option<Vec<u8>> {
    let pairs = (0..digits.len()).step_by(2).map(|at| digits.get(at..at + 2));
    pairs.map(|pair| u8::from_str_radix(pair?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digests(content: &[u8]) -> (String, Checksums) {
        let claims = Claims::default();
        let mut digest = Digest::new(&claims);
        digest.update(content);
        digest.finish(&claims).unwrap()
    }

    #[test]
    fn known_values() {
        let (etag, checksums) = digests(b"123456789");
        assert_eq!(etag, "25f9e794323b453885f5181f1b624d0b");
        let crc64nvme = STANDARD.encode(0xae8b_1486_0a79_9888_u64.to_be_bytes());
        assert_eq!(checksums, Checksums { crc64nvme: Some(crc64nvme), ..Checksums::default() });
    }

    #[test]
    fn a_composition_has_the_checksum_of_the_whole() {
        let content: Vec<u8> = (0..1000_u32).map(|i| (i % 251) as u8).collect();
        for cuts in [&[0, 1000][..], &[0, 500, 1000], &[0, 0, 1, 999, 1000, 1000]] {
            let mut composition = Composition::default();
            for cut in cuts.windows(2) {
                let part = &content[cut[0]..cut[1]];
                let (etag, checksums) = digests(part);
                composition.add(&etag, &checksums, part.len() as u64).unwrap();
            }
            let (etag, checksums) = composition.finish();
            assert!(etag.ends_with(&format!("-{}", cuts.len() - 1)));
            assert_eq!(checksums.crc64nvme, digests(&content).1.crc64nvme);
        }
        assert_eq!(Composition::default().add("no hex", &digests(b"").1, 0), None);
    }
}
