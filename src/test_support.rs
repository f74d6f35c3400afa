//! A storage in memory for tests of operations, which responds to GET and HEAD like S3.
//!
//! It must not know what a test checks. Deviations from S3 are switched on by name, and every request is
//! recorded.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::body::BoxBody;
use crate::body::test_support::{pattern, seal_all, seal_segments};
use crate::envelope::native::multipart::Layout;
use crate::envelope::native::{
    Attributes, Binding, BodyKind, ChunkSealer, Entropy, Envelope, EnvelopeKeys, ObjectName, SealRequest,
    Sealed, SseAlgorithm,
};
use crate::error::Error;
use crate::keyring::{self, CacheSettings, EncryptionContext, HolderSettings, KeyRule, Keyring, Reuse};
use crate::object::caches::{LayoutCache, SizeCache};
use crate::object::rule::{BucketRule, Policies};
use crate::operation::Resources;
use crate::operation::request::Call;
use crate::s3::{
    BucketName, BucketPattern, ChecksumAlgorithm, ObjectKey, Operation, Query, RangeSpec, S3Path, headers,
};
use crate::sigv4::Payload;
use crate::upstream::{Credentials, Settings, Target, Upstream, Upstreams};

/// Resources of operations for a storage at `endpoint`, with rules by bucket and prefix, and a keyring in the
/// returned folder.
pub(crate) async fn resources(endpoint: &str, rules: &[(&str, &str)]) -> (Resources, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let credentials = Credentials::Static {
        access_key_id: "id".to_owned(),
        secret_access_key: "secret".to_owned().into(),
        session_token: None,
    };
    let target = Target::Endpoint(endpoint.parse().unwrap());
    let settings = Settings { credentials, max_retries: 0, ..Settings::new(target) };
    let provider = keyring::Provider::Local(keyring::Local {
        file: folder.path().join("keyring"),
        create_if_missing: true,
    });
    let holders = vec![HolderSettings { name: "test".to_owned(), provider, replica_of: None }];
    let keys = keyring::Settings { holders, cache: CacheSettings::default(), reuse: Reuse::default() };
    let rule = |(name, prefix): &(&str, &str)| BucketRule {
        name: BucketPattern::parse(name).unwrap(),
        prefix: (*prefix).to_owned(),
        realm: None,
        keys: KeyRule::default(),
        formats: crate::object::rule::formats::Formats::default(),
        binding: Binding::RealmAndKey,
        etag: crate::s3::EtagStyle::Opaque,
        customer_keys: crate::object::rule::CustomerKeyRule::default(),
    };
    let object = crate::object::Resources {
        upstreams: Upstreams::new(Upstream::build(settings).await.unwrap(), Vec::new(), Vec::new()),
        keyring: Keyring::build(keys).await.unwrap(),
        policies: Policies::new(rules.iter().map(rule).collect()),
        size_cache: SizeCache::default(),
        default_keys: crate::object::caches::DefaultKeyCache::default(),
        layout_cache: LayoutCache::default(),
        memory: crate::buffers::Budget::new(64 << 20),
    };
    let upload = crate::upload::Resources {
        object,
        upload_cache: crate::upload::memory::UploadCache::default(),
        conditional_writes: crate::upload::conditional_writes::KnownConditionalWrites::default(),
        acls: crate::upload::acls::KnownAcls::default(),
    };
    (operation_resources(&upload), folder)
}

/// Resources of operations around those of uploads.
pub(crate) fn operation_resources(upload: &crate::upload::Resources) -> Resources {
    Resources {
        upload: upload.clone(),
        cors: crate::operation::response::cors::CorsCache::default(),
        client_idle_timeout: Duration::from_secs(5),
        documents: crate::buffers::Budget::new(8 << 20),
    }
}

/// Serves a storage that consists of `respond` until the test ends.
pub(crate) fn serve(
    listener: TcpListener,
    respond: impl Fn(Request<Bytes>) -> Response<Full<Bytes>> + Send + Sync + 'static,
) {
    let respond = Arc::new(respond);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let respond = Arc::clone(&respond);
            let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                let respond = Arc::clone(&respond);
                async move {
                    let (head, body) = request.into_parts();
                    let body = body.collect().await.unwrap().to_bytes();
                    Ok::<_, std::convert::Infallible>(respond(Request::from_parts(head, body)))
                }
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
}

/// An object as the storage keeps it.
#[derive(Clone, Default)]
pub(crate) struct Kept {
    /// The ETag without quotes.
    pub(crate) etag: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Bytes,
    /// Stored bytes of each part of a multipart object; empty for an object of one PUT.
    pub(crate) parts: Vec<u64>,
}

/// Deviations of the storage from S3.
#[derive(Clone, Copy, Default)]
pub(crate) struct Oddities {
    pub(crate) ignores_range: bool,
    pub(crate) ignores_if_match: bool,
    pub(crate) ignores_if_range: bool,
    pub(crate) knows_no_parts_count: bool,
    pub(crate) refuses_long_suffixes: bool,
}

/// A recorded request: method, path and query, Range.
pub(crate) type RecordedRequest = (Method, String, Option<String>);

/// A storage with bucket `b`.
#[derive(Default)]
pub(crate) struct Storage {
    /// The URL at which the storage listens.
    pub(crate) endpoint: String,
    objects: Mutex<HashMap<String, Kept>>,
    /// Scheduled changes: the number of requests to serve first, the object's path, and the object
    /// that replaces it (`None`: it is deleted).
    successors: Mutex<Vec<(usize, String, Option<Kept>)>>,
    requests: Mutex<Vec<RecordedRequest>>,
    /// Bytes of response bodies that were sent.
    sent_bytes: Mutex<u64>,
    oddities: Mutex<Oddities>,
}

impl Storage {
    /// Starts a storage that serves until the test ends.
    pub(crate) async fn serve() -> (Arc<Self>, Resources, tempfile::TempDir) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let storage = Arc::new(Self { endpoint: endpoint.clone(), ..Self::default() });
        let serving = Arc::clone(&storage);
        serve(listener, move |request| serving.respond(&request.map(drop)));
        let (resources, folder) = resources(&endpoint, &[("b", "")]).await;
        (storage, resources, folder)
    }

    /// Stores an object in bucket `b` and cancels all scheduled changes.
    pub(crate) fn keep(&self, object_key: &str, object: Kept) {
        self.successors.lock().unwrap().clear();
        self.objects.lock().unwrap().insert(format!("/b/{object_key}"), object);
    }

    /// Replaces an object after `requests` further requests.
    pub(crate) fn keep_after(&self, requests: usize, object_key: &str, object: Kept) {
        self.successors.lock().unwrap().push((requests, format!("/b/{object_key}"), Some(object)));
    }

    /// Deletes an object after `requests` further requests.
    pub(crate) fn lose_after(&self, requests: usize, object_key: &str) {
        self.successors.lock().unwrap().push((requests, format!("/b/{object_key}"), None));
    }

    pub(crate) fn be_odd(&self, oddities: Oddities) {
        *self.oddities.lock().unwrap() = oddities;
    }

    /// Takes the requests that were received since the last call.
    pub(crate) fn requests(&self) -> Vec<RecordedRequest> {
        std::mem::take(&mut self.requests.lock().unwrap())
    }

    /// Takes the number of body bytes that were sent since the last call.
    pub(crate) fn sent_bytes(&self) -> u64 {
        std::mem::take(&mut self.sent_bytes.lock().unwrap())
    }

    fn objects(&self) -> MutexGuard<'_, HashMap<String, Kept>> {
        let mut objects = self.objects.lock().unwrap();
        self.successors.lock().unwrap().retain_mut(|(requests, path, object)| {
            if *requests == 0 {
                match object.take() {
                    Some(object) => objects.insert(path.clone(), object),
                    None => objects.remove(path),
                };
                return false;
            }
            *requests -= 1;
            true
        });
        objects
    }

    fn listing(&self) -> String {
        let mut entries: Vec<_> = self.objects().iter().map(|(path, object)| listed(path, object)).collect();
        entries.sort();
        format!("<ListBucketResult><Name>b</Name>{}</ListBucketResult>", entries.concat())
    }

    fn respond(&self, request: &Request<()>) -> Response<Full<Bytes>> {
        let text =
            |name: HeaderName| request.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        let path_and_query = request.uri().path_and_query().unwrap().to_string();
        let recorded = (request.method().clone(), path_and_query, text(header::RANGE));
        self.requests.lock().unwrap().push(recorded);
        let odd = *self.oddities.lock().unwrap();
        let refuse = |status: StatusCode| {
            let mut response = Response::new(Full::default());
            *response.status_mut() = status;
            response
        };
        if request.uri().path() == "/b" {
            return Response::new(Full::new(self.listing().into()));
        }
        let Some(object) = self.objects().get(request.uri().path()).cloned() else {
            return refuse(StatusCode::NOT_FOUND);
        };
        let etag = format!("\"{}\"", object.etag);
        if text(header::IF_MATCH).is_some_and(|wanted| wanted != etag) && !odd.ignores_if_match {
            return refuse(StatusCode::PRECONDITION_FAILED);
        }
        if text(header::IF_NONE_MATCH).is_some_and(|unwanted| unwanted == etag) {
            let mut unmodified = refuse(StatusCode::NOT_MODIFIED);
            unmodified.headers_mut().insert(header::ETAG, HeaderValue::from_str(&etag).unwrap());
            return unmodified;
        }
        let query = Query::parse(request.uri().query().unwrap_or_default()).unwrap();
        let total = object.body.len() as u64;
        let range = text(header::RANGE)
            .filter(|_| !odd.ignores_range)
            .filter(|_| odd.ignores_if_range || text(header::IF_RANGE).is_none_or(|known| known == etag));
        let mut response = Response::new(Full::default());
        let mut body = object.body.clone();
        if let Some(spec) = range.as_deref().and_then(RangeSpec::parse) {
            let long = matches!(spec, RangeSpec::Suffix { length } if length > total);
            let Some(range) = spec.resolve(total).filter(|_| !(long && odd.refuses_long_suffixes)) else {
                return refuse(StatusCode::RANGE_NOT_SATISFIABLE);
            };
            body = body.slice(range.first() as usize..=range.last() as usize);
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            let content_range = HeaderValue::from_str(&range.content_range(total)).unwrap();
            response.headers_mut().insert(header::CONTENT_RANGE, content_range);
        }
        if query.has("partNumber") && !object.parts.is_empty() && !odd.knows_no_parts_count {
            let count = HeaderValue::from(object.parts.len());
            response.headers_mut().insert("x-amz-mp-parts-count", count);
        }
        response.headers_mut().insert(header::ETAG, HeaderValue::from_str(&etag).unwrap());
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        for (name, value) in &object.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            response.headers_mut().insert(name, HeaderValue::from_str(value).unwrap());
        }
        if request.method() == Method::GET {
            *self.sent_bytes.lock().unwrap() += body.len() as u64;
            *response.body_mut() = Full::new(body);
        }
        response
    }
}

fn listed(path: &str, object: &Kept) -> String {
    let (object_key, etag) = (path.trim_start_matches("/b/"), &object.etag);
    let size = object.body.len();
    format!("<Contents><Key>{object_key}</Key><ETag>\"{etag}\"</ETag><Size>{size}</Size></Contents>")
}

/// A multipart upload: its plaintext, its sealed segments, and its metadata.
#[derive(Clone)]
pub(crate) struct Uploaded {
    pub(crate) content: Vec<u8>,
    pub(crate) segments: Vec<Vec<u8>>,
    pub(crate) metadata: Vec<(String, String)>,
}

impl Uploaded {
    /// The object as a storage keeps it, with the number of segments in its ETag.
    pub(crate) fn kept(&self, hash: &str) -> Kept {
        Kept {
            etag: format!("{hash}-{}", self.segments.len()),
            headers: self.metadata.clone(),
            body: self.segments.concat().into(),
            parts: self.segments.iter().map(|segment| segment.len() as u64).collect(),
        }
    }
}

async fn sealed(
    resources: &Resources,
    object_key: &str,
    body: BodyKind,
    content: &[u8],
) -> (Sealed, Vec<(String, String)>) {
    let (bucket, key) = (BucketName::parse("b").unwrap(), ObjectKey::parse(object_key).unwrap());
    let rule = resources.policies.for_object(&bucket, &key).unwrap();
    let write_key =
        resources.keyring.for_write(&rule.keys, None, &EncryptionContext::native("b"), 1).await.unwrap();
    let checksum = crate::wire::checksum::checksum(ChecksumAlgorithm::Crc32, content);
    let request = SealRequest {
        keys: EnvelopeKeys::without_customer(&write_key.data_key),
        binding: Binding::RealmAndKey,
        body,
        sse: SseAlgorithm::AwsKms,
        name: ObjectName { realm: "b", object_key: object_key.as_bytes() },
        attributes: &Attributes::new(vec![checksum]),
    };
    let sealed = Envelope::seal(&request, Entropy::fresh());
    let metadata = vec![
        (headers::ENCRYPTION_KEY.to_owned(), write_key.wrapped.header_value().to_str().unwrap().to_owned()),
        (headers::ENCRYPTION_ENVELOPE.to_owned(), sealed.envelope.to_header()),
    ];
    (sealed, metadata)
}

/// Seals a multipart upload of this layout for bucket `b`.
pub(crate) async fn upload(resources: &Resources, object_key: &str, layout: &Layout) -> Uploaded {
    let content = pattern(usize::try_from(layout.plaintext_total()).unwrap());
    let (sealed, metadata) = sealed(resources, object_key, BodyKind::Multipart, &content).await;
    let segments = seal_segments(&sealed.content_key, layout, &content);
    Uploaded { content, segments, metadata }
}

/// Seals an object of one PUT for bucket `b`.
pub(crate) async fn put(resources: &Resources, object_key: &str, content: &[u8], etag: &str) -> Kept {
    let kind = BodyKind::Put { plaintext_length: content.len() as u64 };
    let (sealed, headers) = sealed(resources, object_key, kind, content).await;
    let body = seal_all(ChunkSealer::for_put(&sealed.content_key), content).into();
    Kept { etag: etag.to_owned(), headers, body, parts: Vec::new() }
}

/// A request for an object of bucket `b`.
pub(crate) fn call(operation: Operation, object_key: &str, query: &str, headers: &[(&str, &str)]) -> Call {
    let method = if operation == Operation::HeadObject { Method::HEAD } else { Method::GET };
    let header = |(name, value): &(&str, &str)| {
        (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap())
    };
    Call {
        operation,
        method,
        addressing: crate::operation::request::Addressing {
            tls: false,
            virtual_host: false,
            is_private: true,
        },
        path: S3Path::Object(BucketName::parse("b").unwrap(), ObjectKey::parse(object_key).unwrap()),
        query: Query::parse(query).unwrap(),
        headers: headers.iter().map(header).fold(HeaderMap::new(), |mut all, (name, value)| {
            all.append(name, value);
            all
        }),
        payload: Payload::Unsigned,
        body: BoxBody::default(),
        grants: crate::access::Grants::unlimited(),
        is_append: false,
        copy_source: None,
        customer_keys: crate::s3::headers::CustomerKeys::default(),
        permit: None,
    }
}

/// A response as a client received it: its head, the received bytes, and whether the body was complete.
pub(crate) struct Got {
    pub(crate) head: http::response::Parts,
    pub(crate) body: Vec<u8>,
    pub(crate) is_whole: bool,
}

impl Got {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// Handles a call and reads the response to its end.
pub(crate) async fn respond(resources: &Resources, call: Call) -> Result<Got, Error> {
    let is_head = call.method == Method::HEAD;
    let (head, mut body) = crate::operation::handle(resources, Box::new(call)).await?.into_parts();
    let mut got = Got { head, body: Vec::new(), is_whole: true };
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => got.body.extend_from_slice(frame.data_ref().unwrap()),
            Err(_) => got.is_whole = false,
        }
    }
    let promised = got.header("content-length").map(|length| length.parse::<usize>().unwrap());
    if !is_head && let Some(promised) = promised {
        assert!(got.body.len() <= promised, "more came than was announced");
        assert_eq!(
            got.is_whole,
            got.body.len() == promised,
            "This is a security issue: a body that failed has the length of a whole one."
        );
    }
    Ok(got)
}
