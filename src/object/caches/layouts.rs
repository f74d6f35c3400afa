//! Caches the proven layouts of multipart objects and their segment headers (F-42, F-44).
//!
//! It must not know how a layout is proven. It promises that a layout is cached with the identity of its
//! object, and returned only for this identity.

use std::sync::Arc;

use bytes::Bytes;
use moka::future::Cache;

use crate::envelope::native::multipart::{CarriedChecksum, Layout};
use crate::object::location::{ObjectIdentity, ObjectLocation};

/// The maximum number of bytes for layouts: enough for 100 objects of 10,000 parts, or 25,000 objects of a
/// few.
const MAX_LAYOUTS: u64 = 16 << 20;

/// The bytes that a cached layout takes in addition to its parts.
const LAYOUT_OVERHEAD: usize = 512;

/// The maximum number of locations for which the newest object with a known layout is cached, of about 250
/// bytes each.
const MAX_LOCATIONS: u64 = 32_000;

/// The maximum number of cached segment headers, of about 300 bytes each: those of 250 GiB in parts of 8 MiB.
const MAX_HEADERS: u64 = 32_000;

/// The layouts of multipart objects that were read. Clones share the cache.
#[derive(Clone)]
pub struct LayoutCache {
    pub(in crate::object) proven: Cache<[u8; 32], Arc<ProvenLayout>>,
    /// The fingerprint of the object that was seen last at a location.
    newest: Cache<[u8; 32], [u8; 32]>,
    /// Authenticated segment headers, by object and offset.
    pub(in crate::object) headers: Cache<([u8; 32], u64), Bytes>,
}

impl Default for LayoutCache {
    fn default() -> Self {
        let weight = |_: &[u8; 32], known: &Arc<ProvenLayout>| {
            let parts = size_of_val(known.layout.parts());
            u32::try_from(parts + LAYOUT_OVERHEAD).expect("there are at most 10,000 parts")
        };
        Self {
            proven: Cache::builder().max_capacity(MAX_LAYOUTS).weigher(weight).build(),
            newest: Cache::new(MAX_LOCATIONS),
            headers: Cache::new(MAX_HEADERS),
        }
    }
}

/// A proven layout with the identity of its object.
#[derive(Debug)]
pub(crate) struct ProvenLayout {
    pub(crate) identity: ObjectIdentity,
    pub(crate) layout: Arc<Layout>,
    /// The checksum that the last segment carries (F-54).
    pub(crate) checksum: Option<CarriedChecksum>,
    pub(in crate::object) fingerprint: [u8; 32],
}

impl LayoutCache {
    /// The layout of the object that was last seen at this location. The object may have been replaced since.
    pub(crate) async fn newest(&self, at: &ObjectLocation<'_>) -> Option<Arc<ProvenLayout>> {
        self.proven.get(&self.newest.get(&at.fingerprint()).await?).await
    }

    /// Records that an object was seen at a location, and removes the layout of the object that was seen
    /// there before: that object is gone, or is a version that requests do not name by its id. So a location
    /// that is overwritten often takes the memory of one object.
    pub(in crate::object) async fn record_newest(&self, location: [u8; 32], object: [u8; 32]) {
        let before = self.newest.get(&location).await.filter(|before| *before != object);
        self.newest.insert(location, object).await;
        let Some(before) = before else { return };
        let Some(known) = self.proven.remove(&before).await else { return };
        for extent in known.layout.segment_extents() {
            self.headers.invalidate(&(before, extent.start)).await;
        }
    }

    /// The layout of the object with this identity, if it is cached.
    pub(crate) async fn known(
        &self,
        at: &ObjectLocation<'_>,
        identity: &ObjectIdentity,
    ) -> Option<Arc<ProvenLayout>> {
        self.proven.get(&identity.fingerprint(at)).await
    }
}

#[cfg(test)]
mod test_support;
