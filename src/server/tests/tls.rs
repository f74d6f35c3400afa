use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::server::tls::certificate_names;

fn key_pair(made: &rcgen::CertifiedKey<rcgen::KeyPair>) -> KeyPair {
    let (certificate, private_key) = (made.cert.pem(), made.signing_key.serialize_pem());
    KeyPair::from_pem(certificate.as_bytes(), private_key.as_bytes()).expect("a pair")
}

fn certificate() -> (Tls, CertificateDer<'static>) {
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    (Tls::new(key_pair(&pair)), pair.cert.der().clone())
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
async fn a_request_over_tls_ends_when_its_client_leaves() {
    let (tls, trusted) = certificate();
    let running = start(Settings { tls: Some(tls), ..settings() }).await;
    let name = ServerName::try_from("localhost").expect("a name");
    let connector = connector(trusted, &["http/1.1"]);
    let mut stream = connector.connect(name, running.connect().await).await.expect("a handshake");
    send(&mut stream, &get("/wait")).await;
    running.arrived.notified().await;
    // The end of TLS is sent, and the connection stays open.
    stream.shutdown().await.expect("it is open");
    running.ended_waiting.notified().await;
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

/// The host name in the server's certificate, for a client that asks for `name`.
async fn certificate_for(running: &Running, name: &str) -> Option<String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let roots = RootCertStore::empty();
    let mut config = builder.expect("versions").with_root_certificates(roots).with_no_client_auth();
    let seen = Arc::new(Seen::default());
    config.dangerous().set_certificate_verifier(Arc::clone(&seen) as _);
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    drop(TlsConnector::from(Arc::new(config)).connect(name, running.connect().await).await);
    let der = seen.0.lock().expect("no panic").take()?;
    certificate_names(Some(&[der])).expect("a certificate").get(1).cloned()
}

/// Keeps the certificate, and refuses it.
#[derive(Debug, Default)]
struct Seen(std::sync::Mutex<Option<CertificateDer<'static>>>);

impl rustls::client::danger::ServerCertVerifier for Seen {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        *self.0.lock().expect("no panic") = Some(certificate.clone().into_owned());
        Err(rustls::Error::General("seen".to_owned()))
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("refused before".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("refused before".to_owned()))
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

fn tls_for(name: &str) -> Tls {
    Tls::new(key_pair(&rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate")))
}

#[tokio::test]
async fn the_certificate_is_chosen_by_the_name_and_replaced_while_connections_go_on() {
    let mut tls = tls_for("default.example");
    let host = rcgen::generate_simple_self_signed(["*.example.com".to_owned()]).expect("a certificate");
    tls.add_host(key_pair(&host)).expect("another name");
    let running = start(Settings { tls: Some(tls), ..settings() }).await;
    for (asked, expected) in [
        ("a.example.com", "DNS:*.example.com"),
        ("A.EXAMPLE.com", "DNS:*.example.com"),
        ("a.b.example.com", "DNS:default.example"),
        ("127.0.0.1", "DNS:default.example"),
    ] {
        assert_eq!(certificate_for(&running, asked).await.as_deref(), Some(expected), "{asked}");
    }
    let name = ServerName::try_from("a.example.com").expect("a name");
    let connector = connector(host.cert.der().clone(), &["http/1.1"]);
    let mut open = connector.connect(name, running.connect().await).await.expect("a handshake");
    running.tls.as_ref().expect("TLS").replace(&tls_for("later.example"));
    assert_eq!(certificate_for(&running, "a.example.com").await.as_deref(), Some("DNS:later.example"));
    send(&mut open, &get("/tls")).await;
    assert_eq!(receive(&mut open).await, (200, "true".to_owned()));
}

/// An authority, and what it signs.
struct Authority {
    issuer: rcgen::CertifiedIssuer<'static, rcgen::KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut parameters = rcgen::CertificateParams::default();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().expect("a key");
        Self { issuer: rcgen::CertifiedIssuer::self_signed(parameters, key).expect("a certificate") }
    }

    fn authorities(&self) -> ClientAuthorities {
        ClientAuthorities::from_pem(self.issuer.pem().as_bytes()).expect("an authority")
    }

    /// A client certificate that is valid for some days from now on, or was so before.
    fn client(&self, is_expired: bool) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let mut parameters = rcgen::CertificateParams::default();
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        parameters.distinguished_name.push(rcgen::DnType::OrganizationName, "Example");
        parameters.distinguished_name.push(rcgen::DnType::CommonName, "backup");
        parameters.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        if is_expired {
            parameters.not_after = rcgen::date_time_ymd(2020, 1, 1);
        }
        let key = rcgen::KeyPair::generate().expect("a key");
        let made = parameters.signed_by(&key, &self.issuer).expect("a certificate");
        (made.der().clone(), PrivateKeyDer::try_from(key.serialize_der()).expect("a key"))
    }
}

type Presented = Option<(CertificateDer<'static>, PrivateKeyDer<'static>)>;

/// The response to a request over a new connection; `None` if the handshake fails, on either side.
async fn ask_with(
    running: &Running,
    trusted: &CertificateDer<'static>,
    presented: Presented,
) -> Option<String> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).expect("a certificate");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.expect("versions").with_root_certificates(roots);
    let config = match presented {
        Some((certificate, key)) => builder.with_client_auth_cert(vec![certificate], key).expect("a pair"),
        None => builder.with_no_client_auth(),
    };
    let name = ServerName::try_from("localhost").expect("a name");
    let connecting = TlsConnector::from(Arc::new(config)).connect(name, running.connect().await);
    let mut stream: TlsStream<TcpStream> = connecting.await.ok()?;
    stream.write_all(get("/certificate").as_bytes()).await.ok()?;
    let mut response = Vec::new();
    while !response.windows(4).any(|window| window == b"\r\n\r\n") {
        if stream.read_buf(&mut response).await.ok()? == 0 {
            return None;
        }
    }
    let text = String::from_utf8(response).expect("text");
    Some(text.rsplit_once("\r\n\r\n").expect("a head").1.to_owned())
}

#[tokio::test]
async fn client_certificates_are_verified() {
    let (known, stranger) = (Authority::new(), Authority::new());
    let named = Some("Some([\"CN=backup,O=Example\"])".to_owned());
    for (rule, without) in
        [(ClientCertificate::Required, None), (ClientCertificate::Optional, Some("None".to_owned()))]
    {
        let (mut tls, trusted) = certificate();
        tls.verify_clients(known.authorities(), rule);
        let running = start(Settings { tls: Some(tls.clone()), ..settings() }).await;
        for _ in 0..2 {
            assert_eq!(ask_with(&running, &trusted, Some(known.client(false))).await, named, "{rule:?}");
        }
        assert_eq!(ask_with(&running, &trusted, None).await, without, "{rule:?}");
        for bad in [stranger.client(false), known.client(true)] {
            let response = ask_with(&running, &trusted, Some(bad)).await;
            assert_eq!(response, None, "This is a security issue: {rule:?}.");
        }
        tls.verify_clients(stranger.authorities(), rule);
        running.tls.as_ref().expect("TLS").replace(&tls);
        let response = ask_with(&running, &trusted, Some(known.client(false))).await;
        assert_eq!(response, None, "This is a security issue: the authority was replaced.");
        assert_eq!(ask_with(&running, &trusted, Some(stranger.client(false))).await, named);
    }
}
