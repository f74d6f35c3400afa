//! A stored object that is open for reading.
//!
//! It must not know how the object is encrypted. Every byte of its body was authenticated, as far as its format
//! authenticates content.

use http::response;

use super::range::Selection;
use crate::body::BoxBody;
use crate::envelope::native::SseAlgorithm;
use crate::s3::checksum::ObjectChecksum;

/// A stored object, or a part of it, in plaintext.
pub(crate) struct OpenedObject {
    /// The head of the storage's answer as it came. What it says of the body's length and range, of checksums and of
    /// encryption is about the ciphertext.
    pub(crate) head: response::Parts,
    /// Plaintext bytes of the whole object.
    pub(crate) plaintext_total: u64,
    /// What of it is here.
    pub(crate) selection: Selection,
    /// Plaintext bytes in `body`.
    pub(crate) length: u64,
    /// The plaintext. The first chunk was authenticated; a failure of a later one cuts it short of `length`.
    pub(crate) body: BoxBody,
    /// What answers call its encryption, if it is encrypted.
    pub(crate) sse: SseAlgorithm,
    /// The key that wrapped the data key, as its provider names it; `None` if the object is stored in plaintext.
    pub(crate) key_id: Option<String>,
    /// Its checksums, as far as they are kept; of a multipart upload only if they had to be known.
    pub(crate) checksums: Vec<ObjectChecksum>,
    /// The number of parts that the client uploaded, if the object is a multipart upload's and the reader had to know.
    pub(crate) parts_count: Option<usize>,
}
