//! The time: a connection reads the clock once for all that one poll does.
//!
//! It must not know what a time is for. It promises that a time is never older than the poll that asks for
//! it, and that outside of a connection's polls each call reads the clock.

use std::cell::Cell;
use std::pin::Pin;
use std::time::{Duration, Instant, SystemTime};

/// A time of day is computed from an earlier one for at most this long: the clock may be set.
const MAX_COMPUTED: Duration = Duration::from_secs(1);

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
    /// The latest time of day that was read, and when.
    static DAY: Cell<Option<(Instant, SystemTime)>> = const { Cell::new(None) };
}

/// Ends the poll, also when it panics.
struct Polling;

impl Drop for Polling {
    fn drop(&mut self) {
        READING.set(Reading::Outside);
    }
}

/// Runs `work`, for which time stands still during each poll.
pub fn read_once_per_poll<F: Future>(mut work: Pin<&mut F>) -> impl Future<Output = F::Output> {
    std::future::poll_fn(move |context| {
        READING.set(Reading::Unread);
        let _polling = Polling;
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
