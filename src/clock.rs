//! The time: a connection reads the clock once for all that one poll does, and the first polls after a
//! thread has waited for sockets share what they read.
//!
//! It must not know what a time is for. It promises that a time is older than the poll that asks for it by
//! a few other polls at most, and that outside of a connection's polls each call reads the clock.

use std::cell::Cell;
use std::pin::Pin;
use std::time::{Duration, Instant, SystemTime};

/// A time of day is computed from an earlier one for at most this long: the clock may be set.
const MAX_COMPUTED: Duration = Duration::from_secs(1);

/// How many polls share what the first of them has read. A poll takes tens of microseconds, and a millisecond
/// if it seals or opens many chunks.
const SHARING: u8 = 4;

/// What the current poll knows of the time.
#[derive(Clone, Copy)]
enum Reading {
    /// Outside of every poll.
    Outside,
    /// The clock was not needed yet.
    Unread,
    Read {
        now: Instant,
        /// `None` as long as only the time that passes was needed.
        day: Option<SystemTime>,
    },
}

thread_local! {
    static READING: Cell<Reading> = const { Cell::new(Reading::Outside) };
    /// What an earlier poll has read, since the thread last waited.
    static EARLIER: Cell<Reading> = const { Cell::new(Reading::Unread) };
    /// How many of the next polls may use it.
    static MAY_SHARE: Cell<u8> = const { Cell::new(0) };
    /// The latest time of day that was read, and when.
    static DAY: Cell<Option<(Instant, SystemTime)>> = const { Cell::new(None) };
}

/// To be called when this thread has waited for sockets, so for an unknown time. On a thread where nothing
/// calls it, each poll reads the clock.
pub fn has_waited() {
    EARLIER.set(Reading::Unread);
    MAY_SHARE.set(SHARING);
}

/// Ends the poll, also when it panics.
struct Polling;

impl Polling {
    fn begin() -> Self {
        let may_share = MAY_SHARE.get();
        MAY_SHARE.set(may_share.saturating_sub(1));
        READING.set(if may_share == 0 { Reading::Unread } else { EARLIER.get() });
        Self
    }
}

impl Drop for Polling {
    fn drop(&mut self) {
        EARLIER.set(READING.replace(Reading::Outside));
    }
}

/// Runs `work`, for which time stands still during each poll.
pub fn read_once_per_poll<F: Future>(mut work: Pin<&mut F>) -> impl Future<Output = F::Output> {
    std::future::poll_fn(move |context| {
        let _polling = Polling::begin();
        work.as_mut().poll(context)
    })
}

/// The time now.
pub fn now() -> Instant {
    match READING.get() {
        Reading::Outside => Instant::now(),
        Reading::Read { now, .. } => now,
        Reading::Unread => {
            let now = Instant::now();
            READING.set(Reading::Read { now, day: None });
            now
        }
    }
}

/// The time that has passed since `begun`.
pub fn since(begun: Instant) -> Duration {
    now().saturating_duration_since(begun)
}

/// The time of day now; for up to a second without another call of the system's clock.
pub fn time_of_day() -> SystemTime {
    if let Reading::Read { day: Some(day), .. } = READING.get() {
        return day;
    }
    let now = now();
    let known = DAY.get().and_then(|(read, time)| {
        let passed = now.checked_duration_since(read).filter(|passed| *passed < MAX_COMPUTED)?;
        time.checked_add(passed)
    });
    let day = known.unwrap_or_else(|| {
        let time = SystemTime::now();
        DAY.set(Some((now, time)));
        time
    });
    if let Reading::Read { now, .. } = READING.get() {
        READING.set(Reading::Read { now, day: Some(day) });
    }
    day
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    const PAUSE: Duration = Duration::from_millis(2);

    #[tokio::test]
    async fn time_stands_still_in_a_poll_and_nowhere_else() {
        read_once_per_poll(pin!(async {
            let (first, day) = (now(), time_of_day());
            std::thread::sleep(PAUSE);
            assert_eq!((now(), since(first), time_of_day()), (first, Duration::ZERO, day));
            tokio::task::yield_now().await;
            assert!(since(first) >= PAUSE && time_of_day() >= day + PAUSE);
        }))
        .await;
        let before = now();
        std::thread::sleep(PAUSE);
        assert!(now() >= before + PAUSE);
    }

    #[test]
    fn the_first_polls_after_a_wait_share_the_time() {
        let poll = || {
            let read = Cell::new(None);
            let mut reading = pin!(async { read.set(Some(now())) });
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            let mut polled = pin!(read_once_per_poll(reading.as_mut()));
            assert!(polled.as_mut().poll(&mut context).is_ready());
            std::thread::sleep(PAUSE);
            read.get().unwrap()
        };
        let (first, second) = (poll(), poll());
        assert!(second >= first + PAUSE, "nothing says when the thread waits");
        for _ in 0..2 {
            has_waited();
            let waited = Instant::now();
            let times: Vec<_> = (0..SHARING + 2).map(|_| poll()).collect();
            let shared = usize::from(SHARING);
            assert!(times[0] >= waited && times[..shared].iter().all(|time| *time == times[0]));
            assert!(times[shared..].windows(2).all(|pair| pair[0] + PAUSE <= pair[1]));
            assert!(times[shared] >= times[0] + u32::from(SHARING) * PAUSE);
            let before = Instant::now();
            assert!(now() >= before, "outside of a poll");
        }
    }

    #[tokio::test]
    async fn a_panic_ends_the_poll() {
        let panics = async {
            now();
            panic!("as the test wants it")
        };
        let panicked = tokio::spawn(async move { read_once_per_poll(pin!(panics)).await });
        assert!(panicked.await.is_err());
        let before = now();
        std::thread::sleep(PAUSE);
        assert!(now() > before);
    }

    #[test]
    fn the_time_of_day_is_that_of_the_system() {
        for _ in 0..3 {
            let (before, time, after) = (SystemTime::now(), time_of_day(), SystemTime::now());
            assert!(before - PAUSE <= time && time <= after + PAUSE, "{before:?} {time:?} {after:?}");
        }
    }
}
