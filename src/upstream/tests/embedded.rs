//! The embedded store, through the client that every storage is reached by.

mod copies;
mod races;
mod uploads;

use std::path::{Path, PathBuf};

use super::*;
use crate::cli::embedded_store;

async fn open(root: &Path) -> Upstream {
    let settings = Settings::new(Target::Embedded { path: root.to_owned() });
    let upstream = embedded_store::open(settings).await.unwrap();
    let created = request(Method::PUT, None, UpstreamBody::Empty);
    let status = upstream.send(created).await.unwrap().status().as_u16();
    assert!(status == 200 || status == 409, "{status}");
    upstream
}

async fn expect(upstream: &Upstream, request: UpstreamRequest, status: u16) -> (HeaderMap, Bytes) {
    let label = format!("{request:?}");
    let response = upstream.send(request).await.unwrap_or_else(|error| panic!("{label}: {error:?}"));
    let (found, headers) = (response.status(), response.headers().clone());
    let body = read(response).await;
    assert_eq!(found, status, "{label}: {}", String::from_utf8_lossy(&body));
    (headers, body)
}

/// s3s verifies a signature over a header value with each tab replaced by a space, decodes encoded words (RFC
/// 2047) in a request, and responds to a tab with one. S3 keeps values in ASCII as they are, and responds
/// with an encoded word to others.
#[tokio::test]
async fn metadata_values_come_back_as_they_were_stored() {
    let root = tempfile::tempdir().unwrap();
    let upstream = open(root.path()).await;
    let long = "=?UTF-8?B?".to_owned() + &"YWJj".repeat(100) + "?=";
    for value in ["a\tb \t c", "a  b", "", "=?UTF-8?Q?a_b?=", "=?x?=", "=?A?= =?B?=", "\ta =? b", &long] {
        let stored = value.trim_ascii();
        let mut put = request(Method::PUT, Some("k"), UpstreamBody::Content(Bytes::from_static(b"x")));
        put.headers.insert("x-amz-meta-note", value.parse().unwrap());
        expect(&upstream, put, 200).await;
        let copy = with_headers(
            request(Method::PUT, Some("copy"), UpstreamBody::Empty),
            &[
                ("x-amz-copy-source", "demo/k"),
                ("x-amz-metadata-directive", "REPLACE"),
                ("x-amz-meta-note", value),
            ],
        );
        expect(&upstream, copy, 200).await;
        for (method, key) in [(Method::HEAD, "k"), (Method::GET, "k"), (Method::HEAD, "copy")] {
            let (headers, _) = expect(&upstream, request(method, Some(key), UpstreamBody::Empty), 200).await;
            assert_eq!(headers["x-amz-meta-note"], stored, "{value:?} of {key}");
        }
    }
    let mut put = request(Method::PUT, Some("k"), UpstreamBody::Content(Bytes::from_static(b"x")));
    put.headers.insert("x-amz-meta-note", http::HeaderValue::from_bytes("é".as_bytes()).unwrap());
    expect(&upstream, put, 200).await;
    let (headers, _) = expect(&upstream, request_head("k"), 200).await;
    assert_eq!(headers["x-amz-meta-note"], "=?UTF-8?B?w6k=?=");
}

fn files(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

/// Keys that S3 takes and a file system does not, or takes for something else.
pub(super) fn odd_keys() -> Vec<String> {
    let mut keys: Vec<String> = [
        "plain",
        "a",
        "a/b",
        "a/",
        "a//b",
        "/",
        "//",
        "/a",
        "a/b/",
        ".",
        "..",
        "../x",
        "../../../../tmp/s3veil-escape",
        "a/../b",
        "./a",
        "a/./b",
        ".hidden",
        "a b",
        " ",
        "+",
        "a+b",
        "%",
        "%2F",
        "a%2Fb",
        "%00",
        "\"",
        "'",
        "<&>",
        "\\",
        "a\\b",
        "~",
        "~tilde",
        "?",
        "#",
        ":",
        "|",
        "*",
        "\u{1}\u{1f}\u{7f}",
        "\n",
        "\r\n",
        "\t",
        "é",
        "e\u{301}",
        "日本語/キー",
        "🦀",
        "\u{fffd}",
        "\u{feff}",
        "con",
        "nul",
        "CASE",
        "case",
        "-",
        "--help",
        "$(id)",
        "`id`",
        ".tmp.0.internal.part",
        ".bucket-ZGVtbw.object-YQ.internal.json",
    ]
    .map(str::to_owned)
    .to_vec();
    keys.push("k".repeat(1024));
    keys.push("é".repeat(512));
    keys.push(format!("{}/{}", "a".repeat(300), "b".repeat(300)));
    keys.push("/".repeat(1024));
    keys
}

#[tokio::test]
async fn every_odd_key_is_a_key_of_its_own() {
    let root = tempfile::tempdir().unwrap();
    let store = root.path().join("made/on/the/way");
    let upstream = open(&store).await;
    let keys = odd_keys();
    for (number, key) in keys.iter().enumerate() {
        let content = Bytes::from(format!("content {number}"));
        let body = if number % 2 == 0 { UpstreamBody::Content(content) } else { stream(&content, 3) };
        expect(&upstream, put(key, body), 200).await;
    }
    for (number, key) in keys.iter().enumerate() {
        let (headers, body) = expect(&upstream, get(key), 200).await;
        assert_eq!(body, format!("content {number}"), "{key:?}");
        assert!(headers.keys().all(|name| !name.as_str().contains("s3veil-embedded")));
        expect(&upstream, request(Method::HEAD, Some(key), UpstreamBody::Empty), 200).await;
    }
    let mut listed = list_all(&upstream, &[]).await;
    let mut sorted = keys.clone();
    sorted.sort();
    assert_eq!(listed, sorted, "listings are in the order of UTF-8 bytes");
    for key in &keys {
        expect(&upstream, request(Method::DELETE, Some(key), UpstreamBody::Empty), 204).await;
        expect(&upstream, get(key), 404).await;
        listed.retain(|other| other != key);
        assert_eq!(list_all(&upstream, &[]).await, listed);
    }
    let outside: Vec<_> = files(root.path()).into_iter().filter(|file| !file.starts_with(&store)).collect();
    assert_eq!(outside, Vec::<PathBuf>::new());
    assert!(!Path::new("/tmp/s3veil-escape").exists());
}

/// The keys of all pages of three, with `encoding-type=url`.
async fn list_all(upstream: &Upstream, query: &[(&str, &str)]) -> Vec<String> {
    let mut keys = Vec::new();
    let mut token = None::<String>;
    loop {
        let mut list = request(Method::GET, None, UpstreamBody::Empty);
        let fixed = [("list-type", "2"), ("encoding-type", "url"), ("max-keys", "3")];
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), Some((*value).to_owned()));
        list.query = fixed.iter().chain(query).map(owned).collect();
        if let Some(token) = token.take() {
            list.query.push(("continuation-token".to_owned(), Some(token)));
        }
        let body = expect(upstream, list, 200).await.1;
        let body = String::from_utf8(body.to_vec()).unwrap();
        let found: Vec<_> = elements(&body, "Key");
        assert!(found.len() <= 3);
        keys.extend(found);
        let next = elements(&body, "NextContinuationToken").pop();
        assert_eq!(elements(&body, "IsTruncated"), [next.is_some().to_string()]);
        let Some(next) = next else { return keys };
        // Tokens are percent-encoded once by the store, which `elements` took away.
        token = Some(
            percent_encoding::utf8_percent_encode(&next, percent_encoding::NON_ALPHANUMERIC).to_string(),
        );
    }
}

/// A request with a query.
fn query_request(
    method: Method,
    object: Option<&str>,
    query: &[(&str, &str)],
    body: UpstreamBody,
) -> UpstreamRequest {
    let query = query.iter().map(|(name, value)| ((*name).to_owned(), Some((*value).to_owned())));
    UpstreamRequest { query: query.collect(), ..request(method, object, body) }
}

fn with_headers(mut request: UpstreamRequest, headers: &[(&'static str, &str)]) -> UpstreamRequest {
    for (name, value) in headers {
        request.headers.insert(*name, value.parse().unwrap());
    }
    request
}

fn request_head(object: &str) -> UpstreamRequest {
    request(Method::HEAD, Some(object), UpstreamBody::Empty)
}

async fn expect_xml(upstream: &Upstream, request: UpstreamRequest, status: u16) -> String {
    String::from_utf8(expect(upstream, request, status).await.1.to_vec()).unwrap()
}

/// The S3 error code of a refusal.
async fn refused(upstream: &Upstream, request: UpstreamRequest, status: u16) -> String {
    elements(&expect_xml(upstream, request, status).await, "Code").remove(0)
}

fn etag_of(headers: &HeaderMap) -> String {
    headers["etag"].to_str().unwrap().trim_matches('"').to_owned()
}

fn elements(xml: &str, name: &str) -> Vec<String> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let texts = xml.split(&open).skip(1).filter_map(|rest| rest.split_once(&close));
    texts
        .map(|(text, _)| percent_encoding::percent_decode_str(text).decode_utf8().unwrap().into_owned())
        .collect()
}

#[tokio::test]
async fn listings_know_prefix_delimiter_and_etag() {
    let root = tempfile::tempdir().unwrap();
    let upstream = open(root.path()).await;
    let mut etags = Vec::new();
    for key in ["a/1", "a/2", "b", "a//"] {
        let (headers, _) = expect(&upstream, put(key, UpstreamBody::Content(pattern(key.len()))), 200).await;
        etags.push(headers["etag"].to_str().unwrap().trim_matches('"').to_owned());
    }
    assert_eq!(list_all(&upstream, &[("prefix", "a/")]).await, ["a//", "a/1", "a/2"]);
    for version in [&[("list-type", "2")][..], &[]] {
        let mut list = request(Method::GET, None, UpstreamBody::Empty);
        let query = version.iter().chain(&[("delimiter", "/"), ("prefix", "a/")]);
        list.query = query.map(|(name, value)| ((*name).to_owned(), Some((*value).to_owned()))).collect();
        let body = expect(&upstream, list, 200).await.1;
        let body = String::from_utf8(body.to_vec()).unwrap();
        assert_eq!(elements(&body, "Key"), ["a/1", "a/2"]);
        assert!(body.contains("<CommonPrefixes><Prefix>a//</Prefix></CommonPrefixes>"), "{body}");
        assert!(body.contains(&etags[0]) && body.contains(&etags[1]), "{body}");
        assert_eq!(elements(&body, "Size"), ["3", "3"]);
    }
}

#[tokio::test]
async fn every_object_is_its_null_version() {
    let root = tempfile::tempdir().unwrap();
    let upstream = open(root.path()).await;
    let keys = ["a", "b/1", "b/2", "c\n"];
    for key in keys {
        expect(&upstream, put(key, UpstreamBody::Content(pattern(9))), 200).await;
    }
    for max in ["1", "2", "3", "4"] {
        let (mut found, mut marker) = (Vec::new(), String::new());
        loop {
            let query =
                [("versions", ""), ("encoding-type", "url"), ("max-keys", max), ("key-marker", &marker)];
            let list = query_request(Method::GET, None, &query, UpstreamBody::Empty);
            let xml = expect_xml(&upstream, list, 200).await;
            assert!(elements(&xml, "VersionId").iter().all(|version| version == "null"), "{xml}");
            found.extend(elements(&xml, "Key"));
            if elements(&xml, "IsTruncated") == ["false"] {
                break;
            }
            assert_eq!(elements(&xml, "NextVersionIdMarker"), ["null"]);
            marker = elements(&xml, "NextKeyMarker").remove(0);
        }
        assert_eq!(found, keys);
    }
    let of =
        |method, version| query_request(method, Some("a"), &[("versionId", version)], UpstreamBody::Empty);
    assert_eq!(expect(&upstream, of(Method::GET, "null"), 200).await.1, pattern(9));
    assert_eq!(refused(&upstream, of(Method::GET, "other"), 400).await, "InvalidArgument");
    expect(&upstream, of(Method::DELETE, "other"), 400).await;
    expect(&upstream, of(Method::DELETE, "null"), 204).await;
    expect(&upstream, get("a"), 404).await;
    let versioning = query_request(Method::GET, None, &[("versioning", "")], UpstreamBody::Empty);
    assert!(!expect_xml(&upstream, versioning, 200).await.contains("<Status>"));
}

#[tokio::test]
async fn headers_are_kept() {
    let root = tempfile::tempdir().unwrap();
    let upstream = open(root.path()).await;
    let long_key = "k".repeat(500);
    let kept = [
        ("content-type", "text/x-odd; charset=utf-8"),
        ("cache-control", "max-age=60"),
        ("content-disposition", "attachment; filename=\"a b\""),
        ("content-encoding", "gzip"),
        ("content-language", "de"),
        ("expires", "Wed, 21 Oct 2026 07:28:00 GMT"),
        ("x-amz-meta-encryption-key", "AQIDAHh="),
        ("x-amz-meta-empty", ""),
    ];
    for key in ["k", &long_key] {
        for body in [UpstreamBody::Content(pattern(9)), stream(&pattern(9), 4)] {
            let mut put = put(key, body);
            for (name, value) in kept {
                put.headers.insert(name, value.parse().unwrap());
            }
            expect(&upstream, put, 200).await;
            for method in [Method::GET, Method::HEAD] {
                let (headers, _) =
                    expect(&upstream, request(method, Some(key), UpstreamBody::Empty), 200).await;
                for (name, value) in kept {
                    assert_eq!(headers.get(name).map(|value| value.to_str().unwrap()), Some(value), "{name}");
                }
                assert_eq!(headers["content-length"], "9");
                assert_eq!(headers["accept-ranges"], "bytes");
            }
        }
    }
}

#[tokio::test]
async fn reads_can_be_conditional_and_partial() {
    let root = tempfile::tempdir().unwrap();
    let upstream = open(root.path()).await;
    let (headers, _) = expect(&upstream, put("k", UpstreamBody::Content(pattern(100))), 200).await;
    let etag = headers["etag"].to_str().unwrap().to_owned();
    let modified = expect(&upstream, get("k"), 200).await.0["last-modified"].to_str().unwrap().to_owned();
    let past = "Wed, 21 Oct 2015 07:28:00 GMT";
    for (name, value, status) in [
        ("if-match", etag.as_str(), 200),
        ("if-match", "*", 200),
        ("if-match", "\"other\"", 412),
        ("if-none-match", etag.as_str(), 304),
        ("if-none-match", "\"other\"", 200),
        ("if-modified-since", modified.as_str(), 304),
        ("if-modified-since", past, 200),
        ("if-unmodified-since", modified.as_str(), 200),
        ("if-unmodified-since", past, 412),
    ] {
        for method in [Method::GET, Method::HEAD] {
            let mut request = request(method, Some("k"), UpstreamBody::Empty);
            request.headers.insert(name, value.parse().unwrap());
            expect(&upstream, request, status).await;
        }
    }
    for (range, status, expected) in [
        ("bytes=10-19", 206, pattern(100).slice(10..20)),
        ("bytes=90-", 206, pattern(100).slice(90..)),
        ("bytes=-10", 206, pattern(100).slice(90..)),
        ("bytes=90-1000", 206, pattern(100).slice(90..)),
    ] {
        let mut request = get("k");
        request.headers.insert("range", range.parse().unwrap());
        let (headers, body) = expect(&upstream, request, status).await;
        assert_eq!(body, expected, "{range}");
        assert!(headers["content-range"].to_str().unwrap().ends_with("/100"));
        let head = with_headers(request_head("k"), &[("range", range)]);
        let head = expect(&upstream, head, status).await.0;
        assert_eq!(head["content-range"], headers["content-range"]);
        assert_eq!(head["content-length"], expected.len().to_string().as_str());
    }
    let mut request = get("k");
    request.headers.insert("range", "bytes=100-".parse().unwrap());
    expect(&upstream, request, 416).await;
}

#[tokio::test]
async fn writes_can_be_conditional() {
    let root = tempfile::tempdir().unwrap();
    let upstream = open(root.path()).await;
    for status in [200, 412] {
        let mut request = put("k", UpstreamBody::Content(pattern(5)));
        request.headers.insert("if-none-match", "*".parse().unwrap());
        expect(&upstream, request, status).await;
    }
}

#[tokio::test]
async fn buckets_must_exist_and_go_only_when_empty() {
    let root = tempfile::tempdir().unwrap();
    let upstream = open(root.path()).await;
    let elsewhere = |request: UpstreamRequest| UpstreamRequest {
        bucket: Some(BucketName::parse("nowhere").unwrap()),
        ..request
    };
    let body = || UpstreamBody::Content(pattern(5));
    for request in [put("k", body()), get("k"), request(Method::GET, None, UpstreamBody::Empty)] {
        let body = expect(&upstream, elsewhere(request), 404).await.1;
        assert!(String::from_utf8_lossy(&body).contains("NoSuchBucket"));
    }
    assert!(!root.path().join("nowhere").exists());
    expect(&upstream, put("k", body()), 200).await;
    let delete = || request(Method::DELETE, None, UpstreamBody::Empty);
    expect(&upstream, delete(), 409).await;
    expect(&upstream, request(Method::DELETE, Some("k"), UpstreamBody::Empty), 204).await;
    expect(&upstream, delete(), 204).await;
}

#[tokio::test]
async fn several_objects_are_deleted_at_once() {
    let root = tempfile::tempdir().unwrap();
    let upstream = open(root.path()).await;
    for key in ["a/b", "c//", "kept"] {
        expect(&upstream, put(key, UpstreamBody::Content(pattern(5))), 200).await;
    }
    for (quiet, listed) in [("", 3), ("<Quiet>true</Quiet>", 0)] {
        let keys =
            "<Object><Key>a/b</Key></Object><Object><Key>c//</Key></Object><Object><Key>none</Key></Object>";
        let xml = format!("<Delete>{quiet}{keys}</Delete>");
        let mut delete = request(Method::POST, None, UpstreamBody::Buffered(xml.into()));
        delete.query = vec![("delete".to_owned(), None)];
        let body = expect(&upstream, delete, 200).await.1;
        assert_eq!(elements(&String::from_utf8_lossy(&body), "Key").len(), listed);
        assert_eq!(list_all(&upstream, &[]).await, ["kept"]);
    }
}

/// This is a security issue: what a verdict condemned must not be an object, nor the old object gone.
#[tokio::test]
async fn failing_bodies_leave_no_trace() {
    let root = tempfile::tempdir().unwrap();
    for checksum in [Some(ChecksumAlgorithm::Crc64Nvme), None] {
        let settings =
            Settings { checksum, ..Settings::new(Target::Embedded { path: root.path().to_owned() }) };
        let upstream = embedded_store::open(settings).await.unwrap();
        open(root.path()).await;
        expect(&upstream, put("old", UpstreamBody::Content(pattern(5))), 200).await;
        let before = files(root.path());
        for key in ["old", "new"] {
            for steps in [
                vec![Step::Give(pattern(200_000)), Step::Fail("midway")],
                vec![Step::Give(pattern(300_000)), Step::Fail("verdict")],
                vec![Step::Give(pattern(200_000))],
                vec![Step::Give(pattern(300_001))],
            ] {
                let body = UpstreamBody::StreamedContent { body: script(steps), length: 300_000 };
                let error = upstream.send(put(key, body)).await.unwrap_err();
                assert!(matches!(error, UpstreamError::Body(_) | UpstreamError::Length(_)), "{error:?}");
                assert_eq!(files(root.path()).len(), before.len());
            }
            let body = script([Step::Give(pattern(200_000)), Step::Stall]);
            let body = UpstreamBody::StreamedContent { body, length: 300_000 };
            let sending = upstream.send(put(key, body));
            assert!(tokio::time::timeout(Duration::from_millis(100), sending).await.is_err());
            tokio::time::sleep(Duration::from_millis(100)).await;
            assert_eq!(files(root.path()).len(), before.len(), "{:?}", files(root.path()));
        }
        expect(&upstream, get("new"), 404).await;
        assert_eq!(expect(&upstream, get("old"), 200).await.1, pattern(5));
    }
}

/// A client that vanishes at any moment leaves a whole object or none.
#[tokio::test(flavor = "multi_thread")]
async fn vanishing_clients_leave_whole_objects_or_none() {
    let root = tempfile::tempdir().unwrap();
    let upstream = open(root.path()).await;
    let before = files(root.path()).len();
    for number in 0..400_u64 {
        let sending = upstream.send(put(&format!("k{number}"), stream(&pattern(50), 10)));
        let _ = tokio::time::timeout(Duration::from_micros(number * 5), sending).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let whole = list_all(&upstream, &[]).await.len();
    assert_eq!(files(root.path()).len(), before + whole, "{:?}", files(root.path()));
}

#[tokio::test]
async fn what_a_crash_left_is_swept_away_and_the_rest_is_there() {
    let root = tempfile::tempdir().unwrap();
    let upstream = open(root.path()).await;
    expect(&upstream, put("k", UpstreamBody::Content(pattern(5))), 200).await;
    drop(upstream);
    let stray = root.path().join(".temporary/half-written");
    std::fs::write(&stray, "half").unwrap();
    std::fs::create_dir_all(root.path().join(".temporary/half-removed/upload")).unwrap();
    let upstream = open(root.path()).await;
    assert!(!stray.exists());
    assert_eq!(std::fs::read_dir(root.path().join(".temporary")).unwrap().count(), 0);
    assert_eq!(expect(&upstream, get("k"), 200).await.1, pattern(5));
}

#[tokio::test]
async fn tags_are_kept_and_change_nothing_else() {
    let root = tempfile::tempdir().unwrap();
    let upstream = open(root.path()).await;
    let tagged = with_headers(
        put("k", UpstreamBody::Content(pattern(100))),
        &[("x-amz-tagging", "a=1&b%20c=%C3%A9+&d"), ("x-amz-meta-m", "v")],
    );
    let etag = expect(&upstream, tagged, 200).await.0["etag"].clone();
    let tags = || query_request(Method::GET, Some("k"), &[("tagging", "")], UpstreamBody::Empty);
    let xml = expect_xml(&upstream, tags(), 200).await;
    assert_eq!(elements(&xml, "Key"), ["a", "b c", "d"]);
    assert_eq!(elements(&xml, "Value")[..2], ["1", "é "]);
    assert_eq!(expect(&upstream, get("k"), 200).await.0["x-amz-tagging-count"], "3");
    let modified = expect(&upstream, get("k"), 200).await.0["last-modified"].clone();
    let set = |xml: String| {
        query_request(Method::PUT, Some("k"), &[("tagging", "")], UpstreamBody::Buffered(xml.into()))
    };
    let document = |tags: &str| format!("<Tagging><TagSet>{tags}</TagSet></Tagging>");
    expect(&upstream, set(document("<Tag><Key>x</Key><Value>y</Value></Tag>")), 200).await;
    assert_eq!(elements(&expect_xml(&upstream, tags(), 200).await, "Key"), ["x"]);
    let (headers, body) = expect(&upstream, get("k"), 200).await;
    assert_eq!((&headers["etag"], &headers["last-modified"]), (&etag, &modified));
    assert_eq!((headers["x-amz-meta-m"].as_bytes(), body), (&b"v"[..], pattern(100)));
    let eleven: String = (0..11).map(|i| format!("<Tag><Key>{i}</Key><Value/></Tag>")).collect();
    assert_eq!(refused(&upstream, set(document(&eleven)), 400).await, "InvalidTag");
    let delete = query_request(Method::DELETE, Some("k"), &[("tagging", "")], UpstreamBody::Empty);
    expect(&upstream, delete, 204).await;
    assert_eq!(elements(&expect_xml(&upstream, tags(), 200).await, "Key"), [""; 0]);
}

#[tokio::test]
async fn a_body_that_is_not_what_its_request_says_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let upstream = open(root.path()).await;
    let before = files(root.path());
    for (header, value) in [
        ("content-md5", "AAAAAAAAAAAAAAAAAAAAAA=="),
        ("x-amz-checksum-crc32", "AAAAAA=="),
        ("x-amz-checksum-crc32c", "AAAAAA=="),
        ("x-amz-checksum-crc64nvme", "AAAAAAAAAAA="),
        ("x-amz-checksum-sha1", "AAAAAAAAAAAAAAAAAAAAAAAAAAA="),
        ("x-amz-checksum-sha256", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
    ] {
        let plain =
            Settings { checksum: None, ..Settings::new(Target::Embedded { path: root.path().to_owned() }) };
        let plain = embedded_store::open(plain).await.unwrap();
        let wrong = with_headers(put("k", UpstreamBody::Content(pattern(10))), &[(header, value)]);
        assert_eq!(refused(&plain, wrong, 400).await, "BadDigest", "{header}");
        assert_eq!(files(root.path()), before);
    }
    expect(&upstream, get("k"), 404).await;
}

/// Both a damaged disk and a person's own files.
#[tokio::test]
async fn a_file_that_is_no_object_is_told_and_can_be_replaced() {
    let root = tempfile::tempdir().unwrap();
    let upstream = open(root.path()).await;
    for key in ["damaged", "whole"] {
        expect(&upstream, put(key, UpstreamBody::Content(pattern(10))), 200).await;
    }
    std::fs::write(root.path().join("demo/damaged"), "no record").unwrap();
    std::fs::write(root.path().join("demo/.DS_Store"), "").unwrap();
    expect(&upstream, get("damaged"), 500).await;
    expect(&upstream, with_headers(put("damaged", UpstreamBody::Empty), &[("if-none-match", "*")]), 500)
        .await;
    assert_eq!(list_all(&upstream, &[]).await, ["whole"]);
    expect(&upstream, put("damaged", UpstreamBody::Content(pattern(10))), 200).await;
    assert_eq!(expect(&upstream, get("damaged"), 200).await.1, pattern(10));
}

#[tokio::test]
async fn a_file_in_the_way_is_an_error() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("file");
    std::fs::write(&path, "x").unwrap();
    let built = embedded_store::open(Settings::new(Target::Embedded { path })).await;
    assert!(matches!(built.err(), Some(UpstreamSetupError::Embedded { .. })));
}
