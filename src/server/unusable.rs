//! Connections without a valid request, counted by reason and logged.
//! It must not know what a request means.
//! It promises a limited number of log lines for each reason, however many connections fail, so that a flood
//! of one reason hides no other.

use std::fmt::Display;
use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::timer;

/// The content type of a TLS handshake, with which every TLS connection begins.
/// <https://www.rfc-editor.org/rfc/rfc8446#section-5.1>
pub(super) const TLS_HANDSHAKE: u8 = 22;

/// The body of the response to plain HTTP at a TLS listener.
const SPEAK_TLS: &str = "This address speaks TLS: use https:// in place of http://.\n";

/// Maximum duration and bytes of the request that are read after the response, so that the client can read
/// it.
const MAX_DRAIN_TIME: Duration = Duration::from_secs(1);
const MAX_DRAINED: u64 = 64 << 10;

/// Maximum number of log lines for one reason in a period.
const MAX_LINES: u32 = 5;
const PERIOD: Duration = Duration::from_secs(10);

/// The reason why a connection could not be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// A TLS handshake failed.
    Handshake,
    /// A client presented no certificate where one is required, or an invalid one.
    ClientCertificate,
    /// A TLS handshake took too long.
    HandshakeTimeout,
    /// HTTP at a TLS listener.
    HttpAtTls,
    /// TLS at an HTTP listener.
    TlsAtHttp,
    /// The received bytes are not HTTP.
    Malformed,
}

/// The reasons, as they are counted.
pub fn unusable_reasons() -> impl Iterator<Item = &'static str> {
    Reason::ALL.iter().map(|reason| reason.name())
}

impl Reason {
    /// In the order of their declaration.
    const ALL: [Self; 6] = [
        Self::Handshake,
        Self::ClientCertificate,
        Self::HandshakeTimeout,
        Self::HttpAtTls,
        Self::TlsAtHttp,
        Self::Malformed,
    ];

    /// The reason for a failed TLS handshake.
    pub(super) fn from_handshake(error: &io::Error) -> Self {
        let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
        let is_about_certificate = cause.is_some_and(|cause| {
            matches!(cause, rustls::Error::NoCertificatesPresented | rustls::Error::InvalidCertificate(_))
        });
        if is_about_certificate { Self::ClientCertificate } else { Self::Handshake }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Handshake => "tls_handshake",
            Self::ClientCertificate => "tls_client_certificate",
            Self::HandshakeTimeout => "tls_handshake_timeout",
            Self::HttpAtTls => "http_at_tls",
            Self::TlsAtHttp => "tls_at_http",
            Self::Malformed => "malformed_http",
        }
    }
}

/// Counts and logs a connection that could not be used.
pub(super) fn unusable(peer: SocketAddr, reason: Reason, error: &dyn Display) {
    static WRITTEN: Mutex<[Written; Reason::ALL.len()]> = Mutex::new([Written::NONE; Reason::ALL.len()]);
    let index = reason as usize;
    let reason = reason.name();
    metrics::counter!("s3veil_connections_unusable_total", "reason" => reason).increment(1);
    let line = WRITTEN.lock().unwrap_or_else(PoisonError::into_inner)[index].line(Instant::now());
    if let Some(omitted) = line {
        tracing::info!(%peer, reason, %error, left_out = omitted, "a connection could not be used");
    }
}

/// The log lines for one reason in the current period.
struct Written {
    since: Option<Instant>,
    lines: u32,
    omitted: u64,
}

impl Written {
    const NONE: Self = Self { since: None, lines: 0, omitted: 0 };

    /// The number of lines omitted before this one; `None` if this one must be omitted too.
    fn line(&mut self, now: Instant) -> Option<u64> {
        if self.since.is_none_or(|since| now.duration_since(since) >= PERIOD) {
            (self.since, self.lines) = (Some(now), 0);
        }
        if self.lines == MAX_LINES {
            self.omitted += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.omitted))
    }
}

/// Whether an HTTP request can begin with this byte, as a method does.
pub(super) fn begins_http(byte: u8) -> bool {
    byte.is_ascii_uppercase()
}

/// Sends a 400 response, which says to use TLS, to a client that sent plain HTTP.
pub(super) async fn refuse_plain_http(mut stream: TcpStream) {
    let response = format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{SPEAK_TLS}",
        SPEAK_TLS.len()
    );
    let exchange = async {
        stream.write_all(response.as_bytes()).await?;
        stream.shutdown().await?;
        // Unread bytes would reset the connection, and the client would lose the response.
        tokio::io::copy(&mut (&mut stream).take(MAX_DRAINED), &mut tokio::io::sink()).await
    };
    // The connection ends in any case.
    let _ = timer::timeout(MAX_DRAIN_TIME, exchange).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_leaves_a_few_lines_and_a_count() {
        let mut written = Written::NONE;
        let now = Instant::now();
        let lines: Vec<_> = (0..100).map(|_| written.line(now)).collect();
        assert_eq!(lines.iter().flatten().count(), MAX_LINES as usize);
        assert_eq!(written.line(now + PERIOD), Some(95));
        assert_eq!(written.line(now + PERIOD), Some(0));
    }
}
