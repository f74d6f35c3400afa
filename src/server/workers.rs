//! Threads for connections, each with a runtime of its own.
//! They must not know what a connection carries.
//! They promise that a connection stays on one thread from its first byte to its last, so that the threads
//! share no queue, no timer and no readiness events.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use crate::{clock, timer};

/// The number of tasks that are polled before sockets are looked at. A connection with many requests at once
/// takes milliseconds for each poll: with tokio's 61, other connections of its thread would wait too long.
const EVENT_INTERVAL: u32 = 40;

/// The threads. Dropping them ends all that runs on them.
#[derive(Debug)]
pub struct Workers(Vec<Worker>);

#[derive(Debug)]
struct Worker {
    runtime: Handle,
    connections: Arc<AtomicUsize>,
    /// `None` for a runtime that another thread runs.
    thread: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

/// Counts one connection of a worker until it is dropped.
#[derive(Debug)]
pub(super) struct Assigned(Arc<AtomicUsize>);

impl Drop for Assigned {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Workers {
    /// Starts one thread for each core that the process may use.
    ///
    /// `timers` is the runtime that has their timers, and outlives them.
    ///
    /// # Errors
    /// When the system gives no thread, or no descriptors for a runtime.
    pub fn start(timers: &Handle) -> io::Result<Self> {
        let number = thread::available_parallelism().map_or(1, usize::from);
        (0..number).map(|number| Worker::start(number, timers)).collect::<io::Result<_>>().map(Self)
    }

    /// No threads: connections run on the current runtime.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub fn current() -> Self {
        Self(vec![Worker { runtime: Handle::current(), connections: Arc::default(), thread: None }])
    }

    /// The runtime with the fewest connections, for one more.
    pub(super) fn assign(&self) -> (&Handle, Assigned) {
        let least = self.0.iter().min_by_key(|worker| worker.connections.load(Ordering::Relaxed));
        let worker = least.expect("there is at least one core");
        worker.connections.fetch_add(1, Ordering::Relaxed);
        (&worker.runtime, Assigned(Arc::clone(&worker.connections)))
    }
}

impl Worker {
    fn start(number: usize, timers: &Handle) -> io::Result<Self> {
        let mut builder = Builder::new_current_thread();
        builder.enable_io().event_interval(EVENT_INTERVAL).on_thread_unpark(clock::has_waited);
        let runtime = builder.build()?;
        let (handle, timers) = (runtime.handle().clone(), timers.clone());
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new().name(format!("worker-{number}"));
        // A sender that is dropped stops the thread too.
        let thread = thread.spawn(move || {
            timer::set_driver(timers);
            drop(runtime.block_on(stopped));
        })?;
        Ok(Self { runtime: handle, connections: Arc::default(), thread: Some((stop, thread)) })
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        let threads: Vec<_> = self.0.drain(..).filter_map(|worker| worker.thread).collect();
        let (stops, threads): (Vec<_>, Vec<_>) = threads.into_iter().unzip();
        drop(stops);
        // A panic of a connection ends its task only, so that no thread ends in one.
        threads.into_iter().for_each(|thread| drop(thread.join()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn connections_go_to_the_thread_with_the_fewest() {
        let worker = |number| Worker::start(number, &Handle::current()).expect("a thread");
        let workers = Workers(vec![worker(0), worker(1)]);
        let (first, one) = workers.assign();
        let (second, other) = workers.assign();
        assert_ne!(first.id(), second.id());
        drop(one);
        let (third, _third) = workers.assign();
        assert_eq!(third.id(), first.id());
        drop(other);
        assert_eq!(workers.assign().0.id(), second.id());
    }

    #[tokio::test]
    async fn dropping_the_workers_ends_what_runs_on_them() {
        struct Ended(std::sync::mpsc::Sender<()>);
        impl Drop for Ended {
            fn drop(&mut self) {
                let _ = self.0.send(());
            }
        }
        let workers = Workers(vec![Worker::start(0, &Handle::current()).expect("a thread")]);
        let (ended, end) = std::sync::mpsc::channel();
        let ended = Ended(ended);
        workers.assign().0.spawn(async move {
            let _ended = ended;
            std::future::pending::<()>().await;
        });
        drop(workers);
        end.try_recv().expect("the task was dropped");
    }
}
