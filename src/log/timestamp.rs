//! The text of a time as log lines have it (RFC 3339, in UTC, with microseconds), and of whole numbers.
//! It must not know lines.
//! It promises that the lines of one second format their date once.

use std::time::{SystemTime, UNIX_EPOCH};

use time::UtcDateTime;

/// The second of the latest time, and its text, which many lines share.
#[derive(Debug, Default)]
pub struct Timestamps {
    /// Since 1970.
    second: Option<u64>,
    text: String,
}

impl Timestamps {
    /// Appends a time such as `2026-01-31T12:00:00.000001Z`.
    pub fn push(&mut self, line: &mut String, time: SystemTime) {
        let time = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        if self.second != Some(time.as_secs()) {
            self.second = Some(time.as_secs());
            let second = i64::try_from(time.as_secs()).ok();
            let second = second.and_then(|second| UtcDateTime::from_unix_timestamp(second).ok());
            let second = second.unwrap_or(UtcDateTime::UNIX_EPOCH);
            let (year, month, day) = (second.year(), u8::from(second.month()), second.day());
            let (hour, minute, second) = second.as_hms();
            self.text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
        }
        line.push_str(&self.text);
        line.push('.');
        push_decimal(line, time.subsec_micros().into(), 6);
        line.push('Z');
    }
}

/// Appends a number in at least `width` decimal digits.
pub(crate) fn push_decimal(line: &mut String, number: u64, width: usize) {
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(number);
    for _ in digits.len()..width {
        line.push('0');
    }
    line.push_str(digits);
}
