//! What a service manager such as systemd hands over and expects: sockets, notifications, a watchdog
//! (sd_listen_fds(3), sd_notify(3), sd_watchdog_enabled(3)).
//! It must not know what the sockets are for.
//! It promises that without a service manager there is nothing of it.

use std::io;
use std::time::Duration;

use listenfd::ListenFd;

use crate::server::HandedOver;

/// The service manager's part of the process's environment.
#[derive(Debug, Default)]
pub struct ServiceManager {
    /// The listening sockets, in their order.
    pub sockets: Vec<HandedOver>,
    /// The socket for notifications: a path, or `@` and an abstract name.
    pub notify_socket: Option<String>,
    /// Within this time the process must report that it works.
    pub watchdog: Option<Duration>,
    /// Whether standard error leads to the journal, which reads a priority before each line (sd-daemon(3)).
    pub is_journal: bool,
}

impl ServiceManager {
    pub(in crate::config) fn new(
        environment: &dyn Fn(&str) -> Option<String>,
        mut files: ListenFd,
    ) -> io::Result<Self> {
        let names = environment("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let mut sockets = Vec::with_capacity(files.len());
        for index in 0..files.len() {
            let name = names.next().unwrap_or_default().to_owned();
            if let Some(listener) = files.take_tcp_listener(index)? {
                sockets.push(HandedOver { name, listener });
            }
        }
        let is_own = environment("WATCHDOG_PID").is_none_or(|pid| pid == std::process::id().to_string());
        let microseconds = environment("WATCHDOG_USEC").filter(|_| is_own);
        let microseconds =
            microseconds.and_then(|text| text.parse().ok()).filter(|microseconds| *microseconds > 0);
        Ok(Self {
            sockets,
            notify_socket: environment("NOTIFY_SOCKET").filter(|path| !path.is_empty()),
            watchdog: microseconds.map(Duration::from_micros),
            is_journal: environment("JOURNAL_STREAM").is_some_and(|stream| is_standard_error(&stream)),
        })
    }
}

/// Whether `DEVICE:INODE` is standard error: the variable stays set when it was redirected.
#[cfg(target_os = "linux")]
fn is_standard_error(stream: &str) -> bool {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata("/proc/self/fd/2");
    metadata.is_ok_and(|file| stream == format!("{}:{}", file.dev(), file.ino()))
}

#[cfg(not(target_os = "linux"))]
fn is_standard_error(_stream: &str) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watchdog(variables: &[(&str, &str)]) -> Option<Duration> {
        let environment = |name: &str| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        ServiceManager::new(&environment, ListenFd::empty()).expect("no files").watchdog
    }

    #[test]
    fn the_watchdog_is_of_this_process() {
        let own = std::process::id().to_string();
        let second = Some(Duration::from_secs(1));
        assert_eq!(watchdog(&[("WATCHDOG_USEC", "1000000"), ("WATCHDOG_PID", &own)]), second);
        assert_eq!(watchdog(&[("WATCHDOG_USEC", "1000000")]), second);
        for (usec, pid) in [("1000000", "1"), ("0", &own), ("soon", &own), ("-1", &own)] {
            assert_eq!(watchdog(&[("WATCHDOG_USEC", usec), ("WATCHDOG_PID", pid)]), None, "{usec} {pid}");
        }
        assert_eq!(watchdog(&[]), None);
    }
}
