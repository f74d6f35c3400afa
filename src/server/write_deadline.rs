//! A timeout for the writes of a stream.
//! It must not know what is written.
//! It promises that a client which takes no bytes does not hold its connection for longer than the timeout.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::unusable::TLS_HANDSHAKE;
use crate::meter::{CutOff, Direction, Meter};

/// A stream whose writes fail with `TimedOut` when the client has taken no byte for `timeout`, or was cut off
/// by its meter.
///
/// Reads have no deadline here: a request's head has hyper's, and only the reader of a body knows whether it
/// waits for the client.
#[derive(Debug)]
pub(super) struct WriteDeadline<T> {
    stream: T,
    timeout: Duration,
    sleep: Pin<Box<Sleep>>,
    is_waiting: bool,
    takes: Direction,
    has_read: bool,
    begins_with_tls: Arc<AtomicBool>,
}

impl<T> WriteDeadline<T> {
    pub(super) fn new(stream: T, timeout: Duration, meter: &Meter) -> Self {
        let sleep = Box::pin(tokio::time::sleep(timeout));
        let takes = meter.direction();
        Self {
            stream,
            timeout,
            sleep,
            is_waiting: false,
            takes,
            has_read: false,
            begins_with_tls: Arc::default(),
        }
    }

    /// Whether the first received byte is that of a TLS handshake.
    pub(super) fn begins_with_tls(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.begins_with_tls)
    }

    fn watch<R>(
        &mut self,
        cx: &mut Context<'_>,
        progress: Poll<io::Result<R>>,
        bytes: impl Fn(&R) -> usize,
    ) -> Poll<io::Result<R>> {
        if let Poll::Ready(done) = &progress {
            self.is_waiting = false;
            self.takes.moved(done.as_ref().map_or(0, bytes));
            return progress;
        }
        if !self.is_waiting {
            self.is_waiting = true;
            self.sleep.as_mut().reset(Instant::now() + self.timeout);
        }
        match (self.takes.wait(cx), self.sleep.as_mut().poll(cx)) {
            (Ok(()), Poll::Pending) => Poll::Pending,
            (Err(CutOff), _) | (Ok(()), Poll::Ready(())) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for WriteDeadline<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.has_read {
            return Pin::new(&mut self.stream).poll_read(cx, into);
        }
        let before = into.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, into);
        if let Some(first) = into.filled().get(before) {
            self.has_read = true;
            self.begins_with_tls.store(*first == TLS_HANDSHAKE, Ordering::Relaxed);
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for WriteDeadline<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        let progress = Pin::new(&mut self.stream).poll_write(cx, from);
        self.watch(cx, progress, |written| *written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let progress = Pin::new(&mut self.stream).poll_write_vectored(cx, from);
        self.watch(cx, progress, |written| *written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let progress = Pin::new(&mut self.stream).poll_flush(cx);
        self.watch(cx, progress, |()| 0)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let progress = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.watch(cx, progress, |()| 0)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const TIMEOUT: Duration = Duration::from_millis(200);

    #[tokio::test]
    async fn a_write_that_is_not_read_times_out() {
        let (near, _far) = tokio::io::duplex(16);
        let error = WriteDeadline::new(near, TIMEOUT, &Meter::new(1))
            .write_all(&[0; 17])
            .await
            .expect_err("a full pipe");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_reader_that_is_cut_off_is_waited_for_no_longer() {
        let (near, _far) = tokio::io::duplex(16);
        let meter = Meter::new(1);
        let mut near = WriteDeadline::new(near, Duration::from_secs(3600), &meter);
        let writing = tokio::spawn(async move { near.write_all(&[0; 17]).await });
        while meter.delay().is_zero() {
            tokio::task::yield_now().await;
        }
        meter.cut();
        let error = writing.await.expect("no panic").expect_err("a full pipe");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_slow_reader_that_keeps_reading_is_served() {
        let (near, mut far) = tokio::io::duplex(16);
        let mut near = WriteDeadline::new(near, TIMEOUT, &Meter::new(1));
        let reader = tokio::spawn(async move {
            let mut taken = 0;
            while taken < 160 {
                tokio::time::sleep(TIMEOUT / 4).await;
                taken += far.read(&mut [0; 16]).await.expect("the pipe holds");
            }
            taken
        });
        // Ten pauses of a quarter of the timeout each: longer than the timeout in sum.
        near.write_all(&[0; 160]).await.expect("every wait is short");
        assert_eq!(reader.await.expect("the reader ends"), 160);
    }
}
