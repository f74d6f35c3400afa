//! What reading and writing objects works with.

use super::caches::DefaultKeyCache;
use super::caches::LayoutCache;
use super::caches::SizeCache;
use super::rule::Policies;
use crate::buffers::{Budget, Share};
use crate::error::Error;
use crate::keyring::Keyring;
use crate::s3::{ErrorCode, S3Error};
use crate::upstream::Upstream;

/// What objects are read and written with. Cloning shares it.
#[derive(Clone)]
pub struct Resources {
    /// The storage.
    pub upstream: Upstream,
    /// The source of data keys.
    pub keyring: Keyring,
    /// The rules of buckets.
    pub policies: Policies,
    /// Sizes of listed objects that the listing itself does not give.
    pub size_cache: SizeCache,
    /// LayoutCache of multipart objects that were read.
    pub layout_cache: LayoutCache,
    /// The keys of buckets' default encryption.
    pub default_keys: DefaultKeyCache,
    /// Memory for buffered bodies.
    pub memory: Budget,
}

impl Resources {
    /// Takes `bytes` from the memory for buffered bodies.
    ///
    /// # Errors
    /// `SlowDown` when too much of the memory is in use.
    pub(crate) fn hold(&self, bytes: u64) -> Result<Share, Error> {
        self.memory.take(bytes).ok_or_else(|| slow_down().into())
    }
}

/// The error that tells a client to retry later; counts it.
pub fn slow_down() -> S3Error {
    metrics::counter!("s3veil_slow_downs_total").increment(1);
    ErrorCode::SlowDown.into()
}
