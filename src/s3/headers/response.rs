//! Filters the headers of the storage's response: the headers that S3 defines stay; hop-by-hop headers and
//! headers that describe the ciphertext are removed.

use http::header::{CONTENT_LENGTH, CONTENT_RANGE, HeaderMap, HeaderName};
use smallvec::SmallVec;

use super::{METADATA, RESERVED, nominated};
use crate::wire::header::PARTS_COUNT;

/// The response headers of S3, the shorter ones first, those of one length in alphabetical order;
/// `x-amz-meta-*` headers are kept in addition.
/// `Location` is not listed: CreateBucket is the only operation that has it, and the proxy writes its own
/// value there. `Server` is not listed because this server sets its own.
/// Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/RESTCommonResponseHeaders.html> and the
/// response headers of each operation in S3's API reference, plus the HTTP headers that errors and CORS
/// need.
const OF_S3: &[&str] = &[
    "date",
    "etag",
    "vary",
    "allow",
    "expires",
    "x-amz-id-2",
    "retry-after",
    "content-type",
    "accept-ranges",
    "cache-control",
    "content-range",
    "last-modified",
    "x-amz-restore",
    "content-length",
    "content-encoding",
    "content-language",
    "x-amz-abort-date",
    "x-amz-bucket-arn",
    "x-amz-expiration",
    "x-amz-request-id",
    "x-amz-version-id",
    "x-amz-object-size",
    "x-amz-missing-meta",
    "content-disposition",
    "x-amz-abort-rule-id",
    "x-amz-bucket-region",
    "x-amz-delete-marker",
    "x-amz-storage-class",
    "x-amz-tagging-count",
    "x-amz-archive-status",
    "x-amz-mp-parts-count",
    "x-amz-request-charged",
    "access-control-max-age",
    "x-amz-object-lock-mode",
    "x-amz-object-version-id",
    "x-amz-access-point-alias",
    "x-amz-replication-status",
    "x-amz-restore-output-path",
    "x-amz-bucket-location-name",
    "x-amz-bucket-location-type",
    "access-control-allow-origin",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "x-amz-copy-source-version-id",
    "x-amz-object-lock-event-hold",
    "x-amz-object-lock-legal-hold",
    "access-control-expose-headers",
    "x-amz-website-redirect-location",
    "access-control-allow-credentials",
    "x-amz-object-lock-retain-until-date",
    "x-amz-object-lock-event-hold-duration-days",
    "x-amz-object-lock-event-hold-duration-years",
    "x-amz-transition-default-minimum-object-size",
];

/// The start of all headers with which a response permits a page of another origin to read it.
const CORS: &str = "access-control-";

/// Keeps the headers in which S3 describes an object or a bucket. Removes the hop-by-hop headers of the
/// upstream connection (RFC 9110 §7.6.1), every header that S3 does not define (a browser applies
/// `Set-Cookie`, `Refresh` or `Clear-Site-Data` to the proxy's origin), the proxy's own metadata, and the
/// headers about the storage's own encryption and the ciphertext's checksum. Content-Length stays even if
/// the Connection header names it: a client must be able to detect a truncated body.
pub fn keep_s3_headers(headers: &mut HeaderMap) {
    drop_nominated(headers);
    remove(headers, |name| !is_kept(name));
}

/// Keeps the headers of S3, as [`keep_s3_headers`] does, except those that say which stored bytes a response
/// has.
pub fn keep_object_headers(headers: &mut HeaderMap) {
    drop_nominated(headers);
    remove(headers, |name| !is_kept(name) || name == CONTENT_RANGE.as_str() || name == PARTS_COUNT);
}

/// Removes what permits a page of another origin to read a response; for a request that came from none.
pub fn remove_cors(headers: &mut HeaderMap) {
    remove(headers, |name| name.starts_with(CORS));
}

/// Removes the headers that `Connection` declares to be connection-level, except for the length, which no
/// `Connection` can take from a response.
fn drop_nominated(headers: &mut HeaderMap) {
    for name in nominated(headers) {
        if name != CONTENT_LENGTH.as_str() {
            headers.remove(name);
        }
    }
}

fn is_kept(name: &str) -> bool {
    if name.starts_with(METADATA) {
        return !RESERVED.contains(&name);
    }
    // No name of the list describes the ciphertext.
    is_of_s3(name)
}

/// How many names of [`OF_S3`] are shorter than each length up to that of the longest and one more.
static SHORTER: [u8; 46] = {
    let mut shorter = [0; 46];
    let mut length = 0;
    while length < shorter.len() {
        let mut at = 0;
        while at < OF_S3.len() {
            if OF_S3[at].len() < length {
                shorter[length] += 1;
            }
            at += 1;
        }
        length += 1;
    }
    shorter
};

fn is_of_s3(name: &str) -> bool {
    let Some([shorter, longer]) = SHORTER.get(name.len()..).and_then(|counts| counts.first_chunk()) else {
        return false;
    };
    // Few of the names have one length, and most of these another beginning or end.
    let ends = |name: &str| (name.as_bytes().first().copied(), name.as_bytes().last().copied());
    let of_length = &OF_S3[usize::from(*shorter)..usize::from(*longer)];
    of_length.iter().any(|known| ends(known) == ends(name) && *known == name)
}

fn remove(headers: &mut HeaderMap, is_removed: impl Fn(&str) -> bool) {
    let removed = headers.keys().filter(|name| is_removed(name.as_str()));
    let removed: SmallVec<[HeaderName; 8]> = removed.cloned().collect();
    for name in removed {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{HOP_BY_HOP, SSE};
    use super::*;
    use crate::wire::checksum::CHECKSUM_PREFIX;

    #[test]
    fn the_list_is_in_order_and_has_nothing_of_the_connection() {
        assert!(OF_S3.is_sorted_by_key(|name| (name.len(), *name)));
        for name in OF_S3 {
            assert!(is_kept(name), "{name}");
            assert!(HOP_BY_HOP.iter().all(|hop| hop != name), "{name}");
            assert!(!name.starts_with(SSE) && !name.starts_with(CHECKSUM_PREFIX), "{name}");
        }
    }

    #[test]
    fn an_objects_headers_name_no_stored_bytes() {
        let all = ["content-range", "x-amz-mp-parts-count", "etag", "via", "x-amz-meta-a"];
        let names = |keep: fn(&mut HeaderMap)| {
            let headers = all.map(|name| (HeaderName::from_static(name), "1".parse().unwrap()));
            let mut headers = HeaderMap::from_iter(headers);
            keep(&mut headers);
            all.into_iter().filter(|name| headers.contains_key(*name)).collect::<Vec<_>>()
        };
        assert_eq!(names(keep_object_headers), ["etag", "x-amz-meta-a"]);
        assert_eq!(names(keep_s3_headers), [&all[..3], &all[4..]].concat());
    }

    #[test]
    fn what_s3_does_not_have_never_reaches_a_browser() {
        for name in [
            "alt-svc",
            "clear-site-data",
            "connection",
            "content-location",
            "content-security-policy",
            "link",
            "location",
            "nel",
            "proxy-authenticate",
            "refresh",
            "report-to",
            "server",
            "service-worker-allowed",
            "set-cookie",
            "sourcemap",
            "strict-transport-security",
            "transfer-encoding",
            "upgrade",
            "via",
            "www-authenticate",
            "x-amz-error-message",
            "x-amz-security-token",
            "x-internal-node",
            "x-minio-error-code",
            "x-rgw-object-type",
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(name, "x".parse().unwrap());
            keep_s3_headers(&mut headers);
            assert!(headers.is_empty(), "{name}");
        }
    }

    #[test]
    fn cors_headers_go_together() {
        let mut headers: HeaderMap =
            OF_S3.iter().map(|name| (HeaderName::from_static(name), "x".parse().unwrap())).collect();
        remove_cors(&mut headers);
        assert_eq!(headers.len(), OF_S3.len() - 6);
        assert!(headers.contains_key("vary"));
    }
}
