//! Whether an object is stored by one PUT or in parts, and what is kept of its checksums.
//! It must not know how it is sealed.
//! It promises as many parts as the object had, of the same plaintext lengths, where they can be sealed so.

use http::header::HeaderMap;

use super::ending::Stop;
use super::part_lengths::part_lengths;
use super::seen::Seen;
use crate::envelope::native::multipart::{Layout, fits_header};
use crate::envelope::native::{Attributes, UploadChecksum, ciphertext_length};
use crate::job::row::Row;
use crate::object::rule::BucketRule;
use crate::object::rule::formats::ReadFormat;
use crate::object::write::admit_parts;
use crate::s3::checksum::ObjectChecksum;
use crate::s3::{Checksum, ChecksumAlgorithm};
use crate::upload::Resources;
use crate::upload::planned_upload::{LONGEST_PART, even_layout, planned_layout};
use crate::wire::limits::MAX_PUT;

/// How an object is stored.
pub(super) enum Plan {
    /// By one PUT.
    Whole,
    /// In the parts of this layout.
    Parts(Layout),
}

impl Plan {
    /// The plan for an object of `length` bytes of plaintext under `rule`.
    ///
    /// # Errors
    /// [`Stop::Refused`] for what the rule's format can't hold.
    pub(super) async fn new(
        resources: &Resources,
        row: &Row,
        seen: &Seen,
        rule: &BucketRule,
        length: u64,
    ) -> Result<Self, Stop> {
        let fits_one_put = ciphertext_length(length).is_some_and(|stored| stored <= MAX_PUT);
        if let Err(refused) = admit_parts(rule) {
            return if fits_one_put { Ok(Self::Whole) } else { Err(refused.into()) };
        }
        let layout = match seen.parts() {
            None if fits_one_put => return Ok(Self::Whole),
            None => even_layout(length, None),
            Some(count) => {
                let stored = part_lengths(resources, row, seen, count).await?;
                let kept = stored.and_then(|stored| planned_layout(&plaintext_lengths(&stored, length)));
                kept.or_else(|| even_layout(length, Some(count.into())))
            }
        };
        let too_long = || Stop::Refused(format!("{length} bytes are more than an object can have"));
        layout.map(Self::Parts).ok_or_else(too_long)
    }

    /// The plan in words.
    pub(super) fn described(&self) -> String {
        match self {
            Self::Whole => "by one PUT".to_owned(),
            Self::Parts(layout) => format!("in {} parts", layout.parts().len()),
        }
    }
}

/// The plaintext lengths of parts that had these stored lengths: what a format adds is in the first or the
/// last part. A part that is too long after it was sealed is divided.
fn plaintext_lengths(stored: &[u64], length: u64) -> Vec<u64> {
    let mut left = length;
    let mut lengths = Vec::with_capacity(stored.len());
    for (at, part) in stored.iter().enumerate() {
        let part = if at + 1 == stored.len() { left } else { left.min(*part) };
        left -= part;
        let pieces = part.div_ceil(LONGEST_PART).max(1);
        let usual = part.div_ceil(pieces);
        lengths.extend((0..pieces).map(|piece| usual.min(part - piece * usual)));
    }
    lengths
}

/// The checksums of its plaintext that an object has.
pub(super) struct Kept {
    /// Those of all bytes.
    pub(super) whole: Vec<Checksum>,
    /// One of the checksums of its parts.
    pub(super) composite: Option<ObjectChecksum>,
}

impl Kept {
    /// The attributes of the envelope of an object of so many parts, and the checksum that its last segment
    /// is to carry (F-54).
    pub(super) fn attributes(&self, parts: usize) -> (Attributes, Option<Checksum>) {
        if !self.whole.is_empty() {
            return (Attributes::new(self.whole.clone()), None);
        }
        let is_kept = |composite: &ObjectChecksum| {
            composite.parts == Some(parts) && fits_header(composite.value.algorithm())
        };
        match self.composite.filter(is_kept) {
            Some(composite) => {
                let announced = UploadChecksum::Composite(composite.value.algorithm());
                (Attributes::default().announcing(announced), Some(composite.value))
            }
            None => (Attributes::default(), None),
        }
    }
}

/// The checksums of an object that is not native: as the storage keeps them for plaintext.
pub(super) fn kept_checksums(seen: &Seen, format: ReadFormat) -> Kept {
    let is_plaintext = format == ReadFormat::Plaintext;
    let all = if is_plaintext { stored_checksums(&seen.headers) } else { Vec::new() };
    Kept {
        whole: all.iter().filter(|kept| kept.parts.is_none()).map(|kept| kept.value).collect(),
        composite: all.into_iter().find(|kept| kept.parts.is_some()),
    }
}

/// The checksums of the stored bytes.
fn stored_checksums(headers: &HeaderMap) -> Vec<ObjectChecksum> {
    let all = ChecksumAlgorithm::ALL.into_iter();
    let found = all.filter_map(|algorithm| {
        let text = headers.get(algorithm.header_name())?.to_str().ok()?;
        let (value, parts) = match text.split_once('-') {
            Some((value, parts)) => (value, Some(parts.parse().ok()?)),
            None => (text, None),
        };
        Some(ObjectChecksum { value: Checksum::parse(algorithm, value)?, parts })
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_keep_their_lengths_and_the_last_has_what_is_left() {
        assert_eq!(plaintext_lengths(&[10, 10, 7], 27), [10, 10, 7]);
        assert_eq!(plaintext_lengths(&[10, 10, 23], 27), [10, 10, 7], "the tag is in the last part");
        assert_eq!(plaintext_lengths(&[10, 10, 5], 20), [10, 10, 0], "the tag alone is the last part");
        assert_eq!(plaintext_lengths(&[10, 10, 5], 12), [10, 2, 0]);
        assert_eq!(plaintext_lengths(&[27], 11), [11]);
    }

    #[test]
    fn a_part_that_is_too_long_when_sealed_is_divided() {
        let longest = 5 << 30;
        assert_eq!(plaintext_lengths(&[longest, 1], longest + 1), [longest / 2, longest / 2, 1]);
    }

    #[test]
    fn stored_checksums_are_whole_or_composite() {
        let mut headers = HeaderMap::new();
        headers.insert("x-amz-checksum-crc32", "y/Q5Jg==".parse().unwrap());
        headers.insert("x-amz-checksum-sha1", "98O8HYCOBHMq32eZZczDTKeuNEE=-3".parse().unwrap());
        headers.insert("x-amz-checksum-type", "COMPOSITE".parse().unwrap());
        let found: Vec<_> = stored_checksums(&headers).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["y/Q5Jg==", "98O8HYCOBHMq32eZZczDTKeuNEE=-3"]);
    }
}
