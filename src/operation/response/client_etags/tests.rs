use super::map_deletions;
use crate::body::test_support::layout;
use crate::object::rule::Policies;
use crate::operation::Resources;
use crate::s3::{BucketName, EtagStyle, ObjectKey, Operation, xml};
use crate::test_support::{Got, Storage, call, put, respond, upload};

const MD5: &str = "d41d8cd98f00b204e9800998ecf8427e";

fn with_style(resources: &mut Resources, etag: EtagStyle) {
    let (bucket, object_key) = (BucketName::parse("b").unwrap(), ObjectKey::parse("k").unwrap());
    let mut rule = resources.policies.for_object(&bucket, &object_key).unwrap().clone();
    rule.etag = etag;
    resources.policies = Policies::new(vec![rule]);
}

async fn ask(resources: &Resources, operation: Operation, headers: &[(&str, &str)]) -> Got {
    respond(resources, call(operation, "k", "", headers)).await.unwrap()
}

#[tokio::test]
async fn conditions_hold_for_the_etag_that_was_answered_and_for_the_storages() {
    let (storage, mut resources, _folder) = Storage::serve().await;
    let uploaded = upload(&resources, "k", &layout(&[5], false)).await;
    let objects = [put(&resources, "k", b"content", MD5).await, uploaded.kept(MD5)];
    for style in [EtagStyle::Opaque, EtagStyle::Storage] {
        with_style(&mut resources, style);
        for kept in &objects {
            storage.keep("k", kept.clone());
            for operation in [Operation::GetObject, Operation::HeadObject] {
                let got = ask(&resources, operation, &[]).await;
                let etag = got.header("etag").unwrap().to_owned();
                assert_eq!(etag.contains("-v"), style == EtagStyle::Opaque && kept.etag == MD5, "{etag}");
                let storages = format!("\"{}\"", kept.etag);
                for known in [&etag, &storages] {
                    let held = ask(&resources, operation, &[("if-match", known)]).await;
                    assert_eq!(held.head.status, 200, "{known}");
                    let unmodified = ask(&resources, operation, &[("if-none-match", known)]).await;
                    assert_eq!(unmodified.head.status, 304, "{known}");
                    assert_eq!(unmodified.header("etag"), Some(&**known), "a cache finds what it has");
                }
                let other = format!("\"{MD5}-v-v\"");
                let failed = ask(&resources, operation, &[("if-match", &other)]).await;
                assert_eq!(failed.head.status, 412);
                let changed = ask(&resources, operation, &[("if-none-match", &other)]).await;
                assert_eq!(changed.head.status, 200);
                assert_eq!(changed.header("etag"), Some(&*etag));
            }
        }
    }
}

#[tokio::test]
async fn deletions_on_condition_of_an_etag_name_the_storages() {
    let (_storage, mut resources, _folder) = Storage::serve().await;
    let body = |etag: &str| {
        format!(
            "<Delete><Object><Key>k</Key><ETag>{etag}</ETag></Object><Object><Key>a-v</Key></Object></Delete>"
        )
    };
    let bucket = BucketName::parse("b").unwrap();
    let taken_back = |resources: &Resources, etag: &str| {
        let mut deletion = xml::delete_objects_request(body(etag).as_bytes()).unwrap();
        let is_changed = map_deletions(resources, &bucket, &mut deletion.objects);
        let mut objects = xml::delete_objects_request(deletion.to_xml().as_bytes()).unwrap().objects;
        assert_eq!(objects.pop().unwrap().object.as_str(), "a-v");
        (objects.pop().unwrap().etag.unwrap(), !is_changed)
    };
    for (sent, meant) in [
        (format!("\"{MD5}-v\""), format!("\"{MD5}\"")),
        (format!("{MD5}-v"), MD5.to_owned()),
        (format!("&quot;{MD5}-3&quot;"), format!("\"{MD5}-3\"")),
        (format!("\"{MD5}\""), format!("\"{MD5}\"")),
        ("*".to_owned(), "*".to_owned()),
    ] {
        let is_unchanged = !sent.contains("-v");
        assert_eq!(taken_back(&resources, &sent), (meant, is_unchanged));
    }
    with_style(&mut resources, EtagStyle::Storage);
    let sent = format!("\"{MD5}-v\"");
    assert_eq!(taken_back(&resources, &sent), (sent, true));
}
