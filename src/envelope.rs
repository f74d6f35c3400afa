//! The cryptographic core: object formats as bytes in, bytes out.
//!
//! Pure, synchronous and free of IO; it must not know HTTP, S3 or key services, only bytes, lengths and
//! encryption contexts. It promises that no plaintext leaves before its tag was verified, unless the type
//! that releases it says so, and that a failure says nothing but its kind.

mod aes_cbc;
mod aes_gcm;
pub mod article_cbc;
mod data_key;
pub mod native;
pub mod s3ec;
mod stream;

pub(crate) use data_key::fill_random;
pub use data_key::{ContentKey, DataKey, EndKey, ObjectSecret};
pub use stream::{HELD_BACK, StreamError, StreamOpener, StreamSealer};
