//! The admin listener for operators: liveness, readiness, metrics and a status page.
//! It must not know how health is assessed, nor any secret.
//! It promises an address of its own, so that S3 clients can't reach these pages, and with a token that no
//! page but the two of probes is served without it.

mod document;
mod history;
mod overview;
mod page;
mod snapshot;
mod status;
#[cfg(test)]
mod tests;
mod token;
mod verdict;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use metrics_exporter_prometheus::PrometheusHandle;

use self::overview::Overview;
pub use self::snapshot::SECONDS;
pub use self::status::{Certificate, Named, Rule, Status};
pub use self::token::BearerToken;
use crate::recent;
use crate::server::{
    self, BoundServer, CurrentTls, HandedOver, RequestBody, ServeError, Server, Tls, Workers,
};

/// Maximum number of connections: probes and scrapers are few, and must not take file descriptors from S3
/// clients.
const MAX_CONNECTIONS: usize = 64;

/// Timeout for a probe to send its request, and to read the response.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The text format of Prometheus.
const METRICS_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Settings of the admin listener.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The address, which only operators should reach.
    pub address: SocketAddr,
    /// The certificate and key for TLS; `None` for plain HTTP.
    pub tls: Option<Tls>,
    /// The token that requests must carry, except for `/healthz` and `/readyz`; `None`: no authentication.
    pub token: Option<BearerToken>,
    /// Whether other processes may listen on the address too.
    pub reuse_port: bool,
}

/// The health of the proxy and its dependencies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Health {
    /// Problems that prevent requests from being served: with any of them the proxy is not ready.
    pub problems: Vec<Problem>,
    /// Problems to be repaired while requests are still served.
    pub degraded: Vec<Problem>,
    /// Whether the proxy is shutting down.
    pub is_draining: bool,
}

/// One problem of a component.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    /// The component: `keyring`, `storage`, ...
    pub component: &'static str,
    /// A message for operators, without secrets.
    pub message: String,
}

/// What the latest checks and requests say of a storage or a wrapping key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DependencyReport {
    /// Where it is, in words.
    pub place: String,
    /// The key, for a wrapping key that is named.
    pub key_id: Option<String>,
    /// Why the latest check failed, for operators; `None` if it did not.
    pub trouble: Option<String>,
    /// A message about a dependency that works.
    pub note: Option<String>,
    /// When it last worked.
    pub succeeded_at: Option<SystemTime>,
}

/// The reports of all dependencies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reports {
    /// The storages, the default one first.
    pub storages: Vec<DependencyReport>,
    /// Every key that a rule writes with, and the replicas of these keys.
    pub keys: Vec<DependencyReport>,
}

/// What the admin listener asks the process.
pub trait Source: Send + Sync + 'static {
    /// The health, after an assessment if the last one is old. It must limit its own time.
    fn health(&self) -> impl Future<Output = Health> + Send;

    /// The health as far as it is known, without an assessment.
    fn known_health(&self) -> Health;

    /// The storages and keys as far as they are known.
    fn reports(&self) -> Reports;

    /// Sets the gauges that are read only when they are looked at.
    fn set_gauges(&self) -> impl Future<Output = ()> + Send;
}

#[derive(serde::Serialize)]
struct Readiness<'a> {
    ready: bool,
    #[serde(skip_serializing_if = "<[Problem]>::is_empty")]
    problems: &'a [Problem],
    #[serde(skip_serializing_if = "<[Problem]>::is_empty")]
    degraded: &'a [Problem],
}

/// The admin listener, which does not serve yet.
#[derive(Debug)]
pub struct Admin {
    bound: BoundServer,
    token: CurrentToken,
}

/// The token that requests must carry, which can be replaced while the listener serves. Clones share it.
pub type CurrentToken = Arc<ArcSwapOption<BearerToken>>;

struct Pages<S> {
    token: CurrentToken,
    overview: Overview<S>,
}

impl Admin {
    /// Opens the listening socket, or takes one that was handed over.
    ///
    /// # Errors
    /// [`ServeError`].
    pub async fn open(settings: Settings, socket: Option<HandedOver>) -> Result<Self, ServeError> {
        let Settings { address, tls, token, reuse_port } = settings;
        let settings = server::Settings {
            address,
            address_key: "admin.address",
            tls,
            reuse_port,
            max_connections: MAX_CONNECTIONS,
            is_counted: false,
            header_timeout: TIMEOUT,
            idle_timeout: TIMEOUT,
            min_rate: 1,
            drain_delay: Duration::ZERO,
            drain_timeout: TIMEOUT,
        };
        let bound = match socket {
            Some(socket) => Server::adopt(settings, socket)?,
            None => Server::bind(settings).await?,
        };
        Ok(Self { bound, token: Arc::new(ArcSwapOption::from_pointee(token)) })
    }

    /// The token that requests must carry, which can be replaced while this listener serves.
    pub fn current_token(&self) -> CurrentToken {
        Arc::clone(&self.token)
    }

    /// The TLS of this listener, which can be replaced while it serves; `None` without TLS.
    pub fn current_tls(&self) -> Option<CurrentTls> {
        self.bound.current_tls()
    }

    /// The local address, with the port that the system chose if none was configured.
    pub fn local_address(&self) -> SocketAddr {
        self.bound.local_address()
    }

    /// Serves `/healthz`, `/readyz`, `/metrics`, `/status.json` and the page `/` until `shutdown` is ready.
    /// The response to `/readyz` is 200 `{"ready":true}`, with `"degraded":[{"component":"…","message":"…"}]`
    /// where a component needs repair, or 503 `{"ready":false,"problems":[…]}`.
    pub async fn serve(
        self,
        metrics: PrometheusHandle,
        status: Arc<ArcSwap<Status>>,
        source: impl Source,
        shutdown: impl Future<Output = ()>,
    ) {
        let Self { bound, token } = self;
        recent::keep();
        let pages = Arc::new(Pages { token, overview: Overview::new(metrics, status, source) });
        let sampled = Arc::clone(&pages);
        let service = move |request: Request<RequestBody>, _| {
            let pages = pages.clone();
            let (parts, _) = request.into_parts();
            async move { pages.respond(&parts.method, parts.uri.path(), &parts.headers).await }
        };
        let workers = Workers::current();
        tokio::select! {
            _ = bound.serve(&workers, service, shutdown) => {}
            () = sampled.overview.sample() => {}
        }
    }
}

impl<S: Source> Pages<S> {
    async fn respond(&self, method: &Method, path: &str, headers: &HeaderMap) -> Response<Full<Bytes>> {
        let is_open = matches!(path, "/healthz" | "/readyz");
        if self.token.load().as_ref().is_some_and(|token| !is_open && !token.authorizes(headers)) {
            let mut refused =
                text(StatusCode::UNAUTHORIZED, "the bearer token is missing or wrong\n".to_owned());
            let challenge = HeaderValue::from_static("Bearer realm=\"s3veil\"");
            refused.headers_mut().insert(WWW_AUTHENTICATE, challenge);
            return refused;
        }
        if !matches!(*method, Method::GET | Method::HEAD) {
            let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n".to_owned());
            refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return refused;
        }
        match path {
            "/healthz" => text(StatusCode::OK, "ok\n".to_owned()),
            "/readyz" => ready(&self.overview.health().await),
            "/metrics" => plain(StatusCode::OK, METRICS_FORMAT, self.overview.metrics().await),
            "/status.json" => {
                let mut document = self.overview.document().await.to_string();
                document.push('\n');
                plain(StatusCode::OK, "application/json", document)
            }
            "/" => html(page::render(&self.overview.document().await)),
            _ => {
                let pages = "try /, /status.json, /healthz, /readyz or /metrics\n";
                text(StatusCode::NOT_FOUND, pages.to_owned())
            }
        }
    }
}

fn ready(health: &Health) -> Response<Full<Bytes>> {
    let Health { problems, degraded, is_draining: _ } = health;
    let status = if problems.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let readiness = Readiness { ready: problems.is_empty(), problems, degraded };
    let mut body = serde_json::to_string(&readiness).expect("strings and a boolean are always JSON");
    body.push('\n');
    plain(status, "application/json", body)
}

fn html(page: String) -> Response<Full<Bytes>> {
    let mut response = plain(StatusCode::OK, "text/html; charset=utf-8", page);
    let policy = HeaderValue::from_str(&page::POLICY).expect("digests are visible ASCII");
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, policy);
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    response
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    plain(status, "text/plain; charset=utf-8", body)
}

fn plain(status: StatusCode, format: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(format));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
