//! Wakes of a task by its own work. A read from a channel wakes the task that fills the channel, which for
//! the bodies of hyper's connections is usually the task that is being polled.
//! It must not know what a wake is for.
//! It promises that no wake is lost: each one reaches its task, or the work that has held it back decides.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};

thread_local! {
    static HOLDING: Cell<Holding> = const { Cell::new(Holding::Nothing) };
}

/// What happens to a wake on this thread.
#[derive(Default)]
enum Holding {
    /// It reaches its task.
    #[default]
    Nothing,
    /// The wakes of one task are held back; this one was the first.
    Wakes(Option<Arc<HoldableWaker>>),
}

/// The waker of a task whose wakes can be held back.
struct HoldableWaker(Waker);

impl Wake for HoldableWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let held = HOLDING.try_with(|holding| match holding.take() {
            Holding::Nothing => false,
            Holding::Wakes(first) => {
                let first = first.unwrap_or_else(|| Arc::clone(self));
                let is_first = Arc::ptr_eq(&first, self);
                holding.set(Holding::Wakes(Some(first)));
                is_first
            }
        });
        if held != Ok(true) {
            self.0.wake_by_ref();
        }
    }
}

/// Runs `work`, whose wakes [`hold`] can hold back.
pub fn holdable<F: Future>(mut work: Pin<&mut F>) -> impl Future<Output = F::Output> {
    let mut known: Option<(Waker, Waker)> = None;
    poll_fn(move |cx| {
        let waker = match &known {
            Some((task, waker)) if task.will_wake(cx.waker()) => waker,
            Some(_) | None => {
                let task = cx.waker().clone();
                &known.insert((task.clone(), Waker::from(Arc::new(HoldableWaker(task))))).1
            }
        };
        work.as_mut().poll(&mut Context::from_waker(waker))
    })
}

/// A wake that was held back, or none.
#[must_use = "the task may wait for it"]
pub struct Held(Option<Arc<HoldableWaker>>);

impl Held {
    /// Wakes the task.
    pub fn pass_on(self) {
        if let Some(waker) = self.0 {
            waker.0.wake_by_ref();
        }
    }

    /// Forgets the wake of a task that has nothing to do.
    pub fn forget(self) {}

    /// Forgets the wake of the task that is being polled, which goes on with its work. Wakes another task.
    pub fn forget_own(self, cx: &Context<'_>) {
        let is_own = |held: &Arc<HoldableWaker>| cx.waker().data() == Arc::as_ptr(held).cast();
        if !self.0.as_ref().is_some_and(is_own) {
            self.pass_on();
        }
    }
}

/// Runs `work`, and holds back the wakes that it causes on this thread, if all are of one task: those of
/// other tasks are passed on.
pub fn hold<T>(work: impl FnOnce() -> T) -> (T, Held) {
    let mut holding = Hold { outer: Some(HOLDING.replace(Holding::Wakes(None))) };
    let done = work();
    (done, holding.end())
}

/// Ends when it is dropped, also when the work panics.
struct Hold {
    /// What happened to wakes before; `None` when it has ended.
    outer: Option<Holding>,
}

impl Hold {
    fn end(&mut self) -> Held {
        match self.outer.take().map(|outer| HOLDING.replace(outer)) {
            None | Some(Holding::Nothing) => Held(None),
            Some(Holding::Wakes(held)) => Held(held),
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.end().pass_on();
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::pin::pin;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Poll;

    use super::*;

    #[derive(Default)]
    struct Counted(AtomicUsize);

    impl Wake for Counted {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Counted {
        fn number(&self) -> usize {
            self.0.load(Ordering::Relaxed)
        }
    }

    /// A task, and the waker that its work sees.
    fn task() -> (Arc<Counted>, Waker) {
        let counted = Arc::new(Counted::default());
        let seen = pin!(poll_fn(|cx| Poll::Ready(cx.waker().clone())));
        let polled = pin!(holdable(seen)).poll(&mut Context::from_waker(&Waker::from(Arc::clone(&counted))));
        let Poll::Ready(waker) = polled else { unreachable!("it is ready at once") };
        (counted, waker)
    }

    #[test]
    fn a_held_wake_is_passed_on_once_or_forgotten() {
        let (counted, waker) = task();
        waker.wake_by_ref();
        assert_eq!(counted.number(), 1);
        let ((), held) = hold(|| (0..3).for_each(|_| waker.wake_by_ref()));
        assert_eq!(counted.number(), 1);
        held.pass_on();
        assert_eq!(counted.number(), 2);
        hold(|| waker.wake_by_ref()).1.forget();
        hold(|| ()).1.pass_on();
        assert_eq!(counted.number(), 2);
        waker.wake();
        assert_eq!(counted.number(), 3);
    }

    #[test]
    fn the_task_that_is_polled_needs_no_wake_but_another_one_does() {
        let ((first, own), (second, other)) = (task(), task());
        let mut cx = Context::from_waker(&own);
        hold(|| own.wake_by_ref()).1.forget_own(&cx);
        hold(|| ()).1.forget_own(&cx);
        hold(|| other.wake_by_ref()).1.forget_own(&cx);
        assert_eq!((first.number(), second.number()), (0, 1));
        cx = Context::from_waker(Waker::noop());
        hold(|| own.wake_by_ref()).1.forget_own(&cx);
        assert_eq!(first.number(), 1, "it is not known to be the task that is polled");
    }

    #[test]
    fn the_wakes_of_other_tasks_and_threads_are_not_held() {
        let ((first, own), (second, other)) = (task(), task());
        let ((), held) = hold(|| {
            own.wake_by_ref();
            other.wake_by_ref();
            std::thread::scope(|scope| _ = scope.spawn(|| own.wake_by_ref()));
            assert_eq!((first.number(), second.number()), (1, 1));
        });
        held.forget();
        assert_eq!((first.number(), second.number()), (1, 1));
    }

    #[test]
    fn no_wake_is_lost_by_a_panic_or_inside_another_hold() {
        let (counted, waker) = task();
        let panics = || {
            hold(|| {
                waker.wake_by_ref();
                panic!("as the test wants it")
            })
        };
        assert!(catch_unwind(AssertUnwindSafe(panics)).is_err());
        assert_eq!(counted.number(), 1);
        let ((), outer) = hold(|| {
            hold(|| waker.wake_by_ref()).1.pass_on();
            assert_eq!(counted.number(), 2);
            waker.wake_by_ref();
        });
        assert_eq!(counted.number(), 2);
        outer.pass_on();
        assert_eq!(counted.number(), 3);
    }

    #[test]
    fn a_task_that_moves_is_woken_where_it_is() {
        let tasks = [Arc::new(Counted::default()), Arc::new(Counted::default())];
        let seen = pin!(poll_fn(|cx| {
            cx.waker().wake_by_ref();
            Poll::<()>::Pending
        }));
        let mut work = pin!(holdable(seen));
        for task in &tasks {
            let polled = work.as_mut().poll(&mut Context::from_waker(&Waker::from(Arc::clone(task))));
            assert!(polled.is_pending());
        }
        assert_eq!(tasks.each_ref().map(|task| task.number()), [1, 1]);
    }
}
