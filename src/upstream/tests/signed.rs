//! Against s3s-fs on a socket, which verifies signatures, aws-chunked framing and trailer checksums.

use std::path::Path;
use std::sync::Arc;

use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s_fs::FileSystem;
use tokio::net::TcpListener;

use super::fake::{EMPTY_200, header, serve as fake};
use super::*;

fn service(root: &Path) -> S3Service {
    std::fs::create_dir_all(root.join("demo")).unwrap();
    let mut builder = S3ServiceBuilder::new(FileSystem::new(root).unwrap());
    builder.set_auth(SimpleAuth::from_single(ACCESS_KEY_ID, SECRET));
    builder.build()
}

async fn serve(root: &Path) -> Uri {
    let service = service(root);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service.clone());
            tokio::spawn(connection);
        }
    });
    uri
}

/// A server with a certificate of its own for 127.0.0.1, and the file that says so.
async fn serve_tls(root: &Path) -> (Uri, std::path::PathBuf) {
    let certified = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let ca = root.join("ca.pem");
    std::fs::write(&ca, certified.cert.pem()).unwrap();
    let private = rustls::pki_types::PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], private.into())
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let service = service(root);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("https://{}", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, service) = (acceptor.clone(), service.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let builder = hyper::server::conn::http1::Builder::new();
                let _ = builder.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    (uri, ca)
}

async fn expect(upstream: &Upstream, request: UpstreamRequest, status: u16) -> (HeaderMap, Bytes) {
    let label = format!("{request:?}");
    let response = upstream.send(request).await.unwrap_or_else(|error| panic!("{label}: {error:?}"));
    let (found, headers) = (response.status(), response.headers().clone());
    let body = read(response).await;
    assert_eq!(found, status, "{label}: {}", String::from_utf8_lossy(&body));
    (headers, body)
}

const SIZES: &[usize] = &[0, 1, 65_536, 131_071, 131_072, 131_073, 1_000_000];
const CHECKSUMS: &[Option<ChecksumAlgorithm>] =
    &[Some(ChecksumAlgorithm::Crc64Nvme), Some(ChecksumAlgorithm::Crc32c), None];

#[tokio::test]
async fn content_round_trips_with_every_checksum() {
    let root = tempfile::tempdir().unwrap();
    let endpoint = serve(root.path()).await;
    for checksum in CHECKSUMS {
        let upstream =
            Upstream::build(Settings { checksum: *checksum, ..settings(&endpoint) }).await.unwrap();
        for size in SIZES {
            let content = pattern(*size);
            for body in [UpstreamBody::Content(content.clone()), stream(&content, 60_000)] {
                let (headers, _) = expect(&upstream, put("k", body), 200).await;
                if let Some(algorithm) = *checksum {
                    // The store computed it from what arrived.
                    let expected = crate::wire::checksum::checksum(algorithm, &content).to_string();
                    assert_eq!(headers[algorithm.header()], expected.as_str());
                }
                assert_eq!(expect(&upstream, get("k"), 200).await.1, content);
                expect(&upstream, request(Method::DELETE, Some("k"), UpstreamBody::Empty), 204).await;
                expect(&upstream, get("k"), 404).await;
            }
        }
    }
}

#[tokio::test]
async fn content_round_trips_over_tls_with_a_private_root() {
    let root = tempfile::tempdir().unwrap();
    let (endpoint, ca) = serve_tls(root.path()).await;
    let trusting = Settings { extra_root_ca: Some(ca), ..settings(&endpoint) };
    let upstream = Upstream::build(trusting).await.unwrap();
    let content = pattern(1_000_000);
    for body in [UpstreamBody::Content(content.clone()), stream(&content, 60_000)] {
        expect(&upstream, put("k", body), 200).await;
        assert_eq!(expect(&upstream, get("k"), 200).await.1, content);
    }
    let wary = Upstream::build(Settings { max_retries: 0, ..settings(&endpoint) }).await.unwrap();
    let error = wary.send(get("k")).await.unwrap_err();
    assert!(matches!(error, UpstreamError::Connect(_)), "{error:?}");
}

#[tokio::test]
async fn roots_that_are_none_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("empty.pem");
    std::fs::write(&file, "no certificate").unwrap();
    let endpoint = Uri::from_static("https://127.0.0.1:1");
    for path in [file, root.path().join("missing.pem")] {
        let built = Upstream::build(Settings { extra_root_ca: Some(path), ..settings(&endpoint) }).await;
        assert!(matches!(built.err(), Some(UpstreamSetupError::RootCertificates { .. })));
    }
}

#[tokio::test]
async fn wrong_secret_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let endpoint = serve(root.path()).await;
    let credentials = static_credentials("another secret");
    let upstream = Upstream::build(Settings { credentials, ..settings(&endpoint) }).await.unwrap();
    let content = pattern(100_000);
    for request in
        [get("k"), put("k", UpstreamBody::Content(content.clone())), put("k", stream(&content, 1000))]
    {
        let body = expect(&upstream, request, 403).await.1;
        assert!(String::from_utf8_lossy(&body).contains("SignatureDoesNotMatch"));
    }
}

#[tokio::test]
async fn every_shape_of_head_is_signed_right() {
    let root = tempfile::tempdir().unwrap();
    let endpoint = serve(root.path()).await;
    let upstream = Upstream::build(settings(&endpoint)).await.unwrap();
    let mut request_with_metadata = put("k", UpstreamBody::Content(Bytes::from_static(b"x")));
    for (name, value) in [
        ("x-amz-meta-spaces", "  a   b  "),
        ("x-amz-meta-list", "one, two"),
        ("cache-control", "max-age=60"),
        ("content-type", "text/plain; charset=utf-8"),
        ("content-disposition", "attachment; filename=\"a b.txt\""),
    ] {
        request_with_metadata.headers.insert(name, value.parse().unwrap());
    }
    expect(&upstream, request_with_metadata, 200).await;
    let queries: [&[(&str, Option<&str>)]; 6] = [
        &[("list-type", Some("2")), ("prefix", Some("a b/+&=é%~*'()!"))],
        &[("location", None)],
        &[("location", Some(""))],
        &[("prefix", Some("z")), ("delimiter", Some("/")), ("prefix2", Some("a")), ("A", Some("b"))],
        &[("list-type", Some("2")), ("start-after", Some("%2F+ /"))],
        &[("list-type", Some("2")), ("delimiter", Some("\u{1}\n"))],
    ];
    for query in queries {
        let mut list = request(Method::GET, None, UpstreamBody::Empty);
        list.query = query.iter().map(|(n, v)| ((*n).to_owned(), v.map(str::to_owned))).collect();
        expect(&upstream, list, 200).await;
    }
    let service = UpstreamRequest { bucket: None, ..request(Method::GET, None, UpstreamBody::Empty) };
    let buckets = expect(&upstream, service, 200).await.1;
    assert!(String::from_utf8_lossy(&buckets).contains("<Name>demo</Name>"));
}

#[tokio::test]
async fn documents_are_signed_and_digested() {
    let root = tempfile::tempdir().unwrap();
    let endpoint = serve(root.path()).await;
    let upstream = Upstream::build(settings(&endpoint)).await.unwrap();
    expect(&upstream, put("k", UpstreamBody::Content(pattern(10))), 200).await;
    let xml = "<Delete><Object><Key>k</Key></Object></Delete>";
    let mut delete = request(Method::POST, None, UpstreamBody::Buffered(Bytes::from_static(xml.as_bytes())));
    delete.query = vec![("delete".to_owned(), None)];
    let body = expect(&upstream, delete, 200).await.1;
    assert!(String::from_utf8_lossy(&body).contains("<Deleted><Key>k</Key>"));
    expect(&upstream, get("k"), 404).await;
}

#[tokio::test]
async fn session_token_is_sent_and_signed() {
    let (endpoint, _) = fake(|_, mut peer| async move {
        let head = peer.head().await.unwrap();
        let is_sent = header(&head, "x-amz-security-token") == Some("token");
        let is_signed = header(&head, "authorization").unwrap().contains("x-amz-security-token");
        assert!(is_sent && is_signed, "{head}");
        peer.say(EMPTY_200).await;
    })
    .await;
    let credentials = Credentials::Static {
        access_key_id: ACCESS_KEY_ID.to_owned(),
        secret_access_key: Zeroizing::new(SECRET.to_owned()),
        session_token: Some(Zeroizing::new("token".to_owned())),
    };
    let settings = Settings { credentials, max_retries: 0, ..settings(&endpoint) };
    let upstream = Upstream::build(settings).await.unwrap();
    expect(&upstream, get("k"), 200).await;
}
