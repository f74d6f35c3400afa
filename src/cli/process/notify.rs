//! Notifications for the service manager (sd_notify(3)).
//! It must not know what the process does between them.
//! It promises that nothing waits for the service manager, and that without one nothing is sent.

use std::io;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::timer;

/// Sends notifications. Clones share the socket.
#[derive(Debug, Clone, Default)]
pub struct Notifier(Option<Arc<Target>>);

#[derive(Debug)]
struct Target {
    socket: UnixDatagram,
    address: SocketAddr,
}

impl Notifier {
    /// A notifier for the socket at a path, or with an abstract name behind `@`. `None`: nothing is sent.
    pub fn new(socket: Option<&str>) -> Self {
        let target = socket.map(Target::open).transpose();
        let target = target.inspect_err(|error| {
            tracing::warn!(%error, socket, "the service manager can't be notified");
        });
        Self(target.ok().flatten().map(Arc::new))
    }

    /// The process serves, or serves again after [`Self::reloading`].
    pub fn ready(&self) {
        self.send("READY=1");
    }

    /// The configuration is read again; [`Self::ready`] must follow, also when it was refused.
    pub fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let microseconds = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1_000;
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={microseconds}"));
    }

    /// The shutdown has begun.
    pub fn stopping(&self) {
        self.send("STOPPING=1");
    }

    /// Reports twice within each `interval` that the process works, for as long as it is polled.
    pub async fn keep_watchdog(self, interval: Duration) {
        let mut ticks = timer::interval(interval / 2);
        loop {
            ticks.tick().await;
            self.send("WATCHDOG=1");
        }
    }

    fn send(&self, message: &str) {
        let Some(target) = &self.0 else { return };
        if let Err(error) = target.socket.send_to_addr(message.as_bytes(), &target.address) {
            tracing::debug!(%error, message, "the service manager was not notified");
        }
    }
}

impl Target {
    fn open(name: &str) -> io::Result<Self> {
        let address = match name.strip_prefix('@') {
            Some(name) => abstract_address(name)?,
            None => SocketAddr::from_pathname(name)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, address })
    }
}

#[cfg(target_os = "linux")]
fn abstract_address(name: &str) -> io::Result<SocketAddr> {
    <SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(name)
}

#[cfg(not(target_os = "linux"))]
fn abstract_address(_: &str) -> io::Result<SocketAddr> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(socket: &UnixDatagram) -> String {
        let mut message = [0; 200];
        let length = socket.recv(&mut message).expect("a message");
        String::from_utf8_lossy(&message[..length]).into_owned()
    }

    #[tokio::test]
    async fn the_service_manager_receives_each_state() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        let notifier = Notifier::new(path.to_str());
        notifier.ready();
        assert_eq!(received(&socket), "READY=1");
        notifier.reloading();
        let message = received(&socket);
        let microseconds = message.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect(&message);
        assert!(microseconds.parse::<u64>().expect("a number") > 0);
        notifier.stopping();
        assert_eq!(received(&socket), "STOPPING=1");
        let watchdog = notifier.keep_watchdog(Duration::from_millis(20));
        assert!(tokio::time::timeout(Duration::from_millis(200), watchdog).await.is_err(), "it never ends");
        assert_eq!([received(&socket), received(&socket)], ["WATCHDOG=1", "WATCHDOG=1"]);
    }

    #[test]
    fn an_abstract_socket_is_reached() {
        let name = format!("s3veil-test-{}", std::process::id());
        let socket = UnixDatagram::bind_addr(&abstract_address(&name).expect("a name")).expect("a socket");
        Notifier::new(Some(&format!("@{name}"))).ready();
        assert_eq!(received(&socket), "READY=1");
    }

    #[test]
    fn without_a_service_manager_nothing_happens() {
        Notifier::new(None).ready();
        Notifier::new(Some("/nonexistent/notify")).stopping();
        Notifier::new(Some(&"x".repeat(500))).reloading();
    }
}
