//! Listings of multipart uploads.

use std::collections::BTreeMap;

use http_body_util::BodyExt;

use super::{call as list_call, list, list_objects};
use crate::body::test_support::layout;
use crate::envelope::native::CHUNK;
use crate::operation::Resources;
use crate::s3::Operation;
use crate::test_support::{Oddities, Storage, Uploaded, call, put, respond, upload};

const CHUNK_U64: u64 = CHUNK as u64;

/// Sizes by key.
async fn sizes(resources: &Resources) -> BTreeMap<String, u64> {
    let page = list(resources, "b", "list-type=2").await;
    let entries = page.split("<Contents>").skip(1).map(|entry| {
        let text = |name: &str| {
            let (_, rest) = entry.split_once(&format!("<{name}>")).unwrap();
            rest.split_once('<').unwrap().0.to_owned()
        };
        (text("Key"), text("Size").parse().unwrap())
    });
    entries.collect()
}

/// Five regular uploads and four that are not.
async fn uploads(resources: &Resources) -> BTreeMap<String, Uploaded> {
    let mut uploads = BTreeMap::new();
    for (index, layout) in [
        layout(&[0], false),
        layout(&[9], false),
        layout(&[CHUNK_U64, CHUNK_U64, 5], false),
        layout(&[2 * CHUNK_U64, 2 * CHUNK_U64], true),
        layout(&[CHUNK_U64, 0], false),
        layout(&[5, 6], false),
        layout(&[CHUNK_U64 + 1, CHUNK_U64 - 1, 2 * CHUNK_U64], true),
        layout(&[CHUNK_U64, 2 * CHUNK_U64, 1], false),
        layout(&[100; 30], true),
    ]
    .iter()
    .enumerate()
    {
        let object_key = format!("k{index}-{}", if layout.is_regular() { "regular" } else { "uneven" });
        let uploaded = upload(resources, &object_key, layout).await;
        uploads.insert(object_key, uploaded);
    }
    uploads
}

fn plaintext_sizes(uploads: &BTreeMap<String, Uploaded>) -> BTreeMap<String, u64> {
    uploads.iter().map(|(key, uploaded)| (key.clone(), uploaded.content.len() as u64)).collect()
}

#[tokio::test]
async fn regular_uploads_cost_nothing_and_others_one_small_read_once() {
    let (storage, resources, _folder) = Storage::serve().await;
    let uploads = uploads(&resources).await;
    for (object_key, uploaded) in &uploads {
        storage.keep(object_key, uploaded.kept("d41d8cd98f00b204e9800998ecf8427e"));
    }
    let expected = plaintext_sizes(&uploads);
    assert_eq!(sizes(&resources).await, expected);
    let asked = storage.requests();
    let extra: Vec<_> = asked.iter().filter(|(_, path, _)| !path.starts_with("/b?")).collect();
    assert_eq!(extra.len(), 4, "{extra:?}");
    assert!(extra.iter().all(|(_, path, range)| path.ends_with("uneven") && range.is_some()));
    assert!(storage.sent_bytes() < 2000, "of each only the layout is read");
    assert_eq!(sizes(&resources).await, expected);
    assert_eq!(storage.requests().len(), 1, "only the listing itself");
    // What a listing learned serves readers too.
    for (object_key, uploaded) in &uploads {
        let got = respond(&resources, call(Operation::GetObject, object_key, "", &[])).await.unwrap();
        assert!(got.is_whole && got.body == uploaded.content);
        assert_eq!(storage.requests().len(), 1);
    }
}

#[tokio::test]
async fn etags_that_do_not_count_parts_cost_questions_and_sizes_stay_right() {
    let (storage, resources, _folder) = Storage::serve().await;
    let uploads = uploads(&resources).await;
    for (object_key, uploaded) in &uploads {
        let mut kept = uploaded.kept("");
        kept.etag = format!("opaque-of-{object_key}");
        storage.keep(object_key, kept);
    }
    assert_eq!(sizes(&resources).await, plaintext_sizes(&uploads));
    storage.requests();
    assert_eq!(sizes(&resources).await, plaintext_sizes(&uploads));
    assert_eq!(storage.requests().len(), 1);
}

/// A stored size is no answer: a tool that mirrors the bucket would take it for the object's.
#[tokio::test]
async fn what_is_overwritten_after_it_was_listed_has_the_size_of_what_took_its_place() {
    const HASH: &str = "d41d8cd98f00b204e9800998ecf8427e";
    let (storage, resources, _folder) = Storage::serve().await;
    let uneven = upload(&resources, "k", &layout(&[5, 6], false)).await;
    let other = upload(&resources, "k", &layout(&[CHUNK_U64, 2 * CHUNK_U64, 1], false)).await;
    let regular = upload(&resources, "k", &layout(&[CHUNK_U64, 9], false)).await;
    let single = put(&resources, "k", &[7; 1000], HASH).await;
    let hash = "0cc175b9c0f1b6a831c399e269772661";
    for (successor, size) in [(other.kept(hash), 196_609), (regular.kept(hash), 65_545), (single, 1000)] {
        storage.keep("k", uneven.kept(HASH));
        // The listing comes before, the question for the size after.
        storage.keep_after(1, "k", successor);
        assert_eq!(sizes(&resources).await, BTreeMap::from([("k".to_owned(), size)]));
        // What was learned of other objects must not answer the next round.
        resources.layout_cache.forget();
    }
}

#[tokio::test]
async fn an_object_that_is_overwritten_again_and_again_fails_the_listing() {
    let (storage, resources, _folder) = Storage::serve().await;
    let uneven = upload(&resources, "k", &layout(&[5, 6], false)).await;
    storage.keep("k", uneven.kept("d41d8cd98f00b204e9800998ecf8427e"));
    for request in 1..100 {
        storage.keep_after(request, "k", uneven.kept(&format!("{request:032x}")));
    }
    let listed = list_objects(&resources, list_call("b", "list-type=2")).await;
    let listed = listed.unwrap().into_body().collect().await;
    assert!(listed.is_err(), "no size would be right");
    assert!(storage.requests().len() < 30, "and no listing asks for ever");
}

#[tokio::test]
async fn what_is_deleted_after_it_was_listed_is_left_out() {
    let (storage, resources, _folder) = Storage::serve().await;
    for object_key in ["gone", "kept"] {
        let uneven = upload(&resources, object_key, &layout(&[5, 6], false)).await;
        storage.keep(object_key, uneven.kept("d41d8cd98f00b204e9800998ecf8427e"));
    }
    storage.lose_after(1, "gone");
    assert_eq!(sizes(&resources).await, BTreeMap::from([("kept".to_owned(), 11)]));
}

#[tokio::test]
async fn what_cannot_be_opened_keeps_its_size() {
    let (storage, resources, _folder) = Storage::serve().await;
    let stored: BTreeMap<String, u64> = uploads(&resources)
        .await
        .into_iter()
        .filter(|(object_key, _)| object_key.ends_with("uneven"))
        .enumerate()
        .map(|(index, (object_key, uploaded))| {
            let mut kept = uploaded.kept("d41d8cd98f00b204e9800998ecf8427e");
            match index {
                0 => {
                    let mut body = kept.body.to_vec();
                    *body.last_mut().unwrap() ^= 1;
                    kept.body = body.into();
                }
                1 => kept.headers.clear(),
                2 => kept.headers.truncate(1),
                _ => kept.headers[1].1.replace_range(60..64, "AAAA"),
            }
            let length = kept.body.len() as u64;
            storage.keep(&object_key, kept);
            (object_key, length)
        })
        .collect();
    assert_eq!(stored.len(), 4);
    assert_eq!(sizes(&resources).await, stored);
}

#[tokio::test]
async fn a_storage_that_counts_parts_nowhere_lists_stored_sizes() {
    let (storage, resources, _folder) = Storage::serve().await;
    storage.be_odd(Oddities { knows_no_parts_count: true, ..Oddities::default() });
    let mut kept = upload(&resources, "k", &layout(&[9], false)).await.kept("");
    kept.etag = "opaque".to_owned();
    let length = kept.body.len() as u64;
    storage.keep("k", kept);
    assert_eq!(sizes(&resources).await, BTreeMap::from([("k".to_owned(), length)]));
}
