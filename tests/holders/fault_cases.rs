//! The cases for a service that is overloaded, broken or malicious, played by a scripted server. They must
//! not know any provider. None of them may end in a data key.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use s3veil::keyring::{KeyringError, MalformedResponse, Provider};
use tempfile::TempDir;

use crate::bench::{read, write};
use crate::scripted_server::{Reply, ScriptedServer, json};

/// A provider whose service speaks HTTP, and what a healthy service responds.
pub(crate) trait Scripted: 'static {
    /// Settings of a provider at `http://<address>`. `directory` is for files that the settings name.
    fn provider(address: &str, directory: &Path) -> Provider;

    /// What a healthy service responds to `request`, where `data_key` is every data key that it makes or
    /// opens.
    fn respond(request: &Request<Bytes>, data_key: &[u8]) -> Reply;

    /// Whether the request is a login, which the faults leave alone.
    fn is_login(request: &Request<Bytes>) -> bool;

    /// A blob that the healthy service opens.
    fn blob() -> Vec<u8>;

    /// Whether data keys are made by the service; if not, a wrong one can come from unwrapping alone.
    const MAKES_DATA_KEYS: bool = true;

    /// The response of a service that limits the rate of requests.
    fn throttled() -> Reply {
        json(429, r#"{"errors":["request path \"transit\": rate limit quota exceeded"]}"#)
    }
}

/// A data key of the healthy service.
pub(crate) const DATA_KEY: [u8; 32] = [7; 32];

/// A service whose calls beyond the login are answered by `fault`, and the settings of a provider for it.
async fn broken<S: Scripted>(
    fault: impl Fn(&Request<Bytes>) -> Reply + Send + Sync + 'static,
) -> (ScriptedServer, TempDir, Provider) {
    let server = ScriptedServer::start(move |request| {
        if S::is_login(request) { S::respond(request, &DATA_KEY) } else { fault(request) }
    })
    .await;
    let directory = tempfile::tempdir().expect("a directory for files");
    let provider = S::provider(&server.address.to_string(), directory.path());
    (server, directory, provider)
}

/// Neither a new nor an old data key comes from a service with this fault.
async fn assert_no_key<S: Scripted>(
    fault: impl Fn(&Request<Bytes>) -> Reply + Send + Sync + 'static,
    is_expected: impl Fn(&KeyringError) -> bool,
) {
    let (_server, _directory, provider) = broken::<S>(fault).await;
    let refused = write(provider.clone()).await.expect_err("This is a security issue.");
    assert!(is_expected(&refused), "write: {refused:?}");
    let refused = read(provider, &S::blob()).await.expect_err("This is a security issue.");
    assert!(is_expected(&refused), "read: {refused:?}");
}

pub(crate) async fn the_script_is_a_healthy_service<S: Scripted>() {
    let (_server, _directory, provider) = broken::<S>(|request| S::respond(request, &DATA_KEY)).await;
    let written = write(provider.clone()).await.expect("healthy");
    let read_again = read(provider.clone(), &written.wrapped).await.expect("healthy");
    assert_eq!(read_again.data_key.expose(), written.data_key.expose());
    assert_eq!(read(provider, &S::blob()).await.expect("healthy").data_key.expose(), &DATA_KEY);
}

pub(crate) async fn a_throttling_service_is_throttling<S: Scripted>() {
    assert_no_key::<S>(|_| S::throttled(), |error| *error == KeyringError::Throttled).await;
}

pub(crate) async fn a_failing_service_is_unavailable<S: Scripted>() {
    for status in [500, 502, 503, 504] {
        let fault = move |_: &Request<Bytes>| json(status, r#"{"errors":["internal error"]}"#);
        assert_no_key::<S>(fault, |error| *error == KeyringError::Unavailable).await;
    }
}

pub(crate) async fn a_service_that_hangs_up_is_unavailable<S: Scripted>() {
    assert_no_key::<S>(|_| Reply::HangUp, |error| *error == KeyringError::Unavailable).await;
}

pub(crate) async fn a_silent_service_is_unavailable<S: Scripted>() {
    let (_server, _directory, provider) = broken::<S>(|_| Reply::Silence).await;
    let blob = S::blob();
    let (written, unwrapped) = tokio::join!(write(provider.clone()), read(provider, &blob));
    assert_eq!(written.expect_err("no response"), KeyringError::Unavailable);
    assert_eq!(unwrapped.expect_err("no response"), KeyringError::Unavailable);
}

pub(crate) async fn a_response_that_is_none_gives_no_key<S: Scripted>() {
    let texts =
        ["", "null", "[]", "{}", r#"{"data":null}"#, r#"{"data":{"plaintext":7}}"#, "<html>welcome</html>"];
    for text in texts {
        assert_no_key::<S>(move |_| json(200, text), |error| matches!(error, KeyringError::Malformed(_)))
            .await;
    }
}

pub(crate) async fn an_endless_response_gives_no_key<S: Scripted>() {
    let text: Arc<str> = format!(r#"{{"data":{{"x":"{}"}}}}"#, "x".repeat(1 << 20)).into();
    assert_no_key::<S>(
        move |_| json(200, &*text),
        |error| matches!(error, KeyringError::Malformed(_) | KeyringError::Unavailable),
    )
    .await;
}

pub(crate) async fn a_redirect_is_not_followed<S: Scripted>() {
    let elsewhere = ScriptedServer::start(|request| S::respond(request, &DATA_KEY)).await;
    let address = elsewhere.address;
    let redirect = move |request: &Request<Bytes>| {
        let location = format!("http://{address}{}", request.uri().path());
        let response = Response::builder().status(307).header("location", location);
        Reply::Respond(response.body(Bytes::new()).expect("the header is valid"))
    };
    assert_no_key::<S>(redirect, |_| true).await;
    assert!(elsewhere.received("").is_empty(), "credentials went to another address");
}

/// Data keys that a sound service never returns, with what is wrong with them.
fn wrong_data_keys() -> [(Vec<u8>, MalformedResponse); 5] {
    [
        (vec![], MalformedResponse::DataKeyLength),
        (vec![7; 16], MalformedResponse::DataKeyLength),
        (vec![7; 31], MalformedResponse::DataKeyLength),
        (vec![7; 33], MalformedResponse::DataKeyLength),
        (vec![0; 32], MalformedResponse::ZeroDataKey),
    ]
}

pub(crate) async fn a_data_key_of_zeros_or_of_another_length_is_refused<S: Scripted>() {
    for (data_key, problem) in wrong_data_keys() {
        let script = move |request: &Request<Bytes>| S::respond(request, &data_key);
        let (_server, _directory, provider) = broken::<S>(script).await;
        let refused = read(provider.clone(), &S::blob()).await.expect_err("This is a security issue.");
        assert_eq!(refused, KeyringError::Malformed(problem), "read");
        if S::MAKES_DATA_KEYS {
            let refused = write(provider).await.expect_err("This is a security issue.");
            assert_eq!(refused, KeyringError::Malformed(problem), "write");
        }
    }
}
