mod append_only;

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::server::{ConnectionInfo, RequestBody, Server, Settings, Workers};
use crate::test_support::resources;

/// A recorder that panics once, where a failed authentication is counted: in the middle of a request.
#[derive(Default)]
struct Panicking(AtomicBool);

impl Recorder for Panicking {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let is_first = key.name() == "s3veil_logins_refused_total" && !self.0.swap(true, Ordering::Relaxed);
        assert!(!is_first, "a panic in the midst of a request, as the test wants it");
        Counter::noop()
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

async fn response_to(stream: &mut TcpStream, head: &str) -> String {
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut response = String::new();
    while !response.contains("</Error>") {
        let mut piece = [0; 4096];
        let read = stream.read(&mut piece).await.unwrap();
        assert!(read > 0, "the connection ended: {response}");
        response.push_str(std::str::from_utf8(&piece[..read]).unwrap());
    }
    response
}

#[tokio::test]
async fn a_panic_is_an_internal_error_of_one_request_and_its_connection_goes_on() {
    let recorder = Panicking::default();
    let _recorder = metrics::set_default_local_recorder(&recorder);
    let (resources, _folder) = resources("http://127.0.0.1:1", &[("*", "")]).await;
    let clients = Clients::default();
    let service = Service::new(State::new(resources, clients));
    let timeout = Duration::from_secs(20);
    let bound = Server::bind(Settings {
        address: SocketAddr::from(([127, 0, 0, 1], 0)),
        address_key: "listen.address",
        tls: None,
        reuse_port: false,
        max_connections: 10,
        header_timeout: timeout,
        idle_timeout: timeout,
        min_rate: 1024,
        drain_delay: Duration::ZERO,
        is_counted: true,
        drain_timeout: timeout,
    });
    let bound = bound.await.unwrap();
    let address = bound.local_address();
    let respond = move |request: Request<RequestBody>, connection: ConnectionInfo| {
        let service = service.clone();
        async move {
            let ConnectionInfo { peer, tls_version, certificate_names, is_surplus, meter } = connection;
            let arrival = Arrival { peer, tls_version, certificate_names, is_surplus, meter };
            service.call(request, arrival).await
        }
    };
    let serving =
        tokio::spawn(async move { bound.serve(&Workers::current(), respond, std::future::pending()).await });

    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = "GET /bucket/key HTTP/1.1\r\nhost: x\r\n\r\n";
    let panicked = response_to(&mut stream, head).await;
    assert!(panicked.starts_with("HTTP/1.1 500"), "{panicked}");
    assert!(panicked.contains("<Code>InternalError</Code>"), "{panicked}");
    let refused = response_to(&mut stream, head).await;
    assert!(refused.starts_with("HTTP/1.1 403"), "{refused}");
    serving.abort();
}

#[tokio::test]
async fn logins_that_are_refused_in_a_row_are_delayed_until_one_is_accepted() {
    let (resources, _folder) = resources("http://127.0.0.1:1", &[("*", "")]).await;
    let service = Service::new(State::new(resources, Clients::default()));
    let meter = Meter::new(1024);
    // Whether the refusal takes no time at all.
    let is_prompt = async || {
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
        let meter = meter.clone();
        let arrival = Arrival { peer, tls_version: None, certificate_names: None, is_surplus: false, meter };
        let request = Request::get("/bucket/key").header(HOST, "x").body(BoxBody::default()).unwrap();
        let mut work = pin!(service.call(request, arrival));
        match poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await {
            Poll::Ready(response) => {
                assert_eq!(response.status(), http::StatusCode::FORBIDDEN);
                true
            }
            Poll::Pending => false,
        }
    };
    for _ in 0..FREE_REFUSALS {
        assert!(is_prompt().await);
    }
    assert!(!is_prompt().await);
    assert!(!is_prompt().await);
    meter.login_accepted();
    assert!(is_prompt().await);
}
