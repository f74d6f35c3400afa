//! `decrypt` for the foreign formats.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use bytes::BytesMut;

use super::{failed, refused};
use crate::cli::Failure;
use crate::envelope::StreamOpener;
use crate::envelope::article_cbc::CbcBody;
use crate::object::foreign::ForeignContent;

/// Size of one read, in bytes.
const PIECE: u64 = 64 * 1024;

/// Writes the plaintext of a body of `stored` bytes to `output`. A message is read twice: first to verify its
/// tag, then to write its plaintext.
pub(crate) fn open(
    content: &ForeignContent,
    mut body: File,
    stored: u64,
    output: &mut dyn Write,
) -> Result<(), Failure> {
    match content {
        ForeignContent::Plaintext | ForeignContent::InstructionFile => {
            pass(&mut body, StreamOpener::plaintext(stored), 0, stored, output)
        }
        ForeignContent::Message(message) => {
            let opener = || message.delayed(stored).map_err(refused);
            pass(&mut body, opener()?, 0, stored, &mut io::sink())?;
            pass(&mut body, opener()?, 0, stored, output)
        }
        ForeignContent::Chain(chain, recorded) => {
            let length = match recorded {
                Some(length) => *length,
                None => length_of(chain, &mut body, stored)?,
            };
            let Some(last) = length.checked_sub(1) else { return Ok(()) };
            let range = chain.slice(0, last);
            pass(&mut body, chain.opener(0, length), range.first(), range.len(), output)
        }
    }
}

/// The plaintext length of an AES-CBC body, determined by its padding.
fn length_of(chain: &CbcBody, body: &mut File, stored: u64) -> Result<u64, Failure> {
    let range = chain.tail(stored).map_err(refused)?;
    let mut tail = Vec::new();
    body.seek(SeekFrom::Start(range.first())).map_err(failed("reading the body"))?;
    Read::by_ref(body).take(range.len()).read_to_end(&mut tail).map_err(failed("reading the body"))?;
    chain.length_by_tail(stored, &tail).map_err(refused)
}

/// Decrypts `take` stored bytes, beginning with the offset `first`.
fn pass(
    body: &mut File,
    mut opener: StreamOpener,
    first: u64,
    mut take: u64,
    output: &mut dyn Write,
) -> Result<(), Failure> {
    let mut released = BytesMut::new();
    let mut piece = Vec::new();
    body.seek(SeekFrom::Start(first)).map_err(failed("reading the body"))?;
    while take > 0 {
        piece.clear();
        let read = Read::by_ref(body).take(take.min(PIECE)).read_to_end(&mut piece);
        read.map_err(failed("reading the body"))?;
        if piece.is_empty() {
            break;
        }
        take -= piece.len() as u64;
        opener.push(&piece, &mut released).map_err(refused)?;
        output.write_all(&released).map_err(failed("writing the plaintext"))?;
        released.clear();
    }
    opener.finish(&mut released).map_err(refused)?;
    output.write_all(&released).and_then(|()| output.flush()).map_err(failed("writing the plaintext"))
}
