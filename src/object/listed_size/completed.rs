//! The size of a listed object that can't be read now: its size at completion, if this process completed it.
//!
//! It must not know why the object can't be read. It promises a size without a request to the storage, since
//! in some cases only the layout determines the size, and the layout of an archived object can't be read.

use super::{Listed, SizeReader};
use crate::object::caches::ListedSize;

impl SizeReader {
    /// Returns the size of an object that can't be read now (usually an archived one): its size at
    /// completion, if this process completed it and the size is still cached, otherwise the stored size.
    pub(crate) async fn closed_size(&self, listed: &Listed) -> ListedSize {
        let etag = listed.etag.as_deref().unwrap_or_default();
        let known = self.resources.size_cache.completed_size(&self.bucket, &listed.object, etag).await;
        ListedSize::encrypted(known.unwrap_or(listed.stored))
    }
}
