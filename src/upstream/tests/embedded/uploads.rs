//! Multipart uploads.

use md5::{Digest, Md5};

use super::*;
use crate::wire;

/// S3's limit to all parts but the last.
const MIN_PART: usize = 5 << 20;

pub(super) async fn create(upstream: &Upstream, key: &str) -> String {
    let create = query_request(Method::POST, Some(key), &[("uploads", "")], UpstreamBody::Empty);
    elements(&expect_xml(upstream, create, 200).await, "UploadId").remove(0)
}

pub(super) fn part(key: &str, id: &str, number: i32, body: UpstreamBody) -> UpstreamRequest {
    query_request(Method::PUT, Some(key), &[("partNumber", &number.to_string()), ("uploadId", id)], body)
}

/// Uploads a part and returns its ETag.
pub(super) async fn upload(upstream: &Upstream, key: &str, id: &str, number: i32, content: &Bytes) -> String {
    let request = part(key, id, number, UpstreamBody::Content(content.clone()));
    etag_of(&expect(upstream, request, 200).await.0)
}

pub(super) fn complete(key: &str, id: &str, parts: &[(i32, &str)]) -> UpstreamRequest {
    let part = |(number, etag): &(i32, &str)| {
        format!("<Part><PartNumber>{number}</PartNumber><ETag>\"{etag}\"</ETag></Part>")
    };
    let parts: String = parts.iter().map(part).collect();
    let xml = format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
    query_request(Method::POST, Some(key), &[("uploadId", id)], UpstreamBody::Buffered(xml.into()))
}

pub(super) fn abort(key: &str, id: &str) -> UpstreamRequest {
    query_request(Method::DELETE, Some(key), &[("uploadId", id)], UpstreamBody::Empty)
}

/// `MD5 of the MD5s - number of parts`.
fn composite_etag(parts: &[&Bytes]) -> String {
    let md5s: Vec<u8> = parts.iter().flat_map(Md5::digest).collect();
    let hex: String = Md5::digest(md5s).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{hex}-{}", parts.len())
}

#[tokio::test]
async fn parts_in_any_order_and_repeated_become_one_object_with_all_its_headers() {
    let root = tempfile::tempdir().unwrap();
    let upstream = open(root.path()).await;
    let before = files(root.path()).len();
    let kept = [
        ("content-type", "text/x-odd; charset=utf-8"),
        ("cache-control", "max-age=60"),
        ("content-disposition", "attachment; filename=\"a b\""),
        ("content-encoding", "gzip"),
        ("content-language", "de"),
        ("expires", "Wed, 21 Oct 2026 07:28:00 GMT"),
        ("x-amz-meta-encryption-key", "AQIDAHh="),
    ];
    let key = &"k/".repeat(512);
    let creation = query_request(Method::POST, Some(key), &[("uploads", "")], UpstreamBody::Empty);
    let created = expect_xml(&upstream, with_headers(creation, &kept), 200).await;
    let id = elements(&created, "UploadId").remove(0);
    let contents = [pattern(MIN_PART), pattern(MIN_PART + 65_537), pattern(1)];
    let numbers = [2, 7, 10_000];
    upload(&upstream, key, &id, 7, &pattern(100)).await;
    let mut etags = Vec::new();
    for place in [2, 0, 1] {
        let streamed = part(key, &id, numbers[place], stream(&contents[place], 100_000));
        let etag = etag_of(&expect(&upstream, streamed, 200).await.0);
        assert_eq!(etag, upload(&upstream, key, &id, numbers[place], &contents[place]).await);
        etags.push((numbers[place], etag));
    }
    etags.sort();
    let parts: Vec<_> = etags.iter().map(|(number, etag)| (*number, etag.as_str())).collect();
    expect(&upstream, get(key), 404).await;
    let completed = expect_xml(&upstream, complete(key, &id, &parts), 200).await;

    let etag = composite_etag(&contents.each_ref());
    let whole = Bytes::from(contents.concat());
    assert_eq!(elements(&completed, "ETag")[0].replace("&quot;", "\""), format!("\"{etag}\""));
    let (headers, body) = expect(&upstream, get(key), 200).await;
    assert_eq!(body, whole);
    let head = expect(&upstream, request(Method::HEAD, Some(key), UpstreamBody::Empty), 200).await.0;
    for headers in [headers, head] {
        assert_eq!(etag_of(&headers), etag);
        assert_eq!(headers["content-length"], whole.len().to_string().as_str());
        for (name, value) in kept {
            assert_eq!(headers[name], value);
        }
    }
    let list = expect_xml(&upstream, request(Method::GET, None, UpstreamBody::Empty), 200).await;
    assert!(list.contains(&etag) && list.contains(&format!("<Size>{}</Size>", whole.len())));
    let range = with_headers(get(key), &[("range", "bytes=5242870-5242890")]);
    assert_eq!(expect(&upstream, range, 206).await.1, whole.slice(5_242_870..5_242_891));
    assert_eq!(files(root.path()).len(), before + 1, "the upload is gone");
}

#[tokio::test]
async fn a_part_of_a_completed_upload_can_be_read() {
    let root = tempfile::tempdir().unwrap();
    let upstream = open(root.path()).await;
    let contents = [pattern(MIN_PART), pattern(70_000)];
    let id = create(&upstream, "k").await;
    let one = upload(&upstream, "k", &id, 1, &contents[0]).await;
    let two = upload(&upstream, "k", &id, 2, &contents[1]).await;
    expect(&upstream, complete("k", &id, &[(1, &one), (2, &two)]), 200).await;
    expect(&upstream, put("simple", UpstreamBody::Content(pattern(10))), 200).await;
    let of_part = |method, key, number: &str| {
        query_request(method, Some(key), &[("partNumber", number)], UpstreamBody::Empty)
    };
    for (number, range, content) in
        [("1", "bytes 0-5242879/5312880", &contents[0]), ("2", "bytes 5242880-5312879/5312880", &contents[1])]
    {
        let (headers, body) = expect(&upstream, of_part(Method::GET, "k", number), 206).await;
        assert_eq!(body, content);
        let head = expect(&upstream, of_part(Method::HEAD, "k", number), 206).await.0;
        for headers in [headers, head] {
            assert_eq!(headers["content-range"], range);
            assert_eq!(headers["content-length"], content.len().to_string().as_str());
            assert_eq!(headers["x-amz-mp-parts-count"], "2");
        }
    }
    let (headers, body) = expect(&upstream, of_part(Method::GET, "simple", "1"), 206).await;
    assert_eq!((headers.get("x-amz-mp-parts-count"), body), (None, pattern(10)));
    for (key, number) in [("k", "3"), ("simple", "2")] {
        assert_eq!(refused(&upstream, of_part(Method::GET, key, number), 416).await, "InvalidPartNumber");
    }
    let both = with_headers(of_part(Method::GET, "k", "1"), &[("range", "bytes=0-1")]);
    assert_eq!(refused(&upstream, both, 400).await, "InvalidRequest");
    assert!(!expect(&upstream, get("k"), 200).await.0.contains_key("x-amz-mp-parts-count"));
}

#[tokio::test]
async fn attributes_tell_size_etag_and_parts_by_page() {
    let root = tempfile::tempdir().unwrap();
    let upstream = open(root.path()).await;
    let id = create(&upstream, "k").await;
    let mut etags = Vec::new();
    for (number, size) in [(1, MIN_PART), (3, MIN_PART + 1), (4, 9)] {
        etags.push((number, upload(&upstream, "k", &id, number, &pattern(size)).await));
    }
    let parts: Vec<_> = etags.iter().map(|(number, etag)| (*number, etag.as_str())).collect();
    expect(&upstream, complete("k", &id, &parts), 200).await;
    let attributes = |headers: &[(&'static str, &str)]| {
        with_headers(
            query_request(Method::GET, Some("k"), &[("attributes", "")], UpstreamBody::Empty),
            headers,
        )
    };
    let all = ("x-amz-object-attributes", "ETag,ObjectParts,ObjectSize,StorageClass,Checksum");
    let xml = expect_xml(&upstream, attributes(&[all]), 200).await;
    assert_eq!(elements(&xml, "ObjectSize"), [(2 * MIN_PART + 10).to_string()]);
    assert!(xml.contains("-3"), "{xml}");
    assert_eq!(elements(&xml, "PartNumber"), ["1", "3", "4"]);
    assert_eq!(elements(&xml, "Size"), ["5242880", "5242881", "9"]);
    assert_eq!(elements(&xml, "ChecksumType"), ["FULL_OBJECT"]);
    let page = [all, ("x-amz-max-parts", "1"), ("x-amz-part-number-marker", "1")];
    let xml = expect_xml(&upstream, attributes(&page), 200).await;
    assert_eq!(elements(&xml, "PartNumber"), ["3"]);
    assert_eq!(elements(&xml, "NextPartNumberMarker"), ["3"]);
    assert_eq!(elements(&xml, "IsTruncated"), ["true"]);
    let only_size =
        expect_xml(&upstream, attributes(&[("x-amz-object-attributes", "ObjectSize")]), 200).await;
    assert!(!only_size.contains("ETag") && !only_size.contains("PartNumber"));
}

#[tokio::test]
async fn listed_parts_are_sorted_and_pages_add_up() {
    let root = tempfile::tempdir().unwrap();
    let upstream = open(root.path()).await;
    let id = create(&upstream, "k").await;
    let numbers = [10, 9, 1, 10_000, 100, 2, 11];
    for number in numbers {
        upload(&upstream, "k", &id, number, &pattern(number as usize)).await;
    }
    let mut sorted = numbers;
    sorted.sort();
    for max in 1..=8 {
        let (mut found, mut marker) = (Vec::new(), "0".to_owned());
        loop {
            let query =
                [("uploadId", id.as_str()), ("max-parts", &max.to_string()), ("part-number-marker", &marker)];
            let list = query_request(Method::GET, Some("k"), &query, UpstreamBody::Empty);
            let xml = expect_xml(&upstream, list, 200).await;
            assert_eq!(elements(&xml, "PartNumber"), elements(&xml, "Size"), "sizes are their numbers");
            found.extend(elements(&xml, "PartNumber").iter().map(|number| number.parse::<i32>().unwrap()));
            if elements(&xml, "IsTruncated") == ["false"] {
                break;
            }
            assert!(elements(&xml, "PartNumber").len() == max);
            marker = elements(&xml, "NextPartNumberMarker").remove(0);
        }
        assert_eq!(found, sorted, "{max}");
    }
}

#[tokio::test]
async fn listed_uploads_are_sorted_and_pages_add_up() {
    let root = tempfile::tempdir().unwrap();
    let upstream = open(root.path()).await;
    let mut uploads = Vec::new();
    for key in ["b", "a/2", "a/1", "a/1", "a/1", "c\n", "a"] {
        uploads.push((key.to_owned(), create(&upstream, key).await));
    }
    // Of one key, by age.
    uploads.sort_by(|(a, _), (b, _)| a.cmp(b));
    for max in 1..=8_usize {
        let mut found: Vec<(String, String)> = Vec::new();
        let (mut key_marker, mut id_marker) = (String::new(), String::new());
        loop {
            let query = [
                ("uploads", ""),
                ("encoding-type", "url"),
                ("max-uploads", &max.to_string()),
                ("key-marker", &key_marker),
                ("upload-id-marker", &id_marker),
            ];
            let list = query_request(Method::GET, None, &query, UpstreamBody::Empty);
            let xml = expect_xml(&upstream, list, 200).await;
            let entries = xml.split("<Upload>").skip(1);
            found.extend(
                entries
                    .map(|entry| (elements(entry, "Key").remove(0), elements(entry, "UploadId").remove(0))),
            );
            if elements(&xml, "IsTruncated") == ["false"] {
                break;
            }
            key_marker = elements(&xml, "NextKeyMarker").remove(0);
            id_marker = elements(&xml, "NextUploadIdMarker").remove(0);
        }
        assert_eq!(found, uploads, "{max}");
    }
    let folded = [("uploads", ""), ("prefix", "a"), ("delimiter", "/")];
    let xml =
        expect_xml(&upstream, query_request(Method::GET, None, &folded, UpstreamBody::Empty), 200).await;
    assert_eq!(elements(&xml, "Key"), ["a"]);
    assert!(xml.contains("<CommonPrefixes><Prefix>a/</Prefix></CommonPrefixes>"), "{xml}");
}

#[tokio::test]
async fn completions_that_are_not_right_are_refused_and_change_nothing() {
    let root = tempfile::tempdir().unwrap();
    let upstream = open(root.path()).await;
    let id = create(&upstream, "k").await;
    let large = upload(&upstream, "k", &id, 1, &pattern(MIN_PART)).await;
    let small = upload(&upstream, "k", &id, 2, &pattern(MIN_PART - 1)).await;
    let empty = upload(&upstream, "k", &id, 3, &Bytes::new()).await;
    let (large, small, empty) = (large.as_str(), small.as_str(), empty.as_str());
    let before = files(root.path());
    for (parts, code) in [
        (&[(2, small), (1, large)][..], "InvalidPartOrder"),
        (&[(1, large), (1, large)], "InvalidPartOrder"),
        (&[(1, small)], "InvalidPart"),
        (&[(1, large), (4, small)], "InvalidPart"),
        (&[(0, large)], "InvalidPart"),
        (&[(1, large), (2, small), (3, empty)], "EntityTooSmall"),
        (&[], "MalformedXML"),
    ] {
        assert_eq!(refused(&upstream, complete("k", &id, parts), 400).await, code);
        assert_eq!(files(root.path()), before);
    }
    let sized = with_headers(complete("k", &id, &[(1, large)]), &[("x-amz-mp-object-size", "5242881")]);
    assert_eq!(refused(&upstream, sized, 400).await, "InvalidRequest");
    let summed = [("x-amz-checksum-crc64nvme", "AAAAAAAAAAA="), ("x-amz-checksum-type", "FULL_OBJECT")];
    let summed = with_headers(complete("k", &id, &[(1, large)]), &summed);
    assert_eq!(refused(&upstream, summed, 400).await, "BadDigest");
    assert_eq!(files(root.path()), before);
    let sized =
        with_headers(complete("k", &id, &[(1, large), (3, empty)]), &[("x-amz-mp-object-size", "5242880")]);
    expect(&upstream, sized, 200).await;
    assert_eq!(expect(&upstream, get("k"), 200).await.1, pattern(MIN_PART));
}

#[tokio::test]
async fn uploads_that_are_not_there_have_nothing() {
    let root = tempfile::tempdir().unwrap();
    let upstream = open(root.path()).await;
    let aborted = create(&upstream, "k").await;
    upload(&upstream, "k", &aborted, 1, &pattern(10)).await;
    expect(&upstream, abort("k", &aborted), 204).await;
    let of_another = create(&upstream, "other").await;
    let before = files(root.path());
    for id in [aborted.as_str(), of_another.as_str(), "..", "../demo", "", "x", &"0".repeat(32)] {
        for body in [UpstreamBody::Content(pattern(10)), stream(&pattern(400_000), 50_000)] {
            assert_eq!(refused(&upstream, part("k", id, 1, body), 404).await, "NoSuchUpload", "{id}");
        }
        let list = query_request(Method::GET, Some("k"), &[("uploadId", id)], UpstreamBody::Empty);
        for request in [list, complete("k", id, &[(1, "x")]), abort("k", id)] {
            assert_eq!(refused(&upstream, request, 404).await, "NoSuchUpload", "{id}");
        }
    }
    for number in [0, -1, 10_001] {
        let request = part("other", &of_another, number, UpstreamBody::Content(pattern(10)));
        assert_eq!(refused(&upstream, request, 400).await, "InvalidArgument");
    }
    assert_eq!(files(root.path()), before);
    expect(&upstream, request(Method::DELETE, None, UpstreamBody::Empty), 204).await;
    assert_eq!(files(root.path()).len(), before.len() - 1, "uploads go with their bucket");
}

/// This is a security issue: what a verdict condemned must not be a part, nor the old part gone.
#[tokio::test]
async fn failing_bodies_leave_no_part() {
    let root = tempfile::tempdir().unwrap();
    let upstream = open(root.path()).await;
    let id = create(&upstream, "k").await;
    let old = upload(&upstream, "k", &id, 1, &pattern(5)).await;
    let before = files(root.path());
    for number in [1, 2] {
        for steps in [
            vec![Step::Give(pattern(600_000)), Step::Fail("midway")],
            vec![Step::Give(pattern(800_000)), Step::Fail("verdict")],
            vec![Step::Give(pattern(600_000))],
        ] {
            let body = UpstreamBody::StreamedContent { body: script(steps), length: 800_000 };
            let error = upstream.send(part("k", &id, number, body)).await.unwrap_err();
            assert!(matches!(error, UpstreamError::Body(_) | UpstreamError::Length(_)), "{error:?}");
            assert_eq!(files(root.path()), before);
        }
        let body = script([Step::Give(pattern(600_000)), Step::Stall]);
        let body = UpstreamBody::StreamedContent { body, length: 800_000 };
        let sending = upstream.send(part("k", &id, number, body));
        assert!(tokio::time::timeout(Duration::from_millis(100), sending).await.is_err());
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(files(root.path()), before);
        let wrong = part("k", &id, number, UpstreamBody::Content(pattern(10)));
        let wrong = with_headers(wrong, &[("x-amz-checksum-crc32", "AAAAAA==")]);
        assert_eq!(refused(&upstream, wrong, 400).await, "BadDigest");
        assert_eq!(files(root.path()), before);
    }
    expect(&upstream, complete("k", &id, &[(1, &old)]), 200).await;
    assert_eq!(expect(&upstream, get("k"), 200).await.1, pattern(5));
}

#[tokio::test]
async fn part_checksums_are_told_and_compared() {
    let root = tempfile::tempdir().unwrap();
    for checksum in [Some(ChecksumAlgorithm::Crc64Nvme), Some(ChecksumAlgorithm::Crc32c)] {
        let settings =
            Settings { checksum, ..Settings::new(Target::Embedded { path: root.path().to_owned() }) };
        let upstream = embedded_store::open(settings).await.unwrap();
        open(root.path()).await;
        let algorithm = checksum.unwrap();
        let header = algorithm.header();
        let id = create(&upstream, "k").await;
        let content = pattern(300_000);
        let expected = wire::checksum::checksum(algorithm, &content).to_string();
        for body in [UpstreamBody::Content(content.clone()), stream(&content, 70_000)] {
            let headers = expect(&upstream, part("k", &id, 1, body), 200).await.0;
            assert_eq!(headers[header], expected.as_str());
        }
        let list = query_request(Method::GET, Some("k"), &[("uploadId", &id)], UpstreamBody::Empty);
        let xml = expect_xml(&upstream, list, 200).await;
        assert!(xml.contains(&expected), "{xml}");
        let etag = elements(&xml, "ETag").remove(0).replace("&quot;", "");
        for (value, status) in
            [(&wire::checksum::checksum(algorithm, b"other").to_string(), 400), (&expected, 200)]
        {
            let name = if checksum == Some(ChecksumAlgorithm::Crc32c) {
                "ChecksumCRC32C"
            } else {
                "ChecksumCRC64NVME"
            };
            let part = format!("<PartNumber>1</PartNumber><ETag>{etag}</ETag><{name}>{value}</{name}>");
            let xml = format!("<CompleteMultipartUpload><Part>{part}</Part></CompleteMultipartUpload>");
            let body = UpstreamBody::Buffered(xml.into());
            let request = query_request(Method::POST, Some("k"), &[("uploadId", &id)], body);
            expect(&upstream, request, status).await;
        }
        let enabled = with_headers(get("k"), &[("x-amz-checksum-mode", "ENABLED")]);
        let headers = expect(&upstream, enabled, 200).await.0;
        let whole = wire::checksum::checksum(ChecksumAlgorithm::Crc64Nvme, &content).to_string();
        assert_eq!(headers[ChecksumAlgorithm::Crc64Nvme.header()], whole.as_str());
    }
}
