use http::HeaderValue;
use proptest::prelude::*;

use super::*;

fn source(bucket: &str, object: &str, version_id: Option<&str>) -> CopySource {
    CopySource {
        bucket: BucketName::parse(bucket).unwrap(),
        object: ObjectKey::parse(object).unwrap(),
        version_id: version_id.map(str::to_owned),
    }
}

#[test]
fn every_spelling_that_clients_send() {
    for (value, bucket, object, version_id) in [
        ("b/k", "b", "k", None),
        ("/b/k", "b", "k", None),
        ("b/dir/k", "b", "dir/k", None),
        ("b//k", "b", "/k", None),
        ("/b//k/", "b", "/k/", None),
        ("b%2Fdir%2Fk", "b", "dir/k", None),
        ("%2Fb%2Fk", "b", "k", None),
        ("b/a%20b%2Bc%25d", "b", "a b+c%d", None),
        ("b/a+b", "b", "a b", None),
        ("b/%C3%BC", "b", "ü", None),
        ("b/ü", "b", "ü", None),
        ("b/a%3Fb", "b", "a?b", None),
        ("b/a%3FversionId=1", "b", "a?versionId=1", None),
        ("b/k?versionId=null", "b", "k", Some("null")),
        ("/b/k?versionId=3sL4%2Bx.Y_-", "b", "k", Some("3sL4+x.Y_-")),
        ("b/../x", "b", "../x", None),
    ] {
        let parsed = CopySource::parse(value.as_bytes()).unwrap();
        assert_eq!(parsed, source(bucket, object, version_id), "{value}");
    }
}

#[test]
fn what_is_no_source_is_refused() {
    let long = format!("b/{}", "k".repeat(1025));
    for value in [
        "",
        "/",
        "b",
        "/b",
        "b/",
        "//k",
        "./k",
        "../k",
        "team-x@other-secret/k",
        "team-x%40other-secret/k",
        "127.0.0.2:/latest/meta-data",
        "_localstack/health",
        "b/%",
        "b/%zz",
        "b/%ff",
        "b/k?versionId=",
        "b/k?versionId=1&x=2",
        "b/k?versionId=1?versionId=2",
        "b/k?acl",
        "b/k?",
        "b/k?versionId=%zz",
        long.as_str(),
    ] {
        let error = CopySource::parse(value.as_bytes()).unwrap_err();
        assert_eq!(error.code, ErrorCode::InvalidArgument, "{value}");
        assert_eq!(error.extra[0], ("ArgumentName", COPY_SOURCE.to_owned()));
    }
    assert_eq!(CopySource::parse(b"b/\xff").unwrap_err().code, ErrorCode::InvalidArgument);
    for arn in [
        "arn:aws:s3:us-west-2:123456789012:accesspoint/a/object/k",
        "/arn%3Aaws%3As3%3Aus-west-2%3A123456789012%3Aaccesspoint%2Fa%2Fobject%2Fk",
    ] {
        assert_eq!(CopySource::parse(arn.as_bytes()).unwrap_err().code, ErrorCode::NotImplemented);
    }
}

/// The check of rights reads the source that the storage will read.
#[test]
fn a_source_is_named_once() {
    let mut headers = HeaderMap::new();
    assert_eq!(CopySource::from_headers(&headers).unwrap_err().code, ErrorCode::InvalidArgument);
    headers.append(COPY_SOURCE, HeaderValue::from_static("b/k"));
    assert_eq!(CopySource::from_headers(&headers), Ok(source("b", "k", None)));
    headers.append(COPY_SOURCE, HeaderValue::from_static("other/k"));
    assert_eq!(CopySource::from_headers(&headers).unwrap_err().code, ErrorCode::InvalidArgument);
}

proptest! {
    #[test]
    fn what_is_written_is_read(object in "\\PC{1,40}", version in prop::option::of("\\PC{1,20}")) {
        let source = source("bucket", &object, version.as_deref());
        let written = source.to_header();
        prop_assert!(written.is_ascii());
        prop_assert_eq!(CopySource::parse(written.as_bytes()).unwrap(), source);
    }

    #[test]
    fn any_bytes_are_a_source_or_an_error(value in prop::collection::vec(any::<u8>(), 0..60)) {
        if let Ok(source) = CopySource::parse(&value) {
            prop_assert_eq!(CopySource::parse(source.to_header().as_bytes()).unwrap(), source);
        }
    }
}
