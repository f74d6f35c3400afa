//! The body of a multipart upload: one segment for each part, sealed in any order, read as a stream or from
//! any offset.
//!
//! It must not know where parts are stored or who lists them. It promises that a reader detects a part that
//! is missing, repeated, moved, cut or of another upload, and that every length it returns was authenticated
//! unless its documentation calls it a claim (F-30 to F-48, F-54).

mod carried_layout;
mod layout;
mod layout_proof;
mod length;
mod open;
mod part_kind;
mod part_receipt;
mod range;
mod seal;
mod segment;
mod segment_tracker;

pub use carried_layout::{layout_tail_length, open_layout_tail};
pub use layout::{Layout, Part, PartNumber};
pub use layout_proof::LayoutGuess;
pub use length::{
    MAX_PART_LENGTH, MultipartLength, multipart_plaintext_length, segment_length, segment_plaintext_length,
};
pub use open::MultipartOpener;
pub use part_kind::{
    Completion, CompletionRefused, MIN_PART, PartKind, PartRefused, StoredPart, WaitBudget, completion,
    decide_part_kind,
};
pub use part_receipt::{PartReceipt, ReceiptError};
pub use range::{MultipartWindow, RangeOpener};
pub use seal::{SegmentEnd, SegmentSealer, seal_terminator};
pub use segment::{CarriedChecksum, Ending, SEGMENT_HEADER, SegmentEntropy, carried_checksum, fits_header};
pub use segment_tracker::BodyClaim;

/// Maximum number of parts of one upload, and the number of the terminator, which is the proxy's own part.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>
pub const MAX_PARTS: u16 = 10_000;

#[cfg(test)]
mod tests;
