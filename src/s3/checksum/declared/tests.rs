use http::HeaderName;

use super::*;
use crate::wire::checksum::ChecksumAlgorithm as Algorithm;

const DIGITS: &[u8] = b"123456789";
const CRC32: &str = "y/Q5Jg==";
const MD5: &str = "JfnnlDI7RTiF9RgfG2JNCw==";

fn map(lines: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    }
    headers
}

fn declared(lines: &[(&'static str, &str)]) -> Result<DeclaredIntegrity, S3Error> {
    DeclaredIntegrity::from_headers(&map(lines))
}

fn verdict(
    lines: &[(&'static str, &str)],
    body: &[u8],
    trailers: &[(&'static str, &str)],
) -> Result<Vec<Checksum>, S3Error> {
    let mut verifier = Verifier::new(&declared(lines).unwrap());
    body.chunks(4).for_each(|piece| verifier.update(piece));
    verifier.finish(&map(trailers))
}

#[test]
fn nothing_declared_is_nothing_computed() {
    let declared = declared(&[("content-type", "text/plain"), ("x-amz-checksum-mode", "ENABLED")]).unwrap();
    assert_eq!(declared, DeclaredIntegrity::default());
    assert!(!declared.is_verifiable());
    assert!(Verifier::new(&declared).hashers.is_empty());
    assert_eq!(verdict(&[], DIGITS, &[]), Ok(vec![]));
}

#[test]
fn reads_every_algorithm_from_header_and_trailer() {
    for algorithm in Algorithm::ALL {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(DIGITS);
        let (right, wrong) = (hasher.finish(), Hasher::new(algorithm).finish());
        let (name, token) = (algorithm.header(), algorithm.token());

        let header = [(name, &*right.to_string()), ("x-amz-sdk-checksum-algorithm", token)];
        assert_eq!(declared(&header).unwrap().algorithm(), Some(algorithm));
        assert_eq!(verdict(&header, DIGITS, &[]), Ok(vec![right]), "{algorithm}");
        let error = verdict(&[(name, &wrong.to_string())], DIGITS, &[]).unwrap_err();
        assert_eq!(error.code, ErrorCode::BadDigest);
        assert_eq!(
            error.message,
            format!("The {token} you specified did not match the calculated checksum.")
        );

        let trailer = [("x-amz-trailer", name), ("x-amz-sdk-checksum-algorithm", token)];
        assert_eq!(verdict(&trailer, DIGITS, &[(name, &right.to_string())]), Ok(vec![right]), "{algorithm}");
        assert_eq!(
            verdict(&trailer, DIGITS, &[(name, &wrong.to_string())]).unwrap_err().code,
            ErrorCode::BadDigest
        );
    }
}

#[test]
fn content_md5() {
    assert_eq!(verdict(&[("content-md5", MD5)], DIGITS, &[]), Ok(vec![]));
    let error = verdict(&[("content-md5", MD5)], b"12345678", &[]).unwrap_err();
    assert_eq!(error.code, ErrorCode::BadDigest);
    assert_eq!(error.extra[0], ("ExpectedDigest", MD5.to_owned()));
    assert!(declared(&[("content-md5", MD5)]).unwrap().is_verifiable());
    for bad in [
        "",
        "AAAA",
        "not base64!!",
        "JfnnlDI7RTiF9RgfG2JNCw",
        "JfnnlDI7RTiF9RgfG2JNCx==",
        "25f9e794323b453885f5181f1b624d0b",
    ] {
        assert_eq!(declared(&[("content-md5", bad)]).unwrap_err().code, ErrorCode::InvalidDigest, "{bad:?}");
    }
    let twice = [("content-md5", MD5), ("content-md5", MD5)];
    assert_eq!(declared(&twice).unwrap_err().code, ErrorCode::InvalidDigest);
}

#[test]
fn both_content_md5_and_a_checksum_must_hold() {
    let both = [("content-md5", MD5), ("x-amz-checksum-crc32", CRC32)];
    assert!(verdict(&both, DIGITS, &[]).is_ok());
    let wrong_md5 = [("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg=="), ("x-amz-checksum-crc32", CRC32)];
    assert_eq!(verdict(&wrong_md5, DIGITS, &[]).unwrap_err().code, ErrorCode::BadDigest);
    let wrong_crc = [("content-md5", MD5), ("x-amz-checksum-crc32", "AAAAAA==")];
    assert_eq!(verdict(&wrong_crc, DIGITS, &[]).unwrap_err().code, ErrorCode::BadDigest);
}

#[test]
fn contradictory_or_malformed_declarations() {
    for (lines, message) in [
        (
            [("x-amz-checksum-crc32", CRC32), ("x-amz-checksum-crc32c", "4waSgw==")],
            "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
        ),
        (
            [("x-amz-checksum-crc32", CRC32), ("x-amz-checksum-crc32", CRC32)],
            "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
        ),
        (
            [("x-amz-checksum-crc32", CRC32), ("x-amz-trailer", "x-amz-checksum-crc32")],
            "Expecting a single x-amz-checksum- header",
        ),
        (
            [("x-amz-trailer", "x-amz-checksum-crc32"), ("x-amz-trailer", "x-amz-checksum-sha1")],
            "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
        ),
        (
            [("x-amz-trailer", "x-amz-checksum-crc32, x-amz-checksum-crc32"), ("host", "")],
            "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
        ),
        (
            [("x-amz-trailer", "x-amz-meta-a"), ("host", "")],
            "The value specified in the x-amz-trailer header is not supported",
        ),
        (
            [("x-amz-trailer", ""), ("host", "")],
            "The value specified in the x-amz-trailer header is not supported",
        ),
        (
            [("x-amz-checksum-crc32", "AAAA"), ("host", "")],
            "Value for x-amz-checksum-crc32 header is invalid.",
        ),
        (
            [("x-amz-checksum-sha256", CRC32), ("host", "")],
            "Value for x-amz-checksum-sha256 header is invalid.",
        ),
        (
            [("x-amz-checksum-crc32", CRC32), ("x-amz-sdk-checksum-algorithm", "CRC32C")],
            "Value for x-amz-sdk-checksum-algorithm header is invalid.",
        ),
        (
            [("x-amz-trailer", "x-amz-checksum-sha1"), ("x-amz-sdk-checksum-algorithm", "SHA256")],
            "Value for x-amz-sdk-checksum-algorithm header is invalid.",
        ),
        (
            [("x-amz-sdk-checksum-algorithm", "SHA1"), ("x-amz-checksum-algorithm", "SHA256")],
            "Value for x-amz-checksum-algorithm header is invalid.",
        ),
        ([("x-amz-checksum-type", "SOME"), ("host", "")], "Value for x-amz-checksum-type header is invalid."),
        (
            [("x-amz-checksum-type", "COMPOSITE"), ("x-amz-checksum-type", "COMPOSITE")],
            "Value for x-amz-checksum-type header is invalid.",
        ),
    ] {
        let error = declared(&lines).unwrap_err();
        assert_eq!((error.code, &*error.message), (ErrorCode::InvalidRequest, message), "{lines:?}");
    }
    for lines in [[("x-amz-sdk-checksum-algorithm", "CRC32")], [("x-amz-checksum-algorithm", "CRC33")]] {
        assert_eq!(declared(&lines).unwrap_err().code, ErrorCode::InvalidRequest, "{lines:?}");
    }
}

#[test]
fn an_algorithm_nobody_here_computes_is_not_taken_for_granted() {
    for lines in [[("x-amz-checksum-sha3", "AAAA")], [("x-amz-trailer", "x-amz-checksum-xxhash32")]] {
        assert_eq!(declared(&lines).unwrap_err().code, ErrorCode::NotImplemented, "{lines:?}");
    }
}

#[test]
fn settings_are_read() {
    let create =
        declared(&[("x-amz-checksum-algorithm", "crc64nvme"), ("x-amz-checksum-type", "full_object")])
            .unwrap();
    assert_eq!(create.requested, Some(Algorithm::Crc64Nvme));
    assert_eq!(create.checksum_type.map(ChecksumType::token), Some("FULL_OBJECT"));
    assert!(!create.is_verifiable());
}

#[test]
fn trailers_are_as_promised() {
    const PROMISE: [(&str, &str); 1] = [("x-amz-trailer", "X-Amz-Checksum-Crc32")];
    for (headers, trailers, code) in [
        (PROMISE.as_slice(), [].as_slice(), ErrorCode::MalformedTrailerError),
        (&PROMISE, &[("x-amz-trailer-signature", "00")], ErrorCode::MalformedTrailerError),
        (&PROMISE, &[("x-amz-checksum-crc32c", "4waSgw==")], ErrorCode::MalformedTrailerError),
        (&PROMISE, &[("x-amz-checksum-sha512", "AAAA")], ErrorCode::MalformedTrailerError),
        (
            &PROMISE,
            &[("x-amz-checksum-crc32", CRC32), ("x-amz-checksum-crc32", CRC32)],
            ErrorCode::MalformedTrailerError,
        ),
        (
            &PROMISE,
            &[("x-amz-checksum-crc32", CRC32), ("x-amz-checksum-crc32c", "4waSgw==")],
            ErrorCode::MalformedTrailerError,
        ),
        (&[], &[("x-amz-checksum-crc32", CRC32)], ErrorCode::MalformedTrailerError),
        (&PROMISE, &[("x-amz-checksum-crc32", "junk")], ErrorCode::InvalidRequest),
        (&PROMISE, &[("x-amz-checksum-crc32", "")], ErrorCode::InvalidRequest),
    ] {
        assert_eq!(verdict(headers, DIGITS, trailers).unwrap_err().code, code, "{trailers:?}");
    }
    let signed = [("x-amz-checksum-crc32", CRC32), ("x-amz-trailer-signature", "00")];
    assert_eq!(verdict(&PROMISE, DIGITS, &signed).map(|checksums| checksums.len()), Ok(1));
}

#[test]
fn computes_what_is_asked_for_beside_what_is_declared() {
    let declared = declared(&[("x-amz-checksum-crc32", CRC32)]).unwrap();
    let mut verifier = Verifier::new(&declared).computing(Algorithm::Crc32).computing(Algorithm::Crc64Nvme);
    verifier.update(DIGITS);
    let checksums = verifier.finish(&HeaderMap::new()).unwrap();
    assert_eq!(checksums.iter().map(ToString::to_string).collect::<Vec<_>>(), [CRC32, "rosUhgp5mIg="]);
}
