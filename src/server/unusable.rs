//! Connections that did not yield a request: counted by reason and logged, with a limit on the number of log
//! lines.

use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The content type of a TLS handshake, with which every TLS connection begins.
/// <https://www.rfc-editor.org/rfc/rfc8446#section-5.1>
pub(super) const TLS_HANDSHAKE: u8 = 22;

/// What a client of the wrong protocol is told.
const SPEAK_TLS: &str = "This address speaks TLS: use https:// in place of http://.\n";

/// How long, and for how many bytes, such a client is read from, so that it gets to read the answer.
const LISTENING: Duration = Duration::from_secs(1);
const MAX_HEARD: u64 = 64 << 10;

/// Lines in a period.
const LINES: u32 = 10;
const PERIOD: Duration = Duration::from_secs(10);

/// Why a connection could not be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// A TLS handshake failed.
    Handshake,
    /// A TLS handshake took too long.
    HandshakeTimeout,
    /// HTTP where TLS is spoken.
    HttpAtTls,
    /// TLS where HTTP is spoken.
    TlsAtHttp,
    /// The bytes that were received are not HTTP.
    Malformed,
}

impl Reason {
    fn name(self) -> &'static str {
        match self {
            Self::Handshake => "tls_handshake",
            Self::HandshakeTimeout => "tls_handshake_timeout",
            Self::HttpAtTls => "http_at_tls",
            Self::TlsAtHttp => "tls_at_http",
            Self::Malformed => "malformed_http",
        }
    }
}

/// Counts a connection that could not be used, and says so in the log.
pub(super) fn unusable(peer: SocketAddr, reason: Reason, error: &dyn Display) {
    static WRITTEN: Mutex<Written> = Mutex::new(Written { since: None, lines: 0, left_out: 0 });
    let reason = reason.name();
    metrics::counter!("s3veil_connections_unusable_total", "reason" => reason).increment(1);
    let line = WRITTEN.lock().unwrap_or_else(PoisonError::into_inner).line(Instant::now());
    if let Some(left_out) = line {
        tracing::info!(%peer, reason, %error, left_out, "a connection could not be used");
    }
}

/// How many lines were written lately.
struct Written {
    since: Option<Instant>,
    lines: u32,
    left_out: u64,
}

impl Written {
    /// How many lines were left out before this one; `None` if this is left out too.
    fn line(&mut self, now: Instant) -> Option<u64> {
        if self.since.is_none_or(|since| now.duration_since(since) >= PERIOD) {
            (self.since, self.lines) = (Some(now), 0);
        }
        if self.lines == LINES {
            self.left_out += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

/// Whether HTTP begins with this byte: a method does.
pub(super) fn begins_http(byte: u8) -> bool {
    byte.is_ascii_uppercase()
}

/// Sends a client that has begun to speak HTTP a 400 response that says to use TLS.
pub(super) async fn answer_plain_http(mut stream: TcpStream) {
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{SPEAK_TLS}",
        SPEAK_TLS.len()
    );
    let exchange = async {
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await?;
        // What is left unread would reset the connection, and take the answer with it.
        tokio::io::copy(&mut (&mut stream).take(MAX_HEARD), &mut tokio::io::sink()).await
    };
    // The connection ends, whatever comes of it.
    let _ = tokio::time::timeout(LISTENING, exchange).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_leaves_a_few_lines_and_a_count() {
        let mut written = Written { since: None, lines: 0, left_out: 0 };
        let now = Instant::now();
        let lines: Vec<_> = (0..100).map(|_| written.line(now)).collect();
        assert_eq!(lines.iter().flatten().count(), LINES as usize);
        assert_eq!(written.line(now + PERIOD), Some(90));
        assert_eq!(written.line(now + PERIOD), Some(0));
    }
}
