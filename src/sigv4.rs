//! Outbound signing and the aws-chunked encoder as the `upstream` room needs them.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use bytes::Bytes;

/// What `x-amz-content-sha256` says of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PayloadSigning {
    /// The SHA-256 of the body.
    Sha256([u8; 32]),
    /// `UNSIGNED-PAYLOAD`.
    Unsigned,
    /// `STREAMING-UNSIGNED-PAYLOAD-TRAILER`.
    StreamingUnsignedTrailer,
    /// The SHA-256 of nothing.
    Empty,
}

/// Why a request could not be signed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SignError(String);

/// Signs the request's head in place.
pub fn sign_request(
    parts: &mut http::request::Parts,
    payload: PayloadSigning,
    credentials: &Credentials,
    region: &str,
    now: SystemTime,
) -> Result<(), SignError> {
    let fail = |e: &dyn std::fmt::Display| SignError(e.to_string());
    let identity = credentials.clone().into();
    let mut settings = SigningSettings::default();
    settings.percent_encoding_mode = PercentEncodingMode::Single;
    settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name("s3")
        .time(now)
        .settings(settings)
        .build()
        .map_err(|e| fail(&e))?
        .into();
    let body = match payload {
        PayloadSigning::Sha256(hash) => {
            SignableBody::Precomputed(hash.iter().map(|b| format!("{b:02x}")).collect())
        }
        PayloadSigning::Unsigned => SignableBody::UnsignedPayload,
        PayloadSigning::StreamingUnsignedTrailer => SignableBody::StreamingUnsignedPayloadTrailer,
        PayloadSigning::Empty => SignableBody::Bytes(&[]),
    };
    let headers = parts
        .headers
        .iter()
        .map(|(name, value)| {
            Ok((name.as_str(), std::str::from_utf8(value.as_bytes()).map_err(|e| fail(&e))?))
        })
        .collect::<Result<Vec<_>, SignError>>()?;
    let request =
        SignableRequest::new(parts.method.as_str(), parts.uri.to_string(), headers.into_iter(), body)
            .map_err(|e| fail(&e))?;
    let (instructions, _) = sign(request, &params).map_err(|e| fail(&e))?.into_parts();
    let mut request = http::Request::from_parts(parts.clone(), ());
    instructions.apply_to_request_http1x(&mut request);
    *parts = request.into_parts().0;
    Ok(())
}

/// The bytes on the wire of `content_len` bytes in chunks of `chunk_size`, one trailer of `name:value`.
pub fn encoded_length(
    content_len: u64,
    chunk_size: u64,
    trailer_name: &str,
    trailer_value_len: usize,
) -> u64 {
    let whole = content_len / chunk_size;
    let rest = content_len % chunk_size;
    let framed = |len: u64| chunk_header(len).len() as u64 + len + 2;
    let mut total = whole * framed(chunk_size);
    if rest > 0 {
        total += framed(rest);
    }
    total + 3 + trailer_name.len() as u64 + 1 + trailer_value_len as u64 + 4
}

/// `<hex length>\r\n`.
pub fn chunk_header(len: u64) -> Bytes {
    Bytes::from(format!("{len:x}\r\n"))
}

/// `0\r\n<name>:<value>\r\n\r\n`.
pub fn end_with_trailer(name: &str, value: &str) -> Bytes {
    Bytes::from(format!("0\r\n{name}:{value}\r\n\r\n"))
}
