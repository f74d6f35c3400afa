use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::body::test_support::{layout, pattern};
use crate::envelope::native::multipart::{Layout, Part, PartNumber};
use crate::envelope::native::{CHUNK, SEALED_CHUNK};
use crate::error::Error;
use crate::operation::Resources;
use crate::s3::{ErrorCode, Operation};
use crate::test_support::{Got, Kept, Oddities, Storage, call, put, respond, upload};

mod attacks;
mod if_range;
mod lengths;
mod odd_storages;
mod round_trips;

const CHUNK_U64: u64 = CHUNK as u64;

/// Layouts regular and irregular, with and without gaps, with and without a terminator.
fn layouts() -> Vec<Layout> {
    let part = |number, length| Part { number: PartNumber::new(number).unwrap(), length };
    vec![
        layout(&[0], false),
        layout(&[9], false),
        layout(&[CHUNK_U64], false),
        layout(&[CHUNK_U64, 0], false),
        layout(&[2 * CHUNK_U64, 2 * CHUNK_U64, 10], false),
        layout(&[CHUNK_U64, 3 * CHUNK_U64 + 1], true),
        layout(&[2 * CHUNK_U64, 2 * CHUNK_U64], true),
        layout(&[5, 0], false),
        layout(&[CHUNK_U64 + 1, CHUNK_U64 - 1, 2 * CHUNK_U64], false),
        layout(&[3, CHUNK_U64 + 4, 70_000], true),
        Layout::ended_by_last(vec![part(2, CHUNK_U64), part(5, 3)]).unwrap(),
        Layout::terminated(vec![part(3, CHUNK_U64 + 7), part(4, 1)]).unwrap(),
        layout(&[100; 40], true),
    ]
}

async fn get(resources: &Resources, query: &str, headers: &[(&str, &str)]) -> Result<Got, Error> {
    respond(resources, call(Operation::GetObject, "k", query, headers)).await
}

async fn head(resources: &Resources, query: &str, headers: &[(&str, &str)]) -> Result<Got, Error> {
    respond(resources, call(Operation::HeadObject, "k", query, headers)).await
}

fn refusal(outcome: Result<Got, Error>) -> (ErrorCode, HashMap<&'static str, String>) {
    let error = outcome.err().expect("it is refused").to_s3();
    (error.code, error.extra.into_iter().collect())
}

#[tokio::test]
async fn whole_objects_of_every_shape_come_back_in_one_stream() {
    let (storage, resources, _folder) = Storage::serve().await;
    for (index, layout) in layouts().into_iter().enumerate() {
        let uploaded = upload(&resources, "k", &layout).await;
        storage.keep("k", uploaded.kept(&format!("{index}")));
        for round in 0..2 {
            let got = get(&resources, "", &[]).await.unwrap();
            assert_eq!(got.head.status, 200);
            assert!(got.is_whole && got.body == uploaded.content, "{layout:?}");
            assert_eq!(got.header("x-amz-meta-encryption-envelope"), None);
            assert_eq!(got.header("x-amz-mp-parts-count"), None);
            let extra = usize::from(round == 0 && !layout.is_regular());
            assert_eq!(storage.requests().len(), 1 + extra, "only an unknown layout is read apart");
        }
    }
}

#[tokio::test]
async fn checksums_of_the_whole_are_sent_with_the_whole_only() {
    let (storage, resources, _folder) = Storage::serve().await;
    let uploaded = upload(&resources, "k", &layout(&[CHUNK_U64, 3], false)).await;
    storage.keep("k", uploaded.kept("e"));
    let mode = ("x-amz-checksum-mode", "ENABLED");
    let crc32 = |got: &Got| got.header("x-amz-checksum-crc32").map(str::to_owned);
    let known = crate::wire::checksum::checksum(crate::s3::ChecksumAlgorithm::Crc32, &uploaded.content);
    let known = Some(known.to_string());
    assert_eq!(crc32(&get(&resources, "", &[mode]).await.unwrap()), known);
    assert_eq!(crc32(&head(&resources, "", &[mode]).await.unwrap()), known);
    assert_eq!(crc32(&get(&resources, "", &[mode, ("range", "bytes=0-1")]).await.unwrap()), None);
    assert_eq!(crc32(&get(&resources, "", &[]).await.unwrap()), None);
}

#[tokio::test]
async fn a_range_of_a_known_object_costs_one_request_and_two_chunks_at_most() {
    let (storage, resources, _folder) = Storage::serve().await;
    let parts = [4 * CHUNK_U64, 4 * CHUNK_U64, 4 * CHUNK_U64, CHUNK_U64 + 9];
    let uploaded = upload(&resources, "k", &layout(&parts, true)).await;
    storage.keep("k", uploaded.kept("e"));
    // The guess, the first header, and at once the last one, that of the segment, and the range.
    let range = |first: usize, last: usize| format!("bytes={first}-{last}");
    let (first, last) = (CHUNK * 6 + 7, CHUNK * 9 + 1);
    for requests in [5, 1, 1] {
        let got = get(&resources, "", &[("range", &range(first, last))]).await.unwrap();
        assert_eq!(got.head.status, 206);
        assert!(got.is_whole && got.body == uploaded.content[first..=last]);
        let total = uploaded.content.len();
        assert_eq!(got.header("content-range").unwrap(), format!("bytes {first}-{last}/{total}"));
        assert_eq!(storage.requests().len(), requests);
        let given = storage.sent_bytes();
        let sealed = (last + 1 - first) as u64 + 2 * CHUNK_U64 + 16 * 5 + 80;
        assert!(requests > 1 || given <= sealed, "{given} bytes for {sealed}");
    }
    // Another range of the same segment, one that begins with a segment, the last bytes.
    for (requested, slice) in [
        (range(CHUNK * 5, CHUNK * 5 + 9), CHUNK * 5..CHUNK * 5 + 10),
        (range(CHUNK * 8, CHUNK * 8), CHUNK * 8..CHUNK * 8 + 1),
        ("bytes=-9".to_owned(), CHUNK * 13..CHUNK * 13 + 9),
    ] {
        let got = get(&resources, "", &[("range", &requested)]).await.unwrap();
        assert_eq!(got.body, uploaded.content[slice], "{requested}");
        storage.requests();
        get(&resources, "", &[("range", &requested)]).await.unwrap();
        assert_eq!(storage.requests().len(), 1, "{requested}");
    }
}

#[tokio::test]
async fn the_layout_cache_holds_one_object_per_location_however_often_it_is_written() {
    let (storage, resources, _folder) = Storage::serve().await;
    for round in 0..4 {
        let uploaded = upload(&resources, "k", &layout(&[2 * CHUNK_U64, 2 * CHUNK_U64, 9], false)).await;
        storage.keep("k", uploaded.kept(&format!("{round}")));
        for _ in 0..2 {
            let got = get(&resources, "", &[("range", "bytes=70000-70009")]).await.unwrap();
            assert_eq!(got.body, uploaded.content[70_000..70_010]);
        }
        assert_eq!(resources.layout_cache.sizes().await, (1, 1), "its layout and one header");
    }
}

#[tokio::test]
async fn concurrent_reads_of_ranges_share_the_reads_of_the_layout() {
    let (storage, resources, _folder) = Storage::serve().await;
    let uploaded = upload(&resources, "k", &layout(&[CHUNK_U64, CHUNK_U64, CHUNK_U64, 5], false)).await;
    storage.keep("k", uploaded.kept("e"));
    let reads = (0..16).map(|_| {
        let resources = resources.clone();
        tokio::spawn(async move { get(&resources, "", &[("range", "bytes=65536-65540")]).await })
    });
    for read in reads.collect::<Vec<_>>() {
        assert_eq!(read.await.unwrap().unwrap().body, uploaded.content[CHUNK..CHUNK + 5]);
    }
    let last_header = 3 * (SEALED_CHUNK + 80);
    let headers = ["bytes=0-79".to_owned(), format!("bytes={last_header}-{}", last_header + 79)];
    let requests = storage.requests();
    for header in headers {
        let reads = requests.iter().filter(|(_, _, range)| range.as_ref() == Some(&header));
        assert_eq!(reads.count(), 1);
    }
}

#[test]
fn every_range_of_every_layout_equals_the_slice() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (storage, resources, _folder) = runtime.block_on(Storage::serve());
    let layouts = layouts();
    let config = Config { failure_persistence: None, ..Config::with_cases(96) };
    let fresh = AtomicU64::new(0);
    let cases = (0..layouts.len(), any::<u64>(), any::<u64>(), 0..3);
    TestRunner::new(config)
        .run(&cases, |(which, a, b, kind)| {
            let layout = &layouts[which];
            let total = layout.plaintext_total();
            prop_assume!(total > 0);
            let (first, last) = ((a % total).min(b % total), (a % total).max(b % total));
            let (requested, slice) = match kind {
                0 => (format!("bytes={first}-{last}"), first..last + 1),
                1 => (format!("bytes={first}-"), first..total),
                _ => (format!("bytes=-{}", total - first), first..total),
            };
            let (got, expected) = runtime.block_on(async {
                let uploaded = upload(&resources, "k", layout).await;
                storage.keep("k", uploaded.kept(&fresh.fetch_add(1, Ordering::Relaxed).to_string()));
                let got = get(&resources, "", &[("range", &requested)]).await.unwrap();
                (got, uploaded.content[slice.start as usize..slice.end as usize].to_vec())
            });
            prop_assert_eq!(got.head.status, 206);
            prop_assert!(got.is_whole && got.body == expected, "{} of {:?}", requested, layout);
            let content_range = format!("bytes {}-{}/{total}", slice.start, slice.end - 1);
            prop_assert_eq!(got.header("content-range").unwrap(), content_range);
            Ok(())
        })
        .unwrap();
}

#[tokio::test]
async fn parts_are_what_the_client_uploaded() {
    let (storage, resources, _folder) = Storage::serve().await;
    for (index, layout) in layouts().into_iter().enumerate() {
        let uploaded = upload(&resources, "k", &layout).await;
        storage.keep("k", uploaded.kept(&format!("{index}")));
        let count = layout.parts().len().to_string();
        for (at, part) in layout.parts().iter().enumerate() {
            let query = format!("partNumber={}", part.number.value());
            let got = get(&resources, &query, &[]).await.unwrap();
            let first = layout.plaintext_offset(at);
            let end = first + part.length;
            assert_eq!(got.head.status, 206);
            assert!(got.is_whole && got.body == uploaded.content[first as usize..end as usize]);
            let described = head(&resources, &query, &[]).await.unwrap();
            assert_eq!(described.head.status, 206);
            let length = part.length.to_string();
            let range = format!("bytes {first}-{}/{}", end.wrapping_sub(1), layout.plaintext_total());
            for response in [&got, &described] {
                assert_eq!(response.header("content-length"), Some(&*length));
                let parts_count = response.header("x-amz-mp-parts-count");
                assert_eq!(parts_count, Some(&*count), "without the terminator");
                assert_eq!(response.header("content-range"), Some(&*range).filter(|_| part.length > 0));
            }
            storage.requests();
        }
        let beyond = 1 + layout.parts().last().unwrap().number.value();
        for query in [format!("partNumber={beyond}"), "partNumber=10000".to_owned()] {
            for outcome in [get(&resources, &query, &[]).await, head(&resources, &query, &[]).await] {
                let (code, fields) = refusal(outcome);
                assert_eq!((code, &fields["ActualPartCount"]), (ErrorCode::InvalidPartNumber, &count));
            }
        }
        storage.sent_bytes();
        refusal(get(&resources, &format!("partNumber={beyond}"), &[]).await);
        assert_eq!(storage.sent_bytes(), 80, "nothing is read of a known object that has no such part");
    }
}

#[tokio::test]
async fn ranges_that_no_object_has_are_refused_in_plaintext_terms() {
    let (storage, resources, _folder) = Storage::serve().await;
    for (index, layout) in layouts().into_iter().enumerate() {
        let total = layout.plaintext_total();
        let uploaded = upload(&resources, "k", &layout).await;
        storage.keep("k", uploaded.kept(&format!("{index}")));
        for range in
            [format!("bytes={total}-"), format!("bytes={total}-{}", total + 9), "bytes=-0".to_owned()]
        {
            // The first request meets an uncached object, the second a cached one.
            for _ in 0..2 {
                for outcome in [
                    get(&resources, "", &[("range", &range)]).await,
                    head(&resources, "", &[("range", &range)]).await,
                ] {
                    let (code, fields) = refusal(outcome);
                    assert_eq!(code, ErrorCode::InvalidRange, "{range} of {layout:?}");
                    assert_eq!(fields["ActualObjectSize"], total.to_string());
                }
            }
        }
    }
}

#[tokio::test]
async fn head_reads_a_layout_only_where_arithmetic_is_not_enough() {
    let (storage, resources, _folder) = Storage::serve().await;
    for (index, layout) in layouts().into_iter().enumerate() {
        let uploaded = upload(&resources, "k", &layout).await;
        storage.keep("k", uploaded.kept(&format!("{index}")));
        for round in 0..2 {
            let got = head(&resources, "", &[]).await.unwrap();
            assert_eq!(got.head.status, 200);
            assert_eq!(got.header("content-length"), Some(&*layout.plaintext_total().to_string()));
            let extra = usize::from(round == 0 && !layout.is_regular());
            assert_eq!(storage.requests().len(), 1 + extra);
        }
    }
}

#[tokio::test]
async fn conditions_hold_for_the_object_that_is_read() {
    let (storage, resources, _folder) = Storage::serve().await;
    let uploaded = upload(&resources, "k", &layout(&[CHUNK_U64, 5], false)).await;
    storage.keep("k", uploaded.kept("e"));
    let status = |got: Result<Got, Error>| got.unwrap().head.status.as_u16();
    let range = ("range", "bytes=65530-65540");
    // The first request meets an uncached object, the second a cached one.
    for _ in 0..2 {
        assert_eq!(status(get(&resources, "", &[range, ("if-match", "\"e-2\"")]).await), 206);
        assert_eq!(status(get(&resources, "", &[range, ("if-match", "\"other\"")]).await), 412);
        assert_eq!(status(get(&resources, "", &[range, ("if-none-match", "\"e-2\"")]).await), 304);
        assert_eq!(status(get(&resources, "", &[range, ("if-range", "\"e-2\"")]).await), 206);
        let whole = get(&resources, "", &[range, ("if-range", "\"other\"")]).await.unwrap();
        assert_eq!(whole.head.status, 200);
        assert!(whole.is_whole && whole.body == uploaded.content);
    }
    assert_eq!(refusal(get(&resources, "partNumber=1", &[range]).await).0, ErrorCode::InvalidRequest);
    assert_eq!(refusal(get(&resources, "partNumber=0", &[]).await).0, ErrorCode::InvalidArgument);
}

#[tokio::test]
async fn a_version_and_response_overrides_reach_the_storage() {
    let (storage, resources, _folder) = Storage::serve().await;
    let uploaded = upload(&resources, "k", &layout(&[5, 6, 7], false)).await;
    storage.keep("k", uploaded.kept("e"));
    let query = "versionId=v1&response-content-type=text/plain";
    get(&resources, query, &[("range", "bytes=3-8"), ("x-amz-expected-bucket-owner", "1")]).await.unwrap();
    let paths: Vec<_> = storage.requests().into_iter().map(|(_, path, _)| path).collect();
    let reads = "/b/k?versionId=v1&response-content-type=text%2Fplain";
    assert_eq!(paths, [reads, "/b/k?versionId=v1", reads]);
}

#[tokio::test]
async fn an_object_that_is_replaced_meanwhile_is_read_anew() {
    let (storage, resources, _folder) = Storage::serve().await;
    let range = [("range", "bytes=65530-65540")];
    for ignores_if_match in [false, true] {
        storage.be_odd(Oddities { ignores_if_match, ..Oddities::default() });
        for after in 1..6 {
            let old = upload(&resources, "k", &layout(&[2 * CHUNK_U64, 9], false)).await;
            let new = upload(&resources, "k", &layout(&[CHUNK_U64 + 5, 70_000], true)).await;
            storage.keep("k", old.kept(&format!("old{after}{ignores_if_match}")));
            storage.keep_after(after, "k", new.kept(&format!("new{after}{ignores_if_match}")));
            let got = get(&resources, "", &range).await.unwrap();
            let total = got.header("content-range").unwrap().rsplit_once('/').unwrap().1.to_owned();
            let current = if total == old.content.len().to_string() { &old } else { &new };
            assert!(got.is_whole && got.body == current.content[65_530..=65_540], "replaced after {after}");
            let got = get(&resources, "", &range).await.unwrap();
            assert!(got.is_whole && got.body == new.content[65_530..=65_540]);
        }
        // A known multipart upload becomes the object of one PUT.
        let content = pattern(CHUNK + 100);
        storage.keep("k", put(&resources, "k", &content, "put").await);
        let got = get(&resources, "", &range).await.unwrap();
        assert_eq!(got.body, content[65_530..=65_540]);
        let got = get(&resources, "partNumber=1", &[]).await.unwrap();
        assert_eq!(got.body, content);
    }
}
