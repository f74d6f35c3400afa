use http::{HeaderName, HeaderValue};

use super::*;
use crate::s3::operation::Operation as Op;

const NO_DOMAIN: [&str; 0] = [];

type Lines = &'static [(&'static str, &'static str)];

fn routed(method: &str, uri: &str, lines: Lines) -> Result<Operation, S3Error> {
    let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
    let path = S3Path::parse(path, None, &NO_DOMAIN).unwrap();
    let headers = lines
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect();
    route(&method.parse().unwrap(), &path, &Query::parse(query).unwrap(), &headers)
}

fn code(method: &str, uri: &str, lines: Lines) -> ErrorCode {
    match routed(method, uri, lines) {
        Ok(operation) => panic!("{method} {uri} became {operation}"),
        Err(error) => error.code,
    }
}

/// As SDKs, the CLI, s3cmd, rclone and browsers write them.
const TABLE: &[(&str, &str, Op)] = &[
    ("GET", "/", Op::ListBuckets),
    ("GET", "/?x-id=ListBuckets", Op::ListBuckets),
    ("GET", "/?max-buckets=10&prefix=&continuation-token=x&bucket-region=eu-west-1", Op::ListBuckets),
    ("GET", "/?x-id=ListDirectoryBuckets", Op::ListDirectoryBuckets),
    ("GET", "/?max-directory-buckets=5&continuation-token=x", Op::ListDirectoryBuckets),
    // Buckets.
    ("PUT", "/b", Op::CreateBucket),
    ("PUT", "/b/", Op::CreateBucket),
    ("HEAD", "/b", Op::HeadBucket),
    ("DELETE", "/b", Op::DeleteBucket),
    ("GET", "/b?location", Op::GetBucketLocation),
    ("GET", "/b/?location=", Op::GetBucketLocation),
    ("GET", "/b?session", Op::CreateSession),
    ("GET", "/b", Op::ListObjects),
    ("GET", "/b/?delimiter=%2F&encoding-type=url&marker=&max-keys=1000&prefix=", Op::ListObjects),
    ("GET", "/b?list-type=2", Op::ListObjectsV2),
    (
        "GET",
        "/b?list-type=2&prefix=a%2F&delimiter=%2F&encoding-type=url&max-keys=5&continuation-token=t&fetch-owner=true&start-after=a",
        Op::ListObjectsV2,
    ),
    ("GET", "/b?versions", Op::ListObjectVersions),
    (
        "GET",
        "/b?versions&prefix=&delimiter=&key-marker=k&version-id-marker=v&max-keys=7&encoding-type=url",
        Op::ListObjectVersions,
    ),
    ("GET", "/b?uploads", Op::ListMultipartUploads),
    (
        "GET",
        "/b?uploads&key-marker=&upload-id-marker=&max-uploads=2&prefix=&delimiter=&encoding-type=url",
        Op::ListMultipartUploads,
    ),
    ("POST", "/b?delete", Op::DeleteObjects),
    ("POST", "/b/?delete=&x-id=DeleteObjects", Op::DeleteObjects),
    // Objects.
    ("GET", "/b/k", Op::GetObject),
    ("GET", "/b/k?x-id=GetObject&versionId=null&partNumber=2", Op::GetObject),
    (
        "GET",
        "/b/k?response-cache-control=a&response-content-disposition=b&response-content-encoding=c&response-content-language=d&response-content-type=e&response-expires=f",
        Op::GetObject,
    ),
    ("GET", "/b/k?v=20240101", Op::GetObject),
    ("HEAD", "/b/k", Op::HeadObject),
    ("HEAD", "/b/k?versionId=3&partNumber=1&response-content-type=text%2Fplain", Op::HeadObject),
    ("PUT", "/b/k", Op::PutObject),
    ("PUT", "/b/a/b//c/", Op::PutObject),
    ("PUT", "/b/k?x-id=PutObject", Op::PutObject),
    ("PUT", "/b/k?renameObject", Op::RenameObject),
    ("PUT", "/b/k?renameObject&x-id=RenameObject", Op::RenameObject),
    ("DELETE", "/b/k", Op::DeleteObject),
    ("DELETE", "/b/k?x-id=DeleteObject&versionId=v", Op::DeleteObject),
    ("GET", "/b/k?attributes&versionId=v", Op::GetObjectAttributes),
    ("POST", "/b/k?select&select-type=2", Op::SelectObjectContent),
    ("POST", "/b/k?restore&versionId=v", Op::RestoreObject),
    ("GET", "/b/k?torrent", Op::GetObjectTorrent),
    ("PUT", "/b/k?encryption&versionId=v", Op::UpdateObjectEncryption),
    ("GET", "/b/k?acl", Op::GetObjectAcl),
    ("PUT", "/b/k?acl&versionId=v", Op::PutObjectAcl),
    ("GET", "/b/k?tagging", Op::GetObjectTagging),
    ("PUT", "/b/k?tagging=", Op::PutObjectTagging),
    ("DELETE", "/b/k?tagging&versionId=v", Op::DeleteObjectTagging),
    ("GET", "/b/k?retention", Op::GetObjectRetention),
    ("PUT", "/b/k?retention", Op::PutObjectRetention),
    ("GET", "/b/k?legal-hold", Op::GetObjectLegalHold),
    ("PUT", "/b/k?legal-hold", Op::PutObjectLegalHold),
    ("GET", "/b/k?annotation&max-annotation-results=5", Op::ListObjectAnnotations),
    ("GET", "/b/k?annotation&annotationName=n", Op::GetObjectAnnotation),
    ("PUT", "/b/k?annotation&annotationName=n&versionId=v", Op::PutObjectAnnotation),
    ("DELETE", "/b/k?annotation&annotationName=n", Op::DeleteObjectAnnotation),
    // Multipart uploads.
    ("POST", "/b/k?uploads", Op::CreateMultipartUpload),
    ("POST", "/b/k?uploads=&x-id=CreateMultipartUpload", Op::CreateMultipartUpload),
    ("PUT", "/b/k?partNumber=1&uploadId=u", Op::UploadPart),
    ("PUT", "/b/k?x-id=UploadPart&uploadId=u&partNumber=10000", Op::UploadPart),
    ("GET", "/b/k?uploadId=u", Op::ListParts),
    ("GET", "/b/k?x-id=ListParts&uploadId=u&max-parts=1&part-number-marker=3", Op::ListParts),
    ("POST", "/b/k?uploadId=u", Op::CompleteMultipartUpload),
    ("DELETE", "/b/k?uploadId=u&x-id=AbortMultipartUpload", Op::AbortMultipartUpload),
    // A bucket's configuration.
    ("GET", "/b?abac", Op::GetBucketAbac),
    ("PUT", "/b?abac", Op::PutBucketAbac),
    ("GET", "/b?accelerate", Op::GetBucketAccelerateConfiguration),
    ("PUT", "/b?accelerate", Op::PutBucketAccelerateConfiguration),
    ("GET", "/b?acl", Op::GetBucketAcl),
    ("PUT", "/b/?acl", Op::PutBucketAcl),
    ("GET", "/b?analytics", Op::ListBucketAnalyticsConfigurations),
    (
        "GET",
        "/b?analytics&x-id=ListBucketAnalyticsConfigurations&continuation-token=",
        Op::ListBucketAnalyticsConfigurations,
    ),
    ("GET", "/b?analytics&id=i&x-id=GetBucketAnalyticsConfiguration", Op::GetBucketAnalyticsConfiguration),
    ("PUT", "/b?analytics&id=i", Op::PutBucketAnalyticsConfiguration),
    ("DELETE", "/b?analytics&id=i", Op::DeleteBucketAnalyticsConfiguration),
    ("GET", "/b?cors", Op::GetBucketCors),
    ("PUT", "/b?cors", Op::PutBucketCors),
    ("DELETE", "/b?cors", Op::DeleteBucketCors),
    ("GET", "/b?encryption", Op::GetBucketEncryption),
    ("PUT", "/b?encryption", Op::PutBucketEncryption),
    ("DELETE", "/b?encryption", Op::DeleteBucketEncryption),
    ("GET", "/b?intelligent-tiering", Op::ListBucketIntelligentTieringConfigurations),
    ("GET", "/b?intelligent-tiering&id=i", Op::GetBucketIntelligentTieringConfiguration),
    ("PUT", "/b?intelligent-tiering&id=i", Op::PutBucketIntelligentTieringConfiguration),
    ("DELETE", "/b?intelligent-tiering&id=i", Op::DeleteBucketIntelligentTieringConfiguration),
    ("GET", "/b?inventory", Op::ListBucketInventoryConfigurations),
    ("GET", "/b?inventory&id=i", Op::GetBucketInventoryConfiguration),
    ("PUT", "/b?inventory&id=i", Op::PutBucketInventoryConfiguration),
    ("DELETE", "/b?inventory&id=i", Op::DeleteBucketInventoryConfiguration),
    ("GET", "/b?lifecycle", Op::GetBucketLifecycleConfiguration),
    ("PUT", "/b?lifecycle", Op::PutBucketLifecycleConfiguration),
    ("DELETE", "/b?lifecycle", Op::DeleteBucketLifecycle),
    ("GET", "/b?logging", Op::GetBucketLogging),
    ("PUT", "/b?logging", Op::PutBucketLogging),
    ("POST", "/b?metadataConfiguration", Op::CreateBucketMetadataConfiguration),
    ("GET", "/b?metadataConfiguration", Op::GetBucketMetadataConfiguration),
    ("DELETE", "/b?metadataConfiguration", Op::DeleteBucketMetadataConfiguration),
    ("PUT", "/b?metadataAnnotationTable", Op::UpdateBucketMetadataAnnotationTableConfiguration),
    ("PUT", "/b?metadataInventoryTable", Op::UpdateBucketMetadataInventoryTableConfiguration),
    ("PUT", "/b?metadataJournalTable", Op::UpdateBucketMetadataJournalTableConfiguration),
    ("POST", "/b?metadataTable", Op::CreateBucketMetadataTableConfiguration),
    ("GET", "/b?metadataTable", Op::GetBucketMetadataTableConfiguration),
    ("DELETE", "/b?metadataTable", Op::DeleteBucketMetadataTableConfiguration),
    ("GET", "/b?metrics", Op::ListBucketMetricsConfigurations),
    ("GET", "/b?metrics&id=EntireBucket", Op::GetBucketMetricsConfiguration),
    ("PUT", "/b?metrics&id=i", Op::PutBucketMetricsConfiguration),
    ("DELETE", "/b?metrics&id=i", Op::DeleteBucketMetricsConfiguration),
    ("GET", "/b?notification", Op::GetBucketNotificationConfiguration),
    ("PUT", "/b?notification", Op::PutBucketNotificationConfiguration),
    ("GET", "/b?object-lock", Op::GetObjectLockConfiguration),
    ("PUT", "/b?object-lock", Op::PutObjectLockConfiguration),
    ("GET", "/b?ownershipControls", Op::GetBucketOwnershipControls),
    ("PUT", "/b?ownershipControls", Op::PutBucketOwnershipControls),
    ("DELETE", "/b?ownershipControls", Op::DeleteBucketOwnershipControls),
    ("GET", "/b?policy", Op::GetBucketPolicy),
    ("PUT", "/b?policy", Op::PutBucketPolicy),
    ("DELETE", "/b?policy", Op::DeleteBucketPolicy),
    ("GET", "/b?policyStatus", Op::GetBucketPolicyStatus),
    ("GET", "/b?publicAccessBlock", Op::GetPublicAccessBlock),
    ("PUT", "/b?publicAccessBlock", Op::PutPublicAccessBlock),
    ("DELETE", "/b?publicAccessBlock", Op::DeletePublicAccessBlock),
    ("GET", "/b?replication", Op::GetBucketReplication),
    ("PUT", "/b?replication", Op::PutBucketReplication),
    ("DELETE", "/b?replication", Op::DeleteBucketReplication),
    ("GET", "/b?requestPayment", Op::GetBucketRequestPayment),
    ("PUT", "/b?requestPayment", Op::PutBucketRequestPayment),
    ("GET", "/b?tagging", Op::GetBucketTagging),
    ("PUT", "/b?tagging", Op::PutBucketTagging),
    ("DELETE", "/b?tagging", Op::DeleteBucketTagging),
    ("GET", "/b?versioning", Op::GetBucketVersioning),
    ("PUT", "/b?versioning", Op::PutBucketVersioning),
    ("GET", "/b?website", Op::GetBucketWebsite),
    ("PUT", "/b?website", Op::PutBucketWebsite),
    ("DELETE", "/b?website", Op::DeleteBucketWebsite),
    // Browsers ask for a method they may use later, whatever the query.
    ("OPTIONS", "/b/k", Op::CorsPreflight),
    ("OPTIONS", "/b?someNewThing", Op::CorsPreflight),
];

/// Operations that a header distinguishes.
const BY_HEADER: &[(&str, &str, Lines, Op)] = &[
    ("PUT", "/b/k", &[("x-amz-copy-source", "/b/j")], Op::CopyObject),
    ("PUT", "/b/k?x-id=CopyObject", &[("x-amz-copy-source", "b/j?versionId=1")], Op::CopyObject),
    ("PUT", "/b/k?x-amz-copy-source=b%2Fj&X-Amz-Signature=0", &[], Op::CopyObject),
    ("PUT", "/b/k?partNumber=1&uploadId=u", &[("x-amz-copy-source", "b/j")], Op::UploadPartCopy),
    ("PUT", "/b/k?partNumber=1&uploadId=u&X-Amz-Copy-Source=b%2Fj", &[], Op::UploadPartCopy),
    ("PUT", "/b/k", &[("x-amz-write-offset-bytes", "0")], Op::AppendObject),
    ("PUT", "/b/k?x-id=PutObject", &[("x-amz-write-offset-bytes", "9")], Op::AppendObject),
    ("POST", "/b", &[("content-type", "multipart/form-data; boundary=x")], Op::PostObject),
    ("POST", "/b/", &[("content-type", "Multipart/Form-Data;boundary=x")], Op::PostObject),
    (
        "POST",
        "/WriteGetObjectResponse",
        &[("x-amz-request-route", "r"), ("x-amz-request-token", "t")],
        Op::WriteGetObjectResponse,
    ),
    // A header that means something elsewhere does not change a subresource.
    ("PUT", "/b/k?tagging", &[("x-amz-copy-source", "b/j")], Op::PutObjectTagging),
    ("GET", "/b/k", &[("x-amz-copy-source", "b/j")], Op::GetObject),
];

#[test]
fn routes_what_clients_send() {
    for (method, uri, expected) in TABLE {
        assert_eq!(routed(method, uri, &[]).as_ref(), Ok(expected), "{method} {uri}");
    }
    for (method, uri, headers, expected) in BY_HEADER {
        assert_eq!(routed(method, uri, headers).as_ref(), Ok(expected), "{method} {uri} {headers:?}");
    }
}

#[test]
fn every_operation_can_be_reached() {
    for operation in Operation::ALL {
        let plain = TABLE.iter().any(|(.., reached)| reached == operation);
        let by_header = BY_HEADER.iter().any(|(.., reached)| reached == operation);
        assert!(plain || by_header, "{operation}");
    }
}

#[test]
fn signatures_in_the_query_do_not_matter() {
    const V4: &str = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=a%2F20260101%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20260101T000000Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-Security-Token=&X-Amz-Signature=00";
    const V2: &str = "AWSAccessKeyId=a&Signature=b%3D&Expires=1700000000";
    for (method, uri, expected) in TABLE {
        for signature in [V4, V2] {
            let joint = if uri.contains('?') { '&' } else { '?' };
            let signed = format!("{uri}{joint}{signature}");
            assert_eq!(routed(method, &signed, &[]).as_ref(), Ok(expected), "{method} {signed}");
        }
    }
    // Hoisted headers, as the JavaScript SDK writes them.
    let hoisted = "/b/k?x-amz-acl=private&x-amz-meta-a=&X-Amz-Sdk-Checksum-Algorithm=CRC32&x-amz-checksum-crc32=AAAAAA%3D%3D";
    assert_eq!(routed("PUT", hoisted, &[]), Ok(Op::PutObject));
    // SigV2's parameters mean nothing without its access key id.
    assert_eq!(code("PUT", "/b/k?Signature=a&Expires=1", &[]), ErrorCode::NotImplemented);
}

#[test]
fn a_write_with_anything_unknown_is_refused() {
    for method in ["PUT", "DELETE"] {
        for uri in ["/b", "/b/k"] {
            for unknown in [
                "someNewThing",
                "someNewThing=",
                "someNewThing=1",
                "ACL",
                "Tagging=",
                "append&position=0",
                "=x",
            ] {
                let uri = format!("{uri}?{unknown}");
                assert_eq!(code(method, &uri, &[]), ErrorCode::NotImplemented, "{method} {uri}");
            }
        }
    }
    for (method, uri, headers) in [
        ("PUT", "/b/k?tagging&someNewThing", [("x", "")].as_slice()),
        ("PUT", "/b/k?someNewThing", &[("x-amz-copy-source", "b/j")]),
        ("PUT", "/b/k?partNumber=1&uploadId=u&versionId=v", &[]),
        ("PUT", "/b/k?prefix=a", &[]),
        ("PUT", "/b?list-type=2", &[]),
        ("PUT", "/b/k?annotationName=n", &[]),
        ("POST", "/b/k?uploads&versionId=v", &[]),
        ("POST", "/b?delete&prefix=a", &[]),
        ("POST", "/b?someNewThing", &[("content-type", "multipart/form-data")]),
        ("DELETE", "/b?id=x", &[]),
        ("DELETE", "/b/k?prefix=a", &[]),
        ("DELETE", "/b/k?partNumber=1", &[]),
        ("GET", "/b?session&someNewThing=1", &[]),
    ] {
        assert_eq!(code(method, uri, headers), ErrorCode::NotImplemented, "{method} {uri}");
    }
    let error = routed("PUT", "/b/k?someNewThing", &[]).unwrap_err();
    assert_eq!(error.status(), 501);
    assert_eq!(error.extra, [("Parameter", "someNewThing".to_owned())]);
}

#[test]
fn a_read_with_an_unknown_subresource_is_refused() {
    for (method, uri) in [
        ("GET", "/?someNewThing"),
        ("GET", "/b?someNewThing"),
        ("GET", "/b/k?someNewThing"),
        ("GET", "/b/k?someNewThing="),
        ("GET", "/b/k?acl&someNewThing"),
        ("HEAD", "/b/k?someNewThing"),
        ("HEAD", "/b?someNewThing"),
    ] {
        assert_eq!(code(method, uri, &[]), ErrorCode::NotImplemented, "{method} {uri}");
    }
}

#[test]
fn a_known_subresource_with_the_wrong_method_or_resource_is_not_allowed() {
    for (method, uri) in [
        // The account has none.
        ("PUT", "/"),
        ("POST", "/"),
        ("DELETE", "/"),
        ("HEAD", "/"),
        ("OPTIONS", "/"),
        ("GET", "/?acl"),
        ("GET", "/?location"),
        // Bucket subresources on an object.
        ("GET", "/b/k?location"),
        ("GET", "/b/k?uploads"),
        ("GET", "/b/k?versions"),
        ("GET", "/b/k?policy"),
        ("PUT", "/b/k?policy"),
        ("PUT", "/b/k?cors"),
        ("PUT", "/b/k?lifecycle"),
        ("PUT", "/b/k?versioning"),
        ("PUT", "/b/k?metadataInventoryTable"),
        ("POST", "/b/k?delete"),
        ("DELETE", "/b/k?website"),
        ("GET", "/b/k?encryption"),
        // Object subresources on a bucket.
        ("GET", "/b?uploadId=u"),
        ("PUT", "/b?uploadId=u&partNumber=1"),
        ("POST", "/b?uploads"),
        ("POST", "/b?restore"),
        ("POST", "/b?select&select-type=2"),
        ("PUT", "/b?retention"),
        ("GET", "/b?attributes"),
        ("GET", "/b?torrent"),
        ("PUT", "/b?renameObject"),
        ("PUT", "/b?annotation"),
        // Wrong methods.
        ("HEAD", "/b/k?acl"),
        ("HEAD", "/b?versions"),
        ("HEAD", "/b/k?uploadId=u"),
        ("PUT", "/b?location"),
        ("PUT", "/b?uploads"),
        ("PUT", "/b?versions"),
        ("PUT", "/b?delete"),
        ("PUT", "/b?policyStatus"),
        ("PUT", "/b?session"),
        ("PUT", "/b/k?uploads"),
        ("PUT", "/b/k?attributes"),
        ("PUT", "/b/k?torrent"),
        ("PUT", "/b/k?restore"),
        ("PUT", "/b/k?select"),
        ("PUT", "/b/k?delete"),
        ("PUT", "/b?metadataTable"),
        ("GET", "/b?metadataInventoryTable"),
        ("GET", "/b?delete"),
        ("GET", "/b/k?restore"),
        ("GET", "/b/k?renameObject"),
        ("DELETE", "/b?acl"),
        ("DELETE", "/b?versioning"),
        ("DELETE", "/b?notification"),
        ("DELETE", "/b?uploads"),
        ("DELETE", "/b/k?acl"),
        ("DELETE", "/b/k?uploads"),
        ("DELETE", "/b/k?retention"),
        ("DELETE", "/b/k?legal-hold"),
        ("POST", "/b/k"),
        ("POST", "/b/k?acl"),
        ("POST", "/b/k?tagging"),
        ("POST", "/b?acl"),
        // No method of S3.
        ("PATCH", "/b/k"),
        ("TRACE", "/b/k"),
        ("CONNECT", "/b"),
        ("MOVE", "/b/k"),
        ("get", "/b/k"),
    ] {
        assert_eq!(code(method, uri, &[]), ErrorCode::MethodNotAllowed, "{method} {uri}");
    }
}

#[test]
fn contradictions_are_refused() {
    for (method, uri, headers) in [
        ("GET", "/b/k?acl&tagging", [].as_slice()),
        ("PUT", "/b/k?acl&tagging", &[]),
        ("PUT", "/b/k?uploadId=u&partNumber=1&acl", &[]),
        ("DELETE", "/b/k?uploadId=u&tagging", &[]),
        ("DELETE", "/b?policy&cors", &[]),
        ("POST", "/b?delete&uploads", &[]),
        ("GET", "/b?acl&acl", &[]),
        ("PUT", "/b/k?uploadId=u&uploadId=v&partNumber=1", &[]),
        ("PUT", "/b/k?uploadId=u&partNumber=1&partNumber=2", &[]),
        ("GET", "/b/k?versionId=1&versionId=2", &[]),
        ("GET", "/b?prefix=allowed&prefix=secret", &[]),
        ("PUT", "/b/k?x-id=PutObject&x-id=PutObject", &[]),
        ("PUT", "/b/k?partNumber=1", &[]),
        ("PUT", "/b/k?uploadId=u", &[]),
        ("PUT", "/b/k?versionId=1", &[]),
        ("GET", "/b?list-type=3", &[]),
        ("GET", "/b?list-type=", &[]),
    ] {
        assert_eq!(code(method, uri, headers), ErrorCode::InvalidArgument, "{method} {uri}");
    }
    const BOTH: Lines = &[("x-amz-copy-source", "b/j"), ("x-amz-write-offset-bytes", "0")];
    assert_eq!(code("PUT", "/b/k", BOTH), ErrorCode::InvalidRequest);
    const OFFSET: Lines = &[("x-amz-write-offset-bytes", "0")];
    assert_eq!(code("PUT", "/b/k?partNumber=1&uploadId=u", OFFSET), ErrorCode::InvalidRequest);
    let error = routed("GET", "/b?acl&policy", &[]).unwrap_err();
    assert_eq!(error.message, "Conflicting query string parameters: acl, policy");
}

#[test]
fn a_post_to_a_bucket_is_a_form_or_nothing() {
    for headers in
        [&[] as &[_], &[("content-type", "application/xml")], &[("content-type", "multipart/form-datax")]]
    {
        assert_eq!(code("POST", "/b", headers), ErrorCode::PreconditionFailed, "{headers:?}");
    }
}

#[test]
fn a_write_is_what_its_sdk_calls_it() {
    for (uri, headers) in [
        ("/b/k?x-id=PutObjectLater", [].as_slice()),
        ("/b/k?x-id=CopyObject", &[]),
        ("/b/k?x-id=PutObject", &[("x-amz-copy-source", "b/j")]),
        ("/b/k?tagging&x-id=PutObject", &[]),
        ("/b/k?x-id=", &[]),
    ] {
        assert_eq!(code("PUT", uri, headers), ErrorCode::NotImplemented, "{uri}");
    }
    assert_eq!(routed("GET", "/b/k?x-id=anything", &[]), Ok(Op::GetObject));
}
