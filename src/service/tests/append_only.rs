//! Random requests of clients that may append and not write, over a storage with versions: whatever they ask
//! for, what was there before stays as it was.

mod model;

use std::collections::{BTreeMap, HashSet};
use std::sync::Mutex;

use http::HeaderName;
use http::header::{CONTENT_LENGTH, ETAG};
use http_body_util::{BodyExt, Full};
use tokio::net::TcpListener;

use self::model::{Model, Version};
use super::*;
use crate::access::{Client, Right, Rights};
use crate::s3::{BucketPattern, xml};
use crate::sigv4::{PayloadSigning, SecretAccessKey, Signer};
use crate::test_support::serve;

/// Numbers that look random, and repeat in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }

    fn pick<'a, T: ?Sized>(&mut self, of_these: &[&'a T]) -> &'a T {
        of_these[self.below(of_these.len())]
    }
}

const SUBRESOURCES: &[&str] = &[
    "",
    "",
    "",
    "",
    "",
    "",
    "abac",
    "accelerate",
    "acl",
    "analytics",
    "annotation",
    "attributes",
    "cors",
    "delete",
    "encryption",
    "intelligent-tiering",
    "inventory",
    "legal-hold",
    "lifecycle",
    "location",
    "logging",
    "metadataAnnotationTable",
    "metadataConfiguration",
    "metadataInventoryTable",
    "metadataJournalTable",
    "metadataTable",
    "metrics",
    "notification",
    "object-lock",
    "ownershipControls",
    "policy",
    "policyStatus",
    "publicAccessBlock",
    "renameObject",
    "replication",
    "requestPayment",
    "restore",
    "retention",
    "select",
    "session",
    "tagging",
    "torrent",
    "uploads",
    "versioning",
    "versions",
    "website",
];

const HEADERS: &[&[(&str, &str)]] = &[
    &[],
    &[("x-amz-request-route", "r")],
    &[("content-type", "multipart/form-data; boundary=b")],
    &[("if-match", "*")],
    &[("if-match", "\"1\"")],
    &[("if-none-match", "*")],
    &[("if-none-match", "\"1\"")],
    &[("x-amz-acl", "public-read")],
    &[("x-amz-acl", "private")],
    &[("x-amz-bypass-governance-retention", "true")],
    &[("x-amz-copy-source", "b/seed-0")],
    &[("x-amz-copy-source", "/b/seed-1"), ("x-amz-metadata-directive", "REPLACE")],
    &[("x-amz-grant-full-control", "id=\"x\"")],
    &[("x-amz-object-lock-mode", "GOVERNANCE")],
    &[("x-amz-tagging", "a=b")],
    &[("x-amz-website-redirect-location", "/x")],
    &[("x-amz-write-offset-bytes", "3")],
    &[("x-amz-rename-source", "/b/seed-0")],
];

const DOCUMENTS: &[&str] = &[
    "",
    "content",
    "<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>",
    "<Delete><Object><Key>seed-0</Key></Object><Object><Key>seed-1</Key><VersionId>2</VersionId></Object></Delete>",
    "<Retention><Mode>GOVERNANCE</Mode></Retention>",
    "<RestoreRequest><Days>1</Days></RestoreRequest>",
];

/// What a client has learned of its uploads: key, id, and its parts with their ETags.
type Learned = Vec<(String, String, BTreeMap<u16, String>)>;

/// A request: method, path, query, headers, body.
struct Asked {
    method: &'static str,
    path: String,
    query: Query,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
}

/// The request number `turn`: in their turns each method with each path and subresource, with random headers,
/// parameters and documents.
fn random_request(numbers: &mut Numbers, turn: usize) -> Asked {
    const METHODS: &[&str] = &["GET", "HEAD", "PUT", "PUT", "POST", "DELETE", "DELETE"];
    const PATHS: &[&str] = &["/b/", "/b/", "/b/", "/b", "/"];

    let object_key = match numbers.below(3) {
        0 => format!("new-{}", numbers.below(1_000)),
        _ => format!("seed-{}", numbers.below(4)),
    };
    let method = METHODS[turn % METHODS.len()];
    let mut path = PATHS[turn / METHODS.len() % PATHS.len()].to_owned();
    let subresource = SUBRESOURCES[turn / (METHODS.len() * PATHS.len()) % SUBRESOURCES.len()];
    if path == "/b/" {
        path.push_str(&object_key);
    }
    let mut query = Query::default();
    if !subresource.is_empty() {
        query.push(subresource, "");
    }
    let mut body = Bytes::from_static(numbers.pick(DOCUMENTS).as_bytes());
    for (name, value) in
        [("versionId", "2"), ("max-directory-buckets", "1"), ("prefix", "seed"), ("select-type", "2")]
    {
        // Each operation takes few of them.
        if numbers.below(15) == 0 {
            query.push(name, value);
        }
    }
    match subresource {
        "analytics" | "intelligent-tiering" | "inventory" | "metrics" if numbers.below(2) == 0 => {
            query.push("id", "i");
        }
        "" if path == "/b" && method == "GET" && numbers.below(2) == 0 => query.push("list-type", "2"),
        "annotation" if numbers.below(2) == 0 => query.push("annotationName", "a"),
        _ => {}
    }
    let headers = if (method, path.as_str()) == ("POST", "/b") {
        &HEADERS[numbers.below(3)]
    } else {
        &HEADERS[numbers.below(HEADERS.len())]
    };
    let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    if ["GET", "HEAD", "DELETE"].contains(&method) {
        body = Bytes::new();
    }
    Asked { method, path, query, headers, body }
}

/// A request about an upload that the client began, or one of the storage's own ids; half of them with
/// headers that do not belong there.
fn upload_request(numbers: &mut Numbers, learned: &Learned) -> Asked {
    let own = (!learned.is_empty()).then(|| learned[numbers.below(learned.len())].clone());
    let is_own = numbers.below(5) > 0;
    let stolen = 1 + numbers.below(40);
    let listed = || {
        let parts = BTreeMap::from([(1, "part-1".to_owned())]);
        ("seed-0".to_owned(), format!("upload-{stolen}"), parts)
    };
    let (object_key, id, parts) = own.filter(|_| is_own).unwrap_or_else(listed);
    let (mut query, mut body) = (Query::default(), Bytes::new());
    let method = match numbers.below(8) {
        0 => {
            query.push("uploads", "");
            "POST"
        }
        1..=3 => {
            query.push("partNumber", "1");
            body = Bytes::from_static(b"a part");
            "PUT"
        }
        4 | 5 => {
            let part =
                |(number, etag)| format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>");
            let parts = parts.iter().map(part).collect::<String>();
            body = format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>").into();
            "POST"
        }
        6 => "GET",
        _ => "DELETE",
    };
    let object_key = if query.has("uploads") {
        format!("{}{}", numbers.pick(&["seed-", "new-"]), numbers.below(4))
    } else {
        query.push("uploadId", id);
        object_key
    };
    let headers = if numbers.below(2) == 0 { HEADERS[0] } else { HEADERS[numbers.below(HEADERS.len())] };
    let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    Asked { method, path: format!("/b/{object_key}"), query, headers, body }
}

struct World {
    model: Arc<Mutex<Model>>,
    service: Service,
    signer: Signer,
    _folder: tempfile::TempDir,
}

const SECRET: &str = "a secret of these tests";

impl World {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let model = Arc::new(Mutex::new(Model::default()));
        let serving = Arc::clone(&model);
        serve(listener, move |request| serving.lock().unwrap().respond(&request));
        let (resources, folder) = resources(&endpoint, &[("*", "")]).await;
        let client = |name: &str, rights: Rights| {
            let secret = SecretAccessKey::new(SECRET.to_owned());
            (name.to_owned(), Client::new(secret, vec![BucketPattern::any()], rights))
        };
        let clients = Clients::new([
            client("admin", Rights::ALL),
            client("append", Rights::new(&[Right::Append])),
            client("append-and-read", Rights::new(&[Right::Append, Right::Read, Right::List])),
        ]);
        let service = Service::new(State::new(resources, clients));
        Self { model, service, signer: Signer::new("us-east-1"), _folder: folder }
    }

    /// Sends a request; returns status, ETag and body of the response.
    async fn send(&self, client: &str, asked: &Asked) -> (u16, String, Bytes) {
        let uri = format!("http://proxy{}?{}", asked.path, asked.query.encode());
        let mut request = Request::builder().method(asked.method).uri(uri);
        for (name, value) in &asked.headers {
            request = request.header(*name, value);
        }
        request = request.header(CONTENT_LENGTH, asked.body.len());
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        let credentials = aws_credential_types::Credentials::new(client, SECRET, None, None, "test");
        self.signer
            .sign(&mut parts, PayloadSigning::Unsigned, &credentials, std::time::SystemTime::now())
            .unwrap();
        let path_and_query = parts.uri.path_and_query().unwrap().as_str().parse().unwrap();
        parts.uri = path_and_query;
        let arrival = Arrival {
            peer: SocketAddr::from(([127, 0, 0, 1], 1)),
            tls_version: None,
            certificate_names: None,
            is_surplus: false,
            meter: Meter::new(1024),
        };
        let request = Request::from_parts(parts, Full::new(asked.body.clone()));
        let (head, body) = self.service.call(request, arrival).await.into_parts();
        let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let etag = head.headers.get(ETAG).map(|etag| etag.to_str().unwrap().to_owned());
        (head.status.as_u16(), etag.unwrap_or_default(), body)
    }

    async fn seed(&self) {
        for number in 0..4 {
            let path = format!("/b/seed-{number}");
            let body = Bytes::from_static(b"precious");
            let asked = Asked { method: "PUT", path, query: Query::default(), headers: Vec::new(), body };
            assert_eq!(self.send("admin", &asked).await.0, 200);
            assert_eq!(self.send("admin", &asked).await.0, 200);
        }
    }

    /// Sends random requests of `client`. Returns the statuses by operation, and the first request after
    /// which something that was there before was changed, hidden or gone.
    async fn run(&self, client: &str, count: usize) -> (HashSet<(Operation, u16)>, Option<String>) {
        // Each client asks for other keys.
        let (mut numbers, mut learned) =
            (Numbers(0x9e37_79b9_7f4a_7c15 ^ client.len() as u64), Learned::new());
        let mut seen = HashSet::new();
        let mut before = self.model.lock().unwrap().objects.clone();
        for turn in 0..count {
            let asked = if numbers.below(3) == 0 {
                upload_request(&mut numbers, &learned)
            } else {
                random_request(&mut numbers, turn)
            };
            let (status, etag, body) = self.send(client, &asked).await;
            let what = format!(
                "{client}: {} {}?{} {:?}",
                asked.method,
                asked.path,
                asked.query.encode(),
                asked.headers
            );
            learn(&mut learned, &asked, (status, etag, &body));
            let headers = asked
                .headers
                .iter()
                .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()));
            let path = S3Path::parse(&asked.path, None, &[] as &[&str]).unwrap();
            let method = asked.method.parse().unwrap();
            if let Ok(operation) = route(&method, &path, &asked.query, &headers.collect()) {
                seen.insert((operation, status));
            }
            let model = self.model.lock().unwrap();
            if model.bucket_changes > 0 || !is_kept(&before, &model.objects) {
                return (seen, Some(what));
            }
            before.clone_from(&model.objects);
        }
        (seen, None)
    }
}

/// Keeps the upload id and the ETags of parts that a client was given.
fn learn(learned: &mut Learned, asked: &Asked, (status, etag, body): (u16, String, &Bytes)) {
    if status != 200 {
        return;
    }
    let Some(object_key) = asked.path.strip_prefix("/b/") else { return };
    if asked.query.has("uploads")
        && let Ok(id) = xml::parse_upload_id(body)
    {
        learned.push((object_key.to_owned(), id, BTreeMap::new()));
        if learned.len() > 10 {
            learned.remove(0);
        }
    }
    let number = asked.query.first("partNumber").and_then(|number| number.parse().ok());
    if let (Some(number), Some(id)) = (number, asked.query.first("uploadId"))
        && let Some((_, _, parts)) = learned.iter_mut().find(|(_, known, _)| known == id)
    {
        parts.insert(number, etag);
    }
}

/// Whether every version is as it was, and every current one still the current one.
fn is_kept(before: &BTreeMap<String, Vec<Version>>, now: &BTreeMap<String, Vec<Version>>) -> bool {
    before.iter().all(|(path, versions)| {
        let found = now.get(path).map(Vec::as_slice).unwrap_or_default();
        let current = versions.last().filter(|version| !version.is_marker);
        versions.iter().all(|version| found.contains(version))
            && current.is_none_or(|_| found.last() == current)
    })
}

#[tokio::test]
async fn appending_clients_destroy_hide_and_change_nothing() {
    let world = World::new().await;
    world.seed().await;
    for client in ["append", "append-and-read"] {
        let (seen, harm) = world.run(client, 20_000).await;
        assert_eq!(harm, None, "This is a security issue.");
        let operations: HashSet<_> = seen.iter().map(|(operation, _)| *operation).collect();
        // Browsers send preflights; a form's signature is in its fields.
        let missing: Vec<_> =
            Operation::ALL.iter().filter(|operation| !operations.contains(operation)).collect();
        assert_eq!(missing, [&Operation::CorsPreflight]);
        for expected in [
            (Operation::PutObject, 200),
            (Operation::PutObject, 412),
            (Operation::PutObject, 403),
            (Operation::UploadPart, 200),
            (Operation::CompleteMultipartUpload, 200),
            (Operation::CompleteMultipartUpload, 412),
            (Operation::DeleteObject, 403),
            (Operation::PutBucketPolicy, 403),
        ] {
            let found: Vec<_> = seen.iter().filter(|(operation, _)| *operation == expected.0).collect();
            assert!(found.contains(&&expected), "{client}: not {expected:?}, but {found:?}");
        }
        let copied = seen.contains(&(Operation::CopyObject, 412));
        assert_eq!(copied, client == "append-and-read", "{client}");
    }
}

/// The requests of the test above are dangerous: a client with all rights does harm with them.
#[tokio::test]
async fn the_same_requests_of_an_administrator_do_harm() {
    let world = World::new().await;
    world.seed().await;
    let (_, harm) = world.run("admin", 1_000).await;
    assert!(harm.is_some());
}
