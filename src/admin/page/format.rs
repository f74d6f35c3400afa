//! How the status page writes numbers, times and texts. The script in the page has the same formats, and a
//! test compares both.
//! They must not know fields.
//! They promise a dash for what is not known.

use serde_json::Value;
use time::OffsetDateTime;

/// What stands for null.
const NONE: &str = "–";

/// Between groups of three digits.
const THIN_SPACE: char = '\u{202f}';

/// A value in one of the formats `text`, `count`, `rate`, `bytes`, `duration`, `ago`, `age`, `until` and
/// `time`. Times are seconds since 1970; `ago`, `age` and `until` count from the document's field `now`.
pub(super) fn formatted(value: &Value, format: &str, document: &Value) -> String {
    let (number, now) = (value.as_f64(), document["now"].as_f64().unwrap_or_default());
    match (format, number) {
        ("count", Some(number)) => grouped(number),
        ("rate", Some(number)) => significant(number),
        ("bytes", Some(number)) => bytes(number),
        ("duration", Some(number)) => duration(number),
        ("ago", Some(number)) => format!("{} ago", whole_duration(now - number)),
        ("age", Some(number)) => whole_duration(now - number),
        ("until", Some(number)) => format!("in {}", whole_duration(number - now)),
        ("time", Some(number)) => time(number),
        ("count" | "rate" | "bytes" | "duration" | "ago" | "age" | "until" | "time", None) => NONE.to_owned(),
        (_, _) => text(value),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => NONE.to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(text) if text.is_empty() => NONE.to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.is_empty() => NONE.to_owned(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(", "),
        Value::Object(_) => String::new(),
    }
}

/// A whole number in groups of three digits.
fn grouped(number: f64) -> String {
    let digits = format!("{}", number.round().max(0.0) as u64);
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(THIN_SPACE);
        }
        text.push(digit);
    }
    text
}

/// A number with about three digits.
fn significant(number: f64) -> String {
    if number >= 99.95 {
        grouped(number)
    } else if number >= 9.995 {
        format!("{number:.1}")
    } else if number > 0.0 {
        format!("{number:.2}")
    } else {
        "0".to_owned()
    }
}

fn bytes(number: f64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let (mut number, mut place) = (number, 0);
    while number >= 1024.0 && place + 1 < units.len() {
        (number, place) = (number / 1024.0, place + 1);
    }
    let digits = if place == 0 { grouped(number) } else { significant(number) };
    format!("{digits} {}", units[place])
}

/// A number of seconds in its largest unit, or two of them.
fn duration(seconds: f64) -> String {
    if seconds <= 0.0 {
        return "0 s".to_owned();
    }
    if seconds < 0.001 {
        return format!("{} µs", grouped(seconds * 1e6));
    }
    if seconds < 1.0 {
        return format!("{} ms", significant(seconds * 1e3));
    }
    if seconds < 60.0 {
        return if seconds.fract() == 0.0 {
            format!("{} s", grouped(seconds))
        } else {
            format!("{} s", significant(seconds))
        };
    }
    let whole = seconds.round() as u64;
    let (days, hours, minutes) = (whole / 86_400, whole / 3_600 % 24, whole / 60 % 60);
    match (days, hours) {
        (0, 0) => format!("{minutes} min {} s", whole % 60),
        (0, _) => format!("{hours} h {minutes} min"),
        (_, _) => format!("{days} d {hours} h"),
    }
}

/// A duration without parts of a second, which is never negative.
fn whole_duration(seconds: f64) -> String {
    duration(seconds.max(0.0).floor())
}

/// A time such as `2026-01-31 12:00:00 UTC`.
fn time(seconds: f64) -> String {
    let Ok(at) = OffsetDateTime::from_unix_timestamp(seconds as i64) else { return NONE.to_owned() };
    let (date, (hour, minute, second)) = (at.date(), at.to_hms());
    format!("{date} {hour:02}:{minute:02}:{second:02} UTC")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_have_the_form_that_readers_expect() {
        let document = json!({ "now": 1_000_000.5 });
        for (value, format, expected) in [
            (json!(null), "count", "–"),
            (json!(0), "count", "0"),
            (json!(1_234_567), "count", "1\u{202f}234\u{202f}567"),
            (json!(0.0), "rate", "0"),
            (json!(0.123), "rate", "0.12"),
            (json!(12.34), "rate", "12.3"),
            (json!(1234.5), "rate", "1\u{202f}235"),
            (json!(1023), "bytes", "1\u{202f}023 B"),
            (json!(1536), "bytes", "1.50 KiB"),
            (json!(5.0 * 1024.0 * 1024.0 * 1024.0), "bytes", "5.00 GiB"),
            (json!(0.000_25), "duration", "250 µs"),
            (json!(0.012_3), "duration", "12.3 ms"),
            (json!(1.5), "duration", "1.50 s"),
            (json!(59), "duration", "59 s"),
            (json!(61), "duration", "1 min 1 s"),
            (json!(3_660), "duration", "1 h 1 min"),
            (json!(90_061), "duration", "1 d 1 h"),
            (json!(999_990), "ago", "10 s ago"),
            (json!(999_990), "age", "10 s"),
            (json!(1_000_300), "until", "in 4 min 59 s"),
            (json!(1_700_000_000), "time", "2023-11-14 22:13:20 UTC"),
            (json!(["a", "b"]), "text", "a, b"),
            (json!([]), "text", "–"),
            (json!(""), "text", "–"),
            (json!(true), "text", "yes"),
            (json!(7), "text", "7"),
        ] {
            assert_eq!(formatted(&value, format, &document), expected, "{value} {format}");
        }
    }
}
