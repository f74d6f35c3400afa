//! Which headers of a request go upstream, which of an answer go downstream, and what the proxy keeps for itself.

mod connection;
mod copy;
mod pass_through;
mod request;
mod response;

pub use connection::refuse_nominations;
pub use copy::{Directive, copy_headers, is_copied_metadata, source_read_headers};
pub use pass_through::{passthrough_headers, remove_digests};
pub use request::{
    SseRequest, first_with_tab, preflight_headers, put_headers, read_headers, sse_request, unhoist,
};
pub use response::{keep_s3_headers, remove_cors};

use http::header::{self, HeaderName};

/// The prefix of user metadata.
pub const METADATA: &str = "x-amz-meta-";
/// The wrapped data key, base64; stored with the object, hidden from clients.
pub const ENCRYPTION_KEY: &str = "x-amz-meta-encryption-key";
/// The envelope around the content key, base64; stored with the object, hidden from clients.
pub const ENCRYPTION_ENVELOPE: &str = "x-amz-meta-encryption-envelope";
/// A plaintext length, decimal; stored with some formats' objects, hidden from clients.
pub const ENCRYPTION_LENGTH: &str = "x-amz-meta-encryption-length";
/// The user metadata names that belong to the proxy.
pub const RESERVED: [&str; 3] = [ENCRYPTION_KEY, ENCRYPTION_ENVELOPE, ENCRYPTION_LENGTH];

/// Makes a PUT a copy.
pub const COPY_SOURCE: &str = "x-amz-copy-source";
/// The bytes of the source that become a part, of its plaintext.
pub const COPY_SOURCE_RANGE: &str = "x-amz-copy-source-range";
/// The source of a copy only if it has this ETag.
pub const COPY_SOURCE_IF_MATCH: &str = "x-amz-copy-source-if-match";
/// The source of a copy only if it has none of these ETags.
pub const COPY_SOURCE_IF_NONE_MATCH: &str = "x-amz-copy-source-if-none-match";
/// Whether a copy's metadata are its source's or the request's.
pub const METADATA_DIRECTIVE: &str = "x-amz-metadata-directive";
/// Whether a copy's tags are its source's or the request's.
pub const TAGGING_DIRECTIVE: &str = "x-amz-tagging-directive";
/// Who shall own the bucket of a copy's source.
pub const SOURCE_OWNER: &str = "x-amz-source-expected-bucket-owner";
/// Makes a PUT an append.
pub const WRITE_OFFSET_BYTES: &str = "x-amz-write-offset-bytes";
/// The MD5 of the body, base64.
pub const CONTENT_MD5: &str = "content-md5";
/// Names the trailers that follow the body.
pub const TRAILER_NAMES: &str = "x-amz-trailer";
/// The SDK's word for the algorithm of the checksum it sends.
pub const SDK_CHECKSUM_ALGORITHM: &str = "x-amz-sdk-checksum-algorithm";
/// The algorithm an object's checksum shall have.
pub const CHECKSUM_ALGORITHM: &str = "x-amz-checksum-algorithm";
/// Composite or full object.
pub const CHECKSUM_TYPE: &str = "x-amz-checksum-type";
/// `ENABLED` asks a GET or HEAD for the object's checksum.
pub const CHECKSUM_MODE: &str = "x-amz-checksum-mode";

/// Server-side encryption, asked for and answered.
pub const SSE: &str = "x-amz-server-side-encryption";
/// The KMS key, asked for and answered.
pub const SSE_KMS_KEY_ID: &str = "x-amz-server-side-encryption-aws-kms-key-id";
/// A KMS encryption context of the client's own.
pub const SSE_CONTEXT: &str = "x-amz-server-side-encryption-context";
/// Whether S3 may reuse a data key within the bucket.
pub const SSE_BUCKET_KEY: &str = "x-amz-server-side-encryption-bucket-key-enabled";
/// The prefix of SSE-C's headers.
pub const SSE_CUSTOMER_PREFIX: &str = "x-amz-server-side-encryption-customer-";

/// Connection-level headers (RFC 9110 §7.6.1, and two that predate it).
pub static HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// The `x-amz-checksum-*` headers that are no checksum's value.
#[must_use]
pub fn is_checksum_setting(name: &str) -> bool {
    matches!(name, CHECKSUM_ALGORITHM | CHECKSUM_TYPE | CHECKSUM_MODE)
}

/// The names a Connection header declares to be connection-level too, in lower case.
fn nominated(headers: &http::HeaderMap) -> Vec<String> {
    let lines = headers.get_all(http::header::CONNECTION).iter();
    let names = lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(','));
    names.map(|name| name.trim().to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests;
