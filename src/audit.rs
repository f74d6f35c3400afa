//! The audit log: one line for each request that used a key on an object, or was refused such a use, in a
//! file whose lines are chained by hashes and signed now and then (docs/AUDIT.md). It must not know S3, or
//! which requests there are. It promises that no request waits for the file, that no line is lost uncounted,
//! and that [`Audit::admit`] refuses as long as lines can't be written, where the settings say so.

mod chain;
mod entry;
mod file;
mod queue;
mod settings;
mod signing_key;
mod uses;
mod verification;
mod writer;

use std::io;
use std::path::PathBuf;
use std::time::SystemTime;

pub use self::chain::{InvalidPosition, Position};
pub use self::entry::Entry;
pub use self::queue::Condition;
pub use self::settings::{OnFailure, Settings};
pub use self::signing_key::{AuditKeyError, PublicKey, SigningKey};
pub use self::uses::{
    KeyAction, KeyUseList, KeyUses, current_key_uses, note_failure, note_key_use, with_key_uses,
};
pub use self::verification::{Problem, Report, Verifier};

use self::file::AuditFile;
use self::queue::{Queue, Standing};
use self::writer::Writer;

/// Why the audit log can't be started.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// Another process writes the file.
    #[error("{}: another process writes this audit log: stop it, or name another audit.file", .0.display())]
    InUse(PathBuf),
    /// The file holds something else.
    #[error("{}: is no audit log that s3veil could continue: move it away, or name another audit.file", .0.display())]
    NotAnAuditLog(PathBuf),
    /// The file can't be used.
    #[error("{}: could not {action}: {source}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// The failed step.
        action: &'static str,
        /// The error of the operating system.
        source: io::Error,
    },
}

/// Requests that use keys are refused, since their lines can't be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the audit log can't be written")]
pub struct Unrecordable;

/// The running audit log. On drop, the last lines and a checkpoint are written within a few seconds.
#[derive(Debug)]
pub struct AuditLog {
    audit: Audit,
}

/// Takes the lines of requests. Cheap to copy; all copies write one file.
///
/// The queue lives until the process ends, as the log does. A count of its owners would be written for each
/// request, and go from core to core for that.
#[derive(Debug, Clone, Copy)]
pub struct Audit {
    queue: &'static Queue,
}

impl AuditLog {
    /// Opens the file, and starts the thread that writes it.
    ///
    /// # Errors
    /// [`AuditError`], with what to change.
    pub fn start(settings: &Settings) -> Result<Self, AuditError> {
        for counter in
            ["s3veil_audit_lines_total", "s3veil_audit_lines_lost_total", "s3veil_audit_refused_total"]
        {
            metrics::counter!(counter).increment(0);
        }
        metrics::gauge!("s3veil_audit_up").set(1.0);
        let (file, tail) = AuditFile::open(&settings.file)?;
        let queue: &'static Queue = Box::leak(Box::new(Queue::new(settings.on_failure)));
        let writer = Writer::new(file, tail, settings.signing_key.clone(), queue);
        let thread = std::thread::Builder::new().name("audit".to_owned());
        thread.spawn(move || writer.run()).map_err(|source| AuditError::Io {
            file: settings.file.clone(),
            action: "start the thread that writes it",
            source,
        })?;
        Ok(Self { audit: Audit { queue } })
    }

    /// What takes the lines of requests.
    pub fn handle(&self) -> Audit {
        self.audit
    }
}

impl Drop for AuditLog {
    fn drop(&mut self) {
        self.audit.queue.finish();
    }
}

impl Audit {
    /// Whether a request that may use a key can be served now. A refused one is counted, and must not be
    /// recorded.
    ///
    /// # Errors
    /// [`Unrecordable`] while lines can't be written, under [`OnFailure::Refuse`].
    pub fn admit(&self) -> Result<(), Unrecordable> {
        if self.queue.admits() {
            return Ok(());
        }
        metrics::counter!("s3veil_audit_refused_total").increment(1);
        self.queue.count_refused();
        Err(Unrecordable)
    }

    /// Whether lines can be written now.
    pub fn condition(&self) -> Condition {
        self.queue.condition()
    }

    /// Queues the line of a request that was admitted, and ended at `time`; `fields` adds its fields. Dropped
    /// and counted when more lines wait than memory is reserved for.
    pub fn record(&self, time: SystemTime, fields: impl FnOnce(&mut Entry)) {
        self.push(Standing::Admitted, time, fields);
    }

    /// Queues the line of a request that was refused before it was admitted, as [`Self::record`] does.
    /// Dropped and counted while lines can't be written.
    pub fn record_refusal(&self, time: SystemTime, fields: impl FnOnce(&mut Entry)) {
        self.push(Standing::Refused, time, fields);
    }

    fn push(&self, standing: Standing, time: SystemTime, fields: impl FnOnce(&mut Entry)) {
        entry::format("request", time, fields, |line| self.queue.push(standing, line));
    }

    /// Opens the file again soon, if another one, or none, has its name by then.
    pub fn reopen(&self) {
        self.queue.reopen();
    }
}
