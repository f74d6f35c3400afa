//! Credential scope and request time: what binds a signature to a day, a region and a service.

use std::fmt;
use std::time::{Duration, SystemTime};

use time::format_description::well_known::{Rfc2822, Rfc3339};
use time::{Date, Month, OffsetDateTime, PrimitiveDateTime, Time};

use super::error::AuthFault;

pub(in crate::sigv4) const SERVICE: &str = "s3";
pub(in crate::sigv4) const TERMINATOR: &str = "aws4_request";
/// [`SERVICE`] and [`TERMINATOR`], each after a slash: the end of a scope.
const END: &str = "/s3/aws4_request";

/// `20130524/us-east-1/s3/aws4_request`; the service and the terminator are fixed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::sigv4) struct CredentialScope<'a> {
    /// `YYYYMMDD`.
    pub(in crate::sigv4) date: &'a str,
    pub(in crate::sigv4) region: &'a str,
}

impl<'a> CredentialScope<'a> {
    /// Takes `<access key id>/<date>/<region>/s3/aws4_request` apart, from the right: an access key id may
    /// hold slashes, a scope may not.
    pub(in crate::sigv4) fn parse(credential: &'a str) -> Result<(&'a str, Self), AuthFault> {
        let mut access_key_id = credential;
        let mut next = || {
            let at = access_key_id.bytes().rposition(|byte| byte == b'/')?;
            let piece = &access_key_id[at + 1..];
            access_key_id = &access_key_id[..at];
            (!piece.is_empty()).then_some(piece)
        };
        let pieces = (next(), next(), next(), next());
        let (Some(terminator), Some(service), Some(region), Some(date)) = pieces else {
            return Err(AuthFault::CredentialShape);
        };
        if access_key_id.is_empty() {
            return Err(AuthFault::CredentialShape);
        }
        if terminator != TERMINATOR {
            return Err(AuthFault::Terminator(terminator.to_owned()));
        }
        if service != SERVICE {
            return Err(AuthFault::Service(service.to_owned()));
        }
        Ok((access_key_id, Self { date, region }))
    }

    /// Its text, piece by piece.
    pub(in crate::sigv4) fn pieces(&self) -> [&'a str; 4] {
        [self.date, "/", self.region, END]
    }
}

impl fmt::Display for CredentialScope<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pieces().into_iter().try_for_each(|piece| f.write_str(piece))
    }
}

/// A moment as `YYYYMMDD'T'HHMMSS'Z'`, the form of `x-amz-date`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::sigv4) struct BasicTime([u8; "YYYYMMDDTHHMMSSZ".len()]);

impl BasicTime {
    /// The text of a moment, and the moment.
    pub(in crate::sigv4) fn parse(text: &str) -> Option<(Self, Timestamp)> {
        let timestamp = Timestamp::parse_basic(text)?;
        Some((Self(text.as_bytes().try_into().ok()?), timestamp))
    }

    pub(in crate::sigv4) fn as_str(&self) -> &str {
        str::from_utf8(&self.0).expect("digits are ASCII")
    }

    /// `YYYYMMDD`, the scope's day.
    pub(in crate::sigv4) fn day(&self) -> &str {
        &self.as_str()[.."YYYYMMDD".len()]
    }
}

/// The moment a request says it was signed, to the second, UTC.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub(in crate::sigv4) struct Timestamp(OffsetDateTime);

impl Timestamp {
    /// `YYYYMMDD'T'HHMMSS'Z'`, the form of `x-amz-date`.
    pub(in crate::sigv4) fn parse_basic(text: &str) -> Option<Self> {
        let [y1, y2, y3, y4, m1, m2, d1, d2, b'T', h1, h2, min1, min2, s1, s2, b'Z'] = *text.as_bytes()
        else {
            return None;
        };
        let digit = |byte: u8| byte.is_ascii_digit().then(|| byte - b'0');
        let number = |tens, ones| Some(digit(tens)? * 10 + digit(ones)?);
        let year = i32::from(number(y1, y2)?) * 100 + i32::from(number(y3, y4)?);
        let month = Month::try_from(number(m1, m2)?).ok()?;
        let date = Date::from_calendar_date(year, month, number(d1, d2)?).ok()?;
        let time = Time::from_hms(number(h1, h2)?, number(min1, min2)?, number(s1, s2)?).ok()?;
        Some(Self(PrimitiveDateTime::new(date, time).assume_utc()))
    }

    /// `Fri, 24 May 2013 00:00:00 GMT`, the form of `Date`.
    pub(in crate::sigv4) fn parse_http_date(text: &str) -> Option<Self> {
        let moment = OffsetDateTime::parse(text, &Rfc2822).ok()?;
        // In another offset, the last hours of the year 9999 are in the year 10000 of UTC.
        moment.checked_to_offset(time::UtcOffset::UTC).map(Self)
    }

    /// Seconds since 1970, the form of a Version 2 `Expires`.
    pub(in crate::sigv4) fn parse_epoch(text: &str) -> Option<Self> {
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        OffsetDateTime::from_unix_timestamp(text.parse().ok()?).ok().map(Self)
    }

    pub(in crate::sigv4) fn basic(self) -> BasicTime {
        let (year, month, day) = self.0.to_calendar_date();
        let (hour, minute, second) = self.0.to_hms();
        let mut digits = *b"00000000T000000Z";
        let year = u16::try_from(year).expect("a year of SystemTime and of what was parsed has four digits");
        let pairs = [
            year / 100,
            year % 100,
            u8::from(month).into(),
            day.into(),
            hour.into(),
            minute.into(),
            second.into(),
        ];
        for (at, pair) in [0, 2, 4, 6, 9, 11, 13].into_iter().zip(pairs) {
            digits[at] += u8::try_from(pair / 10 % 10).expect("it is a digit");
            digits[at + 1] += u8::try_from(pair % 10).expect("it is a digit");
        }
        BasicTime(digits)
    }

    /// The beginning of the moment's second.
    pub(in crate::sigv4) fn start_of_second(self) -> SystemTime {
        self.whole_seconds().into()
    }

    fn whole_seconds(self) -> OffsetDateTime {
        self.0.replace_nanosecond(0).expect("zero is a nanosecond")
    }

    pub(in crate::sigv4) fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration.try_into().unwrap_or(time::Duration::MAX)))
    }

    /// The distance between two moments, whichever came first.
    pub(in crate::sigv4) fn distance(self, other: Self) -> Duration {
        (self.0 - other.0).unsigned_abs()
    }
}

impl From<SystemTime> for Timestamp {
    fn from(moment: SystemTime) -> Self {
        Self(moment.into())
    }
}

/// ISO 8601, as S3 writes times into its errors: `2013-05-24T00:00:00Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.whole_seconds().format(&Rfc3339).map_err(|_| fmt::Error)?)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::macros::format_description;

    use super::*;

    proptest! {
        #[test]
        fn digits_read_by_hand_are_those_that_a_format_reads(
            text in "[0-9]{8}T[0-9]{6}Z|[0-2][0-9]{3}[01][0-9][0-3][0-9]T[0-2][0-9][0-6][0-9][0-6][0-9]Z|\\PC{16}",
        ) {
            let format = format_description!("[year][month][day]T[hour][minute][second]Z");
            let expected = PrimitiveDateTime::parse(&text, format).ok().map(PrimitiveDateTime::assume_utc);
            let parsed = Timestamp::parse_basic(&text);
            prop_assert_eq!(parsed, expected.map(Timestamp));
            if let Some(parsed) = parsed {
                let written = parsed.basic();
                prop_assert_eq!(BasicTime::parse(&text), Some((written, parsed)));
                prop_assert_eq!(written.as_str(), text.as_str());
            }
        }
    }

    #[test]
    fn a_second_begins_where_its_digits_say() {
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_369_353_600);
        for nanos in [0, 1, 999_999_999] {
            let moment = start + Duration::from_nanos(nanos);
            assert_eq!(Timestamp::from(moment).start_of_second(), start);
        }
        let before_1970 = SystemTime::UNIX_EPOCH - Duration::from_millis(500);
        let start = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(Timestamp::from(before_1970).start_of_second(), start);
    }

    #[test]
    fn a_credential_is_taken_apart_from_the_right() {
        let (access_key_id, scope) =
            CredentialScope::parse("a/b/20130524/us-east-1/s3/aws4_request").unwrap();
        assert_eq!(access_key_id, "a/b");
        assert_eq!(scope.to_string(), "20130524/us-east-1/s3/aws4_request");
    }

    #[test]
    fn a_credential_of_another_shape_is_refused() {
        let fault = |credential| CredentialScope::parse(credential).unwrap_err();
        assert_eq!(fault(""), AuthFault::CredentialShape);
        assert_eq!(fault("20130524/us-east-1/s3/aws4_request"), AuthFault::CredentialShape);
        assert_eq!(fault("AK/20130524//s3/aws4_request"), AuthFault::CredentialShape);
        assert_eq!(fault("AK/20130524/r/ec2/aws4_request"), AuthFault::Service("ec2".into()));
        assert_eq!(fault("AK/20130524/r/s3/aws5_request"), AuthFault::Terminator("aws5_request".into()));
    }

    #[test]
    fn a_scope_ends_in_service_and_terminator() {
        let scope = CredentialScope { date: "20130524", region: "r" };
        assert_eq!(scope.to_string(), format!("20130524/r/{SERVICE}/{TERMINATOR}"));
    }

    #[test]
    fn every_form_of_time_names_the_same_moment() {
        let basic = Timestamp::parse_basic("20130524T000000Z").unwrap();
        assert_eq!(Timestamp::parse_http_date("Fri, 24 May 2013 00:00:00 GMT"), Some(basic));
        assert_eq!(Timestamp::parse_http_date("Fri, 24 May 2013 02:00:00 +0200"), Some(basic));
        assert_eq!(Timestamp::parse_epoch("1369353600"), Some(basic));
        assert_eq!(
            (basic.basic().as_str(), basic.basic().day(), basic.to_string().as_str()),
            ("20130524T000000Z", "20130524", "2013-05-24T00:00:00Z")
        );
    }

    #[test]
    fn a_moment_that_utc_cannot_write_is_none() {
        for text in ["Fri, 31 Dec 9999 23:59:59 -0100", "Fri, 31 Dec 9999 23:59:59 -2359"] {
            assert_eq!(Timestamp::parse_http_date(text), None, "{text}");
        }
        let last = Timestamp::parse_http_date("Fri, 31 Dec 9999 23:59:59 +0000").unwrap();
        assert_eq!(last.basic().as_str(), "99991231T235959Z");
        assert_eq!(last.after(Duration::MAX).basic().as_str(), "99991231T235959Z");
        for text in ["Fri, 31 Dec 9999 23:59:59 +2359", "Mon, 01 Jan 1900 00:00:00 +2359"] {
            if let Some(moment) = Timestamp::parse_http_date(text) {
                assert_eq!(
                    (moment.basic().as_str().len(), moment.to_string().is_empty()),
                    (16, false),
                    "{text}"
                );
            }
        }
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in
            ["", "20130524", "20130524T000000", "2013-05-24T00:00Z", "20131324T000000Z", "-0130524T000000Z"]
        {
            assert_eq!(Timestamp::parse_basic(text), None, "{text}");
        }
        for text in ["", "-1", "+1", "1e3", "99999999999999999999"] {
            assert_eq!(Timestamp::parse_epoch(text), None, "{text}");
        }
    }
}
