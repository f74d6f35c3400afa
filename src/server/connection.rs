//! One accepted connection: its TLS handshake, its HTTP/1.1 requests and its end.
//! It must not know how many connections are open.
//! It promises limits for the head of a request and timeouts for the handshake, the head and the response.

use std::convert::Infallible;
use std::io;
use std::net::{self, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::CONNECTION;
use http::{HeaderValue, Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulConnection;
use metrics::{Counter, Gauge};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::activity::{Activity, TrackedBody};
use super::drain::{Draining, FIRST_REQUEST_TIMEOUT};
use super::tls::{certificate_names, tls_version};
use super::unusable::{self, Reason, unusable};
use super::write_deadline::WriteDeadline;
use super::{ConnectionInfo, RequestBody, Settings};
use crate::buffers::{self, CappedStream, ConnectionCounter, PacedBody};
use crate::clock;
use crate::meter::Meter;
use crate::metric::MetricHandle;
use crate::timer;
use crate::wakes;

/// Maximum bytes of a request's head. Metadata in [`MAX_HEADERS`] lines takes 10 KiB, and its names take
/// 8 KiB more in the Authorization header; the most metadata that S3 keeps takes 16 KiB in a presigned URL.
/// A percent-encoded key takes up to 3 KiB, a copy's source too, a session token 4 KiB, tags 12 KiB. The
/// rest is left to proxies in between.
const MAX_HEAD: usize = 64 * 1024;

/// Maximum number of header fields of a request. S3 accepts 8 KiB of them, which is at most 480 metadata
/// entries with the shortest names.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html>
const MAX_HEADERS: usize = 512;

/// Maximum lines of a head for which hyper needs no room on the heap: its own limit of 100 fields, and the
/// request line. The heads of nearly all requests have fewer.
const MAX_USUAL_LINES: usize = 100;

/// Maximum bytes that the kernel buffers for a client beyond those in flight.
#[cfg(target_os = "linux")]
const MAX_UNSENT: u32 = 128 * 1024;

/// Timeout for a TLS handshake: a few round trips on the slowest networks.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Timeout for the closing of an idle connection.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A connection on which no byte moved for two checks at this interval gives back its buffers.
pub(super) const IDLE_INTERVAL: Duration =
    if cfg!(test) { Duration::from_millis(50) } else { Duration::from_secs(2) };

/// One accepted connection, from its first byte to its last.
pub(super) struct Connection {
    /// Not registered with a runtime yet.
    stream: net::TcpStream,
    peer: SocketAddr,
    tls: Option<Arc<ServerConfig>>,
    rules: ConnectionRules,
    is_surplus: bool,
}

/// The limits of a connection, with or without TLS.
struct ConnectionRules {
    header_timeout: Duration,
    idle_timeout: Duration,
    meter: Meter,
    connections: ConnectionCounter,
    is_counted: bool,
    draining: Draining,
}

static CONNECTIONS: MetricHandle<Counter> =
    MetricHandle::new(|| metrics::counter!("s3veil_connections_total"));
static OPEN_CONNECTIONS: MetricHandle<Gauge> =
    MetricHandle::new(|| metrics::gauge!("s3veil_connections_open"));

/// Counts an open connection until it is dropped.
struct OpenConnection;

impl OpenConnection {
    fn count() -> Self {
        OPEN_CONNECTIONS.with(|gauge| gauge.increment(1.0));
        CONNECTIONS.with(|counter| counter.increment(1));
        Self
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        OPEN_CONNECTIONS.with(|gauge| gauge.decrement(1.0));
    }
}

impl Connection {
    /// A connection that counts in `connections` while it runs. The request of a surplus connection is
    /// refused.
    pub(super) fn new(
        stream: net::TcpStream,
        peer: SocketAddr,
        settings: &Settings,
        tls: Option<Arc<ServerConfig>>,
        connections: ConnectionCounter,
        draining: Draining,
        is_surplus: bool,
    ) -> Self {
        let &Settings { header_timeout, idle_timeout, min_rate, is_counted, .. } = settings;
        let meter = Meter::new(min_rate);
        let rules =
            ConnectionRules { header_timeout, idle_timeout, meter, connections, is_counted, draining };
        Self { stream, peer, tls, rules, is_surplus }
    }

    /// Serves the connection until it ends. Errors are the client's, and are only traced.
    pub(super) async fn run<S, F, B>(self, service: S)
    where
        S: Fn(Request<RequestBody>, ConnectionInfo) -> F,
        F: Future<Output = Response<B>>,
        B: Body<Data = Bytes> + Unpin + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let Self { stream, peer, tls, mut rules, is_surplus } = self;
        let _open = rules.is_counted.then(OpenConnection::count);
        let _entered = rules.connections.enter();
        let stream = match prepare(stream) {
            Ok(stream) => stream,
            Err(error) => {
                tracing::debug!(%peer, %error, "a connection was lost before it was served");
                return;
            }
        };
        let mut info = ConnectionInfo {
            peer,
            tls_version: None,
            certificate_names: None,
            is_surplus,
            meter: rules.meter.clone(),
        };
        let Some(tls) = tls else {
            let stream = CappedStream::new(stream, rules.connections.clone());
            let serving = pin!(rules.serve(stream, peer, |request| service(request, info.clone())));
            return polled(serving).await;
        };
        let handshake = timer::timeout(HANDSHAKE_TIMEOUT, accept_tls(stream, tls, &rules.connections));
        let handshake = tokio::select! {
            handshake = handshake => handshake,
            () = rules.draining.begun_for_handshake() => return,
        };
        match handshake {
            Ok(Ok(Handshake::Done(stream))) => {
                let session = stream.get_ref().1;
                info.certificate_names = certificate_names(session.peer_certificates());
                info.tls_version = Some(tls_version(session.protocol_version()));
                let serving = pin!(rules.serve(stream, peer, |request| service(request, info.clone())));
                polled(serving).await;
            }
            Ok(Ok(Handshake::PlainHttp(stream))) => {
                unusable(peer, Reason::HttpAtTls, &"a request without TLS");
                unusable::refuse_plain_http(stream).await;
            }
            Ok(Err(error)) => unusable(peer, Reason::from_handshake(&error), &error),
            Err(elapsed) => unusable(peer, Reason::HandshakeTimeout, &elapsed),
        }
    }
}

/// Runs a connection: time stands still during each poll, and its own work does not wake it for nothing.
async fn polled(serving: Pin<&mut impl Future<Output = ()>>) {
    let serving = pin!(wakes::holdable(serving));
    clock::read_once_per_poll(serving).await;
}

/// Configures the socket, and registers it with the current runtime. Small responses must not wait for the
/// acknowledgement of earlier ones (Nagle's algorithm), and large ones must not fill the kernel's buffers:
/// these hold some MiB for a client that reads nothing, and that is detected only when they are full.
fn prepare(stream: net::TcpStream) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    #[cfg(target_os = "linux")]
    socket2::SockRef::from(&stream).set_tcp_notsent_lowat(MAX_UNSENT)?;
    TcpStream::from_std(stream)
}

/// The beginning of a connection at a TLS listener.
enum Handshake {
    /// On the heap from here on: the states of a connection would have room for several of it.
    Done(Box<TlsStream<CappedStream<TcpStream>>>),
    /// The client sent the beginning of an HTTP request without TLS.
    PlainHttp(TcpStream),
}

async fn accept_tls(
    stream: TcpStream,
    tls: Arc<ServerConfig>,
    connections: &ConnectionCounter,
) -> io::Result<Handshake> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 1 && unusable::begins_http(first[0]) {
        return Ok(Handshake::PlainHttp(stream));
    }
    let stream = TlsAcceptor::from(tls).accept(CappedStream::new(stream, connections.clone())).await?;
    Ok(Handshake::Done(Box::new(stream)))
}

/// A stream over TCP.
pub(super) trait OverTcp {
    fn tcp(&self) -> &TcpStream;

    /// Whether the beginning of a request may have been read from TCP already.
    fn may_have_read(&self) -> bool;
}

impl OverTcp for CappedStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.inner()
    }

    fn may_have_read(&self) -> bool {
        false
    }
}

impl OverTcp for Box<TlsStream<CappedStream<TcpStream>>> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0.inner()
    }

    /// With the end of the handshake.
    fn may_have_read(&self) -> bool {
        true
    }
}

/// How hyper's part of a connection ended.
enum Ended {
    /// With the connection.
    Closed(hyper::Result<()>),
    /// The connection is idle.
    Idle,
    /// No complete head came before the timeout.
    Late,
}

impl ConnectionRules {
    /// Serves requests until the connection ends. While it is idle, it has no buffers of hyper's.
    async fn serve<T, F, B>(
        mut self,
        stream: T,
        peer: SocketAddr,
        service: impl Fn(Request<RequestBody>) -> F,
    ) where
        T: AsyncRead + AsyncWrite + OverTcp + Unpin + 'static,
        F: Future<Output = Response<B>>,
        B: Body<Data = Bytes> + Unpin + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let activity = Activity::default();
        let mut stream =
            WriteDeadline::new(stream, self.idle_timeout, &self.meter, activity.clone(), MAX_USUAL_LINES);
        let mut builder = http1::Builder::new();
        builder
            // Kept by `run`: hyper would make a timer for each request.
            .header_read_timeout(None)
            .max_header_size(MAX_HEAD)
            .max_buf_size(buffers::MAX_ALLOWANCE)
            // The stream looks for clients that leave, with less memory than hyper.
            .half_close(true);
        let (connections, draining) = (self.connections.clone(), self.draining.clone());
        let (service, draining) = (&service, &draining);
        let service = |request: Request<Incoming>| {
            let request = request.map(|body| TrackedBody::request(body, activity.enter()));
            let (connections, in_flight) = (connections.clone(), activity.enter());
            async move {
                // Called here, since a future that is handed over would be in this one twice.
                let mut response = service(request).await;
                if draining.is_leaving() {
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, Infallible>(
                    response.map(|body| TrackedBody::response(PacedBody::new(body, connections), in_flight)),
                )
            }
        };
        let mut is_arriving = stream.inner().may_have_read();
        while is_arriving || self.await_request(stream.inner().tcp(), &activity).await {
            let mut connection = builder.serve_connection(TokioIo::new(stream), service_fn(&service));
            let ended = self.run(Pin::new(&mut connection), &activity).await;
            let parts = connection.into_parts();
            stream = parts.io.into_inner();
            is_arriving = stream.take_long_head();
            match ended {
                Ended::Closed(result) if !is_arriving => return closed(result, peer, stream.first()),
                Ended::Closed(_) => _ = builder.max_headers(MAX_HEADERS),
                Ended::Idle => {}
                Ended::Late => return tracing::debug!(%peer, "a request's head did not come in time"),
            }
            stream.unread(parts.read_buf);
        }
        // With TLS this sends a close_notify: the client sees that nothing was cut off (RFC 8446, 6.1).
        drop(timer::timeout(CLOSE_TIMEOUT, stream.shutdown()).await);
    }

    /// Waits for the first byte of a request. Returns whether it came before the timeout and the shutdown.
    async fn await_request(&mut self, stream: &TcpStream, activity: &Activity) -> bool {
        tokio::select! {
            // A request that has arrived is served.
            biased;
            readable = timer::timeout(self.header_timeout, stream.readable()) => {
                matches!(readable, Ok(Ok(())))
            }
            () = must_close(&mut self.draining, activity) => false,
        }
    }

    /// Drives a connection until it has ended, was idle for [`IDLE_INTERVAL`], or has had no complete head
    /// for the header timeout, since this call or the latest response.
    async fn run<C>(&mut self, mut connection: Pin<&mut C>, activity: &Activity) -> Ended
    where
        C: GracefulConnection<Error = hyper::Error>,
    {
        let mut moves = activity.moves();
        let begun = Instant::now();
        let (mut check_at, mut late_at) = (begun + IDLE_INTERVAL, begun + self.header_timeout);
        // One timer for both, which is reset only after it has expired, not for each request.
        let mut timer = pin!(timer::sleep_until(check_at.min(late_at)));
        let mut must_close = pin!(must_close(&mut self.draining, activity));
        loop {
            tokio::select! {
                biased;
                ended = connection.as_mut() => return Ended::Closed(ended),
                () = &mut must_close => {
                    connection.as_mut().graceful_shutdown();
                    return Ended::Closed(connection.await);
                }
                () = timer.as_mut() => {
                    let now = Instant::now();
                    if check_at <= now {
                        check_at = now + IDLE_INTERVAL;
                        let before = std::mem::replace(&mut moves, activity.moves());
                        if before == moves && activity.is_idle() {
                            return Ended::Idle;
                        }
                    }
                    if late_at <= now {
                        let since = if activity.is_idle() { activity.idle_since().max(begun) } else { now };
                        late_at = since + self.header_timeout;
                        if late_at <= now {
                            return Ended::Late;
                        }
                    }
                    timer.as_mut().reset(check_at.min(late_at).into());
                }
            }
        }
    }
}

/// Ready when the drain has begun, and the connection has had a request or enough time to send one.
async fn must_close(draining: &mut Draining, activity: &Activity) {
    draining.begun().await;
    if activity.entered() == 0 {
        timer::sleep(FIRST_REQUEST_TIMEOUT).await;
    }
}

/// Logs the end of a connection whose first byte was `first`.
fn closed(result: hyper::Result<()>, peer: SocketAddr, first: Option<u8>) {
    match result {
        Ok(()) => {}
        Err(error) if !error.is_parse() => tracing::debug!(%peer, %error, "a connection was cut"),
        Err(error) if first == Some(unusable::TLS_HANDSHAKE) => unusable(peer, Reason::TlsAtHttp, &error),
        Err(error) => unusable(peer, Reason::Malformed, &error),
    }
}
