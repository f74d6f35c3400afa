//! The settings of the log. It must not know where settings are read from. It promises nothing about the
//! level, which the configuration checks.

use std::fmt;
use std::time::Duration;

/// The log's format and level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    /// The format of the lines, one per event.
    pub format: LogFormat,
    /// A level, or a list such as `info,s3veil=debug`, in the syntax of `tracing_subscriber::EnvFilter`.
    pub level: String,
    /// Which requests have a line.
    pub access: AccessLog,
}

/// Which requests have a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccessLog {
    /// The share of those that succeed within `slow`.
    pub successes: Share,
    /// Whether those have one that fail or are slow.
    pub failures: bool,
    /// The duration of a request, to the end of its response, from which it is slow.
    pub slow: Duration,
}

impl Default for AccessLog {
    /// All of them.
    fn default() -> Self {
        Self { successes: Share::ALL, failures: true, slow: Duration::from_secs(1) }
    }
}

impl AccessLog {
    /// Whether a request has a line. `number` decides about a sample: numbers of requests are to be spread.
    pub fn has_line(&self, is_failure: bool, taken: Duration, number: impl FnOnce() -> u64) -> bool {
        if is_failure || taken >= self.slow {
            self.failures
        } else {
            self.successes == Share::ALL || self.successes.includes(number())
        }
    }
}

/// A share of all, in steps of a thousandth of a percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share(u32);

impl Share {
    const STEPS: u32 = 100_000;
    /// Everything.
    pub const ALL: Self = Self(Self::STEPS);
    /// Nothing.
    pub const NONE: Self = Self(0);

    /// Parses `10%` or `0.125%`. `None` for another text, and for more than 100 %.
    pub fn parse(text: &str) -> Option<Self> {
        let number = text.strip_suffix('%')?;
        let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
        let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number(whole) || !is_number(decimals) || decimals.len() > 3 {
            return None;
        }
        let thousandths = format!("{decimals:0<3}").parse::<u32>().ok()?;
        let steps = whole.parse::<u32>().ok()?.checked_mul(1000)?.checked_add(thousandths)?;
        (steps <= Self::STEPS).then_some(Self(steps))
    }

    /// Whether a number is in the share. Of numbers that are spread evenly, this share is.
    pub fn includes(self, number: u64) -> bool {
        number % u64::from(Self::STEPS) < u64::from(self.0)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, decimals) = (self.0 / 1000, self.0 % 1000);
        match decimals {
            0 => write!(f, "{whole}%"),
            decimals => write!(f, "{whole}.{}%", format!("{decimals:03}").trim_end_matches('0')),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_read_and_shown() {
        for (text, steps) in
            [("100%", 100_000), ("0%", 0), ("10%", 10_000), ("0.125%", 125), ("99.9%", 99_900)]
        {
            let share = Share::parse(text).expect(text);
            assert_eq!((share, share.to_string().as_str()), (Share(steps), text));
        }
        for text in
            ["", "%", "10", "101%", "100.001%", "1.%", ".5%", "-1%", "1.0001%", "1e2%", "99999999999%"]
        {
            assert_eq!(Share::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_share_of_all_numbers_is_included() {
        let half_a_percent = Share::parse("0.5%").expect("a share");
        assert_eq!((0..200_000).filter(|number| half_a_percent.includes(*number)).count(), 1000);
        assert!((0..200_000).all(|number| Share::ALL.includes(number) && !Share::NONE.includes(number)));
    }

    #[test]
    fn failures_and_slow_requests_have_a_line_whatever_the_sample() {
        let rules = |successes, failures| AccessLog { successes, failures, ..AccessLog::default() };
        let (fast, slow) = (Duration::from_millis(999), Duration::from_secs(1));
        let of = |rules: AccessLog| {
            [(false, fast), (true, fast), (false, slow)]
                .map(|(failed, taken)| rules.has_line(failed, taken, || 5))
        };
        assert_eq!(of(AccessLog::default()), [true, true, true]);
        assert_eq!(of(rules(Share::NONE, true)), [false, true, true]);
        assert_eq!(of(rules(Share::NONE, false)), [false, false, false]);
    }
}

/// The format of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text for people.
    Text,
    /// One JSON object.
    Json,
}
