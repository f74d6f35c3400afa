//! HTTP/1.1 on one connection, as thin as it goes: heads by httparse, bodies by their length or in chunks.

use std::io::{self, ErrorKind};

use crate::tls::Stream;

/// Bytes read at once: large enough that the tool's own system calls do not show beside a proxy's.
const BUFFER: usize = 256 * 1024;
/// More header fields than any request or answer of the benchmark has.
const MAX_FIELDS: usize = 64;

/// A connection and what was read from it and not used yet.
pub struct Wire {
    stream: Stream,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

/// How the length of a body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// By Content-Length.
    Length(u64),
    /// By chunks.
    Chunked,
}

/// The head of an answer.
#[derive(Debug)]
pub struct AnswerHead {
    /// The status code.
    pub status: u16,
    /// How the body ends.
    pub framing: Framing,
    /// Whether the connection ends with this answer.
    pub closes: bool,
    /// The ETag, as sent.
    pub etag: String,
}

impl Wire {
    /// A connection without Nagle's algorithm.
    pub fn new(stream: Stream) -> io::Result<Self> {
        stream.tcp().set_nodelay(true)?;
        Ok(Self { stream, buffer: vec![0; BUFFER], start: 0, end: 0 })
    }

    /// What was read already.
    fn unread(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Reads more; false at the end of the connection.
    async fn fill(&mut self) -> io::Result<bool> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            if self.end == self.buffer.len() {
                return Err(io::Error::new(ErrorKind::InvalidData, "a head longer than the buffer"));
            }
        }
        let count = self.stream.read(&mut self.buffer[self.end..]).await?;
        self.end += count;
        Ok(count > 0)
    }

    /// The next request's head, taken apart by `parse`; `None` when the client has hung up between requests.
    pub async fn request<T>(
        &mut self,
        parse: impl Fn(&httparse::Request<'_, '_>) -> io::Result<T>,
    ) -> io::Result<Option<T>> {
        loop {
            let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
            let mut request = httparse::Request::new(&mut fields);
            let status = request.parse(&self.buffer[self.start..self.end]).map_err(invalid)?;
            if let httparse::Status::Complete(length) = status {
                let parsed = parse(&request)?;
                self.start += length;
                return Ok(Some(parsed));
            }
            let begun = self.start < self.end;
            if !self.fill().await? {
                return if begun { Err(ErrorKind::UnexpectedEof.into()) } else { Ok(None) };
            }
        }
    }

    /// The next answer's head; interim answers are skipped.
    pub async fn answer(&mut self) -> io::Result<AnswerHead> {
        loop {
            let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
            let mut response = httparse::Response::new(&mut fields);
            let status = response.parse(&self.buffer[self.start..self.end]).map_err(invalid)?;
            if let httparse::Status::Complete(length) = status {
                let head = answer_head(&response)?;
                self.start += length;
                if head.status >= 200 {
                    return Ok(head);
                }
            } else if !self.fill().await? {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// The head of the response to a request that was `sent` or not: a server may refuse a request before all
    /// of it was sent, and the response says why.
    pub async fn answer_to(&mut self, sent: io::Result<()>) -> io::Result<AnswerHead> {
        match (self.answer().await, sent) {
            (Ok(answer), _) => Ok(answer),
            (Err(_), Err(error)) | (Err(error), Ok(())) => Err(error),
        }
    }

    /// Reads a body to its end and shows its pieces to `sink`.
    pub async fn body(&mut self, framing: Framing, mut sink: impl FnMut(&[u8])) -> io::Result<u64> {
        match framing {
            Framing::Length(length) => {
                self.take(length, &mut sink).await?;
                Ok(length)
            }
            Framing::Chunked => {
                let mut total = 0;
                loop {
                    let size = self.line().await?;
                    let digits = size.split(|byte| *byte == b';').next().unwrap_or_default();
                    let digits = str::from_utf8(digits).map_err(invalid)?;
                    let size = u64::from_str_radix(digits.trim(), 16).map_err(invalid)?;
                    if size == 0 {
                        while !self.line().await?.is_empty() {}
                        return Ok(total);
                    }
                    self.take(size, &mut sink).await?;
                    total += size;
                    if !self.line().await?.is_empty() {
                        return Err(invalid("a chunk longer than its size"));
                    }
                }
            }
        }
    }

    async fn take(&mut self, length: u64, sink: &mut impl FnMut(&[u8])) -> io::Result<()> {
        let mut left = length;
        while left > 0 {
            if self.start == self.end && !self.fill().await? {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            let unread = self.unread();
            let here = unread.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            sink(&unread[..here]);
            self.start += here;
            left -= here as u64;
        }
        Ok(())
    }

    /// A line without its CRLF.
    async fn line(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some(length) = self.unread().windows(2).position(|pair| pair == b"\r\n") {
                let line = self.unread()[..length].to_vec();
                self.start += length + 2;
                return Ok(line);
            }
            if !self.fill().await? {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Writes a head and the body behind it, together as far as the kernel takes them.
    pub async fn write(&mut self, head: &[u8], body: &[u8]) -> io::Result<()> {
        let mut written = 0;
        while written < head.len() {
            let slices = [io::IoSlice::new(&head[written..]), io::IoSlice::new(body)];
            let count = self.stream.write(&slices).await?;
            if count == 0 {
                return Err(ErrorKind::WriteZero.into());
            }
            written += count;
        }
        self.write_counted(&body[written - head.len()..], |_| {}).await
    }

    /// Writes a part of a body, to its end, and counts it as it goes.
    pub async fn write_counted(&mut self, mut body: &[u8], mut count: impl FnMut(usize)) -> io::Result<()> {
        while !body.is_empty() {
            let written = self.stream.write(&[io::IoSlice::new(body)]).await?;
            if written == 0 {
                return Err(ErrorKind::WriteZero.into());
            }
            count(written);
            body = &body[written..];
        }
        self.stream.flush().await
    }

    /// Ends the connection with a reset instead of an orderly end, where the system allows it.
    pub fn reset(self) {
        drop(self.stream.tcp().set_zero_linger());
    }
}

fn answer_head(response: &httparse::Response<'_, '_>) -> io::Result<AnswerHead> {
    let status = response.code.ok_or_else(|| invalid("an answer without a status"))?;
    let mut head = AnswerHead { status, framing: Framing::Length(0), closes: false, etag: String::new() };
    for field in response.headers.iter() {
        if field.name.eq_ignore_ascii_case("content-length") {
            head.framing = Framing::Length(number(field.value)?);
        } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
            head.framing = Framing::Chunked;
        } else if field.name.eq_ignore_ascii_case("connection") {
            head.closes = field.value.eq_ignore_ascii_case(b"close");
        } else if field.name.eq_ignore_ascii_case("etag") {
            head.etag = String::from_utf8_lossy(field.value).into_owned();
        }
    }
    Ok(head)
}

/// A decimal number in a header field.
pub fn number(text: &[u8]) -> io::Result<u64> {
    str::from_utf8(text).map_err(invalid)?.trim().parse().map_err(invalid)
}

/// What is not HTTP.
pub fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error)
}
