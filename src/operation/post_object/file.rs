//! The file of a form, taken in pieces of one part.

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;

use crate::body::IngestBody;
use crate::buffers::Share;
use crate::envelope::native::CHUNK;
use crate::envelope::native::multipart::SEGMENT_HEADER;
use crate::error::Result;
use crate::object::slow_down;
use crate::object::write::room_to_seal;
use crate::operation::Resources;
use crate::s3::ContentLengthRange;
use crate::wire::limits::MAX_PUT;

/// Plaintext bytes of a part, and of the longest file that is stored by one PUT. A multiple of a chunk, so
/// that the parts make a regular layout, and no less than S3's least part; as much is held in memory for one
/// form.
pub(crate) const PART_LENGTH: usize = 128 * CHUNK;

/// A piece of a file.
pub(crate) enum FilePiece {
    /// The rest of the file. All of it is verified, and its length is allowed.
    Last(BytesMut),
    /// [`PART_LENGTH`] bytes, and more follow.
    Part(BytesMut),
}

/// The file of a form, and its allowed lengths.
pub(crate) struct FormFile {
    body: IngestBody,
    range: ContentLengthRange,
    length: u64,
    pending: Bytes,
    /// The memory of the largest piece so far.
    share: Share,
}

impl FormFile {
    /// # Errors
    /// `SlowDown` when others hold too much memory.
    pub(crate) fn new(resources: &Resources, body: IngestBody, range: ContentLengthRange) -> Result<Self> {
        let range = ContentLengthRange { max: range.max.min(MAX_PUT), ..range };
        Ok(Self { body, range, length: 0, pending: Bytes::new(), share: resources.hold(0)? })
    }

    /// Reads the next piece: a whole part, or the rest. Its buffer has room for `expected` bytes, and for
    /// sealing them in place.
    ///
    /// # Errors
    /// `EntityTooLarge` as soon as the file is too long, `EntityTooSmall` at its end, `SlowDown` when other
    /// requests hold too much memory, and the errors of the body.
    pub(crate) async fn read_piece(&mut self, expected: usize) -> Result<FilePiece> {
        let mut part = BytesMut::with_capacity(room_to_seal(SEGMENT_HEADER, expected));
        loop {
            let taken = self.pending.split_to(self.pending.len().min(PART_LENGTH - part.len()));
            part.extend_from_slice(&taken);
            if !self.pending.is_empty() {
                return Ok(FilePiece::Part(part));
            }
            let Some(frame) = self.body.frame().await else {
                self.range.check(self.length)?;
                return Ok(FilePiece::Last(part));
            };
            self.pending = frame?.into_data().unwrap_or_default();
            self.length += self.pending.len() as u64;
            self.range.check_so_far(self.length)?;
            // A file that stalls occupies memory for what has arrived, not for its declared length.
            let held = (part.len() + self.pending.len()).next_multiple_of(CHUNK).min(PART_LENGTH);
            if !self.share.grow_to(held as u64) {
                return Err(slow_down().into());
            }
        }
    }
}
