//! A stored object and the answers that give it out.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::http::invalid;

/// The modification time of every object, so that no clock is read.
pub(super) const STORED: &str = "Wed, 01 Jan 2025 00:00:00 GMT";
/// [`STORED`] as XML documents have it.
pub(super) const STORED_XML: &str = "2025-01-01T00:00:00.000Z";

/// A stored object.
pub(super) struct Object {
    content: Vec<u8>,
    /// Quoted; no MD5, and without a `-`, as of an object that is encrypted and was stored by one PUT.
    pub(super) etag: String,
    /// Header lines of every answer.
    fields: Vec<u8>,
}

impl Object {
    pub(super) fn new(content: Vec<u8>, metadata: &[u8]) -> Self {
        Self::with_etag(content, metadata, new_etag())
    }

    pub(super) fn with_etag(content: Vec<u8>, metadata: &[u8], etag: String) -> Self {
        let mut fields = format!(
            "x-amz-request-id: BENCH\r\nLast-Modified: {STORED}\r\nETag: {etag}\r\nAccept-Ranges: bytes\r\n"
        )
        .into_bytes();
        fields.extend_from_slice(metadata);
        fields.extend_from_slice(b"\r\n");
        Self { content, etag, fields }
    }

    pub(super) fn len(&self) -> usize {
        self.content.len()
    }

    /// The head of an answer, and the content it announces.
    pub(super) fn answer(&self, range: Option<(Option<u64>, Option<u64>)>) -> (Vec<u8>, &[u8]) {
        let total = self.content.len();
        let at = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX).min(total);
        let (first, end) = match range {
            None => (0, total),
            Some((None, Some(suffix))) => (total - at(suffix), total),
            Some((first, None)) => (at(first.unwrap_or(0)), total),
            Some((Some(first), Some(last))) => (at(first), at(last.saturating_add(1)).max(at(first))),
        };
        let mut head = match range {
            None => format!("HTTP/1.1 200 OK\r\nContent-Length: {total}\r\n"),
            Some(_) if first >= end => {
                let head = "HTTP/1.1 416 X\r\nContent-Length: 0\r\n\r\n";
                return (head.as_bytes().to_vec(), &[]);
            }
            Some(_) => format!(
                "HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\nContent-Range: bytes {first}-{}/{total}\r\n",
                end - first,
                end - 1
            ),
        }
        .into_bytes();
        head.extend_from_slice(&self.fields);
        (head, &self.content[first..end])
    }
}

/// A unique ETag of 64 hexadecimal digits. An ETag that is not a digest would keep listings from giving
/// sizes, and one that looks like an MD5 would be taken for the content's.
pub(super) fn new_etag() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("\"{:064x}\"", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The content of a body in aws-chunked framing; signatures and trailers are not looked at.
pub(super) fn unframed(mut body: &[u8]) -> io::Result<Vec<u8>> {
    let mut content = Vec::with_capacity(body.len());
    loop {
        let line = body.windows(2).position(|pair| pair == b"\r\n").ok_or_else(|| invalid("a torn chunk"))?;
        let digits = body[..line].split(|byte| *byte == b';').next().unwrap_or_default();
        let size = usize::from_str_radix(str::from_utf8(digits).map_err(invalid)?, 16).map_err(invalid)?;
        if size == 0 {
            return Ok(content);
        }
        let chunk =
            body.get(line + 2..line + 2 + size).ok_or_else(|| invalid("a chunk that is too short"))?;
        content.extend_from_slice(chunk);
        body = body.get(line + size + 4..).ok_or_else(|| invalid("a chunk without an end"))?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_as_s3_gives_them() {
        let object = Object::new(b"0123456789".to_vec(), b"");
        let content = |range| object.answer(range).1;
        assert_eq!(content(None), b"0123456789");
        assert_eq!(content(Some((Some(2), Some(4)))), b"234");
        assert_eq!(content(Some((Some(8), Some(99)))), b"89");
        assert_eq!(content(Some((Some(7), None))), b"789");
        assert_eq!(content(Some((None, Some(3)))), b"789");
        assert!(object.answer(Some((Some(10), None))).0.starts_with(b"HTTP/1.1 416"));
    }

    #[test]
    fn aws_chunked_framing_is_taken_off() {
        let framed = b"3;chunk-signature=00\r\nabc\r\n2\r\nde\r\n0\r\nx-amz-checksum-crc32:AAAA\r\n\r\n";
        assert_eq!(unframed(framed).expect("it is well formed"), b"abcde");
        assert!(unframed(b"5\r\nabc").is_err());
    }
}
