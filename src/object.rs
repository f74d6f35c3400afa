//! What a stored object is: where it is, how it is encrypted, and how it is read and written.
//!
//! It must not know operations or requests of clients. Every byte of plaintext that it returns from a native
//! object was authenticated first, and no plaintext of an object is sent to the storage.

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
