//! A panic of one request ends that request, and not its connection.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Poll;

/// The work panicked. What it held was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Panicked;

/// What `work` comes to, or that it panicked. The hook of the process has written a line about it.
///
/// Nothing that is shared is left half done: locks are held for single assignments, and what a request
/// writes to the storage is cut off as when its client goes away.
pub(super) async fn caught<T>(work: impl Future<Output = T>) -> Result<T, Panicked> {
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
        assert_eq!(caught(async { 7 }).await, Ok(7));
        assert_eq!(caught(async { panic!("as the test wants it") }).await, Err::<(), _>(Panicked));
        let later = caught(async {
            tokio::task::yield_now().await;
            panic!("as the test wants it")
        });
        assert_eq!(later.await, Err::<(), _>(Panicked));
    }
}
