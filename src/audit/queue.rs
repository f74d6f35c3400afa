//! The lines that wait to be written, and whether requests that use keys may be served. It must not know how
//! a line is formatted or written. It promises that adding a line never waits for the file, that lines which
//! are not queued are counted, and that memory is reserved for the lines of admitted requests.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::OnFailure;

/// Bytes of waiting lines from which on requests are not admitted, under [`OnFailure::Refuse`].
const HIGH_WATER: usize = 4 << 20;

/// Maximum bytes of waiting lines. A thousand admitted requests end with lines of a few KiB each.
const MAX_WAITING: usize = 16 << 20;

/// Bytes of an empty buffer that are kept for the next lines.
const MAX_KEPT: usize = 1 << 20;

/// How often the thread wakes without lines: to look at the file's name, and for checkpoints.
const TICK: Duration = Duration::from_secs(1);

/// How soon a failed write is tried again.
const RETRY: Duration = Duration::from_millis(250);

/// Pause of the thread after a batch, so that a busy process writes batches and never wakes the thread.
const BATCH_DELAY: Duration = Duration::from_millis(10);

/// Timeout for the last lines at the end of the process.
const FINISH_TIMEOUT: Duration = Duration::from_secs(5);

/// Whether lines can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// They are.
    Well,
    /// They wait, or are lost, and requests are served.
    Failing,
    /// They wait, and requests that use keys are refused.
    Refusing,
}

/// What a request was when it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It was admitted, and may have used keys.
    Admitted,
    /// It was refused before.
    Refused,
}

/// The lines and requests that were not recorded, since the last line about such.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Unrecorded {
    /// Lines that were dropped.
    pub(super) lost: u64,
    /// Requests that were refused because of the audit log.
    pub(super) refused: u64,
}

/// What the thread that writes has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Wake {
    /// The file may have to be opened again.
    pub(super) reopen: bool,
    /// These are the last lines.
    pub(super) is_closed: bool,
}

/// The queue of lines to be written.
#[derive(Debug)]
pub(super) struct Queue {
    on_failure: OnFailure,
    /// Whether requests that use keys may be served.
    admits: AtomicBool,
    state: Apart<Mutex<State>>,
    /// Notified when the thread that waits for lines has some, and at the end.
    changed: Condvar,
}

/// What every request writes, in cache lines of its own: what every request only reads stays in the cache of
/// each core.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Apart<T>(T);

#[derive(Debug, Default)]
struct State {
    /// Lines without their heads, each with a line break.
    lines: Vec<u8>,
    /// Bytes that the thread has taken and not written yet.
    held: usize,
    unrecorded: Unrecorded,
    is_failing: bool,
    /// Whether the thread waits for a line, and no line has woken it yet.
    is_waiting: bool,
    reopen: bool,
    is_closed: bool,
    has_ended: bool,
}

impl State {
    fn waiting(&self) -> usize {
        self.lines.len() + self.held
    }

    fn accepts(&self, standing: Standing, line: &[u8]) -> bool {
        let total = self.waiting() + line.len();
        !self.is_closed
            && match standing {
                Standing::Admitted => total <= MAX_WAITING,
                Standing::Refused => !self.is_failing && total <= HIGH_WATER,
            }
    }
}

impl Queue {
    pub(super) fn new(on_failure: OnFailure) -> Self {
        let (admits, state, changed) = (AtomicBool::new(true), Apart::default(), Condvar::new());
        Self { on_failure, admits, state, changed }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether requests that use keys may be served.
    pub(super) fn admits(&self) -> bool {
        self.admits.load(Ordering::Relaxed)
    }

    pub(super) fn condition(&self) -> Condition {
        if !self.admits() {
            return Condition::Refusing;
        }
        if self.lock().is_failing { Condition::Failing } else { Condition::Well }
    }

    fn decide(&self, state: &State) {
        let is_well = !state.is_failing && state.waiting() <= HIGH_WATER;
        self.admits.store(is_well || self.on_failure == OnFailure::Serve, Ordering::Relaxed);
    }

    /// Queues a line, which ends with a line break, or drops and counts the line.
    pub(super) fn push(&self, standing: Standing, line: &[u8]) {
        let mut state = self.lock();
        if !state.accepts(standing, line) {
            state.unrecorded.lost += 1;
            drop(state);
            metrics::counter!("s3veil_audit_lines_lost_total").increment(1);
            return;
        }
        state.lines.extend_from_slice(line);
        if state.waiting() > HIGH_WATER {
            self.decide(&state);
        }
        let was_waiting = std::mem::take(&mut state.is_waiting);
        drop(state);
        if was_waiting {
            self.changed.notify_all();
        }
    }

    pub(super) fn count_refused(&self) {
        self.lock().unrecorded.refused += 1;
    }

    /// Wakes the thread to open the file again.
    pub(super) fn reopen(&self) {
        self.lock().reopen = true;
        self.changed.notify_all();
    }

    /// Pauses, waits for lines or a second, and moves all lines to the end of `backlog`. While lines fail, it
    /// does not wait for more of them, but until the next attempt.
    pub(super) fn next(&self, backlog: &mut Vec<u8>) -> Wake {
        let is_quiet = |state: &mut State| !state.is_closed && !state.reopen;
        let paused = self.changed.wait_timeout_while(self.lock(), BATCH_DELAY, is_quiet);
        let (mut state, _) = paused.unwrap_or_else(PoisonError::into_inner);
        state.is_waiting = true;
        let timeout = if state.is_failing { RETRY } else { TICK };
        let has_lines = |state: &State| !state.lines.is_empty() && !state.is_failing;
        let is_idle = |state: &mut State| !has_lines(state) && !state.is_closed && !state.reopen;
        let waited = self.changed.wait_timeout_while(state, timeout, is_idle);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.is_waiting = false;
        if backlog.is_empty() {
            // The queue goes on with a buffer that had room for as many lines before.
            backlog.shrink_to(MAX_KEPT);
            std::mem::swap(&mut state.lines, backlog);
        } else {
            backlog.append(&mut state.lines);
        }
        state.held = backlog.len();
        Wake { reopen: std::mem::take(&mut state.reopen), is_closed: state.is_closed }
    }

    /// Takes note of an attempt to write, after which `held` bytes are left.
    pub(super) fn attempted(&self, held: usize, is_failing: bool) {
        let mut state = self.lock();
        (state.held, state.is_failing) = (held, is_failing);
        self.decide(&state);
    }

    /// What was not recorded so far.
    pub(super) fn unrecorded(&self) -> Unrecorded {
        self.lock().unrecorded
    }

    /// Takes off what a line says now.
    pub(super) fn recorded(&self, said: Unrecorded) {
        let unrecorded = &mut self.lock().unrecorded;
        unrecorded.lost -= said.lost;
        unrecorded.refused -= said.refused;
    }

    /// Closes the queue, and waits until the remaining lines are written, at most [`FINISH_TIMEOUT`].
    pub(super) fn finish(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        self.changed.notify_all();
        let ended = self.changed.wait_timeout_while(state, FINISH_TIMEOUT, |state| !state.has_ended);
        drop(ended);
    }

    /// The thread has ended.
    pub(super) fn ended(&self) {
        self.lock().has_ended = true;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(size: usize) -> Vec<u8> {
        vec![b'x'; size]
    }

    /// The bytes of the lines.
    fn taken(queue: &Queue) -> usize {
        let mut backlog = Vec::new();
        queue.next(&mut backlog);
        backlog.len()
    }

    #[test]
    fn while_lines_fail_requests_are_refused_and_those_in_flight_are_recorded() {
        let queue = Queue::new(OnFailure::Refuse);
        assert_eq!(queue.condition(), Condition::Well);
        queue.attempted(0, true);
        assert!(!queue.admits() && queue.condition() == Condition::Refusing);
        queue.push(Standing::Admitted, &line(10));
        queue.push(Standing::Refused, &line(8));
        queue.count_refused();
        assert_eq!(queue.unrecorded(), Unrecorded { lost: 1, refused: 1 });
        assert_eq!(taken(&queue), 10);
        queue.attempted(0, false);
        assert!(queue.admits());
        queue.recorded(Unrecorded { lost: 1, refused: 1 });
        assert_eq!(queue.unrecorded(), Unrecorded::default());
    }

    #[test]
    fn under_the_other_policy_they_are_served_until_memory_ends() {
        let queue = Queue::new(OnFailure::Serve);
        queue.attempted(MAX_WAITING - 10, true);
        assert!(queue.admits() && queue.condition() == Condition::Failing);
        queue.push(Standing::Admitted, &line(10));
        queue.push(Standing::Admitted, &line(1));
        assert!(queue.admits());
        assert_eq!(queue.unrecorded().lost, 1);
    }

    #[test]
    fn a_file_that_is_too_slow_refuses_before_a_line_is_lost() {
        let queue = Queue::new(OnFailure::Refuse);
        for index in 0..=4 {
            assert!(queue.admits(), "{index}");
            queue.push(Standing::Admitted, &line(1 << 20));
        }
        assert!(!queue.admits());
        queue.push(Standing::Admitted, &line(1 << 20));
        assert_eq!(queue.unrecorded().lost, 0);
        assert_eq!(taken(&queue), 6 << 20);
        assert!(!queue.admits(), "they are in memory still");
        queue.attempted(0, false);
        assert!(queue.admits());
    }

    #[test]
    fn lines_are_taken_in_their_order_behind_those_that_were_not_written() {
        let queue = Queue::new(OnFailure::Refuse);
        let mut backlog = Vec::new();
        queue.push(Standing::Admitted, b"a\n");
        queue.next(&mut backlog);
        queue.attempted(backlog.len(), false);
        queue.push(Standing::Admitted, b"b\n");
        queue.push(Standing::Admitted, b"c\n");
        queue.next(&mut backlog);
        assert_eq!(backlog, b"a\nb\nc\n");
        assert_eq!(queue.lock().waiting(), 6);
    }

    #[test]
    fn the_end_and_a_reopening_wake_the_thread() {
        let queue = Queue::new(OnFailure::Refuse);
        queue.reopen();
        assert_eq!(queue.next(&mut Vec::new()), Wake { reopen: true, is_closed: false });
        queue.ended();
        queue.finish();
        assert_eq!(queue.next(&mut Vec::new()), Wake { reopen: false, is_closed: true });
        queue.push(Standing::Admitted, &line(9));
        assert_eq!(queue.unrecorded().lost, 1);
    }
}
