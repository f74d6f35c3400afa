use http::{HeaderMap, HeaderName, HeaderValue};

use super::*;
use crate::s3::error::{ErrorCode, S3Error};
use crate::s3::query::Query;

type Lines<'a> = &'a [(&'static str, &'a [u8])];

fn map(lines: Lines<'_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap());
    }
    headers
}

fn one(name: &'static str, value: &'static str) -> HeaderMap {
    map(&[(name, value.as_bytes())])
}

fn names(headers: &HeaderMap) -> Vec<&str> {
    let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    names
}

#[test]
fn an_uploads_own_headers_pass_exactly() {
    let all: Lines<'_> = &[
        ("content-type", b"text/plain; charset=\"utf-8\""),
        ("cache-control", b"no-cache"),
        ("content-disposition", b"attachment; filename=\"\xe9\xff.txt\""),
        ("content-language", b"de, en"),
        ("content-encoding", b"gzip ,  br"),
        ("expires", b"not even a date"),
        ("if-match", b"\"e\""),
        ("if-none-match", b"*"),
        ("origin", b"https://example.com"),
        ("x-amz-meta-a", b"1"),
        ("x-amz-meta-a", b"2"),
        ("x-amz-meta-encryption", b"mine"),
        ("x-amz-meta-encryption-keys", b"mine"),
        ("x-amz-meta-x-amz-key-v2", b"mine"),
        ("x-amz-meta-bytes", b"=?utf-8?q?=C3=A9?= \xc3\xa9"),
        ("x-amz-meta-empty", b""),
        ("x-amz-tagging", b"a=1&b=2"),
        ("x-amz-storage-class", b"GLACIER_IR"),
        ("x-amz-acl", b"private"),
        ("x-amz-grant-read", b"id=\"1\""),
        ("x-amz-grant-full-control", b"id=\"1\""),
        ("x-amz-object-lock-mode", b"GOVERNANCE"),
        ("x-amz-object-lock-retain-until-date", b"2030-01-01T00:00:00Z"),
        ("x-amz-object-lock-legal-hold", b"ON"),
        ("x-amz-website-redirect-location", b"/other"),
        ("x-amz-request-payer", b"requester"),
        ("x-amz-expected-bucket-owner", b"123456789012"),
    ];
    assert_eq!(put_headers(&map(all)).unwrap(), map(all));
}

/// They could not be signed.
#[test]
fn values_that_are_no_text_are_refused() {
    for name in ["content-type", "x-amz-meta-a", "x-amz-acl", "x-amz-tagging", "x-amz-storage-class"] {
        let request = map(&[(name, b"caf\xe9")]);
        let refused = put_headers(&request).unwrap_err();
        assert_eq!((refused.code, refused.status().as_u16()), (ErrorCode::InvalidArgument, 400), "{name}");
        assert_eq!(refused.extra[0], ("ArgumentName", name.to_owned()));
    }
    let owner = map(&[("x-amz-expected-bucket-owner", b"\xff")]);
    assert_eq!(read_headers(&owner).unwrap_err().code, ErrorCode::InvalidArgument);
    let acl = map(&[("x-amz-acl", b"\xff")]);
    let refused = passthrough_headers(crate::s3::Operation::PutBucketAcl, &acl).unwrap_err();
    assert_eq!(refused.code, ErrorCode::InvalidArgument);
    assert!(read_headers(&map(&[("if-match", b"\xff")])).is_ok());
}

#[test]
fn what_speaks_of_the_transfer_is_consumed() {
    let transfer: Lines<'_> = &[
        ("authorization", b"AWS4-HMAC-SHA256 ..."),
        ("host", b"localhost"),
        ("date", b"x"),
        ("x-amz-date", b"x"),
        ("x-amz-security-token", b"x"),
        ("x-amz-content-sha256", b"UNSIGNED-PAYLOAD"),
        ("x-amz-decoded-content-length", b"1"),
        ("x-amz-trailer", b"x-amz-checksum-crc32"),
        ("content-length", b"1"),
        ("content-md5", b"x"),
        ("x-amz-checksum-crc32", b"x"),
        ("x-amz-checksum-algorithm", b"CRC32"),
        ("x-amz-checksum-type", b"FULL_OBJECT"),
        ("x-amz-sdk-checksum-algorithm", b"CRC32"),
        ("amz-sdk-invocation-id", b"x"),
        ("amz-sdk-request", b"attempt=1"),
        ("x-amz-user-agent", b"x"),
        ("user-agent", b"x"),
        ("expect", b"100-continue"),
        ("connection", b"keep-alive"),
        ("transfer-encoding", b"chunked"),
        ("te", b"trailers"),
        ("accept", b"*/*"),
        ("accept-encoding", b"identity"),
        ("x-amzn-trace-id", b"x"),
        ("x-forwarded-for", b"10.0.0.1"),
        ("x-amz-server-side-encryption", b"aws:kms"),
        ("x-amz-server-side-encryption-aws-kms-key-id", b"alias/a"),
        ("x-amz-server-side-encryption-bucket-key-enabled", b"true"),
    ];
    assert_eq!(put_headers(&map(transfer)).unwrap(), HeaderMap::new());
}

#[test]
fn aws_chunked_is_no_content_encoding() {
    for (sent, stored) in [
        (&["aws-chunked"] as &[&str], None),
        (&["AWS-Chunked"], None),
        (&["aws-chunked,gzip"], Some("gzip")),
        (&["gzip,aws-chunked"], Some("gzip")),
        (&["gzip, aws-chunked , br"], Some("gzip,br")),
        (&["aws-chunked", "gzip"], Some("gzip")),
        (&["gzip", "br"], Some("gzip,br")),
        (&["aws-chunked,"], None),
        (&["gzip"], Some("gzip")),
        (&["x-aws-chunked"], Some("x-aws-chunked")),
        (&[""], Some("")),
        (&[], None),
    ] {
        let lines: Vec<(&'static str, &[u8])> =
            sent.iter().map(|line| ("content-encoding", line.as_bytes())).collect();
        let upstream = put_headers(&map(&lines)).unwrap();
        {
            let found = upstream.get_all("content-encoding").iter().collect::<Vec<_>>();
            assert_eq!(found, stored.iter().collect::<Vec<_>>(), "{sent:?}");
        }
    }
}

#[test]
fn what_is_not_understood_is_refused_by_name() {
    for name in [
        "x-amz-server-side-encryption-customer-algorithm",
        "x-amz-server-side-encryption-customer-key",
        "x-amz-server-side-encryption-customer-key-md5",
        "x-amz-server-side-encryption-context",
        "x-amz-some-new-thing",
        "x-amz-copy-source",
        "x-amz-write-offset-bytes",
        "x-amz-bypass-governance-retention",
        "x-amz-s3session-token",
        "if-modified-since",
        "if-unmodified-since",
        "content-range",
    ] {
        let error = put_headers(&one(name, "x")).unwrap_err();
        assert_eq!((error.code, error.status().as_u16()), (ErrorCode::NotImplemented, 501), "{name}");
        assert_eq!(error.extra, [("Header", name.to_owned())]);
    }
    for name in RESERVED {
        let error = put_headers(&one(name, "x")).unwrap_err();
        assert_eq!((error.code, error.extra[0].1.as_str()), (ErrorCode::InvalidArgument, name));
        assert!(error.message.contains("reserved"));
    }
}

#[test]
fn server_side_encryption() {
    let ask = |lines: Lines<'_>| sse_request(&map(lines));
    assert_eq!(ask(&[]), Ok(SseRequest::None));
    assert_eq!(ask(&[(SSE, b"AES256")]), Ok(SseRequest::S3Managed));
    assert_eq!(ask(&[(SSE, b"aws:kms"), (SSE_BUCKET_KEY, b"true")]), Ok(SseRequest::Kms { key_id: None }));
    let named = SseRequest::Kms { key_id: Some("alias/a".into()) };
    assert_eq!(ask(&[(SSE, b"aws:kms"), (SSE_KMS_KEY_ID, b"alias/a")]), Ok(named));

    let refused: &[(Lines<'_>, ErrorCode)] = &[
        (&[(SSE, b"aws:kms:dsse")], ErrorCode::NotImplemented),
        (&[(SSE, b"aws:kms:dsse"), (SSE_KMS_KEY_ID, b"a")], ErrorCode::NotImplemented),
        (&[(SSE, b"aws:kms"), (SSE_CONTEXT, b"e30=")], ErrorCode::NotImplemented),
        (&[("x-amz-server-side-encryption-customer-algorithm", b"AES256")], ErrorCode::NotImplemented),
        (&[(SSE, b"aes256")], ErrorCode::InvalidArgument),
        (&[(SSE, b"")], ErrorCode::InvalidArgument),
        (&[(SSE, b"none"), (SSE_KMS_KEY_ID, b"a")], ErrorCode::InvalidArgument),
        (&[(SSE, b"AES256"), (SSE_KMS_KEY_ID, b"a")], ErrorCode::InvalidArgument),
        (&[(SSE_KMS_KEY_ID, b"a")], ErrorCode::InvalidArgument),
        (&[(SSE, b"aws:kms"), (SSE_KMS_KEY_ID, b"")], ErrorCode::InvalidArgument),
        (&[(SSE, b"aws:kms"), (SSE_KMS_KEY_ID, b"\xff")], ErrorCode::InvalidArgument),
        (&[(SSE, b"AES256"), (SSE, b"aws:kms")], ErrorCode::InvalidArgument),
    ];
    for (lines, code) in refused {
        assert_eq!(ask(lines).map_err(|error| error.code), Err(*code), "{lines:?}");
        assert_eq!(put_headers(&map(lines)).map_err(|error| error.code), Err(*code), "{lines:?}");
    }
}

#[test]
fn reads_pass_conditions_and_nothing_else() {
    let request = map(&[
        ("if-match", b"\"a\", \"b\""),
        ("if-none-match", b"\"c\""),
        ("if-modified-since", b"x"),
        ("if-unmodified-since", b"y"),
        ("origin", b"null"),
        ("x-amz-request-payer", b"requester"),
        ("x-amz-expected-bucket-owner", b"1"),
        ("range", b"bytes=0-1"),
        ("if-range", b"\"a\""),
        ("accept-encoding", b"gzip"),
        ("x-amz-checksum-mode", b"ENABLED"),
        ("x-amz-some-new-thing", b"x"),
        ("authorization", b"x"),
        ("cookie", b"x"),
    ]);
    let passed = [
        "if-match",
        "if-modified-since",
        "if-none-match",
        "if-unmodified-since",
        "origin",
        "x-amz-expected-bucket-owner",
        "x-amz-request-payer",
    ];
    assert_eq!(names(&read_headers(&request).unwrap()), passed);
    let sse_c = one("x-amz-server-side-encryption-customer-key", "x");
    assert_eq!(read_headers(&sse_c).unwrap_err().code, ErrorCode::NotImplemented);
}

#[test]
fn a_preflight_passes_what_a_browser_asks_and_nothing_else() {
    let request = map(&[
        ("origin", b"https://page.example"),
        ("access-control-request-method", b"PUT"),
        ("access-control-request-headers", b"x-amz-date"),
        ("x-aws-ec2-metadata-token", b"x"),
        ("x-amz-acl", b"public-read"),
        ("x-forwarded-for", b"10.0.0.1"),
        ("cookie", b"x"),
        ("user-agent", b"x"),
        ("host", b"h"),
    ]);
    let passed = ["access-control-request-headers", "access-control-request-method", "origin"];
    assert_eq!(names(&preflight_headers(&request)), passed);
}

#[test]
fn headers_in_a_presigned_url_become_headers() {
    let unhoisted = |query: &str, mut headers: HeaderMap| -> Result<HeaderMap, S3Error> {
        unhoist(&Query::parse(query).unwrap(), &mut headers)?;
        Ok(headers)
    };
    let query = "X-Amz-Algorithm=a&X-Amz-Credential=c&X-Amz-Date=d&X-Amz-Expires=1&X-Amz-SignedHeaders=host&X-Amz-Signature=s\
        &X-Amz-Security-Token=t&X-Amz-Content-Sha256=UNSIGNED-PAYLOAD&x-amz-user-agent=u&x-amz-sdk-checksum-algorithm=CRC32\
        &x-id=PutObject&prefix=p&x-amz-acl=private&X-Amz-Meta-A=%C3%A9&x-amz-checksum-crc32=AAAAAA%3D%3D";
    let headers = unhoisted(query, HeaderMap::new()).unwrap();
    assert_eq!(names(&headers), ["x-amz-acl", "x-amz-meta-a"]);
    assert_eq!(headers["x-amz-meta-a"].as_bytes(), "é".as_bytes());

    assert_eq!(unhoisted("x-amz-acl=a", one("x-amz-acl", "a")).unwrap(), one("x-amz-acl", "a"));
    for (query, headers) in [
        ("x-amz-acl=a", one("x-amz-acl", "b")),
        ("x-amz-acl=a&x-amz-acl=b", HeaderMap::new()),
        ("x-amz-meta-a=%0d%0aHost:%20evil", HeaderMap::new()),
        ("x-amz-meta-a%20b=1", HeaderMap::new()),
    ] {
        assert_eq!(unhoisted(query, headers).unwrap_err().code, ErrorCode::InvalidArgument, "{query}");
    }
    // What a presigner states about a body that it has not seen is not a statement of the sender.
    let query = "x-amz-checksum-crc32=AAAAAA%3D%3D&X-Amz-Checksum-Sha512=x&x-amz-checksum-mode=ENABLED\
        &x-amz-checksum-algorithm=SHA256&x-amz-checksum-type=COMPOSITE";
    let headers = unhoisted(query, one("x-amz-checksum-crc32", "NSRBwg==")).unwrap();
    let kept = [CHECKSUM_ALGORITHM, "x-amz-checksum-crc32", CHECKSUM_MODE, CHECKSUM_TYPE];
    assert_eq!(names(&headers), kept);
    assert_eq!(headers["x-amz-checksum-crc32"], "NSRBwg==");
    // A reserved name has no way around.
    let reserved = unhoisted("x-amz-meta-encryption-key=x", HeaderMap::new()).unwrap();
    assert_eq!(put_headers(&reserved).unwrap_err().code, ErrorCode::InvalidArgument);
}

#[test]
fn hop_by_hop_headers_end_here() {
    let mut headers = map(&[
        ("connection", b"Keep-Alive, x-hop"),
        ("connection", b"content-length, , x-other"),
        ("keep-alive", b"timeout=5"),
        ("x-hop", b"1"),
        ("x-other", b"1"),
        ("transfer-encoding", b"chunked"),
        ("trailer", b"x"),
        ("proxy-authenticate", b"x"),
        ("proxy-connection", b"x"),
        ("upgrade", b"x"),
        ("te", b"x"),
        ("content-length", b"5"),
        ("etag", b"\"e\""),
        ("x-amz-request-id", b"1"),
    ]);
    keep_s3_headers(&mut headers);
    assert_eq!(names(&headers), ["content-length", "etag", "x-amz-request-id"]);
}

#[test]
fn what_is_ours_or_the_ciphertexts_is_hidden() {
    let mut headers = map(&[
        (ENCRYPTION_KEY, b"x"),
        (ENCRYPTION_ENVELOPE, b"x"),
        (ENCRYPTION_HOLDERS, b"x"),
        (ENCRYPTION_LENGTH, b"x"),
        (SSE, b"AES256"),
        (SSE_KMS_KEY_ID, b"x"),
        (SSE_BUCKET_KEY, b"true"),
        ("x-amz-server-side-encryption-customer-algorithm", b"x"),
        ("x-amz-checksum-crc64nvme", b"x"),
        ("x-amz-checksum-sha512", b"x"),
        ("x-amz-checksum-type", b"FULL_OBJECT"),
        ("x-amz-meta-encryption", b"client's"),
        ("x-amz-meta-a", b"1"),
        ("x-amz-meta-a", b"2"),
        ("x-amz-missing-meta", b"1"),
        ("etag", b"\"e\""),
    ]);
    keep_s3_headers(&mut headers);
    assert_eq!(names(&headers), ["etag", "x-amz-meta-a", "x-amz-meta-encryption", "x-amz-missing-meta"]);
    assert_eq!(headers.get_all("x-amz-meta-a").iter().count(), 2);
}

#[test]
fn directives_are_copy_or_replace() {
    assert_eq!(Directive::for_metadata(&HeaderMap::new()), Ok(Directive::Copy));
    assert_eq!(Directive::for_metadata(&one(METADATA_DIRECTIVE, "COPY")), Ok(Directive::Copy));
    assert_eq!(Directive::for_metadata(&one(METADATA_DIRECTIVE, "REPLACE")), Ok(Directive::Replace));
    assert_eq!(Directive::for_metadata(&one(TAGGING_DIRECTIVE, "REPLACE")), Ok(Directive::Copy));
    assert_eq!(Directive::for_tagging(&one(TAGGING_DIRECTIVE, "REPLACE")), Ok(Directive::Replace));
    for other in ["", "copy", "REPLACE ", "MOVE"] {
        let error = Directive::for_tagging(&one(TAGGING_DIRECTIVE, other)).unwrap_err();
        assert_eq!((error.code, error.extra[0].1.as_str()), (ErrorCode::InvalidArgument, TAGGING_DIRECTIVE));
    }
}

#[test]
fn a_copys_source_and_destination_have_headers_of_their_own() {
    let request = map(&[
        ("x-amz-copy-source", b"b/k"),
        ("x-amz-copy-source-range", b"bytes=0-1"),
        ("x-amz-copy-source-if-match", b"\"a\""),
        ("x-amz-copy-source-if-none-match", b"\"b\""),
        ("x-amz-copy-source-if-modified-since", b"c"),
        ("x-amz-copy-source-if-unmodified-since", b"d"),
        ("x-amz-metadata-directive", b"REPLACE"),
        ("x-amz-tagging-directive", b"REPLACE"),
        ("x-amz-source-expected-bucket-owner", b"111111111111"),
        ("x-amz-expected-bucket-owner", b"222222222222"),
        ("x-amz-request-payer", b"requester"),
        ("if-match", b"\"e\""),
        ("if-none-match", b"*"),
        ("content-type", b"text/plain"),
        ("x-amz-meta-a", b"1"),
        ("x-amz-storage-class", b"GLACIER_IR"),
        ("x-amz-tagging", b"a=1"),
        ("x-amz-server-side-encryption", b"aws:kms"),
        ("x-amz-checksum-algorithm", b"SHA256"),
    ]);
    let read = source_read_headers(&request);
    let expected: Lines<'_> = &[
        ("if-match", b"\"a\""),
        ("if-none-match", b"\"b\""),
        ("x-amz-expected-bucket-owner", b"111111111111"),
        ("x-amz-request-payer", b"requester"),
    ];
    assert_eq!(read, map(expected));
    let dates: Lines<'_> =
        &[("x-amz-copy-source-if-modified-since", b"c"), ("x-amz-copy-source-if-unmodified-since", b"d")];
    let expected: Lines<'_> = &[("if-modified-since", b"c"), ("if-unmodified-since", b"d")];
    assert_eq!(source_read_headers(&map(dates)), map(expected));
    let expected: Lines<'_> = &[
        ("x-amz-expected-bucket-owner", b"222222222222"),
        ("x-amz-request-payer", b"requester"),
        ("if-match", b"\"e\""),
        ("if-none-match", b"*"),
        ("content-type", b"text/plain"),
        ("x-amz-meta-a", b"1"),
        ("x-amz-storage-class", b"GLACIER_IR"),
        ("x-amz-tagging", b"a=1"),
    ];
    assert_eq!(copy_headers(&request).unwrap(), map(expected));
    for name in ["x-amz-copy-source-server-side-encryption-customer-key", "x-amz-copy-source-new"] {
        assert_eq!(copy_headers(&one(name, "x")).unwrap_err().code, ErrorCode::NotImplemented, "{name}");
    }
    for name in RESERVED {
        assert_eq!(copy_headers(&one(name, "x")).unwrap_err().code, ErrorCode::InvalidArgument, "{name}");
    }
}

#[test]
fn what_a_copy_takes_along() {
    let copied = |name: &'static str| is_copied_metadata(&HeaderName::from_static(name));
    for name in [
        "content-type",
        "content-encoding",
        "expires",
        "cache-control",
        "x-amz-meta-a",
        "x-amz-meta-encryption",
    ] {
        assert!(copied(name), "{name}");
    }
    for name in RESERVED.into_iter().chain([
        "content-length",
        "etag",
        "x-amz-storage-class",
        "x-amz-website-redirect-location",
        "x-amz-object-lock-mode",
        "x-amz-server-side-encryption",
        "x-amz-checksum-crc32",
        "x-amz-version-id",
        "last-modified",
    ]) {
        assert!(!copied(name), "{name}");
    }
}

#[test]
fn metadata_are_as_many_as_s3_keeps_and_no_more() {
    let one = |length: usize| {
        HeaderMap::from_iter([(HeaderName::from_static("x-amz-meta-a"), "v".repeat(length).parse().unwrap())])
    };
    assert!(put_headers(&one(2_047)).is_ok());
    assert_eq!(put_headers(&one(2_048)).unwrap_err().code, ErrorCode::MetadataTooLarge);
    // The longest list: every name of one byte, then of two, and no values.
    let letters = "abcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+-.^_`|~";
    let ones = letters.chars().map(String::from);
    let twos = letters.chars().flat_map(|one| letters.chars().map(move |two| format!("{one}{two}")));
    let mut many = HeaderMap::new();
    for name in ones.chain(twos).take(1_049) {
        let name = format!("{METADATA}{name}");
        many.insert(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_static(""));
    }
    assert_eq!(put_headers(&many).unwrap().len(), 1_049);
    assert!(copy_headers(&many).is_ok());
    many.insert("x-amz-meta-more", HeaderValue::from_static(""));
    assert_eq!(put_headers(&many).unwrap_err().code, ErrorCode::MetadataTooLarge);
    assert_eq!(copy_headers(&many).unwrap_err().code, ErrorCode::MetadataTooLarge);
}
