//! Storages that deviate from S3.

use super::*;

#[tokio::test]
async fn an_etag_without_a_number_of_parts_costs_a_request() {
    let (storage, resources, _folder) = Storage::serve().await;
    for (index, layout) in layouts().into_iter().enumerate() {
        let uploaded = upload(&resources, "k", &layout).await;
        let mut kept = uploaded.kept("");
        kept.etag = format!("opaque{index}");
        storage.keep("k", kept);
        let got = get(&resources, "", &[]).await.unwrap();
        assert!(got.is_whole && got.body == uploaded.content, "{layout:?}");
        let length = layout.plaintext_total().to_string();
        assert_eq!(head(&resources, "", &[]).await.unwrap().header("content-length"), Some(&*length));
        if layout.plaintext_total() > 5 {
            let got = get(&resources, "", &[("range", "bytes=3-5")]).await.unwrap();
            assert_eq!(got.body, uploaded.content[3..6]);
        }
    }
    storage.be_odd(Oddities { knows_no_parts_count: true, ..Oddities::default() });
    let mut kept = upload(&resources, "k", &layout(&[5], false)).await.kept("");
    kept.etag = "opaque".to_owned();
    storage.keep("k", kept);
    for outcome in [get(&resources, "", &[]).await, head(&resources, "", &[]).await] {
        let error = outcome.err().expect("it is refused");
        assert!(matches!(error, Error::Shared(error) if matches!(*error, Error::PartsUnknown)));
    }
}

#[tokio::test]
async fn a_storage_that_ignores_ranges_is_read_as_far_as_it_is_small() {
    let (storage, resources, _folder) = Storage::serve().await;
    storage.be_odd(Oddities { ignores_range: true, ..Oddities::default() });
    let uploaded = upload(&resources, "k", &layout(&[2 * CHUNK_U64, 2 * CHUNK_U64, 9], false)).await;
    storage.keep("k", uploaded.kept("e"));
    for (range, slice) in
        [("bytes=70000-140000", 70_000..140_001), ("bytes=-3", 4 * CHUNK + 6..4 * CHUNK + 9)]
    {
        let got = get(&resources, "", &[("range", range)]).await.unwrap();
        assert_eq!(got.head.status, 206);
        assert!(got.is_whole && got.body == uploaded.content[slice]);
    }
}

#[tokio::test]
async fn a_suffix_longer_than_the_object_is_requested_anew_where_the_storage_refuses_it() {
    let (storage, resources, _folder) = Storage::serve().await;
    storage.be_odd(Oddities { refuses_long_suffixes: true, ..Oddities::default() });
    for (index, layout) in
        layouts().into_iter().enumerate().filter(|(_, layout)| layout.plaintext_total() > 0)
    {
        let uploaded = upload(&resources, "k", &layout).await;
        storage.keep("k", uploaded.kept(&format!("{index}")));
        let got = get(&resources, "", &[("range", "bytes=-999999999")]).await.unwrap();
        assert!(got.is_whole && got.body == uploaded.content);
    }
    let content = pattern(CHUNK + 9);
    storage.keep("k", put(&resources, "k", &content, "put").await);
    let got = get(&resources, "", &[("range", "bytes=-999999999")]).await.unwrap();
    assert!(got.is_whole && got.body == content);
}

#[tokio::test]
async fn an_object_that_is_replaced_all_the_time_is_not_read_forever() {
    let (storage, resources, _folder) = Storage::serve().await;
    let mut replaced = Vec::new();
    for round in 0..40 {
        let uploaded = upload(&resources, "k", &layout(&[CHUNK_U64, 10 + round], false)).await;
        replaced.push(uploaded.kept(&format!("{round}")));
    }
    storage.keep("k", replaced[0].clone());
    for (round, kept) in replaced.into_iter().enumerate().skip(1) {
        storage.keep_after(round, "k", kept);
    }
    let (code, _) = refusal(get(&resources, "", &[("range", "bytes=65530-65540")]).await);
    assert_eq!(code, ErrorCode::ServiceUnavailable);
    assert!(storage.requests().len() < 12);
}
