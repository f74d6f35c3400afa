//! aws-chunked: `<hex size>[;chunk-signature=<hex>]\r\n<data>\r\n`, a chunk of size zero, then trailers.
//!
//! Sources: S3's "Transferring Payload in Multiple Chunks" and "Including Trailing Headers".

mod decoder;
mod encoder;
mod trailers;

#[cfg(test)]
mod tests;

pub use decoder::{AwsChunkedDecoder, ChunkError, Decoded};
pub use encoder::{AwsChunkedEncoder, EncodeError, UPSTREAM_CHUNK_SIZE, encoded_length};
pub use trailers::Trailers;

use super::scope::{CredentialScope, Timestamp};
use super::signing_key::{EMPTY_SHA256, Signature, SigningKey};
use crate::wire::digest::sha256;
use crate::wire::hex;

const CRLF: &[u8] = b"\r\n";

/// The chain of signatures of one body: each covers the one before, the first the seed of the head.
#[derive(Debug)]
pub(in crate::sigv4) struct ChunkSigner {
    signing_key: SigningKey,
    timestamp: String,
    scope: String,
    previous: Signature,
}

impl ChunkSigner {
    pub(in crate::sigv4) fn new(
        signing_key: SigningKey,
        timestamp: Timestamp,
        scope: &CredentialScope,
        seed: Signature,
    ) -> Self {
        Self { signing_key, timestamp: timestamp.basic(), scope: scope.to_string(), previous: seed }
    }

    /// Whether `provided` is the next chunk's signature; `hash` is the SHA-256 of its data.
    fn chunk_matches(&mut self, hash: &[u8], provided: &str) -> bool {
        self.advance("AWS4-HMAC-SHA256-PAYLOAD", &format!("{EMPTY_SHA256}\n{}", hex::encode(hash)), provided)
    }

    /// Whether `provided` signs the trailers, which follow the chunk of size zero.
    fn trailers_match(&mut self, trailers: &Trailers, provided: &str) -> bool {
        self.advance("AWS4-HMAC-SHA256-TRAILER", &hex::encode(&sha256(&trailers.canonical())), provided)
    }

    fn advance(&mut self, algorithm: &str, hashes: &str, provided: &str) -> bool {
        let Self { signing_key, timestamp, scope, previous } = self;
        let to_sign = format!("{algorithm}\n{timestamp}\n{scope}\n{}\n{hashes}", previous.as_str());
        *previous = signing_key.sign(to_sign.as_bytes());
        previous.matches(provided)
    }
}
