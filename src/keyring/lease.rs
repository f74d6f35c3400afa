//! One data key shared by many objects, until its count or bytes run out.

use std::sync::Mutex;

use super::WriteKey;

/// A data key that may be written with for a bounded number of objects and bytes.
#[derive(Debug)]
pub(super) struct Lease {
    write_key: WriteKey,
    left: Mutex<Left>,
}

#[derive(Debug)]
struct Left {
    objects: u64,
    bytes: u64,
    /// Nobody has written with it: the first object fits whatever its size, or the largest would fit nowhere.
    unused: bool,
    spent: bool,
}

impl Lease {
    pub(super) fn new(write_key: WriteKey, max_objects: u64, max_bytes: u64) -> Self {
        Self {
            write_key,
            left: Mutex::new(Left { objects: max_objects, bytes: max_bytes, unused: true, spent: false }),
        }
    }

    /// The data key for one object of `plaintext_bytes`; `None` when it would be one object or byte too many, and
    /// from then on.
    pub(super) fn take(&self, plaintext_bytes: u64) -> Option<WriteKey> {
        let mut left = self.left.lock().expect("no lease panics while it counts");
        let fits = left.objects > 0 && plaintext_bytes <= left.bytes;
        if left.spent || !(fits || left.unused) {
            left.spent = true;
            return None;
        }
        left.unused = false;
        left.objects = left.objects.saturating_sub(1);
        left.bytes = left.bytes.saturating_sub(plaintext_bytes);
        left.spent = left.objects == 0 || left.bytes == 0;
        drop(left);
        Some(self.write_key.clone())
    }

    /// The wrapping key's full name.
    pub(super) fn key_id(&self) -> &str {
        &self.write_key.key_id
    }

    /// No further object may be written with it.
    pub(super) fn is_spent(&self) -> bool {
        self.left.lock().expect("no lease panics while it counts").spent
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::envelope::DataKey;

    fn lease(max_objects: u64, max_bytes: u64) -> Lease {
        let write_key = WriteKey {
            data_key: Arc::new(DataKey::from_bytes([7; 32])),
            wrapped: Bytes::from_static(b"wrapped"),
            key_id: "k".to_owned(),
        };
        Lease::new(write_key, max_objects, max_bytes)
    }

    #[test]
    fn serves_exactly_so_many_objects() {
        let lease = lease(3, 1_000);
        assert!((0..3).all(|_| !lease.is_spent() && lease.take(1).is_some()));
        assert!(lease.is_spent());
        assert!(lease.take(0).is_none());
    }

    #[test]
    fn serves_at_most_so_many_bytes_and_is_done_once_one_object_does_not_fit() {
        let lease = lease(100, 10);
        assert!(lease.take(9).is_some());
        assert!(lease.take(2).is_none(), "one byte too many");
        assert!(lease.is_spent());
        assert!(lease.take(1).is_none(), "a spent lease stays spent");
    }

    #[test]
    fn the_last_byte_is_served() {
        let lease = lease(100, 10);
        assert!(lease.take(4).is_some());
        assert!(lease.take(6).is_some());
        assert!(lease.is_spent());
    }

    #[test]
    fn an_object_above_the_bound_has_a_data_key_of_its_own() {
        let lease = lease(100, 10);
        assert!(lease.take(11).is_some());
        assert!(lease.is_spent());
        assert!(lease.take(0).is_none());
    }
}
