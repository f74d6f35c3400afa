//! How fast a shard begins objects: a rate, a bandwidth, and how many at once.
//! It must not know what is done with an object.
//! It promises additive increase after successes and multiplicative decrease after refusals of the storage,
//! and on average no more than the configured rate and bandwidth.

use std::time::{Duration, Instant};

/// Refusals within this time are of one moment: the limit is lowered once.
const MOMENT: Duration = Duration::from_millis(500);

/// The first pause after a refusal; it doubles with each, and is forgotten after a success.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const MAX_PAUSE: Duration = Duration::from_secs(10);

/// How far beginnings may fall behind the rate and be made up for at once.
const MAX_BURST: Duration = Duration::from_millis(200);

/// The limits of one shard.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Objects at once, at least 1.
    pub concurrency: usize,
    /// Objects begun in a second.
    pub rate: Option<f64>,
    /// Bytes in a second.
    pub bandwidth: Option<f64>,
}

impl Limits {
    /// One share of the limits of a whole job. At least one object is worked on at once.
    #[must_use]
    pub fn shared_by(self, shards: u32) -> Self {
        let share = |limit: f64| limit / f64::from(shards);
        let count = usize::try_from(shards).expect("a count of shards fits");
        Self {
            concurrency: (self.concurrency / count).max(1),
            rate: self.rate.map(share),
            bandwidth: self.bandwidth.map(share),
        }
    }
}

/// Decides when the next object may begin.
#[derive(Debug)]
pub struct Throttle {
    limits: Limits,
    /// How many objects may be worked on now: 1 to `limits.concurrency`.
    window: f64,
    lowered: Option<Instant>,
    pause: Duration,
    paused_until: Option<Instant>,
    /// When the next beginning is due by the rate.
    due: Option<Instant>,
    /// When the bytes that were moved have been paid for by the bandwidth.
    paid: Option<Instant>,
}

impl Throttle {
    /// A throttle that begins with all that the limits allow.
    pub fn new(limits: Limits) -> Self {
        let window = limits.concurrency as f64;
        show(window);
        Self { limits, window, lowered: None, pause: FIRST_PAUSE, paused_until: None, due: None, paid: None }
    }

    /// How many objects may be worked on now.
    pub fn window(&self) -> usize {
        (self.window as usize).max(1)
    }

    /// When the next object may begin; `None`: now.
    pub fn wait(&self, now: Instant) -> Option<Instant> {
        [self.due, self.paid, self.paused_until].into_iter().flatten().max().filter(|until| *until > now)
    }

    /// Takes note that an object begins.
    pub fn begin(&mut self, now: Instant) {
        if let Some(rate) = self.limits.rate {
            let step = Duration::try_from_secs_f64(1.0 / rate).unwrap_or(Duration::MAX);
            let earliest = now.checked_sub(MAX_BURST).unwrap_or(now);
            let due = self.due.unwrap_or(now).max(earliest);
            self.due = Some(due.checked_add(step).unwrap_or(now + MAX_PAUSE));
        }
    }

    /// Takes note of bytes that were moved.
    pub fn moved(&mut self, bytes: u64, now: Instant) {
        if let Some(bandwidth) = self.limits.bandwidth {
            let time = Duration::try_from_secs_f64(bytes as f64 / bandwidth).unwrap_or(Duration::MAX);
            let paid = self.paid.unwrap_or(now).max(now);
            self.paid = Some(paid.checked_add(time).unwrap_or(now + Duration::from_secs(3600)));
        }
    }

    /// Takes note of an object that the storage did not refuse.
    pub fn raise(&mut self) {
        let most = self.limits.concurrency as f64;
        if self.window < most {
            self.window = (self.window + 1.0 / self.window).min(most);
            show(self.window);
        }
        self.pause = FIRST_PAUSE;
    }

    /// Takes note of an object that the storage refused for its load, or did not respond to.
    pub fn lower(&mut self, now: Instant) {
        if self.lowered.is_some_and(|lowered| now < lowered + MOMENT) {
            return;
        }
        self.lowered = Some(now);
        self.window = (self.window / 2.0).max(1.0);
        metrics::counter!("s3veil_job_backoffs_total").increment(1);
        show(self.window);
        self.paused_until = Some(now + self.pause);
        self.pause = (self.pause * 2).min(MAX_PAUSE);
    }
}

/// Shows how many objects may be worked on now.
fn show(window: f64) {
    metrics::gauge!("s3veil_job_window").set(window.floor());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn throttle(rate: Option<f64>, bandwidth: Option<f64>) -> Throttle {
        Throttle::new(Limits { concurrency: 16, rate, bandwidth })
    }

    /// The time from `now` until this many objects may have begun.
    fn time_of(throttle: &mut Throttle, objects: u32, bytes: u64) -> Duration {
        let start = Instant::now();
        let mut now = start;
        for _ in 0..objects {
            now = throttle.wait(now).unwrap_or(now);
            throttle.begin(now);
            throttle.moved(bytes, now);
        }
        now - start
    }

    #[test]
    fn a_rate_is_kept() {
        let time = time_of(&mut throttle(Some(100.0), None), 1_001, 0);
        assert!((Duration::from_millis(9_700)..=Duration::from_millis(10_100)).contains(&time), "{time:?}");
        assert_eq!(time_of(&mut throttle(None, None), 1_000, 1 << 30), Duration::ZERO);
    }

    #[test]
    fn a_bandwidth_is_kept() {
        let time = time_of(&mut throttle(None, Some(1e6)), 11, 1_000_000);
        assert_eq!(time.as_secs(), 10);
    }

    #[test]
    fn refusals_halve_and_successes_add_one() {
        let mut throttle = throttle(None, None);
        let mut now = Instant::now();
        throttle.lower(now);
        throttle.lower(now + Duration::from_millis(1));
        assert_eq!(throttle.window(), 8);
        assert_eq!(throttle.wait(now), Some(now + FIRST_PAUSE));
        for _ in 0..10 {
            now += MOMENT;
            throttle.lower(now);
        }
        assert_eq!(throttle.window(), 1);
        assert!(throttle.wait(now).is_some_and(|until| until <= now + MAX_PAUSE));
        (0..1_000).for_each(|_| throttle.raise());
        assert_eq!(throttle.window(), 16);
    }

    #[test]
    fn shards_share_limits() {
        let whole = Limits { concurrency: 16, rate: Some(100.0), bandwidth: Some(1e6) };
        let share = whole.shared_by(4);
        assert_eq!(share, Limits { concurrency: 4, rate: Some(25.0), bandwidth: Some(250_000.0) });
        assert_eq!(whole.shared_by(32).concurrency, 1);
    }
}
