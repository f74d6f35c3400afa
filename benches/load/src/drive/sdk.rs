//! A PUT as SDKs send it: aws-chunked, with a CRC-32 of the content in a trailer, inside HTTP's own chunks.
//! Must not know signatures. The sizes of the chunks are those of boto3.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crc_fast::{CrcAlgorithm, checksum};

/// The payload word of such a request.
pub const PAYLOAD: &str = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";
/// Content in one aws-chunk: as botocore.
const AWS_CHUNK: usize = 1 << 20;
/// Bytes in one chunk of HTTP: as urllib3.
const HTTP_CHUNK: usize = 16 << 10;

/// The header lines besides those of every request.
pub fn headers(content: &[u8]) -> String {
    format!(
        "Transfer-Encoding: chunked\r\ncontent-encoding: aws-chunked\r\nx-amz-decoded-content-length: {}\r\n\
         x-amz-sdk-checksum-algorithm: CRC32\r\nx-amz-trailer: x-amz-checksum-crc32\r\n",
        content.len()
    )
}

/// The body, as it is sent.
pub fn body(content: &[u8]) -> Vec<u8> {
    let crc = checksum(CrcAlgorithm::Crc32IsoHdlc, content).to_be_bytes();
    let trailer = format!("0\r\nx-amz-checksum-crc32:{}\r\n\r\n", STANDARD.encode(&crc[4..]));
    chunked(&chunked(content, AWS_CHUNK, &trailer), HTTP_CHUNK, "0\r\n\r\n")
}

fn chunked(content: &[u8], size: usize, end: &str) -> Vec<u8> {
    let mut framed = Vec::with_capacity(content.len() + 16 * (content.len() / size + 1) + end.len());
    for chunk in content.chunks(size) {
        framed.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        framed.extend_from_slice(chunk);
        framed.extend_from_slice(b"\r\n");
    }
    framed.extend_from_slice(end.as_bytes());
    framed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_follows_the_content_in_a_trailer() {
        let inner = "9\r\n123456789\r\n0\r\nx-amz-checksum-crc32:y/Q5Jg==\r\n\r\n";
        let body = body(b"123456789");
        let outer = format!("{:x}\r\n{inner}\r\n0\r\n\r\n", inner.len());
        assert_eq!(String::from_utf8_lossy(&body), outer);
    }
}
