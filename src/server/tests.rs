use std::convert::Infallible;
use std::io::ErrorKind;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http::StatusCode;
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Sleep;
use tokio_rustls::TlsConnector;

use super::*;

type TestResponse = Response<UnsyncBoxBody<Bytes, io::Error>>;

const SHORT: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(20);

fn settings() -> Settings {
    Settings {
        address: SocketAddr::from(([127, 0, 0, 1], 0)),
        address_key: "listen.address",
        tls: None,
        max_connections: 100,
        header_timeout: LONG,
        idle_timeout: LONG,
        min_rate: 1024,
        drain_timeout: LONG,
    }
}

fn respond(status: StatusCode, text: impl Into<Bytes>) -> TestResponse {
    let body = Full::new(text.into()).map_err(|never: Infallible| match never {}).boxed_unsync();
    Response::builder().status(status).body(body).expect("a response")
}

struct Running {
    address: SocketAddr,
    shutdown: oneshot::Sender<()>,
    ended: JoinHandle<DrainOutcome>,
    /// Notified when a request has come to `/wait`, and the channel that lets it continue.
    arrived: Arc<Notify>,
    release: Arc<Notify>,
}

/// A server of a few paths, one for each behaviour of a service.
async fn start(settings: Settings) -> Running {
    let bound = Server::bind(settings).await.expect("a port of the system's choice");
    let address = bound.local_address();
    let (arrived, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let service = {
        let (arrived, release) = (arrived.clone(), release.clone());
        move |request: Request<RequestBody>, connection: ConnectionInfo| {
            let (arrived, release) = (arrived.clone(), release.clone());
            async move {
                match request.uri().path() {
                    "/refuse" => respond(StatusCode::FORBIDDEN, "no"),
                    "/echo" => match request.into_body().collect().await {
                        Ok(body) => respond(StatusCode::OK, body.to_bytes()),
                        Err(_) => respond(StatusCode::BAD_REQUEST, "cut"),
                    },
                    "/wait" => {
                        arrived.notify_one();
                        release.notified().await;
                        respond(StatusCode::OK, "waited")
                    }
                    "/tls" => respond(StatusCode::OK, connection.is_tls.to_string()),
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
    Running { address, shutdown, ended, arrived, release }
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
async fn a_drain_lets_running_requests_end_and_takes_no_new_ones() {
    let running = start(settings()).await;
    let (mut idle, mut busy) = (running.connect().await, running.connect().await);
    send(&mut idle, &get("/")).await;
    assert_eq!(receive(&mut idle).await.0, 200);
    send(&mut busy, &get("/wait")).await;
    running.arrived.notified().await;
    running.shutdown.send(()).expect("the server runs");

    assert!(until_closed(&mut idle).await.is_empty());
    let refused = TcpStream::connect(running.address).await.expect_err("the listener is closed");
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    running.release.notify_one();
    assert_eq!(receive(&mut busy).await, (200, "waited".to_owned()));
    assert!(until_closed(&mut busy).await.is_empty());
    assert_eq!(running.ended.await.expect("no panic"), DrainOutcome { cut: 0 });
}

#[tokio::test]
async fn a_drain_cuts_what_does_not_end() {
    let running = start(Settings { drain_timeout: SHORT, ..settings() }).await;
    let mut busy = running.connect().await;
    send(&mut busy, &get("/wait")).await;
    running.arrived.notified().await;
    let begun = Instant::now();
    running.shutdown.send(()).expect("the server runs");
    assert_eq!(running.ended.await.expect("no panic"), DrainOutcome { cut: 1 });
    assert!(begun.elapsed() >= SHORT);
    assert!(until_closed(&mut busy).await.is_empty());
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

fn certificate() -> (Tls, CertificateDer<'static>) {
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let tls = Tls::from_pem(pair.cert.pem().as_bytes(), pair.signing_key.serialize_pem().as_bytes());
    (tls.expect("a pair"), pair.cert.der().clone())
}

fn connector(trusted: CertificateDer<'static>, protocols: &[&str]) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(trusted).expect("a certificate");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config = builder.expect("versions").with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    TlsConnector::from(Arc::new(config))
}

#[tokio::test]
async fn tls_serves_http_1_only() {
    let (tls, trusted) = certificate();
    let running = start(Settings { tls: Some(tls), ..settings() }).await;
    let name = ServerName::try_from("localhost").expect("a name");
    let connector = connector(trusted, &["h2", "http/1.1"]);
    let mut stream = connector.connect(name, running.connect().await).await.expect("a handshake");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    for _ in 0..2 {
        send(&mut stream, &get("/tls")).await;
        assert_eq!(receive(&mut stream).await, (200, "true".to_owned()));
    }
    let mut plain = running.connect().await;
    send(&mut plain, &get("/tls")).await;
    let response = until_closed(&mut plain).await;
    let response = String::from_utf8(response).expect("text");
    assert!(response.starts_with("HTTP/1.1 400"), "plain HTTP was served on a TLS port: {response}");
    assert!(response.ends_with("This address speaks TLS: use https:// in place of http://.\n"), "{response}");
}

#[tokio::test]
async fn a_request_that_comes_with_the_end_of_a_handshake_is_served() {
    let (tls, trusted) = certificate();
    let running = start(Settings { tls: Some(tls), ..settings() }).await;
    let name = ServerName::try_from("localhost").expect("a name");
    let stream = running.connect().await;
    let early = |client: &mut rustls::ClientConnection| {
        io::Write::write_all(&mut client.writer(), get("/tls").as_bytes()).expect("room for a request");
    };
    let connecting = connector(trusted, &["http/1.1"]).connect_with(name, stream, early);
    let mut stream = connecting.await.expect("a handshake");
    assert_eq!(receive(&mut stream).await, (200, "true".to_owned()));
    // The connection is idle for long enough to lose its buffers.
    tokio::time::sleep(connection::IDLE_INTERVAL * 6).await;
    send(&mut stream, &get("/tls")).await;
    assert_eq!(receive(&mut stream).await, (200, "true".to_owned()));
    tokio::time::sleep(connection::IDLE_INTERVAL * 6).await;
    running.shutdown.send(()).expect("the server runs");
    assert_eq!(stream.read(&mut [0]).await.expect("a close that says so"), 0);
}

#[tokio::test]
async fn a_handshake_in_progress_does_not_hold_up_the_drain() {
    let (tls, _) = certificate();
    let running = start(Settings { tls: Some(tls), ..settings() }).await;
    let mut stream = running.connect().await;
    send(&mut stream, "\x16\x03\x01").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    running.shutdown.send(()).expect("the server runs");
    assert_eq!(running.ended.await.expect("no panic"), DrainOutcome { cut: 0 });
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
