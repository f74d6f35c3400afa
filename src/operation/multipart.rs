//! The operations of multipart uploads.

pub(super) mod abort_multipart_upload;
pub(super) mod complete_multipart_upload;
pub(super) mod create_multipart_upload;
pub(super) mod list_multipart_uploads;
pub(super) mod list_parts;
pub(super) mod upload_part;
pub(super) mod upload_part_copy;
