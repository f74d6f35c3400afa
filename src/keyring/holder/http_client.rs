//! Requests to a key service or a login service over HTTP/1.1: one request, one bounded response. It must not
//! know what a request means.
//! It promises that a request ends within [`ATTEMPT_TIMEOUT`], that no redirect is followed, and that its
//! copies of responses, which may hold data keys and tokens, are erased after use.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use super::causes;
use crate::keyring::{CheckError, KeyringError, MalformedResponse};
use crate::timer;

/// A connection that takes longer will not succeed.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Key services respond within milliseconds; an attempt that takes longer than this is repeated.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);
/// Below the time after which services close an idle connection.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Maximum length of a response in bytes: a data key takes a few hundred, a login a few thousand.
const MAX_RESPONSE_LEN: usize = 64 * 1024;
/// Room for a usual response, so that its buffer is not moved and left behind.
const USUAL_RESPONSE_LEN: usize = 4 * 1024;
/// Maximum length of a service's words in an error, in characters.
#[cfg(any(feature = "gcp-kms", feature = "azure-key-vault"))]
const MAX_WORDS_LEN: usize = 400;

/// Connections to servers that are trusted by one set of root certificates. Clones share them.
#[derive(Clone)]
pub(super) struct HttpClient(hyper_util::client::legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>);

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HttpClient")
    }
}

/// A client certificate with its chain and private key.
pub(super) type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// A response, read to its end.
pub(super) struct HttpResponse {
    pub(super) status: StatusCode,
    pub(super) content_type: Option<HeaderValue>,
    pub(super) body: Zeroizing<Vec<u8>>,
}

#[cfg(any(feature = "gcp-kms", feature = "azure-key-vault"))]
impl HttpResponse {
    /// `text`, which the service sent, on one line and shortened; without a text the kind of the response.
    pub(super) fn quote(&self, text: Option<&str>) -> String {
        let status = self.status.as_u16();
        match text {
            Some(text) => {
                let text: String = text.chars().take(MAX_WORDS_LEN).collect();
                format!("HTTP status {status}: {}", text.escape_debug())
            }
            None => {
                let content_type = self.content_type.as_ref().and_then(|value| value.to_str().ok());
                let content_type: String = content_type.unwrap_or("none").chars().take(64).collect();
                format!(
                    "HTTP status {status} and the Content-Type {content_type:?}, without an error of this service"
                )
            }
        }
    }

    /// A success whose body is not what the API defines.
    pub(super) fn malformed(&self) -> CheckError {
        let error = KeyringError::Malformed(MalformedResponse::Unparsable);
        CheckError { error, cause: Some(self.quote(None)) }
    }

    /// The meaning of a status that says enough by itself.
    pub(super) fn classify_status(&self) -> KeyringError {
        match self.status.as_u16() {
            429 => KeyringError::Throttled,
            408 | 500.. => KeyringError::Unavailable,
            status => KeyringError::Unexpected(format!("HTTP{status}")),
        }
    }
}

impl HttpClient {
    /// A client that trusts servers of these roots, and presents a certificate where it is given one.
    ///
    /// # Errors
    /// A key that does not belong to the certificate, or is of an unknown kind.
    pub(super) fn new(roots: RootCertStore, identity: Option<Identity>) -> Result<Self, rustls::Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let config = match identity {
            Some((chain, key)) => config.with_client_auth_cert(chain, key)?,
            None => config.with_no_client_auth(),
        };
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        let client = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .build(connector);
        Ok(Self(client))
    }

    /// Sends one request.
    ///
    /// # Errors
    /// [`KeyringError::Unavailable`] without a response, [`KeyringError::Malformed`] if it is too long. Every
    /// status is a response.
    pub(super) async fn send(&self, request: Request<Full<Bytes>>) -> Result<HttpResponse, CheckError> {
        let exchange = timer::timeout(ATTEMPT_TIMEOUT, self.exchange(request)).await;
        exchange.unwrap_or_else(|_elapsed| {
            let cause = Some(format!("no response within {} s", ATTEMPT_TIMEOUT.as_secs()));
            Err(CheckError { error: KeyringError::Unavailable, cause })
        })
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<HttpResponse, CheckError> {
        let response = self.0.request(request).await.map_err(|error| unreachable(&error))?;
        let (head, body) = response.into_parts();
        let content_type = head.headers.get(CONTENT_TYPE).cloned();
        Ok(HttpResponse { status: head.status, content_type, body: read(body).await? })
    }
}

async fn read(mut body: Incoming) -> Result<Zeroizing<Vec<u8>>, CheckError> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(USUAL_RESPONSE_LEN));
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|error| unreachable(&error))?.into_data() else { continue };
        if bytes.len() + data.len() > MAX_RESPONSE_LEN {
            let error = KeyringError::Malformed(MalformedResponse::Unparsable);
            let cause = Some(format!("the response is longer than {MAX_RESPONSE_LEN} bytes"));
            return Err(CheckError { error, cause });
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

/// The failure of a connection, or before the end of a response.
fn unreachable(error: &(dyn Error + 'static)) -> CheckError {
    let cause = causes(error).map(ToString::to_string).collect::<Vec<_>>().join(": ");
    CheckError { error: KeyringError::Unavailable, cause: Some(cause) }
}
