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
    Completion, CompletionRefused, PartKind, PartRefused, StoredPart, WaitBudget, completion,
    decide_part_kind,
};
pub use part_receipt::{PartReceipt, ReceiptError};
pub use range::{MultipartWindow, RangeOpener};
pub use seal::{SegmentEnd, SegmentSealer, seal_terminator, seal_terminator_for_end_key};
pub use segment::{CarriedChecksum, Ending, SEGMENT_HEADER, SegmentEntropy, carried_checksum, fits_header};
pub use segment_tracker::BodyClaim;

pub use crate::wire::limits::{MAX_PARTS, MIN_PART};

#[cfg(test)]
mod tests;
