//! Prepares a request once (address, headers, framing), so that every attempt needs only a signature.
//! It must not know what the content means, nor how often the request is sent.
//! The headers that belong to the connection are always this client's own.

pub(super) mod attempt_span;

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header, request};
use md5::{Digest, Md5};
use smallvec::SmallVec;
use tokio::sync::oneshot;

use super::address::Address;
use super::error::{AddressError, UpstreamError};
use super::outgoing::{ExactLength, OutgoingBody, Streamed, Upload, wire_length};
use super::regions::makes_bucket;
use super::retry::{Idempotency, Pace};
use super::timings::Kind;
use super::{BoxBody, UpstreamBody, UpstreamRequest};
use crate::s3::headers::HOP_BY_HOP;
use crate::s3::{BucketName, ObjectKey};
use crate::sigv4::PayloadSigning;
use crate::wire::checksum::{Checksum, ChecksumAlgorithm, checksum};
use crate::wire::digest::sha256;
use crate::wire::header::{
    CONTENT_MD5, CONTENT_SHA256, DATE, DECODED_CONTENT_LENGTH, METADATA, SECURITY_TOKEN, TRAILER_NAMES, name,
};

/// The `User-Agent` of requests that have none.
const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("s3veil/", env!("CARGO_PKG_VERSION")));

/// How many headers each attempt adds: `Host`, `User-Agent`, `Via`, the body's, those of the signature and of
/// a trace.
const ADDED_HEADERS: usize = 11;

/// Headers that this client sets or removes, besides [`HOP_BY_HOP`]: framing and identity. `Accept-Encoding`
/// is among them because bodies are needed as they are stored, never recoded on the way.
static MANAGED_HEADERS: [HeaderName; 11] = [
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

/// A request without its signature.
pub(super) struct Prepared {
    method: Method,
    bucket: Option<BucketName>,
    object: Option<ObjectKey>,
    query: Vec<(String, Option<String>)>,
    /// Without those of the address, the signature and [`Self::described`].
    headers: HeaderMap,
    described: Described,
    payload: Payload,
    pace: Pace,
    kind: Kind,
}

/// What is said of a body that is sent whole. Each attempt writes these headers anew: the first copy of a
/// header value costs as much as a new one.
#[derive(Debug, Clone, Copy, Default)]
struct Described {
    length: Option<u64>,
    checksum: Option<Checksum>,
}

enum Payload {
    Whole { bytes: Bytes, signing: PayloadSigning },
    Streamed { upload: Arc<Upload>, length: u64, algorithm: Option<ChecksumAlgorithm> },
}

/// What protects content on its way, besides its checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TransportSecurity {
    /// TLS, or no network at all.
    Encrypted,
    /// Plain HTTP: content in memory is signed with its SHA-256, which costs 0.7 ms per MiB.
    Plaintext,
}

impl Prepared {
    pub(super) fn new(
        request: UpstreamRequest,
        security: TransportSecurity,
        algorithm: Option<ChecksumAlgorithm>,
    ) -> Self {
        let (pace, kind) = (Pace::new(&request), Kind::new(&request));
        let UpstreamRequest { method, bucket, object, query, mut headers, body } = request;
        let managed: SmallVec<[HeaderName; 8]> =
            headers.keys().filter(|name| is_managed(name)).cloned().collect();
        for name in managed {
            headers.remove(name);
        }
        let mut described = Described::default();
        let payload = match body {
            UpstreamBody::Empty => empty(&method, &mut described),
            UpstreamBody::Buffered(bytes) => buffered(bytes, &mut headers, &mut described),
            UpstreamBody::Content(bytes) => content(bytes, security, algorithm, &mut headers, &mut described),
            UpstreamBody::StreamedContent { body, length } => {
                announce_stream(length, algorithm, &mut headers);
                Payload::Streamed { upload: Upload::new(body), length, algorithm }
            }
        };
        Self { method, bucket, object, query, headers, described, payload, pace, kind }
    }

    /// The bucket of the request, whose region may be another; `None` for a request that makes the bucket.
    pub(super) fn bucket_to_follow(&self) -> Option<&BucketName> {
        let makes_bucket = makes_bucket(&self.method, self.object.as_ref(), &self.query);
        self.bucket.as_ref().filter(|_| !makes_bucket)
    }

    /// Whether nothing of the body is lost yet.
    pub(super) fn can_be_sent_again(&self) -> bool {
        self.upload().is_none_or(|upload| upload.is_untouched())
    }

    /// The unsigned head of one attempt at this address.
    ///
    /// # Errors
    /// As [`Address::locate`].
    pub(super) fn head(&self, address: &Address) -> Result<request::Parts, AddressError> {
        let (uri, host) = address.locate(self.bucket.as_ref(), self.object.as_ref(), &self.query)?;
        let mut request = http::Request::new(());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        *headers = self.headers.clone();
        headers.reserve(ADDED_HEADERS);
        headers.insert(header::HOST, host);
        if let Some(length) = self.described.length {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        if let Some(checksum) = &self.described.checksum {
            headers.insert(checksum.algorithm().header_name(), checksum.header_value());
        }
        headers.entry(header::USER_AGENT).or_insert(USER_AGENT);
        Ok(request.into_parts().0)
    }

    pub(super) fn signing(&self) -> PayloadSigning {
        match &self.payload {
            Payload::Whole { signing, .. } => *signing,
            Payload::Streamed { algorithm: Some(_), .. } => PayloadSigning::StreamingUnsignedTrailer,
            Payload::Streamed { algorithm: None, .. } => PayloadSigning::Unsigned,
        }
    }

    /// The body of one attempt. A streamed body fails when the sender that is returned with it is dropped.
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

    /// Whether this request may be repeated now: a streamed body can't, after its first byte was read.
    pub(super) fn idempotency(&self) -> Idempotency {
        match &self.payload {
            Payload::Whole { .. } => Idempotency::new(&self.method, &self.headers),
            Payload::Streamed { upload, .. } if upload.is_untouched() => Idempotency::IfUnprocessed,
            Payload::Streamed { .. } => Idempotency::Never,
        }
    }

    /// Whether the request changes nothing.
    pub(super) fn is_read(&self) -> bool {
        self.method == Method::GET || self.method == Method::HEAD
    }

    pub(super) fn bucket(&self) -> Option<&BucketName> {
        self.bucket.as_ref()
    }

    pub(super) fn object(&self) -> Option<&ObjectKey> {
        self.object.as_ref()
    }

    pub(super) fn method(&self) -> &Method {
        &self.method
    }

    /// The operation, for the metrics.
    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// How long the storage may take.
    pub(super) fn pace(&self) -> Pace {
        self.pace
    }
}

/// Whether this client sets or removes a header itself.
fn is_managed(name: &HeaderName) -> bool {
    // Objects have metadata mostly, and no name of it is in the lists.
    !name.as_str().starts_with(METADATA) && (HOP_BY_HOP.contains(name) || MANAGED_HEADERS.contains(name))
}

fn empty(method: &Method, described: &mut Described) -> Payload {
    // RFC 9110, 8.6: methods that define a meaning for a body announce that it is empty. radosgw responds
    // with 411 otherwise.
    if *method == Method::PUT || *method == Method::POST {
        described.length = Some(0);
    }
    Payload::Whole { bytes: Bytes::new(), signing: PayloadSigning::Empty }
}

/// Several S3 operations with an XML body require a digest of it. Content-MD5 is the digest that every
/// storage knows, and that always means this body (a checksum on CompleteMultipartUpload means the object).
fn buffered(bytes: Bytes, headers: &mut HeaderMap, described: &mut Described) -> Payload {
    let has_digest = headers.contains_key(CONTENT_MD5)
        || headers.keys().any(|name| name.as_str().starts_with("x-amz-checksum-"));
    if !has_digest {
        let digest = STANDARD.encode(Md5::digest(&bytes));
        headers.insert(CONTENT_MD5, HeaderValue::try_from(digest).expect("base64 is visible ASCII"));
    }
    described.length = Some(bytes.len() as u64);
    let signing = PayloadSigning::Sha256(sha256(&bytes));
    Payload::Whole { bytes, signing }
}

fn content(
    bytes: Bytes,
    security: TransportSecurity,
    algorithm: Option<ChecksumAlgorithm>,
    headers: &mut HeaderMap,
    described: &mut Described,
) -> Payload {
    headers.remove(&name::SDK_CHECKSUM_ALGORITHM);
    if let Some(algorithm) = algorithm {
        headers.insert(&name::SDK_CHECKSUM_ALGORITHM, HeaderValue::from_static(algorithm.token()));
    }
    let checksum = algorithm.map(|algorithm| checksum(algorithm, &bytes));
    *described = Described { length: Some(bytes.len() as u64), checksum };
    let signing = match security {
        TransportSecurity::Encrypted => PayloadSigning::Unsigned,
        TransportSecurity::Plaintext => PayloadSigning::Sha256(sha256(&bytes)),
    };
    Payload::Whole { bytes, signing }
}

fn announce_stream(length: u64, algorithm: Option<ChecksumAlgorithm>, headers: &mut HeaderMap) {
    headers.remove(&name::SDK_CHECKSUM_ALGORITHM);
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(wire_length(length, algorithm)));
    let Some(algorithm) = algorithm else { return };
    headers.insert(&name::DECODED_CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(&name::TRAILER_NAMES, HeaderValue::from_static(algorithm.header()));
    headers.insert(&name::SDK_CHECKSUM_ALGORITHM, HeaderValue::from_static(algorithm.token()));
    let mut coding = b"aws-chunked".to_vec();
    for value in headers.get_all(header::CONTENT_ENCODING) {
        coding.push(b',');
        coding.extend_from_slice(value.as_bytes());
    }
    let coding = HeaderValue::try_from(coding).expect("header values, joined by commas");
    headers.insert(header::CONTENT_ENCODING, coding);
}

/// Waits for the end of a body without bytes.
///
/// # Errors
/// The body's own, and [`UpstreamError::Length`] when it has bytes.
pub(super) async fn ended(body: BoxBody) -> Result<(), UpstreamError> {
    let mut body = ExactLength::new(body, 0);
    match body.next().await {
        None => Ok(()),
        Some(Err(error)) => Err(error),
        Some(Ok(_)) => unreachable!("ExactLength lets nothing pass beyond its length"),
    }
}
