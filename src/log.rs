//! The log: one line per event on standard error, from a bounded queue that a separate thread writes. It must
//! not know what an event means. It promises that requests never wait for it, that input can't forge a line,
//! and that lines dropped while the thread is blocked (a full disk, a pipe without a reader) are counted.

mod field;
mod line;
mod queue;
mod settings;
mod timestamp;

use std::io;
use std::panic::PanicHookInfo;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use tracing::Level;
use tracing_subscriber::{EnvFilter, reload};

pub use self::field::FieldName;
pub(crate) use self::field::field;
pub use self::line::Line;
use self::line::{LineFormat, LineStyle, format_line};
pub(crate) use self::line::{push_address, push_escaped};
use self::queue::{Lines, Queue};
pub use self::settings::{AccessLog, LogFormat, LogSettings, Share};
pub use self::timestamp::Timestamps;
pub(crate) use self::timestamp::push_decimal;

/// The filter for the embedded store's library, which puts whole requests into spans of level INFO. The
/// filter in the configuration comes after this one and takes precedence.
const EMBEDDED_STORE_FILTER: &str = "s3s=off";

/// The output of [`write_line`].
static OUTPUT: OnceLock<(Arc<Queue>, LineStyle)> = OnceLock::new();

/// Changes the level of the subscriber, whose type has no name.
type SetLevel = Box<dyn Fn(&str) -> Result<(), reload::Error> + Send + Sync>;

/// The running log. On drop, the queued lines are written within at most a second.
#[must_use]
pub struct Log {
    queue: Arc<Queue>,
    set_level: SetLevel,
}

impl Log {
    /// Starts logging with `settings`, panics included; `is_journal` if journald reads the lines. Once per
    /// process.
    ///
    /// # Errors
    /// If the thread can't be started, or another subscriber is set.
    pub fn start(settings: &LogSettings, is_journal: bool) -> io::Result<Self> {
        let style = LineStyle { format: settings.format, has_priority: is_journal };
        let queue = Arc::new(Queue::default());
        let writer = Arc::clone(&queue);
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || writer.write_to(&mut io::stderr(), report_dropped))?;
        let subscriber = tracing_subscriber::fmt()
            .with_writer(Lines(Arc::clone(&queue)))
            .with_ansi(false)
            .log_internal_errors(false)
            .event_format(LineFormat::new(style))
            .with_env_filter(filter(&settings.level))
            .with_filter_reloading();
        let handle = subscriber.reload_handle();
        let set_level = Box::new(move |level: &str| handle.reload(filter(level)));
        tracing::subscriber::set_global_default(subscriber.finish()).map_err(io::Error::other)?;
        OUTPUT.get_or_init(|| (Arc::clone(&queue), style));
        std::panic::set_hook(Box::new(log_panic));
        Ok(Self { queue, set_level })
    }

    /// Changes the level, in the syntax of [`LogSettings::level`].
    ///
    /// # Errors
    /// [`reload::Error`] when the subscriber is gone.
    pub fn set_level(&self, level: &str) -> Result<(), reload::Error> {
        (self.set_level)(level)
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.queue.finish();
    }
}

fn filter(level: &str) -> EnvFilter {
    EnvFilter::new(format!("{EMBEDDED_STORE_FILTER},{level}"))
}

/// Writes one line without an event, which would cost more: for the line of every request. The caller checks
/// that `level` is enabled for `target`. Before the log is started, nothing is written.
pub fn write_line(time: SystemTime, level: Level, target: &str, fields: impl FnOnce(&mut Line)) {
    if let Some((queue, style)) = OUTPUT.get() {
        format_line(*style, time, level, target, fields, |line| queue.push(line.as_bytes()));
    }
}

fn report_dropped(lines: u64) {
    tracing::warn!(lines, "lines of the log could not be written, and were dropped");
}

/// Logs a panic in one line, in place of a message and a backtrace on standard error, which might block.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let location = panic.location().map(ToString::to_string).unwrap_or_default();
    tracing::error!(location, cause = panic.payload_as_str().unwrap_or_default(), "a panic");
}
