//! The order of events that no test on a real socket can force: the write fails before the response is read.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};

use super::*;

/// Refuses every write as a peer that hung up does, and only then has a response to read.
struct HungUp {
    answer: &'static [u8],
    is_written: bool,
}

impl Read for HungUp {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.is_written {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        buf.put_slice(std::mem::take(&mut self.answer));
        Poll::Ready(Ok(()))
    }
}

impl Write for HungUp {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        self.is_written = true;
        Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
    }
}

async fn exchange(answer: &'static str) -> Result<Bytes, hyper::Error> {
    let io = ReadAfterResetStream {
        io: HungUp { answer: answer.as_bytes(), is_written: false },
        write_closed: false,
    };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
    tokio::spawn(connection);
    let body = Full::new(Bytes::from(vec![0; 1 << 20]));
    let request = http::Request::put("/k").header("host", "h").body(body).unwrap();
    let response = sender.send_request(request).await?;
    Ok(response.into_body().collect().await?.to_bytes())
}

#[tokio::test]
async fn an_answer_is_heard_although_writing_failed() {
    let body = exchange("HTTP/1.1 403 Forbidden\r\ncontent-length: 6\r\n\r\ndenied").await.unwrap();
    assert_eq!(body, "denied");
}

#[tokio::test]
async fn a_hang_up_without_an_answer_is_an_error() {
    assert!(exchange("").await.is_err());
    assert!(exchange("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nden").await.is_err());
}
