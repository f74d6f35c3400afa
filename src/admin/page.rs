//! The status page, as plain text.
//! It must not know the configuration.
//! It promises to show only its given content, which holds no secret.

use std::fmt::Write;
use std::time::{Duration, SystemTime};

use crate::server::Validity;

/// The content of the status page, except for the uptime. Contains no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The proxy's version.
    pub version: &'static str,
    /// The URL for S3 clients.
    pub listen: String,
    /// The certificates by their configuration keys.
    pub certificates: Vec<(String, Validity)>,
    /// The storage behind the proxy.
    pub upstream: String,
    /// The holder of the wrapping keys.
    pub keyring: String,
    /// The buckets that the anonymous client may read, and its rights; `None` without such a client.
    pub anonymous: Option<String>,
    /// One line for each bucket rule, in the order of matching.
    pub buckets: Vec<String>,
    /// When the configuration was last loaded.
    pub loaded_at: SystemTime,
    /// When a later configuration was refused, and why.
    pub reload_failure: Option<(SystemTime, String)>,
}

impl Status {
    /// Adds the default key to the line of the keyring.
    pub fn name_default_key(&mut self, key_id: &str) {
        self.keyring.push_str(&format!(", {key_id}"));
    }

    pub(super) fn page(&self, uptime: Duration) -> String {
        let Self {
            version,
            listen,
            certificates,
            upstream,
            keyring,
            anonymous,
            buckets,
            loaded_at,
            reload_failure,
        } = self;
        let anonymous = anonymous.as_ref().map_or_else(String::new, |text| format!("anonymous {text}\n"));
        let mut configuration = format!("loaded {}", httpdate::fmt_http_date(*loaded_at));
        if let Some((at, cause)) = reload_failure {
            let at = httpdate::fmt_http_date(*at);
            write!(configuration, "; a later version is not in effect, since {at}: {cause}")
                .expect("a string takes every text");
        }
        let mut page = format!(
            "s3veil {version}\n\nlisten    {listen}\nupstream  {upstream}\nkeyring   {keyring}\n{anonymous}uptime    {}\nconfig    {configuration}\n\n\
             bucket rules, the first that matches applies:\n",
            uptime_text(uptime)
        );
        for rule in buckets {
            writeln!(page, "  {rule}").expect("a string takes every line");
        }
        if !certificates.is_empty() {
            page.push_str("\ncertificates:\n");
        }
        for (name, validity) in certificates {
            let state = validity.describe(SystemTime::now());
            writeln!(page, "  {name} {state}").expect("a string takes every line");
        }
        page.push_str("\n/healthz  /readyz  /metrics\n");
        page
    }
}

/// Formats an uptime with its two largest units: `3d 4h`, `4h 5m`, `5m 6s`, `6s`.
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
