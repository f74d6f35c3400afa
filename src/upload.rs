//! A multipart upload: the token that clients have as its id, its parts, and the storage's upload API.
//!
//! It must not know requests of clients. It keeps no state that another process would need: tokens and the
//! storage's list of parts are sufficient.

pub mod acls;
pub mod conditional_writes;
pub mod memory;
pub mod part;
pub mod part_copies;
pub mod planned_upload;
pub mod session;
pub mod storage;
pub mod stored_parts;
pub mod tags;

use std::ops::Deref;

use self::acls::KnownAcls;
use self::conditional_writes::KnownConditionalWrites;
use self::memory::UploadCache;
use crate::object;

/// The resources of uploads. Cloning shares them.
#[derive(Clone)]
pub struct Resources {
    /// The resources of objects.
    pub object: object::Resources,
    /// The uploads and parts that passed through this process.
    pub upload_cache: UploadCache,
    /// The conditional writes that the storage is known to honour.
    pub conditional_writes: KnownConditionalWrites,
    /// The buckets that are known to have no ACLs.
    pub acls: KnownAcls,
}

/// An upload may use what objects may use.
impl Deref for Resources {
    type Target = object::Resources;

    fn deref(&self) -> &object::Resources {
        &self.object
    }
}

#[cfg(test)]
mod test_support;
