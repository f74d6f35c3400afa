//! Listening sockets that a service manager opened and handed over (sd_listen_fds(3)).
//! It must not know how they were handed over.
//! It promises that a configuration for this machine alone is not served to others by such a socket.

use std::net::{self, SocketAddr};

use tokio::net::TcpListener;

use super::ServeError;

/// One socket.
#[derive(Debug)]
pub struct HandedOver {
    /// The name in `LISTEN_FDNAMES`; empty without one.
    pub name: String,
    /// The socket itself.
    pub listener: net::TcpListener,
}

impl HandedOver {
    /// Takes the socket with this name out of `sockets`, or else the one that listens on `address` and has
    /// none of the `names`.
    pub fn take(sockets: &mut Vec<Self>, name: &str, names: &[&str], address: SocketAddr) -> Option<Self> {
        let named = sockets.iter().position(|socket| socket.name == name);
        let at_address = || {
            let is_other = |socket: &Self| names.contains(&socket.name.as_str());
            let listens = |socket: &Self| socket.listener.local_addr().ok() == Some(address);
            sockets.iter().position(|socket| !is_other(socket) && listens(socket))
        };
        named.or_else(at_address).map(|index| sockets.remove(index))
    }

    /// The error for a socket that belongs to none of the listeners with these names.
    pub fn refuse_unused(self, names: &[&str]) -> ServeError {
        let address = self.listener.local_addr();
        let address = address.map_or_else(|error| error.to_string(), |address| address.to_string());
        let names = names.join("\" or \"");
        self.refuse(format!(
            "listens on {address}, which is no configured address: configure that address, or write \
             FileDescriptorName=\"{names}\" into the socket unit"
        ))
    }

    /// A listener on the current runtime, and its address. `configured` is the value of the key `key`.
    ///
    /// # Errors
    /// [`ServeError::HandedOver`] when the socket does not listen, or listens on an outside address where
    /// the configuration has a loopback address.
    pub(super) fn into_listener(
        self,
        configured: SocketAddr,
        key: &str,
    ) -> Result<(TcpListener, SocketAddr), ServeError> {
        if !is_listening(&self.listener) {
            return Err(self.refuse("does not listen: write Accept=no into the socket unit".to_owned()));
        }
        let opened = self.listener.local_addr().and_then(|address| {
            self.listener.set_nonblocking(true)?;
            Ok((TcpListener::from_std(self.listener.try_clone()?)?, address))
        });
        let (listener, address) = match opened {
            Ok(opened) => opened,
            Err(error) => return Err(self.refuse(format!("can't be used: {error}"))),
        };
        let is_loopback = |address: SocketAddr| address.ip().to_canonical().is_loopback();
        if is_loopback(configured) && !is_loopback(address) {
            return Err(self.refuse(format!(
                "listens on {address}, which can be reached from outside, and `{key}` = \"{configured}\" can't: \
                 write the socket's address there"
            )));
        }
        Ok((listener, address))
    }

    fn refuse(self, problem: String) -> ServeError {
        ServeError::HandedOver { name: self.name, problem }
    }
}

#[cfg(target_os = "linux")]
fn is_listening(listener: &net::TcpListener) -> bool {
    socket2::SockRef::from(listener).is_listener().unwrap_or(false)
}

#[cfg(not(target_os = "linux"))]
fn is_listening(_: &net::TcpListener) -> bool {
    true
}
