use super::*;
use crate::body::pattern;

fn in_place() -> Step {
    Step::Encrypt(Destination::InPlace)
}

fn to_c(prefix: &str) -> Step {
    let (bucket, prefix) = (BucketName::parse("c").unwrap(), prefix.to_owned());
    Step::Encrypt(Destination::Bucket { bucket, prefix })
}

#[tokio::test]
async fn plaintext_becomes_native_in_its_place_with_all_it_has() {
    for length in [0, 5, 65_536, 200_000] {
        let (storage, resources, _folder) =
            Storage::new(Oddities { has_versions: true, ..Oddities::default() }).serve().await;
        let resources = migrating(&resources, WriteFormat::Native);
        let content = pattern(length);
        keep_plaintext(&storage, "/b/k", content.clone(), &[]);
        let outcome = run(&in_place(), &resources, "k").await;
        assert_succeeded(&outcome);
        assert_eq!((outcome.format, outcome.bytes), (Some("plaintext"), length as u64));
        let stored = storage.newest("/b/k");
        assert_eq!(outcome.version_after, stored.version);
        assert!(stored.headers.contains_key("x-amz-meta-encryption-envelope"));
        assert!(length < 5 || !stored.body.windows(5).any(|window| window == &content[..5]));
        assert_described(&stored);
        assert_eq!(storage.objects()["/b/k"].len(), 2, "the plaintext version is not destroyed");
        let verified = run(&Step::Verify, &resources, "k").await;
        assert_eq!((verified.format, verified.bytes), (Some("native"), length as u64));
        storage.requests();
        let again = run(&in_place(), &resources, "k").await;
        assert!(again.is_unchanged && storage.writes().is_empty());
    }
}

#[tokio::test]
async fn an_object_of_parts_stays_one_of_as_many() {
    let (storage, resources, _folder) = Storage::default().serve().await;
    let resources = migrating(&resources, WriteFormat::Native);
    for parts in [&[5 * MIB + 3, 5 * MIB, 9][..], &[6 * MIB, 7 * MIB], &[9]] {
        let content = pattern(parts.iter().sum());
        keep_plaintext(&storage, "/b/k", content.clone(), parts);
        let outcome = run(&in_place(), &resources, "k").await;
        assert_succeeded(&outcome);
        let stored = storage.newest("/b/k");
        let terminator = usize::from(parts[parts.len() - 1] >= 5 * MIB);
        assert_eq!(stored.parts.len(), parts.len() + terminator);
        assert_described(&stored);
        let verified = run(&Step::Verify, &resources, "k").await;
        assert_succeeded(&verified);
        assert_eq!(verified.bytes, content.len() as u64);
    }
    assert!(!storage.has_uploads());
}

#[tokio::test]
async fn checksums_of_the_plaintext_are_kept_and_verified() {
    let (storage, resources, _folder) = Storage::default().serve().await;
    let resources = migrating(&resources, WriteFormat::Native);
    for (content, is_right) in [("123456789", true), ("123456780", false)] {
        let mut object = keep_plaintext(&storage, "/b/k", content, &[]);
        object.headers.insert("x-amz-checksum-crc32", HeaderValue::from_static("y/Q5Jg=="));
        storage.keep("/b/k", object);
        storage.requests();
        let outcome = run(&in_place(), &resources, "k").await;
        if is_right {
            assert_succeeded(&outcome);
            let seen = seen::Seen::named(&resources, &row("k", None)).await.ok().unwrap();
            let opened = seen.open(&resources, &row("k", None)).await.ok().unwrap();
            let kept: Vec<_> = opened.checksums.iter().map(ToString::to_string).collect();
            assert_eq!(kept, ["y/Q5Jg=="]);
        } else {
            assert_ended(&outcome, Status::Failed, Severity::NotAuthentic);
            assert_eq!(storage.newest("/b/k").body, content);
        }
    }
}

#[tokio::test]
async fn what_is_written_meanwhile_is_not_overwritten() {
    let (storage, resources, _folder) = Storage::default().serve().await;
    let resources = migrating(&resources, WriteFormat::Native);
    for parts in [&[][..], &[5 * MIB, 9]] {
        keep_plaintext(&storage, "/b/k", pattern(5 * MIB + 9), parts);
        storage.before(|request, objects| {
            let is_end = request.method() == Method::PUT || request.uri().query() == Some("uploads");
            if is_end && request.uri().path() == "/b/k" {
                let other = Object { etag: "other".to_owned(), body: "newer".into(), ..Object::default() };
                *objects.get_mut("/b/k").unwrap() = vec![other];
            }
            None
        });
        let outcome = run(&in_place(), &resources, "k").await;
        assert_eq!(outcome.status, Status::Raced, "{outcome:?}");
        assert_eq!(storage.newest("/b/k").body, "newer");
        assert!(!storage.has_uploads());
    }
}

#[tokio::test]
async fn a_storage_that_ignores_conditions_is_not_written_to() {
    let (storage, resources, _folder) =
        Storage::new(Oddities { ignores_conditions: true, ..Oddities::default() }).serve().await;
    let resources = migrating(&resources, WriteFormat::Native);
    keep_plaintext(&storage, "/b/k", "plain", &[]);
    for step in [in_place(), to_c("")] {
        let outcome = run(&step, &resources, "k").await;
        assert_ended(&outcome, Status::Failed, Severity::Row);
        assert!(outcome.message.contains("conditions"), "{}", outcome.message);
    }
    assert_eq!(storage.newest("/b/k").body, "plain");
}

#[tokio::test]
async fn what_the_storage_stores_instead_is_found_out() {
    for change in [
        |object: &mut Object| object.body = [&object.body[..2], b"x", &object.body[3..]].concat().into(),
        |object: &mut Object| _ = object.headers.remove("x-amz-meta-colour"),
        |object: &mut Object| object.body = object.body.slice(1..),
    ] {
        let (storage, resources, _folder) =
            Storage::new(Oddities { has_versions: true, ..Oddities::default() }).serve().await;
        let resources = migrating(&resources, WriteFormat::Native);
        keep_plaintext(&storage, "/b/k", "some plaintext", &[]);
        storage.after(move |request, objects| {
            if request.method() == Method::PUT && request.uri().path() == "/b/k" {
                change(objects.get_mut("/b/k").unwrap().last_mut().unwrap());
            }
        });
        let outcome = run(&in_place(), &resources, "k").await;
        assert_eq!(outcome.status, Status::Failed, "{outcome:?}");
    }
}

#[tokio::test]
async fn another_bucket_gets_the_object_once() {
    let (storage, resources, _folder) = Storage::default().serve().await;
    let resources = migrating(&resources, WriteFormat::Native);
    keep_plaintext(&storage, "/b/k", "plain", &[]);
    let outcome = run(&to_c("new/"), &resources, "k").await;
    assert_succeeded(&outcome);
    assert_eq!(storage.newest("/b/k").body, "plain");
    assert_described(&storage.newest("/c/new/k"));
    storage.requests();
    let again = run(&to_c("new/"), &resources, "k").await;
    assert!(again.is_unchanged && storage.writes().is_empty(), "{again:?}");
    storage.keep("/c/k", Object { body: "another".into(), ..Object::default() });
    let refused = run(&to_c(""), &resources, "k").await;
    assert_ended(&refused, Status::Failed, Severity::Row);
    assert_eq!(storage.newest("/c/k").body, "another");
}

#[tokio::test]
async fn other_formats_become_native_and_back() {
    let (storage, resources, _folder) = Storage::default().serve().await;
    for write in [WriteFormat::Cbc, WriteFormat::S3ecV2, WriteFormat::S3ecV3] {
        for length in [0, 17, 100_000] {
            let content = pattern(length);
            keep_plaintext(&storage, "/b/k", content.clone(), &[]);
            let foreign = migrating(&resources, write);
            let outcome = run(&in_place(), &foreign, "k").await;
            assert_succeeded(&outcome);
            assert!(run(&in_place(), &foreign, "k").await.is_unchanged);
            let keys = run(&Step::Keys, &foreign, "k").await;
            assert!(keys.key_before.is_some(), "{write:?}");
            let native = migrating(&resources, WriteFormat::Native);
            let verified = run(&Step::Verify, &native, "k").await;
            assert_succeeded(&verified);
            assert_eq!(verified.bytes, length as u64);
            let outcome = run(&in_place(), &native, "k").await;
            assert_succeeded(&outcome);
            assert_eq!(outcome.format, Some(write.read_as().name()));
            let stored = storage.newest("/b/k");
            assert!(stored.headers.contains_key("x-amz-meta-encryption-envelope"));
            assert!(!stored.headers.keys().any(|name| name.as_str().starts_with("x-amz-meta-x-amz-")));
            assert_described(&stored);
            assert_eq!(run(&Step::Verify, &native, "k").await.bytes, length as u64);
        }
    }
}

#[tokio::test]
async fn an_instruction_file_is_left_alone() {
    let (storage, resources, _folder) = Storage::default().serve().await;
    let resources = migrating(&resources, WriteFormat::Native);
    keep_plaintext(&storage, "/b/k.instruction", "{\"x-amz-key-v2\":\"AAAA\"}", &[]);
    let outcome = run(&in_place(), &resources, "k.instruction").await;
    assert_ended(&outcome, Status::Skipped, Severity::None);
}

#[tokio::test]
async fn a_dry_run_writes_nothing() {
    let (storage, resources, _folder) = Storage::default().serve().await;
    let resources = migrating(&resources, WriteFormat::Native);
    keep_plaintext(&storage, "/b/k", pattern(5 * MIB + 9), &[5 * MIB, 9]);
    for step in [in_place(), to_c("p/")] {
        let outcome = step.run(&resources, &row("k", None), Writes::None).await;
        assert_succeeded(&outcome);
        assert!(outcome.message.contains("in 2 parts"), "{}", outcome.message);
    }
    assert!(storage.writes().is_empty());
}

#[tokio::test]
async fn a_part_is_stored_again_when_the_storage_failed() {
    let (storage, resources, _folder) = Storage::default().serve().await;
    let resources = migrating(&resources, WriteFormat::Native);
    let content = pattern(5 * MIB + 9);
    keep_plaintext(&storage, "/b/k", content.clone(), &[5 * MIB, 9]);
    let mut failures = 0;
    storage.before(move |request, _| {
        let query = request.uri().query().unwrap_or_default();
        let is_part = request.method() == Method::PUT && query.contains("partNumber=2");
        failures += u32::from(is_part);
        (is_part && failures == 1).then(|| refuse(request, 503, "SlowDown"))
    });
    assert_succeeded(&run(&in_place(), &resources, "k").await);
    let verified = run(&Step::Verify, &resources, "k").await;
    assert_succeeded(&verified);
    assert_eq!(verified.bytes, content.len() as u64);
}
