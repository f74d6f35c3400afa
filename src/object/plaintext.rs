//! The plaintext of a new object, before it is sealed.
//!
//! It must not know formats. A buffered plaintext was verified; a streaming one is verified when it ends.

use bytes::BytesMut;

use crate::body::BoxBody;
use crate::s3::Checksum;

/// The plaintext of one PUT.
pub(crate) enum Plaintext {
    /// All of it, verified, with what is known of it.
    Whole(BytesMut, Vec<Checksum>),
    /// As it streams, of a known length, with the checksums that were promised.
    Streaming(BoxBody, u64, Vec<Checksum>),
}
