//! The checksum of the whole object in a small last part: the carried checksum must be that of the parts that
//! are completed (F-55).
//!
//! It must not know terminators, which are sealed when all parts are known. An object is never completed with
//! a last part that carries the checksum of other parts.

use super::UploadCompletion;
use super::matched_parts::MatchedParts;
use super::reseal::ResealOutcome;
use crate::envelope::native::multipart::PartNumber;
use crate::error::Error;
use crate::s3::Checksum;
use crate::upload::memory::SealedLastPart;
use crate::upload::stored_parts::StoredParts;

/// Whether the last of the matched parts carries the right checksum.
pub(crate) enum CarriedChecksum {
    /// It carries the checksum of the matched parts, or none.
    Correct,
    /// It carries a different checksum, or may do so: the client has to send the part again.
    MustResend(PartNumber),
}

impl UploadCompletion {
    /// Makes the last of the matched parts carry this checksum of the object, or none. The part is sealed
    /// again if it is still in the cache.
    ///
    /// # Errors
    /// As [`Self::reseal_last_part`].
    pub(crate) async fn ensure_carried_checksum(
        &self,
        listed: &StoredParts,
        matched: &mut MatchedParts,
        object: Option<&Checksum>,
        displaced: &mut Option<SealedLastPart>,
    ) -> Result<CarriedChecksum, Error> {
        let Some(last) = matched.stored.last().filter(|_| self.upload.must_carry_checksum()) else {
            return Ok(CarriedChecksum::Correct);
        };
        let number = last.number;
        let may_differ = match (&last.receipt, object) {
            (Some(receipt), Some(object)) if receipt.carries(object) => return Ok(CarriedChecksum::Correct),
            (Some(receipt), Some(_)) => receipt.carries_one(),
            (Some(receipt), None) => receipt.carries_one() && matched.has_younger_before_last(),
            (None, _) => matched.has_younger_before_last(),
        };
        if object.is_some() {
            match self.reseal_last_part(number, listed, matched, object, displaced).await? {
                ResealOutcome::Stored => return Ok(CarriedChecksum::Correct),
                ResealOutcome::Unavailable => {}
            }
        }
        Ok(if may_differ { CarriedChecksum::MustResend(number) } else { CarriedChecksum::Correct })
    }
}
