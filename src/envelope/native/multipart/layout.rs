//! The parts of an object, in order and with their lengths, and whether that layout has to be stored in the
//! body.
//!
//! It must not know how segments are sealed. It promises layouts whose parts ascend and whose sums fit 64
//! bits.

use std::ops::Range;

use aws_lc_rs::digest::{Context, SHA256};

use super::length::{chunks_length, padding_length};
use super::{MAX_PART_LENGTH, MAX_PARTS, SEGMENT_HEADER};
use crate::envelope::native::{CHUNK, FormatError, Result, TAG};

/// Bytes of one entry of a sealed layout: part(2) | length(5).
pub(super) const ENTRY: usize = 7;

/// The number of a part, 1 to 10,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartNumber(u16);

impl PartNumber {
    /// The first part.
    pub const FIRST: Self = Self(1);
    /// The proxy's own part, for an object whose last part is not sealed as the last (F-36).
    pub const TERMINATOR: Self = Self(MAX_PARTS);

    /// `None` for 0 and above 10,000.
    pub const fn new(number: u16) -> Option<Self> {
        if number == 0 || number > MAX_PARTS { None } else { Some(Self(number)) }
    }

    /// The number.
    pub const fn value(self) -> u16 {
        self.0
    }
}

/// A part and the length of its plaintext.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// The number of the part.
    pub number: PartNumber,
    /// Plaintext bytes of the part.
    pub length: u64,
}

/// SHA-256 over part(2) | length(8) of segments (F-36).
#[derive(Clone)]
pub(super) struct SegmentsDigest(Context);

impl SegmentsDigest {
    pub(super) fn new() -> Self {
        Self(Context::new(&SHA256))
    }

    pub(super) fn add(&mut self, part: Part) {
        self.0.update(&part.number.0.to_be_bytes());
        self.0.update(&part.length.to_be_bytes());
    }

    pub(super) fn value(&self) -> [u8; 32] {
        self.0.clone().finish().as_ref().try_into().expect("SHA-256 gives 32 bytes")
    }
}

/// Whether the parts seen so far form a regular layout (F-37): numbers 1, 2, 3, …, and all but the last of
/// one length, which is a multiple of 64 KiB.
#[derive(Clone, Copy)]
pub(super) struct Regularity {
    seen: u16,
    usual: Option<u64>,
    newest: Option<u64>,
    holds: bool,
}

impl Regularity {
    pub(super) const fn new() -> Self {
        Self { seen: 0, usual: None, newest: None, holds: true }
    }

    pub(super) fn add(&mut self, part: Part) {
        if let Some(length) = self.newest {
            let usual = *self.usual.get_or_insert(length);
            self.holds &= length == usual && length % CHUNK as u64 == 0;
        }
        self.seen += 1;
        self.holds &= part.number.0 == self.seen;
        self.newest = Some(part.length);
    }

    pub(super) const fn holds(self) -> bool {
        self.holds
    }
}

/// The parts of one object, ascending by number, and whether a terminator follows them.
///
/// A layout is as trustworthy as its source: one that the body carried, or that [`super::LayoutGuess::prove`]
/// confirmed, is authentic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    parts: Vec<Part>,
    terminated: bool,
}

impl Layout {
    /// The layout of an object whose last part was sealed as the last one.
    ///
    /// # Errors
    /// [`FormatError::Layout`] unless there are parts, ascending by number, none longer than
    /// [`MAX_PART_LENGTH`] and none but the last empty.
    pub fn ended_by_last(parts: Vec<Part>) -> Result<Self> {
        Self::checked(parts, false)
    }

    /// The layout of an object that a terminator ends. The terminator is not among `parts`.
    ///
    /// # Errors
    /// The errors of [`Self::ended_by_last`], and [`FormatError::Layout`] when the last part is empty or has
    /// the terminator's number.
    pub fn terminated(parts: Vec<Part>) -> Result<Self> {
        Self::checked(parts, true)
    }

    fn checked(parts: Vec<Part>, terminated: bool) -> Result<Self> {
        let ascending = parts.windows(2).all(|pair| pair[0].number < pair[1].number);
        let short = parts.iter().all(|part| part.length <= MAX_PART_LENGTH);
        let (last, before) = parts.split_last().ok_or(FormatError::Layout)?;
        let filled = before.iter().all(|part| part.length > 0);
        let ended = !terminated || (last.length > 0 && last.number < PartNumber::TERMINATOR);
        let is_valid = ascending && short && filled && ended;
        if is_valid { Ok(Self { parts, terminated }) } else { Err(FormatError::Layout) }
    }

    /// The parts as the client uploaded them, without the terminator.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Whether a terminator ends the object.
    pub fn is_terminated(&self) -> bool {
        self.terminated
    }

    /// The number of segments, terminator included: the *N* of the storage's ETag.
    pub fn segments(&self) -> u16 {
        let parts = u16::try_from(self.parts.len()).expect("part numbers ascend up to 10,000");
        parts + u16::from(self.terminated)
    }

    /// Whether the layout follows from length and number of segments, and is therefore not carried in the
    /// body (F-37).
    pub fn is_regular(&self) -> bool {
        let mut regularity = Regularity::new();
        self.parts.iter().for_each(|part| regularity.add(*part));
        regularity.holds()
    }

    /// Plaintext bytes of the object.
    pub fn plaintext_total(&self) -> u64 {
        self.parts.iter().map(|part| part.length).sum()
    }

    /// Stored bytes of the object.
    pub fn stored_total(&self) -> u64 {
        let headers = SEGMENT_HEADER as u64 * u64::from(self.segments());
        headers + self.chunks_total() + u64::from(self.tail_length())
    }

    /// Stored bytes before the header of the segment at `index`; the terminator comes after all parts.
    ///
    /// # Panics
    /// When there is no such segment.
    pub fn stored_offset(&self, index: usize) -> u64 {
        let before = &self.parts[..index];
        before.iter().map(|part| SEGMENT_HEADER as u64 + chunks_length(part.length)).sum()
    }

    /// The stored bytes of every segment in order, terminator and tail included: each is one part of the
    /// upload in the storage (F-30).
    pub fn segment_extents(&self) -> Vec<Range<u64>> {
        let terminator = self.terminated.then_some(0);
        let mut end = 0;
        let mut extents: Vec<_> = (self.parts.iter().map(|part| part.length).chain(terminator))
            .map(|length| {
                let start = end;
                end += SEGMENT_HEADER as u64 + chunks_length(length);
                start..end
            })
            .collect();
        extents.last_mut().expect("a layout has parts").end += u64::from(self.tail_length());
        extents
    }

    /// Stored bytes before the header of the last segment.
    pub fn last_header_offset(&self) -> u64 {
        self.stored_offset(if self.terminated { self.parts.len() } else { self.parts.len() - 1 })
    }

    fn chunks_total(&self) -> u64 {
        self.parts.iter().map(|part| chunks_length(part.length)).sum()
    }

    /// Bytes after the chunks of the last segment: padding, sealed layout and footer; 0 for a regular layout
    /// (F-39).
    pub(super) fn tail_length(&self) -> u32 {
        if self.is_regular() { 0 } else { tail_length(self.segments(), self.chunks_total()) }
    }

    /// The digest of a terminator: over all segments before it (F-36).
    pub(super) fn digest(&self) -> [u8; 32] {
        let mut digest = SegmentsDigest::new();
        self.parts.iter().for_each(|part| digest.add(*part));
        digest.value()
    }

    /// part(2) | length(5) for each segment, the terminator as part 10,000 of no length (F-41).
    pub(super) fn write(&self) -> Vec<u8> {
        let terminator = self.terminated.then_some(Part { number: PartNumber::TERMINATOR, length: 0 });
        let mut bytes = Vec::with_capacity(usize::from(self.segments()) * ENTRY);
        for part in self.parts.iter().copied().chain(terminator) {
            bytes.extend_from_slice(&part.number.0.to_be_bytes());
            bytes.extend_from_slice(&part.length.to_be_bytes()[3..]);
        }
        bytes
    }

    /// Parses the bytes of [`Self::write`]; the segment says whether the last entry is a terminator (F-41).
    pub(super) fn parse(bytes: &[u8], terminated: bool) -> Result<Self> {
        let (entries, []) = bytes.as_chunks::<ENTRY>() else { return Err(FormatError::Layout) };
        let mut parts = Vec::with_capacity(entries.len());
        for [high, low, length @ ..] in entries {
            let number = PartNumber::new(u16::from_be_bytes([*high, *low])).ok_or(FormatError::Layout)?;
            let length = length.iter().fold(0, |length, byte| length << 8 | u64::from(*byte));
            parts.push(Part { number, length });
        }
        if terminated && parts.pop() != Some(Part { number: PartNumber::TERMINATOR, length: 0 }) {
            return Err(FormatError::Layout);
        }
        Self::checked(parts, terminated)
    }
}

/// Bytes of a tail that ends a body of `segments` segments whose chunks take `chunks` bytes. The padding
/// brings the whole to a length that can't be inverted (F-40).
pub(super) fn tail_length(segments: u16, chunks: u64) -> u32 {
    let sealed = sealed_length(segments);
    u32::try_from(sealed + padding_length(chunks + sealed))
        .expect("at most 70,096 bytes and 64 KiB of padding")
}

/// Bytes of sealed layout and footer.
pub(super) const fn sealed_length(segments: u16) -> u64 {
    ENTRY as u64 * segments as u64 + (TAG + SEGMENT_HEADER) as u64
}
