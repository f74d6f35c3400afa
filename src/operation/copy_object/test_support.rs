//! A storage made of a closure, and the resources of operations that use this storage, for the tests of
//! copies.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use http_body_util::{BodyExt, Full};
use tokio::net::TcpListener;

use crate::body::BoxBody;
use crate::operation::Resources;
use crate::operation::request::Call;
use crate::s3::{CopySource, Operation, Query, S3Path};
use crate::sigv4::Payload;
use crate::test_support;

/// Serves `respond` on a port of its own until the test ends; gives the handlers' view of it, in these
/// buckets.
pub(crate) async fn resources(
    respond: impl Fn(Request<Bytes>) -> Response<Full<Bytes>> + Send + Sync + 'static,
    buckets: &[&str],
) -> (Resources, tempfile::TempDir) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    test_support::serve(listener, respond);
    let rules: Vec<_> = buckets.iter().map(|bucket| (*bucket, "")).collect();
    test_support::resources(&endpoint, &rules).await
}

/// A copy of `source` to `path`, with these headers.
pub(crate) fn copy_call(
    operation: Operation,
    source: &str,
    path: &str,
    query: &str,
    headers: &[(&'static str, &str)],
) -> Call {
    let lines = headers
        .iter()
        .map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()));
    Call {
        operation,
        method: Method::PUT,
        path: S3Path::parse(path, None, &[] as &[&str]).unwrap(),
        addressing: crate::operation::request::Addressing {
            tls: false,
            virtual_host: false,
            is_private: true,
        },
        query: Query::parse(query).unwrap(),
        headers: HeaderMap::from_iter(lines),
        payload: Payload::Unsigned,
        body: BoxBody::default(),
        grants: crate::access::Grants::unlimited(),
        is_append: false,
        copy_source: Some(CopySource::parse(source.as_bytes()).unwrap()),
        customer_keys: crate::s3::headers::CustomerKeys::default(),
        permit: None,
    }
}

/// The whole body of a response as text.
pub(crate) async fn text(response: Response<BoxBody>) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}
