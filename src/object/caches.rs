//! What is cached about stored objects: layouts of multipart objects, sizes of listed objects, and the keys
//! of buckets' default encryption.
//!
//! It must not know the storage or the keyring. Every entry is bound to the identity of its object, so that a
//! cached value is never used for another object.

mod default_keys;
mod layouts;
mod sizes;

pub use self::default_keys::DefaultKeyCache;
pub use self::layouts::LayoutCache;
pub(crate) use self::layouts::ProvenLayout;
pub(crate) use self::sizes::ListedSize;
pub use self::sizes::SizeCache;
