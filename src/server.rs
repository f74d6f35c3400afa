//! Listens: TCP, TLS, HTTP/1.1 connections with their limits, and a drain that lets running requests end.
//! It knows no S3; every request goes to one service function.
//! A response body that fails cuts its connection, so that no client takes a part for the whole.

mod connection;
mod stall;
#[cfg(test)]
mod tests;
mod tls;
mod unusable;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use crate::buffers::ConnectionCounter;
use crate::meter::Meter;
use connection::{Connection, Drain};
pub use tls::{Tls, TlsError, Validity};

/// How long to wait after `accept` failed for want of file descriptors or memory; at once would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// As many connections beyond the limit are open at once, each for one refusal.
const MAX_SURPLUS: usize = 64;

/// How to listen.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where to listen; port 0 lets the system choose.
    pub address: SocketAddr,
    /// The configuration key that `address` came from, for the error that names it.
    pub address_key: &'static str,
    /// TLS, or plain HTTP.
    pub tls: Option<Tls>,
    /// How many connections are served at once. A few more are accepted, to be told so; further ones wait in the kernel's
    /// backlog until one closes.
    pub max_connections: usize,
    /// How long a connection may take from its opening, or from the end of the response before, until the next
    /// request's head has arrived in full.
    pub header_timeout: Duration,
    /// How long a client may take no byte of a response before its connection is cut.
    pub idle_timeout: Duration,
    /// Bytes per second at which the delay of a client, as [`Meter`] has it, stays as it is.
    pub min_rate: u64,
    /// How long running requests may go on after the shutdown began.
    pub drain_timeout: Duration,
}

/// What is known of the connection that a request came on.
#[derive(Debug, Clone)]
pub struct ConnectionInfo {
    /// The other side's address.
    pub peer: SocketAddr,
    /// Whether the request came encrypted.
    pub tls: bool,
    /// Whether the connection is beyond the limit: its request is to be refused, and it to be closed.
    pub surplus: bool,
    /// How slow the client is.
    pub meter: Meter,
}

/// How serving ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were still busy when the drain timeout ended, and were cut.
    pub cut: usize,
}

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address can't be listened on.
    #[error("can't listen on `{key}` = \"{address}\": {source}: {}", advice(source.kind()))]
    Bind {
        /// The configuration key the address came from.
        key: &'static str,
        /// The address itself.
        address: SocketAddr,
        /// What the system said.
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

/// Names the listening side; [`Server::bind`] is the way in.
#[derive(Debug)]
pub enum Server {}

impl Server {
    /// Opens the listening socket. Clients can connect from now on; they are answered by [`Bound::serve`].
    pub async fn bind(settings: Settings) -> Result<Bound, ServeError> {
        let Settings { address, address_key: key, .. } = settings;
        let refuse = |source| ServeError::Bind { key, address, source };
        let listener = TcpListener::bind(address).await.map_err(refuse)?;
        let local_address = listener.local_addr().map_err(refuse)?;
        Ok(Bound { listener, local_address, settings })
    }
}

/// A listening socket that nobody answers yet.
#[derive(Debug)]
pub struct Bound {
    listener: TcpListener,
    local_address: SocketAddr,
    settings: Settings,
}

impl Bound {
    /// Where it listens, with the port the system chose if none was configured.
    pub fn local_address(&self) -> SocketAddr {
        self.local_address
    }

    /// Whether clients must speak TLS.
    pub fn speaks_tls(&self) -> bool {
        self.settings.tls.is_some()
    }

    /// Answers requests with `service` until `shutdown` is ready; then stops accepting, closes idle connections,
    /// lets running requests end within the drain timeout and cuts the rest. Dropping the future cuts all at once.
    pub async fn serve<S, F, B>(self, service: S, shutdown: impl Future<Output = ()>) -> Drained
    where
        S: Fn(Request<Incoming>, ConnectionInfo) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let Self { listener, local_address: _, settings } = self;
        let places = Places::new(settings.max_connections);
        let (draining, drain) = watch::channel(false);
        let (drain, crowd) = (Drain(drain), ConnectionCounter::default());
        let mut connections = JoinSet::new();
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            let (stream, peer, place) = tokio::select! {
                biased;
                () = &mut shutdown => break,
                Some(ended) = connections.join_next() => {
                    log_panic(ended);
                    continue;
                }
                accepted = accept(&listener, &places) => accepted,
            };
            let (crowd, drain) = (crowd.clone(), drain.clone());
            let connection = Connection::new(stream, peer, &settings, crowd, drain, place.is_surplus);
            let service = service.clone();
            connections.spawn(async move {
                connection.run(service).await;
                drop(place);
            });
        }
        drop(listener);
        draining.send_replace(true);
        drain_connections(connections, settings.drain_timeout).await
    }
}

/// Room for connections.
struct Places {
    regular: Arc<Semaphore>,
    surplus: Arc<Semaphore>,
}

/// Room for one, until it is dropped.
struct Place {
    _permit: OwnedSemaphorePermit,
    is_surplus: bool,
}

impl Places {
    fn new(max_connections: usize) -> Self {
        let regular = Arc::new(Semaphore::new(max_connections));
        Self { regular, surplus: Arc::new(Semaphore::new(MAX_SURPLUS)) }
    }

    async fn any(&self) -> Place {
        const OPEN: &str = "the semaphore is never closed";
        tokio::select! {
            biased;
            permit = self.regular.clone().acquire_owned() => Place { _permit: permit.expect(OPEN), is_surplus: false },
            permit = self.surplus.clone().acquire_owned() => Place { _permit: permit.expect(OPEN), is_surplus: true },
        }
    }

    /// A regular place, if there is one by now.
    fn better(&self, place: Place) -> Place {
        match self.regular.clone().try_acquire_owned() {
            Ok(permit) if place.is_surplus => Place { _permit: permit, is_surplus: false },
            Ok(_) | Err(_) => place,
        }
    }
}

/// The next connection, once there is room for it. Cancelling it loses no connection.
async fn accept(listener: &TcpListener, places: &Places) -> (TcpStream, SocketAddr, Place) {
    let place = places.any().await;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => return (stream, peer, places.better(place)),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn drain_connections(mut connections: JoinSet<()>, timeout: Duration) -> Drained {
    let all_ended = async {
        while let Some(ended) = connections.join_next().await {
            log_panic(ended);
        }
    };
    if tokio::time::timeout(timeout, all_ended).await.is_ok() {
        return Drained { cut: 0 };
    }
    let cut = connections.len();
    connections.shutdown().await;
    Drained { cut }
}

/// A panic ends the one connection it happened on.
fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a connection ended in a panic");
    }
}
