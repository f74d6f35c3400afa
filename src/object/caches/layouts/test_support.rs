//! What tests need to know of the cache of layouts, and to do to it.

use super::LayoutCache;

impl LayoutCache {
    /// Empties the cache, for tests of the requests that an unknown object needs.
    pub(crate) fn forget(&self) {
        self.proven.invalidate_all();
        self.newest.invalidate_all();
        self.headers.invalidate_all();
    }

    /// The numbers of cached layouts and segment headers, for tests.
    pub(crate) async fn sizes(&self) -> (u64, u64) {
        self.proven.run_pending_tasks().await;
        self.headers.run_pending_tasks().await;
        (self.proven.entry_count(), self.headers.entry_count())
    }
}
