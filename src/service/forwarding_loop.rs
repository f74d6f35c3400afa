//! Detection of a proxy that is its own storage: each of its upstream requests arrives as a new request,
//! until its resources are exhausted. It must not know addresses. It promises that a request which has passed
//! through s3veil is refused.

use http::HeaderMap;
use http::header::VIA;

use crate::s3::S3Error;

/// The name in [`upstream::VIA`](crate::upstream::VIA).
const NAME: &str = "s3veil";

/// Refuses a request that has passed through s3veil before (RFC 9110, 7.6.3): an object that one proxy has
/// encrypted can't be stored through another.
///
/// # Errors
/// `InvalidRequest`.
pub(super) fn refuse(headers: &HeaderMap) -> Result<(), S3Error> {
    let hops = headers.get_all(VIA).iter().filter_map(|via| via.to_str().ok());
    let mut names = hops.flat_map(|via| via.split(',')).filter_map(|hop| hop.split_whitespace().nth(1));
    if names.any(|name| name == NAME) {
        return Err(S3Error::invalid_request(
            "This request has come through s3veil before: upstream.endpoint names this proxy, or another one before the \
             same storage. It must name the storage.",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_s3veils_own_name_is_refused() {
        let refused = |vias: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for via in vias {
                headers.append(VIA, http::HeaderValue::from_static(via));
            }
            refuse(&headers).is_err()
        };
        assert!(refused(&[crate::upstream::VIA]));
        assert!(refused(&["1.1 cache", "HTTP/1.1 other, 1.1 s3veil (comment)"]));
        for passed in [&[][..], &["1.1 nginx"], &["1.1 s3veil.example"], &["s3veil"]] {
            assert!(!refused(passed), "{passed:?}");
        }
    }
}
