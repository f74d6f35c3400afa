//! If-Range, with storages that support it and storages that ignore it (RFC 9110, 13.1.5).

use super::*;

const DATE: &str = "Sat, 28 Nov 2026 16:09:27 GMT";
const BEYOND: (&str, &str) = ("range", "bytes=999999999-");

/// An object of one PUT and a multipart object, each with its client's ETag and its plaintext.
async fn objects(resources: &Resources) -> [(Kept, &'static str, Vec<u8>); 2] {
    let content = pattern(CHUNK + 9);
    let uploaded = upload(resources, "k", &layout(&[CHUNK_U64, 5], false)).await;
    [
        (put(resources, "k", &content, "e").await, "\"e-v\"", content),
        (uploaded.kept("f"), "\"f-2\"", uploaded.content),
    ]
    .map(|(mut kept, etag, content)| {
        kept.headers.push(("last-modified".to_owned(), DATE.to_owned()));
        (kept, etag, content)
    })
}

fn storages() -> [Oddities; 2] {
    [Oddities::default(), Oddities { ignores_if_range: true, ..Oddities::default() }]
}

#[tokio::test]
async fn a_range_of_the_object_that_the_client_knows_is_read_by_one_request() {
    let range = ("range", "bytes=65530-65539");
    for odd in storages() {
        let (storage, resources, _folder) = Storage::serve().await;
        storage.be_odd(odd);
        for (kept, etag, content) in objects(&resources).await {
            storage.keep("k", kept);
            get(&resources, "", &[range]).await.unwrap();
            let bare = etag.trim_matches('"');
            let former = etag.replace("-v", "");
            for condition in [etag, bare, &former, DATE] {
                storage.requests();
                let got = get(&resources, "", &[range, ("if-range", condition)]).await.unwrap();
                // The tests' storage does not compare dates; neither do some other storages.
                if condition == DATE && !odd.ignores_if_range {
                    assert_eq!((got.head.status.as_u16(), got.body == content), (200, true));
                    continue;
                }
                assert_eq!(got.head.status, 206, "{condition}");
                assert_eq!(got.body, content[65_530..65_540]);
                assert_eq!(got.header("etag"), Some(etag));
                assert_eq!(storage.requests().len(), 1);
            }
        }
    }
}

#[tokio::test]
async fn the_whole_is_read_where_the_condition_does_not_hold() {
    let (storage, resources, _folder) = Storage::serve().await;
    for odd in storages() {
        storage.be_odd(odd);
        for (kept, etag, content) in objects(&resources).await {
            storage.keep("k", kept);
            let weak = format!("W/{etag}");
            let stale = ["\"other\"", "\"e-v-v\"", &weak, "Sat, 28 Nov 2026 16:09:26 GMT", "*", ""];
            for condition in stale {
                for range in [("range", "bytes=5-9"), ("range", "bytes=-3"), BEYOND] {
                    let got = get(&resources, "", &[range, ("if-range", condition)]).await.unwrap();
                    assert_eq!(got.head.status, 200, "{condition} {range:?}");
                    assert!(got.is_whole && got.body == content, "This is a security issue: {condition}");
                    assert_eq!(got.header("content-range"), None);
                    let described = head(&resources, "", &[range, ("if-range", condition)]).await.unwrap();
                    assert_eq!(described.head.status, 200, "{condition} {range:?}");
                    assert_eq!(described.header("content-length"), Some(&*content.len().to_string()));
                }
            }
        }
    }
}

#[tokio::test]
async fn a_range_that_the_known_object_has_not_is_refused() {
    let (storage, resources, _folder) = Storage::serve().await;
    for odd in storages() {
        storage.be_odd(odd);
        for (kept, etag, _) in objects(&resources).await {
            storage.keep("k", kept);
            let got = get(&resources, "", &[BEYOND, ("if-range", etag)]).await;
            assert_eq!(refusal(got).0, ErrorCode::InvalidRange);
            let described =
                head(&resources, "", &[("range", "bytes=5-9"), ("if-range", etag)]).await.unwrap();
            assert_eq!(described.head.status, 206);
        }
    }
}

#[tokio::test]
async fn if_range_has_no_effect_without_a_range() {
    let (storage, resources, _folder) = Storage::serve().await;
    for odd in storages() {
        storage.be_odd(odd);
        for (kept, etag, content) in objects(&resources).await {
            storage.keep("k", kept);
            for condition in ["\"other\"", "W/\"e\"", etag] {
                let got = get(&resources, "", &[("if-range", condition)]).await.unwrap();
                assert_eq!((got.head.status.as_u16(), got.body == content), (200, true));
                let part = get(&resources, "partNumber=1", &[("if-range", condition)]).await.unwrap();
                assert_eq!(part.head.status, 206);
            }
        }
    }
}

/// A client resumes a download, and the object is replaced between two requests of the proxy.
#[tokio::test]
async fn an_object_that_is_replaced_between_two_requests_is_read_whole() {
    let (storage, resources, _folder) = Storage::serve().await;
    storage.be_odd(Oddities { ignores_if_range: true, ..Oddities::default() });
    let [(new, _, content), (old, etag, _)] = objects(&resources).await;
    for after in 1..4 {
        storage.keep("k", old.clone());
        storage.keep_after(after, "k", new.clone());
        let range = ("range", "bytes=65538-");
        let got = get(&resources, "", &[range, ("if-range", etag)]).await.unwrap();
        if got.head.status == 200 {
            assert!(got.is_whole && got.body == content);
            assert_eq!(got.header("etag"), Some("\"e-v\""));
        } else {
            assert_eq!(
                (got.head.status.as_u16(), got.header("etag")),
                (206, Some(etag)),
                "it was read before"
            );
        }
    }
}
