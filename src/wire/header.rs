//! The names of S3's headers that more than one module uses, in lower case.
//!
//! It must not know what a header means for a request; names that only one file uses stay in that file.
//! Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/RESTCommonRequestHeaders.html>

use http::{HeaderMap, HeaderName, HeaderValue};

/// The text of a value of visible ASCII characters, spaces and tabs; `None` for others, as
/// [`HeaderValue::to_str`] refuses.
pub fn text(value: &HeaderValue) -> Option<&str> {
    let is_text = |byte: u8| matches!(byte, b' '..=b'~') | (byte == b'\t');
    let bytes = value.as_bytes();
    // Without a way out early, since nearly all are: several bytes are looked at at once.
    bytes.iter().fold(true, |all, byte| all & is_text(*byte)).then(|| str::from_utf8(bytes).ok())?
}

/// The first value of a header that is most often not there. A look at each of a few names costs less than
/// the hash of a long one.
pub fn find<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h HeaderValue> {
    headers.iter().find(|(present, _)| *present == name).map(|(_, value)| value)
}

/// The prefix of user metadata.
pub const METADATA: &str = "x-amz-meta-";
/// The wrapped data key, base64; stored with the object, hidden from clients.
pub const ENCRYPTION_KEY: &str = "x-amz-meta-encryption-key";
/// The envelope around the content key, base64; stored with the object, hidden from clients.
pub const ENCRYPTION_ENVELOPE: &str = "x-amz-meta-encryption-envelope";
/// The data key, wrapped for further holders, base64; stored with the object, hidden from clients.
pub const ENCRYPTION_HOLDERS: &str = "x-amz-meta-encryption-holders";
/// A plaintext length, decimal; stored with some formats' objects, hidden from clients.
pub const ENCRYPTION_LENGTH: &str = "x-amz-meta-encryption-length";
/// The user metadata names that belong to the proxy.
pub const RESERVED: [&str; 4] = [ENCRYPTION_KEY, ENCRYPTION_ENVELOPE, ENCRYPTION_HOLDERS, ENCRYPTION_LENGTH];

/// The source of a copy; makes a PUT a copy.
pub const COPY_SOURCE: &str = "x-amz-copy-source";
/// The range of the source's bytes that become a part.
pub const COPY_SOURCE_RANGE: &str = "x-amz-copy-source-range";
/// The ETag that the source of a copy must have.
pub const COPY_SOURCE_IF_MATCH: &str = "x-amz-copy-source-if-match";
/// The ETags that the source of a copy must not have.
pub const COPY_SOURCE_IF_NONE_MATCH: &str = "x-amz-copy-source-if-none-match";
/// Whether a copy has its source's metadata (`COPY`) or the request's (`REPLACE`).
pub const METADATA_DIRECTIVE: &str = "x-amz-metadata-directive";
/// Whether a copy has its source's tags (`COPY`) or the request's (`REPLACE`).
pub const TAGGING_DIRECTIVE: &str = "x-amz-tagging-directive";
/// The account id that must own the bucket of a copy's source.
pub const SOURCE_OWNER: &str = "x-amz-source-expected-bucket-owner";
/// The canned ACL of a new object or bucket.
pub const CANNED_ACL: &str = "x-amz-acl";
/// `true` deletes or changes what governance retention protects.
pub const BYPASS_GOVERNANCE: &str = "x-amz-bypass-governance-retention";
/// Makes a PUT an append.
pub const WRITE_OFFSET_BYTES: &str = "x-amz-write-offset-bytes";
/// The MD5 of the body, base64.
pub const CONTENT_MD5: &str = "content-md5";
/// The names of the trailers that follow the body.
pub const TRAILER_NAMES: &str = "x-amz-trailer";
/// The algorithm of the checksum that an SDK sends.
pub const SDK_CHECKSUM_ALGORITHM: &str = "x-amz-sdk-checksum-algorithm";
/// The algorithm of an object's checksum.
pub const CHECKSUM_ALGORITHM: &str = "x-amz-checksum-algorithm";
/// Whether a checksum is one of the parts' checksums (`COMPOSITE`) or of all bytes (`FULL_OBJECT`).
pub const CHECKSUM_TYPE: &str = "x-amz-checksum-type";
/// `ENABLED` in a GET or HEAD requests the object's checksum.
pub const CHECKSUM_MODE: &str = "x-amz-checksum-mode";

/// The server-side encryption, in requests and responses.
pub const SSE: &str = "x-amz-server-side-encryption";
/// The KMS key, in requests and responses.
pub const SSE_KMS_KEY_ID: &str = "x-amz-server-side-encryption-aws-kms-key-id";
/// A KMS encryption context from the client.
pub const SSE_CONTEXT: &str = "x-amz-server-side-encryption-context";
/// Whether S3 may reuse a data key within the bucket.
pub const SSE_BUCKET_KEY: &str = "x-amz-server-side-encryption-bucket-key-enabled";
/// The prefix of SSE-C's headers.
pub const SSE_CUSTOMER_PREFIX: &str = "x-amz-server-side-encryption-customer-";

/// The time at which a request was signed, `YYYYMMDD'T'HHMMSS'Z'`.
pub const DATE: &str = "x-amz-date";
/// The SHA-256 of the body in hexadecimal digits, or the name of another way to bind the body to the
/// signature.
pub const CONTENT_SHA256: &str = "x-amz-content-sha256";
/// The session token of temporary credentials.
pub const SECURITY_TOKEN: &str = "x-amz-security-token";
/// The length of an aws-chunked body without framing, in bytes.
pub const DECODED_CONTENT_LENGTH: &str = "x-amz-decoded-content-length";
/// The account id that must own the bucket.
pub const EXPECTED_BUCKET_OWNER: &str = "x-amz-expected-bucket-owner";
/// Confirms that the requester pays.
pub const REQUEST_PAYER: &str = "x-amz-request-payer";
/// In a response: the requester was charged.
pub const REQUEST_CHARGED: &str = "x-amz-request-charged";
/// The id of the request, in responses.
pub const REQUEST_ID: &str = "x-amz-request-id";
/// The number of parts of an object, in the response to a read of one part.
pub const PARTS_COUNT: &str = "x-amz-mp-parts-count";
/// The version of the object, in responses.
pub const VERSION_ID: &str = "x-amz-version-id";
/// The version of a copy's source, in responses.
pub const COPY_SOURCE_VERSION_ID: &str = "x-amz-copy-source-version-id";
/// The object's tags, encoded as a query.
pub const TAGGING: &str = "x-amz-tagging";

/// The names above that every request or response of an object has, as [`HeaderName`]s: a lookup by text
/// parses the text first.
pub mod name {
    use super::HeaderName;

    macro_rules! names {
        ($($name:ident),+) => {$(
            #[doc = concat!("The name whose text the constant `", stringify!($name), "` is.")]
            pub static $name: HeaderName = HeaderName::from_static(super::$name);
        )+};
    }

    names!(CHECKSUM_ALGORITHM, CHECKSUM_MODE, CHECKSUM_TYPE, CONTENT_MD5, CONTENT_SHA256, COPY_SOURCE);
    names!(DECODED_CONTENT_LENGTH, ENCRYPTION_ENVELOPE, ENCRYPTION_HOLDERS, EXPECTED_BUCKET_OWNER);
    names!(
        ENCRYPTION_KEY,
        ENCRYPTION_LENGTH,
        PARTS_COUNT,
        REQUEST_ID,
        REQUEST_PAYER,
        SDK_CHECKSUM_ALGORITHM,
        SECURITY_TOKEN,
        SSE,
        SSE_KMS_KEY_ID,
        TRAILER_NAMES,
        WRITE_OFFSET_BYTES
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_what_http_takes_for_one() {
        for byte in 0..=u8::MAX {
            for value in [vec![byte], [b"a value of many bytes, ".as_slice(), &[byte], b" in it"].concat()] {
                let Ok(value) = HeaderValue::from_bytes(&value) else { continue };
                assert_eq!(text(&value), value.to_str().ok(), "{byte}");
            }
        }
    }
}
