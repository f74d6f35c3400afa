//! The checksum of the whole object in a small last part: the carried checksum must be that of the parts that
//! are completed (F-55). This does not apply to a terminator, which is sealed when all parts are known.

use super::Completing;
use super::request::Chosen;
use super::resealed::Resealed;
use crate::envelope::native::multipart::PartNumber;
use crate::error::Error;
use crate::s3::Checksum;
use crate::upload::memory::Tail;
use crate::upload::stored_parts::AllParts;

/// What the last of the chosen parts carries.
pub(crate) enum Carried {
    /// The checksum of the chosen parts, or none.
    Right,
    /// Another checksum, or perhaps another: the client has to send the part again.
    SendAgain(PartNumber),
}

impl Completing {
    /// Makes the last of the chosen parts carry this checksum of the object, or none. The part is sealed
    /// again if this process still holds it.
    ///
    /// # Errors
    /// When the storage is in trouble.
    pub(crate) async fn carry(
        &self,
        listed: &AllParts,
        chosen: &mut Chosen,
        object: Option<&Checksum>,
        displaced: &mut Option<Tail>,
    ) -> Result<Carried, Error> {
        let Some(last) = chosen.stored.last().filter(|_| self.upload.is_to_carry()) else {
            return Ok(Carried::Right);
        };
        let number = last.number;
        let may_be_another = match (&last.receipt, object) {
            (Some(mark), Some(object)) if mark.carries(object) => return Ok(Carried::Right),
            (Some(mark), Some(_)) => mark.carries_one(),
            (Some(mark), None) => mark.carries_one() && chosen.has_younger_before_last(),
            (None, _) => chosen.has_younger_before_last(),
        };
        if object.is_some() {
            match self.seal_again(number, listed, chosen, object, displaced).await? {
                Resealed::Stored => return Ok(Carried::Right),
                Resealed::NotHere => {}
            }
        }
        Ok(if may_be_another { Carried::SendAgain(number) } else { Carried::Right })
    }
}
