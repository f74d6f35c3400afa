use crate::s3::headers::COPY_SOURCE_RANGE;
use crate::s3::iso_time;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_RANGE, ETAG, HeaderName, LAST_MODIFIED, RANGE};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;

use super::*;
use crate::body::BoxBody;
use crate::body::test_support::{pattern, seal_segments};
use crate::envelope::native::multipart::{
    Layout, Part, PartNumber, SegmentEnd, SegmentEntropy, SegmentSealer, seal_terminator,
};
use crate::envelope::native::{
    Attributes, Binding, BodyKind, CHUNK, ChunkSealer, Entropy, Envelope, EnvelopeKeys, ObjectName,
    SealRequest, SseAlgorithm,
};
use crate::keyring::{EncryptionContext, KeyRule};
use crate::object::native::{NativeMetadata, write_keys};
use crate::operation::Resources;
use crate::operation::copy_object::copy_object;
use crate::operation::copy_object::test_support::{copy_call, resources, text};
use crate::operation::response::pass_refusal;
use crate::s3::headers::{COPY_SOURCE_IF_MATCH, ENCRYPTION_ENVELOPE, SOURCE_OWNER};
use crate::s3::{BucketName, ErrorCode, ObjectKey, Operation, Query, RangeSpec, S3Path};

const HASH: &str = "d41d8cd98f00b204e9800998ecf8427e";

/// A length, and the bytes at some offsets.
type Sparse = (u64, Vec<(u64, Bytes)>);

/// A multipart object of bucket `b`, and what a copy makes of it.
struct Storage {
    /// SourceMetadata and stored bytes of the source.
    source: Mutex<(HeaderMap, Bytes)>,
    /// Of a source that is too large for a test: its length, and the bytes at some offsets.
    sparse: Mutex<Option<Sparse>>,
    etag: Mutex<String>,
    tags: &'static str,
    requests: Mutex<Vec<(Method, String, HeaderMap)>>,
    parts: Mutex<BTreeMap<u16, Bytes>>,
    /// The answer to a request, by what it contains: method, path and query.
    fault: Option<(&'static str, u16, &'static str)>,
    /// Whether the source is overwritten when the first part is copied.
    overwrites: Mutex<bool>,
}

const ENVELOPE: HeaderName = HeaderName::from_static(ENCRYPTION_ENVELOPE);
const COPIED: &str = "<CopyPartResult><ETag>\"part\"</ETag></CopyPartResult>";
const COMPLETED: &str =
    "<CompleteMultipartUploadResult><ETag>\"copy-3\"</ETag></CompleteMultipartUploadResult>";

impl Storage {
    fn respond(&self, request: &Request<Bytes>) -> Response<Full<Bytes>> {
        let asked = request.uri().path_and_query().unwrap().to_string();
        let seen = (request.method().clone(), asked.clone(), request.headers().clone());
        self.requests.lock().unwrap().push(seen);
        let mut response = Response::new(Full::default());
        if let Some((what, status, document)) = self.fault
            && format!("{} {asked}", request.method()).contains(what)
        {
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            *response.body_mut() = Full::from(document);
            return response;
        }
        let query = Query::parse(request.uri().query().unwrap_or_default()).unwrap();
        let body = match (request.method().as_str(), query.first("partNumber")) {
            ("GET", _) if query.has("tagging") => Bytes::from(self.tags),
            ("GET", _) => return self.read(request),
            ("HEAD", _) => {
                let when = HeaderValue::from_static("Sat, 31 Jan 2026 12:00:05 GMT");
                response.headers_mut().insert(LAST_MODIFIED, when);
                response.headers_mut().insert(ETAG, HeaderValue::from_static("\"found-3\""));
                let requests = self.requests.lock().unwrap();
                let mut begun = requests.iter().filter_map(|(_, _, headers)| headers.get(ENVELOPE));
                // An upload whose completion was refused made no object.
                let made = begun.next().filter(|_| !matches!(self.fault, Some((_, 412, _))));
                response.headers_mut().extend(made.map(|envelope| (ENVELOPE, envelope.clone())));
                Bytes::new()
            }
            ("PUT", Some(number)) => return self.copy(request, number.parse().unwrap()),
            ("POST", _) if query.has("uploads") => Bytes::from(
                "<InitiateMultipartUploadResult><UploadId>id</UploadId></InitiateMultipartUploadResult>",
            ),
            ("POST", _) => {
                response.headers_mut().insert("x-amz-version-id", HeaderValue::from_static("v2"));
                Bytes::from(COMPLETED)
            }
            ("DELETE", _) => {
                *response.status_mut() = StatusCode::NO_CONTENT;
                Bytes::new()
            }
            other => panic!("an unexpected request: {other:?}"),
        };
        *response.body_mut() = Full::from(body);
        response
    }

    fn read(&self, request: &Request<Bytes>) -> Response<Full<Bytes>> {
        let (metadata, stored) = self.source.lock().unwrap().clone();
        let (total, known) =
            self.sparse.lock().unwrap().clone().unwrap_or((stored.len() as u64, vec![(0, stored)]));
        let range =
            RangeSpec::parse(request.headers()[RANGE].to_str().unwrap()).unwrap().resolve(total).unwrap();
        let body = known.into_iter().find_map(|(offset, bytes)| {
            let first = usize::try_from(range.first().checked_sub(offset)?).unwrap();
            let end = first + usize::try_from(range.len()).unwrap();
            (end <= bytes.len()).then(|| bytes.slice(first..end))
        });
        let mut response = Response::new(Full::from(body.expect("these bytes are known")));
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        *response.headers_mut() = metadata;
        let content_range = HeaderValue::from_str(&range.content_range(total)).unwrap();
        response.headers_mut().insert(CONTENT_RANGE, content_range);
        let etag = HeaderValue::from_str(&self.etag.lock().unwrap()).unwrap();
        response.headers_mut().insert(ETAG, etag);
        response
    }

    fn copy(&self, request: &Request<Bytes>, number: u16) -> Response<Full<Bytes>> {
        if std::mem::take(&mut *self.overwrites.lock().unwrap()) {
            // Of the same bytes, to keep the test short: it is the ETag that counts.
            let etag = self.etag.lock().unwrap().replace(HASH, "00000000000000000000000000000000");
            *self.etag.lock().unwrap() = etag;
        }
        let mut response = Response::new(Full::from(COPIED));
        if request.headers()[COPY_SOURCE_IF_MATCH] != **self.etag.lock().unwrap() {
            *response.status_mut() = StatusCode::PRECONDITION_FAILED;
            *response.body_mut() =
                Full::from("<Error><Code>PreconditionFailed</Code><Message>m</Message></Error>");
            return response;
        }
        let stored = self.source.lock().unwrap().1.clone();
        let slice = match request.headers().get(COPY_SOURCE_RANGE) {
            None => stored,
            Some(range) => {
                let range = RangeSpec::parse(range.to_str().unwrap()).unwrap();
                let Some(range) = range.resolve(stored.len() as u64) else { return response };
                stored.slice(range.first() as usize..=range.last() as usize)
            }
        };
        self.parts.lock().unwrap().insert(number, slice);
        response.headers_mut().insert(COPY_SOURCE_VERSION_ID, HeaderValue::from_static("v1"));
        response
    }

    /// The requests whose method and query contain this.
    fn requests(&self, what: &str) -> Vec<HeaderMap> {
        let requests = self.requests.lock().unwrap();
        let fitting = requests.iter().filter(|(method, asked, _)| format!("{method} {asked}").contains(what));
        fitting.map(|(_, _, headers)| headers.clone()).collect()
    }
}

fn parts(lengths: &[(u16, u64)]) -> Vec<Part> {
    let part =
        |(number, length): &(u16, u64)| Part { number: PartNumber::new(*number).unwrap(), length: *length };
    lengths.iter().map(part).collect()
}

fn regular() -> Layout {
    Layout::ended_by_last(parts(&[(1, CHUNK as u64), (2, CHUNK as u64), (3, 9)])).unwrap()
}

const NO_TAGS: &str = "<Tagging><TagSet/></Tagging>";

/// A storage with a source of this layout, and the segments of the source.
async fn storage(
    layout: &Layout,
    configure: impl FnOnce(&mut Storage),
) -> (Arc<Storage>, Resources, tempfile::TempDir, Vec<Vec<u8>>) {
    let mut storage = Storage {
        source: Mutex::default(),
        sparse: Mutex::default(),
        etag: Mutex::new(format!("\"{HASH}-{}\"", layout.segments())),
        tags: NO_TAGS,
        requests: Mutex::default(),
        parts: Mutex::default(),
        fault: None,
        overwrites: Mutex::new(false),
    };
    configure(&mut storage);
    let storage = Arc::new(storage);
    let serving = Arc::clone(&storage);
    let (resources, folder) = resources(move |request| serving.respond(&request), &["b", "other"]).await;
    let context = EncryptionContext::native("b");
    let write_key = resources.keyring.for_write(&KeyRule::default(), None, &context, 1).await.unwrap();
    let request = SealRequest {
        keys: EnvelopeKeys::without_customer(&write_key.data_key),
        binding: Binding::RealmAndKey,
        body: BodyKind::Multipart,
        sse: SseAlgorithm::AwsKms,
        name: ObjectName { realm: "b", object_key: b"k" },
        attributes: &Attributes::default(),
    };
    let sealed = Envelope::seal(&request, Entropy::fresh());
    let content = pattern(usize::try_from(layout.plaintext_total()).unwrap());
    let segments = seal_segments(&sealed.content_key, layout, &content);
    let mut metadata = HeaderMap::new();
    write_keys(&write_key, &sealed.envelope, &mut metadata).unwrap();
    metadata.insert("x-amz-meta-a", HeaderValue::from_static("1"));
    *storage.source.lock().unwrap() = (metadata, segments.concat().into());
    (storage, resources, folder, segments)
}

async fn copy(resources: &Resources, headers: &[(&'static str, &str)]) -> Result<Response<BoxBody>, Error> {
    let call = copy_call(Operation::CopyObject, "b/k", "/other/copy", "", headers);
    pass_refusal(copy_object(resources, Box::new(call)).await)
}

#[tokio::test]
async fn each_segment_becomes_a_part_under_its_number() {
    let chunk = CHUNK as u64;
    for (layout, numbers) in [
        (regular(), vec![1, 2, 3]),
        (Layout::terminated(parts(&[(1, chunk), (2, 2 * chunk + 1)])).unwrap(), vec![1, 2, 10_000]),
        (Layout::ended_by_last(parts(&[(2, 70_000), (5, 9), (7, 500)])).unwrap(), vec![2, 5, 7]),
        (Layout::ended_by_last(parts(&[(1, 5)])).unwrap(), vec![1]),
    ] {
        let (storage, resources, _folder, segments) = storage(&layout, |_| ()).await;
        let response = copy(&resources, &[]).await.unwrap();
        assert_eq!(response.headers()["x-amz-version-id"], "v2");
        assert_eq!(response.headers()["x-amz-copy-source-version-id"], "v1");
        assert_eq!(response.headers()["x-amz-server-side-encryption"], "aws:kms");
        let text = text(response).await;
        assert!(
            text.contains("<ETag>\"copy-3\"</ETag>") && text.contains("2026-01-31T12:00:05.000Z"),
            "{text}"
        );
        let expected = numbers.into_iter().zip(segments.into_iter().map(Bytes::from)).collect();
        assert_eq!(*storage.parts.lock().unwrap(), expected, "the parts are the segments, byte for byte");
        assert!(storage.requests("DELETE").is_empty());
        let ranged = storage.requests("partNumber").iter().all(|copy| copy.contains_key(COPY_SOURCE_RANGE));
        assert_eq!(ranged, layout.segments() > 1, "a small source can't be copied by range");
    }
}

#[tokio::test]
async fn the_upload_has_the_metadata_and_an_envelope_of_its_own() {
    let tags = "<Tagging><TagSet><Tag><Key>t</Key><Value>a b</Value></Tag></TagSet></Tagging>";
    let (storage, resources, _folder, _) = storage(&regular(), |storage| storage.tags = tags).await;
    copy(&resources, &[("if-none-match", "*"), ("x-amz-acl", "private")]).await.unwrap();
    let created = storage.requests("POST /other/copy?uploads").remove(0);
    assert_eq!(
        (&created["x-amz-meta-a"], &created["x-amz-acl"]),
        (&"1".parse().unwrap(), &"private".parse().unwrap())
    );
    assert_eq!(created["x-amz-tagging"], "t=a%20b");
    assert!(!created.contains_key("if-none-match"), "it counts when the object comes to be");
    assert_eq!(storage.requests("POST /other/copy?uploadId=id")[0]["if-none-match"], "*");

    let content_key = |metadata: HeaderMap, path: &'static str| {
        let resources = resources.clone();
        async move {
            let path = S3Path::parse(path, None, &[] as &[&str]).unwrap();
            let (bucket, object) = (path.bucket().unwrap(), path.object().unwrap());
            let rule = resources.policies.for_object(bucket, object).unwrap();
            let keys = NativeMetadata::from_headers(&metadata).unwrap();
            assert!(keys.envelope().is_multipart());
            let unlocked = keys.unlock(&resources.keyring, rule, (bucket, object), None).await.unwrap();
            let mut chunk = BytesMut::new();
            ChunkSealer::for_put(&unlocked.opened.content_key).seal_last(&mut chunk);
            chunk
        }
    };
    let source = storage.source.lock().unwrap().0.clone();
    assert_eq!(content_key(created, "/other/copy").await, content_key(source, "/b/k").await);
}

#[tokio::test]
async fn tags_that_are_replaced_are_not_asked_for() {
    let (storage, resources, _folder, _) = storage(&regular(), |_| ()).await;
    copy(&resources, &[("x-amz-tagging-directive", "REPLACE"), ("x-amz-tagging", "u=1")]).await.unwrap();
    assert_eq!(storage.requests("?uploads")[0]["x-amz-tagging"], "u=1");
    assert!(storage.requests("tagging").is_empty());
}

#[tokio::test]
async fn whatever_fails_nothing_is_left() {
    let error = "<Error><Code>SlowDown</Code><Message>m</Message></Error>";
    for (what, status, document) in [
        ("partNumber=2", 501, "<Error><Code>NotImplemented</Code><Message>m</Message></Error>"),
        ("partNumber=1", 503, error),
        ("partNumber=3", 200, error),
        ("partNumber=3", 200, ""),
        ("POST /other/copy?uploadId", 200, error),
        ("POST /other/copy?uploadId", 412, "<Error><Code>PreconditionFailed</Code></Error>"),
        ("POST /other/copy?uploadId", 200, "<html/>"),
    ] {
        let fault = Some((what, status, document));
        let (storage, resources, _folder, _) = storage(&regular(), |storage| storage.fault = fault).await;
        let failed = match copy(&resources, &[]).await {
            Ok(response) => response.status().as_u16(),
            Err(error) => error.to_s3().status().as_u16(),
        };
        assert!(failed >= 400, "{what} {status}: {failed}");
        assert_eq!(storage.requests("DELETE /other/copy?uploadId=id").len(), 1, "{what} {status}");
    }
}

#[tokio::test]
async fn an_upload_that_does_not_begin_needs_no_end() {
    let denied = "<Error><Code>AccessDenied</Code><Message>m</Message></Error>";
    for what in ["?uploads", "?tagging"] {
        let (storage, resources, _folder, _) =
            storage(&regular(), |storage| storage.fault = Some((what, 403, denied))).await;
        let response = copy(&resources, &[]).await.unwrap();
        assert_eq!(response.status(), StatusCode::FORBIDDEN);
        assert!(storage.requests("DELETE").is_empty() && storage.requests("partNumber").is_empty());
    }
}

#[tokio::test]
async fn a_source_that_is_overwritten_meanwhile_is_copied_anew() {
    let (storage, resources, _folder, _) =
        storage(&regular(), |storage| *storage.overwrites.get_mut().unwrap() = true).await;
    copy(&resources, &[]).await.unwrap();
    assert_eq!(storage.requests("DELETE").len(), 1, "what was begun is removed");
    let pins: Vec<_> =
        storage.requests("partNumber").iter().map(|copy| copy[COPY_SOURCE_IF_MATCH].clone()).collect();
    assert!(pins[pins.len() - 3..].iter().all(|pin| *pin == **storage.etag.lock().unwrap()), "{pins:?}");
}

#[tokio::test]
async fn every_part_is_pinned_and_checked_for_its_owners() {
    let (storage, resources, _folder, _) = storage(&regular(), |_| ()).await;
    let owners = [("x-amz-expected-bucket-owner", "2"), (SOURCE_OWNER, "1")];
    copy(&resources, &owners).await.unwrap();
    let copies = storage.requests("partNumber");
    assert_eq!(copies.len(), 3);
    for copy in copies {
        assert_eq!(copy[COPY_SOURCE_IF_MATCH], **storage.etag.lock().unwrap());
        assert_eq!(
            (&copy["x-amz-expected-bucket-owner"], &copy[SOURCE_OWNER]),
            (&"2".parse().unwrap(), &"1".parse().unwrap())
        );
    }
    for read in storage.requests("GET /b/k") {
        assert_eq!(read["x-amz-expected-bucket-owner"], "1");
    }
}

#[tokio::test]
async fn a_source_of_more_than_5_gib_of_plaintext_is_refused() {
    for (length, refused) in [(MAX_COPY / 2, false), (MAX_COPY / 2 + CHUNK as u64, true)] {
        let layout = Layout::terminated(parts(&[(1, length), (2, length)])).unwrap();
        let (storage, resources, _folder, _) = storage(&regular(), |_| ()).await;
        let rule = resources
            .policies
            .for_object(&BucketName::parse("b").unwrap(), &ObjectKey::parse("k").unwrap())
            .unwrap();
        let metadata = storage.source.lock().unwrap().0.clone();
        let keys = NativeMetadata::from_headers(&metadata).unwrap();
        let unlocked = keys
            .unlock(
                &resources.keyring,
                rule,
                (&BucketName::parse("b").unwrap(), &ObjectKey::parse("k").unwrap()),
                None,
            )
            .await
            .unwrap();
        let content_key = &unlocked.opened.content_key;
        let first =
            SegmentSealer::new(content_key, layout.parts()[0], SegmentEnd::Middle, SegmentEntropy::fresh());
        let last = seal_terminator(content_key, &layout, None, SegmentEntropy::fresh()).unwrap();
        let known = vec![
            (0, Bytes::copy_from_slice(&first.unwrap().header)),
            (layout.last_header_offset(), Bytes::from(last)),
        ];
        *storage.sparse.lock().unwrap() = Some((layout.stored_total(), known));
        *storage.etag.lock().unwrap() = format!("\"{HASH}-3\"");
        // Where it goes on, the fake has no bytes to copy; that it goes on is what matters.
        let outcome = copy(&resources, &[]).await;
        assert_eq!(storage.requests("?uploads").is_empty(), refused, "{length}");
        if refused {
            let error = outcome.unwrap_err().to_s3();
            assert_eq!(error.code, ErrorCode::InvalidRequest);
            assert!(error.message.ends_with("copy source: 5368709120"), "{}", error.message);
        }
    }
}

#[test]
fn times_are_written_as_in_xml() {
    let time = httpdate::parse_http_date("Sat, 31 Jan 2026 12:00:05 GMT").unwrap();
    let written = iso_time(time.into());
    assert_eq!(written, "2026-01-31T12:00:05.000Z");
}
