//! CORS preflight: browsers send it without credentials, and only the bucket's CORS rules decide the
//! response.

use http::header::{ACCESS_CONTROL_REQUEST_METHOD, ORIGIN};
use http::{HeaderMap, Response};

use super::Resources;
use super::response::cors::send_preflight;
use super::response::pass_refusal;
use crate::body::BoxBody;
use crate::error::Result;
use crate::s3::{ErrorCode, S3Error, S3Path};

/// Passes a preflight to the storage. A preflight carries no content, reads none and changes nothing.
///
/// # Errors
/// `BadRequest` without an Origin or without a requested method, `AccessDenied` when no rule serves the
/// bucket, and the upstream error when the storage gave no response.
pub async fn preflight(
    resources: &Resources,
    path: &S3Path,
    request_headers: &HeaderMap,
) -> Result<Response<BoxBody>> {
    check(request_headers)?;
    if let Some(bucket) = path.bucket() {
        resources.policies.serve_bucket(bucket)?;
    }
    pass_refusal(send_preflight(resources, path, request_headers).await)
}

/// Checks that an OPTIONS request has the headers of a preflight. The messages are S3's.
fn check(headers: &HeaderMap) -> Result<(), S3Error> {
    let missing = if !headers.contains_key(ORIGIN) {
        "Insufficient information. Origin request header needed."
    } else if !headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD) {
        "Invalid Access-Control-Request-Method: null"
    } else {
        return Ok(());
    };
    Err(S3Error::new(ErrorCode::BadRequest, missing))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preflight_has_an_origin_and_asks_for_a_method() {
        let mut headers = HeaderMap::new();
        headers.insert(ACCESS_CONTROL_REQUEST_METHOD, "PUT".parse().unwrap());
        let refused = check(&headers).unwrap_err();
        assert_eq!((refused.code, refused.status().as_u16()), (ErrorCode::BadRequest, 400));
        assert_eq!(refused.message, "Insufficient information. Origin request header needed.");
        headers.insert(ORIGIN, "https://page.example".parse().unwrap());
        assert_eq!(check(&headers), Ok(()));
        headers.remove(ACCESS_CONTROL_REQUEST_METHOD);
        assert_eq!(check(&headers).unwrap_err().code, ErrorCode::BadRequest);
    }
}
