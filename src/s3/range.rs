//! The errors of S3 about ranges, in a GET and in a copy's source range.
//!
//! It must not read an object; the ranges are those of `crate::wire::range`.
//! Each error carries the fields that S3 adds to its document.

use super::error::{ErrorCode, S3Error};
use crate::wire::range::{ByteRange, RangeSpec};

/// Parses `x-amz-copy-source-range`, which has one form only: `bytes=first-last`.
///
/// # Errors
/// `InvalidArgument`, with S3's message.
pub fn parse_copy_source(value: &str) -> Result<ByteRange, S3Error> {
    ByteRange::parse_bounded(value).ok_or_else(|| invalid_copy_source(value))
}

/// The error for a value of `x-amz-copy-source-range` that is not `bytes=first-last`.
pub fn invalid_copy_source(value: &str) -> S3Error {
    S3Error::invalid_argument(
        "x-amz-copy-source-range",
        value,
        "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are \
         the zero-based offsets of the first and last bytes to copy",
    )
}

/// The 416 error for a range that an object of `total` bytes cannot satisfy, with S3's fields. The response's
/// `Content-Range` is `bytes */total`.
pub fn unsatisfiable(requested: RangeSpec, total: u64) -> S3Error {
    S3Error::from(ErrorCode::InvalidRange)
        .with("RangeRequested", requested.to_string())
        .with("ActualObjectSize", total.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_source_range_is_strict() {
        assert_eq!(parse_copy_source("bytes=5-9").unwrap(), ByteRange::new(5, 9).unwrap());
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
            assert_eq!(parse_copy_source(bad).unwrap_err().code, ErrorCode::InvalidArgument, "{bad}");
        }
    }

    #[test]
    fn an_unsatisfiable_range_is_named_with_the_size() {
        let error = unsatisfiable(RangeSpec::From { first: 9 }, 5);
        assert_eq!(error.status(), 416);
        assert_eq!(error.extra, [("RangeRequested", "bytes=9-".into()), ("ActualObjectSize", "5".into())]);
    }
}
