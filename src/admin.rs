//! The admin listener for operators: liveness, readiness, metrics and a status page.
//! It must not know how health is assessed, nor any secret.
//! It promises an address of its own, so that S3 clients can't reach these pages, and with a token that no
//! page but the two of probes is served without it.

mod page;
#[cfg(test)]
mod tests;
mod token;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use metrics_exporter_prometheus::PrometheusHandle;
use metrics_process::Collector;

use crate::server::{
    self, BoundServer, CurrentTls, HandedOver, RequestBody, ServeError, Server, Tls, Workers,
};
pub use page::Status;
pub use token::BearerToken;

/// Maximum number of connections: probes and scrapers are few, and must not take file descriptors from S3
/// clients.
const MAX_CONNECTIONS: usize = 64;

/// Timeout for a probe to send its request, and to read the response.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The text format of Prometheus.
const METRICS_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Interval at which histograms are aggregated, so that their memory stays bounded without scrapes.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

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
}

/// One problem of a component.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    /// The component: `keyring`, `storage`, ...
    pub component: &'static str,
    /// A message for operators, without secrets.
    pub message: String,
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

struct Pages<R> {
    token: CurrentToken,
    metrics: PrometheusHandle,
    /// The metrics of the process: CPU time, memory, descriptors, threads.
    process: Collector,
    status: Arc<ArcSwap<Status>>,
    started: Instant,
    readiness: R,
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

    /// Serves `/healthz`, `/readyz`, `/metrics` and `/` until `shutdown` is ready. `readiness` is called for
    /// each `/readyz` request, and must limit its own time. The response is 200 `{"ready":true}`, with
    /// `"degraded":[{"component":"…","message":"…"}]` where a component needs repair, or 503
    /// `{"ready":false,"problems":[…]}`.
    pub async fn serve<F: Future<Output = Health> + Send + 'static>(
        self,
        metrics: PrometheusHandle,
        status: Arc<ArcSwap<Status>>,
        readiness: impl Fn() -> F + Send + Sync + 'static,
        shutdown: impl Future<Output = ()>,
    ) {
        let upkeep = metrics.clone();
        let Self { bound, token } = self;
        let process = Collector::default();
        process.describe();
        let pages = Pages { token, metrics, process, status, started: Instant::now(), readiness };
        let pages = Arc::new(pages);
        let service = move |request: Request<RequestBody>, _| {
            let pages = pages.clone();
            let (parts, _) = request.into_parts();
            async move { pages.respond(&parts.method, parts.uri.path(), &parts.headers).await }
        };
        let upkeep = async {
            loop {
                tokio::time::sleep(UPKEEP_INTERVAL).await;
                upkeep.run_upkeep();
            }
        };
        let workers = Workers::current();
        tokio::select! {
            _ = bound.serve(&workers, service, shutdown) => {}
            () = upkeep => {}
        }
    }
}

impl<R: Fn() -> F, F: Future<Output = Health>> Pages<R> {
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
            "/readyz" => ready(&(self.readiness)().await),
            "/metrics" => {
                self.process.collect();
                plain(StatusCode::OK, METRICS_FORMAT, self.metrics.render())
            }
            "/" => text(StatusCode::OK, self.status.load().page(self.started.elapsed())),
            _ => text(StatusCode::NOT_FOUND, "try /, /healthz, /readyz or /metrics\n".to_owned()),
        }
    }
}

fn ready(health: &Health) -> Response<Full<Bytes>> {
    let Health { problems, degraded } = health;
    let status = if problems.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let readiness = Readiness { ready: problems.is_empty(), problems, degraded };
    let mut body = serde_json::to_string(&readiness).expect("strings and a boolean are always JSON");
    body.push('\n');
    plain(status, "application/json", body)
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    plain(status, "text/plain; charset=utf-8", body)
}

fn plain(status: StatusCode, format: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(format));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
