//! What an operator asks the process: is it alive, is it ready, what does it count, how is it set up.
//! It knows the answers only through what it is given, and holds no secret that it could show.
//! It listens on an address of its own, so that none of it is in reach of S3 clients.

mod page;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use metrics_exporter_prometheus::PrometheusHandle;

use crate::server::{self, Bound, ServeError, Server};
pub use page::Status;

/// Probes and scrapers are few; a flood of them must not take file descriptors from S3 clients.
const MAX_CONNECTIONS: usize = 64;

/// How long a probe may dawdle over its request, or over taking the answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How often histograms are folded, whether anyone scrapes or not, so that they stay bounded.
const UPKEEP: Duration = Duration::from_secs(5);

/// Where to answer operators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Plain HTTP, without authentication: an address that only operators reach.
    pub address: SocketAddr,
}

/// What is known of the proxy and what it depends on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Health {
    /// What keeps requests from being served here: any of these means not ready.
    pub problems: Vec<Problem>,
    /// What is to be mended while requests go on being served.
    pub degraded: Vec<Problem>,
}

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    /// `keyring`, `upstream`, ...
    pub component: &'static str,
    /// For people; free of secrets.
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

/// The admin listener, before it answers.
#[derive(Debug)]
pub struct Admin {
    bound: Bound,
}

struct Answers<R> {
    metrics: PrometheusHandle,
    status: Status,
    started: Instant,
    readiness: R,
}

impl Admin {
    /// Opens the listening socket.
    pub async fn bind(settings: Settings) -> Result<Self, ServeError> {
        let Settings { address } = settings;
        let settings = server::Settings {
            address,
            address_key: "admin.address",
            tls: None,
            max_connections: MAX_CONNECTIONS,
            header_timeout: TIMEOUT,
            idle_timeout: TIMEOUT,
            min_rate: 1,
            drain_timeout: Duration::ZERO,
        };
        Ok(Self { bound: Server::bind(settings).await? })
    }

    /// Where it listens.
    pub fn local_address(&self) -> SocketAddr {
        self.bound.local_address()
    }

    /// Answers `/healthz`, `/readyz`, `/metrics` and `/` until `shutdown` is ready. `readiness` is called for
    /// each `/readyz` request; it bounds its own time. The response is 200 `{"ready":true}`, with
    /// `"degraded":[{"component":"…","message":"…"}]` where a component needs repair, or 503
    /// `{"ready":false,"problems":[…]}`.
    pub async fn serve<R, F>(
        self,
        metrics: PrometheusHandle,
        status: Status,
        readiness: R,
        shutdown: impl Future<Output = ()>,
    ) where
        R: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Health> + Send + 'static,
    {
        let upkeep = metrics.clone();
        let answers = Arc::new(Answers { metrics, status, started: Instant::now(), readiness });
        let service = move |request: Request<Incoming>, _| {
            let answers = answers.clone();
            async move { answers.answer(request.method(), request.uri().path()).await }
        };
        let folding = async {
            loop {
                tokio::time::sleep(UPKEEP).await;
                upkeep.run_upkeep();
            }
        };
        tokio::select! {
            _ = self.bound.serve(service, shutdown) => {}
            () = folding => {}
        }
    }
}

impl<R, F> Answers<R>
where
    R: Fn() -> F,
    F: Future<Output = Health>,
{
    async fn answer(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n".to_owned());
            refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return refused;
        }
        match path {
            "/healthz" => text(StatusCode::OK, "ok\n".to_owned()),
            "/readyz" => ready(&(self.readiness)().await),
            "/metrics" => {
                let format = "text/plain; version=0.0.4; charset=utf-8";
                plain(StatusCode::OK, format, self.metrics.render())
            }
            "/" => text(StatusCode::OK, self.status.page(self.started.elapsed())),
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
