//! Logins to OpenBao and Vault, and the renewal of tokens: one request each. It must not know when they are
//! due. It promises that each login reads its files again, and that no token or secret is in an error.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use http::{HeaderValue, Uri};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;
use zeroize::Zeroizing;

use super::client::{Client, HttpResponse};
use super::refusal::Refusal;
use crate::keyring::settings::VaultLogin;
use crate::keyring::{CheckError, KeyringError};

/// Maximum length of a file of a secret, in bytes; JWTs and certificate chains take a few thousand.
const MAX_SECRET_LEN: usize = 64 * 1024;
/// Part of the warning of a renewal that could not extend the token by its whole time to live.
const CAPPED: &str = "TTL value is capped";

/// A token, and the client that may use it.
#[derive(Debug)]
pub(super) struct Session {
    /// Which login it came from, from 1.
    pub(super) number: u64,
    /// The value of `X-Vault-Token`, which `Debug` does not show.
    pub(super) token: HeaderValue,
    pub(super) client: Client,
    /// How long the token is valid from the login on; `None` for ever.
    pub(super) lease: Option<Duration>,
    pub(super) is_renewable: bool,
}

/// The outcome of a successful renewal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Renewal {
    /// How long the token is valid from now on.
    pub(super) lease: Duration,
    /// Whether the token nears the end of what renewals can reach.
    pub(super) is_capped: bool,
}

/// The way to log in to one server.
#[derive(Debug)]
pub(super) struct Login {
    method: VaultLogin,
    client: Client,
    login: Uri,
    renew: Uri,
}

/// What a login sends: prepared from files, and comparable with that of another login.
pub(super) struct Prepared {
    client: Client,
    /// For the method `token`, instead of a login.
    token: Option<HeaderValue>,
    body: Zeroizing<Vec<u8>>,
    /// SHA-256 over the body of an AppRole login: a service that counts wrong secrets locks the role out.
    pub(super) fingerprint: Option<[u8; 32]>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum LoginRequest<'a> {
    AppRole { role_id: &'a str, secret_id: &'a str },
    Jwt { role: &'a str, jwt: &'a str },
    Certificate { name: Option<&'a str> },
}

#[derive(Deserialize)]
struct LoginResponse<'a> {
    #[serde(borrow)]
    auth: Auth<'a>,
    #[serde(borrow, default)]
    warnings: Option<Vec<Cow<'a, str>>>,
}

#[derive(Deserialize)]
struct Auth<'a> {
    #[serde(borrow)]
    client_token: Cow<'a, str>,
    /// In seconds; 0 for ever.
    lease_duration: u64,
    renewable: bool,
}

#[derive(Deserialize)]
struct LookupResponse {
    data: Lookup,
}

#[derive(Deserialize)]
struct Lookup {
    /// In seconds; 0 for ever.
    ttl: u64,
    #[serde(default)]
    renewable: bool,
}

impl Login {
    /// # Errors
    /// A description of a mount that can't be part of a URL.
    pub(super) fn new(address: &str, method: VaultLogin, client: Client) -> Result<Self, String> {
        let login = match &method {
            VaultLogin::Token { .. } => "token/lookup-self".to_owned(),
            VaultLogin::AppRole { mount, .. }
            | VaultLogin::Kubernetes { mount, .. }
            | VaultLogin::Certificate { mount, .. } => format!("{mount}/login"),
        };
        let uri = |path: &str| {
            format!("{address}/v1/auth/{path}").parse::<Uri>().map_err(|error| error.to_string())
        };
        Ok(Self { login: uri(&login)?, renew: uri("token/renew-self")?, method, client })
    }

    /// Where logins go, for the log.
    pub(super) fn place(&self) -> &Uri {
        &self.login
    }

    /// Reads the files of the method.
    ///
    /// # Errors
    /// [`KeyringError::Credentials`] that names the file and the problem.
    pub(super) async fn prepare(&self) -> Result<Prepared, CheckError> {
        let client = self.client.clone();
        match &self.method {
            VaultLogin::Token { token_file } => {
                let secret = read_secret("token_file", token_file).await?;
                let token =
                    sensitive(&secret).ok_or_else(|| unusable("token_file", token_file, "no token"))?;
                Ok(Prepared { client, token: Some(token), body: Zeroizing::default(), fingerprint: None })
            }
            VaultLogin::AppRole { role_id, secret_id_file, .. } => {
                let secret_id = read_secret("secret_id_file", secret_id_file).await?;
                let body = body(&LoginRequest::AppRole { role_id, secret_id: &secret_id });
                let fingerprint = digest(&SHA256, &body).as_ref().try_into().ok();
                Ok(Prepared { client, token: None, body, fingerprint })
            }
            VaultLogin::Kubernetes { role, jwt_file, .. } => {
                let jwt = read_secret("jwt_file", jwt_file).await?;
                let body = body(&LoginRequest::Jwt { role, jwt: &jwt });
                Ok(Prepared { client, token: None, body, fingerprint: None })
            }
            VaultLogin::Certificate { name, certificate_file, key_file, .. } => {
                let chain = read_secret("certificate_file", certificate_file).await?;
                let key = read_secret("key_file", key_file).await?;
                let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain.as_bytes()).collect();
                let chain = chain
                    .map_err(|error| unusable("certificate_file", certificate_file, &error.to_string()))?;
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
                    .map_err(|error| unusable("key_file", key_file, &error.to_string()))?;
                let client = client
                    .with_identity((chain, key))
                    .map_err(|error| unusable("key_file", key_file, &error.to_string()))?;
                let body = body(&LoginRequest::Certificate { name: name.as_deref() });
                Ok(Prepared { client, token: None, body, fingerprint: None })
            }
        }
    }

    /// Logs in; a token from a file is looked up instead, for how long it is valid.
    ///
    /// # Errors
    /// [`KeyringError::Credentials`] if the service refuses, else the failure of the service.
    pub(super) async fn log_in(&self, number: u64, prepared: Prepared) -> Result<Session, CheckError> {
        let Prepared { client, token, body, fingerprint: _ } = prepared;
        if let Some(token) = token {
            return self.look_up(number, token, client).await;
        }
        let response = send(&client, &self.login, None, Some(Bytes::from_owner(body))).await?;
        let LoginResponse { auth, .. } = parse(&response)?;
        let token = sensitive(&auth.client_token).ok_or_else(|| {
            // The service wants a second factor, which needs a person.
            let cause = Some("the login gave no token: use a method without a second factor".to_owned());
            CheckError { error: KeyringError::Credentials, cause }
        })?;
        let lease = lease(auth.lease_duration);
        Ok(Session { number, token, client, lease, is_renewable: auth.renewable })
    }

    async fn look_up(&self, number: u64, token: HeaderValue, client: Client) -> Result<Session, CheckError> {
        let response = client.send(&self.login, Some(&token), None).await?;
        if !response.status.is_success() {
            // A policy may forbid the lookup, and yet allow what the token is for.
            return match response.refusal(number) {
                Refusal::Failed(CheckError { error: KeyringError::Denied, .. }) => {
                    Ok(Session { number, token, client, lease: None, is_renewable: false })
                }
                Refusal::Failed(_) | Refusal::TokenRejected { .. } => Err(response.login_failure()),
            };
        }
        let LookupResponse { data } = parse(&response)?;
        Ok(Session { number, token, client, lease: lease(data.ttl), is_renewable: data.renewable })
    }

    /// Extends the life of a session's token.
    ///
    /// # Errors
    /// As [`Self::log_in`].
    pub(super) async fn renew(&self, session: &Session) -> Result<Renewal, CheckError> {
        let body = Some(Bytes::from_static(b"{}"));
        let response = send(&session.client, &self.renew, Some(&session.token), body).await?;
        let LoginResponse { auth, warnings } = parse(&response)?;
        let lease = Duration::from_secs(auth.lease_duration);
        // A renewal loses less than a second by rounding.
        let is_shorter = session.lease.is_some_and(|first| lease + Duration::from_secs(1) < first);
        let is_warned = warnings.unwrap_or_default().iter().any(|warning| warning.contains(CAPPED));
        Ok(Renewal { lease, is_capped: is_shorter || is_warned || !auth.renewable })
    }
}

async fn send(
    client: &Client,
    uri: &Uri,
    token: Option<&HeaderValue>,
    body: Option<Bytes>,
) -> Result<HttpResponse, CheckError> {
    let response = client.send(uri, token, body).await?;
    if response.status.is_success() { Ok(response) } else { Err(response.login_failure()) }
}

fn parse<'a, T: Deserialize<'a>>(response: &'a HttpResponse) -> Result<T, CheckError> {
    serde_json::from_slice(&response.body).map_err(|_syntax| response.unparsable())
}

fn body(request: &LoginRequest<'_>) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(serde_json::to_vec(request).expect("texts are JSON"))
}

fn lease(seconds: u64) -> Option<Duration> {
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

/// A token as a header value; `None` if it is empty, or has characters that no token has.
fn sensitive(token: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(token).ok().filter(|value| !value.is_empty())?;
    value.set_sensitive(true);
    Some(value)
}

/// The content of a file without the white space around it.
async fn read_secret(setting: &'static str, file: &PathBuf) -> Result<Zeroizing<String>, CheckError> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_SECRET_LEN + 1));
    let read = async {
        let opened = tokio::fs::File::open(file).await?;
        let limit = u64::try_from(MAX_SECRET_LEN + 1).expect("64 KiB");
        opened.take(limit).read_to_end(&mut bytes).await
    };
    read.await.map_err(|error| unusable(setting, file, &error.to_string()))?;
    if bytes.len() > MAX_SECRET_LEN {
        return Err(unusable(setting, file, "it is longer than 64 KiB"));
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| unusable(setting, file, "it is not text"))?.trim();
    if text.is_empty() {
        Err(unusable(setting, file, "it is empty"))
    } else {
        Ok(Zeroizing::new(text.to_owned()))
    }
}

fn unusable(setting: &'static str, file: &Path, problem: &str) -> CheckError {
    let cause = Some(format!("{setting} {}: {problem}", file.display()));
    CheckError { error: KeyringError::Credentials, cause }
}
