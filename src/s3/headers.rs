//! Which request headers go upstream, which response headers go to the client, and which the proxy keeps.
//!
//! It must not send anything. A header that no rule names is not passed on.

mod connection;
mod copy;
mod customer;
mod pass_through;
mod request;
mod response;

pub use connection::refuse_nominations;
pub use copy::{Directive, copy_headers, is_copied_metadata, source_read_headers};
pub use customer::{CustomerKeys, is_of_customer_key};
pub use pass_through::{passthrough_headers, remove_digests};
pub use request::{
    SseRequest, check_metadata_size, first_with_tab, preflight_headers, put_headers, read_headers,
    sse_request, unhoist,
};
pub use response::{keep_object_headers, keep_s3_headers, remove_cors};

use http::header::{self, HeaderName};

pub use crate::wire::header::name;
pub use crate::wire::header::{
    BYPASS_GOVERNANCE, CANNED_ACL, CHECKSUM_ALGORITHM, CHECKSUM_MODE, CHECKSUM_TYPE, CONTENT_MD5,
    COPY_SOURCE, COPY_SOURCE_IF_MATCH, COPY_SOURCE_IF_NONE_MATCH, COPY_SOURCE_RANGE, ENCRYPTION_ENVELOPE,
    ENCRYPTION_HOLDERS, ENCRYPTION_KEY, ENCRYPTION_LENGTH, METADATA, METADATA_DIRECTIVE, RESERVED,
    SDK_CHECKSUM_ALGORITHM, SOURCE_OWNER, SSE, SSE_BUCKET_KEY, SSE_CONTEXT, SSE_CUSTOMER_PREFIX,
    SSE_KMS_KEY_ID, TAGGING_DIRECTIVE, TRAILER_NAMES, WRITE_OFFSET_BYTES,
};

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
