//! One accepted connection: its TLS handshake, its HTTP/1.1 requests and its end.
//! It must not know how many connections are open.
//! It promises limits for the head of a request and timeouts for the handshake, the head and the response.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::unusable::{self, Reason, unusable};
use super::write_deadline::WriteDeadline;
use super::{ConnectionInfo, Settings, Tls};
use crate::buffers::{self, CappedStream, ConnectionCounter, PacedBody};
use crate::meter::Meter;

/// Maximum bytes of a request's head. Metadata in [`MAX_HEADERS`] lines takes 10 KiB, and its names take
/// 8 KiB more in the Authorization header; the most metadata that S3 keeps takes 16 KiB in a presigned URL.
/// A percent-encoded key takes up to 3 KiB, a copy's source too, a session token 4 KiB, tags 12 KiB. The
/// rest is left to proxies in between.
const MAX_HEAD: usize = 64 * 1024;

/// Maximum number of header fields of a request. S3 accepts 8 KiB of them, which is at most 480 metadata
/// entries with the shortest names. A higher maximum would cost every request: hyper allocates room for
/// this count before it reads a head.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html>
const MAX_HEADERS: usize = 512;

/// Maximum bytes that the kernel buffers for a client beyond those in flight.
#[cfg(target_os = "linux")]
const MAX_UNSENT: u32 = 128 * 1024;

/// Timeout for a TLS handshake: a few round trips on the slowest networks.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// One accepted connection, from its first byte to its last.
pub(super) struct Connection {
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<Tls>,
    rules: ConnectionRules,
    is_surplus: bool,
}

/// The limits of a connection, with or without TLS.
struct ConnectionRules {
    header_timeout: Duration,
    idle_timeout: Duration,
    meter: Meter,
    connections: ConnectionCounter,
    drain: Drain,
}

/// Notifies a connection that the shutdown began.
#[derive(Debug, Clone)]
pub(super) struct Drain(pub(super) watch::Receiver<bool>);

impl Drain {
    async fn begun(&mut self) {
        // A dropped sender means the shutdown too.
        drop(self.0.wait_for(|draining| *draining).await);
    }
}

/// Counts an open connection until it is dropped.
struct OpenConnection;

impl OpenConnection {
    fn count() -> Self {
        metrics::gauge!("s3veil_connections_open").increment(1.0);
        metrics::counter!("s3veil_connections_total").increment(1);
        Self
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        metrics::gauge!("s3veil_connections_open").decrement(1.0);
    }
}

impl Connection {
    /// A connection that counts in `connections` while it runs. The request of a surplus connection is
    /// refused.
    pub(super) fn new(
        stream: TcpStream,
        peer: SocketAddr,
        settings: &Settings,
        connections: ConnectionCounter,
        drain: Drain,
        is_surplus: bool,
    ) -> Self {
        let &Settings { ref tls, header_timeout, idle_timeout, min_rate, .. } = settings;
        let rules =
            ConnectionRules { header_timeout, idle_timeout, meter: Meter::new(min_rate), connections, drain };
        Self { stream, peer, tls: tls.clone(), rules, is_surplus }
    }

    /// Serves the connection until it ends. Errors are the client's, and are only traced.
    pub(super) async fn run<S, F, B>(self, service: S)
    where
        S: Fn(Request<Incoming>, ConnectionInfo) -> F,
        F: Future<Output = Response<B>>,
        B: Body<Data = Bytes> + Unpin + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let Self { stream, peer, tls, mut rules, is_surplus } = self;
        let (_open, _counted) = (OpenConnection::count(), rules.connections.enter());
        if let Err(error) = prepare(&stream) {
            tracing::debug!(%peer, %error, "a connection was lost before it was served");
            return;
        }
        let info = ConnectionInfo { peer, is_tls: tls.is_some(), is_surplus, meter: rules.meter.clone() };
        let service = |request| service(request, info.clone());
        let Some(tls) = tls else {
            let stream = CappedStream::new(stream, rules.connections.clone());
            return rules.serve(stream, peer, service).await;
        };
        let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, accept_tls(stream, tls, &rules.connections));
        let handshake = tokio::select! {
            handshake = handshake => handshake,
            () = rules.drain.begun() => return,
        };
        match handshake {
            Ok(Ok(Handshake::Done(stream))) => rules.serve(*stream, peer, service).await,
            Ok(Ok(Handshake::PlainHttp(stream))) => {
                unusable(peer, Reason::HttpAtTls, &"a request without TLS");
                unusable::refuse_plain_http(stream).await;
            }
            Ok(Err(error)) => unusable(peer, Reason::Handshake, &error),
            Err(elapsed) => unusable(peer, Reason::HandshakeTimeout, &elapsed),
        }
    }
}

/// Configures the socket. Small responses must not wait for the acknowledgement of earlier ones (Nagle's
/// algorithm), and large ones must not fill the kernel's buffers: these hold some MiB for a client that
/// reads nothing, and that is detected only when they are full.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    #[cfg(target_os = "linux")]
    socket2::SockRef::from(stream).set_tcp_notsent_lowat(MAX_UNSENT)?;
    Ok(())
}

/// The beginning of a connection at a TLS listener.
enum Handshake {
    Done(Box<TlsStream<CappedStream<TcpStream>>>),
    /// The client sent the beginning of an HTTP request without TLS.
    PlainHttp(TcpStream),
}

async fn accept_tls(stream: TcpStream, tls: Tls, connections: &ConnectionCounter) -> io::Result<Handshake> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 1 && unusable::begins_http(first[0]) {
        return Ok(Handshake::PlainHttp(stream));
    }
    let stream = TlsAcceptor::from(tls.0).accept(CappedStream::new(stream, connections.clone())).await?;
    Ok(Handshake::Done(Box::new(stream)))
}

impl ConnectionRules {
    async fn serve<T, F, B>(self, stream: T, peer: SocketAddr, service: impl Fn(Request<Incoming>) -> F)
    where
        T: AsyncRead + AsyncWrite + Unpin,
        F: Future<Output = Response<B>>,
        B: Body<Data = Bytes> + Unpin + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let Self { header_timeout, idle_timeout, meter, connections, mut drain } = self;
        let stream = WriteDeadline::new(stream, idle_timeout, &meter);
        let begins_with_tls = stream.begins_with_tls();
        let stream = TokioIo::new(stream);
        let service = service_fn(|request| {
            let (response, connections) = (service(request), connections.clone());
            async { Ok::<_, Infallible>(response.await.map(|body| PacedBody::new(body, connections))) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(header_timeout)
            .max_header_size(MAX_HEAD)
            .max_headers(MAX_HEADERS)
            .max_buf_size(buffers::MAX_ALLOWANCE)
            .half_close(false)
            .serve_connection(stream, service);
        let mut connection = std::pin::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = drain.begun() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        match ended {
            Ok(()) => {}
            Err(error) if !error.is_parse() => tracing::debug!(%peer, %error, "a connection was cut"),
            Err(error) if begins_with_tls.load(Ordering::Relaxed) => {
                unusable(peer, Reason::TlsAtHttp, &error)
            }
            Err(error) => unusable(peer, Reason::Malformed, &error),
        }
    }
}
