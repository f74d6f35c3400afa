//! LayoutCache of multipart objects that were proven, and their segment headers (F-42, F-44).
//!
//! A layout is cached with the identity of its object, and used only for responses of this identity.

use std::sync::Arc;

use bytes::Bytes;
use moka::future::Cache;

use crate::envelope::native::multipart::{CarriedChecksum, Layout};
use crate::object::location::{ObjectIdentity, ObjectLocation};

/// Memory for layouts, by the size of their parts: of 100 objects of 10,000 parts, or 25,000 of a few.
const MAX_LAYOUTS: u64 = 16 << 20;

/// Bytes that a remembered layout takes besides its parts.
const LAYOUT_OVERHEAD: usize = 512;

/// How many places are remembered at which an object with a known layout was seen last, of about 250 bytes each.
const MAX_PLACES: u64 = 32_000;

/// How many segment headers are remembered, of about 300 bytes each: those of 250 GiB in parts of 8 MiB.
const MAX_HEADERS: u64 = 32_000;

/// The layouts of multipart objects that were read. Cloning shares them.
#[derive(Clone)]
pub struct LayoutCache {
    pub(in crate::object) proven: Cache<[u8; 32], Arc<ProvenLayout>>,
    /// The object that was seen last at a place.
    newest: Cache<[u8; 32], [u8; 32]>,
    /// Authenticated headers, by object and offset.
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
            newest: Cache::new(MAX_PLACES),
            headers: Cache::new(MAX_HEADERS),
        }
    }
}

/// A proven layout and the object it is of.
#[derive(Debug)]
pub(crate) struct ProvenLayout {
    pub(crate) identity: ObjectIdentity,
    pub(crate) layout: Arc<Layout>,
    /// What the last segment carries (F-54).
    pub(crate) checksum: Option<CarriedChecksum>,
    pub(in crate::object) fingerprint: [u8; 32],
}

impl LayoutCache {
    /// The layout of the object that was last seen at this place. It may have been replaced since.
    pub(crate) async fn newest(&self, at: &ObjectLocation<'_>) -> Option<Arc<ProvenLayout>> {
        self.proven.get(&self.newest.get(&at.fingerprint()).await?).await
    }

    /// Forgets everything, for tests of what an unknown object costs.
    #[cfg(test)]
    pub(crate) fn forget(&self) {
        self.proven.invalidate_all();
        self.newest.invalidate_all();
        self.headers.invalidate_all();
    }

    /// This object was seen at this place. The one that was seen there before is gone, or is a version that nobody names
    /// by its id: it is forgotten, so that a place that is written again and again takes the memory of one object.
    pub(in crate::object) async fn saw(&self, place: [u8; 32], object: [u8; 32]) {
        let before = self.newest.get(&place).await.filter(|before| *before != object);
        self.newest.insert(place, object).await;
        let Some(before) = before else { return };
        let Some(known) = self.proven.remove(&before).await else { return };
        for extent in known.layout.segment_extents() {
            self.headers.invalidate(&(before, extent.start)).await;
        }
    }

    /// How many layouts and segment headers are remembered, for tests.
    #[cfg(test)]
    pub(crate) async fn sizes(&self) -> (u64, u64) {
        self.proven.run_pending_tasks().await;
        self.headers.run_pending_tasks().await;
        (self.proven.entry_count(), self.headers.entry_count())
    }

    /// The layout of this very object, if it is known.
    pub(crate) async fn known(
        &self,
        at: &ObjectLocation<'_>,
        identity: &ObjectIdentity,
    ) -> Option<Arc<ProvenLayout>> {
        self.proven.get(&identity.fingerprint(at)).await
    }
}
