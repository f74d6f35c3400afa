//! Connections: TCP without Nagle, TLS by rustls, one deadline over both, and a stream that still reads
//! the response of a storage that closed the connection during our write.

use std::future::{Future, poll_fn};
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::{self, Connected, HttpConnector};
use hyper_util::rt::TokioIo;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::net::TcpStream;
use tower_service::Service;

use super::BoxError;
use super::error::{Phase, UpstreamError, UpstreamSetupError};
use super::settings::Timeouts;
use crate::buffers::{CappedStream, ConnectionCounter};
use crate::timer;

/// Time beyond twice the idle timeout after which the kernel closes a connection whose peer acknowledges
/// nothing.
const USER_TIMEOUT_MARGIN: Duration = Duration::from_secs(5);

/// Probes on idle connections find peers that are gone without a FIN (NAT tables forget after minutes).
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);

/// Connects, TLS included, within a deadline.
#[derive(Clone)]
pub(super) struct Connector {
    inner: HttpsConnector<TcpConnector>,
    limit: Duration,
}

impl Connector {
    /// For `https` targets the system's root certificates are read, and those of `extra_root_ca`.
    pub(super) fn new(
        tls: bool,
        extra_root_ca: Option<&Path>,
        timeouts: Timeouts,
        crowd: ConnectionCounter,
    ) -> Result<Self, UpstreamSetupError> {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_keepalive(Some(TCP_KEEPALIVE));
        // Bounds what our own polls cannot detect: a peer that acknowledges nothing, or keeps its receive
        // window closed, while the kernel buffers our bytes. It expires later than our own timeouts, which
        // report what was waited for, even if a busy machine delays them.
        #[cfg(target_os = "linux")]
        http.set_tcp_user_timeout(Some(timeouts.idle * 2 + USER_TIMEOUT_MARGIN));
        let roots = if tls { root_certificates(extra_root_ca)? } else { RootCertStore::empty() };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let inner = HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_or_http()
            .enable_http1()
            .wrap_connector(TcpConnector { http, crowd });
        Ok(Self { inner, limit: timeouts.connect })
    }

    /// Connects to the host of an absolute URI.
    ///
    /// # Errors
    /// [`UpstreamError::Connect`], and [`UpstreamError::Timeout`] after the deadline.
    pub(super) async fn connect(&self, uri: Uri) -> Result<Connection, UpstreamError> {
        let mut inner = self.inner.clone();
        let connecting = async {
            poll_fn(|cx| inner.poll_ready(cx)).await?;
            inner.call(uri).await
        };
        let limit = self.limit;
        let connected = timer::timeout(limit, connecting).await;
        let connected = connected.map_err(|_| UpstreamError::Timeout { phase: Phase::Connect, limit })?;
        connected.map_err(UpstreamError::Connect)
    }
}

fn root_certificates(extra: Option<&Path>) -> Result<RootCertStore, UpstreamSetupError> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if let Some(path) = extra {
        let refuse = |reason: String| UpstreamSetupError::RootCertificates { path: path.to_owned(), reason };
        let certificates = CertificateDer::pem_file_iter(path).map_err(|e| refuse(e.to_string()))?;
        let before = roots.len();
        for certificate in certificates {
            let certificate = certificate.map_err(|e| refuse(e.to_string()))?;
            roots.add(certificate).map_err(|e| refuse(e.to_string()))?;
        }
        if roots.len() == before {
            return Err(refuse("no certificate in it".to_owned()));
        }
    }
    if roots.is_empty() {
        return Err(UpstreamSetupError::SystemRoots(format!("{:?}", found.errors)));
    }
    Ok(roots)
}

/// A connection, ready for HTTP.
pub(super) type Connection = MaybeHttpsStream<TcpConnection>;

/// The TCP stream below TLS: reads are capped by the buffers that are left, and failed writes do not end it.
type TcpConnection = ReadAfterResetStream<TokioIo<CappedStream<TcpStream>>>;

type Connecting<T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send>>;

/// hyper-util's TCP connector with [`CappedStream`] and [`ReadAfterResetStream`] on top.
#[derive(Clone)]
struct TcpConnector {
    http: HttpConnector,
    crowd: ConnectionCounter,
}

impl Service<Uri> for TcpConnector {
    type Response = TcpConnection;
    type Error = BoxError;
    type Future = Connecting<Self::Response>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.http.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = timer::with_tokio_timers(self.http.call(uri));
        let crowd = self.crowd.clone();
        Box::pin(async move {
            // From here on, its events are for the runtime of this thread.
            let stream = TcpStream::from_std(connecting.await?.into_inner().into_std()?)?;
            let stream = CappedStream::new(stream, crowd);
            Ok(ReadAfterResetStream { io: TokioIo::new(stream), write_closed: false })
        })
    }
}

/// A stream whose reading goes on after its writing has failed.
///
/// S3 refuses an upload (403, 412, 503) before it has read the body, and hangs up. The kernel then fails our
/// next write with EPIPE or ECONNRESET although the response may lie in the receive buffer. hyper gives the
/// connection up at the first failed write; so the failure is ignored here, and the reader finds the
/// response, or the end of the connection, which is reported as such. No caller mistakes an ignored failure
/// for success, because success is a response.
pub(super) struct ReadAfterResetStream<T> {
    io: T,
    write_closed: bool,
}

impl<T> ReadAfterResetStream<T> {
    fn ignore_write_error(
        &mut self,
        written: Poll<io::Result<usize>>,
        len: usize,
    ) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Err(error)) if is_hang_up(&error) => {
                self.write_closed = true;
                Poll::Ready(Ok(len))
            }
            Poll::Ready(_) | Poll::Pending => written,
        }
    }
}

fn is_hang_up(error: &io::Error) -> bool {
    let kind = error.kind();
    kind == io::ErrorKind::BrokenPipe
        || kind == io::ErrorKind::ConnectionReset
        || kind == io::ErrorKind::ConnectionAborted
}

impl<T: Read + Unpin> Read for ReadAfterResetStream<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<T: Write + Unpin> Write for ReadAfterResetStream<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.write_closed {
            return Poll::Ready(Ok(buf.len()));
        }
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.ignore_write_error(written, buf.len())
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let len = bufs.iter().map(|buf| buf.len()).sum();
        if self.write_closed {
            return Poll::Ready(Ok(len));
        }
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.ignore_write_error(written, len)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.write_closed { Poll::Ready(Ok(())) } else { Pin::new(&mut self.io).poll_flush(cx) }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.write_closed { Poll::Ready(Ok(())) } else { Pin::new(&mut self.io).poll_shutdown(cx) }
    }
}

impl connect::Connection for CappedStream<TcpStream> {
    fn connected(&self) -> Connected {
        self.inner().connected()
    }
}

impl<T: connect::Connection> connect::Connection for ReadAfterResetStream<T> {
    fn connected(&self) -> Connected {
        self.io.connected()
    }
}

#[cfg(test)]
mod tests;
