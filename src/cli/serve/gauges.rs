//! The gauges that are set when they are read: connections to storages, data keys in memory, buffered bytes.
//! They must not know who looks.
//! They promise no work on the path of a request.

use crate::service::Service;

/// The operations that need data keys, in the order of `Keyring::cached_keys`, as other metrics name them.
const OPERATIONS: [&str; 2] = ["generate", "unwrap"];

/// The gauges of a running service.
pub(super) struct Gauges {
    service: Service,
}

impl Gauges {
    /// The gauges of what `service` works with.
    pub(super) fn new(service: Service) -> Self {
        Self { service }
    }

    /// Sets all of them.
    pub(super) async fn set(&self) {
        let state = self.service.state();
        let resources = &state.resources;
        let (size, taken) = resources.memory.usage();
        metrics::gauge!("s3veil_buffered_bytes").set(taken as f64);
        metrics::gauge!("s3veil_buffered_bytes_limit").set(size as f64);
        for (name, upstream) in resources.upstreams.all() {
            let (idle, busy) = upstream.connections();
            for (state, connections) in [("idle", idle), ("busy", busy)] {
                let name = name.to_owned();
                metrics::gauge!("s3veil_upstream_connections", "upstream" => name, "state" => state)
                    .set(connections as f64);
            }
        }
        let cached = resources.keyring.cached_keys().await;
        for (operation, content) in OPERATIONS.into_iter().zip(cached) {
            metrics::gauge!("s3veil_keyring_cached_keys", "operation" => operation)
                .set(content.values as f64);
            metrics::gauge!("s3veil_keyring_oldest_key_age_seconds", "operation" => operation)
                .set(content.oldest.as_secs_f64());
            metrics::gauge!("s3veil_keyring_cache_reserve_seconds", "operation" => operation)
                .set(content.longest_left.as_secs_f64());
        }
    }
}
