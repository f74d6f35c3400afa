//! The thread that chains and writes the lines. It must not know what a line of a request says. It promises
//! that what could not be written is written later in its order, that the chain names everything else that is
//! in the file, and a checkpoint every minute and at the end.

use std::io;
use std::time::{Duration, Instant, SystemTime};

use super::chain::{Hash, Position, hash};
use super::entry::{self, Entry};
use super::file::{AuditFile, Name, Tail};
use super::queue::{Queue, Unrecorded, Wake};
use super::signing_key::SigningKey;
use crate::log::field;
use crate::wire::hex;

/// The version of the lines (docs/AUDIT.md).
const VERSION: u64 = 1;

const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(60);

/// How often the file's name is looked at, and the disk waited for.
const TICK: Duration = Duration::from_secs(1);

/// Bytes that are chained before they are written.
const BATCH: usize = 256 << 10;

/// A line about the file itself, which comes before other lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opening {
    /// The first line of a file.
    Begin { after_kill: bool },
    /// A process goes on with the file after an orderly end.
    Start,
    /// A process goes on with the file, whose last lines may be missing.
    Gap { expected: Option<Position> },
    /// A line was cut, and is repeated.
    Torn,
}

/// What a line does once it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    Opened,
    Said(Unrecorded),
    Checkpoint(&'static str),
    /// Bytes of the backlog up to the end of this line.
    Request(usize),
}

/// Chained lines that are not written yet.
#[derive(Debug, Default)]
struct Batch {
    bytes: Vec<u8>,
    /// For each line its end in `bytes`, its position, and its effect.
    lines: Vec<(usize, Position, Effect)>,
}

/// Chains and writes lines.
#[derive(Debug)]
pub(super) struct Writer {
    file: AuditFile,
    key: Option<SigningKey>,
    queue: &'static Queue,
    /// The last line that is written whole.
    position: Position,
    /// Lines without their heads, each with a line break.
    backlog: Vec<u8>,
    /// The buffers of the latest batch, for the next one.
    spare: Batch,
    opening: Option<Opening>,
    /// The reason for a checkpoint that is due before the backlog.
    checkpoint: Option<&'static str>,
    last_checkpoint: (Instant, SystemTime),
    /// The hashes of what is in the file after the last line and is none.
    torn: Vec<Hash>,
    /// What is in the file after the last line break, if this process wrote it.
    piece: Vec<u8>,
    /// Whether the file does not end with a line break.
    is_open: bool,
    /// When writing failed first, and why.
    failing: Option<(SystemTime, String)>,
    /// Whether a line says so already.
    is_outage_said: bool,
    /// Whether the open file has its last checkpoint, since its name was lost.
    has_left: bool,
    looked: Instant,
    synced: Instant,
    is_unsynced: bool,
}

impl Writer {
    pub(super) fn new(file: AuditFile, tail: Tail, key: Option<SigningKey>, queue: &'static Queue) -> Self {
        let now = Instant::now();
        let opening = match &tail {
            Tail { is_new: true, is_clean, .. } => Opening::Begin { after_kill: !is_clean },
            Tail { is_clean: true, expected: None, .. } => Opening::Start,
            Tail { expected, .. } => Opening::Gap { expected: *expected },
        };
        if let Some(expected) = tail.expected {
            let (file, found) = (file.path().display(), tail.position.sequence);
            let expected = expected.sequence;
            tracing::error!(%file, found, expected, "lines at the end of the audit log are missing");
        } else if !tail.is_clean {
            let (file, torn) = (file.path().display(), tail.torn.len());
            tracing::warn!(%file, torn, "the audit log was not ended in order: its last lines may be missing");
        }
        Self {
            file,
            key,
            queue,
            position: tail.position,
            backlog: Vec::new(),
            spare: Batch::default(),
            opening: Some(opening),
            checkpoint: Some("start"),
            last_checkpoint: (now, SystemTime::now()),
            torn: tail.torn,
            piece: Vec::new(),
            is_open: tail.is_open,
            failing: None,
            is_outage_said: false,
            has_left: false,
            looked: now,
            synced: now,
            is_unsynced: false,
        }
    }

    /// Writes lines until the queue is closed.
    pub(super) fn run(mut self) {
        // The first lines are about the file itself.
        let mut wake = Wake::default();
        loop {
            let outcome = self.turn(wake.reopen, wake.is_closed);
            let is_failing = outcome.is_err();
            match outcome {
                Ok(()) => self.works(),
                Err(error) => self.fails(&error),
            }
            self.queue.attempted(self.backlog.len(), is_failing);
            if wake.is_closed {
                break;
            }
            wake = self.queue.next(&mut self.backlog);
        }
        if !self.backlog.is_empty() {
            let lines = self.backlog.iter().filter(|byte| **byte == b'\n').count();
            metrics::counter!("s3veil_audit_lines_lost_total").increment(lines as u64);
            tracing::error!(lines, "lines of the audit log were lost at the end of the process");
        }
        // The lock is released before the end is seen.
        let queue = self.queue;
        drop(self);
        queue.ended();
    }

    fn turn(&mut self, reopen: bool, is_closed: bool) -> io::Result<()> {
        if reopen || self.looked.elapsed() >= TICK || self.failing.is_some() {
            self.follow_name()?;
            self.looked = Instant::now();
        }
        let (instant, time) = self.last_checkpoint;
        let by_clock = SystemTime::now().duration_since(time).unwrap_or_default();
        if self.checkpoint.is_none() && instant.elapsed().max(by_clock) >= CHECKPOINT_INTERVAL {
            self.checkpoint = Some("minute");
        }
        self.flush()?;
        if is_closed {
            self.checkpoint = Some("end");
            self.flush()?;
        }
        if self.is_unsynced && (is_closed || self.synced.elapsed() >= TICK) {
            self.file.sync()?;
            (self.synced, self.is_unsynced) = (Instant::now(), false);
        }
        Ok(())
    }

    /// Opens the file again where another one, or none, has its name.
    fn follow_name(&mut self) -> io::Result<()> {
        match self.file.look()? {
            Name::Kept => Ok(()),
            Name::Shortened => {
                let file = self.file.path().display();
                tracing::error!(%file, "the audit log was cut by another process: lines are missing in it");
                self.opening = Some(Opening::Begin { after_kill: false });
                self.checkpoint = Some("start");
                self.piece.clear();
                self.is_open = self.file.accept_length()? > 0;
                Ok(())
            }
            Name::Lost => {
                // A full disk may be why the file was moved: what can't be written there is written here.
                if !self.has_left {
                    self.checkpoint = Some("rotated");
                    self.has_left = self.flush().and_then(|()| self.file.sync()).is_ok();
                }
                let tail = self.file.reopen(self.position)?;
                self.has_left = false;
                if !self.piece.is_empty() {
                    self.torn.push(hash(&std::mem::take(&mut self.piece)));
                }
                self.is_open = tail.is_open;
                if tail.is_new {
                    self.opening = Some(Opening::Begin { after_kill: false });
                }
                self.checkpoint = Some("start");
                let file = self.file.path().display();
                tracing::info!(%file, position = %self.position, "the audit log goes on in a new file");
                Ok(())
            }
        }
    }

    /// Writes everything that waits.
    fn flush(&mut self) -> io::Result<()> {
        loop {
            self.end_piece()?;
            let mut batch = std::mem::take(&mut self.spare);
            batch.clear();
            self.chain(&mut batch);
            if batch.bytes.is_empty() {
                self.spare = batch;
                return Ok(());
            }
            let written = self.write(&batch);
            self.spare = batch;
            written?;
        }
    }

    /// Ends a line that was cut, which is kept.
    fn end_piece(&mut self) -> io::Result<()> {
        if !self.is_open {
            return Ok(());
        }
        self.file.write(b"\n")?;
        self.is_open = false;
        if !self.piece.is_empty() {
            self.torn.push(hash(&std::mem::take(&mut self.piece)));
            self.opening = self.opening.or(Some(Opening::Torn));
        }
        Ok(())
    }

    /// Adds the next lines to write: about the file, of a checkpoint, then of the backlog.
    fn chain(&self, batch: &mut Batch) {
        let now = SystemTime::now();
        let mut position = self.position;
        if let Some(opening) = self.opening {
            let kind = match opening {
                Opening::Begin { .. } => "begin",
                Opening::Start => "start",
                Opening::Gap { .. } | Opening::Torn => "gap",
            };
            let body = body(kind, now, |entry| self.describe_opening(opening, entry));
            position = batch.push(Effect::Opened, |out| position.seal(&body, out));
        }
        let unrecorded = self.queue.unrecorded();
        let is_outage_unsaid = self.failing.is_some() && !self.is_outage_said;
        if is_outage_unsaid || unrecorded != Unrecorded::default() {
            let body = body("outage", now, |entry| self.describe_outage(unrecorded, entry));
            position = batch.push(Effect::Said(unrecorded), |out| position.seal(&body, out));
        }
        // The last checkpoint of a file comes after all lines.
        let is_last = matches!(self.checkpoint, Some("end" | "rotated"));
        if !is_last {
            position = self.chain_checkpoint(now, position, batch);
        }
        let mut taken = 0;
        for end in memchr::memchr_iter(b'\n', &self.backlog) {
            if batch.bytes.len() >= BATCH {
                return;
            }
            let body = &self.backlog[taken..end];
            taken = end + 1;
            position = batch.push(Effect::Request(taken), |out| position.seal(body, out));
        }
        if is_last {
            self.chain_checkpoint(now, position, batch);
        }
    }

    fn chain_checkpoint(&self, now: SystemTime, position: Position, batch: &mut Batch) -> Position {
        let Some(reason) = self.checkpoint else { return position };
        let body = body("checkpoint", now, |entry| entry.text(field!("reason"), reason));
        let key = self.key.as_ref();
        batch.push(Effect::Checkpoint(reason), |out| position.seal_checkpoint(&body, key, out))
    }

    fn describe_opening(&self, opening: Opening, entry: &mut Entry) {
        let reason = match opening {
            Opening::Begin { .. } | Opening::Start => None,
            Opening::Gap { expected: None } => Some("not ended in order"),
            Opening::Gap { expected: Some(_) } => Some("lines are missing"),
            Opening::Torn => Some("a line was cut"),
        };
        entry.optional_text(field!("reason"), reason);
        entry.number(field!("version"), VERSION);
        entry.text(field!("software"), concat!("s3veil ", env!("CARGO_PKG_VERSION")));
        entry.optional_text(field!("key"), self.key.as_ref().map(|key| key.public_key().name()).as_deref());
        match opening {
            Opening::Begin { after_kill } => entry.flag(field!("after_kill"), after_kill),
            Opening::Gap { expected: Some(expected) } => entry.display(field!("expected"), expected),
            Opening::Gap { expected: None } | Opening::Start | Opening::Torn => {}
        }
        entry.list(field!("torn"), &self.torn.iter().map(|hash| hex::encode(hash)).collect::<Vec<_>>());
    }

    fn describe_outage(&self, unrecorded: Unrecorded, entry: &mut Entry) {
        entry.optional_text(field!("cause"), self.failing.as_ref().map(|(_, cause)| cause.as_str()));
        if let Some((since, _)) = &self.failing {
            let seconds = SystemTime::now().duration_since(*since).unwrap_or_default().as_secs();
            entry.number(field!("seconds"), seconds);
        }
        entry.number(field!("lost"), unrecorded.lost);
        entry.number(field!("refused"), unrecorded.refused);
    }

    /// Writes a batch, and takes note of the lines that are written whole.
    fn write(&mut self, batch: &Batch) -> io::Result<()> {
        let (mut written, mut outcome) = (0, Ok(()));
        while written < batch.bytes.len() && outcome.is_ok() {
            match self.file.write(&batch.bytes[written..]) {
                Ok(more) => written += more,
                Err(error) => outcome = Err(error),
            }
        }
        let whole = batch.lines.iter().take_while(|(end, ..)| *end <= written);
        let (mut end, mut taken, mut lines) = (0, 0, 0);
        for (line_end, position, effect) in whole {
            (end, self.position) = (*line_end, *position);
            match effect {
                Effect::Opened => {
                    self.opening = None;
                    self.torn.clear();
                }
                Effect::Said(unrecorded) => {
                    self.queue.recorded(*unrecorded);
                    self.is_outage_said = true;
                }
                Effect::Checkpoint(reason) => self.checkpointed(reason),
                Effect::Request(bytes) => (taken, lines) = (*bytes, lines + 1),
            }
        }
        self.backlog.drain(..taken);
        metrics::counter!("s3veil_audit_lines_total").increment(lines);
        self.is_unsynced = true;
        self.piece = batch.bytes[end..written].to_vec();
        self.is_open = !self.piece.is_empty();
        outcome
    }

    fn checkpointed(&mut self, reason: &'static str) {
        self.checkpoint = None;
        self.last_checkpoint = (Instant::now(), SystemTime::now());
        self.file.keep_state(self.position, reason == "end");
        tracing::info!(reason, position = %self.position, "a checkpoint of the audit log");
    }

    fn works(&mut self) {
        metrics::gauge!("s3veil_audit_up").set(1.0);
        if let Some((since, _)) = self.failing.take() {
            let seconds = SystemTime::now().duration_since(since).unwrap_or_default().as_secs();
            tracing::warn!(seconds, "the audit log is written again");
        }
    }

    fn fails(&mut self, error: &io::Error) {
        metrics::gauge!("s3veil_audit_up").set(0.0);
        self.is_outage_said = false;
        if self.failing.is_none() {
            let file = self.file.path().display();
            tracing::error!(%file, cause = %error, "the audit log can't be written");
            self.failing = Some((SystemTime::now(), error.to_string()));
            self.checkpoint = self.checkpoint.or(Some("start"));
        }
    }
}

impl Batch {
    fn clear(&mut self) {
        self.bytes.clear();
        self.lines.clear();
    }

    fn push(&mut self, effect: Effect, seal: impl FnOnce(&mut Vec<u8>) -> Position) -> Position {
        let position = seal(&mut self.bytes);
        self.lines.push((self.bytes.len(), position, effect));
        position
    }
}

/// A line without its head and its line break.
fn body(kind: &'static str, now: SystemTime, fields: impl FnOnce(&mut Entry)) -> Vec<u8> {
    entry::format(kind, now, fields, |line| line[..line.len() - 1].to_vec())
}

#[cfg(test)]
mod tests;
