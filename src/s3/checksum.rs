//! Checksums in S3's requests and responses: what a request declares, and an object's checksum of its parts'.
//!
//! It must not know the envelope or the upstream; the algorithms are those of `crate::wire::checksum`.
//! A declared checksum that the body does not have is an error, never a warning.
//! Source: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html>

mod declared;
mod object;

pub use declared::{ChecksumType, DeclaredIntegrity, Verifier};
pub use object::ObjectChecksum;
