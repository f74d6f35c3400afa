use std::fmt::Write;
use std::time::{Duration, SystemTime};

use crate::server::Validity;

/// What the status page shows beside the uptime. Every line is written for people and holds no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The proxy's version.
    pub version: &'static str,
    /// Where S3 clients are answered, as a URL.
    pub listen: String,
    /// When the certificate of that listener is valid, if it speaks TLS.
    pub certificate: Option<Validity>,
    /// The storage behind the proxy.
    pub upstream: String,
    /// Where wrapping keys come from.
    pub keyring: String,
    /// One line for each bucket rule, in the order of matching.
    pub buckets: Vec<String>,
}

impl Status {
    pub(super) fn page(&self, uptime: Duration) -> String {
        let Self { version, listen, certificate, upstream, keyring, buckets } = self;
        let certificate = certificate.map(|validity| validity.told(SystemTime::now()));
        let certificate = certificate.map_or_else(String::new, |told| format!(", certificate {told}"));
        let mut page = format!(
            "s3veil {version}\n\nlisten    {listen}{certificate}\nupstream  {upstream}\nkeyring   {keyring}\nuptime    {}\n\n\
             bucket rules, the first that matches applies:\n",
            uptime_text(uptime)
        );
        for rule in buckets {
            writeln!(page, "  {rule}").expect("a string takes every line");
        }
        page.push_str("\n/healthz  /readyz  /metrics\n");
        page
    }
}

/// `3d 4h`, `4h 5m`, `5m 6s`, `6s`: the two largest units.
fn uptime_text(uptime: Duration) -> String {
    let seconds = uptime.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, _, _) => format!("{hours}h {minutes}m"),
        (_, _, _) => format!("{days}d {hours}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uptime_shows_its_two_largest_units() {
        let cases = [
            (0, "0s"),
            (59, "59s"),
            (60, "1m 0s"),
            (3_599, "59m 59s"),
            (3_600, "1h 0m"),
            (86_399, "23h 59m"),
            (86_400, "1d 0h"),
            (90_061, "1d 1h"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(uptime_text(Duration::from_secs(seconds)), expected);
        }
    }
}
