//! Uploads that a request names by the storage's own id, which only a listing gives, and not by the id that
//! the proxy handed to their creator.
//!
//! It must not open an upload. A client that may not delete has no means to abort the uploads of others, one
//! that may not overwrite none to change or complete them.

use super::Call;
use crate::access::{Right, check_object};
use crate::envelope::native::UploadToken;
use crate::error::Result;

impl Call {
    /// Refuses an upload that is named by the storage's own id, unless the client has `right` for its object.
    ///
    /// # Errors
    /// `AccessDenied`.
    pub(crate) fn check_listed_upload(&self, right: Right) -> Result<()> {
        if UploadToken::parse(self.upload_id()).is_ok() {
            return Ok(());
        }
        let what = format!("{} of an upload by the id of a listing", self.operation);
        Ok(check_object(&self.grants, right, self.object()?, &what)?)
    }
}
