//! The checksum of an object, with the number of parts of a checksum of checksums.
//! Source: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html>

use std::fmt;

use http::HeaderValue;

use super::ChecksumType;
use crate::wire::checksum::Checksum;

/// The checksum of an object. Displays as in S3's responses: base64, followed by `-` and the number of parts
/// where it is a checksum of the parts' checksums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObjectChecksum {
    /// The value.
    pub value: Checksum,
    /// The number of parts of a checksum of the parts' checksums; `None` for a checksum of all bytes.
    pub parts: Option<usize>,
}

impl ObjectChecksum {
    /// The relation of the checksum to the object's parts.
    pub const fn kind(&self) -> ChecksumType {
        match self.parts {
            Some(_) => ChecksumType::Composite,
            None => ChecksumType::FullObject,
        }
    }

    /// The value of the header that carries the checksum.
    pub fn header_value(&self) -> HeaderValue {
        match self.parts {
            Some(_) => {
                HeaderValue::try_from(self.to_string()).expect("base64 and a number are a header value")
            }
            None => self.value.header_value(),
        }
    }
}

impl From<Checksum> for ObjectChecksum {
    /// A checksum of all bytes.
    fn from(value: Checksum) -> Self {
        Self { value, parts: None }
    }
}

impl fmt::Display for ObjectChecksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.parts {
            Some(parts) => write!(f, "{}-{parts}", self.value),
            None => self.value.fmt(f),
        }
    }
}
