use std::collections::HashSet;

use super::*;

#[test]
fn codes_are_distinct_and_all_are_errors() {
    let codes: HashSet<_> = ErrorCode::ALL.iter().map(|code| code.code()).collect();
    assert_eq!(codes.len(), ErrorCode::ALL.len());
    assert_eq!(ErrorCode::parse("nosuchkey"), None);
    for code in ErrorCode::ALL {
        assert!(code.status().is_client_error() || code.status().is_server_error(), "{code}");
        assert!(!code.message().is_empty());
        assert_eq!(ErrorCode::parse(code.code()), Some(*code));
    }
}

#[test]
fn codes_and_statuses_are_those_of_s3() {
    for (code, name, status) in [
        (ErrorCode::InvalidURI, "InvalidURI", 400),
        (ErrorCode::KmsDisabledException, "KMS.DisabledException", 400),
        (ErrorCode::KmsInvalidStateException, "KMS.KMSInvalidStateException", 400),
        (ErrorCode::KmsNotFoundException, "KMS.NotFoundException", 400),
        (ErrorCode::SignatureDoesNotMatch, "SignatureDoesNotMatch", 403),
        (ErrorCode::RequestTimeTooSkewed, "RequestTimeTooSkewed", 403),
        (ErrorCode::NoSuchKey, "NoSuchKey", 404),
        (ErrorCode::MethodNotAllowed, "MethodNotAllowed", 405),
        (ErrorCode::MissingContentLength, "MissingContentLength", 411),
        (ErrorCode::PreconditionFailed, "PreconditionFailed", 412),
        (ErrorCode::InvalidRange, "InvalidRange", 416),
        (ErrorCode::NotImplemented, "NotImplemented", 501),
        (ErrorCode::IntegrityCheckFailed, "IntegrityCheckFailed", 502),
        (ErrorCode::SlowDown, "SlowDown", 503),
    ] {
        assert_eq!((code.code(), code.status().as_u16()), (name, status));
    }
}
