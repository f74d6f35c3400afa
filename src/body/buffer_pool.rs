//! Chunk buffers that are reused when their content has been written: a chunk that is contiguous in the bytes
//! read is opened or sealed straight into another buffer, and a new one would have to be cleared first, which
//! costs as much as the copy that is saved.
//!
//! It must not know what the buffers hold. It promises that a buffer is reused only after its last reader has
//! dropped it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};

/// The buffers of one body. Buffers in use return to the pool as long as it lives.
#[derive(Default)]
pub(super) struct BufferPool {
    /// `None` before the first buffer: most bodies need none.
    buffers: Option<Arc<Mutex<Vec<BytesMut>>>>,
}

impl BufferPool {
    /// A returned buffer, whose content is to be overwritten, or an empty one.
    pub(super) fn take(&self) -> BytesMut {
        self.buffers.as_ref().and_then(|buffers| lock(buffers).pop()).unwrap_or_default()
    }

    /// Shares the content of a buffer, which returns to the pool when its last reader drops it.
    pub(super) fn freeze(&mut self, buffer: BytesMut) -> Bytes {
        let home = Arc::clone(self.buffers.get_or_insert_default());
        Bytes::from_owner(PooledBuffer { buffer, home })
    }

    /// Frees the buffers that were returned.
    pub(super) fn clear(&self) {
        if let Some(buffers) = &self.buffers {
            lock(buffers).clear();
        }
    }
}

/// A buffer in use.
struct PooledBuffer {
    buffer: BytesMut,
    home: Arc<Mutex<Vec<BytesMut>>>,
}

impl AsRef<[u8]> for PooledBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for PooledBuffer {
    fn drop(&mut self) {
        lock(&self.home).push(std::mem::take(&mut self.buffer));
    }
}

fn lock(pool: &Mutex<Vec<BytesMut>>) -> MutexGuard<'_, Vec<BytesMut>> {
    pool.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_when_its_last_reader_has_gone() {
        let mut pool = BufferPool::default();
        let mut buffer = pool.take();
        assert!(buffer.is_empty());
        buffer.extend_from_slice(b"chunk");
        let place = buffer.as_ptr();
        let frozen = pool.freeze(buffer);
        let part = frozen.slice(1..3);
        drop(frozen);
        assert!(pool.take().is_empty(), "a part of it is still read");
        assert_eq!(part, "hu");
        drop(part);
        let again = pool.take();
        assert_eq!((again.as_ptr(), &again[..]), (place, &b"chunk"[..]));
        drop(pool.freeze(again));
        pool.clear();
        assert!(pool.take().is_empty());
    }

    #[test]
    fn what_is_lent_outlives_the_body() {
        let mut pool = BufferPool::default();
        let frozen = pool.freeze(BytesMut::from(&b"chunk"[..]));
        drop(pool);
        assert_eq!(frozen, "chunk");
    }
}
