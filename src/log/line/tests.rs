use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

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
        .event_format(LineFormat::new(LineStyle { format, has_priority: false }))
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
fn numbers_and_addresses_are_written_as_by_the_standard_library() {
    for number in [0, 9, 10, 999_999, u64::MAX] {
        for width in [1, 6] {
            let mut line = String::new();
            push_decimal(&mut line, number, width);
            assert_eq!(line, format!("{number:0width$}"));
        }
    }
    for address in ["127.0.0.1:80", "255.0.10.100:65535", "0.0.0.0:0", "[::1]:8333"] {
        let address = address.parse().unwrap();
        let mut line = Line::default();
        line.address(field!("peer"), address);
        assert_eq!(line.line, format!(" peer={address}"));
    }
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
fn bytes_that_need_an_escape_are_found_wherever_they_are() {
    let needs = |byte: u8| !byte.is_ascii_graphic() && byte != b' ' || matches!(byte, b'"' | b'\\');
    for byte in 0..=u8::MAX {
        for other in [b' ', b'!', b'#', b'[', b']', b'~', 0, b'"', 0x7f, 0x80, 0xff] {
            for at in 0..20 {
                let mut text = [other; 20];
                text[at] = byte;
                let expected = text.iter().position(|byte| needs(*byte)).unwrap_or(text.len());
                assert_eq!(plain_prefix(&text), expected, "{byte:#x} at {at} among {other:#x}");
            }
        }
    }
}

#[test]
fn a_word_has_nothing_that_ends_it_wherever_it_stands() {
    for length in 1..20 {
        for at in 0..length {
            for character in '\0'..='\u{ff}' {
                let mut characters = vec!['w'; length];
                characters[at] = character;
                let text: String = characters.into_iter().collect();
                let is_of_word = character.is_ascii_graphic() && !"\"=\\".contains(character);
                assert_eq!(is_word(&text), is_of_word && text != "-", "{text:?}");
            }
        }
    }
}

#[test]
fn nothing_from_outside_begins_a_line_or_reaches_a_terminal() {
    let forged = "x\n2026-01-01 INFO forged\r\u{1b}[31m\u{9b}31m\u{202e}\u{2028}\u{e0041}\0";
    for format in [LogFormat::Text, LogFormat::Json] {
        let shown =
            logged(format, || tracing::info!(cause = %forged, bucket = forged, both = ?forged, "{forged}"));
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

#[test]
fn a_line_without_an_event_has_the_text_of_an_event() {
    let (blank, key) = ("a \"b\"\u{1b}", "ä".repeat(2000));
    for format in [LogFormat::Text, LogFormat::Json] {
        let event = logged(format, || {
            tracing::warn!(
                target: "here",
                blank,
                none = None::<&str>,
                some = Some("x"),
                empty = "",
                object_key = key,
                peer = %"[::1]:1",
                status = 200,
                "request"
            );
        });
        let fields = |line: &mut Line| {
            line.text(field!("msg"), "request");
            line.text(field!("blank"), blank);
            line.optional_text(field!("none"), None);
            line.optional_text(field!("some"), Some("x"));
            line.text(field!("empty"), "");
            line.text(field!("object_key"), &key);
            line.display(field!("peer"), "[::1]:1");
            line.number(field!("status"), 200);
        };
        let style = LineStyle { format, has_priority: false };
        let line = format_line(style, SystemTime::now(), Level::WARN, "here", fields, str::to_owned);
        let after_time = |line: &str| line.split_once("level").unwrap().1.to_owned();
        assert_eq!(after_time(&line), after_time(&event));
    }
}

#[test]
fn lines_of_one_second_share_its_text_and_no_other_line_does() {
    let mut line = Line::default();
    let mut time = |seconds, nanoseconds| {
        let style = LineStyle { format: LogFormat::Text, has_priority: false };
        line.begin(style, Level::INFO, UNIX_EPOCH + Duration::new(seconds, nanoseconds));
        line.line.clone()
    };
    assert_eq!(time(1_700_000_000, 123_456_789), "ts=2023-11-14T22:13:20.123456Z");
    assert_eq!(time(1_700_000_000, 999_999_999), "ts=2023-11-14T22:13:20.999999Z");
    assert_eq!(time(1_700_000_001, 1_000), "ts=2023-11-14T22:13:21.000001Z");
    assert_eq!(time(0, 0), "ts=1970-01-01T00:00:00.000000Z");
}

#[test]
fn a_priority_comes_before_a_line_for_the_journal() {
    let style = LineStyle { format: LogFormat::Json, has_priority: true };
    for (level, priority) in
        [(Level::ERROR, "<3>{"), (Level::WARN, "<4>{"), (Level::INFO, "<6>{"), (Level::DEBUG, "<7>{")]
    {
        let line = format_line(style, UNIX_EPOCH, level, "here", |_| (), str::to_owned);
        assert!(line.starts_with(priority), "{line}");
    }
}
