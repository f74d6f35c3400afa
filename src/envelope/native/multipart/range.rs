//! Ranges of a multipart body: which stored bytes a plaintext range needs, and how they are opened from the
//! middle of a segment on (F-44).
//!
//! It must not know how stored bytes are requested. It promises that a chunk opens only after its segment's
//! header proved the segment's place in the layout.

use std::sync::Arc;

use bytes::BytesMut;

use super::length::chunks_length;
use super::segment::{Fields, Header, Place};
use super::{Layout, Part, SEGMENT_HEADER};
use crate::envelope::ContentKey;
use crate::envelope::native::{CHUNK, ChunkOpener, FormatError, PieceOpener, Result, SEALED_CHUNK};

const CHUNK_U64: u64 = CHUNK as u64;
const SEALED_U64: u64 = SEALED_CHUNK as u64;

/// The stored bytes that a plaintext range needs, and which of the opened bytes to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MultipartWindow {
    /// Plaintext bytes of the whole object.
    pub plaintext_total: u64,
    /// Offset of the 80-byte header that has to be read separately, because the stored bytes begin after it;
    /// `None` when they begin with the header.
    pub header_apart: Option<u64>,
    /// Offset of the first stored byte to read.
    pub ciphertext_first: u64,
    /// Offset of the last stored byte to read, inclusive.
    pub ciphertext_last: u64,
    /// Plaintext bytes to drop before the range begins.
    pub skip: u64,
    /// Plaintext bytes to release.
    pub length: u64,
    first: ChunkAt,
    last: ChunkAt,
}

/// A chunk by the index of its part in the layout and its own in the part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ChunkAt {
    part: usize,
    chunk: u64,
}

impl Layout {
    /// Plaintext bytes before the part at `index`.
    pub fn plaintext_offset(&self, index: usize) -> u64 {
        self.parts()[..index].iter().map(|part| part.length).sum()
    }

    /// The window of the plaintext bytes `first..=last`.
    ///
    /// # Errors
    /// [`FormatError::BodyLength`] when the range is not inside the object.
    pub fn window(&self, first: u64, last: u64) -> Result<MultipartWindow> {
        if first > last {
            return Err(FormatError::BodyLength);
        }
        let (begin, skip) = self.locate(first)?;
        let (end, _) = self.locate(last)?;
        let header = self.stored_offset(begin.part);
        let after_header = |at: ChunkAt| self.stored_offset(at.part) + SEGMENT_HEADER as u64;
        let (header_apart, ciphertext_first) = match begin.chunk {
            0 => (None, header),
            chunk => (Some(header), after_header(begin) + chunk * SEALED_U64),
        };
        let stored_end = ((end.chunk + 1) * SEALED_U64).min(chunks_length(self.parts()[end.part].length));
        Ok(MultipartWindow {
            plaintext_total: self.plaintext_total(),
            header_apart,
            ciphertext_first,
            ciphertext_last: after_header(end) + stored_end - 1,
            skip,
            length: last - first + 1,
            first: begin,
            last: end,
        })
    }

    /// The chunk that holds the plaintext byte at `offset`, and the number of its bytes before that one.
    fn locate(&self, offset: u64) -> Result<(ChunkAt, u64)> {
        let mut before = 0;
        for (index, part) in self.parts().iter().enumerate() {
            let inside = offset - before;
            if inside < part.length {
                return Ok((ChunkAt { part: index, chunk: inside / CHUNK_U64 }, inside % CHUNK_U64));
            }
            before += part.length;
        }
        Err(FormatError::BodyLength)
    }
}

impl ChunkOpener {
    /// An opener for the chunks of the part at `index`, from chunk `first_chunk` on, after the segment's
    /// header proved that the segment is the one that the layout names.
    ///
    /// # Errors
    /// [`FormatError::SegmentHeader`] and [`FormatError::SegmentCommitment`] when the header is not one of
    /// this object, [`FormatError::SegmentOrder`] when the header is another segment's,
    /// [`FormatError::BodyLength`] when there is no such part or chunk.
    pub fn for_segment(
        content_key: &ContentKey,
        layout: &Layout,
        index: usize,
        header: &[u8],
        first_chunk: u64,
    ) -> Result<Self> {
        let part = layout.parts().get(index).ok_or(FormatError::BodyLength)?;
        let ends = index + 1 == layout.parts().len() && !layout.is_terminated();
        let (place, tail) = if ends { (Place::Last, layout.tail_length()) } else { (Place::Middle, 0) };
        let fields = Fields { place, part: *part, tail_length: tail, with_end_key: false };
        segment_opener(content_key, fields, header, first_chunk)
    }

    /// An opener for a last segment without carried layout, when the other parts are unknown.
    ///
    /// # Errors
    /// The errors of [`Self::for_segment`].
    pub fn for_last_segment(content_key: &ContentKey, part: Part, header: &[u8]) -> Result<Self> {
        let expected = Fields { place: Place::Last, part, tail_length: 0, with_end_key: false };
        segment_opener(content_key, expected, header, 0)
    }
}

fn segment_opener(
    content_key: &ContentKey,
    expected: Fields,
    header: &[u8],
    first_chunk: u64,
) -> Result<ChunkOpener> {
    let header = Header::parse(header)?;
    let chunk_key = header.chunk_key(content_key, None)?;
    if !header.fields.agrees_with(&expected) {
        return Err(FormatError::SegmentOrder);
    }
    let part = expected.part;
    if part.length == 0 {
        return Err(FormatError::BodyLength);
    }
    ChunkOpener::new(chunk_key, part.length, first_chunk)
}

/// Opens the stored bytes of a window: chunks, and the headers between them.
pub struct RangeOpener {
    content_key: Arc<ContentKey>,
    layout: Arc<Layout>,
    /// The next chunk.
    at: ChunkAt,
    last: ChunkAt,
    /// `None` when the header of the part comes next.
    segment: Option<ChunkOpener>,
}

impl RangeOpener {
    /// An opener for the stored bytes of `window` in `layout`; `header_apart` is the header that has to be
    /// read separately, if there is one.
    ///
    /// # Errors
    /// [`FormatError::SegmentHeader`] when that header is missing; else the errors of
    /// [`ChunkOpener::for_segment`].
    pub fn new(
        content_key: Arc<ContentKey>,
        layout: Arc<Layout>,
        window: &MultipartWindow,
        header_apart: Option<&[u8]>,
    ) -> Result<Self> {
        let MultipartWindow { first, last, .. } = *window;
        let segment = match window.header_apart {
            None => None,
            Some(_) => {
                let header = header_apart.ok_or(FormatError::SegmentHeader)?;
                Some(ChunkOpener::for_segment(&content_key, &layout, first.part, header, first.chunk)?)
            }
        };
        Ok(Self { content_key, layout, at: first, last, segment })
    }

    fn open_header(&mut self, header: &[u8]) -> Result<()> {
        let ChunkAt { part, chunk } = self.at;
        self.segment = Some(ChunkOpener::for_segment(&self.content_key, &self.layout, part, header, chunk)?);
        Ok(())
    }

    /// Continues with the next chunk after one that was opened.
    fn advance(&mut self) {
        if self.segment.as_ref().is_some_and(|segment| segment.next_length().is_some()) {
            self.at.chunk += 1;
        } else {
            self.at = ChunkAt { part: self.at.part + 1, chunk: 0 };
            self.segment = None;
        }
    }
}

impl PieceOpener for RangeOpener {
    /// Stored bytes of the next piece, a header or a chunk; `None` after the last chunk of the window.
    fn next_length(&self) -> Option<usize> {
        match &self.segment {
            _ if (self.at.part, self.at.chunk) > (self.last.part, self.last.chunk) => None,
            None => Some(SEGMENT_HEADER),
            Some(segment) => segment.next_length(),
        }
    }

    /// Opens the next piece in place: a chunk becomes its plaintext, a header nothing.
    fn open_next(&mut self, piece: &mut BytesMut) -> Result<()> {
        let opened = match self.next_length() {
            Some(length) if length == piece.len() => match &mut self.segment {
                None => self.open_header(piece).map(|()| piece.clear()),
                Some(segment) => segment.open_next(piece).map(|()| self.advance()),
            },
            Some(_) | None => Err(FormatError::BodyLength),
        };
        if opened.is_err() {
            piece.clear();
        }
        opened
    }

    fn open_next_into(&mut self, sealed: &[u8], plaintext: &mut BytesMut) -> Result<()> {
        let opened = match self.next_length() {
            Some(length) if length == sealed.len() => match &mut self.segment {
                None => self.open_header(sealed).map(|()| plaintext.clear()),
                Some(segment) => segment.open_next_into(sealed, plaintext).map(|()| self.advance()),
            },
            Some(_) | None => Err(FormatError::BodyLength),
        };
        if opened.is_err() {
            plaintext.clear();
        }
        opened
    }
}
