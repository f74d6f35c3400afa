//! Delivers spans to a collector: in batches, from a bounded queue, by a task of its own. It must not know
//! what a span means. It promises that adding a span never waits, that spans which the queue or the collector
//! does not take are counted in the log, and that the end of the process waits for the last batch, but not
//! long.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::Settings;
use super::encoding::{self, Resource};
use super::record::Span;
use crate::log::Share;
use crate::timer;

/// Maximum number of spans that wait for a delivery, in memory of about a kilobyte each.
const MAX_QUEUED: usize = 8192;
/// Maximum number of spans in one delivery.
const MAX_BATCH: usize = 512;
/// How long a batch waits for further spans.
const BATCH_DELAY: Duration = Duration::from_secs(1);
/// Timeout for one delivery.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(10);
/// Timeout for the last deliveries, at the end of the process.
const FINISH_TIMEOUT: Duration = Duration::from_secs(3);
/// The interval of log lines while spans are lost.
const REPORT_INTERVAL: Duration = Duration::from_secs(60);
/// Maximum bytes of the collector's response that are read.
const MAX_RESPONSE: usize = 16 * 1024;
/// The path for traces, after the endpoint.
/// <https://opentelemetry.io/docs/specs/otlp/#otlphttp-request>
const PATH: &str = "/v1/traces";

/// Why traces can't be delivered at all.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The endpoint does not make a URL.
    #[error("traces.endpoint is an invalid URL")]
    Endpoint(#[from] http::Error),
    /// An endpoint with TLS, without root certificates to verify it by.
    #[error("traces.endpoint requires root certificates, and the system has none: install ca-certificates")]
    NoRoots,
    /// TLS can't be set up.
    #[error("TLS for traces.endpoint can't be set up")]
    Tls(#[from] rustls::Error),
}

/// Takes the spans that have ended. Cheap to clone.
#[derive(Clone)]
pub struct Tracer(Arc<Shared>);

struct Shared {
    queue: mpsc::Sender<Span>,
    sample: Share,
    /// Spans that were dropped since the last report.
    dropped: Arc<AtomicU64>,
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tracer")
    }
}

impl Tracer {
    /// The share of the traces that begin here.
    pub(super) fn sample(&self) -> Share {
        self.0.sample
    }

    /// Queues a span, or drops and counts it.
    pub(super) fn send(&self, span: Span) {
        if self.0.queue.try_send(span).is_err() {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The running delivery of spans.
#[must_use]
pub struct Traces {
    tracer: Tracer,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Traces {
    /// Starts delivering spans in the current runtime. Connects to nothing before there is a span.
    ///
    /// # Errors
    /// [`TraceError`].
    pub fn start(settings: &Settings) -> Result<Self, TraceError> {
        let (queue, spans) = mpsc::channel(MAX_QUEUED);
        let (stop, stopped) = oneshot::channel();
        let dropped = Arc::new(AtomicU64::new(0));
        let exporter = Exporter {
            client: client(&settings.endpoint)?,
            url: url(&settings.endpoint)?,
            resource: Resource { service: settings.service.clone(), instance: Uuid::new_v4().to_string() },
            dropped: Arc::clone(&dropped),
            reported: None,
            lost: 0,
        };
        let task = tokio::spawn(deliver(spans, stopped, exporter));
        let tracer = Tracer(Arc::new(Shared { queue, sample: settings.sample, dropped }));
        Ok(Self { tracer, stop, task })
    }

    /// What takes the spans of requests.
    pub fn tracer(&self) -> Tracer {
        self.tracer.clone()
    }

    /// Delivers what is queued, within three seconds, and takes no further spans.
    pub async fn finish(self) {
        // The task may have ended already.
        let _ = self.stop.send(());
        if timer::timeout(FINISH_TIMEOUT, self.task).await.is_err() {
            tracing::warn!("the collector of traces did not take the last spans in time");
        }
    }
}

/// Delivers batches until `stopped`, and then what is left.
async fn deliver(
    mut spans: mpsc::Receiver<Span>,
    mut stopped: oneshot::Receiver<()>,
    mut exporter: Exporter,
) {
    let mut batch = Vec::with_capacity(MAX_BATCH);
    let mut is_open = true;
    loop {
        // The first span begins a batch, which then waits for others.
        let mut deadline: Option<Instant> = None;
        while batch.len() < MAX_BATCH {
            let room = MAX_BATCH - batch.len();
            let passed = async {
                match deadline {
                    Some(deadline) => timer::sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                _ = &mut stopped, if is_open => {
                    is_open = false;
                    spans.close();
                }
                added = spans.recv_many(&mut batch, room) => {
                    if added == 0 {
                        break;
                    }
                    deadline = deadline.or_else(|| Some(Instant::now() + BATCH_DELAY)).filter(|_| is_open);
                }
                () = passed => break,
            }
        }
        if batch.is_empty() {
            return exporter.report_last();
        }
        exporter.export(&batch).await;
        batch.clear();
    }
}

type HttpClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// Sends batches, and logs the number of spans in those that are lost.
struct Exporter {
    client: HttpClient,
    url: Uri,
    resource: Resource,
    /// Spans for which the queue had no room.
    dropped: Arc<AtomicU64>,
    /// The time of the last report that spans are lost; `None` while they are delivered.
    reported: Option<Instant>,
    /// The spans that were lost since then.
    lost: u64,
}

impl Exporter {
    async fn export(&mut self, batch: &[Span]) {
        let sent = timer::timeout(DELIVERY_TIMEOUT, self.send(batch)).await;
        let failure = match sent {
            Ok(Ok(())) => None,
            Ok(Err(failure)) => Some(failure),
            Err(_elapsed) => Some(format!("no response within {} s", DELIVERY_TIMEOUT.as_secs())),
        };
        self.lose(self.dropped.swap(0, Ordering::Relaxed));
        let Some(cause) = failure else { return self.report_success() };
        self.lose(batch.len() as u64);
        if self.reported.is_none_or(|reported| reported.elapsed() >= REPORT_INTERVAL) {
            let (endpoint, lost) = (&self.url, std::mem::take(&mut self.lost));
            tracing::warn!(%endpoint, cause, lost, "spans could not be delivered, and were dropped");
            self.reported = Some(Instant::now());
        }
    }

    /// Counts spans that are not delivered.
    fn lose(&mut self, spans: u64) {
        self.lost += spans;
        metrics::counter!("s3veil_trace_spans_dropped_total").increment(spans);
    }

    /// # Errors
    /// The reason, in words.
    async fn send(&self, batch: &[Span]) -> Result<(), String> {
        let body = Full::from(encoding::request(&self.resource, batch));
        let request = Request::post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("s3veil/", env!("CARGO_PKG_VERSION")))
            .body(body)
            .map_err(|error| error.to_string())?;
        let response = self.client.request(request).await.map_err(|error| with_causes(&error))?;
        let status = response.status();
        // Read to its end, so that the connection is used again.
        let body = Limited::new(response.into_body(), MAX_RESPONSE).collect().await;
        match (status, body) {
            (StatusCode::OK | StatusCode::ACCEPTED | StatusCode::NO_CONTENT, Ok(_)) => Ok(()),
            (StatusCode::OK | StatusCode::ACCEPTED | StatusCode::NO_CONTENT, Err(error)) => {
                Err(error.to_string())
            }
            (status, _) => Err(format!("HTTP status {}", status.as_u16())),
        }
    }

    fn report_success(&mut self) {
        let was_lost = std::mem::take(&mut self.lost);
        if self.reported.take().is_some() || was_lost > 0 {
            tracing::info!(lost = was_lost, "spans are delivered again, of which others were dropped");
        }
    }

    /// At the end of the process.
    fn report_last(&mut self) {
        self.lose(self.dropped.swap(0, Ordering::Relaxed));
        if self.lost > 0 {
            tracing::warn!(endpoint = %self.url, lost = self.lost, "spans could not be delivered, and were dropped");
        }
    }
}

fn url(endpoint: &Uri) -> Result<Uri, http::Error> {
    let mut parts = endpoint.clone().into_parts();
    parts.path_and_query = Some(http::uri::PathAndQuery::from_static(PATH));
    Uri::from_parts(parts).map_err(http::Error::from)
}

/// A client that trusts the system's root certificates, if the endpoint has TLS.
fn client(endpoint: &Uri) -> Result<HttpClient, TraceError> {
    let mut roots = rustls::RootCertStore::empty();
    if endpoint.scheme_str() == Some("https") {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            return Err(TraceError::NoRoots);
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(config)
        .https_or_http()
        .enable_http1()
        .wrap_connector(http);
    Ok(Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector))
}

/// An error and its causes in one line.
fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |cause| cause.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests;
