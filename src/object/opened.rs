//! A stored object that is open for reading.
//!
//! It must not know how the object is encrypted. Every byte of its body was authenticated, as far as its
//! format authenticates content.

use std::sync::Arc;

use http::response;

use super::range::Selection;
use crate::body::BoxBody;
use crate::envelope::native::SseAlgorithm;
use crate::s3::checksum::ObjectChecksum;

/// A stored object, or a part of it, in plaintext.
pub(crate) struct OpenedObject {
    /// The head of the storage's response, unchanged. Its length, range, checksum and encryption headers
    /// describe the ciphertext.
    pub(crate) head: response::Parts,
    /// Plaintext bytes of the whole object.
    pub(crate) plaintext_total: u64,
    /// The part of the plaintext that `body` holds.
    pub(crate) selection: Selection,
    /// Plaintext bytes in `body`.
    pub(crate) length: u64,
    /// The plaintext. The first chunk was authenticated; the failure of a later chunk ends the body before
    /// `length` bytes.
    pub(crate) body: BoxBody,
    /// The algorithm that response headers report, for an encrypted object.
    pub(crate) sse: SseAlgorithm,
    /// The key that wrapped the data key, as its provider names it; `None` if the object is stored in
    /// plaintext.
    pub(crate) key_id: Option<Arc<str>>,
    /// The checksums that are kept with the object; those of a multipart upload only if they were requested.
    pub(crate) checksums: Vec<ObjectChecksum>,
    /// The number of parts that the client uploaded, if the object is a multipart object and the reader had
    /// to know its layout.
    pub(crate) parts_count: Option<usize>,
}
