//! What a client asks to be completed, held against what the storage lists.

use http::HeaderMap;

use super::checksum::Expected;
use crate::envelope::native::multipart::{
    Layout, Part, PartNumber, PartReceipt, StoredPart, segment_plaintext_length,
};
use crate::error::Error;
use crate::s3::xml::{self, CompletedPart, ListedPart};
use crate::s3::{Checksum, ErrorCode, S3Error};
use crate::upload::session::Upload;

/// The size that the client expects of the object.
const OBJECT_SIZE: &str = "x-amz-mp-object-size";

/// A request to complete an upload.
pub(crate) struct Asked {
    pub(crate) parts: Vec<CompletedPart>,
    pub(crate) checksum: Expected,
    size: Option<u64>,
}

impl Asked {
    /// # Errors
    /// As S3, for a list of parts or a header that can't be.
    pub(crate) fn of(document: &[u8], headers: &HeaderMap, upload: &Upload) -> Result<Self, Error> {
        let parts = xml::complete_request(document)?;
        if parts.windows(2).any(|pair| pair[0].number >= pair[1].number) {
            return Err(S3Error::from(ErrorCode::InvalidPartOrder).into());
        }
        let size = headers.get(OBJECT_SIZE).map(|size| {
            let text = String::from_utf8_lossy(size.as_bytes()).into_owned();
            let message = "x-amz-mp-object-size must be a number of bytes.";
            text.parse().map_err(|_| S3Error::invalid_argument(OBJECT_SIZE, text, message))
        });
        Ok(Self { checksum: Expected::of(headers, upload, parts.len())?, parts, size: size.transpose()? })
    }

    /// # Errors
    /// `InvalidRequest` when the parts are not of the size that the client expects.
    pub(crate) fn check_size(&self, chosen: &Chosen) -> Result<(), Error> {
        let (Some(expected), Some(found)) = (self.size, chosen.total()) else { return Ok(()) };
        if expected == found {
            return Ok(());
        }
        let message = format!(
            "The provided '{OBJECT_SIZE}' header value {expected} does not match what was computed: {found}"
        );
        Err(S3Error::invalid_request(message).into())
    }
}

/// The parts that are to make the object.
#[derive(Default)]
pub(crate) struct Chosen {
    /// As the format's decisions take them.
    pub(crate) stored: Vec<StoredPart>,
    /// The storage's numbers and its ETags without quotes, of the parts that make the object.
    pub(crate) etags: Vec<(u16, String)>,
    /// The storage's numbers and its ETags without quotes, of the parts that the client names. The last part
    /// differs from that in `etags` if it was sealed again.
    pub(crate) named: Vec<(u16, String)>,
    /// The checksum of each part's plaintext, where it is known.
    pub(crate) checksums: Vec<Option<Checksum>>,
}

impl Chosen {
    /// Takes a part that the client lists and the storage has; `named` is the ETag that the client gives for
    /// it, as the storage writes it, and `known` its mark, if this process remembers it.
    ///
    /// # Errors
    /// `InvalidPart` when ETag or checksum are not those of the part.
    pub(crate) fn add(
        &mut self,
        asked: &CompletedPart,
        named: &str,
        found: &ListedPart,
        stored: StoredPart,
        known: Option<PartReceipt>,
    ) -> Result<(), Error> {
        let rest = named.strip_prefix(found.etag.as_str()).ok_or_else(|| invalid_part(asked))?;
        // The storage's own ETag, as ListParts gives it, or with the mark that UploadPart gave.
        let sent = match rest.strip_prefix('-') {
            Some(mark) => Some(PartReceipt::parse(mark).map_err(|_| invalid_part(asked))?),
            None if rest.is_empty() => None,
            None => return Err(invalid_part(asked)),
        };
        let mark = known.or(sent);
        let computed = mark.as_ref().and_then(PartReceipt::checksum).copied();
        for told in &asked.checksums {
            if computed.is_some_and(|known| known.algorithm() == told.algorithm() && known != *told) {
                return Err(invalid_part(asked));
            }
        }
        self.stored.push(StoredPart { receipt: mark, ..stored });
        self.etags.push((asked.number, found.etag.clone()));
        self.named.push((asked.number, found.etag.clone()));
        self.checksums.push(computed);
        Ok(())
    }

    /// The checksum that the last segment of an object of these parts has to carry (F-54); `None` where there
    /// is none to carry, or it is not known.
    pub(crate) fn checksum_to_carry(&self, upload: &Upload) -> Option<Checksum> {
        let checksums = self.checksums.iter().copied().collect::<Option<Vec<_>>>()?;
        upload.carried(&checksums.into_iter().zip(self.lengths()?).collect::<Vec<_>>())
    }

    /// Whether a part was stored after the last one, which then can't have been sealed for it.
    pub(crate) fn has_younger_before_last(&self) -> bool {
        let last = self.stored.last().map(|last| last.modified);
        self.stored.iter().any(|part| Some(part.modified) > last)
    }

    /// Replaces the last part by the one that was sealed again and stored under the number `at`.
    pub(crate) fn replace_last(
        &mut self,
        at: PartNumber,
        etag: String,
        stored_length: u64,
        mark: PartReceipt,
    ) {
        if let (Some(stored), Some(last)) = (self.stored.last_mut(), self.etags.last_mut()) {
            *stored = StoredPart { stored_length, receipt: Some(mark), ..*stored };
            *last = (at.value(), etag);
        }
    }

    /// Plaintext bytes of a part, as far as they are known.
    pub(crate) fn plaintext_length(&self, number: PartNumber) -> Option<u64> {
        self.stored.iter().find(|part| part.number == number).and_then(length)
    }

    /// Plaintext bytes of each part, if they are known.
    pub(crate) fn lengths(&self) -> Option<Vec<u64>> {
        self.stored.iter().map(length).collect()
    }

    /// The parts with a terminator behind them, as far as such a layout can be.
    pub(crate) fn layout(&self) -> Option<Layout> {
        let lengths = self.lengths()?.into_iter();
        let parts =
            self.stored.iter().zip(lengths).map(|(stored, length)| Part { number: stored.number, length });
        Layout::terminated(parts.collect()).ok()
    }

    /// Plaintext bytes of all parts, if they are known.
    pub(crate) fn total(&self) -> Option<u64> {
        Some(self.lengths()?.iter().sum())
    }
}

fn length(part: &StoredPart) -> Option<u64> {
    let marked = part.receipt.as_ref().map(PartReceipt::length);
    marked.or_else(|| segment_plaintext_length(part.stored_length).ok())
}

/// The client lists a part that is not there, or not as it says.
pub(crate) fn invalid_part(part: &CompletedPart) -> Error {
    let error = S3Error::from(ErrorCode::InvalidPart);
    error.with("PartNumber", part.number.to_string()).with("ETag", part.etag.clone()).into()
}
