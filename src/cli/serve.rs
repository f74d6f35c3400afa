//! `serve`: opens the listeners, serves until a signal, and drains. It must not know how a request is
//! handled. It promises that operators are served until the last request has ended, and that a second signal
//! ends at once.

mod gauges;
pub(super) mod metric_descriptions;
mod operators;

use std::io;
#[cfg(test)]
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::{Request, Response};
use http_body::Body;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

pub(super) use self::operators::Operators;
use super::process::notify::Notifier;
pub use super::status::status;
use crate::admin::{self, Admin, CurrentToken, Health, Problem, Reports, SECONDS, Source, Status};
use crate::config::ServiceManager;
use crate::server::{
    self, BoundServer, ConnectionInfo, CurrentTls, DrainOutcome, HandedOver, RequestBody, ServeError, Server,
    Workers,
};

/// The names of the sockets that a service manager may hand over, for S3 clients and for operators.
const SOCKETS: [&str; 2] = ["s3", "admin"];

/// The open sockets, which do not serve yet.
#[derive(Debug)]
pub struct Listeners {
    objects: BoundServer,
    admin: Option<Admin>,
    status: Arc<ArcSwap<Status>>,
    /// Whether another process may listen on the addresses of this one.
    reuse_port: bool,
    notifier: Notifier,
    watchdog: Option<Duration>,
}

/// What can be replaced while the listeners serve.
pub(super) struct Replaceable {
    /// What the status page shows.
    pub(super) status: Arc<ArcSwap<Status>>,
    /// The certificates of the listener for S3 clients.
    pub(super) tls: Option<CurrentTls>,
    /// The certificate of the admin listener.
    pub(super) admin_tls: Option<CurrentTls>,
    /// The token of the admin listener; `None` without that listener.
    pub(super) admin_token: Option<CurrentToken>,
    /// Notifies the service manager of a reload.
    pub(super) notifier: Notifier,
}

/// The two kinds of shutdown.
pub struct Shutdown<G, N> {
    /// Ready when the shutdown begins; running requests may end.
    pub graceful: G,
    /// Ready when the process must end at once.
    pub now: N,
}

/// The first SIGTERM or SIGINT ends gracefully, the second at once. After this call, neither kills the
/// process.
pub fn signals() -> io::Result<Shutdown<impl Future<Output = ()>, impl Future<Output = ()>>> {
    let after = |times: u8| {
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        Ok::<_, io::Error>(async move {
            for _ in 0..times {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
            }
        })
    };
    Ok(Shutdown { graceful: after(1)?, now: after(2)? })
}

impl Listeners {
    /// Opens the sockets, except for those that the service manager handed over: clients can connect from
    /// now on, and wait for [`Listeners::serve`]. Sets `status.listen`, since the system may have chosen the
    /// port.
    ///
    /// # Errors
    /// [`ServeError`], also for a handed-over socket that is for neither listener.
    pub async fn open(
        objects: server::Settings,
        admin: Option<admin::Settings>,
        mut status: Status,
        service_manager: ServiceManager,
    ) -> Result<Self, ServeError> {
        let ServiceManager { mut sockets, notify_socket, watchdog, .. } = service_manager;
        let mut take = |name, address| HandedOver::take(&mut sockets, name, &SOCKETS, address);
        let object_socket = take(SOCKETS[0], objects.address);
        let admin_socket = admin.as_ref().and_then(|settings| take(SOCKETS[1], settings.address));
        if let Some(unused) = sockets.pop() {
            return Err(unused.refuse_unused(&SOCKETS));
        }
        let reuse_port = objects.reuse_port;
        let objects = match object_socket {
            Some(socket) => Server::adopt(objects, socket)?,
            None => Server::bind(objects).await?,
        };
        let admin = match admin {
            Some(settings) => Some(Admin::open(settings, admin_socket).await?),
            None => None,
        };
        let scheme = if objects.speaks_tls() { "https" } else { "http" };
        status.listen = format!("{scheme}://{}", objects.local_address());
        let notifier = Notifier::new(notify_socket.as_deref());
        let status = Arc::new(ArcSwap::from_pointee(status));
        Ok(Self { objects, admin, status, reuse_port, notifier, watchdog })
    }

    /// What can be replaced while the listeners serve.
    pub(super) fn replaceable(&self) -> Replaceable {
        let admin = self.admin.as_ref();
        Replaceable {
            status: self.status(),
            tls: self.objects.current_tls(),
            admin_tls: admin.and_then(Admin::current_tls),
            admin_token: admin.map(Admin::current_token),
            notifier: self.notifier.clone(),
        }
    }

    /// The status that the status page shows. It can be replaced while serving.
    pub fn status(&self) -> Arc<ArcSwap<Status>> {
        Arc::clone(&self.status)
    }

    /// The addresses for S3 clients and for operators.
    #[cfg(test)]
    pub fn addresses(&self) -> (SocketAddr, Option<SocketAddr>) {
        (self.objects.local_address(), self.admin.as_ref().map(Admin::local_address))
    }

    /// Serves requests with `service` on the threads of `workers`, and operators with what `source` knows,
    /// until the shutdown. Operators are served until the last request has ended, and `/readyz` reports the
    /// shutdown; where another process may listen on the address, that one serves them from the shutdown on.
    /// `metrics` belongs to a [`recorder`].
    pub async fn serve<S, F, B>(
        self,
        workers: &Workers,
        service: S,
        source: impl Source,
        metrics: PrometheusHandle,
        shutdown: Shutdown<impl Future<Output = ()>, impl Future<Output = ()>>,
    ) where
        S: Fn(Request<RequestBody>, ConnectionInfo) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        B: Body<Data = bytes::Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let Self { objects, admin, status, reuse_port, notifier, watchdog } = self;
        let Status { version, listen, upstream, keyring, .. } = &**status.load();
        tracing::info!(version, listen, upstream, keyring, "serving");
        let draining = Arc::new(AtomicBool::new(false));
        let (ended, wait) = oneshot::channel::<()>();
        if let Some(admin) = admin {
            tracing::info!(address = %admin.local_address(), "serving operators");
            let source = Draining { is_draining: draining.clone(), source };
            tokio::spawn(admin.serve(metrics, status, source, async { drop(wait.await) }));
        }
        if let Some(interval) = watchdog {
            tokio::spawn(notifier.clone().keep_watchdog(interval));
        }
        notifier.ready();
        let mut ended = Some(ended);
        let ended = &mut ended;
        let graceful = async {
            shutdown.graceful.await;
            draining.store(true, Ordering::Relaxed);
            notifier.stopping();
            tracing::info!("shutting down: running requests may end");
            if reuse_port {
                drop(ended.take());
            }
        };
        tokio::select! {
            DrainOutcome { cut } = objects.serve(workers, service, graceful) => match cut {
                0 => tracing::info!("stopped: every request has ended"),
                _ => tracing::warn!(cut, "stopped: connections were cut when the drain timeout ended"),
            },
            () = shutdown.now => tracing::warn!("stopped at once: running requests were cut"),
        }
    }
}

/// What operators see, with the shutdown.
struct Draining<S> {
    is_draining: Arc<AtomicBool>,
    source: S,
}

impl<S> Draining<S> {
    /// The health during the shutdown; `None` before.
    fn ending(&self) -> Option<Health> {
        let problem = || Problem { component: "server", message: "shutting down".to_owned() };
        let health = || Health { problems: vec![problem()], degraded: Vec::new(), is_draining: true };
        self.is_draining.load(Ordering::Relaxed).then(health)
    }
}

impl<S: Source> Source for Draining<S> {
    async fn health(&self) -> Health {
        match self.ending() {
            Some(ending) => ending,
            None => self.source.health().await,
        }
    }

    fn known_health(&self) -> Health {
        self.ending().unwrap_or_else(|| self.source.known_health())
    }

    fn reports(&self) -> Reports {
        self.source.reports()
    }

    async fn set_gauges(&self) {
        self.source.set_gauges().await;
    }
}

/// The recorder for `/metrics`. Only an admin listener limits its memory: do not install it without one.
pub fn recorder() -> PrometheusRecorder {
    recorder_with(&[])
}

/// [`recorder`], whose metrics all have these labels.
pub fn recorder_with(labels: &[(&str, String)]) -> PrometheusRecorder {
    let seconds = Matcher::Suffix("_seconds".to_owned());
    let builder = PrometheusBuilder::new().set_buckets_for_metric(seconds, &SECONDS);
    let builder = builder.expect("there are buckets");
    let label = |builder: PrometheusBuilder, (name, value): &(&str, String)| {
        builder.add_global_label(*name, value.as_str())
    };
    labels.iter().fold(builder, label).build_recorder()
}
