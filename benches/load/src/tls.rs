//! Connections with and without TLS: how clients open them, how the store accepts them, and the certificate
//! of a run. Must not know HTTP. A client trusts the certificate that it is given, and no other.

use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use crate::arguments::Arguments;
use crate::http::Wire;

/// A connection's bytes.
pub enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// The connection below.
    pub fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }

    /// Reads what is there; 0 at the end.
    pub async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer).await,
            Self::Tls(stream) => stream.read(buffer).await,
        }
    }

    /// Writes a part of these bytes; with TLS, some may wait for a flush.
    pub async fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write_vectored(slices).await,
            Self::Tls(stream) => stream.write_vectored(slices).await,
        }
    }

    /// Sends what waits.
    pub async fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Tls(stream) => stream.flush().await,
        }
    }
}

/// Opens connections to one server.
pub struct Dialer {
    address: String,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Dialer {
    /// To `--to`; with TLS if `--ca` names the certificate to trust.
    pub fn from_arguments(arguments: &Arguments) -> io::Result<Self> {
        let address = arguments.text("to")?.to_owned();
        let Some(ca) = arguments.optional("ca") else { return Ok(Self { address, tls: None }) };
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(ca).map_err(io::Error::other)?).map_err(io::Error::other)?;
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let host = address.rsplit_once(':').map_or(&*address, |(host, _)| host).to_owned();
        let name = ServerName::try_from(host).map_err(io::Error::other)?;
        Ok(Self { address, tls: Some((TlsConnector::from(Arc::new(config)), name)) })
    }

    /// Host and port, as a Host header has them.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// A new connection.
    pub async fn connect(&self) -> io::Result<Wire> {
        let stream = TcpStream::connect(&self.address).await?;
        Wire::new(match &self.tls {
            None => Stream::Plain(stream),
            Some((connector, name)) => {
                Stream::Tls(Box::new(connector.connect(name.clone(), stream).await?.into()))
            }
        })
    }
}

/// Accepts TLS with `--certificate` and `--private-key`.
pub fn acceptor(arguments: &Arguments) -> io::Result<TlsAcceptor> {
    let certificate =
        CertificateDer::from_pem_file(arguments.text("certificate")?).map_err(io::Error::other)?;
    let key = PrivateKeyDer::from_pem_file(arguments.text("private-key")?).map_err(io::Error::other)?;
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key);
    Ok(TlsAcceptor::from(Arc::new(config.map_err(io::Error::other)?)))
}

/// Writes `cert.pem` and `key.pem` for servers on this machine into `--directory`.
pub fn write_certificate(arguments: &Arguments) -> io::Result<()> {
    let directory = Path::new(arguments.text("directory")?);
    let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
    let pair = rcgen::generate_simple_self_signed(names).map_err(io::Error::other)?;
    std::fs::write(directory.join("cert.pem"), pair.cert.pem())?;
    std::fs::write(directory.join("key.pem"), pair.signing_key.serialize_pem())
}
