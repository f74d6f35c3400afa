//! A data key shared by many objects.
//! It must not know how the data key was made, nor how old it is.
//! It promises that no more objects and bytes are written with a data key than configured, also by concurrent
//! writers.

use std::sync::Mutex;

use super::WriteKey;

/// A data key for writing a limited number of objects and bytes.
#[derive(Debug)]
pub(super) struct Lease {
    write_key: WriteKey,
    remaining: Mutex<Remaining>,
}

#[derive(Debug)]
struct Remaining {
    objects: u64,
    bytes: u64,
    /// No object was written yet. The first object fits regardless of its size, or an object larger than the
    /// byte limit could never be written.
    is_unused: bool,
    is_exhausted: bool,
}

impl Lease {
    pub(super) fn new(write_key: WriteKey, objects: u64, bytes: u64) -> Self {
        let remaining = Remaining { objects, bytes, is_unused: true, is_exhausted: false };
        Self { write_key, remaining: Mutex::new(remaining) }
    }

    /// The data key for one object of `plaintext_bytes`; `None` if that exceeds a limit, and for every object
    /// after that.
    pub(super) fn take(&self, plaintext_bytes: u64) -> Option<WriteKey> {
        let mut remaining = self.remaining.lock().expect("no lease panics while it counts");
        let fits = remaining.objects > 0 && plaintext_bytes <= remaining.bytes;
        if remaining.is_exhausted || !(fits || remaining.is_unused) {
            remaining.is_exhausted = true;
            return None;
        }
        remaining.is_unused = false;
        remaining.objects = remaining.objects.saturating_sub(1);
        remaining.bytes = remaining.bytes.saturating_sub(plaintext_bytes);
        remaining.is_exhausted = remaining.objects == 0 || remaining.bytes == 0;
        drop(remaining);
        Some(self.write_key.clone())
    }

    /// The wrapping key's full name.
    pub(super) fn key_id(&self) -> &str {
        &self.write_key.key_id
    }

    /// Whether no further object may be written with this data key.
    pub(super) fn is_exhausted(&self) -> bool {
        self.remaining.lock().expect("no lease panics while it counts").is_exhausted
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
            wrapped: Bytes::from_static(b"wrapped").into(),
            further: None,
            key_id: "k".into(),
        };
        Lease::new(write_key, max_objects, max_bytes)
    }

    #[test]
    fn serves_exactly_its_number_of_objects() {
        let lease = lease(3, 1_000);
        assert!((0..3).all(|_| !lease.is_exhausted() && lease.take(1).is_some()));
        assert!(lease.is_exhausted());
        assert!(lease.take(0).is_none());
    }

    #[test]
    fn serves_at_most_its_bytes_and_is_exhausted_once_one_object_does_not_fit() {
        let lease = lease(100, 10);
        assert!(lease.take(9).is_some());
        assert!(lease.take(2).is_none(), "one byte too many");
        assert!(lease.is_exhausted());
        assert!(lease.take(1).is_none(), "an exhausted lease stays exhausted");
    }

    #[test]
    fn the_last_byte_is_served() {
        let lease = lease(100, 10);
        assert!(lease.take(4).is_some());
        assert!(lease.take(6).is_some());
        assert!(lease.is_exhausted());
    }

    #[test]
    fn an_object_above_the_bound_has_a_data_key_of_its_own() {
        let lease = lease(100, 10);
        assert!(lease.take(11).is_some());
        assert!(lease.is_exhausted());
        assert!(lease.take(0).is_none());
    }
}
