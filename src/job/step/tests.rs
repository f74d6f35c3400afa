//! Each job on a storage whose objects change, lie and refuse.

mod copies;
mod decrypts;
mod encrypts;
mod rewraps;
mod storage;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use self::storage::{Object, Oddities, Storage, refuse};
use super::*;
use crate::envelope::native::multipart::Layout;
use crate::job::outcome::{Severity, Status};
use crate::keyring::ScriptedHolder;
use crate::object::rule::formats::{Formats, ReadFormat, WriteFormat};
use crate::object::rule::{BucketRule, Policies};
use crate::s3::{BucketName, ObjectKey};
use crate::test_support;
use crate::upload::Resources;

const MIB: usize = 1 << 20;

fn row(key: &str, version: Option<&str>) -> Row {
    Row {
        bucket: BucketName::parse("b").unwrap(),
        object_key: ObjectKey::parse(key).unwrap(),
        version_id: version.map(str::to_owned),
        listed: None,
    }
}

async fn run(step: &Step, resources: &Resources, key: &str) -> Outcome {
    step.run(resources, &row(key, None), Writes::Copies(&Semaphore::new(1))).await
}

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    let lines = lines
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()));
    lines.collect()
}

/// What every object in these tests has beside its content.
fn described() -> HeaderMap {
    headers(&[
        ("content-type", "text/x"),
        ("cache-control", "no-store"),
        ("expires", "Wed, 21 Oct 2037 07:28:00 GMT"),
        ("x-amz-meta-colour", "blue"),
        ("x-amz-storage-class", "STANDARD_IA"),
        ("x-amz-website-redirect-location", "/there"),
        ("x-amz-object-lock-mode", "GOVERNANCE"),
        ("x-amz-object-lock-retain-until-date", "2999-01-01T00:00:00.000Z"),
        ("x-amz-object-lock-legal-hold", "ON"),
    ])
}

fn assert_described(object: &Object) {
    for (name, value) in &described() {
        assert_eq!(object.headers.get(name), Some(value), "{name}");
    }
    assert_eq!(object.tags, "team=blue&cost=1");
}

/// Keeps a plaintext object with all that objects can have.
fn keep_plaintext(storage: &Storage, path: &str, body: impl Into<Bytes>, parts: &[usize]) -> Object {
    let body = body.into();
    let etag = if parts.is_empty() { String::new() } else { format!("{:032x}-{}", 7, parts.len()) };
    let tags = "team=blue&cost=1".to_owned();
    let object =
        Object { etag, headers: described(), body, parts: parts.to_vec(), tags, ..Object::default() };
    storage.keep(path, object)
}

/// Keeps a native object of one PUT with all that objects can have.
async fn keep_native(storage: &Storage, resources: &Resources, key: &str, content: &[u8]) -> Object {
    let operation = test_support::operation_resources(resources);
    let kept = test_support::put(&operation, key, content, "unused").await;
    keep_sealed(storage, key, kept.headers, kept.body, &[], String::new())
}

/// Keeps a native object of parts with all that objects can have.
async fn keep_upload(
    storage: &Storage,
    resources: &Resources,
    key: &str,
    layout: &Layout,
) -> (Object, Vec<u8>) {
    let operation = test_support::operation_resources(resources);
    let uploaded = test_support::upload(&operation, key, layout).await;
    let parts: Vec<_> = uploaded.segments.iter().map(Vec::len).collect();
    let etag = format!("{:032x}-{}", 9, parts.len());
    let body = uploaded.segments.concat();
    (keep_sealed(storage, key, uploaded.metadata, body.into(), &parts, etag), uploaded.content)
}

fn keep_sealed(
    storage: &Storage,
    key: &str,
    metadata: Vec<(String, String)>,
    body: Bytes,
    parts: &[usize],
    etag: String,
) -> Object {
    let mut headers = described();
    for (name, value) in metadata {
        headers
            .insert(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(&value).unwrap());
    }
    let tags = "team=blue&cost=1".to_owned();
    let object = Object { etag, headers, body, parts: parts.to_vec(), tags, ..Object::default() };
    storage.keep(&format!("/b/{key}"), object)
}

/// Resources with another rule for the buckets `b` and `c`.
fn with_rule(resources: &Resources, change: impl Fn(&mut BucketRule)) -> Resources {
    let rule = |name: &str| {
        let bucket = BucketName::parse(name).unwrap();
        let mut rule =
            resources.policies.for_object(&bucket, &ObjectKey::parse("k").unwrap()).unwrap().clone();
        change(&mut rule);
        rule
    };
    let mut changed = resources.clone();
    changed.object.policies = Policies::new(vec![rule("b"), rule("c")]);
    changed
}

/// Resources whose rules read plaintext and all formats, and write this one.
fn migrating(resources: &Resources, write: WriteFormat) -> Resources {
    with_rule(resources, |rule| {
        rule.formats = Formats {
            write,
            read: vec![ReadFormat::Native, ReadFormat::Plaintext, ReadFormat::Cbc, ReadFormat::S3ec],
            ..Formats::default()
        };
    })
}

/// Fails the test unless the row ended like this.
#[track_caller]
fn assert_ended(outcome: &Outcome, status: Status, severity: Severity) {
    assert_eq!((outcome.status, outcome.severity), (status, severity), "{outcome:?}");
}

#[track_caller]
fn assert_succeeded(outcome: &Outcome) {
    assert_ended(outcome, Status::Succeeded, Severity::None);
}

#[tokio::test]
async fn verify_reads_every_byte_and_writes_nothing() {
    let (storage, resources, _folder) = Storage::default().serve().await;
    let content = crate::body::pattern(3 * 65_536 + 7);
    let object = keep_native(&storage, &resources, "k", &content).await;
    let outcome = run(&Step::Verify, &resources, "k").await;
    assert_succeeded(&outcome);
    assert_eq!((outcome.bytes, outcome.format), (content.len() as u64, Some("native")));
    for at in [0, 65_552, object.body.len() - 1] {
        let mut body = object.body.to_vec();
        body[at] ^= 1;
        storage.keep("/b/k", Object { body: body.into(), ..object.clone() });
        let outcome = run(&Step::Verify, &resources, "k").await;
        assert_ended(&outcome, Status::Failed, Severity::NotAuthentic);
    }
    storage.keep("/b/k", Object { body: object.body.slice(..65_552), ..object.clone() });
    assert_ended(&run(&Step::Verify, &resources, "k").await, Status::Failed, Severity::NotAuthentic);
    let (_, _) = keep_upload(&storage, &resources, "u", &uneven()).await;
    assert_succeeded(&run(&Step::Verify, &resources, "u").await);
    assert!(storage.writes().is_empty());
}

/// Two parts of lengths that are no multiples of chunks, so that the last one carries the layout.
fn uneven() -> Layout {
    crate::body::test_support::layout(&[(5 * MIB + 1) as u64, 7], false)
}

#[tokio::test]
async fn verify_tells_what_is_not_encrypted() {
    let (storage, resources, _folder) = Storage::default().serve().await;
    keep_plaintext(&storage, "/b/k", "plain", &[]);
    let outcome = run(&Step::Verify, &resources, "k").await;
    assert_ended(&outcome, Status::Failed, Severity::Row);
    assert_eq!(outcome.format, Some("plaintext"));
    let outcome = run(&Step::Verify, &migrating(&resources, WriteFormat::Native), "k").await;
    assert_succeeded(&outcome);
    assert_eq!((outcome.format, outcome.bytes), (Some("plaintext"), 5));
    assert!(outcome.message.contains("not encrypted"), "{}", outcome.message);
}

#[tokio::test]
async fn what_is_archived_deleted_or_gone_has_its_reason() {
    let (storage, resources, _folder) =
        Storage::new(Oddities { has_versions: true, ..Oddities::default() }).serve().await;
    let resources = migrating(&resources, WriteFormat::Native);
    let steps = [Step::Verify, Step::Rewrap, Step::Encrypt(Destination::InPlace)];
    for class in ["GLACIER", "DEEP_ARCHIVE"] {
        let mut object = keep_native(&storage, &resources, "k", b"x").await;
        object.headers.insert("x-amz-storage-class", HeaderValue::from_str(class).unwrap());
        storage.keep("/b/k", object);
        let outcome = run(&Step::Verify, &resources, "k").await;
        assert_ended(&outcome, Status::Skipped, Severity::None);
        assert!(outcome.message.contains(class), "{}", outcome.message);
    }
    storage.keep("/b/k", Object { is_delete_marker: true, ..Object::default() });
    let marker = storage.newest("/b/k").version;
    for step in &steps {
        assert_ended(&run(step, &resources, "k").await, Status::Skipped, Severity::None);
        let outcome = run(step, &resources, "gone").await;
        assert_ended(&outcome, Status::Failed, Severity::Row);
        assert_eq!((outcome.error_code.as_deref(), outcome.http_status), (Some("NoSuchKey"), Some(404)));
    }
    let outcome = Step::Verify.run(&resources, &row("k", marker.as_deref()), Writes::None).await;
    assert_ended(&outcome, Status::Skipped, Severity::None);
    storage.requests();
}

#[tokio::test]
async fn refusals_of_the_storage_have_code_status_and_severity() {
    let (storage, resources, _folder) = Storage::default().serve().await;
    keep_native(&storage, &resources, "k", b"x").await;
    for (status, code, severity) in [
        (403, "AccessDenied", Severity::Row),
        (503, "SlowDown", Severity::Throttled),
        (500, "InternalError", Severity::Unavailable),
    ] {
        storage.before(move |request, _| Some(refuse(request, status, code)));
        for step in [Step::Verify, Step::Keys, Step::Rewrap] {
            let outcome = run(&step, &resources, "k").await;
            assert_ended(&outcome, Status::Failed, severity);
            assert_eq!((outcome.error_code.as_deref(), outcome.http_status), (Some(code), Some(status)));
        }
    }
}

#[tokio::test]
async fn keys_tells_key_and_format_by_one_head() {
    let (storage, resources, _folder) = Storage::default().serve().await;
    keep_native(&storage, &resources, "k", &[7; 100]).await;
    storage.requests();
    let outcome = run(&Step::Keys, &resources, "k").await;
    assert_succeeded(&outcome);
    assert!(outcome.is_unchanged);
    let expected = resources.keyring.holders().next().unwrap().1.unwrap().to_string();
    assert_eq!((outcome.key_before, outcome.bytes, outcome.format), (Some(expected), 100, Some("native")));
    assert_eq!(storage.requests(), [(Method::HEAD, "/b/k".to_owned())]);
    keep_plaintext(&storage, "/b/p", "plain", &[]);
    let outcome = run(&Step::Keys, &resources, "p").await;
    assert_succeeded(&outcome);
    assert_eq!((outcome.key_before, outcome.format), (None, Some("plaintext")));
}

/// Resources of a scripted holder with these keys, whose rules write under the first one.
fn scripted(resources: &Resources, holder: &Arc<ScriptedHolder>, key_ids: &[&str]) -> Resources {
    let key_ids: Vec<_> = key_ids.iter().map(|id| crate::keyring::KeyId::parse(id).unwrap()).collect();
    let mut resources = with_rule(resources, |rule| {
        rule.keys.key_id = Some(key_ids[0].clone());
        rule.keys.allowed_key_ids = key_ids[1..].to_vec();
    });
    resources.object.keyring = holder.keyring();
    resources
}
