//! The validity of a certificate, and its description for operators.
//! It must not know what the certificate is used for.
//! It promises a warning before a certificate expires.

use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use time::OffsetDateTime;

use super::certificate::Certificate;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A certificate of several months should have been renewed this long before its end: ACME clients do so 30
/// days before it.
const RENEWAL: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// The time in which a certificate is valid (RFC 5280, 4.1.2.5), both ends included, in whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// `notBefore`
    pub not_before: SystemTime,
    /// `notAfter`
    pub not_after: SystemTime,
}

impl Validity {
    /// The validity of each certificate in a PEM file, in order. Empty for a file without a valid
    /// certificate.
    pub fn from_pem(certificates: &[u8]) -> Vec<Self> {
        let parsed = CertificateDer::pem_slice_iter(certificates).filter_map(Result::ok);
        let read = parsed.filter_map(|der| Certificate::from_der(&der));
        read.map(|certificate| certificate.validity).collect()
    }

    /// The problem of the certificate at `now`: `expired on 2026-01-31, 3 days ago`. Reported before the end
    /// of the certificate in the last quarter of its lifetime, and at most for its last 14 days.
    pub fn problem(&self, now: SystemTime) -> Option<String> {
        if now < self.not_before {
            return Some(format!("is not valid before {}", date(self.not_before)));
        }
        let lifetime = self.not_after.duration_since(self.not_before).unwrap_or_default();
        match self.not_after.duration_since(now) {
            Err(past) => Some(format!("expired on {}, {} ago", date(self.not_after), days(past.duration()))),
            Ok(left) if left < RENEWAL.min(lifetime / 4) => {
                Some(format!("expires on {}, in {}", date(self.not_after), days(left)))
            }
            Ok(_) => None,
        }
    }

    /// How long the certificate is valid: `valid until 2026-01-31, 90 days`, or the result of
    /// [`Self::problem`].
    pub fn describe(&self, now: SystemTime) -> String {
        let left = self.not_after.duration_since(now).unwrap_or_default();
        let valid = || format!("valid until {}, {}", date(self.not_after), days(left));
        self.problem(now).unwrap_or_else(valid)
    }
}

fn date(at: SystemTime) -> String {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let at = i64::try_from(since).ok().and_then(|since| OffsetDateTime::from_unix_timestamp(since).ok());
    at.map_or_else(|| "a date beyond year 9999".to_owned(), |at| at.date().to_string())
}

/// A duration in days, or in hours if less than a day.
fn days(duration: Duration) -> String {
    let (days, hours) = (duration.as_secs() / DAY.as_secs(), duration.as_secs() / 3_600);
    match (days, hours) {
        (0, 1) => "1 hour".to_owned(),
        (0, _) => format!("{hours} hours"),
        (1, _) => "1 day".to_owned(),
        (_, _) => format!("{days} days"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(days: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + DAY * u32::try_from(days).unwrap()
    }

    #[test]
    fn a_certificate_is_in_trouble_before_it_begins_near_its_end_and_after_it() {
        let year = Validity { not_before: at(0), not_after: at(365) };
        assert_eq!(year.problem(at(1)), None);
        assert_eq!(year.describe(at(265)), "valid until 1971-01-01, 100 days");
        assert_eq!(year.problem(at(351)), None, "14 days are left");
        assert_eq!(year.problem(at(352)).unwrap(), "expires on 1971-01-01, in 13 days");
        assert_eq!(year.problem(at(366)).unwrap(), "expired on 1971-01-01, 1 day ago");
        let short = Validity { not_before: at(100), not_after: at(108) };
        assert_eq!(short.problem(at(99)).unwrap(), "is not valid before 1970-04-11");
        assert_eq!(short.problem(at(105)), None, "a quarter of its time is left");
        assert_eq!(short.problem(at(107)).unwrap(), "expires on 1970-04-19, in 1 day");
    }

    #[test]
    fn every_certificate_of_a_file_is_read() {
        let pair = || rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert.pem();
        let found = Validity::from_pem(format!("{}{}", pair(), pair()).as_bytes());
        assert_eq!(found.len(), 2);
        assert!(found[0].not_before < found[0].not_after);
        assert_eq!(Validity::from_pem(b"no certificate"), []);
    }
}
