//! The long-lived resources that reading and writing objects needs: storages, keys, rules, caches and memory.
//!
//! It must not know operations or clients. Clones share one set of caches and one memory budget.

use super::caches::{DefaultKeyCache, LayoutCache, SizeCache};
use super::rule::Policies;
use crate::buffers::{Budget, Share};
use crate::error::Result;
use crate::keyring::Keyring;
use crate::s3::{ErrorCode, S3Error};
use crate::upstream::Upstreams;

/// Storages, keys, rules, caches and memory for objects. Clones share all of them.
#[derive(Clone)]
pub struct Resources {
    /// The storages.
    pub upstreams: Upstreams,
    /// The source of data keys.
    pub keyring: Keyring,
    /// The rules of buckets.
    pub policies: Policies,
    /// Plaintext sizes of objects, where a listing's stored size does not determine them.
    pub size_cache: SizeCache,
    /// Layouts of multipart objects that were read.
    pub layout_cache: LayoutCache,
    /// The KMS keys of buckets' default encryption.
    pub default_keys: DefaultKeyCache,
    /// Memory for buffered bodies.
    pub memory: Budget,
}

impl Resources {
    /// Takes `bytes` from the memory for buffered bodies.
    ///
    /// # Errors
    /// `SlowDown` when too much of the memory is in use.
    pub(crate) fn hold(&self, bytes: u64) -> Result<Share> {
        self.memory.take(bytes).ok_or_else(|| slow_down().into())
    }
}

/// The error `SlowDown`, after which a client retries later. Each call is counted in the metrics.
pub fn slow_down() -> S3Error {
    metrics::counter!("s3veil_slow_downs_total").increment(1);
    ErrorCode::SlowDown.into()
}
