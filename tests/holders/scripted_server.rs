//! An HTTP server on loopback whose responses a test decides. It must not know any provider. It counts the
//! requests that it received, and ends when it is dropped.

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

/// What the server does with a request.
pub(crate) enum Reply {
    /// Sends this response.
    Respond(Response<Bytes>),
    /// Closes the connection.
    HangUp,
    /// Keeps the connection open, and sends nothing.
    Silence,
}

/// A request as it was received.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) path: String,
    pub(crate) at: Instant,
}

type Script = dyn Fn(&Request<Bytes>) -> Reply + Send + Sync;

/// A server that runs until it is dropped.
pub(crate) struct ScriptedServer {
    pub(crate) address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    accepting: JoinHandle<()>,
}

impl ScriptedServer {
    /// Starts a server that replies to each request as `script` says.
    pub(crate) async fn start(
        script: impl Fn(&Request<Bytes>) -> Reply + Send + Sync + 'static,
    ) -> ScriptedServer {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let address = listener.local_addr().expect("the listener is bound");
        let received = Arc::default();
        let accepting = tokio::spawn(accept(listener, Arc::new(script), Arc::clone(&received)));
        Self { address, received, accepting }
    }

    /// The requests so far whose path contains `part`.
    pub(crate) fn received(&self, part: &str) -> Vec<Received> {
        let received = self.received.lock().expect("no test panics while it records a request");
        received.iter().filter(|request| request.path.contains(part)).cloned().collect()
    }
}

impl Drop for ScriptedServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, script: Arc<Script>, received: Arc<Mutex<Vec<Received>>>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        let (script, received) = (Arc::clone(&script), Arc::clone(&received));
        connections.spawn(async move {
            let service = service_fn(|request| reply(request, &script, &received));
            // A connection that ends badly is one that a script closed.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn reply(
    request: Request<Incoming>,
    script: &Arc<Script>,
    received: &Mutex<Vec<Received>>,
) -> Result<Response<Full<Bytes>>, io::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let path = head.uri.path().to_owned();
    received
        .lock()
        .expect("no test panics while it records a request")
        .push(Received { path, at: Instant::now() });
    match script(&Request::from_parts(head, body)) {
        Reply::Respond(response) => Ok(response.map(Full::new)),
        Reply::HangUp => Err(io::Error::other("closed by the script")),
        Reply::Silence => {
            let never: Infallible = pending().await;
            match never {}
        }
    }
}

/// A response with this status and JSON text.
pub(crate) fn json(status: u16, text: impl Into<String>) -> Reply {
    let response = Response::builder().status(status).header("content-type", "application/json");
    Reply::Respond(response.body(Bytes::from(text.into())).expect("the status is valid"))
}
