//! The checksum of the whole object in a small last part: the carried checksum must be that of the parts that
//! are completed (F-55).
//!
//! It must not know terminators, which are sealed when all parts are known. An object is never completed with
//! a last part that carries the checksum of other parts.

use super::UploadCompletion;
use super::matched_parts::MatchedParts;
use crate::envelope::native::multipart::PartNumber;
use crate::error::Result;
use crate::s3::Checksum;
use crate::upload::stored_parts::StoredParts;

impl UploadCompletion {
    /// Makes the last of the matched parts carry this checksum of the object, or none. The part is sealed
    /// again if it is still in the cache. Returns the part's number if it carries a different checksum, or
    /// may do so: the client has to send it again.
    ///
    /// # Errors
    /// As [`Self::reseal_last_part`].
    pub(crate) async fn ensure_carried_checksum(
        &self,
        listed: &StoredParts,
        matched: &mut MatchedParts,
        object: Option<&Checksum>,
    ) -> Result<Option<PartNumber>> {
        let Some(last) = matched.stored.last().filter(|_| self.upload.must_carry_checksum()) else {
            return Ok(None);
        };
        let number = last.number;
        let may_differ = match (&last.receipt, object) {
            (Some(receipt), Some(object)) if receipt.carries(object) => return Ok(None),
            (Some(receipt), Some(_)) => receipt.carries_one(),
            (Some(receipt), None) => receipt.carries_one() && matched.has_younger_before_last(),
            (None, _) => matched.has_younger_before_last(),
        };
        if object.is_some() && self.reseal_last_part(number, listed, matched, object).await? {
            return Ok(None);
        }
        Ok(may_differ.then_some(number))
    }
}
