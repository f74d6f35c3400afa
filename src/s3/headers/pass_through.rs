//! The request headers that an operation without object content passes on, by name, for each operation to
//! which S3 gives them a meaning.
//! Source: the request headers of each operation in S3's API reference,
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations_Amazon_Simple_Storage_Service.html>

use http::header::{HeaderMap, HeaderName};

use super::request::{HeaderAction, check_text, collect, not_implemented, upload_action};
use super::{BYPASS_GOVERNANCE, CANNED_ACL, CONTENT_MD5, SDK_CHECKSUM_ALGORITHM, is_checksum_setting};
use crate::s3::error::S3Error;
use crate::s3::operation::{Effect, Operation, Verb};
use crate::wire::checksum::CHECKSUM_PREFIX;

/// For every operation: the page's origin (CORS), the expected owner of the bucket, and who pays.
const OF_EVERY_OPERATION: [&str; 3] = ["origin", "x-amz-expected-bucket-owner", "x-amz-request-payer"];

/// For PUT and POST: what describes the document in the body, beside the values of its checksums.
const OF_A_DOCUMENT: [&str; 3] = [CONTENT_MD5, "content-type", SDK_CHECKSUM_ALGORITHM];

const MFA: &str = "x-amz-mfa";
const LOCK_TOKEN: &str = "x-amz-bucket-object-lock-token";
const OPTIONAL_ATTRIBUTES: &str = "x-amz-optional-object-attributes";

/// The ACL of a request: a canned one, or its grants.
const ACL: &[&str] = &[
    CANNED_ACL,
    "x-amz-grant-full-control",
    "x-amz-grant-read",
    "x-amz-grant-read-acp",
    "x-amz-grant-write",
    "x-amz-grant-write-acp",
];

/// What an operation takes beside that. A row may occur twice.
const TAKEN: &[(Operation, &[&str])] = &[
    (Operation::AbortMultipartUpload, &["x-amz-if-match-initiated-time"]),
    (Operation::CreateBucket, ACL),
    (
        Operation::CreateBucket,
        &["x-amz-bucket-namespace", "x-amz-bucket-object-lock-enabled", "x-amz-object-ownership"],
    ),
    (Operation::DeleteObject, &["if-match", BYPASS_GOVERNANCE, "x-amz-if-match-last-modified-time", MFA]),
    (Operation::DeleteObjectAnnotation, &["x-amz-object-if-match"]),
    (Operation::DeleteObjects, &[BYPASS_GOVERNANCE, MFA]),
    (Operation::ListObjects, &[OPTIONAL_ATTRIBUTES]),
    (Operation::ListObjectsV2, &[OPTIONAL_ATTRIBUTES]),
    (Operation::ListObjectVersions, &[OPTIONAL_ATTRIBUTES]),
    (Operation::PutBucketAcl, ACL),
    (Operation::PutBucketLifecycleConfiguration, &["x-amz-transition-default-minimum-object-size"]),
    (Operation::PutBucketNotificationConfiguration, &["x-amz-skip-destination-validation"]),
    (Operation::PutBucketPolicy, &["x-amz-confirm-remove-self-bucket-access"]),
    (Operation::PutBucketReplication, &[LOCK_TOKEN]),
    (Operation::PutBucketVersioning, &[MFA]),
    (Operation::PutObjectAcl, ACL),
    (Operation::PutObjectLockConfiguration, &[LOCK_TOKEN]),
    (Operation::PutObjectRetention, &[BYPASS_GOVERNANCE]),
];

/// The headers of a request without object content that go upstream: those to which S3 gives a meaning for
/// `operation`. Headers of the connection, the signature, the body's framing or other services are not among
/// them.
///
/// A checksum that came as a trailer is verified elsewhere and is not included: the caller adds it as a
/// header.
///
/// # Errors
/// `NotImplemented`, with the header's name, for a header of a write that could be a condition or a setting
/// and that the operation does not have: a condition that the operation does not know, or an `x-amz-*` header
/// that no operation has. Without it, the write would do what the client wanted to prevent. Reads ignore
/// such headers, as S3 does. `InvalidArgument`, with the header's name, for a value that is not UTF-8.
pub fn passthrough_headers(operation: Operation, headers: &HeaderMap) -> Result<HeaderMap, S3Error> {
    let takes = |name: &str| takes_header(operation, name);
    if operation.effect() == Effect::Write
        && let Some(name) =
            headers.keys().map(|name| name.as_str()).find(|name| !takes(name) && is_refused(name))
    {
        return Err(not_implemented(name));
    }
    let passed = collect(headers.iter().filter(|(name, _)| takes(name.as_str())));
    check_text(&passed)?;
    Ok(passed)
}

/// Removes what the client said of a document, from a request that brings another.
pub fn remove_digests(headers: &mut HeaderMap) {
    let is_digest = |name: &str| {
        name == CONTENT_MD5 || name == SDK_CHECKSUM_ALGORITHM || name.starts_with(CHECKSUM_PREFIX)
    };
    let digests: Vec<HeaderName> = headers.keys().filter(|name| is_digest(name.as_str())).cloned().collect();
    for name in digests {
        headers.remove(name);
    }
}

fn takes_header(operation: Operation, name: &str) -> bool {
    let has_document = matches!(operation.row().verb, Verb::Put | Verb::Post);
    let is_checksum = name.starts_with(CHECKSUM_PREFIX) && !is_checksum_setting(name);
    OF_EVERY_OPERATION.contains(&name)
        || (has_document && (is_checksum || OF_A_DOCUMENT.contains(&name)))
        || TAKEN.iter().any(|(taker, names)| *taker == operation && names.contains(&name))
}

/// Whether a header that a write does not take stops it.
fn is_refused(name: &str) -> bool {
    let is_condition = name.starts_with("if-") && name != "if-range";
    is_condition || (name.starts_with("x-amz-") && matches!(upload_action(name), HeaderAction::Refuse))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::error::ErrorCode;

    fn map(names: &[&'static str]) -> HeaderMap {
        names.iter().map(|name| (HeaderName::from_static(name), "x".parse().unwrap())).collect()
    }

    fn passed(operation: Operation, names: &[&'static str]) -> Vec<String> {
        let headers = passthrough_headers(operation, &map(names)).unwrap();
        let mut names: Vec<_> = headers.keys().map(|name| name.as_str().to_owned()).collect();
        names.sort_unstable();
        names
    }

    /// What clients, proxies before this one and attackers send with any request.
    const OF_NO_OPERATION: &[&str] = &[
        "accept",
        "accept-encoding",
        "access-control-request-method",
        "authorization",
        "connection",
        "content-encoding",
        "content-length",
        "cookie",
        "date",
        "expect",
        "forwarded",
        "host",
        "keep-alive",
        "proxy-authorization",
        "range",
        "transfer-encoding",
        "upgrade",
        "user-agent",
        "via",
        "x-amz-content-sha256",
        "x-amz-date",
        "x-amz-decoded-content-length",
        "x-amz-meta-a",
        "x-amz-security-token",
        "x-amz-storage-class",
        "x-amz-trailer",
        "x-amz-user-agent",
        "x-aws-ec2-metadata-token",
        "x-aws-ec2-metadata-token-ttl-seconds",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-http-method-override",
        "x-minio-force-delete",
    ];

    #[test]
    fn what_no_operation_takes_goes_nowhere() {
        for operation in Operation::ALL {
            assert_eq!(passed(*operation, OF_NO_OPERATION), [""; 0], "{operation}");
        }
    }

    #[test]
    fn every_operation_takes_what_is_its_own() {
        for operation in Operation::ALL {
            let owner = ["origin", "x-amz-expected-bucket-owner", "x-amz-request-payer"];
            assert_eq!(passed(*operation, &owner), owner, "{operation}");
        }
        for (operation, names) in TAKEN {
            let mut sorted = names.to_vec();
            sorted.sort_unstable();
            assert_eq!(passed(*operation, names), sorted, "{operation}");
        }
        let document = [
            "content-md5",
            "content-type",
            "x-amz-checksum-crc32",
            "x-amz-checksum-sha512",
            SDK_CHECKSUM_ALGORITHM,
        ];
        for operation in [Operation::DeleteObjects, Operation::PutBucketPolicy, Operation::RestoreObject] {
            assert_eq!(passed(operation, &document), document, "{operation}");
        }
        assert_eq!(passed(Operation::GetBucketPolicy, &document), [""; 0]);
        let created = ["x-amz-acl", "x-amz-bucket-object-lock-enabled", "x-amz-object-ownership"];
        assert_eq!(passed(Operation::CreateBucket, &created), created);
    }

    #[test]
    fn values_are_bytes_and_repeated_lines_stay() {
        let mut headers = HeaderMap::new();
        headers.append("x-amz-grant-read", "id=\"1\"".parse().unwrap());
        headers.append("x-amz-grant-read", "id=\"2\"".parse().unwrap());
        assert_eq!(passthrough_headers(Operation::PutBucketAcl, &headers), Ok(headers));
    }

    #[test]
    fn digests_are_of_one_document() {
        let mut headers = map(&[CONTENT_MD5, "x-amz-checksum-crc32", SDK_CHECKSUM_ALGORITHM, MFA]);
        remove_digests(&mut headers);
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), [MFA]);
    }

    /// A write on a condition must not become one without.
    #[test]
    fn a_write_with_a_condition_of_another_operation_is_refused() {
        for (operation, name) in [
            (Operation::DeleteObject, "if-none-match"),
            (Operation::DeleteObject, "if-unmodified-since"),
            (Operation::DeleteObject, "x-amz-if-match-size"),
            (Operation::DeleteObjects, "if-match"),
            (Operation::PutObjectTagging, "if-match"),
            (Operation::DeleteObject, "x-amz-some-new-condition"),
            (Operation::PutBucketPolicy, "x-amz-bypass-governance-retention"),
            (Operation::PutObjectTagging, "x-amz-copy-source"),
            (Operation::PutObjectTagging, "x-amz-write-offset-bytes"),
        ] {
            let refused = passthrough_headers(operation, &map(&[name])).unwrap_err();
            assert_eq!(refused.code, ErrorCode::NotImplemented, "{operation} {name}");
            assert_eq!(refused.extra, [("Header", name.to_owned())]);
        }
        for name in ["if-none-match", "x-amz-some-new-thing", "x-amz-checksum-mode"] {
            assert_eq!(passed(Operation::GetObjectTagging, &[name]), [""; 0], "{name}");
        }
    }
}
