//! The HTTP/1.1 server: TCP, TLS, connections with their limits, and a drain that lets running requests end.
//! It must not know S3; every request goes to one service function. It promises that a response body that
//! fails cuts its connection, so that no client takes a part for the whole.

mod activity;
mod connection;
#[cfg(test)]
mod tests;
mod tls;
mod unusable;
mod workers;
mod write_deadline;

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use crate::buffers::ConnectionCounter;
use crate::meter::Meter;
use activity::TrackedBody;
use connection::{Connection, Drain};
pub use tls::{Tls, TlsError, Validity};
pub use workers::Workers;

/// Pause after `accept` failed for lack of file descriptors or memory: retrying at once would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Maximum number of connections beyond the limit; each receives one refusal.
const MAX_SURPLUS: usize = 64;

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
    /// Maximum number of connections served concurrently. A few more are accepted and refused with a
    /// response; further ones wait in the kernel's backlog until a connection closes.
    pub max_connections: usize,
    /// Timeout from the opening of a connection, or from the end of the previous response, to the first byte
    /// of the next request, and from there to its complete head.
    pub header_timeout: Duration,
    /// Timeout for a client that takes no byte of a response; then its connection is cut.
    pub idle_timeout: Duration,
    /// The rate in bytes per second at which the delay of a client, as measured by its meter, stays constant.
    pub min_rate: u64,
    /// Timeout for running requests after the shutdown began.
    pub drain_timeout: Duration,
}

/// Properties of the connection that a request was received on.
#[derive(Debug, Clone)]
pub struct ConnectionInfo {
    /// The client's address.
    pub peer: SocketAddr,
    /// Whether the connection is encrypted.
    pub is_tls: bool,
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
    pub async fn bind(settings: Settings) -> Result<BoundServer, ServeError> {
        let Settings { address, address_key: key, .. } = settings;
        let refuse = |source| ServeError::Bind { key, address, source };
        let listener = TcpListener::bind(address).await.map_err(refuse)?;
        let local_address = listener.local_addr().map_err(refuse)?;
        Ok(BoundServer { listener, local_address, settings })
    }
}

/// A listening socket that does not serve yet.
#[derive(Debug)]
pub struct BoundServer {
    listener: TcpListener,
    local_address: SocketAddr,
    settings: Settings,
}

impl BoundServer {
    /// The local address, with the port that the system chose if none was configured.
    pub fn local_address(&self) -> SocketAddr {
        self.local_address
    }

    /// Whether clients must use TLS.
    pub fn speaks_tls(&self) -> bool {
        self.settings.tls.is_some()
    }

    /// Serves requests with `service`, on the threads of `workers`, until `shutdown` is ready. Then stops
    /// accepting, closes idle connections, lets running requests end within the drain timeout and cuts the
    /// rest. Dropping the future cuts all at once.
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
        let Self { listener, local_address: _, settings } = self;
        let limits = ConnectionLimits::new(settings.max_connections);
        let (draining, drain) = watch::channel(false);
        let (drain, counter) = (Drain(drain), ConnectionCounter::default());
        let mut connections = JoinSet::new();
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            let (stream, peer, permit) = tokio::select! {
                biased;
                () = &mut shutdown => break,
                Some(ended) = connections.join_next() => {
                    log_panic(ended);
                    continue;
                }
                accepted = accept(&listener, &limits) => accepted,
            };
            let (counter, drain) = (counter.clone(), drain.clone());
            let connection = Connection::new(stream, peer, &settings, counter, drain, permit.is_surplus);
            let service = service.clone();
            let (runtime, assigned) = workers.assign();
            let serving = async move {
                connection.run(service).await;
                drop((permit, assigned));
            };
            connections.spawn_on(serving, runtime);
        }
        drop(listener);
        draining.send_replace(true);
        drain_connections(connections, settings.drain_timeout).await
    }
}

/// The limits of connections.
struct ConnectionLimits {
    regular: Arc<Semaphore>,
    surplus: Arc<Semaphore>,
}

/// Counts one connection until it is dropped.
struct ConnectionPermit {
    _permit: OwnedSemaphorePermit,
    is_surplus: bool,
}

impl ConnectionLimits {
    fn new(max_connections: usize) -> Self {
        let regular = Arc::new(Semaphore::new(max_connections));
        Self { regular, surplus: Arc::new(Semaphore::new(MAX_SURPLUS)) }
    }

    async fn acquire(&self) -> ConnectionPermit {
        const OPEN: &str = "the semaphore is never closed";
        tokio::select! {
            biased;
            permit = self.regular.clone().acquire_owned() => ConnectionPermit { _permit: permit.expect(OPEN), is_surplus: false },
            permit = self.surplus.clone().acquire_owned() => ConnectionPermit { _permit: permit.expect(OPEN), is_surplus: true },
        }
    }

    /// Exchanges a surplus permit for a regular one, if one has become free.
    fn upgrade(&self, permit: ConnectionPermit) -> ConnectionPermit {
        match self.regular.clone().try_acquire_owned() {
            Ok(regular) if permit.is_surplus => ConnectionPermit { _permit: regular, is_surplus: false },
            Ok(_) | Err(_) => permit,
        }
    }
}

/// Accepts the next connection, once the limits allow one. Cancellation loses no connection.
async fn accept(
    listener: &TcpListener,
    limits: &ConnectionLimits,
) -> (TcpStream, SocketAddr, ConnectionPermit) {
    let permit = limits.acquire().await;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => match stream.into_std() {
                Ok(stream) => return (stream, peer, limits.upgrade(permit)),
                Err(error) => tracing::debug!(%error, "a connection could not be handed to a thread"),
            },
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn drain_connections(mut connections: JoinSet<()>, timeout: Duration) -> DrainOutcome {
    let all_ended = async {
        while let Some(ended) = connections.join_next().await {
            log_panic(ended);
        }
    };
    if tokio::time::timeout(timeout, all_ended).await.is_ok() {
        return DrainOutcome { cut: 0 };
    }
    let cut = connections.len();
    connections.shutdown().await;
    DrainOutcome { cut }
}

/// Logs a panic, which ended only its own connection.
fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a connection ended in a panic");
    }
}
