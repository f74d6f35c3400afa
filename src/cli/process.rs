//! The process's settings in the operating system: its limit of file descriptors, its signals, and what its
//! service manager is told. It must not know requests.
//! It promises that no limit is lowered.

pub(super) mod descriptors;
pub(super) mod notify;

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

use self::descriptors::{REMEDY, TooFewDescriptors};

/// The signal for a file at its size limit: on all of Linux's architectures except MIPS.
const SIGXFSZ: i32 = 25;

/// Raises the limit of open descriptors to the maximum that the system allows, and logs a warning if
/// `max_connections` connections may need more.
pub fn raise_descriptor_limit(max_connections: usize) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: maximum, maximum };
    let current = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => maximum,
        Err(error) => {
            tracing::warn!(%error, "the limit of open descriptors could not be raised");
            current
        }
    };
    if let Some(TooFewDescriptors { limit, needed, .. }) = TooFewDescriptors::within(current, max_connections)
    {
        tracing::warn!(
            descriptors = limit,
            needed,
            max_connections,
            "fewer descriptors may be open than listen.max_connections may need: {REMEDY}"
        );
    }
}

/// Logs the signals that are often sent as a request for something (SIGUSR1, SIGUSR2), which by default would
/// end the process. Must be called within a Tokio runtime.
///
/// # Errors
/// When a signal handler cannot be installed.
pub fn outlive_signals() -> io::Result<()> {
    // The log, or the embedded store, receives the error of the write instead.
    drop(signal(SignalKind::from_raw(SIGXFSZ))?);
    for (kind, name) in [(SignalKind::user_defined1(), "SIGUSR1"), (SignalKind::user_defined2(), "SIGUSR2")] {
        let mut signals = signal(kind)?;
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                tracing::warn!(
                    signal = name,
                    "a signal without meaning was ignored: SIGHUP loads the configuration again, SIGTERM stops the process"
                );
            }
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        raise_descriptor_limit(1);
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        assert_eq!(current, maximum);
    }
}
