use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use http::{Request, StatusCode};
use http_body_util::Full;

use super::test_support::{copy_call, resources, text};
use super::*;
use crate::envelope::native::{
    Attributes, BodyKind, ChunkSealer, Entropy, Envelope, FormatError, SealRequest, SseAlgorithm,
};
use crate::keyring::KeyRule;
use crate::object::native::NativeMetadata;
use crate::operation::response::pass_refusal;
use crate::s3::ErrorCode;
use crate::s3::Operation;

/// An object as the storage has it.
#[derive(Clone)]
struct Object {
    etag: String,
    metadata: HeaderMap,
}

type Objects = HashMap<String, Object>;
/// What becomes of the objects just before the copy of this number, from 1.
type Meddle = fn(&mut Objects, u32);

/// A storage that honours the pin of a copy, while its objects change.
struct Storage {
    objects: Mutex<Objects>,
    copies: Mutex<Vec<HeaderMap>>,
    meddle: Meddle,
    /// The body of the answer to a copy.
    answer: &'static str,
}

const COPIED: &str = "<CopyObjectResult><ETag>\"e\"</ETag><LastModified>2026-01-31T12:00:00.000Z\
                      </LastModified></CopyObjectResult>";

impl Storage {
    fn new(meddle: Meddle, answer: &'static str) -> Arc<Self> {
        Arc::new(Self { objects: Mutex::default(), copies: Mutex::default(), meddle, answer })
    }

    async fn serve(self: &Arc<Self>, buckets: &[&str]) -> (Resources, tempfile::TempDir) {
        let storage = Arc::clone(self);
        resources(move |request| storage.respond(&request), buckets).await
    }

    fn respond(&self, request: &Request<Bytes>) -> Response<Full<Bytes>> {
        let mut objects = self.objects.lock().unwrap();
        let mut response = Response::new(Full::default());
        let path = request.uri().path();
        if request.method() == Method::PUT {
            let mut copies = self.copies.lock().unwrap();
            copies.push(request.headers().clone());
            (self.meddle)(&mut objects, u32::try_from(copies.len()).unwrap());
            let source = format!("/{}", request.headers()[COPY_SOURCE].to_str().unwrap());
            let pinned = request.headers()[COPY_SOURCE_IF_MATCH].to_str().unwrap();
            if objects.get(&source).is_none_or(|object| object.etag != pinned) {
                *response.status_mut() = StatusCode::PRECONDITION_FAILED;
                let document = "<Error><Code>PreconditionFailed</Code><Message>m</Message></Error>";
                *response.body_mut() = Full::from(document);
                return response;
            }
            let stored =
                request.headers().iter().filter(|(name, _)| name.as_str().starts_with("x-amz-meta-"));
            let metadata = stored.map(|(name, value)| (name.clone(), value.clone())).collect();
            objects.insert(path.to_owned(), Object { etag: pinned.to_owned(), metadata });
            response.headers_mut().insert("x-amz-version-id", HeaderValue::from_static("v2"));
            response.headers_mut().insert("x-amz-checksum-crc32", HeaderValue::from_static("AAAAAA=="));
            *response.body_mut() = Full::from(self.answer);
            return response;
        }
        let Some(object) = objects.get(path) else {
            *response.status_mut() = StatusCode::NOT_FOUND;
            *response.body_mut() = Full::from("<Error><Code>NoSuchKey</Code><Message>m</Message></Error>");
            return response;
        };
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        response.headers_mut().extend(object.metadata.clone());
        response.headers_mut().insert("etag", HeaderValue::from_str(&object.etag).unwrap());
        response.headers_mut().insert("content-range", HeaderValue::from_static("bytes 0-0/21"));
        *response.body_mut() = Full::from("x");
        response
    }

    /// Puts a sealed object of five bytes there.
    async fn put(&self, resources: &Resources, path: &str, etag: &str) {
        let (_, bucket_and_key) = path.split_once('/').unwrap();
        let (bucket, key) = bucket_and_key.split_once('/').unwrap();
        let context = EncryptionContext::native(bucket);
        let write_key = resources.keyring.for_write(&KeyRule::default(), None, &context, 5).await.unwrap();
        let request = SealRequest {
            keys: EnvelopeKeys::without_customer(&write_key.data_key),
            binding: crate::envelope::native::Binding::RealmAndKey,
            body: BodyKind::Put { plaintext_length: 5 },
            sse: SseAlgorithm::AwsKms,
            name: ObjectName { realm: bucket, object_key: key.as_bytes() },
            attributes: &Attributes::default(),
        };
        let mut metadata = HeaderMap::new();
        let envelope = Envelope::seal(&request, Entropy::fresh()).envelope;
        native::write_keys(&write_key, &envelope, &mut metadata).unwrap();
        metadata.insert("x-amz-meta-a", HeaderValue::from_str(etag).unwrap());
        let object = Object { etag: etag.to_owned(), metadata };
        self.objects.lock().unwrap().insert(path.to_owned(), object);
    }

    /// What the content key in an object's envelope makes of an empty body: another key, another tag.
    async fn content_key(&self, resources: &Resources, path: &str) -> Result<BytesMut, Error> {
        let path = crate::s3::S3Path::parse(path, None, &[] as &[&str]).unwrap();
        let (bucket, object) = (path.bucket().unwrap(), path.object().unwrap());
        let metadata = self.objects.lock().unwrap()[&format!("/{bucket}/{object}")].metadata.clone();
        let rule = resources.policies.for_object(bucket, object)?;
        let unlocked = NativeMetadata::from_headers(&metadata)?
            .unlock(&resources.keyring, rule, (bucket, object), None)
            .await?;
        let mut chunk = BytesMut::new();
        ChunkSealer::for_put(&unlocked.opened.content_key).seal_last(&mut chunk);
        Ok(chunk)
    }
}

fn nothing(_: &mut Objects, _: u32) {}

async fn copy(
    resources: &Resources,
    from: &str,
    to: &str,
    headers: &[(&'static str, &str)],
) -> Result<Response<BoxBody>, Error> {
    let call = copy_call(Operation::CopyObject, from, to, "", headers);
    pass_refusal(copy_object(resources, Box::new(call)).await)
}

fn code(refused: Result<Response<BoxBody>, Error>) -> ErrorCode {
    refused.unwrap_err().to_s3().code
}

#[tokio::test]
async fn a_copy_is_pinned_and_has_an_envelope_of_its_own() {
    let storage = Storage::new(nothing, COPIED);
    let (resources, _folder) = storage.serve(&["one", "two"]).await;
    storage.put(&resources, "/one/k", "\"e1\"").await;
    let response = copy(&resources, "one/k", "/two/copy", &[]).await.unwrap();
    assert_eq!(response.headers()["x-amz-version-id"], "v2");
    assert_eq!(response.headers()["x-amz-server-side-encryption"], "aws:kms");
    assert!(!response.headers().contains_key("x-amz-checksum-crc32"), "it is the ciphertext's");
    assert!(text(response).await.contains("<ETag>\"e-v\"</ETag>"));
    let sent = storage.copies.lock().unwrap()[0].clone();
    assert_eq!(sent[COPY_SOURCE_IF_MATCH], "\"e1\"");
    assert_eq!(sent[METADATA_DIRECTIVE], "REPLACE");
    assert_eq!(sent["x-amz-meta-a"], "\"e1\"", "the source's metadata come along");
    let source = storage.content_key(&resources, "/one/k").await.unwrap();
    assert_eq!(storage.content_key(&resources, "/two/copy").await.unwrap(), source);
}

#[tokio::test]
async fn a_source_that_is_overwritten_meanwhile_never_gets_the_others_envelope() {
    fn overwrite_once(objects: &mut Objects, copy: u32) {
        if copy == 1 {
            let newer = objects["/b/newer"].clone();
            objects.insert("/b/k".to_owned(), newer);
        }
    }
    let storage = Storage::new(overwrite_once, COPIED);
    let (resources, _folder) = storage.serve(&["b"]).await;
    storage.put(&resources, "/b/k", "\"newer\"").await;
    let newer = storage.objects.lock().unwrap()["/b/k"].clone();
    storage.objects.lock().unwrap().insert("/b/newer".to_owned(), newer);
    let expected = storage.content_key(&resources, "/b/k").await.unwrap();
    storage.put(&resources, "/b/k", "\"older\"").await;
    copy(&resources, "b/k", "/b/copy", &[]).await.unwrap();
    let copied = storage.content_key(&resources, "/b/copy").await.unwrap();
    assert_eq!(copied, expected, "This is a security issue: an envelope around another object's body.");
    let copies = storage.copies.lock().unwrap();
    assert_eq!((copies.len(), &copies[1]["x-amz-meta-a"]), (2, &HeaderValue::from_static("\"newer\"")));
}

#[tokio::test]
async fn a_source_that_never_rests_is_given_up() {
    fn overwrite(objects: &mut Objects, copy: u32) {
        objects.get_mut("/b/k").unwrap().etag = format!("\"{copy}\"");
    }
    let storage = Storage::new(overwrite, COPIED);
    let (resources, _folder) = storage.serve(&["b"]).await;
    storage.put(&resources, "/b/k", "\"0\"").await;
    assert_eq!(code(copy(&resources, "b/k", "/b/copy", &[]).await), ErrorCode::ServiceUnavailable);
    assert!(!storage.objects.lock().unwrap().contains_key("/b/copy"));
    assert_eq!(storage.copies.lock().unwrap().len(), ATTEMPTS as usize);
}

#[tokio::test]
async fn a_source_that_is_deleted_meanwhile_is_not_there() {
    fn delete(objects: &mut Objects, _: u32) {
        objects.remove("/b/k");
    }
    let storage = Storage::new(delete, COPIED);
    let (resources, _folder) = storage.serve(&["b"]).await;
    storage.put(&resources, "/b/k", "\"e\"").await;
    let response = copy(&resources, "b/k", "/b/copy", &[]).await.unwrap();
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    assert!(text(response).await.contains("NoSuchKey"));
}

#[tokio::test]
async fn an_object_that_was_moved_is_not_copied() {
    let storage = Storage::new(nothing, COPIED);
    let (resources, _folder) = storage.serve(&["b", "other"]).await;
    storage.put(&resources, "/b/k", "\"e\"").await;
    let honest = storage.objects.lock().unwrap()["/b/k"].clone();
    for path in ["/b/elsewhere", "/other/k"] {
        storage.objects.lock().unwrap().insert(path.to_owned(), honest.clone());
        let refused = copy(&resources, &path[1..], "/b/k2", &[]).await.unwrap_err();
        // In another realm the data key is not even unwrapped.
        let is_refused = matches!(refused, Error::Format(FormatError::Commitment) | Error::Keyring(_));
        assert!(is_refused, "This is a security issue: {path} {refused}");
    }
    assert!(storage.copies.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_200_with_an_error_is_an_error() {
    for (answer, expected) in [
        ("<Error><Code>SlowDown</Code><Message>m</Message></Error>", ErrorCode::SlowDown),
        ("<Error><Code>Unheard</Code><Message>m</Message></Error>", ErrorCode::InternalError),
        ("<Error><Code>InvalidAccessKeyId</Code><Message>m</Message></Error>", ErrorCode::InternalError),
        ("<html/>", ErrorCode::InternalError),
        ("", ErrorCode::InternalError),
    ] {
        let storage = Storage::new(nothing, answer);
        let (resources, _folder) = storage.serve(&["b"]).await;
        storage.put(&resources, "/b/k", "\"e\"").await;
        assert_eq!(code(copy(&resources, "b/k", "/b/copy", &[]).await), expected, "{answer}");
    }
}

#[tokio::test]
async fn only_a_change_allows_a_copy_onto_itself() {
    let storage = Storage::new(nothing, COPIED);
    let (resources, _folder) = storage.serve(&["b"]).await;
    storage.put(&resources, "/b/k", "\"e\"").await;
    let before = storage.content_key(&resources, "/b/k").await.unwrap();
    for headers in [
        &[] as &[(&'static str, &str)],
        &[("x-amz-tagging-directive", "REPLACE")],
        &[("x-amz-acl", "private")],
    ] {
        assert_eq!(code(copy(&resources, "b/k", "/b/k", headers).await), ErrorCode::InvalidRequest);
    }
    for headers in [("x-amz-metadata-directive", "REPLACE"), ("x-amz-storage-class", "STANDARD_IA")] {
        copy(&resources, "b/k", "/b/k", &[headers]).await.unwrap();
        let after = storage.content_key(&resources, "/b/k").await.unwrap();
        assert_eq!(after, before, "a new content key over old ciphertext would be lost content");
    }
}

#[tokio::test]
async fn metadata_that_can_be_no_header_are_not_lost_silently() {
    let storage = Storage::new(nothing, COPIED);
    let (resources, _folder) = storage.serve(&["b"]).await;
    storage.put(&resources, "/b/k", "\"e\"").await;
    let missing = HeaderValue::from_static("1");
    storage.objects.lock().unwrap().get_mut("/b/k").unwrap().metadata.insert("x-amz-missing-meta", missing);
    assert_eq!(code(copy(&resources, "b/k", "/b/copy", &[]).await), ErrorCode::NotImplemented);
    copy(&resources, "b/k", "/b/copy", &[("x-amz-metadata-directive", "REPLACE")]).await.unwrap();
}
