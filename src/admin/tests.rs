use std::time::SystemTime;

use metrics::Recorder;
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

struct Running {
    address: SocketAddr,
    _stop: tokio::sync::oneshot::Sender<()>,
}

async fn start(health: Health) -> Running {
    start_with(health, None).await
}

async fn start_with(health: Health, token: Option<BearerToken>) -> Running {
    let recorder = PrometheusBuilder::new().build_recorder();
    let metadata = metrics::Metadata::new("test", metrics::Level::INFO, None);
    recorder.register_counter(&metrics::Key::from_static_name("things_total"), &metadata).increment(3);
    let status = Status {
        version: "1.2.3",
        listen: "https://127.0.0.1:8333".to_owned(),
        certificates: vec![(
            "listen.tls.certificate".to_owned(),
            crate::server::Validity {
                not_before: std::time::SystemTime::UNIX_EPOCH,
                not_after: std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(86_400),
            },
        )],
        upstream: "embedded store in ./data".to_owned(),
        keyring: "local".to_owned(),
        anonymous: Some("read of public-*".to_owned()),
        buckets: vec!["*  native".to_owned(), "second".to_owned()],
        loaded_at: SystemTime::UNIX_EPOCH,
        reload_failure: Some((SystemTime::UNIX_EPOCH, "proxy.toml:3: unknown key".to_owned())),
    };
    let status = Arc::new(ArcSwap::from_pointee(status));
    let address = "127.0.0.1:0".parse().expect("an address");
    let settings = Settings { address, tls: None, token, reuse_port: false };
    let admin = Admin::open(settings, None).await.expect("a port");
    let address = admin.local_address();
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let handle = recorder.handle();
    tokio::spawn(async move {
        let readiness = move || std::future::ready(health.clone());
        admin.serve(handle, status, readiness, async { drop(stopped.await) }).await;
    });
    Running { address, _stop: stop }
}

impl Running {
    async fn ask(&self, method: &str, path: &str) -> (u16, String, String) {
        self.ask_with(method, path, "").await
    }

    async fn ask_with(&self, method: &str, path: &str, header: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(self.address).await.expect("a connection");
        let request = format!("{method} {path} HTTP/1.1\r\nhost: admin\r\n{header}connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("a request");
        let mut response = String::new();
        stream.read_to_string(&mut response).await.expect("an response");
        let (head, body) = response.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).expect("a status").parse().expect("a number");
        (status, head.to_lowercase(), body.to_owned())
    }
}

#[tokio::test]
async fn alive_even_when_not_ready() {
    let problem = Problem { component: "keyring", message: "KMS says \"no\"".to_owned() };
    let running = start(Health { problems: vec![problem], degraded: Vec::new() }).await;
    let (status, _, body) = running.ask("GET", "/healthz").await;
    assert_eq!((status, body.as_str()), (200, "ok\n"));
    let (status, head, body) = running.ask("GET", "/readyz").await;
    assert_eq!(status, 503);
    assert!(head.contains("content-type: application/json"), "{head}");
    let expected = r#"{"ready":false,"problems":[{"component":"keyring","message":"KMS says \"no\""}]}"#;
    assert_eq!(body.trim_end(), expected);
}

#[tokio::test]
async fn ready_without_problems() {
    let (status, _, body) = start(Health::default()).await.ask("GET", "/readyz").await;
    assert_eq!((status, body.as_str()), (200, "{\"ready\":true}\n"));
}

#[tokio::test]
async fn degraded_is_ready() {
    let problem = Problem { component: "keyring", message: "KMS is away".to_owned() };
    let running = start(Health { problems: Vec::new(), degraded: vec![problem] }).await;
    let (status, _, body) = running.ask("GET", "/readyz").await;
    let expected = r#"{"ready":true,"degraded":[{"component":"keyring","message":"KMS is away"}]}"#;
    assert_eq!((status, body.trim_end()), (200, expected));
}

#[tokio::test]
async fn metrics_are_rendered() {
    let (status, _, body) = start(Health::default()).await.ask("GET", "/metrics").await;
    assert_eq!(status, 200);
    assert!(body.contains("things_total 3"), "{body}");
}

#[tokio::test]
async fn the_page_shows_the_set_up() {
    let (status, _, body) = start(Health::default()).await.ask("GET", "/").await;
    assert_eq!(status, 200);
    for line in [
        "s3veil 1.2.3",
        "  listen.tls.certificate expired on 1970-01-02",
        "upstream  embedded store in ./data",
        "uptime    0s",
        "config    loaded Thu, 01 Jan 1970 00:00:00 GMT; a later version is not in effect, since Thu, 01 Jan 1970 00:00:00 \
         GMT: proxy.toml:3: unknown key",
        "  *  native\n  second\n",
    ] {
        assert!(body.contains(line), "{line}: {body}");
    }
}

#[tokio::test]
async fn only_get_and_head() {
    let running = start(Health::default()).await;
    let (status, head, _) = running.ask("POST", "/healthz").await;
    assert_eq!(status, 405);
    assert!(head.contains("allow: get, head"), "{head}");
    let (status, _, body) = running.ask("HEAD", "/healthz").await;
    assert_eq!((status, body.as_str()), (200, ""));
    assert_eq!(running.ask("GET", "/secrets").await.0, 404);
}

#[tokio::test]
async fn a_token_is_required_except_by_probes() {
    let token = BearerToken::parse("0123456789abcdef");
    let running = start_with(Health::default(), token).await;
    for path in ["/healthz", "/readyz"] {
        assert_eq!(running.ask("GET", path).await.0, 200, "{path}");
    }
    for path in ["/", "/metrics", "/secrets", "/healthz/", "//healthz"] {
        let (status, head, body) = running.ask("GET", path).await;
        assert_eq!(status, 401, "This is a security issue: {path}.");
        assert!(head.contains("www-authenticate: bearer realm=\"s3veil\""), "{head}");
        assert_eq!(body, "the bearer token is missing or wrong\n");
    }
    let wrong = "authorization: Bearer 0123456789abcdeg\r\n";
    assert_eq!(running.ask_with("GET", "/metrics", wrong).await.0, 401);
    let right = "authorization: Bearer 0123456789abcdef\r\n";
    for (path, expected) in [("/", 200), ("/metrics", 200), ("/secrets", 404)] {
        assert_eq!(running.ask_with("GET", path, right).await.0, expected, "{path}");
    }
}
