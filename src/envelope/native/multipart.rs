//! The body of a multipart upload: one segment for each part, sealed in any order, read as a stream or at any place.
//!
//! It must not know where parts are stored or who lists them. It promises that a reader notices a part that is
//! missing, repeated, moved, cut or of another upload, and that every length it gives out was authenticated unless it
//! says that it is a claim (F-30 to F-48, F-54).

mod decide;
mod guess;
mod layout;
mod length;
mod mark;
mod open;
mod order;
mod range;
mod seal;
mod segment;
mod tail;

pub use decide::{
    Completion, CompletionRefused, MIN_PART, Patience, StoredPart, TailDecision, TailRefused, completion,
    tail_decision,
};
pub use guess::LayoutGuess;
pub use layout::{Layout, Part, PartNumber};
pub use length::{
    MAX_PART_LENGTH, MultipartLength, multipart_plaintext_length, segment_length, segment_plaintext_length,
};
pub use mark::{MarkError, TailMark};
pub use open::MultipartOpener;
pub use order::BodyClaim;
pub use range::{MultipartWindow, RangeOpener};
pub use seal::{SegmentEnd, SegmentSealer, seal_terminator};
pub use segment::{CarriedChecksum, Ending, SEGMENT_HEADER, SegmentEntropy, carried_checksum, fits_header};
pub use tail::{layout_tail_length, open_layout_tail};

/// Most parts of one upload, and the number of the terminator, which is the proxy's own part.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>
pub const MAX_PARTS: u16 = 10_000;

#[cfg(test)]
mod tests;
