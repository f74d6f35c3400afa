//! Limits a panic to its request, so that the connection continues.
//! It must not know what the work does.
//! It promises that values held by the work are dropped when it panics.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::Poll;

/// The work panicked, and its values were dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Panicked;

/// Runs `work`, and returns [`Panicked`] if it panics. The panic hook of the process has logged the panic.
///
/// Shared state stays consistent: locks are held for single assignments, and a write to the storage is cut
/// off as when the client disconnects.
pub(super) fn catch_panic<F: Future>(
    mut work: Pin<&mut F>,
) -> impl Future<Output = Result<F::Output, Panicked>> {
    poll_fn(move |context| match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(outcome)) => Poll::Ready(Ok(outcome)),
        Err(_) => Poll::Ready(Err(Panicked)),
    })
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_outcome_before_and_after_a_pause() {
        assert_eq!(catch_panic(pin!(async { 7 })).await, Ok(7));
        let panicked = catch_panic(pin!(async { panic!("as the test wants it") })).await;
        assert_eq!(panicked, Err::<(), _>(Panicked));
        let later = pin!(async {
            tokio::task::yield_now().await;
            panic!("as the test wants it")
        });
        assert_eq!(catch_panic(later).await, Err::<(), _>(Panicked));
    }
}
