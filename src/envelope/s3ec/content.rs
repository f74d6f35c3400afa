//! The content of an object under its key.
//!
//! It must not know the object's entries. It promises that everything that can be verified before its release
//! is, and names what can't.

use bytes::BytesMut;

use super::S3ecError;
use crate::envelope::aes_cbc::{AcceptedPadding, CbcBody};
use crate::envelope::aes_gcm::{BLOCK, Keystream, MessageKey};
use crate::envelope::stream::StreamOpener;
use crate::envelope::{DataKey, aes_gcm};

/// The content of an object whose data key was unwrapped.
pub enum Content {
    /// V2 with AES-GCM, and V3.
    Message(MessageBody),
    /// AES-CBC.
    Cbc(CbcBody),
}

/// One AES-GCM message with its tag at the end.
pub struct MessageBody(MessageKey);

impl Content {
    pub(super) fn message(key: MessageKey) -> Self {
        Self::Message(MessageBody(key))
    }

    pub(super) fn cbc(data_key: &DataKey, iv: [u8; BLOCK]) -> Self {
        Self::Cbc(CbcBody::new(data_key.expose(), Some(iv), AcceptedPadding::Pkcs7))
    }
}

impl MessageBody {
    /// Plaintext bytes of a body of `stored` bytes.
    ///
    /// # Errors
    /// [`S3ecError::Length`] when no plaintext has that length.
    pub fn plaintext_length(stored: u64) -> Result<u64, S3ecError> {
        let plaintext = stored.checked_sub(aes_gcm::TAG as u64).ok_or(S3ecError::Length)?;
        if plaintext > aes_gcm::MAX_PLAINTEXT { Err(S3ecError::Length) } else { Ok(plaintext) }
    }

    /// Opens a whole body in memory: nothing is released unless all of it is authentic.
    ///
    /// # Errors
    /// [`S3ecError::Tag`] when it is not.
    pub fn open_whole(&self, stored: BytesMut) -> Result<BytesMut, S3ecError> {
        self.0.open_whole(stored).ok_or(S3ecError::Tag)
    }

    /// Opens a whole body of `stored` bytes as a stream. All but the last bytes of its plaintext are released
    /// before they are authenticated.
    ///
    /// # Errors
    /// [`S3ecError::Length`] when no plaintext has that length.
    pub fn delayed(&self, stored: u64) -> Result<StreamOpener, S3ecError> {
        Ok(StreamOpener::message(&self.0, Self::plaintext_length(stored)?))
    }

    /// Opens the stored bytes from offset `first - first % 16` on without authenticating them, and releases
    /// `length` plaintext bytes from offset `first` on.
    ///
    /// # Errors
    /// [`S3ecError::Length`] when no message is that long.
    pub fn view(&self, first: u64, length: u64) -> Result<StreamOpener, S3ecError> {
        let end = first.checked_add(length).filter(|end| *end <= super::MAX_PLAINTEXT);
        end.ok_or(S3ecError::Length)?;
        let block = u32::try_from(first / BLOCK as u64).map_err(|_| S3ecError::Length)?;
        Ok(StreamOpener::view(Keystream::new(&self.0, block), first % BLOCK as u64, length))
    }
}
