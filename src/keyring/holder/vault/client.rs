//! JSON over HTTP to OpenBao or Vault: one request, one bounded response. It must not know logins or Transit.
//! It promises that a request ends within [`ATTEMPT_TIMEOUT`], that no redirect is followed, and that
//! its copies of responses, which may hold data keys and tokens, are erased after use.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use super::super::causes;
use crate::keyring::{CheckError, KeyringError, MalformedResponse};

/// The service is near: a connection that takes longer will not succeed.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The service responds within milliseconds; an attempt that takes longer than this is repeated.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);
/// Below the five minutes after which the service closes an idle connection.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Maximum length of a response in bytes: a data key takes a few hundred, a login a few thousand.
const MAX_RESPONSE_LEN: usize = 64 * 1024;
/// Room for a usual response, so that its buffer is not moved and left behind.
const USUAL_RESPONSE_LEN: usize = 4 * 1024;

const X_VAULT_TOKEN: HeaderName = HeaderName::from_static("x-vault-token");
const X_VAULT_NAMESPACE: HeaderName = HeaderName::from_static("x-vault-namespace");
/// The mark by which agents and proxies of Vault tell their clients from forged requests.
/// <https://developer.hashicorp.com/vault/docs/agent-and-proxy/agent#api_proxy>
const X_VAULT_REQUEST: HeaderName = HeaderName::from_static("x-vault-request");

type HttpClient = hyper_util::client::legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// Connections to one server. Clones share them.
#[derive(Clone)]
pub(super) struct Client {
    http: HttpClient,
    roots: Arc<RootCertStore>,
    namespace: Option<HeaderValue>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("namespace", &self.namespace).finish_non_exhaustive()
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

impl Client {
    /// A client that trusts servers of these roots.
    ///
    /// # Errors
    /// A description of what is wrong with the namespace.
    pub(super) fn new(roots: Arc<RootCertStore>, namespace: Option<&str>) -> Result<Self, String> {
        let namespace =
            namespace.map(HeaderValue::from_str).transpose().map_err(|error| error.to_string())?;
        let http = connect(&roots, None).map_err(|error| error.to_string())?;
        Ok(Self { http, roots, namespace })
    }

    /// A client with connections of its own, which presents this certificate.
    ///
    /// # Errors
    /// A key that does not belong to the certificate, or is of an unknown kind.
    pub(super) fn with_identity(&self, identity: Identity) -> Result<Self, rustls::Error> {
        let http = connect(&self.roots, Some(identity))?;
        Ok(Self { http, roots: Arc::clone(&self.roots), namespace: self.namespace.clone() })
    }

    /// Sends one request: POST with a `body` of JSON, GET without.
    ///
    /// # Errors
    /// [`KeyringError::Unavailable`] without a response, [`KeyringError::Malformed`] if it is too long. Every
    /// status is a response.
    pub(super) async fn send(
        &self,
        uri: &Uri,
        token: Option<&HeaderValue>,
        body: Option<Bytes>,
    ) -> Result<HttpResponse, CheckError> {
        let method = if body.is_some() { Method::POST } else { Method::GET };
        let mut request = Request::new(Full::new(body.unwrap_or_default()));
        *request.method_mut() = method;
        *request.uri_mut() = uri.clone();
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(X_VAULT_REQUEST, HeaderValue::from_static("true"));
        let of_client = [(X_VAULT_NAMESPACE, self.namespace.as_ref()), (X_VAULT_TOKEN, token)];
        for (name, value) in of_client.into_iter().filter_map(|(name, value)| Some((name, value?))) {
            headers.insert(name, value.clone());
        }
        let exchange = tokio::time::timeout(ATTEMPT_TIMEOUT, self.exchange(request)).await;
        exchange.unwrap_or_else(|_elapsed| {
            let cause = Some(format!("no response within {} s", ATTEMPT_TIMEOUT.as_secs()));
            Err(CheckError { error: KeyringError::Unavailable, cause })
        })
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<HttpResponse, CheckError> {
        let response = self.http.request(request).await.map_err(|error| unreachable(&error))?;
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
fn unreachable(error: &(dyn std::error::Error + 'static)) -> CheckError {
    let cause = causes(error).map(ToString::to_string).collect::<Vec<_>>().join(": ");
    CheckError { error: KeyringError::Unavailable, cause: Some(cause) }
}

fn connect(roots: &RootCertStore, identity: Option<Identity>) -> Result<HttpClient, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots.clone());
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
    Ok(hyper_util::client::legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(POOL_IDLE_TIMEOUT)
        .build(connector))
}
