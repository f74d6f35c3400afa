//! aws-chunked: `<hex size>[;chunk-signature=<hex>]\r\n<data>\r\n`, a chunk of size zero, then trailers.
//!
//! Sources: S3's "Transferring Payload in Multiple Chunks" and "Including Trailing Headers".

mod decoder;
mod encoder;
mod trailers;

#[cfg(test)]
mod tests;

pub use decoder::{AwsChunkedDecoder, ChunkError, Decoded};
pub use encoder::{AwsChunkedEncoder, EncodeError, UPSTREAM_CHUNK_SIZE, encoded_length};
pub use trailers::Trailers;

const CRLF: &[u8] = b"\r\n";
