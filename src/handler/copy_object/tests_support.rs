//! What the tests of several handlers share: a storage that is a closure, and handlers that talk to it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::{Binding, BucketRule, Call, Layouts, LearnedSizes, Policies, Resources};
use crate::body::BoxBody;
use crate::keyring::{self, CacheSettings, Keyring, Reuse};
use crate::s3::{BucketPattern, CopySource, Operation, Query, S3Path};
use crate::sigv4::Payload;
use crate::upstream::{Credentials, Settings, Target, Upstream};

/// A rule for all buckets of a name, with a realm of that name.
pub(super) fn rule(name: &str) -> BucketRule {
    BucketRule {
        name: BucketPattern::parse(name).unwrap(),
        prefix: String::new(),
        realm: None,
        key_id: None,
        allowed_key_ids: Vec::new(),
        binding: Binding::RealmAndKey,
    }
}

/// Serves `answer` on a port of its own until the test ends; gives the handlers' view of it.
pub(super) async fn resources(
    answer: impl Fn(Request<Bytes>) -> Response<Full<Bytes>> + Send + Sync + 'static,
    rules: Vec<BucketRule>,
) -> (Resources, tempfile::TempDir) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = Arc::clone(&answer);
            let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                let answer = Arc::clone(&answer);
                async move {
                    let (head, body) = request.into_parts();
                    let body = body.collect().await.unwrap().to_bytes();
                    Ok::<_, Infallible>(answer(Request::from_parts(head, body)))
                }
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let credentials = Credentials::Static {
        access_key_id: "id".to_owned(),
        secret_access_key: "secret".to_owned().into(),
        session_token: None,
    };
    let target = Target::Endpoint(endpoint.parse().unwrap());
    let settings = Settings { credentials, max_retries: 0, ..Settings::new(target) };
    let file = folder.path().join("keyring");
    let provider = keyring::Provider::Local(keyring::Local { file, create_if_missing: true });
    let keys = keyring::Settings { provider, cache: CacheSettings::default(), reuse: Reuse::default() };
    let resources = Resources {
        upstream: Upstream::build(settings).await.unwrap(),
        keyring: Keyring::build(keys).await.unwrap(),
        policies: Policies::new(rules),
        learned_sizes: LearnedSizes::default(),
        layouts: Layouts::default(),
        client_idle_timeout: Duration::from_secs(5),
    };
    (resources, folder)
}

/// A copy of `source` to `path`, with these headers.
pub(super) fn copy_call(
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
        query: Query::parse(query).unwrap(),
        headers: HeaderMap::from_iter(lines),
        payload: Payload::Unsigned,
        body: BoxBody::default(),
        visible_buckets: None,
        copy_source: Some(CopySource::parse(source.as_bytes()).unwrap()),
    }
}

/// The whole body of an answer.
pub(super) async fn text(response: Response<BoxBody>) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}
