//! JSON over HTTP to OpenBao or Vault. It must not know logins or Transit.
//! It promises that every request names the namespace, and that a token is in a header that is never logged.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Method, Request, Uri};
use http_body_util::Full;
use rustls::RootCertStore;

pub(super) use super::super::http_client::{HttpResponse, Identity};

use super::super::http_client::HttpClient;
use crate::keyring::CheckError;

const X_VAULT_TOKEN: HeaderName = HeaderName::from_static("x-vault-token");
const X_VAULT_NAMESPACE: HeaderName = HeaderName::from_static("x-vault-namespace");
/// The mark by which agents and proxies of Vault tell their clients from forged requests.
/// <https://developer.hashicorp.com/vault/docs/agent-and-proxy/agent#api_proxy>
const X_VAULT_REQUEST: HeaderName = HeaderName::from_static("x-vault-request");

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

impl Client {
    /// A client that trusts servers of these roots.
    ///
    /// # Errors
    /// A description of what is wrong with the namespace.
    pub(super) fn new(roots: Arc<RootCertStore>, namespace: Option<&str>) -> Result<Self, String> {
        let namespace =
            namespace.map(HeaderValue::from_str).transpose().map_err(|error| error.to_string())?;
        let http = HttpClient::new(RootCertStore::clone(&roots), None).map_err(|error| error.to_string())?;
        Ok(Self { http, roots, namespace })
    }

    /// A client with connections of its own, which presents this certificate.
    ///
    /// # Errors
    /// A key that does not belong to the certificate, or is of an unknown kind.
    pub(super) fn with_identity(&self, identity: Identity) -> Result<Self, rustls::Error> {
        let http = HttpClient::new(RootCertStore::clone(&self.roots), Some(identity))?;
        Ok(Self { http, roots: Arc::clone(&self.roots), namespace: self.namespace.clone() })
    }

    /// Sends one request: POST with a `body` of JSON, GET without.
    ///
    /// # Errors
    /// As [`HttpClient::send`]: every status is a response.
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
        self.http.send(request).await
    }
}
