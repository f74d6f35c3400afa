//! The certificate and private key of the server.
//! It must not know connections.
//! It promises that an invalid, encrypted or mismatched pair is refused at the start.

mod certificate;
mod validity;

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use certificate::Certificate;
pub use validity::Validity;

/// A certificate chain and its key for TLS 1.2 and 1.3 handshakes, with HTTP/1.1 only.
#[derive(Clone)]
pub struct Tls(pub(super) Arc<ServerConfig>, Validity);

impl std::fmt::Debug for Tls {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Tls(..)")
    }
}

/// An invalid certificate or private key.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TlsError {
    /// The certificate file contains no PEM certificate, or a malformed one.
    #[error("holds no PEM certificate")]
    Certificate,
    /// The certificate has X.509 version 1 or 2, without extensions: TLS clients can't match it with a host.
    #[error("is a certificate of X.509 version {0}, which names no host that a TLS client could check")]
    Version(u32),
    /// The key file contains no PEM private key, or a malformed one.
    #[error("holds no PEM private key")]
    PrivateKey,
    /// The private key is encrypted under a passphrase.
    #[error("is encrypted under a passphrase")]
    EncryptedKey,
    /// The key is not that of the certificate, or rustls does not support its kind.
    #[error("does not fit the certificate: {0}")]
    Mismatch(rustls::Error),
}

impl Tls {
    /// Parses PEM: the chain, beginning with the server's own certificate, and the private key (PKCS#8,
    /// PKCS#1 or SEC1).
    pub fn from_pem(certificates: &[u8], private_key: &[u8]) -> Result<Self, TlsError> {
        let chain = CertificateDer::pem_slice_iter(certificates).collect::<Result<Vec<_>, _>>();
        let chain = chain.ok().filter(|chain| !chain.is_empty()).ok_or(TlsError::Certificate)?;
        let Certificate { version, validity } =
            Certificate::from_der(&chain[0]).ok_or(TlsError::Certificate)?;
        if version < 3 {
            return Err(TlsError::Version(version));
        }
        let private_key =
            PrivateKeyDer::from_pem_slice(private_key).map_err(|_| private_key_error(private_key))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has suites for TLS 1.2 and 1.3")
            .with_no_client_auth()
            .with_single_cert(chain, private_key)
            .map_err(TlsError::Mismatch)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(Arc::new(config), validity))
    }

    /// The validity of the server's own certificate.
    pub fn validity(&self) -> Validity {
        self.1
    }
}

/// The error for an unusable private key. An encrypted key is recognised by its PKCS#8 label, or in older
/// forms by a header (RFC 1421, 4.6.1.1).
fn private_key_error(private_key: &[u8]) -> TlsError {
    let text = String::from_utf8_lossy(private_key);
    let is_encrypted =
        text.contains("BEGIN ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED");
    if is_encrypted { TlsError::EncryptedKey } else { TlsError::PrivateKey }
}
