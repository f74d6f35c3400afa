//! `health`: asks a running proxy, over its admin listener, whether it serves. For probes of containers, in
//! whose images there is no other HTTP client.
//! It must not know what readiness depends on.
//! It promises an outcome within [`LIMIT`].

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{Failure, Health};
use crate::admin;
use crate::timer;

/// A probe that takes longer has failed. Readiness itself responds within 250 ms.
const LIMIT: Duration = Duration::from_secs(5);

/// Maximum length of the response in bytes.
const MAX_RESPONSE: usize = 64 * 1024;

/// Requests `/readyz`, or with `--live` `/healthz`, of the admin listener with these settings. Returns the
/// response's text.
///
/// # Errors
/// [`Failure::Usage`] without an admin listener; [`Failure::Unavailable`] with what was responded, or why
/// there was no response.
pub async fn health(settings: Option<admin::Settings>, arguments: &Health) -> Result<String, Failure> {
    let settings = settings.ok_or_else(|| {
        let fix = "write [admin] and below it address = \"127.0.0.1:9333\"";
        Failure::Usage(format!("health asks the admin listener, and the configuration has none: {fix}"))
    })?;
    let address = reachable(settings.address);
    let path = if arguments.live { "/healthz" } else { "/readyz" };
    let asked = timer::timeout(LIMIT, ask(address, settings.tls.is_some(), path)).await;
    let failed = |why: String| Failure::Unavailable(format!("{address}{path}: {why}"));
    let (status, text) = asked
        .map_err(|_elapsed| failed(format!("no response within {} s", LIMIT.as_secs())))?
        .map_err(|error| failed(error.to_string()))?;
    if status == StatusCode::OK { Ok(text) } else { Err(failed(format!("{status}: {}", text.trim_end()))) }
}

/// The address at which this machine reaches a listener: one for all addresses is reached at the loopback.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        });
    }
    address
}

async fn ask(address: SocketAddr, is_tls: bool, path: &str) -> io::Result<(StatusCode, String)> {
    let stream = TcpStream::connect(address).await?;
    if !is_tls {
        return exchange(stream, address, path).await;
    }
    let name = ServerName::IpAddress(address.ip().into());
    exchange(TlsConnector::from(tls()?).connect(name, stream).await?, address, path).await
}

async fn exchange<S>(stream: S, address: SocketAddr, path: &str) -> io::Result<(StatusCode, String)>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let request = Request::get(path).header(header::HOST, address.to_string()).body(Empty::<&[u8]>::new());
    let request = request.map_err(io::Error::other)?;
    let response = async {
        let response = sender.send_request(request).await.map_err(io::Error::other)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_RESPONSE).collect().await;
        let body = body.map_err(io::Error::other)?.to_bytes();
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    };
    let mut connection = std::pin::pin!(connection);
    let mut response = std::pin::pin!(response);
    tokio::select! {
        biased;
        outcome = &mut response => outcome,
        ended = &mut connection => {
            ended.map_err(io::Error::other)?;
            response.await
        }
    }
}

fn tls() -> io::Result<Arc<ClientConfig>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Accepts every certificate: the request goes to this machine and carries no secret, and a process may still
/// present a certificate whose file was replaced.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_for_all_addresses_is_reached_at_the_loopback() {
        let cases = [
            ("0.0.0.0:9333", "127.0.0.1:9333"),
            ("[::]:9333", "[::1]:9333"),
            ("192.0.2.7:9333", "192.0.2.7:9333"),
        ];
        for (configured, expected) in cases {
            let address: SocketAddr = configured.parse().unwrap();
            assert_eq!(reachable(address).to_string(), expected);
        }
    }
}
