use std::convert::Infallible;
use std::io::ErrorKind;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http::StatusCode;
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Sleep;

use super::acceptor::MAX_SURPLUS;
use super::*;

mod drain;
mod tls;

type TestResponse = Response<UnsyncBoxBody<Bytes, io::Error>>;

const SHORT: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(20);

fn settings() -> Settings {
    Settings {
        address: SocketAddr::from(([127, 0, 0, 1], 0)),
        address_key: "listen.address",
        tls: None,
        reuse_port: false,
        max_connections: 100,
        header_timeout: LONG,
        idle_timeout: LONG,
        min_rate: 1024,
        drain_delay: Duration::ZERO,
        is_counted: true,
        drain_timeout: LONG,
    }
}

fn respond(status: StatusCode, text: impl Into<Bytes>) -> TestResponse {
    let body = Full::new(text.into()).map_err(|never: Infallible| match never {}).boxed_unsync();
    Response::builder().status(status).body(body).expect("a response")
}

struct Running {
    address: SocketAddr,
    tls: Option<CurrentTls>,
    shutdown: oneshot::Sender<()>,
    ended: JoinHandle<DrainOutcome>,
    /// Notified when a request has come to `/wait`, and the channel that lets it continue.
    arrived: Arc<Notify>,
    release: Arc<Notify>,
    /// Notified when a request to `/wait` has ended, with a response or without.
    ended_waiting: Arc<Notify>,
}

struct NotifyOnDrop(Arc<Notify>);

impl Drop for NotifyOnDrop {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

/// A server of a few paths, one for each behaviour of a service.
async fn start(settings: Settings) -> Running {
    start_bound(Server::bind(settings).await.expect("a port of the system's choice"))
}

fn start_bound(bound: BoundServer) -> Running {
    let (address, tls) = (bound.local_address(), bound.current_tls());
    let [arrived, release, ended_waiting]: [Arc<Notify>; 3] = Default::default();
    let service = {
        let shared = [&arrived, &release, &ended_waiting].map(Arc::clone);
        move |request: Request<RequestBody>, connection: ConnectionInfo| {
            let [arrived, release, ended_waiting] = shared.clone();
            async move {
                match request.uri().path() {
                    "/refuse" => respond(StatusCode::FORBIDDEN, "no"),
                    "/echo" => match request.into_body().collect().await {
                        Ok(body) => respond(StatusCode::OK, body.to_bytes()),
                        Err(_) => respond(StatusCode::BAD_REQUEST, "cut"),
                    },
                    "/wait" => {
                        let _ended = NotifyOnDrop(ended_waiting);
                        _ = request.into_body().collect().await;
                        arrived.notify_one();
                        release.notified().await;
                        respond(StatusCode::OK, "waited")
                    }
                    "/count-frames" => {
                        let (mut body, mut frames) = (request.into_body(), 0);
                        while let Some(Ok(_)) = body.frame().await {
                            frames += 1;
                            // hyper, which is polled meanwhile, must not read ahead.
                            tokio::time::sleep(Duration::from_millis(1)).await;
                        }
                        respond(StatusCode::OK, frames.to_string())
                    }
                    "/tls" => respond(StatusCode::OK, connection.tls_version.is_some().to_string()),
                    "/certificate" => respond(StatusCode::OK, format!("{:?}", connection.certificate_names)),
                    "/headers" => respond(StatusCode::OK, request.headers().len().to_string()),
                    "/large" => respond(StatusCode::OK, vec![b'x'; 64 << 20]),
                    "/surplus" => respond(StatusCode::OK, connection.is_surplus.to_string()),
                    "/panic" => panic!("a panic of the service, as the test asked for"),
                    "/broken" => broken(Some(100)),
                    "/broken-chunked" => broken(None),
                    _ => respond(StatusCode::OK, "hello"),
                }
            }
        }
    };
    let (shutdown, wait) = oneshot::channel::<()>();
    let ended =
        tokio::spawn(
            async move { bound.serve(&Workers::current(), service, async { drop(wait.await) }).await },
        );
    Running { address, tls, shutdown, ended, arrived, release, ended_waiting }
}

/// Ten bytes, a pause in which they are sent, then an error.
struct Broken {
    data: Option<Bytes>,
    pause: Pin<Box<Sleep>>,
}

impl Body for Broken {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match self.data.take() {
            Some(data) => Poll::Ready(Some(Ok(Frame::data(data)))),
            None => {
                self.pause.as_mut().poll(cx).map(|()| Some(Err(io::Error::other("authentication failed"))))
            }
        }
    }
}

fn broken(content_length: Option<u64>) -> TestResponse {
    let pause = Box::pin(tokio::time::sleep(Duration::from_millis(100)));
    let body = Broken { data: Some(Bytes::from("0123456789")), pause };
    let mut response = Response::new(body.boxed_unsync());
    if let Some(length) = content_length {
        response.headers_mut().insert(http::header::CONTENT_LENGTH, length.into());
    }
    response
}

impl Running {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("a connection")
    }
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n")
}

async fn send(stream: &mut (impl AsyncWrite + Unpin), text: &str) {
    stream.write_all(text.as_bytes()).await.expect("the server takes it");
}

/// One response with a Content-Length: status and body.
async fn receive(stream: &mut (impl AsyncRead + Unpin)) -> (u16, String) {
    let (head, mut body) = receive_head(stream).await;
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.expect("a length").parse().expect("a number");
    let have = body.len();
    body.resize(length, 0);
    stream.read_exact(&mut body[have..]).await.expect("the whole body");
    let status = head.split(' ').nth(1).expect("a status").parse().expect("a number");
    (status, String::from_utf8(body).expect("text"))
}

/// The head, and the bytes of the body received with it.
async fn receive_head(stream: &mut (impl AsyncRead + Unpin)) -> (String, Vec<u8>) {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let body = bytes.split_off(end + 4);
            return (String::from_utf8(bytes).expect("text").to_lowercase(), body);
        }
        let read = stream.read_buf(&mut bytes).await.expect("a head");
        assert_ne!(read, 0, "the connection ended before the head: {:?}", String::from_utf8_lossy(&bytes));
    }
}

/// All bytes until the other side closes the connection or resets it.
async fn until_closed(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        match stream.read_buf(&mut bytes).await {
            Ok(0) => return bytes,
            Ok(_) => {}
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::ConnectionReset);
                return bytes;
            }
        }
    }
}

#[tokio::test]
async fn one_connection_serves_many_requests() {
    let running = start(settings()).await;
    let mut stream = running.connect().await;
    for _ in 0..3 {
        send(&mut stream, &get("/")).await;
        assert_eq!(receive(&mut stream).await, (200, "hello".to_owned()));
    }
}

#[tokio::test]
async fn a_panic_ends_its_own_connection_only() {
    let running = start(settings()).await;
    let (mut first, mut second) = (running.connect().await, running.connect().await);
    send(&mut first, &get("/panic")).await;
    assert!(until_closed(&mut first).await.is_empty());
    send(&mut second, &get("/")).await;
    assert_eq!(receive(&mut second).await.0, 200);
}

/// If this fails, a client can take a part of an object, up to where it was damaged, for the whole of it: a
/// security issue.
#[tokio::test]
async fn a_body_that_fails_breaks_the_connection() {
    let running = start(settings()).await;
    let mut stream = running.connect().await;
    send(&mut stream, &get("/broken")).await;
    let (head, mut body) = receive_head(&mut stream).await;
    assert!(head.contains("content-length: 100"), "{head}");
    body.extend(until_closed(&mut stream).await);
    assert_eq!(body, b"0123456789");

    let mut stream = running.connect().await;
    send(&mut stream, &get("/broken-chunked")).await;
    let (head, mut body) = receive_head(&mut stream).await;
    assert!(head.contains("transfer-encoding: chunked"), "{head}");
    body.extend(until_closed(&mut stream).await);
    assert_eq!(body, b"A\r\n0123456789\r\n", "the last chunk, 0, must not come");
}

#[tokio::test]
async fn continue_comes_when_the_body_is_wanted_and_only_then() {
    let running = start(settings()).await;
    let put = |path: &str| {
        format!("PUT {path} HTTP/1.1\r\nhost: test\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n")
    };
    let mut stream = running.connect().await;
    send(&mut stream, &put("/echo")).await;
    let (head, rest) = receive_head(&mut stream).await;
    assert_eq!((head.as_str(), rest.len()), ("http/1.1 100 continue\r\n\r\n", 0));
    send(&mut stream, "12345").await;
    assert_eq!(receive(&mut stream).await, (200, "12345".to_owned()));

    let mut stream = running.connect().await;
    send(&mut stream, &put("/refuse")).await;
    assert_eq!(receive(&mut stream).await, (403, "no".to_owned()));
}

#[tokio::test]
async fn a_request_ends_when_its_client_leaves() {
    let running = start(settings()).await;
    let upload = "PUT /wait HTTP/1.1\r\nhost: here\r\ncontent-length: 4\r\n\r\nbody";
    for request in [&get("/wait"), upload] {
        let mut stream = running.connect().await;
        send(&mut stream, request).await;
        running.arrived.notified().await;
        drop(stream);
        running.ended_waiting.notified().await;
    }
}

#[tokio::test]
async fn a_body_that_waits_is_read_in_large_pieces() {
    const LENGTH: usize = 4 << 20;
    let running = start(settings()).await;
    let (mut reader, mut writer) = running.connect().await.into_split();
    let head = format!("PUT /count-frames HTTP/1.1\r\nhost: here\r\ncontent-length: {LENGTH}\r\n\r\n");
    let sending = tokio::spawn(async move {
        writer.write_all(head.as_bytes()).await.expect("a connection");
        writer.write_all(&vec![0; LENGTH]).await.expect("a connection");
        writer
    });
    let (status, frames) = receive(&mut reader).await;
    assert_eq!(status, 200);
    assert!(frames.parse::<usize>().expect("a number") < LENGTH / 1024, "{frames} frames");
    sending.await.expect("no panic");
}

#[tokio::test]
async fn requests_that_are_sent_ahead_are_served_in_turn() {
    let running = start(settings()).await;
    let fields: String = (0..300).map(|number| format!("x-amz-meta-{number}: value\r\n")).collect();
    let long = format!("GET /headers HTTP/1.1\r\nhost: here\r\nconnection: close\r\n{fields}\r\n");
    let mut stream = running.connect().await;
    send(&mut stream, &get("/wait")).await;
    running.arrived.notified().await;
    send(&mut stream, &format!("{}{long}", get("/hello"))).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    running.release.notify_one();
    let received = String::from_utf8(until_closed(&mut stream).await).expect("text");
    let bodies: Vec<_> = received.split("\r\n\r\n").skip(1).collect();
    assert_eq!(bodies.len(), 3, "{received}");
    assert!(bodies[0].starts_with("waited") && bodies[1].starts_with("hello"), "{received}");
    assert_eq!(bodies[2], "302");
}

#[tokio::test]
async fn a_head_that_does_not_end_is_cut() {
    let running = start(Settings { header_timeout: SHORT, ..settings() }).await;
    let mut slow = running.connect().await;
    send(&mut slow, "GET / HTTP/1.1\r\nhost: te").await;
    let mut silent = running.connect().await;
    let mut idle = running.connect().await;
    send(&mut idle, &get("/")).await;
    assert_eq!(receive(&mut idle).await.0, 200);
    for stream in [&mut slow, &mut silent, &mut idle] {
        let rest = tokio::time::timeout(LONG, until_closed(stream)).await.expect("the server cuts it");
        assert!(!String::from_utf8_lossy(&rest).contains("200 OK"));
    }
}

#[tokio::test]
async fn a_reader_that_stalls_is_cut() {
    let running = start(Settings { idle_timeout: SHORT, ..settings() }).await;
    let mut stream = running.connect().await;
    send(&mut stream, &get("/large")).await;
    tokio::time::sleep(SHORT * 5).await;
    let received = until_closed(&mut stream).await;
    assert!(received.starts_with(b"HTTP/1.1 200 OK"));
    assert!(received.len() < 64 << 20, "the whole of it was still delivered");
}

#[tokio::test]
async fn heads_as_large_as_s3_allows_and_no_larger() {
    let running = start(settings()).await;
    let mut stream = running.connect().await;
    let padding = "x".repeat(20 * 1024);
    send(&mut stream, &format!("GET /?X-Amz-Signature={padding} HTTP/1.1\r\nhost: test\r\n\r\n")).await;
    assert_eq!(receive(&mut stream).await.0, 200);
    // 8 KiB of metadata with the shortest names, and the other headers of a request.
    let metadata: String = (0..480).map(|number| format!("x-amz-meta-{number:x}:\r\n")).collect();
    let others: String = (0..31).map(|number| format!("x-{number}: {}\r\n", "v".repeat(1_024))).collect();
    send(&mut stream, &format!("GET /headers HTTP/1.1\r\nhost: test\r\n{metadata}{others}\r\n")).await;
    assert_eq!(receive(&mut stream).await, (200, "512".to_owned()));

    let padding = "x".repeat(MAX_HEAD_TESTED);
    send(&mut stream, &format!("GET / HTTP/1.1\r\nhost: test\r\nx: {padding}\r\n\r\n")).await;
    let (head, _) = receive_head(&mut stream).await;
    assert!(head.starts_with("http/1.1 431 "), "{head}");
}

/// Above the server's own limit, below the kernel's buffers.
const MAX_HEAD_TESTED: usize = 72 * 1024;

#[tokio::test]
async fn connections_beyond_the_limit_are_refused_and_then_wait() {
    let running = start(Settings { max_connections: 1, ..settings() }).await;
    let mut first = running.connect().await;
    send(&mut first, &get("/surplus")).await;
    assert_eq!(receive(&mut first).await, (200, "false".to_owned()));
    let mut beyond = Vec::new();
    for _ in 0..MAX_SURPLUS {
        let mut one = running.connect().await;
        send(&mut one, &get("/surplus")).await;
        assert_eq!(receive(&mut one).await, (200, "true".to_owned()));
        beyond.push(one);
    }
    let mut waiting = running.connect().await;
    send(&mut waiting, &get("/surplus")).await;
    let early = tokio::time::timeout(SHORT, waiting.read_u8()).await;
    assert!(early.is_err(), "there was no room for it");
    drop(first);
    assert_eq!(receive(&mut waiting).await, (200, "false".to_owned()));
}

#[tokio::test]
async fn dropping_the_server_cuts_at_once() {
    let running = start(settings()).await;
    let mut busy = running.connect().await;
    send(&mut busy, &get("/wait")).await;
    running.arrived.notified().await;
    running.ended.abort();
    assert!(until_closed(&mut busy).await.is_empty());
}

#[tokio::test]
async fn requests_without_tls_say_so() {
    let running = start(settings()).await;
    let mut stream = running.connect().await;
    send(&mut stream, &get("/tls")).await;
    assert_eq!(receive(&mut stream).await, (200, "false".to_owned()));
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let first = Server::bind(settings()).await.expect("a port");
    let address = first.local_address();
    let error =
        Server::bind(Settings { address, ..settings() }).await.expect_err("the port is taken").to_string();
    let start = format!("can't listen on `listen.address` = \"{address}\": ");
    assert!(error.starts_with(&start), "{error}");
    assert!(error.ends_with(": stop the process that listens there, or choose another port"), "{error}");
}
