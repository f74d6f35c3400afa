//! Reading a whole multipart body as a stream (F-35, F-43).
//!
//! It must not know where the body comes from. It promises that plaintext is released at most one chunk late,
//! and the last of it only after the end of the body was authenticated.

use std::sync::Arc;

use bytes::BytesMut;

use super::layout::sealed_length;
use super::segment::{Header, Place};
use super::segment_tracker::SegmentTracker;
use super::{BodyClaim, Layout, SEGMENT_HEADER, carried_layout};
use crate::envelope::ContentKey;
use crate::envelope::native::{ChunkOpener, FormatError, PieceOpener, Result};

/// The kind of the next bytes of the body.
enum Stage {
    Header,
    Chunks { header: Header, opener: ChunkOpener },
    Padding { header: Header, length: usize },
    Layout { header: Header },
    Done,
}

/// Opens a multipart body piece by piece.
///
/// The last chunk of every segment is held back until what follows it was authenticated too: of a body that
/// was cut, or shortened by a storage that also shortened its claim, never all of the claimed length comes
/// out.
pub struct MultipartOpener {
    content_key: Arc<ContentKey>,
    tracker: SegmentTracker,
    stage: Stage,
    held: BytesMut,
}

impl MultipartOpener {
    /// An opener for a body with this claim of the storage; with the layout, if the body carries one and it
    /// was read before.
    ///
    /// # Errors
    /// [`FormatError::Length`] when no body has these lengths, [`FormatError::BodyLength`] when the layout is
    /// another body's.
    pub fn new(content_key: Arc<ContentKey>, claim: BodyClaim, layout: Option<Arc<Layout>>) -> Result<Self> {
        let tracker = SegmentTracker::new(claim, layout)?;
        Ok(Self { content_key, tracker, stage: Stage::Header, held: BytesMut::new() })
    }

    /// Plaintext bytes of the whole body, if they follow from claim or layout. A body with another length is
    /// refused.
    pub fn plaintext_total(&self) -> Option<u64> {
        self.tracker.plaintext_total()
    }

    /// Holds back a chunk that is the last of its segment, unless nothing can follow that would invalidate
    /// it.
    fn opened_chunk(&mut self, chunk: &mut BytesMut) {
        let Stage::Chunks { header, opener } = &self.stage else { return };
        if opener.next_length().is_none() {
            let header = header.clone();
            if header.fields.place == Place::Middle || header.fields.tail_length > 0 {
                std::mem::swap(chunk, &mut self.held);
            }
            self.stage = self.after_chunks(header);
        }
    }

    fn open_piece(&mut self, piece: &mut BytesMut) -> Result<()> {
        match &mut self.stage {
            Stage::Header => self.open_header(piece),
            Stage::Chunks { opener, .. } => {
                opener.open_next(piece)?;
                self.opened_chunk(piece);
                Ok(())
            }
            Stage::Padding { header, .. } => {
                if piece.iter().any(|byte| *byte != 0) {
                    return Err(FormatError::Layout);
                }
                self.stage = Stage::Layout { header: header.clone() };
                piece.clear();
                Ok(())
            }
            Stage::Layout { header } => {
                let (footer, layout) = carried_layout::open(&self.content_key, piece)?;
                let same = footer.fields == header.fields && footer.salt == header.salt;
                if !same || layout.digest() != self.tracker.digest() {
                    return Err(FormatError::Layout);
                }
                self.stage = Stage::Done;
                *piece = std::mem::take(&mut self.held);
                Ok(())
            }
            Stage::Done => Err(FormatError::BodyLength),
        }
    }

    fn open_header(&mut self, piece: &mut BytesMut) -> Result<()> {
        let header = Header::parse(piece)?;
        let digest = (header.fields.place == Place::Terminator).then(|| self.tracker.digest());
        let chunk_key = header.chunk_key(&self.content_key, digest.as_ref())?;
        let fields = header.fields;
        self.tracker = self.tracker.admit(&fields)?;
        if fields.part.length > 0 {
            let opener = ChunkOpener::new(chunk_key, fields.part.length, 0)?;
            self.stage = Stage::Chunks { header, opener };
        } else {
            self.stage = self.after_chunks(header);
        }
        // The chunk held back of the segment before may be released, unless a layout that could still
        // invalidate it comes next.
        if fields.part.length > 0 || fields.tail_length == 0 {
            *piece = std::mem::take(&mut self.held);
        } else {
            piece.clear();
        }
        Ok(())
    }

    fn after_chunks(&self, header: Header) -> Stage {
        let sealed = layout_length(self.tracker.segments());
        match (header.fields.place, header.fields.tail_length as usize) {
            (Place::Middle, _) => Stage::Header,
            (Place::Last | Place::Terminator, 0) => Stage::Done,
            (Place::Last | Place::Terminator, length) if length > sealed => {
                Stage::Padding { header, length: length - sealed }
            }
            (Place::Last | Place::Terminator, _) => Stage::Layout { header },
        }
    }
}

impl PieceOpener for MultipartOpener {
    /// Stored bytes of the next piece: a header, a chunk, the padding or the layout. `None` only after the
    /// whole body was authenticated.
    fn next_length(&self) -> Option<usize> {
        match &self.stage {
            Stage::Header => Some(SEGMENT_HEADER),
            Stage::Chunks { opener, .. } => opener.next_length(),
            Stage::Padding { length, .. } => Some(*length),
            Stage::Layout { .. } => Some(layout_length(self.tracker.segments())),
            Stage::Done => None,
        }
    }

    /// Opens the next piece in place. Afterwards `piece` holds the plaintext that may be released now: often
    /// that of the piece, nothing after a header or when the chunk is held back, the chunk held back before
    /// once it may go.
    fn open_next(&mut self, piece: &mut BytesMut) -> Result<()> {
        let opened = match self.next_length() {
            Some(length) if length == piece.len() => self.open_piece(piece),
            Some(_) | None => Err(FormatError::BodyLength),
        };
        if opened.is_err() {
            piece.clear();
        }
        opened
    }

    fn open_next_into(&mut self, sealed: &[u8], plaintext: &mut BytesMut) -> Result<()> {
        match &mut self.stage {
            Stage::Chunks { opener, .. } => {
                opener.open_next_into(sealed, plaintext)?;
                self.opened_chunk(plaintext);
                Ok(())
            }
            Stage::Header | Stage::Padding { .. } | Stage::Layout { .. } | Stage::Done => {
                plaintext.clear();
                plaintext.extend_from_slice(sealed);
                self.open_next(plaintext)
            }
        }
    }

    fn authenticates_end(&self) -> bool {
        true
    }
}

/// Stored bytes of sealed layout and footer, after the padding.
fn layout_length(segments: u16) -> usize {
    usize::try_from(sealed_length(segments)).expect("at most 70,096 bytes")
}
