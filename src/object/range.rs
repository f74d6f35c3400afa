//! The part of an object that a client requests, before and after the object's length is known.
//!
//! It must not know formats beyond their chunk arithmetic, nor the storage. A selection always lies within
//! the object.

use http::HeaderMap;
use http::header::{HeaderValue, RANGE};

use crate::envelope::native::PlaintextRange;
use crate::envelope::native::multipart::{Layout, PartNumber};
use crate::error::{Error, Result};
use crate::s3::{ByteRange, ErrorCode, Query, RangeSpec, S3Error, range};

/// The part of an object that is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequestedRange {
    /// The whole object.
    Whole,
    /// A range of its plaintext.
    Range(RangeSpec),
    /// The part that was uploaded with this number. An object written by one PUT is its own part 1.
    Part(PartNumber),
}

/// A requested range in an object of known length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Selection {
    /// The whole object: 200.
    Whole,
    /// These bytes of plaintext: 206.
    Span(ByteRange),
    /// A part of no bytes: 206, without a Content-Range, which can't describe an empty range.
    EmptyPart,
}

impl RequestedRange {
    /// Reads Range and partNumber of a GET or HEAD request.
    ///
    /// # Errors
    /// The errors of S3: `InvalidRequest` for both, `InvalidArgument` for a part number out of 1..=10,000.
    pub(crate) fn from_request(headers: &HeaderMap, query: &Query) -> Result<Self> {
        let Some(part) = query.first("partNumber") else {
            let range = headers.get(RANGE).and_then(|value| value.to_str().ok()).and_then(RangeSpec::parse);
            return Ok(range.map_or(Self::Whole, Self::Range));
        };
        if headers.contains_key(RANGE) {
            let message = "Cannot specify both Range header and partNumber query parameter";
            return Err(S3Error::invalid_request(message).into());
        }
        part.parse().ok().and_then(PartNumber::new).map(Self::Part).ok_or_else(|| {
            let message = "Part number must be an integer between 1 and 10000, inclusive";
            S3Error::invalid_argument("partNumber", part, message).into()
        })
    }

    /// Resolves the range in an object of `total` bytes; a multipart object's part needs its layout.
    ///
    /// # Errors
    /// `InvalidRange` and `InvalidPartNumber` when the object has no such bytes.
    pub(crate) fn select(self, total: u64, layout: Option<&Layout>) -> Result<Selection> {
        let span = |first, length| ByteRange::from_length(first, length).map(Selection::Span);
        match (self, layout) {
            (Self::Whole, _) => Ok(Selection::Whole),
            (Self::Range(spec), _) => match spec.resolve(total) {
                Some(range) => Ok(Selection::Span(range)),
                None => Err(range::unsatisfiable(spec, total).into()),
            },
            (Self::Part(PartNumber::FIRST), None) => Ok(span(0, total).unwrap_or(Selection::Whole)),
            (Self::Part(_), None) => Err(no_such_part(1)),
            (Self::Part(number), Some(layout)) => {
                match layout.parts().iter().position(|part| part.number == number) {
                    Some(index) => {
                        let span = span(layout.plaintext_offset(index), layout.parts()[index].length);
                        Ok(span.unwrap_or(Selection::EmptyPart))
                    }
                    None => Err(no_such_part(layout.parts().len())),
                }
            }
        }
    }

    /// The Range to request when nothing is known of the object: the whole chunks of a body of one PUT
    /// (F-27), since most objects are such bodies. `None`: the whole object.
    pub(crate) fn guess(self) -> Option<HeaderValue> {
        let Self::Range(spec) = self else { return None };
        Some(header_value(PlaintextRange(spec).ciphertext().0))
    }
}

impl Selection {
    /// The offset and the number of the selected bytes, in a plaintext of `total` bytes.
    pub(crate) fn extent(self, total: u64) -> (u64, u64) {
        match self {
            Self::Whole => (0, total),
            Self::EmptyPart => (0, 0),
            Self::Span(range) => (range.first(), range.len()),
        }
    }
}

/// The value of a Range header for the stored bytes `first..=last`.
pub(crate) fn stored_range(first: u64, last: u64) -> HeaderValue {
    header_value(RangeSpec::Bounded { first, last })
}

fn header_value(range: RangeSpec) -> HeaderValue {
    HeaderValue::try_from(range.to_string()).expect("digits are a header value")
}

fn no_such_part(count: usize) -> Error {
    S3Error::from(ErrorCode::InvalidPartNumber).with("ActualPartCount", count.to_string()).into()
}
