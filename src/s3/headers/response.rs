//! The storage's answer headers: what ends at this hop, and what speaks of the ciphertext.

use http::header::{CONTENT_LENGTH, HeaderMap, HeaderName};

use super::{HOP_BY_HOP, RESERVED, SSE, nominated};
use crate::s3::checksum::CHECKSUM_PREFIX;

/// Removes what belongs to the connection the message came by (RFC 9110 §7.6.1). Content-Length stays, whatever the
/// Connection header says: a body whose length is unmet must be seen to be cut.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    for name in nominated(headers) {
        if name != CONTENT_LENGTH.as_str() {
            headers.remove(name);
        }
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

/// Removes the proxy's own metadata, and the storage's words about its own encryption and about the ciphertext's
/// checksum.
pub fn hide_private(headers: &mut HeaderMap) {
    let private = |name: &HeaderName| {
        let name = name.as_str();
        RESERVED.contains(&name) || name.starts_with(SSE) || name.starts_with(CHECKSUM_PREFIX)
    };
    let hidden: Vec<HeaderName> = headers.keys().filter(|name| private(name)).cloned().collect();
    for name in hidden {
        headers.remove(name);
    }
}
