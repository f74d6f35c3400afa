//! Byte ranges of an object, as S3 reads the Range header (RFC 9110 §14) and as it reads a copy's source range.

use super::error::{ErrorCode, S3Error};

/// One range as the client asked for it, before the object's size is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RangeSpec {
    /// `first-last`, both included, `first <= last`.
    Bounded {
        /// Offset of the first byte.
        first: u64,
        /// Offset of the last byte, which may lie beyond the object.
        last: u64,
    },
    /// `first-`: to the end.
    From {
        /// Offset of the first byte.
        first: u64,
    },
    /// `-length`: the last bytes, all of them if there are fewer.
    Suffix {
        /// How many.
        length: u64,
    },
}

impl RangeSpec {
    /// Reads a Range header's value. `None` is what S3 ignores, answering with the whole object: another unit, several
    /// ranges, `last < first`, anything malformed. Numbers beyond 64 bits count as the greatest.
    #[must_use]
    pub fn parse(value: &str) -> Option<Self> {
        let (unit, range) = value.split_once('=')?;
        if !unit.trim().eq_ignore_ascii_case("bytes") {
            return None;
        }
        match range.trim().split_once('-')? {
            ("", length) => Some(Self::Suffix { length: number(length)? }),
            (first, "") => Some(Self::From { first: number(first)? }),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                (first <= last).then_some(Self::Bounded { first, last })
            }
        }
    }

    /// The bytes this means in an object of `total` bytes; `None` is 416 `InvalidRange`. Nothing satisfies a range of an
    /// empty object, nor a suffix of no bytes.
    #[must_use]
    pub fn resolve(self, total: u64) -> Option<ByteRange> {
        let end = total.checked_sub(1)?;
        match self {
            Self::Bounded { first, last } => ByteRange::new(first, last.min(end)),
            Self::From { first } => ByteRange::new(first, end),
            Self::Suffix { length: 0 } => None,
            Self::Suffix { length } => ByteRange::new(total.saturating_sub(length), end),
        }
    }
}

/// Digits only, saturating.
fn number(digits: &str) -> Option<u64> {
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    Some(digits.parse().unwrap_or(u64::MAX))
}

/// A non-empty run of bytes: `first` to `last`, both included, `last` below 2^64 - 1 so that the length is a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteRange {
    first: u64,
    last: u64,
}

impl ByteRange {
    /// `None` if `last < first`, or if `last` is the greatest number.
    #[must_use]
    pub fn new(first: u64, last: u64) -> Option<Self> {
        (first <= last && last < u64::MAX).then_some(Self { first, last })
    }

    /// Offset of the first byte.
    #[must_use]
    pub fn first(self) -> u64 {
        self.first
    }

    /// Offset of the last byte.
    #[must_use]
    pub fn last(self) -> u64 {
        self.last
    }

    /// How many bytes; never 0.
    #[must_use]
    #[allow(clippy::len_without_is_empty)]
    pub fn len(self) -> u64 {
        self.last - self.first + 1
    }

    /// The value of a Range header that asks for exactly these bytes.
    #[must_use]
    pub fn range_header(self) -> String {
        format!("bytes={}-{}", self.first, self.last)
    }

    /// The value of the Content-Range header of a 206 answer.
    #[must_use]
    pub fn content_range(self, total: u64) -> String {
        format!("bytes {}-{}/{total}", self.first, self.last)
    }

    /// Reads a Content-Range header's value: the bytes an answer carries and the size of the whole.
    /// `None` if malformed, inconsistent, or without a total.
    #[must_use]
    pub fn parse_content_range(value: &str) -> Option<(Self, u64)> {
        let (range, total) = value.strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let (range, total) = (Self::new(number(first)?, number(last)?)?, number(total)?);
        (range.last < total).then_some((range, total))
    }

    /// Reads `x-amz-copy-source-range`, which has one form only: `bytes=first-last`.
    ///
    /// # Errors
    /// `InvalidArgument`, as S3 says it.
    pub fn parse_copy_source(value: &str) -> Result<Self, S3Error> {
        let strict = |value: &str| {
            let (first, last) = value.strip_prefix("bytes=")?.split_once('-')?;
            Self::new(number(first)?, number(last)?)
        };
        strict(value).ok_or_else(|| {
            S3Error::invalid_argument(
                "x-amz-copy-source-range",
                value,
                "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are \
                 the zero-based offsets of the first and last bytes to copy",
            )
        })
    }
}

/// The 416 answer for a range that `total` bytes cannot satisfy, with S3's fields. The answer's `Content-Range` is
/// `bytes */total`.
#[must_use]
pub fn unsatisfiable(requested: &str, total: u64) -> S3Error {
    S3Error::from(ErrorCode::InvalidRange)
        .with("RangeRequested", requested)
        .with("ActualObjectSize", total.to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_one_range() {
        for (value, expected) in [
            ("bytes=0-0", RangeSpec::Bounded { first: 0, last: 0 }),
            ("bytes=5-9", RangeSpec::Bounded { first: 5, last: 9 }),
            ("Bytes=5-9", RangeSpec::Bounded { first: 5, last: 9 }),
            ("bytes= 5-9 ", RangeSpec::Bounded { first: 5, last: 9 }),
            ("bytes=007-09", RangeSpec::Bounded { first: 7, last: 9 }),
            ("bytes=5-", RangeSpec::From { first: 5 }),
            ("bytes=-5", RangeSpec::Suffix { length: 5 }),
            ("bytes=-0", RangeSpec::Suffix { length: 0 }),
            ("bytes=0-18446744073709551616", RangeSpec::Bounded { first: 0, last: u64::MAX }),
            ("bytes=99999999999999999999-", RangeSpec::From { first: u64::MAX }),
            ("bytes=-99999999999999999999", RangeSpec::Suffix { length: u64::MAX }),
        ] {
            assert_eq!(RangeSpec::parse(value), Some(expected), "{value}");
        }
    }

    #[test]
    fn ignores_what_s3_ignores() {
        for value in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=9-5",
            "bytes=a-b",
            "bytes=0-9,20-29",
            "bytes=0-,-1",
            "items=0-9",
            "0-9",
            "bytes 0-9",
            "bytes=+1-2",
            "bytes=1-+2",
            "bytes=--1",
            "bytes=1-2-3",
            "bytes=0x1-2",
            "bytes=1 -2",
        ] {
            assert_eq!(RangeSpec::parse(value), None, "{value}");
        }
    }

    #[test]
    fn resolves_against_a_size() {
        for (value, total, expected) in [
            ("bytes=0-0", 1, Some((0, 0))),
            ("bytes=0-9", 5, Some((0, 4))),
            ("bytes=4-4", 5, Some((4, 4))),
            ("bytes=5-9", 5, None),
            ("bytes=4-", 5, Some((4, 4))),
            ("bytes=5-", 5, None),
            ("bytes=-2", 5, Some((3, 4))),
            ("bytes=-9", 5, Some((0, 4))),
            ("bytes=-0", 5, None),
            ("bytes=0-", 0, None),
            ("bytes=0-0", 0, None),
            ("bytes=-1", 0, None),
            ("bytes=0-99999999999999999999", u64::MAX, Some((0, u64::MAX - 1))),
            ("bytes=99999999999999999999-", u64::MAX, None),
            ("bytes=-99999999999999999999", u64::MAX, Some((0, u64::MAX - 1))),
        ] {
            let range =
                RangeSpec::parse(value).unwrap().resolve(total).map(|range| (range.first(), range.last()));
            assert_eq!(range, expected, "{value} of {total}");
        }
    }

    #[test]
    fn writes_and_reads_content_range() {
        let range = ByteRange::new(5, 9).unwrap();
        assert_eq!((range.len(), range.content_range(20).as_str()), (5, "bytes 5-9/20"));
        assert_eq!(range.range_header(), "bytes=5-9");
        assert_eq!(ByteRange::parse_content_range("bytes 5-9/20"), Some((range, 20)));
        for bad in
            ["bytes 5-9/*", "bytes */20", "bytes 5-9/9", "bytes 9-5/20", "bytes=5-9/20", "bytes 5-9", ""]
        {
            assert_eq!(ByteRange::parse_content_range(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_copy_source_range_is_strict() {
        assert_eq!(ByteRange::parse_copy_source("bytes=5-9").unwrap(), ByteRange::new(5, 9).unwrap());
        for bad in [
            "",
            "bytes=5-",
            "bytes=-5",
            "bytes=9-5",
            "Bytes=0-1",
            "0-1",
            "bytes=0-1,2-3",
            "bytes=0-99999999999999999999",
        ] {
            assert_eq!(
                ByteRange::parse_copy_source(bad).unwrap_err().code,
                ErrorCode::InvalidArgument,
                "{bad}"
            );
        }
    }

    #[test]
    fn says_what_was_asked_and_what_there_is() {
        let error = unsatisfiable("bytes=9-", 5);
        assert_eq!(error.status(), 416);
        assert_eq!(error.extra, [("RangeRequested", "bytes=9-".into()), ("ActualObjectSize", "5".into())]);
    }

    proptest! {
        #[test]
        fn a_resolved_range_is_the_slice(first in 0u64..300, more in 0u64..300, total in 0u64..300) {
            let bytes: Vec<u64> = (0..total).collect();
            let slice = |spec: RangeSpec| spec.resolve(total).map(|range| {
                bytes[usize::try_from(range.first()).unwrap()..=usize::try_from(range.last()).unwrap()].to_vec()
            });
            let tail = |from: u64| bytes.iter().copied().filter(|at| *at >= from).collect::<Vec<_>>();
            let some = |expected: Vec<u64>| (!expected.is_empty()).then_some(expected);

            prop_assert_eq!(slice(RangeSpec::From { first }), some(tail(first)));
            prop_assert_eq!(slice(RangeSpec::Suffix { length: first }), some(tail(total.saturating_sub(first))));
            let mut bounded = tail(first);
            bounded.retain(|at| *at <= first + more);
            prop_assert_eq!(slice(RangeSpec::Bounded { first, last: first + more }), some(bounded));
        }

        #[test]
        fn a_range_survives_the_wire(first in any::<u64>(), last in any::<u64>(), total in any::<u64>()) {
            if let Some(range) = ByteRange::new(first, last) {
                let spec = RangeSpec::parse(&range.range_header()).unwrap();
                prop_assert_eq!(spec, RangeSpec::Bounded { first, last });
                prop_assert_eq!(ByteRange::parse_copy_source(&range.range_header()).unwrap(), range);
                if let Some(found) = spec.resolve(total) {
                    prop_assert!(found.len() >= 1 && found.last() < total && found.first() == first);
                    let written = found.content_range(total);
                    prop_assert_eq!(ByteRange::parse_content_range(&written), Some((found, total)));
                }
            }
        }

        #[test]
        fn any_text_is_a_range_or_ignored(value in "bytes=[0-9, -]{0,30}|\\PC{0,30}", total in any::<u64>()) {
            if let Some(range) = RangeSpec::parse(&value).and_then(|spec| spec.resolve(total)) {
                prop_assert!(range.last() < total);
            }
        }
    }
}
