//! A storage in memory, with versions, uploads and conditional writes, as far as the tests beside it need it.

use std::collections::BTreeMap;

use http::header::{CONTENT_LENGTH, ETAG, IF_NONE_MATCH, RANGE};
use http::{HeaderName, StatusCode};
use http_body_util::Full;

use super::super::*;
use crate::s3::{RangeSpec, xml};

/// One version of an object in the storage.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Version {
    id: u64,
    pub(super) is_marker: bool,
    headers: Vec<(String, String)>,
    body: Bytes,
    /// Tags, ACL, retention and the like, by subresource.
    further: BTreeMap<String, Bytes>,
}

#[derive(Default)]
struct Upload {
    path: String,
    headers: Vec<(String, String)>,
    parts: BTreeMap<u16, Bytes>,
}

/// A storage with versioned buckets.
#[derive(Default)]
pub(super) struct Model {
    /// The versions of each key, the current one last.
    pub(super) objects: BTreeMap<String, Vec<Version>>,
    uploads: BTreeMap<String, Upload>,
    next_id: u64,
    /// Changes of a bucket or its configuration.
    pub(super) bucket_changes: usize,
}

fn response(status: u16, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

fn with_etag(mut response: Response<Full<Bytes>>, etag: String) -> Response<Full<Bytes>> {
    response.headers_mut().insert(ETAG, etag.parse().unwrap());
    response
}

fn error(status: u16, code: &str) -> Response<Full<Bytes>> {
    response(status, format!("<Error><Code>{code}</Code><Message>no</Message></Error>"))
}

fn kept_headers(headers: &HeaderMap) -> Vec<(String, String)> {
    let kept = headers.iter().filter(|(name, _)| name.as_str().starts_with("x-amz-meta-"));
    kept.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect()
}

impl Model {
    fn current(&self, path: &str) -> Option<&Version> {
        self.objects.get(path)?.last().filter(|version| !version.is_marker)
    }

    fn version(&mut self, path: &str, id: Option<&str>) -> Option<&mut Version> {
        let versions = self.objects.get_mut(path)?;
        match id {
            Some(id) => versions.iter_mut().find(|version| version.id.to_string() == id),
            None => versions.last_mut().filter(|version| !version.is_marker),
        }
    }

    fn push(&mut self, path: &str, version: Version) -> u64 {
        self.next_id += 1;
        let id = self.next_id;
        self.objects.entry(path.to_owned()).or_default().push(Version { id, ..version });
        id
    }

    /// Stores an object unless the condition of the request forbids it.
    fn store(&mut self, path: &str, headers: &HeaderMap, version: Version) -> Result<u64, ()> {
        if headers.contains_key(IF_NONE_MATCH) && self.current(path).is_some() {
            return Err(());
        }
        Ok(self.push(path, version))
    }

    fn delete(&mut self, path: &str, version: Option<&str>) {
        match version {
            Some(id) => {
                let versions = self.objects.entry(path.to_owned()).or_default();
                versions.retain(|version| version.id.to_string() != id);
            }
            None => _ = self.push(path, Version { is_marker: true, ..Version::default() }),
        }
    }

    pub(super) fn respond(&mut self, request: &Request<Bytes>) -> Response<Full<Bytes>> {
        let query = Query::parse(request.uri().query().unwrap_or_default()).unwrap();
        let path = request.uri().path().to_owned();
        match path.trim_matches('/').split_once('/') {
            None => self.respond_for_bucket(request, &path, &query),
            Some(_) => self.respond_for_object(request, &path, &query),
        }
    }

    fn respond_for_bucket(
        &mut self,
        request: &Request<Bytes>,
        path: &str,
        query: &Query,
    ) -> Response<Full<Bytes>> {
        match *request.method() {
            Method::GET if path == "/" => {
                response(200, "<ListAllMyBucketsResult><Buckets></Buckets></ListAllMyBucketsResult>")
            }
            Method::GET if query.has("uploads") => {
                let ids = self.uploads.iter().map(|(id, upload)| {
                    let object_key = upload.path.trim_start_matches("/b/");
                    format!("<Upload><Key>{object_key}</Key><UploadId>{id}</UploadId></Upload>")
                });
                let uploads = ids.collect::<String>();
                response(200, format!("<ListMultipartUploadsResult>{uploads}</ListMultipartUploadsResult>"))
            }
            Method::GET => response(200, "<ListBucketResult><Name>b</Name></ListBucketResult>"),
            Method::HEAD => response(200, ""),
            Method::POST if query.has("delete") => {
                for object in xml::delete_objects_request(request.body()).unwrap().objects {
                    self.delete(&format!("{path}/{}", object.object), object.version_id.as_deref());
                }
                response(200, "<DeleteResult/>")
            }
            _ => {
                self.bucket_changes += 1;
                response(200, "")
            }
        }
    }

    fn respond_for_object(
        &mut self,
        request: &Request<Bytes>,
        path: &str,
        query: &Query,
    ) -> Response<Full<Bytes>> {
        let headers = request.headers();
        let version_id = query.first("versionId");
        if let Some(id) = query.first("uploadId") {
            return self.respond_for_upload(request, id, query);
        }
        let subresource =
            ["acl", "tagging", "retention", "legal-hold", "restore", "annotation", "encryption"]
                .into_iter()
                .find(|name| query.has(name));
        match (request.method(), subresource) {
            (&Method::GET | &Method::HEAD, None) => self.read(request, path, version_id),
            (&Method::GET | &Method::HEAD, Some(_)) => response(200, "<Tagging><TagSet/></Tagging>"),
            (&Method::POST, None) if query.has("uploads") => {
                self.next_id += 1;
                let id = format!("upload-{}", self.next_id);
                let upload =
                    Upload { path: path.to_owned(), headers: kept_headers(headers), parts: BTreeMap::new() };
                self.uploads.insert(id.clone(), upload);
                response(
                    200,
                    format!(
                        "<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>"
                    ),
                )
            }
            (&Method::PUT, None) => {
                let is_copy = headers.contains_key("x-amz-copy-source");
                let body = if is_copy { self.source(headers) } else { request.body().clone() };
                let made = Version { headers: kept_headers(headers), body, ..Version::default() };
                match self.store(path, headers, made) {
                    Err(()) => error(412, "PreconditionFailed"),
                    Ok(id) if is_copy => {
                        response(200, format!("<CopyObjectResult><ETag>\"{id}\"</ETag></CopyObjectResult>"))
                    }
                    Ok(id) => with_etag(response(200, ""), format!("\"{id}\"")),
                }
            }
            (&Method::DELETE, None) => {
                self.delete(path, version_id);
                response(204, "")
            }
            (method, subresource) => {
                let name = subresource.unwrap_or("?").to_owned();
                let body = request.body().clone();
                if let Some(version) = self.version(path, version_id) {
                    version.further.insert(format!("{method} {name}"), body);
                }
                response(200, "")
            }
        }
    }

    fn respond_for_upload(
        &mut self,
        request: &Request<Bytes>,
        id: &str,
        query: &Query,
    ) -> Response<Full<Bytes>> {
        let copied = self.source(request.headers());
        let Some(upload) = self.uploads.get_mut(id) else { return error(404, "NoSuchUpload") };
        match *request.method() {
            Method::PUT => {
                let number: u16 = query.first("partNumber").unwrap().parse().unwrap();
                let is_copy = request.headers().contains_key("x-amz-copy-source");
                upload.parts.insert(number, if is_copy { copied } else { request.body().clone() });
                let etag = format!("\"part-{number}\"");
                let body = if is_copy {
                    format!("<CopyPartResult><ETag>{etag}</ETag></CopyPartResult>")
                } else {
                    String::new()
                };
                with_etag(response(200, body), etag)
            }
            Method::GET => {
                let parts = upload.parts.iter().map(|(number, body)| {
                    let length = body.len();
                    format!(
                        "<Part><PartNumber>{number}</PartNumber><ETag>\"part-{number}\"</ETag><Size>{length}</Size></Part>"
                    )
                });
                let parts = parts.collect::<String>();
                response(
                    200,
                    format!(
                        "<ListPartsResult><UploadId>{id}</UploadId><IsTruncated>false</IsTruncated>{parts}</ListPartsResult>"
                    ),
                )
            }
            Method::DELETE => {
                self.uploads.remove(id);
                response(204, "")
            }
            _ => {
                let (path, headers) = (upload.path.clone(), upload.headers.clone());
                let body = upload.parts.values().flatten().copied().collect::<Vec<_>>().into();
                match self.store(&path, request.headers(), Version { headers, body, ..Version::default() }) {
                    Err(()) => error(412, "PreconditionFailed"),
                    Ok(made) => {
                        self.uploads.remove(id);
                        let result = format!("<ETag>\"{made}-1\"</ETag>");
                        response(
                            200,
                            format!(
                                "<CompleteMultipartUploadResult>{result}</CompleteMultipartUploadResult>"
                            ),
                        )
                    }
                }
            }
        }
    }

    fn source(&self, headers: &HeaderMap) -> Bytes {
        let named =
            headers.get("x-amz-copy-source").and_then(|named| named.to_str().ok()).unwrap_or_default();
        let path = format!("/{}", named.trim_start_matches('/').split('?').next().unwrap());
        self.current(&path).map(|version| version.body.clone()).unwrap_or_default()
    }

    fn read(
        &mut self,
        request: &Request<Bytes>,
        path: &str,
        version_id: Option<&str>,
    ) -> Response<Full<Bytes>> {
        let Some(version) = self.version(path, version_id).cloned() else { return error(404, "NoSuchKey") };
        let total = version.body.len() as u64;
        let mut found = response(200, version.body.clone());
        let range = request.headers().get(RANGE).and_then(|range| RangeSpec::parse(range.to_str().unwrap()));
        if let Some(range) = range {
            let Some(range) = range.resolve(total) else { return error(416, "InvalidRange") };
            found = response(206, version.body.slice(range.first() as usize..=range.last() as usize));
            found.headers_mut().insert("content-range", range.content_range(total).parse().unwrap());
        }
        for (name, value) in &version.headers {
            found.headers_mut().insert(HeaderName::try_from(name).unwrap(), value.parse().unwrap());
        }
        if request.method() == Method::HEAD {
            found.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(total));
        }
        with_etag(found, format!("\"{}\"", version.id))
    }
}
