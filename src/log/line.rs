//! The format of a log line: JSON or logfmt.
//! It must not know what an event means.
//! It promises that no value can forge a line or a field, and that every value has a maximum length.

use std::fmt::{self, Debug, Write};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::config::LogFormat;

/// Maximum bytes of a value, before escaping.
const MAX_VALUE: usize = 256;

/// Higher maximums for some fields: an object's key is shown in full, and the root of a cause comes last.
const LONG_VALUES: [(&str, usize); 4] = [("object_key", 1024), ("msg", 1024), ("cause", 512), ("error", 512)];

/// Formats each event as one line: a flat JSON object, or logfmt, which is `name=value` with the value in
/// quotes if it is more than one word. Every string is escaped and cut here, regardless of its origin.
#[derive(Debug)]
pub(super) struct LineFormat(LogFormat);

impl LineFormat {
    pub(super) fn new(format: LogFormat) -> Self {
        Self(format)
    }
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
        let metadata = event.metadata();
        let json = self.0 == LogFormat::Json;
        writer.write_str(if json { "{\"ts\":\"" } else { "ts=" })?;
        SystemTime.format_time(&mut writer)?;
        if json {
            writer.write_char('"')?;
        }
        let mut fields = Fields { writer, json, scratch: String::new(), outcome: Ok(()) };
        fields.text("level", metadata.level().as_str());
        fields.text("target", metadata.target());
        event.record(&mut fields);
        let Fields { mut writer, outcome, .. } = fields;
        outcome?;
        writer.write_str(if json { "}\n" } else { "\n" })
    }
}

/// Writes the fields of one event.
struct Fields<'a> {
    writer: Writer<'a>,
    json: bool,
    scratch: String,
    outcome: fmt::Result,
}

impl Fields<'_> {
    fn name(&mut self, name: &str) -> fmt::Result {
        if self.json { write!(self.writer, ",\"{name}\":") } else { write!(self.writer, " {name}=") }
    }

    fn text(&mut self, name: &str, text: &str) {
        if self.outcome.is_ok() {
            self.outcome = self.name(name).and_then(|()| self.value(text, max_len(name)));
        }
    }

    fn number(&mut self, name: &str, number: fmt::Arguments<'_>) {
        if self.outcome.is_ok() {
            self.outcome = self.name(name).and_then(|()| self.writer.write_fmt(number));
        }
    }

    fn value(&mut self, text: &str, limit: usize) -> fmt::Result {
        if !self.json && text.is_empty() {
            return self.writer.write_char('-');
        }
        let kept = &text[..text.floor_char_boundary(limit)];
        let is_cut = kept.len() < text.len();
        if !self.json && !is_cut && is_word(kept) {
            return self.writer.write_str(kept);
        }
        self.writer.write_char('"')?;
        kept.chars().try_for_each(|character| write_escaped(&mut self.writer, character))?;
        self.writer.write_str(if is_cut { "…\"" } else { "\"" })
    }
}

impl Visit for Fields<'_> {
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.number(field_name(field), format_args!("{value}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.number(field_name(field), format_args!("{value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.number(field_name(field), format_args!("{value}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field_name(field), value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let mut text = std::mem::take(&mut self.scratch);
        text.clear();
        if write!(text, "{value:?}").is_ok() {
            self.text(field_name(field), &text);
        }
        self.scratch = text;
    }
}

fn field_name(field: &Field) -> &'static str {
    match field.name() {
        "message" => "msg",
        name => name,
    }
}

fn max_len(name: &str) -> usize {
    LONG_VALUES.iter().find(|(long, _)| *long == name).map_or(MAX_VALUE, |(_, limit)| *limit)
}

/// Whether logfmt needs no quotes. A single `-` needs them, since it represents an empty value.
fn is_word(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'=' | b'\\');
    text != "-" && text.bytes().all(is_plain)
}

fn write_escaped(writer: &mut impl Write, character: char) -> fmt::Result {
    match character {
        '"' => writer.write_str("\\\""),
        '\\' => writer.write_str("\\\\"),
        '\n' => writer.write_str("\\n"),
        '\r' => writer.write_str("\\r"),
        '\t' => writer.write_str("\\t"),
        _ if is_invisible(character) => {
            character.encode_utf16(&mut [0; 2]).iter().try_for_each(|unit| write!(writer, "\\u{unit:04x}"))
        }
        _ => writer.write_char(character),
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
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// What is written of the events in `emit`, without the time.
    fn logged(format: LogFormat, emit: impl FnOnce()) -> String {
        let captured = Captured::default();
        let writer = captured.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .event_format(LineFormat::new(format))
            .finish();
        tracing::subscriber::with_default(subscriber, emit);
        let text = String::from_utf8(captured.0.lock().unwrap().clone()).unwrap();
        assert!(text.ends_with('\n'));
        text
    }

    fn after_time(line: &str, separator: &str) -> String {
        let (time, rest) = line.split_once(separator).expect("a time");
        let time = time.trim_start_matches("{\"ts\":\"").trim_start_matches("ts=").trim_end_matches('"');
        let format = time::format_description::well_known::Rfc3339;
        time::OffsetDateTime::parse(time, &format).expect("RFC 3339");
        rest.trim_end().to_owned()
    }

    #[test]
    fn text_is_logfmt() {
        let line = logged(LogFormat::Text, || {
            tracing::info!(
                target: "here",
                bucket = "abc",
                empty = "",
                dash = "-",
                blank = "a b",
                number = 7,
                yes = true,
                shown = %"a=b",
                "two words"
            );
        });
        assert_eq!(
            after_time(&line, " "),
            r#"level=INFO target=here msg="two words" bucket=abc empty=- dash="-" blank="a b" number=7 yes=true shown="a=b""#
        );
    }

    #[test]
    fn json_is_flat_and_quoted_once() {
        let line = logged(LogFormat::Json, || {
            tracing::warn!(target: "here", bucket = "abc", key = %"a\"b", number = -7, "what");
        });
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        let ts = line["ts"].as_str().unwrap();
        time::OffsetDateTime::parse(ts, &time::format_description::well_known::Rfc3339).unwrap();
        let expected = serde_json::json!({
            "ts": ts, "level": "WARN", "target": "here", "msg": "what", "bucket": "abc", "key": "a\"b", "number": -7,
        });
        assert_eq!(line, expected);
    }

    #[test]
    fn nothing_from_outside_begins_a_line_or_reaches_a_terminal() {
        let forged = "x\n2026-01-01 INFO forged\r\u{1b}[31m\u{9b}31m\u{202e}\u{2028}\u{e0041}\0";
        for format in [LogFormat::Text, LogFormat::Json] {
            let shown = logged(
                format,
                || tracing::info!(cause = %forged, bucket = forged, both = ?forged, "{forged}"),
            );
            assert_eq!(shown.lines().count(), 1, "This is a security issue: {shown:?}");
            let odd: Vec<_> = shown.trim_end().chars().filter(|character| is_invisible(*character)).collect();
            assert!(odd.is_empty(), "This is a security issue: {odd:?}");
        }
        let line = logged(LogFormat::Json, || tracing::info!(cause = %forged, "what"));
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(line["cause"], forged, "JSON's escapes are those of every reader");
    }

    #[test]
    fn long_values_are_cut_between_characters() {
        let long = "ä".repeat(2000);
        let line = logged(LogFormat::Text, || tracing::info!(bucket = long, object_key = %long, "what"));
        let value = |name: &str| {
            let (_, rest) = line.split_once(&format!("{name}=\"")).unwrap();
            rest.split_once('"').unwrap().0.trim_end_matches('…').len()
        };
        assert_eq!((value("bucket"), value("object_key")), (256, 1024));
    }
}
