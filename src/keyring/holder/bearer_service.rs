//! A JSON service of a cloud behind access tokens: calls with repetition, and one token for all of them. It
//! must not know what a call or a token means. It promises that every call ends within [`OPERATION_TIMEOUT`],
//! that calls which need a token share one login, and that there is at most one login a second.

use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::Full;
use moka::Expiry;
use moka::future::Cache;
use rustls::RootCertStore;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use tokio::io::AsyncReadExt;
use zeroize::Zeroizing;

use super::Response;
use super::http_client::{HttpClient, HttpResponse};
use super::repetition::{MAX_ATTEMPTS, OPERATION_TIMEOUT, backoff};
use crate::keyring::{CheckError, KeyringError, KeyringSetupError};
use crate::timer;

/// How long the failure of a login serves every call: a service that refuses is not overrun.
const FAILED_LOGIN_PAUSE: Duration = Duration::from_secs(1);
/// A token is replaced this long before its end, or after four fifths of a shorter life.
const RENEWAL_MARGIN: Duration = Duration::from_secs(5 * 60);
/// How long a token from a file is used before the file is read again: another program replaces it.
const TOKEN_FILE_AGE: Duration = Duration::from_secs(60);
/// Maximum length of a file with a token or a secret, in bytes.
const MAX_SECRET_LEN: usize = 64 * 1024;

/// A token, ready for the header.
pub(super) struct AccessToken {
    value: HeaderValue,
    lifetime: Duration,
}

/// How a service's access tokens are had.
pub(super) trait TokenSource: fmt::Debug + Send + Sync {
    /// Logs in, or reads a token.
    ///
    /// # Errors
    /// [`KeyringError::Credentials`] if the login is refused, else the failure of the login service.
    fn fetch<'a>(&'a self, client: &'a HttpClient) -> Response<'a, AccessToken>;
}

type Fetched = Result<Arc<AccessToken>, CheckError>;

pub(super) struct BearerService {
    client: HttpClient,
    source: Box<dyn TokenSource>,
    /// The token, or the failure to have one, until it ends. Of concurrent calls one logs in.
    token: Cache<(), Fetched>,
}

impl fmt::Debug for BearerService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BearerService").field("source", &self.source).finish_non_exhaustive()
    }
}

/// When a token is replaced, and the failure of a login forgotten.
struct TokenAge;

impl Expiry<(), Fetched> for TokenAge {
    fn expire_after_create(&self, (): &(), fetched: &Fetched, _created_at: Instant) -> Option<Duration> {
        Some(match fetched {
            Ok(token) => token.lifetime - RENEWAL_MARGIN.min(token.lifetime / 5),
            Err(_) => FAILED_LOGIN_PAUSE,
        })
    }
}

/// Why an attempt was not successful.
enum Refusal {
    /// The service does not accept the token; another may help.
    Token {
        token: Arc<AccessToken>,
        words: String,
    },
    Failed(CheckError),
}

impl BearerService {
    pub(super) fn new(source: Box<dyn TokenSource>) -> Result<Self, KeyringSetupError> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            let problem = "the system has no root certificates: install them (Debian: ca-certificates)";
            return Err(KeyringSetupError::Setting(problem.to_owned()));
        }
        let client = HttpClient::new(roots, None)
            .map_err(|error| KeyringSetupError::Setting(format!("TLS could not be set up: {error}")))?;
        let token = Cache::builder().max_capacity(1).expire_after(TokenAge).build();
        Ok(Self { client, source, token })
    }

    /// POSTs JSON until `read` takes a response, or refuses it for good.
    ///
    /// # Errors
    /// The error of `read`; [`KeyringError::Credentials`] if a new token was not accepted either.
    pub(super) async fn call<T>(
        &self,
        uri: &Uri,
        body: Bytes,
        read: impl Fn(&HttpResponse) -> Result<T, CheckError>,
    ) -> Result<T, CheckError> {
        let mut last = None;
        let calling = timer::timeout(OPERATION_TIMEOUT, self.attempts(uri, &body, &read, &mut last)).await;
        calling.unwrap_or_else(|_elapsed| {
            let seconds = OPERATION_TIMEOUT.as_secs();
            let cause = Some(format!("no response within {seconds} s"));
            Err(last.unwrap_or(CheckError { error: KeyringError::Unavailable, cause }))
        })
    }

    async fn attempts<T>(
        &self,
        uri: &Uri,
        body: &Bytes,
        read: &impl Fn(&HttpResponse) -> Result<T, CheckError>,
        last: &mut Option<CheckError>,
    ) -> Result<T, CheckError> {
        let mut had_new_token = false;
        let mut attempt = 1;
        loop {
            let failure = match self.attempt(uri, body, read).await {
                Ok(response) => return Ok(response),
                Err(Refusal::Token { token, .. }) if !had_new_token => {
                    self.discard(&token).await;
                    had_new_token = true;
                    continue;
                }
                Err(Refusal::Token { words, .. }) => {
                    return Err(CheckError { error: KeyringError::Credentials, cause: Some(words) });
                }
                Err(Refusal::Failed(failure)) => failure,
            };
            if attempt == MAX_ATTEMPTS || !failure.error.is_unavailability() {
                return Err(failure);
            }
            *last = Some(failure);
            timer::sleep(backoff(attempt)).await;
            attempt += 1;
        }
    }

    async fn attempt<T>(
        &self,
        uri: &Uri,
        body: &Bytes,
        read: &impl Fn(&HttpResponse) -> Result<T, CheckError>,
    ) -> Result<T, Refusal> {
        let fetched =
            self.token.get_with((), async { self.source.fetch(&self.client).await.map(Arc::new) }).await;
        let token = fetched.map_err(Refusal::Failed)?;
        let mut request = json_request(uri, body.clone());
        request.headers_mut().insert(AUTHORIZATION, token.value.clone());
        let response = self.client.send(request).await.map_err(Refusal::Failed)?;
        if response.status == StatusCode::UNAUTHORIZED {
            return Err(Refusal::Token {
                token,
                words: response.quote(std::str::from_utf8(&response.body).ok()),
            });
        }
        read(&response).map_err(Refusal::Failed)
    }

    /// Forgets a token that was refused, unless another call has replaced it.
    async fn discard(&self, refused: &Arc<AccessToken>) {
        let current = self.token.get(&()).await;
        if matches!(current, Some(Ok(current)) if Arc::ptr_eq(&current, refused)) {
            self.token.invalidate(&()).await;
        }
    }
}

impl AccessToken {
    /// A token of a login service: `{"access_token": ..., "expires_in": seconds}`, RFC 6749 section 5.1.
    /// Azure's service for managed identities writes the seconds as text.
    ///
    /// # Errors
    /// The service's refusal: [`KeyringError::Credentials`] for `{"error": ...}`, RFC 6749 section 5.2.
    pub(super) fn from_response(response: &HttpResponse) -> Result<Self, CheckError> {
        #[derive(Deserialize)]
        struct Granted {
            #[serde(deserialize_with = "secret")]
            access_token: Zeroizing<String>,
            expires_in: Value,
        }
        #[derive(Deserialize)]
        struct Refused {
            error: String,
            error_description: Option<String>,
        }
        if !response.status.is_success() {
            let refused = serde_json::from_slice::<Refused>(&response.body).ok();
            let words = refused.map(|refused| match refused.error_description {
                Some(description) => format!("{}: {description}", refused.error),
                None => refused.error,
            });
            let mut error = response.classify_status();
            if matches!(error, KeyringError::Unexpected(_)) && words.is_some() {
                error = KeyringError::Credentials;
            }
            return Err(CheckError {
                error,
                cause: Some(format!("login: {}", response.quote(words.as_deref()))),
            });
        }
        let granted: Granted = serde_json::from_slice(&response.body).map_err(|_| response.malformed())?;
        let seconds = granted.expires_in.as_u64().or_else(|| granted.expires_in.as_str()?.parse().ok());
        let value = bearer(&granted.access_token).ok_or_else(|| response.malformed())?;
        let lifetime = Duration::from_secs(seconds.ok_or_else(|| response.malformed())?);
        Ok(Self { value, lifetime })
    }

    /// A token that another program keeps in a file.
    pub(super) async fn from_file(file: &Path) -> Result<Self, CheckError> {
        let token = read_secret("token_file", file).await?;
        let value = bearer(&token).ok_or_else(|| unusable("token_file", file, "it holds no token"))?;
        Ok(Self { value, lifetime: TOKEN_FILE_AGE })
    }
}

/// Reads a text that is erased after use.
pub(super) fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Zeroizing<String>, D::Error> {
    String::deserialize(deserializer).map(Zeroizing::new)
}

fn bearer(token: &str) -> Option<HeaderValue> {
    let text = Zeroizing::new(format!("Bearer {token}"));
    let mut value = HeaderValue::from_str(&text).ok().filter(|_| !token.is_empty())?;
    value.set_sensitive(true);
    Some(value)
}

fn json_request(uri: &Uri, body: Bytes) -> Request<Full<Bytes>> {
    post(uri, "application/json", body)
}

/// A form, as login services take it. The values are encoded already.
pub(super) fn form_request(uri: &Uri, fields: &[(&str, &str)]) -> Request<Full<Bytes>> {
    let mut form = Zeroizing::new(Vec::with_capacity(2_048));
    for (at, &(name, value)) in fields.iter().enumerate() {
        let parts = [if at == 0 { "" } else { "&" }, name, "=", value];
        parts.iter().for_each(|part| form.extend_from_slice(part.as_bytes()));
    }
    post(uri, "application/x-www-form-urlencoded", Bytes::from_owner(form))
}

fn post(uri: &Uri, content_type: &'static str, body: Bytes) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri.clone();
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    request
}

/// A GET to the metadata service of a virtual machine, with the header that the service requires against
/// forged requests.
pub(super) fn metadata_request(uri: &Uri, header: (&'static str, &'static str)) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(Bytes::new()));
    *request.uri_mut() = uri.clone();
    request.headers_mut().insert(header.0, HeaderValue::from_static(header.1));
    request
}

/// The content of a file without the white space around it.
pub(super) async fn read_secret(setting: &'static str, file: &Path) -> Result<Zeroizing<String>, CheckError> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_SECRET_LEN + 1));
    let read = async {
        let opened = tokio::fs::File::open(file).await?;
        let limit = u64::try_from(MAX_SECRET_LEN + 1).expect("64 KiB");
        opened.take(limit).read_to_end(&mut bytes).await
    };
    read.await.map_err(|error| unusable(setting, file, &error.to_string()))?;
    let text = std::str::from_utf8(&bytes).map_err(|_| unusable(setting, file, "it is not text"))?.trim();
    match text.len() {
        0 => Err(unusable(setting, file, "it is empty")),
        1..=MAX_SECRET_LEN => Ok(Zeroizing::new(text.to_owned())),
        _ => Err(unusable(setting, file, "it is longer than 64 KiB")),
    }
}

pub(super) fn unusable(setting: &'static str, file: &Path, problem: &str) -> CheckError {
    let cause = Some(format!("{setting} {}: {problem}", file.display()));
    CheckError { error: KeyringError::Credentials, cause }
}

/// Whether secrets may be sent there: over TLS, or to this machine.
pub(super) fn is_safe_for_secrets(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let is_loopback = host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    is_loopback || (uri.scheme_str() == Some("https") && !host.is_empty())
}
