//! The chain of signatures of a body in signed chunks.
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html>
//!
//! It must not know the framing. Each signature covers the one before.

use super::canonical::with_scratch;
use super::scope::{BasicTime, CredentialScope};
use super::signing_key::{EMPTY_SHA256, Signature, SigningKey};
use crate::wire::digest::sha256;
use crate::wire::hex;

/// The chain of signatures of one body: each covers the one before, the first the seed of the head.
#[derive(Debug)]
pub(in crate::sigv4) struct ChunkSigner {
    pub(in crate::sigv4) signing_key: SigningKey,
    pub(in crate::sigv4) time: BasicTime,
    pub(in crate::sigv4) scope: String,
    pub(in crate::sigv4) previous: Signature,
}

impl ChunkSigner {
    pub(in crate::sigv4) fn new(
        signing_key: SigningKey,
        time: BasicTime,
        scope: &CredentialScope<'_>,
        seed: Signature,
    ) -> Self {
        Self { signing_key, time, scope: scope.to_string(), previous: seed }
    }

    /// Whether `provided` is the next chunk's signature; `hash` is the SHA-256 of its data.
    pub(in crate::sigv4) fn chunk_matches(&mut self, hash: &[u8], provided: &str) -> bool {
        self.advance("AWS4-HMAC-SHA256-PAYLOAD", &[EMPTY_SHA256, &hex::encode(hash)], provided)
    }

    /// Whether `provided` signs the trailers, which follow the chunk of size zero.
    pub(in crate::sigv4) fn trailers_match(&mut self, trailers: &[u8], provided: &str) -> bool {
        self.advance("AWS4-HMAC-SHA256-TRAILER", &[&hex::encode(&sha256(trailers))], provided)
    }

    fn advance(&mut self, algorithm: &str, hashes: &[&str], provided: &str) -> bool {
        let Self { signing_key, time, scope, previous } = self;
        let lines = [algorithm, time.as_str(), scope.as_str(), previous.as_str()];
        let signature = with_scratch(|to_sign| {
            for line in lines.iter().chain(hashes) {
                to_sign.extend_from_slice(line.as_bytes());
                to_sign.push(b'\n');
            }
            to_sign.pop();
            signing_key.sign(to_sign)
        });
        *previous = signature;
        previous.matches(provided)
    }
}
