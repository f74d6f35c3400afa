//! Bodies that are one run of ciphertext without chunks, sealed and opened piece by piece.
//!
//! It must not know which format a body has or how its key was found. It promises as much as the cipher can:
//! a GCM message releases its last bytes only after its tag was verified; CBC and a view of a message
//! authenticate nothing.

use bytes::{Buf, BytesMut};

use super::aes_cbc::{BLOCK_U64, CbcBody, CbcOpener, CbcSealer, Padding};
use super::aes_gcm::{BLOCK, Keystream, MessageKey, MessageOpener, MessageSealer, TAG};

/// Plaintext bytes held back from a message that is released before its tag was verified: enough that a
/// program that depends on the end of a file does not see it.
pub const HELD_BACK: usize = 64 * 1024;

/// Why a stored stream could not be opened to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// The tag does not belong to the message.
    #[error("the body fails authentication")]
    Tag,
    /// The stored bytes are fewer or more than announced.
    #[error("the body does not have the length that was announced")]
    Length,
}

/// Seals one body. The output of [`Self::update`] is never a complete object: the last block, or the tag,
/// comes with [`Self::finish`].
pub struct StreamSealer(Sealing);

enum Sealing {
    Message(Box<MessageSealer>),
    Cbc { cbc: Box<CbcSealer>, padding: Padding, header: Option<[u8; BLOCK]> },
}

impl StreamSealer {
    pub(super) fn message(message: &MessageKey) -> Self {
        Self(Sealing::Message(Box::new(MessageSealer::new(message))))
    }

    /// A sealer of CBC; `header` is stored before the blocks.
    pub(super) fn cbc(cbc: CbcSealer, padding: Padding, header: Option<[u8; BLOCK]>) -> Self {
        Self(Sealing::Cbc { cbc: Box::new(cbc), padding, header })
    }

    /// Appends ciphertext of `plaintext` to `sealed`.
    pub fn update(&mut self, plaintext: &[u8], sealed: &mut BytesMut) {
        match &mut self.0 {
            Sealing::Message(message) => message.update(plaintext, sealed),
            Sealing::Cbc { cbc, header, .. } => {
                sealed.extend_from_slice(header.take().as_ref().map_or(&[][..], |iv| iv));
                cbc.update(plaintext, sealed);
            }
        }
    }

    /// Appends the end of the body.
    pub fn finish(mut self, sealed: &mut BytesMut) {
        self.update(&[], sealed);
        match self.0 {
            Sealing::Message(message) => sealed.extend_from_slice(&message.finish()),
            Sealing::Cbc { cbc, padding, .. } => cbc.finish(padding, sealed),
        }
    }
}

/// Opens one body, or a window of it.
pub struct StreamOpener {
    opening: Opening,
    /// Plaintext bytes to drop first.
    skip: u64,
    /// Plaintext bytes still to be released.
    left: u64,
}

enum Opening {
    Message(Box<DelayedOpener>),
    View(Keystream),
    Cbc(Box<CbcOpener>),
    Plaintext,
    Ended,
}

/// A message of which all but the last bytes are released before its tag was read.
struct DelayedOpener {
    message: MessageOpener,
    /// Ciphertext still to come before the tag.
    ciphertext_left: u64,
    tag: BytesMut,
    held: BytesMut,
}

impl StreamOpener {
    /// An opener for a whole message of `plaintext` bytes: all but the last [`HELD_BACK`] bytes are released
    /// unauthenticated.
    pub(super) fn message(message: &MessageKey, plaintext: u64) -> Self {
        let opener = DelayedOpener {
            message: MessageOpener::new(message),
            ciphertext_left: plaintext,
            tag: BytesMut::with_capacity(TAG),
            held: BytesMut::new(),
        };
        Self { opening: Opening::Message(Box::new(opener)), skip: 0, left: plaintext }
    }

    /// An opener for `length` bytes after the first `skip` of a keystream, authenticated by nothing.
    pub(super) fn view(keystream: Keystream, skip: u64, length: u64) -> Self {
        Self { opening: Opening::View(keystream), skip, left: length }
    }

    pub(super) fn cbc(cbc: CbcOpener, skip: u64, length: u64) -> Self {
        Self { opening: Opening::Cbc(Box::new(cbc)), skip, left: length }
    }

    /// An opener for `length` bytes that are plaintext already.
    pub fn plaintext(length: u64) -> Self {
        Self { opening: Opening::Plaintext, skip: 0, left: length }
    }

    /// Plaintext bytes still to be released.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Appends to `released` the plaintext that may be released once `ciphertext` was read too.
    ///
    /// # Errors
    /// [`StreamError::Length`] when more bytes come than were announced.
    pub fn push(&mut self, ciphertext: &[u8], released: &mut BytesMut) -> Result<(), StreamError> {
        let start = released.len();
        match &mut self.opening {
            Opening::Message(message) => message.push(ciphertext, released)?,
            Opening::View(keystream) => keystream.apply(ciphertext, released),
            Opening::Cbc(cbc) => cbc.update(ciphertext, released),
            Opening::Plaintext => released.extend_from_slice(ciphertext),
            Opening::Ended => return Err(StreamError::Length),
        }
        self.cut(start, released);
        Ok(())
    }

    /// Ends the stored bytes: appends the plaintext that was held back.
    ///
    /// # Errors
    /// [`StreamError::Tag`] when the message is not authentic, and nothing is appended;
    /// [`StreamError::Length`] when the stored bytes were too few.
    pub fn finish(&mut self, released: &mut BytesMut) -> Result<(), StreamError> {
        let start = released.len();
        match std::mem::replace(&mut self.opening, Opening::Ended) {
            Opening::Message(message) => message.finish(released)?,
            Opening::View(_) | Opening::Cbc(_) | Opening::Plaintext => {}
            Opening::Ended => return Err(StreamError::Length),
        }
        self.cut(start, released);
        if self.left == 0 { Ok(()) } else { Err(StreamError::Length) }
    }

    /// Keeps those bytes from `start` on that lie in the window.
    fn cut(&mut self, start: usize, released: &mut BytesMut) {
        let mut fresh = released.split_off(start);
        let skip = usize::try_from(self.skip).unwrap_or(usize::MAX).min(fresh.len());
        fresh.advance(skip);
        self.skip -= skip as u64;
        fresh.truncate(usize::try_from(self.left).unwrap_or(usize::MAX).min(fresh.len()));
        self.left -= fresh.len() as u64;
        released.unsplit(fresh);
    }
}

impl DelayedOpener {
    fn push(&mut self, ciphertext: &[u8], released: &mut BytesMut) -> Result<(), StreamError> {
        let content = usize::try_from(self.ciphertext_left).unwrap_or(usize::MAX).min(ciphertext.len());
        let (content, tag) = ciphertext.split_at(content);
        if self.tag.len() + tag.len() > TAG {
            return Err(StreamError::Length);
        }
        self.message.update(content, &mut self.held);
        self.ciphertext_left -= content.len() as u64;
        self.tag.extend_from_slice(tag);
        let more = self.held.len().saturating_sub(HELD_BACK);
        released.unsplit(self.held.split_to(more));
        Ok(())
    }

    fn finish(self, released: &mut BytesMut) -> Result<(), StreamError> {
        let tag = <[u8; TAG]>::try_from(&self.tag[..]).map_err(|_| StreamError::Length)?;
        if self.ciphertext_left > 0 {
            return Err(StreamError::Length);
        }
        if !self.message.finish(&tag) {
            return Err(StreamError::Tag);
        }
        released.unsplit(self.held);
        Ok(())
    }
}
impl CbcBody {
    /// Opens the stored bytes of [`Self::slice`] and returns `length` plaintext bytes from `first` on. It
    /// does not look at the padding: the caller has determined the plaintext's length before.
    pub fn opener(&self, first: u64, length: u64) -> StreamOpener {
        let chain = CbcOpener::new(&self.key, self.place(first / BLOCK_U64).iv);
        StreamOpener::cbc(chain, first % BLOCK_U64, length)
    }
}

/// A sealer for one body; with `header`, the IV is stored before the blocks.
pub(super) fn cbc_sealer(key: &[u8; 32], iv: &[u8; BLOCK], padding: Padding, header: bool) -> StreamSealer {
    StreamSealer::cbc(CbcSealer::new(key, iv), padding, header.then_some(*iv))
}
