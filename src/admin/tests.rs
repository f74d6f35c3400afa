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

/// A process with this health.
struct Fixed(Health);

impl Source for Fixed {
    async fn health(&self) -> Health {
        self.0.clone()
    }

    fn known_health(&self) -> Health {
        self.0.clone()
    }

    fn reports(&self) -> Reports {
        let key = DependencyReport {
            place: "local keyring ./data/keyring".to_owned(),
            key_id: Some("local-1".to_owned()),
            trouble: Some("the key service is away".to_owned()),
            ..DependencyReport::default()
        };
        Reports { storages: Vec::new(), keys: vec![key] }
    }

    async fn set_gauges(&self) {}
}

fn status() -> Status {
    let certificate = Certificate {
        setting: "listen.tls.certificate".to_owned(),
        subject: "CN=<b>s3</b>".to_owned(),
        names: vec!["DNS:s3.example.com".to_owned()],
        validity: crate::server::Validity {
            not_before: SystemTime::UNIX_EPOCH,
            not_after: SystemTime::UNIX_EPOCH + Duration::from_secs(86_400),
        },
    };
    let rule = Rule {
        rule: "archive/*".to_owned(),
        writes: "cbc (not authenticated)".to_owned(),
        reads: vec!["native".to_owned(), "plaintext (not authenticated)".to_owned()],
        notes: Vec::new(),
        bound: Some("nothing".to_owned()),
        keys: vec!["key k".to_owned()],
        is_unauthenticated: true,
    };
    let named = |name: &str, place: &str| Named { name: name.to_owned(), place: place.to_owned() };
    Status {
        version: "1.2.3",
        commit: "0123abc",
        listen: "https://127.0.0.1:8333".to_owned(),
        certificates: vec![certificate],
        upstream: "embedded store in ./data".to_owned(),
        storages: vec![named("default", "embedded store in ./data")],
        keyring: "local".to_owned(),
        holders: vec![named("keyring", "local keyring ./data/keyring")],
        caching: "a data key is used for 5 minutes".to_owned(),
        anonymous: Some("read of public-*".to_owned()),
        rules: vec![rule],
        by_client: true,
        by_rule: false,
        digest: "abcdef".to_owned(),
        loaded_at: SystemTime::UNIX_EPOCH,
        reload_failure: Some((SystemTime::UNIX_EPOCH, "proxy.toml:3: unknown key".to_owned())),
    }
}

async fn start_with(health: Health, token: Option<BearerToken>) -> Running {
    let recorder = PrometheusBuilder::new().build_recorder();
    let metadata = metrics::Metadata::new("test", metrics::Level::INFO, None);
    let counter = |name, labels: &[(&'static str, &'static str)], value| {
        let key = metrics::Key::from_parts(name, labels);
        recorder.register_counter(&key, &metadata).increment(value);
    };
    counter("things_total", &[], 3);
    counter("s3veil_requests_total", &[("operation", "GetObject"), ("status", "200")], 1_234);
    counter("s3veil_requests_total", &[("operation", "HeadObject"), ("status", "404")], 2);
    counter("s3veil_client_requests_total", &[("client", "<i>app")], 7);
    let status = Arc::new(ArcSwap::from_pointee(status()));
    let address = "127.0.0.1:0".parse().expect("an address");
    let settings = Settings { address, tls: None, token, reuse_port: false };
    let admin = Admin::open(settings, None).await.expect("a port");
    let address = admin.local_address();
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let handle = recorder.handle();
    tokio::spawn(async move {
        admin.serve(handle, status, Fixed(health), async { drop(stopped.await) }).await;
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
    let running = start(Health { problems: vec![problem], ..Health::default() }).await;
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
    let running = start(Health { degraded: vec![problem], ..Health::default() }).await;
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
async fn the_page_shows_the_set_up_and_the_numbers() {
    let problem = Problem { component: "keyring", message: "KMS is away".to_owned() };
    let running = start(Health { degraded: vec![problem], ..Health::default() }).await;
    let (status, head, page) = running.ask("GET", "/").await;
    assert_eq!(status, 200);
    assert!(head.contains("content-type: text/html") && head.contains("x-frame-options: deny"), "{head}");
    assert!(head.contains("content-security-policy: default-src 'none'; style-src 'sha256-"), "{head}");
    for part in [
        ">1.2.3</span>",
        "data-is=\"degraded\">Degraded</h1>",
        ">KMS is away</span>",
        "proxy.toml:3: unknown key",
        ">read of public-*</span>",
        "data-t=\"totals.requests|count\">1\u{202f}236</span>",
        ">cbc (not authenticated)</td>",
        ">native, plaintext (not authenticated)</td>",
        ">local-1</code>",
        ">the key service is away</td>",
        "data-is=\"expired\">expired</span>",
        ">CN=&lt;b&gt;s3&lt;/b&gt;</td>",
        ">&lt;i&gt;app</code>",
        ">HeadObject</td>",
        "Rules are not counted one by one",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(!page.contains("<i>app"), "This is a security issue: a name is not escaped.");
}

#[tokio::test]
async fn the_document_has_the_numbers_of_the_metrics() {
    let running = start(Health::default()).await;
    let (status, head, body) = running.ask("GET", "/status.json").await;
    assert_eq!(status, 200);
    assert!(head.contains("content-type: application/json"), "{head}");
    let document: serde_json::Value = serde_json::from_str(&body).expect("a document");
    assert_eq!(document["totals"]["requests"], 1_236);
    assert_eq!(document["operations"]["busiest"][1]["errors"], 2);
    assert_eq!(document["clients"]["busiest"][0]["name"], "<i>app");
    assert_eq!(document["verdict"]["state"], "ready");
    assert_eq!(document["protection"]["rules"][0]["bound"], "nothing");
    assert_eq!(document["config"]["refused"]["at"], 0.0);
    assert_eq!(document["certificates"][0]["state"], "expired");
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
    for path in ["/", "/metrics", "/status.json", "/secrets", "/healthz/", "//healthz"] {
        let (status, head, body) = running.ask("GET", path).await;
        assert_eq!(status, 401, "This is a security issue: {path}.");
        assert!(head.contains("www-authenticate: bearer realm=\"s3veil\""), "{head}");
        assert_eq!(body, "the bearer token is missing or wrong\n");
    }
    let wrong = "authorization: Bearer 0123456789abcdeg\r\n";
    assert_eq!(running.ask_with("GET", "/metrics", wrong).await.0, 401);
    let right = "authorization: Bearer 0123456789abcdef\r\n";
    for (path, expected) in [("/", 200), ("/metrics", 200), ("/status.json", 200), ("/secrets", 404)] {
        assert_eq!(running.ask_with("GET", path, right).await.0, expected, "{path}");
    }
}
