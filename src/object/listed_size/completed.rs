//! Sizes of uploads that this process completed: in some cases only the layout gives the size, and the
//! layout of an archived object can't be read.

use super::{Listed, SizeReader};
use crate::object::caches::ListedSize;

impl SizeReader {
    /// Returns the size of an object that can't be read now (usually an archived one): its size at
    /// completion, if this process completed it not long ago, otherwise the stored size.
    pub(crate) async fn closed_size(&self, listed: &Listed) -> ListedSize {
        let etag = listed.etag.as_deref().unwrap_or_default();
        let known = self.resources.size_cache.of_completed(&self.bucket, &listed.object, etag).await;
        ListedSize::encrypted(known.unwrap_or(listed.stored))
    }
}
