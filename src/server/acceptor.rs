//! Accepts connections within their limits, and spawns them on the threads.
//! It must not know what a connection carries.
//! It promises that closing the port loses no connection that the system has accepted.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinSet};

use super::connection::Connection;
use super::drain::Draining;
use super::tls::CurrentTls;
use super::{ConnectionInfo, RequestBody, Settings, Workers};
use crate::buffers::ConnectionCounter;
use crate::timer;

/// Pause after `accept` failed for lack of file descriptors or memory: retrying at once would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Maximum number of connections beyond the limit; each receives one refusal.
pub(super) const MAX_SURPLUS: usize = 64;

/// How long the closing of a shared port waits for the ends of TCP handshakes: a round trip within a region.
/// A longer wait would delay more of those that are ignored meanwhile.
const CLOSE_DELAY: Duration = Duration::from_millis(20);

/// Accepts the connections of one listener.
pub(super) struct Acceptor<'a, S> {
    settings: &'a Settings,
    tls: Option<CurrentTls>,
    workers: &'a Workers,
    service: S,
    draining: Draining,
    limits: ConnectionLimits,
    counter: ConnectionCounter,
    connections: JoinSet<()>,
}

impl<'a, S, F, B> Acceptor<'a, S>
where
    S: Fn(Request<RequestBody>, ConnectionInfo) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// An acceptor without connections.
    pub(super) fn new(
        settings: &'a Settings,
        tls: Option<CurrentTls>,
        workers: &'a Workers,
        service: S,
        draining: Draining,
    ) -> Self {
        let limits = ConnectionLimits::new(settings.max_connections);
        let (counter, connections) = (ConnectionCounter::default(), JoinSet::new());
        Self { settings, tls, workers, service, draining, limits, counter, connections }
    }

    /// Accepts and serves connections until `end` is ready.
    pub(super) async fn accept_until(&mut self, listener: &TcpListener, end: impl Future<Output = ()>) {
        let mut end = std::pin::pin!(end);
        loop {
            let (stream, peer, permit) = tokio::select! {
                biased;
                () = &mut end => return,
                Some(ended) = self.connections.join_next() => {
                    log_panic(ended);
                    continue;
                }
                accepted = accept(listener, &self.limits) => accepted,
            };
            self.spawn(stream, peer, permit);
        }
    }

    /// Closes the port, and serves the connections that wait to be accepted: the system would reset them.
    ///
    /// If another process shares the port, the system would also reset handshakes in progress, whose clients
    /// could have reached the other one. So new ones are ignored first, which clients repeat after a second,
    /// and then reach the other process. Without another process a client should rather be refused at once.
    pub(super) async fn close(&mut self, listener: TcpListener) {
        if self.settings.reuse_port {
            if let Err(error) = ignore_new_connections(&listener) {
                tracing::debug!(%error, "connections that arrive while the port is closed may be reset");
            }
            self.accept_until(&listener, timer::sleep(CLOSE_DELAY)).await;
        }
        let Ok(listener) = listener.into_std() else { return };
        while let Ok((stream, peer)) = listener.accept() {
            let Some(permit) = self.limits.try_acquire() else { return };
            match stream.set_nonblocking(true) {
                Ok(()) => self.spawn(stream, peer, permit),
                Err(error) => tracing::debug!(%error, "a connection could not be handed to a thread"),
            }
        }
    }

    /// The open connections.
    pub(super) fn into_connections(self) -> JoinSet<()> {
        self.connections
    }

    fn spawn(&mut self, stream: TcpStream, peer: SocketAddr, permit: ConnectionPermit) {
        let tls = self.tls.as_ref().map(CurrentTls::config);
        let (counter, draining) = (self.counter.clone(), self.draining.clone());
        let connection =
            Connection::new(stream, peer, self.settings, tls, counter, draining, permit.is_surplus);
        let service = self.service.clone();
        let (runtime, assigned) = self.workers.assign();
        let serving = async move {
            connection.run(service).await;
            drop((permit, assigned));
        };
        self.connections.spawn_on(serving, runtime);
    }
}

/// Lets the system drop every SYN, the first segment of a TCP handshake (RFC 9293, 3.5), that arrives at the
/// listener. Further segments of handshakes in progress pass.
#[cfg(target_os = "linux")]
fn ignore_new_connections(listener: &TcpListener) -> io::Result<()> {
    use socket2::SockFilter;
    const FLAGS_OFFSET: u32 = 13;
    const SYN: u32 = 0x02;
    const ACK: u32 = 0x10;
    // Classic BPF over the TCP header: <https://www.kernel.org/doc/html/latest/networking/filter.html>
    const LOAD_BYTE: u16 = 0x30;
    const AND: u16 = 0x54;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    socket2::SockRef::from(listener).attach_filter(&[
        SockFilter::new(LOAD_BYTE, 0, 0, FLAGS_OFFSET),
        SockFilter::new(AND, 0, 0, SYN | ACK),
        SockFilter::new(JUMP_IF_EQUAL, 0, 1, SYN),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ])
}

#[cfg(not(target_os = "linux"))]
fn ignore_new_connections(_: &TcpListener) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
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

    /// A permit, if one is free.
    fn try_acquire(&self) -> Option<ConnectionPermit> {
        let permit = |semaphore: &Arc<Semaphore>, is_surplus| {
            let permit = semaphore.clone().try_acquire_owned().ok()?;
            Some(ConnectionPermit { _permit: permit, is_surplus })
        };
        permit(&self.regular, false).or_else(|| permit(&self.surplus, true))
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
                timer::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Logs a panic, which ended only its own connection.
pub(super) fn log_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a connection ended in a panic");
    }
}
