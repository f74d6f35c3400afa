use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clap::CommandFactory;
use http::Response;
use http_body_util::Full;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, oneshot};

use super::serve::{self, Listeners, Shutdown};
use super::*;
use crate::admin::{Health, Reports, Source};
use crate::config::{self, ServiceManager};
use crate::server::{RequestBody, Workers};

fn parsed(arguments: &[&str]) -> (Command, PathBuf) {
    let line = ["s3veil"].iter().chain(arguments);
    CommandLine::try_parse_from(line).expect("valid arguments").into_parts()
}

fn refused(arguments: &[&str]) -> String {
    let line = ["s3veil"].iter().chain(arguments);
    CommandLine::try_parse_from(line).expect_err("invalid arguments").to_string()
}

#[test]
fn clap_finds_no_contradiction() {
    CommandLine::command().debug_assert();
}

#[test]
fn serve_is_the_default() {
    let default = PathBuf::from("proxy.toml");
    let other = PathBuf::from("other.toml");
    assert_eq!(parsed(&[]), (Command::Serve, default.clone()));
    assert_eq!(parsed(&["serve"]), (Command::Serve, default));
    assert_eq!(parsed(&["--config", "other.toml"]), (Command::Serve, other.clone()));
    assert_eq!(parsed(&["serve", "--config", "other.toml"]), (Command::Serve, other.clone()));
    assert_eq!(parsed(&["-c", "other.toml"]), (Command::Serve, other.clone()));
    assert_eq!(parsed(&["version"]).0, Command::Version);
    let logs = BucketName::parse("logs").expect("a bucket's name");
    let check = |bucket, format| Command::Check(Check { bucket, format });
    assert_eq!(parsed(&["check", "--bucket", "logs"]).0, check(Some(logs), ReportFormat::Text));
    assert_eq!(parsed(&["check", "--format", "json"]).0, check(None, ReportFormat::Json));
    assert!(refused(&["check", "--format", "yaml"]).contains("json"));
    assert!(refused(&["check", "--bucket", "a/b"]).contains("--bucket"));
    assert_eq!(parsed(&["--config", "other.toml", "check"]), (check(None, ReportFormat::Text), other));
}

#[test]
fn commands_and_their_arguments() {
    let command = |arguments: &[&str]| parsed(arguments).0;
    let plain = Keygen { rotate: false, recovery: false, audit: false, file: None, named_file: None };
    assert_eq!(command(&["keygen"]), Command::Keygen(plain.clone()));
    let rotate = Keygen { rotate: true, file: Some("keys".into()), ..plain.clone() };
    assert_eq!(command(&["keygen", "--rotate", "keys"]), Command::Keygen(rotate));
    let audit = Keygen { audit: true, file: Some("audit.pem".into()), ..plain.clone() };
    assert_eq!(command(&["keygen", "--audit", "audit.pem"]), Command::Keygen(audit));
    assert!(refused(&["keygen", "--audit", "--recovery"]).contains("--recovery"));
    let recovery = Keygen { recovery: true, named_file: Some("ops.pem".into()), ..plain };
    assert_eq!(command(&["keygen", "--recovery", "--file", "ops.pem"]), Command::Keygen(recovery));
    assert!(refused(&["keygen", "--recovery", "--rotate"]).contains("--rotate"));
    let object = ObjectUrl { bucket: "b".to_owned(), object_key: "a//b%20c/".to_owned() };
    assert_eq!(command(&["inspect", "s3://b/a//b%20c/"]), Command::Inspect(Inspect { object }));
    let decrypt = Decrypt {
        body: "b".into(),
        metadata: "m.json".into(),
        instruction_file: None,
        bucket: "bucket".to_owned(),
        object_key: "-key".to_owned(),
        out: None,
        recovery_key: None,
        realm: None,
        binding: Binding::RealmAndKey,
    };
    let line = ["decrypt", "--body", "b", "--metadata", "m.json", "--bucket", "bucket", "--key=-key"];
    let offline = |arguments: &[&str]| {
        let Command::Decrypt(arguments) = command(arguments) else { panic!("{arguments:?}") };
        arguments.into_offline().unwrap().unwrap()
    };
    assert_eq!(offline(&line), decrypt);
    let by_recovery_key = ["--recovery-key", "ops.pem", "--realm", "logs", "--binding", "none"];
    let recovery_key = Some("ops.pem".into());
    let realm = Some("logs".to_owned());
    let decrypt = Decrypt { recovery_key, realm, binding: Binding::None, ..decrypt };
    assert_eq!(offline(&[&line[..], &by_recovery_key].concat()), decrypt);
    assert!(refused(&[&line[..], &["--realm", "logs"]].concat()).contains("--recovery-key"));
    assert!(refused(&[&line[..], &["--binding", "key"]].concat()).contains("realm+key, realm or none"));
}

#[test]
fn jobs_and_their_arguments() {
    for line in [
        &["verify", "s3://b/p", "--sample", "1%", "--seed", "7", "--report", "out"][..],
        &["verify", "-", "--bucket", "b"],
        &["rewrap", "--manifest", "m.csv", "--shards", "8", "--shard", "3"],
        &["rewrap", "s3://b/i/manifest.json", "--not-key-id", "k", "--rate", "10/s", "--bandwidth", "1MiB/s"],
        &["encrypt", "s3://b", "--older-than", "30d", "--larger-than", "1GiB", "--dry-run", "--grace", "5s"],
        &["decrypt", "s3://b", "--to", "dir"],
        &["decrypt", "--failed-from", "out", "--in-place"],
        &["keys", "s3://b", "--key-id", "k", "--versions", "all", "--concurrency", "4", "--format", "json"],
        &["report", "out", "--format", "json"],
    ] {
        parsed(line);
    }
    for (line, said) in [
        (&["verify", "b"][..], "s3://BUCKET"),
        (&["verify", "s3://b", "--manifest", "m"], "--manifest"),
        (&["verify", "s3://b", "--shard", "3"], "--shards"),
        (&["verify", "s3://b", "--seed", "3"], "--sample"),
        (&["verify", "s3://b", "--sample", "0%"], "such as 1%"),
        (&["verify", "s3://b", "--older-than", "30x"], "30x"),
        (&["verify", "s3://b", "--concurrency", "0"], "--concurrency"),
        (&["keys", "s3://b", "--key-id", "alias/x"], "alias"),
        (&["encrypt", "s3://b", "--to", "s3://c", "--in-place"], "--in-place"),
        (&["decrypt", "s3://b", "--body", "f"], "--body"),
        (&["decrypt", "--body", "f"], "--metadata"),
        (&["decrypt", "s3://b", "--key", "k"], "--body"),
    ] {
        let refused = refused(line);
        assert!(refused.contains(said), "{line:?}: {refused}");
    }
}

#[test]
fn what_is_not_understood_is_explained() {
    assert!(refused(&["sreve"]).contains("'serve'"));
    let hint =
        |arguments: &[&str]| hint(&arguments.iter().map(|&argument| argument.to_owned()).collect::<Vec<_>>());
    assert_eq!(hint(&["proxy.toml"]).as_deref(), Some("did you mean --config proxy.toml?"));
    assert_eq!(hint(&["serve", "etc/p.toml"]).as_deref(), Some("did you mean --config etc/p.toml?"));
    let port = "unknown argument --port: set listen.address in proxy.toml";
    assert_eq!(hint(&["--port", "80"]).as_deref(), Some(port));
    assert_eq!(
        hint(&["serve", "--endpoint-url=http://x"]).map(|hint| hint.contains("upstream.endpoint")),
        Some(true)
    );
    for silent in [&["serve"][..], &["sreve"], &["port"], &["--strange"], &[]] {
        assert_eq!(hint(silent), None, "{silent:?}");
    }
    assert!(refused(&["inspect", "s3://bucket"]).contains("write s3://BUCKET/KEY"));
    assert!(refused(&["decrypt", "--body", "b"]).contains("--metadata"));
}

#[test]
fn object_urls() {
    for bad in ["", "s3://", "s3://b", "s3://b/", "s3:///k", "b/k", "https://b/k", "S3://b/k"] {
        assert_eq!(bad.parse::<ObjectUrl>(), Err(InvalidObjectUrl), "{bad}");
    }
    let slash = ObjectUrl { bucket: "b".to_owned(), object_key: "/".to_owned() };
    assert_eq!("s3://b//".parse(), Ok(slash));
}

#[test]
fn exit_codes_are_those_of_sysexits() {
    let bind = |kind: io::ErrorKind| {
        let address = SocketAddr::from(([192, 0, 2, 1], 80));
        Failure::Serve(ServeError::Bind { key: "listen.address", address, source: kind.into() })
    };
    let config = config::parse("", Path::new("proxy.toml"), |_| None).expect_err("an empty file");
    let cases = [
        (Failure::Config(config), 64),
        (Failure::Usage("no".to_owned()), 64),
        (bind(io::ErrorKind::AddrNotAvailable), 64),
        (bind(io::ErrorKind::AddrInUse), 69),
        (bind(io::ErrorKind::PermissionDenied), 77),
        (Failure::Setup { message: "data".to_owned(), kind: io::ErrorKind::PermissionDenied }, 77),
        (Failure::Setup { message: "data".to_owned(), kind: io::ErrorKind::NotADirectory }, 74),
        (Failure::Setup { message: "data".to_owned(), kind: io::ErrorKind::ResourceBusy }, 69),
        (Failure::Unavailable("KMS is away".to_owned()), 69),
        (Failure::Internal("a promise was broken".to_owned()), 70),
        (Failure::Io { action: "writing".to_owned(), source: io::ErrorKind::StorageFull.into() }, 74),
    ];
    for (failure, code) in cases {
        assert_eq!(failure.exit_code(), code, "{failure}");
        assert_eq!(failure.to_string().lines().count(), 1, "{failure}");
    }
}

fn configuration() -> config::Config {
    let text = r#"
        listen = { address = "127.0.0.1:0" }
        admin = { address = "127.0.0.1:0" }
        upstream = { endpoint = "embedded:data", region = "us-east-1" }
        keyring = { provider = "local", file = "keyring" }
        client = [{ access_key_id = "app", secret_access_key = "hunter2" }]
        bucket = [{ name = "logs", prefix = "a/", realm = "r/1" }, { name = "*", key_id = "k" }]
    "#;
    config::parse(text, Path::new("/etc/proxy.toml"), |_| None).expect("a valid file")
}

async fn open() -> Listeners {
    let config = configuration();
    let status = serve::status(&config);
    Listeners::open(config.listen, config.admin, status, ServiceManager::default()).await.expect("free ports")
}

async fn ask(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("the server takes it");
    let mut response = String::new();
    stream.read_to_string(&mut response).await.expect("an response");
    response
}

#[tokio::test]
async fn the_status_says_what_is_served_and_no_secret() {
    let listeners = open().await;
    let status = listeners.status();
    let status = status.load();
    assert_eq!(status.listen, format!("http://{}", listeners.addresses().0));
    assert_eq!(status.upstream, "embedded store in /etc/data, for trying it out");
    assert_eq!(status.keyring, "local keyring /etc/keyring");
    assert_eq!(
        status.rules.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [
            "logs/a/*  writes native; reads native; bound to realm and object key; realm r/1",
            "*/*  writes native; reads native; bound to realm and object key; key k"
        ]
    );
    assert!(!format!("{status:?}").contains("hunter2"));
}

/// A process without problems.
struct Well;

impl Source for Well {
    async fn health(&self) -> Health {
        Health::default()
    }

    fn known_health(&self) -> Health {
        Health::default()
    }

    fn reports(&self) -> Reports {
        Reports::default()
    }

    async fn set_gauges(&self) {}
}

/// While the last request runs, `/readyz` reports the shutdown; the second signal ends the process at once.
#[tokio::test]
async fn a_drain_is_seen_by_operators_and_can_be_cut_short() {
    let listeners = open().await;
    let (objects, admin) = listeners.addresses();
    let admin = admin.expect("an admin address");
    let arrived = Arc::new(Notify::new());
    let service = {
        let arrived = arrived.clone();
        move |request: http::Request<RequestBody>, _| {
            let arrived = arrived.clone();
            async move {
                if request.uri().path() == "/forever" {
                    arrived.notify_one();
                    std::future::pending::<()>().await;
                }
                Response::new(Full::new(bytes::Bytes::from("hello")))
            }
        }
    };
    let (graceful, wait_graceful) = oneshot::channel::<()>();
    let (now, wait_now) = oneshot::channel::<()>();
    let shutdown =
        Shutdown { graceful: async { drop(wait_graceful.await) }, now: async { drop(wait_now.await) } };
    let metrics = serve::recorder().handle();
    let serving =
        tokio::spawn(
            async move { listeners.serve(&Workers::current(), service, Well, metrics, shutdown).await },
        );

    assert!(ask(objects, "/").await.ends_with("hello"));
    assert!(ask(admin, "/readyz").await.starts_with("HTTP/1.1 200"));
    let mut forever = TcpStream::connect(objects).await.expect("a connection");
    forever.write_all(b"GET /forever HTTP/1.1\r\nhost: test\r\n\r\n").await.expect("the server takes it");
    arrived.notified().await;
    graceful.send(()).expect("the server runs");
    while !ask(admin, "/readyz").await.contains("shutting down") {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(ask(admin, "/readyz").await.starts_with("HTTP/1.1 503"));
    now.send(()).expect("the server runs");
    serving.await.expect("no panic");
    assert_eq!(forever.read(&mut [0; 1]).await.expect("closed in order"), 0);
}

mod stored;
