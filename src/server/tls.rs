//! Certificates and private keys of a listener, the authorities of its clients, and their exchange while it
//! serves. It must not know connections, nor configuration files. It promises that an invalid, encrypted or
//! mismatched pair is refused before it is used, and that each host name belongs to one certificate.

mod certificate;
mod subject;
#[cfg(test)]
mod tests;
mod validity;

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ProtocolVersion, RootCertStore, ServerConfig};

use certificate::Certificate;
pub use subject::parse_certificate_name;
pub use validity::Validity;

/// The names of a verified client certificate: its subject in the form of RFC 4514, then its subject
/// alternative names as `DNS:host`, `URI:spiffe://...` or `email:name@host`.
pub type CertificateNames = Arc<[String]>;

/// An invalid certificate, private key or authority.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TlsError {
    /// The file contains no PEM certificate, or a malformed one.
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
    /// No host name would choose this certificate.
    #[error("has no host name among its subject alternative names, so no client would receive it")]
    NoHostName,
    /// Another certificate of the listener has this host name too.
    #[error("has the host name {0:?}, which an earlier certificate has too")]
    DuplicateHostName(String),
    /// A certificate in the file can't be an authority.
    #[error("holds a certificate that can't be an authority: {0}")]
    Authority(String),
}

/// A certificate chain and its private key.
#[derive(Clone)]
pub struct KeyPair {
    key: Arc<CertifiedKey>,
    /// Host names in lower case, and wildcards of one label such as `*.example.com`.
    host_names: Vec<String>,
    /// The subject, then the subject alternative names.
    names: Vec<String>,
    validity: Validity,
}

impl KeyPair {
    /// Parses PEM: the chain, beginning with the server's own certificate, and the private key (PKCS#8,
    /// PKCS#1 or SEC1).
    ///
    /// # Errors
    /// [`TlsError`] of either file.
    pub fn from_pem(certificates: &[u8], private_key: &[u8]) -> Result<Self, TlsError> {
        let chain = pem_certificates(certificates)?;
        let Certificate { version, validity, host_names, names } =
            Certificate::from_der(&chain[0]).ok_or(TlsError::Certificate)?;
        if version < 3 {
            return Err(TlsError::Version(version));
        }
        let private_key =
            PrivateKeyDer::from_pem_slice(private_key).map_err(|_| private_key_error(private_key))?;
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let key = CertifiedKey::from_der(chain, private_key, &provider).map_err(TlsError::Mismatch)?;
        Ok(Self { key: Arc::new(key), host_names, names, validity })
    }
}

/// The certificates in a PEM file; at least one.
fn pem_certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    chain.ok().filter(|chain| !chain.is_empty()).ok_or(TlsError::Certificate)
}

/// The certificates in a PEM file: the names of each as [`Tls::names`] has them, and its validity. What is no
/// certificate is left out.
pub fn read_certificates(pem: &[u8]) -> Vec<(Vec<String>, Validity)> {
    let parsed = CertificateDer::pem_slice_iter(pem).filter_map(Result::ok);
    let read = parsed.filter_map(|der| Certificate::from_der(&der));
    read.map(|certificate| (certificate.names, certificate.validity)).collect()
}

/// The error for an unusable private key. An encrypted key is recognised by its PKCS#8 label, or in older
/// forms by a header (RFC 1421, 4.6.1.1).
fn private_key_error(private_key: &[u8]) -> TlsError {
    let text = String::from_utf8_lossy(private_key);
    let is_encrypted =
        text.contains("BEGIN ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED");
    if is_encrypted { TlsError::EncryptedKey } else { TlsError::PrivateKey }
}

/// The authorities whose client certificates are accepted.
#[derive(Debug, Clone)]
pub struct ClientAuthorities {
    roots: Arc<RootCertStore>,
    certificates: Vec<(Vec<String>, Validity)>,
}

impl ClientAuthorities {
    /// Parses a PEM file with one certificate or several.
    ///
    /// # Errors
    /// [`TlsError::Certificate`], [`TlsError::Authority`].
    pub fn from_pem(pem: &[u8]) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        let mut certificates = Vec::new();
        for der in pem_certificates(pem)? {
            let Certificate { validity, names, .. } =
                Certificate::from_der(&der).ok_or(TlsError::Certificate)?;
            certificates.push((names, validity));
            roots.add(der).map_err(|error| TlsError::Authority(error.to_string()))?;
        }
        Ok(Self { roots: Arc::new(roots), certificates })
    }
}

/// Whether a client must present a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientCertificate {
    /// A handshake without a valid certificate fails.
    Required,
    /// A handshake with an invalid certificate fails, one without any succeeds.
    Optional,
}

/// The certificates of a listener, of which the handshake chooses one by the name that the client sends
/// (RFC 6066, 3), and the authorities of its clients.
#[derive(Clone)]
pub struct Tls {
    certificates: Certificates,
    clients: Option<(ClientAuthorities, ClientCertificate)>,
    validities: Vec<(String, Validity)>,
    /// The names of each of these certificates.
    names: Vec<Vec<String>>,
}

#[derive(Debug, Clone)]
struct Certificates {
    default: Arc<CertifiedKey>,
    by_name: HashMap<String, Arc<CertifiedKey>>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Tls(..)")
    }
}

impl Tls {
    /// TLS 1.2 and 1.3 with one certificate, for every name.
    pub fn new(default: KeyPair) -> Self {
        let KeyPair { key, host_names, names, validity } = default;
        let by_name = host_names.into_iter().map(|name| (name, Arc::clone(&key))).collect();
        let validities = vec![("certificate".to_owned(), validity)];
        let certificates = Certificates { default: key, by_name };
        Self { certificates, clients: None, validities, names: vec![names] }
    }

    /// Adds a certificate for clients that send one of its host names.
    ///
    /// # Errors
    /// [`TlsError::NoHostName`], [`TlsError::DuplicateHostName`].
    pub fn add_host(&mut self, pair: KeyPair) -> Result<(), TlsError> {
        let KeyPair { key, host_names, names, validity } = pair;
        let first = host_names.first().ok_or(TlsError::NoHostName)?;
        let by_name = &mut self.certificates.by_name;
        if let Some(name) = host_names.iter().find(|name| by_name.contains_key(*name)) {
            return Err(TlsError::DuplicateHostName(name.clone()));
        }
        self.validities.push((format!("host.certificate {first}"), validity));
        self.names.push(names);
        by_name.extend(host_names.into_iter().map(|name| (name, Arc::clone(&key))));
        Ok(())
    }

    /// Verifies client certificates, in each handshake.
    pub fn verify_clients(&mut self, authorities: ClientAuthorities, rule: ClientCertificate) {
        for (names, validity) in &authorities.certificates {
            self.validities.push((format!("client_ca {}", names[0]), *validity));
            self.names.push(names.clone());
        }
        self.clients = Some((authorities, rule));
    }

    /// Whether clients can present certificates.
    pub fn verifies_clients(&self) -> bool {
        self.clients.is_some()
    }

    /// The validity of every certificate, under its configuration key and, where that has several, a host
    /// name or the subject: `certificate`, `host.certificate s3.example.com`, `client_ca CN=Clients`.
    pub fn validities(&self) -> &[(String, Validity)] {
        &self.validities
    }

    /// The names of each certificate, in the order of [`Self::validities`]: the subject in the form of RFC
    /// 4514, then the subject alternative names as `DNS:host`, `URI:spiffe://...` or `email:name@host`.
    pub fn names(&self) -> impl Iterator<Item = &[String]> {
        self.names.iter().map(Vec::as_slice)
    }

    /// What rustls needs for handshakes, with HTTP/1.1 only.
    fn server_config(&self) -> Arc<ServerConfig> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("the provider has suites for TLS 1.2 and 1.3");
        let resolver = Arc::new(self.certificates.clone());
        let Some((authorities, rule)) = &self.clients else {
            return with_http_1(builder.with_no_client_auth().with_cert_resolver(resolver));
        };
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&authorities.roots), provider);
        let verifier = match rule {
            ClientCertificate::Required => verifier,
            ClientCertificate::Optional => verifier.allow_unauthenticated(),
        };
        let verifier = verifier.build().expect("there is an authority, and no revocation list");
        let mut config = builder.with_client_cert_verifier(verifier).with_cert_resolver(resolver);
        // A resumed session would carry a certificate that has expired since, or whose authority was removed.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        with_http_1(config)
    }
}

fn with_http_1(mut config: ServerConfig) -> Arc<ServerConfig> {
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}

impl Certificates {
    /// The certificate for a host name in lower case. A wildcard stands for one label (RFC 9525, 6.3).
    fn for_name(&self, name: &str) -> &Arc<CertifiedKey> {
        let wildcard = || {
            let (_, parent) = name.split_once('.')?;
            self.by_name.get(&format!("*.{parent}"))
        };
        self.by_name.get(name).or_else(wildcard).unwrap_or(&self.default)
    }
}

impl ResolvesServerCert for Certificates {
    /// The name is in lower case, as rustls reads it.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(hello.server_name().map_or(&self.default, |name| self.for_name(name))))
    }
}

/// The TLS of a listener, which can be replaced while it serves. Clones share it.
#[derive(Clone)]
pub struct CurrentTls(Arc<ArcSwap<ServerConfig>>);

impl std::fmt::Debug for CurrentTls {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("CurrentTls(..)")
    }
}

impl CurrentTls {
    pub(super) fn new(tls: &Tls) -> Self {
        Self(Arc::new(ArcSwap::new(tls.server_config())))
    }

    /// Handshakes that begin from now on use `tls`; connections go on as they are.
    pub fn replace(&self, tls: &Tls) {
        self.0.store(tls.server_config());
    }

    pub(super) fn config(&self) -> Arc<ServerConfig> {
        self.0.load_full()
    }
}

/// The name of a version that is spoken, as OpenSSL writes it. Older ones are not offered.
pub(super) fn tls_version(version: Option<ProtocolVersion>) -> &'static str {
    if version == Some(ProtocolVersion::TLSv1_2) { "TLSv1.2" } else { "TLSv1.3" }
}

/// The names of the certificate that a client presented, and that was verified.
pub(super) fn certificate_names(chain: Option<&[CertificateDer<'_>]>) -> Option<CertificateNames> {
    let certificate = Certificate::from_der(chain?.first()?)?;
    Some(certificate.names.into())
}
