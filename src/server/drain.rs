//! The phases of a shutdown, as connections see them.
//! It must not know sockets.
//! It promises that a look at the phase costs a request neither a lock nor memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use crate::timer;

/// How long a connection without any request is left open after the drain began. Its client connected while
/// the port was open, and its first request is on its way.
pub(super) const FIRST_REQUEST_TIMEOUT: Duration =
    if cfg!(test) { Duration::from_millis(300) } else { Duration::from_secs(2) };

/// Moves the connections from one phase to the next.
#[derive(Debug)]
pub(super) struct Drain {
    is_leaving: Arc<AtomicBool>,
    begun: watch::Sender<bool>,
}

/// One connection's view of the shutdown.
#[derive(Debug, Clone)]
pub(super) struct Draining {
    is_leaving: Arc<AtomicBool>,
    begun: watch::Receiver<bool>,
}

/// A drain that has not begun. Dropping the first value begins it.
pub(super) fn drain() -> (Drain, Draining) {
    let is_leaving = Arc::new(AtomicBool::new(false));
    let (begin, begun) = watch::channel(false);
    (Drain { is_leaving: Arc::clone(&is_leaving), begun: begin }, Draining { is_leaving, begun })
}

impl Drain {
    /// Lets every response close its connection from now on.
    pub(super) fn leave(&self) {
        self.is_leaving.store(true, Ordering::Relaxed);
    }

    /// Closes idle connections.
    pub(super) fn begin(&self) {
        self.begun.send_replace(true);
    }
}

impl Draining {
    /// Whether a response must close its connection.
    pub(super) fn is_leaving(&self) -> bool {
        self.is_leaving.load(Ordering::Relaxed)
    }

    /// Ready when an idle connection must close.
    pub(super) async fn begun(&mut self) {
        // A dropped sender means the shutdown too.
        drop(self.begun.wait_for(|begun| *begun).await);
    }

    /// Ready when a handshake in progress must end.
    pub(super) async fn begun_for_handshake(&mut self) {
        self.begun().await;
        timer::sleep(FIRST_REQUEST_TIMEOUT).await;
    }
}
