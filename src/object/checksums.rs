//! The checksums that are kept with an object, in its envelope or in its last segment.
//!
//! It must not know requests or responses. No checksum is returned that was not authenticated.

use super::caches::ProvenLayout;
use crate::envelope::native::{Attributes, FormatError, UploadChecksum};
use crate::s3::checksum::ObjectChecksum;

/// Returns the checksums that are kept with an object: those of its envelope, otherwise the one that its
/// last segment carries (F-54), which is unknown for a layout that was not read.
///
/// # Errors
/// A format error when the carried value is not a valid checksum.
pub(crate) fn kept_checksums(
    attributes: &Attributes,
    layout: Option<&ProvenLayout>,
) -> Result<Vec<ObjectChecksum>, FormatError> {
    let known: Vec<_> = attributes.iter().copied().map(ObjectChecksum::from).collect();
    let carried = layout.and_then(|known| Some((known, known.checksum?)));
    match (attributes.upload_checksum(), carried) {
        (UploadChecksum::FullObject(algorithm), Some((_, carried))) if known.is_empty() => {
            Ok(vec![carried.read_as(algorithm)?.into()])
        }
        (UploadChecksum::Composite(algorithm), Some((known_layout, carried))) if known.is_empty() => {
            let value = carried.read_as(algorithm)?;
            Ok(vec![ObjectChecksum { value, parts: Some(known_layout.layout.parts().len()) }])
        }
        (UploadChecksum::Undeclared | UploadChecksum::FullObject(_) | UploadChecksum::Composite(_), _) => {
            Ok(known)
        }
    }
}

/// Whether the object's checksum may be in its last segment, which then has to be read.
pub(crate) fn may_carry_checksum(attributes: &Attributes) -> bool {
    attributes.iter().next().is_none() && attributes.upload_checksum() != UploadChecksum::Undeclared
}
