//! CopyObject and UploadPartCopy.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::uploads::{complete, create, part, upload};
use super::*;

fn source(key: &str) -> String {
    format!("/demo/{}", utf8_percent_encode(key, NON_ALPHANUMERIC))
}

fn copy(from: &str, to: &str, headers: &[(&'static str, &str)]) -> UpstreamRequest {
    let request = with_headers(put(to, UpstreamBody::Empty), headers);
    with_headers(request, &[("x-amz-copy-source", &source(from))])
}

fn part_copy(
    from: &str,
    to: &str,
    id: &str,
    number: i32,
    headers: &[(&'static str, &str)],
) -> UpstreamRequest {
    let request = with_headers(part(to, id, number, UpstreamBody::Empty), headers);
    with_headers(request, &[("x-amz-copy-source", &source(from))])
}

const HEADERS: [(&str, &str); 4] = [
    ("content-type", "text/one"),
    ("cache-control", "max-age=60"),
    ("x-amz-meta-a", "one"),
    ("x-amz-tagging", "t=1"),
];

#[tokio::test]
async fn directives_say_which_metadata_the_copy_has() {
    let root = tempfile::tempdir().unwrap();
    let upstream = open(root.path()).await;
    let original = with_headers(put("from", UpstreamBody::Content(pattern(300_000))), &HEADERS);
    let etag = etag_of(&expect(&upstream, original, 200).await.0);
    let given = [("content-type", "text/two"), ("content-language", "de"), ("x-amz-meta-b", "two")];
    for directive in [None, Some("COPY"), Some("REPLACE")] {
        let mut headers = given.to_vec();
        headers.extend(directive.map(|directive| ("x-amz-metadata-directive", directive)));
        let xml = expect_xml(&upstream, copy("from", "to", &headers), 200).await;
        assert!(xml.contains(&etag), "{xml}");
        let (headers, body) = expect(&upstream, get("to"), 200).await;
        assert_eq!((etag_of(&headers), body), (etag.clone(), pattern(300_000)));
        let replaced = directive == Some("REPLACE");
        assert_eq!(headers["content-type"], if replaced { "text/two" } else { "text/one" });
        for (name, of_the_source) in [
            ("cache-control", true),
            ("x-amz-meta-a", true),
            ("content-language", false),
            ("x-amz-meta-b", false),
        ] {
            assert_eq!(headers.contains_key(name), of_the_source != replaced, "{name} {directive:?}");
        }
        assert_eq!(headers["x-amz-tagging-count"], "1", "tags have a directive of their own");
    }
    let retagged = [("x-amz-tagging-directive", "REPLACE"), ("x-amz-tagging", "u=1&v=2")];
    expect(&upstream, copy("from", "to", &retagged), 200).await;
    assert_eq!(expect(&upstream, get("to"), 200).await.0["x-amz-tagging-count"], "2");
}

#[tokio::test]
async fn an_object_is_copied_onto_itself_only_to_change_something() {
    let root = tempfile::tempdir().unwrap();
    let upstream = open(root.path()).await;
    for key in ["k", &"k".repeat(1024)] {
        let original = with_headers(put(key, UpstreamBody::Content(pattern(300_000))), &HEADERS);
        expect(&upstream, original, 200).await;
        assert_eq!(refused(&upstream, copy(key, key, &[]), 400).await, "InvalidRequest");
        let replace = [("x-amz-metadata-directive", "REPLACE"), ("x-amz-meta-b", "two")];
        expect(&upstream, copy(key, key, &replace), 200).await;
        let (headers, body) = expect(&upstream, get(key), 200).await;
        assert_eq!((headers["x-amz-meta-b"].as_bytes(), body), (&b"two"[..], pattern(300_000)));
        assert!(!headers.contains_key("x-amz-meta-a"));
    }
}

#[tokio::test]
async fn every_odd_key_can_be_copied() {
    let root = tempfile::tempdir().unwrap();
    let upstream = open(root.path()).await;
    for (number, key) in odd_keys().iter().enumerate() {
        let content = Bytes::from(format!("content {number}"));
        expect(&upstream, put(key, UpstreamBody::Content(content.clone())), 200).await;
        expect(&upstream, copy(key, "to", &[]), 200).await;
        assert_eq!(expect(&upstream, get("to"), 200).await.1, content, "{key:?}");
        expect(&upstream, copy("to", key, &[("if-match", "*")]), 200).await;
    }
}

#[tokio::test]
async fn copies_can_be_conditional() {
    let root = tempfile::tempdir().unwrap();
    let upstream = open(root.path()).await;
    let (headers, _) = expect(&upstream, put("from", UpstreamBody::Content(pattern(100))), 200).await;
    let etag = headers["etag"].to_str().unwrap().to_owned();
    let past = "Wed, 21 Oct 2015 07:28:00 GMT";
    let id = create(&upstream, "parts").await;
    for (name, value, status) in [
        ("x-amz-copy-source-if-match", etag.as_str(), 200),
        ("x-amz-copy-source-if-match", "\"other\"", 412),
        ("x-amz-copy-source-if-none-match", "\"other\"", 200),
        ("x-amz-copy-source-if-none-match", etag.as_str(), 412),
        ("x-amz-copy-source-if-modified-since", past, 200),
        ("x-amz-copy-source-if-unmodified-since", past, 412),
    ] {
        expect(&upstream, copy("from", "to", &[(name, value)]), status).await;
        expect(&upstream, part_copy("from", "parts", &id, 1, &[(name, value)]), status).await;
    }
    for (name, value, status) in
        [("if-none-match", "*", 412), ("if-match", "\"other\"", 412), ("if-match", etag.as_str(), 200)]
    {
        expect(&upstream, copy("from", "to", &[(name, value)]), status).await;
    }
    expect(&upstream, copy("none", "to", &[]), 404).await;
    expect(&upstream, part_copy("none", "parts", &id, 1, &[]), 404).await;
    let mut elsewhere = copy("from", "to", &[]);
    elsewhere.headers.insert("x-amz-copy-source", "nowhere/from".parse().unwrap());
    assert_eq!(refused(&upstream, elsewhere, 404).await, "NoSuchBucket");
    let mut version = copy("from", "to", &[]);
    version.headers.insert("x-amz-copy-source", "demo/from?versionId=other".parse().unwrap());
    assert_eq!(refused(&upstream, version, 400).await, "InvalidArgument");
}

#[tokio::test]
async fn parts_are_copied_whole_and_by_range() {
    let root = tempfile::tempdir().unwrap();
    let upstream = open(root.path()).await;
    let content = pattern(6 << 20);
    expect(&upstream, put("from", UpstreamBody::Content(content.clone())), 200).await;
    let id = create(&upstream, "to").await;
    let mut etags = Vec::new();
    let ranges = [None, Some("bytes=1-5242880"), Some("bytes=6291455-6291455")];
    for (number, range) in (1..).zip(ranges) {
        let headers: Vec<_> = range.map(|range| ("x-amz-copy-source-range", range)).into_iter().collect();
        let xml = expect_xml(&upstream, part_copy("from", "to", &id, number, &headers), 200).await;
        etags.push((number, elements(&xml, "ETag").remove(0).replace("&quot;", "")));
    }
    let uploaded = upload(&upstream, "to", &id, 4, &content.slice(1..5_242_881)).await;
    assert_eq!(etags[1].1.trim_matches('"'), uploaded, "a copied part is like an uploaded one");
    for range in [
        "bytes=0-6291456",
        "bytes=6291456-6291456",
        "bytes=2-1",
        "bytes=0-",
        "bytes=-5",
        "0-1",
        "bytes=0-1,3-4",
    ] {
        let request = part_copy("from", "to", &id, 5, &[("x-amz-copy-source-range", range)]);
        assert_eq!(refused(&upstream, request, 400).await, "InvalidArgument", "{range}");
    }
    let parts: Vec<_> = etags.iter().map(|(number, etag)| (*number, etag.trim_matches('"'))).collect();
    expect(&upstream, complete("to", &id, &parts), 200).await;
    let whole = [&content[..], &content[1..5_242_881], &content[6_291_455..]].concat();
    assert_eq!(expect(&upstream, get("to"), 200).await.1, whole);

    // As one object, it has the ETag of its content.
    let copied = expect_xml(&upstream, copy("to", "one", &[]), 200).await;
    let once = expect(&upstream, put("one", UpstreamBody::Content(whole.into())), 200).await.0;
    assert!(copied.contains(&etag_of(&once)));
}
