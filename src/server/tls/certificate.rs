//! Version and validity of an X.509 certificate, read from its DER (RFC 5280, 4.1): rustls does not expose
//! them.

use std::time::{Duration, SystemTime};

use time::{Date, Month};

use super::Validity;

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
/// `[0] EXPLICIT`, around the version.
const VERSION: u8 = 0xa0;

/// What was read of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Certificate {
    /// 1, 2 or 3.
    pub(super) version: u32,
    pub(super) validity: Validity,
}

impl Certificate {
    /// `None` where the DER is none of a certificate.
    pub(super) fn from_der(der: &[u8]) -> Option<Self> {
        let mut certificate = Elements(Elements(der).next_of(SEQUENCE)?);
        let mut fields = Elements(certificate.next_of(SEQUENCE)?);
        let version = match fields.next_of(VERSION) {
            Some(version) => *Elements(version).next_of(INTEGER)?.last()?,
            None => 0,
        };
        fields.next_of(INTEGER)?;
        let (_signature, _issuer) = (fields.next_of(SEQUENCE)?, fields.next_of(SEQUENCE)?);
        let mut times = Elements(fields.next_of(SEQUENCE)?);
        let validity = Validity { not_before: times.next_time()?, not_after: times.next_time()? };
        Some(Self { version: u32::from(version) + 1, validity })
    }
}

/// A sequence of DER elements: each has a tag of one byte, a definite length and the content (ITU-T X.690,
/// 8.1).
struct Elements<'a>(&'a [u8]);

impl<'a> Elements<'a> {
    /// The content of the next element, if it has this tag. Another one stays the next.
    fn next_of(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (&found, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first().filter(|_| found == tag)?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            // Four bytes count to 4 GiB.
            0x81..=0x84 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (bytes.iter().fold(0, |length, &byte| length << 8 | usize::from(byte)), rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some(content)
    }

    /// Reads `YYMMDDHHMMSSZ` of the years 1950 to 2049, or `YYYYMMDDHHMMSSZ` (RFC 5280, 4.1.2.5). A time
    /// before 1970 is returned as the start of 1970.
    fn next_time(&mut self) -> Option<SystemTime> {
        let (text, short) = match self.next_of(UTC_TIME) {
            Some(text) => (text, true),
            None => (self.next_of(GENERALIZED_TIME)?, false),
        };
        let digits = text.strip_suffix(b"Z")?;
        let year_digits = if short { 2 } else { 4 };
        if digits.len() != year_digits + 10 || !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let number =
            |digits: &[u8]| digits.iter().fold(0_u16, |number, digit| number * 10 + u16::from(digit - b'0'));
        let (year, rest) = digits.split_at(year_digits);
        let year = match (short, number(year)) {
            (true, year @ 50..) => 1900 + year,
            (true, year) => 2000 + year,
            (false, year) => year,
        };
        let mut pairs = rest.chunks(2).map(number).map(u8::try_from);
        let mut pair = || pairs.next()?.ok();
        let date = Date::from_calendar_date(i32::from(year), Month::try_from(pair()?).ok()?, pair()?).ok()?;
        let at = date.with_hms(pair()?, pair()?, pair()?).ok()?.assume_utc().unix_timestamp();
        Some(SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(at).unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn version_and_times_are_those_of_the_certificate() {
        let mut parameters = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        parameters.not_before = rcgen::date_time_ymd(1999, 12, 31);
        parameters.not_after = rcgen::date_time_ymd(2051, 2, 28);
        let made = parameters.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        let read = Certificate::from_der(made.der()).unwrap();
        let validity = Validity { not_before: at(946_598_400), not_after: at(2_561_155_200) };
        assert_eq!(read, Certificate { version: 3, validity });
        for length in 0..150 {
            assert_eq!(Certificate::from_der(&made.der()[..length]), None, "{length}");
        }
    }

    #[test]
    fn a_certificate_without_extensions_is_of_version_1() {
        let pem = include_bytes!("../../config/v1-certificate.pem");
        let der = CertificateDer::from_pem_slice(pem).unwrap();
        assert_eq!(Certificate::from_der(&der).unwrap().version, 1);
    }

    #[test]
    fn times_that_are_none_are_refused() {
        for (tag, text, is_time) in [
            (UTC_TIME, "491231235959Z", true),
            (UTC_TIME, "500101000000Z", true),
            (GENERALIZED_TIME, "99991231235959Z", true),
            (UTC_TIME, "261301000000Z", false),
            (UTC_TIME, "260230000000Z", false),
            (UTC_TIME, "2601010000Z", false),
            (UTC_TIME, "260101000000+0100", false),
            (GENERALIZED_TIME, "260101000000Z", false),
        ] {
            let der = [&[tag, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
            assert_eq!(Elements(&der).next_time().is_some(), is_time, "{text}");
        }
    }
}
