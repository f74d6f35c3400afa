use super::*;
use crate::object::native::NativeMetadata;

const ENTRIES: [&str; 2] = ["x-amz-meta-encryption-key", "x-amz-meta-encryption-envelope"];

struct Bench {
    storage: Arc<Storage>,
    /// Writes under the key `old`.
    before: Resources,
    /// Writes under the key `new`, and reads under both.
    after: Resources,
    holder: Arc<ScriptedHolder>,
    _folder: tempfile::TempDir,
}

impl Bench {
    async fn new(storage: Storage) -> Self {
        let (storage, resources, _folder) = storage.serve().await;
        let holder = ScriptedHolder::rewrapping(&["old", "new"]);
        let before = scripted(&resources, &holder, &["old"]);
        let after = scripted(&resources, &holder, &["new", "old"]);
        Self { storage, before, after, holder, _folder }
    }

    /// The content of an object for a reader that may use the key `new` alone.
    async fn read(&self, key: &str) -> Outcome {
        let reader = scripted(&self.after, &self.holder, &["new"]);
        run(&Step::Verify, &reader, key).await
    }
}

#[tokio::test]
async fn an_object_gets_another_key_and_keeps_all_else() {
    let bench = Bench::new(Storage::new(Oddities { has_versions: true, ..Oddities::default() })).await;
    let old = keep_native(&bench.storage, &bench.before, "k", b"content").await;
    bench.holder.deny_unwrapping(true);
    bench.storage.requests();
    let outcome = run(&Step::Rewrap, &bench.after, "k").await;
    assert_succeeded(&outcome);
    assert!(!outcome.is_unchanged);
    assert_eq!(outcome.key_before.as_deref(), Some("old"));
    assert!(outcome.key_after.unwrap().ends_with("key/new"));
    let is_get = |(method, path): &(Method, String)| *method == Method::GET && path == "/b/k";
    assert!(!bench.storage.requests().iter().any(is_get), "content was read");
    let new = bench.storage.newest("/b/k");
    assert_eq!((&new.body, &new.etag, outcome.version_after), (&old.body, &old.etag, new.version.clone()));
    assert_eq!(new.headers[ENTRIES[1]], old.headers[ENTRIES[1]], "the envelope stays");
    assert_ne!(new.headers[ENTRIES[0]], old.headers[ENTRIES[0]]);
    assert_described(&new);
    assert_eq!(bench.storage.objects()["/b/k"].len(), 2, "the former version is there");

    bench.storage.requests();
    let again = run(&Step::Rewrap, &bench.after, "k").await;
    assert_succeeded(&again);
    assert!(again.is_unchanged && bench.storage.writes().is_empty());
    bench.holder.deny_unwrapping(false);
    assert_succeeded(&bench.read("k").await);
}

#[tokio::test]
async fn an_upload_is_copied_part_by_part() {
    let bench = Bench::new(Storage::default()).await;
    for (key, layout) in [
        ("uneven", uneven()),
        ("terminated", crate::body::test_support::layout(&[(5 * MIB) as u64, (6 * MIB) as u64], true)),
        ("small", crate::body::test_support::layout(&[7], false)),
    ] {
        let (old, _) = keep_upload(&bench.storage, &bench.before, key, &layout).await;
        bench.holder.deny_unwrapping(true);
        let outcome = run(&Step::Rewrap, &bench.after, key).await;
        assert_succeeded(&outcome);
        let new = bench.storage.newest(&format!("/b/{key}"));
        assert_eq!((&new.body, &new.parts), (&old.body, &old.parts), "{key}");
        assert!(new.etag.ends_with(&format!("-{}", old.parts.len())), "{}", new.etag);
        assert_described(&new);
        bench.holder.deny_unwrapping(false);
        assert_succeeded(&bench.read(key).await);
    }
    assert!(!bench.storage.has_uploads());
}

#[tokio::test]
async fn a_dry_run_says_what_it_would_write() {
    let bench = Bench::new(Storage::default()).await;
    keep_native(&bench.storage, &bench.before, "k", b"content").await;
    keep_upload(&bench.storage, &bench.before, "u", &uneven()).await;
    for (key, expected) in [("k", "copied onto itself with"), ("u", "of 2 parts with")] {
        let outcome = Step::Rewrap.run(&bench.after, &row(key, None), Writes::None).await;
        assert_succeeded(&outcome);
        assert!(outcome.message.contains(expected), "{}", outcome.message);
    }
    assert!(bench.storage.writes().is_empty());
}

#[tokio::test]
async fn an_object_that_is_replaced_meanwhile_is_not_overwritten() {
    for ignores_if_match_of_copies in [false, true] {
        for is_upload in [false, true] {
            let odd = Oddities { has_versions: true, ignores_if_match_of_copies, ignores_conditions: false };
            let bench = Bench::new(Storage::new(odd)).await;
            if is_upload {
                keep_upload(&bench.storage, &bench.before, "k", &uneven()).await;
            } else {
                keep_native(&bench.storage, &bench.before, "k", b"content").await;
            }
            let mut is_done = false;
            bench.storage.before(move |request, objects| {
                if request.headers().contains_key("x-amz-copy-source") && !is_done {
                    is_done = true;
                    let other =
                        Object { etag: "other".to_owned(), body: "newer".into(), ..Object::default() };
                    objects.get_mut("/b/k").unwrap().push(other);
                }
                None
            });
            let outcome = run(&Step::Rewrap, &bench.after, "k").await;
            assert_eq!(outcome.status, Status::Raced, "{outcome:?}");
            assert_eq!(bench.storage.newest("/b/k").body, "newer");
            assert!(!bench.storage.has_uploads());
        }
    }
}

#[tokio::test]
async fn metadata_that_change_while_parts_are_copied_are_not_overwritten() {
    let bench = Bench::new(Storage::default()).await;
    keep_upload(&bench.storage, &bench.before, "k", &uneven()).await;
    bench.storage.before(|request, objects| {
        if request.headers().contains_key("x-amz-copy-source") {
            let object = objects.get_mut("/b/k").unwrap().last_mut().unwrap();
            object.headers.insert("x-amz-meta-colour", HeaderValue::from_static("red"));
        }
        None
    });
    let outcome = run(&Step::Rewrap, &bench.after, "k").await;
    assert_eq!(outcome.status, Status::Raced, "{outcome:?}");
    assert_eq!(bench.storage.newest("/b/k").headers["x-amz-meta-colour"], "red");
    assert!(!bench.storage.has_uploads());
}

#[tokio::test]
async fn a_storage_that_answers_412_gives_a_race() {
    let bench = Bench::new(Storage::default()).await;
    let old = keep_native(&bench.storage, &bench.before, "k", b"content").await;
    bench.storage.before(|request, _| {
        (request.method() == Method::PUT).then(|| refuse(request, 412, "PreconditionFailed"))
    });
    let outcome = run(&Step::Rewrap, &bench.after, "k").await;
    assert_ended(&outcome, Status::Raced, Severity::Row);
    assert_eq!(outcome.error_code.as_deref(), Some("PreconditionFailed"));
    assert_eq!(bench.storage.newest("/b/k").headers, old.headers);
}

#[tokio::test]
async fn a_storage_without_conditional_copies_is_asked_without() {
    let bench = Bench::new(Storage::default()).await;
    keep_native(&bench.storage, &bench.before, "k", b"content").await;
    bench.storage.before(|request, _| {
        let is_conditional = request.headers().contains_key("if-match") && request.method() == Method::PUT;
        is_conditional.then(|| refuse(request, 501, "NotImplemented"))
    });
    assert_succeeded(&run(&Step::Rewrap, &bench.after, "k").await);
    assert_succeeded(&bench.read("k").await);
}

#[tokio::test]
async fn a_lost_response_is_settled_by_a_look() {
    let bench = Bench::new(Storage::default()).await;
    keep_native(&bench.storage, &bench.before, "k", b"content").await;
    // The copy is made, and a repetition of it refused.
    let made = Arc::new(std::sync::Mutex::new(None));
    let copied = Arc::clone(&made);
    bench.storage.after(move |request, objects| {
        if request.method() == Method::PUT {
            *copied.lock().unwrap() = objects["/b/k"].last().cloned();
        }
    });
    let mut is_refused = false;
    bench.storage.before(move |request, objects| {
        if request.method() == Method::PUT && !is_refused {
            is_refused = true;
            let headers = request.headers();
            let object = objects.get_mut("/b/k").unwrap().last_mut().unwrap();
            for name in ENTRIES {
                object.headers.insert(HeaderName::from_static(name), headers[name].clone());
            }
            return Some(refuse(request, 412, "PreconditionFailed"));
        }
        None
    });
    assert_succeeded(&run(&Step::Rewrap, &bench.after, "k").await);
    assert_succeeded(&bench.read("k").await);
}

#[tokio::test]
async fn what_the_storage_stores_instead_is_found_out() {
    for (name, change) in [
        ("x-amz-meta-encryption-key", "AAAA"),
        ("x-amz-meta-encryption-envelope", "AAAA"),
        ("x-amz-meta-colour", "red"),
        ("x-amz-storage-class", "STANDARD"),
        ("x-amz-object-lock-mode", "COMPLIANCE"),
    ] {
        let bench = Bench::new(Storage::new(Oddities { has_versions: true, ..Oddities::default() })).await;
        keep_native(&bench.storage, &bench.before, "k", b"content").await;
        bench.storage.after(move |request, objects| {
            if request.method() == Method::PUT {
                let object = objects.get_mut("/b/k").unwrap().last_mut().unwrap();
                object.headers.insert(HeaderName::from_static(name), HeaderValue::from_static(change));
            }
        });
        let outcome = run(&Step::Rewrap, &bench.after, "k").await;
        assert_ended(&outcome, Status::Failed, Severity::Row);
        assert!(outcome.message.contains(name), "{}", outcome.message);
    }
}

#[tokio::test]
async fn a_wrapping_of_another_object_is_not_wrapped_again() {
    let bench = Bench::new(Storage::default()).await;
    let mut old = keep_native(&bench.storage, &bench.before, "k", b"content").await;
    // Another data key of the realm, which the holder opens.
    let elsewhere = scripted(&bench.before, &bench.holder, &["old"]);
    let other = keep_native(&bench.storage, &elsewhere, "other", b"content").await;
    old.headers.insert(ENTRIES[0], other.headers[ENTRIES[0]].clone());
    bench.storage.keep("/b/k", old);
    bench.storage.requests();
    let outcome = run(&Step::Rewrap, &bench.after, "k").await;
    assert_ended(&outcome, Status::Failed, Severity::NotAuthentic);
    assert!(bench.storage.writes().is_empty());
}

#[tokio::test]
async fn a_holder_that_needs_the_data_key_and_may_not_have_it_is_the_reason() {
    let bench = Bench::new(Storage::default()).await;
    keep_native(&bench.storage, &bench.before, "k", b"content").await;
    bench.holder.deny_unwrapping(true);
    let private = crate::envelope::native::RecoveryPrivateKey::generate();
    let after = with_rule(&bench.after, |rule| rule.keys.recovery = vec![private.public_key()]);
    let outcome = run(&Step::Rewrap, &after, "k").await;
    assert_ended(&outcome, Status::Failed, Severity::Row);
    assert!(outcome.message.contains("the recovery key"), "{}", outcome.message);
    bench.holder.deny_unwrapping(false);
    let mut after = after;
    after.object.keyring = bench.holder.keyring();
    assert_succeeded(&run(&Step::Rewrap, &after, "k").await);
    let stored = NativeMetadata::from_headers(&bench.storage.newest("/b/k").headers).unwrap();
    assert!(stored.wrappings().further.is_some());
}

#[tokio::test]
async fn a_version_that_is_not_the_newest_is_left_alone() {
    let bench = Bench::new(Storage::new(Oddities { has_versions: true, ..Oddities::default() })).await;
    let old = keep_native(&bench.storage, &bench.before, "k", b"one").await;
    let newest = keep_native(&bench.storage, &bench.before, "k", b"two").await;
    let permit = Semaphore::new(1);
    let writes = Writes::Copies(&permit);
    let outcome = Step::Rewrap.run(&bench.after, &row("k", old.version.as_deref()), writes).await;
    assert_ended(&outcome, Status::Skipped, Severity::None);
    let outcome = Step::Rewrap.run(&bench.after, &row("k", newest.version.as_deref()), writes).await;
    assert_succeeded(&outcome);
    assert_eq!(bench.storage.objects()["/b/k"].len(), 3);
}

#[tokio::test]
async fn grants_are_carried_and_unknown_ones_are_a_reason() {
    let bench = Bench::new(Storage::default()).await;
    let grant = |grantee: &str, permission: &str| {
        format!("<Grant><Grantee>{grantee}</Grantee><Permission>{permission}</Permission></Grant>")
    };
    let policy = |grants: &str| {
        format!(
            "<AccessControlPolicy><Owner><ID>me</ID></Owner><AccessControlList>{grants}</AccessControlList>\
             </AccessControlPolicy>"
        )
    };
    let mut object = keep_native(&bench.storage, &bench.before, "k", b"content").await;
    object.acl = Some(policy(&grant("<DisplayName>x</DisplayName>", "READ")));
    bench.storage.keep("/b/k", object.clone());
    assert_ended(&run(&Step::Rewrap, &bench.after, "k").await, Status::Skipped, Severity::None);
    object.acl = Some(policy(&(grant("<ID>me</ID>", "FULL_CONTROL") + &grant("<ID>you</ID>", "READ"))));
    bench.storage.keep("/b/k", object);
    assert_succeeded(&run(&Step::Rewrap, &bench.after, "k").await);
    let acl = bench.storage.newest("/b/k").acl.unwrap();
    assert!(acl.contains("x-amz-grant-read") && acl.contains("you"), "{acl}");
}

#[tokio::test]
async fn plaintext_has_nothing_to_wrap_again() {
    let bench = Bench::new(Storage::default()).await;
    keep_plaintext(&bench.storage, "/b/k", "plain", &[]);
    let outcome = run(&Step::Rewrap, &migrating(&bench.after, WriteFormat::Native), "k").await;
    assert_ended(&outcome, Status::Skipped, Severity::None);
    assert!(outcome.message.contains("plaintext"), "{}", outcome.message);
}

/// Keeps an object of another format, written under the key `old`, with all that objects can have.
async fn keep_foreign(bench: &Bench, format: WriteFormat) -> Object {
    keep_plaintext(&bench.storage, "/b/k", vec![7; 100], &[]);
    let before = migrating(&bench.before, format);
    assert_succeeded(&run(&Step::Encrypt(Destination::InPlace), &before, "k").await);
    bench.storage.requests();
    bench.storage.newest("/b/k")
}

const FOREIGN: [(WriteFormat, &str); 3] = [
    (WriteFormat::Cbc, "x-amz-meta-encryption-key"),
    (WriteFormat::S3ecV2, "x-amz-meta-x-amz-key-v2"),
    (WriteFormat::S3ecV3, "x-amz-meta-x-amz-3"),
];

#[tokio::test]
async fn an_object_of_another_format_gets_another_key_and_keeps_all_else() {
    for (format, entry) in FOREIGN {
        let bench = Bench::new(Storage::default()).await;
        let old = keep_foreign(&bench, format).await;
        bench.holder.deny_unwrapping(true);
        let after = migrating(&bench.after, WriteFormat::Native);
        let dry = Step::Rewrap.run(&after, &row("k", None), Writes::None).await;
        assert_succeeded(&dry);
        assert!(dry.message.contains("would be copied") && bench.storage.writes().is_empty(), "{dry:?}");
        let outcome = run(&Step::Rewrap, &after, "k").await;
        assert_succeeded(&outcome);
        assert_eq!((outcome.is_unchanged, outcome.key_before.as_deref()), (false, Some("old")));
        assert!(outcome.key_after.unwrap().ends_with("key/new"));
        let is_get = |(method, path): &(Method, String)| *method == Method::GET && path == "/b/k";
        assert!(!bench.storage.requests().iter().any(is_get), "content was read");
        let new = bench.storage.newest("/b/k");
        assert_eq!((&new.body, &new.etag), (&old.body, &old.etag), "{entry}");
        let differing = |name: &&HeaderName| old.headers.get(*name) != new.headers.get(*name);
        let names: Vec<_> = old.headers.keys().chain(new.headers.keys()).filter(differing).collect();
        assert!(names.iter().all(|name| [entry, "last-modified"].contains(&name.as_str())), "{names:?}");
        assert_ne!(new.headers[entry], old.headers[entry]);
        assert_eq!(new.tags, old.tags);
        let again = run(&Step::Rewrap, &after, "k").await;
        assert_succeeded(&again);
        assert!(again.is_unchanged);

        bench.holder.deny_unwrapping(false);
        let reader = migrating(&scripted(&after, &bench.holder, &["new"]), WriteFormat::Native);
        assert_succeeded(&run(&Step::Verify, &reader, "k").await);
        let former = migrating(&scripted(&after, &bench.holder, &["old"]), WriteFormat::Native);
        let refused = run(&Step::Verify, &former, "k").await;
        assert_eq!(refused.status, Status::Failed, "This is a security issue.");
    }
}

#[tokio::test]
async fn an_object_of_another_format_keeps_its_parts() {
    let bench = Bench::new(Storage::default()).await;
    let body = 5 * MIB + 100 + 16;
    keep_plaintext(&bench.storage, "/b/k", vec![7; body - 16], &[]);
    let before = migrating(&bench.before, WriteFormat::S3ecV3);
    assert_succeeded(&run(&Step::Encrypt(Destination::InPlace), &before, "k").await);
    let mut old = bench.storage.newest("/b/k");
    (old.etag, old.parts) = (format!("{:032x}-2", 7), vec![5 * MIB, 116]);
    let old = bench.storage.keep("/b/k", old);
    let after = migrating(&bench.after, WriteFormat::Native);
    assert_succeeded(&run(&Step::Rewrap, &after, "k").await);
    let new = bench.storage.newest("/b/k");
    assert_eq!((&new.body, &new.parts), (&old.body, &old.parts));
    assert!(new.etag.ends_with("-2") && !bench.storage.has_uploads(), "{}", new.etag);
    assert_eq!(new.tags, old.tags);
    assert_succeeded(&run(&Step::Verify, &after, "k").await);
}

#[tokio::test]
async fn a_holder_that_can_not_wrap_again_unwraps_other_formats() {
    for (format, entry) in FOREIGN {
        let bench = Bench::new(Storage::default()).await;
        let old = keep_foreign(&bench, format).await;
        bench.holder.can_not_rewrap();
        let after = migrating(&bench.after, WriteFormat::Native);
        assert_succeeded(&run(&Step::Rewrap, &after, "k").await);
        assert_ne!(bench.storage.newest("/b/k").headers[entry], old.headers[entry]);
        let reader = migrating(&scripted(&after, &bench.holder, &["new"]), WriteFormat::Native);
        assert_succeeded(&run(&Step::Verify, &reader, "k").await);
    }
}

#[tokio::test]
async fn an_object_of_another_format_that_is_replaced_meanwhile_is_not_overwritten() {
    let bench = Bench::new(Storage::default()).await;
    keep_foreign(&bench, WriteFormat::S3ecV3).await;
    bench.storage.before(|request, objects| {
        if request.headers().contains_key("x-amz-copy-source") {
            let other = Object { etag: "other".to_owned(), body: "newer".into(), ..Object::default() };
            objects.get_mut("/b/k").unwrap().push(other);
        }
        None
    });
    let outcome = run(&Step::Rewrap, &migrating(&bench.after, WriteFormat::Native), "k").await;
    assert_eq!(outcome.status, Status::Raced, "{outcome:?}");
    assert_eq!(bench.storage.newest("/b/k").body, "newer");
}

#[tokio::test]
async fn wrappings_that_must_not_be_touched_have_their_reason() {
    let bench = Bench::new(Storage::default()).await;
    let mut old = keep_foreign(&bench, WriteFormat::S3ecV2).await;
    let mut after = migrating(&bench.after, WriteFormat::Native);
    // The legacy wrapping, whose context names the key.
    let context = HeaderValue::from_static(r#"{"kms_cmk_id":"old"}"#);
    old.headers.insert("x-amz-meta-x-amz-wrap-alg", HeaderValue::from_static("kms"));
    old.headers.insert("x-amz-meta-x-amz-matdesc", context);
    bench.storage.keep("/b/k", old.clone());
    after = with_rule(&after, |rule| rule.formats.s3ec.legacy = true);
    let outcome = run(&Step::Rewrap, &after, "k").await;
    assert_ended(&outcome, Status::Skipped, Severity::None);
    assert!(outcome.message.contains("kms_cmk_id"), "{}", outcome.message);
    // V3, whose wrapped key is in an instruction file.
    let mut elsewhere = keep_foreign(&bench, WriteFormat::S3ecV3).await;
    elsewhere.headers.remove("x-amz-meta-x-amz-3");
    bench.storage.keep("/b/k", elsewhere);
    let outcome = run(&Step::Rewrap, &after, "k").await;
    assert_ended(&outcome, Status::Skipped, Severity::None);
    assert!(outcome.message.contains("instruction file"), "{}", outcome.message);
    assert!(bench.storage.writes().is_empty());
}
