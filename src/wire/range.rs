//! Ranges of bytes, before and after the length of the whole is known, and their header forms (RFC 9110, 14).
//!
//! It must not know whether the bytes are plaintext or ciphertext, nor what an error is called.
//! A [`ByteRange`] is never empty.

use std::fmt;

/// One range as a Range header requests it, before the object's size is known. Displays as the header's
/// value.
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
        /// The number of bytes.
        length: u64,
    },
}

impl RangeSpec {
    /// Parses a Range header's value. `None` for what S3 ignores, returning the whole object: another unit,
    /// several ranges, `last < first`, anything malformed. Numbers beyond 64 bits count as `u64::MAX`.
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

    /// The requested bytes of an object of `total` bytes; `None` is 416 `InvalidRange`: no range of an empty
    /// object can be satisfied, and no suffix of no bytes.
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

impl fmt::Display for RangeSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bounded { first, last } => write!(f, "bytes={first}-{last}"),
            Self::From { first } => write!(f, "bytes={first}-"),
            Self::Suffix { length } => write!(f, "bytes=-{length}"),
        }
    }
}

/// Parses digits, saturating at `u64::MAX`.
fn number(digits: &str) -> Option<u64> {
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    Some(digits.parse().unwrap_or(u64::MAX))
}

/// A non-empty range of bytes: `first` to `last`, both included; `last` is below 2^64 - 1, so the length fits
/// `u64`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteRange {
    first: u64,
    last: u64,
}

impl ByteRange {
    /// `None` if `last < first`, or if `last` is `u64::MAX`.
    pub fn new(first: u64, last: u64) -> Option<Self> {
        (first <= last && last < u64::MAX).then_some(Self { first, last })
    }

    /// Offset of the first byte.
    pub fn first(self) -> u64 {
        self.first
    }

    /// Offset of the last byte.
    pub fn last(self) -> u64 {
        self.last
    }

    /// The number of bytes; never 0.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(self) -> u64 {
        self.last - self.first + 1
    }

    /// The range of `length` bytes from `first` on; `None` if `length` is 0 or the end exceeds 64 bits.
    pub fn from_length(first: u64, length: u64) -> Option<Self> {
        Self::new(first, first.checked_add(length)?.checked_sub(1)?)
    }

    /// The value of a Range header for exactly these bytes.
    pub fn range_header(self) -> String {
        RangeSpec::from(self).to_string()
    }

    /// The value of the Content-Range header of a 206 response.
    pub fn content_range(self, total: u64) -> String {
        format!("bytes {}-{}/{total}", self.first, self.last)
    }

    /// Parses a Content-Range header's value: the bytes that a response carries and the size of the whole.
    /// `None` if malformed, inconsistent, or without a total.
    pub fn parse_content_range(value: &str) -> Option<(Self, u64)> {
        let (range, total) = value.strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let (range, total) = (Self::new(number(first)?, number(last)?)?, number(total)?);
        (range.last < total).then_some((range, total))
    }

    /// Parses `bytes=first-last`, the only form of `x-amz-copy-source-range`.
    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_UploadPartCopy.html>
    pub fn parse_bounded(value: &str) -> Option<Self> {
        let (first, last) = value.strip_prefix("bytes=")?.split_once('-')?;
        Self::new(number(first)?, number(last)?)
    }
}

impl From<ByteRange> for RangeSpec {
    fn from(range: ByteRange) -> Self {
        Self::Bounded { first: range.first, last: range.last }
    }
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
            assert_eq!(RangeSpec::parse(&expected.to_string()), Some(expected), "{value}");
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
                prop_assert_eq!(ByteRange::parse_bounded(&range.range_header()), Some(range));
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
