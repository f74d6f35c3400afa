//! The bounded queue of log lines, and the loop of the thread that writes them. It must not know how a line
//! is formatted. It promises that adding a line never waits for the output, and that dropped lines are
//! counted and reported.

use std::io::{self, ErrorKind, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// Maximum bytes of queued lines. The batch that is being written may have this size too.
const MAX_QUEUED: usize = 4 << 20;

/// Pause of the thread after a batch, so that a busy process writes batches and never wakes the thread.
const BATCH_DELAY: Duration = Duration::from_millis(10);

/// Timeout for the last lines at the end of the process.
const FINISH_TIMEOUT: Duration = Duration::from_secs(1);

/// The queue of lines to be written.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// Notified when the thread that waits for lines has some, when the queue is closed, and when the thread
    /// has ended.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<u8>,
    /// Number of dropped lines that were not reported yet.
    dropped: u64,
    /// The thread that writes. Its own lines, which report dropped lines, are never dropped.
    writer: Option<ThreadId>,
    /// Whether the thread waits for a line, and no line has woken it yet.
    is_waiting: bool,
    is_closed: bool,
    has_ended: bool,
}

impl State {
    fn accepts(&self, line: &[u8]) -> bool {
        let has_room = !self.is_closed && self.lines.len() + line.len() <= MAX_QUEUED;
        has_room || self.writer == Some(std::thread::current().id())
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a line, or drops and counts the line when the queue is full.
    pub(super) fn push(&self, line: &[u8]) {
        let mut state = self.lock();
        if !state.accepts(line) {
            state.dropped += 1;
            drop(state);
            count_dropped(1);
            return;
        }
        state.lines.extend_from_slice(line);
        let was_waiting = std::mem::take(&mut state.is_waiting);
        drop(state);
        if was_waiting {
            self.changed.notify_all();
        }
    }

    /// Writes lines to `output` until the queue is closed and empty. After lines were dropped, `report` is
    /// called with their count as soon as `output` works again; `report` may push one line, which is taken
    /// even if the queue is full or closed.
    pub(super) fn write_to(&self, output: &mut impl Write, report: impl Fn(u64)) {
        self.lock().writer = Some(std::thread::current().id());
        let mut batch = Vec::new();
        let mut is_torn = false;
        while self.next(&mut batch) {
            let written = write(output, &batch, &mut is_torn);
            let dropped = {
                let mut state = self.lock();
                match written {
                    Ok(()) => std::mem::take(&mut state.dropped),
                    Err(Unwritten { lines }) => {
                        state.dropped += lines;
                        drop(state);
                        count_dropped(lines);
                        0
                    }
                }
            };
            if dropped > 0 {
                report(dropped);
            }
            batch.clear();
            batch.shrink_to(MAX_QUEUED / 16);
        }
        self.lock().has_ended = true;
        self.changed.notify_all();
    }

    /// Pauses, waits for lines and takes all of them; false when the queue is closed and empty.
    fn next(&self, batch: &mut Vec<u8>) -> bool {
        // The end of the process waits for it. A wait that could be ended would read the clock.
        std::thread::sleep(BATCH_DELAY);
        let mut state = self.lock();
        state.is_waiting = true;
        let is_idle = |state: &mut State| state.lines.is_empty() && !state.is_closed;
        let mut state = self.changed.wait_while(state, is_idle).unwrap_or_else(PoisonError::into_inner);
        state.is_waiting = false;
        std::mem::swap(&mut state.lines, batch);
        !batch.is_empty()
    }

    /// Closes the queue, and waits until the remaining lines are written, at most [`FINISH_TIMEOUT`].
    pub(super) fn finish(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        self.changed.notify_all();
        let ended = self.changed.wait_timeout_while(state, FINISH_TIMEOUT, |state| !state.has_ended);
        drop(ended);
    }
}

fn count_dropped(lines: u64) {
    metrics::counter!("s3veil_log_lines_dropped_total").increment(lines);
}

/// The error of a write: the count of lines that were not written.
struct Unwritten {
    lines: u64,
}

/// Writes all of `batch`. `is_torn` says, before and after, whether the output ends within a line.
fn write(output: &mut impl Write, batch: &[u8], is_torn: &mut bool) -> Result<(), Unwritten> {
    if *is_torn && write_some(output, b"\n").is_ok() {
        *is_torn = false;
    }
    let mut left = batch;
    while !left.is_empty() {
        match write_some(output, left) {
            Ok(written) => {
                *is_torn = left[written - 1] != b'\n';
                left = &left[written..];
            }
            Err(_) => {
                let lines = left.iter().filter(|byte| **byte == b'\n').count();
                return Err(Unwritten { lines: lines as u64 });
            }
        }
    }
    Ok(())
}

fn write_some(output: &mut impl Write, bytes: &[u8]) -> io::Result<usize> {
    loop {
        match output.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // Another process that shares this pipe has made the pipe non-blocking.
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(BATCH_DELAY),
            outcome => return outcome,
        }
    }
}

/// The writer of the subscriber, which writes each line with one call.
#[derive(Debug, Clone)]
pub(super) struct Lines(pub(super) Arc<Queue>);

impl<'a> MakeWriter<'a> for Lines {
    type Writer = &'a Lines;

    fn make_writer(&'a self) -> &'a Lines {
        self
    }
}

impl Write for &Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::mpsc;
    use std::time::Instant;

    use super::*;

    /// Writes to a channel what it may: an error in place of a number of bytes.
    struct Output {
        allowed: mpsc::Receiver<Result<usize, ErrorKind>>,
        written: mpsc::Sender<Vec<u8>>,
    }

    impl Write for Output {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let length = self.allowed.recv().unwrap_or(Ok(usize::MAX)).map_err(io::Error::from)?;
            let bytes = &bytes[..bytes.len().min(length)];
            self.written.send(bytes.to_vec()).unwrap();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Running {
        queue: Arc<Queue>,
        allow: mpsc::Sender<Result<usize, ErrorKind>>,
        written: mpsc::Receiver<Vec<u8>>,
        reported: Arc<AtomicU64>,
    }

    fn start() -> Running {
        let queue = Arc::new(Queue::default());
        let ((allow, allowed), (write, written)) = (mpsc::channel(), mpsc::channel());
        let reported = Arc::new(AtomicU64::new(0));
        let (thread, report) = (Arc::clone(&queue), Arc::clone(&reported));
        std::thread::spawn(move || {
            let mut output = Output { allowed, written: write };
            thread.write_to(&mut output, |lines| {
                report.fetch_add(lines, Ordering::SeqCst);
                thread.push(format!("{lines} dropped\n").as_bytes());
            });
        });
        Running { queue, allow, written, reported }
    }

    fn drained(queue: &Queue) {
        while !queue.lock().lines.is_empty() {
            std::thread::yield_now();
        }
    }

    #[test]
    fn what_is_queued_is_written_and_the_last_of_it_at_the_end() {
        let Running { queue, allow, written, reported } = start();
        drop(allow);
        queue.push(b"one\n");
        queue.push(b"two\n");
        queue.finish();
        assert_eq!(written.iter().flatten().collect::<Vec<_>>(), b"one\ntwo\n");
        assert_eq!(reported.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn a_busy_process_writes_batches() {
        let Running { queue, allow, written, .. } = start();
        drop(allow);
        let begun = Instant::now();
        (0..1000).for_each(|_| queue.push(b"line\n"));
        queue.finish();
        let batches: Vec<_> = written.iter().collect();
        assert_eq!(batches.iter().map(Vec::len).sum::<usize>(), 5000);
        let pauses = begun.elapsed().as_millis() / BATCH_DELAY.as_millis();
        assert!(batches.len() as u128 <= pauses + 2, "{} batches in {pauses} pauses", batches.len());
    }

    #[test]
    fn a_blocked_writer_delays_no_line_and_dropped_lines_are_reported() {
        let Running { queue, allow, written, reported } = start();
        queue.push(b"first\n");
        drained(&queue);
        let mut line = vec![b'x'; 1 << 20];
        line[(1 << 20) - 1] = b'\n';
        for _ in 0..10 {
            queue.push(&line);
        }
        assert_eq!(queue.lock().dropped, 6);
        drop(allow);
        queue.finish();
        assert_eq!(reported.load(Ordering::SeqCst), 6);
        let written = written.iter().flatten().collect::<Vec<_>>();
        assert!(written.ends_with(b"x\n6 dropped\n"), "reported although the queue was full, then closed");
    }

    #[test]
    fn lines_that_fail_are_counted_and_a_torn_one_is_ended() {
        let Running { queue, allow, written, reported } = start();
        queue.push(b"one\ntwo\nthree\n");
        allow.send(Ok(6)).unwrap();
        allow.send(Err(ErrorKind::StorageFull)).unwrap();
        drained(&queue);
        queue.push(b"four\n");
        allow.send(Err(ErrorKind::BrokenPipe)).unwrap();
        allow.send(Err(ErrorKind::BrokenPipe)).unwrap();
        drained(&queue);
        while queue.lock().dropped < 3 {
            std::thread::yield_now();
        }
        queue.push(b"five\n");
        drop(allow);
        queue.finish();
        assert_eq!(written.iter().flatten().collect::<Vec<_>>(), b"one\ntw\nfive\n3 dropped\n");
        assert_eq!(reported.load(Ordering::SeqCst), 3, "two and three, and four");
    }

    #[test]
    fn the_end_does_not_wait_for_a_writer_that_is_stopped() {
        let Running { queue, allow, written: _written, .. } = start();
        queue.push(b"line\n");
        drained(&queue);
        queue.finish();
        assert!(!queue.lock().has_ended);
        drop(allow);
    }
}
