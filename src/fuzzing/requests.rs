//! Targets for what a client sends: heads, signatures, framing, forms.
//!
//! They must not know more than `s3`, `sigv4` and the lengths of `envelope`. They promise that what was read
//! and written reads as before, and that no signature is right under two secrets.

use std::num::NonZeroU64;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::HOST;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};

use super::{Input, pieces};
use crate::envelope::native::{CiphertextRange, PlaintextRange, ReadWindow, ciphertext_length};
use crate::s3::headers::{HOP_BY_HOP, RESERVED};
use crate::s3::{
    BucketName, ByteRange, CopySource, DeclaredIntegrity, EtagStyle, Form, FormParser, FormPiece, Hashed,
    IfRange, PostPolicy, Query, RangeSpec, S3Error, S3Path, encode_path, is_parameter, range, route,
};
use crate::sigv4::{
    AuthError, Authenticated, AwsChunkedDecoder, AwsChunkedEncoder, ChunkError, ChunkedPayload, Decoded,
    Payload, PayloadSigning, RequestHead, SecretAccessKey, Signer, VerifyPolicy, authenticate,
    authenticate_form, claimed_access_key_id,
};

/// AWS's published example, in which the seeds are signed.
const ACCESS_KEY_ID: &str = "AKIAIOSFODNN7EXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
static KEY: LazyLock<SecretAccessKey> = LazyLock::new(|| SecretAccessKey::new(SECRET.to_owned()));
static OTHER_KEY: LazyLock<SecretAccessKey> = LazyLock::new(|| SecretAccessKey::new("x".repeat(40)));

/// When AWS signed its examples, 2013-05-24, and when boto3 did, 2026-01-02T03:04:05.
const TIMES: [Duration; 2] = [Duration::from_secs(1_369_353_600), Duration::from_secs(1_767_323_045)];

/// A head as text: `METHOD /path?query`, a header in each line, an empty line; behind it the body.
struct Head {
    method: Method,
    target: PathAndQuery,
    headers: HeaderMap,
}

impl Head {
    /// The head and the body behind it; `None` for what an HTTP server refuses.
    fn parse(data: &[u8]) -> Option<(Self, &[u8])> {
        let mut input = Input(data);
        let first = input.line();
        let space = first.iter().position(|byte| *byte == b' ')?;
        let method = Method::from_bytes(&first[..space]).ok()?;
        let target = PathAndQuery::try_from(&first[space + 1..]).ok()?;
        let mut headers = HeaderMap::new();
        loop {
            let line = input.line();
            if line.is_empty() {
                return Some((Self { method, target, headers }, input.rest()));
            }
            let colon = line.iter().position(|byte| *byte == b':')?;
            let name = HeaderName::from_bytes(&line[..colon]).ok()?;
            headers.append(name, HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?);
        }
    }

    fn path(&self) -> &str {
        self.target.path()
    }

    fn query(&self) -> &str {
        self.target.query().unwrap_or_default()
    }

    fn authenticate(
        &self,
        since_1970: Duration,
        secret: &SecretAccessKey,
    ) -> Result<Authenticated, AuthError> {
        let head = RequestHead {
            method: self.method.as_str(),
            raw_path: self.path(),
            raw_query: self.query(),
            headers: &self.headers,
            virtual_host_bucket: None,
            is_parameter,
        };
        let now = SystemTime::UNIX_EPOCH + since_1970;
        authenticate(&head, &VerifyPolicy::default(), now, |id| (id == ACCESS_KEY_ID).then_some(secret))
    }
}

/// A head: which resource and operation it names, and that both survive being written and read.
pub fn routing(data: &[u8]) {
    let Some((head, _)) = Head::parse(data) else { return };
    let host = head.headers.get(HOST).and_then(|host| host.to_str().ok());
    if let Ok(source) = CopySource::from_headers(&head.headers) {
        assert_eq!(CopySource::parse(source.to_header().as_bytes()), Ok(source));
    }
    let Ok(query) = Query::parse(head.query()) else { return };
    let written = Query::parse(&query.encode());
    assert_eq!(written.as_ref(), Ok(&query));
    for domains in [&[][..], &["s3.example.test", "example.test"]] {
        let Ok(path) = S3Path::parse(head.path(), host, domains) else { continue };
        let raw = encode_path(path.bucket(), path.object());
        assert_eq!(S3Path::parse(&raw, None, domains).as_ref(), Ok(&path));
        let operation = route(&head.method, &path, &query, &head.headers);
        let again = written.as_ref().map_err(S3Error::clone);
        assert_eq!(again.and_then(|query| route(&head.method, &path, query, &head.headers)), operation);
    }
}

/// A head: who signed it. A signature that is right under one secret is wrong under another.
pub fn authorization(data: &[u8]) {
    let Some((head, _)) = Head::parse(data) else { return };
    let claimed = claimed_access_key_id(&head.headers, head.query());
    for time in TIMES {
        match head.authenticate(time, &KEY) {
            Ok(authenticated) => {
                assert_eq!(authenticated.access_key_id.as_str(), ACCESS_KEY_ID);
                assert_eq!(claimed.as_deref(), Some(ACCESS_KEY_ID));
                let forged = head.authenticate(time, &OTHER_KEY);
                assert!(forged.is_err(), "This is a security issue: any secret signs this request.");
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}

/// A head: what its headers become for the storage, and the storage's for the client.
pub fn headers(data: &[u8]) {
    use crate::s3::headers;
    let Some((head, _)) = Head::parse(data) else { return };
    let mut request = head.headers.clone();
    if let Ok(query) = Query::parse(head.query()) {
        drop(headers::unhoist(&query, &mut request));
    }
    for passed in [headers::put_headers(&request), headers::read_headers(&request)].into_iter().flatten() {
        let is_ours = |name: &HeaderName| RESERVED.contains(&name.as_str()) || HOP_BY_HOP.contains(name);
        assert!(!passed.keys().any(is_ours), "This is a security issue: {passed:?}");
    }
    drop((headers::sse_request(&request), DeclaredIntegrity::from_headers(&request)));
    drop((headers::preflight_headers(&request), headers::first_with_tab(&request)));

    let mut response = head.headers.clone();
    headers::keep_s3_headers(&mut response);
    assert!(!response.keys().any(|name| RESERVED.contains(&name.as_str())), "This is a security issue.");
    let once = response.clone();
    headers::keep_s3_headers(&mut response);
    assert_eq!(response, once);
    for value in head.headers.values() {
        validators(value);
    }
}

/// ETags are distinct for clients, and come back as they were.
fn validators(value: &HeaderValue) {
    let mapped = EtagStyle::Opaque.condition_to_storage(value);
    assert!(mapped.len() <= value.len());
    let condition = IfRange::parse(value);
    if let Some(written) = condition.to_header() {
        assert_eq!(IfRange::parse(&written), condition);
    }
    if let Ok(text) = value.to_str() {
        let etag = text.replace('"', "");
        let etag = etag.trim();
        for hashed in [Hashed::Plaintext, Hashed::Ciphertext] {
            let opaque = [etag, EtagStyle::Opaque.suffix(etag, hashed)].concat();
            assert_eq!(EtagStyle::Opaque.to_storage(&opaque), etag, "{opaque}");
        }
    }
}

/// A Range, a Content-Range or a copy's source range: what it means in objects of many lengths.
pub fn ranges(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some((range, total)) = ByteRange::parse_content_range(text) {
        assert_eq!(ByteRange::parse_content_range(&range.content_range(total)), Some((range, total)));
    }
    if let Ok(range) = range::parse_copy_source(text) {
        assert_eq!(range::parse_copy_source(&range.range_header()), Ok(range));
    }
    let Some(range) = RangeSpec::parse(text) else { return };
    let native = PlaintextRange(range);
    for total in [0, 1, 65_535, 65_536, 65_537, 1 << 32, 1 << 62] {
        let Some(bytes) = range.resolve(total) else { continue };
        assert!(bytes.last() < total && bytes.len() > 0);
        assert_eq!(
            RangeSpec::parse(&bytes.range_header()).and_then(|range| range.resolve(total)),
            Some(bytes)
        );
        let stored = ciphertext_length(total).expect("2^62 bytes have a stored length");
        let (first, last) = stored_range(native.ciphertext(), stored);
        let window = ReadWindow::slice(total, first, bytes.first(), bytes.last()).expect("it is inside");
        assert_eq!(window.length, bytes.len());
        assert!(first + window.discard + window.ciphertext_needed() <= last + 1, "{text} of {total}");
    }
}

/// The stored bytes `first..=last` that a storage returns.
fn stored_range(range: CiphertextRange, stored: u64) -> (u64, u64) {
    match range {
        CiphertextRange(RangeSpec::Bounded { first, last }) => (first, last.min(stored - 1)),
        CiphertextRange(RangeSpec::From { first }) => (first, stored - 1),
        CiphertextRange(RangeSpec::Suffix { length }) => (stored.saturating_sub(length), stored - 1),
    }
}

/// A time, wherever a request may say one.
pub fn dates(data: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(data) else { return };
    let Ok(text) = value.to_str() else { return };
    validators(&value);
    let signed = "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, \
                  SignedHeaders=host, Signature=00";
    for name in ["x-amz-date", "date"] {
        let mut headers = HeaderMap::new();
        headers.insert(HeaderName::from_static(name), value.clone());
        headers.insert(http::header::AUTHORIZATION, HeaderValue::from_static(signed));
        let head = Head { method: Method::GET, target: PathAndQuery::from_static("/"), headers };
        assert!(head.authenticate(TIMES[0], &KEY).is_err());
    }
    let mut query = Query::default();
    query.push("X-Amz-Algorithm", "AWS4-HMAC-SHA256");
    query.push("X-Amz-Credential", "AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request");
    query.push("X-Amz-SignedHeaders", "host");
    query.push("X-Amz-Signature", "00");
    for (name, other, fixed) in
        [("X-Amz-Date", "X-Amz-Expires", "60"), ("X-Amz-Expires", "X-Amz-Date", "20130524T000000Z")]
    {
        let mut query = query.clone();
        query.push(name, text);
        query.push(other, fixed);
        presigned(&query);
    }
    let version_2 = [("AWSAccessKeyId", ACCESS_KEY_ID), ("Signature", "00"), ("Expires", text)];
    presigned(&version_2.map(|(name, value)| (name.to_owned(), value.to_owned())).into_iter().collect());
    let policy = serde_json::json!({ "expiration": text, "conditions": [] });
    drop(PostPolicy::parse(&STANDARD.encode(policy.to_string())));
}

fn presigned(query: &Query) {
    let Ok(target) = PathAndQuery::try_from(format!("/?{}", query.encode())) else { return };
    let head = Head { method: Method::GET, target, headers: HeaderMap::new() };
    assert!(head.authenticate(TIMES[0], &KEY).is_err(), "This is a security issue: 00 signs nothing.");
}

/// An aws-chunked body after one byte that selects its framing: pieces give what the whole gives. Then the
/// input framed for the storage, which decodes to the input.
pub fn aws_chunked(data: &[u8]) {
    let mut input = Input(data);
    let framing = input.byte();
    let body = input.rest();
    let whole = decode(chunked(framing), &[body]);
    assert_eq!(decode(chunked(framing), &pieces(body)), whole);

    let name = HeaderName::from_static("x-amz-checksum-crc32c");
    let size = NonZeroU64::new(u64::from(framing) + 1).expect("it is at least 1");
    let encoder = AwsChunkedEncoder::new(body.len() as u64, size, name, 8);
    let mut encoder = encoder.expect("a body in memory has a framed length");
    let mut framed = Vec::new();
    let expected = encoder.encoded_length();
    for piece in pieces(body) {
        let added = encoder.encode(Bytes::copy_from_slice(piece), |bytes| framed.extend_from_slice(&bytes));
        added.expect("it is as long as was announced");
    }
    framed.extend_from_slice(&encoder.finish("sOO8/Q==").expect("all of it was framed"));
    assert_eq!(framed.len() as u64, expected);
    let (content, trailers) = decode(chunked(0), &[&framed]);
    assert_eq!(content, body);
    assert_eq!(trailers, Ok(vec![("x-amz-checksum-crc32c".to_owned(), "sOO8/Q==".to_owned())]));
}

/// The head of an aws-chunked body: unsigned with a trailer, or as in one of AWS's two signed examples.
fn chunked(framing: u8) -> ChunkedPayload {
    let (head, time) = match framing % 3 {
        0 => (unsigned_trailer(), TIMES[1]),
        1 => (example(include_bytes!("../../fuzz/seeds/authorization/aws_put_object_chunked")), TIMES[0]),
        _ => (example(include_bytes!("../../fuzz/seeds/authorization/aws_put_object_trailer")), TIMES[0]),
    };
    match head.authenticate(time, &KEY).map(|authenticated| authenticated.payload) {
        Ok(Payload::Chunked(payload)) => payload,
        other => panic!("the head of a chunked body is not one: {other:?}"),
    }
}

fn example(text: &[u8]) -> Head {
    Head::parse(text).expect("it is a seed").0
}

fn unsigned_trailer() -> Head {
    let request = Request::put("http://s3.example.test/bucket/key")
        .header("content-encoding", "aws-chunked")
        .header("x-amz-trailer", "x-amz-checksum-crc32c");
    let mut parts = request.body(()).expect("these are headers").into_parts().0;
    let credentials = Credentials::new(ACCESS_KEY_ID, SECRET, None, None, "fuzzing");
    let now = SystemTime::UNIX_EPOCH + TIMES[1];
    Signer::new("us-east-1")
        .sign(&mut parts, PayloadSigning::StreamingUnsignedTrailer, &credentials, now)
        .expect("the request can be signed");
    Head { method: parts.method, target: PathAndQuery::from_static("/bucket/key"), headers: parts.headers }
}

type Trailers = Vec<(String, String)>;

fn decode(payload: ChunkedPayload, pieces: &[&[u8]]) -> (Vec<u8>, Result<Trailers, ChunkError>) {
    let mut decoder = AwsChunkedDecoder::new(payload);
    let mut content = Vec::new();
    for piece in pieces {
        let mut input = Bytes::copy_from_slice(piece);
        loop {
            match decoder.decode(&mut input) {
                Ok(Decoded::Data(bytes)) => content.extend_from_slice(&bytes),
                Ok(Decoded::NeedMore) => break,
                Err(error) => return (content, Err(error)),
            }
        }
        assert!(input.is_empty());
    }
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    (content, decoder.finish().map(|trailers| trailers.iter().map(owned).collect()))
}

/// A form after a line with its Content-Type: pieces give what the whole gives.
pub fn form(data: &[u8]) {
    let mut input = Input(data);
    let Ok(content_type) = HeaderValue::from_bytes(input.line()) else { return };
    let body = input.rest();
    let whole = read_form(&content_type, &[body]);
    let (found, content, ended) = read_form(&content_type, &pieces(body));
    assert_eq!((&found, &content, &ended), (&whole.0, &whole.1, &whole.2));
    if let Some(form) = found {
        drop((form.upload_headers(), form.object_key()));
        let now = SystemTime::UNIX_EPOCH + TIMES[1];
        let field = |name: &str| form.field(name);
        let signer = |secret| {
            authenticate_form(field, &VerifyPolicy::default(), now, move |id| {
                (id == ACCESS_KEY_ID).then_some(secret)
            })
        };
        if signer(&*KEY).is_ok() {
            assert!(signer(&*OTHER_KEY).is_err(), "This is a security issue: any secret signs this form.");
        }
    }
}

type ReadForm = (Option<Form>, Vec<u8>, Result<(), S3Error>);

fn read_form(content_type: &HeaderValue, pieces: &[&[u8]]) -> ReadForm {
    let (mut form, mut content) = (None, Vec::new());
    let mut parser = match FormParser::new(content_type) {
        Ok(parser) => parser,
        Err(error) => return (form, content, Err(error)),
    };
    for piece in pieces {
        let mut input = Bytes::copy_from_slice(piece);
        loop {
            match parser.decode(&mut input) {
                Ok(FormPiece::Form(found)) => assert!(form.replace(found).is_none(), "fields come once"),
                Ok(FormPiece::Data(bytes)) => content.extend_from_slice(&bytes),
                Ok(FormPiece::NeedMore) => break,
                Err(error) => return (form, content, Err(error)),
            }
        }
        assert!(input.is_empty());
    }
    let ended = parser.finish();
    (form, content, ended)
}

/// A form's policy as JSON, held against a form without fields and one with a few.
pub fn form_policy(data: &[u8]) {
    let Ok(policy) = PostPolicy::parse(&STANDARD.encode(data)) else { return };
    let bucket = BucketName::parse("bucket").expect("it is a name");
    let content_type = HeaderValue::from_static("multipart/form-data; boundary=b");
    let body = b"--b\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\nuser/eric/1\r\n\
                 --b\r\nContent-Disposition: form-data; name=\"acl\"\r\n\r\npublic-read\r\n\
                 --b\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\nx\r\n--b--\r\n";
    let (form, _, _) = read_form(&content_type, &[body]);
    let form = form.expect("it is a form");
    for (form, since_1970) in [(&Form::default(), TIMES[0]), (&form, TIMES[0]), (&form, Duration::ZERO)] {
        let Ok(range) = policy.check(form, &bucket, SystemTime::UNIX_EPOCH + since_1970) else { continue };
        for length in [0, range.min, range.max] {
            let expected = length >= range.min && length <= range.max;
            assert_eq!(range.check(length).is_ok(), expected, "{range:?}, {length}");
        }
    }
}
