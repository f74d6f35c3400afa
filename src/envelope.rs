//! The cryptographic core: object formats as bytes in, bytes out.
//!
//! Pure, synchronous and free of IO; it knows bytes, lengths and encryption contexts, and nothing of HTTP, S3 or
//! key services. It promises that no plaintext leaves before its tag was verified, and that a failure says nothing
//! but its kind.

pub mod cbc;
mod chain;
mod data_key;
mod message;
pub mod native;
pub mod s3ec;
mod stream;

pub use data_key::{ContentKey, DataKey};
pub use stream::{HELD_BACK, StreamError, StreamOpener, StreamSealer};
