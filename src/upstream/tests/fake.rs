//! A peer on a raw TCP socket that does what it is told and records what arrived.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::Uri;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// One connection, seen from the store.
pub(super) struct Peer {
    stream: TcpStream,
    ahead: Vec<u8>,
}

impl Peer {
    pub(super) async fn accept(listener: &TcpListener) -> Self {
        let (stream, _) = listener.accept().await.unwrap();
        Self { stream, ahead: Vec::new() }
    }

    /// The next request's head, lower-cased, up to and with the empty line. `None`: the client hung up.
    pub(super) async fn head(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.ahead.windows(4).position(|window| window == b"\r\n\r\n") {
                let rest = self.ahead.split_off(end + 4);
                let head = std::mem::replace(&mut self.ahead, rest);
                return Some(String::from_utf8(head).unwrap().to_lowercase());
            }
            if !self.more().await {
                return None;
            }
        }
    }

    /// Exactly `len` bytes of body.
    pub(super) async fn body(&mut self, len: usize) -> Vec<u8> {
        while self.ahead.len() < len {
            assert!(self.more().await, "the client hung up within the body");
        }
        let rest = self.ahead.split_off(len);
        std::mem::replace(&mut self.ahead, rest)
    }

    /// All that arrives until the client hangs up.
    pub(super) async fn rest(&mut self) -> Vec<u8> {
        while self.more().await {}
        std::mem::take(&mut self.ahead)
    }

    pub(super) async fn say(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    /// Says that nothing more will come, and still reads.
    pub(super) async fn end(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// Hangs up with a reset, whatever is still on its way.
    pub(super) fn reset(self) {
        self.stream.set_zero_linger().unwrap();
    }

    async fn more(&mut self) -> bool {
        let mut buf = [0; 16 * 1024];
        match self.stream.read(&mut buf).await {
            Ok(0) | Err(_) => false,
            Ok(len) => {
                self.ahead.extend_from_slice(&buf[..len]);
                true
            }
        }
    }
}

/// `content-length` of a lower-cased head.
pub(super) fn content_length(head: &str) -> usize {
    header(head, "content-length").expect("a content-length").parse().unwrap()
}

/// A header of a lower-cased head.
pub(super) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

pub(super) const EMPTY_200: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/// A listener whose connections are handled by `handle(number, peer)`, and the count of them.
pub(super) async fn serve<F, Fut>(handle: F) -> (Uri, Arc<AtomicUsize>)
where
    F: Fn(usize, Peer) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&connections);
    tokio::spawn(async move {
        loop {
            let peer = Peer::accept(&listener).await;
            let number = counter.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(handle(number, peer));
        }
    });
    (uri, connections)
}
