//! One request and its answer on a connection.

use std::io::{self, ErrorKind};

use super::tally::Tally;
use crate::http::{AnswerHead, Framing, Wire};

/// As much of an answer that was not wanted is quoted.
const QUOTED: usize = 400;

/// A connection that counts.
pub struct Exchange<'a> {
    wire: Wire,
    tally: &'a Tally,
    closes: bool,
}

/// What is done with an answer's content.
pub enum Content<'a> {
    /// Nothing.
    Dropped,
    /// It is gathered.
    Kept(&'a mut Vec<u8>),
    /// It must be this.
    Compared(&'a [u8]),
}

impl<'a> Exchange<'a> {
    pub fn new(wire: Wire, tally: &'a Tally) -> Self {
        Self { wire, tally, closes: false }
    }

    /// Whether the connection ended with the last answer.
    pub fn closes(&self) -> bool {
        self.closes
    }

    /// Sends a request and reads the answer, which must be a success.
    ///
    /// # Errors
    /// After a whole answer with status 503 (SlowDown): [`ErrorKind::ResourceBusy`].
    pub async fn run(&mut self, head: &[u8], body: &[u8], content: Content<'_>) -> io::Result<AnswerHead> {
        let tally = self.tally;
        let sent = match body.len() {
            0..=65_536 => {
                let sent = self.wire.write(head, body).await;
                tally.bytes(body.len() as u64);
                sent
            }
            _ => match self.wire.write(head, b"").await {
                Ok(()) => self.wire.write_counted(body, |count| tally.bytes(count as u64)).await,
                Err(error) => Err(error),
            },
        };
        let answer = self.wire.answer_to(sent).await?;
        self.closes = answer.closes;
        if !(200..300).contains(&answer.status) {
            let mut text = Vec::new();
            self.wire.body(answer.framing, |piece| text.extend_from_slice(piece)).await?;
            text.truncate(QUOTED);
            let text = String::from_utf8_lossy(&text).into_owned();
            let kind = if answer.status == 503 { ErrorKind::ResourceBusy } else { ErrorKind::Other };
            return Err(io::Error::new(kind, format!("status {}: {text}", answer.status)));
        }
        self.read(answer.framing, content).await?;
        Ok(answer)
    }

    async fn read(&mut self, framing: Framing, content: Content<'_>) -> io::Result<()> {
        let tally = self.tally;
        match content {
            Content::Dropped => {
                self.wire.body(framing, |piece| tally.bytes(piece.len() as u64)).await?;
            }
            Content::Kept(kept) => {
                self.wire.body(framing, |piece| kept.extend_from_slice(piece)).await?;
            }
            Content::Compared(expected) => {
                let (mut at, mut same) = (0, true);
                let compare = |piece: &[u8]| {
                    same &= expected.get(at..at + piece.len()) == Some(piece);
                    at += piece.len();
                };
                self.wire.body(framing, compare).await?;
                if !same || at != expected.len() {
                    return Err(io::Error::other("the content is not what was stored"));
                }
            }
        }
        Ok(())
    }
}
