//! AES-256-CBC: blocks behind an IV, padded at the end, authenticated by nothing.
//!
//! It must not know which format stores them. It promises one error, [`Unreadable`], for everything that is
//! wrong with a body: an error that distinguished a wrong padding from a wrong length or key would be an
//! oracle.

use aes::Aes256;
use bytes::BytesMut;
use cbc::cipher::{Block, BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use subtle::{Choice, ConstantTimeEq, ConstantTimeLess};
use zeroize::Zeroizing;

use crate::wire::range::ByteRange;

/// Bytes of a block, and of an IV.
pub(super) const BLOCK: usize = 16;
pub(super) const BLOCK_U64: u64 = BLOCK as u64;
/// The published code of `cbc` appends the literal text `"/0"` 16 times instead of NUL bytes.
const LITERAL_ZERO_PADDING: [u8; 2 * BLOCK] = *b"/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0";

type Encryptor = cbc::Encryptor<Aes256>;
type Decryptor = cbc::Decryptor<Aes256>;

/// The object can't be decrypted. The reason is withheld by intent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the object can't be decrypted")]
pub struct Unreadable;

/// How a plaintext is padded to whole blocks. Both ways add at least one byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Padding {
    /// PKCS#7: n bytes of value n (RFC 5652, 6.3).
    Pkcs7,
    /// Zero bytes.
    Zero,
}

/// The paddings that a reader accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AcceptedPadding {
    /// PKCS#7 only.
    Pkcs7,
    /// Zeros, PKCS#7, or [`LITERAL_ZERO_PADDING`]; no plaintext ends with two of them.
    ZeroOrLiteral,
}

/// A stored CBC body: its key, the place of its IV, and its padding.
pub struct CbcBody {
    pub(super) key: Zeroizing<[u8; 32]>,
    /// `None` if the IV is the first block of the stored body.
    iv: Option<[u8; BLOCK]>,
    accepted: AcceptedPadding,
}

impl CbcBody {
    pub(super) fn new(key: &[u8; 32], iv: Option<[u8; BLOCK]>, accepted: AcceptedPadding) -> Self {
        Self { key: Zeroizing::new(*key), iv, accepted }
    }

    /// Stored bytes before the first block of content.
    fn header(&self) -> u64 {
        if self.iv.is_none() { BLOCK_U64 } else { 0 }
    }

    /// Bytes of the padded plaintext of a body of `stored` bytes: whole blocks, at least one.
    fn padded_length(&self, stored: u64) -> Result<u64, Unreadable> {
        let padded = stored.checked_sub(self.header()).ok_or(Unreadable)?;
        if padded == 0 || padded % BLOCK_U64 != 0 { Err(Unreadable) } else { Ok(padded) }
    }

    /// Whether a plaintext of `length` bytes may have a body of `stored` bytes.
    pub fn fits(&self, stored: u64, length: u64) -> bool {
        let most = match self.accepted {
            AcceptedPadding::Pkcs7 => BLOCK_U64,
            AcceptedPadding::ZeroOrLiteral => 2 * BLOCK_U64,
        };
        self.padded_length(stored).is_ok_and(|padded| {
            padded.checked_sub(length).is_some_and(|padding| (1..=most).contains(&padding))
        })
    }

    /// The stored bytes that the plaintext's length is read from: the last two blocks, and the one before
    /// them.
    ///
    /// # Errors
    /// [`Unreadable`] when no body has `stored` bytes.
    pub fn tail(&self, stored: u64) -> Result<ByteRange, Unreadable> {
        self.padded_length(stored)?;
        ByteRange::new(stored.saturating_sub(3 * BLOCK_U64), stored - 1).ok_or(Unreadable)
    }

    /// The plaintext's length, from the bytes of [`Self::tail`].
    ///
    /// # Errors
    /// [`Unreadable`] when the padding is not an accepted one, or `tail` has another length than
    /// [`Self::tail`].
    pub fn length_by_tail(&self, stored: u64, tail: &[u8]) -> Result<u64, Unreadable> {
        let range = self.tail(stored)?;
        if tail.len() as u64 != range.len() {
            return Err(Unreadable);
        }
        let padded = self.padded_length(stored)?;
        let first_block = padded / BLOCK_U64 - (padded / BLOCK_U64).min(2);
        let place = self.place(first_block);
        let skip = usize::try_from(place.first - range.first()).expect("a tail has three blocks");
        let blocks = self.decrypt(place.iv, &tail[skip..])?;
        Ok(padded - self.padding(&blocks).ok_or(Unreadable)? as u64)
    }

    /// The stored bytes that hold the plaintext bytes `first..=last`.
    pub fn slice(&self, first: u64, last: u64) -> ByteRange {
        let end = self.header() + (last / BLOCK_U64 + 1) * BLOCK_U64;
        ByteRange::new(self.place(first / BLOCK_U64).first, end - 1).expect("a range of blocks is not empty")
    }

    /// Opens a whole body in memory. If the plaintext's length was `recorded`, it decides instead of the
    /// padding.
    ///
    /// # Errors
    /// [`Unreadable`] when the length is impossible, or the padding not an accepted one.
    pub fn open_whole(&self, stored: &[u8], recorded: Option<u64>) -> Result<BytesMut, Unreadable> {
        let padded = self.padded_length(stored.len() as u64)?;
        let place = self.place(0);
        let mut plaintext = self.decrypt(place.iv, stored)?;
        let length = match recorded {
            Some(length) if self.fits(stored.len() as u64, length) => length,
            Some(_) => return Err(Unreadable),
            None => padded - self.padding(&plaintext).ok_or(Unreadable)? as u64,
        };
        plaintext.truncate(usize::try_from(length).map_err(|_| Unreadable)?);
        Ok(plaintext)
    }

    /// The place of the block before block `index`: stored, or in the metadata.
    pub(super) fn place(&self, index: u64) -> Place {
        match (index, self.iv) {
            (0, Some(iv)) => Place { first: 0, iv: Some(iv) },
            (_, _) => Place { first: self.header() + index * BLOCK_U64 - BLOCK_U64, iv: None },
        }
    }

    fn decrypt(&self, iv: Option<[u8; BLOCK]>, stored: &[u8]) -> Result<BytesMut, Unreadable> {
        let mut plaintext = BytesMut::with_capacity(stored.len());
        let mut opener = CbcOpener::new(&self.key, iv);
        opener.update(stored, &mut plaintext);
        if opener.is_whole() { Ok(plaintext) } else { Err(Unreadable) }
    }

    /// Bytes of padding at the end of a padded text, of which at least the last two blocks are passed.
    fn padding(&self, text: &[u8]) -> Option<usize> {
        let (_, last) = text.split_last_chunk::<BLOCK>()?;
        match self.accepted {
            AcceptedPadding::Pkcs7 => pkcs7(last),
            AcceptedPadding::ZeroOrLiteral if last[BLOCK - 1] == 0 => {
                Some(last.iter().rev().take_while(|byte| **byte == 0).count())
            }
            AcceptedPadding::ZeroOrLiteral if text.ends_with(&LITERAL_ZERO_PADDING) => {
                Some(LITERAL_ZERO_PADDING.len())
            }
            AcceptedPadding::ZeroOrLiteral => pkcs7(last),
        }
    }
}

/// The beginning of a run of blocks.
pub(super) struct Place {
    /// The first stored byte to read.
    pub(super) first: u64,
    /// `None` if the IV is the first block that is read.
    pub(super) iv: Option<[u8; BLOCK]>,
}

/// The length of a PKCS#7 padding, computed in constant time wherever it is wrong.
fn pkcs7(last: &[u8; BLOCK]) -> Option<usize> {
    let count = last[BLOCK - 1];
    let mut valid = !count.ct_eq(&0) & count.ct_lt(&(BLOCK as u8 + 1));
    for (from_end, byte) in (0_u8..).zip(last.iter().rev()) {
        let inside: Choice = from_end.ct_lt(&count);
        valid &= !inside | byte.ct_eq(&count);
    }
    bool::from(valid).then_some(usize::from(count))
}

/// Stored bytes of a plaintext of `length` bytes, without the IV; `None` over 64 bits.
pub(super) const fn padded(length: u64) -> Option<u64> {
    length.checked_add(BLOCK_U64 - length % BLOCK_U64)
}

/// Encrypts a body; the last block comes only with [`Self::finish`].
pub(super) struct CbcSealer {
    encryptor: Encryptor,
    pending: BytesMut,
}

impl CbcSealer {
    pub(super) fn new(key: &[u8; 32], iv: &[u8; BLOCK]) -> Self {
        Self { encryptor: Encryptor::new(key.into(), iv.into()), pending: BytesMut::new() }
    }

    /// Appends the whole blocks of `plaintext` to `sealed`.
    pub(super) fn update(&mut self, plaintext: &[u8], sealed: &mut BytesMut) {
        each_whole(&mut self.pending, plaintext, sealed, |blocks| self.encryptor.encrypt_blocks(blocks));
    }

    /// Appends the last block.
    pub(super) fn finish(mut self, padding: Padding, sealed: &mut BytesMut) {
        let count = BLOCK - self.pending.len();
        let value = match padding {
            Padding::Pkcs7 => u8::try_from(count).expect("at most 16"),
            Padding::Zero => 0,
        };
        let fill = [value; BLOCK];
        self.update(&fill[..count], sealed);
    }
}

/// Decrypts a body, block by block.
pub(super) struct CbcOpener {
    key: Zeroizing<[u8; 32]>,
    /// `None` until the IV was read.
    decryptor: Option<Decryptor>,
    pending: BytesMut,
}

impl CbcOpener {
    /// Without an `iv`, the first block of the ciphertext is the IV.
    pub(super) fn new(key: &[u8; 32], iv: Option<[u8; BLOCK]>) -> Self {
        let decryptor = iv.map(|iv| Decryptor::new(key.into(), &iv.into()));
        Self { key: Zeroizing::new(*key), decryptor, pending: BytesMut::new() }
    }

    /// Appends the plaintext of the whole blocks of `ciphertext` to `plaintext`.
    pub(super) fn update(&mut self, mut ciphertext: &[u8], plaintext: &mut BytesMut) {
        if self.decryptor.is_none() {
            let take = ciphertext.len().min(BLOCK - self.pending.len());
            self.pending.extend_from_slice(&ciphertext[..take]);
            ciphertext = &ciphertext[take..];
            let Ok(iv) = <[u8; BLOCK]>::try_from(&self.pending[..]) else { return };
            self.pending.clear();
            self.decryptor = Some(Decryptor::new((&*self.key).into(), &iv.into()));
        }
        let Some(decryptor) = self.decryptor.as_mut() else { return };
        each_whole(&mut self.pending, ciphertext, plaintext, |blocks| decryptor.decrypt_blocks(blocks));
    }

    /// Whether whole blocks were read, and nothing is left.
    pub(super) fn is_whole(&self) -> bool {
        self.decryptor.is_some() && self.pending.is_empty()
    }
}

/// Appends the whole blocks of `pending | input` to `output`, transforms them there, and keeps the rest in
/// `pending`.
fn each_whole(
    pending: &mut BytesMut,
    input: &[u8],
    output: &mut BytesMut,
    transform: impl FnOnce(&mut [Block<Aes256>]),
) {
    let whole = (pending.len() + input.len()) / BLOCK * BLOCK;
    if whole == 0 {
        pending.extend_from_slice(input);
        return;
    }
    let start = output.len();
    let taken = whole - pending.len();
    output.extend_from_slice(pending);
    output.extend_from_slice(&input[..taken]);
    pending.clear();
    pending.extend_from_slice(&input[taken..]);
    let (blocks, rest) = Block::<Aes256>::slice_as_chunks_mut(&mut output[start..]);
    debug_assert!(rest.is_empty(), "whole blocks were appended");
    transform(blocks);
}

#[cfg(test)]
mod tests;
