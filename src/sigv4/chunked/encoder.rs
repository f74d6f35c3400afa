//! The framing for the upstream hop: `STREAMING-UNSIGNED-PAYLOAD-TRAILER` with one checksum trailer.

use std::num::NonZeroU64;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use thiserror::Error;

use super::CRLF;

/// Data bytes in a chunk of ours. AWS refuses chunks under 8 KiB; stores cap them (16 MiB and less) or hold
/// one in memory; 128 KiB costs one frame in a thousand.
pub const UPSTREAM_CHUNK_SIZE: NonZeroU64 = NonZeroU64::new(128 << 10).expect("128 KiB is not zero");

/// What went into an encoder is not what it was made for.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EncodeError {
    /// The framed length does not fit 64 bits.
    #[error("a body of {0} bytes is too long to frame")]
    LengthOverflow(u64),
    /// More data than the length announced.
    #[error("more data than the {0} bytes announced")]
    TooLong(u64),
    /// Less data than the length announced.
    #[error("{missing} bytes short of the length announced")]
    Incomplete {
        /// How many are missing.
        missing: u64,
    },
    /// The trailer's value has another length than announced, or is not fit for a header.
    #[error("the trailer's value is not {expected} bytes of header text")]
    TrailerValue {
        /// The length announced, in bytes.
        expected: usize,
    },
}

/// The framed length, in bytes, of `content_length` bytes in chunks of `chunk_size` with one trailer; `None`
/// if it does not fit 64 bits.
pub fn encoded_length(
    content_length: u64,
    chunk_size: NonZeroU64,
    trailer_name: &HeaderName,
    trailer_value_len: usize,
) -> Option<u64> {
    let framing = |size: u64| u64::from(hex_digits(size)) + 4;
    let whole = content_length / chunk_size;
    let rest = content_length % chunk_size;
    let rest_framing = if rest == 0 { 0 } else { framing(rest) };
    // "0\r\n" name ":" value "\r\n\r\n"
    let end = 3 + trailer_name.as_str().len() + 1 + trailer_value_len + 4;
    whole
        .checked_mul(framing(chunk_size.get()))?
        .checked_add(content_length)?
        .checked_add(rest_framing)?
        .checked_add(u64::try_from(end).ok()?)
}

/// Frames a body whose length is known, without copying or gathering it: every chunk but the last has exactly
/// the chunk size, however the data comes, so the framed length is known beforehand.
#[derive(Debug)]
pub struct AwsChunkedEncoder {
    content_length: u64,
    encoded_length: u64,
    chunk_size: NonZeroU64,
    trailer_name: HeaderName,
    trailer_value_len: usize,
    /// Data bytes still to come.
    left: u64,
    /// Data bytes still to come in the chunk that was begun.
    left_in_chunk: u64,
}

impl AwsChunkedEncoder {
    /// Prepares for `content_length` bytes and a trailer of this name with a value of `trailer_value_len`
    /// bytes.
    ///
    /// # Errors
    /// [`EncodeError::LengthOverflow`].
    pub fn new(
        content_length: u64,
        chunk_size: NonZeroU64,
        trailer_name: HeaderName,
        trailer_value_len: usize,
    ) -> Result<Self, EncodeError> {
        let encoded_length = encoded_length(content_length, chunk_size, &trailer_name, trailer_value_len)
            .ok_or(EncodeError::LengthOverflow(content_length))?;
        Ok(Self {
            content_length,
            encoded_length,
            chunk_size,
            trailer_name,
            trailer_value_len,
            left: content_length,
            left_in_chunk: 0,
        })
    }

    /// The `Content-Length` of the framed body.
    pub fn encoded_length(&self) -> u64 {
        self.encoded_length
    }

    /// Frames `data`; gives the pieces to send, in order, to `send`.
    ///
    /// # Errors
    /// [`EncodeError::TooLong`], before any piece of this call was sent.
    pub fn encode(&mut self, mut data: Bytes, mut send: impl FnMut(Bytes)) -> Result<(), EncodeError> {
        if data.len() as u64 > self.left {
            return Err(EncodeError::TooLong(self.content_length));
        }
        while !data.is_empty() {
            if self.left_in_chunk == 0 {
                self.left_in_chunk = self.left.min(self.chunk_size.get());
                send(Bytes::from(format!("{:x}\r\n", self.left_in_chunk)));
            }
            let here = usize::try_from(self.left_in_chunk).unwrap_or(usize::MAX).min(data.len());
            send(data.split_to(here));
            self.left -= here as u64;
            self.left_in_chunk -= here as u64;
            if self.left_in_chunk == 0 {
                send(Bytes::from_static(CRLF));
            }
        }
        Ok(())
    }

    /// The chunk of size zero and the trailer: the last bytes of the body.
    ///
    /// # Errors
    /// [`EncodeError::Incomplete`] and [`EncodeError::TrailerValue`]; the request must then be cut.
    pub fn finish(self, trailer_value: &str) -> Result<Bytes, EncodeError> {
        if self.left > 0 {
            return Err(EncodeError::Incomplete { missing: self.left });
        }
        if trailer_value.len() != self.trailer_value_len || HeaderValue::from_str(trailer_value).is_err() {
            return Err(EncodeError::TrailerValue { expected: self.trailer_value_len });
        }
        Ok(Bytes::from(format!("0\r\n{}:{trailer_value}\r\n\r\n", self.trailer_name)))
    }
}

fn hex_digits(size: u64) -> u32 {
    size.max(1).ilog2() / 4 + 1
}
