//! A storage in memory with versions, uploads, tags and ACLs, whose objects a test may change between two
//! requests.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::Full;
use tokio::net::TcpListener;

use crate::s3::{CopySource, Query, RangeSpec};
use crate::test_support;
use crate::upload::Resources;
use crate::wire::percent::{self, Plus};

pub(super) type Answer = Response<Full<Bytes>>;

/// One version of an object.
#[derive(Clone, Debug, Default)]
pub(super) struct Object {
    /// The ETag without quotes.
    pub(super) etag: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) parts: Vec<usize>,
    pub(super) tags: String,
    pub(super) acl: Option<String>,
    pub(super) version: Option<String>,
    pub(super) is_delete_marker: bool,
}

/// All versions of each object, by `/bucket/key`, the newest last.
pub(super) type Objects = BTreeMap<String, Vec<Object>>;

type Before = Box<dyn FnMut(&Request<Bytes>, &mut Objects) -> Option<Answer> + Send>;
type After = Box<dyn FnMut(&Request<Bytes>, &mut Objects) + Send>;

#[derive(Default)]
struct Upload {
    path: String,
    headers: HeaderMap,
    parts: BTreeMap<u16, (String, Bytes)>,
}

#[derive(Default)]
pub(super) struct Storage {
    objects: Mutex<Objects>,
    uploads: Mutex<HashMap<String, Upload>>,
    /// Called before each request, which its answer replaces.
    before: Mutex<Option<Before>>,
    /// Called after each request.
    after: Mutex<Option<After>>,
    log: Mutex<Vec<(Method, String)>>,
    serial: Mutex<u64>,
    odd: Oddities,
}

/// What a storage does otherwise than one without versions that honours all conditions.
#[derive(Clone, Copy, Default)]
pub(super) struct Oddities {
    pub(super) has_versions: bool,
    pub(super) ignores_if_match_of_copies: bool,
    pub(super) ignores_conditions: bool,
}

impl Storage {
    pub(super) fn new(odd: Oddities) -> Self {
        Self { odd, ..Self::default() }
    }

    /// Serves the storage until the test ends, with rules for the buckets `b` and `c`.
    pub(super) async fn serve(self) -> (Arc<Self>, Resources, tempfile::TempDir) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let storage = Arc::new(self);
        let serving = Arc::clone(&storage);
        test_support::serve(listener, move |request| serving.respond(&request));
        let (resources, folder) = test_support::resources(&endpoint, &[("b", ""), ("c", "")]).await;
        (storage, resources.upload, folder)
    }

    pub(super) fn objects(&self) -> MutexGuard<'_, Objects> {
        self.objects.lock().unwrap()
    }

    /// The newest version.
    pub(super) fn newest(&self, path: &str) -> Object {
        self.objects()[path].last().unwrap().clone()
    }

    /// Stores an object as another client would. Its ETag is the MD5 of its body, unless it has parts.
    pub(super) fn keep(&self, path: &str, object: Object) -> Object {
        self.store(&mut self.objects(), path, object)
    }

    pub(super) fn before(
        &self,
        meddle: impl FnMut(&Request<Bytes>, &mut Objects) -> Option<Answer> + Send + 'static,
    ) {
        *self.before.lock().unwrap() = Some(Box::new(meddle));
    }

    pub(super) fn after(&self, meddle: impl FnMut(&Request<Bytes>, &mut Objects) + Send + 'static) {
        *self.after.lock().unwrap() = Some(Box::new(meddle));
    }

    /// The requests since the last call: methods, and paths with queries.
    pub(super) fn requests(&self) -> Vec<(Method, String)> {
        std::mem::take(&mut self.log.lock().unwrap())
    }

    /// The requests since the last call that changed something.
    pub(super) fn writes(&self) -> Vec<(Method, String)> {
        let is_write = |(method, _): &(Method, String)| *method != Method::GET && *method != Method::HEAD;
        self.requests().into_iter().filter(is_write).collect()
    }

    pub(super) fn has_uploads(&self) -> bool {
        !self.uploads.lock().unwrap().is_empty()
    }

    fn next(&self) -> u64 {
        let mut serial = self.serial.lock().unwrap();
        *serial += 1;
        *serial
    }

    fn store(&self, objects: &mut Objects, path: &str, mut object: Object) -> Object {
        if object.etag.is_empty() {
            object.etag = md5(&object.body);
        }
        let modified = format!("Sun, 29 Nov 2026 12:00:{:02} GMT", self.next() % 60);
        object.headers.insert(header::LAST_MODIFIED, HeaderValue::from_str(&modified).unwrap());
        let versions = objects.entry(path.to_owned()).or_default();
        if self.odd.has_versions {
            object.version = Some(format!("v{}", self.next()));
        } else {
            versions.clear();
        }
        versions.push(object.clone());
        object
    }

    fn respond(&self, request: &Request<Bytes>) -> Answer {
        let path_and_query = request.uri().path_and_query().unwrap().to_string();
        self.log.lock().unwrap().push((request.method().clone(), path_and_query));
        let mut objects = self.objects();
        let early = self.before.lock().unwrap().as_mut().and_then(|before| before(request, &mut objects));
        let answer = early.unwrap_or_else(|| self.handle(request, &mut objects));
        if let Some(after) = self.after.lock().unwrap().as_mut() {
            after(request, &mut objects);
        }
        answer
    }

    fn handle(&self, request: &Request<Bytes>, objects: &mut Objects) -> Answer {
        let path = percent::decode_strict(request.uri().path(), Plus::Literal).unwrap();
        let query = Query::parse(request.uri().query().unwrap_or_default()).unwrap();
        let is_copy = request.headers().contains_key("x-amz-copy-source");
        match (request.method().as_str(), query.first("uploadId")) {
            ("GET" | "HEAD", _) => self.read(request, objects, &path, &query),
            ("PUT", Some(id)) => self.put_part(request, objects, id, &query),
            ("PUT", None) if is_copy => self.copy(request, objects, &path),
            ("PUT", None) => match self.refuse_by_condition(request, objects, &path) {
                Some(refused) => refused,
                None => {
                    let body = decoded(request);
                    let stored = self.store(objects, &path, object_of(request.headers(), body));
                    written(&stored, String::new())
                }
            },
            ("POST", None) => {
                let id = format!("upload-{}", self.next());
                let upload = Upload { path, headers: request.headers().clone(), ..Upload::default() };
                self.uploads.lock().unwrap().insert(id.clone(), upload);
                let document = format!(
                    "<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>"
                );
                answer(200, document)
            }
            ("POST", Some(id)) => self.complete(request, objects, id),
            ("DELETE", Some(id)) => {
                self.uploads.lock().unwrap().remove(id);
                answer(204, String::new())
            }
            ("DELETE", None) => {
                objects.remove(&path);
                answer(204, String::new())
            }
            other => panic!("an unexpected request: {other:?}"),
        }
    }

    fn read(&self, request: &Request<Bytes>, objects: &Objects, path: &str, query: &Query) -> Answer {
        let version = query.first("versionId");
        let versions = objects.get(path);
        let is_wanted =
            |object: &&Object| version.is_none_or(|id| id == object.version.as_deref().unwrap_or("null"));
        let Some(object) = versions.and_then(|versions| versions.iter().rev().find(is_wanted)) else {
            return refuse(request, 404, "NoSuchKey");
        };
        if object.is_delete_marker {
            let mut gone = refuse(request, if version.is_some() { 405 } else { 404 }, "NoSuchKey");
            gone.headers_mut().insert("x-amz-delete-marker", HeaderValue::from_static("true"));
            return gone;
        }
        let quoted = format!("\"{}\"", object.etag);
        let text = |name: HeaderName| request.headers().get(name).map(|value| value.to_str().unwrap());
        if text(header::IF_MATCH).is_some_and(|wanted| wanted != quoted) {
            return refuse(request, 412, "PreconditionFailed");
        }
        if query.has("tagging") {
            return answer(200, tagging(&object.tags));
        }
        if query.has("acl") {
            return match &object.acl {
                Some(acl) => answer(200, acl.clone()),
                None => refuse(request, 501, "NotImplemented"),
            };
        }
        let mut response = answer(200, String::new());
        let mut body = object.body.clone();
        if let Some(number) = query.first("partNumber") {
            let number: usize = number.parse().unwrap();
            let lengths = if object.parts.is_empty() { vec![body.len()] } else { object.parts.clone() };
            let first: usize = lengths[..number - 1].iter().sum();
            body = body.slice(first..first + lengths[number - 1]);
        } else if let Some(range) = text(header::RANGE).and_then(RangeSpec::parse) {
            let Some(range) = range.resolve(body.len() as u64) else {
                return refuse(request, 416, "InvalidRange");
            };
            let content_range = HeaderValue::from_str(&range.content_range(body.len() as u64)).unwrap();
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            response.headers_mut().insert(header::CONTENT_RANGE, content_range);
            body = body.slice(range.first() as usize..=range.last() as usize);
        }
        response.headers_mut().extend(object.headers.clone());
        response.headers_mut().insert(header::ETAG, HeaderValue::from_str(&quoted).unwrap());
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        set_version(response.headers_mut(), object);
        if request.method() == Method::GET {
            *response.body_mut() = Full::from(body);
        }
        response
    }

    /// The refusal of a write whose condition does not hold.
    fn refuse_by_condition(&self, request: &Request<Bytes>, objects: &Objects, path: &str) -> Option<Answer> {
        let newest = objects.get(path).and_then(|versions| versions.last());
        let present = newest.filter(|newest| !newest.is_delete_marker);
        let wanted = request.headers().get(header::IF_MATCH).map(|value| value.to_str().unwrap());
        let is_unmet = wanted
            .is_some_and(|wanted| present.is_none_or(|present| format!("\"{}\"", present.etag) != wanted))
            || (request.headers().contains_key(header::IF_NONE_MATCH) && present.is_some());
        (is_unmet && !self.odd.ignores_conditions).then(|| refuse(request, 412, "PreconditionFailed"))
    }

    #[expect(clippy::result_large_err, reason = "a refusal of a test's storage is a response")]
    fn source(&self, request: &Request<Bytes>, objects: &Objects) -> Result<Object, Answer> {
        let source = CopySource::parse(request.headers()["x-amz-copy-source"].as_bytes()).unwrap();
        let path = format!("/{}/{}", source.bucket, source.object.as_str());
        let versions = objects.get(&path).into_iter().flatten();
        let is_wanted = |object: &&Object| source.version_id.is_none() || source.version_id == object.version;
        let found = versions.rev().find(is_wanted).filter(|found| !found.is_delete_marker);
        let found = found.ok_or_else(|| refuse(request, 404, "NoSuchKey"))?;
        let pinned = request.headers().get("x-amz-copy-source-if-match");
        if pinned.is_some_and(|pinned| *pinned != format!("\"{}\"", found.etag)) {
            return Err(refuse(request, 412, "PreconditionFailed"));
        }
        Ok(found.clone())
    }

    fn copy(&self, request: &Request<Bytes>, objects: &mut Objects, path: &str) -> Answer {
        let source = match self.source(request, objects) {
            Ok(source) => source,
            Err(refused) => return refused,
        };
        if !self.odd.ignores_if_match_of_copies
            && let Some(refused) = self.refuse_by_condition(request, objects, path)
        {
            return refused;
        }
        assert_eq!(request.headers()["x-amz-metadata-directive"], "REPLACE");
        let mut copy = object_of(request.headers(), source.body.clone());
        copy.tags = source.tags;
        let stored = self.store(objects, path, copy);
        let mut response = written(&stored, copied(&stored.etag));
        if let Some(version) = &source.version {
            let version = HeaderValue::from_str(version).unwrap();
            response.headers_mut().insert("x-amz-copy-source-version-id", version);
        }
        response
    }

    fn put_part(&self, request: &Request<Bytes>, objects: &Objects, id: &str, query: &Query) -> Answer {
        let number = query.first("partNumber").unwrap().parse().unwrap();
        let is_copy = request.headers().contains_key("x-amz-copy-source");
        let body = if is_copy {
            let source = match self.source(request, objects) {
                Ok(source) => source,
                Err(refused) => return refused,
            };
            let range = request.headers().get("x-amz-copy-source-range");
            match range.and_then(|range| RangeSpec::parse(range.to_str().unwrap())) {
                Some(range) => {
                    let range = range.resolve(source.body.len() as u64).unwrap();
                    source.body.slice(range.first() as usize..=range.last() as usize)
                }
                None => source.body,
            }
        } else {
            decoded(request)
        };
        let etag = md5(&body);
        let mut uploads = self.uploads.lock().unwrap();
        let Some(upload) = uploads.get_mut(id) else { return refuse(request, 404, "NoSuchUpload") };
        upload.parts.insert(number, (etag.clone(), body));
        let mut response = answer(200, if is_copy { copied(&etag) } else { String::new() });
        response.headers_mut().insert(header::ETAG, HeaderValue::from_str(&format!("\"{etag}\"")).unwrap());
        response
    }

    fn complete(&self, request: &Request<Bytes>, objects: &mut Objects, id: &str) -> Answer {
        let mut uploads = self.uploads.lock().unwrap();
        let Some(path) = uploads.get(id).map(|upload| upload.path.clone()) else {
            return refuse(request, 404, "NoSuchUpload");
        };
        if let Some(refused) = self.refuse_by_condition(request, objects, &path) {
            return refused;
        }
        let Upload { headers, parts, .. } = uploads.remove(id).unwrap();
        let (last, before) = parts
            .values()
            .collect::<Vec<_>>()
            .split_last()
            .map(|(last, before)| (*last, before.to_vec()))
            .unwrap();
        assert!(before.iter().all(|(_, body)| body.len() >= 5 << 20), "EntityTooSmall");
        let bodies: Vec<Bytes> = before.iter().chain([&last]).map(|(_, body)| body.clone()).collect();
        let hashes: String = parts.values().map(|(etag, _)| etag.as_str()).collect();
        let mut object = object_of(&headers, bodies.concat().into());
        object.etag = format!("{}-{}", md5(hashes.as_bytes()), bodies.len());
        object.parts = bodies.iter().map(Bytes::len).collect();
        let stored = self.store(objects, &path, object);
        let etag = &stored.etag;
        written(
            &stored,
            format!("<CompleteMultipartUploadResult><ETag>\"{etag}\"</ETag></CompleteMultipartUploadResult>"),
        )
    }
}

/// The object that a request stores.
fn object_of(request: &HeaderMap, body: Bytes) -> Object {
    let is_kept = |name: &str| {
        name.starts_with("x-amz-meta-")
            || name.starts_with("x-amz-object-lock-")
            || ["x-amz-storage-class", "x-amz-website-redirect-location"].contains(&name)
            || ["cache-control", "content-type", "content-language", "expires"].contains(&name)
    };
    let headers = request.iter().filter(|(name, _)| is_kept(name.as_str()));
    let headers = headers.map(|(name, value)| (name.clone(), value.clone())).collect();
    let tags = request.get("x-amz-tagging").map(|tags| tags.to_str().unwrap().to_owned());
    let grants: Vec<_> =
        request.iter().filter(|(name, _)| name.as_str().starts_with("x-amz-grant-")).collect();
    let acl = (!grants.is_empty()).then(|| format!("{grants:?}"));
    Object { headers, body, tags: tags.unwrap_or_default(), acl, ..Object::default() }
}

/// The body of a request without the framing of `aws-chunked`.
fn decoded(request: &Request<Bytes>) -> Bytes {
    if !request.headers().contains_key("x-amz-decoded-content-length") {
        return request.body().clone();
    }
    let (mut rest, mut body) = (&request.body()[..], Vec::new());
    loop {
        let line = rest.windows(2).position(|pair| pair == b"\r\n").unwrap();
        let size = std::str::from_utf8(&rest[..line]).unwrap().split(';').next().unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            return body.into();
        }
        body.extend_from_slice(&rest[line + 2..line + 2 + size]);
        rest = &rest[line + 2 + size + 2..];
    }
}

fn md5(bytes: &[u8]) -> String {
    let mut md5 = crate::wire::checksum::Md5::default();
    md5.update(bytes);
    crate::wire::hex::encode(&md5.finish())
}

fn copied(etag: &str) -> String {
    format!(
        "<CopyObjectResult><ETag>\"{etag}\"</ETag><LastModified>2026-11-29T12:00:00.000Z</LastModified></CopyObjectResult>"
    )
}

fn tagging(tags: &str) -> String {
    let tags = tags.split('&').filter_map(|tag| tag.split_once('='));
    let tags: String =
        tags.map(|(key, value)| format!("<Tag><Key>{key}</Key><Value>{value}</Value></Tag>")).collect();
    format!("<Tagging><TagSet>{tags}</TagSet></Tagging>")
}

fn written(object: &Object, document: String) -> Answer {
    let mut response = answer(200, document);
    let etag = HeaderValue::from_str(&format!("\"{}\"", object.etag)).unwrap();
    response.headers_mut().insert(header::ETAG, etag);
    set_version(response.headers_mut(), object);
    response
}

fn set_version(headers: &mut HeaderMap, object: &Object) {
    if let Some(version) = &object.version {
        headers.insert("x-amz-version-id", HeaderValue::from_str(version).unwrap());
    }
}

pub(super) fn answer(status: u16, document: String) -> Answer {
    let mut response = Response::new(Full::from(document));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

/// A refusal, without a document for HEAD.
pub(super) fn refuse(request: &Request<Bytes>, status: u16, code: &str) -> Answer {
    let document = format!("<Error><Code>{code}</Code><Message>m</Message></Error>");
    answer(status, if request.method() == Method::HEAD { String::new() } else { document })
}
