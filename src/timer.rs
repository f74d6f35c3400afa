//! Timers: sleeps, timeouts and intervals.
//!
//! The threads for connections have no timers of their own, whose runtimes would read the clock and search
//! their timers each time they wait for a socket. The main thread's runtime has the timers of all threads.
//! It must not know what is waited for. It promises that a timeout that does not pass, as nearly all do,
//! takes no lock: a thread keeps the timers of its timeouts running, and uses them for later ones.

use std::cell::RefCell;
use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::task::unconstrained;
use tokio::time::{Interval, Sleep};

/// Maximum number of running timers that a thread keeps.
const MAX_KEPT: usize = 128;

/// What stands in for a time that the clock can't reach.
const FAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// What a thread has whose runtime has no timers.
struct Timers {
    /// The runtime that has them.
    driver: Handle,
    kept: Vec<Pin<Box<Sleep>>>,
}

thread_local! {
    /// `None` on a thread whose runtime has timers.
    static TIMERS: RefCell<Option<Timers>> = const { RefCell::new(None) };
}

/// From now on, `driver` has the timers of this thread. It must outlive the tasks of this thread.
pub fn set_driver(driver: Handle) {
    TIMERS.set(Some(Timers { driver, kept: Vec::new() }));
}

/// Runs `work` where the current runtime is one that has timers.
fn entered<T>(work: impl FnOnce() -> T) -> T {
    let driver = TIMERS.with_borrow(|timers| timers.as_ref().map(|timers| timers.driver.clone()));
    let _entered = driver.as_ref().map(Handle::enter);
    work()
}

/// Runs `work`, by code that is not ours, where Tokio's own timers can be made. Sockets that it opens, and
/// tasks that it spawns, belong to the runtime that has the timers.
pub async fn with_tokio_timers<T>(work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    poll_fn(|context| entered(|| work.as_mut().poll(context))).await
}

/// Ready after `duration`.
pub fn sleep(duration: Duration) -> Sleep {
    entered(|| tokio::time::sleep(duration))
}

/// Ready at `time`.
pub fn sleep_until(time: Instant) -> Sleep {
    entered(|| tokio::time::sleep_until(time.into()))
}

/// Ready at once, and then after each `period`, which is not zero.
pub fn interval(period: Duration) -> Interval {
    entered(|| tokio::time::interval(period))
}

/// A deadline has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("deadline has elapsed")
    }
}

impl std::error::Error for Elapsed {}

/// Waits for `work`, for at most `limit` from now.
///
/// # Errors
/// [`Elapsed`] when `work` has not ended by then.
pub fn timeout<T>(
    limit: Duration,
    work: impl Future<Output = T>,
) -> impl Future<Output = Result<T, Elapsed>> {
    timeout_at(after(limit), work)
}

/// Waits for `work` until `time`.
///
/// # Errors
/// [`Elapsed`] when `work` has not ended by then.
pub async fn timeout_at<T>(time: Instant, work: impl Future<Output = T>) -> Result<T, Elapsed> {
    let (mut work, mut deadline) = (pin!(work), Deadline::at(time));
    poll_fn(|context| match work.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Ok(output)),
        Poll::Pending => deadline.poll(context).map(|()| Err(Elapsed)),
    })
    .await
}

/// The time after `duration` from now.
fn after(duration: Duration) -> Instant {
    let now = crate::clock::now();
    now.checked_add(duration).unwrap_or_else(|| now + FAR)
}

/// A time that is waited for, and seldom reached.
#[derive(Debug)]
pub struct Deadline {
    time: Instant,
    /// Runs until `time` or ends before, and is set again then. `None` as long as nothing has waited.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    pub fn at(time: Instant) -> Self {
        Self { time, timer: None }
    }

    /// The time after `duration` from now.
    pub fn after(duration: Duration) -> Self {
        Self::at(after(duration))
    }

    /// Ready when the time has been reached.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let time = tokio::time::Instant::from_std(self.time);
        let timer =
            self.timer.get_or_insert_with(|| kept().unwrap_or_else(|| Box::pin(sleep_until(self.time))));
        if timer.deadline() > time {
            timer.as_mut().reset(time);
        }
        loop {
            // Work that uses up tokio's budget in each poll leaves nothing of it for a timer, which would
            // then wait for ever.
            ready!(pin!(unconstrained(timer.as_mut())).poll(context));
            if timer.deadline() >= time {
                return Poll::Ready(());
            }
            timer.as_mut().reset(time);
        }
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        let Some(timer) = self.timer.take() else { return };
        // While the thread ends, there is nothing left to keep it in.
        let _ = TIMERS.try_with(|timers| {
            if let Some(timers) = &mut *timers.borrow_mut()
                && timers.kept.len() < MAX_KEPT
            {
                timers.kept.push(timer);
            }
        });
    }
}

/// A timer that this thread has kept.
fn kept() -> Option<Pin<Box<Sleep>>> {
    TIMERS.with_borrow_mut(|timers| timers.as_mut()?.kept.pop())
}

#[cfg(test)]
mod tests {
    use std::thread;

    use tokio::runtime::{Builder, Runtime};

    use super::*;

    const SHORT: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_secs(60);

    fn main_runtime() -> Runtime {
        Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
    }

    /// Runs `work` on a thread whose runtime has no timers.
    fn without_timers<T: Send + 'static>(work: impl AsyncFnOnce() -> T + Send + 'static) -> T {
        let main = main_runtime();
        let driver = main.handle().clone();
        let thread = thread::spawn(move || {
            set_driver(driver);
            Builder::new_current_thread().enable_io().build().unwrap().block_on(work())
        });
        thread.join().unwrap()
    }

    fn number_kept() -> usize {
        TIMERS.with_borrow(|timers| timers.as_ref().map_or(0, |timers| timers.kept.len()))
    }

    #[test]
    fn a_thread_without_timers_waits_by_those_of_another() {
        without_timers(async || {
            let begun = Instant::now();
            sleep(SHORT).await;
            sleep_until(begun + 2 * SHORT).await;
            let mut ticks = interval(SHORT);
            ticks.tick().await;
            ticks.tick().await;
            assert_eq!(timeout(SHORT, std::future::pending::<()>()).await, Err(Elapsed));
            assert!(begun.elapsed() >= 4 * SHORT);
            assert_eq!(timeout(LONG, async { 7 }).await, Ok(7));
            assert_eq!(timeout(Duration::MAX, async { 7 }).await, Ok(7));
        });
    }

    #[test]
    fn code_of_others_finds_timers() {
        without_timers(async || {
            let begun = Instant::now();
            with_tokio_timers(async {
                tokio::time::sleep(SHORT).await;
                tokio::spawn(tokio::time::sleep(SHORT)).await.unwrap();
            })
            .await;
            assert!(begun.elapsed() >= 2 * SHORT);
        });
    }

    #[test]
    fn a_timer_that_is_kept_serves_earlier_and_later_deadlines() {
        without_timers(async || {
            let unpassed = async |limit| {
                let turn = async {
                    tokio::task::yield_now().await;
                };
                timeout(limit, turn).await.unwrap();
                assert_eq!(number_kept(), 1);
            };
            unpassed(LONG).await;
            let begun = Instant::now();
            assert_eq!(timeout(SHORT, std::future::pending::<()>()).await, Err(Elapsed));
            assert!(begun.elapsed() >= SHORT && begun.elapsed() < LONG);
            assert_eq!(number_kept(), 1);
            // It has ended: later deadlines set it again, also when it ends before them.
            unpassed(SHORT).await;
            let begun = Instant::now();
            assert_eq!(timeout(4 * SHORT, std::future::pending::<()>()).await, Err(Elapsed));
            assert!(begun.elapsed() >= 4 * SHORT);
        });
    }

    #[test]
    fn work_that_uses_up_its_budget_has_a_deadline() {
        let busy = || async {
            loop {
                tokio::task::consume_budget().await;
            }
        };
        without_timers(async move || assert_eq!(timeout::<()>(SHORT, busy()).await, Err(Elapsed)));
        let runtime = main_runtime();
        assert_eq!(runtime.block_on(async { timeout::<()>(SHORT, busy()).await }), Err(Elapsed));
    }

    #[test]
    fn timers_are_kept_up_to_a_number() {
        without_timers(async || {
            let mut deadlines: Vec<_> = (0..2 * MAX_KEPT).map(|_| Deadline::after(LONG)).collect();
            poll_fn(|context| {
                let are_pending = deadlines.iter_mut().all(|deadline| deadline.poll(context).is_pending());
                assert!(are_pending);
                Poll::Ready(())
            })
            .await;
            drop(deadlines);
            assert_eq!(number_kept(), MAX_KEPT);
        });
    }

    #[tokio::test]
    async fn a_runtime_with_timers_keeps_none() {
        assert_eq!(timeout(SHORT, std::future::pending::<()>()).await, Err(Elapsed));
        assert_eq!(number_kept(), 0);
    }
}
