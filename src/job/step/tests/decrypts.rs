use super::*;
use crate::body::pattern;

fn to_c(prefix: &str) -> Step {
    let (bucket, prefix) = (BucketName::parse("c").unwrap(), prefix.to_owned());
    Step::Decrypt(Destination::Bucket { bucket, prefix })
}

#[tokio::test]
async fn the_plaintext_is_stored_elsewhere_with_all_the_object_has() {
    let (storage, resources, _folder) = Storage::default().serve().await;
    let content = pattern(200_000);
    keep_native(&storage, &resources, "k", &content).await;
    let outcome = run(&to_c("out/"), &resources, "k").await;
    assert_succeeded(&outcome);
    assert_eq!(outcome.bytes, 200_000);
    let stored = storage.newest("/c/out/k");
    assert_eq!(stored.body, content);
    assert_described(&stored);
    assert!(!stored.headers.keys().any(|name| name.as_str().starts_with("x-amz-meta-encryption")));
    storage.requests();
    let again = run(&to_c("out/"), &resources, "k").await;
    assert!(again.is_unchanged && storage.writes().is_empty(), "{again:?}");
}

#[tokio::test]
async fn an_upload_is_stored_in_its_parts() {
    let (storage, resources, _folder) = Storage::default().serve().await;
    let (_, content) = keep_upload(&storage, &resources, "k", &uneven()).await;
    assert_succeeded(&run(&to_c(""), &resources, "k").await);
    let stored = storage.newest("/c/k");
    assert_eq!((&stored.body[..], &stored.parts[..]), (&content[..], &[5 * MIB + 1, 7][..]));
    assert_described(&stored);
}

#[tokio::test]
async fn in_place_has_to_be_ordered() {
    let (storage, resources, _folder) = Storage::default().serve().await;
    keep_native(&storage, &resources, "k", b"content").await;
    let (bucket, prefix) = (BucketName::parse("b").unwrap(), String::new());
    let hidden = Step::Decrypt(Destination::Bucket { bucket, prefix });
    assert_ended(&run(&hidden, &resources, "k").await, Status::Failed, Severity::Row);
    assert_succeeded(&run(&Step::Decrypt(Destination::InPlace), &resources, "k").await);
    assert_eq!(storage.newest("/b/k").body, "content");
}

#[tokio::test]
async fn an_altered_object_becomes_no_object() {
    let (storage, resources, _folder) = Storage::default().serve().await;
    let mut object = keep_native(&storage, &resources, "k", &pattern(200_000)).await;
    let mut body = object.body.to_vec();
    let last = body.len() - 1;
    body[last] ^= 1;
    object.body = body.into();
    storage.keep("/b/k", object);
    let folder = tempfile::tempdir().unwrap();
    for step in [to_c(""), Step::Decrypt(Destination::Directory(folder.path().to_owned()))] {
        let outcome = run(&step, &resources, "k").await;
        assert_ended(&outcome, Status::Failed, Severity::NotAuthentic);
    }
    assert!(!storage.objects().contains_key("/c/k"), "This is a security issue.");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "This is a security issue.");
}

#[tokio::test]
async fn files_have_the_names_and_times_of_objects() {
    let (storage, resources, _folder) = Storage::default().serve().await;
    let folder = tempfile::tempdir().unwrap();
    let step = Step::Decrypt(Destination::Directory(folder.path().to_owned()));
    for key in ["a/b/c", "a/d", "\u{e9} x"] {
        keep_native(&storage, &resources, key, key.as_bytes()).await;
        assert_succeeded(&run(&step, &resources, key).await);
        assert_eq!(std::fs::read(folder.path().join(key)).unwrap(), key.as_bytes());
        let again = run(&step, &resources, key).await;
        assert!(again.is_unchanged, "{again:?}");
    }
    for key in ["a", "a/d/e"] {
        keep_native(&storage, &resources, key, b"x").await;
        let outcome = run(&step, &resources, key).await;
        assert_ended(&outcome, Status::Failed, Severity::Row);
        assert!(outcome.message.contains("file and of a directory"), "{}", outcome.message);
    }
    keep_native(&storage, &resources, "a/d", b"another").await;
    assert_ended(&run(&step, &resources, "a/d").await, Status::Failed, Severity::Row);
    assert_eq!(std::fs::read(folder.path().join("a/d")).unwrap(), b"a/d");
    let names: Vec<_> = std::fs::read_dir(folder.path().join("a")).unwrap().collect();
    assert_eq!(names.len(), 2, "no temporary file stays: {names:?}");
}

#[tokio::test]
async fn what_the_storage_stores_instead_is_found_out() {
    let (storage, resources, _folder) = Storage::default().serve().await;
    keep_native(&storage, &resources, "k", b"content").await;
    storage.after(|request, objects| {
        if request.method() == Method::PUT && request.uri().path() == "/c/k" {
            objects.get_mut("/c/k").unwrap().last_mut().unwrap().body = "another".into();
        }
    });
    let outcome = run(&to_c(""), &resources, "k").await;
    assert_ended(&outcome, Status::Failed, Severity::Row);
    assert!(outcome.message.contains("content"), "{}", outcome.message);
}
