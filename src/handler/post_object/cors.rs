//! The CORS headers of an answer to a form. The storage sees a PUT, or a multipart upload, where the browser sends a POST;
//! so it is asked what it would say to that.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderName, HeaderValue, ORIGIN, VARY,
};

use crate::handler::{Resources, preflight};
use crate::s3::{BucketName, S3Path};

/// What a preflight's answer has in common with the answer to the request itself.
const OF_ANY_ANSWER: [HeaderName; 4] =
    [ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, VARY];

/// What lets a page of this origin read the answer; nothing if the bucket's CORS rules do not, or the storage does not
/// say. Whether the form is stored does not depend on it, in S3 neither.
pub(super) async fn headers(resources: &Resources, bucket: &BucketName, origin: &HeaderValue) -> HeaderMap {
    let mut question = HeaderMap::new();
    question.insert(ORIGIN, origin.clone());
    question.insert(ACCESS_CONTROL_REQUEST_METHOD, HeaderValue::from_static("POST"));
    let told = match preflight(resources, &S3Path::Bucket(bucket.clone()), &question).await {
        Ok(answer) if answer.status().is_success() => answer.into_parts().0.headers,
        Ok(_) | Err(_) => return HeaderMap::new(),
    };
    told.iter()
        .filter(|(name, _)| OF_ANY_ANSWER.contains(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}
