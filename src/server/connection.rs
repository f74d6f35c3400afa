use std::convert::Infallible;
use std::net::SocketAddr;
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

use super::stall::WriteDeadline;
use super::{ConnectionInfo, Settings, Tls};
use crate::buffers::{self, CappedStream, Crowd, PacedBody};

/// Bytes of a request's head. S3 allows 8 KiB of PUT headers with 2 KiB of metadata; a percent-encoded key has up to
/// 3 KiB, a session token or a policy in a presigned URL 4 KiB more. Four times that is left to proxies in between.
const MAX_HEAD: usize = 32 * 1024;

/// Header fields of a request: 2 KiB of metadata in short names is more than hyper's usual 100.
const MAX_HEADERS: usize = 256;

/// How long a TLS handshake may take: a few round trips on the slowest of networks.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// One accepted connection, from its first byte to its last.
pub(super) struct Connection {
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<Tls>,
    header_timeout: Duration,
    idle_timeout: Duration,
    crowd: Crowd,
    drain: Drain,
    surplus: bool,
}

/// Tells a connection that the shutdown began.
#[derive(Debug, Clone)]
pub(super) struct Drain(pub(super) watch::Receiver<bool>);

impl Drain {
    async fn begun(&mut self) {
        // A sender that is gone has no more to say than one that says so.
        drop(self.0.wait_for(|draining| *draining).await);
    }
}

/// Counts an open connection while it lives.
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
    /// A connection that is one of `crowd` while it runs; a `surplus` one is there only to be refused.
    pub(super) fn new(
        stream: TcpStream,
        peer: SocketAddr,
        settings: &Settings,
        crowd: Crowd,
        drain: Drain,
        surplus: bool,
    ) -> Self {
        let &Settings { ref tls, header_timeout, idle_timeout, .. } = settings;
        Self { stream, peer, tls: tls.clone(), header_timeout, idle_timeout, crowd, drain, surplus }
    }

    /// Serves the connection until it ends. Its errors are the other side's doing, and only traced.
    pub(super) async fn run<S, F, B>(mut self, service: S)
    where
        S: Fn(Request<Incoming>, ConnectionInfo) -> F,
        F: Future<Output = Response<B>>,
        B: Body<Data = Bytes> + Unpin + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (_open, _member) = (OpenConnection::count(), self.crowd.join());
        let (peer, surplus) = (self.peer, self.surplus);
        // Small responses must not wait for the acknowledgement of earlier ones (Nagle's algorithm).
        if let Err(error) = self.stream.set_nodelay(true) {
            tracing::debug!(%peer, %error, "a connection was lost before it was served");
            return;
        }
        let stream = CappedStream::new(self.stream, self.crowd.clone());
        let Some(tls) = self.tls.take() else {
            return serve(
                stream,
                self.header_timeout,
                self.idle_timeout,
                self.crowd,
                self.drain,
                |request| service(request, ConnectionInfo { peer, tls: false, surplus }),
            )
            .await;
        };
        let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, TlsAcceptor::from(tls.0).accept(stream));
        let handshake = tokio::select! {
            handshake = handshake => handshake,
            () = self.drain.begun() => return,
        };
        match handshake {
            Ok(Ok(stream)) => {
                serve(stream, self.header_timeout, self.idle_timeout, self.crowd, self.drain, |request| {
                    service(request, ConnectionInfo { peer, tls: true, surplus })
                })
                .await;
            }
            Ok(Err(error)) => tracing::debug!(%peer, %error, "a TLS handshake failed"),
            Err(_) => tracing::debug!(%peer, "a TLS handshake took too long"),
        }
    }
}

async fn serve<T, F, B>(
    stream: T,
    header_timeout: Duration,
    idle_timeout: Duration,
    crowd: Crowd,
    mut drain: Drain,
    service: impl Fn(Request<Incoming>) -> F,
) where
    T: AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = Response<B>>,
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let stream = TokioIo::new(WriteDeadline::new(stream, idle_timeout));
    let service = service_fn(|request| {
        let (response, crowd) = (service(request), crowd.clone());
        async { Ok::<_, Infallible>(response.await.map(|body| PacedBody::new(body, crowd))) }
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
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection was cut");
    }
}
