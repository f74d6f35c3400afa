use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::*;
use crate::envelope::DataKey;
use crate::envelope::native::{
    Attributes, Binding, BodyKind, Entropy, Envelope, EnvelopeKeys, ObjectName, SealRequest, SseAlgorithm,
    plaintext_length,
};
use crate::object::rule::formats::ReadFormat;
use crate::operation::response::pass_refusal;
use crate::s3::{BucketName, EtagStyle, ObjectKey, Operation, Query, S3Path};
use crate::sigv4::Payload;
use crate::test_support;

mod uploads;

/// The ETag of an object of one PUT.
const MD5: &str = "d41d8cd98f00b204e9800998ecf8427e";

/// Status and headers.
type Metadata = (u16, Vec<(&'static str, String)>);

/// A storage that answers a listing with one document, and HEAD with what it is told to.
#[derive(Default)]
struct Storage {
    listing: String,
    status: StatusCode,
    headers: Vec<(&'static str, &'static str)>,
    /// What HEAD tells, by path and query; else 404.
    objects: HashMap<&'static str, Metadata>,
    /// Every question for an object, and every request for a listing.
    questions: Mutex<Vec<String>>,
    listings: Mutex<Vec<Request<()>>>,
}

impl Storage {
    fn with_listing(listing: impl Into<String>) -> Self {
        Self { listing: listing.into(), ..Self::default() }
    }

    fn questions(&self) -> MutexGuard<'_, Vec<String>> {
        self.questions.lock().unwrap()
    }

    fn answer(&self, request: Request<()>) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::default());
        if request.method() == Method::HEAD {
            let asked = request.uri().path_and_query().unwrap().to_string();
            let (status, headers) = self.objects.get(asked.as_str()).cloned().unwrap_or((404, Vec::new()));
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            for (name, value) in headers {
                response
                    .headers_mut()
                    .insert(HeaderName::from_static(name), HeaderValue::from_str(&value).unwrap());
            }
            self.questions().push(asked);
            return response;
        }
        self.listings.lock().unwrap().push(request);
        *response.status_mut() = self.status;
        for (name, value) in &self.headers {
            response.headers_mut().insert(*name, HeaderValue::from_static(value));
        }
        *response.body_mut() = Full::new(self.listing.clone().into());
        response
    }

    /// Serves until the test ends; gives the handlers' view of it.
    async fn serve(self) -> (Arc<Self>, Resources, tempfile::TempDir) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let storage = Arc::new(self);
        let serving = Arc::clone(&storage);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let storage = Arc::clone(&serving);
                let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                    let answer = storage.answer(request.map(drop));
                    async move { Ok::<_, std::convert::Infallible>(answer) }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        let policies = [("b", ""), ("partly", "ours/")];
        let (resources, folder) = test_support::resources(&endpoint, &policies).await;
        (storage, resources, folder)
    }
}

fn call(bucket: &str, query: &str) -> Box<Call> {
    Box::new(Call {
        operation: Operation::ListObjectsV2,
        method: Method::GET,
        addressing: crate::operation::request::Addressing {
            tls: false,
            virtual_host: false,
            is_private: true,
        },
        path: S3Path::Bucket(BucketName::parse(bucket).unwrap()),
        query: Query::parse(query).unwrap(),
        headers: HeaderMap::new(),
        payload: Payload::Unsigned,
        body: BoxBody::default(),
        grants: crate::access::Grants::unlimited(),
        is_append: false,
        copy_source: None,
        customer_keys: crate::s3::headers::CustomerKeys::default(),
        permit: None,
    })
}

async fn list(resources: &Resources, bucket: &str, query: &str) -> String {
    let response = list_objects(resources, call(bucket, query)).await.unwrap();
    assert_eq!(response.status(), 200);
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn entry(name: &str, etag: &str, size: u64) -> String {
    format!("<Contents><Key>{name}</Key><ETag>&quot;{etag}&quot;</ETag><Size>{size}</Size></Contents>")
}

/// A page as clients read it, whose ETags are of ciphertext.
fn opaque(page: &str) -> String {
    let mut pieces = page.split("&quot;</ETag>").peekable();
    let mut told = String::new();
    while let Some(piece) = pieces.next() {
        told.push_str(piece);
        if pieces.peek().is_some() {
            let (_, etag) = piece.rsplit_once("&quot;").unwrap();
            told.push_str(if etag.contains('-') { "&quot;</ETag>" } else { "-v&quot;</ETag>" });
        }
    }
    told
}

fn listing(entries: &[String]) -> String {
    format!("<ListBucketResult><Name>b</Name>{}</ListBucketResult>", entries.concat())
}

/// What a HEAD of a native object says.
fn sealed(etag: &str, length: u64, multipart: bool) -> Metadata {
    let data_key = DataKey::from_bytes([1; 32]);
    let body = match multipart {
        true => BodyKind::Multipart,
        false => BodyKind::Put { plaintext_length: plaintext_length(length).unwrap_or_default() },
    };
    let request = SealRequest {
        keys: EnvelopeKeys::without_customer(&data_key),
        binding: Binding::RealmAndKey,
        body,
        sse: SseAlgorithm::AwsKms,
        name: ObjectName { realm: "b", object_key: b"k" },
        attributes: &Attributes::default(),
    };
    let envelope = Envelope::seal(&request, Entropy::fresh()).envelope.to_header();
    let (status, mut metadata) = foreign(etag, length);
    metadata.push((headers::ENCRYPTION_KEY, "AAAA".to_owned()));
    metadata.push((headers::ENCRYPTION_ENVELOPE, envelope));
    (status, metadata)
}

fn foreign(etag: &str, length: u64) -> Metadata {
    (200, vec![("etag", format!("\"{etag}\"")), ("content-length", length.to_string())])
}

#[tokio::test]
async fn arithmetic_alone_sizes_an_ordinary_bucket() {
    let stored = [("a", 16), ("a+b", 17), ("c", 65_552), ("d", 65_569), ("folder/", 0), ("plaintext", 9)];
    let sizes = [0, 1, 65_536, 65_537, 0, 9];
    let page = |sizes: &[u64]| {
        let entries = stored.iter().zip(sizes).map(|((name, _), size)| entry(name, MD5, *size));
        listing(&entries.collect::<Vec<_>>())
    };
    let (storage, resources, _folder) =
        Storage::with_listing(page(&stored.map(|(_, size)| size))).serve().await;
    assert_eq!(list(&resources, "b", "list-type=2").await, opaque(&page(&sizes)));
    assert_eq!(*storage.questions(), [""; 0]);
}

#[tokio::test]
async fn what_arithmetic_cannot_tell_is_asked_for_once() {
    let page = listing(&[
        entry("opaque", "e", 65_569),
        entry("foreign", MD5, 65_553),
        entry("other+parts", "g-3", 100),
        entry("gone", "h", 200),
        entry("overwritten", "i", 300),
        entry("of-other-keys", "j", 400),
    ]);
    let mut storage = Storage::with_listing(&page);
    storage.objects = HashMap::from([
        ("/b/opaque", sealed("e", 65_569, false)),
        ("/b/foreign", foreign(MD5, 65_553)),
        ("/b/other%20parts", foreign("g-3", 100)),
        ("/b/overwritten", sealed("another", 700, false)),
        ("/b/of-other-keys", sealed("j", 400, true)),
    ]);
    let (storage, resources, _folder) = storage.serve().await;
    let expected = page.replace("<Size>65569<", "<Size>65537<").replace("<Size>300<", "<Size>684<");
    let expected = opaque(&expected.replace(&entry("gone", "h", 200), ""));
    assert_eq!(list(&resources, "b", "encoding-type=url").await, expected);
    storage.questions().sort();
    let overwritten = "/b/overwritten";
    let asked = ["/b/foreign", "/b/gone", "/b/of-other-keys", "/b/opaque", "/b/other%20parts"];
    assert_eq!(*storage.questions(), [&asked[..], &[overwritten; 2]].concat());
    storage.questions().clear();
    assert_eq!(list(&resources, "b", "encoding-type=url").await, expected);
    storage.questions().sort();
    assert_eq!(
        *storage.questions(),
        ["/b/gone", overwritten, overwritten],
        "only what was not learned is asked again"
    );
}

#[tokio::test]
async fn what_can_not_be_looked_at_keeps_its_size() {
    let page = listing(&[entry("closed", "e", 200), entry("opaque", "f", 300)]);
    let mut storage = Storage::with_listing(&page);
    storage.objects = HashMap::from([("/b/closed", (403, Vec::new())), ("/b/opaque", (405, Vec::new()))]);
    let (_storage, resources, _folder) = storage.serve().await;
    assert_eq!(list(&resources, "b", "").await, opaque(&page));
}

/// The metadata says which object is plaintext, whose ETag is a hash of what a client reads.
#[tokio::test]
async fn where_plaintext_is_read_its_etag_stays() {
    let page = listing(&[
        entry("plain", MD5, 20),
        entry("plain-parts", &format!("{MD5}-2"), 21),
        entry("sealed", MD5, 22),
        entry("closed", MD5, 23),
    ]);
    let mut storage = Storage::with_listing(&page);
    storage.objects = HashMap::from([
        ("/b/plain", foreign(MD5, 20)),
        ("/b/plain-parts", foreign(&format!("{MD5}-2"), 21)),
        ("/b/sealed", sealed(MD5, 22, false)),
        ("/b/closed", (403, Vec::new())),
    ]);
    let (storage, mut resources, _folder) = storage.serve().await;
    let rule = |etag| {
        let name = BucketName::parse("b").unwrap();
        let mut rule = resources.policies.for_object(&name, &ObjectKey::parse("k").unwrap()).unwrap().clone();
        rule.formats.read.push(ReadFormat::Plaintext);
        rule.etag = etag;
        crate::object::rule::Policies::new(vec![rule])
    };
    let (opaque_etags, storage_etags) = (rule(EtagStyle::Opaque), rule(EtagStyle::Storage));
    let expected = |suffix: &str| {
        listing(&[
            entry("plain", MD5, 20),
            entry("plain-parts", &format!("{MD5}-2"), 21),
            entry("sealed", &format!("{MD5}{suffix}"), 6),
            entry("closed", &format!("{MD5}{suffix}"), 23),
        ])
    };
    resources.policies = opaque_etags;
    assert_eq!(list(&resources, "b", "").await, expected("-v"));
    let asked = storage.questions().len();
    assert_eq!(list(&resources, "b", "").await, expected("-v"));
    assert_eq!(storage.questions().len(), asked + 1, "what was learned is not asked for again");
    resources.policies = storage_etags;
    assert_eq!(list(&resources, "b", "").await, expected(""));
}

#[tokio::test]
async fn versions_are_asked_for_as_versions() {
    let version = |id: &str, suffix: &str, size: u64| {
        format!(
            "<Version><Key>k</Key><VersionId>{id}</VersionId><ETag>{MD5}{suffix}</ETag><Size>{size}</Size></Version>"
        )
    };
    let page = |suffix: &str, first: u64, second: u64| {
        let marker = "<DeleteMarker><Key>k</Key><VersionId>v3</VersionId></DeleteMarker>";
        format!(
            "<ListVersionsResult>{marker}{}{}</ListVersionsResult>",
            version("v2", suffix, first),
            version("null", suffix, second)
        )
    };
    let mut storage = Storage::with_listing(page("", 65_560, 20));
    storage.objects = HashMap::from([("/b/k?versionId=v2", foreign(MD5, 65_560))]);
    let (storage, resources, _folder) = storage.serve().await;
    assert_eq!(list(&resources, "b", "versions").await, page("-v", 65_560, 4));
    assert_eq!(*storage.questions(), ["/b/k?versionId=v2"]);
}

#[tokio::test]
async fn a_key_without_a_rule_keeps_its_size() {
    let page = listing(&[entry("ours/k", MD5, 20), entry("theirs/k", MD5, 20), entry("theirs/l", "e", 20)]);
    let (storage, resources, _folder) = Storage::with_listing(&page).serve().await;
    let expected = page.replace(&entry("ours/k", MD5, 20), &opaque(&entry("ours/k", MD5, 4)));
    assert_ne!(page, expected);
    assert_eq!(list(&resources, "partly", "").await, expected);
    assert_eq!(*storage.questions(), [""; 0]);
    assert_eq!(
        list_objects(&resources, call("unnamed", "")).await.unwrap_err().to_s3().code,
        ErrorCode::AccessDenied
    );
    assert_eq!(storage.listings.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn the_request_reaches_the_storage_as_it_was() {
    let mut storage = Storage::with_listing(listing(&[entry("k", "e-2", 20)]));
    storage.headers = vec![
        ("content-md5", "AAAA"),
        ("x-amz-bucket-region", "eu-north-1"),
        ("x-amz-checksum-crc32", "AAAA"),
    ];
    storage.objects = HashMap::from([("/b/k", foreign("e-2", 20))]);
    let (storage, resources, _folder) = storage.serve().await;
    let mut call = call("b", "list-type=2&prefix=a+b/&delimiter=/&max-keys=7&x-id=ListObjectsV2");
    for (name, value) in [
        ("x-amz-request-payer", "requester"),
        ("x-amz-optional-object-attributes", "RestoreStatus"),
        ("range", "bytes=0-9"),
    ] {
        call.headers.insert(name, HeaderValue::from_static(value));
    }
    let response = list_objects(&resources, call).await.unwrap();
    let told = response.headers();
    assert_eq!(told["x-amz-bucket-region"], "eu-north-1");
    for absent in ["content-length", "content-md5", "x-amz-checksum-crc32"] {
        assert!(!told.contains_key(absent), "{absent}");
    }
    response.into_body().collect().await.unwrap();
    let asked = storage.listings.lock().unwrap();
    assert_eq!(asked[0].uri(), "/b?list-type=2&prefix=a%20b%2F&delimiter=%2F&max-keys=7");
    assert_eq!(asked[0].headers()["x-amz-request-payer"], "requester");
    assert_eq!(asked[0].headers()["x-amz-optional-object-attributes"], "RestoreStatus");
    assert!(!asked[0].headers().contains_key("range"));
}

#[tokio::test]
async fn the_storages_errors_pass_and_its_nonsense_does_not() {
    let error = "<Error><Code>NoSuchBucket</Code></Error>";
    let (_storage, resources, _folder) =
        Storage { status: StatusCode::NOT_FOUND, ..Storage::with_listing(error) }.serve().await;
    let response = pass_refusal(list_objects(&resources, call("b", "")).await).unwrap();
    assert_eq!(
        (response.status(), &*response.into_body().collect().await.unwrap().to_bytes()),
        (StatusCode::NOT_FOUND, error.as_bytes())
    );

    let (_storage, resources, _folder) = Storage::with_listing(error).serve().await;
    assert_eq!(list(&resources, "b", "").await, error, "an error behind a 200 is one too");

    for nonsense in ["", "<html>maintenance</html>", "<ListBucketResult><Contents>"] {
        let (_storage, resources, _folder) = Storage::with_listing(nonsense).serve().await;
        let outcome = match list_objects(&resources, call("b", "")).await {
            Ok(response) => response.into_body().collect().await.map(drop).map_err(drop),
            Err(error) => {
                assert_eq!(error.to_s3().code, ErrorCode::InternalError);
                Err(())
            }
        };
        assert!(outcome.is_err(), "{nonsense}");
    }

    let (_storage, resources, _folder) =
        Storage { headers: vec![("content-encoding", "gzip")], ..Storage::with_listing("x") }.serve().await;
    assert!(matches!(list_objects(&resources, call("b", "")).await, Err(Error::UnexpectedResponse(_))));
}

/// No wrong size is taken for a right one: the listing fails, and is asked for again.
#[tokio::test]
async fn a_size_that_the_storage_cannot_tell_now_fails_the_listing() {
    let mut storage = Storage::with_listing(listing(&[entry("k", "e-2", 20)]));
    storage.objects = HashMap::from([("/b/k", (503, Vec::new()))]);
    let (storage, resources, _folder) = storage.serve().await;
    for round in 1..=2 {
        let response = list_objects(&resources, call("b", "")).await.unwrap();
        assert!(response.into_body().collect().await.is_err());
        assert_eq!(storage.questions().len(), round, "a failure is not remembered");
    }
}

#[tokio::test]
async fn concurrent_listings_share_their_questions() {
    let entries: Vec<_> = (0..100).map(|_| entry("k", "e-2", 20)).collect();
    let mut storage = Storage::with_listing(listing(&entries));
    storage.objects = HashMap::from([("/b/k", foreign("e-2", 20))]);
    let (storage, resources, _folder) = storage.serve().await;
    let resources = Arc::new(resources);
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let resources = Arc::clone(&resources);
            tokio::spawn(async move { list(&resources, "b", "").await })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap(), storage.listing);
    }
    assert_eq!(storage.questions().len(), 1);
}
