//! Threads for calls that block, with a deadline outside of them.
//! It must not know what a call does.
//! It promises that no caller waits past the deadline, and that calls which never return take at most
//! [`MAX_CALLS`] threads.
//!
//! The threads are not those of the runtime: a shutdown would wait for one that hangs in the library.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::keyring::{CheckError, KeyringError};
use crate::timer;

/// Maximum number of concurrent calls, each with a session of its own.
pub(super) const MAX_CALLS: usize = 8;

#[derive(Debug)]
pub(super) struct Threads {
    permits: Arc<Semaphore>,
    /// When the last call began. If no permit is left and this is longer ago than the deadline, every
    /// thread is stuck.
    last_start: Mutex<Instant>,
    deadline: Duration,
}

impl Threads {
    pub(super) fn new(deadline: Duration) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(MAX_CALLS)),
            last_start: Mutex::new(Instant::now()),
            deadline,
        }
    }

    /// Runs `call` on a thread of its own. After the deadline its outcome is dropped; the thread goes on
    /// until the call returns.
    ///
    /// # Errors
    /// The error of `call`; [`KeyringError::Unavailable`] at the deadline, and at once if every thread is
    /// stuck.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        call: impl FnOnce() -> Result<T, CheckError> + Send + 'static,
    ) -> Result<T, CheckError> {
        let until = Instant::now() + self.deadline;
        let permit = self.permit().await?;
        let (sender, receiver) = oneshot::channel();
        let work = move || {
            let outcome = call();
            drop(permit);
            // Past the deadline nothing waits for it.
            let _ = sender.send(outcome);
        };
        let thread = std::thread::Builder::new().name("pkcs11".to_owned()).spawn(work);
        thread.map_err(|error| unavailable(format!("no thread could be started: {error}")))?;
        match timer::timeout_at(until, receiver).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_panicked)) => Err(KeyringError::Interrupted.into()),
            Err(_elapsed) => Err(unavailable(format!("no response within {:?}", self.deadline))),
        }
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit, CheckError> {
        let permit = match Arc::clone(&self.permits).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) if self.is_stuck() => {
                return Err(unavailable(format!("all {MAX_CALLS} threads hang in the library")));
            }
            Err(_) => timer::timeout(self.deadline, Arc::clone(&self.permits).acquire_owned())
                .await
                .map_err(|_elapsed| {
                    unavailable(format!("no session became free within {:?}", self.deadline))
                })?
                .expect("the semaphore is never closed"),
        };
        *self.last_start.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        Ok(permit)
    }

    fn is_stuck(&self) -> bool {
        self.last_start.lock().unwrap_or_else(PoisonError::into_inner).elapsed() > self.deadline
    }
}

fn unavailable(cause: String) -> CheckError {
    CheckError { error: KeyringError::Unavailable, cause: Some(cause) }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn calls_that_hang_are_given_up_and_take_a_limited_number_of_threads() {
        let threads = Threads::new(Duration::from_millis(50));
        let (release, gate) = mpsc::channel::<()>();
        let gate = Arc::new(Mutex::new(gate));
        for _ in 0..MAX_CALLS {
            let gate = Arc::clone(&gate);
            let hung = threads
                .run(move || {
                    let _ = gate.lock().unwrap().recv();
                    Ok(())
                })
                .await;
            assert_eq!(hung.unwrap_err().cause.as_deref(), Some("no response within 50ms"));
        }
        let refused = threads.run(|| -> Result<(), _> { panic!("no thread is left") }).await.unwrap_err();
        assert_eq!(refused, unavailable("all 8 threads hang in the library".to_owned()));
        drop(release);
        let again = loop {
            match threads.run(|| Ok(7)).await {
                Ok(again) => break again,
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        };
        assert_eq!(again, 7, "threads that returned serve again");
    }

    #[tokio::test]
    async fn a_call_that_panics_is_an_interruption() {
        let threads = Threads::new(Duration::from_secs(60));
        let outcome = threads.run(|| -> Result<(), _> { panic!("on purpose") }).await;
        assert_eq!(outcome.unwrap_err().error, KeyringError::Interrupted);
    }
}
