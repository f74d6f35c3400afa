//! Listings of multipart uploads.

use std::collections::BTreeMap;

use super::list;
use crate::body::tests_support::layout;
use crate::envelope::native::CHUNK;
use crate::handler::Resources;
use crate::handler::tests_support::{Oddities, Storage, Uploaded, answered, call, upload};
use crate::s3::Operation;

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
    let asked = storage.asked();
    let extra: Vec<_> = asked.iter().filter(|(_, path, _)| !path.starts_with("/b?")).collect();
    assert_eq!(extra.len(), 4, "{extra:?}");
    assert!(extra.iter().all(|(_, path, range)| path.ends_with("uneven") && range.is_some()));
    assert!(storage.given() < 2000, "of each only the layout is read");
    assert_eq!(sizes(&resources).await, expected);
    assert_eq!(storage.asked().len(), 1, "only the listing itself");
    // What a listing learned serves readers too.
    for (object_key, uploaded) in &uploads {
        let got = answered(&resources, call(Operation::GetObject, object_key, "", &[])).await.unwrap();
        assert!(got.is_whole && got.body == uploaded.content);
        assert_eq!(storage.asked().len(), 1);
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
    storage.asked();
    assert_eq!(sizes(&resources).await, plaintext_sizes(&uploads));
    assert_eq!(storage.asked().len(), 1);
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
