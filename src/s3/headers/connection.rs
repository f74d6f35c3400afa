//! The `Connection` header of a request, which no signature covers.

use http::header::HeaderMap;

use super::{HOP_BY_HOP, nominated};
use crate::s3::error::S3Error;

/// What `Connection` may name in addition to [`HOP_BY_HOP`]: a connection option, and a header of HTTP/2's
/// upgrade (RFC 7540, 3.2.1).
const OPTIONS: [&str; 2] = ["close", "http2-settings"];

/// Refuses a `Connection` header that declares an end-to-end header of the request to be hop-by-hop. That
/// would remove it from the request: a condition or a setting that its signer put there.
///
/// # Errors
/// `InvalidRequest` for the name of a header that the request has, or that S3 gives a meaning, unless it is a
/// hop-by-hop header or a connection option. Other names have no effect.
pub fn refuse_nominations(headers: &HeaderMap) -> Result<(), S3Error> {
    let of_connection =
        |name: &str| OPTIONS.contains(&name) || HOP_BY_HOP.iter().any(|hop| hop.as_str() == name);
    let of_s3 = |name: &str| ["x-amz-", "if-", "content-"].iter().any(|start| name.starts_with(start));
    let refused = nominated(headers)
        .into_iter()
        .find(|name| !of_connection(name) && (of_s3(name) || headers.contains_key(name.as_str())));
    match refused {
        None => Ok(()),
        Some(name) => {
            let message = format!("The Connection header must not name {name:?}, which is for the server.");
            Err(S3Error::invalid_request(message).with("Header", "Connection"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::error::ErrorCode;

    fn request(connection: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for name in ["host", "range", "authorization", "te", "x-private", "origin"] {
            headers.insert(name, "x".parse().unwrap());
        }
        for line in connection {
            headers.append("connection", line.parse().unwrap());
        }
        headers
    }

    #[test]
    fn what_is_signed_or_means_something_stays_in_the_request() {
        for line in [
            "if-match",
            "If-Match",
            "close, x-amz-bucket-object-lock-enabled",
            "X-Amz-Acl",
            "content-md5",
            "keep-alive ,\tcontent-length",
            "host",
            "authorization",
            "range",
            "origin",
            "x-private",
        ] {
            let refused = refuse_nominations(&request(&["close", line])).unwrap_err();
            assert_eq!(refused.code, ErrorCode::InvalidRequest, "This is a security issue: {line}.");
        }
    }

    #[test]
    fn options_of_the_connection_are_no_concern() {
        for line in ["close", "Keep-Alive", "upgrade, HTTP2-Settings", "TE", "Trailer", "", ",", "x-not-here"]
        {
            assert_eq!(refuse_nominations(&request(&[line])), Ok(()), "{line}");
        }
        assert_eq!(refuse_nominations(&HeaderMap::new()), Ok(()));
    }
}
