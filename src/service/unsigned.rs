//! Limits requests that no signature authenticates yet: forms whose fields are being read, and a browser's
//! preflights. Few of them are in flight at once, and fewer from one address, so that they take no
//! resources from signed requests.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::object::slow_down;
use crate::s3::S3Error;

/// Forms whose fields are being read; each holds 20 KiB at most.
const FORMS: usize = 64;
/// Preflights under way; each is a request to the storage.
const PREFLIGHTS: usize = 32;

/// The bounds of requests without a signature.
#[derive(Debug)]
pub(super) struct Unsigned {
    /// Of forms until their policy was verified.
    pub(super) forms: Room,
    /// Of preflights until the storage has answered.
    pub(super) preflights: Room,
}

impl Default for Unsigned {
    fn default() -> Self {
        Self { forms: Room::new(FORMS), preflights: Room::new(PREFLIGHTS) }
    }
}

/// A limit of requests in flight: a maximum count, and a quarter of it for one address.
#[derive(Debug, Clone)]
pub(super) struct Room(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    most: usize,
    most_of_one: usize,
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub(super) struct Guest {
    room: Room,
    address: IpAddr,
}

impl Room {
    fn new(most: usize) -> Self {
        Self(Arc::new(Inner { most, most_of_one: most.div_ceil(4), inside: Mutex::default() }))
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.0.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one more, that came from `peer`.
    ///
    /// # Errors
    /// `SlowDown` when there are too many, of all or of this address.
    pub(super) fn enter(&self, peer: SocketAddr) -> Result<Guest, S3Error> {
        let address = network(peer.ip());
        let mut inside = self.lock();
        let of_address = inside.by_address.get(&address).copied().unwrap_or_default();
        if inside.total >= self.0.most || of_address >= self.0.most_of_one {
            drop(inside);
            return Err(slow_down());
        }
        inside.total += 1;
        inside.by_address.insert(address, of_address + 1);
        drop(inside);
        Ok(Guest { room: self.clone(), address })
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut inside = self.room.lock();
        inside.total -= 1;
        if let Some(number) = inside.by_address.get_mut(&self.address) {
            *number -= 1;
            if *number == 0 {
                inside.by_address.remove(&self.address);
            }
        }
    }
}

/// What one sender surely has one of: an IPv4 address, or the first half of an IPv6 address.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::ErrorCode;

    fn enter(room: &Room, peer: &str) -> Result<Guest, ErrorCode> {
        room.enter(SocketAddr::new(peer.parse().unwrap(), 1)).map_err(|error| error.code)
    }

    #[test]
    fn one_address_does_not_fill_the_room() {
        let room = Room::new(8);
        for pair in
            [["192.0.2.1", "192.0.2.1"], ["192.0.2.2", "::ffff:192.0.2.2"], ["2001:db8::1", "2001:db8::2:3"]]
        {
            let guests = pair.map(|peer| enter(&room, peer).unwrap());
            assert_eq!(enter(&room, pair[0]).unwrap_err(), ErrorCode::SlowDown, "{pair:?}");
            let _other = enter(&room, "198.51.100.1").unwrap();
            drop(guests);
            enter(&room, pair[0]).unwrap();
        }
    }

    #[test]
    fn the_room_holds_so_many_and_no_more() {
        let room = Room::new(8);
        let guests: Vec<_> = (0..8).map(|last| enter(&room, &format!("192.0.2.{last}")).unwrap()).collect();
        assert_eq!(enter(&room, "192.0.2.99").unwrap_err(), ErrorCode::SlowDown);
        drop(guests);
        enter(&room, "192.0.2.99").unwrap();
        assert!(room.lock().by_address.is_empty(), "what is gone takes no memory");
    }
}
