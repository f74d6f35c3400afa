//! Chunk buffers that are reused when their content has been written. The buffers of a thread are shared by
//! all bodies on it: what was written last is still in the core's own cache, and a new buffer would have to
//! be cleared first, which costs as much as the copy that a chunk opened or sealed straight into it saves.
//!
//! It must not know what the buffers hold. It promises that a buffer is reused only after its last reader has
//! dropped it, and that a thread keeps at most [`MAX_KEPT`] of them, or none if it takes none: a store within
//! the process reads on threads of its own.

use std::cell::RefCell;

use bytes::{Bytes, BytesMut};

/// Max buffers that a thread keeps, of 64 KiB each: what a single connection has in flight
/// ([`crate::buffers::MAX_ALLOWANCE`]), and half as much again.
const MAX_KEPT: usize = 24;

thread_local! {
    /// `None` on a thread that has taken no buffer.
    static KEPT: RefCell<Option<Vec<BytesMut>>> = const { RefCell::new(None) };
}

/// The buffer that was returned last, with what it held, which is to be overwritten; or a new one, without
/// any room.
pub(super) fn take() -> BytesMut {
    KEPT.with_borrow_mut(|kept| kept.get_or_insert_default().pop()).unwrap_or_default()
}

/// As [`take`], but without content.
pub(super) fn take_empty() -> BytesMut {
    let mut buffer = take();
    buffer.clear();
    buffer
}

/// Shares the content of a buffer, which is kept for reuse when its last reader drops it.
pub(super) fn freeze(buffer: BytesMut) -> Bytes {
    Bytes::from_owner(PooledBuffer(buffer))
}

/// A buffer in use.
struct PooledBuffer(BytesMut);

impl AsRef<[u8]> for PooledBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for PooledBuffer {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.0);
        // A thread that ends keeps nothing.
        let _is_running = KEPT.try_with(|kept| match &mut *kept.borrow_mut() {
            Some(kept) if kept.len() < MAX_KEPT => kept.push(buffer),
            Some(_) | None => drop(buffer),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_when_its_last_reader_has_gone() {
        let mut buffer = take();
        assert!(buffer.is_empty());
        buffer.extend_from_slice(b"chunk");
        let place = buffer.as_ptr();
        let frozen = freeze(buffer);
        let part = frozen.slice(1..3);
        drop(frozen);
        assert_eq!(take().capacity(), 0, "a part of it is still read");
        assert_eq!(part, "hu");
        drop(part);
        let again = take();
        assert_eq!((again.as_ptr(), &again[..]), (place, &b"chunk"[..]));
        drop(freeze(again));
        let empty = take_empty();
        assert_eq!((empty.as_ptr(), empty.len()), (place, 0));
    }

    #[test]
    fn a_thread_keeps_few_and_gives_the_latest_first() {
        assert!(take().is_empty());
        let buffers: Vec<_> =
            (0..MAX_KEPT + 3).map(|number| freeze(BytesMut::from(&[number as u8][..]))).collect();
        drop(buffers);
        let kept: Vec<_> = std::iter::from_fn(|| Some(take()).filter(|buffer| !buffer.is_empty())).collect();
        assert_eq!(kept.len(), MAX_KEPT);
        assert_eq!(kept[0][..], [MAX_KEPT as u8 - 1]);
    }

    #[test]
    fn a_thread_that_takes_none_keeps_none() {
        let frozen = freeze(BytesMut::from(&b"chunk"[..]));
        let read = std::thread::spawn(move || {
            drop(frozen);
            take()
        });
        assert_eq!(read.join().unwrap().capacity(), 0);
        assert_eq!(take().capacity(), 0, "it is not this thread's any more");
    }
}
