//! The sans-IO decoder: bytes in any framing go in, the body's bytes come out, the verdict at the end.

use aws_lc_rs::digest;
use bytes::{Buf, Bytes};
use thiserror::Error;

use super::{CRLF, Trailers};
use crate::sigv4::payload::{ChunkedPayload, Framing};
use crate::wire::error_code::ErrorCode;

/// `ffffffffffffffff;chunk-signature=<64 digits>\r\n` has 99 bytes; the limit doubles it.
const MAX_CHUNK_HEADER_LEN: usize = 200;
/// All trailer lines together: a signature and a SHA-256 or two fit many times over.
const MAX_TRAILERS_LEN: usize = 4 * 1024;
/// Digits of a chunk's size: as many as 64 bits have.
const MAX_SIZE_DIGITS: usize = 16;

const CHUNK_SIGNATURE: &str = "chunk-signature=";
const TRAILER_SIGNATURE: &str = "x-amz-trailer-signature";

/// What came out of some input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// Bytes of the body, never empty, a slice of the input; unverified until `finish` said so.
    Data(Bytes),
    /// All input is used up.
    NeedMore,
}

/// Why an aws-chunked body is not what the client meant to send; nothing of it may become an object.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ChunkError {
    /// A chunk header that is not `<hex size>\r\n` or, signed, `<hex size>;chunk-signature=<hex>\r\n`.
    #[error("The request body is not well-formed aws-chunked: bad chunk header")]
    BadChunkHeader,
    /// No line break where a chunk's data ends.
    #[error("The request body is not well-formed aws-chunked: chunk data is not followed by CRLF")]
    BadChunkEnd,
    /// A trailer line that is malformed, occurs twice or comes after the trailer signature.
    #[error("The request contained trailing data that was not well-formed")]
    BadTrailer,
    /// More trailer bytes than any client sends.
    #[error("The trailing headers are longer than {limit} bytes")]
    TrailersTooLong {
        /// The most there may be, in bytes.
        limit: usize,
    },
    /// A trailer `x-amz-trailer` did not announce.
    #[error("The trailing header {0} was not announced in x-amz-trailer")]
    TrailerNotAnnounced(String),
    /// A trailer `x-amz-trailer` announced that did not come.
    #[error("The trailing header {0} was announced in x-amz-trailer but is missing")]
    TrailerMissing(String),
    /// Bytes after the end of the body.
    #[error("The request body goes on after its last chunk")]
    DataAfterEnd,
    /// More data than `x-amz-decoded-content-length` said.
    #[error("The request body is longer than x-amz-decoded-content-length")]
    TooLong,
    /// The body ended early: within the framing, or short of `x-amz-decoded-content-length`.
    #[error("You did not provide the number of bytes specified by the Content-Length HTTP header.")]
    Incomplete,
    /// A chunk's signature is wrong: its data, its place or its secret is another.
    #[error("A chunk signature we calculated does not match the signature you provided.")]
    ChunkSignatureDoesNotMatch,
    /// The trailer signature is wrong or missing.
    #[error("The trailer signature we calculated does not match the signature you provided.")]
    TrailerSignatureDoesNotMatch,
}

impl ChunkError {
    /// The error code of S3 for this error.
    pub fn s3_code(&self) -> ErrorCode {
        match self {
            Self::BadChunkHeader | Self::BadChunkEnd | Self::DataAfterEnd => ErrorCode::InvalidRequest,
            Self::BadTrailer
            | Self::TrailersTooLong { .. }
            | Self::TrailerNotAnnounced(_)
            | Self::TrailerMissing(_) => ErrorCode::MalformedTrailerError,
            Self::TooLong | Self::Incomplete => ErrorCode::IncompleteBody,
            Self::ChunkSignatureDoesNotMatch | Self::TrailerSignatureDoesNotMatch => {
                ErrorCode::SignatureDoesNotMatch
            }
        }
    }
}

/// Takes one aws-chunked body apart.
///
/// Feed it every byte with [`decode`](Self::decode), then ask [`finish`](Self::finish). Data comes out as
/// soon as it is there, before its chunk's signature was seen: hold back the last of it until `finish`.
#[derive(Debug)]
pub struct AwsChunkedDecoder {
    framing: Framing,
    /// The bytes that remain of `x-amz-decoded-content-length`.
    room: Option<u64>,
    announced: Vec<String>,
    trailers: Trailers,
    section: TrailerSection,
    state: State,
    /// The part of a line that came so far.
    line: Vec<u8>,
}

#[derive(Debug)]
enum State {
    ChunkHeader,
    ChunkData { left: u64, check: Option<ChunkCheck> },
    ChunkEnd,
    Trailers,
    Failed(ChunkError),
}

/// A signed chunk on its way in.
struct ChunkCheck {
    hash: digest::Context,
    provided: String,
}

impl std::fmt::Debug for ChunkCheck {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ChunkCheck")
    }
}

/// Progress after the chunk of size zero.
#[derive(Debug, Default)]
struct TrailerSection {
    /// Bytes of all lines so far.
    len: usize,
    /// Empty lines so far. One ends the section; AWS's own example and some SDKs put one more before the
    /// trailer signature or at the very end, others none at all.
    blank_lines: u8,
    /// The trailer signature came and was right.
    signed: bool,
}

impl AwsChunkedDecoder {
    /// Starts a body framed as its head said.
    pub fn new(payload: ChunkedPayload) -> Self {
        let ChunkedPayload { framing, decoded_length, announced } = payload;
        Self {
            framing,
            room: decoded_length,
            announced,
            trailers: Trailers::default(),
            section: TrailerSection::default(),
            state: State::ChunkHeader,
            line: Vec::new(),
        }
    }

    /// Uses up bytes from the front of `input` until there is data or no input; call again until
    /// [`Decoded::NeedMore`].
    ///
    /// # Errors
    /// [`ChunkError`], as soon as it can be known; every later call repeats it.
    pub fn decode(&mut self, input: &mut Bytes) -> Result<Decoded, ChunkError> {
        let outcome = self.step_until_data(input);
        if let Err(error) = &outcome {
            self.state = State::Failed(error.clone());
        }
        outcome
    }

    /// Says whether the body that was fed is whole and genuine, and gives its trailers.
    ///
    /// # Errors
    /// The error `decode` reported, or what only the end shows: [`ChunkError::Incomplete`],
    /// [`ChunkError::TrailerMissing`], [`ChunkError::TrailerSignatureDoesNotMatch`].
    pub fn finish(self) -> Result<Trailers, ChunkError> {
        match self.state {
            State::Trailers => {}
            State::Failed(error) => return Err(error),
            State::ChunkHeader | State::ChunkData { .. } | State::ChunkEnd => {
                return Err(ChunkError::Incomplete);
            }
        }
        if !self.line.is_empty() || self.room.is_some_and(|room| room > 0) {
            return Err(ChunkError::Incomplete);
        }
        match self.framing {
            Framing::Signed(_) => return Ok(self.trailers),
            Framing::SignedTrailer(_) if !self.section.signed && !self.announced.is_empty() => {
                return Err(ChunkError::TrailerSignatureDoesNotMatch);
            }
            Framing::SignedTrailer(_) | Framing::UnsignedTrailer => {}
        }
        match self.announced.into_iter().find(|name| self.trailers.value(name).is_none()) {
            Some(missing) => Err(ChunkError::TrailerMissing(missing)),
            None => Ok(self.trailers),
        }
    }

    fn step_until_data(&mut self, input: &mut Bytes) -> Result<Decoded, ChunkError> {
        while !input.is_empty() {
            match &mut self.state {
                State::ChunkHeader => {
                    if take_line(&mut self.line, input, MAX_CHUNK_HEADER_LEN)
                        .ok_or(ChunkError::BadChunkHeader)?
                    {
                        self.begin_chunk()?;
                    }
                }
                State::ChunkData { left, check } => {
                    let here = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                    let data = input.split_to(here);
                    *left -= here as u64;
                    if let Some(check) = check {
                        check.hash.update(&data);
                    }
                    if *left == 0 {
                        let check = check.take();
                        self.state = State::ChunkEnd;
                        self.verify_chunk(check)?;
                    }
                    return Ok(Decoded::Data(data));
                }
                State::ChunkEnd => {
                    self.line.push(input.get_u8());
                    if !CRLF.starts_with(&self.line) {
                        return Err(ChunkError::BadChunkEnd);
                    }
                    if self.line == CRLF {
                        self.line.clear();
                        self.state = State::ChunkHeader;
                    }
                }
                State::Trailers => {
                    let limit = MAX_TRAILERS_LEN - self.section.len;
                    let too_long = ChunkError::TrailersTooLong { limit: MAX_TRAILERS_LEN };
                    if take_line(&mut self.line, input, limit).ok_or(too_long)? {
                        self.section.len += self.line.len();
                        self.end_trailer_line()?;
                    }
                }
                State::Failed(error) => return Err(error.clone()),
            }
        }
        match &self.state {
            State::Failed(error) => Err(error.clone()),
            State::ChunkHeader | State::ChunkData { .. } | State::ChunkEnd | State::Trailers => {
                Ok(Decoded::NeedMore)
            }
        }
    }

    /// `self.line` is a whole chunk header.
    fn begin_chunk(&mut self) -> Result<(), ChunkError> {
        let line = std::mem::take(&mut self.line);
        let header = line.strip_suffix(CRLF).and_then(|header| str::from_utf8(header).ok());
        let header = header.ok_or(ChunkError::BadChunkHeader)?;
        let (size, check) = match &self.framing {
            Framing::UnsignedTrailer => (parse_size(header)?, None),
            Framing::Signed(_) | Framing::SignedTrailer(_) => {
                let (size, extension) = header.split_once(';').ok_or(ChunkError::BadChunkHeader)?;
                let provided = extension.strip_prefix(CHUNK_SIGNATURE).ok_or(ChunkError::BadChunkHeader)?;
                let hash = digest::Context::new(&digest::SHA256);
                (parse_size(size)?, Some(ChunkCheck { hash, provided: provided.to_owned() }))
            }
        };
        if let Some(room) = &mut self.room {
            *room = room.checked_sub(size).ok_or(ChunkError::TooLong)?;
        }
        if size == 0 {
            self.state = State::Trailers;
            return self.verify_chunk(check);
        }
        self.state = State::ChunkData { left: size, check };
        Ok(())
    }

    /// The chunk's data was all there; if its framing signs chunks, its signature must be right.
    fn verify_chunk(&mut self, check: Option<ChunkCheck>) -> Result<(), ChunkError> {
        let right = match (&mut self.framing, check) {
            (Framing::UnsignedTrailer, _) => true,
            (
                Framing::Signed(signer) | Framing::SignedTrailer(signer),
                Some(ChunkCheck { hash, provided }),
            ) => signer.chunk_matches(hash.finish().as_ref(), &provided),
            (Framing::Signed(_) | Framing::SignedTrailer(_), None) => false,
        };
        if right { Ok(()) } else { Err(ChunkError::ChunkSignatureDoesNotMatch) }
    }

    /// `self.line` is a whole line after the last chunk.
    fn end_trailer_line(&mut self) -> Result<(), ChunkError> {
        let line = std::mem::take(&mut self.line);
        let section = &mut self.section;
        // AWS's example separates a trailer from what follows by a bare line feed.
        let line = line.strip_suffix(CRLF).or_else(|| line.strip_suffix(b"\n")).unwrap_or(&line);
        if line.is_empty() {
            section.blank_lines += 1;
            return match &self.framing {
                Framing::Signed(_) if section.blank_lines > 1 => Err(ChunkError::DataAfterEnd),
                Framing::SignedTrailer(_) | Framing::UnsignedTrailer if section.blank_lines > 2 => {
                    Err(ChunkError::DataAfterEnd)
                }
                Framing::Signed(_) | Framing::SignedTrailer(_) | Framing::UnsignedTrailer => Ok(()),
            };
        }
        let signer = match &mut self.framing {
            Framing::Signed(_) => return Err(ChunkError::DataAfterEnd),
            Framing::UnsignedTrailer if section.blank_lines > 0 => return Err(ChunkError::DataAfterEnd),
            Framing::UnsignedTrailer => None,
            Framing::SignedTrailer(_) if section.signed => return Err(ChunkError::BadTrailer),
            Framing::SignedTrailer(signer) => Some(signer),
        };
        let (name, value) = parse_trailer(line)?;
        if let Some(signer) = signer {
            if name == TRAILER_SIGNATURE {
                section.signed = true;
                let right = signer.trailers_match(&self.trailers.canonical(), &value);
                return if right { Ok(()) } else { Err(ChunkError::TrailerSignatureDoesNotMatch) };
            }
            if section.blank_lines > 0 {
                return Err(ChunkError::DataAfterEnd);
            }
        }
        if !self.announced.contains(&name) {
            return Err(ChunkError::TrailerNotAnnounced(name));
        }
        if self.trailers.value(&name).is_some() {
            return Err(ChunkError::BadTrailer);
        }
        self.trailers.push(name, value);
        Ok(())
    }
}

/// Moves bytes up to and with a line feed from `input` to `line`: whether the line is whole, or `None` if it
/// gets longer than `limit`.
fn take_line(line: &mut Vec<u8>, input: &mut Bytes, limit: usize) -> Option<bool> {
    let room = limit.saturating_sub(line.len());
    let end = input.iter().take(room).position(|&byte| byte == b'\n');
    let here = end.map_or(input.len(), |end| end + 1);
    if here > room {
        return None;
    }
    line.extend_from_slice(&input.split_to(here));
    Some(end.is_some())
}

fn parse_size(digits: &str) -> Result<u64, ChunkError> {
    let is_size = (1..=MAX_SIZE_DIGITS).contains(&digits.len())
        && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    let size = if is_size { u64::from_str_radix(digits, 16).ok() } else { None };
    size.ok_or(ChunkError::BadChunkHeader)
}

fn parse_trailer(line: &[u8]) -> Result<(String, String), ChunkError> {
    let line = str::from_utf8(line).map_err(|_| ChunkError::BadTrailer)?;
    let (name, value) = line.split_once(':').ok_or(ChunkError::BadTrailer)?;
    let name = http::HeaderName::try_from(name).map_err(|_| ChunkError::BadTrailer)?;
    let value = value.trim();
    if value.bytes().any(|byte| byte.is_ascii_control()) {
        return Err(ChunkError::BadTrailer);
    }
    Ok((name.as_str().to_owned(), value.to_owned()))
}
