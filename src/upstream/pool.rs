//! Connections that are kept open, each driven by the request that has it.
//!
//! A connection has no task of its own: the task that waits for its response, or reads it, polls the
//! connection. So a request is one task from the client to the storage and back, on one thread, without
//! hand-overs between tasks. An idle connection is polled from time to time by [`Pool::sweep`].
//!
//! Each thread has idle connections of its own, so that threads do not contend for a lock. A connection is
//! used by the runtime that opened it and no other, or that runtime's thread would be woken for each of its
//! bytes, only to wake this one.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use foldhash::HashMap;
use http::uri::{self, Authority, PathAndQuery};
use http::{Request, Response, Uri};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use tokio::runtime::{self, Handle};

use super::BoxError;
use super::connector::{Connection, Connector};
use super::error::UpstreamError;
use super::outgoing::OutgoingBody;
use super::transport::HeadRoom;
use crate::buffers::{self, PacedBody};
use crate::clock;
use crate::timer;
use crate::wakes;

/// How often idle connections are polled.
const SWEEP: Duration = Duration::from_secs(5);

/// Limit of header fields for a response that is known to have many: as many metadata entries as an object
/// can have (1,049: S3's 2,048 bytes in the shortest possible names, without values), and what the storage
/// adds.
const MAX_HEADERS: usize = 1_536;

type SentBody = PacedBody<OutgoingBody>;

/// A request in the place from which a connection takes it, so that it does not move from future to future.
pub(super) struct Unsent(Option<Request<SentBody>>);

impl Unsent {
    pub(super) fn new(request: Request<SentBody>) -> Self {
        Self(Some(request))
    }

    /// Takes the request.
    pub(super) fn take(&mut self) -> Request<SentBody> {
        self.0.take().expect("a request is taken once, unless it is put back")
    }

    /// Takes everything of the request's URI except the path and the query.
    fn take_origin(&mut self) -> uri::Parts {
        let uri = self.0.as_mut().expect("the request was not taken").uri_mut();
        let mut parts = std::mem::take(uri).into_parts();
        *uri = parts.path_and_query.take().map(Uri::from).unwrap_or_default();
        parts
    }
}

/// Connections to a storage. Cloning shares them.
#[derive(Clone)]
pub(super) struct Pool(Arc<Shared>);

struct Shared {
    connector: Connector,
    /// One for each worker and the main thread; shared if there are more threads.
    idle: Vec<Mutex<IdleConnections>>,
    /// Maximum number of idle connections of one thread to one host: those of all threads together are about
    /// as many as the settings allow.
    max_idle: usize,
    idle_timeout: Duration,
}

/// By host, the newest last, and taken first, so that surplus connections reach the idle timeout.
type IdleConnections = HashMap<String, Vec<Idle>>;

struct Idle {
    link: Box<Link>,
    since: Instant,
}

/// One connection.
struct Link {
    /// Where it is when it is idle, in [`Shared::idle`].
    place: usize,
    runtime: runtime::Id,
    sender: SendRequest<SentBody>,
    /// `None` when the connection has ended.
    connection: Option<http1::Connection<Connection, SentBody>>,
    head_room: HeadRoom,
}

impl Pool {
    /// Keeps about `max_idle` connections to one host, each idle for no longer than `idle_timeout`.
    pub(super) fn new(connector: Connector, max_idle: usize, idle_timeout: Duration) -> Self {
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        let idle = (0..=workers).map(|_| Mutex::default()).collect();
        let max_idle = max_idle.div_ceil(workers);
        let pool = Self(Arc::new(Shared { connector, idle, max_idle, idle_timeout }));
        let swept = Arc::downgrade(&pool.0);
        tokio::spawn(async move {
            loop {
                timer::sleep(SWEEP).await;
                let Some(shared) = swept.upgrade() else { return };
                Self(shared).sweep(Instant::now());
            }
        });
        pool
    }

    /// Sends a request with an absolute URI on an idle connection, or a new one. The connection is idle again
    /// when the response's body was read to its end, and closed when the future or the body is dropped
    /// before.
    ///
    /// # Errors
    /// [`UpstreamError::Connect`] and [`UpstreamError::Timeout`] when there is no connection to be had,
    /// [`UpstreamError::HeadTooLarge`] when the response's head does not fit `head_room`, else
    /// [`UpstreamError::Protocol`].
    pub(super) async fn send(
        &self,
        unsent: &mut Unsent,
        head_room: HeadRoom,
    ) -> Result<Response<PooledBody>, UpstreamError> {
        let mut origin = unsent.take_origin();
        let authority = origin.authority.clone().expect("the address of a storage has a host");
        // The peer may close an idle connection while it is reused. A request that was not written yet goes
        // to another connection, as long as there are idle ones.
        while let Some(mut link) = self.take(&authority, head_room) {
            match link.exchange(unsent).await {
                Ok(response) => return Ok(self.pooled(response, link, authority)),
                Err(_) if unsent.0.is_some() => {}
                Err(error) => return Err(failure(error)),
            }
        }
        // On the heap, since few requests need a new connection.
        origin.path_and_query = Some(PathAndQuery::from_static("/"));
        let origin = Uri::from_parts(origin).expect("it is an absolute URI");
        let mut link = Box::pin(self.connect(origin, head_room)).await?;
        match link.exchange(unsent).await {
            Ok(response) => Ok(self.pooled(response, link, authority)),
            Err(error) => Err(failure(error)),
        }
    }

    async fn connect(&self, uri: Uri, head_room: HeadRoom) -> Result<Box<Link>, UpstreamError> {
        let connection = self.0.connector.connect(uri).await?;
        let mut builder = http1::Builder::new();
        builder.max_buf_size(buffers::MAX_ALLOWANCE);
        if head_room == HeadRoom::Large {
            builder.max_headers(MAX_HEADERS);
        }
        let shaken = builder.handshake(connection).await;
        let (sender, connection) = shaken.map_err(|error| UpstreamError::Connect(error.into()))?;
        let (place, runtime) = (self.place(), Handle::current().id());
        Ok(Box::new(Link { place, runtime, sender, connection: Some(connection), head_room }))
    }

    fn pooled(
        &self,
        response: Response<Incoming>,
        link: Box<Link>,
        authority: Authority,
    ) -> Response<PooledBody> {
        response.map(|incoming| {
            let home = Some(Home { link, authority, pool: self.clone() });
            PooledBody { incoming, home }
        })
    }

    /// Takes an idle connection that is still open. No idle connection has room for a large head.
    fn take(&self, authority: &Authority, head_room: HeadRoom) -> Option<Box<Link>> {
        if head_room == HeadRoom::Large {
            return None;
        }
        let runtime = Handle::current().id();
        loop {
            let Idle { link, since } = {
                let mut idle = lock(&self.0.idle[self.place()]);
                let idle = idle.get_mut(authority.as_str())?;
                let newest = idle.iter().rposition(|idle| idle.link.runtime == runtime)?;
                idle.remove(newest)
            };
            // Whether the peer has closed it, the exchange finds out before it writes.
            if clock::since(since) < self.0.idle_timeout && link.connection.is_some() {
                return Some(link);
            }
        }
    }

    fn put_back(&self, authority: Authority, link: Box<Link>) {
        let mut idle = lock(&self.0.idle[link.place]);
        let idle = match idle.get_mut(authority.as_str()) {
            Some(idle) => idle,
            None => idle.entry(authority.as_str().to_owned()).or_default(),
        };
        if idle.len() < self.0.max_idle {
            idle.push(Idle { link, since: clock::now() });
        }
    }

    /// How many connections are idle, of all threads and to all hosts.
    pub(super) fn idle_connections(&self) -> usize {
        self.0.idle.iter().map(|idle| lock(idle).values().map(Vec::len).sum::<usize>()).sum()
    }

    /// Closes connections that were idle for too long, or closed by the peer.
    pub(super) fn sweep(&self, now: Instant) {
        let timeout = self.0.idle_timeout;
        // Dropped after the lock is released, since closing takes system calls.
        let mut closed = Vec::new();
        for idle in &self.0.idle {
            lock(idle).retain(|_, idle| {
                let is_over =
                    |idle: &mut Idle| now.duration_since(idle.since) >= timeout || !idle.link.is_idle();
                closed.extend(idle.extract_if(.., is_over));
                !idle.is_empty()
            });
        }
        drop(closed);
    }

    /// Where this thread's idle connections are.
    fn place(&self) -> usize {
        thread_number() % self.0.idle.len()
    }
}

fn lock(idle: &Mutex<IdleConnections>) -> MutexGuard<'_, IdleConnections> {
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The number of the current thread, in the order in which threads first sent a request.
fn thread_number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static NUMBER: usize = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    NUMBER.with(|number| *number)
}

impl Link {
    /// One exchange, up to the head of the response. A request that was not written is put back.
    async fn exchange(&mut self, unsent: &mut Unsent) -> hyper::Result<Response<Incoming>> {
        let mut response = pin!(self.sender.try_send_request(unsent.take()));
        let connection = &mut self.connection;
        poll_fn(move |cx| {
            drive(connection, cx);
            response.as_mut().poll(&mut driven()).map_err(|mut refused| {
                unsent.0 = refused.take_message();
                refused.into_error()
            })
        })
        .await
    }

    /// Whether the connection could send a request now. Polls without a waker.
    fn is_idle(&mut self) -> bool {
        let mut cx = driven();
        drive(&mut self.connection, &mut cx);
        self.connection.is_some() && matches!(self.sender.poll_ready(&mut cx), Poll::Ready(Ok(())))
    }
}

fn failure(error: hyper::Error) -> UpstreamError {
    if error.is_parse_too_large() {
        UpstreamError::HeadTooLarge
    } else {
        UpstreamError::Protocol(error.into())
    }
}

/// The context for what only [`drive`] makes progress in, which is polled right after it. A waker would have
/// the task polled once more for each response and each piece of a body, for nothing.
fn driven() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

/// Reads and writes as much as possible without waiting. An error reaches the task that waits for the
/// response or its body.
fn drive(connection: &mut Option<http1::Connection<Connection, SentBody>>, cx: &mut Context<'_>) {
    if let Some(open) = connection
        && let Poll::Ready(ended) = Pin::new(open).poll(cx)
    {
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection to the storage has ended");
        }
        *connection = None;
    }
}

/// What a connection has read of a body.
fn take_frame(incoming: &mut Incoming) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
    let (frame, held) = wakes::hold(|| Pin::new(incoming).poll_frame(&mut driven()));
    // The connection is driven as soon as there is nothing to take.
    held.forget();
    frame
}

/// A response body, with its connection.
pub(super) struct PooledBody {
    incoming: Incoming,
    /// `None` when the body was read to its end.
    home: Option<Home>,
}

struct Home {
    link: Box<Link>,
    authority: Authority,
    pool: Pool,
}

impl PooledBody {
    fn release(&mut self) {
        if let Some(Home { mut link, authority, pool }) = self.home.take()
            && link.head_room == HeadRoom::Usual
            && link.is_idle()
        {
            pool.put_back(authority, link);
        }
    }
}

impl Body for PooledBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Self { incoming, home } = &mut *self;
        let mut frame = take_frame(incoming);
        if frame.is_pending()
            && let Some(Home { link, .. }) = home
        {
            drive(&mut link.connection, cx);
            frame = take_frame(incoming);
        }
        match frame {
            Poll::Ready(Some(Ok(_))) if !self.incoming.is_end_stream() => {}
            Poll::Ready(Some(Ok(_)) | None) => self.release(),
            Poll::Ready(Some(Err(_))) => self.home = None,
            Poll::Pending => {}
        }
        frame.map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl Drop for PooledBody {
    fn drop(&mut self) {
        // An empty body is often never polled.
        if self.incoming.is_end_stream() {
            self.release();
        }
    }
}
