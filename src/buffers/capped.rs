//! A stream that is read in pieces of the size that a connection is allowed now.
//!
//! It must not know what is read. It promises that writes pass unchanged, and that no read is larger than the
//! allowance.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf, Take};

use super::{ConnectionCounter, MAX_READ};

/// A stream whose reads return at most the allowance at once, so that hyper's buffer, which grows as long as
/// it is filled, stays as small.
#[derive(Debug)]
pub struct CappedStream<T> {
    stream: Take<T>,
    connections: ConnectionCounter,
}

impl<T: AsyncRead> CappedStream<T> {
    /// A stream that reads `stream` in pieces of the allowance of `connections`.
    pub fn new(stream: T, connections: ConnectionCounter) -> Self {
        Self { stream: stream.take(0), connections }
    }
}

impl<T: AsyncRead> CappedStream<T> {
    /// The stream below.
    pub fn inner(&self) -> &T {
        self.stream.get_ref()
    }
}

impl<T: AsyncRead + Unpin> CappedStream<T> {
    fn writer(self: Pin<&mut Self>) -> Pin<&mut T> {
        Pin::new(self.get_mut().stream.get_mut())
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for CappedStream<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // One byte less: a read that fills hyper's buffer makes hyper double it.
        let limit = self.connections.allowance().min(MAX_READ) - 1;
        self.stream.set_limit(limit as u64);
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for CappedStream<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        self.writer().poll_write(cx, from)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.writer().poll_write_vectored(cx, from)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.get_ref().is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writer().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writer().poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn a_read_gives_no_more_than_is_allowed_now() {
        let connections = ConnectionCounter::default();
        let content = vec![7; 2 * MAX_READ];
        let mut stream = CappedStream::new(&content[..], connections.clone());
        let mut into = vec![0; 2 * MAX_READ];
        assert_eq!(stream.read(&mut into).await.unwrap(), MAX_READ - 1);
        let _connections: Vec<_> = (0..200).map(|_| connections.enter()).collect();
        assert_eq!(stream.read(&mut into).await.unwrap(), (32 << 10) - 1);
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest.len(), MAX_READ - (32 << 10) + 2, "no end before the stream's own");
    }

    #[tokio::test]
    async fn writes_pass() {
        let (near, mut far) = tokio::io::duplex(64);
        let mut near = CappedStream::new(near, ConnectionCounter::default());
        near.write_all(b"there").await.unwrap();
        near.shutdown().await.unwrap();
        let mut seen = String::new();
        far.read_to_string(&mut seen).await.unwrap();
        assert_eq!(seen, "there");
    }
}
