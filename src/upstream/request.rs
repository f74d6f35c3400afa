//! A request made ready once, so that every attempt needs only a signature: address, headers, framing.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header, request};
use md5::{Digest, Md5};
use tokio::sync::oneshot;

use super::address::Address;
use super::error::UpstreamError;
use super::outgoing::{ExactLength, OutgoingBody, Streamed, Upload, wire_length};
use super::retry::{Pace, Replay};
use super::{BoxBody, UpstreamBody, UpstreamRequest};
use crate::s3::headers::HOP_BY_HOP;
use crate::sigv4::PayloadSigning;
use crate::wire::checksum::{ChecksumAlgorithm, checksum};
use crate::wire::digest::sha256;
use crate::wire::header::{
    CONTENT_MD5, CONTENT_SHA256, DATE, DECODED_CONTENT_LENGTH, SDK_CHECKSUM_ALGORITHM, SECURITY_TOKEN,
    TRAILER_NAMES,
};

/// Who speaks upstream, unless the request says it already.
const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("s3veil/", env!("CARGO_PKG_VERSION")));

/// What only this hop may say beside [`HOP_BY_HOP`]: framing, identity. `Accept-Encoding` is among them because bodies are
/// wanted as they are stored, never recoded on the way.
static OF_THIS_HOP: [HeaderName; 11] = [
    header::ACCEPT_ENCODING,
    header::AUTHORIZATION,
    header::CONTENT_LENGTH,
    header::DATE,
    header::EXPECT,
    header::HOST,
    HeaderName::from_static(CONTENT_SHA256),
    HeaderName::from_static(DATE),
    HeaderName::from_static(DECODED_CONTENT_LENGTH),
    HeaderName::from_static(SECURITY_TOKEN),
    HeaderName::from_static(TRAILER_NAMES),
];

/// A request but for its signature.
pub(super) struct Prepared {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    payload: Payload,
    pace: Pace,
}

enum Payload {
    Whole { bytes: Bytes, signing: PayloadSigning },
    Streamed { upload: Arc<Upload>, length: u64, algorithm: Option<ChecksumAlgorithm> },
}

/// What protects content on its way besides its checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hop {
    /// TLS, or no network at all.
    Protected,
    /// Plain HTTP: content in memory is signed with its SHA-256, which costs 0.7 ms per MiB.
    Open,
}

impl Prepared {
    pub(super) async fn new(
        request: UpstreamRequest,
        address: &Address,
        hop: Hop,
        algorithm: Option<ChecksumAlgorithm>,
    ) -> Result<Self, UpstreamError> {
        let pace = Pace::of(&request);
        let UpstreamRequest { method, bucket, object, query, mut headers, body } = request;
        let (uri, host) = address.locate(bucket.as_ref(), object.as_ref(), &query)?;
        for name in HOP_BY_HOP.iter().chain(&OF_THIS_HOP) {
            headers.remove(name);
        }
        headers.insert(header::HOST, host);
        headers.entry(header::USER_AGENT).or_insert(USER_AGENT);
        let payload = match body {
            UpstreamBody::Empty => empty(&method, &mut headers),
            UpstreamBody::Buffered(bytes) => buffered(bytes, &mut headers),
            UpstreamBody::Content(bytes) => content(bytes, hop, algorithm, &mut headers),
            UpstreamBody::StreamedContent { body, length: 0 } => {
                // hyper asks a body of no length for nothing, so its verdict is heard here.
                ended(body).await?;
                content(Bytes::new(), hop, algorithm, &mut headers)
            }
            UpstreamBody::StreamedContent { body, length } => {
                announce_stream(length, algorithm, &mut headers)?;
                Payload::Streamed { upload: Upload::new(body), length, algorithm }
            }
        };
        Ok(Self { method, uri, headers, payload, pace })
    }

    /// The unsigned head of one attempt.
    pub(super) fn head(&self) -> request::Parts {
        let mut request = http::Request::new(());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        request.into_parts().0
    }

    pub(super) fn signing(&self) -> PayloadSigning {
        match &self.payload {
            Payload::Whole { signing, .. } => *signing,
            Payload::Streamed { algorithm: Some(_), .. } => PayloadSigning::StreamingUnsignedTrailer,
            Payload::Streamed { algorithm: None, .. } => PayloadSigning::Unsigned,
        }
    }

    /// The body of one attempt; a streamed one fails when the sender beside it is dropped.
    pub(super) fn body(&self) -> (OutgoingBody, Option<oneshot::Sender<()>>) {
        match &self.payload {
            Payload::Whole { bytes, .. } => (OutgoingBody::whole(bytes.clone()), None),
            Payload::Streamed { upload, length, algorithm } => {
                upload.restart();
                let (streamed, interest) = Streamed::new(upload, *length, *algorithm);
                (OutgoingBody::Streamed(Box::new(streamed)), Some(interest))
            }
        }
    }

    /// The upload, if the body streams.
    pub(super) fn upload(&self) -> Option<&Arc<Upload>> {
        match &self.payload {
            Payload::Whole { .. } => None,
            Payload::Streamed { upload, .. } => Some(upload),
        }
    }

    /// How far this request may be sent again, as things stand.
    pub(super) fn replay(&self) -> Replay {
        match &self.payload {
            Payload::Whole { .. } => Replay::of(&self.method, &self.headers),
            Payload::Streamed { upload, .. } if upload.is_untouched() => Replay::IfUnprocessed,
            Payload::Streamed { .. } => Replay::Never,
        }
    }

    /// Whether the request changes nothing.
    pub(super) fn is_read(&self) -> bool {
        self.method == Method::GET || self.method == Method::HEAD
    }

    pub(super) fn method(&self) -> &Method {
        &self.method
    }

    /// How long the store may take.
    pub(super) fn pace(&self) -> Pace {
        self.pace
    }
}

fn empty(method: &Method, headers: &mut HeaderMap) -> Payload {
    // RFC 9110, 8.6: a method that gives a body a meaning says that there is none. radosgw answers 411 otherwise.
    if *method == Method::PUT || *method == Method::POST {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(0));
    }
    Payload::Whole { bytes: Bytes::new(), signing: PayloadSigning::Empty }
}

/// Several S3 operations with an XML body insist on a digest of it. Content-MD5 is the one that every store knows, and
/// that never means anything but this body (a checksum on CompleteMultipartUpload means the object).
fn buffered(bytes: Bytes, headers: &mut HeaderMap) -> Payload {
    let has_digest = headers.contains_key(CONTENT_MD5)
        || headers.keys().any(|name| name.as_str().starts_with("x-amz-checksum-"));
    if !has_digest {
        let digest = STANDARD.encode(Md5::digest(&bytes));
        headers.insert(CONTENT_MD5, HeaderValue::try_from(digest).expect("base64 is visible ASCII"));
    }
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len()));
    let signing = PayloadSigning::Sha256(sha256(&bytes));
    Payload::Whole { bytes, signing }
}

fn content(bytes: Bytes, hop: Hop, algorithm: Option<ChecksumAlgorithm>, headers: &mut HeaderMap) -> Payload {
    headers.remove(SDK_CHECKSUM_ALGORITHM);
    if let Some(algorithm) = algorithm {
        let value =
            HeaderValue::try_from(checksum(algorithm, &bytes).to_string()).expect("base64 is visible ASCII");
        headers.insert(algorithm.header_name(), value);
        headers.insert(SDK_CHECKSUM_ALGORITHM, HeaderValue::from_static(algorithm.token()));
    }
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len()));
    let signing = match hop {
        Hop::Protected => PayloadSigning::Unsigned,
        Hop::Open => PayloadSigning::Sha256(sha256(&bytes)),
    };
    Payload::Whole { bytes, signing }
}

fn announce_stream(
    length: u64,
    algorithm: Option<ChecksumAlgorithm>,
    headers: &mut HeaderMap,
) -> Result<(), UpstreamError> {
    headers.remove(SDK_CHECKSUM_ALGORITHM);
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(wire_length(length, algorithm)));
    let Some(algorithm) = algorithm else { return Ok(()) };
    headers.insert(DECODED_CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(TRAILER_NAMES, HeaderValue::from_static(algorithm.header()));
    headers.insert(SDK_CHECKSUM_ALGORITHM, HeaderValue::from_static(algorithm.token()));
    let mut coding = b"aws-chunked".to_vec();
    for value in headers.get_all(header::CONTENT_ENCODING) {
        coding.push(b',');
        coding.extend_from_slice(value.as_bytes());
    }
    let coding = HeaderValue::from_bytes(&coding).map_err(http::Error::from)?;
    headers.insert(header::CONTENT_ENCODING, coding);
    Ok(())
}

async fn ended(body: BoxBody) -> Result<(), UpstreamError> {
    let mut body = ExactLength::new(body, 0);
    match body.next().await {
        None => Ok(()),
        Some(Err(error)) => Err(error),
        Some(Ok(_)) => unreachable!("ExactLength lets nothing pass beyond its length"),
    }
}
