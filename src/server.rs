//! The HTTP/1.1 server: TCP, TLS, connections with their limits, and a drain that lets running requests end.
//! It must not know S3; every request goes to one service function. It promises that a response body that
//! fails cuts its connection, so that no client takes a part for the whole, and that a shutdown loses no
//! connection that the system has accepted.

mod acceptor;
mod activity;
mod connection;
mod drain;
mod handed_over;
#[cfg(test)]
mod tests;
mod tls;
mod unusable;
mod workers;
mod write_deadline;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinSet;

use crate::meter::Meter;
use crate::timer;
use acceptor::Acceptor;
use activity::TrackedBody;
pub use handed_over::HandedOver;
pub use tls::{
    CertificateNames, ClientAuthorities, ClientCertificate, CurrentTls, KeyPair, Tls, TlsError, Validity,
    parse_certificate_name, read_certificates,
};
pub use unusable::unusable_reasons;
pub use workers::Workers;

/// Maximum number of connections that the system accepts and holds until the server takes them: a process
/// that takes over the port receives the clients of the one before within a moment. The system lowers it to
/// `net.core.somaxconn`.
const BACKLOG: u32 = 1_024;

/// The body of a request.
pub type RequestBody = TrackedBody<Incoming>;

/// Settings of a listener.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The address to listen on; port 0 lets the system choose.
    pub address: SocketAddr,
    /// The configuration key of `address`, for error messages.
    pub address_key: &'static str,
    /// The certificate and key for TLS; `None` for plain HTTP.
    pub tls: Option<Tls>,
    /// Whether other processes may listen on the address too; the kernel chooses one for each connection.
    pub reuse_port: bool,
    /// Maximum number of connections served concurrently. A few more are accepted and refused with a
    /// response; further ones wait in the kernel's backlog until a connection closes.
    pub max_connections: usize,
    /// Whether the connections count in the metrics, as those of S3 clients do.
    pub is_counted: bool,
    /// Timeout from the opening of a connection, or from the end of the previous response, to the first byte
    /// of the next request, and from there to its complete head.
    pub header_timeout: Duration,
    /// Timeout for a client that takes no byte of a response; then its connection is cut.
    pub idle_timeout: Duration,
    /// The rate in bytes per second at which the delay of a client, as measured by its meter, stays constant.
    pub min_rate: u64,
    /// How long new connections and requests are still taken after the shutdown began. Every response then
    /// closes its connection.
    pub drain_delay: Duration,
    /// Timeout for running requests after that.
    pub drain_timeout: Duration,
}

/// Properties of the connection that a request was received on.
#[derive(Debug, Clone)]
pub struct ConnectionInfo {
    /// The client's address.
    pub peer: SocketAddr,
    /// The version of TLS, such as `TLSv1.3`; `None` without TLS.
    pub tls_version: Option<&'static str>,
    /// The names of the client certificate, if the client presented one. It was verified.
    pub certificate_names: Option<CertificateNames>,
    /// Whether the connection exceeds the limit: its request must be refused, and the connection closed.
    pub is_surplus: bool,
    /// Measures the client's delay.
    pub meter: Meter,
}

/// The result of serving until the shutdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainOutcome {
    /// Number of connections that were still busy at the end of the drain timeout and were cut.
    pub cut: usize,
}

/// A failure to open the listener.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address can't be listened on.
    #[error("can't listen on `{key}` = \"{address}\": {source}: {}", advice(source.kind()))]
    Bind {
        /// The configuration key of the address.
        key: &'static str,
        /// The address itself.
        address: SocketAddr,
        /// The error of the operating system.
        source: io::Error,
    },
    /// A socket that another process handed over can't be used.
    #[error("the socket handed over as \"{name}\" {problem}")]
    HandedOver {
        /// Its name in `LISTEN_FDNAMES`; empty without one.
        name: String,
        /// What is wrong, and the remedy.
        problem: String,
    },
}

fn advice(kind: io::ErrorKind) -> &'static str {
    if kind == io::ErrorKind::AddrInUse {
        "stop the process that listens there, or choose another port"
    } else if kind == io::ErrorKind::AddrNotAvailable {
        "choose an address this machine has, or 0.0.0.0 for all of them"
    } else if kind == io::ErrorKind::PermissionDenied {
        "choose a port from 1024 on, or grant CAP_NET_BIND_SERVICE"
    } else {
        "choose another address"
    }
}

/// The namespace of [`Server::bind`].
#[derive(Debug)]
pub enum Server {}

impl Server {
    /// Opens the listening socket. Clients can connect from now on, and wait for [`BoundServer::serve`].
    ///
    /// # Errors
    /// [`ServeError::Bind`].
    pub async fn bind(settings: Settings) -> Result<BoundServer, ServeError> {
        let Settings { address, address_key: key, reuse_port, .. } = settings;
        let refuse = |source| ServeError::Bind { key, address, source };
        let listener = listen(address, reuse_port).map_err(refuse)?;
        let local_address = listener.local_addr().map_err(refuse)?;
        Ok(BoundServer::new(listener, local_address, settings, Origin::Own))
    }

    /// Listens on a socket that another process opened and may go on using.
    ///
    /// # Errors
    /// [`ServeError::HandedOver`].
    pub fn adopt(settings: Settings, socket: HandedOver) -> Result<BoundServer, ServeError> {
        let (listener, local_address) = socket.into_listener(settings.address, settings.address_key)?;
        Ok(BoundServer::new(listener, local_address, settings, Origin::HandedOver))
    }
}

fn listen(address: SocketAddr, reuse_port: bool) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    if reuse_port {
        socket.set_reuseport(true)?;
    }
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Who opened a listening socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// This process, so that closing it ends it.
    Own,
    /// Another process, which may go on with it: what was not accepted waits for that.
    HandedOver,
}

/// A listening socket that does not serve yet.
#[derive(Debug)]
pub struct BoundServer {
    listener: TcpListener,
    local_address: SocketAddr,
    origin: Origin,
    tls: Option<CurrentTls>,
    settings: Settings,
}

impl BoundServer {
    fn new(listener: TcpListener, local_address: SocketAddr, settings: Settings, origin: Origin) -> Self {
        let tls = settings.tls.as_ref().map(CurrentTls::new);
        Self { listener, local_address, origin, tls, settings }
    }

    /// The local address, with the port that the system chose if none was configured.
    pub fn local_address(&self) -> SocketAddr {
        self.local_address
    }

    /// Whether clients must use TLS.
    pub fn speaks_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// The TLS of this listener, which can be replaced while it serves; `None` without TLS.
    pub fn current_tls(&self) -> Option<CurrentTls> {
        self.tls.clone()
    }

    /// Serves requests with `service`, on the threads of `workers`, until `shutdown` is ready. Then takes new
    /// connections and requests for the drain delay, stops accepting, closes idle connections, lets running
    /// requests end within the drain timeout and cuts the rest. Dropping the future cuts all at once.
    pub async fn serve<S, F, B>(
        self,
        workers: &Workers,
        service: S,
        shutdown: impl Future<Output = ()>,
    ) -> DrainOutcome
    where
        S: Fn(Request<RequestBody>, ConnectionInfo) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let Self { listener, local_address: _, origin, tls, settings } = self;
        let (drain, draining) = drain::drain();
        let mut acceptor = Acceptor::new(&settings, tls, workers, service, draining);
        acceptor.accept_until(&listener, shutdown).await;
        drain.leave();
        acceptor.accept_until(&listener, timer::sleep(settings.drain_delay)).await;
        match origin {
            Origin::Own => acceptor.close(listener).await,
            Origin::HandedOver => drop(listener),
        }
        drain.begin();
        drain_connections(acceptor.into_connections(), settings.drain_timeout).await
    }
}

async fn drain_connections(mut connections: JoinSet<()>, timeout: Duration) -> DrainOutcome {
    let all_ended = async {
        while let Some(ended) = connections.join_next().await {
            acceptor::log_panic(ended);
        }
    };
    if timer::timeout(timeout, all_ended).await.is_ok() {
        return DrainOutcome { cut: 0 };
    }
    let cut = connections.len();
    connections.shutdown().await;
    DrainOutcome { cut }
}
