//! The format of a log line: JSON or logfmt.
//! It must not know what an event means.
//! It promises that no value can forge a line or a field, and that every value has a maximum length.

use std::cell::RefCell;
use std::fmt::{self, Debug, Display, Write};
use std::net::SocketAddr;
use std::time::SystemTime;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::field::{FieldName, field, max_value};
use super::settings::LogFormat;
use super::timestamp::{Timestamps, push_decimal};
use crate::wire::eight::{self, ONES, below, equal};

thread_local! {
    /// The buffers of this thread's lines.
    static LINE: RefCell<Line> = RefCell::default();
}

/// Formats each event as one line.
#[derive(Debug)]
pub(super) struct LineFormat(LineStyle);

impl LineFormat {
    pub(super) fn new(style: LineStyle) -> Self {
        Self(style)
    }
}

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LineStyle {
    pub(super) format: LogFormat,
    /// Whether a line begins with its priority, such as `<4>`, as journald reads it.
    pub(super) has_priority: bool,
}

impl<S, N> FormatEvent<S, N> for LineFormat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let (level, target) = (*event.metadata().level(), event.metadata().target());
        let fields = |line: &mut Line| event.record(line);
        format_line(self.0, SystemTime::now(), level, target, fields, |line| writer.write_str(line))
    }
}

/// Formats one line with `fields`, in buffers that the thread keeps, and passes it to `write`.
pub(super) fn format_line<T>(
    style: LineStyle,
    time: SystemTime,
    level: Level,
    target: &str,
    fields: impl FnOnce(&mut Line),
    write: impl FnOnce(&str) -> T,
) -> T {
    let mut line = LINE.take();
    line.begin(style, level, time);
    line.word(field!("level"), level.as_str());
    line.text(field!("target"), target);
    fields(&mut line);
    line.line.push_str(if line.is_json { "}\n" } else { "\n" });
    let written = write(&line.line);
    LINE.set(line);
    written
}

/// A line to which fields are added: a flat JSON object, or logfmt, which is `name=value` with the value in
/// quotes if it is more than one word. Every string is escaped and cut here, except constants of the program.
#[derive(Debug, Default)]
pub struct Line {
    line: String,
    is_json: bool,
    /// A value before it is escaped.
    unescaped: String,
    timestamps: Timestamps,
}

impl Line {
    fn begin(&mut self, style: LineStyle, level: Level, time: SystemTime) {
        self.is_json = style.format == LogFormat::Json;
        self.line.clear();
        if style.has_priority {
            self.line.push_str(priority(level));
        }
        self.line.push_str(if self.is_json { "{\"ts\":\"" } else { "ts=" });
        self.timestamps.push(&mut self.line, time);
        if self.is_json {
            self.line.push('"');
        }
    }

    /// Adds a field whose value is `text`.
    pub fn text(&mut self, name: FieldName, text: &str) {
        self.push_name(name);
        self.push_value(text, name.max_value());
    }

    /// Adds a field whose value is `text`, if there is one.
    pub fn optional_text(&mut self, name: FieldName, text: Option<&str>) {
        if let Some(text) = text {
            self.text(name, text);
        }
    }

    /// Adds a field whose value is a constant of this program that needs neither quotes nor escapes.
    pub fn word(&mut self, name: FieldName, word: &'static str) {
        debug_assert!(is_word(word) && !word.is_empty(), "{word:?} needs quotes");
        self.unquoted(name, |line| line.push_str(word));
    }

    /// Adds a field whose value is such a constant, if there is one.
    pub fn optional_word(&mut self, name: FieldName, word: Option<&'static str>) {
        if let Some(word) = word {
            self.word(name, word);
        }
    }

    /// Adds a field whose value is an address and a port.
    pub fn address(&mut self, name: FieldName, address: SocketAddr) {
        self.unquoted(name, |line| push_address(line, address));
    }

    /// Adds a field whose value, which `push` appends, needs quotes in JSON alone.
    fn unquoted(&mut self, name: FieldName, push: impl FnOnce(&mut String)) {
        self.push_name(name);
        let quote = if self.is_json { "\"" } else { "" };
        self.line.push_str(quote);
        push(&mut self.line);
        self.line.push_str(quote);
    }

    /// Adds a field whose value is the text of `value`.
    pub fn display(&mut self, name: FieldName, value: impl Display) {
        self.push_name(name);
        self.push_formatted(format_args!("{value}"), name.max_value());
    }

    /// Adds a field whose value is `number`.
    pub fn number(&mut self, name: FieldName, number: u64) {
        self.push_name(name);
        push_decimal(&mut self.line, number, 1);
    }

    fn push_name(&mut self, name: FieldName) {
        self.line.push_str(if self.is_json { name.json() } else { name.logfmt() });
    }

    /// Adds the name of a field of an event.
    fn push_event_name(&mut self, name: &str) {
        if self.is_json {
            self.line.push_str(",\"");
            self.line.push_str(name);
            return self.line.push_str("\":");
        }
        self.line.push(' ');
        self.line.push_str(name);
        self.line.push('=');
    }

    fn push_formatted(&mut self, value: fmt::Arguments<'_>, limit: usize) {
        let mut text = std::mem::take(&mut self.unescaped);
        text.clear();
        // What fails to format itself is shown as far as it came.
        _ = text.write_fmt(value);
        self.push_value(&text, limit);
        self.unescaped = text;
    }

    fn push_value(&mut self, text: &str, limit: usize) {
        if !self.is_json && text.is_empty() {
            return self.line.push('-');
        }
        let kept = &text[..text.floor_char_boundary(limit)];
        let is_cut = kept.len() < text.len();
        if !self.is_json && !is_cut && is_word(kept) {
            return self.line.push_str(kept);
        }
        self.line.push('"');
        push_escaped(&mut self.line, kept);
        self.line.push_str(if is_cut { "…\"" } else { "\"" });
    }
}

impl Visit for Line {
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.push_event_name(event_name(field));
        push(&mut self.line, format_args!("{value}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.push_event_name(event_name(field));
        push_decimal(&mut self.line, value, 1);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.push_event_name(event_name(field));
        push(&mut self.line, format_args!("{value}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let name = event_name(field);
        self.push_event_name(name);
        self.push_value(value, max_value(name));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let name = event_name(field);
        self.push_event_name(name);
        self.push_formatted(format_args!("{value:?}"), max_value(name));
    }
}

/// The priority of syslog, as sd-daemon(3) has it before a line.
fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "<3>",
        Level::WARN => "<4>",
        Level::INFO => "<6>",
        Level::DEBUG | Level::TRACE => "<7>",
    }
}

/// Appends an address and a port.
pub(crate) fn push_address(line: &mut String, address: SocketAddr) {
    let SocketAddr::V4(address) = address else { return push(line, format_args!("{address}")) };
    for (octet, after) in address.ip().octets().into_iter().zip(['.', '.', '.', ':']) {
        push_decimal(line, octet.into(), 1);
        line.push(after);
    }
    push_decimal(line, address.port().into(), 1);
}

/// Appends the text of a value that is formatted without errors.
fn push(line: &mut String, value: fmt::Arguments<'_>) {
    line.write_fmt(value).expect("numbers are formatted without errors, and a String takes all text");
}

fn event_name(field: &Field) -> &'static str {
    match field.name() {
        "message" => "msg",
        name => name,
    }
}

/// Whether logfmt needs no quotes: visible ASCII, except quotes, equals signs and backslashes. A single `-`
/// needs them, since it represents an empty value.
fn is_word(text: &str) -> bool {
    let is_quoted = |eight| not_plain(eight) | equal(b' ', eight) | equal(b'=', eight);
    text != "-" && !eight::contains(text.as_bytes(), is_quoted)
}

/// Appends `text` with the escapes of JSON, and those for characters that change how others are shown.
pub(crate) fn push_escaped(line: &mut String, mut text: &str) {
    loop {
        let (plain, rest) = text.split_at(plain_prefix(text.as_bytes()));
        line.push_str(plain);
        let mut rest = rest.chars();
        let Some(character) = rest.next() else { return };
        push_escaped_character(line, character);
        text = rest.as_str();
    }
}

/// How many bytes a text begins with that need no escape: visible ASCII and spaces, without quotes and
/// backslashes. Eight bytes are looked at in one step, as one number.
fn plain_prefix(text: &[u8]) -> usize {
    let is_plain = |byte: &u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
    let (eights, _) = text.as_chunks::<8>();
    let begin = 8 * eights.iter().take_while(|eight| !eight::contains(*eight, not_plain)).count();
    begin + text[begin..].iter().take_while(|byte| is_plain(byte)).count()
}

/// Finds bytes that need an escape, as [`eight::contains`] searches.
fn not_plain(eight: u64) -> u64 {
    let above = eight.wrapping_add(ONES * u64::from(0x7f - b'~')) | eight;
    below(b' ', eight) | above | equal(b'"', eight) | equal(b'\\', eight)
}

fn push_escaped_character(line: &mut String, character: char) {
    match character {
        '"' => line.push_str("\\\""),
        '\\' => line.push_str("\\\\"),
        '\n' => line.push_str("\\n"),
        '\r' => line.push_str("\\r"),
        '\t' => line.push_str("\\t"),
        _ if is_invisible(character) => {
            for unit in character.encode_utf16(&mut [0; 2]).iter() {
                push(line, format_args!("\\u{unit:04x}"));
            }
        }
        _ => line.push(character),
    }
}

/// Control characters, and others that change how the text around them is shown, or break a line.
fn is_invisible(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
                | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests;
