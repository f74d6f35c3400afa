//! What a stored object is: where it is, how it is encrypted, and how it is read and written.
//!
//! It must not know operations or requests of clients. Whatever it returns as plaintext was authenticated
//! first, and whatever it sends to the storage is ciphertext, unless a rule says that a bucket is not encrypted.

pub mod caches;
pub mod checksums;
pub mod default_key;
pub mod foreign;
pub mod head;
pub mod layout;
pub mod listed_size;
pub mod location;
pub mod lost_response;
pub mod native;
pub mod opened;
pub mod plaintext;
pub mod range;
pub mod read;
pub mod resources;
pub mod response_headers;
pub mod rule;
pub mod selected_key;
pub mod upstream_response;
pub mod write;

pub use self::resources::{Resources, slow_down};
