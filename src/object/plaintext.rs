//! The plaintext of a new object, before it is sealed.
//!
//! It must not know formats. A buffered plaintext was verified; a streaming one is verified when it ends.

use bytes::BytesMut;

use crate::body::BoxBody;
use crate::s3::Checksum;

/// The plaintext of one PUT.
pub(crate) enum Plaintext {
    /// The whole plaintext in a buffer, verified, with its checksums.
    Whole(BytesMut, Vec<Checksum>),
    /// A stream of plaintext, its length in bytes, and the checksums that the client declared.
    Streaming(BoxBody, u64, Vec<Checksum>),
}
