//! What a request says about its body before the body comes.

use std::fmt;

use http::HeaderMap;

use super::chunk_signer::ChunkSigner;
use super::error::AuthError;
use super::header::single_header;
use crate::wire::header::TRAILER_NAMES;
use crate::wire::header::name::DECODED_CONTENT_LENGTH;
use crate::wire::hex;

/// Trailers one body may announce; S3 knows one per checksum algorithm.
const MAX_ANNOUNCED_TRAILERS: usize = 16;

/// How the body is bound to the signature, and what the caller owes before using it.
#[derive(Debug)]
pub enum Payload {
    /// `UNSIGNED-PAYLOAD`, or a presigned request that says nothing: the signature does not cover the body.
    Unsigned,
    /// The body's SHA-256; the caller compares before anything becomes an object.
    Sha256([u8; 32]),
    /// aws-chunked; the caller reads the body through [`AwsChunkedDecoder`](super::AwsChunkedDecoder).
    Chunked(ChunkedPayload),
}

/// An aws-chunked body that is about to come: its framing, the keys to check it, the lengths and trailers
/// promised.
#[derive(Debug)]
pub struct ChunkedPayload {
    pub(in crate::sigv4) framing: Framing,
    pub(in crate::sigv4) decoded_length: Option<u64>,
    /// Lowercase, as `x-amz-trailer` lists them; exactly these must follow the chunks.
    pub(in crate::sigv4) announced: Vec<String>,
}

impl ChunkedPayload {
    /// The body's length in bytes without framing (`x-amz-decoded-content-length`), if the client said it.
    pub fn decoded_length(&self) -> Option<u64> {
        self.decoded_length
    }

    /// The trailers the client promised (`x-amz-trailer`), lowercase.
    pub fn announced_trailers(&self) -> &[String] {
        &self.announced
    }

    pub(in crate::sigv4) fn new(framing: Framing, headers: &HeaderMap) -> Result<Self, AuthError> {
        let decoded_length = match single_header(headers, &DECODED_CONTENT_LENGTH)? {
            Some(text) => Some(parse_length(text).ok_or(AuthError::InvalidDecodedLength)?),
            None => None,
        };
        Ok(Self { framing, decoded_length, announced: announced_trailers(headers)? })
    }
}

/// The three ways S3 frames an aws-chunked body.
#[derive(Debug)]
pub(in crate::sigv4) enum Framing {
    /// Every chunk signed, no trailers.
    Signed(Box<ChunkSigner>),
    /// Every chunk and the trailers signed.
    SignedTrailer(Box<ChunkSigner>),
    /// Bare chunk sizes, unsigned trailers.
    UnsignedTrailer,
}

/// The legal values of `x-amz-content-sha256`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::sigv4) enum ContentSha256 {
    Unsigned,
    Sha256([u8; 32]),
    StreamingSigned,
    StreamingSignedTrailer,
    StreamingUnsignedTrailer,
}

impl ContentSha256 {
    pub(in crate::sigv4) fn parse(text: &str) -> Result<Self, AuthError> {
        match text {
            UNSIGNED_PAYLOAD => Ok(Self::Unsigned),
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" => Ok(Self::StreamingSigned),
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" => Ok(Self::StreamingSignedTrailer),
            STREAMING_UNSIGNED_TRAILER => Ok(Self::StreamingUnsignedTrailer),
            "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD"
            | "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER" => {
                Err(AuthError::EcdsaNotImplemented(text.to_owned()))
            }
            _ => hex::decode(text).map(Self::Sha256).ok_or(AuthError::InvalidContentSha256),
        }
    }
}

pub(in crate::sigv4) const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";
pub(in crate::sigv4) const STREAMING_UNSIGNED_TRAILER: &str = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";

impl fmt::Display for ContentSha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsigned => f.write_str(UNSIGNED_PAYLOAD),
            Self::Sha256(hash) => f.write_str(&hex::encode(hash)),
            Self::StreamingSigned => f.write_str("STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
            Self::StreamingSignedTrailer => f.write_str("STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"),
            Self::StreamingUnsignedTrailer => f.write_str(STREAMING_UNSIGNED_TRAILER),
        }
    }
}

fn parse_length(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { text.parse().ok() } else { None }
}

fn announced_trailers(headers: &HeaderMap) -> Result<Vec<String>, AuthError> {
    let mut announced = Vec::new();
    for value in headers.get_all(TRAILER_NAMES) {
        let list = value.to_str().map_err(|_| AuthError::AmbiguousHeader(TRAILER_NAMES))?;
        for name in list.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            let name = name.to_ascii_lowercase();
            if !announced.contains(&name) {
                announced.push(name);
            }
            if announced.len() > MAX_ANNOUNCED_TRAILERS {
                return Err(AuthError::TooManyTrailers { limit: MAX_ANNOUNCED_TRAILERS });
            }
        }
    }
    Ok(announced)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_legal_word_is_known_and_written_back() {
        for word in [
            "UNSIGNED-PAYLOAD",
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
            "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
            super::super::signing_key::EMPTY_SHA256,
        ] {
            assert_eq!(ContentSha256::parse(word).unwrap().to_string(), word);
        }
    }

    #[test]
    fn every_other_word_is_refused() {
        let hash = super::super::signing_key::EMPTY_SHA256;
        for word in ["", "unsigned-payload", &hash[1..], &format!("{hash}0"), &hash.replace('e', "g")] {
            assert_eq!(ContentSha256::parse(word), Err(AuthError::InvalidContentSha256), "{word}");
        }
        for word in
            ["STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD", "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER"]
        {
            assert_eq!(ContentSha256::parse(word), Err(AuthError::EcdsaNotImplemented(word.to_owned())));
        }
    }

    #[test]
    fn announced_trailers_are_few_and_lowercase() {
        let mut headers = HeaderMap::new();
        headers.append(TRAILER_NAMES, "X-Amz-Checksum-CRC32, x-amz-checksum-sha1".parse().unwrap());
        headers.append(TRAILER_NAMES, "x-amz-checksum-crc32".parse().unwrap());
        assert_eq!(announced_trailers(&headers).unwrap(), ["x-amz-checksum-crc32", "x-amz-checksum-sha1"]);
        for n in 0..MAX_ANNOUNCED_TRAILERS {
            headers.append(TRAILER_NAMES, format!("t{n}").parse().unwrap());
        }
        assert_eq!(
            announced_trailers(&headers),
            Err(AuthError::TooManyTrailers { limit: MAX_ANNOUNCED_TRAILERS })
        );
    }
}
