//! Limits a panic to its request, so that the connection continues.
//! It must not know what the work does.
//! It promises that values held by the work are dropped when it panics.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Poll;

/// The work panicked, and its values were dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Panicked;

/// Runs `work`, and returns [`Panicked`] if it panics. The panic hook of the process has logged the panic.
///
/// Shared state stays consistent: locks are held for single assignments, and a write to the storage is cut
/// off as when the client disconnects.
pub(super) async fn catch_panic<T>(work: impl Future<Output = T>) -> Result<T, Panicked> {
    let mut work = std::pin::pin!(work);
    std::future::poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(outcome)) => Poll::Ready(Ok(outcome)),
        Err(_) => Poll::Ready(Err(Panicked)),
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_outcome_before_and_after_a_pause() {
        assert_eq!(catch_panic(async { 7 }).await, Ok(7));
        assert_eq!(catch_panic(async { panic!("as the test wants it") }).await, Err::<(), _>(Panicked));
        let later = catch_panic(async {
            tokio::task::yield_now().await;
            panic!("as the test wants it")
        });
        assert_eq!(later.await, Err::<(), _>(Panicked));
    }
}
