//! A timeout for the writes of a stream, a watch for clients that leave before their response, a record of
//! the stream's activity, and a limit of the lines in a head.
//! It must not know what is written.
//! It promises that a client which takes no bytes does not hold its connection for longer than the timeout,
//! and that a request ends with its client.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::activity::Activity;
use crate::meter::{CutOff, Direction, Meter};
use crate::timer::Deadline;

/// A stream whose writes fail with `TimedOut` when the client has taken no byte for `timeout`, or was cut off
/// by its meter.
///
/// Reads have no deadline here: a request's head has hyper's, and only the reader of a body knows whether it
/// waits for the client.
///
/// While a request is in flight whose body was read, hyper could look for the end of the stream, but would
/// allocate a buffer of 8 KiB for it, since the headers still refer to the previous buffer. So hyper allows
/// half-closed connections, and `watch_for_end` looks whenever hyper flushes: each time hyper is polled.
#[derive(Debug)]
pub(super) struct WriteDeadline<T> {
    stream: T,
    timeout: Duration,
    /// `None` while no write waits.
    deadline: Option<Deadline>,
    takes: Direction,
    activity: Activity,
    /// The first byte that was read.
    first: Option<u8>,
    /// Bytes that were read before, and are read again.
    unread: Bytes,
    /// The lines of the head that is being read, or of what came in one read with it.
    lines: usize,
    /// The requests before that head, as [`Activity::entered`] counts them.
    entered: usize,
    /// Maximum number of lines that are read without a request in flight.
    max_lines: usize,
}

impl<T> WriteDeadline<T> {
    /// A stream that reads at most `max_lines` lines of a head, and fails at the next.
    pub(super) fn new(
        stream: T,
        timeout: Duration,
        meter: &Meter,
        activity: Activity,
        max_lines: usize,
    ) -> Self {
        let takes = meter.direction();
        Self {
            stream,
            timeout,
            deadline: None,
            takes,
            activity,
            first: None,
            unread: Bytes::new(),
            lines: 0,
            entered: 0,
            max_lines,
        }
    }

    /// The first byte that was read.
    pub(super) fn first(&self) -> Option<u8> {
        self.first
    }

    /// The stream below.
    pub(super) fn inner(&self) -> &T {
        &self.stream
    }

    /// Makes these bytes, which were read last, the next ones to read.
    pub(super) fn unread(&mut self, bytes: Bytes) {
        self.lines = 0;
        if bytes.is_empty() {
            // Even without a byte it may refer to the buffer that hyper read into.
            return;
        }
        self.unread =
            if self.unread.is_empty() { bytes } else { [bytes, self.unread.split_off(0)].concat().into() };
    }

    /// Whether reading failed at a head of too many lines. From now on, every head is read.
    pub(super) fn take_long_head(&mut self) -> bool {
        let is_long = self.lines > self.max_lines;
        if is_long {
            (self.lines, self.max_lines) = (0, usize::MAX);
        }
        is_long
    }

    /// Counts the lines that were just read of a head. They are read again if there are too many.
    fn count_lines(&mut self, into: &mut ReadBuf<'_>, before: usize) -> io::Result<()> {
        let entered = self.activity.entered();
        if std::mem::replace(&mut self.entered, entered) != entered {
            self.lines = 0;
        }
        if !self.activity.is_idle() {
            return Ok(());
        }
        let read = &into.filled()[before..];
        self.lines += bytecount::count(read, b'\n');
        if self.lines <= self.max_lines {
            return Ok(());
        }
        self.unread = [read, &self.unread[..]].concat().into();
        into.set_filled(before);
        Err(io::Error::other("a head has many lines"))
    }

    fn watch<R>(
        &mut self,
        cx: &mut Context<'_>,
        progress: Poll<io::Result<R>>,
        bytes: impl Fn(&R) -> usize,
    ) -> Poll<io::Result<R>> {
        if let Poll::Ready(done) = &progress {
            if self.deadline.take().is_some() {
                self.activity.set_write_waiting(false);
            }
            let written = done.as_ref().map_or(0, bytes);
            if written > 0 {
                self.activity.moved();
            }
            self.takes.moved(written);
            return progress;
        }
        let timeout = self.timeout;
        let deadline = self.deadline.get_or_insert_with(|| {
            self.activity.set_write_waiting(true);
            Deadline::after(timeout)
        });
        match (self.takes.wait(cx), deadline.poll(cx)) {
            (Ok(()), Poll::Pending) => Poll::Pending,
            (Err(CutOff), _) | (Ok(()), Poll::Ready(())) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
        }
    }
}

impl<T: AsyncRead + Unpin> WriteDeadline<T> {
    /// Fails if the client closed its side of the stream while a request is in flight whose body was read.
    /// Bytes that it sent before, of the next request, are read again.
    fn watch_for_end(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let is_between = !self.activity.is_idle() && !self.activity.has_unread_body();
        if !self.unread.is_empty() || !is_between {
            return Ok(());
        }
        let mut piece = [0; 16];
        let mut piece = ReadBuf::new(&mut piece);
        match Pin::new(&mut self.stream).poll_read(cx, &mut piece)? {
            Poll::Pending => Ok(()),
            Poll::Ready(()) if piece.filled().is_empty() => {
                Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the client left before its response"))
            }
            Poll::Ready(()) => {
                self.unread = Bytes::copy_from_slice(piece.filled());
                // hyper may be waiting for them already.
                cx.waker().wake_by_ref();
                Ok(())
            }
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for WriteDeadline<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.unread.is_empty() {
            let length = self.unread.len().min(into.remaining());
            let before = into.filled().len();
            into.put_slice(&self.unread.split_to(length));
            return Poll::Ready(self.count_lines(into, before));
        }
        let before = into.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, into);
        if let Some(first) = into.filled().get(before) {
            self.first.get_or_insert(*first);
            self.activity.moved();
            self.count_lines(into, before)?;
        }
        read
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WriteDeadline<T> {
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
        ready!(self.watch(cx, progress, |()| 0))?;
        Poll::Ready(self.watch_for_end(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lines > self.max_lines {
            // hyper ends its part of the connection, and another part reads the head.
            return Poll::Ready(Ok(()));
        }
        let progress = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.watch(cx, progress, |()| 0)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Buf;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const TIMEOUT: Duration = Duration::from_millis(200);

    #[tokio::test]
    async fn a_write_that_is_not_read_times_out() {
        let (near, _far) = tokio::io::duplex(16);
        let error = WriteDeadline::new(near, TIMEOUT, &Meter::new(1), Activity::default(), 9)
            .write_all(&[0; 17])
            .await
            .expect_err("a full pipe");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_reader_that_is_cut_off_is_waited_for_no_longer() {
        let (near, _far) = tokio::io::duplex(16);
        let meter = Meter::new(1);
        let mut near = WriteDeadline::new(near, Duration::from_secs(3600), &meter, Activity::default(), 9);
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
        let mut near = WriteDeadline::new(near, TIMEOUT, &Meter::new(1), Activity::default(), 9);
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

    #[tokio::test]
    async fn bytes_can_be_read_again_before_those_that_follow() {
        let (near, mut far) = tokio::io::duplex(16);
        let activity = Activity::default();
        let mut near = WriteDeadline::new(near, TIMEOUT, &Meter::new(1), activity.clone(), 9);
        far.write_all(b"head").await.expect("there is room");
        let mut read = [0; 3];
        near.read_exact(&mut read).await.expect("it was sent");
        assert_eq!((near.first(), activity.moves() > 0), (Some(b'h'), true));
        near.unread(Bytes::copy_from_slice(&read));
        let mut whole = [0; 4];
        near.read_exact(&mut whole).await.expect("it was sent");
        assert_eq!(&whole, b"head");
    }

    #[tokio::test]
    async fn without_bytes_to_read_again_no_buffer_is_kept() {
        let (near, _far) = tokio::io::duplex(16);
        let mut near = WriteDeadline::new(near, TIMEOUT, &Meter::new(1), Activity::default(), 9);
        let buffer = Arc::new([0; 8]);
        let mut bytes = Bytes::from_owner(Owner(Arc::clone(&buffer)));
        bytes.advance(buffer.len());
        near.unread(bytes);
        assert_eq!(Arc::strong_count(&buffer), 1);
        let bytes = Bytes::from_owner(Owner(Arc::clone(&buffer)));
        near.unread(bytes);
        near.read_exact(&mut [0; 8]).await.expect("it was read before");
        assert_eq!(Arc::strong_count(&buffer), 1);
    }

    /// A buffer whose owners are counted.
    struct Owner(Arc<[u8; 8]>);

    impl AsRef<[u8]> for Owner {
        fn as_ref(&self) -> &[u8] {
            &*self.0
        }
    }

    /// Flushes once.
    async fn flush<T: AsyncRead + AsyncWrite + Unpin>(stream: &mut WriteDeadline<T>) -> io::Result<()> {
        std::future::poll_fn(|cx| Pin::new(&mut *stream).poll_flush(cx)).await
    }

    #[tokio::test]
    async fn the_end_of_the_stream_is_looked_for_while_a_request_is_in_flight() {
        let (near, mut far) = tokio::io::duplex(64);
        let activity = Activity::default();
        let mut near = WriteDeadline::new(near, TIMEOUT, &Meter::new(1), activity.clone(), 9);
        let in_flight = activity.enter();
        flush(&mut near).await.expect("the client is there");
        far.write_all(b"the next head").await.expect("there is room");
        flush(&mut near).await.expect("the client is there");
        drop(far);
        flush(&mut near).await.expect("what it sent comes first");
        let mut read = Vec::new();
        near.read_to_end(&mut read).await.expect("it was sent");
        assert_eq!(read, b"the next head");
        let error = flush(&mut near).await.expect_err("the client has left");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        activity.set_unread_body(true);
        flush(&mut near).await.expect("hyper reads the body, and sees the end");
        activity.set_unread_body(false);
        drop(in_flight);
        flush(&mut near).await.expect("hyper reads the next head, and sees the end");
    }

    #[tokio::test]
    async fn a_long_head_fails_once_and_nothing_of_it_is_lost() {
        let (near, mut far) = tokio::io::duplex(64);
        let activity = Activity::default();
        let mut near = WriteDeadline::new(near, TIMEOUT, &Meter::new(1), activity.clone(), 2);
        far.write_all(b"1\n2\n").await.expect("there is room");
        let mut start = [0; 4];
        near.read_exact(&mut start).await.expect("two lines");
        assert!(!near.take_long_head());
        far.write_all(b"3\n4\n").await.expect("there is room");
        near.read(&mut [0; 8]).await.expect_err("a third line");
        assert!(near.take_long_head());
        near.unread(Bytes::copy_from_slice(&start));
        let mut whole = [0; 8];
        near.read_exact(&mut whole).await.expect("every head is read");
        assert_eq!(&whole, b"1\n2\n3\n4\n");

        let mut near = WriteDeadline::new(near.stream, TIMEOUT, &Meter::new(1), activity.clone(), 2);
        near.unread(Bytes::from_static(b"1\n2\n3\n4\n5\n6\n"));
        near.read(&mut [0; 8]).await.expect_err("a piece of what is read again has too many lines");
        assert!(near.take_long_head());
        let mut whole = [0; 12];
        near.read_exact(&mut whole).await.expect("every head is read");
        assert_eq!(&whole, b"1\n2\n3\n4\n5\n6\n");

        let mut near = WriteDeadline::new(near.stream, TIMEOUT, &Meter::new(1), activity.clone(), 2);
        let in_flight = activity.enter();
        far.write_all(b"\n\n\n\n").await.expect("there is room");
        near.read_exact(&mut start).await.expect("the lines of a body do not count");
        drop(in_flight);
        for _ in 0..3 {
            drop(activity.enter());
            far.write_all(b"1\n2\n").await.expect("there is room");
            near.read_exact(&mut start).await.expect("each head has two lines");
        }
    }
}
