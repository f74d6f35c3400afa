//! Measures the delay of a connection's client, and cuts the connection off; counts its refused logins in a
//! row. It must not know what is transferred. It promises that only time spent waiting for the client counts
//! (for the next bytes of a request's body, or for room to write the response), and not time spent working or
//! waiting for the storage.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

/// Microseconds since the first call in this process, plus one: never 0.
fn now() -> u64 {
    static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(EPOCH.elapsed().as_micros()).unwrap_or(u64::MAX - 1) + 1
}

/// Measures the client of one connection, one request after the other. Cloning shares the meter.
///
/// The delay of a client is the time that the proxy has waited for it, less the time that the bytes sent and
/// received by the client in that period would take at the minimum rate. It is never negative, so a fast
/// start does not compensate for a slow end.
#[derive(Debug, Clone)]
pub struct Meter(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// The rate in bytes per second at which the delay stays constant.
    rate: u64,
    /// Microseconds, without the current wait.
    delay: AtomicU64,
    /// The start of the current wait; 0 for none.
    waiting_since: AtomicU64,
    is_cut: AtomicBool,
    /// Bytes of request bodies that the client has sent on this connection.
    received: AtomicU64,
    /// The logins that were refused since the last one that was accepted.
    refused_logins: AtomicU32,
    waiting: Mutex<Option<Waker>>,
}

impl Meter {
    /// A meter whose delay grows below a rate of `rate` bytes per second, at least 1.
    pub fn new(rate: u64) -> Self {
        Self(Arc::new(Inner {
            rate: rate.max(1),
            delay: AtomicU64::new(0),
            waiting_since: AtomicU64::new(0),
            is_cut: AtomicBool::new(false),
            received: AtomicU64::new(0),
            refused_logins: AtomicU32::new(0),
            waiting: Mutex::new(None),
        }))
    }

    /// Resets the meter for another request.
    pub fn restart(&self) {
        self.0.delay.store(0, Ordering::Relaxed);
        self.0.waiting_since.store(0, Ordering::Relaxed);
        self.0.is_cut.store(false, Ordering::Relaxed);
    }

    /// The delay of the client now.
    pub fn delay(&self) -> Duration {
        let waiting_since = self.0.waiting_since.load(Ordering::Relaxed);
        let waited = if waiting_since == 0 { 0 } else { now().saturating_sub(waiting_since) };
        Duration::from_micros(self.0.delay.load(Ordering::Relaxed) + waited)
    }

    /// Fails the current wait, or else the next one.
    pub fn cut(&self) {
        self.0.is_cut.store(true, Ordering::Release);
        let waker = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
        waker.into_iter().for_each(Waker::wake);
    }

    /// Whether the client was cut off.
    pub fn is_cut(&self) -> bool {
        self.0.is_cut.load(Ordering::Acquire)
    }

    /// The bytes of request bodies that arrived on this connection, of all its requests.
    pub fn received(&self) -> u64 {
        self.0.received.load(Ordering::Relaxed)
    }

    /// Records that a request on the connection was refused because of its signature. Returns how many were
    /// refused in a row, this one included.
    pub fn login_refused(&self) -> u32 {
        self.0.refused_logins.fetch_add(1, Ordering::Relaxed).saturating_add(1)
    }

    /// Records that the signature of a request on the connection was accepted.
    pub fn login_accepted(&self) {
        if self.0.refused_logins.load(Ordering::Relaxed) != 0 {
            self.0.refused_logins.store(0, Ordering::Relaxed);
        }
    }

    /// One direction of the connection.
    pub fn direction(&self) -> Direction {
        Direction { meter: self.clone(), is_waiting: false }
    }

    fn earn(&self, bytes: usize) {
        let delay = self.0.delay.load(Ordering::Relaxed);
        if delay > 0 {
            let earned = (bytes as u64).saturating_mul(1_000_000) / self.0.rate;
            self.0.delay.store(delay.saturating_sub(earned), Ordering::Relaxed);
        }
    }
}

/// One direction of a connection: received or sent bytes. Dropping it ends its wait.
#[derive(Debug)]
pub struct Direction {
    meter: Meter,
    is_waiting: bool,
}

/// The client was cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CutOff;

impl Direction {
    /// Records that this number of bytes was transferred.
    pub fn moved(&mut self, bytes: usize) {
        self.stop_waiting();
        self.meter.earn(bytes);
    }

    /// Records that this number of bytes of a request's body arrived.
    pub fn received(&mut self, bytes: usize) {
        self.moved(bytes);
        self.meter.0.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Starts waiting for the client; `context` is woken when the client is cut off.
    ///
    /// # Errors
    /// [`CutOff`] if the client was cut off.
    pub fn wait(&mut self, context: &Context<'_>) -> Result<(), CutOff> {
        let inner = &self.meter.0;
        if !std::mem::replace(&mut self.is_waiting, true) {
            inner.waiting_since.store(now(), Ordering::Relaxed);
        }
        let mut waiting = inner.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if !waiting.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            *waiting = Some(context.waker().clone());
        }
        drop(waiting);
        // Checked after the waker is registered, so that no cut is missed.
        if self.meter.is_cut() { Err(CutOff) } else { Ok(()) }
    }

    fn stop_waiting(&mut self) {
        if std::mem::replace(&mut self.is_waiting, false) {
            let inner = &self.meter.0;
            // Zero if another request has begun meanwhile.
            let waiting_since = inner.waiting_since.swap(0, Ordering::Relaxed);
            if waiting_since > 0 {
                inner.delay.fetch_add(now().saturating_sub(waiting_since), Ordering::Relaxed);
            }
        }
    }
}

impl Drop for Direction {
    fn drop(&mut self) {
        self.stop_waiting();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(20);

    fn wait(direction: &mut Direction) -> Result<(), CutOff> {
        direction.wait(&Context::from_waker(Waker::noop()))
    }

    #[test]
    fn only_waiting_is_a_delay_and_bytes_pay_for_it() {
        let meter = Meter::new(1000);
        let mut sends = meter.direction();
        std::thread::sleep(SOON);
        assert_eq!(meter.delay(), Duration::ZERO);
        wait(&mut sends).unwrap();
        std::thread::sleep(SOON);
        assert!(meter.delay() >= SOON, "the wait that goes on counts");
        sends.moved(1);
        let delay = meter.delay();
        assert!(delay >= SOON - Duration::from_millis(1), "a byte is worth a millisecond");
        std::thread::sleep(SOON);
        assert_eq!(meter.delay(), delay, "working is no delay");
        sends.moved(1_000_000);
        assert_eq!(meter.delay(), Duration::ZERO);
        wait(&mut sends).unwrap();
        std::thread::sleep(SOON);
        assert!(meter.delay() >= SOON, "what was fast before does not pay for it");
        meter.restart();
        assert_eq!(meter.delay(), Duration::ZERO);
    }

    #[test]
    fn a_direction_that_is_dropped_waits_no_more() {
        let meter = Meter::new(1);
        let mut takes = meter.direction();
        wait(&mut takes).unwrap();
        drop(takes);
        let delay = meter.delay();
        std::thread::sleep(SOON);
        assert_eq!(meter.delay(), delay);
    }

    #[tokio::test]
    async fn who_waits_is_woken_by_a_cut() {
        let meter = Meter::new(1);
        let mut sends = meter.direction();
        let cut = meter.clone();
        let waiting = std::future::poll_fn(move |context| match sends.wait(context) {
            Ok(()) => std::task::Poll::Pending,
            Err(CutOff) => std::task::Poll::Ready(()),
        });
        let waiting = tokio::spawn(waiting);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        cut.cut();
        waiting.await.unwrap();
        assert!(meter.is_cut());
    }
}
