//! Limits of requests that no signature authenticates yet: forms whose fields are being read, and preflights.
//! They must not know what such a request contains. They promise a small number of them in flight, and a
//! smaller one per address, so that signed requests keep their resources.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::object::slow_down;
use crate::s3::S3Error;

/// Maximum number of forms whose fields are being read; each occupies at most 20 KiB.
const MAX_FORMS: usize = 64;
/// Maximum number of preflights in flight; each is a request to the storage.
const MAX_PREFLIGHTS: usize = 32;

/// The limits of requests without a verified signature.
#[derive(Debug)]
pub(super) struct UnsignedLimits {
    /// For forms, until their policy is verified.
    pub(super) forms: RequestLimit,
    /// For preflights, until the storage's response.
    pub(super) preflights: RequestLimit,
}

impl Default for UnsignedLimits {
    fn default() -> Self {
        Self { forms: RequestLimit::new(MAX_FORMS), preflights: RequestLimit::new(MAX_PREFLIGHTS) }
    }
}

/// A limit of requests in flight: a maximum count, and a quarter of it for one address.
#[derive(Debug, Clone)]
pub(super) struct RequestLimit(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    max: usize,
    max_per_address: usize,
    in_flight: Mutex<InFlight>,
}

#[derive(Debug, Default)]
struct InFlight {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// Counts one request until it is dropped.
#[derive(Debug)]
pub(super) struct UnsignedPermit {
    limit: RequestLimit,
    address: IpAddr,
}

impl RequestLimit {
    fn new(max: usize) -> Self {
        Self(Arc::new(Inner { max, max_per_address: max.div_ceil(4), in_flight: Mutex::default() }))
    }

    fn lock(&self) -> MutexGuard<'_, InFlight> {
        self.0.in_flight.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request from `peer`.
    ///
    /// # Errors
    /// `SlowDown` at the limit of all requests or of this address.
    pub(super) fn enter(&self, peer: SocketAddr) -> Result<UnsignedPermit, S3Error> {
        let address = network(peer.ip());
        let mut in_flight = self.lock();
        let from_address = in_flight.by_address.get(&address).copied().unwrap_or_default();
        if in_flight.total >= self.0.max || from_address >= self.0.max_per_address {
            drop(in_flight);
            return Err(slow_down());
        }
        in_flight.total += 1;
        in_flight.by_address.insert(address, from_address + 1);
        drop(in_flight);
        Ok(UnsignedPermit { limit: self.clone(), address })
    }
}

impl Drop for UnsignedPermit {
    fn drop(&mut self) {
        let mut in_flight = self.limit.lock();
        in_flight.total -= 1;
        if let Some(number) = in_flight.by_address.get_mut(&self.address) {
            *number -= 1;
            if *number == 0 {
                in_flight.by_address.remove(&self.address);
            }
        }
    }
}

/// The network that one sender is assumed to have: an IPv4 address, or the first 64 bits of an IPv6 address.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests;
